/* recover_job.c - what the forked child does: walk the index, compare it with blobs/, rebuild it.
 *
 * blobs/ is scanned folder by folder. What does not belong there (another name, a name in the wrong
 * folder, a link, an empty folder) is removed; folders with something in them are left alone: they
 * are not ours, and nothing of ours reads them. */
#include "store/recover.h"
#include "store/space.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECOVER_BATCH 512 /* entries per transaction of a rebuild */

struct recover {
    const struct recover_plan *plan;
    struct recover_report *report;
    struct index *index;
    bool rebuild;
    u64 hashed_bytes;
    u64 entries; /* with a file of their size */
    u64 batched;
};

/* --- one file of blobs/ ---------------------------------------------------------------------- */

static u64 recover_ms(const struct timespec *ts)
{
    return ts->tv_sec < 0 ? 0 : (u64)ts->tv_sec * 1000 + (u64)ts->tv_nsec / 1000000;
}

/* What can be told of a blob from its file alone. */
static void recover_describe(const struct recover *r, const struct digest *d, const struct stat *st,
                             struct blob_info *info)
{
    memset(info, 0, sizeof(*info));
    info->digest = *d;
    info->size = (u64)st->st_size;
    info->stored_ms = recover_ms(&st->st_mtim);
    info->used_ms = recover_ms(&st->st_atim);
    if (info->used_ms < info->stored_ms)
        info->used_ms = info->stored_ms;
    /* A clock that was ahead must not make a blob hot for ever. */
    if (info->used_ms > r->plan->now_ms)
        info->used_ms = r->plan->now_ms;
    if (info->stored_ms > r->plan->now_ms)
        info->stored_ms = r->plan->now_ms;
}

static void recover_count(struct recover *r, u64 size)
{
    r->report->totals.blobs++;
    r->report->totals.bytes += size;
    r->report->totals.used_bytes += space_rounded(size);
}

/* Are the orphan's bytes right? Beyond the budget its seal is believed, and the scrubber told. */
static bool recover_orphan_good(struct recover *r, int dir_fd, const char *name,
                                struct blob_info *info)
{
    if (r->hashed_bytes + info->size > RECOVER_HASH_BYTES)
        return true;
    r->hashed_bytes += info->size;
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return false;
    int rc = store_verify_fd(fd, &info->digest, info->size, NULL, NULL);
    close(fd);
    info->scrubbed_ms = r->plan->now_ms;
    return rc == 0;
}

/* A complete file without an entry. Only a failing index is an error. */
static int recover_orphan(struct recover *r, int dir_fd, const char *name, struct blob_info *info)
{
    bool good = recover_orphan_good(r, dir_fd, name, info);
    int rc = good ? index_begin(r->index) : 0;
    if (good && rc == 0)
        rc = index_put(r->index, info);
    if (good && rc == 0)
        rc = index_commit(r->index);
    if (rc < 0 && rc != ERR_NOSPACE)
        return rc;
    if (good && rc == 0) {
        r->report->orphans_indexed++;
        r->entries++;
        recover_count(r, info->size);
    } else {
        /* Wrong bytes; or a disk so full that the index cannot grow: this makes room for the rest.
         */
        r->report->garbage_removed += layout_discard(dir_fd, name);
    }
    return 0;
}

static int recover_reconcile_file(struct recover *r, int dir_fd, const char *name,
                                  const struct digest *d, const struct stat *st)
{
    struct blob_info info;
    int rc = index_get(r->index, d, &info);
    if (rc == ERR_NOTFOUND) {
        recover_describe(r, d, st, &info);
        return recover_orphan(r, dir_fd, name, &info);
    }
    if (rc < 0)
        return rc;
    if (info.size == (u64)st->st_size) {
        r->entries++;
        recover_count(r, info.size);
        return 0;
    }
    /* One of the two is wrong, and the blob can be fetched again. Its entry goes below, with those
     * that have no file. */
    if (!layout_discard(dir_fd, name))
        return ERR_IO;
    return 0;
}

