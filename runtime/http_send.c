/* http_send.c - the answer's head and body, to the socket.
 *
 * The body is pulled: shown by peek, written straight from where it stands, advanced by what the
 * socket took. A long run of a file is not sent here but handed over, with a plain TCP socket, to
 * the senders (sender.h); what they find not to be in memory is peeked at. The head, or a
 * chunk's framing, is queued in `out` and goes in the same system call as the bytes after it. A
 * body that has nothing yet does not hold the head back. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "runtime/http_conn.h"

/* What a body is asked for at once: enough to make system calls cheap, little enough to be fair. */
#define PEEK_MAX (256 * KIB)
/* Below this a copy is cheaper than two threads' taking turns. */
#define RUN_MIN (256 * KIB)

static void out_put(struct http_exchange *x, const char *text, size_t n)
{
    assert(x->out_len + n <= x->out_cap);
    memcpy(x->out + x->out_len, text, n);
    x->out_len += (u32)n;
}

static void out_chunk_size(struct http_exchange *x, size_t n)
{
    char size[20];
    int len = snprintf(size, sizeof(size), "%zx\r\n", n);
    out_put(x, size, (size_t)len);
    x->chunk_left = n;
}

static void body_over(struct http_exchange *x)
{
    x->body_ended = true;
    if (x->left == HTTP_LENGTH_UNKNOWN) {
        if (x->chunked)
            out_put(x, "0\r\n\r\n", 5);
        x->left = 0;
    }
    if (x->left > 0)
        x->cut = true;
}

/* Shows the next of the body: > 0 bytes, 0 when nothing more will come, ERR_AGAIN. */
static ssize_t show(struct http_exchange *x, const void **data)
{
    if (x->body_ended)
        return 0;
    if (!x->body || x->left == 0) {
        assert(!x->chunked || !x->body);
        body_over(x);
        return 0;
    }
    size_t max = x->left < PEEK_MAX ? (size_t)x->left : (size_t)PEEK_MAX;
    ssize_t n = x->body->ops->peek(x->body, data, max);
    if (n == ERR_AGAIN)
        return n;
    if (n < 0) {
        x->body_ended = x->cut = true;
        return 0;
    }
    assert((size_t)n <= max);
    if (n == 0) {
        assert(x->chunk_left == 0);
        body_over(x);
        return 0;
    }
    if (x->chunked) {
        if (x->chunk_left == 0)
            out_chunk_size(x, (size_t)n);
        if ((size_t)n > x->chunk_left)
            n = (ssize_t)x->chunk_left;
    }
    return n;
}

/* `w` bytes of `out` and the body went out. */
static void sent(struct http_exchange *x, size_t w)
{
    size_t head = x->out_len - x->out_at;
    x->conn->server->stats.sent_bytes += w;
    x->conn->turn_bytes -= w < x->conn->turn_bytes ? w : x->conn->turn_bytes;
    if (w < head) {
        x->out_at += (u32)w;
        return;
    }
    x->out_at = x->out_len = 0;
    w -= head;
    if (w == 0)
        return;
    x->body->ops->advance(x->body, w);
    x->body_sent += w;
    if (x->left != HTTP_LENGTH_UNKNOWN)
        x->left -= w;
    if (x->chunked) {
        x->chunk_left -= w;
        if (x->chunk_left == 0)
            out_put(x, "\r\n", 2);
    }
}

/* Hands the socket over with the next run of a file. 1: done; 0: not to be done now; ERR_AGAIN: the
 * socket is full; ERR_IO. */
static int hand_over(struct http_exchange *x)
{
    struct http_conn *c = x->conn;
    struct send_job *j = &c->job;
    if (c->ssl || c->local || x->cold || x->body_ended || !x->body || !x->body->ops->run ||
        x->chunked || x->left == HTTP_LENGTH_UNKNOWN || x->left < RUN_MIN)
        return 0;
    i64 n = x->body->ops->run(x->body, &j->file, &j->offset);
    if (n < (i64)RUN_MIN)
        return 0;                 /* also an error: peek will tell */
    if (x->out_len > x->out_at) { /* the head first; it waits in the kernel for what follows */
        size_t head = x->out_len - x->out_at;
        ssize_t w = http_io_write_more(c, x->out + x->out_at, head);
        if (w < 0)
            return (int)w;
        sent(x, (size_t)w);
        if ((size_t)w < head)
            return ERR_AGAIN;
    }
    j->sock = c->fd;
    j->left = (u64)n < x->left ? (u64)n : x->left;
    return senders_submit(c->server->senders, j) == 0;
}

int http_send_back(struct http_exchange *x)
{
    struct send_job *j = &x->conn->job;
    u64 n = atomic_load_explicit(&j->sent, memory_order_relaxed);
    if (n > 0)
        sent(x, n);
    x->cold = j->rc == ERR_AGAIN;
    return j->rc == ERR_IO ? ERR_IO : 0;
}

enum http_sent http_send(struct http_exchange *x)
{
    struct http_conn *c = x->conn;
    for (;;) {
        if (c->turn_bytes == 0)
            return HTTP_SENT_TURN;
        int rc = hand_over(x);
        if (rc)
            return rc > 0 ? HTTP_SENT_AWAY : rc == ERR_AGAIN ? HTTP_SENT_SOCKET : HTTP_SENT_LEFT;
        const void *data = NULL;
        ssize_t n = show(x, &data);
        bool waiting = n == ERR_AGAIN;
        if (waiting)
            n = 0;
        assert(n >= 0);
        if (n > 0)
            x->cold = false;
        /* TLS wants the bytes of a write that it could not finish, all of them. */
        if (waiting && x->owed)
            return HTTP_SENT_BODY;
        size_t head = x->out_len - x->out_at;
        if (head + (size_t)n == 0) {
            if (waiting)
                return HTTP_SENT_BODY;
            return x->cut ? HTTP_SENT_CUT : HTTP_SENT_ALL;
        }
        ssize_t w = http_io_write(c, x->out + x->out_at, head, data, (size_t)n);
        x->owed = w == ERR_AGAIN && c->ssl && n > 0;
        if (w == ERR_AGAIN)
            return HTTP_SENT_SOCKET;
        if (w < 0)
            return x->cut ? HTTP_SENT_CUT : HTTP_SENT_LEFT;
        sent(x, (size_t)w);
        /* A plain socket that took part of it is full; asking again would only be told so. */
        if ((size_t)w < head + (size_t)n && !c->ssl)
            return HTTP_SENT_SOCKET;
    }
}
