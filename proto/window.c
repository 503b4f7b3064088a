/* window.c - see window.h. */
#include "proto/window.h"

#include <assert.h>

bool window_take(u64 *top, u64 *bits, unsigned words, u64 n)
{
    assert(words >= 2);
    u64 span = (words - 1) * 64ull;
    if (n == 0 || (n <= *top && *top - n >= span))
        return false;
    if (n > *top) {
        u64 first = *top / 64 + 1, last = n / 64;
        if (last >= first && last - first >= words)
            first = last - words + 1;
        for (u64 w = first; w <= last; w++)
            bits[w % words] = 0;
        *top = n;
    }
    u64 *word = &bits[n / 64 % words], mask = 1ull << (n % 64);
    if (*word & mask)
        return false;
    *word |= mask;
    return true;
}