static int recover_batch_end(struct recover *r)
{
    r->batched = 0;
    return r->index->batch ? index_commit(r->index) : 0;
}

static int recover_rebuild_file(struct recover *r, int dir_fd, const char *name,
                                const struct digest *d, const struct stat *st)
{
    struct blob_info info;
    recover_describe(r, d, st, &info);
    if (info.size == 0 && !recover_orphan_good(r, dir_fd, name, &info)) {
        /* What a power cut leaves where a file system forgot the bytes. */
        r->report->garbage_removed += layout_discard(dir_fd, name);
        return 0;
    }
    info.scrubbed_ms = 0;
    int rc = r->index->batch ? 0 : index_begin(r->index);
    if (rc == 0)
        rc = index_put(r->index, &info);
    if (rc == 0 && ++r->batched == RECOVER_BATCH)
        rc = recover_batch_end(r);
    if (rc == 0)
        recover_count(r, info.size);
    return rc;
}

/* --- all of blobs/ --------------------------------------------------------------------------- */

/* Opens a folder for reading its entries; the descriptor given stays the caller's. */
static DIR *recover_opendir(int at_fd, const char *name)
{
    int fd = openat(at_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (fd >= 0 && !dir)
        close(fd);
    return dir;
}

static bool recover_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int recover_prefix(struct recover *r, enum digest_alg alg, const char *prefix)
{
    DIR *dir = recover_opendir(r->plan->layout->alg_fd[alg], prefix);
    if (!dir) {
        /* Not a folder: it does not belong here. */
        if (errno != ENOTDIR && errno != ELOOP)
            return layout_err(errno);
        r->report->garbage_removed += layout_discard(r->plan->layout->alg_fd[alg], prefix);
        return 0;
    }
    int rc = 0;
    struct dirent *entry;
    while (rc == 0 && (errno = 0, entry = readdir(dir))) {
        struct digest d;
        struct stat st;
        if (recover_dots(entry->d_name))
            continue;
        if (!layout_blob_parse(&d, alg, prefix, entry->d_name) ||
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISREG(st.st_mode)) {
            r->report->garbage_removed += layout_discard(dirfd(dir), entry->d_name);
            continue;
        }
        rc = r->rebuild ? recover_rebuild_file(r, dirfd(dir), entry->d_name, &d, &st)
                        : recover_reconcile_file(r, dirfd(dir), entry->d_name, &d, &st);
    }
    if (rc == 0 && errno != 0)
        rc = ERR_IO;
    closedir(dir);
    return rc;
}

static bool recover_prefix_valid(const char *name)
{
    return strlen(name) == 2 && strspn(name, "0123456789abcdef") == 2;
}

static int recover_scan(struct recover *r)
{
    static const enum digest_alg algs[] = {DIGEST_SHA256, DIGEST_SHA512};
    int rc = 0;
    for (size_t i = 0; i < countof(algs) && rc == 0; i++) {
        int alg_fd = r->plan->layout->alg_fd[algs[i]];
        DIR *dir = recover_opendir(alg_fd, ".");
        if (!dir)
            return layout_err(errno);
        struct dirent *entry;
        while (rc == 0 && (errno = 0, entry = readdir(dir))) {
            if (recover_dots(entry->d_name))
                continue;
            if (recover_prefix_valid(entry->d_name))
                rc = recover_prefix(r, algs[i], entry->d_name);
            else
                r->report->garbage_removed += layout_discard(alg_fd, entry->d_name);
        }
        if (rc == 0 && errno != 0)
            rc = ERR_IO;
        closedir(dir);
    }
    return rc;
}

/* --- entries without a file ------------------------------------------------------------------ */

struct recover_missing {
    const struct layout *layout;
    struct digest *list;
    size_t count, room;
    int rc;
};

static bool recover_missing_each(void *arg, const struct blob_info *b)
{
    struct recover_missing *m = arg;
    char name[LAYOUT_NAME_SIZE];
    struct stat st;
    layout_blob_name(&b->digest, name);
    if (fstatat(m->layout->alg_fd[b->digest.alg], name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISREG(st.st_mode) && (u64)st.st_size == b->size)
        return true;
    if (m->count == m->room) {
        size_t room = m->room ? 2 * m->room : 64;
        struct digest *list = realloc(m->list, room * sizeof(*list));
        if (!list) {
            m->rc = ERR_NOMEM;
            return false;
        }
        m->list = list;
        m->room = room;
    }
    m->list[m->count++] = b->digest;
    return true;
}

static int recover_drop_missing(struct recover *r)
{
    struct recover_missing m = {.layout = r->plan->layout};
    int rc = index_each(r->index, recover_missing_each, &m);
    if (rc == 0)
        rc = m.rc;
    for (size_t i = 0; rc == 0 && i < m.count; i++) {
        if (!r->index->batch)
            rc = index_begin(r->index);
        if (rc == 0)
            rc = index_del(r->index, &m.list[i]);
        if (rc == 0 && (i + 1 == m.count || (i + 1) % RECOVER_BATCH == 0))
            rc = index_commit(r->index);
    }
    if (rc == 0)
        r->report->entries_dropped += m.count;
    free(m.list);
    return rc;
}

/* --- the jobs -------------------------------------------------------------------------------- */

static int recover_check(struct recover *r)
{
    if (faccessat(r->plan->layout->root_fd, "index/data.mdb", F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        return ERR_NOTFOUND; /* LMDB would make one */
    int rc = index_open(&r->index, r->plan->index_dir, r->plan->map_bytes, false);
    if (rc == 0)
        rc = index_audit(r->index, &r->report->totals);
    return rc;
}

static int recover_reconcile(struct recover *r)
{
    struct index_totals walked;
    int rc = recover_check(r);
    alarm(0); /* hashing orphans may take long, and ends */
    if (rc < 0)
        return rc;
    walked = r->report->totals;
    memset(&r->report->totals, 0, sizeof(r->report->totals));
    rc = recover_scan(r);
    if (rc == 0 && r->entries != walked.blobs + r->report->orphans_indexed)
        rc = recover_drop_missing(r);
    return rc;
}

/* Leaves nothing of the old index, then makes it from blobs/. "built" is its last entry: a rebuild
 * that was itself cut short does not pass for an index. */
static int recover_rebuild(struct recover *r)
{
    r->rebuild = true;
    alarm(0);
    DIR *dir = recover_opendir(r->plan->layout->root_fd, "index");
    if (!dir)
        return layout_err(errno);
    struct dirent *entry;
    while ((entry = readdir(dir)))
        if (!recover_dots(entry->d_name))
            (void)layout_discard(dirfd(dir), entry->d_name);
    closedir(dir);

    int rc = index_open(&r->index, r->plan->index_dir, r->plan->map_bytes, true);
    if (rc == 0)
        rc = recover_scan(r);
    if (rc == 0 && !r->index->batch)
        rc = index_begin(r->index);
    if (rc == 0)
        rc = index_mark_built(r->index);
    if (rc == 0)
        rc = recover_batch_end(r);
    if (rc == 0)
        rc = index_sync(r->index);
    return rc;
}

void recover_run(const struct recover_plan *plan, enum recover_job job,
                 struct recover_report *report)
{
    struct recover r = {.plan = plan, .report = report};
    alarm(RECOVER_WALK_S);
    switch (job) {
    case RECOVER_CHECK: report->rc = recover_check(&r); break;
    case RECOVER_RECONCILE: report->rc = recover_reconcile(&r); break;
    case RECOVER_REBUILD: report->rc = recover_rebuild(&r); break;
    }
    index_close(r.index);
}
