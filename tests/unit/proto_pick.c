/* proto_pick.c - tests of proto/pick.h: what is said goes before what is near, and who cannot
 * serve is never picked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/pick.h"

#define N 6

static struct pick_candidate nodes[N];
static struct pick_line lines[N];
static struct rng rng;

static int begin(void **state)
{
    static const char *const names[N] = {"n0", "n1", "n2", "n3", "n4", "n5"};
    (void)state;
    rng_seed(&rng, 7);
    for (size_t i = 0; i < N; i++) {
        nodes[i] = (struct pick_candidate){.addr = addr_v4(10, 0, (u8)i, 1, 5000),
                                           .name = names[i],
                                           .region = i < 3 ? "west" : "east",
                                           .url = "https://n.test",
                                           .healthy = true};
        nodes[i].key.bytes[0] = (u8)(i + 1);
    }
    return 0;
}

static const struct pick_candidate *first(const char *profile, struct addr from, size_t *usable)
{
    struct pick_user u = {.addr = from, .profile = profile};
    *usable = pick_order(nodes, N, &u, 1000000, &rng, lines);
    return *usable ? &nodes[lines[0].index] : NULL;
}

static void a_profile_decides(void **state)
{
    size_t usable;
    (void)state;
    for (int i = 0; i < 20; i++) {
        assert_string_equal(first("n4", (struct addr){0}, &usable)->name, "n4");
        assert_int_equal(lines[0].class, PICK_NAMED);
        assert_string_equal(first("east", (struct addr){0}, &usable)->region, "east");
        assert_int_equal(lines[0].class, PICK_REGION);
    }
    assert_int_equal(usable, N);
    nodes[4].healthy = false; /* a dead one does not, whatever the profile says */
    assert_string_not_equal(first("n4", (struct addr){0}, &usable)->name, "n4");
    assert_int_equal(usable, N - 1);
}

static void then_the_subnet_then_what_was_measured(void **state)
{
    size_t usable;
    (void)state;
    assert_string_equal(first(NULL, addr_v4(10, 0, 2, 77, 1), &usable)->name, "n2");
    assert_int_equal(lines[0].class, PICK_SUBNET);
    for (size_t i = 0; i < N; i++)
        nodes[i].rtt_ns = 80000000;
    nodes[5].rtt_ns = 1000000;
    assert_string_equal(first(NULL, addr_v4(192, 0, 2, 1, 1), &usable)->name, "n5");
    assert_int_equal(lines[0].class, PICK_NEAR);
}

static void who_says_that_it_serves_the_network(void **state)
{
    struct addr net = addr_v4(192, 0, 2, 128, 1);
    struct member_network serves[2] = {{.bits = 96 + 25}, {.ip = {0x20, 1, 0xd, 0xb8}, .bits = 32}};
    struct addr v6 = {.ip = {0x20, 1, 0xd, 0xb8, 9}, .port = 1};
    size_t usable;
    (void)state;
    memcpy(serves[0].ip, net.ip, sizeof(net.ip));
    nodes[4].serves = serves;
    nodes[4].n_serves = 2;
    for (size_t i = 0; i < N; i++)
        nodes[i].rtt_ns = i == 1 ? 1000000 : 90000000; /* what is said goes before what is near */
    assert_string_equal(first(NULL, addr_v4(192, 0, 2, 200, 1), &usable)->name, "n4");
    assert_int_equal(lines[0].class, PICK_SUBNET);
    assert_string_equal(first(NULL, v6, &usable)->name, "n4");
    assert_string_equal(first(NULL, addr_v4(192, 0, 2, 100, 1), &usable)->name, "n1");
    assert_string_equal(first("n2", addr_v4(192, 0, 2, 200, 1), &usable)->name, "n2");
    nodes[4].astray = true; /* its clock would refuse the ticket */
    assert_string_equal(first(NULL, addr_v4(192, 0, 2, 200, 1), &usable)->name, "n1");
    assert_non_null(strstr(lines[N - 1].reason, "clock"));
}

