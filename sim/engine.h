/* engine.h - virtual time: what happens next, in an order that the seed alone determines.
 *
 * Why: a thousand nodes in one process are worth something only if every run can be had again. All
 * events stand in one queue, in a total order (time, sequence): of two at the same nanosecond the
 * one that was asked for first comes first. A rolling hash is taken over every event that is
 * delivered, with what it carried; two runs are the same run when their hashes are.
 * A 4-ary heap: some thousand events are pending (a timer per node, packets in flight), where it
 * does 11 to 15 million push and pop pairs a second (a calendar queue pays from 100,000 on).
 * The next few events stand before the heap, in order, so that what they will touch can be brought
 * into the cache while others are delivered (engine_ahead).
 * Randomness: one seed, split by purpose (engine_rng), so that a stream more or less drawn from
 * leaves the others as they were.
 * Not here: what an event means (world.h). */
#pragma once

#include "proto/rng.h"

struct event {
    u64 at_ns; /* virtual */
    u64 seq;
    u32 kind; /* whose meaning the world knows */
    u32 node;
    u64 arg;
};

#define ENGINE_AHEAD 8

struct engine {
    u64 now_ns;
    u64 seq;    /* events asked for so far */
    u64 events; /* delivered so far */
    u64 hash;   /* over all delivered */
    u64 seed;
    struct rng root;
    struct event ahead[ENGINE_AHEAD]; /* in order; nothing in the heap is before them */
    unsigned n_ahead;
    struct event *heap;
    size_t n, cap, peak; /* peak: of events pending */
};

void engine_init(struct engine *e, u64 seed);
void engine_fini(struct engine *e);

/* At `at_ns`, which is now or later. */
void engine_at(struct engine *e, u64 at_ns, u32 kind, u32 node, u64 arg);
/* Takes the next event into `ev` and time to it. False: none at or before `until_ns`; time then
 * stands at `until_ns`. */
bool engine_next(struct engine *e, u64 until_ns, struct event *ev);
/* What will be delivered after `i` others, unless something that comes before it is asked for
 * meanwhile. NULL: not known, or none. Borrowed until the next call. */
static inline const struct event *engine_ahead(const struct engine *e, unsigned i)
{
    return i < e->n_ahead ? &e->ahead[i] : NULL;
}
/* Takes what an event carried, or what came of it, into the hash. */
void engine_mix(struct engine *e, u64 word);
void engine_mix_bytes(struct engine *e, const void *data, size_t len);

struct rng engine_rng(const struct engine *e, const char *purpose);
struct rng engine_rng_n(const struct engine *e, const char *purpose, u64 n);

#define SIM_US 1000ull
#define SIM_MS (1000 * SIM_US)
#define SIM_S  (1000 * SIM_MS)
