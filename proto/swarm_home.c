/* swarm_home.c - who fetches a layer: leases, and who is appointed.
 *
 *   nobody fetches, somebody waits, no seed
 *        │ QUERY to the other two ranks ── one knows a live lease: it counts here too
 *        │ all silent or without one, 150 ms
 *        v
 *   APPOINT, again every 100 ms ── LEASE: it runs ── 1 s of silence, CUT, REFUSED ──> from the top
 *        └ 1 s without a LEASE: another
 *
 * A second live lease: the one whose home stands before the other's stays (of one home: the later
 * number), as that home says when it is asked; the other's fetcher is told to STOP, again with each
 * LEASE that it tells. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rendezvous.h"
#include "proto/swarm_impl.h"

#define APPOINT_AGAIN_NS (100 * SWARM_MS)
#define REFUSED_NS       (300000 * SWARM_MS)
#define HOLD_NS          (1000 * SWARM_MS) /* doubled with each fetcher in a row that is cut off */
#define SILENT_NS        (2000 * SWARM_MS)
#define DISTRUST         3
#define ABOVE_QUIET_NS   (400 * SWARM_MS)   /* those above say nothing: they are asked often */
#define CUTS_MAX         3                  /* in a row: the registry is away for everybody */
#define WAITS_NS         (60000 * SWARM_MS) /* with somebody stuck: another may not have to wait */
#define WELCOMES_NS      (500 * SWARM_MS)   /* between two rounds to all guests */

/* --- leases ---------------------------------------------------------------------------------- */

bool swarm_lease_lives(const struct swarm *s, const struct swarm_lease *l, u64 now_ns)
{
    return (l->state == LEASE_RUNS || l->state == LEASE_WAITS) &&
           now_ns - l->heard_ns <= SWARM_VOID_NS && swarm_alive(s, &l->fetcher);
}

bool swarm_has_seed(const struct swarm *s, const struct swarm_layer *l)
{
    const struct swarm_home *h = l->home;
    struct node_key holders[SWARM_FETCHERS + 1];
    size_t n = inventory_holders(s->inventory, &l->digest, holders, countof(holders));
    for (size_t i = 0; i < n && i < countof(holders); i++)
        if (!swarm_is_forger(l, &holders[i]))
            return true;
    if (l->complete)
        return true;
    if (h && h->lease.state == LEASE_DONE && swarm_alive(s, &h->lease.fetcher) &&
        !swarm_is_forger(l, &h->lease.fetcher))
        return true;
    for (u32 i = 0; h && i < h->n; i++)
        if (h->guests[i].complete && swarm_alive(s, &h->guests[i].key) &&
            !swarm_is_forger(l, &h->guests[i].key))
            return true;
    return false;
}

static void tell_stop(struct swarm *s, struct swarm_layer *l, const struct node_key *fetcher,
                      u64 now_ns)
{
    if (node_key_equal(fetcher, &s->self)) {
        swarm_stop(s, l, LEASE_YIELDED, now_ns);
        return;
    }
    swarm_order(s, &(struct swarm_out){
                       .kind = MSG_STOP, .layer = l->slot, .word = l->word, .to = *fetcher});
}

static void query(struct swarm *s, const struct swarm_layer *l, u32 rank)
{
    swarm_order(s, &(struct swarm_out){
                       .kind = MSG_QUERY, .layer = l->slot, .word = l->word, .to = l->ranks[rank]});
}

/* Of two leases, does `a` stay? */
static bool lease_before(const struct swarm_layer *l, const struct swarm_lease *a,
                         const struct swarm_lease *b)
{
    if (!node_key_equal(&a->home, &b->home))
        return rendezvous_before(&a->home, &b->home, &l->digest);
    return a->number >= b->number;
}

/* Whose claims count from now on: guests ask again only after seconds. One message makes many, so
 * not at once if it was done just now. */
