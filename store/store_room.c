/* store_room.c - the capacity is a hard bound: what is counted, and what goes when room is needed.
 *
 * Room is made before it is promised, so nothing that is written later can exceed the capacity. And
 * only when evicting will be enough: one layer too large for the store must not empty it first. A
 * disk that is shorter than the capacity counts like the capacity: the coldest blobs go, so that a
 * store configured too large keeps caching instead of freezing.
 *
 * Candidates are taken from the cold end of the index in windows, and the policy (evict.h) chooses
 * among them. What is pending counts: a use, an entry or a removal that is not yet written. */
#include "store/evict.h"
#include "store/store_state.h"

#include <assert.h>
#include <stdlib.h>

#define ROOM_WINDOW      64
#define ROOM_SCAN        512 /* blobs looked at, to find colder ones than the region's last copies */
#define ROOM_DISK_MARGIN (1ull << 20) /* left on the disk for the index */

u64 store_used(const struct store *s)
{
    return s->blob_used + s->ghost_used + s->idle_used + s->running_used;
}

/* --- idle partials --------------------------------------------------------------------------- */

struct store_partial *store_partial_find(const struct store *s, const struct digest *d)
{
    struct table_node *n = table_find(&s->partials, d);
    return n ? container_of(n, struct store_partial, node) : NULL;
}

void store_partial_add(struct store *s, struct store_partial *p)
{
    while (s->partials.count >= STORE_PARTIALS_MAX)
        store_partial_drop(s, TAILQ_FIRST(&s->idle));
    table_put(&s->partials, &p->node);
    TAILQ_INSERT_TAIL(&s->idle, p, link);
    s->idle_bytes += p->bytes;
    s->idle_used += space_rounded(p->bytes);
}

void store_partial_take(struct store *s, struct store_partial *p)
{
    table_del(&s->partials, &p->node);
    TAILQ_REMOVE(&s->idle, p, link);
    s->idle_bytes -= p->bytes;
    s->idle_used -= space_rounded(p->bytes);
}

void store_partial_drop(struct store *s, struct store_partial *p)
{
    int fd = p->bytes < GRAVE_BYTES_LEAST ? -1 : layout_partial_open(&s->layout, &p->node.digest);
    /* A file that cannot be removed is found again when the store opens. */
    (void)!layout_partial_unlink(&s->layout, &p->node.digest);
    if (fd >= 0)
        grave_bury(&s->grave, fd, p->bytes);
    store_partial_take(s, p);
    free(p);
}

/* --- candidates ------------------------------------------------------------------------------ */

struct room_window {
    struct store *store;
    struct evict_candidate list[ROOM_WINDOW];
    size_t count, scanned;
};

/* The last blob in the window by the policy's order; ROOM_WINDOW: there is none. */
static size_t room_last(const struct room_window *w)
{
    size_t at = ROOM_WINDOW;
    for (size_t i = 0; i < w->count; i++)
        if (!w->list[i].partial &&
            (at == ROOM_WINDOW || evict_rank_ms(&w->list[i]) > evict_rank_ms(&w->list[at])))
            at = i;
    return at;
}

/* Takes a candidate in; of blobs, the window keeps those that go first of all it was offered. False
 * when neither this nor any blob used later would be one of them. */
static bool room_offer(struct room_window *w, const struct digest *d, u64 bytes, u64 used_ms,
                       bool partial)
{
    struct store *s = w->store;
    struct evict_candidate c = {
        .digest = *d, .bytes = space_rounded(bytes), .used_ms = used_ms, .partial = partial};
    size_t at = w->count;
    if (at == ROOM_WINDOW) {
        at = room_last(w);
        if (at == ROOM_WINDOW || evict_rank_ms(&w->list[at]) <= used_ms || w->scanned >= ROOM_SCAN)
            return false;
    }
    w->scanned += !partial;
    c.last = !partial && s->is_last && s->is_last(s->is_last_arg, d);
    if (w->count == ROOM_WINDOW && evict_rank_ms(&w->list[at]) <= evict_rank_ms(&c))
        return true;
    w->count += at == w->count;
    w->list[at] = c;
    return true;
}

/* The index's order is that of the last uses that were written. A later use only makes hotter: so
 * the walk may end at the first blob without one that the full window refuses. */
static bool room_each_indexed(void *arg, const struct digest *d, u64 used_ms, u64 size)
{
    struct room_window *w = arg;
    const struct pending_note *note = pending_find(&w->store->pending, d);
    if (table_find(&w->store->pins, d) || (note && note->op != PENDING_TOUCH))
        return true;
    if (note && note->used_ms)
        used_ms = note->used_ms;
    return room_offer(w, d, size, used_ms, false) || note;
}

