/* fill_body.c - readers of a running fill; see fill.h.
 *
 * A reader stands at an offset. What is near the end comes from the ring, without a copy; what has
 * left the ring comes from the file. The last byte of a blob is shown only when its digest was
 * found right; so is the last byte of a range, where peers or a former run brought any of it. */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>

#include "node/file_view.h"
#include "node/fill_internal.h"

/* Many who follow a fast fetch at its heels would each be woken for, and copy, every scrap that
 * arrives. They wait for a stretch in the file instead, which goes to them without a copy. */
#define CROWD_BODIES 4
#define CROWD_RUN    (512 * KIB)
#define CROWD_RUN_MS 50        /* a fetch is fast if a stretch takes it no longer */
#define CROWD_LAG    (4 * MIB) /* a disk further behind is not waited for */

struct fill_body {
    struct body body;
    struct fill *fill;
    struct fill_body *prev, *next;
    u64 pos, end; /* end UINT64_MAX: as far as it goes */
    bool began;   /* it has sent something: the first bytes never wait */
    bool cut;     /* what it was shown is wrong: its answer ends here */
    void (*wake)(void *arg);
    void *arg;
    struct file_view *view;
};

/* One past the last byte that may be shown. */
static u64 visible(const struct fill *f)
{
    if (f->state == FILL_SOUND)
        return f->received;
    return f->received > 0 ? f->received - (f->size == STORE_SIZE_UNKNOWN || f->received == f->size)
                           : 0;
}

/* Is what comes in order somebody's word until the digest is known? What is served through is not
 * held up: it would wait for its reader, who waits for it. */
static bool is_hearsay(const struct fill *f)
{
    return f->state < FILL_SOUND && !f->swarm && f->ingest && !f->frozen &&
           (f->peer_bytes > 0 || f->prefix > 0);
}

/* Where a reader has to stop for now, whatever comes. */
static u64 limit_of(const struct fill_body *b)
{
    return b->end - (b->end < UINT64_MAX && is_hearsay(b->fill));
}

static u64 until_of(const struct fill_body *b)
{
    u64 until = visible(b->fill), limit = limit_of(b);
    return until < limit ? until : limit;
}

/* Is what there is for it, if anything, to be sent now? */
static bool due(const struct fill_body *b, u64 until)
{
    const struct fill *f = b->fill;
    bool crowd = f->n_bodies >= CROWD_BODIES && f->fast && f->state == FILL_STREAMING &&
                 (fetch_is_called(f) || sources_are_asked(f)) && f->ingest && !f->frozen &&
                 f->received - f->written <= CROWD_LAG;
    if (!crowd || !b->began || f->received == f->size || until == limit_of(b))
        return true;
    return b->pos + CROWD_RUN <= (until < f->written ? until : f->written);
}

static void on_view(void *arg)
{
    struct fill_body *b = arg;
    b->wake(b->arg);
}

static ssize_t from_file(struct fill_body *b, u64 until, size_t max, const void **data)
{
    struct fill *f = b->fill;
    int fd = f->blob ? store_blob_fd(f->blob) : f->ingest ? store_ingest_fd(f->ingest) : -1;
    if (fd < 0)
        return ERR_IO;
    if (!f->blob && until > f->written)
        until = f->written;
    assert(b->pos < until);
    if (!b->view) {
        b->view = file_view_new(f->set->opt.disk, on_view, b);
        if (!b->view)
            return ERR_NOMEM;
    }
    u64 n = until - b->pos;
    return file_view_peek(b->view, fd, b->pos, n < max ? (size_t)n : max, data);
}

static ssize_t peek(struct body *body, const void **data, size_t max)
{
    struct fill_body *b = container_of(body, struct fill_body, body);
    struct fill *f = b->fill;
    if (f->state == FILL_FAILED || b->cut)
        return ERR_IO;
    u64 until = until_of(b);
    if (b->pos >= until) {
        bool over = b->pos >= b->end || (f->state == FILL_SOUND && b->pos >= f->received);
        return over ? 0 : ERR_AGAIN;
    }
    if (!due(b, until))
        return ERR_AGAIN;
    if (b->pos < f->ring.first)
        return from_file(b, until, max, data);
    size_t n;
    *data = ring_at(&f->ring, b->pos, until, &n);
    return (ssize_t)(n < max ? n : max);
}

