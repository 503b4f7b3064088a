/* Topologies: who stands where, the file's form, and every way to get it wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/limits.h"
#include "sim/topology.h"

static void the_built_in_one_has_an_office_per_hundred(void **state)
{
    (void)state;
    struct topology t;
    topology_default(&t, 1000, 0, 0);
    assert_int_equal(t.n_offices, 10);
    u32 seen[10] = {0};
    for (u32 i = 0; i < 1000; i++)
        seen[topology_place(&t, i).office]++;
    for (int i = 0; i < 10; i++)
        assert_int_equal(seen[i], 100);
    topology_fini(&t);
    topology_default(&t, 1, 0, 0);
    assert_int_equal(topology_place(&t, 0).office, 0);
    topology_fini(&t);
}

static void the_built_in_one_has_regions_that_a_mesh_can_hold(void **state)
{
    (void)state;
    static const struct {
        u32 nodes, offices;
        size_t regions;
    } rows[] = {{4096, 0, 1}, {4096, 1, 1}, {4097, 0, 2},  {5000, 0, 2},
                {5000, 2, 2}, {8192, 3, 3}, {20000, 0, 5}, {20000, 7, 7}};
    for (size_t i = 0; i < countof(rows); i++) {
        struct topology t;
        topology_default(&t, rows[i].nodes, rows[i].offices, 0);
        u32 sizes[TOPOLOGY_OFFICES_MAX] = {0};
        for (size_t k = 0; k < t.n_offices; k++) {
            sizes[t.offices[k].region] += t.offices[k].nodes;
            assert_true(k == 0 || t.offices[k].region >= t.offices[k - 1].region);
        }
        assert_int_equal(t.nodes, rows[i].nodes);
        assert_int_equal(t.n_regions, rows[i].regions);
        for (size_t k = 0; k < t.n_regions; k++)
            assert_in_range(sizes[k], 1, LIMIT_MEMBERS);
        topology_fini(&t);
    }
}

static const char *const good =
    "node: {up: 300MB, down: 1Gbit}\n"
    "paths:\n"
    "  office: {delay: 1ms, jitter: 0}\n"
    "offices:\n"
    "  - {name: tokyo, region: asia, nodes: 30, racks: 3, up: 100Mbit,\n"
    "     down: 1Gbit, registry_rtt: 150ms, utc_offset: 540, users: 70, cache: asia, east: 3ms, north: 4ms}\n"
    "  - {name: osaka, region: asia, nodes: 10}\n"
    "  - {name: berlin, region: europe, nodes: 20, utc_offset: 60}\n"
    "trackers: 2\n";

static void a_file_is_read(void **state)
{
    (void)state;
    struct topology t;
    char why[TOPOLOGY_WHY_MAX] = "";
    if (topology_read(&t, good, strlen(good), 0, why))
        fail_msg("%s", why);
    assert_int_equal(t.nodes, 60);
    assert_int_equal(t.offices[0].nodes, 30);
    assert_int_equal(t.offices[1].nodes, 10);
    assert_int_equal(t.offices[2].nodes, 20);
    assert_int_equal(t.n_regions, 2);
    assert_int_equal(t.node_up_bps, 300000000);
    assert_int_equal(t.node_down_bps, 125000000);
    assert_int_equal(t.path[REACH_OFFICE].delay_ns, 1000000);
    assert_int_equal(t.path[REACH_OFFICE].jitter_ns, 0);
    assert_int_equal(t.offices[0].wan_up_bps, 12500000);
    assert_int_equal(t.offices[0].utc_offset_min, 540);
    struct topology_place a = topology_place(&t, 0), b = topology_place(&t, 3),
                          c = topology_place(&t, 1), d = topology_place(&t, 30),
                          e = topology_place(&t, 59);
    assert_int_equal(topology_reach(&a, &b), REACH_RACK);
    assert_int_equal(topology_reach(&a, &c), REACH_OFFICE);
    assert_int_equal(topology_reach(&a, &d), REACH_REGION);
    assert_int_equal(topology_reach(&a, &e), REACH_WORLD);
    assert_int_equal(t.offices[0].users, 70);
    assert_int_equal(t.offices[1].users, 0);
    assert_string_equal(t.offices[0].cache, "asia");
    u64 apart = topology_apart_ns(&t, 0, 1); /* five milliseconds, and a detour */
    assert_true(apart >= 5000000 && apart <= 6666667 && apart == topology_apart_ns(&t, 1, 0));
    assert_true(topology_apart_ns(&t, 1, 2) == 0);
    topology_spread(&t, 1000000, 1); /* they are placed already */
    assert_true(topology_apart_ns(&t, 1, 2) == 0);
    topology_fini(&t);
    assert_int_equal(topology_read(&t, good, strlen(good), 600, why), 0);
    assert_int_equal(t.nodes, 600);
    assert_true(t.offices[0].nodes >= 295 && t.offices[0].nodes <= 305);
    topology_fini(&t);
}

