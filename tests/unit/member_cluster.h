/* member_cluster.h - a region of members in virtual time, for tests: one process, one queue of
 * events, links that lose, delay and cut, nodes that stop, stall and come back.
 *
 * Places: a node sits in a slot, the slot is its address. A node that restarts elsewhere takes
 * another slot; a clone is a second slot with the same seed. Everything follows from the seed. */
#pragma once

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/member.h"

#define CLUSTER_SECOND  1000000000ull
#define CLUSTER_MS      1000000ull
#define CLUSTER_HEADERS (45 + 28) /* seal, IP and UDP */

struct cluster_node {
    struct member *m;
    struct node_key key;
    u64 paused_until_ns, timer_ns;
    u64 far_ns; /* more than the others, one way */
    u64 bytes_out, datagrams_out, talk_bytes;
    int side; /* of a partition */
    u64 events[16];
    u64 last_event_ns[16];
    struct member_event last[16];
};
enum cluster_what { CLUSTER_DATAGRAM, CLUSTER_REQUEST, CLUSTER_ANSWER, CLUSTER_TIMER };
struct cluster_event {
    u64 at_ns, seq;
    enum cluster_what what;
    u32 from, to;
    u32 id;
    int err;
    size_t len;
    u8 *data;
};
struct cluster {
    struct cluster_node *node;
    u32 n;
    u64 now_ns, seq, n_events;
    struct cluster_event *heap;
    size_t n_heap, cap_heap;
    struct rng rng;
    double loss;
    u64 latency_ns;
    bool clear, no_streams;
    struct member_timing timing;
    /* One way: true lets it pass. */
    bool (*pass)(struct cluster *c, u32 from, u32 to);
    void (*on_event)(struct cluster *c, u32 node, const struct member_event *ev);
    void *arg;
    u8 *talk; /* LIMIT_TALK_BYTES */
};

static inline struct addr cluster_addr(u32 slot)
{
    return addr_v4(10, (u8)(slot >> 16), (u8)(slot >> 8), (u8)slot, 5000);
}

static inline u32 cluster_slot(const struct addr *a)
{
    return (u32)a->ip[13] << 16 | (u32)a->ip[14] << 8 | a->ip[15];
}

static inline void cluster_new(struct cluster *c, u32 slots, u64 seed)
{
    *c = (struct cluster){.n = slots, .now_ns = 1000 * CLUSTER_SECOND, .latency_ns = CLUSTER_MS};
    c->node = calloc(slots, sizeof(*c->node));
    c->talk = malloc(LIMIT_TALK_BYTES);
    assert(c->node && c->talk);
    rng_seed(&c->rng, seed);
    c->clear = true;
}

static inline void cluster_del(struct cluster *c)
{
    for (u32 i = 0; i < c->n; i++)
        member_del(c->node[i].m);
    for (size_t i = 0; i < c->n_heap; i++)
        free(c->heap[i].data);
    free(c->node);
    free(c->heap);
    free(c->talk);
}

static inline bool cluster_before(const struct cluster_event *a, const struct cluster_event *b)
{
    return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->seq < b->seq);
}

static inline void cluster_push(struct cluster *c, struct cluster_event ev)
{
    if (c->n_heap == c->cap_heap) {
        c->cap_heap = c->cap_heap ? 2 * c->cap_heap : 1024;
        c->heap = realloc(c->heap, c->cap_heap * sizeof(*c->heap));
        assert(c->heap);
    }
    ev.seq = c->seq++;
    size_t i = c->n_heap++;
    for (; i > 0 && cluster_before(&ev, &c->heap[(i - 1) / 4]); i = (i - 1) / 4)
        c->heap[i] = c->heap[(i - 1) / 4];
    c->heap[i] = ev;
}

static inline struct cluster_event cluster_pop(struct cluster *c)
{
    struct cluster_event top = c->heap[0], last = c->heap[--c->n_heap];
    size_t i = 0;
    for (;;) {
        size_t best = 0, first = 4 * i + 1;
        for (size_t k = first; k < first + 4 && k < c->n_heap; k++)
            if (best == 0 || cluster_before(&c->heap[k], &c->heap[best]))
                best = k;
        if (best == 0 || !cluster_before(&c->heap[best], &last))
            break;
        c->heap[i] = c->heap[best];
        i = best;
    }
    c->heap[i] = last;
    return top;
}

