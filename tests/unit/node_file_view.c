/* node_file_view.c - tests of node/file_view.h: right bytes from a hot file, a cold one, and where
 * the kernel cannot say which; the loop never waits. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/blob_body.h"
#include "node/file_view.h"
#include "proto/limits.h"
#include "runtime/clock.h"
#include "support/rig.h"

/* How the page cache behaves for the code under test, whose preadv2() this is. */
static enum { REAL, ALWAYS_COLD, UNSUPPORTED, INTERRUPTED, HALF } cache;
static unsigned peeks_hot;

ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
    static ssize_t (*real)(int, const struct iovec *, int, off_t, int);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "preadv2");
    if (cache == ALWAYS_COLD || cache == UNSUPPORTED) {
        errno = cache == ALWAYS_COLD ? EAGAIN : EOPNOTSUPP;
        return -1;
    }
    if (cache == INTERRUPTED) {
        cache = REAL;
        errno = EINTR;
        return -1;
    }
    peeks_hot++;
    if (cache == HALF) { /* the first page only */
        struct iovec first = {iov->iov_base, iov->iov_len < 4096 ? iov->iov_len : 4096};
        return real(fd, &first, 1, offset, flags);
    }
    return real(fd, iov, n, offset, flags);
}

static struct rig rig;
static struct layer content;
static int file;
static struct file_view *view;
static unsigned wakes;

static void on_wake(void *arg)
{
    (void)arg;
    wakes++;
}

static void open_file(const char *path)
{
    file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    assert_int_equal(write(file, content.data, content.len), content.len);
}

static void begin(size_t bytes)
{
    char path[128];
    cache = REAL;
    wakes = peeks_hot = 0;
    rig_open(&rig, 64 * MIB);
    layer_make(&content, bytes, 5);
    rig_path(&rig, "file", path);
    open_file(path);
    view = file_view_new(rig.disk, on_wake, NULL);
    assert_non_null(view);
}

static void finish(void)
{
    file_view_del(view);
    view = NULL;
    rig_close(&rig);
    close(file);
    layer_free(&content);
    cache = REAL;
}

static bool woken(void *arg)
{
    return wakes > *(const unsigned *)arg;
}

/* Peeks, waiting for wakes. */
static ssize_t peek(u64 offset, size_t max, const void **data)
{
    for (;;) {
        unsigned before = wakes;
        ssize_t n = file_view_peek(view, file, offset, max, data);
        if (n != ERR_AGAIN)
            return n;
        rig_wait(&rig, woken, &before);
    }
}

/* Reads from `at` to the end in steps that change, and compares. */
static void expect_all(u64 at)
{
    size_t step = 1;
    while (at < content.len) {
        const void *data;
        ssize_t n = peek(at, step, &data);
        assert_in_range(n, 1, step);
        assert_memory_equal(data, content.data + at, (size_t)n);
        at += (u64)n;
        step = step * 3 % 99991 + 1;
    }
    const void *data;
    assert_int_equal(peek(content.len, 100, &data), ERR_EOF);
}

static void test_hot(void **state)
{
    (void)state;
    const void *data;
    begin(3 * MIB + 77);
    expect_all(0);
    assert_int_equal(wakes, 0); /* nothing was cold */
    assert_int_equal(file_view_peek(view, file, 0, SIZE_MAX, &data), FILE_VIEW_CHUNK);
    assert_int_equal(file_view_peek(view, file, content.len - 5, 100, &data), 5);
    assert_int_equal(file_view_peek(view, file, content.len + 5, 100, &data), ERR_EOF);
    finish();
}

static void test_interrupted(void **state)
{
    (void)state;
    const void *data;
    begin(1000);
    cache = INTERRUPTED;
    assert_int_equal(file_view_peek(view, file, 0, 100, &data), 100);
    finish();
}

/* What was shown once is shown again, whatever the page cache has forgotten meanwhile. */
static void test_the_same_bytes_again(void **state)
{
    (void)state;
    const void *data;
    begin(200000);
    assert_int_equal(peek(1000, 50000, &data), 50000);
    cache = HALF;
    assert_int_equal(peek(1000, 100, &data), 100);
    assert_int_equal(peek(1000, 50000, &data), 4096); /* since less was asked for, and shown */
    cache = REAL;
    assert_int_equal(peek(1000, 50000, &data), 50000);
    cache = HALF;
    assert_int_equal(file_view_peek(view, file, 1000, 50000, &data), ERR_AGAIN);
    assert_int_equal(peek(1000, 50000, &data), 50000);
    assert_memory_equal(data, content.data + 1000, 50000);
    assert_int_equal(peek(199000, 50000, &data), 1000); /* the end is the end */
    assert_int_equal(peek(199000, 50000, &data), 1000);
    finish();
}

