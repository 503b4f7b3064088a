/* piece_body.c - see piece_body.h. */
#include "node/piece_body.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "node/file_view.h"

struct piece_body {
    struct body body;
    struct file_view *view;
    int fd;
    u64 pos, end;
};

static ssize_t peek(struct body *body, const void **data, size_t max)
{
    struct piece_body *b = container_of(body, struct piece_body, body);
    u64 left = b->end - b->pos;
    if (left == 0)
        return 0;
    return file_view_peek(b->view, b->fd, b->pos, left < max ? (size_t)left : max, data);
}

static void advance(struct body *body, size_t n)
{
    struct piece_body *b = container_of(body, struct piece_body, body);
    b->pos += n;
}

static i64 run(struct body *body, int *fd, u64 *offset)
{
    struct piece_body *b = container_of(body, struct piece_body, body);
    *fd = b->fd;
    *offset = b->pos;
    file_view_ahead(b->view, b->fd, b->pos);
    return (i64)(b->end - b->pos);
}

static void body_close(struct body *body)
{
    struct piece_body *b = container_of(body, struct piece_body, body);
    file_view_del(b->view);
    close(b->fd);
    free(b);
}

struct body *piece_body(int fd, struct pool *disk, u64 first, u64 end, void (*wake)(void *arg),
                        void *arg)
{
    static const struct body_ops ops = {
        .peek = peek, .advance = advance, .run = run, .close = body_close};
    struct piece_body *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    b->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    b->view = b->fd >= 0 ? file_view_new(disk, wake, arg) : NULL;
    if (!b->view) {
        if (b->fd >= 0)
            close(b->fd);
        free(b);
        return NULL;
    }
    b->body.ops = &ops;
    b->pos = first;
    b->end = end;
    return &b->body;
}
