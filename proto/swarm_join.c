/* swarm_join.c - the asker's side of fetching, and the fetcher's.
 *
 * An asker tells the home that it is there, every 200 ms until it is answered, and two seconds
 * later again, or as soon as nothing comes any more: the home may be gone, with the fetcher or as
 * the fetcher. Once it has not answered for 200 ms the next rank is told as well, so that it knows
 * who waits when it acts. Without an answer for 600 ms the asker turns to that one; when none of
 * the three answers, to three that are near (swarm_rank.c). When these do not answer either, it
 * acts as home for itself: another's lease stands before one that is made so. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/swarm_impl.h"

#define ENOUGH         (SWARM_NEIGHBOURS / 2)
#define SHARES_NS      (3000 * SWARM_MS) /* a crowd gathers: shares change */
#define FELL_SILENT_NS (900 * SWARM_MS)  /* a fetcher has news for its neighbours more often */
#define TURN_NS        (100 * SWARM_MS)  /* a lease is made, and everybody has heard of it */
#define SLOW_TURN_NS   (1000 * SWARM_MS) /* somebody is said to fetch: the registry may be away */
#define UNEASY_NS      (300 * SWARM_MS)  /* nothing came for so long, and a piece's time */

bool swarm_was_fetcher(const struct swarm_layer *l, const struct node_key *k)
{
    for (u32 i = 0; i < l->n_fetchers && i < SWARM_FETCHERS; i++)
        if (node_key_equal(&l->fetchers[i], k))
            return true;
    return false;
}

void swarm_know_fetcher(struct swarm_layer *l, const struct node_key *k)
{
    if (!swarm_was_fetcher(l, k))
        l->fetchers[l->n_fetchers++ % SWARM_FETCHERS] = *k;
}

/* --- asking ---------------------------------------------------------------------------------- */

static void guest_self(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    const struct swarm_join_message j = {.size = l->size,
                                         .can_fetch = l->can_fetch,
                                         .complete = l->complete,
                                         .stuck = swarm_is_stuck(l, now_ns),
                                         .distrusts = l->n_forgers > 0,
                                         .forger = swarm_last_forger(l),
                                         .have = l->map.have,
                                         .coord = *member_coord(s->member),
                                         .origin = l->own_origin ? l->origin : NULL};
    swarm_guest(s, l, &s->self, &j, now_ns);
}

static void join_self(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    u64 names[SWARM_NAMES];
    guest_self(s, l, now_ns);
    u32 n = swarm_home_names(s, l, &s->self, names);
    for (u32 i = 0; i < n; i++) {
        struct member_view v;
        u8 sender[8];
        for (int b = 0; b < 8; b++)
            sender[b] = (u8)(names[i] >> (56 - 8 * b));
        if (member_find_sender(s->member, sender, &v))
            swarm_candidate_add(s, l, &v.record->key);
    }
    if (l->home)
        l->share = swarm_share_of(l->home, &s->self);
    l->nobody = l->home && l->home->nobody;
    l->fetched = l->home && swarm_lease_lives(s, &l->home->lease, now_ns);
    l->welcome_ns = now_ns;
}

static void next_rank(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    l->join_since_ns = now_ns;
    l->unheard_ns = 0;
    l->rank = (l->rank + 1) % l->n_ranks;
    if (l->rank > 0)
        return;
    if (swarm_ranks_near(l, now_ns)) /* all were asked in vain */
        l->alone = true;
    else
        swarm_rank_near(s, l, now_ns);
}

static void say_join(struct swarm *s, const struct swarm_layer *l, const struct node_key *to)
{
    swarm_order(
        s, &(struct swarm_out){.kind = MSG_JOIN, .layer = l->slot, .word = l->word, .to = *to});
}

/* It was asked, and has not answered in the time between two JOINs. */
static bool is_late(const struct swarm_layer *l, u64 now_ns)
{
    return l->unheard_ns && now_ns - l->unheard_ns >= SWARM_JOIN_NS;
}

/* Nothing comes any more: is the home still there? */
static void be_uneasy(struct swarm_layer *l, u64 now_ns)
{
    if (!l->wanted || l->unheard_ns || !(l->fetched || l->map.have > 0) ||
        now_ns - l->gained_ns < UNEASY_NS + l->piece_ns ||
        now_ns - l->welcome_ns < SWARM_UNREACHED_NS)
        return;
    l->join_ns = now_ns;
}

