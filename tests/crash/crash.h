/* crash.h - what the crash tests share: blobs by number, checks that say where and when, a folder.
 *
 * Blob number n is always the same bytes, so that whoever survives knows what should be there. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/hash.h"
#include "store/store_state.h"
#include "tests/unit/remove_tree.h"

#define CRASH_BLOBS     120
#define CRASH_BYTES_MAX (200 * 1024)

static u8 crash_bytes[CRASH_BLOBS][CRASH_BYTES_MAX];
static u32 crash_size[CRASH_BLOBS];
static struct digest crash_digest[CRASH_BLOBS];
static char crash_dir[64];
static char crash_when[128]; /* what is printed with a failure: the round, the seed */

static inline u64 crash_random(u64 *state)
{
    /* splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014 */
    u64 x = *state += 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static inline void crash_check(bool ok, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Ends the process when `ok` is not true. */
static inline void crash_check(bool ok, const char *format, ...)
{
    if (ok)
        return;
    va_list args;
    va_start(args, format);
    fprintf(stderr, "FAILED (%s): ", crash_when);
    vfprintf(stderr, format, args);
    fprintf(stderr, "; the store is left in %s\n", crash_dir);
    va_end(args);
    _exit(1);
}

/* A third tiny, a third small, a third up to the maximum: and one empty. */
static inline void crash_make_blobs(void)
{
    for (unsigned n = 0; n < CRASH_BLOBS; n++) {
        u64 state = n;
        u64 limit = n % 3 == 0 ? 100 : n % 3 == 1 ? 20000 : CRASH_BYTES_MAX;
        crash_size[n] = n == 0 ? 0 : (u32)(1 + crash_random(&state) % limit);
        for (u32 i = 0; i < crash_size[n]; i++)
            crash_bytes[n][i] = (u8)crash_random(&state);
        hash_bytes(n % 4 ? DIGEST_SHA256 : DIGEST_SHA512, crash_bytes[n], crash_size[n],
                   &crash_digest[n]);
    }
}

/* Which blob a digest names; CRASH_BLOBS when none of ours. */
static inline unsigned crash_number(const struct digest *d)
{
    unsigned n = 0;
    while (n < CRASH_BLOBS && !digest_equal(d, &crash_digest[n]))
        n++;
    return n;
}

static inline void crash_make_dir(void)
{
    snprintf(crash_dir, sizeof(crash_dir), "/tmp/dray-crash-XXXXXX");
    crash_check(mkdtemp(crash_dir) != NULL, "mkdtemp: %s", strerror(errno));
}

static inline void crash_remove_dir(void)
{
    crash_check(remove_tree(crash_dir) == 0, "cannot clean up");
}

static u64 crash_disk_bytes;

static inline int crash_disk_add(const char *path, const struct stat *st, int type,
                                 struct FTW *where)
{
    (void)where;
    if (type == FTW_F && (strstr(path, "/blobs/") || strstr(path, "/ingest/")))
        crash_disk_bytes += space_rounded((u64)st->st_size);
    return 0;
}

/* What the store at `path` takes on the disk, as it counts. */
static inline u64 crash_disk(const char *path)
{
    crash_disk_bytes = 0;
    crash_check(nftw(path, crash_disk_add, 16, FTW_PHYS) == 0, "cannot walk %s", path);
    return crash_disk_bytes;
}

/* The bytes of a held blob, looked at through a pin. */
static inline void crash_verify(struct store *s, unsigned n)
{
    struct store_blob *b;
    int rc = store_pin(s, &crash_digest[n], 1, &b);
    crash_check(rc == 0, "blob %u: pin: %s", n, err_name(rc));
    crash_check(store_blob_size(b) == crash_size[n], "blob %u: size %llu", n,
                (unsigned long long)store_blob_size(b));
    rc = store_verify_fd(store_blob_fd(b), &crash_digest[n], crash_size[n], NULL, NULL);
    crash_check(rc == 0, "blob %u: %s", n, err_name(rc));
    store_unpin(s, b);
}
