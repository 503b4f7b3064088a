/* store_purge.c - tests of what is kept out, across everything that may happen, and of the
 * observer. */
#include "store_fixture.h"

#include "proto/limits.h"

#define BLOB 20000

static void purge(struct fixture *f, const struct digest *d, u64 until_ms, bool was_held)
{
    bool removed = !was_held;
    assert_int_equal(store_purge(f->store, d, f->now_ms, until_ms, &removed), 0);
    assert_int_equal(removed, was_held);
}

static void gone_and_kept_out(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    fixture_open(f);
    struct digest d = fixture_put(f, 1, BLOB), other = fixture_put(f, 2, BLOB);
    purge(f, &d, 5000, true);
    assert_false(fixture_held(f, &d));
    assert_true(fixture_held(f, &other));
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), ERR_DENIED);
    assert_int_equal(store_purged_until(f->store, &d, f->now_ms), 5000);
    assert_int_equal(store_purged_until(f->store, &other, f->now_ms), 0);
    purge(f, &d, 4000, false); /* the last word counts */
    assert_int_equal(store_purged_until(f->store, &d, f->now_ms), 4000);
    purge(f, &d, 1000, false); /* it may come in again at once */
    assert_int_equal(store_purged_until(f->store, &d, f->now_ms), 0);
    fixture_put(f, 1, BLOB);
    purge(f, &d, 5000, true);
    purge(f, &d, 6000, false);
    f->now_ms = 5999;
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), ERR_DENIED);
    f->now_ms = 6000; /* lapsed */
    fixture_put(f, 1, BLOB);
    assert_true(fixture_held(f, &d));
    purge(f, &other, 6000, true); /* over before it began: just removed */
    assert_false(fixture_held(f, &other));
    fixture_put(f, 2, BLOB);
}

static void readers_finish(void **state)
{
    struct fixture *f = *state;
    struct store_blob *b;
    fixture_open(f);
    struct digest d = fixture_put(f, 1, BLOB);
    assert_int_equal(store_pin(f->store, &d, 1, &b), 0);
    purge(f, &d, 5000, true);
    assert_int_equal(store_verify_fd(store_blob_fd(b), &d, BLOB, NULL, NULL), 0);
    store_unpin(f->store, b);
    assert_int_equal(fixture_stats(f).used_bytes, 0);
}

static void what_is_on_its_way_does_not_arrive(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    struct store_blob *b = NULL;
    char path[400];
    fixture_open(f);
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), 0);
    struct digest d = i->digest;
    fixture_feed(i, 1, BLOB, 0, BLOB);
    purge(f, &d, 5000, false);
    assert_int_equal(store_ingest_seal(i), 0);
    assert_int_equal(store_ingest_commit(i, f->now_ms, &b), ERR_DENIED);
    assert_null(b);
    fixture_blob_path(f, &d, path);
    assert_false(fixture_exists(path));
    assert_false(fixture_held(f, &d));

    assert_int_equal(fixture_begin(f, 2, BLOB, &i), 0); /* nor is a prefix of it kept */
    d = i->digest;
    fixture_feed(i, 2, BLOB, 0, BLOB / 2);
    purge(f, &d, 5000, false);
    store_ingest_keep(i);
    assert_int_equal(store_partial_size(f->store, &d), 0);

    assert_int_equal(fixture_begin(f, 3, BLOB, &i), 0); /* nor one that was kept before */
    d = i->digest;
    fixture_feed(i, 3, BLOB, 0, BLOB / 2);
    store_ingest_keep(i);
    assert_int_equal(store_partial_size(f->store, &d), BLOB / 2);
    purge(f, &d, 5000, false);
    assert_int_equal(store_partial_size(f->store, &d), 0);
    assert_int_equal(fixture_stats(f).used_bytes, 0);
    assert_int_equal(fixture_disk(f), 0);
}

static void survives_a_kill(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    char file[160];
    fixture_open(f);
    struct digest d = fixture_put(f, 1, BLOB), lapsing = fixture_put(f, 2, BLOB);
    purge(f, &d, 9000, true);
    purge(f, &lapsing, 1500, true);
    fixture_kill(f);
    f->now_ms = 2000;
    fixture_open(f);
    assert_int_equal(store_purged_until(f->store, &d, f->now_ms), 9000);
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), ERR_DENIED);
    fixture_put(f, 2, BLOB);

    /* It was remembered, and then the process died before the blob went. */
    char text[DIGEST_TEXT_SIZE], line[DIGEST_TEXT_SIZE + 64];
    digest_format(&lapsing, text);
    fixture_close(f);
    snprintf(file, sizeof(file), "%s/purged", f->path);
    int n = snprintf(line, sizeof(line), "rubbish\n\nsha256:00 17\n%s 9000\n%s 90", text, text);
    fixture_write_file(file, line, (size_t)n);
    fixture_open(f);
    assert_false(fixture_held(f, &lapsing));
    assert_int_equal(fixture_begin(f, 2, BLOB, &i), ERR_DENIED);
    assert_int_equal(store_purged_until(f->store, &d, f->now_ms), 0); /* the file is the truth */
}

