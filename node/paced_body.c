/* paced_body.c - see paced_body.h. */
#include "node/paced_body.h"

#include <stdlib.h>

struct paced_body {
    struct body body;
    struct body *inner;
    struct pace *pace;
    struct pace_waiter waiter;
};

static ssize_t peek(struct body *body, const void **data, size_t max)
{
    struct paced_body *b = container_of(body, struct paced_body, body);
    if (!pace_is_open_to(b->pace, b->waiter.class, b->waiter.flow)) {
        pace_wait(b->pace, &b->waiter);
        return ERR_AGAIN;
    }
    return b->inner->ops->peek(b->inner, data, max);
}

static void advance(struct body *body, size_t n)
{
    struct paced_body *b = container_of(body, struct paced_body, body);
    pace_take_as(b->pace, b->waiter.class, b->waiter.flow, n);
    b->inner->ops->advance(b->inner, n);
}

static void body_close(struct body *body)
{
    struct paced_body *b = container_of(body, struct paced_body, body);
    pace_leave(&b->waiter);
    b->inner->ops->close(b->inner);
    free(b);
}

struct body *paced_body(struct body *inner, const struct paced_share *share,
                        void (*wake)(void *arg), void *arg)
{
    static const struct body_ops ops = {.peek = peek, .advance = advance, .close = body_close};
    if (!inner || share->pace->rate == 0)
        return inner;
    struct paced_body *b = calloc(1, sizeof(*b));
    if (!b) {
        inner->ops->close(inner);
        return NULL;
    }
    b->body.ops = &ops;
    b->inner = inner;
    b->pace = share->pace;
    b->waiter.open = wake;
    b->waiter.arg = arg;
    b->waiter.class = share->class;
    b->waiter.flow = share->flow;
    return &b->body;
}
