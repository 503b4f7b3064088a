/* inventory_rig.h - views on a small network in virtual time: delay, jitter, loss, cuts, silence.
 *
 * One heap of events in (time, number) order; datagrams and talks are carried as bytes; who is a
 * member is told by the test, at once or late. Every byte is counted as it would be on the wire.
 * Header only: each test program has its own copy. */
#pragma once

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/inventory.h"
#include "proto/message.h"

#define MS            1000000ull
#define SECOND        (1000 * MS)
#define RIG_OVERHEAD  (45 + 28) /* seal, IPv4 and UDP, of each datagram */
#define RIG_DATAGRAM  (LIMIT_DATAGRAM_BYTES - 45)
#define RIG_TALK_COST 600 /* HTTP heads of one talk, both ways */
#define unused_fn     __attribute__((unused)) static

enum rig_kind { RIG_TIMER, RIG_DATAGRAM_IN, RIG_REQUEST, RIG_ANSWER, RIG_TALK_LOST };

struct rig_event {
    u64 at_ns, number;
    enum rig_kind kind;
    u32 to, from, id, life;
    size_t len;
    u8 *bytes;
};

struct rig_node {
    struct inventory *v;
    struct inventory_pool *pool;
    struct node_key key;
    struct node_secret secret;
    u64 timer_ns, epoch;
    u32 life;      /* counts restarts: what was on its way to the last life is lost */
    u32 side;      /* nodes of different sides do not hear each other */
    bool own_pool; /* one of its own, although the others share */
    bool mute;     /* hears nothing and says nothing, but is thought alive */
    u64 sent_bytes, sent_datagrams, talk_bytes, talks;
};

struct rig {
    struct rig_node *node;
    u32 n;
    bool shared; /* one pool for all */
    struct inventory_pool *pool;
    struct rig_event *heap;
    size_t n_heap, cap_heap;
    u64 now_ns, number;
    struct rng rng;
    double loss;
    u64 delay_ns, jitter_ns;
    u64 batch_ns;
    u64 events;
    /* Sees, and may change or drop (return false), each datagram. */
    bool (*filter)(struct rig *r, u32 from, u32 to, u8 *bytes, size_t len);
};

unused_fn bool rig_before(const struct rig_event *a, const struct rig_event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->number < b->number;
}

unused_fn void rig_push(struct rig *r, struct rig_event e)
{
    if (r->n_heap == r->cap_heap) {
        r->cap_heap = r->cap_heap ? 2 * r->cap_heap : 64;
        r->heap = realloc(r->heap, r->cap_heap * sizeof(*r->heap));
        assert_non_null(r->heap);
    }
    e.number = r->number++;
    size_t i = r->n_heap++;
    for (; i > 0 && rig_before(&e, &r->heap[(i - 1) / 2]); i = (i - 1) / 2)
        r->heap[i] = r->heap[(i - 1) / 2];
    r->heap[i] = e;
}

unused_fn struct rig_event rig_pop(struct rig *r)
{
    struct rig_event top = r->heap[0], last = r->heap[--r->n_heap];
    r->heap[r->n_heap].bytes = NULL;
    size_t i = 0;
    for (;;) {
        size_t kid = 2 * i + 1;
        if (kid >= r->n_heap)
            break;
        if (kid + 1 < r->n_heap && rig_before(&r->heap[kid + 1], &r->heap[kid]))
            kid++;
        if (!rig_before(&r->heap[kid], &last))
            break;
        r->heap[i] = r->heap[kid];
        i = kid;
    }
    r->heap[i] = last;
    return top;
}

unused_fn bool rig_hear(const struct rig *r, u32 a, u32 b)
{
    const struct rig_node *x = &r->node[a], *y = &r->node[b];
    return x->v && y->v && !x->mute && !y->mute && x->side == y->side;
}

unused_fn u32 rig_find(const struct rig *r, const struct node_key *k)
{
    for (u32 i = 0; i < r->n; i++)
        if (node_key_equal(&r->node[i].key, k))
            return i;
    fail_msg("a key of nobody");
    return 0;
}

/* Keys hold their node's number, so that finding one is no search. */
unused_fn u32 rig_index(const struct rig *r, const struct node_key *k);

unused_fn u64 rig_delay(struct rig *r)
{
    return r->delay_ns + (r->jitter_ns ? rng_below(&r->rng, r->jitter_ns) : 0);
}

