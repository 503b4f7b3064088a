/* proto_sourcing.c - tests of proto/sourcing.h: whom a fetch asks, when it leaves somebody, how
 * long it waits, and that it always comes to an end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/limits.h"
#include "proto/sourcing.h"

#define MS   SOURCING_MS
#define SIZE (64 * MIB)

static struct sourcing s;
static struct sourcing_step step;
static u64 now;

static struct sourcing_peer peer(u8 n, u64 expected_ns)
{
    struct sourcing_peer p = {.expected_ns = expected_ns, .addr = addr_v4(10, 0, 0, n, 5000)};
    memset(p.key.bytes, n, sizeof(p.key.bytes));
    return p;
}

static void begin(bool registry)
{
    struct sourcing_options opt = {.size = SIZE, .registry = registry};
    rng_seed(&opt.rng, 7);
    now = 1000 * MS;
    sourcing_init(&s, &opt);
}

static void sources(size_t n, u64 expected_ns)
{
    struct sourcing_peer list[SOURCING_PEERS + 4];
    for (size_t i = 0; i < n; i++)
        list[i] = peer((u8)(i + 1), expected_ns);
    sourcing_sources(&s, list, n, now);
}

static enum sourcing_do next(void)
{
    sourcing_next(&s, now, &step);
    return step.what;
}

/* Time goes on to what sourcing_deadline() says. */
static void expire(void)
{
    u64 at = sourcing_deadline(&s);
    assert_true(at != UINT64_MAX);
    assert_true(at > now);
    now = at;
}

static void expect_ask(u8 n)
{
    assert_int_equal(next(), SOURCING_ASK);
    assert_int_equal(step.peer.key.bytes[0], n);
    assert_true(step.reason[0] != '\0');
}

static void expect_leave(u8 n, enum sourcing_outcome outcome)
{
    assert_int_equal(next(), SOURCING_LEAVE);
    assert_int_equal(step.peer.key.bytes[0], n);
    assert_int_equal(step.outcome, outcome);
}

/* With `n` peers, the first of them asked. */
static unsigned begin_asking(size_t n, u64 expected_ns)
{
    begin(true);
    assert_int_equal(next(), SOURCING_LOOK);
    sources(n, expected_ns);
    expect_ask(1);
    unsigned slot = step.slot;
    assert_int_equal(next(), SOURCING_REST);
    return slot;
}

/* --- names ----------------------------------------------------------------------------------- */

static void test_names(void **state)
{
    (void)state;
    for (int o = SOURCING_WORKED; o <= SOURCING_LEFT; o++)
        assert_true(strlen(sourcing_outcome_name((enum sourcing_outcome)o)) > 0);
}

/* --- the order -------------------------------------------------------------------------------- */

static void test_nobody_holds_it(void **state)
{
    (void)state;
    begin(true);
    assert_int_equal(next(), SOURCING_LOOK);
    sources(0, 0);
    assert_int_equal(next(), SOURCING_REGISTRY);
    assert_string_equal(step.reason, "no peer holds it");
    assert_int_equal(next(), SOURCING_REST);
    assert_true(sourcing_deadline(&s) == UINT64_MAX);
}

static void test_peers_in_order_then_the_registry(void **state)
{
    (void)state;
    unsigned slot = begin_asking(4, 0);
    sourcing_ended(&s, slot, SOURCING_MISSING, 0, now);
    expect_ask(2);
    sourcing_ended(&s, step.slot, SOURCING_FAILED, 0, now);
    expect_ask(3);
    sourcing_ended(&s, step.slot, SOURCING_LIED, 0, now);
    expect_ask(4);
    sourcing_ended(&s, step.slot, SOURCING_DENIED, 0, now);
    assert_int_equal(next(), SOURCING_REGISTRY);
    assert_string_equal(step.reason, "no peer is left to ask");
}

static void test_without_a_registry(void **state)
{
    (void)state;
    begin(false);
    assert_int_equal(next(), SOURCING_LOOK);
    sources(1, 0);
    expect_ask(1);
    sourcing_ended(&s, step.slot, SOURCING_MISSING, 0, now);
    assert_int_equal(next(), SOURCING_GIVE_UP);
    assert_int_equal(next(), SOURCING_REST);
}

