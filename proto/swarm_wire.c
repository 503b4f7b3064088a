/* swarm_wire.c - messages, out of the queue of orders and in. *word*: the first 8 bytes of the
 * digest as a number; it names a layer that both know. *name*: the first 8 bytes of a node key.
 *
 *   JOIN     [80, digest, size, flags, have, rank, origin, forger's name or 0, coordinate]
 *            flags: 1 can fetch, 2 leaves, 4 complete, 8 stuck, 16 has convicted a fetcher
 *   WELCOME  [81, word, flags, fetcher's name or 0, back-off in ms, names, n, at]
 *            flags: 1 nobody can fetch; of n near you, you are at
 *   QUERY    [82, digest]
 *   LEASE    [83, digest, state, home, fetcher, number, have, age in ms, wait in ms]
 *   APPOINT  [84, digest, size, number, origin]
 *   STOP     [85, word]
 *   HELLO    [86, digest, size, session, flags, your session, of your log, of mine, map,
 *             coordinate]
 *            flags: 1 complete, 2 offers singly
 *   NEWS     [87, word, session, from, pieces, your session, of your log, load]
 *   OFFER    [88, word, session, pieces]
 *   BYE      [89, word, reason, names] */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/message.h"
#include "proto/swarm_impl.h"

static_assert((int)MSG_JOIN == (int)MSG_SWARM_FIRST && (int)MSG_BYE <= (int)MSG_SWARM_LAST,
              "within their range");

#define MAP_BYTES 900
#define NEWS_MOST 400
#define TIME_MS   3600000u /* the longest that is told */

/* --- out ------------------------------------------------------------------------------------- */

static void put_digest(struct wire_out *w, const struct digest *d)
{
    u8 name[1 + DIGEST_BYTES_MAX];
    size_t hash = digest_size((enum digest_alg)d->alg);
    name[0] = d->alg;
    memcpy(name + 1, d->bytes, hash);
    wire_put_bin(w, name, 1 + hash);
}

static void put_names(struct wire_out *w, const u64 *names, u32 n)
{
    u8 bin[8 * SWARM_NAMES] = {0};
    assert(n <= SWARM_NAMES);
    for (u32 i = 0; i < n; i++)
        for (u32 b = 0; b < 8; b++)
            bin[8 * i + b] = (u8)(names[i] >> (56 - 8 * b));
    wire_put_bin(w, bin, 8 * n);
}

