/* pieces.c - see pieces.h. */
#include "proto/pieces.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/wire.h"

#define WORD_BITS 64u

static_assert(PIECE_MIN_BYTES % 128 == 0, "a boundary is one of SHA-512's blocks");
static_assert(LIMIT_PIECES % WORD_BITS == 0, "whole words");

u64 piece_size(u64 layer_bytes)
{
    u64 piece = PIECE_MIN_BYTES;
    while (piece < PIECE_MAX_BYTES && piece * PIECES_AIMED_AT < layer_bytes)
        piece *= 2;
    return piece;
}

u32 piece_count(u64 layer_bytes)
{
    u64 piece = piece_size(layer_bytes);
    if (layer_bytes == 0 || layer_bytes > piece * LIMIT_PIECES)
        return 0;
    return (u32)((layer_bytes + piece - 1) / piece);
}

u64 piece_first(u64 layer_bytes, u32 piece)
{
    assert(piece < piece_count(layer_bytes));
    return piece * piece_size(layer_bytes);
}

u64 piece_bytes(u64 layer_bytes, u32 piece)
{
    u64 size = piece_size(layer_bytes), left = layer_bytes - piece_first(layer_bytes, piece);
    return left < size ? left : size;
}

/* --- the map --------------------------------------------------------------------------------- */

static size_t words_of(u32 n)
{
    return (n + WORD_BITS - 1) / WORD_BITS;
}

int piece_map_init(struct piece_map *m, u32 n)
{
    assert(n > 0 && n <= LIMIT_PIECES);
    *m = (struct piece_map){.n = n, .words = calloc(words_of(n), sizeof(u64))};
    return m->words ? 0 : ERR_NOMEM;
}

void piece_map_fini(struct piece_map *m)
{
    free(m->words);
    memset(m, 0, sizeof(*m));
}

bool piece_map_set(struct piece_map *m, u32 piece)
{
    if (piece_map_has(m, piece))
        return false;
    m->words[piece / WORD_BITS] |= 1ull << (piece % WORD_BITS);
    m->have++;
    return true;
}

bool piece_map_clear(struct piece_map *m, u32 piece)
{
    if (!piece_map_has(m, piece))
        return false;
    m->words[piece / WORD_BITS] &= ~(1ull << (piece % WORD_BITS));
    m->have--;
    return true;
}

void piece_map_fill(struct piece_map *m)
{
    for (u32 i = 0; i < m->n; i++)
        (void)piece_map_set(m, i);
}

bool piece_map_is_full(const struct piece_map *m)
{
    return m->have == m->n;
}

u32 piece_map_next(const struct piece_map *m, u32 from, bool had)
{
    for (u32 i = from; i < m->n;) {
        u64 word = m->words[i / WORD_BITS];
        word = (had ? word : ~word) >> (i % WORD_BITS);
        if (word) {
            i += (u32)__builtin_ctzll(word);
            return i < m->n ? i : m->n;
        }
        i = (i / WORD_BITS + 1) * WORD_BITS;
    }
    return m->n;
}

/* --- the wire -------------------------------------------------------------------------------- */

static u8 byte_at(const struct piece_map *m, u32 at)
{
    return (u8)(m->words[at / WORD_BITS] >> (at % WORD_BITS));
}

bool piece_map_put(const struct piece_map *m, u32 *at, u32 max, struct wire_out *w)
{
    u8 bits[LIMIT_PIECES / 8];
    u32 n = 0, from = piece_map_next(m, *at, true);
    assert(*at % 8 == 0 && max > 0);
    if (from == m->n)
        return false;
    from &= ~7u;
    for (u32 i = from; i < m->n && n < max; i += 8)
        bits[n++] = byte_at(m, i);
    *at = from + 8 * n;
    while (n > 1 && bits[n - 1] == 0)
        n--;
    wire_put_array(w, 2);
    wire_put_u64(w, from);
    wire_put_bin(w, bits, n);
    return true;
}

u32 piece_map_get(struct piece_map *m, struct wire_in *r)
{
    size_t len;
    u32 fresh = 0;
    bool pair = wire_get_array(r, 2) == 2;
    u32 first = (u32)wire_get_max(r, m->n - 1);
    const u8 *bits = wire_get_bin(r, LIMIT_PIECES / 8, &len);
    if (!pair || !bits || first % 8) {
        r->bad = true;
        return 0;
    }
    for (u32 i = 0; i < 8 * len; i++) {
        if (!(bits[i / 8] >> (i % 8) & 1))
            continue;
        if (first + i >= m->n) {
            r->bad = true;
            break;
        }
        fresh += piece_map_set(m, first + i);
    }
    return fresh;
}
