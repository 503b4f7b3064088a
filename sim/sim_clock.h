/* sim_clock.h - what time a node believes it is.
 *
 * Why: a core must stand clocks that run a little fast, wall clocks that are hours off or jump, and
 * processes that were stopped for a while. Each node reads two clocks: a monotonic one, which has
 * an origin of its own and a drift but never jumps, and a wall clock, which also has an offset and
 * is set now and then. Virtual time (engine.h) is the truth that both are computed from. A pause
 * stops the process, not the clocks: that is the world's affair.
 * Guarantee: the monotonic clock never goes back, whatever is done to it; sim_clock_when() is its
 * inverse: at that virtual time, and not before, the clock shows at least what was asked for. */
#pragma once

#include "proto/types.h"

struct sim_clock {
    u64 since_ns;     /* virtual time of the last change of drift */
    u64 mono_ns;      /* what the monotonic clock showed then */
    i64 drift_ppb;    /* parts in 10^9: a good quartz is within 50,000 */
    i64 wall_off_ms;  /* wrongness of the wall clock */
    u64 wall_zero_ms; /* Unix time of virtual time 0 */
};

#define SIM_CLOCK_DRIFT_MAX 100000000 /* a tenth: far beyond any hardware */

void sim_clock_init(struct sim_clock *c, u64 mono_ns, u64 wall_zero_ms);
void sim_clock_set_drift(struct sim_clock *c, u64 virtual_ns, i64 drift_ppb);
void sim_clock_jump(struct sim_clock *c, i64 by_ms); /* the wall clock */

u64 sim_clock_mono(const struct sim_clock *c, u64 virtual_ns);
u64 sim_clock_unix_ms(const struct sim_clock *c, u64 virtual_ns);
/* UINT64_MAX stays UINT64_MAX. */
u64 sim_clock_when(const struct sim_clock *c, u64 mono_ns);
