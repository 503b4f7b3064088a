/* store_full.c - a full disk is not a failure: what is held is served, what comes in is refused or
 * makes room, and nothing is lost when there is space again.
 *
 * Needs a small file system of its own: a tmpfs in a private mount namespace. Where that is not
 * permitted (no root), the test reports itself as skipped. */
#include "crash.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#define FULL_DISK     "size=4m"
#define FULL_CAPACITY (64ull << 20) /* more than the disk: an operator's mistake */

static char store_path[96], ballast_path[96];
static u64 full_now_ms = 2000;

static bool full_mount(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", crash_dir, "tmpfs", 0, FULL_DISK) == 0;
}

static u64 full_free(void)
{
    struct statvfs vfs;
    crash_check(statvfs(crash_dir, &vfs) == 0, "statvfs");
    return (u64)vfs.f_bavail * vfs.f_frsize;
}

/* Somebody else fills the disk to its last byte. */
static void full_fill(void)
{
    static const u8 block[4096];
    int fd = open(ballast_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    crash_check(fd >= 0, "ballast: %s", strerror(errno));
    while (write(fd, block, sizeof(block)) == (ssize_t)sizeof(block))
        ;
    close(fd);
    crash_check(full_free() == 0, "the disk is not full");
}

static void full_release(void)
{
    crash_check(unlink(ballast_path) == 0, "ballast: %s", strerror(errno));
}

/* `boot` NULL: as it is. */
static struct store *full_open(struct store_opened *found, const char *boot)
{
    struct store *s;
    char why[256];
    struct store_options opt = {
        .path = store_path, .capacity_bytes = FULL_CAPACITY, .now_ms = 1000};
    struct store_hooks hooks = {.boot_id = boot};
    int rc = store_open_hooked(&s, &opt, &hooks, found, why);
    crash_check(rc == 0, "%s", why);
    return s;
}

static int full_begin(struct store *s, unsigned n, u64 size, struct store_ingest **i)
{
    struct store_ingest_options opt = {
        .digest = crash_digest[n], .size = size, .now_ms = full_now_ms++};
    return store_ingest_begin(s, &opt, i);
}

/* The whole way in. Any error ends it; the partial is dropped. */
static int full_put(struct store *s, unsigned n)
{
    struct store_ingest *i;
    int rc = full_begin(s, n, crash_size[n], &i);
    if (rc < 0)
        return rc;
    rc = store_ingest_write(i, crash_bytes[n], crash_size[n]);
    if (rc == 0) {
        store_ingest_hash(i, crash_bytes[n], crash_size[n]);
        rc = store_ingest_seal(i);
    }
    if (rc == 0)
        return store_ingest_commit(i, full_now_ms, NULL);
    store_ingest_drop(i);
    return rc;
}

static void full_check_all(struct store *s, u64 at_least)
{
    struct blob_info info;
    struct store_stats stats;
    u64 blobs = 0;
    for (unsigned n = 0; n < CRASH_BLOBS; n++) {
        if (store_lookup(s, &crash_digest[n], &info) < 0)
            continue;
        crash_verify(s, n);
        blobs++;
    }
    store_stats(s, &stats);
    crash_check(stats.blobs == blobs, "counted %llu blobs, there are %llu",
                (unsigned long long)stats.blobs, (unsigned long long)blobs);
    crash_check(blobs >= at_least, "only %llu blobs left", (unsigned long long)blobs);
    u64 disk = crash_disk(store_path);
    crash_check(stats.used_bytes == disk, "counted %llu bytes, on the disk %llu",
                (unsigned long long)stats.used_bytes, (unsigned long long)disk);
}

/* More blobs than the disk holds, though the capacity would permit them: the coldest go. */
static void capacity_beyond_the_disk(void)
{
    snprintf(crash_when, sizeof(crash_when), "capacity beyond the disk");
    struct store_opened found;
    struct store_ingest *i;
    struct store_stats stats;
    struct blob_info info;
    struct store *s = full_open(&found, NULL);
    for (unsigned n = 0; n < CRASH_BLOBS; n++) {
        int rc = full_put(s, n);
        crash_check(rc == 0, "blob %u: %s", n, err_name(rc));
    }
    store_stats(s, &stats);
    crash_check(stats.evicted_blobs > 0, "nothing had to go");
    crash_check(store_lookup(s, &crash_digest[0], &info) == ERR_NOTFOUND, "the coldest stayed");
    crash_check(store_lookup(s, &crash_digest[CRASH_BLOBS - 1], &info) == 0, "the hottest went");
    full_check_all(s, 10);
    /* What the disk can never hold is refused at once, and nothing goes for it. */
    u64 before = stats.evicted_blobs;
    int rc = full_begin(s, 0, 8 << 20, &i);
    crash_check(rc == ERR_NOSPACE, "8 MiB: %s", err_name(rc));
    store_stats(s, &stats);
    crash_check(stats.evicted_blobs == before, "evicted for nothing");
    store_close(s);
}

/* The disk fills in the middle of a write: the prefix is good, and goes on when there is space. */
static void full_while_writing(void)
{
    snprintf(crash_when, sizeof(crash_when), "full while writing");
    struct store_opened found;
    struct store_ingest *i;
    struct stat st;
    struct store *s = full_open(&found, NULL);
    unsigned n = 0;
    while (crash_size[n] < 150000)
        n++;
    struct blob_info info;
    if (store_lookup(s, &crash_digest[n], &info) == 0)
        crash_check(store_remove(s, &crash_digest[n]) == 0, "remove");
    crash_check(full_begin(s, n, crash_size[n], &i) == 0, "begin");
    crash_check(store_ingest_write(i, crash_bytes[n], 50001) == 0, "write");
    full_fill();
    int rc = store_ingest_write(i, crash_bytes[n] + 50001, crash_size[n] - 50001);
    crash_check(rc == ERR_NOSPACE, "write on a full disk: %s", err_name(rc));
    crash_check(store_ingest_written(i) == 50001, "written() moved");
    crash_check(fstat(store_ingest_fd(i), &st) == 0 && st.st_size == 50001, "the file moved");
    full_release();
    rc = store_ingest_write(i, crash_bytes[n] + 50001, crash_size[n] - 50001);
    crash_check(rc == 0, "write with space again: %s", err_name(rc));
    crash_check(store_ingest_hash_file(i, crash_size[n]) == 0, "hash");
    crash_check(store_ingest_seal(i) == 0, "seal");
    crash_check(store_ingest_commit(i, 3000, NULL) == 0, "commit");
    crash_verify(s, n);
    store_close(s);
}

/* Full to the last byte: reading, ticking, removing, closing and opening all go on. */
static void full_while_serving(void)
{
    snprintf(crash_when, sizeof(crash_when), "full while serving");
    struct store_opened found;
    struct store_stats stats;
    struct store *s = full_open(&found, NULL);
    u64 blobs = found.blobs;
    full_fill();
    full_check_all(s, blobs); /* pins: each notes a use */
    store_tick(s, 4000);
    store_sync(s);
    unsigned removed = 0;
    for (unsigned n = 0; n < CRASH_BLOBS && removed < 3; n++)
        removed += store_remove(s, &crash_digest[n]) == 0;
    crash_check(removed == 3, "could not remove");
    full_check_all(s, blobs - 3);
    /* With what was just freed, or by evicting, there may be room for a small one; or not. */
    for (unsigned n = 0; n < 20; n++) {
        int rc = full_put(s, n);
        crash_check(rc == 0 || rc == ERR_NOSPACE || rc == ERR_EXISTS, "blob %u: %s", n,
                    err_name(rc));
    }
    store_stats(s, &stats);
    full_check_all(s, 0);
    blobs = stats.blobs;
    store_close(s);

    s = full_open(&found, NULL);
    crash_check(found.blobs == blobs, "%llu of %llu blobs after opening on a full disk",
                (unsigned long long)found.blobs, (unsigned long long)blobs);
    full_check_all(s, blobs);
    store_close(s);
    full_release();
}

/* A power cut, and then no space for a new index: refused with the remedy, or opened; in no case is
 * a blob lost. */
static void full_while_rebuilding(void)
{
    snprintf(crash_when, sizeof(crash_when), "full while rebuilding");
    struct store_opened found;
    char clean[128], why[256];
    struct store *s = full_open(&found, NULL);
    u64 blobs = found.blobs;
    store_close(s);
    snprintf(clean, sizeof(clean), "%s/clean", store_path);
    crash_check(unlink(clean) == 0, "no clean mark");
    snprintf(clean, sizeof(clean), "%s/index/data.mdb", store_path);
    crash_check(unlink(clean) == 0, "no index");
    full_fill();
    struct store_options opt = {
        .path = store_path, .capacity_bytes = FULL_CAPACITY, .now_ms = 1000};
    struct store_hooks hooks = {.boot_id = "another boot"};
    int rc = store_open_hooked(&s, &opt, &hooks, &found, why);
    crash_check(rc == ERR_NOSPACE, "opened on a full disk: %s", err_name(rc));
    crash_check(strstr(why, "free some space") != NULL, "why: %s", why);
    full_release();
    s = full_open(&found, "another boot");
    crash_check(found.index_rebuilt && found.blobs == blobs, "%llu of %llu blobs",
                (unsigned long long)found.blobs, (unsigned long long)blobs);
    full_check_all(s, blobs);
    store_close(s);
}

int main(void)
{
    crash_make_blobs();
    crash_make_dir();
    if (!full_mount()) {
        printf("store_full: skipped: cannot mount a small file system here: %s\n", strerror(errno));
        return rmdir(crash_dir) == 0 ? 77 : 1;
    }
    snprintf(store_path, sizeof(store_path), "%s/store", crash_dir);
    snprintf(ballast_path, sizeof(ballast_path), "%s/ballast", crash_dir);
    capacity_beyond_the_disk();
    full_while_writing();
    full_while_serving();
    full_while_rebuilding();
    crash_check(umount(crash_dir) == 0 && rmdir(crash_dir) == 0, "cannot clean up: %s",
                strerror(errno));
    printf("store_full: passed\n");
    return 0;
}
