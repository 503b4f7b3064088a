/* clock.h - the wall clock, in one spelling. Deadlines use the loop's own (monotonic) time instead.
 */
#pragma once

#include <time.h>

#include "proto/types.h"

/* Unix time in milliseconds. */
static inline u64 wall_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (u64)ts.tv_sec * 1000 + (u64)ts.tv_nsec / 1000000;
}
