/* The ledger: whatever the order of changes, losses and clocks, replicas that talk end alike, and
 * the highest version of each name is what they hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "proto/ledger.h"
#include "proto/rng.h"

#define NOW 1700000000000ull

static u8 a[LEDGER_BYTES_MAX], b[LEDGER_BYTES_MAX];

static struct ledger *make(u8 id)
{
    u8 self[LEDGER_ID_BYTES] = {id};
    struct ledger *l;
    assert_int_equal(ledger_new(&l, self), 0);
    return l;
}

static struct ledger_entry entry(enum ledger_kind kind, const char *name, const char *value)
{
    struct ledger_entry e = {.kind = kind, .dead = value == NULL};
    snprintf(e.name, sizeof(e.name), "%s", name);
    snprintf(e.value, sizeof(e.value), "%s", value ? value : "");
    return e;
}

static struct ledger_entry change(struct ledger *l, enum ledger_kind kind, const char *name,
                                  const char *value, u64 now)
{
    struct ledger_entry e = entry(kind, name, value);
    assert_int_equal(ledger_stamp(l, &e, now), 0);
    assert_int_equal(ledger_merge(l, &e, now), 0);
    return e;
}

/* All entries of a message are merged; how many were news. */
static size_t feed(struct ledger *l, const u8 *data, size_t len, u64 now)
{
    struct ledger_reader r;
    struct ledger_entry e;
    size_t n = 0;
    assert_int_equal(ledger_read(&r, data, len), 0);
    while (ledger_next(&r, &e))
        n += ledger_merge(l, &e, now) == 0;
    return n;
}

/* One round: `x` asks `y`. False: they were equal. `lose`: after that many messages the rest is
 * lost. */
static bool round_of(struct ledger *x, struct ledger *y, u64 now, unsigned lose)
{
    size_t n = ledger_sums(x, a), m;
    if (lose == 0)
        return true;
    assert_int_equal(ledger_have(y, a, n, b, &m), 0);
    if (lose == 1)
        return true;
    assert_int_equal(ledger_swap(x, b, m, a, &n), 0);
    if (n == 0)
        return false;
    assert_int_equal(ledger_talk_type(a, n), LEDGER_SWAP);
    if (lose == 2)
        return true;
    feed(y, a, n, now);
    assert_int_equal(ledger_take(y, a, n, b, &m), 0);
    if (lose == 3)
        return true;
    feed(x, b, m, now);
    return true;
}

static void settle(struct ledger *x, struct ledger *y, u64 now)
{
    for (unsigned i = 0; round_of(x, y, now, 9); i++)
        assert_true(i < 10000);
}

static int by_name(const void *x, const void *y)
{
    const struct ledger_entry *p = x, *q = y;
    return p->kind != q->kind ? (int)p->kind - (int)q->kind : strcmp(p->name, q->name);
}

static struct ledger_entry *listed(const struct ledger *l, size_t *n)
{
    struct ledger_entry *all = calloc(8192, sizeof(*all));
    struct ledger_cursor at = {0};
    for (*n = 0; ledger_each(l, &at, &all[*n]); ++*n)
        assert_true(*n < 8000);
    qsort(all, *n, sizeof(*all), by_name);
    return all;
}

static void same_tables(const struct ledger *x, const struct ledger *y)
{
    size_t n, m;
    struct ledger_entry *p = listed(x, &n), *q = listed(y, &m);
    assert_int_equal(n, m);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(by_name(&p[i], &q[i]), 0);
        assert_string_equal(p[i].value, q[i].value);
        assert_int_equal(p[i].dead, q[i].dead);
        assert_true(p[i].counter == q[i].counter);
        assert_memory_equal(p[i].origin, q[i].origin, LEDGER_ID_BYTES);
    }
    free(p);
    free(q);
    n = ledger_sums(x, a);
    m = ledger_sums(y, b);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
}

/* --- the rule --------------------------------------------------------------------------------- */

