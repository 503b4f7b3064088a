/* Choosing peers: labels before distance, health before labels, two choices spread the load, and
 * what fetches teach. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/choose.h"
#include "proto/limits.h"

#define MS 1000000ull
#define S  1000000000ull

static struct choose_candidate peer(u8 name, enum choose_tier tier, u64 rtt_ns)
{
    return (struct choose_candidate){.key = {{name}}, .tier = tier, .rtt_ns = rtt_ns};
}

static struct rng seeded(u64 seed)
{
    struct rng r;
    rng_seed(&r, seed);
    return r;
}

static void labels_come_before_round_trips(void **state)
{
    (void)state;
    const struct choose_candidate c[] = {
        peer(1, CHOOSE_FAR, 1 * MS),
        peer(2, CHOOSE_REGION, 2 * MS),
        peer(3, CHOOSE_SUBNET, 30 * MS),
        peer(4, CHOOSE_RACK, 40 * MS),
    };
    struct choose_verdict v[4];
    for (u64 seed = 0; seed < 50; seed++) {
        struct rng r = seeded(seed);
        assert_int_equal(choose_order(c, 4, MS, &r, v), 4);
        for (size_t i = 0; i < 4; i++) {
            assert_int_equal(v[i].index, 3 - i);
            assert_string_equal(v[i].reason, "alone in its tier");
            assert_int_equal(v[i].expected_ns, choose_expected_ns(&c[v[i].index], MS));
        }
    }
}

static void health_comes_before_labels(void **state)
{
    (void)state;
    struct choose_candidate c[] = {
        peer(1, CHOOSE_RACK, MS),    peer(2, CHOOSE_SUBNET, MS), peer(3, CHOOSE_REGION, MS),
        peer(4, CHOOSE_FAR, 9 * MS), peer(5, CHOOSE_RACK, MS),
    };
    c[0].barred = true;
    c[1].busy = true;
    c[2].suspect = true;
    c[4].barred = c[4].busy = c[4].suspect = true;
    struct choose_verdict v[5];
    struct rng r = seeded(1);
    assert_int_equal(choose_order(c, 5, MS, &r, v), 3);
    assert_true(v[0].index == 3 && v[1].index == 2 && v[2].index == 1);
    assert_string_equal(v[0].reason, "alone in its tier");
    assert_string_equal(v[1].reason, "suspected");
    assert_string_equal(v[2].reason, "busy");
    assert_string_equal(v[3].reason, "barred");
    assert_string_equal(v[4].reason, "barred");
}

static void none_and_only_barred(void **state)
{
    (void)state;
    struct choose_candidate c[] = {peer(1, CHOOSE_RACK, MS), peer(2, CHOOSE_RACK, MS)};
    struct choose_verdict v[2];
    struct rng r = seeded(1);
    assert_int_equal(choose_order(c, 0, MS, &r, v), 0);
    c[0].barred = c[1].barred = true;
    assert_int_equal(choose_order(c, 2, MS, &r, v), 0);
    assert_true(v[0].index + v[1].index == 1);
}

static void of_two_the_sooner(void **state)
{
    (void)state;
    struct choose_candidate c[] = {peer(1, CHOOSE_REGION, MS), peer(2, CHOOSE_REGION, MS)};
    c[0].inflight_bytes = GIB;
    struct choose_verdict v[2];
    for (u64 seed = 0; seed < 50; seed++) {
        struct rng r = seeded(seed);
        assert_int_equal(choose_order(c, 2, MS, &r, v), 2);
        assert_true(v[0].index == 1 && v[1].index == 0);
        assert_string_equal(v[0].reason, "sooner of two");
    }
}

static void only_the_nearest_eight_come_first(void **state)
{
    (void)state;
    struct choose_candidate c[100];
    struct choose_verdict v[100];
    for (u8 i = 0; i < 100; i++)
        c[i] = peer(i + 1, CHOOSE_REGION, (100 - i) * MS); /* the last are the nearest */
    for (u64 seed = 0; seed < 200; seed++) {
        struct rng r = seeded(seed);
        bool seen[100] = {false};
        assert_int_equal(choose_order(c, 100, MS, &r, v), 100);
        assert_true(v[0].index >= 92);
        for (size_t i = 0; i < 100; i++) {
            assert_false(seen[v[i].index]);
            seen[v[i].index] = true;
        }
    }
}

