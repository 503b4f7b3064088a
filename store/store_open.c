/* store_open.c - opening and closing a store.
 *
 * The order matters. Lock, and read how it was left; make the index good, in a child (recover.h);
 * only then take the clean mark away and open the index, since from here on it changes; then take
 * stock of the partials. Closing is the reverse: write what is pending, sync, and as the last thing
 * set the clean mark. Whatever fails on the way out just leaves the mark unset, and the next
 * opening looks closer. */
#include "store/recover.h"
#include "store/store_state.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static_assert(LAYOUT_WHY == 256, "the length of `why` in store.h");

/* --- partials -------------------------------------------------------------------------------- */

struct open_partials {
    struct store_partial **list;
    size_t count, room;
};

static int open_partials_add(struct open_partials *all, const struct digest *d,
                             const struct stat *st)
{
    if (all->count == all->room) {
        size_t room = all->room ? 2 * all->room : 64;
        struct store_partial **list = realloc(all->list, room * sizeof(struct store_partial *));
        if (!list)
            return ERR_NOMEM;
        all->list = list;
        all->room = room;
    }
    struct store_partial *p = calloc(1, sizeof(*p));
    if (!p)
        return ERR_NOMEM;
    p->node.digest = *d;
    p->bytes = (u64)st->st_size;
    p->kept_ms = st->st_mtim.tv_sec < 0
                     ? 0
                     : (u64)st->st_mtim.tv_sec * 1000 + (u64)st->st_mtim.tv_nsec / 1000000;
    all->list[all->count++] = p;
    return 0;
}

static int open_partials_compare(const void *left, const void *right)
{
    const struct store_partial *a = *(struct store_partial *const *)left;
    const struct store_partial *b = *(struct store_partial *const *)right;
    if (a->kept_ms != b->kept_ms)
        return a->kept_ms < b->kept_ms ? -1 : 1;
    return memcmp(&a->node.digest, &b->node.digest, sizeof(a->node.digest));
}

/* Is this file of ingest/ a partial that may be resumed? */
static bool open_partial_usable(struct store *s, const char *name, struct digest *d,
                                struct stat *st)
{
    struct blob_info held;
    if (!layout_partial_parse(d, name) ||
        fstatat(s->layout.ingest_fd, name, st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st->st_mode) ||
        st->st_size == 0)
        return false;
    /* Never synced, so a power cut may have left holes in it. */
    if (!s->mark.clean && !s->mark.same_boot)
        return false;
    if (pending_get(&s->pending, d, &held) == 0)
        return false;
    /* A seal that was cut short left it read-only. */
    return (st->st_mode & 0777) == 0600 || fchmodat(s->layout.ingest_fd, name, 0600, 0) == 0;
}

static int open_partials_scan(struct store *s, struct store_opened *found)
{
    struct open_partials all = {0};
    int fd = openat(s->layout.ingest_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return ERR_IO;
    }
    struct dirent *entry;
    while (rc == 0 && (errno = 0, entry = readdir(dir))) {
        struct digest d;
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (open_partial_usable(s, entry->d_name, &d, &st))
            rc = open_partials_add(&all, &d, &st);
        else
            found->garbage_removed += layout_discard(dirfd(dir), entry->d_name);
    }
    if (rc == 0 && errno != 0)
        rc = ERR_IO;
    closedir(dir);
    if (all.count > 1)
        qsort(all.list, all.count, sizeof(struct store_partial *), open_partials_compare);
    for (size_t i = 0; i < all.count; i++) {
        if (rc == 0)
            store_partial_add(s, all.list[i]);
        else
            free(all.list[i]);
    }
    free(all.list);
    return rc;
}

/* --- opening --------------------------------------------------------------------------------- */

static void open_free(struct store *s)
{
    struct store_partial *p;
    while ((p = TAILQ_FIRST(&s->idle))) {
        store_partial_take(s, p);
        free(p);
    }
    if (s->pending.notes.slots)
        pending_fini(&s->pending);
    if (s->purged.table.slots)
        purged_fini(&s->purged);
    if (s->pins.slots)
        table_fini(&s->pins);
    if (s->ingests.slots)
        table_fini(&s->ingests);
    if (s->partials.slots)
        table_fini(&s->partials);
    index_close(s->index);
    grave_fini(&s->grave);
    mark_release(&s->mark);
    layout_close(&s->layout);
    free(s);
}