static void the_higher_version_wins(void **state)
{
    (void)state;
    struct ledger *x = make(1), *y = make(2);
    struct ledger_entry old = change(x, LEDGER_PROFILE, "alice", "asia", NOW);
    assert_int_equal(ledger_merge(y, &old, NOW), 0);
    assert_int_equal(ledger_merge(y, &old, NOW), ERR_EXISTS);
    /* Its clock is a minute behind, and it has seen what it changes. */
    struct ledger_entry gone = change(y, LEDGER_PROFILE, "alice", NULL, NOW - 60000);
    assert_true(gone.counter > old.counter);
    assert_null(ledger_find(y, LEDGER_PROFILE, "alice"));
    assert_int_equal(ledger_merge(y, &old, NOW), ERR_EXISTS);
    assert_int_equal(ledger_merge(x, &gone, NOW), 0);
    assert_null(ledger_find(x, LEDGER_PROFILE, "alice"));
    assert_int_equal(ledger_count(x, LEDGER_PROFILE), 0);
    assert_int_equal(ledger_count_dead(x), 1);
    /* Equal counters: the greater id, at both. */
    struct ledger_entry p = entry(LEDGER_TEAM, "web", "north"),
                        q = entry(LEDGER_TEAM, "web", "south");
    p.counter = q.counter = NOW + 5;
    p.origin[0] = 1;
    q.origin[0] = 2;
    assert_int_equal(ledger_merge(x, &p, NOW), 0);
    assert_int_equal(ledger_merge(x, &q, NOW), 0);
    assert_int_equal(ledger_merge(y, &q, NOW), 0);
    assert_int_equal(ledger_merge(y, &p, NOW), ERR_EXISTS);
    assert_string_equal(ledger_find(x, LEDGER_TEAM, "web"), "south");
    assert_string_equal(ledger_find(y, LEDGER_TEAM, "web"), "south");
    /* A user and a team of one name are two. */
    assert_null(ledger_find(x, LEDGER_PROFILE, "web"));
    ledger_del(x);
    ledger_del(y);
}

static void what_is_malformed_is_refused(void **state)
{
    (void)state;
    struct ledger *l = make(1);
    struct ledger_entry good = entry(LEDGER_PROFILE, "alice", "asia");
    good.counter = NOW;
    struct ledger_entry bad[9];
    for (size_t i = 0; i < countof(bad); i++)
        bad[i] = good;
    bad[0].name[0] = 0;
    bad[1].name[1] = '/';
    bad[2].name[1] = ' ';
    bad[3].value[0] = 0;
    bad[4].value[1] = (char)0xc3;
    bad[5].kind = (enum ledger_kind)5;
    bad[6].kind = LEDGER_REVOKED; /* has no value */
    bad[7].dead = true;           /* nor has a tombstone */
    bad[8].counter = NOW + LEDGER_AHEAD_MS + 1;
    for (size_t i = 0; i < countof(bad); i++)
        assert_int_equal(ledger_merge(l, &bad[i], NOW), ERR_INVAL);
    good.counter = NOW + LEDGER_AHEAD_MS;
    assert_int_equal(ledger_merge(l, &good, NOW), 0);
    good = entry(LEDGER_REVOKED, "bob", NULL);
    good.counter = NOW;
    assert_int_equal(ledger_merge(l, &good, NOW), ERR_INVAL); /* nobody takes it back */
    good.dead = false;
    assert_int_equal(ledger_merge(l, &good, NOW), 0);
    assert_int_equal(ledger_count(l, LEDGER_REVOKED), 1);
    ledger_del(l);
}

static void the_clock_that_was_ahead_is_followed(void **state)
{
    (void)state;
    struct ledger *x = make(1), *y = make(2);
    struct ledger_entry e = change(y, LEDGER_PROFILE, "alice", "far", NOW + LEDGER_AHEAD_MS - 1);
    assert_int_equal(ledger_merge(x, &e, NOW), 0);
    struct ledger_entry mine = change(x, LEDGER_PROFILE, "alice", "near", NOW);
    assert_true(mine.counter > e.counter);
    assert_int_equal(ledger_merge(y, &mine, NOW), 0);
    assert_string_equal(ledger_find(y, LEDGER_PROFILE, "alice"), "near");
    ledger_del(x);
    ledger_del(y);
}