static void put_join(const struct swarm *s, const struct swarm_layer *l, struct wire_out *w,
                     u64 now_ns)
{
    bool stuck = swarm_is_stuck(l, now_ns);
    wire_put_array(w, 9);
    wire_put_u64(w, MSG_JOIN);
    put_digest(w, &l->digest);
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

static void put_welcome(struct swarm *s, struct swarm_layer *l, const struct node_key *to,
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
    put_names(w, names, n);
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

static void put_lease(const struct swarm *s, const struct swarm_layer *l,
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
    put_digest(w, &l->digest);
    wire_put_u64(w, state);
    wire_put_key(w, &v->home);
    wire_put_key(w, &v->fetcher);
    wire_put_u64(w, v->number);
    wire_put_u64(w, v->have);
    wire_put_u64(w, state == LEASE_NONE ? 0 : age < TIME_MS ? age : TIME_MS);
    wire_put_u64(w, wait < TIME_MS ? wait : TIME_MS);
}

static void put_appoint(const struct swarm *s, const struct swarm_layer *l,
                        const struct node_key *to, struct wire_out *w, u64 now_ns)
{
    u64 size;
    const char *origin = swarm_origin_of(s, l, to, now_ns, &size);
    wire_put_array(w, 5);
    wire_put_u64(w, MSG_APPOINT);
    put_digest(w, &l->digest);
    wire_put_u64(w, size);
    wire_put_u64(w, l->home ? l->home->number : 0);
    wire_put_text(w, origin);
}

static void put_empty_map(struct wire_out *w)
{
    wire_put_array(w, 2);
    wire_put_u64(w, 0);
    wire_put_bin(w, NULL, 0);
}

static void put_hello(const struct swarm *s, struct swarm_layer *l, struct swarm_peer *p,
                      struct wire_out *w)
{
    bool all = l->complete && !l->offers, map = !all && !l->offers && l->n <= SWARM_MAP_MAX;
    u32 n = l->offers ? 0 : map || all ? l->n_log : 0, at = 0;
    wire_put_array(w, 10);
    wire_put_u64(w, MSG_HELLO);
    put_digest(w, &l->digest);
    wire_put_u64(w, l->size);
    wire_put_u64(w, l->session);
    wire_put_u64(w, (all ? 1u : 0) | (l->offers ? 2u : 0));
    wire_put_u64(w, p->met ? p->session : 0);
    wire_put_u64(w, p->seen);
    wire_put_u64(w, n);
    if (!map || !piece_map_put(&l->map, &at, MAP_BYTES, w))
        put_empty_map(w);
    coord_put(w, member_coord(s->member));
    if (p->sent < n)
        p->sent = n;
    swarm_news_change(l, p);
}

static void put_news(const struct swarm *s, struct swarm_layer *l, struct swarm_peer *p,
                     struct wire_out *w, u64 now_ns)
{
    u8 bin[2 * NEWS_MOST];
    u32 end = l->offers ? 0 : l->n_log, from = p->sent < end ? p->sent : end;
    u32 n = end - from < NEWS_MOST ? end - from : NEWS_MOST;
    for (u32 i = 0; i < n; i++) {
        bin[2 * i] = (u8)(l->log[from + i] >> 8);
        bin[2 * i + 1] = (u8)l->log[from + i];
    }
    wire_put_array(w, 9);
    wire_put_u64(w, MSG_NEWS);
    wire_put_u64(w, l->word);
    wire_put_u64(w, l->session);
    wire_put_u64(w, from);
    wire_put_bin(w, bin, 2 * (size_t)n);
    wire_put_u64(w, p->session);
    wire_put_u64(w, p->seen);
    p->told_load = swarm_load(s, l);
    wire_put_u64(w, p->told_load);
    wire_put_u64(w, swarm_is_hungry(s, l));
    if (p->told == p->sent)
        p->unacked_ns = now_ns;
    p->sent = from + n;
    p->sent_ns = now_ns;
    p->ack_due = false;
    swarm_news_change(l, p);
}

static void put_offer(const struct swarm_layer *l, u32 piece, struct wire_out *w)
{
    const u8 bin[2] = {(u8)(piece >> 8), (u8)piece};
    wire_put_array(w, 4);
    wire_put_u64(w, MSG_OFFER);
    wire_put_u64(w, l->word);
    wire_put_u64(w, l->session);
    wire_put_bin(w, bin, sizeof(bin));
}

/* Others of the swarm, for whom we have no room: those that have most first would be a star. */
static void put_bye(struct swarm *s, const struct swarm_layer *l, u64 word, int reason,
                    struct wire_out *w)
{
    u64 names[SWARM_NAMES] = {0};
    u32 n = 0, from = (u32)rng_below(&s->rng, LIMIT_SWARM_NEIGHBOURS);
    bool named = reason == BYE_FULL || reason == BYE_NAMES;
    for (u32 i = 0; l && named && i < LIMIT_SWARM_NEIGHBOURS && n < SWARM_NAMES / 2; i++) {
        const struct swarm_peer *p = &l->peers[(from + i) % LIMIT_SWARM_NEIGHBOURS];
        if (p->used && p->met && !p->barred)
            names[n++] = node_key_word(&p->key);
    }
    wire_put_array(w, 4);
    wire_put_u64(w, MSG_BYE);
    wire_put_u64(w, word);
    wire_put_u64(w, (u64)reason);
    put_names(w, names, n);
}

static bool put(struct swarm *s, const struct swarm_out *o, struct wire_out *w, u64 now_ns)
{
    struct swarm_layer *l = s->layers[o->layer];
    if (l && l->word != o->word)
        l = NULL;
    if (o->kind == MSG_BYE) {
        put_bye(s, l, o->word, o->reason, w);
        return true;
    }
    if (!l)
        return false;
    struct swarm_peer *p = &l->peers[o->arg % LIMIT_SWARM_NEIGHBOURS];
    bool neighbour = p->used && node_key_equal(&p->key, &o->to);
    switch (o->kind) {
    case MSG_JOIN: put_join(s, l, w, now_ns); return true;
    case MSG_WELCOME: put_welcome(s, l, &o->to, w, now_ns); return true;
    case MSG_QUERY:
        wire_put_array(w, 2);
        wire_put_u64(w, MSG_QUERY);
        put_digest(w, &l->digest);
        return true;
    case MSG_LEASE:
        put_lease(s, l, (enum swarm_lease_state)(o->reason & 15), o->arg, w, now_ns);
        return true;
    case MSG_APPOINT: put_appoint(s, l, &o->to, w, now_ns); return true;
    case MSG_STOP:
        wire_put_array(w, 2);
        wire_put_u64(w, MSG_STOP);
        wire_put_u64(w, l->word);
        return true;
    case MSG_HELLO:
        if (neighbour && l->n > 0)
            put_hello(s, l, p, w);
        return neighbour && l->n > 0;
    case MSG_NEWS:
        if (neighbour) {
            p->queued = false;
            put_news(s, l, p, w, now_ns);
        }
        return neighbour;
    case MSG_OFFER:
        if (neighbour && l->offers)
            put_offer(l, o->piece, w);
        return neighbour && l->offers;
    }
    return false;
}

bool swarm_write(struct swarm *s, struct node_key *to, struct wire_out *w, u64 now_ns)
{
    while (s->out_n > 0) {
        const struct swarm_out o = s->out[s->out_first];
        s->out_first = (s->out_first + 1) % s->out_cap;
        s->out_n--;
        *to = o.to;
        if (put(s, &o, w, now_ns))
            return true;
    }
    return false;
}

/* --- in -------------------------------------------------------------------------------------- */

static void get_digest(struct wire_in *r, struct digest *d)
{
    size_t len;
    memset(d, 0, sizeof(*d));
    const u8 *name = wire_get_bin(r, 1 + DIGEST_BYTES_MAX, &len);
    size_t hash = name && len > 0 ? digest_size((enum digest_alg)name[0]) : 0;
    if (hash == 0 || len != 1 + hash) {
        r->bad = true;
        return;
    }
    d->alg = name[0];
    memcpy(d->bytes, name + 1, hash);
}

static const u8 *get_names(struct wire_in *r, size_t *len)
{
    const u8 *bin = wire_get_bin(r, 8 * SWARM_NAMES, len);
    if (!bin || *len % 8 != 0)
        r->bad = true;
    return bin;
}

static struct swarm_layer *layer_for(struct swarm *s, const struct digest *d, u64 now_ns)
{
    struct swarm_layer *l = swarm_find(s, d);
    return l ? l : swarm_add(s, d, now_ns);
}

static int read_join(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns)
{
    struct digest d;
    char origin[SWARM_ORIGIN_MAX + 1];
    struct swarm_join_message j = {0};
    get_digest(r, &d);
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

static int read_welcome(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns)
{
    size_t len;
    struct swarm_layer *l = swarm_find_word(s, wire_get_u64(r));
    struct swarm_welcome w = {.nobody = wire_get_u64(r) & 1, .fetcher = wire_get_u64(r)};
    w.backoff_ns = wire_get_max(r, TIME_MS) * SWARM_MS;
    const u8 *names = get_names(r, &len);
    if (wire_ok(r) && wire_left(r) > 0) { /* the version before ends here */
        w.share.n = (u32)wire_get_max(r, LIMIT_MEMBERS);
        w.share.at = (u32)wire_get_max(r, LIMIT_MEMBERS);
    }
    if (!wire_ok(r) || (w.share.n > 0 && w.share.at >= w.share.n))
        return ERR_PROTO;
    if (!l || (!l->wanted && !l->home))
        return 0;
    swarm_names(s, l, names, len);
    swarm_welcomed(s, l, from, &w, now_ns);
    return 0;
}

static int read_query(struct swarm *s, const struct node_key *from, struct wire_in *r)
{
    struct digest d;
    get_digest(r, &d);
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

static int read_lease(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns)
{
    struct digest d;
    struct swarm_lease v = {.state = LEASE_NONE};
    get_digest(r, &d);
    v.state = (enum swarm_lease_state)wire_get_max(r, LEASE_STATES - 1);
    wire_get_key(r, &v.home);
    wire_get_key(r, &v.fetcher);
    v.number = (u32)wire_get_max(r, UINT32_MAX);
    v.have = (u32)wire_get_max(r, LIMIT_PIECES);
    u64 age = wire_get_max(r, TIME_MS), wait = wire_get_max(r, TIME_MS);
    if (!wire_ok(r))
        return ERR_PROTO;
    struct swarm_layer *l = v.state == LEASE_NONE ? swarm_find(s, &d) : layer_for(s, &d, now_ns);
    if (!l || v.number > (u32)1 << 30)
        return 0;
    v.heard_ns = now_ns > age * SWARM_MS ? now_ns - age * SWARM_MS : 0;
    v.until_ns = now_ns + wait * SWARM_MS;
    swarm_lease_told(s, l, from, &v, now_ns);
    return 0;
}

static int read_appoint(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns)
{
    struct digest d;
    char origin[SWARM_ORIGIN_MAX + 1];
    get_digest(r, &d);
    u64 size = wire_get_u64(r);
    u32 number = (u32)wire_get_max(r, (u32)1 << 30);
    wire_get_text(r, origin, sizeof(origin));
    if (!wire_ok(r))
        return ERR_PROTO;
    struct swarm_layer *l = layer_for(s, &d, now_ns);
    if (!l)
        return 0;
    if (!l->wanted && !rate_has(&s->misled, node_key_word(from), now_ns)) {
        s->stats.unheeded++; /* it sent us where nothing was, too often */
        return 0;
    }
    swarm_origin_told(l, origin, size);
    swarm_appointed(s, l, from, number, now_ns);
    return 0;
}

static int read_stop(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns)
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

/* Somebody asks for a layer that no swarm here knows. */
static void call_seed(struct swarm *s, struct swarm_layer *l, const struct node_key *from,
                      const struct digest *d, u64 now_ns)
{
    if (!inventory_holds(s->inventory, d)) {
        swarm_order(
            s, &(struct swarm_out){
                   .kind = MSG_BYE, .reason = BYE_NOT_HERE, .word = swarm_word(d), .to = *from});
        return;
    }
    if (!l && !(l = swarm_add(s, d, now_ns)))
        return;
    l->used_ns = now_ns;
    for (u32 i = 0; i < l->n_callers; i++)
        if (node_key_equal(&l->callers[i], from))
            return;
    if (l->n_callers < SWARM_CALLERS)
        l->callers[l->n_callers++] = *from;
    if (!l->pending)
        (void)swarm_step_new(s, l, SWARM_SEED);
    l->pending = true;
}

/* It does not know us, or not any more: all is told anew. */
static void forgotten(struct swarm_peer *p)
{
    if (p->acked_hello)
        p->hellos = 0;
    p->acked_hello = false;
    p->told = p->sent = 0;
}

static void take_ack(struct swarm_layer *l, struct swarm_peer *p, u64 session, u32 seen, u64 now_ns)
{
    u32 n = l->offers ? 0 : l->n_log;
    if (session != l->session || seen > n)
        return;
    p->acked_hello = true;
    if (seen > p->told) {
        p->told = seen;
        p->unacked_ns = now_ns;
    }
    if (p->sent < p->told)
        p->sent = p->told;
}

static void greet(struct swarm_layer *l, struct swarm_peer *p, u32 session, u64 flags, u32 n,
                  u64 now_ns)
{
    if (!p->met || p->session != session) {
        swarm_peer_clear(l, p);
        p->seen = 0;
        p->ack_due = true;
        if (p->forgiven < l->n_forgers) { /* what it gave was wrong because it believed a forger */
            p->forgiven = l->n_forgers;
            p->forgiven_ns = now_ns;
            p->strikes = 0;
        }
    }
    p->met = true;
    p->session = session;
    p->super = flags & 2;
    p->complete = flags & 1;
    if (n > p->seen)
        p->seen = n;
}

static int read_hello(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns)
{
    struct digest d;
    get_digest(r, &d);
    u64 size = wire_get_u64(r);
    u32 session = (u32)wire_get_max(r, UINT32_MAX);
    u64 flags = wire_get_u64(r), yours = wire_get_u64(r);
    u32 seen = (u32)wire_get_max(r, LIMIT_PIECES), n = (u32)wire_get_max(r, LIMIT_PIECES);
    if (!wire_ok(r))
        return ERR_PROTO;
    struct swarm_layer *l = swarm_find(s, &d);
    if (!l || l->n == 0 || (!l->wanted && !l->complete && l->map.have == 0)) {
        call_seed(s, l, from, &d, now_ns);
        return 0;
    }
    struct swarm_peer *p = swarm_peer_find(l, from);
    if (swarm_is_forger(l, from))
        return 0;
    if (size != l->size) { /* ours is from a registry or a ticket */
        s->stats.malformed++;
        return 0;
    }
    if (!p && !(p = swarm_peer_new(s, l, from, now_ns))) {
        swarm_say_bye(s, l, from, BYE_FULL);
        return 0;
    }
    bool fresh = !p->met || p->session != session;
    swarm_news_change(l, p);
    l->used_ns = p->heard_ns = now_ns;
    greet(l, p, session, flags, n, now_ns);
    if (wire_left(r) > 0) {
        struct piece_map map;
        if (piece_map_init(&map, l->n))
            return 0;
        piece_map_get(&map, r);
        for (u32 i = piece_map_next(&map, 0, true); wire_ok(r) && i < l->n;
             i = piece_map_next(&map, i + 1, true))
            swarm_peer_has(s, l, p, i, now_ns);
        piece_map_fini(&map);
    }
    for (u32 i = 0; (flags & 1) && i < l->n; i++)
        swarm_peer_has(s, l, p, i, now_ns);
    if (wire_ok(r) && wire_left(r) > 0) { /* the version before ends here */
        struct coord coord;
        coord_get(r, &coord);
        p->far = p->far && !(wire_ok(r) && swarm_stands_near(s, &coord));
    }
    bool answers = !p->acked_hello && p->hellos == 1;
    if (yours == l->session)
        take_ack(l, p, yours, seen, now_ns);
    else
        forgotten(p);
    if (answers && p->acked_hello && now_ns - p->hello_ns < SWARM_NEAR_NS)
        p->far = false; /* whatever coordinates say, or do not say yet */
    if (!p->acked_hello || fresh)
        swarm_say_hello(s, l, p, now_ns);
    swarm_pick(s, l, now_ns);
    swarm_offer_tick(s, l, now_ns);
    return wire_ok(r) ? 0 : ERR_PROTO;
}

/* Is any of them missing here? */
static bool take_pieces(struct swarm *s, struct swarm_layer *l, struct swarm_peer *p, const u8 *bin,
                        size_t len, u64 now_ns)
{
    bool lacking = false;
    for (size_t at = 0; at + 2 <= len; at += 2) {
        u32 piece = (u32)bin[at] << 8 | bin[at + 1];
        lacking |= piece < l->n && !piece_map_has(&l->map, piece);
        swarm_peer_has(s, l, p, piece, now_ns);
    }
    if (p->have == l->n)
        p->complete = true;
    return lacking;
}

/* The neighbour that a message comes from; NULL: none, and it is told so. */
static struct swarm_peer *neighbour(struct swarm *s, struct swarm_layer *l, u64 word,
                                    const struct node_key *from)
{
    struct swarm_peer *p = l ? swarm_peer_find(l, from) : NULL;
    if (p)
        swarm_news_change(l, p);
    else
        swarm_order(
            s, &(struct swarm_out){.kind = MSG_BYE, .reason = BYE_GONE, .word = word, .to = *from});
    return p;
}

static int read_news(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns)
{
    size_t len;
    u64 word = wire_get_u64(r);
    u32 session = (u32)wire_get_max(r, UINT32_MAX), first = (u32)wire_get_max(r, LIMIT_PIECES);
    const u8 *bin = wire_get_bin(r, 2 * LIMIT_PIECES, &len);
    u64 yours = wire_get_u64(r);
    u32 seen = (u32)wire_get_max(r, LIMIT_PIECES);
    u32 load = (u32)wire_get_max(r, LIMIT_SWARM_SERVES);
    bool hungry = wire_left(r) > 0 && wire_get_u64(r) > 0; /* the version before does not say */
    if (!wire_ok(r) || len % 2)
        return ERR_PROTO;
    struct swarm_layer *l = swarm_find_word(s, word);
    struct swarm_peer *p = neighbour(s, l, word, from);
    if (!p)
        return 0;
    const u32 uploads = swarm_uploads(s, l);
    bool idle = load < uploads && p->load >= uploads;
    if (idle && swarm_singly(s, l))
        p->busy_ns = now_ns; /* it calls */
    p->heard_ns = now_ns;
    p->load = load;
    p->hungry_ns = hungry ? now_ns : 0;
    if (!p->met || p->session != session) { /* it is late, or a HELLO was lost: they will say */
        if (now_ns - p->hello_ns >= SWARM_HELLO_NS)
            swarm_say_hello(s, l, p, now_ns);
        return 0;
    }
    u32 n = (u32)(len / 2);
    take_ack(l, p, yours, seen, now_ns);
    if (n > 0)
        p->ack_due = true;
    /* What was lost before it comes again, and is acknowledged first. */
    if (n > 0 && first + n > p->seen) {
        u32 skip = first < p->seen ? p->seen - first : 0;
        if (first <= p->seen)
            p->seen = first + n;
        idle |= take_pieces(s, l, p, bin + 2 * (size_t)skip, len - 2 * (size_t)skip, now_ns);
        swarm_offer_tick(s, l, now_ns);
    }
    if (idle)
        swarm_pick(s, l, now_ns);
    if (hungry)
        swarm_call(s, l, now_ns);
    swarm_news_due(s, l, now_ns);
    return 0;
}

static int read_offer(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns)
{
    size_t len;
    u64 word = wire_get_u64(r), session = wire_get_u64(r);
    const u8 *bin = wire_get_bin(r, 2 * LIMIT_PIECES, &len);
    if (!wire_ok(r) || len % 2)
        return ERR_PROTO;
    struct swarm_layer *l = swarm_find_word(s, word);
    struct swarm_peer *p = neighbour(s, l, word, from);
    if (!p || !p->met || p->session != session)
        return 0;
    p->heard_ns = now_ns;
    (void)take_pieces(s, l, p, bin, len, now_ns);
    swarm_pick(s, l, now_ns);
    return 0;
}

static int read_bye(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns)
{
    size_t len;
    struct swarm_layer *l = swarm_find_word(s, wire_get_u64(r));
    u64 reason = wire_get_u64(r);
    const u8 *names = get_names(r, &len);
    if (!wire_ok(r))
        return ERR_PROTO;
    if (!l || l->n == 0)
        return 0;
    swarm_names(s, l, names, len);
    struct swarm_peer *p = swarm_peer_find(l, from);
    if (p && reason != BYE_NAMES)
        swarm_peer_drop(s, l, p, -1, now_ns);
    swarm_pick(s, l, now_ns);
    return 0;
}

int swarm_read(struct swarm *s, const struct node_key *from, unsigned number, struct wire_in *msg,
               u64 now_ns)
{
    int err = ERR_UNSUPPORTED;
    switch (number) {
    case MSG_JOIN: err = read_join(s, from, msg, now_ns); break;
    case MSG_WELCOME: err = read_welcome(s, from, msg, now_ns); break;
    case MSG_QUERY: err = read_query(s, from, msg); break;
    case MSG_LEASE: err = read_lease(s, from, msg, now_ns); break;
    case MSG_APPOINT: err = read_appoint(s, from, msg, now_ns); break;
    case MSG_STOP: err = read_stop(s, from, msg, now_ns); break;
    case MSG_HELLO: err = read_hello(s, from, msg, now_ns); break;
    case MSG_NEWS: err = read_news(s, from, msg, now_ns); break;
    case MSG_OFFER: err = read_offer(s, from, msg, now_ns); break;
    case MSG_BYE: err = read_bye(s, from, msg, now_ns); break;
    }
    s->stats.malformed += err == ERR_PROTO;
    return err;
}