static void ask_home(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    bool answered = l->welcome_ns && now_ns - l->welcome_ns < 2 * SWARM_REFRESH_NS;
    if (l->unheard_ns && now_ns - l->unheard_ns > SWARM_UNREACHED_NS)
        next_rank(s, l, now_ns);
    else if (l->rank > 0 && answered && now_ns - l->join_since_ns > SWARM_STUCK_NS) {
        l->rank = 0; /* is it back? */
        l->join_since_ns = now_ns;
        l->welcome_ns = l->unheard_ns = 0;
    }
    const struct node_key *to = &l->ranks[l->rank];
    if (node_key_equal(to, &s->self)) {
        l->join_ns = now_ns + SWARM_SEEK_NS;
        join_self(s, l, now_ns);
        return;
    }
    l->join_ns = now_ns + SWARM_JOIN_NS;
    if (l->unheard_ns == 0)
        l->unheard_ns = now_ns;
    l->joins++;
    say_join(s, l, to);
    const struct node_key *next = &l->ranks[(l->rank + 1) % l->n_ranks];
    if (is_late(l, now_ns) && node_key_equal(next, &s->self))
        guest_self(s, l, now_ns);
    else if (is_late(l, now_ns) && next != to)
        say_join(s, l, next);
    if (l->alone)
        join_self(s, l, now_ns);
}

void swarm_welcomed(struct swarm *s, struct swarm_layer *l, const struct node_key *from,
                    const struct swarm_welcome *w, u64 now_ns)
{
    struct member_view v;
    u8 sender[8];
    if (l->n_ranks == 0)
        return;
    u32 rank = swarm_rank_of(l, from);
    if (rank != l->rank && rank < SWARM_RANKS && is_late(l, now_ns) && w->fetcher) {
        l->rank = rank; /* it acts, and ours does not answer */
        l->join_since_ns = now_ns;
    }
    if (rank != l->rank)
        return;
    bool seeks = l->wanted && (l->n_peers < ENOUGH || now_ns - l->begun_ns < SHARES_NS);
    if (l->unheard_ns && l->join_ns)
        l->join_ns = now_ns + (seeks ? SWARM_SEEK_NS : SWARM_REFRESH_NS);
    l->welcome_ns = now_ns;
    l->unheard_ns = 0;
    l->alone = false;
    l->nobody = w->nobody;
    l->fetched = w->fetcher != 0;
    l->backoff_ns = now_ns + w->backoff_ns;
    l->share = w->share;
    for (int b = 0; b < 8; b++)
        sender[b] = (u8)(w->fetcher >> (56 - 8 * b));
    if (w->fetcher && member_find_sender(s->member, sender, &v))
        swarm_know_fetcher(l, &v.record->key);
    swarm_wake(l, now_ns);
}

/* Is any piece that we lack to be had from anybody? */
static bool has_hope(const struct swarm_layer *l)
{
    for (u32 p = piece_map_next(&l->map, 0, false); p < l->n;
         p = piece_map_next(&l->map, p + 1, false))
        if (l->avail[p] > 0)
            return true;
    return false;
}

/* Whatever the reason: no swarm is a reason not to finish. All others may come to think so at the
 * same time: who is first tells the home, and the home the others. */
static void fetch_alone(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    u64 patience = l->fetched ? SWARM_WAITED_NS : SWARM_ALONE_NS;
    if (!l->wanted || !l->can_fetch || l->lease.state != LEASE_NONE ||
        now_ns - l->gained_ns <= patience || now_ns - l->alone_ns <= patience ||
        !swarm_is_stuck(l, now_ns)) {
        l->alone_due_ns = 0;
        return;
    }
    if (l->alone_due_ns == 0) {
        u64 turn_ns = l->fetched ? SLOW_TURN_NS : TURN_NS;
        u64 turns = member_count(s->member, MEMBER_ALIVE) + 1;
        l->alone_due_ns = now_ns + SWARM_STUCK_NS + rng_below(&s->rng, turn_ns * turns);
    }
    if (now_ns < l->alone_due_ns) {
        swarm_wake(l, l->alone_due_ns);
        return;
    }
    l->alone_ns = now_ns;
    l->alone_due_ns = 0;
    s->stats.alone++;
    swarm_appointed(s, l, &s->self, 1, now_ns);
}

