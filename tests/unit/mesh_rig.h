/* mesh_rig.h - a few whole meshes over a network in memory: each datagram and each half of a talk
 * takes a millisecond; a tap sees everything on its way and may change or drop it. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "proto/mesh.h"

#define RIG_NODES 24
#define MS        1000000ull
#define S         1000000000ull
#define RIG_DELAY (1 * MS)
#define TODAY     1800000000000ull /* Unix ms */

enum rig_kind { RIG_DATAGRAM, RIG_REQUEST, RIG_ANSWER };

struct rig_packet {
    struct rig_packet *next;
    u64 at_ns;
    enum rig_kind kind;
    size_t from; /* node */
    struct addr to;
    u32 talk;
    int err; /* of RIG_ANSWER */
    size_t len;
    u8 bytes[];
};

struct rig_node {
    struct mesh *m;
    struct inventory_pool *pool;
    struct addr addr;
    struct node_key key;
    unsigned events[16]; /* member events by kind */
    unsigned purges, epochs;
    struct member_event last_down;
    struct digest last_purge;
};

struct rig {
    struct rig_node n[RIG_NODES];
    size_t count;
    u64 now_ns;
    struct rig_packet *first, **last;
    struct seal_key key;
    /* False: it is lost. */
    bool (*tap)(struct rig *r, struct rig_packet *p);
    void *tap_data;
    u8 *scratch;
};

static inline struct addr rig_addr(size_t i)
{
    return addr_v4(10, 1, (u8)(i / 8), (u8)(1 + i), 5000);
}

static inline struct rig *rig_new(void)
{
    struct rig *r = calloc(1, sizeof(*r));
    r->scratch = malloc(2 * LIMIT_TALK_BYTES);
    assert_non_null(r->scratch);
    r->last = &r->first;
    r->now_ns = 1000 * S;
    memset(r->key.bytes, 7, sizeof(r->key.bytes));
    return r;
}

static inline struct mesh_options rig_options(const struct rig *r, size_t i)
{
    static char names[RIG_NODES][32], racks[RIG_NODES][32];
    snprintf(names[i], sizeof(names[i]), "node-%zu", i);
    snprintf(racks[i], sizeof(racks[i]), "rack-%zu", i / 2);
    struct mesh_options opt = {
        .self = {.addr = rig_addr(i),
                 .role = MEMBER_NODE,
                 .can_fetch = true,
                 .name = names[i],
                 .region = "office",
                 .rack = racks[i],
                 .public_url = "https://caches.example.net"},
        .seed = {(u8)(1 + i)},
        .boot_epoch = r->now_ns,
        .inventory_epoch = r->now_ns,
        .keys = &r->key,
        .n_keys = 1,
        .rng_seed = 100 + i,
        .now_ns = r->now_ns,
    };
    return opt;
}

static inline void rig_start(struct rig *r, size_t i, struct mesh_options *opt)
{
    struct rig_node *n = &r->n[i];
    memset(n, 0, sizeof(*n));
    assert_int_equal(inventory_pool_new(&n->pool, inventory_salt("office")), 0);
    opt->pool = n->pool;
    assert_int_equal(mesh_new(&n->m, opt), 0);
    n->addr = opt->self.addr;
    n->key = *mesh_key(n->m);
    if (r->count <= i)
        r->count = i + 1;
}

static inline void rig_stop(struct rig *r, size_t i)
{
    mesh_del(r->n[i].m);
    if (r->n[i].pool)
        inventory_pool_del(r->n[i].pool);
    r->n[i].m = NULL;
    r->n[i].pool = NULL;
}

static inline void rig_del(struct rig *r)
{
    for (size_t i = 0; i < r->count; i++)
        rig_stop(r, i);
    while (r->first) {
        struct rig_packet *p = r->first;
        r->first = p->next;
        free(p);
    }
    free(r->scratch);
    free(r);
}

static inline void rig_send(struct rig *r, enum rig_kind kind, size_t from, const struct addr *to,
                            const void *bytes, size_t len, u32 talk, int err)
{
    struct rig_packet *p = calloc(1, sizeof(*p) + len);
    assert_non_null(p);
    *p = (struct rig_packet){.at_ns = r->now_ns + RIG_DELAY,
                             .kind = kind,
                             .from = from,
                             .to = *to,
                             .talk = talk,
                             .err = err,
                             .len = len};
    if (len > 0)
        memcpy(p->bytes, bytes, len);
    if (r->tap && !r->tap(r, p)) {
        if (kind == RIG_DATAGRAM) {
            free(p);
            return;
        }
        /* A stream breaks where both ends see it. */
        p->kind = RIG_ANSWER;
        p->err = ERR_UNREACHABLE;
        if (kind == RIG_REQUEST)
            p->to = r->n[from].addr;
    }
    *r->last = p;
    r->last = &p->next;
}

static inline void rig_event(struct rig_node *n, const struct mesh_event *ev)
{
    switch (ev->kind) {
    case MESH_EVENT_MEMBER:
        n->events[ev->member.kind]++;
        if (ev->member.kind == MEMBER_EVENT_DOWN)
            n->last_down = ev->member;
        break;
    case MESH_EVENT_PURGE:
        n->purges++;
        n->last_purge = ev->digest;
        break;
    case MESH_EVENT_EPOCH: n->epochs++; break;
    }
}

