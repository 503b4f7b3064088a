/* store_ingest.c - tests of blobs on their way in: verified or absent, whatever is tried. */
#include "store_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#define BLOB 100000

static void whole_way(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    struct store_blob *b;
    struct blob_info info;
    fixture_open(f);
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), 0);
    struct digest d = i->digest;
    fixture_feed(i, 1, BLOB, 0, 70000);
    assert_false(fixture_held(f, &d));
    fixture_feed(i, 1, BLOB, 70000, BLOB);
    assert_int_equal(store_ingest_verify(i), 0);
    assert_int_equal(store_ingest_seal(i), 0);
    assert_false(fixture_held(f, &d)); /* not before it is committed */
    f->now_ms = 5000;
    assert_int_equal(store_ingest_commit(i, f->now_ms, &b), 0);

    assert_int_equal(store_blob_size(b), BLOB);
    assert_string_equal(store_blob_media_type(b), FIXTURE_MEDIA);
    assert_int_equal(store_verify_fd(store_blob_fd(b), &d, BLOB, NULL, NULL), 0);
    assert_int_equal(store_lookup(f->store, &d, &info), 0);
    assert_int_equal(info.size, BLOB);
    assert_int_equal(info.stored_ms, 5000);
    assert_int_equal(info.used_ms, 5000);
    assert_int_equal(info.scrubbed_ms, 5000);
    assert_string_equal(info.media_type, FIXTURE_MEDIA);
    assert_string_equal(info.source, "dtr.example.org web/ui");
    store_unpin(f->store, b);

    char path[400];
    struct stat st;
    fixture_blob_path(f, &d, path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0444);
    assert_int_equal(fixture_stats(f).used_bytes, fixture_disk(f));
    assert_int_equal(fixture_stats(f).partial_bytes, 0);
}

static void empty_and_sha512(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    fixture_open(f);
    fixture_put(f, 1, 0);
    fixture_check(f, 1, 0);

    u8 *bytes = fixture_bytes(2, BLOB);
    struct store_ingest_options opt = {.size = STORE_SIZE_UNKNOWN};
    hash_bytes(DIGEST_SHA512, bytes, BLOB, &opt.digest);
    assert_int_equal(store_ingest_begin(f->store, &opt, &i), 0);
    assert_int_equal(store_ingest_reserve(i, BLOB), 0);
    assert_int_equal(store_ingest_write(i, bytes, BLOB), 0);
    store_ingest_hash(i, bytes, BLOB);
    assert_int_equal(store_ingest_seal(i), 0);
    assert_int_equal(store_ingest_commit(i, 1, NULL), 0);
    free(bytes);
    fixture_close(f);
    fixture_open(f);
    assert_true(fixture_held(f, &opt.digest));
    assert_int_equal(f->found.blobs, 2);
}

static void unverified_is_refused(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    fixture_open(f);
    struct digest d = fixture_digest(1, BLOB);
    char path[400];
    fixture_blob_path(f, &d, path);

    /* Nothing hashed; the prefix only; one byte wrong; right bytes and one more. */
    u8 *bytes = fixture_bytes(1, BLOB);
    for (int fault = 0; fault < 4; fault++) {
        struct store_ingest_options opt = {.digest = d, .size = BLOB + 1};
        assert_int_equal(store_ingest_begin(f->store, &opt, &i), 0);
        if (fault == 2)
            bytes[BLOB / 2] ^= 1;
        assert_int_equal(store_ingest_write(i, bytes, BLOB), 0);
        if (fault > 0)
            store_ingest_hash(i, bytes, fault == 1 ? BLOB - 1 : BLOB);
        if (fault == 2)
            bytes[BLOB / 2] ^= 1;
        if (fault == 3) {
            assert_int_equal(store_ingest_write(i, "x", 1), 0);
            store_ingest_hash(i, "x", 1);
        }
        assert_int_equal(store_ingest_verify(i), ERR_CORRUPT);
        assert_int_equal(store_ingest_seal(i), ERR_CORRUPT);
        assert_false(fixture_exists(path));
        store_ingest_drop(i);
        assert_false(fixture_held(f, &d));
    }
    free(bytes);
    assert_int_equal(fixture_stats(f).used_bytes, 0);
    assert_int_equal(fixture_disk(f), 0);
}