static void welcome_all(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    struct swarm_home *h = l->home;
    h->to_welcome = h->welcomed_ns && now_ns - h->welcomed_ns < WELCOMES_NS;
    if (h->to_welcome) {
        swarm_wake(l, h->welcomed_ns + WELCOMES_NS);
        return;
    }
    h->welcomed_ns = now_ns;
    for (u32 i = 0; i < h->n; i++)
        if (!h->guests[i].complete && !node_key_equal(&h->guests[i].key, &s->self))
            swarm_order(s, &(struct swarm_out){.kind = MSG_WELCOME,
                                               .layer = l->slot,
                                               .word = l->word,
                                               .to = h->guests[i].key});
}

static void resigned(struct swarm *s, struct swarm_layer *l, const struct swarm_lease *lease,
                     u64 now_ns)
{
    struct swarm_home *h = l->home;
    u64 for_ns = lease->state == LEASE_REFUSED ? REFUSED_NS : SWARM_RESIGNED_NS;
    struct swarm_guest *g = swarm_guest_find(h, &lease->fetcher);
    u32 rank = swarm_rank_of(l, &lease->fetcher);
    if (lease->state == LEASE_REFUSED && lease->number == h->misled_number)
        return; /* said again, in answer to a QUERY */
    if (lease->state == LEASE_REFUSED && h->told > 0 &&
        node_key_equal(&lease->fetcher, &h->lease.fetcher)) {
        h->hold_ns = 0;
        h->misled_number = lease->number;
        s->stats.misled++;
        swarm_origin_refused(s, h, rank, now_ns + for_ns, now_ns);
        return;
    }
    if (g)
        g->not_before_ns = now_ns + for_ns;
    if (rank < SWARM_RANKS)
        h->rank_ns[rank] = now_ns + for_ns;
    h->cuts += lease->state == LEASE_CUT && h->cuts < CUTS_MAX + 4;
    /* It is barred, so that the next one may be appointed at once: users wait. */
    h->hold_ns = h->cuts < CUTS_MAX ? 0 : now_ns + (HOLD_NS << (h->cuts - CUTS_MAX));
}

/* Of two live leases, whose fetcher is to stop: the one that is told, the other, or nobody yet. */
enum { STOP_TOLD, STOP_OURS, STOP_NOBODY };

/* A lease of one of the layer's ranks gives way to what another rank says, not to a fetcher's own
 * word: the home that it names is asked, if that lives. We know ourselves whom we appointed. */
static int judge(struct swarm *s, const struct swarm_layer *l, const struct node_key *from,
                 const struct swarm_lease *told)
{
    const struct swarm_lease *ours = &l->home->lease;
    u32 rank = swarm_rank_of(l, &told->home);
    if (lease_before(l, ours, told) || node_key_equal(&told->home, &s->self))
        return STOP_TOLD;
    bool by_rank = !node_key_equal(from, &told->fetcher) || node_key_equal(from, &told->home);
    if (by_rank || swarm_rank_of(l, &ours->home) == SWARM_RANKS)
        return STOP_OURS;
    if (rank < SWARM_RANKS)
        query(s, l, rank);
    return swarm_alive(s, &told->home) ? STOP_NOBODY : STOP_TOLD;
}