static void advance(struct body *body, size_t n)
{
    struct fill_body *b = container_of(body, struct fill_body, body);
    b->pos += n;
    b->began = true;
    /* Serving through, the slowest reader sets the pace of the upstream. */
    if (b->fill->frozen && b->fill->paused)
        sink_pace(b->fill);
}

/* The fill's own descriptor for `run`: the store may close its at any time. */
static bool has_file(struct fill *f)
{
    if (f->file < 0 && f->ingest)
        f->file = fcntl(store_ingest_fd(f->ingest), F_DUPFD_CLOEXEC, 0);
    return f->file >= 0;
}

/* What is written already goes from the page cache, also when the ring still has it: no copy. */
static i64 run(struct body *body, int *fd, u64 *offset)
{
    struct fill_body *b = container_of(body, struct fill_body, body);
    struct fill *f = b->fill;
    u64 until = until_of(b);
    if (f->state == FILL_FAILED || b->cut)
        return ERR_IO;
    if (until > f->written)
        until = f->written;
    if (b->pos >= until || !has_file(f))
        return 0;
    *fd = f->file;
    *offset = b->pos;
    return (i64)(until - b->pos);
}

static void body_close(struct body *body)
{
    struct fill_body *b = container_of(body, struct fill_body, body);
    struct fill *f = b->fill;
    if (b->prev)
        b->prev->next = b->next;
    else
        f->bodies = b->next;
    if (b->next)
        b->next->prev = b->prev;
    f->n_bodies--;
    file_view_del(b->view);
    free(b);
    fill_hold(f);
    if (f->frozen && f->n_bodies == 0 && !f->waiters && f->state < FILL_SOUND) {
        fill_fail(f, ERR_CANCELED, "nobody is left to serve through");
    } else if (f->frozen) {
        sink_pace(f);
    }
    fill_release(f);
}

static const struct body_ops ops = {
    .peek = peek, .advance = advance, .run = run, .close = body_close};

struct body *fill_body(struct fill *f, u64 first, u64 end, void (*wake)(void *arg), void *arg)
{
    struct fill_body *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    b->body.ops = &ops;
    b->fill = f;
    b->pos = first;
    b->end = end;
    b->wake = wake;
    b->arg = arg;
    b->next = f->bodies;
    if (b->next)
        b->next->prev = b;
    f->bodies = b;
    f->n_bodies++;
    return &b->body;
}

void bodies_wake(struct fill *f)
{
    fill_hold(f);
    if (f->received - f->paced >= CROWD_RUN) {
        u64 now = uv_now(f->set->opt.loop);
        f->fast = now - f->paced_ms <= CROWD_RUN_MS;
        f->paced = f->received;
        f->paced_ms = now;
    }
    for (struct fill_body *b = f->bodies, *next; b; b = next) {
        next = b->next;
        if (due(b, until_of(b)))
            b->wake(b->arg);
    }
    fill_release(f);
}

void bodies_cut(struct fill *f, u64 from)
{
    fill_hold(f);
    for (struct fill_body *b = f->bodies, *next; b; b = next) {
        next = b->next;
        if (b->pos <= from || b->cut)
            continue;
        b->cut = true;
        b->wake(b->arg);
    }
    fill_release(f);
}

void bodies_tick(struct fill *f)
{
    if (!f->fast || uv_now(f->set->opt.loop) - f->paced_ms <= 2 * CROWD_RUN_MS)
        return;
    f->fast = false; /* it stands still, and what there is goes out */
    bodies_wake(f);
}

u64 bodies_slowest(const struct fill *f)
{
    u64 slowest = UINT64_MAX;
    for (const struct fill_body *b = f->bodies; b; b = b->next) {
        if (b->cut)
            continue;
        u64 needs = b->pos < f->written && f->ingest ? f->written : b->pos;
        if (needs < slowest)
            slowest = needs;
    }
    return slowest < f->received ? slowest : f->received;
}

bool body_can_start(const struct fill *f, u64 first)
{
    if (first >= f->ring.first)
        return true;
    return (f->blob || f->ingest) && f->ring.first <= f->written;
}
