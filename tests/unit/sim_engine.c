/* Virtual time: the total order, the hash, the streams of randomness. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sim/engine.h"

static void events_come_in_the_order_of_time_and_asking(void **state)
{
    (void)state;
    struct engine e;
    engine_init(&e, 1);
    struct rng r = engine_rng(&e, "test");
    for (u32 i = 0; i < 20000; i++)
        engine_at(&e, rng_below(&r, 500), 1, i, i);
    struct event ev, before = {0};
    u32 n = 0;
    while (engine_next(&e, 1000, &ev)) {
        if (n > 0 &&
            (ev.at_ns < before.at_ns || (ev.at_ns == before.at_ns && ev.seq <= before.seq)))
            fail_msg("event %u at %ju came after one at %ju", ev.node, (uintmax_t)ev.at_ns,
                     (uintmax_t)before.at_ns);
        if (n % 3 == 0) /* more are asked for while it runs, also for this very instant */
            engine_at(&e, ev.at_ns + rng_below(&r, 3), 2, n, 0);
        before = ev;
        if (++n > 60000)
            fail_msg("more events than were asked for");
    }
    assert_int_equal(e.n + e.n_ahead, 0);
    assert_int_equal(n, e.seq);
    assert_int_equal(e.now_ns, 1000);
    engine_fini(&e);
}

static void time_stops_where_it_was_told(void **state)
{
    (void)state;
    struct engine e;
    struct event ev;
    engine_init(&e, 1);
    engine_at(&e, 10, 7, 8, 9);
    assert_false(engine_next(&e, 9, &ev));
    assert_int_equal(e.now_ns, 9);
    assert_true(engine_next(&e, 10, &ev));
    assert_true(ev.kind == 7 && ev.node == 8 && ev.arg == 9);
    assert_false(engine_next(&e, 10, &ev));
    engine_fini(&e);
}

static u64 hash_of(u64 seed, u32 odd, const char *carried)
{
    struct engine e;
    struct event ev;
    engine_init(&e, seed);
    for (u32 i = 0; i < 100; i++)
        engine_at(&e, i, 1, i == odd ? 1000 : i, 0);
    while (engine_next(&e, 100, &ev))
        engine_mix_bytes(&e, carried, 43);
    u64 hash = e.hash;
    engine_fini(&e);
    return hash;
}

static void the_hash_tells_runs_apart(void **state)
{
    (void)state;
    const char *text = "the quick brown fox jumps over the lazy dog";
    u64 hash = hash_of(1, 200, text);
    assert_true(hash == hash_of(1, 200, text));
    assert_true(hash != hash_of(2, 200, text));
    assert_true(hash != hash_of(1, 99, text));
    for (size_t i = 0; i < 43; i++) { /* every byte that an event carried counts */
        char other[44];
        memcpy(other, text, 44);
        other[i] ^= 1;
        if (hash == hash_of(1, 200, other))
            fail_msg("byte %zu does not count", i);
    }
}

static void streams_do_not_disturb_each_other(void **state)
{
    (void)state;
    struct engine e, other;
    engine_init(&e, 5);
    engine_init(&other, 5);
    struct rng a = engine_rng(&e, "net"), b = engine_rng(&e, "faults");
    for (int i = 0; i < 100; i++)
        rng_u64(&a);
    struct rng c = engine_rng(&other, "faults");
    for (int i = 0; i < 100; i++)
        assert_true(rng_u64(&b) == rng_u64(&c));
    struct rng n0 = engine_rng_n(&e, "node", 0), n1 = engine_rng_n(&e, "node", 1);
    assert_true(rng_u64(&n0) != rng_u64(&n1));
    engine_fini(&e);
    engine_fini(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_come_in_the_order_of_time_and_asking),
        cmocka_unit_test(time_stops_where_it_was_told),
        cmocka_unit_test(the_hash_tells_runs_apart),
        cmocka_unit_test(streams_do_not_disturb_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