/* What a fetcher says of itself, or a rank of somebody: nobody else is believed. */
void swarm_lease_told(struct swarm *s, struct swarm_layer *l, const struct node_key *from,
                      const struct swarm_lease *told, u64 now_ns)
{
    struct swarm_home *h = swarm_home_of(l);
    if (!h || swarm_is_forger(l, &told->fetcher))
        return;
    u32 rank = swarm_rank_of(l, from), mine = swarm_rank_of(l, &s->self);
    bool own = node_key_equal(from, &told->fetcher);
    if (rank == SWARM_RANKS && !own)
        return;
    if (rank < SWARM_RANKS) {
        h->replied[rank] = true;
        if (rank < mine)
            h->above_heard_ns = now_ns;
    }
    if (told->number > h->number && told->number <= SWARM_NUMBER_TOLD)
        h->number = told->number;
    l->used_ns = now_ns;
    swarm_wake(l, now_ns);
    if (told->state == LEASE_NONE)
        return;
    if (now_ns < h->dismissed_until_ns && node_key_equal(&told->fetcher, &h->dismissed)) {
        tell_stop(s, l, &told->fetcher, now_ns);
        return;
    }
    bool same = node_key_equal(&told->fetcher, &h->lease.fetcher);
    bool runs = swarm_lease_lives(s, told, now_ns);
    bool begins = !same || h->lease.state == LEASE_NONE;
    if (!same && runs && swarm_lease_lives(s, &h->lease, now_ns)) {
        s->stats.overlaps += h->overlap != told->number;
        h->overlap = told->number;
        int whose = judge(s, l, from, told);
        if (whose == STOP_TOLD)
            tell_stop(s, l, &told->fetcher, now_ns);
        if (whose != STOP_OURS)
            return;
        const struct node_key loser = h->lease.fetcher;
        h->lease = *told;
        tell_stop(s, l, &loser, now_ns);
    } else if (told->state == LEASE_DONE && !same && rank < SWARM_RANKS) {
        if (h->appointed_ns || swarm_lease_lives(s, &h->lease, now_ns) || l->complete)
            return;
        h->lease = *told; /* it is held: the inventory will say so soon */
        if (l->wanted)
            swarm_candidate_add(s, l, &told->fetcher);
    } else if (same || runs) {
        if (told->have > h->lease.have)
            h->cuts = 0;
        h->lease = *told;
    }
    if (node_key_equal(&told->fetcher, &h->lease.fetcher))
        h->appointed_ns = 0;
    if (runs)
        swarm_know_fetcher(l, &told->fetcher);
    if (runs && begins)
        welcome_all(s, l, now_ns);
    if (own && same && (told->state == LEASE_CUT || told->state == LEASE_REFUSED))
        resigned(s, l, told, now_ns);
}

/* --- appointing ------------------------------------------------------------------------------ */

/* By a right that is at hand, or where our own daemon found it. */
static bool can_self(const struct swarm *s, const struct swarm_layer *l)
{
    return l->can_fetch || (member_self(s->member)->can_fetch && l->own_origin);
}

/* Ourselves, else a guest whose right is at hand, else another rank. Who needs to be told where it
 * is comes after the guests once somebody was misled: they know. */
static bool choose_fetcher(struct swarm *s, struct swarm_layer *l, struct node_key *out, u64 now_ns)
{
    struct swarm_home *h = l->home;
    u32 mine = swarm_rank_of(l, &s->self), n = 0;
    const struct swarm_guest *self = swarm_guest_find(h, &s->self);
    bool barred =
        (mine < SWARM_RANKS && h->rank_ns[mine] > now_ns) || (self && self->not_before_ns > now_ns);
    if (can_self(s, l) && !barred && !l->complete) {
        *out = s->self;
        return true;
    }
    bool told = member_self(s->member)->can_fetch && !barred && !l->complete;
    u32 where = told ? swarm_origin_best(s, h, mine, now_ns) : 0;
    if (where && now_ns >= h->misled_until_ns) {
        *out = s->self;
        h->told = where;
        return true;
    }
    for (u32 i = 0; i < h->n; i++) {
        const struct swarm_guest *g = &h->guests[i];
        if (!g->can_fetch || g->complete || swarm_is_forger(l, &g->key) ||
            g->not_before_ns > now_ns || node_key_equal(&g->key, &s->self) ||
            !swarm_alive(s, &g->key))
            continue;
        if (rng_below(&s->rng, ++n) == 0)
            *out = g->key;
    }
    if (n == 0 && where) {
        *out = s->self;
        h->told = where;
        return true;
    }
    for (u32 i = 0; n == 0 && i < l->n_ranks; i++) {
        struct member_view v;
        where = swarm_origin_best(s, h, i, now_ns);
        if (i == mine || h->rank_ns[i] > now_ns || !where ||
            !member_find(s->member, &l->ranks[i], &v) || !v.record->can_fetch)
            continue;
        *out = l->ranks[i];
        h->told = where;
        n++;
    }
    return n > 0;
}