static inline bool cluster_reaches(struct cluster *c, u32 from, u32 to)
{
    if (to >= c->n || c->node[from].side != c->node[to].side)
        return false;
    return !c->pass || c->pass(c, from, to);
}

static inline u64 cluster_delay(struct cluster *c, u32 from, u32 to)
{
    u64 far_ns = c->node[from].far_ns + (to < c->n ? c->node[to].far_ns : 0);
    return far_ns + c->latency_ns / 2 + rng_below(&c->rng, c->latency_ns);
}

static inline void cluster_datagram(struct cluster *c, u32 from, u32 to, const u8 *buf, size_t len)
{
    c->node[from].bytes_out += len + CLUSTER_HEADERS;
    c->node[from].datagrams_out++;
    if (!cluster_reaches(c, from, to) || rng_chance(&c->rng, c->loss))
        return;
    u8 *copy = malloc(len);
    assert(copy);
    memcpy(copy, buf, len);
    cluster_push(c, (struct cluster_event){.at_ns = c->now_ns + cluster_delay(c, from, to),
                                           .what = CLUSTER_DATAGRAM,
                                           .from = from,
                                           .to = to,
                                           .len = len,
                                           .data = copy});
}

static inline void cluster_talk(struct cluster *c, enum cluster_what what, u32 from, u32 to, u32 id,
                                int err, const u8 *buf, size_t len)
{
    u8 *copy = malloc(len + 1);
    assert(copy);
    memcpy(copy, buf, len);
    c->node[from].talk_bytes += len;
    u64 wait_ns =
        err ? CLUSTER_SECOND : (what == CLUSTER_REQUEST ? 3 : 1) * cluster_delay(c, from, to);
    cluster_push(c, (struct cluster_event){.at_ns = c->now_ns + wait_ns,
                                           .what = what,
                                           .from = from,
                                           .to = to,
                                           .id = id,
                                           .err = err,
                                           .len = len,
                                           .data = copy});
}

/* Takes out what a node wants to be done. */
static inline void cluster_drain(struct cluster *c, u32 i)
{
    struct cluster_node *node = &c->node[i];
    struct addr to;
    struct wire_out w;
    struct member_event ev;
    u8 buf[LIMIT_DATAGRAM_BYTES];
    u32 id;
    for (wire_out_init(&w, buf, sizeof(buf)); member_write(node->m, &to, &w, c->now_ns);
         wire_out_init(&w, buf, sizeof(buf)))
        cluster_datagram(c, i, cluster_slot(&to), buf, w.len);
    for (wire_out_init(&w, c->talk, LIMIT_TALK_BYTES);
         member_dial(node->m, &id, &to, &w, c->now_ns);
         wire_out_init(&w, c->talk, LIMIT_TALK_BYTES)) {
        u32 slot = cluster_slot(&to);
        if (!c->no_streams && cluster_reaches(c, i, slot) && cluster_reaches(c, slot, i))
            cluster_talk(c, CLUSTER_REQUEST, i, slot, id, 0, c->talk, w.len);
        else
            cluster_talk(c, CLUSTER_ANSWER, i, i, id, ERR_TIMEOUT, c->talk, 0);
    }
    while (member_next_event(node->m, &ev)) {
        node->events[ev.kind]++;
        node->last_event_ns[ev.kind] = c->now_ns;
        node->last[ev.kind] = ev;
        if (c->on_event)
            c->on_event(c, i, &ev);
    }
    u64 next_ns = member_next_expiry(node->m);
    if (next_ns < c->now_ns)
        next_ns = c->now_ns;
    if (next_ns != node->timer_ns && next_ns != UINT64_MAX) {
        node->timer_ns = next_ns;
        cluster_push(c, (struct cluster_event){.at_ns = next_ns, .what = CLUSTER_TIMER, .to = i});
    }
}

