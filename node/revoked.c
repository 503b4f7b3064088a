/* revoked.c - see revoked.h. One write at a time; who comes meanwhile waits for the next. */
#include "node/revoked.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/clock.h"
#include "runtime/log.h"

#define FILE_NAME "revoked"

struct waiter {
    struct waiter *next;
    void (*done)(void *arg, int rc);
    void *arg;
};

struct revoked {
    struct job job;
    char dir[4096];
    struct pool *disk;
    struct tickets *tickets;
    struct waiter *waiting; /* for the next write */
    struct waiter *writing; /* for the one that runs */
    bool running;
    u8 data[REVOKE_BYTES_MAX];
    size_t len;
    int rc;
};

static void load(struct revoked *r)
{
    char path[4096 + 16];
    struct revoke all[REVOKE_MAX];
    size_t n = 0;
    snprintf(path, sizeof(path), "%s/" FILE_NAME, r->dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return;
    ssize_t len = fd < 0 ? -1 : read(fd, r->data, sizeof(r->data));
    if (fd >= 0)
        close(fd);
    if (len < 0 || revoke_unpack(all, &n, r->data, (size_t)len))
        log_warn("%s cannot be read: tickets revoked just before the start end by themselves",
                 path);
    for (size_t i = 0; i < n; i++)
        tickets_revoke(r->tickets, &all[i]);
}

int revoked_new(struct revoked **out, const char *dir, struct pool *disk, struct tickets *tickets)
{
    struct revoked *r = calloc(1, sizeof(*r));
    *out = r;
    if (!r)
        return ERR_NOMEM;
    snprintf(r->dir, sizeof(r->dir), "%s", dir);
    r->disk = disk;
    r->tickets = tickets;
    load(r);
    return 0;
}

static void tell(struct waiter *list, int rc)
{
    for (struct waiter *w = list, *next; w; w = next) {
        next = w->next;
        w->done(w->arg, rc);
        free(w);
    }
}

void revoked_del(struct revoked *r)
{
    if (r)
        tell(r->waiting, ERR_CANCELED);
    free(r);
}

static void work(struct job *j)
{
    struct revoked *r = container_of(j, struct revoked, job);
    char path[4096 + 16], aside[4096 + 16];
    snprintf(path, sizeof(path), "%s/" FILE_NAME, r->dir);
    snprintf(aside, sizeof(aside), "%s/" FILE_NAME ".tmp", r->dir);
    int fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    bool good = fd >= 0 && write(fd, r->data, r->len) == (ssize_t)r->len && fsync(fd) == 0;
    if (fd >= 0)
        good = close(fd) == 0 && good;
    r->rc = good && rename(aside, path) == 0 ? 0 : ERR_IO;
}

static void start(struct revoked *r);

static void done(struct job *j)
{
    struct revoked *r = container_of(j, struct revoked, job);
    struct waiter *list = r->writing;
    r->running = false;
    r->writing = NULL;
    if (r->rc)
        log_error("%s/" FILE_NAME " cannot be written: check the disk", r->dir);
    tell(list, r->rc);
    if (r->waiting)
        start(r);
}

static void start(struct revoked *r)
{
    struct revoke all[REVOKE_MAX];
    size_t n = tickets_revoked(r->tickets, wall_ms() / 1000, all);
    r->len = revoke_pack(all, n, r->data);
    r->writing = r->waiting;
    r->waiting = NULL;
    r->running = true;
    r->job.work = work;
    r->job.done = done;
    pool_submit(r->disk, &r->job);
}

int revoked_keep(struct revoked *r, void (*cb)(void *arg, int rc), void *arg)
{
    struct waiter *w = calloc(1, sizeof(*w));
    if (!w)
        return ERR_NOMEM;
    *w = (struct waiter){.next = r->waiting, .done = cb, .arg = arg};
    r->waiting = w;
    if (!r->running)
        start(r);
    return 0;
}