static void a_clock_that_was_ahead_ends_no_changes(void **state)
{
    (void)state;
    struct ledger *x = make(1), *y = make(2);
    u64 ahead = NOW + 30 * LEDGER_DAY_MS;
    change(x, LEDGER_PROFILE, "bob", "far", ahead);
    for (u64 k = 0; k < 2; k++) {
        struct ledger_entry e = change(x, LEDGER_PROFILE, "eve", k ? "near" : "far", NOW + 60000);
        assert_int_equal(ledger_merge(y, &e, NOW + 60000), 0);
    }
    assert_string_equal(ledger_find(x, LEDGER_PROFILE, "eve"), "near");
    struct ledger_entry bob = entry(LEDGER_PROFILE, "bob", "near");
    assert_int_equal(ledger_stamp(x, &bob, NOW + 60000), ERR_AGAIN);
    change(x, LEDGER_PROFILE, "bob", "near", ahead);
    ledger_del(x);
    ledger_del(y);
}

/* --- forgetting ------------------------------------------------------------------------------- */

static void what_is_over_is_forgotten(void **state)
{
    (void)state;
    struct ledger *l = make(1);
    struct ledger_entry gone[8], back = change(l, LEDGER_PROFILE, "alice", "asia", NOW - 5);
    struct ledger_entry dead = change(l, LEDGER_PROFILE, "alice", NULL, NOW);
    struct ledger_entry revoked = change(l, LEDGER_REVOKED, "bob", "", NOW);
    change(l, LEDGER_PROFILE, "carol", "asia", NOW);
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(ledger_expire(l, NOW + LEDGER_DEAD_MS - 1, gone, 8), 0);
    size_t n = 0;
    for (unsigned i = 0; i < 64; i++)
        n += ledger_expire(l, NOW + LEDGER_DEAD_MS, gone + n, 8 - n);
    assert_int_equal(n, 1);
    assert_string_equal(gone[0].name, "alice");
    assert_true(gone[0].dead);
    assert_int_equal(ledger_count_dead(l), 0);
    assert_int_equal(ledger_merge(l, &dead, NOW + LEDGER_DEAD_MS), ERR_EXISTS); /* over */
    for (unsigned i = 0; i < 64; i++)
        n += ledger_expire(l, NOW + LEDGER_REVOKED_MS + 9, gone + n, 8 - n);
    assert_int_equal(n, 2);
    assert_int_equal(gone[1].kind, LEDGER_REVOKED);
    assert_int_equal(ledger_merge(l, &revoked, NOW + LEDGER_REVOKED_MS + 9), ERR_EXISTS);
    assert_int_equal(ledger_count(l, LEDGER_PROFILE), 1);
    /* Who slept for longer brings it back: that is said in the header. */
    assert_int_equal(ledger_merge(l, &back, NOW + LEDGER_REVOKED_MS), 0);
    ledger_del(l);
}

static void tombstones_are_bounded(void **state)
{
    (void)state;
    struct ledger *l = make(1);
    char name[32];
    for (unsigned i = 0; i < LEDGER_DEAD_MAX + 10; i++) {
        snprintf(name, sizeof(name), "u%u", i);
        change(l, LEDGER_PROFILE, name, NULL, NOW + i);
        assert_true(ledger_count_dead(l) <= LEDGER_DEAD_MAX);
    }
    assert_true(ledger_count_dead(l) > LEDGER_DEAD_MAX * 3 / 4);
    struct ledger_entry first = entry(LEDGER_PROFILE, "u0", NULL);
    first.counter = NOW;
    assert_int_equal(ledger_merge(l, &first, NOW), ERR_EXISTS); /* not taken, again and again */
    ledger_del(l);
}