unused_fn void rig_carry(struct rig *r, enum rig_kind kind, u32 from, u32 to, u32 id,
                         const void *bytes, size_t len, u64 at_ns)
{
    struct rig_event e = {.at_ns = at_ns,
                          .kind = kind,
                          .from = from,
                          .to = to,
                          .id = id,
                          .life = r->node[to].life,
                          .len = len};
    e.bytes = malloc(len + 1);
    assert_non_null(e.bytes);
    if (len > 0)
        memcpy(e.bytes, bytes, len);
    rig_push(r, e);
}

unused_fn void rig_send(struct rig *r, u32 from, u32 to, u8 *bytes, size_t len)
{
    struct rig_node *n = &r->node[from];
    n->sent_bytes += len + RIG_OVERHEAD;
    n->sent_datagrams++;
    if (!rig_hear(r, from, to) || rng_chance(&r->rng, r->loss))
        return;
    if (r->filter && !r->filter(r, from, to, bytes, len))
        return;
    rig_carry(r, RIG_DATAGRAM_IN, from, to, 0, bytes, len, r->now_ns + rig_delay(r));
}

static u8 rig_talk_buf[LIMIT_TALK_BYTES];

/* What a node must do after every input. */
unused_fn void rig_drive(struct rig *r, u32 i)
{
    struct rig_node *n = &r->node[i];
    u8 buf[RIG_DATAGRAM];
    struct wire_out w;
    struct node_key to;
    u32 id;
    if (!n->v || n->mute)
        return;
    for (wire_out_init(&w, buf, sizeof(buf)); inventory_write(n->v, &to, &w, r->now_ns);
         wire_out_init(&w, buf, sizeof(buf))) {
        assert_true(w.len > 0 && !wire_full(&w));
        rig_send(r, i, rig_index(r, &to), buf, w.len);
    }
    for (wire_out_init(&w, rig_talk_buf, sizeof(rig_talk_buf));
         inventory_dial(n->v, &id, &to, &w, r->now_ns);
         wire_out_init(&w, rig_talk_buf, sizeof(rig_talk_buf))) {
        u32 peer = rig_index(r, &to);
        n->talks++;
        n->talk_bytes += w.len + RIG_TALK_COST;
        if (rig_hear(r, i, peer))
            rig_carry(r, RIG_REQUEST, i, peer, id, rig_talk_buf, w.len, r->now_ns + rig_delay(r));
        else
            rig_carry(r, RIG_TALK_LOST, peer, i, id, NULL, 0, r->now_ns + 2 * SECOND);
    }
    u64 next = inventory_next_expiry(n->v);
    if (next < n->timer_ns || n->timer_ns <= r->now_ns) {
        n->timer_ns = next > r->now_ns ? next : r->now_ns + 1;
        rig_push(r, (struct rig_event){
                        .at_ns = n->timer_ns, .kind = RIG_TIMER, .to = i, .life = n->life});
    }
}

unused_fn void rig_answer(struct rig *r, const struct rig_event *e)
{
    struct wire_in in;
    struct wire_out out;
    wire_in_init(&in, e->bytes, e->len);
    wire_out_init(&out, rig_talk_buf, sizeof(rig_talk_buf));
    u32 n = wire_get_array(&in, 16);
    unsigned number = (unsigned)wire_get_u64(&in);
    assert_true(n > 0);
    assert_int_equal(
        inventory_answer(r->node[e->to].v, &r->node[e->from].key, number, &in, &out, r->now_ns), 0);
    r->node[e->to].talk_bytes += out.len;
    rig_carry(r, RIG_ANSWER, e->to, e->from, e->id, rig_talk_buf, out.len,
              r->now_ns + rig_delay(r));
}

unused_fn int rig_deliver(struct rig *r, u32 to, u32 from, const u8 *bytes, size_t len)
{
    struct wire_in in;
    wire_in_init(&in, bytes, len);
    (void)wire_get_array(&in, 16);
    unsigned number = (unsigned)wire_get_u64(&in);
    assert_true(wire_ok(&in));
    return inventory_read(r->node[to].v, &r->node[from].key, number, &in, r->now_ns);
}

unused_fn void rig_event(struct rig *r, const struct rig_event *e)
{
    struct rig_node *n = &r->node[e->to];
    struct wire_in in;
    if (!n->v || e->life != n->life)
        return;
    if (n->mute && e->kind != RIG_TIMER)
        return;
    r->events++;
    switch (e->kind) {
    case RIG_TIMER:
        if (e->at_ns != n->timer_ns)
            return; /* an earlier one was set since */
        inventory_expire(n->v, r->now_ns);
        if (n->mute)
            n->timer_ns = UINT64_MAX;
        break;
    case RIG_DATAGRAM_IN: (void)rig_deliver(r, e->to, e->from, e->bytes, e->len); break;
    case RIG_REQUEST: rig_answer(r, e); break;
    case RIG_ANSWER:
        wire_in_init(&in, e->bytes, e->len);
        inventory_dialed(n->v, e->id, 0, &in, r->now_ns);
        break;
    case RIG_TALK_LOST: inventory_dialed(n->v, e->id, ERR_TIMEOUT, NULL, r->now_ns); break;
    }
    rig_drive(r, e->to);
}