/* Behind the nodes stand the trackers, of each one in every region, at the centre. */
static void trackers_are_members_of_every_region(void **state)
{
    (void)state;
    struct topology t;
    char why[TOPOLOGY_WHY_MAX] = "";
    assert_int_equal(topology_read(&t, good, strlen(good), 0, why), 0);
    assert_int_equal(t.trackers, 2);
    assert_int_equal(topology_members(&t), 60 + 2 * 2);
    for (u32 i = 0; i < 4; i++) {
        struct topology_place p = topology_place(&t, 60 + i);
        assert_int_equal(p.office, TOPOLOGY_CENTRE);
        assert_int_equal(p.region, i % 2);
        assert_int_equal(p.rack, i / 2); /* which tracker */
    }
    topology_fini(&t);
    topology_default(&t, 10, 2, 0);
    assert_true(t.trackers < 0); /* a file may say; nobody did */
    assert_int_equal(topology_members(&t), 10);
    topology_fini(&t);
    topology_default(&t, 40, 8, 4);
    assert_int_equal(t.n_regions, 4);
    topology_spread(&t, 10000000, 7);
    u64 sum = 0;
    for (u32 i = 1; i < 8; i++)
        sum += topology_apart_ns(&t, 0, i);
    assert_in_range(sum / 1000, 1000, 7 * 14143 * 4 / 3);
    topology_fini(&t);
}

static void what_is_wrong_is_said_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "line 1: empty"},
        {"offices: []\n", "offices: needed"},
        {"trackers: 9\n", "line 1: expected a number from 0 to 8"},
        {"offices:\n  - {region: x, users: 0}\n", "line 2: expected a number from 1"},
        {"offices:\n  - {region: x, cache: a b}\n", "line 2: expected a name"},
        {"offices:\n  - {region: x, east: far}\n", "line 2: expected a time"},
        {"offices: {}\n", "expected a list"},
        {"node: {up: 1Gbit}\noffices:\n  - {nodes: 1}\n", "line 3: an office names its region"},
        {"offices:\n  - {region: a, nodes: 0}\n", "line 2: expected a number from 1"},
        {"offices:\n  - {region: a, nodes: 1x}\n", "line 2: expected a number from 1"},
        {"offices:\n  - {region: a b}\n", "expected a name"},
        {"offices:\n  - {region: a, colour: red}\n", "colour: unknown"},
        {"offices:\n  - {region: a, up: 0}\n", "expected a rate"},
        {"offices:\n  - {region: a, up: 10 apples}\n", "expected a rate"},
        {"offices:\n  - {region: a, registry_rtt: 2h}\n", "expected a time"},
        {"paths: {moon: {delay: 1s}}\n", "moon: unknown"},
        {"paths: {rack: {speed: 1s}}\n", "speed: unknown"},
        {"weather: fine\n", "weather: unknown"},
        {"- a\n- b\n", "expected keys and values"},
        {"offices: [\n", "line"},
        {"a: \"\\0\"\n", "unknown"},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        struct topology t;
        char why[TOPOLOGY_WHY_MAX] = "";
        int rc = topology_read(&t, rows[i].text, strlen(rows[i].text), 0, why);
        if (rc != ERR_INVAL || !strstr(why, rows[i].says))
            fail_msg("row %zu: %d, \"%s\" instead of \"%s\"", i, rc, why, rows[i].says);
    }
    struct topology t;
    char why[TOPOLOGY_WHY_MAX] = "";
    assert_int_equal(topology_read(&t, good, strlen(good), 2, why), ERR_INVAL);
    assert_non_null(strstr(why, "do not fit"));
    size_t len = TOPOLOGY_FILE_BYTES + 1;
    char *large = calloc(1, len);
    memset(large, ' ', len);
    assert_int_equal(topology_read(&t, large, len, 0, why), ERR_INVAL);
    free(large);
}

static void units_are_read_exactly(void **state)
{
    (void)state;
    u64 v = 0;
    assert_true(topology_parse_time("1.5s", &v) == 0 && v == 1500000000);
    assert_true(topology_parse_time("40us", &v) == 0 && v == 40000);
    assert_true(topology_parse_time("0", &v) == 0 && v == 0);
    assert_true(topology_parse_bytes("1Gbit", &v) == 0 && v == 125000000);
    assert_true(topology_parse_bytes("3GB", &v) == 0 && v == 3000000000);
    assert_true(topology_parse_bytes("2MiB", &v) == 0 && v == 2097152);
    static const char *const bad[] = {
        "", "s", "-1s", "1", "1.s", "1 s", "1e9s", "0x1s", "99999999999999999999999s"};
    for (size_t i = 0; i < countof(bad); i++)
        if (topology_parse_time(bad[i], &v) != ERR_INVAL)
            fail_msg("'%s' is taken for a time", bad[i]);
    assert_int_equal(topology_parse_bytes("99999999999TB", &v), ERR_INVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_built_in_one_has_an_office_per_hundred),
        cmocka_unit_test(the_built_in_one_has_regions_that_a_mesh_can_hold),
        cmocka_unit_test(a_file_is_read),
        cmocka_unit_test(trackers_are_members_of_every_region),
        cmocka_unit_test(what_is_wrong_is_said_with_its_line),
        cmocka_unit_test(units_are_read_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
