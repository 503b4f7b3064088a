/* evict.h - which of what is held should go, when room is needed.
 *
 * Why apart: the choice is a pure function of the candidates, so that it can be tested, simulated
 * and made wiser without touching a disk. Today: idle partials first, oldest first, since nobody is
 * served from them; then blobs by last use. Guarantee: the smallest prefix of that order which is
 * enough; equal inputs give equal answers, whatever their order (ties: by digest). Not here: what
 * may be evicted at all (store_room.c leaves out what is pinned or being filled). */
#pragma once

#include "proto/digest.h"

struct evict_candidate {
    struct digest digest;
    u64 bytes;   /* as they count against the capacity */
    u64 used_ms; /* last use; of a partial, when it was left */
    bool partial;
};

/* Sorts `c` so that what goes first stands first; the first `*taken` free at least `need_bytes`, or
 * all do not suffice. Returns the bytes that those free. */
u64 evict_choose(struct evict_candidate *c, size_t count, u64 need_bytes, size_t *taken);
