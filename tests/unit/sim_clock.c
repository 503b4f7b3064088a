/* A node's clocks: monotonic through drift, inverse to the nanosecond; the wall clock may jump. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto/rng.h"
#include "sim/sim_clock.h"

#define S 1000000000ull

static void drift_is_what_was_set(void **state)
{
    (void)state;
    struct sim_clock c;
    sim_clock_init(&c, 7 * S, 0);
    assert_int_equal(sim_clock_mono(&c, 0), 7 * S);
    sim_clock_set_drift(&c, 0, 50000); /* 50 ppm fast */
    assert_int_equal(sim_clock_mono(&c, 100000 * S), 7 * S + 100000 * S + 5 * S);
    sim_clock_set_drift(&c, 100000 * S, -50000);
    assert_int_equal(sim_clock_mono(&c, 200000 * S), 7 * S + 200000 * S);
}

static void the_inverse_is_never_early_and_never_late(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 3);
    for (int i = 0; i < 20000; i++) {
        struct sim_clock c;
        sim_clock_init(&c, rng_below(&r, 1000 * S), 0);
        u64 now = rng_below(&r, 100000 * S);
        sim_clock_set_drift(&c, now,
                            (i64)rng_below(&r, 2 * SIM_CLOCK_DRIFT_MAX) - SIM_CLOCK_DRIFT_MAX);
        u64 shown = sim_clock_mono(&c, now), ask = shown + rng_below(&r, 100 * S);
        u64 when = sim_clock_when(&c, ask);
        if (when < now || sim_clock_mono(&c, when) < ask)
            fail_msg("at %ju the clock shows less than %ju", (uintmax_t)when, (uintmax_t)ask);
        if (when > now && sim_clock_mono(&c, when - 1) >= ask)
            fail_msg("a nanosecond before %ju it shows %ju already", (uintmax_t)when,
                     (uintmax_t)ask);
    }
    struct sim_clock c;
    sim_clock_init(&c, 5 * S, 0);
    assert_true(sim_clock_when(&c, UINT64_MAX) == UINT64_MAX);
    assert_int_equal(sim_clock_when(&c, 4 * S), 0); /* it shows more already */
}

static void it_never_goes_back(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 4);
    struct sim_clock c;
    sim_clock_init(&c, 0, 1700000000000u);
    u64 now = 0, shown = 0;
    for (int i = 0; i < 20000; i++) {
        now += rng_below(&r, S);
        if (i % 7 == 0)
            sim_clock_set_drift(&c, now, (i64)rng_below(&r, 200000) - 100000);
        if (i % 11 == 0)
            sim_clock_jump(&c, (i64)rng_below(&r, 7200000) - 3600000);
        u64 mono = sim_clock_mono(&c, now);
        assert_true(mono >= shown);
        shown = mono;
    }
}

static void the_wall_clock_jumps(void **state)
{
    (void)state;
    struct sim_clock c;
    sim_clock_init(&c, 0, 1700000000000u);
    assert_int_equal(sim_clock_unix_ms(&c, 2 * S), 1700000002000u);
    sim_clock_jump(&c, -3600000);
    assert_int_equal(sim_clock_unix_ms(&c, 2 * S), 1699996402000u);
    sim_clock_jump(&c, -1800000000000); /* before 1970 there is nothing */
    assert_int_equal(sim_clock_unix_ms(&c, 2 * S), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drift_is_what_was_set),
        cmocka_unit_test(the_inverse_is_never_early_and_never_late),
        cmocka_unit_test(it_never_goes_back),
        cmocka_unit_test(the_wall_clock_jumps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
