/* window.c - see window.h.
 *
 * Numbers stand in blocks of 64, a word each. bits[0] is the block of `top`; bits[1] has a bit for
 * each place of the ring that follows: does it hold an earlier block of the window, or nothing of
 * worth? Block b has place b % ring. */
#include "proto/window.h"

#include <assert.h>

static_assert(WINDOW_WORDS(WINDOW_NUMBERS_MAX) - 2 <= 64, "a bit for each place");

struct ring {
    u64 *newest, *held, *words;
    unsigned n;
};

/* The block of `top` goes into the ring, and those between it and `block` were not seen. */
static void advance(const struct ring *r, u64 from, u64 block)
{
    if (block - from >= r->n) {
        *r->held = 0;
    } else {
        r->words[from % r->n] = *r->newest;
        *r->held |= 1ull << (from % r->n);
        for (u64 b = from + 1; b <= block; b++)
            *r->held &= ~(1ull << (b % r->n));
    }
    *r->newest = 0;
}

static u64 *word_of(const struct ring *r, u64 block, u64 top_block)
{
    unsigned place = (unsigned)(block % r->n);
    if (block == top_block)
        return r->newest;
    if (!(*r->held >> place & 1)) {
        *r->held |= 1ull << place;
        r->words[place] = 0;
    }
    return &r->words[place];
}

bool window_take(u64 *top, u64 *bits, unsigned words, u64 n)
{
    assert(words >= WINDOW_WORDS(64) && words <= WINDOW_WORDS(WINDOW_NUMBERS_MAX));
    const struct ring r = {bits, bits + 1, bits + 2, words - 2};
    u64 span = (r.n - 1) * 64ull, block = n / 64;
    if (n == 0 || (n <= *top && *top - n >= span))
        return false;
    if (n > *top) {
        if (block != *top / 64)
            advance(&r, *top / 64, block);
        *top = n;
    }
    u64 *word = word_of(&r, block, *top / 64), mask = 1ull << (n % 64);
    if (*word & mask)
        return false;
    *word |= mask;
    return true;
}
