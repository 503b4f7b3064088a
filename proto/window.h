/* window.h - which numbers of a growing row were seen, the late ones included.
 *
 * Replay protection of RFC 4303, 3.4.3, kept in a ring of words as RFC 6479 does: moving on clears
 * whole words, and nothing is ever shifted. A window of W words remembers (W - 1) * 64 numbers
 * behind the highest; older ones count as seen. Numbers start at 1. Zeroed is empty. The caller
 * gives the room, so that tables of thousands pay for no more than they use. */
#pragma once

#include "proto/types.h"

#define WINDOW_WORDS(numbers) ((numbers) / 64 + 1) /* `numbers`: a multiple of 64 */

/* Takes n in; false when it was seen, is too old, or is 0. */
bool window_take(u64 *top, u64 *bits, unsigned words, u64 n);
