/* store.c - reading from the store: look-ups, pins, removal, and the second's tick.
 *
 * A pin is one object per blob with a count: all readers share its descriptor. A blob is removed by
 * taking its name away at once; whoever holds a pin reads on from the file without a name, and its
 * bytes count until the last one lets go. The same digest may come in anew meanwhile: the old pin
 * is then a ghost, known only to its readers. */
#include "store/store_state.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void store_stats(const struct store *s, struct store_stats *out)
{
    memset(out, 0, sizeof(*out));
    out->capacity_bytes = s->capacity_bytes;
    out->blobs = s->blobs;
    out->blob_bytes = s->blob_bytes;
    out->partial_bytes = s->idle_bytes;
    struct table_node *n = NULL;
    while ((n = table_next(&s->ingests, n))) {
        const struct store_ingest *i = container_of(n, struct store_ingest, node);
        u64 written = atomic_load(&i->written);
        out->partial_bytes += written;
        out->reserved_bytes += atomic_load(&i->reserved) - written;
    }
    out->used_bytes = store_used(s);
    out->evicted_blobs = s->evicted_blobs;
    out->evicted_bytes = s->evicted_bytes;
    out->index_errors = atomic_load(&s->index->errors);
}

void store_tick(struct store *s, u64 now_ms)
{
    s->now_ms = now_ms;
    (void)!pending_flush(&s->pending, PENDING_TICK_MAX); /* counted; tried again next time */
    if (now_ms - s->trimmed_ms >= STORE_TRIM_MS) {
        index_trim(s->index);
        s->trimmed_ms = now_ms;
    }
}

void store_sync(struct store *s)
{
    (void)!index_sync(s->index); /* counted */
    purged_sync(&s->purged);
    grave_empty(&s->grave);
}

int store_lookup(struct store *s, const struct digest *d, struct blob_info *out)
{
    return pending_get(&s->pending, d, out);
}

/* --- pins ------------------------------------------------------------------------------------ */

static struct store_blob *store_pin_find(const struct store *s, const struct digest *d)
{
    struct table_node *n = table_find(&s->pins, d);
    return n ? container_of(n, struct store_blob, node) : NULL;
}

struct store_blob *store_pin_new(struct store *s, const struct digest *d, int fd, u64 size,
                                 const char *media_type)
{
    struct store_blob *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    b->node.digest = *d;
    b->fd = fd;
    b->size = size;
    b->refs = 1;
    snprintf(b->media_type, sizeof(b->media_type), "%s", media_type);
    table_put(&s->pins, &b->node);
    s->pinned_used += space_rounded(size);
    /* Readers read ahead in windows of their own; the kernel's would double them. */
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    return b;
}

/* Opens a held blob's file, which must be of its size. ERR_NOTFOUND: there is no such file. */
static int store_pin_open(struct store *s, const struct blob_info *info, int *fd)
{
    struct stat st;
    *fd = layout_blob_open(&s->layout, &info->digest);
    if (*fd < 0)
        return *fd;
    if (fstat(*fd, &st) == 0 && S_ISREG(st.st_mode) && (u64)st.st_size == info->size)
        return 0;
    close(*fd);
    *fd = -1;
    return ERR_NOTFOUND;
}

int store_pin(struct store *s, const struct digest *d, u64 now_ms, struct store_blob **out)
{
    struct store_blob *b = store_pin_find(s, d);
    if (b) {
        b->refs++;
        pending_touch(&s->pending, d, now_ms, 0);
        *out = b;
        return 0;
    }
    struct blob_info info;
    int fd, rc = pending_get(&s->pending, d, &info);
    if (rc < 0)
        return rc;
    rc = store_pin_open(s, &info, &fd);
    if (rc == ERR_NOTFOUND) {
        /* Somebody removed or cut the file behind our back: then it is not held. */
        int forgot = store_forget(s, d, info.size);
        return forgot < 0 ? forgot : ERR_NOTFOUND;
    }
    if (rc < 0)
        return rc;
    b = store_pin_new(s, d, fd, info.size, info.media_type);
    if (!b) {
        close(fd);
        return ERR_NOMEM;
    }
    pending_touch(&s->pending, d, now_ms, 0);
    *out = b;
    return 0;
}