static void equal_inputs_give_equal_answers(void **state)
{
    (void)state;
    struct choose_candidate c[40];
    struct choose_verdict v[40], w[40];
    struct rng make = seeded(3);
    for (u8 i = 0; i < 40; i++) {
        c[i] = peer(i, (enum choose_tier)rng_below(&make, CHOOSE_TIER_COUNT), rng_below(&make, MS));
        c[i].busy = rng_chance(&make, 0.2);
        c[i].barred = rng_chance(&make, 0.2);
        c[i].suspect = rng_chance(&make, 0.2);
    }
    struct rng a = seeded(9), b = a;
    for (int round = 0; round < 20; round++) {
        assert_int_equal(choose_order(c, 40, MS, &a, v), choose_order(c, 40, MS, &b, w));
        for (size_t i = 0; i < 40; i++)
            assert_true(v[i].index == w[i].index && v[i].reason == w[i].reason);
    }
}

/* Whoever has nothing to tell peers apart still does not ask the same ones as everybody else. */
static void equals_are_drawn_from_all(void **state)
{
    (void)state;
    struct choose_candidate c[64];
    struct choose_verdict v[64];
    unsigned first[64] = {0};
    struct rng r = seeded(4);
    for (u8 i = 0; i < 64; i++)
        c[i] = peer(i + 1, CHOOSE_REGION, 0);
    for (int i = 0; i < 6400; i++) {
        choose_order(c, 64, MS, &r, v);
        first[v[0].index]++;
    }
    for (int i = 0; i < 64; i++)
        assert_in_range(first[i], 40, 180);
}

/* Eight equal peers, 8,000 requests that stay in flight: the most loaded peer's surplus. */
static unsigned surplus(bool two_choices)
{
    enum { PEERS = 8, EACH = 1000 };
    struct choose_candidate c[PEERS];
    struct choose_verdict v[PEERS];
    unsigned load[PEERS] = {0}, top = 0;
    struct rng r = seeded(11);
    for (int i = 0; i < PEERS; i++)
        c[i] = peer((u8)(i + 1), CHOOSE_REGION, MS);
    for (int i = 0; i < PEERS * EACH; i++) {
        size_t to = (size_t)rng_below(&r, PEERS);
        if (two_choices) {
            choose_order(c, PEERS, MIB, &r, v);
            to = v[0].index;
        }
        c[to].inflight_bytes += MIB;
        top = ++load[to] > top ? load[to] : top;
    }
    return top - EACH;
}

static void two_choices_spread_the_load(void **state)
{
    (void)state;
    unsigned with = surplus(true), without = surplus(false);
    assert_true(with <= 4);
    assert_true(without >= 20);
}

/* --- expectation ----------------------------------------------------------------------------- */

static void what_is_expected(void **state)
{
    (void)state;
    struct choose_candidate c = peer(1, CHOOSE_REGION, 2 * MS);
    c.bandwidth_bps = 50000000;
    assert_int_equal(choose_expected_ns(&c, 50000000), S + 2 * MS);
    c.inflight_bytes = 100000000;
    assert_int_equal(choose_expected_ns(&c, 50000000), 3 * S + 2 * MS);
    c.load = 128;
    assert_in_range(choose_expected_ns(&c, 50000000), 9 * S, 9 * S + 7 * MS);
    struct choose_candidate far = peer(2, CHOOSE_FAR, 0), near = peer(3, CHOOSE_RACK, 0);
    assert_true(choose_expected_ns(&far, 0) > choose_expected_ns(&near, 0));
    assert_true(choose_expected_ns(&near, 0) > 0);
}

static void claims_stay_in_range(void **state)
{
    (void)state;
    struct choose_candidate c = peer(1, CHOOSE_FAR, UINT64_MAX);
    c.inflight_bytes = UINT64_MAX;
    c.load = 255;
    u64 worst = 0;
    for (u64 bps = 1; bps; bps <<= 1) {
        c.bandwidth_bps = bps;
        u64 ns = choose_expected_ns(&c, UINT64_MAX);
        worst = ns > worst ? ns : worst;
        assert_true(ns >= 3600 * S);
    }
    assert_true(worst < 5 * 2 * 3600 * S);
    c.bandwidth_bps = UINT64_MAX;
    assert_true(choose_expected_ns(&c, UINT64_MAX) >= 3600 * S);
}

/* --- what fetches taught --------------------------------------------------------------------- */

