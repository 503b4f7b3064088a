/* engine.c - see engine.h. */
#include "sim/engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim/mem.h"

#define ARITY 4

void engine_init(struct engine *e, u64 seed)
{
    memset(e, 0, sizeof(*e));
    e->seed = seed;
    e->hash = 0x6a09e667f3bcc908u ^ seed;
    rng_seed(&e->root, seed);
}

void engine_fini(struct engine *e)
{
    free(e->heap);
    memset(e, 0, sizeof(*e));
}

static bool before(const struct event *a, const struct event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->seq < b->seq;
}

static void heap_put(struct engine *e, const struct event *ev)
{
    e->heap = mem_grow(e->heap, &e->cap, e->n + 1, sizeof(*e->heap));
    size_t i = e->n++;
    while (i > 0) {
        size_t up = (i - 1) / ARITY;
        if (!before(ev, &e->heap[up]))
            break;
        e->heap[i] = e->heap[up];
        i = up;
    }
    e->heap[i] = *ev;
}

/* Among those before the heap; the last of them makes room. */
static void ahead_put(struct engine *e, const struct event *ev)
{
    if (e->n_ahead == ENGINE_AHEAD)
        heap_put(e, &e->ahead[--e->n_ahead]);
    unsigned i = e->n_ahead++;
    for (; i > 0 && before(ev, &e->ahead[i - 1]); i--)
        e->ahead[i] = e->ahead[i - 1];
    e->ahead[i] = *ev;
}

void engine_at(struct engine *e, u64 at_ns, u32 kind, u32 node, u64 arg)
{
    assert(at_ns >= e->now_ns);
    struct event ev = {at_ns, e->seq++, kind, node, arg};
    if (e->n_ahead > 0 && before(&ev, &e->ahead[e->n_ahead - 1]))
        ahead_put(e, &ev);
    else
        heap_put(e, &ev);
    if (e->n + e->n_ahead > e->peak)
        e->peak = e->n + e->n_ahead;
}

static void take_top(struct engine *e)
{
    struct event *h = e->heap, last = h[--e->n];
    size_t i = 0, n = e->n;
    for (;;) {
        size_t child = i * ARITY + 1, least = child;
        if (child >= n)
            break;
        size_t end = child + ARITY < n ? child + ARITY : n;
        for (size_t c = child + 1; c < end; c++)
            if (before(&h[c], &h[least]))
                least = c;
        if (!before(&h[least], &last))
            break;
        h[i] = h[least];
        i = least;
    }
    if (n > 0)
        h[i] = last;
}

static void look_ahead(struct engine *e)
{
    while (e->n_ahead < ENGINE_AHEAD && e->n > 0) {
        e->ahead[e->n_ahead++] = e->heap[0];
        take_top(e);
    }
}

bool engine_next(struct engine *e, u64 until_ns, struct event *ev)
{
    assert(until_ns >= e->now_ns);
    if (e->n_ahead == 0)
        look_ahead(e);
    if (e->n_ahead == 0 || e->ahead[0].at_ns > until_ns) {
        e->now_ns = until_ns;
        return false;
    }
    *ev = e->ahead[0];
    memmove(&e->ahead[0], &e->ahead[1], --e->n_ahead * sizeof(*ev));
    look_ahead(e);
    assert(ev->at_ns >= e->now_ns);
    e->now_ns = ev->at_ns;
    e->events++;
    engine_mix(e, ev->at_ns);
    engine_mix(e, (u64)ev->kind << 32 | ev->node);
    return true;
}

static u64 mixed(u64 h, u64 word)
{
    h = (h ^ word) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

void engine_mix(struct engine *e, u64 word)
{
    e->hash = mixed(e->hash, word);
}

static u64 word_at(const u8 *p)
{
    u64 w; /* the hash is of this machine's byte order; all that we run on have the same */
    memcpy(&w, p, sizeof(w));
    return w;
}

/* Four lanes, so that a datagram's hash does not wait for one multiplication after the other. */
void engine_mix_bytes(struct engine *e, const void *data, size_t len)
{
    const u8 *p = data;
    u64 lane[4] = {len, 1, 2, 3};
    for (; len >= 32; p += 32, len -= 32)
        for (int i = 0; i < 4; i++)
            lane[i] = mixed(lane[i], word_at(p + 8 * i));
    for (; len >= 8; p += 8, len -= 8)
        lane[0] = mixed(lane[0], word_at(p));
    u64 rest = 0;
    for (size_t i = 0; i < len; i++)
        rest |= (u64)p[i] << (8 * i);
    lane[1] = mixed(lane[1], rest);
    for (int i = 0; i < 4; i++)
        engine_mix(e, lane[i]);
}

struct rng engine_rng(const struct engine *e, const char *purpose)
{
    return rng_split(&e->root, purpose);
}

struct rng engine_rng_n(const struct engine *e, const char *purpose, u64 n)
{
    return rng_split_n(&e->root, purpose, n);
}
