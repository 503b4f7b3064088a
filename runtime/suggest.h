/* suggest.h - "did you mean": the nearest of some words to one that nobody knows.
 *
 * Near: at most one slip (a letter more, less, other, or two swapped) for each three letters. A
 * word that is the last part of a dotted candidate ("capacity" of "store.capacity") is nearest.
 * Pure. */
#pragma once

#include "proto/types.h"

struct suggest {
    const char *word; /* borrowed */
    const char *best; /* NULL: none is near */
    size_t slips;     /* of the best */
};

void suggest_init(struct suggest *s, const char *word);
/* `candidate` is borrowed as long as `best` is used. */
void suggest_offer(struct suggest *s, const char *candidate);