/* Out of the page cache, truly, where the file system does that. */
static void test_cold(void **state)
{
    (void)state;
    const void *data;
    begin(9 * MIB + 5);
    assert_int_equal(fsync(file), 0);
    assert_int_equal(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED), 0);
    /* Or somebody keeps it warm. */
    bool cold = file_view_peek(view, file, 0, 100, &data) == ERR_AGAIN;
    expect_all(0);
    rig_wait_idle(&rig);
    if (cold)
        assert_true(wakes > 0);
    expect_all(0); /* and again, warm */
    finish();
}

/* The cache forgets faster than we read: each window still brings us on. */
static void test_never_hot(void **state)
{
    (void)state;
    begin(700001);
    cache = ALWAYS_COLD;
    expect_all(0);
    assert_int_equal(peeks_hot, 0);
    expect_all(123456);
    finish();
}

static void test_cache_that_cannot_be_asked(void **state)
{
    (void)state;
    begin(700001);
    cache = UNSUPPORTED;
    expect_all(0); /* its end too is found, and does not spin */
    finish();
}

static void test_tmpfs(void **state)
{
    (void)state;
    char path[] = "/dev/shm/dray-unit-XXXXXX";
    int made = mkstemp(path);
    if (made < 0)
        skip();
    close(made);
    begin(3 * MIB);
    close(file);
    open_file(path);
    unlink(path);
    expect_all(0);
    finish();
}

/* A file that grows: what was not there when it was read ahead is read when it is. */
static void test_a_growing_file(void **state)
{
    (void)state;
    const void *data;
    begin(5 * MIB);
    u64 whole = content.len, some = 4 * MIB;
    assert_int_equal(ftruncate(file, (off_t)some), 0);
    cache = ALWAYS_COLD; /* one window is read, up to where the file ends now */
    assert_int_equal(peek(0, 100, &data), 100);
    cache = REAL;
    for (u64 at = 0; at < some; at += FILE_VIEW_CHUNK) /* the next one is read ahead: nothing */
        assert_int_equal(peek(at, FILE_VIEW_CHUNK, &data), FILE_VIEW_CHUNK);
    rig_wait_idle(&rig);
    assert_int_equal(pwrite(file, content.data + some, whole - some, (off_t)some), whole - some);
    cache = UNSUPPORTED;
    expect_all(some);
    finish();
}

static void test_read_errors(void **state)
{
    (void)state;
    const void *data;
    begin(10);
    int kept = file;
    file = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* a folder cannot be read */
    assert_true(file >= 0);
    assert_int_equal(peek(0, 100, &data), ERR_IO);
    cache = ALWAYS_COLD;
    assert_int_equal(peek(0, 100, &data), ERR_IO); /* found in the pool */
    close(file);
    file = kept;
    finish();
}

static void test_deleted_while_it_reads(void **state)
{
    (void)state;
    const void *data;
    begin(3 * MIB);
    cache = ALWAYS_COLD;
    assert_int_equal(file_view_peek(view, file, 0, 100, &data), ERR_AGAIN);
    file_view_del(view);
    file_view_del(NULL);
    view = NULL;
    close(file); /* the job has a descriptor of its own */
    file = -1;
    rig_wait_idle(&rig);
    assert_int_equal(wakes, 0);
    finish();
}

/* Once it was cold, and somebody else goes on from there, the next window is read meanwhile: after
 * the bytes that a peek may still show, and once. */
static void test_ahead_of_somebody_else(void **state)
{
    (void)state;
    const void *data;
    begin(9 * MIB);
    file_view_ahead(view, file, 0); /* nothing was cold: nothing to do */
    assert_int_equal(pool_pending(rig.disk), 0);
    cache = ALWAYS_COLD;
    assert_int_equal(peek(0, 100, &data), 100);
    file_view_ahead(view, file, 100);
    assert_int_equal(pool_pending(rig.disk), 0);
    assert_int_equal(peek(100, FILE_VIEW_CHUNK, &data), FILE_VIEW_CHUNK - 100);
    file_view_ahead(view, file, FILE_VIEW_CHUNK);
    assert_int_equal(pool_pending(rig.disk), 1);
    file_view_ahead(view, file, FILE_VIEW_CHUNK);
    rig_wait_idle(&rig);
    file_view_ahead(view, file, FILE_VIEW_CHUNK); /* not in the window read last */
    assert_int_equal(pool_pending(rig.disk), 0);
    unsigned before = wakes;
    assert_int_equal(file_view_peek(view, file, 4 * MIB, 100, &data), 100); /* it is there */
    assert_memory_equal(data, content.data + 4 * MIB, 100);
    assert_int_equal(wakes, before);
    expect_all(5 * MIB);
    finish();
}

