/* Coordinates: they learn distances, and no peer can throw them far. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/coord.h"

#define MS 1000000ull

static void a_new_one_is_unsure(void **state)
{
    struct coord c;
    (void)state;
    coord_init(&c);
    assert_true(c.error == COORD_ERROR_MAX && c.height == COORD_HEIGHT_MIN);
    assert_true(coord_distance_ns(&c, &c) < MS);
}

/* Two sites of eight nodes, 1 ms within, 40 ms between. */
static void sites_are_told_apart(void **state)
{
    struct coord c[16];
    struct rng r;
    (void)state;
    rng_seed(&r, 5);
    for (int i = 0; i < 16; i++)
        coord_init(&c[i]);
    for (int round = 0; round < 4000; round++) {
        size_t a = (size_t)rng_below(&r, 16), b = (size_t)rng_below(&r, 16);
        if (a != b)
            coord_update(&c[a], &c[b], a / 8 == b / 8 ? MS : 40 * MS, &r);
    }
    double worst = 0;
    for (int a = 0; a < 16; a++) {
        for (int b = 0; b < a; b++) {
            double is = a / 8 == b / 8 ? 1e6 : 40e6, got = (double)coord_distance_ns(&c[a], &c[b]);
            double off = fabs(got - is) / 40e6;
            worst = off > worst ? off : worst;
        }
        assert_true(c[a].error < 0.3F);
    }
    print_message("coord: worst error %.1f %% of the distance between sites\n", 100 * worst);
    assert_true(worst < 0.1);
}

static void samples_that_cannot_be_change_nothing(void **state)
{
    struct coord c, before, peer;
    struct rng r;
    (void)state;
    rng_seed(&r, 1);
    coord_init(&c);
    coord_init(&peer);
    before = c;
    coord_update(&c, &peer, 0, &r);
    coord_update(&c, &peer, 10001 * MS, &r);
    assert_memory_equal(&c, &before, sizeof(c));
    coord_update(&c, &peer, 10 * MS, &r);
    assert_memory_not_equal(&c, &before, sizeof(c));
}

static void a_liar_moves_us_by_bounded_steps(void **state)
{
    struct coord c, liar;
    struct rng r;
    (void)state;
    rng_seed(&r, 2);
    coord_init(&c);
    for (int i = 0; i < 10000; i++) {
        struct coord before = c;
        coord_init(&liar);
        for (int k = 0; k < COORD_DIMENSIONS; k++)
            liar.at[k] = i & 1 ? COORD_FAR_MAX : -COORD_FAR_MAX;
        liar.height = COORD_FAR_MAX;
        liar.error = i & 2 ? 0 : COORD_ERROR_MAX;
        coord_update(&c, &liar, i & 4 ? 1 : 10000 * MS, &r);
        for (int k = 0; k < COORD_DIMENSIONS; k++) {
            assert_true(isfinite(c.at[k]) && fabsf(c.at[k]) <= COORD_FAR_MAX);
            assert_true(fabsf(c.at[k] - before.at[k]) <= 1.001F * COORD_STEP_MAX);
        }
        assert_true(c.height >= COORD_HEIGHT_MIN && c.height <= COORD_FAR_MAX);
        assert_true(c.error >= 0 && c.error <= COORD_ERROR_MAX);
    }
}

static void what_is_written_is_read(void **state)
{
    struct coord c = {.at = {0.25F, -0.5F, 0, 9.75F}, .height = 0.001F, .error = 0.125F}, back;
    u8 buf[64];
    struct wire_out w;
    struct wire_in in;
    (void)state;
    wire_out_init(&w, buf, sizeof(buf));
    coord_put(&w, &c);
    assert_int_equal(w.len, 26);
    wire_in_init(&in, buf, w.len);
    coord_get(&in, &back);
    assert_true(wire_ok(&in) && wire_left(&in) == 0);
    assert_memory_equal(&c, &back, sizeof(c));
}

static void what_is_out_of_bounds_is_bad(void **state)
{
    const struct coord bad[] = {
        {.at = {COORD_FAR_MAX * 2}, .height = 1, .error = 1},
        {.at = {NAN}, .height = 1, .error = 1},
        {.at = {0, INFINITY}, .height = 1, .error = 1},
        {.height = 0, .error = 1},
        {.height = -1, .error = 1},
        {.height = NAN, .error = 1},
        {.height = 1, .error = 2},
        {.height = 1, .error = -0.5F},
    };
    (void)state;
    for (size_t i = 0; i < countof(bad); i++) {
        struct coord back;
        u8 buf[64];
        struct wire_out w;
        struct wire_in in;
        wire_out_init(&w, buf, sizeof(buf));
        coord_put(&w, &bad[i]);
        wire_in_init(&in, buf, w.len);
        coord_get(&in, &back);
        assert_false(wire_ok(&in));
        assert_true(back.height == COORD_HEIGHT_MIN);
        wire_in_init(&in, buf, w.len - 1);
        coord_get(&in, &back);
        assert_false(wire_ok(&in));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_one_is_unsure),
        cmocka_unit_test(sites_are_told_apart),
        cmocka_unit_test(samples_that_cannot_be_change_nothing),
        cmocka_unit_test(a_liar_moves_us_by_bounded_steps),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(what_is_out_of_bounds_is_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