/* The list is asked for anew before the registry is, when it has had time to change. */
static void test_a_second_look(void **state)
{
    (void)state;
    unsigned slot = begin_asking(1, 0);
    sourcing_bytes(&s, slot, 10, now);
    now += SOURCING_LOOK_NS;
    sourcing_ended(&s, slot, SOURCING_MISSING, 0, now);
    assert_int_equal(next(), SOURCING_LOOK);
    sources(2, 0);
    expect_ask(2); /* who was found out stays out */
    sourcing_ended(&s, step.slot, SOURCING_MISSING, 0, now);
    assert_int_equal(next(), SOURCING_REGISTRY);
}

static void test_whoever_is_off_the_list_is_not_asked(void **state)
{
    (void)state;
    begin(true);
    assert_int_equal(next(), SOURCING_LOOK);
    sources(3, 0);
    sources(1, 0);
    expect_ask(1);
    sourcing_ended(&s, step.slot, SOURCING_FAILED, 0, now);
    assert_int_equal(next(), SOURCING_REGISTRY);
}

/* A restart breaks a transfer off; its peer is asked once more, after the others. */
static void test_broken_off_gets_a_second_chance(void **state)
{
    (void)state;
    unsigned slot = begin_asking(2, 0);
    sourcing_bytes(&s, slot, 1000, now);
    sourcing_ended(&s, slot, SOURCING_FAILED, 0, now);
    expect_ask(2);
    sourcing_ended(&s, step.slot, SOURCING_FAILED, 0, now);
    expect_ask(1);
    sourcing_bytes(&s, step.slot, 1000, now);
    sourcing_ended(&s, step.slot, SOURCING_FAILED, 0, now);
    assert_int_equal(next(), SOURCING_REGISTRY);
}

static void test_more_peers_than_fit(void **state)
{
    (void)state;
    begin(true);
    assert_int_equal(next(), SOURCING_LOOK);
    sources(SOURCING_PEERS + 4, 0);
    for (unsigned n = 1; n <= SOURCING_PEERS; n++) {
        expect_ask((u8)n);
        sourcing_ended(&s, step.slot, SOURCING_MISSING, 0, now);
    }
    assert_int_equal(next(), SOURCING_REGISTRY);
}

/* --- leaving ---------------------------------------------------------------------------------- */

static void test_hedge_and_the_first_byte_wins(void **state)
{
    (void)state;
    unsigned first = begin_asking(3, 0);
    expire();
    assert_int_equal(now, 1000 * MS + SOURCING_HEDGE_NS);
    expect_ask(2);
    unsigned second = step.slot;
    assert_true(first != second);
    assert_int_equal(next(), SOURCING_REST); /* never a third */
    sourcing_bytes(&s, second, 1, now);
    expect_leave(1, SOURCING_LEFT);
    assert_int_equal(next(), SOURCING_REST);
    assert_true(sourcing_is_asking(&s));
    sourcing_ended(&s, second, SOURCING_MISSING, 0, now);
    expect_ask(1); /* it did nothing wrong */
}

/* Also when we had told it to wait: its bytes are not those that follow any more. */
static void test_a_paused_loser_is_left(void **state)
{
    (void)state;
    unsigned first = begin_asking(2, 0);
    expire();
    expect_ask(2);
    unsigned second = step.slot;
    sourcing_pause(&s, first, true, now);
    sourcing_bytes(&s, second, 1, now);
    expect_leave(1, SOURCING_LEFT);
}

static void test_no_first_byte(void **state)
{
    (void)state;
    (void)begin_asking(1, 0);
    expire(); /* nobody to hedge with */
    assert_int_equal(now, 1000 * MS + SOURCING_FIRST_BYTE_NS);
    expect_leave(1, SOURCING_FAILED);
    assert_int_equal(next(), SOURCING_LOOK);
    sources(1, 0);
    assert_int_equal(next(), SOURCING_REGISTRY);
}

static void test_stalled(void **state)
{
    (void)state;
    unsigned slot = begin_asking(2, 0);
    now += 100 * MS;
    sourcing_bytes(&s, slot, 1000, now);
    u64 last = now;
    expire();
    assert_int_equal(now, last + SOURCING_STALL_NS);
    expect_leave(1, SOURCING_FAILED);
    expect_ask(2);
}

/* `bps` for `ms`, in steps of 50 ms; stops when somebody is left or another is asked. */
static bool flow(unsigned slot, u64 bps, u64 ms)
{
    for (u64 t = 0; t < ms; t += 50) {
        now += 50 * MS;
        sourcing_bytes(&s, slot, bps / 20, now);
        if (next() != SOURCING_REST)
            return false;
    }
    return true;
}

