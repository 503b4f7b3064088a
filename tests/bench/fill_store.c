/* fill_store.c - dray-fill-store: makes a store of many tiny blobs, to measure a node that holds
 * them.
 *
 * Why: an index of 100,000 blobs through a registry takes many minutes; through the store's own
 * interface, a few seconds. Every blob goes the whole way: begin, write, hash, verify, seal,
 * commit.
 *
 * Guarantee: afterwards the store was closed in order and holds exactly the blobs asked for, of
 * distinct contents. Not guaranteed: that they outlive a power cut. fsync is made to do nothing in
 * this program, since two for each blob would be most of its time and the store is thrown away. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/limits.h"
#include "store/hash.h"
#include "store/store.h"

#define TINY_BYTES 64

/* These stand before libc's for everything linked into this program. */
int fsync(int fd)
{
    (void)fd;
    return 0;
}

int fdatasync(int fd)
{
    (void)fd;
    return 0;
}

static u64 wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (u64)t.tv_sec * 1000 + (u64)t.tv_nsec / 1000000;
}

static int fill_one(struct store *s, unsigned long n)
{
    char text[TINY_BYTES + 1];
    int len = snprintf(text, sizeof(text), "tiny blob %050lu\n", n);
    assert(len > 0 && len < (int)sizeof(text));
    struct store_ingest_options opt = {.size = (u64)len,
                                       .media_type = "application/vnd.oci.image.layer.v1.tar",
                                       .source = "bench team/tiny",
                                       .now_ms = wall_ms()};
    hash_bytes(DIGEST_SHA256, text, (size_t)len, &opt.digest);
    struct store_ingest *i = NULL;
    int err = store_ingest_begin(s, &opt, &i);
    if (err)
        return err;
    err = store_ingest_write(i, text, (size_t)len);
    if (!err) {
        store_ingest_hash(i, text, (size_t)len);
        err = store_ingest_verify(i);
    }
    if (!err)
        err = store_ingest_seal(i);
    if (err) {
        store_ingest_drop(i);
        return err;
    }
    return store_ingest_commit(i, opt.now_ms, NULL);
}

int main(int argc, char **argv)
{
    char *end = NULL;
    unsigned long count = argc == 3 ? strtoul(argv[2], &end, 10) : 0;
    if (!count || *end) {
        fputs("usage: dray-fill-store PATH COUNT\n", stderr);
        return 2;
    }
    struct store *s = NULL;
    struct store_opened found = {0};
    struct store_options opt = {.path = argv[1], .capacity_bytes = 100 * GIB, .now_ms = wall_ms()};
    char why[256] = "";
    int err = store_open(&s, &opt, &found, why);
    if (err) {
        fprintf(stderr, "dray-fill-store: %s: %s: %s\n", argv[1], err_text(err), why);
        return 1;
    }
    unsigned long n = 0;
    for (; n < count && !err; n++) {
        err = fill_one(s, n);
        if (n % 1000 == 999)
            store_tick(s, wall_ms());
    }
    struct store_stats stats;
    store_stats(s, &stats);
    store_close(s);
    if (err) {
        fprintf(stderr, "dray-fill-store: blob %lu: %s\n", n - 1, err_text(err));
        return 1;
    }
    printf("%llu\n", (unsigned long long)stats.blobs);
    return stats.blobs == found.blobs + count ? 0 : 1;
}