unused_fn void rig_run(struct rig *r, u64 ns)
{
    u64 end = r->now_ns + ns;
    while (r->n_heap > 0 && r->heap[0].at_ns <= end) {
        struct rig_event e = rig_pop(r);
        r->now_ns = e.at_ns;
        rig_event(r, &e);
        free(e.bytes);
    }
    r->now_ns = end;
}

/* --- nodes ----------------------------------------------------------------------------------- */

unused_fn void rig_seed_key(u32 i, struct node_key *key, struct node_secret *secret)
{
    u8 seed[32] = {(u8)i, (u8)(i >> 8), (u8)(i >> 16), 7};
    identity_from_seed(seed, key, secret);
}

struct rig_map {
    u64 word;
    u32 i;
};
static struct rig_map rig_map[1 << 14];

unused_fn u32 rig_index(const struct rig *r, const struct node_key *k)
{
    u64 word = node_key_word(k);
    u32 at = (u32)word & (countof(rig_map) - 1);
    while (rig_map[at].word != word) {
        if (rig_map[at].word == 0)
            fail_msg("a key of nobody");
        at = (at + 1) & (countof(rig_map) - 1);
    }
    assert_true(rig_map[at].i < r->n);
    return rig_map[at].i;
}

unused_fn void rig_init(struct rig *r, u32 n, bool shared, u64 seed)
{
    *r = (struct rig){.n = n, .shared = shared, .delay_ns = 5 * MS, .jitter_ns = 10 * MS};
    r->now_ns = 1000 * SECOND;
    rng_seed(&r->rng, seed);
    r->node = calloc(n, sizeof(*r->node));
    assert_non_null(r->node);
    memset(rig_map, 0, sizeof(rig_map));
    if (shared)
        assert_int_equal(inventory_pool_new(&r->pool, inventory_salt("test")), 0);
    for (u32 i = 0; i < n; i++) {
        struct rig_node *x = &r->node[i];
        rig_seed_key(i, &x->key, &x->secret);
        x->epoch = 1000;
        u64 word = node_key_word(&x->key);
        u32 at = (u32)word & (countof(rig_map) - 1);
        while (rig_map[at].word != 0)
            at = (at + 1) & (countof(rig_map) - 1);
        rig_map[at] = (struct rig_map){word, i};
    }
}

/* Starts it; nobody knows it yet. */
unused_fn void rig_start(struct rig *r, u32 i, u64 epoch)
{
    struct rig_node *x = &r->node[i];
    assert_null(x->v);
    if (r->shared && !x->own_pool)
        x->pool = r->pool;
    else
        assert_int_equal(inventory_pool_new(&x->pool, inventory_salt("test")), 0);
    x->epoch = epoch;
    x->life++;
    x->timer_ns = UINT64_MAX;
    struct inventory_options opt = {.pool = x->pool,
                                    .self = x->key,
                                    .secret = x->secret,
                                    .epoch = epoch,
                                    .rng = rng_split_n(&r->rng, "node", i + 10000ull * x->life),
                                    .datagram_max = RIG_DATAGRAM,
                                    .batch_ns = r->batch_ns,
                                    .now_ns = r->now_ns};
    assert_int_equal(inventory_new(&x->v, &opt), 0);
}

unused_fn void rig_stop(struct rig *r, u32 i)
{
    struct rig_node *x = &r->node[i];
    inventory_del(x->v);
    x->v = NULL;
    x->life++;
    if (!r->shared || x->own_pool)
        inventory_pool_del(x->pool);
    x->pool = NULL;
}

/* Everybody of its side learns of it, and it of them; nearer by number. */
unused_fn void rig_up(struct rig *r, u32 i)
{
    for (u32 k = 0; k < r->n; k++) {
        struct rig_node *a = &r->node[i], *b = &r->node[k];
        u64 far = (k > i ? k - i : i - k) * MS;
        if (k == i || !b->v || a->side != b->side)
            continue;
        assert_int_equal(inventory_peer_up(a->v, &b->key, far, r->now_ns), 0);
        assert_int_equal(inventory_peer_up(b->v, &a->key, far, r->now_ns), 0);
    }
    for (u32 k = 0; k < r->n; k++)
        rig_drive(r, k);
}

