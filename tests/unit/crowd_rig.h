/* crowd_rig.h - a layer that a whole region of meshes wants, and who is bad at what: what the tests
 * of swarms share. Pieces travel at once; the registry gives one each 20 ms. */
#pragma once

#include "mesh_rig.h"

#include "proto/pieces.h"
#include "proto/swarm_impl.h"

#define SIZE   (20 * PIECE_MIN_BYTES) /* 20 pieces */
#define PIECES 20u
#define TICK   (20 * MS)

struct held { /* a request that its server keeps */
    u32 serve, request, piece;
    size_t from, to;
};

struct crowd {
    struct rig *r;
    struct digest d;
    bool has[RIG_NODES][PIECES], wants[RIG_NODES], complete[RIG_NODES], fetches[RIG_NODES];
    bool spoils[RIG_NODES], silent[RIG_NODES], cut[RIG_NODES], refuses[RIG_NODES], busy[RIG_NODES];
    u32 cursor[RIG_NODES];
    u64 begun_ns[RIG_NODES], notice_ns; /* how long it takes to see that one is cut off */
    struct held held[512];
    size_t n_held;
    size_t fetches_begun, at_once, given_up, registry_pieces, wrong, refused, misled;
};

static inline struct crowd *crowd_new(size_t nodes)
{
    struct crowd *c = calloc(1, sizeof(*c));
    assert_non_null(c);
    c->r = rig_region(nodes);
    rig_run(c->r, 5 * S);
    c->d = rig_layer(77);
    return c;
}

static inline void crowd_del(struct crowd *c)
{
    rig_del(c->r);
    free(c);
}

static inline struct mesh *mesh_at(struct crowd *c, size_t i)
{
    return c->r->n[i].m;
}

static inline void join(struct crowd *c, size_t i, bool can_fetch)
{
    struct swarm_want want = {
        .digest = c->d, .size = SIZE, .can_fetch = can_fetch, .origin = "hub/app"};
    c->wants[i] = true;
    assert_int_equal(mesh_swarm_join(mesh_at(c, i), &want, c->r->now_ns), 0);
    mesh_swarm_position(mesh_at(c, i), &c->d, 0);
}

static inline void gained(struct crowd *c, size_t i, u32 piece)
{
    c->has[i][piece] = true;
    for (u32 p = 0; p < PIECES; p++)
        if (!c->has[i][p])
            return;
    if (c->complete[i])
        return;
    c->complete[i] = true;
    c->fetches[i] = false;
    mesh_hold(mesh_at(c, i), &c->d, c->r->now_ns);
    mesh_swarm_complete(mesh_at(c, i), &c->d, c->r->now_ns);
}

static inline void deliver(struct crowd *c, const struct held *h)
{
    u64 now = c->r->now_ns;
    bool right = !c->spoils[h->to];
    mesh_swarm_started(mesh_at(c, h->from), h->request, now);
    mesh_swarm_came(mesh_at(c, h->from), h->request, h->piece, right, now);
    mesh_swarm_served(mesh_at(c, h->to), h->serve, true, now);
    c->wrong += !right;
    if (right)
        gained(c, h->from, h->piece);
}

static inline void asked(struct crowd *c, size_t i, const struct swarm_step *st)
{
    struct held h = {
        .request = st->id, .piece = st->first, .from = i, .to = rig_at(c->r, &st->addr)};
    assert_int_equal(st->count, 1);
    if (h.to == c->r->count || c->silent[h.to])
        return;
    if (c->busy[h.to]) {
        mesh_swarm_ended(mesh_at(c, i), st->id, SWARM_BUSY, c->r->now_ns);
        return;
    }
    switch (mesh_swarm_serve(mesh_at(c, h.to), &c->r->n[i].key, &c->d, st->first, 1, &h.serve,
                             c->r->now_ns)) {
    case SWARM_ANSWER_NOW: deliver(c, &h); break;
    case SWARM_ANSWER_WAIT:
        assert_true(c->n_held < countof(c->held));
        c->held[c->n_held++] = h;
        break;
    case SWARM_ANSWER_BUSY:
        mesh_swarm_ended(mesh_at(c, i), st->id, SWARM_BUSY, c->r->now_ns);
        break;
    case SWARM_ANSWER_MISSING:
        mesh_swarm_ended(mesh_at(c, i), st->id, SWARM_MISSING, c->r->now_ns);
        break;
    }
}

static inline void take_held(struct crowd *c, size_t server, u32 serve, bool give)
{
    for (size_t i = 0; i < c->n_held; i++)
        if (c->held[i].to == server && c->held[i].serve == serve) {
            struct held h = c->held[i];
            c->held[i] = c->held[--c->n_held];
            if (give && mesh_at(c, h.from))
                deliver(c, &h);
            else if (mesh_at(c, h.from))
                mesh_swarm_ended(mesh_at(c, h.from), h.request, SWARM_BUSY, c->r->now_ns);
            return;
        }
}

