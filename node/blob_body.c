/* blob_body.c - see blob_body.h. */
#include "node/blob_body.h"

#include <stdlib.h>

#include "node/file_view.h"

struct blob_body {
    struct body body;
    struct store *store;
    struct store_blob *pin;
    struct file_view *view;
    u64 pos, end;
};

static ssize_t peek(struct body *body, const void **data, size_t max)
{
    struct blob_body *b = container_of(body, struct blob_body, body);
    u64 left = b->end - b->pos;
    if (left == 0)
        return 0;
    return file_view_peek(b->view, store_blob_fd(b->pin), b->pos, left < max ? (size_t)left : max,
                          data);
}

static void advance(struct body *body, size_t n)
{
    struct blob_body *b = container_of(body, struct blob_body, body);
    b->pos += n;
}

static i64 run(struct body *body, int *fd, u64 *offset)
{
    struct blob_body *b = container_of(body, struct blob_body, body);
    *fd = store_blob_fd(b->pin);
    *offset = b->pos;
    file_view_ahead(b->view, *fd, b->pos);
    return (i64)(b->end - b->pos);
}

static void body_close(struct body *body)
{
    struct blob_body *b = container_of(body, struct blob_body, body);
    file_view_del(b->view);
    store_unpin(b->store, b->pin);
    free(b);
}

struct body *blob_body(struct store *s, struct store_blob *pin, struct pool *disk, u64 first,
                       u64 end, void (*wake)(void *arg), void *arg)
{
    static const struct body_ops ops = {
        .peek = peek, .advance = advance, .run = run, .close = body_close};
    struct blob_body *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    b->view = file_view_new(disk, wake, arg);
    if (!b->view) {
        free(b);
        return NULL;
    }
    b->body.ops = &ops;
    b->store = s;
    b->pin = pin;
    b->pos = first;
    b->end = end;
    return &b->body;
}