static void a_full_ledger_refuses_names_not_changes(void **state)
{
    (void)state;
    struct ledger *l = make(1);
    char name[32];
    for (unsigned i = 0; i < LEDGER_TEAMS_MAX; i++) {
        snprintf(name, sizeof(name), "t%u", i);
        change(l, LEDGER_TEAM, name, "asia", NOW);
    }
    assert_false(ledger_has_room(l, LEDGER_TEAM, 0));
    struct ledger_entry e = entry(LEDGER_TEAM, "more", "asia");
    assert_int_equal(ledger_stamp(l, &e, NOW), 0);
    assert_int_equal(ledger_merge(l, &e, NOW), ERR_FULL);
    change(l, LEDGER_TEAM, "t7", "west", NOW);
    change(l, LEDGER_TEAM, "t8", NULL, NOW);
    assert_true(ledger_has_room(l, LEDGER_TEAM, 0));
    assert_false(ledger_has_room(l, LEDGER_TEAM, 1));
    ledger_del(l);
}

/* --- replicas --------------------------------------------------------------------------------- */

#define REPLICAS 3
#define NAMES    40

static void random_life(u64 seed)
{
    struct ledger *l[REPLICAS];
    struct ledger_entry best[LEDGER_KINDS][NAMES] = {0};
    struct rng rng;
    rng_seed(&rng, seed);
    for (u8 i = 0; i < REPLICAS; i++)
        l[i] = make(i);
    for (unsigned step = 0; step < 400; step++) {
        size_t i = rng_below(&rng, REPLICAS), k = rng_below(&rng, REPLICAS);
        u64 now = NOW + step * 10, skew = i * 7000; /* clocks seconds apart */
        if (rng_below(&rng, 3) > 0) {
            char name[16], value[16];
            size_t who = rng_below(&rng, NAMES);
            enum ledger_kind kind = (enum ledger_kind)(1 + rng_below(&rng, 4));
            snprintf(name, sizeof(name), "n%zu", who);
            snprintf(value, sizeof(value), "v%u", step);
            bool revoked = kind == LEDGER_REVOKED, dead = !revoked && rng_below(&rng, 4) == 0;
            struct ledger_entry e = change(l[i], kind, name,
                                           revoked ? ""
                                           : dead  ? NULL
                                                   : value,
                                           now + skew);
            struct ledger_entry *top = &best[kind][who];
            if (e.counter > top->counter ||
                (e.counter == top->counter && memcmp(e.origin, top->origin, sizeof(e.origin)) > 0))
                *top = e;
        } else if (i != k) { /* messages are lost, too */
            round_of(l[i], l[k], now, (unsigned)rng_below(&rng, 6));
        }
    }
    for (unsigned turn = 0; turn < 2; turn++)
        for (size_t i = 0; i < REPLICAS; i++)
            settle(l[i], l[(i + 1) % REPLICAS], NOW + 10000);
    for (size_t i = 1; i < REPLICAS; i++)
        same_tables(l[0], l[i]);
    for (size_t kind = 1; kind < LEDGER_KINDS; kind++)
        for (size_t who = 0; who < NAMES; who++) {
            const struct ledger_entry *top = &best[kind][who];
            const char *found =
                top->counter ? ledger_find(l[0], (enum ledger_kind)kind, top->name) : NULL;
            if (top->counter && !top->dead) {
                assert_non_null(found);
                assert_string_equal(found, top->value);
            } else {
                assert_null(found);
            }
        }
    for (size_t i = 0; i < REPLICAS; i++)
        ledger_del(l[i]);
}

static void replicas_end_alike(void **state)
{
    (void)state;
    for (u64 seed = 1; seed <= 200; seed++)
        random_life(seed);
}

/* More than one message holds, both ways. */
static void an_empty_one_gets_all(void **state)
{
    (void)state;
    struct ledger *x = make(1), *y = make(2);
    char name[64];
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(name, sizeof(name), "a-rather-long-name-of-a-user-%u@example.org", i);
        change(i % 3 ? x : y, LEDGER_PROFILE, name, "asia-office", NOW);
    }
    settle(y, x, NOW);
    same_tables(x, y);
    assert_int_equal(ledger_count(x, LEDGER_PROFILE), 5000);
    assert_false(round_of(x, y, NOW, 9));
    ledger_del(x);
    ledger_del(y);
}