void swarm_join_tick(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    bool relays = l->home && l->home->relays;
    if (!l->wanted && !relays && !(l->complete && l->join_ns))
        return;
    if (l->n_ranks == 0)
        swarm_rank(s, l, now_ns);
    if (l->n_ranks == 0)
        return;
    if (l->join_since_ns == 0)
        l->join_since_ns = now_ns;
    if (l->rank >= l->n_ranks)
        l->rank = 0;
    be_uneasy(l, now_ns);
    if (now_ns >= l->join_ns) {
        ask_home(s, l, now_ns);
        if (l->complete && !relays) /* said once; the inventory tells the rest */
            l->join_ns = 0;
    } else {
        swarm_wake(l, l->join_ns);
    }
    fetch_alone(s, l, now_ns);
    if (l->wanted && l->nobody && l->lease.state == LEASE_NONE && now_ns >= l->give_up_ns &&
        now_ns - l->gained_ns > SWARM_GIVE_UP_NS && !has_hope(l)) {
        struct swarm_step *step = swarm_step_new(s, l, SWARM_GIVE_UP);
        if (step)
            step->reason = "nobody has it, and nobody can fetch it";
        l->give_up_ns = now_ns + SWARM_GIVE_UP_NS;
    }
}

/* --- fetching -------------------------------------------------------------------------------- */

void swarm_tell_lease(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    l->lease.have = l->map.have;
    l->lease.heard_ns = l->lease_ns = now_ns;
    swarm_rank(s, l, now_ns);
    bool home_told = false;
    for (u32 i = 0; i < l->n_ranks; i++) {
        if (node_key_equal(&l->ranks[i], &s->self))
            continue;
        home_told |= node_key_equal(&l->ranks[i], &l->lease.home);
        swarm_order(s, &(struct swarm_out){.kind = MSG_LEASE,
                                           .reason = (u8)l->lease.state,
                                           .layer = l->slot,
                                           .word = l->word,
                                           .to = l->ranks[i]});
    }
    if (!home_told && !node_key_equal(&l->lease.home, &s->self))
        swarm_order(s, &(struct swarm_out){.kind = MSG_LEASE,
                                           .reason = (u8)l->lease.state,
                                           .layer = l->slot,
                                           .word = l->word,
                                           .to = l->lease.home});
    if (l->home || swarm_rank_of(l, &s->self) < SWARM_RANKS) {
        const struct swarm_lease own = l->lease;
        swarm_lease_told(s, l, &s->self, &own, now_ns);
    }
}

static bool is_fetching(const struct swarm_layer *l)
{
    return l->lease.state == LEASE_RUNS || l->lease.state == LEASE_WAITS;
}

static void step_fetch(struct swarm *s, struct swarm_layer *l, u32 first, u64 now_ns)
{
    struct swarm_step *step = swarm_step_new(s, l, SWARM_FETCH);
    l->stream_first = l->cursor = first;
    l->stream_ns = now_ns;
    if (!step)
        return;
    step->first = first;
    step->reason = l->lease.number > 1 ? "the fetcher before is gone" : "appointed";
    if (l->origin)
        memcpy(step->origin, l->origin, strlen(l->origin) + 1);
}

/* Those who fetched before us and have fallen silent: what they alone have is lost with them. */
static u64 silent_fetchers(const struct swarm_layer *l, u64 now_ns)
{
    u64 peers = 0;
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS; i++) {
        const struct swarm_peer *p = &l->peers[i];
        if (p->used && now_ns - p->heard_ns > FELL_SILENT_NS && swarm_was_fetcher(l, &p->key))
            peers |= swarm_peer_bit(l, p);
    }
    return peers;
}

/* The first piece that nobody in sight has. After a forgery what others have may be of the forged
 * chain, and who let us wait for too long is not waited for again: then it is the first that is
 * not here. */
static u32 first_to_fetch(const struct swarm_layer *l, u64 now_ns)
{
    const u64 silent = silent_fetchers(l, now_ns);
    bool starved = l->wanted && now_ns - l->gained_ns > SWARM_IN_LINE_NS;
    u32 p = l->n > 0 ? piece_map_next(&l->map, 0, false) : 0;
    while (p < l->n && l->n_forgers == 0 && !starved && (l->holders[p] & ~silent) != 0)
        p = piece_map_next(&l->map, p + 1, false);
    return p;
}