static void as_many_as_there_may_be(void **state)
{
    struct fixture *f = *state;
    struct digest d;
    fixture_open(f);
    for (unsigned n = 0; n < LIMIT_PURGES; n++) {
        d = fixture_digest(n, 10);
        assert_int_equal(store_purge(f->store, &d, f->now_ms, 2000 + n, NULL), 0);
    }
    fixture_kill(f);
    fixture_open(f);
    assert_int_equal(store_purged_until(f->store, &d, f->now_ms), 2000 + LIMIT_PURGES - 1);
    d = fixture_digest(LIMIT_PURGES, 10);
    assert_int_equal(store_purge(f->store, &d, f->now_ms, 9000, NULL), ERR_FULL);
    assert_int_equal(store_purged_until(f->store, &d, f->now_ms), 0);
    f->now_ms = 2000; /* one has lapsed: there is room for one */
    assert_int_equal(store_purge(f->store, &d, f->now_ms, 9000, NULL), 0);
    d = fixture_digest(LIMIT_PURGES + 1, 10);
    assert_int_equal(store_purge(f->store, &d, f->now_ms, 9000, NULL), ERR_FULL);
}

static void what_cannot_be_remembered_is_not_done(void **state)
{
    struct fixture *f = *state;
    char file[160];
    fixture_open(f);
    struct digest d = fixture_put(f, 1, BLOB);
    snprintf(file, sizeof(file), "%s/purged.tmp", f->path);
    assert_int_equal(mkdir(file, 0700), 0);
    assert_int_equal(store_purge(f->store, &d, f->now_ms, 9000, NULL), ERR_IO);
    assert_int_equal(store_purged_until(f->store, &d, f->now_ms), 0);
    fixture_check(f, 1, BLOB);
    assert_int_equal(rmdir(file), 0);
    purge(f, &d, 9000, true);
    assert_int_equal(mkdir(file, 0700), 0);
    assert_int_equal(store_purge(f->store, &d, f->now_ms, 0, NULL), ERR_IO);
    assert_int_equal(store_purged_until(f->store, &d, f->now_ms), 9000);
}

/* --- the observer ---------------------------------------------------------------------------- */

struct seen {
    unsigned held, gone;
    struct digest last;
    char media[STORE_MEDIA_MAX + 1];
};

static void changed(void *arg, const struct blob_info *b, bool held)
{
    struct seen *s = arg;
    s->held += held;
    s->gone += !held;
    s->last = b->digest;
    snprintf(s->media, sizeof(s->media), "%s", b->media_type);
}

static void changes_are_told(void **state)
{
    struct fixture *f = *state;
    struct seen s = {0};
    struct store_blob *b;
    char path[400];
    f->capacity = 3 * space_rounded(BLOB);
    fixture_open(f);
    store_observe(f->store, changed, &s);
    struct digest first = fixture_put(f, 1, BLOB);
    assert_int_equal(s.held, 1);
    assert_true(digest_equal(&s.last, &first));
    assert_string_equal(s.media, FIXTURE_MEDIA);
    f->now_ms++;
    struct digest second = fixture_put(f, 2, BLOB);
    f->now_ms++;
    struct digest third = fixture_put(f, 3, BLOB);
    assert_int_equal(s.held, 3);
    fixture_put(f, 4, BLOB); /* evicts the first */
    assert_int_equal(s.held, 4);
    assert_int_equal(s.gone, 1);
    assert_int_equal(store_remove(f->store, &second), 0);
    assert_int_equal(s.gone, 2);
    assert_true(digest_equal(&s.last, &second));
    assert_string_equal(s.media, FIXTURE_MEDIA);
    fixture_blob_path(f, &third, path); /* behind our back */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(store_pin(f->store, &third, 1, &b), ERR_NOTFOUND);
    assert_int_equal(s.gone, 3);
    assert_true(digest_equal(&s.last, &third));
    store_observe(f->store, NULL, NULL);
    fixture_put(f, 5, BLOB);
    assert_int_equal(s.held, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(gone_and_kept_out),
        FIXTURE_TEST(readers_finish),
        FIXTURE_TEST(what_is_on_its_way_does_not_arrive),
        FIXTURE_TEST(survives_a_kill),
        FIXTURE_TEST(as_many_as_there_may_be),
        FIXTURE_TEST(what_cannot_be_remembered_is_not_done),
        FIXTURE_TEST(changes_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
