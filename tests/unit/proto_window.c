/* The window: each number once, late ones within it, none behind it. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "proto/rng.h"
#include "proto/window.h"

#define SPAN  128
#define WORDS WINDOW_WORDS(SPAN)

struct rig {
    u64 top, bits[WORDS];
};

static bool take(struct rig *r, u64 n)
{
    return window_take(&r->top, r->bits, WORDS, n);
}

static void each_number_once(void **state)
{
    (void)state;
    struct rig r = {0};
    for (u64 n = 1; n < 1000; n++) {
        assert_true(take(&r, n));
        assert_false(take(&r, n));
    }
    assert_int_equal(r.top, 999);
}

static void zero_is_no_number(void **state)
{
    (void)state;
    struct rig r = {0};
    assert_false(take(&r, 0));
    assert_true(take(&r, 1));
    assert_false(take(&r, 0));
}

static void late_ones_count_up_to_the_edge(void **state)
{
    (void)state;
    for (u64 top = SPAN; top < SPAN + 200; top++) {
        struct rig r = {0};
        assert_true(take(&r, top));
        if (top > SPAN)
            assert_false(take(&r, top - SPAN));
        for (u64 back = 1; back < SPAN; back++) {
            assert_true(take(&r, top - back));
            assert_false(take(&r, top - back));
        }
    }
}

static void a_leap_forgets_what_is_behind(void **state)
{
    (void)state;
    struct rig r = {0};
    assert_true(take(&r, 5));
    assert_true(take(&r, 5 + 7 * SPAN));
    assert_false(take(&r, 5));
    assert_true(take(&r, 6 + 6 * SPAN));
    assert_true(take(&r, UINT64_MAX));
    assert_true(take(&r, UINT64_MAX - SPAN + 1));
    assert_false(take(&r, UINT64_MAX - SPAN));
    assert_false(take(&r, UINT64_MAX));
    assert_false(take(&r, 5 + 7 * SPAN));
}

/* Against a plain list of what was seen, in random order with random leaps. */
static void it_agrees_with_a_list(void **state)
{
    (void)state;
    enum { N = 20000 };
    static bool seen[N];
    struct rng rng;
    for (u64 seed = 1; seed <= 20; seed++) {
        struct rig r = {0};
        rng_seed(&rng, seed);
        memset(seen, 0, sizeof(seen));
        u64 top = 0;
        for (int i = 0; i < 5000; i++) {
            u64 leap = rng_chance(&rng, 0.02) ? 400 : 3, low = top > 200 ? top - 200 : 0;
            u64 n = rng_chance(&rng, 0.5) ? top + rng_below(&rng, leap)
                                          : low + rng_below(&rng, top - low + 1);
            if (n >= N)
                break;
            bool fresh = n > 0 && !seen[n] && (n > top || top - n < SPAN);
            assert_int_equal(take(&r, n), fresh);
            if (fresh) {
                seen[n] = true;
                top = n > top ? n : top;
            }
        }
        assert_true(top > 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_number_once),
        cmocka_unit_test(zero_is_no_number),
        cmocka_unit_test(late_ones_count_up_to_the_edge),
        cmocka_unit_test(a_leap_forgets_what_is_behind),
        cmocka_unit_test(it_agrees_with_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
