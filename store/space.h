/* space.h - how a file counts against the capacity: in whole 4 KiB, as file systems give room. */
#pragma once

#include "proto/types.h"

#define SPACE_UNIT 4096ull

/* `bytes` must be a length that was checked against a capacity, or of a file: far from 2^64. */
static inline u64 space_rounded(u64 bytes)
{
    return (bytes + (SPACE_UNIT - 1)) & ~(SPACE_UNIT - 1);
}
