/* mem.h - memory for the simulator: it is there, or the run ends with a sentence.
 *
 * Why: a simulator without memory has nothing to serve and nobody to answer to, so its modules do
 * not carry an error for it. The cores under test keep theirs. All memory is zeroed, so that no
 * run depends on what lay there before. */
#pragma once

#include "proto/types.h"

/* `n` objects of `size` bytes, zeroed; free() them. */
void *mem_new(size_t n, size_t size);
/* Grows an array to hold `need` objects at least (doubling), the new ones zeroed. Takes `old`. */
void *mem_grow(void *old, size_t *cap, size_t need, size_t size);
char *mem_text(const char *text); /* a copy */
