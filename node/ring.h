/* ring.h - the most recent bytes of a stream, in blocks.
 *
 * Why: followers of a running fetch are fed from memory, and the disk and hash pools read the same
 * blocks while more arrive. Bytes once appended never move or change until they are dropped, so
 * jobs may read [a, b) of them without a lock while the loop appends beyond b. Offsets are the
 * stream's own. Blocks are recycled through a cache that all rings share. */
#pragma once

#include <sys/uio.h>

#include "proto/err.h"
#include "proto/limits.h"

#define RING_SLOTS 64 /* 16 MiB of address space a ring; what is used is bounded by its owner */
static_assert(RING_SLOTS * LIMIT_FILL_BLOCK_BYTES >= 2 * LIMIT_FILL_LAG_BYTES,
              "a ring holds the lag and a window for followers");

#define RING_CACHE_BLOCKS 32

struct ring_cache {
    u8 *free[RING_CACHE_BLOCKS];
    size_t n;
    u64 blocks; /* in use by all rings */
};

struct ring {
    struct ring_cache *cache;
    u8 *blocks[RING_SLOTS];
    u64 first; /* the first byte still here */
    u64 end;   /* one past the last */
};

void ring_cache_fini(struct ring_cache *c);

/* An empty ring whose next byte is the stream's `at`. */
void ring_init(struct ring *r, struct ring_cache *cache, u64 at);
void ring_fini(struct ring *r);
/* Takes as much as fits; returns how much (0: full, or out of memory). */
size_t ring_append(struct ring *r, const void *data, size_t len);
/* Bytes at `offset` (first <= offset < end), up to the block's end or `until`. */
const u8 *ring_at(const struct ring *r, u64 offset, u64 until, size_t *len);
/* The same as up to `cap` iovecs from `offset` to `until`; returns how many, `*covered` their end.
 */
int ring_iov(const struct ring *r, u64 offset, u64 until, struct iovec *iov, int cap, u64 *covered);
/* Forgets bytes before `offset`, whole blocks at a time. */
void ring_drop(struct ring *r, u64 offset);