void swarm_appointed(struct swarm *s, struct swarm_layer *l, const struct node_key *home,
                     u32 number, u64 now_ns)
{
    if (is_fetching(l) || l->complete) {
        if (l->complete || number <= l->lease.number) {
            struct swarm_lease done = l->lease;
            l->lease.home = *home;
            l->lease.fetcher = s->self;
            l->lease.number = number;
            if (l->complete)
                l->lease.state = LEASE_DONE;
            swarm_tell_lease(s, l, now_ns);
            if (l->complete)
                l->lease = (struct swarm_lease){.state = LEASE_NONE};
            else if (number < done.number)
                l->lease.number = done.number;
            return;
        }
        l->lease.home = *home;
        l->lease.number = number;
        swarm_tell_lease(s, l, now_ns);
        return;
    }
    l->lease = (struct swarm_lease){
        .state = LEASE_RUNS, .home = *home, .fetcher = s->self, .number = number};
    swarm_know_fetcher(l, &s->self);
    l->used_ns = now_ns;
    if (l->n > 0 && !l->offers)
        swarm_offer_begin(s, l, now_ns);
    step_fetch(s, l, first_to_fetch(l, now_ns), now_ns);
    swarm_tell_lease(s, l, now_ns);
    swarm_wake(l, now_ns);
}

void swarm_stop(struct swarm *s, struct swarm_layer *l, enum swarm_lease_state why, u64 now_ns)
{
    if (!is_fetching(l))
        return;
    l->lease.state = why;
    swarm_tell_lease(s, l, now_ns);
    l->lease.state = LEASE_NONE;
    if (why == LEASE_YIELDED && !l->complete) {
        struct swarm_step *step = swarm_step_new(s, l, SWARM_YIELD);
        if (step)
            step->reason = "another fetches it";
    }
    if (why != LEASE_DONE)
        swarm_offer_end(s, l, now_ns);
    swarm_wake(l, now_ns);
}

void swarm_registry(struct swarm *s, const struct digest *d, enum swarm_registry what, u64 for_ns,
                    u64 now_ns)
{
    struct swarm_layer *l = swarm_find(s, d);
    if (!l || !is_fetching(l))
        return;
    switch (what) {
    case SWARM_REGISTRY_WELL:
        l->lease.state = LEASE_RUNS;
        swarm_tell_lease(s, l, now_ns);
        break;
    case SWARM_REGISTRY_BACKOFF:
        l->lease.state = LEASE_WAITS;
        l->lease.until_ns = l->backoff_ns = now_ns + for_ns;
        swarm_tell_lease(s, l, now_ns);
        break;
    case SWARM_REGISTRY_CUT: swarm_stop(s, l, LEASE_CUT, now_ns); break;
    case SWARM_REGISTRY_REFUSED:
        if (!l->own_origin && !node_key_equal(&l->lease.home, &s->self))
            rate_charge(&s->misled, node_key_word(&l->lease.home), now_ns);
        swarm_stop(s, l, LEASE_REFUSED, now_ns);
        break;
    }
}

void swarm_fetch_tick(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    if (!is_fetching(l))
        return;
    if (now_ns - l->lease_ns > SWARM_VOID_NS) { /* we stood still, and another may fetch by now */
        swarm_stop(s, l, LEASE_YIELDED, now_ns);
        return;
    }
    if (now_ns - l->lease_ns >= SWARM_LEASE_NS)
        swarm_tell_lease(s, l, now_ns);
    swarm_wake(l, l->lease_ns + SWARM_LEASE_NS);
    /* The stream is through, and what others were to give did not come. */
    u64 usual = l->piece_ns > l->far_ns ? l->piece_ns : l->far_ns;
    u64 patience = 4 * usual > SWARM_VOID_NS ? 4 * usual : SWARM_VOID_NS;
    if (l->n > 0 && l->map.have < l->n && piece_map_next(&l->map, l->cursor, false) == l->n &&
        swarm_gains_nothing(l, patience, now_ns) && now_ns - l->stream_ns > patience)
        step_fetch(s, l, piece_map_next(&l->map, 0, false), now_ns);
}