static void bandwidth_is_learned(void **state)
{
    (void)state;
    struct choose_history h = {0};
    choose_started(&h, 10000000);
    assert_int_equal(h.inflight_bytes, 10000000);
    choose_ended(&h, 10000000, 10000000, S, S);
    assert_int_equal(h.inflight_bytes, 0);
    assert_in_range(h.bandwidth_bps, 9990000, 10010000);
    for (int i = 0; i < 30; i++)
        choose_ended(&h, 20000000, 0, S, S);
    assert_in_range(h.bandwidth_bps, 19900000, 20010000);
    u64 before = h.bandwidth_bps;
    choose_ended(&h, 1000, 0, S, S); /* too short to tell */
    assert_int_equal(h.bandwidth_bps, before);
}

static void a_slow_answer_counts_at_once_and_fades(void **state)
{
    (void)state;
    struct choose_history h = {0};
    struct choose_candidate c = peer(1, CHOOSE_REGION, MS);
    choose_ended(&h, 0, 0, 4 * S, 100 * S);
    choose_recall(&c, &h, 100 * S);
    assert_int_equal(c.rtt_ns, 4 * S);
    u64 last = 4 * S;
    for (u64 t = 101; t < 140; t++) {
        c.rtt_ns = MS;
        choose_recall(&c, &h, t * S);
        assert_true(c.rtt_ns < last);
        last = c.rtt_ns;
    }
    c.rtt_ns = MS;
    choose_recall(&c, &h, 107 * S);
    assert_in_range(c.rtt_ns, 1900 * MS, 2100 * MS); /* half after seven seconds */
    c.rtt_ns = MS;
    choose_recall(&c, &h, 1000 * S);
    assert_int_equal(c.rtt_ns, MS);
    /* Good answers bring it down sooner. */
    for (int i = 0; i < 30; i++)
        choose_ended(&h, 0, 0, MS, 100 * S);
    c.rtt_ns = MS;
    choose_recall(&c, &h, 100 * S);
    assert_true(c.rtt_ns < 200 * MS);
}

static void busy_lasts_as_told(void **state)
{
    (void)state;
    struct choose_history h = {0};
    struct choose_candidate c = peer(1, CHOOSE_RACK, MS);
    choose_recall(&c, &h, 5 * S);
    assert_false(c.busy);
    choose_busy(&h, 2 * S, 5 * S);
    choose_busy(&h, 1 * S, 5 * S);
    choose_recall(&c, &h, 7 * S - 1);
    assert_true(c.busy);
    choose_recall(&c, &h, 7 * S);
    assert_false(c.busy);
    choose_busy(&h, UINT64_MAX, 5 * S);
    choose_recall(&c, &h, 4000 * S);
    assert_false(c.busy);
}

static void what_is_in_flight_never_goes_below_nothing(void **state)
{
    (void)state;
    struct choose_history h = {0};
    choose_started(&h, 100);
    choose_left(&h, 60);
    choose_left(&h, 60);
    assert_int_equal(h.inflight_bytes, 0);
    for (int i = 0; i < 10; i++)
        choose_started(&h, UINT64_MAX);
    struct choose_candidate c = peer(1, CHOOSE_RACK, MS);
    choose_recall(&c, &h, 0);
    assert_true(choose_expected_ns(&c, UINT64_MAX) > S);
    choose_ended(&h, UINT64_MAX, UINT64_MAX, 0, 0);
    assert_int_equal(h.inflight_bytes, 0);
    assert_true(h.bandwidth_bps > 0);
    choose_ended(&h, 100000, 0, UINT64_MAX, 0);
    assert_true(h.bandwidth_bps > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_come_before_round_trips),
        cmocka_unit_test(health_comes_before_labels),
        cmocka_unit_test(none_and_only_barred),
        cmocka_unit_test(of_two_the_sooner),
        cmocka_unit_test(only_the_nearest_eight_come_first),
        cmocka_unit_test(equal_inputs_give_equal_answers),
        cmocka_unit_test(equals_are_drawn_from_all),
        cmocka_unit_test(two_choices_spread_the_load),
        cmocka_unit_test(what_is_expected),
        cmocka_unit_test(claims_stay_in_range),
        cmocka_unit_test(bandwidth_is_learned),
        cmocka_unit_test(a_slow_answer_counts_at_once_and_fades),
        cmocka_unit_test(busy_lasts_as_told),
        cmocka_unit_test(what_is_in_flight_never_goes_below_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
