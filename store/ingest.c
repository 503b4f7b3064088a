/* ingest.c - one blob on its way in.
 *
 *   begin ──► write, hash ──► seal ──► commit        held
 *               │              │
 *               ├──► keep      └──► drop              a partial; nothing
 *               └──► drop
 *
 * Two pool threads may work on one ingest, one writing and one hashing, while the loop reads both
 * counters: these are atomic. Each counter has one writer, and moves only after its bytes are where
 * they belong: whoever sees written() may read so far. Everything else belongs to the loop, or to
 * the one thread that seals after both are done.
 *
 * A prefix is never trusted: a resumed partial is hashed from its first byte, and seal demands that
 * every byte of the file went through the hash and that the hash is the digest. Pieces in any
 * order: ingest_cut.c. */
#include "store/store_state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/pieces.h"

#define INGEST_BUFFER (64 * 1024)

/* Opens the partial file; `*length` is what it already holds, 0 unless it is `resumed` bytes long.
 */
static int ingest_open_file(const struct store *s, const struct digest *d, u64 resumed, int *out,
                            u64 *length)
{
    char name[LAYOUT_NAME_SIZE];
    struct stat st;
    layout_partial_name(d, name);
    int fd = openat(s->layout.ingest_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return errno == ENOENT ? ERR_IO : layout_err(errno);
    *length = resumed;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        goto fail;
    if ((u64)st.st_size != resumed) {
        /* Not what we left: begin anew. */
        *length = 0;
        if (ftruncate(fd, 0) < 0)
            goto fail;
    }
    *out = fd;
    return 0;
fail:
    close(fd);
    return ERR_IO;
}

/* May this ingest begin at all? */
static int ingest_admit(struct store *s, const struct store_ingest_options *opt)
{
    struct blob_info held;
    int rc = pending_get(&s->pending, &opt->digest, &held);
    if (rc == 0)
        return ERR_EXISTS;
    if (rc != ERR_NOTFOUND)
        return rc;
    if (table_find(&s->ingests, &opt->digest))
        return ERR_BUSY;
    if (purged_until(&s->purged, &opt->digest, opt->now_ms))
        return ERR_DENIED;
    if (s->ingests.count >= STORE_INGESTS_MAX)
        return ERR_FULL;
    if (opt->size != STORE_SIZE_UNKNOWN && opt->size > s->capacity_bytes)
        return ERR_FULL;
    if (s->pending.changes >= PENDING_CHANGES_MAX)
        return ERR_NOSPACE; /* the index has not been writable for long: take no more */
    return 0;
}

static struct store_ingest *ingest_new(struct store *s, const struct store_ingest_options *opt)
{
    struct store_ingest *i = calloc(1, sizeof(*i));
    if (!i)
        return NULL;
    i->store = s;
    i->digest = i->node.digest = opt->digest;
    i->fd = -1;
    i->begun_ms = opt->now_ms;
    hasher_init(&i->hasher, opt->digest.alg);
    /* A cut media type would be a wrong one; a cut source still tells where to look. */
    if (opt->media_type && strlen(opt->media_type) <= STORE_MEDIA_MAX)
        snprintf(i->media_type, sizeof(i->media_type), "%s", opt->media_type);
    if (opt->source)
        snprintf(i->source, sizeof(i->source), "%s", opt->source);
    return i;
}

/* What is there may be cut, by a former run; who asked for bytes in order gets those before the
 * first gap. */
static int ingest_settle(struct store_ingest *i, bool cut, u64 length, u64 size)
{
    int rc = length > 0 ? ingest_cut_load(i, length) : ERR_NOTFOUND;
    bool sized = size != STORE_SIZE_UNKNOWN;
    if (rc == 0 && (!cut || i->size != size))
        rc = store_ingest_uncut(i);
    else if (rc == ERR_NOTFOUND)
        rc = 0;
    if (rc == 0 && sized && !i->pieces && atomic_load(&i->written) > size) {
        atomic_store(&i->written, 0); /* longer than the whole: not a prefix of it */
        rc = ftruncate(i->fd, 0) < 0 ? ERR_IO : 0;
    }
    return rc;
}

/* It did not begin. A partial stays, as far as it is left; without any there is no file either. */
static void ingest_undo(struct store_ingest *i, struct store_partial *p)
{
    struct store *s = i->store;
    struct stat st;
    if (i->fd >= 0 && p && fstat(i->fd, &st) == 0)
        p->bytes = (u64)st.st_size;
    if (i->fd >= 0 && (!p || p->bytes == 0)) {
        (void)!layout_partial_unlink(&s->layout, &i->digest);
        free(p);
        p = NULL;
    }
    if (p)
        store_partial_add(s, p);
    if (i->fd >= 0)
        close(i->fd);
    free(i->there);
    free(i);
}

static int ingest_begin(struct store *s, const struct store_ingest_options *opt, bool cut,
                        struct store_ingest **out)
{
    int rc = ingest_admit(s, opt);
    if (rc < 0)
        return rc;
    bool sized = opt->size != STORE_SIZE_UNKNOWN;
    struct store_partial *p = store_partial_find(s, &opt->digest);
    if (p && sized && p->bytes > opt->size + ingest_cut_table(opt->size)) {
        store_partial_drop(s, p); /* longer than the whole: not a prefix of it */
        p = NULL;
    }
    struct store_ingest *i = ingest_new(s, opt);
    if (!i)
        return ERR_NOMEM;

    u64 resumed = p ? p->bytes : 0, length = 0;
    u64 reserved = !sized ? resumed : opt->size + (cut ? ingest_cut_table(opt->size) : 0);
    if (reserved < resumed)
        reserved = resumed;
    if (p)
        store_partial_take(s, p); /* not to be evicted for its own sake */
    if (cut && opt->unsure &&
        !store_room_is_free(s, space_rounded(reserved), space_rounded(resumed)))
        reserved = resumed;
    rc = store_room_make(s, space_rounded(reserved), space_rounded(resumed));
    if (rc == 0)
        rc = ingest_open_file(s, &opt->digest, resumed, &i->fd, &length);
    atomic_store(&i->written, length);
    if (rc == 0)
        rc = ingest_settle(i, cut, length, opt->size);
    if (rc == 0 && cut && !i->pieces)
        rc = ingest_cut_make(i, opt->size);
    if (rc == 0 && cut && !store_ingest_is_reserved(i) && reserved >= ingest_length(i))
        rc = ingest_cut_lay(i);
    if (rc < 0) {
        ingest_undo(i, p);
        return rc;
    }
    free(p);
    atomic_store(&i->reserved, reserved);
    s->running_used += space_rounded(reserved);
    table_put(&s->ingests, &i->node);
    *out = i;
    return 0;
}

int store_ingest_begin(struct store *s, const struct store_ingest_options *opt,
                       struct store_ingest **out)
{
    return ingest_begin(s, opt, false, out);
}

int store_ingest_begin_cut(struct store *s, const struct store_ingest_options *opt,
                           struct store_ingest **out)
{
    assert(opt->size != STORE_SIZE_UNKNOWN && piece_count(opt->size) > 0);
    return ingest_begin(s, opt, true, out);
}

u64 store_partial_size(const struct store *s, const struct digest *d)
{
    const struct store_partial *p = store_partial_find(s, d);
    return p ? p->bytes : 0;
}

int store_ingest_reserve(struct store_ingest *i, u64 size)
{
    struct store *s = i->store;
    u64 reserved = atomic_load(&i->reserved);
    if (size <= reserved)
        return 0;
    if (size > s->capacity_bytes)
        return ERR_FULL;
    u64 more = space_rounded(size) - space_rounded(reserved);
    int rc = more > 0 ? store_room_make(s, more, 0) : 0;
    if (rc < 0)
        return rc;
    s->running_used += more;
    atomic_store(&i->reserved, size);
    return 0;
}

/* --- any thread ------------------------------------------------------------------------------ */

int store_ingest_write(struct store_ingest *i, const void *data, size_t len)
{
    u64 first = atomic_load(&i->written), at = first;
    const u8 *bytes = data;
    assert(!i->moved);
    if (len > atomic_load(&i->reserved) - first)
        return ERR_TOOBIG;
    while (len > 0) {
        ssize_t n = pwrite(i->fd, bytes, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int rc = n == 0 ? ERR_IO : layout_err(errno);
            /* Back to the end of the last whole write. Should that fail too: what is beyond it is
             * never read, and written over by the next write. */
            (void)!ftruncate(i->fd, (off_t)first);
            return rc == ERR_NOSPACE ? rc : ERR_IO;
        }
        bytes += n;
        at += (u64)n;
        len -= (size_t)n;
    }
    atomic_store(&i->written, at);
    return 0;
}

u64 store_ingest_written(const struct store_ingest *i)
{
    return atomic_load(&i->written);
}

int store_ingest_fd(const struct store_ingest *i)
{
    return i->fd;
}

void store_ingest_hash(struct store_ingest *i, const void *data, size_t len)
{
    hasher_update(&i->hasher, data, len);
    atomic_store(&i->hashed, i->hasher.count);
}

int store_ingest_hash_file(struct store_ingest *i, u64 end)
{
    u8 buffer[INGEST_BUFFER];
    u64 at = atomic_load(&i->hashed);
    assert(end <= atomic_load(&i->written));
    while (at < end) {
        size_t want = end - at < sizeof(buffer) ? (size_t)(end - at) : sizeof(buffer);
        ssize_t n = pread(i->fd, buffer, want, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ERR_IO;
        store_ingest_hash(i, buffer, (size_t)n);
        at += (u64)n;
    }
    return 0;
}

u64 store_ingest_hashed(const struct store_ingest *i)
{
    return atomic_load(&i->hashed);
}

int store_ingest_verify(const struct store_ingest *i)
{
    struct digest got;
    hasher_digest(&i->hasher, &got);
    return digest_equal(&got, &i->digest) ? 0 : ERR_CORRUPT;
}

int store_ingest_seal(struct store_ingest *i)
{
    assert(!i->moved);
    struct stat st;
    if (atomic_load(&i->broken))
        return ERR_IO;
    int rc = i->pieces ? ingest_cut_finish(i) : store_ingest_verify(i);
    if (rc < 0)
        return rc;
    if (!i->pieces && atomic_load(&i->hashed) != atomic_load(&i->written))
        return ERR_CORRUPT; /* the hash is right, but not all of it is in the file */
    /* A failed write whose tail could not be cut off, or another hand in our folder. */
    u64 written = atomic_load(&i->written);
    if (fstat(i->fd, &st) < 0)
        return ERR_IO;
    if ((u64)st.st_size != written && ftruncate(i->fd, (off_t)written) < 0)
        return ERR_IO;
    rc = layout_publish(&i->store->layout, &i->digest, i->fd, &i->moved);
    /* After a failed fsync the kernel may call lost pages clean: a second try would lie. */
    if (rc < 0 && rc != ERR_FULL)
        atomic_store(&i->broken, true);
    i->sealed = rc == 0;
    return rc;
}

/* --- ends ------------------------------------------------------------------------------------ */

/* Out of the books, its descriptor closed unless it was taken (-1). Frees `i`. */
static void ingest_end(struct store_ingest *i)
{
    struct store *s = i->store;
    u64 promised = space_rounded(atomic_load(&i->reserved));
    assert(s->running_used >= promised);
    s->running_used -= promised;
    table_del(&s->ingests, &i->node);
    if (i->fd >= 0)
        close(i->fd);
    free(i->there);
    free(i);
}

int store_ingest_commit(struct store_ingest *i, u64 now_ms, struct store_blob **out)
{
    assert(i->sealed);
    struct store *s = i->store;
    u64 size = atomic_load(&i->written);
    struct blob_info info = {.digest = i->digest,
                             .size = size,
                             .stored_ms = now_ms,
                             .used_ms = now_ms,
                             .scrubbed_ms = now_ms};
    memcpy(info.media_type, i->media_type, sizeof(info.media_type));
    memcpy(info.source, i->source, sizeof(info.source));
    int rc = purged_until(&s->purged, &i->digest, now_ms) ? ERR_DENIED : 0;
    if (rc == 0)
        rc = pending_put(&s->pending, &info);
    if (rc < 0) {
        store_ingest_drop(i);
        return rc;
    }
    s->blobs++;
    s->blob_bytes += size;
    s->blob_used += space_rounded(size);
    if (out) {
        *out = store_pin_new(s, &i->digest, i->fd, size, i->media_type);
        if (*out)
            i->fd = -1;
        else
            rc = ERR_NOMEM; /* held, but not for this reader */
    }
    ingest_end(i);
    store_tell(s, &info, true);
    /* Counted when it fails: the blob is served from the note, and a later flush may succeed. */
    (void)!pending_flush(&s->pending, PENDING_TICK_MAX);
    return rc;
}

void store_ingest_keep(struct store_ingest *i)
{
    struct store *s = i->store;
    if (i->sealed) {
        (void)!store_ingest_commit(i, i->begun_ms, NULL);
        return;
    }
    struct store_partial *p = NULL;
    bool cut_back = i->pieces && !store_ingest_is_reserved(i); /* to what there is room for */
    int rc = cut_back ? store_ingest_uncut(i) : 0;
    if (rc == 0 && !i->moved && !atomic_load(&i->broken) && atomic_load(&i->written) > 0 &&
        !purged_until(&s->purged, &i->digest, s->now_ms))
        p = calloc(1, sizeof(*p));
    if (!p) {
        store_ingest_drop(i);
        return;
    }
    (void)!fchmod(i->fd, 0600); /* a seal may have got that far */
    p->node.digest = i->digest;
    p->bytes = ingest_length(i);
    p->kept_ms = s->now_ms > i->begun_ms ? s->now_ms : i->begun_ms;
    ingest_end(i); /* its promise goes before the partial counts: never both */
    store_partial_add(s, p);
}

void store_ingest_drop(struct store_ingest *i)
{
    struct store *s = i->store;
    /* What cannot be removed now is found when the store opens next. */
    (void)!layout_partial_unlink(&s->layout, &i->digest);
    if (i->moved)
        (void)!layout_blob_unlink(&s->layout, &i->digest);
    grave_bury(&s->grave, i->fd, atomic_load(&i->written));
    i->fd = -1;
    ingest_end(i);
}
