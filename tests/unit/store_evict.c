/* store_evict.c - tests of the eviction policy and of the capacity that it serves. */
#include "store_fixture.h"

#include "store/evict.h"

/* --- the policy alone ---------------------------------------------------------------------- */

static struct evict_candidate candidate(u8 name, u64 bytes, u64 used_ms, bool partial)
{
    return (struct evict_candidate){.digest = {.alg = DIGEST_SHA256, .bytes = {name}},
                                    .bytes = bytes,
                                    .used_ms = used_ms,
                                    .partial = partial};
}

static void partials_then_coldest(void **state)
{
    (void)state;
    struct evict_candidate c[] = {candidate(1, 10, 30, false), candidate(2, 10, 10, false),
                                  candidate(3, 10, 99, true), candidate(4, 10, 98, true),
                                  candidate(5, 10, 20, false)};
    size_t taken;
    assert_int_equal(evict_choose(c, countof(c), 35, &taken), 40);
    assert_int_equal(taken, 4);
    static const u8 order[] = {4, 3, 2, 5, 1};
    for (size_t i = 0; i < countof(c); i++)
        assert_int_equal(c[i].digest.bytes[0], order[i]);
}

static void takes_no_more_than_needed(void **state)
{
    (void)state;
    struct evict_candidate c[] = {candidate(1, 100, 1, false), candidate(2, 1, 2, false)};
    size_t taken;
    assert_int_equal(evict_choose(c, 2, 0, &taken), 0);
    assert_int_equal(taken, 0);
    assert_int_equal(evict_choose(c, 2, 100, &taken), 100);
    assert_int_equal(taken, 1);
    assert_int_equal(evict_choose(c, 2, 1000, &taken), 101);
    assert_int_equal(taken, 2);
    assert_int_equal(evict_choose(c, 0, 1, &taken), 0);
    assert_int_equal(taken, 0);
}

/* The region's last copy counts as used a week later. */
static void the_last_copy_outlives_one_of_many(void **state)
{
    (void)state;
    struct evict_candidate c[] = {
        candidate(1, 10, 1000, false), candidate(2, 10, 2000, false), candidate(3, 10, 3000, false),
        candidate(4, 10, 1001 + EVICT_LAST_MS, false), candidate(5, 10, 5000, true)};
    size_t taken;
    c[0].last = c[1].last = true; /* warm ones, and 4 was used much later */
    assert_int_equal(evict_choose(c, countof(c), 1, &taken), 10);
    static const u8 order[] = {5, 3, 1, 4, 2};
    for (size_t i = 0; i < countof(c); i++)
        assert_int_equal(c[i].digest.bytes[0], order[i]);
}

/* Equal candidates in any order of input: the same choice. */
static void deterministic(void **state)
{
    (void)state;
    for (unsigned turn = 0; turn < 8; turn++) {
        struct evict_candidate c[8];
        size_t taken;
        for (unsigned i = 0; i < 8; i++)
            c[i] = candidate((u8)((i + turn) % 8), 1, 7, false);
        evict_choose(c, 8, 3, &taken);
        assert_int_equal(taken, 3);
        for (unsigned i = 0; i < 8; i++)
            assert_int_equal(c[i].digest.bytes[0], i);
    }
}

/* --- the capacity --------------------------------------------------------------------------- */

#define BLOB 10000 /* counts as 12 KiB */

static void coldest_goes_first(void **state)
{
    struct fixture *f = *state;
    struct digest d[5];
    f->capacity = 4 * 12 * FIXTURE_KIB;
    fixture_open(f);
    for (unsigned n = 0; n < 4; n++, f->now_ms++)
        d[n] = fixture_put(f, n, BLOB);
    assert_int_equal(fixture_stats(f).used_bytes, f->capacity);

    /* 0 was used since; whether that was written to the index by now must not matter. */
    struct store_blob *b;
    assert_int_equal(store_pin(f->store, &d[0], f->now_ms++, &b), 0);
    store_unpin(f->store, b);
    d[4] = fixture_put(f, 4, BLOB);
    assert_false(fixture_held(f, &d[1]));
    for (unsigned n = 0; n < 5; n++)
        assert_int_equal(fixture_held(f, &d[n]), n != 1);
    struct store_stats stats = fixture_stats(f);
    assert_int_equal(stats.evicted_blobs, 1);
    assert_int_equal(stats.evicted_bytes, BLOB);
    assert_int_equal(stats.used_bytes, fixture_disk(f));

    /* The same with everything written. */
    store_tick(f->store, f->now_ms);
    fixture_put(f, 5, BLOB);
    assert_false(fixture_held(f, &d[2]));
    assert_true(fixture_held(f, &d[0]));
}