void store_unpin(struct store *s, struct store_blob *b)
{
    assert(b->refs > 0);
    if (--b->refs > 0)
        return;
    if (b->removed) {
        assert(s->ghosts > 0 && s->ghost_used >= space_rounded(b->size));
        s->ghosts--;
        s->ghost_used -= space_rounded(b->size);
    } else {
        assert(s->pinned_used >= space_rounded(b->size));
        s->pinned_used -= space_rounded(b->size);
        table_del(&s->pins, &b->node);
    }
    if (b->removed)
        grave_bury(&s->grave, b->fd, b->size);
    else
        close(b->fd);
    free(b);
}

int store_blob_fd(const struct store_blob *b)
{
    return b->fd;
}

u64 store_blob_size(const struct store_blob *b)
{
    return b->size;
}

const char *store_blob_media_type(const struct store_blob *b)
{
    return b->media_type;
}

/* --- walking --------------------------------------------------------------------------------- */

struct store_walk {
    struct store *store;
    bool (*each)(void *arg, const struct blob_info *b);
    void *arg;
    bool ended;
};

/* An entry of the index, with what is pending laid over it; PUTs come by themselves. */
static bool store_walk_indexed(void *arg, const struct blob_info *b)
{
    struct store_walk *w = arg;
    const struct pending_note *note = pending_find(&w->store->pending, &b->digest);
    if (!note) {
        w->ended = !w->each(w->arg, b);
    } else if (note->op == PENDING_TOUCH) {
        struct blob_info now = *b;
        if (note->used_ms)
            now.used_ms = note->used_ms;
        if (note->scrubbed_ms)
            now.scrubbed_ms = note->scrubbed_ms;
        w->ended = !w->each(w->arg, &now);
    }
    return !w->ended;
}

void store_each(struct store *s, bool (*each)(void *arg, const struct blob_info *b), void *arg)
{
    struct store_walk w = {.store = s, .each = each, .arg = arg};
    (void)!index_each(s->index, store_walk_indexed, &w); /* an unreadable index counts its error */
    if (!w.ended)
        pending_each_put(&s->pending, each, arg);
    index_trim(s->index);
}

/* --- removing -------------------------------------------------------------------------------- */

int store_forget(struct store *s, const struct digest *d, u64 size)
{
    struct blob_info info;
    int rc = pending_get(&s->pending, d, &info);
    if (rc < 0)
        return rc;
    /* Noted before the file goes, since noting may fail. The file goes before the index is written:
     * a crash between leaves an entry without a file, which the next opening drops. */
    rc = pending_del(&s->pending, d);
    if (rc < 0)
        return rc;
    /* A reader's descriptor keeps the file as it is; else ours does, until it is buried. */
    struct store_blob *b = store_pin_find(s, d);
    int fd = b || size < GRAVE_BYTES_LEAST ? -1 : layout_blob_open(&s->layout, d);
    rc = layout_blob_unlink(&s->layout, d);
    if (fd >= 0)
        grave_bury(&s->grave, fd, size);
    if (rc < 0) {
        (void)!pending_put(&s->pending, &info);
        return rc;
    }
    assert(s->blobs > 0 && s->blob_bytes >= size && s->blob_used >= space_rounded(size));
    s->blobs--;
    s->blob_bytes -= size;
    s->blob_used -= space_rounded(size);
    if (b) {
        table_del(&s->pins, &b->node);
        b->removed = true;
        s->pinned_used -= space_rounded(size);
        s->ghost_used += space_rounded(size);
        s->ghosts++;
    }
    store_tell(s, &info, false);
    return 0;
}

int store_remove(struct store *s, const struct digest *d)
{
    struct blob_info info;
    int rc = pending_get(&s->pending, d, &info);
    if (rc == 0)
        rc = store_forget(s, d, info.size);
    if (rc == 0)
        (void)!pending_flush(&s->pending, PENDING_TICK_MAX); /* counted; tried again at a tick */
    return rc;
}
