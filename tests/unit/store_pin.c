/* store_pin.c - tests of reading: pins, removal under readers, files that vanish, access times. */
#include "store_fixture.h"

#define BLOB  20000
#define LARGE (3 << 20) /* large enough to be closed by another thread */

static size_t open_descriptors(void)
{
    size_t count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void pins_share(void **state)
{
    struct fixture *f = *state;
    struct store_blob *a, *b;
    fixture_open(f);
    struct digest d = fixture_put(f, 1, BLOB), other = fixture_digest(2, BLOB);
    size_t before = open_descriptors();
    assert_int_equal(store_pin(f->store, &d, 1, &a), 0);
    assert_int_equal(store_pin(f->store, &d, 2, &b), 0);
    assert_int_equal(open_descriptors(), before + 1);
    assert_int_equal(store_blob_fd(a), store_blob_fd(b));
    store_unpin(f->store, a);
    assert_int_equal(store_verify_fd(store_blob_fd(b), &d, BLOB, NULL, NULL), 0);
    store_unpin(f->store, b);
    assert_int_equal(open_descriptors(), before);
    assert_int_equal(store_pin(f->store, &other, 1, &a), ERR_NOTFOUND);
    assert_int_equal(store_remove(f->store, &other), ERR_NOTFOUND);
    struct blob_info info;
    assert_int_equal(store_lookup(f->store, &other, &info), ERR_NOTFOUND);
}

/* Readers of a removed blob finish; its bytes count until then; its name is free at once. */
static void removed_under_readers(void **state)
{
    struct fixture *f = *state;
    struct store_blob *old, *old_too, *new;
    char path[400];
    fixture_open(f);
    struct digest d = fixture_put(f, 1, BLOB);
    fixture_blob_path(f, &d, path);
    assert_int_equal(store_pin(f->store, &d, 1, &old), 0);
    assert_int_equal(store_pin(f->store, &d, 1, &old_too), 0);
    assert_int_equal(store_remove(f->store, &d), 0);
    assert_false(fixture_exists(path));
    assert_false(fixture_held(f, &d));
    assert_int_equal(store_remove(f->store, &d), ERR_NOTFOUND);
    assert_int_equal(fixture_stats(f).blobs, 0);
    assert_int_equal(fixture_stats(f).used_bytes, space_rounded(BLOB));

    fixture_put(f, 1, BLOB);
    assert_int_equal(fixture_stats(f).used_bytes, 2 * space_rounded(BLOB));
    assert_int_equal(store_pin(f->store, &d, 1, &new), 0);
    assert_ptr_not_equal(new, old);
    assert_int_equal(store_verify_fd(store_blob_fd(old), &d, BLOB, NULL, NULL), 0);
    store_unpin(f->store, old);
    assert_int_equal(fixture_stats(f).used_bytes, 2 * space_rounded(BLOB));
    store_unpin(f->store, old_too);
    assert_int_equal(fixture_stats(f).used_bytes, space_rounded(BLOB));
    store_unpin(f->store, new);
    fixture_check(f, 1, BLOB);
}

/* The room that readers of removed blobs hold is not given away. */
static void ghosts_hold_room(void **state)
{
    struct fixture *f = *state;
    struct store_blob *b;
    struct store_ingest *i;
    f->capacity = 2 * space_rounded(BLOB);
    fixture_open(f);
    struct digest d = fixture_put(f, 1, BLOB);
    fixture_put(f, 2, BLOB);
    assert_int_equal(store_pin(f->store, &d, 1, &b), 0);
    assert_int_equal(store_remove(f->store, &d), 0);
    assert_int_equal(fixture_begin(f, 3, 2 * BLOB, &i), ERR_FULL);
    assert_int_equal(fixture_stats(f).blobs, 1);
    store_unpin(f->store, b);
    fixture_put(f, 3, 2 * BLOB);
    assert_int_equal(fixture_stats(f).used_bytes, space_rounded(2 * BLOB));
}

/* The descriptors of large removed files are closed by store_sync, or with the store. */
static void large_files_go_later(void **state)
{
    struct fixture *f = *state;
    struct store_blob *b;
    struct store_ingest *i;
    f->capacity = 64 << 20;
    fixture_open(f);
    size_t before = open_descriptors();
    struct digest d1 = fixture_put(f, 1, LARGE), d2 = fixture_put(f, 2, LARGE);
    assert_int_equal(store_pin(f->store, &d2, 1, &b), 0);
    assert_int_equal(store_remove(f->store, &d1), 0);
    assert_int_equal(store_remove(f->store, &d2), 0);
    assert_int_equal(fixture_begin(f, 3, LARGE, &i), 0);
    fixture_feed(i, 3, LARGE, 0, LARGE);
    store_ingest_drop(i);
    assert_int_equal(open_descriptors(), before + 3); /* 1, the pin on 2, 3 */
    store_unpin(f->store, b);
    assert_int_equal(open_descriptors(), before + 3);
    assert_int_equal(fixture_stats(f).used_bytes, 0);
    assert_int_equal(fixture_disk(f), 0);
    store_sync(f->store);
    assert_int_equal(open_descriptors(), before);

    struct digest d4 = fixture_put(f, 4, LARGE);
    assert_int_equal(store_remove(f->store, &d4), 0);
    assert_int_equal(open_descriptors(), before + 1);
}

/* Somebody took the file away, cut it, or put something else there. */
static void vanished(void **state)
{
    struct fixture *f = *state;
    struct store_blob *b;
    fixture_open(f);
    for (unsigned fault = 0; fault < 3; fault++) {
        char path[400];
        struct digest d = fixture_put(f, 10 + fault, BLOB);
        fixture_blob_path(f, &d, path);
        if (fault == 0)
            assert_int_equal(unlink(path), 0);
        else if (fault == 1)
            assert_int_equal(truncate(path, BLOB - 1), 0);
        else
            assert_true(unlink(path) == 0 && mkfifo(path, 0600) == 0);
        if (fault < 2) {
            assert_int_equal(store_pin(f->store, &d, 1, &b), ERR_NOTFOUND);
            assert_false(fixture_held(f, &d));
            assert_false(fixture_exists(path));
            assert_int_equal(fixture_stats(f).used_bytes, 0);
            fixture_put(f, 10 + fault, BLOB); /* and it may come in again */
            fixture_check(f, 10 + fault, BLOB);
            assert_int_equal(store_remove(f->store, &d), 0);
        } else {
            assert_int_equal(store_remove(f->store, &d), 0);
            assert_false(fixture_exists(path));
        }
    }
}

/* A link in place of a blob is never followed. */
static void links_are_not_followed(void **state)
{
    struct fixture *f = *state;
    struct store_blob *b;
    char path[400], elsewhere[128];
    fixture_open(f);
    struct digest d = fixture_put(f, 1, BLOB);
    fixture_blob_path(f, &d, path);
    snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", f->dir);
    assert_int_equal(rename(path, elsewhere), 0);
    assert_int_equal(symlink(elsewhere, path), 0);
    assert_true(store_pin(f->store, &d, 1, &b) < 0);
    assert_int_equal(store_remove(f->store, &d), 0);
    assert_true(fixture_exists(elsewhere));
}

static void access_times(void **state)
{
    struct fixture *f = *state;
    struct store_blob *b;
    struct blob_info info;
    fixture_open(f);
    struct digest d = fixture_put(f, 1, BLOB);
    assert_int_equal(store_lookup(f->store, &d, &info), 0); /* is not a use */
    assert_int_equal(info.used_ms, f->now_ms);
    assert_int_equal(store_pin(f->store, &d, 77777, &b), 0);
    store_unpin(f->store, b);
    assert_int_equal(store_lookup(f->store, &d, &info), 0);
    assert_int_equal(info.used_ms, 77777);
    store_tick(f->store, 77778);
    fixture_kill(f); /* what a tick wrote survives */
    fixture_open(f);
    assert_int_equal(store_lookup(f->store, &d, &info), 0);
    assert_int_equal(info.used_ms, 77777);
    assert_int_equal(info.stored_ms, 1000);
    assert_string_equal(info.media_type, FIXTURE_MEDIA);
}

struct walk {
    u64 count, stop_after, used_ms;
};

static bool walk_each(void *arg, const struct blob_info *b)
{
    struct walk *w = arg;
    w->used_ms += b->used_ms;
    return ++w->count != w->stop_after;
}

static void each(void **state)
{
    struct fixture *f = *state;
    struct store_blob *b;
    struct walk w = {0};
    fixture_open(f);
    struct digest d[5];
    for (unsigned n = 0; n < 5; n++)
        d[n] = fixture_put(f, n, 100);
    assert_int_equal(store_pin(f->store, &d[2], 5000, &b), 0);
    store_unpin(f->store, b);
    assert_int_equal(store_remove(f->store, &d[4]), 0);
    store_each(f->store, walk_each, &w);
    assert_int_equal(w.count, 4);
    assert_int_equal(w.used_ms, 3 * 1000 + 5000); /* what waits to be written counts */
    w = (struct walk){.stop_after = 2};
    store_each(f->store, walk_each, &w);
    assert_int_equal(w.count, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(pins_share),       FIXTURE_TEST(removed_under_readers),
        FIXTURE_TEST(ghosts_hold_room), FIXTURE_TEST(large_files_go_later),
        FIXTURE_TEST(vanished),         FIXTURE_TEST(links_are_not_followed),
        FIXTURE_TEST(access_times),     FIXTURE_TEST(each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