static inline void canceled(struct crowd *c, size_t i, u32 request)
{
    for (size_t k = 0; k < c->n_held; k++)
        if (c->held[k].from == i && c->held[k].request == request) {
            struct held h = c->held[k];
            c->held[k] = c->held[--c->n_held];
            if (mesh_at(c, h.to))
                mesh_swarm_served(mesh_at(c, h.to), h.serve, false, c->r->now_ns);
            return;
        }
}

static inline void step(struct crowd *c, size_t i, const struct swarm_step *st)
{
    assert_true(digest_equal(&st->digest, &c->d));
    switch (st->what) {
    case SWARM_FETCH:
        if (strcmp(st->origin, "hub/app") != 0 && !c->wants[i]) { /* it is not there */
            c->misled++;
            mesh_swarm_registry(mesh_at(c, i), &c->d, SWARM_REGISTRY_REFUSED, 0, c->r->now_ns);
            break;
        }
        assert_true(st->first <= PIECES);
        if (c->refuses[i]) {
            c->refused++;
            mesh_swarm_registry(mesh_at(c, i), &c->d, SWARM_REGISTRY_REFUSED, 0, c->r->now_ns);
            break;
        }
        if (!c->wants[i])
            join(c, i, true);
        c->fetches_begun += !c->fetches[i];
        c->fetches[i] = true;
        c->cursor[i] = st->first;
        c->begun_ns[i] = c->r->now_ns;
        break;
    case SWARM_YIELD: c->fetches[i] = false; break;
    case SWARM_ASK: asked(c, i, st); break;
    case SWARM_CANCEL: canceled(c, i, st->id); break;
    case SWARM_SERVE: take_held(c, i, st->id, true); break;
    case SWARM_DROP: take_held(c, i, st->id, false); break;
    case SWARM_SEED:
        assert_true(node_key_word(&st->peer) != 0);
        if (c->complete[i])
            assert_int_equal(mesh_swarm_seed(mesh_at(c, i), &c->d, SIZE, c->r->now_ns), 0);
        break;
    case SWARM_GIVE_UP: c->given_up++; break;
    }
}

static inline void fetch(struct crowd *c, size_t i)
{
    if (c->cut[i]) {
        if (c->r->now_ns - c->begun_ns[i] < c->notice_ns)
            return;
        c->fetches[i] = false;
        mesh_swarm_registry(mesh_at(c, i), &c->d, SWARM_REGISTRY_CUT, 0, c->r->now_ns);
        return;
    }
    while (c->cursor[i] < PIECES && c->has[i][c->cursor[i]])
        c->cursor[i]++;
    if (c->cursor[i] == PIECES)
        return;
    u32 piece = c->cursor[i]++;
    c->registry_pieces++;
    mesh_swarm_have(mesh_at(c, i), &c->d, piece, c->r->now_ns);
    gained(c, i, piece);
}

static inline void tick(struct crowd *c)
{
    struct swarm_step st;
    size_t fetchers = 0;
    rig_run(c->r, TICK);
    for (size_t i = 0; i < c->r->count; i++) {
        if (!mesh_at(c, i) || c->silent[i])
            continue;
        if (c->fetches[i])
            fetch(c, i);
        for (int n = 0; mesh_swarm_next(mesh_at(c, i), &st, c->r->now_ns); n++) {
            assert_true(n < 10000);
            step(c, i, &st);
        }
        fetchers += c->fetches[i];
    }
    c->at_once = fetchers > c->at_once ? fetchers : c->at_once;
}

static inline bool all_done(const struct crowd *c)
{
    for (size_t i = 0; i < c->r->count; i++)
        if (c->wants[i] && !c->complete[i] && c->r->n[i].m && !c->silent[i])
            return false;
    return true;
}

static inline bool run(struct crowd *c, u64 for_ns)
{
    u64 end = c->r->now_ns + for_ns;
    while (!all_done(c) && c->r->now_ns < end)
        tick(c);
    return all_done(c);
}

static inline size_t fetcher(const struct crowd *c)
{
    size_t i = 0;
    while (i < c->r->count && !c->fetches[i])
        i++;
    return i;
}

/* Nothing goes to or comes from the nodes that are silent. */
static inline bool pass(struct rig *r, struct rig_packet *p)
{
    const struct crowd *c = r->tap_data;
    size_t to = rig_at(r, &p->to);
    return !c->silent[p->from] && (to == r->count || !c->silent[to]);
}
