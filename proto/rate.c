/* rate.c - see rate.h. */
#include "proto/rate.h"

#include <assert.h>
#include <string.h>

#define SECOND_NS 1000000000ull

void rate_init(struct rate *r, u32 burst, u32 per_s, u64 seed)
{
    assert(burst > 0 && per_s > 0);
    memset(r, 0, sizeof(*r));
    r->seed = seed;
    r->each_ns = SECOND_NS / per_s;
    r->burst_ns = burst * r->each_ns;
}

/* The finalizer of splitmix64 (Steele, Lea and Flood, 2014). */
static size_t bucket(const struct rate *r, u64 whom)
{
    u64 h = whom ^ r->seed;
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 27) * 0x94d049bb133111ebu;
    return (size_t)((h ^ h >> 31) % RATE_BUCKETS);
}

bool rate_has(const struct rate *r, u64 whom, u64 now_ns)
{
    u64 full = r->full_ns[bucket(r, whom)];
    return (full < now_ns ? now_ns : full) + r->each_ns <= now_ns + r->burst_ns;
}

void rate_charge(struct rate *r, u64 whom, u64 now_ns)
{
    u64 *full = &r->full_ns[bucket(r, whom)];
    *full = (*full < now_ns ? now_ns : *full) + r->each_ns;
    if (*full > now_ns + 2 * r->burst_ns)
        *full = now_ns + 2 * r->burst_ns;
}

bool rate_take(struct rate *r, u64 whom, u64 now_ns)
{
    if (!rate_has(r, whom, now_ns))
        return false;
    rate_charge(r, whom, now_ns);
    return true;
}

void rate_give_back(struct rate *r, u64 whom)
{
    u64 *full = &r->full_ns[bucket(r, whom)];
    *full -= *full >= r->each_ns ? r->each_ns : *full;
}
