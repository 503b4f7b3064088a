/* file_view.c - see file_view.h. */
#include "node/file_view.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proto/limits.h"

#define WINDOW (4 * MIB)

struct file_view {
    struct pool *disk;
    void (*wake)(void *arg);
    void *arg;
    int fd; /* our duplicate, -1 until the disk was cold */
    struct job job;
    bool busy, deleted, waiting;
    bool asked;    /* the job reads where a peek stood; else ahead, where the file may not be yet */
    u64 job_start; /* what the running or last job reads: [job_start, job_end) */
    u64 job_end;
    u8 *head; /* the first chunk of the last window: progress even if the cache forgets it */
    u64 head_start;
    size_t head_len;
    int err;
    u64 shown_at; /* where the last hot peek stood, */
    size_t shown; /* and how much it showed: the same again shows no less */
};

/* Hot reads go through one buffer: a peek is borrowed until the next. Loop thread only. */
static u8 hot_chunk[FILE_VIEW_CHUNK];

struct file_view *file_view_new(struct pool *disk, void (*wake)(void *arg), void *arg)
{
    struct file_view *v = calloc(1, sizeof(*v));
    if (!v)
        return NULL;
    v->disk = disk;
    v->wake = wake;
    v->arg = arg;
    v->fd = -1;
    return v;
}

static void view_free(struct file_view *v)
{
    if (v->fd >= 0)
        close(v->fd);
    free(v->head);
    free(v);
}

void file_view_del(struct file_view *v)
{
    if (!v)
        return;
    v->deleted = true;
    if (!v->busy)
        view_free(v);
}

/* On a pool thread: pulls the window into the page cache, keeping its first chunk. */
static void window_work(struct job *j)
{
    struct file_view *v = container_of(j, struct file_view, job);
    u8 *rest = NULL;
    u64 at = v->job_start;
    v->err = 0;
    v->head_len = 0;
    v->head_start = at;
    while (v->head_len < FILE_VIEW_CHUNK) {
        ssize_t n = pread(v->fd, v->head + v->head_len, FILE_VIEW_CHUNK - v->head_len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            v->err = ERR_IO;
        else if (n == 0 && v->asked && v->head_len == 0)
            v->err = ERR_EOF;
        if (n <= 0)
            return;
        v->head_len += (size_t)n;
        at += (u64)n;
    }
    rest = malloc(WINDOW / 8);
    while (rest && at < v->job_end) {
        ssize_t n = pread(v->fd, rest, WINDOW / 8, (off_t)at);
        if (n <= 0)
            break;
        at += (u64)n;
    }
    free(rest);
}

static void window_done(struct job *j)
{
    struct file_view *v = container_of(j, struct file_view, job);
    v->busy = false;
    if (v->deleted) {
        view_free(v);
        return;
    }
    if (v->waiting) {
        v->waiting = false;
        v->wake(v->arg);
    }
}

static int window_start(struct file_view *v, int fd, u64 offset, u64 bytes, bool asked)
{
    assert(!v->busy);
    v->asked = asked;
    if (v->fd < 0) {
        v->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (v->fd < 0)
            return ERR_FULL;
    }
    if (!v->head) {
        v->head = malloc(FILE_VIEW_CHUNK);
        if (!v->head)
            return ERR_NOMEM;
    }
    v->job_start = offset;
    v->job_end = offset + bytes;
    v->busy = true;
    v->job.work = window_work;
    v->job.done = window_done;
    pool_submit(v->disk, &v->job);
    return 0;
}

void file_view_ahead(struct file_view *v, int fd, u64 offset)
{
    if (v->fd < 0 || v->busy || offset < v->job_start + v->head_len || offset >= v->job_end)
        return;
    if (window_start(v, fd, v->job_end, WINDOW, false) != 0)
        v->job_end = 0;
}

ssize_t file_view_peek(struct file_view *v, int fd, u64 offset, size_t max, const void **data)
{
    if (max > FILE_VIEW_CHUNK)
        max = FILE_VIEW_CHUNK;
    if (!v->busy && v->head_len > 0 && offset >= v->head_start &&
        offset < v->head_start + v->head_len) {
        size_t skip = (size_t)(offset - v->head_start);
        size_t n = v->head_len - skip;
        *data = v->head + skip;
        return (ssize_t)(n < max ? n : max);
    }
    if (!v->busy && v->err && offset == v->job_start)
        return v->err;
    struct iovec io = {hot_chunk, max};
    ssize_t n = preadv2(fd, &io, 1, (off_t)offset, RWF_NOWAIT);
    if (n > 0 && offset == v->shown_at && (size_t)n < v->shown && (size_t)n < max) {
        n = -1; /* pages have left meanwhile */
        errno = EAGAIN;
    }
    if (n > 0) {
        v->shown_at = offset;
        v->shown = (size_t)n;
        /* The next window starts when half of the last is used. */
        if (offset + WINDOW / 2 >= v->job_end)
            file_view_ahead(v, fd, offset);
        *data = hot_chunk;
        return n;
    }
    if (n == 0)
        return ERR_EOF;
    if (errno == EINTR)
        return file_view_peek(v, fd, offset, max, data);
    if (errno != EAGAIN && errno != EOPNOTSUPP)
        return ERR_IO;
    v->waiting = true;
    if (v->busy)
        return ERR_AGAIN;
    int rc = window_start(v, fd, offset, errno == EAGAIN ? WINDOW : FILE_VIEW_CHUNK, true);
    return rc ? rc : ERR_AGAIN;
}
