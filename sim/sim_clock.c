/* sim_clock.c - see sim_clock.h. Whole numbers only: a clock must not differ between compilers. */
#include "sim/sim_clock.h"

#include <assert.h>
#include <string.h>

#define BILLION 1000000000

void sim_clock_init(struct sim_clock *c, u64 mono_ns, u64 wall_zero_ms)
{
    *c = (struct sim_clock){.mono_ns = mono_ns, .wall_zero_ms = wall_zero_ms};
}

/* What the clock advanced in `ns` of truth. */
static u64 advanced(const struct sim_clock *c, u64 ns)
{
    return (u64)((unsigned __int128)ns * (u64)(BILLION + c->drift_ppb) / BILLION);
}

void sim_clock_set_drift(struct sim_clock *c, u64 virtual_ns, i64 drift_ppb)
{
    assert(drift_ppb >= -SIM_CLOCK_DRIFT_MAX && drift_ppb <= SIM_CLOCK_DRIFT_MAX);
    c->mono_ns = sim_clock_mono(c, virtual_ns);
    c->since_ns = virtual_ns;
    c->drift_ppb = drift_ppb;
}

void sim_clock_jump(struct sim_clock *c, i64 by_ms)
{
    c->wall_off_ms += by_ms;
}

u64 sim_clock_mono(const struct sim_clock *c, u64 virtual_ns)
{
    assert(virtual_ns >= c->since_ns);
    return c->mono_ns + advanced(c, virtual_ns - c->since_ns);
}

u64 sim_clock_unix_ms(const struct sim_clock *c, u64 virtual_ns)
{
    i64 ms = (i64)(c->wall_zero_ms + virtual_ns / 1000000) + c->wall_off_ms;
    return ms > 0 ? (u64)ms : 0;
}

u64 sim_clock_when(const struct sim_clock *c, u64 mono_ns)
{
    if (mono_ns == UINT64_MAX)
        return UINT64_MAX;
    if (mono_ns <= c->mono_ns)
        return c->since_ns;
    unsigned __int128 ask = mono_ns - c->mono_ns;
    unsigned __int128 rate = (u64)(BILLION + c->drift_ppb);
    return c->since_ns + (u64)((ask * BILLION + rate - 1) / rate);
}