unused_fn void rig_down(struct rig *r, u32 i)
{
    for (u32 k = 0; k < r->n; k++) {
        if (k == i || !r->node[k].v || r->node[k].side != r->node[i].side)
            continue;
        inventory_peer_down(r->node[k].v, &r->node[i].key, r->now_ns);
        rig_drive(r, k);
    }
}

unused_fn void rig_all_up(struct rig *r)
{
    for (u32 i = 0; i < r->n; i++)
        if (!r->node[i].v)
            rig_start(r, i, r->node[i].epoch);
    for (u32 i = 0; i < r->n; i++)
        for (u32 k = 0; k < r->n; k++)
            if (i != k && r->node[i].side == r->node[k].side)
                assert_int_equal(inventory_peer_up(r->node[i].v, &r->node[k].key,
                                                   (k > i ? k - i : i - k) * MS, r->now_ns),
                                 0);
    for (u32 i = 0; i < r->n; i++)
        rig_drive(r, i);
}

unused_fn void rig_fini(struct rig *r)
{
    for (u32 i = 0; i < r->n; i++)
        if (r->node[i].v)
            rig_stop(r, i);
    while (r->n_heap > 0)
        free(r->heap[--r->n_heap].bytes);
    free(r->heap);
    free(r->node);
    inventory_pool_del(r->pool);
}

unused_fn struct digest rig_layer(u64 number)
{
    struct digest d = {.alg = DIGEST_SHA256};
    struct rng rng;
    rng_seed(&rng, number);
    rng_bytes(&rng, d.bytes, 32);
    return d;
}

unused_fn void rig_add(struct rig *r, u32 i, u64 layer)
{
    struct digest d = rig_layer(layer);
    assert_int_equal(inventory_add(r->node[i].v, &d, r->now_ns), 0);
    rig_drive(r, i);
}

unused_fn void rig_remove(struct rig *r, u32 i, u64 layer)
{
    struct digest d = rig_layer(layer);
    assert_int_equal(inventory_remove(r->node[i].v, &d, r->now_ns), 0);
    rig_drive(r, i);
}

unused_fn bool rig_holds(const struct rig *r, u32 viewer, u32 holder, u64 layer)
{
    struct digest d = rig_layer(layer);
    return inventory_is_held_by(r->node[viewer].v, &d, &r->node[holder].key);
}

unused_fn size_t rig_holders(const struct rig *r, u32 viewer, u64 layer)
{
    struct digest d = rig_layer(layer);
    struct node_key keys[8];
    size_t n = inventory_holders(r->node[viewer].v, &d, keys, countof(keys));
    for (size_t i = 0; i < n && i < countof(keys); i++)
        assert_true(inventory_is_held_by(r->node[viewer].v, &d, &keys[i]));
    return n;
}

/* Do all living nodes of one side believe the same? */
unused_fn bool rig_agree(const struct rig *r, u32 side)
{
    u64 hash = 0;
    bool first = true;
    for (u32 i = 0; i < r->n; i++) {
        if (!r->node[i].v || r->node[i].side != side)
            continue;
        if (!first && inventory_hash(r->node[i].v) != hash)
            return false;
        hash = inventory_hash(r->node[i].v);
        first = false;
    }
    return true;
}

/* Runs until they do; fails after `limit_ns`. Returns how long it took, to 100 ms. */
unused_fn u64 rig_settle(struct rig *r, u32 side, u64 limit_ns)
{
    u64 from = r->now_ns;
    while (!rig_agree(r, side)) {
        if (r->now_ns - from > limit_ns)
            fail_msg("no agreement within %ju ms", (uintmax_t)(limit_ns / MS));
        rig_run(r, 100 * MS);
    }
    return r->now_ns - from;
}

unused_fn struct inventory_stats rig_stats(const struct rig *r, u32 i)
{
    struct inventory_stats s;
    inventory_stats(r->node[i].v, &s);
    return s;
}

/* Nodes that know each other, and what each holds: so many layers of its own. */
unused_fn void rig_region(struct rig *r, u32 n, bool shared, u64 seed, u32 layers)
{
    rig_init(r, n, shared, seed);
    for (u32 i = 0; i < n; i++) {
        rig_start(r, i, 1000);
        for (u32 k = 0; k < layers; k++)
            rig_add(r, i, 1000 * i + k);
    }
    rig_all_up(r);
    rig_run(r, 3 * SECOND);
    rig_settle(r, 0, 20 * SECOND);
}
