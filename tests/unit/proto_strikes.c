/* proto_strikes.c - tests of proto/strikes.h and proto/rtts.h: a strike is an outcome, not a
 * repetition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "proto/rtts.h"
#include "proto/strikes.h"

static const u8 hash_key[STRIKES_KEY_BYTES] = {1};
static_assert(STRIKES_KEY_BYTES == RTTS_KEY_BYTES, "one key for both");
static struct strikes *s;
static const u8 alice[TICKET_USER_BYTES] = {1}, bob[TICKET_USER_BYTES] = {2};
static struct digest layer = {.alg = DIGEST_SHA256, .bytes = {9}};
static struct addr here, there;
static struct node_key one = {.bytes = {1}}, two = {.bytes = {2}};
static u64 now;

static int begin(void **state)
{
    (void)state;
    now = 1000;
    here = addr_v4(10, 0, 0, 1, 0);
    there = addr_v4(10, 0, 0, 2, 0);
    return sodium_init() < 0 || strikes_new(&s, hash_key);
}

static int end(void **state)
{
    (void)state;
    strikes_del(s);
    return 0;
}

static unsigned asked(const struct addr *from)
{
    return strikes_asked(s, alice, &layer, from, now);
}
static void offered(const struct addr *from, const struct node_key *node)
{
    strikes_offered(s, alice, &layer, from, node, now);
}
static void told(const struct node_key *node, enum outcome_event event)
{
    struct outcome o = {.event = event, .digest = layer};
    memcpy(o.user, alice, sizeof(o.user));
    strikes_told(s, node, &o, now);
}

static void a_failed_ticket(void **state)
{
    (void)state;
    assert_int_equal(asked(&here), 0);
    offered(&here, &one);
    told(&one, OUTCOME_BEGAN);
    told(&two, OUTCOME_FAILED); /* it was not sent there */
    assert_int_equal(asked(&here), 0);
    told(&one, OUTCOME_FAILED);
    assert_int_equal(asked(&here), 1);
    assert_true(strikes_is_struck(s, alice, &one, now));
    assert_false(strikes_is_struck(s, bob, &one, now));
    assert_false(strikes_is_struck(s, alice, &two, now));
    offered(&here, &two);
    told(&two, OUTCOME_FAILED);
    assert_int_equal(asked(&here), STRIKES_MAX);
    assert_true(strikes_total(s) == 2);
    now += STRIKES_MS;
    assert_false(strikes_is_struck(s, alice, &one, now));
    now += STRIKES_KEEP_MS;
    assert_int_equal(asked(&here), 0); /* forgotten */
}

static void one_that_is_never_presented(void **state)
{
    (void)state;
    offered(&here, &one);
    now += STRIKES_WAIT_MS - 1;
    assert_int_equal(asked(&here), 0);
    offered(&here, &one); /* the wait counts from the first */
    now += 1;
    assert_int_equal(asked(&there), 0); /* another host of that user says nothing of this one */
    assert_int_equal(asked(&here), 1);
}

static void ranges_aborted_and_many_hosts(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) { /* parallel ranges, each left before its end */
        assert_int_equal(asked(&here), 0);
        offered(&here, &one);
        told(&one, OUTCOME_BEGAN);
    }
    now += 2 * STRIKES_WAIT_MS;
    assert_int_equal(asked(&here), 0); /* transfers are alive */
    for (int i = 0; i < 50; i++)
        told(&one, OUTCOME_LEFT);
    assert_int_equal(asked(&here), 0);
    for (int i = 0; i < 100; i++) { /* hosts behind one address */
        now += 1000;
        assert_int_equal(asked(&here), 0);
        offered(&here, &one);
        told(&one, OUTCOME_BEGAN);
        told(&one, OUTCOME_DONE);
    }
    assert_true(strikes_total(s) == 0);
}

static void a_success_forgives(void **state)
{
    (void)state;
    offered(&here, &one);
    told(&one, OUTCOME_FAILED);
    assert_int_equal(asked(&here), 1);
    offered(&here, &two);
    told(&two, OUTCOME_BEGAN);
    told(&two, OUTCOME_DONE);
    assert_int_equal(asked(&here), 0);
}

static void round_trips(void **state)
{
    struct rtts *t;
    struct addr prefix = outcome_prefix(&here), other = addr_v4(10, 1, 0, 0, 0);
    (void)state;
    assert_int_equal(rtts_new(&t, hash_key), 0);
    assert_true(rtts_ns(t, &prefix, &one, now) == 0);
    rtts_told(t, &prefix, &one, 4000, now);
    assert_true(rtts_ns(t, &prefix, &one, now) == 4000000);
    rtts_told(t, &prefix, &one, 8000, now);
    assert_true(rtts_ns(t, &prefix, &one, now) == 5000000); /* smoothed */
    assert_true(rtts_ns(t, &prefix, &two, now) == 0 && rtts_ns(t, &other, &one, now) == 0);
    assert_true(rtts_ns(t, &prefix, &one, now + RTTS_KEEP_MS) == 0);
    struct addr wider = rtts_wider(&prefix), six = {.ip = {0x20, 1, 0xd, 0xb8, 7, 7}};
    assert_true(rtts_ns(t, &wider, &one, now) == 5000000); /* of 10.0.0.0/16 */
    assert_false(addr_equal(&wider, &prefix));
    struct addr other_six = {.ip = {0x20, 1, 0xd, 0xb8, 8, 8}}, far_six = {.ip = {0x20, 2, 9}};
    struct addr a = rtts_wider(&six), b = rtts_wider(&other_six), c = rtts_wider(&far_six);
    assert_true(addr_equal(&a, &b) && !addr_equal(&a, &c)); /* 32 bits of IPv6 */
    rtts_del(t);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_failed_ticket),
        TEST(one_that_is_never_presented),
        TEST(ranges_aborted_and_many_hosts),
        TEST(a_success_forgives),
        TEST(round_trips),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
