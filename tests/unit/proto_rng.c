/* The generator: the published sequence, the same in every run, streams that do not disturb each
 * other, and no bias that a simple count would show. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "proto/rng.h"

/* xoshiro256** from the state 1, 2, 3, 4: the first numbers can be worked out by hand from the
 * paper's listing (rotl(2 * 5, 7) * 9 = 11520, then state words that are still small). */
static void the_published_sequence(void **state)
{
    (void)state;
    struct rng r = {{1, 2, 3, 4}};
    assert_int_equal(rng_u64(&r), 11520);
    assert_int_equal(rng_u64(&r), 0);
    assert_int_equal(rng_u64(&r), 1509978240);
    assert_int_equal(rng_u64(&r), 1215971899390074240);
}

/* splitmix64 from 0 begins with this well-known number. */
static void the_seed_is_spread(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 0);
    assert_int_equal(r.s[0], 0xe220a8397b1dcdafu);
}

static void equal_seeds_give_equal_numbers(void **state)
{
    (void)state;
    struct rng a, b, c;
    rng_seed(&a, 42);
    rng_seed(&b, 42);
    rng_seed(&c, 43);
    int equal = 0;
    for (int i = 0; i < 1000; i++) {
        u64 x = rng_u64(&a);
        assert_int_equal(x, rng_u64(&b));
        equal += x == rng_u64(&c);
    }
    assert_int_equal(equal, 0);
}

static void streams_are_split_by_purpose(void **state)
{
    (void)state;
    struct rng parent, before;
    rng_seed(&parent, 7);
    before = parent;
    struct rng a = rng_split(&parent, "probe"), b = rng_split(&parent, "gossip");
    struct rng a2 = rng_split(&parent, "probe"), n0 = rng_split_n(&parent, "probe", 0);
    struct rng n1 = rng_split_n(&parent, "probe", 1),
               n2 = rng_split_n(&parent, "probe", 1ull << 32);
    assert_memory_equal(&parent, &before, sizeof(parent));
    assert_memory_equal(&a, &a2, sizeof(a));
    assert_memory_equal(&a, &n0, sizeof(a));
    const struct rng all[] = {a, b, n1, n2, parent};
    for (size_t i = 0; i < countof(all); i++)
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(&all[i], &all[j], sizeof(struct rng));
}

static void below_stays_below_and_is_even(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 1);
    unsigned count[7] = {0};
    for (int i = 0; i < 70000; i++)
        count[rng_below(&r, 7)]++;
    for (int i = 0; i < 7; i++)
        assert_in_range(count[i], 9600, 10400);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(rng_below(&r, 1), 0);
        assert_true(rng_below(&r, (1ull << 63) + 1) <= 1ull << 63);
    }
}

static void unit_and_chance(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 2);
    double sum = 0;
    int hits = 0;
    for (int i = 0; i < 100000; i++) {
        double x = rng_unit(&r);
        assert_true(x >= 0 && x < 1);
        sum += x;
        hits += rng_chance(&r, 0.25);
        assert_false(rng_chance(&r, 0));
        assert_true(rng_chance(&r, 1));
    }
    assert_true(sum > 49000 && sum < 51000);
    assert_in_range(hits, 24000, 26000);
}

static void bytes_fill_exactly(void **state)
{
    (void)state;
    for (size_t len = 0; len <= 40; len++) {
        struct rng r;
        u8 buf[42];
        rng_seed(&r, 3);
        memset(buf, 0xee, sizeof(buf));
        rng_bytes(&r, buf + 1, len);
        assert_true(buf[0] == 0xee && buf[len + 1] == 0xee);
        u8 longer[40];
        rng_seed(&r, 3);
        rng_bytes(&r, longer, sizeof(longer));
        assert_memory_equal(buf + 1, longer, len);
    }
}

static void a_shuffle_keeps_all_and_favours_none(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 4);
    unsigned where[5][5] = {{0}};
    for (int round = 0; round < 20000; round++) {
        u32 v[5] = {0, 1, 2, 3, 4}, seen = 0;
        rng_shuffle_u32(&r, v, 5);
        for (u32 i = 0; i < 5; i++) {
            seen |= 1u << v[i];
            where[v[i]][i]++;
        }
        assert_int_equal(seen, 0x1f);
    }
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++)
            assert_in_range(where[i][j], 3750, 4250);
    rng_shuffle_u32(&r, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_sequence),
        cmocka_unit_test(the_seed_is_spread),
        cmocka_unit_test(equal_seeds_give_equal_numbers),
        cmocka_unit_test(streams_are_split_by_purpose),
        cmocka_unit_test(below_stays_below_and_is_even),
        cmocka_unit_test(unit_and_chance),
        cmocka_unit_test(bytes_fill_exactly),
        cmocka_unit_test(a_shuffle_keeps_all_and_favours_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
