/* evict.h - which of what is held should go, when room is needed.
 *
 * Why apart: the choice is a pure function of the candidates, so that it can be tested, simulated
 * and made wiser without touching a disk. Idle partials first, oldest first, since nobody is served
 * from them; then blobs by last use, but the region's last copy of a blob counts as used
 * EVICT_LAST_MS later than it was: while it is warm it outlives one of many, and once it is cold it
 * goes, too. Guarantee: the smallest prefix of that order which is enough; equal inputs give equal
 * answers, whatever their order (ties: by digest). Not here: what may be evicted at all
 * (store_room.c leaves out what is pinned or being filled). */
#pragma once

#include "proto/digest.h"

struct evict_candidate {
    struct digest digest;
    u64 bytes;   /* as they count against the capacity */
    u64 used_ms; /* last use; of a partial, when it was left */
    bool partial;
    bool last; /* no other node has it, or of those that have it, this one is to keep it */
};

#define EVICT_LAST_MS (7 * 24 * 3600 * 1000ull)

/* What the order of blobs goes by: smaller goes first. */
u64 evict_rank_ms(const struct evict_candidate *c);

/* Sorts `c` so that what goes first stands first; the first `*taken` free at least `need_bytes`, or
 * all do not suffice. Returns the bytes that those free. */
u64 evict_choose(struct evict_candidate *c, size_t count, u64 need_bytes, size_t *taken);
