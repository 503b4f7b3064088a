/* proto_pulse.c - tests of proto/pulse.h: what was heard of a node holds for a while, and no
 * longer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/pulse.h"

static struct pulse *p;
static const struct node_key one = {.bytes = {1}}, two = {.bytes = {2}};
static u64 now;

static int begin(void **state)
{
    (void)state;
    now = 100000;
    return pulse_new(&p);
}

static int end(void **state)
{
    (void)state;
    pulse_del(p);
    return 0;
}

static void an_answer_holds_for_a_while(void **state)
{
    (void)state;
    assert_false(pulse_is_fresh(p, &one, 0, now) || pulse_is_down(p, &one, now));
    pulse_answered(p, &one, INT64_MAX, now);
    assert_true(pulse_is_fresh(p, &one, 0, now + PULSE_FRESH_MS - 1));
    assert_false(pulse_is_fresh(p, &one, 0, now + PULSE_FRESH_MS));
    assert_false(pulse_is_fresh(p, &two, 0, now) || pulse_is_astray(p, &one, now));
    /* who was cut a moment ago wants to hear something newer */
    assert_true(pulse_is_fresh(p, &one, now, now + 1));
    assert_false(pulse_is_fresh(p, &one, now + 1, now + 1));
}

static void silence_bars_for_a_while(void **state)
{
    (void)state;
    pulse_silent(p, &one, now);
    assert_false(pulse_is_fresh(p, &one, 0, now));
    assert_true(pulse_is_down(p, &one, now + PULSE_DOWN_MS - 1));
    assert_false(pulse_is_down(p, &one, now + PULSE_DOWN_MS) || pulse_is_down(p, &two, now));
    pulse_heard(p, &one, now + 1); /* it speaks: it is there */
    assert_true(pulse_is_fresh(p, &one, 0, now + 1) && !pulse_is_down(p, &one, now + 1));
}

static void a_wrong_clock(void **state)
{
    (void)state;
    pulse_answered(p, &one, PULSE_ASTRAY_MS, now);
    pulse_answered(p, &two, -PULSE_ASTRAY_MS - 1, now);
    assert_false(pulse_is_astray(p, &one, now));
    assert_true(pulse_is_astray(p, &two, now) && pulse_is_fresh(p, &two, 0, now));
    assert_false(pulse_is_astray(p, &two, now + 60000)); /* it is looked at again */
    pulse_answered(p, &two, 0, now + 1);
    assert_false(pulse_is_astray(p, &two, now + 1));
}

static void it_is_asked_ahead_of_time_once(void **state)
{
    (void)state;
    pulse_answered(p, &one, 0, now);
    assert_false(pulse_is_due(p, &one, now + 1));
    now += PULSE_FRESH_MS / 2;
    assert_true(pulse_is_due(p, &one, now));
    pulse_asks(p, &one, true, now);
    assert_false(pulse_is_due(p, &one, now + 1));
    pulse_answered(p, &one, 0, now + 2);
    assert_false(pulse_is_due(p, &one, now + 3));
}

/* Of many nodes each is asked less often. */
static void a_thousand_questions_a_second_are_enough(void **state)
{
    (void)state;
    for (int second = 0; second < 10; second++)
        for (u32 i = 0; i < 4000; i++) {
            struct node_key k = {.bytes = {(u8)i, (u8)(i >> 8), 1}};
            pulse_asks(p, &k, false, now + i / 4);
            if (i == 3999)
                now += 1000;
        }
    pulse_answered(p, &one, 0, now);
    assert_true(pulse_is_fresh(p, &one, 0, now + PULSE_STALE_MS - 1));
    assert_false(pulse_is_fresh(p, &one, 0, now + PULSE_STALE_MS));
}

/* Alive for the mesh, and out of our reach: each takes its time not to answer. */
static void who_waits_does_not_wait_for_ever(void **state)
{
    u64 since = 0, began = now;
    u32 asked = 0;
    (void)state;
    for (u32 i = 0; pulse_may_wait(since, now); i++) {
        struct node_key k = {.bytes = {0, (u8)(i % 6), 1}};
        if (pulse_is_down(p, &k, now))
            continue;
        assert_true(asked++ < 100);
        since = since ? since : now;
        now += 1000;
        pulse_silent(p, &k, now);
    }
    assert_true(asked >= 2 && now - began < PULSE_WAIT_MS + 1000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_answer_holds_for_a_while),
        TEST(silence_bars_for_a_while),
        TEST(a_wrong_clock),
        TEST(it_is_asked_ahead_of_time_once),
        TEST(a_thousand_questions_a_second_are_enough),
        TEST(who_waits_does_not_wait_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