static int open_tables(struct store *s)
{
    u64 seed;
    if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
        return ERR_IO;
    int rc = table_init(&s->pins, seed);
    if (rc == 0)
        rc = table_init(&s->ingests, seed);
    if (rc == 0)
        rc = table_init(&s->partials, seed);
    if (rc == 0)
        rc = pending_init(&s->pending, s->index, seed);
    if (rc == 0)
        rc = purged_init(&s->purged, &s->layout, seed, s->now_ms);
    return rc;
}

/* The index: recovered, marked as in use, open. */
static int open_index(struct store *s, const struct store_options *opt,
                      const struct store_hooks *hooks, struct store_opened *found,
                      char why[LAYOUT_WHY])
{
    char dir[LAYOUT_PATH_MAX + sizeof("/index")];
    snprintf(dir, sizeof(dir), "%s/index", s->layout.path);
    struct recover_plan plan = {.layout = &s->layout,
                                .index_dir = dir,
                                .map_bytes = hooks->map_bytes ? hooks->map_bytes : INDEX_MAP_BYTES,
                                .now_ms = opt->now_ms};
    struct recover_report report;
    int rc = recover_index(&plan, &s->mark, &report, found, why);
    if (rc < 0)
        return rc;
    s->blobs = report.totals.blobs;
    s->blob_bytes = report.totals.bytes;
    s->blob_used = report.totals.used_bytes;
    rc = mark_running(&s->mark, &s->layout, why);
    if (rc < 0)
        return rc;
    rc = index_open(&s->index, dir, plan.map_bytes, false);
    if (rc < 0)
        return layout_why(why, rc, "store %.100s: cannot open its index: %s: check the disk",
                          s->layout.path, err_text(rc));
    return 0;
}

int store_open_hooked(struct store **out, const struct store_options *opt,
                      const struct store_hooks *hooks, struct store_opened *found,
                      char why[LAYOUT_WHY])
{
    assert(opt->capacity_bytes > 0);
    memset(found, 0, sizeof(*found));
    why[0] = '\0';
    struct store *s = calloc(1, sizeof(*s));
    if (!s)
        return layout_why(why, ERR_NOMEM, "not enough memory to open the store");
    TAILQ_INIT(&s->idle);
    grave_init(&s->grave);
    s->mark.lock_fd = -1;
    s->capacity_bytes = opt->capacity_bytes;
    s->now_ms = s->trimmed_ms = opt->now_ms;
    int rc = layout_open(&s->layout, opt->path, why);
    if (rc < 0) {
        grave_fini(&s->grave);
        free(s);
        return rc;
    }
    rc = mark_take(&s->mark, &s->layout, hooks->boot_id, why);
    if (rc == 0)
        rc = layout_make(&s->layout, why);
    if (rc == 0)
        rc = open_index(s, opt, hooks, found, why);
    if (rc == 0) {
        rc = open_tables(s);
        if (rc == 0)
            rc = open_partials_scan(s, found);
        if (rc < 0)
            layout_why(why, rc, "store %.100s: cannot take stock of it: %s: check the disk",
                       s->layout.path, err_text(rc));
    }
    if (rc < 0) {
        open_free(s);
        return rc;
    }
    store_purge_again(s);
    store_room_fit(s); /* the capacity may be smaller than last time */
    found->blobs = s->blobs;
    found->bytes = s->blob_bytes;
    found->partials = s->partials.count;
    found->partial_bytes = s->idle_bytes;
    *out = s;
    return 0;
}

int store_open(struct store **out, const struct store_options *opt, struct store_opened *found,
               char why[256])
{
    static const struct store_hooks real = {0};
    return store_open_hooked(out, opt, &real, found, why);
}

/* --- closing --------------------------------------------------------------------------------- */

/* Partials have to survive a power cut from now on. */
static int close_sync_partials(struct store *s)
{
    int rc = 0;
    const struct store_partial *p = TAILQ_FIRST(&s->idle);
    for (; p; p = TAILQ_NEXT(p, link)) {
        int fd = layout_partial_open(&s->layout, &p->node.digest);
        if (fd < 0 || fsync(fd) < 0)
            rc = ERR_IO;
        if (fd >= 0)
            close(fd);
    }
    return rc == 0 && fsync(s->layout.ingest_fd) < 0 ? ERR_IO : rc;
}

void store_close(struct store *s)
{
    assert(s->pins.count == 0 && s->ghosts == 0);
    assert(s->ingests.count == 0);
    int rc = pending_flush_all(&s->pending);
    if (rc == 0)
        rc = index_sync(s->index);
    purged_sync(&s->purged);
    if (rc == 0)
        rc = close_sync_partials(s);
    index_close(s->index);
    s->index = NULL;
    if (rc == 0)
        (void)!mark_clean(&s->mark, &s->layout);
    open_free(s);
}