/* Bytes that were written but never hashed do not pass because the hash saw others in their place.
 */
static void hash_without_write(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    fixture_open(f);
    u8 *bytes = fixture_bytes(1, BLOB);
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), 0);
    store_ingest_hash(i, bytes, BLOB);
    assert_int_equal(store_ingest_write(i, bytes, BLOB - 1), 0);
    assert_int_equal(store_ingest_seal(i), ERR_CORRUPT);
    store_ingest_drop(i);
    free(bytes);
}

static void beginnings_refused(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i, *again;
    fixture_open(f);
    fixture_put(f, 1, BLOB);
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), ERR_EXISTS);
    assert_int_equal(fixture_begin(f, 2, BLOB, &i), 0);
    assert_int_equal(fixture_begin(f, 2, BLOB, &again), ERR_BUSY);
    store_ingest_drop(i);
    assert_int_equal(fixture_begin(f, 2, BLOB, &i), 0);
    store_ingest_drop(i);
}

static void no_more_than_reserved(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    fixture_open(f);
    assert_int_equal(fixture_begin(f, 1, 1000, &i), 0);
    u8 *bytes = fixture_bytes(1, 1000);
    assert_int_equal(store_ingest_write(i, bytes, 999), 0);
    assert_int_equal(store_ingest_write(i, bytes, 2), ERR_TOOBIG);
    assert_int_equal(store_ingest_write(i, bytes, SIZE_MAX), ERR_TOOBIG);
    assert_int_equal(store_ingest_written(i), 999);
    store_ingest_drop(i);

    /* Of unknown size: nothing before it was promised, and no promise beyond the capacity. */
    struct store_ingest_options opt = {.digest = fixture_digest(1, 1000),
                                       .size = STORE_SIZE_UNKNOWN};
    assert_int_equal(store_ingest_begin(f->store, &opt, &i), 0);
    assert_int_equal(store_ingest_write(i, bytes, 1), ERR_TOOBIG);
    assert_int_equal(store_ingest_reserve(i, f->capacity + 1), ERR_FULL);
    assert_int_equal(store_ingest_reserve(i, UINT64_MAX), ERR_FULL);
    assert_int_equal(store_ingest_reserve(i, 500), 0);
    assert_int_equal(store_ingest_write(i, bytes, 500), 0);
    assert_int_equal(store_ingest_reserve(i, 100), 0); /* less than before is no change */
    assert_int_equal(store_ingest_reserve(i, 1000), 0);
    assert_int_equal(store_ingest_write(i, bytes + 500, 500), 0);
    store_ingest_hash(i, bytes, 1000);
    assert_int_equal(store_ingest_seal(i), 0);
    assert_int_equal(store_ingest_commit(i, 1, NULL), 0);
    free(bytes);
    assert_int_equal(fixture_stats(f).used_bytes, 4096);
    fixture_check(f, 1, 1000);
}

static void resume(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    fixture_open(f);
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), 0);
    fixture_feed(i, 1, BLOB, 0, 60000);
    store_ingest_keep(i);
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(f->found.partials, 1);
    assert_int_equal(f->found.partial_bytes, 60000);
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), 0);
    assert_int_equal(store_ingest_written(i), 60000);
    assert_int_equal(store_ingest_hashed(i), 0);
    fixture_feed(i, 1, BLOB, 60000, BLOB);
    assert_int_equal(store_ingest_seal(i), ERR_CORRUPT); /* a prefix is never trusted */
    assert_int_equal(store_ingest_hash_file(i, 1234), 0);
    assert_int_equal(store_ingest_hashed(i), 1234);
    assert_int_equal(store_ingest_hash_file(i, BLOB), 0);
    assert_int_equal(store_ingest_seal(i), 0);
    assert_int_equal(store_ingest_commit(i, 1, NULL), 0);
    fixture_check(f, 1, BLOB);
    assert_int_equal(fixture_stats(f).used_bytes, fixture_disk(f));
}

