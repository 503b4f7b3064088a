/* body.h - what an answer is made of: bytes that a connection pulls when its socket can take them.
 *
 * Why: back-pressure for free (h2o's idea). A body never pushes; memory, a stored blob, a blob
 * being filled and an upstream all look alike to the connection, and are tested without a socket.
 */
#pragma once

#include <sys/types.h>

#include "proto/err.h"

struct body;

struct body_ops {
    /* Shows the next bytes, at most `max` (> 0), without consuming them: `*data` is borrowed until
     * the next call on this thread to any body, so it may stand in a buffer shared by all. Peeking
     * again without advance shows the same bytes again (perhaps more of them).
     *
     * > 0: that many. 0: the end. ERR_AGAIN: nothing yet; whoever owns the body calls http_wake()
     * when there is. Any other error: the answer is cut short, by FIN. */
    ssize_t (*peek)(struct body *b, const void **data, size_t max);
    /* `n` bytes of what was shown are sent. */
    void (*advance)(struct body *b, size_t n);
    /* Optional (NULL). Where the next bytes stand in a file, so that the kernel can send them from
     * there without a copy: > 0, how many; 0: none for now, peek; any error as from peek. They do
     * not change, and `*fd` stays open, until the next advance or close, whatever becomes of the
     * body's source; `run` itself may be asked again before that. */
    i64 (*run)(struct body *b, int *fd, u64 *offset);
    /* The connection is done with it, sent to the end or not. Called exactly once; frees. */
    void (*close)(struct body *b);
};

struct body {
    const struct body_ops *ops;
};

/* A body of a copy of `len` bytes. NULL: out of memory. */
struct body *body_copy(const void *data, size_t len);
/* A body of `len` bytes at `data`, released by `release(arg)` at the end (may be NULL). NULL: out
 * of memory, and `release` was not called. */
struct body *body_borrow(const void *data, size_t len, void (*release)(void *arg), void *arg);
