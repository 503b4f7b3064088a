/* swarm_wire_home.c - messages between a home, those who ask it, and the fetcher. */
#include "proto/swarm_wire.h"

#include <stdlib.h>
#include <string.h>

#define TIME_MS 3600000u /* the longest that is told, */
#define WAIT_MS 60000u   /* and that is believed of what others wait: they say it again */

/* --- out ------------------------------------------------------------------------------------- */

void swarm_put_join(const struct swarm *s, const struct swarm_layer *l, struct wire_out *w,
                    u64 now_ns)
{
    bool stuck = swarm_is_stuck(l, now_ns);
    wire_put_array(w, 9);
    wire_put_u64(w, MSG_JOIN);
    swarm_put_digest(w, &l->digest);
    u64 size;
    const char *origin = swarm_origin_of(s, l, NULL, now_ns, &size);
    wire_put_u64(w, size);
    wire_put_u64(w, (l->can_fetch ? 1u : 0) | (l->complete ? 4u : 0) | (stuck ? 8u : 0) |
                        (l->n_forgers ? 16u : 0));
    wire_put_u64(w, l->map.have);
    wire_put_u64(w, l->rank);
    wire_put_text(w, origin);
    wire_put_u64(w, swarm_last_forger(l));
    coord_put(w, member_coord(s->member));
}

void swarm_put_welcome(struct swarm *s, struct swarm_layer *l, const struct node_key *to,
                       struct wire_out *w, u64 now_ns)
{
    u64 names[SWARM_NAMES] = {0};
    const struct swarm_home *h = l->home;
    u32 n = swarm_home_names(s, l, to, names);
    const struct swarm_share share = h ? swarm_share_of(h, to) : (struct swarm_share){0};
    bool lives = h && swarm_lease_lives(s, &h->lease, now_ns);
    u64 wait = lives && h->lease.state == LEASE_WAITS && h->lease.until_ns > now_ns
                   ? (h->lease.until_ns - now_ns) / SWARM_MS
                   : 0;
    wire_put_array(w, 8);
    wire_put_u64(w, MSG_WELCOME);
    wire_put_u64(w, l->word);
    wire_put_u64(w, h && h->nobody ? 1 : 0);
    wire_put_u64(w, lives ? node_key_word(&h->lease.fetcher) : 0);
    wire_put_u64(w, wait < TIME_MS ? wait : TIME_MS);
    swarm_put_names(w, names, n);
    wire_put_u64(w, share.n);
    wire_put_u64(w, share.at);
}

/* Of a LEASE: ours, what we know as a home, or merely that somebody holds the layer. */
enum { LEASE_OWN, LEASE_KNOWN, LEASE_HELD };

/* Who holds it; false: nobody known. */
static bool holder_of(const struct swarm *s, const struct swarm_layer *l, struct node_key *out)
{
    if (l->complete)
        *out = s->self;
    return l->complete || inventory_holders(s->inventory, &l->digest, out, 1) > 0;
}

void swarm_put_lease(const struct swarm *s, const struct swarm_layer *l,
                     enum swarm_lease_state state, u32 whose, struct wire_out *w, u64 now_ns)
{
    struct swarm_lease held = {.home = s->self, .heard_ns = now_ns};
    const struct swarm_lease *v = whose == LEASE_OWN                ? &l->lease
                                  : whose == LEASE_KNOWN && l->home ? &l->home->lease
                                                                    : &held;
    if (whose == LEASE_HELD && !holder_of(s, l, &held.fetcher))
        state = LEASE_NONE;
    u64 age = (now_ns - v->heard_ns) / SWARM_MS;
    u64 wait = v->until_ns > now_ns ? (v->until_ns - now_ns) / SWARM_MS : 0;
    wire_put_array(w, 9);
    wire_put_u64(w, MSG_LEASE);
    swarm_put_digest(w, &l->digest);
    wire_put_u64(w, state);
    wire_put_key(w, &v->home);
    wire_put_key(w, &v->fetcher);
    wire_put_u64(w, v->number);
    wire_put_u64(w, v->have);
    wire_put_u64(w, state == LEASE_NONE ? 0 : age < TIME_MS ? age : TIME_MS);
    wire_put_u64(w, wait < TIME_MS ? wait : TIME_MS);
}

void swarm_put_appoint(const struct swarm *s, const struct swarm_layer *l,
                       const struct node_key *to, struct wire_out *w, u64 now_ns)
{
    u64 size;
    const char *origin = swarm_origin_of(s, l, to, now_ns, &size);
    wire_put_array(w, 5);
    wire_put_u64(w, MSG_APPOINT);
    swarm_put_digest(w, &l->digest);
    wire_put_u64(w, size);
    wire_put_u64(w, l->home ? l->home->number : 0);
    wire_put_text(w, origin);
}

/* --- in -------------------------------------------------------------------------------------- */

static u64 get_wait_ns(struct wire_in *r)
{
    u64 ms = wire_get_max(r, TIME_MS);
    return (ms < WAIT_MS ? ms : WAIT_MS) * SWARM_MS;
}

static struct swarm_layer *layer_for(struct swarm *s, const struct digest *d, u64 now_ns)
{
    struct swarm_layer *l = swarm_find(s, d);
    return l ? l : swarm_add(s, d, now_ns);
}