/* Of 100 blobs the first 80 are the region's last copies, more than a window of the coldest. */
static bool is_low(void *arg, const struct digest *d)
{
    const struct digest *all = arg;
    for (size_t i = 0; i < 80; i++)
        if (digest_equal(&all[i], d))
            return true;
    return false;
}

static void last_copies_stay_while_others_are_there(void **state)
{
    struct fixture *f = *state;
    static struct digest d[121];
    f->capacity = 100 * 12 * FIXTURE_KIB;
    fixture_open(f);
    for (unsigned n = 0; n < 100; n++, f->now_ms++)
        d[n] = fixture_put(f, n, BLOB);
    store_tick(f->store, f->now_ms);
    store_ask_last(f->store, is_low, d);
    for (unsigned n = 100; n < 115; n++, f->now_ms++)
        d[n] = fixture_put(f, n, BLOB);
    for (unsigned n = 0; n < 115; n++)
        assert_int_equal(fixture_held(f, &d[n]), n < 80 || n >= 95);
    /* When nothing else is there, they go, coldest first; and so it is where nobody knows. */
    store_ask_last(f->store, NULL, NULL);
    d[115] = fixture_put(f, 115, BLOB);
    assert_false(fixture_held(f, &d[0]));
    assert_true(fixture_held(f, &d[1]));
}

/* When all that is left was used a moment ago, the least recent of it still goes. */
static void all_hot(void **state)
{
    struct fixture *f = *state;
    struct digest d[3];
    f->capacity = 3 * 12 * FIXTURE_KIB;
    fixture_open(f);
    for (unsigned n = 0; n < 3; n++)
        d[n] = fixture_put(f, n, BLOB);
    static const unsigned order[] = {1, 2, 0};
    for (unsigned i = 0; i < 3; i++) {
        struct store_blob *b;
        assert_int_equal(store_pin(f->store, &d[order[i]], ++f->now_ms, &b), 0);
        store_unpin(f->store, b);
    }
    fixture_put(f, 3, BLOB);
    assert_false(fixture_held(f, &d[1]));
    assert_true(fixture_held(f, &d[2]));
    assert_true(fixture_held(f, &d[0]));
}

static void pinned_stays(void **state)
{
    struct fixture *f = *state;
    struct store_blob *b[2];
    struct store_ingest *i;
    f->capacity = 2 * 12 * FIXTURE_KIB;
    fixture_open(f);
    struct digest d0 = fixture_put(f, 0, BLOB), d1 = fixture_put(f, 1, BLOB);
    assert_int_equal(store_pin(f->store, &d0, 1, &b[0]), 0);
    assert_int_equal(store_pin(f->store, &d1, 1, &b[1]), 0);
    assert_int_equal(fixture_begin(f, 2, BLOB, &i), ERR_FULL);
    store_unpin(f->store, b[1]);
    fixture_put(f, 2, BLOB);
    assert_true(fixture_held(f, &d0));
    assert_false(fixture_held(f, &d1));
    store_unpin(f->store, b[0]);
}

/* What cannot fit anyway must not empty the store first. */
static void too_large_evicts_nothing(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    struct store_blob *b;
    f->capacity = 3 * 12 * FIXTURE_KIB;
    fixture_open(f);
    struct digest d = fixture_put(f, 0, BLOB);
    fixture_put(f, 1, BLOB);
    assert_int_equal(fixture_begin(f, 2, 4 * BLOB, &i), ERR_FULL);
    assert_int_equal(store_pin(f->store, &d, 1, &b), 0);
    assert_int_equal(fixture_begin(f, 3, 3 * BLOB, &i), ERR_FULL); /* would fit but for the pin */
    store_unpin(f->store, b);
    assert_int_equal(fixture_stats(f).blobs, 2);
    assert_int_equal(fixture_stats(f).evicted_blobs, 0);

    /* Sizes beyond everything are refused like any other. */
    struct store_ingest_options opt = {.digest = fixture_digest(9, 9), .size = UINT64_MAX - 1};
    assert_int_equal(store_ingest_begin(f->store, &opt, &i), ERR_FULL);
}

