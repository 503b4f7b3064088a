/* purged.c - see purged.h. */
#include "store/purged.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/limits.h"

#define LINE_SIZE (DIGEST_TEXT_SIZE + 24)
#define FILE_MAX  (LIMIT_PURGES * LINE_SIZE)

struct purged_entry {
    struct table_node node;
    u64 until_ms;
};

static struct purged_entry *find(const struct purged *p, const struct digest *d)
{
    struct table_node *n = table_find(&p->table, d);
    return n ? container_of(n, struct purged_entry, node) : NULL;
}

static void take_out(struct purged *p, struct purged_entry *e)
{
    table_del(&p->table, &e->node);
    free(e);
}

/* --- the file -------------------------------------------------------------------------------- */

static void read_line(struct purged *p, const char *line, size_t len, u64 now_ms)
{
    struct digest d;
    const char *blank = memchr(line, ' ', len);
    char number[24] = "";
    char *end;
    if (!blank || digest_parse(&d, line, (size_t)(blank - line)) ||
        len - (size_t)(blank - line) > sizeof(number))
        return;
    memcpy(number, blank + 1, len - (size_t)(blank - line) - 1);
    u64 until_ms = strtoull(number, &end, 10);
    if (number[0] < '0' || number[0] > '9' || *end || until_ms <= now_ms || find(p, &d) ||
        p->table.count == LIMIT_PURGES)
        return;
    struct purged_entry *e = calloc(1, sizeof(*e));
    if (!e)
        return;
    e->node.digest = d;
    e->until_ms = until_ms;
    table_put(&p->table, &e->node);
}

static int read_file(struct purged *p, u64 now_ms)
{
    int fd = openat(p->layout->root_fd, "purged", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? 0 : layout_err(errno);
    char *text = malloc(FILE_MAX);
    ssize_t n = text ? read(fd, text, FILE_MAX) : -1;
    int rc = !text ? ERR_NOMEM : n < 0 ? layout_err(errno) : 0;
    close(fd);
    for (char *at = text; rc == 0 && at < text + n;) {
        char *end = memchr(at, '\n', (size_t)(text + n - at));
        if (!end)
            break; /* never written whole */
        read_line(p, at, (size_t)(end - at), now_ms);
        at = end + 1;
    }
    free(text);
    return rc;
}

static int write_all(int fd, const char *text, size_t len)
{
    ssize_t n = write(fd, text, len);
    return n == (ssize_t)len ? 0 : n < 0 ? layout_err(errno) : ERR_NOSPACE;
}

static int write_file(struct purged *p)
{
    int root = p->layout->root_fd;
    size_t len = 0, cap = p->table.count * LINE_SIZE + 1;
    char *text = malloc(cap);
    if (!text)
        return ERR_NOMEM;
    struct table_node *n = NULL;
    while ((n = table_next(&p->table, n))) {
        char digest[DIGEST_TEXT_SIZE];
        digest_format(&n->digest, digest);
        len += (size_t)snprintf(text + len, cap - len, "%s %" PRIu64 "\n", digest,
                                container_of(n, struct purged_entry, node)->until_ms);
        assert(len < cap);
    }
    int fd = openat(root, "purged.tmp",
                    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    int rc = fd < 0 ? layout_err(errno) : write_all(fd, text, len);
    if (fd >= 0)
        close(fd);
    if (rc == 0 && renameat(root, "purged.tmp", root, "purged") < 0)
        rc = layout_err(errno);
    free(text);
    if (rc == 0)
        atomic_store(&p->unsynced, true);
    else
        unlinkat(root, "purged.tmp", 0);
    return rc;
}

void purged_sync(struct purged *p)
{
    if (!atomic_exchange(&p->unsynced, false))
        return;
    int fd = openat(p->layout->root_fd, "purged", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    bool good = fd >= 0 && fsync(fd) == 0 && fsync(p->layout->root_fd) == 0;
    if (fd >= 0)
        close(fd);
    if (!good)
        atomic_store(&p->unsynced, true); /* the next sync tries again */
}

/* --- the table ------------------------------------------------------------------------------- */

int purged_init(struct purged *p, const struct layout *l, u64 seed, u64 now_ms)
{
    p->layout = l;
    atomic_init(&p->unsynced, false);
    int rc = table_init(&p->table, seed);
    return rc ? rc : read_file(p, now_ms);
}

void purged_fini(struct purged *p)
{
    struct table_node *n;
    while ((n = table_next(&p->table, NULL)))
        take_out(p, container_of(n, struct purged_entry, node));
    table_fini(&p->table);
}

static void forget_lapsed(struct purged *p, u64 now_ms)
{
    for (struct table_node *n = table_next(&p->table, NULL), *next; n; n = next) {
        struct purged_entry *e = container_of(n, struct purged_entry, node);
        next = table_next(&p->table, n);
        if (e->until_ms <= now_ms)
            take_out(p, e);
    }
}

/* The entry, made if need be. NULL, and `*rc`. */
static struct purged_entry *find_or_make(struct purged *p, const struct digest *d, u64 now_ms,
                                         int *rc)
{
    struct purged_entry *e = find(p, d);
    if (e)
        return e;
    if (p->table.count == LIMIT_PURGES)
        forget_lapsed(p, now_ms);
    *rc = p->table.count == LIMIT_PURGES ? ERR_FULL : ERR_NOMEM;
    if (*rc == ERR_FULL || !(e = calloc(1, sizeof(*e))))
        return NULL;
    e->node.digest = *d;
    table_put(&p->table, &e->node);
    return e;
}

int purged_set(struct purged *p, const struct digest *d, u64 now_ms, u64 until_ms)
{
    int rc = 0;
    if (until_ms <= now_ms && !find(p, d))
        return 0;
    struct purged_entry *e = find_or_make(p, d, now_ms, &rc);
    if (!e)
        return rc;
    u64 before_ms = e->until_ms;
    e->until_ms = until_ms;
    rc = until_ms == before_ms ? 0 : write_file(p);
    if (rc)
        e->until_ms = before_ms;
    if (e->until_ms <= now_ms)
        take_out(p, e);
    return rc;
}

u64 purged_until(const struct purged *p, const struct digest *d, u64 now_ms)
{
    const struct purged_entry *e = find(p, d);
    return e && e->until_ms > now_ms ? e->until_ms : 0;
}

void purged_each(const struct purged *p, u64 now_ms,
                 void (*each)(void *arg, const struct digest *d, u64 until_ms), void *arg)
{
    struct table_node *n = NULL;
    while ((n = table_next(&p->table, n))) {
        const struct purged_entry *e = container_of(n, struct purged_entry, node);
        if (e->until_ms > now_ms)
            each(arg, &n->digest, e->until_ms);
    }
}