int swarm_read_join(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns)
{
    struct digest d;
    char origin[SWARM_ORIGIN_MAX + 1];
    struct swarm_join_message j = {0};
    swarm_get_digest(r, &d);
    j.size = wire_get_u64(r);
    u64 flags = wire_get_u64(r);
    j.have = (u32)wire_get_max(r, LIMIT_PIECES);
    j.rank = (u32)wire_get_max(r, SWARM_RANKS);
    wire_get_text(r, origin, sizeof(origin));
    coord_init(&j.coord);
    if (wire_ok(r) && wire_left(r) > 0) { /* the version before ends here */
        j.forger = wire_get_u64(r);
        coord_get(r, &j.coord);
    }
    if (!wire_ok(r))
        return ERR_PROTO;
    j.can_fetch = flags & 1;
    j.leaves = flags & 2;
    j.complete = flags & 4;
    j.stuck = flags & 8;
    j.distrusts = flags & 16;
    j.origin = origin;
    struct swarm_layer *l = j.leaves ? swarm_find(s, &d) : layer_for(s, &d, now_ns);
    if (!l)
        return 0;
    swarm_guest(s, l, from, &j, now_ns);
    return 0;
}

int swarm_read_welcome(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns)
{
    size_t len;
    struct swarm_layer *l = swarm_find_word(s, wire_get_u64(r));
    struct swarm_welcome w = {.nobody = wire_get_u64(r) & 1, .fetcher = wire_get_u64(r)};
    w.backoff_ns = get_wait_ns(r);
    const u8 *names = swarm_get_names(r, &len);
    if (wire_ok(r) && wire_left(r) > 0) { /* the version before ends here */
        w.share.n = (u32)wire_get_max(r, LIMIT_MEMBERS);
        w.share.at = (u32)wire_get_max(r, LIMIT_MEMBERS);
    }
    if (!wire_ok(r) || (w.share.n > 0 && w.share.at >= w.share.n))
        return ERR_PROTO;
    if (!l || (!l->wanted && !l->home))
        return 0;
    if (swarm_may_be_rank(s, l, from)) /* a home that we asked */
        swarm_names(s, l, names, len);
    swarm_welcomed(s, l, from, &w, now_ns);
    return 0;
}

int swarm_read_query(struct swarm *s, const struct node_key *from, struct wire_in *r)
{
    struct digest d;
    swarm_get_digest(r, &d);
    if (!wire_ok(r))
        return ERR_PROTO;
    struct swarm_layer *l = layer_for(s, &d, 0);
    if (!l)
        return 0;
    bool own = l->lease.state != LEASE_NONE;
    u32 state = own ? l->lease.state : l->home ? l->home->lease.state : LEASE_NONE;
    u32 whose = own ? LEASE_OWN : LEASE_KNOWN;
    struct node_key holder;
    /* A home that has just started knows no inventory yet. */
    if (!own && state != LEASE_RUNS && state != LEASE_WAITS && holder_of(s, l, &holder)) {
        state = LEASE_DONE;
        whose = LEASE_HELD;
    }
    swarm_order(s, &(struct swarm_out){.kind = MSG_LEASE,
                                       .reason = (u8)state,
                                       .layer = l->slot,
                                       .word = l->word,
                                       .to = *from,
                                       .arg = whose});
    return 0;
}

int swarm_read_lease(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns)
{
    struct digest d;
    struct swarm_lease v = {.state = LEASE_NONE};
    swarm_get_digest(r, &d);
    v.state = (enum swarm_lease_state)wire_get_max(r, LEASE_STATES - 1);
    wire_get_key(r, &v.home);
    wire_get_key(r, &v.fetcher);
    v.number = (u32)wire_get_max(r, UINT32_MAX);
    v.have = (u32)wire_get_max(r, LIMIT_PIECES);
    u64 age = wire_get_max(r, TIME_MS), wait_ns = get_wait_ns(r);
    if (!wire_ok(r))
        return ERR_PROTO;
    struct swarm_layer *l = v.state == LEASE_NONE ? swarm_find(s, &d) : layer_for(s, &d, now_ns);
    if (!l || v.number > SWARM_NUMBER_MAX)
        return 0;
    v.heard_ns = now_ns > age * SWARM_MS ? now_ns - age * SWARM_MS : 0;
    v.until_ns = now_ns + wait_ns;
    swarm_lease_told(s, l, from, &v, now_ns);
    return 0;
}

int swarm_read_appoint(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns)
{
    struct digest d;
    char origin[SWARM_ORIGIN_MAX + 1];
    swarm_get_digest(r, &d);
    u64 size = wire_get_u64(r);
    u32 number = (u32)wire_get_max(r, SWARM_NUMBER_MAX);
    wire_get_text(r, origin, sizeof(origin));
    if (!wire_ok(r))
        return ERR_PROTO;
    struct swarm_layer *l = layer_for(s, &d, now_ns);
    if (!l)
        return 0;
    swarm_rank(s, l, now_ns);
    if (!swarm_may_be_rank(s, l, from) ||
        (!l->wanted && !rate_has(&s->misled, node_key_word(from), now_ns))) {
        s->stats.unheeded++; /* it is no home, or sent us where nothing was, too often */
        return 0;
    }
    swarm_origin_told(l, origin, size);
    swarm_appointed(s, l, from, number, now_ns);
    return 0;
}

int swarm_read_stop(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns)
{
    struct swarm_layer *l = swarm_find_word(s, wire_get_u64(r));
    if (!wire_ok(r))
        return ERR_PROTO;
    if (!l)
        return 0;
    swarm_rank(s, l, now_ns);
    if (swarm_rank_of(l, from) < SWARM_RANKS || node_key_equal(from, &l->lease.home))
        swarm_stop(s, l, LEASE_YIELDED, now_ns);
    return 0;
}