static void appoint(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    struct swarm_home *h = l->home;
    struct node_key who;
    h->query_ns = h->told = 0;
    bool silent = h->lease.state == LEASE_RUNS || h->lease.state == LEASE_WAITS;
    struct swarm_guest *before = silent ? swarm_guest_find(h, &h->lease.fetcher) : NULL;
    if (before) /* whoever fell silent is not the next one, even if it is not known to be dead */
        before->not_before_ns = now_ns + SILENT_NS;
    h->nobody = !choose_fetcher(s, l, &who, now_ns);
    if (h->nobody) {
        h->hold_ns = now_ns + SWARM_VOID_NS;
        return;
    }
    h->hold_ns = now_ns + SWARM_VOID_NS; /* whatever comes of it: no storm */
    s->stats.appointed++;
    s->stats.takeovers += silent;
    h->number++;
    h->lease = (struct swarm_lease){
        .state = LEASE_NONE, .home = s->self, .fetcher = who, .number = h->number};
    h->appointed_ns = h->appoint_ns = now_ns;
    swarm_know_fetcher(l, &who);
    if (!node_key_equal(&who, &s->self)) {
        swarm_order(s, &(struct swarm_out){
                           .kind = MSG_APPOINT, .layer = l->slot, .word = l->word, .to = who});
        return;
    }
    u64 size;
    const char *origin = swarm_origin_of(s, l, &who, now_ns, &size);
    swarm_origin_told(l, origin, size);
    swarm_appointed(s, l, &s->self, h->number, now_ns);
}

/* Whom we appointed has not said a word yet. */
static void press(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    struct swarm_home *h = l->home;
    if (now_ns - h->appointed_ns > SWARM_VOID_NS || !swarm_alive(s, &h->lease.fetcher)) {
        struct swarm_lease silent = h->lease;
        silent.state = LEASE_CUT;
        h->appointed_ns = 0;
        resigned(s, l, &silent, now_ns);
    } else if (now_ns - h->appoint_ns >= APPOINT_AGAIN_NS) {
        h->appoint_ns = now_ns;
        swarm_order(
            s, &(struct swarm_out){
                   .kind = MSG_APPOINT, .layer = l->slot, .word = l->word, .to = h->lease.fetcher});
    }
}

/* Several say that somebody forges, or all do: if that is a lie of theirs, it costs a copy more. */
static bool is_distrusted(const struct swarm_home *h)
{
    u32 n = 0;
    for (u32 i = 0; i < h->n; i++)
        n += h->guests[i].distrusts;
    return n >= DISTRUST || (n > 0 && n == h->n);
}

/* The same of the one who fetches: several, or all others if they are two at least. */
static bool is_fetcher_distrusted(const struct swarm_home *h)
{
    u32 n = 0, others = 0;
    for (u32 i = 0; i < h->n; i++) {
        others += !node_key_equal(&h->guests[i].key, &h->lease.fetcher);
        n += h->guests[i].forger == node_key_word(&h->lease.fetcher);
    }
    return n >= DISTRUST || (n > 1 && n >= others);
}

/* Who fetches is believed no more, or has waited for the registry for too long: another is to, at
 * once. */
static bool is_dismissed(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    struct swarm_home *h = l->home;
    const struct node_key whom = h->lease.fetcher;
    bool waits = h->waits_ns && now_ns - h->waits_ns > WAITS_NS;
    if (node_key_equal(&whom, &s->self) ||
        (!waits && !swarm_is_forger(l, &whom) && !is_fetcher_distrusted(h)))
        return false;
    h->waits_ns = 0;
    h->dismissed = whom;
    h->dismissed_until_ns = now_ns + SWARM_RESIGNED_NS;
    struct swarm_guest *g = swarm_guest_find(h, &whom);
    u32 rank = swarm_rank_of(l, &whom);
    if (g)
        g->not_before_ns = now_ns + SWARM_RESIGNED_NS;
    if (rank < SWARM_RANKS)
        h->rank_ns[rank] = now_ns + SWARM_RESIGNED_NS;
    h->lease.state = LEASE_CUT;
    tell_stop(s, l, &whom, now_ns);
    return true;
}

/* A neighbour fetches it, or is the one that has it: pieces come singly from there. */
static bool somebody_offers(const struct swarm_layer *l)
{
    bool offers = false;
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS && !offers; i++)
        offers = l->peers[i].used && l->peers[i].met && l->peers[i].super;
    return offers;
}

/* Is it for us to appoint? A lower rank asks those above first, and does only when they are silent;
 * so does who is no rank, and is asked by guests that found none. Who reaches no rank acts for
 * itself. Of the latter, none does who sees that somebody fetches. */
