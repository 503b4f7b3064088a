/* Datagrams: each kind of weather as often as it was asked for, partitions one way, and healing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sim/engine.h"
#include "sim/net.h"

struct rig {
    struct topology t;
    struct net n;
};

static int up(void **state)
{
    static struct rig g;
    struct rng r;
    rng_seed(&r, 1);
    topology_default(&g.t, 300, 0, 0);
    net_init(&g.n, &g.t, &r);
    *state = &g;
    return 0;
}

static int down(void **state)
{
    struct rig *g = *state;
    net_fini(&g->n);
    topology_fini(&g->t);
    return 0;
}

static void calm_weather_delivers_once_in_time(void **state)
{
    struct rig *g = *state;
    struct net_fate f;
    for (int i = 0; i < 10000; i++) {
        net_send(&g->n, 0, 1, 1200, SIM_S, &f);
        assert_int_equal(f.copies, 1);
        assert_false(f.corrupt[0]);
        u64 took = f.at_ns[0] - SIM_S;
        assert_true(took >= 150 * SIM_US && took < 350 * SIM_US); /* another rack, same office */
        net_send(&g->n, 0, 150, 1200, SIM_S, &f);
        took = f.at_ns[0] - SIM_S;
        assert_true(took >= 4 * SIM_MS && took < 6 * SIM_MS); /* another office */
    }
    net_send(&g->n, 0, 1, NET_MTU + 1, SIM_S, &f);
    assert_int_equal(f.copies, 0);
    assert_int_equal(g->n.oversize, 1);
}

static void weather_is_as_frequent_as_asked(void **state)
{
    struct rig *g = *state;
    g->n.weather =
        (struct net_weather){.loss = .05, .duplicate = .1, .reorder = .2, .corrupt = .01};
    struct net_fate f;
    u64 n = 100000, late = 0;
    for (u64 i = 0; i < n; i++) {
        net_send(&g->n, 0, 1, 100, 0, &f);
        for (int k = 0; k < f.copies; k++)
            late += f.at_ns[k] > 350 * SIM_US;
    }
    assert_true(g->n.lost > n * 45 / 1000 && g->n.lost < n * 55 / 1000);
    assert_true(g->n.duplicated > n * 85 / 1000 && g->n.duplicated < n * 105 / 1000);
    assert_true(g->n.corrupted > n * 8 / 1000 && g->n.corrupted < n * 13 / 1000);
    assert_true(late > n * 15 / 100 && late < n * 25 / 100);
}

static void a_flip_changes_one_bit(void **state)
{
    struct rig *g = *state;
    for (int i = 0; i < 1000; i++) {
        u8 data[50] = {0};
        net_flip(&g->n, data, sizeof(data));
        int bits = 0;
        for (size_t k = 0; k < sizeof(data); k++)
            bits += __builtin_popcount(data[k]);
        assert_int_equal(bits, 1);
    }
}

static void partitions_may_let_one_way_through(void **state)
{
    struct rig *g = *state;
    struct net_fate f;
    for (u32 i = 200; i < 300; i++)
        g->n.nodes[i].group = 1;
    g->n.blocked[0] = 1u << 1;
    net_send(&g->n, 0, 250, 10, 0, &f);
    assert_int_equal(f.copies, 0);
    net_send(&g->n, 250, 0, 10, 0, &f);
    assert_int_equal(f.copies, 1);
    assert_true(net_passes(&g->n, 0, 199) && net_passes(&g->n, 299, 200));
    g->n.nodes[0].deaf = true;
    assert_false(net_passes(&g->n, 250, 0));
    assert_true(net_passes(&g->n, 0, 1));
    g->n.nodes[0].mute = true;
    assert_false(net_passes(&g->n, 0, 1));
    net_heal(&g->n);
    for (u32 i = 0; i < 300; i++)
        assert_true(net_passes(&g->n, 0, i) && net_passes(&g->n, i, 0));
    assert_int_equal(g->n.nodes[250].place.office, 2); /* where it stands is no fault */
}

static void a_clogged_line_holds_back(void **state)
{
    struct rig *g = *state;
    struct net_fate f;
    g->n.nodes[0].clogged_ns = 5 * SIM_S;
    net_send(&g->n, 0, 1, 10, SIM_S, &f);
    assert_true(f.at_ns[0] >= 5 * SIM_S && f.at_ns[0] < 5 * SIM_S + 2 * SIM_MS);
    net_send(&g->n, 1, 0, 10, SIM_S, &f);
    assert_true(f.at_ns[0] < SIM_S + SIM_MS);
    net_send(&g->n, 0, 1, 10, 6 * SIM_S, &f);
    assert_true(f.at_ns[0] < 6 * SIM_S + SIM_MS);
    assert_true(net_stream_delay(&g->n, 0, 1, SIM_S) >= 4 * SIM_S);
    assert_true(net_stream_delay(&g->n, 1, 0, SIM_S) < SIM_MS);
}

/* Users and trackers: each is as far as its office is, and behind its office's cut. */
static void users_and_the_centre(void **state)
{
    struct rig *g = *state;
    struct rng r;
    net_fini(&g->n);
    g->t.trackers = 1;
    rng_seed(&r, 2);
    net_init(&g->n, &g->t, &r);
    u32 tracker = 300, here = 0, there = 150;
    assert_true(net_rtt(&g->n, here, tracker) >= g->t.offices[0].registry_rtt_ns);
    assert_true(net_rtt(&g->n, here, 1) < SIM_MS && net_rtt(&g->n, here, there) > 8 * SIM_MS);
    for (int i = 0; i < 100; i++) {
        assert_true(net_user_delay(&g->n, 0, here) < SIM_MS);
        assert_in_range(net_user_delay(&g->n, 0, there), 4 * SIM_MS, 6 * SIM_MS);
        assert_in_range(net_user_delay(&g->n, 0, tracker), 75 * SIM_MS, 85 * SIM_MS);
    }
    for (u32 i = 0; i < 100; i++)
        g->n.nodes[i].group = 2; /* the first office is cut off */
    g->n.blocked[2] = ~(u64)(1u << 2);
    g->n.blocked[0] = 1u << 2;
    assert_true(net_user_reaches(&g->n, 0, here));
    assert_false(net_user_reaches(&g->n, 0, there) || net_user_reaches(&g->n, 0, tracker));
    assert_false(net_user_reaches(&g->n, 1, here));
    assert_true(net_user_reaches(&g->n, 1, there));
    net_heal(&g->n);
    assert_true(net_user_reaches(&g->n, 0, tracker));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(calm_weather_delivers_once_in_time, up, down),
        cmocka_unit_test_setup_teardown(weather_is_as_frequent_as_asked, up, down),
        cmocka_unit_test_setup_teardown(a_flip_changes_one_bit, up, down),
        cmocka_unit_test_setup_teardown(partitions_may_let_one_way_through, up, down),
        cmocka_unit_test_setup_teardown(a_clogged_line_holds_back, up, down),
        cmocka_unit_test_setup_teardown(users_and_the_centre, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