/* A partial that someone changed while nobody looked ends in a refusal, not in a blob. */
static void resume_of_wrong_bytes(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    char path[400], name[LAYOUT_NAME_SIZE];
    fixture_open(f);
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), 0);
    fixture_feed(i, 1, BLOB, 0, 60000);
    layout_partial_name(&i->digest, name);
    snprintf(path, sizeof(path), "%s/ingest/%s", f->path, name);
    store_ingest_keep(i);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "?", 1, 100), 1);
    assert_int_equal(close(fd), 0);
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), 0);
    fixture_feed(i, 1, BLOB, 60000, BLOB);
    assert_int_equal(store_ingest_hash_file(i, BLOB), 0);
    assert_int_equal(store_ingest_seal(i), ERR_CORRUPT);
    store_ingest_drop(i);
    assert_false(fixture_exists(path));

    /* Of another length than it was left: begun anew. */
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), 0);
    fixture_feed(i, 1, BLOB, 0, 60000);
    store_ingest_keep(i);
    assert_int_equal(truncate(path, 70000), 0);
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), 0);
    assert_int_equal(store_ingest_written(i), 0);
    store_ingest_drop(i);

    /* Longer than the whole is said to be: begun anew as well. */
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), 0);
    fixture_feed(i, 1, BLOB, 0, 60000);
    store_ingest_keep(i);
    struct store_ingest_options opt = {.digest = fixture_digest(1, BLOB), .size = 50000};
    assert_int_equal(store_ingest_begin(f->store, &opt, &i), 0);
    assert_int_equal(store_ingest_written(i), 0);
    store_ingest_drop(i);
    assert_int_equal(fixture_stats(f).used_bytes, 0);
}

static void keep_of_nothing_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    fixture_open(f);
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), 0);
    store_ingest_keep(i);
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(f->found.partials, 0);
    assert_int_equal(f->found.garbage_removed, 0);
}

/* Sealed but never committed: kept means held, dropped means gone. */
static void after_the_seal(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    fixture_open(f);
    for (unsigned n = 1; n <= 2; n++) {
        assert_int_equal(fixture_begin(f, n, BLOB, &i), 0);
        fixture_feed(i, n, BLOB, 0, BLOB);
        assert_int_equal(store_ingest_seal(i), 0);
        if (n == 1)
            store_ingest_keep(i);
        else
            store_ingest_drop(i);
    }
    fixture_check(f, 1, BLOB);
    struct digest d = fixture_digest(2, BLOB);
    assert_false(fixture_held(f, &d));
    assert_int_equal(fixture_stats(f).used_bytes, fixture_disk(f));
}

/* A write that fails half way leaves written() and the file where they were. */
static void failed_write(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    struct rlimit was, small;
    struct stat st;
    fixture_open(f);
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), 0);
    fixture_feed(i, 1, BLOB, 0, 10000);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    small = was;
    small.rlim_cur = 50000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    u8 *bytes = fixture_bytes(1, BLOB);
    int rc = store_ingest_write(i, bytes + 10000, BLOB - 10000);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(rc, ERR_IO);
    assert_int_equal(store_ingest_written(i), 10000);
    assert_int_equal(fstat(store_ingest_fd(i), &st), 0);
    assert_int_equal(st.st_size, 10000);
    free(bytes);
    fixture_feed(i, 1, BLOB, 10000, BLOB); /* and it goes on from there */
    assert_int_equal(store_ingest_seal(i), 0);
    assert_int_equal(store_ingest_commit(i, 1, NULL), 0);
    fixture_check(f, 1, BLOB);
}