/* Everything that a node wants, in the order that mesh.h asks for. */
static inline void rig_drive(struct rig *r, size_t i)
{
    struct rig_node *n = &r->n[i];
    struct addr to;
    struct mesh_event ev;
    size_t len;
    u32 id;
    for (int turns = 0; n->m; turns++) {
        assert_true(turns < 100000);
        if ((len = mesh_write(n->m, &to, r->scratch, LIMIT_DATAGRAM_BYTES, r->now_ns)))
            rig_send(r, RIG_DATAGRAM, i, &to, r->scratch, len, 0, 0);
        else if (mesh_dial(n->m, &id, &to, r->scratch, LIMIT_TALK_BYTES, &len, r->now_ns))
            rig_send(r, RIG_REQUEST, i, &to, r->scratch, len, id, 0);
        else if (mesh_next_event(n->m, &ev))
            rig_event(n, &ev);
        else
            return;
    }
}

static inline size_t rig_at(const struct rig *r, const struct addr *a)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->n[i].m && addr_equal(&r->n[i].addr, a))
            return i;
    return r->count;
}

static inline void rig_deliver(struct rig *r, struct rig_packet *p)
{
    size_t to = rig_at(r, &p->to), len = 0;
    struct rig_node *n = to < r->count ? &r->n[to] : NULL;
    switch (p->kind) {
    case RIG_DATAGRAM:
        if (n)
            (void)mesh_read(n->m, &r->n[p->from].addr, p->bytes, p->len, r->now_ns);
        break;
    case RIG_REQUEST: {
        u8 *answer = r->scratch + LIMIT_TALK_BYTES;
        int err = ERR_UNREACHABLE;
        if (n)
            err = mesh_answer(n->m, &r->n[p->from].addr, p->bytes, p->len, answer, LIMIT_TALK_BYTES,
                              &len, r->now_ns);
        rig_send(r, RIG_ANSWER, to, &r->n[p->from].addr, answer, len, p->talk, err);
        break;
    }
    case RIG_ANSWER:
        if (n)
            mesh_dialed(n->m, p->talk, p->err, p->bytes, p->len, r->now_ns);
        break;
    }
    if (n)
        rig_drive(r, to);
}

/* The next thing that happens, if it does before `end_ns`. */
static inline bool rig_step(struct rig *r, u64 end_ns)
{
    u64 soonest = r->first ? r->first->at_ns : UINT64_MAX;
    size_t who = r->count;
    for (size_t i = 0; i < r->count; i++)
        if (r->n[i].m && mesh_next_expiry(r->n[i].m) < soonest) {
            soonest = mesh_next_expiry(r->n[i].m);
            who = i;
        }
    if (soonest > end_ns) {
        r->now_ns = end_ns;
        return false;
    }
    if (soonest > r->now_ns)
        r->now_ns = soonest;
    if (who < r->count) {
        mesh_expire(r->n[who].m, r->now_ns);
        rig_drive(r, who);
        return true;
    }
    struct rig_packet *p = r->first;
    if (!p)
        return false;
    r->first = p->next;
    if (!r->first)
        r->last = &r->first;
    rig_deliver(r, p);
    free(p);
    return true;
}

static inline void rig_run(struct rig *r, u64 for_ns)
{
    u64 end = r->now_ns + for_ns, last = 0, still = 0;
    for (size_t i = 0; i < r->count; i++)
        rig_drive(r, i);
    while (rig_step(r, end)) { /* a timer that never moves on would keep a daemon awake */
        still = r->now_ns == last ? still + 1 : 0;
        last = r->now_ns;
        assert_true(still < 100000);
    }
}

/* Runs until it holds; false: it did not within `for_ns`. */
static inline bool rig_until(struct rig *r, bool (*holds)(const struct rig *r), u64 for_ns)
{
    u64 end = r->now_ns + for_ns;
    while (!holds(r)) {
        if (r->now_ns >= end)
            return false;
        rig_run(r, 50 * MS);
    }
    return true;
}

static inline size_t rig_living(const struct rig *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->count; i++)
        n += r->n[i].m != NULL;
    return n;
}

static inline bool rig_all_meet(const struct rig *r)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->n[i].m && member_count(mesh_member(r->n[i].m), MEMBER_ALIVE) != rig_living(r))
            return false;
    return true;
}

/* Nodes `from`..`to - 1` start, with node 0 as their seed. */
static inline void rig_start_all(struct rig *r, size_t from, size_t to)
{
    struct addr seed = rig_addr(0);
    for (size_t i = from; i < to; i++) {
        struct mesh_options opt = rig_options(r, i);
        rig_start(r, i, &opt);
        if (i > 0)
            assert_int_equal(mesh_seed(r->n[i].m, &seed), 0);
    }
}

static inline struct rig *rig_region(size_t count)
{
    struct rig *r = rig_new();
    rig_start_all(r, 0, count);
    assert_true(rig_until(r, rig_all_meet, 20 * S));
    rig_run(r, 10 * S); /* until all have what the others hold */
    return r;
}

static inline struct digest rig_layer(u32 number)
{
    struct digest d = {.alg = DIGEST_SHA256};
    memset(d.bytes, 0x5a, 32);
    memcpy(d.bytes, &number, sizeof(number));
    return d;
}

static inline struct mesh_stats rig_stats(const struct rig *r, size_t i)
{
    struct mesh_stats s;
    mesh_stats(r->n[i].m, &s);
    return s;
}
