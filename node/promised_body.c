/* promised_body.c - see promised_body.h. */
#include "node/promised_body.h"

#include <assert.h>
#include <stdlib.h>

struct promised_body {
    struct body body;
    struct body *inner;
    bool broken;
    struct promised_body **self;
};

static ssize_t peek(struct body *body, const void **data, size_t max)
{
    struct promised_body *p = container_of(body, struct promised_body, body);
    if (p->inner)
        return p->inner->ops->peek(p->inner, data, max);
    return p->broken ? ERR_IO : ERR_AGAIN;
}

static void advance(struct body *body, size_t n)
{
    struct promised_body *p = container_of(body, struct promised_body, body);
    assert(p->inner);
    p->inner->ops->advance(p->inner, n);
}

static i64 run(struct body *body, int *fd, u64 *offset)
{
    struct promised_body *p = container_of(body, struct promised_body, body);
    return p->inner && p->inner->ops->run ? p->inner->ops->run(p->inner, fd, offset) : 0;
}

static void body_close(struct body *body)
{
    struct promised_body *p = container_of(body, struct promised_body, body);
    if (p->inner)
        p->inner->ops->close(p->inner);
    *p->self = NULL;
    free(p);
}

struct body *promised_body(struct promised_body **self)
{
    static const struct body_ops ops = {
        .peek = peek, .advance = advance, .run = run, .close = body_close};
    struct promised_body *p = calloc(1, sizeof(*p));
    *self = p;
    if (!p)
        return NULL;
    p->body.ops = &ops;
    p->self = self;
    return &p->body;
}

void promised_keep(struct promised_body *p, struct body *inner)
{
    assert(!p->inner && !p->broken);
    p->inner = inner;
}

void promised_break(struct promised_body *p)
{
    assert(!p->inner);
    p->broken = true;
}
