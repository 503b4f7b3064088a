/* body.c - see body.h: the bodies that stand in memory. */
#include "runtime/body.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct memory_body {
    struct body body;
    const char *data;
    size_t len, at;
    void (*release)(void *arg);
    void *arg;
    char copy[];
};

static ssize_t memory_peek(struct body *b, const void **data, size_t max)
{
    struct memory_body *m = container_of(b, struct memory_body, body);
    size_t n = m->len - m->at;
    *data = m->data + m->at;
    return (ssize_t)(n < max ? n : max);
}

static void memory_advance(struct body *b, size_t n)
{
    struct memory_body *m = container_of(b, struct memory_body, body);
    assert(n <= m->len - m->at);
    m->at += n;
}

static void memory_close(struct body *b)
{
    struct memory_body *m = container_of(b, struct memory_body, body);
    if (m->release)
        m->release(m->arg);
    free(m);
}

static const struct body_ops memory_ops = {
    .peek = memory_peek, .advance = memory_advance, .close = memory_close};

struct body *body_copy(const void *data, size_t len)
{
    if (len > SIZE_MAX - sizeof(struct memory_body))
        return NULL;
    struct memory_body *m = malloc(sizeof(*m) + len);
    if (!m)
        return NULL;
    *m = (struct memory_body){.body = {&memory_ops}, .data = m->copy, .len = len};
    if (len > 0)
        memcpy(m->copy, data, len);
    return &m->body;
}

struct body *body_borrow(const void *data, size_t len, void (*release)(void *arg), void *arg)
{
    struct memory_body *m = malloc(sizeof(*m));
    if (!m)
        return NULL;
    *m = (struct memory_body){
        .body = {&memory_ops}, .data = data, .len = len, .release = release, .arg = arg};
    return &m->body;
}
