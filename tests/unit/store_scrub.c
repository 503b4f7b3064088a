/* store_scrub.c - tests of finding what the disk forgot. */
#include "store_fixture.h"

#define BLOB (3 * 1024 * 1024 + 17)

static void oldest_first(void **state)
{
    struct fixture *f = *state;
    struct blob_info info;
    struct store_blob *b;
    fixture_open(f);
    assert_int_equal(store_scrub_next(f->store, &info), ERR_NOTFOUND);
    struct digest d[3];
    for (unsigned n = 0; n < 3; n++, f->now_ms += 10)
        d[n] = fixture_put(f, n, 100);
    for (unsigned turn = 0; turn < 7; turn++, f->now_ms += 10) {
        assert_int_equal(store_scrub_next(f->store, &info), 0);
        assert_true(digest_equal(&info.digest, &d[turn % 3]));
        store_scrub_passed(f->store, &info.digest, f->now_ms);
        if (turn % 2)
            store_tick(f->store, f->now_ms);
    }
    /* That a blob is read all the time does not keep it from being scrubbed. */
    assert_int_equal(store_pin(f->store, &d[1], f->now_ms, &b), 0);
    store_unpin(f->store, b);
    assert_int_equal(store_scrub_next(f->store, &info), 0);
    assert_true(digest_equal(&info.digest, &d[1]));
    assert_int_equal(store_remove(f->store, &d[1]), 0);
    assert_int_equal(store_scrub_next(f->store, &info), 0);
    assert_true(digest_equal(&info.digest, &d[2]));
}

static bool count_pace(void *arg)
{
    return --*(int *)arg > 0;
}

static void verify(void **state)
{
    struct fixture *f = *state;
    struct store_blob *b;
    char path[400];
    int steps;
    f->capacity = 64 << 20;
    fixture_open(f);
    struct digest d = fixture_put(f, 1, BLOB), other = fixture_digest(2, 10);
    fixture_blob_path(f, &d, path);
    assert_int_equal(store_pin(f->store, &d, 1, &b), 0);
    int fd = store_blob_fd(b);
    steps = 100;
    assert_int_equal(store_verify_fd(fd, &d, BLOB, count_pace, &steps), 0);
    assert_int_equal(steps, 97); /* after each of three MiB */
    steps = 2;
    assert_int_equal(store_verify_fd(fd, &d, BLOB, count_pace, &steps), ERR_CANCELED);
    assert_int_equal(store_verify_fd(fd, &other, BLOB, NULL, NULL), ERR_CORRUPT);
    assert_int_equal(store_verify_fd(fd, &d, BLOB - 1, NULL, NULL), ERR_CORRUPT);
    assert_int_equal(store_verify_fd(-1, &d, BLOB, NULL, NULL), ERR_IO);

    /* Every kind of bit, at both ends and within. */
    static const off_t places[] = {0, 1, 65535, 65536, 1 << 20, BLOB - 1};
    int raw = open(path, O_RDWR);
    assert_true(raw >= 0);
    for (size_t i = 0; i < countof(places); i++) {
        u8 byte;
        assert_int_equal(pread(raw, &byte, 1, places[i]), 1);
        byte ^= (u8)(1u << i);
        assert_int_equal(pwrite(raw, &byte, 1, places[i]), 1);
        assert_int_equal(store_verify_fd(fd, &d, BLOB, NULL, NULL), ERR_CORRUPT);
        byte ^= (u8)(1u << i);
        assert_int_equal(pwrite(raw, &byte, 1, places[i]), 1);
    }
    assert_int_equal(store_verify_fd(fd, &d, BLOB, NULL, NULL), 0);
    assert_int_equal(ftruncate(raw, BLOB / 2), 0);
    assert_int_equal(store_verify_fd(fd, &d, BLOB, NULL, NULL), ERR_CORRUPT);
    close(raw);
    store_unpin(f->store, b);
}

/* A bad blob is removed and comes in anew while somebody still reads the bad one. */
static void heal(void **state)
{
    struct fixture *f = *state;
    struct store_blob *bad, *good;
    char path[400];
    fixture_open(f);
    struct digest d = fixture_put(f, 1, 5000);
    fixture_blob_path(f, &d, path);
    int raw = open(path, O_RDWR);
    assert_int_equal(pwrite(raw, "?", 1, 2500), 1);
    close(raw);
    assert_int_equal(store_pin(f->store, &d, 1, &bad), 0);
    assert_int_equal(store_verify_fd(store_blob_fd(bad), &d, 5000, NULL, NULL), ERR_CORRUPT);
    assert_int_equal(store_remove(f->store, &d), 0);
    fixture_put(f, 1, 5000);
    assert_int_equal(store_pin(f->store, &d, 1, &good), 0);
    assert_int_equal(store_verify_fd(store_blob_fd(good), &d, 5000, NULL, NULL), 0);
    store_unpin(f->store, bad);
    store_unpin(f->store, good);
}

/* Scrubbing takes in no more of a file than it read, and does not leave cold files in the cache:
 * whether the file system can tell is its own affair, so only the result is looked at. */
static void cold_file(void **state)
{
    struct fixture *f = *state;
    char path[128];
    snprintf(path, sizeof(path), "%s/file", f->dir);
    u8 *bytes = fixture_bytes(1, BLOB);
    fixture_write_file(path, bytes, BLOB);
    free(bytes);
    struct digest d = fixture_digest(1, BLOB);
    int fd = open(path, O_RDONLY);
    assert_int_equal(fsync(fd), 0);
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    assert_int_equal(store_verify_fd(fd, &d, BLOB, NULL, NULL), 0);
    assert_int_equal(store_verify_fd(fd, &d, BLOB, NULL, NULL), 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(oldest_first),
        FIXTURE_TEST(verify),
        FIXTURE_TEST(heal),
        FIXTURE_TEST(cold_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