static bool is_acting(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    struct swarm_home *h = l->home;
    u32 mine = swarm_rank_of(l, &s->self);
    bool of_all = mine < SWARM_RANKS && !swarm_ranks_near(l, now_ns);
    h->relays = false;
    if (!of_all && somebody_offers(l))
        return false;
    if (mine == 0 || (mine == SWARM_RANKS && l->alone) || (of_all && is_distrusted(h)))
        return true;
    bool heard = h->above_heard_ns > 0 && now_ns - h->above_heard_ns < ABOVE_QUIET_NS;
    u64 every_ns = heard ? SWARM_VOID_NS / 2 : SWARM_QUERY_NS;
    h->relays = h->above_heard_ns > 0 && now_ns - h->above_heard_ns < SWARM_VOID_NS;
    h->above_ns = heard ? 0 : h->above_ns ? h->above_ns : now_ns;
    if (now_ns - h->above_asked_ns >= every_ns) {
        h->above_asked_ns = now_ns;
        for (u32 i = 0; i < mine && i < l->n_ranks; i++)
            query(s, l, i);
    }
    return !h->relays && h->above_ns > 0 && now_ns - h->above_ns >= SWARM_UNREACHED_NS;
}

static bool is_wanted(struct swarm *s, struct swarm_layer *l, bool *stuck, u64 now_ns)
{
    struct swarm_home *h = l->home;
    bool wanted = false, look = now_ns >= h->look_ns;
    if (look)
        h->look_ns = now_ns + SWARM_LEASE_NS;
    *stuck = false;
    for (u32 i = 0; i < h->n;) {
        struct swarm_guest *g = &h->guests[i];
        bool self = node_key_equal(&g->key, &s->self);
        if ((!self && now_ns - g->heard_ns > SWARM_GUEST_NS) ||
            (self && !l->wanted && !l->complete) || (look && !swarm_alive(s, &g->key))) {
            swarm_guest_remove(s, h, g);
            continue;
        }
        wanted |= !g->complete;
        *stuck |= g->stuck && !g->complete;
        i++;
    }
    return wanted;
}

void swarm_home_tick(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    struct swarm_home *h = l->home;
    bool stuck, wanted = is_wanted(s, l, &stuck, now_ns);
    if (h->to_welcome)
        welcome_all(s, l, now_ns);
    if (!wanted || !is_acting(s, l, now_ns)) {
        h->query_ns = 0;
        h->relays &= wanted;
        h->above_ns = wanted ? h->above_ns : 0;
        return;
    }
    bool waits = stuck && h->lease.state == LEASE_WAITS;
    h->waits_ns = !waits ? 0 : h->waits_ns ? h->waits_ns : now_ns;
    if (swarm_lease_lives(s, &h->lease, now_ns) && !is_dismissed(s, l, now_ns)) {
        h->query_ns = 0;
        return;
    }
    if (h->appointed_ns) {
        press(s, l, now_ns);
        return;
    }
    h->stuck_ns = !stuck ? 0 : h->stuck_ns ? h->stuck_ns : now_ns;
    bool seeds_fail = stuck && (now_ns - h->stuck_ns > SWARM_STUCK_NS || is_distrusted(h));
    if ((swarm_has_seed(s, l) && !seeds_fail) || h->hold_ns > now_ns)
        return;
    u32 mine = swarm_rank_of(l, &s->self), silent = 0;
    if (h->query_ns == 0) {
        h->query_ns = now_ns;
        for (u32 i = 0; i < l->n_ranks; i++) {
            h->replied[i] = false;
            if (i != mine)
                query(s, l, i);
        }
    }
    for (u32 i = 0; i < l->n_ranks; i++) /* those above were asked for long, if it is for us */
        silent +=
            i != mine && !h->replied[i] && (i > mine || mine == SWARM_RANKS || is_distrusted(h));
    if (silent == 0 || now_ns - h->query_ns >= SWARM_QUERY_NS)
        appoint(s, l, now_ns);
    else
        swarm_wake(l, h->query_ns + SWARM_QUERY_NS);
}