/* The messages of one datagram's text, as the mesh reads them. */
static inline int cluster_read(struct member *m, const struct addr *from, const u8 sender[8],
                               const u8 *data, size_t len, u64 now_ns)
{
    struct wire_in all;
    wire_in_init(&all, data, len);
    while (wire_left(&all) > 0) {
        struct wire_in msg = all;
        wire_skip(&all);
        if (!wire_ok(&all))
            return ERR_PROTO;
        msg.end = all.p;
        if (wire_get_array(&msg, UINT8_MAX) == 0)
            return ERR_PROTO;
        unsigned number = (unsigned)wire_get_max(&msg, UINT8_MAX);
        if (!wire_ok(&msg))
            return ERR_PROTO;
        int err = member_read(m, from, sender, number, &msg, now_ns);
        if (err && err != ERR_UNSUPPORTED)
            return err;
    }
    return 0;
}

static inline void cluster_request(struct cluster *c, const struct cluster_event *ev)
{
    struct wire_in r;
    struct wire_out w;
    struct addr from = cluster_addr(ev->from);
    from.port = 40000;
    wire_in_init(&r, ev->data, ev->len);
    wire_out_init(&w, c->talk, LIMIT_TALK_BYTES);
    (void)wire_get_array(&r, UINT8_MAX);
    unsigned number = (unsigned)wire_get_max(&r, UINT8_MAX);
    int err = member_answer(c->node[ev->to].m, &from, c->node[ev->from].key.bytes, number, &r, &w,
                            c->now_ns);
    cluster_talk(c, CLUSTER_ANSWER, ev->to, ev->from, ev->id, err ? ERR_PROTO : 0, c->talk,
                 err ? 0 : w.len);
}

static inline void cluster_handle(struct cluster *c, const struct cluster_event *ev)
{
    struct cluster_node *node = &c->node[ev->to];
    struct addr from = cluster_addr(ev->from);
    struct wire_in r;
    switch (ev->what) {
    case CLUSTER_DATAGRAM:
        if (node_key_equal(&c->node[ev->from].key, &node->key))
            member_own(node->m, &from, c->now_ns);
        else
            (void)cluster_read(node->m, &from, c->node[ev->from].key.bytes, ev->data, ev->len,
                               c->now_ns);
        break;
    case CLUSTER_REQUEST: cluster_request(c, ev); break;
    case CLUSTER_ANSWER:
        wire_in_init(&r, ev->data, ev->len);
        member_dialed(node->m, ev->id, ev->err, ev->err ? NULL : &r, c->now_ns);
        break;
    case CLUSTER_TIMER:
        if (node->timer_ns != ev->at_ns && node->timer_ns > c->now_ns)
            return;
        node->timer_ns = 0;
        member_expire(node->m, c->now_ns);
        break;
    }
    cluster_drain(c, ev->to);
}

/* One event; false: none before `until_ns`. */
static inline bool cluster_step(struct cluster *c, u64 until_ns)
{
    if (c->n_heap == 0 || c->heap[0].at_ns > until_ns)
        return false;
    struct cluster_event ev = cluster_pop(c);
    struct cluster_node *node = &c->node[ev.to];
    c->now_ns = ev.at_ns;
    c->n_events++;
    if (node->m && node->paused_until_ns > c->now_ns) {
        /* It finds all of it when it wakes, in order. */
        if (ev.what == CLUSTER_TIMER)
            node->timer_ns = node->paused_until_ns;
        ev.at_ns = node->paused_until_ns;
        cluster_push(c, ev);
        return true;
    }
    if (node->m)
        cluster_handle(c, &ev);
    else if (ev.what == CLUSTER_REQUEST && c->node[ev.from].m) /* nobody is there */
        cluster_push(c, (struct cluster_event){.at_ns = c->now_ns + CLUSTER_SECOND,
                                               .what = CLUSTER_ANSWER,
                                               .to = ev.from,
                                               .id = ev.id,
                                               .err = ERR_TIMEOUT});
    free(ev.data); /* NOLINT(clang-analyzer-unix.Malloc): what was popped is in no other event */
    return true;
}

static inline void cluster_run(struct cluster *c, u64 ns)
{
    u64 until_ns = c->now_ns + ns;
    while (cluster_step(c, until_ns)) {
    }
    c->now_ns = until_ns;
}

struct cluster_start {
    u32 slot, key; /* key: of which seed */
    u64 epoch;
    const char *name, *region;
    u64 incarnation;
};
static inline void cluster_secret(u32 key, struct node_key *k, struct node_secret *s)
{
    u8 seed[32] = {1, (u8)(key >> 24), (u8)(key >> 16), (u8)(key >> 8), (u8)key};
    identity_from_seed(seed, k, s);
}