static void many_converge_in_messages_that_fit(void **state)
{
    (void)state;
    struct ledger *x = make(1), *y = make(2);
    char name[64];
    for (unsigned i = 0; i < 50000; i++) {
        snprintf(name, sizeof(name), "u%u", i);
        change(x, LEDGER_PROFILE, name, "asia-office", NOW);
    }
    unsigned rounds = 0;
    while (round_of(y, x, NOW, 9))
        assert_true(++rounds < 200);
    assert_int_equal(ledger_count(y, LEDGER_PROFILE), 50000);
    ledger_del(x);
    ledger_del(y);
}

/* --- messages that are none ---------------------------------------------------------------------
 */

static void cut_and_altered_messages_do_no_harm(void **state)
{
    (void)state;
    struct ledger *x = make(1), *y = make(2);
    static u8 bad[LEDGER_BYTES_MAX], out[LEDGER_BYTES_MAX];
    struct rng rng;
    rng_seed(&rng, 7);
    for (unsigned i = 0; i < 50; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%u", i);
        change(i % 2 ? x : y, LEDGER_PROFILE, name, "v", NOW + i);
    }
    size_t n[4], out_len;
    static u8 good[4][LEDGER_BYTES_MAX];
    n[0] = ledger_sums(x, good[0]);
    assert_int_equal(ledger_have(y, good[0], n[0], good[1], &n[1]), 0);
    assert_int_equal(ledger_swap(x, good[1], n[1], good[2], &n[2]), 0);
    assert_int_equal(ledger_take(y, good[2], n[2], good[3], &n[3]), 0);
    for (unsigned turn = 0; turn < 20000; turn++) {
        size_t which = turn % 4, len = n[which];
        memcpy(bad, good[which], len);
        if (turn % 3 == 0)
            len = rng_below(&rng, (u32)len);
        else
            for (unsigned k = 0; k <= turn % 5; k++)
                bad[rng_below(&rng, turn % 7 ? 40 : (u32)len)] = (u8)rng_below(&rng, 256);
        (void)!ledger_have(x, bad, len, out, &out_len);
        (void)!ledger_swap(x, bad, len, out, &out_len);
        (void)!ledger_take(x, bad, len, out, &out_len);
        struct ledger_reader r;
        struct ledger_entry e;
        if (ledger_read(&r, bad, len) == 0)
            while (ledger_next(&r, &e))
                assert_true(ledger_name_valid(e.name));
    }
    for (size_t which = 0; which < 4; which++) /* each is taken for what it is alone */
        assert_true((ledger_have(x, good[which], n[which], out, &out_len) == 0) == (which == 0) &&
                    (ledger_swap(x, good[which], n[which], out, &out_len) == 0) == (which == 1) &&
                    (ledger_take(x, good[which], n[which], out, &out_len) == 0) == (which == 2));
    ledger_del(x);
    ledger_del(y);
}

static void entries_are_kept_as_they_are(void **state)
{
    (void)state;
    u8 bytes[LEDGER_ENTRY_BYTES];
    struct ledger_entry e = entry(LEDGER_MEMBER, "", "web"), back;
    memset(e.name, 'n', LEDGER_NAME_MAX);
    memset(e.value, 'v', LEDGER_VALUE_MAX);
    memset(e.origin, 0xff, sizeof(e.origin));
    e.counter = UINT64_MAX;
    size_t len = ledger_pack(&e, bytes);
    assert_int_equal(ledger_unpack(&back, bytes, len), 0);
    assert_memory_equal(&e, &back, sizeof(e));
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(ledger_unpack(&back, bytes, cut), ERR_PROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_higher_version_wins),
        cmocka_unit_test(what_is_malformed_is_refused),
        cmocka_unit_test(the_clock_that_was_ahead_is_followed),
        cmocka_unit_test(a_clock_that_was_ahead_ends_no_changes),
        cmocka_unit_test(what_is_over_is_forgotten),
        cmocka_unit_test(tombstones_are_bounded),
        cmocka_unit_test(a_full_ledger_refuses_names_not_changes),
        cmocka_unit_test(replicas_end_alike),
        cmocka_unit_test(an_empty_one_gets_all),
        cmocka_unit_test(many_converge_in_messages_that_fit),
        cmocka_unit_test(cut_and_altered_messages_do_no_harm),
        cmocka_unit_test(entries_are_kept_as_they_are),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