static void test_slow_is_left_within_a_piece(void **state)
{
    (void)state;
    unsigned slot = begin_asking(2, 1000 * MS); /* 64 MiB/s expected */
    assert_true(flow(slot, 64 * MIB, 2000));
    u64 before = now;
    assert_false(flow(slot, 100 * KIB, 10000));
    assert_int_equal(step.what, SOURCING_LEAVE);
    assert_int_equal(step.outcome, SOURCING_LEFT);
    assert_true(now - before <= SOURCING_PIECE_MIN_NS + 100 * MS);
    expect_ask(2);
    unsigned second = step.slot;
    /* The second is as slow: there is nobody better, so it goes on. */
    assert_true(flow(second, 100 * KIB, 20000));
    /* It breaks off: the slow one is better than the long link. */
    sourcing_ended(&s, second, SOURCING_LIED, 0, now);
    expect_ask(1);
    assert_true(flow(step.slot, 100 * KIB, 20000));
}

static void test_too_slow_for_anybody(void **state)
{
    (void)state;
    unsigned slot = begin_asking(1, 1000 * MS);
    assert_true(flow(slot, 64 * MIB, 1000));
    assert_false(flow(slot, SOURCING_FLOOR_BPS / 2, 10000));
    assert_int_equal(step.what, SOURCING_LEAVE);
    assert_int_equal(step.outcome, SOURCING_FAILED);
    assert_int_equal(next(), SOURCING_LOOK);
    sources(1, 0);
    assert_int_equal(next(), SOURCING_REGISTRY);
}

static void test_our_own_pause_is_not_their_fault(void **state)
{
    (void)state;
    unsigned slot = begin_asking(2, 1000 * MS);
    assert_true(flow(slot, 64 * MIB, 500));
    sourcing_pause(&s, slot, true, now);
    sourcing_pause(&s, slot, true, now);
    assert_true(sourcing_deadline(&s) == UINT64_MAX);
    now += 60000 * MS;
    assert_int_equal(next(), SOURCING_REST);
    sourcing_pause(&s, slot, false, now);
    assert_int_equal(next(), SOURCING_REST);
    assert_true(flow(slot, 64 * MIB, 500));
}

/* --- busy ------------------------------------------------------------------------------------- */

static void test_busy_leads_to_another_peer(void **state)
{
    (void)state;
    unsigned slot = begin_asking(2, 0);
    sourcing_ended(&s, slot, SOURCING_BUSY, 1000 * MS, now);
    expect_ask(2);
    sourcing_ended(&s, step.slot, SOURCING_BUSY, 1000 * MS, now);
    assert_int_equal(next(), SOURCING_REST); /* not the registry */
    expire();
    assert_int_equal(next(), SOURCING_ASK);
}

/* Everybody is busy, always: the registry, but only after the bound. */
static void test_busy_for_too_long(void **state)
{
    (void)state;
    unsigned asked = 0;
    begin(true);
    u64 start = now;
    for (;;) {
        enum sourcing_do what = next();
        if (what == SOURCING_REST)
            expire();
        else if (what == SOURCING_LOOK)
            sources(3, 0);
        else if (what == SOURCING_ASK) {
            asked++;
            sourcing_ended(&s, step.slot, SOURCING_BUSY, 1000 * MS, now);
        } else
            break;
    }
    assert_int_equal(step.what, SOURCING_REGISTRY);
    assert_string_equal(step.reason, "peers were busy for too long");
    assert_true(now - start >= SOURCING_BUSY_NS);
    assert_true(now - start < SOURCING_BUSY_NS + 2500 * MS);
    assert_true(asked >= 9 && asked < 90);
}

static void test_a_wait_ends_when_somebody_has_room(void **state)
{
    (void)state;
    unsigned slot = begin_asking(1, 0);
    sourcing_ended(&s, slot, SOURCING_BUSY, 0, now);
    assert_int_equal(next(), SOURCING_REST);
    expire();
    expect_ask(1);
    sourcing_bytes(&s, step.slot, 1, now);
    assert_int_equal(next(), SOURCING_REST);
}

/* While the busy are waited for, somebody new may turn up. */
static void test_new_holders_are_seen_while_waiting(void **state)
{
    (void)state;
    unsigned slot = begin_asking(1, 0);
    sourcing_ended(&s, slot, SOURCING_BUSY, 60000 * MS, now);
    assert_int_equal(next(), SOURCING_REST);
    do {
        expire();
    } while (next() != SOURCING_LOOK && step.what == SOURCING_REST);
    if (step.what == SOURCING_LOOK) {
        sources(2, 0);
        expect_ask(2);
    } else {
        assert_int_equal(step.what, SOURCING_ASK);
    }
}

