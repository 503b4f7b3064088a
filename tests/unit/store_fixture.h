/* store_fixture.h - what the store's tests share: a folder of their own, blobs by number, a look at
 * the disk behind the store's back.
 *
 * A test gets its folder in `*state`; the folder goes with the test. Blob number n of `len` bytes
 * is always the same bytes. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/store_state.h"
#include "tests/unit/remove_tree.h"

#define FIXTURE_KIB   1024ull
#define FIXTURE_MEDIA "application/vnd.oci.image.layer.v1.tar+gzip"

struct fixture {
    char dir[64];  /* removed afterwards */
    char path[96]; /* the store's, within dir */
    struct store *store;
    struct store_opened found;
    char why[256];
    const char *boot; /* for the next opening; "boot-1" at first */
    u64 capacity;
    u64 map_bytes;
    u64 now_ms;
};

static inline int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    snprintf(f->dir, sizeof(f->dir), "/tmp/dray-store-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/store", f->dir);
    f->boot = "boot-1";
    f->capacity = 1 << 20;
    f->now_ms = 1000;
    *state = f;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    if (f->store)
        store_close(f->store);
    assert_int_equal(remove_tree(f->dir), 0);
    free(f);
    return 0;
}

#define FIXTURE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

static inline int fixture_try_open(struct fixture *f)
{
    struct store_options opt = {
        .path = f->path, .capacity_bytes = f->capacity, .now_ms = f->now_ms};
    struct store_hooks hooks = {.boot_id = f->boot, .map_bytes = f->map_bytes};
    return store_open_hooked(&f->store, &opt, &hooks, &f->found, f->why);
}

static inline struct store *fixture_open(struct fixture *f)
{
    int rc = fixture_try_open(f);
    if (rc < 0)
        fail_msg("open: %s: %s", err_name(rc), f->why);
    return f->store;
}

static inline void fixture_close(struct fixture *f)
{
    store_close(f->store);
    f->store = NULL;
}

/* An orderly close, made to look like the process was killed: everything is there but the mark. */
static inline void fixture_kill(struct fixture *f)
{
    char clean[128];
    fixture_close(f);
    snprintf(clean, sizeof(clean), "%s/clean", f->path);
    assert_int_equal(unlink(clean), 0);
}

/* The bytes of blob `n`. The caller frees them. */
static inline u8 *fixture_bytes(unsigned n, size_t len)
{
    u8 *bytes = malloc(len + 1);
    assert_non_null(bytes);
    u64 x = n * 0x9e3779b97f4a7c15ull + 1;
    for (size_t i = 0; i < len; i++) {
        x = x * 6364136223846793005ull + 1442695040888963407ull;
        bytes[i] = (u8)(x >> 56);
    }
    return bytes;
}

static inline struct digest fixture_digest(unsigned n, size_t len)
{
    struct digest d;
    u8 *bytes = fixture_bytes(n, len);
    hash_bytes(DIGEST_SHA256, bytes, len, &d);
    free(bytes);
    return d;
}

static inline int fixture_begin(struct fixture *f, unsigned n, size_t len, struct store_ingest **i)
{
    struct store_ingest_options opt = {.digest = fixture_digest(n, len),
                                       .size = len,
                                       .media_type = FIXTURE_MEDIA,
                                       .source = "dtr.example.org web/ui",
                                       .now_ms = f->now_ms};
    return store_ingest_begin(f->store, &opt, i);
}

/* Writes and hashes bytes `from` to `to` of blob `n`. */
static inline void fixture_feed(struct store_ingest *i, unsigned n, size_t len, size_t from,
                                size_t to)
{
    u8 *bytes = fixture_bytes(n, len);
    assert_int_equal(store_ingest_written(i), from);
    assert_int_equal(store_ingest_write(i, bytes + from, to - from), 0);
    if (store_ingest_hashed(i) == from)
        store_ingest_hash(i, bytes + from, to - from);
    free(bytes);
}

/* The whole way in, at time now_ms. */
static inline struct digest fixture_put(struct fixture *f, unsigned n, size_t len)
{
    struct store_ingest *i;
    assert_int_equal(fixture_begin(f, n, len, &i), 0);
    struct digest d = i->digest;
    fixture_feed(i, n, len, 0, len);
    assert_int_equal(store_ingest_seal(i), 0);
    assert_int_equal(store_ingest_commit(i, f->now_ms, NULL), 0);
    return d;
}

static inline void fixture_blob_path(const struct fixture *f, const struct digest *d,
                                     char path[400])
{
    char name[LAYOUT_NAME_SIZE];
    layout_blob_name(d, name);
    snprintf(path, 400, "%s/blobs/%s/%s", f->path, digest_alg_name(d->alg), name);
}

static inline bool fixture_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static inline void fixture_write_file(const char *path, const void *data, size_t len)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static inline bool fixture_held(struct fixture *f, const struct digest *d)
{
    struct blob_info info;
    int rc = store_lookup(f->store, d, &info);
    assert_true(rc == 0 || rc == ERR_NOTFOUND);
    return rc == 0;
}

/* Is blob `n` held, readable, and right to the last byte? */
static inline void fixture_check(struct fixture *f, unsigned n, size_t len)
{
    struct digest d = fixture_digest(n, len);
    struct store_blob *b;
    assert_int_equal(store_pin(f->store, &d, f->now_ms, &b), 0);
    assert_int_equal(store_blob_size(b), len);
    assert_int_equal(store_verify_fd(store_blob_fd(b), &d, len, NULL, NULL), 0);
    store_unpin(f->store, b);
}

/* What is on the disk, each file rounded up: must be what the store counts. */
static u64 fixture_disk_bytes;

static inline int fixture_disk_add(const char *path, const struct stat *st, int type,
                                   struct FTW *where)
{
    (void)where;
    if (type == FTW_F && (strstr(path, "/blobs/") || strstr(path, "/ingest/")))
        fixture_disk_bytes += space_rounded((u64)st->st_size);
    return 0;
}

static inline u64 fixture_disk(const struct fixture *f)
{
    fixture_disk_bytes = 0;
    assert_int_equal(nftw(f->path, fixture_disk_add, 16, FTW_PHYS), 0);
    return fixture_disk_bytes;
}

static inline struct store_stats fixture_stats(const struct fixture *f)
{
    struct store_stats stats;
    store_stats(f->store, &stats);
    assert_true(stats.used_bytes <= stats.capacity_bytes);
    return stats;
}