static void what_it_lacks_and_what_it_was_sent_counts(void **state)
{
    const u64 big = 1000000000; /* 20 s to fetch */
    (void)state;
    nodes[0].holds = true;
    nodes[1].fetching_ns = 15000000000;
    nodes[2].fetching_ns = 1;
    u64 held = pick_expected_ns(&nodes[0], big), soon = pick_expected_ns(&nodes[1], big),
        begun = pick_expected_ns(&nodes[2], big), cold = pick_expected_ns(&nodes[3], big);
    assert_true(held < soon && soon < begun && begun <= cold);
    nodes[1].fetching_ns = 3600000000000; /* it should be done by now */
    assert_true(pick_expected_ns(&nodes[1], big) == held);
    nodes[0].inflight_bytes = 4 * big;
    assert_true(pick_expected_ns(&nodes[0], big) > pick_expected_ns(&nodes[1], big));
    nodes[1].load = 255;
    assert_true(pick_expected_ns(&nodes[1], big) > held);
}

/* A region has many offices: within the one that the profile names, the nearest serve. */
static void within_a_profiles_region_the_near_ones(void **state)
{
    size_t usable;
    (void)state;
    struct addr here = addr_v4(10, 0, 5, 77, 1); /* beside n5 */
    nodes[3].holds = true;
    nodes[3].rtt_ns = 30000000;
    assert_string_equal(first("east", here, &usable)->name, "n5");
    assert_int_equal(lines[0].class, PICK_REGION_SUBNET);
    assert_string_equal(first("west", here, &usable)->region, "west");
    assert_int_equal(lines[0].class, PICK_REGION);
    nodes[4].rtt_ns = 400000; /* another network, of which a distance is known */
    nodes[0].rtt_ns = 300000;
    assert_string_equal(first("east", addr_v4(10, 9, 9, 9, 1), &usable)->name, "n4");
    assert_int_equal(lines[0].class, PICK_REGION_NEAR);
    nodes[4].healthy = false; /* then whoever is soonest there */
    assert_string_equal(first("east", addr_v4(10, 9, 9, 9, 1), &usable)->region, "east");
    assert_int_equal(lines[0].class, PICK_REGION);
}

static void a_holder_before_others(void **state)
{
    size_t usable, held = 0;
    (void)state;
    nodes[1].holds = nodes[2].holds = true;
    for (int i = 0; i < 100; i++)
        held += first(NULL, (struct addr){0}, &usable)->holds;
    assert_true(held > 40); /* two of six, of which one in two draws is seen */
    for (size_t i = 0; i < N; i++)
        nodes[i].unfit = i > 1;
    for (int i = 0; i < 20; i++)
        assert_string_equal(first(NULL, (struct addr){0}, &usable)->name, "n1");
}

static void who_cannot_serve(void **state)
{
    size_t usable;
    (void)state;
    nodes[0].healthy = false;
    nodes[1].barred = true;
    nodes[2].struck = true;
    nodes[3].unfit = true;
    assert_non_null(first("west", (struct addr){0}, &usable));
    assert_int_equal(usable, 2);
    for (size_t i = 0; i < N; i++) {
        assert_non_null(lines[i].reason);
        assert_int_equal(lines[i].usable, i < 2);
        for (size_t k = 0; k < i; k++)
            assert_true(lines[k].index != lines[i].index);
    }
    nodes[4].unfit = nodes[5].unfit = true;
    assert_null(first("west", (struct addr){0}, &usable));
    assert_int_equal(pick_order(nodes, 0, &(struct pick_user){0}, 0, &rng, lines), 0);
}

#define TEST(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_profile_decides),
        TEST(then_the_subnet_then_what_was_measured),
        TEST(who_says_that_it_serves_the_network),
        TEST(what_it_lacks_and_what_it_was_sent_counts),
        TEST(within_a_profiles_region_the_near_ones),
        TEST(a_holder_before_others),
        TEST(who_cannot_serve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