/* --- the registry breaks off ------------------------------------------------------------------ */

static void test_back_to_peers_when_the_registry_fails(void **state)
{
    (void)state;
    unsigned slot = begin_asking(2, 0);
    sourcing_ended(&s, slot, SOURCING_LIED, 0, now);
    expect_ask(2);
    sourcing_ended(&s, step.slot, SOURCING_FAILED, 0, now);
    assert_int_equal(next(), SOURCING_REGISTRY);
    sourcing_registry_ended(&s, now);
    assert_int_equal(next(), SOURCING_LOOK);
    sources(2, 0);
    expect_ask(2); /* never again the one that lied */
    sourcing_ended(&s, step.slot, SOURCING_FAILED, 0, now);
    assert_int_equal(next(), SOURCING_REGISTRY);
}

/* --- whatever happens, it ends ---------------------------------------------------------------- */

static enum sourcing_outcome any_outcome(struct rng *r)
{
    return (enum sourcing_outcome)(SOURCING_FAILED + rng_below(r, SOURCING_DENIED));
}

static void drive_at_random(u64 seed)
{
    struct rng r;
    unsigned asks = 0, steps = 0;
    u64 bytes = 0;
    rng_seed(&r, seed);
    begin(true);
    for (;;) {
        assert_true(++steps < 20000);
        switch (next()) {
        case SOURCING_LOOK:
            sources(rng_below(&r, SOURCING_PEERS + 1), rng_below(&r, 3) * MS);
            break;
        case SOURCING_ASK: asks++; break;
        case SOURCING_LEAVE: assert_false(s.slots[step.slot].used); break;
        case SOURCING_REGISTRY: assert_true(asks < 2000); return;
        case SOURCING_GIVE_UP: fail(); break;
        case SOURCING_REST: {
            unsigned slot = (unsigned)rng_below(&r, SOURCING_SLOTS);
            if (s.slots[slot].used && rng_chance(&r, 0.5)) {
                bytes += 1 + rng_below(&r, MIB);
                if (bytes > SIZE)
                    return; /* all of it is here */
                sourcing_bytes(&s, slot, MIB, now);
            } else if (s.slots[slot].used && rng_chance(&r, 0.5)) {
                sourcing_ended(&s, slot, any_outcome(&r), rng_below(&r, 5000) * MS, now);
            } else {
                u64 at = sourcing_deadline(&s);
                assert_true(at != UINT64_MAX);
                now = at > now ? at : now + 1;
            }
            break;
        }
        }
    }
}

static void test_it_always_ends(void **state)
{
    (void)state;
    for (u64 seed = 0; seed < 500; seed++)
        drive_at_random(seed);
}

static void test_equal_inputs_equal_steps(void **state)
{
    (void)state;
    drive_at_random(3);
    u64 then = now;
    struct sourcing_step last = step;
    drive_at_random(3);
    assert_int_equal(now, then);
    assert_int_equal(step.what, last.what);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_nobody_holds_it),
        cmocka_unit_test(test_peers_in_order_then_the_registry),
        cmocka_unit_test(test_without_a_registry),
        cmocka_unit_test(test_a_second_look),
        cmocka_unit_test(test_whoever_is_off_the_list_is_not_asked),
        cmocka_unit_test(test_broken_off_gets_a_second_chance),
        cmocka_unit_test(test_more_peers_than_fit),
        cmocka_unit_test(test_hedge_and_the_first_byte_wins),
        cmocka_unit_test(test_a_paused_loser_is_left),
        cmocka_unit_test(test_no_first_byte),
        cmocka_unit_test(test_stalled),
        cmocka_unit_test(test_slow_is_left_within_a_piece),
        cmocka_unit_test(test_too_slow_for_anybody),
        cmocka_unit_test(test_our_own_pause_is_not_their_fault),
        cmocka_unit_test(test_busy_leads_to_another_peer),
        cmocka_unit_test(test_busy_for_too_long),
        cmocka_unit_test(test_a_wait_ends_when_somebody_has_room),
        cmocka_unit_test(test_new_holders_are_seen_while_waiting),
        cmocka_unit_test(test_back_to_peers_when_the_registry_fails),
        cmocka_unit_test(test_it_always_ends),
        cmocka_unit_test(test_equal_inputs_equal_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
