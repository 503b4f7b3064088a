/* window.h - which numbers of a growing row were seen, the late ones included.
 *
 * Replay protection of RFC 4303, 3.4.3, kept in a ring of words as RFC 6479 does: nothing is ever
 * shifted. A window of N numbers remembers N behind the highest; older ones count as seen. Numbers
 * start at 1. Zeroed is empty. The caller gives the room, so that tables of thousands pay for no
 * more than they use.
 *
 * A sender counts all that it sends, to whomever, so that what one of a thousand receivers sees
 * leaps over the whole window each time. So the word of the newest numbers stands first, beside
 * `top`, and which of the others hold anything is one word too: who leaps touches one cache line,
 * and clears nothing. */
#pragma once

#include "proto/types.h"

#define WINDOW_NUMBERS_MAX    4032
#define WINDOW_WORDS(numbers) ((numbers) / 64 + 3) /* `numbers`: a multiple of 64 */

/* Takes n in; false when it was seen, is too old, or is 0. `words`: WINDOW_WORDS() of its size. */
bool window_take(u64 *top, u64 *bits, unsigned words, u64 n);