/* Blobs that could not be indexed yet. */
static bool room_each_put(void *arg, const struct blob_info *info)
{
    struct room_window *w = arg;
    if (!table_find(&w->store->pins, &info->digest))
        room_offer(w, &info->digest, info->size, info->used_ms, false);
    return true;
}

/* Up to a window of what may go: partials, then the coldest of the index and of what it could not
 * take. */
static void room_fill(struct room_window *w)
{
    w->count = w->scanned = 0;
    const struct store_partial *p = TAILQ_FIRST(&w->store->idle);
    for (; p; p = TAILQ_NEXT(p, link)) {
        room_offer(w, &p->node.digest, p->bytes, p->kept_ms, true);
        if (w->count == ROOM_WINDOW)
            return;
    }
    /* An index that cannot be read offers nothing, and counts its error. */
    (void)!index_ordered(w->store->index, INDEX_USED, room_each_indexed, w);
    if (w->store->pending.changes > 0)
        pending_each_put(&w->store->pending, room_each_put, w);
}

static bool room_evict_one(struct store *s, const struct evict_candidate *c)
{
    if (c->partial) {
        struct store_partial *p = store_partial_find(s, &c->digest);
        assert(p);
        store_partial_drop(s, p);
        return true;
    }
    struct blob_info info;
    if (pending_get(&s->pending, &c->digest, &info) < 0)
        return false;
    if (store_forget(s, &c->digest, info.size) < 0)
        return false;
    s->evicted_blobs++;
    s->evicted_bytes += info.size;
    return true;
}

/* Evicts `bytes` (rounded ones). ERR_FULL when nothing more may or can go. */
static int room_evict(struct store *s, u64 bytes)
{
    struct room_window w = {.store = s};
    u64 freed = 0;
    int rc = 0;
    while (rc == 0 && freed < bytes) {
        room_fill(&w);
        size_t taken, gone = 0;
        evict_choose(w.list, w.count, bytes - freed, &taken);
        for (size_t i = 0; i < taken; i++) {
            if (!room_evict_one(s, &w.list[i]))
                continue;
            freed += w.list[i].bytes;
            gone++;
        }
        if (gone == 0)
            rc = ERR_FULL;
        /* The entries of what went are written together; failing that, at the next tick. */
        (void)!pending_flush(&s->pending, PENDING_TICK_MAX);
    }
    return rc;
}

/* --- promises -------------------------------------------------------------------------------- */

/* Promised to running ingests, beyond what they wrote. */
static u64 room_promised(const struct store *s)
{
    u64 bytes = 0;
    struct table_node *n = NULL;
    while ((n = table_next(&s->ingests, n))) {
        const struct store_ingest *i = container_of(n, struct store_ingest, node);
        bytes += atomic_load(&i->reserved) - atomic_load(&i->written);
    }
    return bytes;
}

/* How much less than `want` bytes the disk has. */
static u64 room_lack(const struct store *s, u64 want)
{
    u64 free_bytes = layout_free_bytes(&s->layout);
    return want > free_bytes ? want - free_bytes : 0;
}

static u64 room_want(const struct store *s, u64 bytes, u64 there)
{
    return bytes - there + room_promised(s) + ROOM_DISK_MARGIN;
}

bool store_room_is_free(const struct store *s, u64 bytes, u64 there)
{
    assert(there <= bytes);
    return store_used(s) + bytes <= s->capacity_bytes &&
           room_lack(s, room_want(s, bytes, there)) == 0;
}

int store_room_make(struct store *s, u64 bytes, u64 there)
{
    assert(there <= bytes);
    u64 used = store_used(s);
    assert(s->pinned_used <= s->blob_used);
    u64 evictable = s->blob_used - s->pinned_used + s->idle_used;
    if (bytes > s->capacity_bytes)
        return ERR_FULL;
    u64 over = used + bytes > s->capacity_bytes ? used + bytes - s->capacity_bytes : 0;
    if (over > evictable)
        return ERR_FULL;

    u64 want = room_want(s, bytes, there), lack = room_lack(s, want);
    if (lack > 0 && grave_empty(&s->grave))
        lack = room_lack(s, want);
    if (lack > evictable)
        return ERR_NOSPACE;
    u64 evict = over > lack ? over : lack;
    int rc = evict > 0 ? room_evict(s, evict) : 0;
    if (lack > 0)
        grave_empty(&s->grave); /* slow, but the disk needs it now */
    assert(rc < 0 || store_used(s) + bytes <= s->capacity_bytes);
    return rc;
}

void store_ask_last(struct store *s, bool (*is_last)(void *arg, const struct digest *d), void *arg)
{
    s->is_last = is_last;
    s->is_last_arg = arg;
}

void store_room_fit(struct store *s)
{
    u64 used = store_used(s);
    if (used > s->capacity_bytes)
        (void)!room_evict(s, used - s->capacity_bytes);
}