static inline void cluster_start_as(struct cluster *c, const struct cluster_start *s)
{
    struct cluster_node *node = &c->node[s->slot];
    char name[32];
    struct member_options opt = {.datagram_max = LIMIT_DATAGRAM_BYTES - 45,
                                 .now_ns = c->now_ns,
                                 .timing = c->timing,
                                 .clear = c->clear};
    assert(!node->m);
    memset(node, 0, sizeof(*node));
    (void)snprintf(name, sizeof(name), "node-%u", s->key);
    cluster_secret(s->key, &node->key, &opt.secret);
    opt.rng = rng_split_n(&c->rng, "node", (u64)s->slot << 32 | s->epoch);
    opt.self = (struct member_record){.key = node->key,
                                      .epoch = s->epoch,
                                      .incarnation = s->incarnation,
                                      .addr = cluster_addr(s->slot),
                                      .role = MEMBER_NODE,
                                      .version_min = 1,
                                      .version_max = 1,
                                      .can_fetch = true,
                                      .name = s->name ? s->name : name,
                                      .region = s->region ? s->region : "test",
                                      .rack = "rack-1",
                                      .public_url = "https://node.caches.example.net"};
    int err = member_new(&node->m, &opt);
    assert(!err);
    (void)err;
    cluster_drain(c, s->slot);
}

static inline void cluster_start(struct cluster *c, u32 slot)
{
    cluster_start_as(c, &(struct cluster_start){.slot = slot, .key = slot, .epoch = 100});
}

static inline void cluster_seed(struct cluster *c, u32 slot, u32 seed)
{
    struct addr a = cluster_addr(seed);
    int err = member_seed(c->node[slot].m, &a);
    assert(!err);
    (void)err;
    cluster_drain(c, slot);
}

static inline void cluster_kill(struct cluster *c, u32 slot)
{
    member_del(c->node[slot].m);
    c->node[slot].m = NULL;
}

static inline void cluster_pause(struct cluster *c, u32 slot, u64 ns)
{
    c->node[slot].paused_until_ns = c->now_ns + ns;
}

/* Starts all, each with the first as seed, spread over a second; and lets them meet. */
static inline void cluster_form(struct cluster *c, u32 n)
{
    for (u32 i = 0; i < n; i++) {
        cluster_start(c, i);
        if (i > 0)
            cluster_seed(c, i, 0);
        cluster_run(c, CLUSTER_SECOND / n);
    }
}

/* How `of` stands in the eyes of `at`; MEMBER_STATE_COUNT: not at all. */
static inline enum member_state cluster_state(const struct cluster *c, u32 at, u32 of)
{
    struct member_view v;
    if (!member_find(c->node[at].m, &c->node[of].key, &v))
        return MEMBER_STATE_COUNT;
    return v.state;
}

/* How many running nodes see `of` in state `s`. */
static inline u32 cluster_seen(const struct cluster *c, u32 of, enum member_state s)
{
    u32 n = 0;
    for (u32 i = 0; i < c->n; i++)
        n += i != of && c->node[i].m && cluster_state(c, i, of) == s;
    return n;
}

/* All running nodes see all running nodes alive, and nobody else. */
static inline bool cluster_is_whole(const struct cluster *c)
{
    u32 running = 0;
    for (u32 i = 0; i < c->n; i++)
        running += c->node[i].m != NULL;
    for (u32 i = 0; i < c->n; i++)
        if (c->node[i].m && member_count(c->node[i].m, MEMBER_ALIVE) != running)
            return false;
    return true;
}

/* Runs until whole, at most `ns`; returns how long it took, UINT64_MAX: not. */
static inline u64 cluster_until_whole(struct cluster *c, u64 ns)
{
    u64 start_ns = c->now_ns;
    while (c->now_ns - start_ns < ns) {
        if (cluster_is_whole(c))
            return c->now_ns - start_ns;
        cluster_run(c, 50 * CLUSTER_MS);
    }
    return cluster_is_whole(c) ? c->now_ns - start_ns : UINT64_MAX;
}
