/* Token buckets: what is spent comes back with time, and each has its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/rate.h"

#define S 1000000000ull

static u32 taken(struct rate *r, u64 whom, u64 now_ns)
{
    u32 n = 0;
    while (n < 10000 && rate_take(r, whom, now_ns))
        n++;
    return n;
}

static void what_is_spent_comes_back(void **state)
{
    struct rate r;
    (void)state;
    rate_init(&r, 100, 10, 1);
    assert_int_equal(taken(&r, 7, 0), 100);
    assert_int_equal(taken(&r, 7, S), 10);
    assert_int_equal(taken(&r, 7, S), 0);
    assert_int_equal(taken(&r, 7, S / 2), 0); /* a clock that goes back gives nothing */
    assert_int_equal(taken(&r, 7, 6 * S), 50);
    assert_int_equal(taken(&r, 7, 1000 * S), 100); /* and no more than the burst is saved */
    rate_give_back(&r, 7);
    assert_int_equal(taken(&r, 7, 1000 * S), 1);
    for (int i = 0; i < 1000; i++)
        rate_charge(&r, 7, 1000 * S);
    assert_false(rate_has(&r, 7, 1009 * S));
    assert_true(rate_has(&r, 7, 1011 * S)); /* a burst of debt, no more */
    rate_give_back(&r, 8);                  /* who spent nothing gets nothing */
    assert_int_equal(taken(&r, 8, 1000 * S), 100);
}

/* Of many names most have a bucket of their own. */
static void each_has_its_own(void **state)
{
    struct rate r;
    u32 shared = 0;
    (void)state;
    rate_init(&r, 10, 1, 1);
    assert_int_equal(taken(&r, 1000, 0), 10);
    for (u64 whom = 0; whom < 64; whom++)
        shared += taken(&r, whom, 0) < 10;
    assert_true(shared < 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_spent_comes_back),
        cmocka_unit_test(each_has_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