/* Out of descriptors: a clear answer, and nothing is lost. */
static void no_descriptors(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i, *running;
    struct store_blob *b;
    struct rlimit was, none;
    fixture_open(f);
    struct digest d = fixture_put(f, 1, BLOB);
    assert_int_equal(fixture_begin(f, 2, BLOB, &running), 0);
    fixture_feed(running, 2, BLOB, 0, BLOB);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    none = was;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int pinned = store_pin(f->store, &d, 1, &b);
    int begun = fixture_begin(f, 3, BLOB, &i);
    int sealed = store_ingest_seal(running);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    assert_int_equal(pinned, ERR_FULL);
    assert_int_equal(begun, ERR_FULL);
    assert_int_equal(sealed, ERR_FULL);
    assert_int_equal(store_ingest_seal(running), 0); /* that was not the file's fault */
    assert_int_equal(store_ingest_commit(running, 1, NULL), 0);
    fixture_check(f, 1, BLOB);
    fixture_check(f, 2, BLOB);
}

static void hostile_words(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    struct blob_info info;
    char longest[STORE_SOURCE_MAX + 100];
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    fixture_open(f);
    struct store_ingest_options opt = {
        .digest = fixture_digest(1, 0), .size = 0, .media_type = longest, .source = longest};
    assert_int_equal(store_ingest_begin(f->store, &opt, &i), 0);
    assert_int_equal(store_ingest_seal(i), 0);
    assert_int_equal(store_ingest_commit(i, 1, NULL), 0);
    assert_int_equal(store_lookup(f->store, &opt.digest, &info), 0);
    assert_string_equal(info.media_type, "");
    assert_int_equal(strlen(info.source), STORE_SOURCE_MAX);
}

/* One thread writes, one hashes, the loop looks on. */
struct threads {
    struct store_ingest *ingest;
    const u8 *bytes;
    size_t len;
};

static void *write_thread(void *arg)
{
    struct threads *t = arg;
    for (size_t at = 0; at < t->len; at += 4000)
        if (store_ingest_write(t->ingest, t->bytes + at, 4000) < 0)
            return t;
    return NULL;
}

static void *hash_thread(void *arg)
{
    struct threads *t = arg;
    for (size_t at = 0; at < t->len; at += 4000)
        store_ingest_hash(t->ingest, t->bytes + at, 4000);
    return NULL;
}

static void two_threads(void **state)
{
    struct fixture *f = *state;
    struct threads t = {.len = 800000};
    pthread_t writer, hasher;
    void *failed;
    fixture_open(f);
    t.bytes = fixture_bytes(1, t.len);
    assert_int_equal(fixture_begin(f, 1, t.len, &t.ingest), 0);
    assert_int_equal(pthread_create(&writer, NULL, write_thread, &t), 0);
    assert_int_equal(pthread_create(&hasher, NULL, hash_thread, &t), 0);
    u8 *seen = malloc(t.len);
    for (u64 at = 0; at < t.len;) {
        u64 written = store_ingest_written(t.ingest);
        assert_true(written >= at && written <= t.len);
        assert_int_equal(pread(store_ingest_fd(t.ingest), seen, written - at, (off_t)at),
                         written - at);
        assert_memory_equal(seen, t.bytes + at, written - at);
        assert_true(store_ingest_hashed(t.ingest) <= t.len);
        fixture_stats(f);
        at = written;
    }
    pthread_join(writer, &failed);
    assert_null(failed);
    pthread_join(hasher, &failed);
    free(seen);
    assert_int_equal(store_ingest_seal(t.ingest), 0);
    assert_int_equal(store_ingest_commit(t.ingest, 1, NULL), 0);
    fixture_check(f, 1, t.len);
    free((void *)(uintptr_t)t.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(whole_way),
        FIXTURE_TEST(empty_and_sha512),
        FIXTURE_TEST(unverified_is_refused),
        FIXTURE_TEST(hash_without_write),
        FIXTURE_TEST(beginnings_refused),
        FIXTURE_TEST(no_more_than_reserved),
        FIXTURE_TEST(resume),
        FIXTURE_TEST(resume_of_wrong_bytes),
        FIXTURE_TEST(keep_of_nothing_leaves_nothing),
        FIXTURE_TEST(after_the_seal),
        FIXTURE_TEST(failed_write),
        FIXTURE_TEST(no_descriptors),
        FIXTURE_TEST(hostile_words),
        FIXTURE_TEST(two_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