static void idle_partials_go_before_blobs(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    f->capacity = 4 * 12 * FIXTURE_KIB;
    fixture_open(f);
    struct digest d = fixture_put(f, 0, BLOB);
    for (unsigned n = 1; n <= 2; n++) {
        f->now_ms += 10;
        assert_int_equal(fixture_begin(f, n, BLOB, &i), 0);
        fixture_feed(i, n, BLOB, 0, 5000); /* counts as 8 KiB */
        store_ingest_keep(i);
    }
    assert_int_equal(fixture_stats(f).used_bytes, (12 + 8 + 8) * FIXTURE_KIB);
    assert_int_equal(fixture_stats(f).partial_bytes, 10000);
    fixture_put(f, 3, BLOB);
    fixture_put(f, 4, BLOB); /* 12 more than fit: the older partial and the newer one go */
    assert_true(fixture_held(f, &d));
    assert_int_equal(fixture_stats(f).partial_bytes, 5000);
    assert_int_equal(fixture_stats(f).evicted_blobs, 0);
    assert_int_equal(fixture_stats(f).used_bytes, fixture_disk(f));
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), 0);
    assert_int_equal(store_ingest_written(i), 0); /* the older is gone */
    store_ingest_drop(i);
    assert_int_equal(fixture_begin(f, 2, BLOB, &i), 0);
    assert_int_equal(store_ingest_written(i), 0); /* and the newer went for the line above */
    store_ingest_drop(i);
}

/* Running ingests count with what they were promised, before they write it. */
static void promises_count(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *a, *b;
    f->capacity = 4 * 12 * FIXTURE_KIB;
    fixture_open(f);
    assert_int_equal(fixture_begin(f, 1, 3 * BLOB, &a), 0);
    assert_int_equal(fixture_begin(f, 2, 2 * BLOB, &b), ERR_FULL);
    assert_int_equal(fixture_stats(f).reserved_bytes, 3 * BLOB);
    fixture_feed(a, 1, 3 * BLOB, 0, BLOB);
    assert_int_equal(fixture_stats(f).reserved_bytes, 2 * BLOB);
    assert_int_equal(fixture_stats(f).partial_bytes, BLOB);
    assert_int_equal(fixture_stats(f).used_bytes, space_rounded(3 * BLOB));
    store_ingest_keep(a); /* its promise is over: 12 KiB stay */
    assert_int_equal(fixture_stats(f).used_bytes, 12 * FIXTURE_KIB);
    assert_int_equal(fixture_begin(f, 2, 2 * BLOB, &b), 0);
    store_ingest_drop(b);
    assert_int_equal(fixture_stats(f).used_bytes, 12 * FIXTURE_KIB);
}

/* A capacity that was made smaller holds from the opening on. */
static void smaller_capacity(void **state)
{
    struct fixture *f = *state;
    struct digest d[10];
    fixture_open(f);
    for (unsigned n = 0; n < 10; n++, f->now_ms++)
        d[n] = fixture_put(f, n, BLOB);
    fixture_close(f);
    f->capacity = 3 * 12 * FIXTURE_KIB + 5;
    fixture_open(f);
    assert_int_equal(f->found.blobs, 3);
    for (unsigned n = 0; n < 10; n++)
        assert_int_equal(fixture_held(f, &d[n]), n >= 7);
    assert_int_equal(fixture_stats(f).used_bytes, fixture_disk(f));
}

/* More than one window of the policy, in one go. */
static void many_small_for_one_large(void **state)
{
    struct fixture *f = *state;
    f->capacity = 200 * 4 * FIXTURE_KIB;
    fixture_open(f);
    for (unsigned n = 0; n < 200; n++, f->now_ms++)
        fixture_put(f, n, 100 + n);
    fixture_put(f, 1000, 180 * 4 * FIXTURE_KIB);
    assert_int_equal(fixture_stats(f).blobs, 21);
    assert_int_equal(fixture_stats(f).used_bytes, f->capacity);
    assert_int_equal(fixture_disk(f), f->capacity);
    for (unsigned n = 0; n < 200; n++) {
        struct digest d = fixture_digest(n, 100 + n);
        assert_int_equal(fixture_held(f, &d), n >= 180);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partials_then_coldest),
        cmocka_unit_test(takes_no_more_than_needed),
        cmocka_unit_test(the_last_copy_outlives_one_of_many),
        cmocka_unit_test(deterministic),
        FIXTURE_TEST(coldest_goes_first),
        FIXTURE_TEST(last_copies_stay_while_others_are_there),
        FIXTURE_TEST(all_hot),
        FIXTURE_TEST(pinned_stays),
        FIXTURE_TEST(too_large_evicts_nothing),
        FIXTURE_TEST(idle_partials_go_before_blobs),
        FIXTURE_TEST(promises_count),
        FIXTURE_TEST(smaller_capacity),
        FIXTURE_TEST(many_small_for_one_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