/* --- a stored blob as an answer --------------------------------------------------------------- */

static void put_in_store(void)
{
    struct store_ingest *i;
    struct store_ingest_options opt = {
        .digest = content.digest, .size = content.len, .now_ms = wall_ms()};
    assert_int_equal(store_ingest_begin(rig.store, &opt, &i), 0);
    assert_int_equal(store_ingest_write(i, content.data, content.len), 0);
    store_ingest_hash(i, content.data, content.len);
    assert_int_equal(store_ingest_seal(i), 0);
    assert_int_equal(store_ingest_commit(i, wall_ms(), NULL), 0);
}

static struct body *body_of(u64 first, u64 end)
{
    struct store_blob *pin;
    assert_int_equal(store_pin(rig.store, &content.digest, wall_ms(), &pin), 0);
    struct body *b = blob_body(rig.store, pin, rig.disk, first, end, on_wake, NULL);
    assert_non_null(b);
    return b;
}

static void expect_body(u64 first, u64 end)
{
    struct body *b = body_of(first, end);
    u64 at = first;
    for (;;) {
        const void *data;
        unsigned before = wakes;
        ssize_t n = b->ops->peek(b, &data, 50000);
        if (n == ERR_AGAIN) {
            rig_wait(&rig, woken, &before);
            continue;
        }
        if (n == 0)
            break;
        assert_in_range(n, 1, 50000);
        assert_memory_equal(data, content.data + at, (size_t)n);
        size_t part = n > 1 ? (size_t)n - 1 : 1; /* not all of what was shown is sent */
        b->ops->advance(b, part);
        at += part;
    }
    assert_int_equal(at, end);
    b->ops->close(b);
}

static void test_a_blob_and_its_parts(void **state)
{
    (void)state;
    begin(300000);
    put_in_store();
    for (int i = 0; i < 2; i++) {
        cache = i ? ALWAYS_COLD : REAL;
        expect_body(0, content.len);
        expect_body(5, 6);
        expect_body(100, 100);
        expect_body(70000, 299999);
    }
    finish();
}

static void test_a_blob_outlives_its_eviction(void **state)
{
    (void)state;
    begin(300000);
    put_in_store();
    struct body *b = body_of(0, content.len);
    const void *data;
    assert_int_equal(store_remove(rig.store, &content.digest), 0);
    assert_true(b->ops->peek(b, &data, 1000) == 1000);
    assert_memory_equal(data, content.data, 1000);
    b->ops->close(b);
    finish();
}

static void test_a_blob_as_a_file(void **state)
{
    (void)state;
    int fd;
    u64 offset;
    u8 got[16];
    begin(300000);
    put_in_store();
    struct body *b = body_of(1000, 299000);
    for (int i = 0; i < 2; i++) { /* asking changes nothing */
        assert_int_equal(b->ops->run(b, &fd, &offset), 298000);
        assert_int_equal(offset, 1000);
        assert_int_equal(pread(fd, got, sizeof(got), (off_t)offset), sizeof(got));
        assert_memory_equal(got, content.data + 1000, sizeof(got));
    }
    b->ops->advance(b, 200000);
    assert_int_equal(b->ops->run(b, &fd, &offset), 98000); /* not beyond its part */
    assert_int_equal(offset, 201000);
    assert_int_equal(store_remove(rig.store, &content.digest), 0);
    assert_int_equal(pread(fd, got, sizeof(got), (off_t)offset), sizeof(got));
    assert_memory_equal(got, content.data + 201000, sizeof(got));
    b->ops->advance(b, 98000);
    assert_int_equal(b->ops->run(b, &fd, &offset), 0);
    b->ops->close(b);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hot),
        cmocka_unit_test(test_interrupted),
        cmocka_unit_test(test_the_same_bytes_again),
        cmocka_unit_test(test_cold),
        cmocka_unit_test(test_never_hot),
        cmocka_unit_test(test_cache_that_cannot_be_asked),
        cmocka_unit_test(test_tmpfs),
        cmocka_unit_test(test_a_growing_file),
        cmocka_unit_test(test_read_errors),
        cmocka_unit_test(test_deleted_while_it_reads),
        cmocka_unit_test(test_ahead_of_somebody_else),
        cmocka_unit_test(test_a_blob_and_its_parts),
        cmocka_unit_test(test_a_blob_outlives_its_eviction),
        cmocka_unit_test(test_a_blob_as_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
