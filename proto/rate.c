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
static u64 *bucket(struct rate *r, u64 whom)
{
    u64 h = whom ^ r->seed;
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 27) * 0x94d049bb133111ebu;
    return &r->full_ns[(h ^ h >> 31) % RATE_BUCKETS];
}

bool rate_take(struct rate *r, u64 whom, u64 now_ns)
{
    u64 *full = bucket(r, whom);
    if (*full < now_ns)
        *full = now_ns;
    if (*full + r->each_ns > now_ns + r->burst_ns)
        return false;
    *full += r->each_ns;
    return true;
}

void rate_give_back(struct rate *r, u64 whom)
{
    u64 *full = bucket(r, whom);
    *full -= *full >= r->each_ns ? r->each_ns : *full;
}
