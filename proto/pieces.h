/* pieces.h - how a layer is cut: piece sizes, and the map of which pieces somebody has.
 *
 * Why: pieces go from many to many, in any order, so everybody must cut a layer alike. The size of
 * a piece is a function of the layer's size alone: pow2ceil(size / 512), within 128 KiB and 4 MiB.
 * Boundaries are multiples of 64 and 128 bytes, where SHA-256 and SHA-512 have no bytes in hand
 * (chain.h). The last piece may be shorter.
 *
 * Not here: whether the bytes of a piece are right (chain.h), who should send them (swarm.h). A map
 * owns its words; nothing else is allocated. */
#pragma once

#include <assert.h>

#include "proto/err.h"
#include "proto/limits.h"

struct wire_in;
struct wire_out;

#define PIECE_MIN_BYTES (128 * KIB)
#define PIECE_MAX_BYTES (4 * MIB)
#define PIECES_AIMED_AT 512 /* between these bounds */

u64 piece_size(u64 layer_bytes);
/* How many; 0: the layer is empty, or too large to be cut (LIMIT_PIECES). */
u32 piece_count(u64 layer_bytes);
u64 piece_first(u64 layer_bytes, u32 piece); /* offset of its first byte */
u64 piece_bytes(u64 layer_bytes, u32 piece); /* its length */

struct piece_map {
    u32 n, have;
    u64 *words;
};

/* None is had. `n`: 1 to LIMIT_PIECES. ERR_NOMEM. */
must_use int piece_map_init(struct piece_map *m, u32 n);
void piece_map_fini(struct piece_map *m);
static inline bool piece_map_has(const struct piece_map *m, u32 piece)
{
    assert(piece < m->n);
    return m->words[piece / 64] >> (piece % 64) & 1;
}
bool piece_map_set(struct piece_map *m, u32 piece);   /* was it new? */
bool piece_map_clear(struct piece_map *m, u32 piece); /* was it there? */
void piece_map_fill(struct piece_map *m);
bool piece_map_is_full(const struct piece_map *m);
/* The first at or after `from` that is had, or is not; `n` when there is none. */
u32 piece_map_next(const struct piece_map *m, u32 from, bool had);

/* On the wire: [first, bits]: bits as a bin, the lowest bit first, of the pieces from `first` (a
 * multiple of 8) on. Writes at most `max` bytes of bits and moves `*at` (0 at first, then as it was
 * left) behind them; false when there is nothing left from `*at` on. */
bool piece_map_put(const struct piece_map *m, u32 *at, u32 max, struct wire_out *w);
/* Adds what is read to the map. Pieces beyond `n` make it bad (wire.h). Returns how many were new.
 */
u32 piece_map_get(struct piece_map *m, struct wire_in *r);
