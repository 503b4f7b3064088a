/* http_upload.c - a request body that its handler reads as it comes, whatever its size.
 *
 * Nothing is read from the socket before the handler wants it, so a slow registry slows its pusher
 * down, and memory is one read of the connection's own. When there is nothing to read, the
 * connection waits for its socket (http_conn.c) and says so when that has bytes. */
#include <assert.h>
#include <string.h>

#include "runtime/http_conn.h"

bool http_upload_begin(struct http_conn *c, const struct http_head *h)
{
    const struct http_server_options *opt = &c->server->opt;
    struct http_exchange *x = c->x;
    if (!opt->streams || x->request.method == HTTP_GET || x->request.method == HTTP_HEAD ||
        !opt->streams(opt->ctx, &x->request))
        return false;
    x->upload = true;
    x->upload_length = h->chunked ? HTTP_LENGTH_UNKNOWN : h->content_length;
    c->chunked = h->chunked;
    c->chunk = (struct http_chunk){.state = HTTP_CHUNK_SIZE};
    c->body_left = h->content_length;
    return true;
}

bool http_upload_is(const struct http_exchange *x)
{
    return x->upload;
}

u64 http_upload_length(const struct http_exchange *x)
{
    return x->upload_length;
}

void http_upload_on(struct http_exchange *x, void (*came)(void *arg), void *arg)
{
    x->upload_came = came;
    x->upload_arg = arg;
}

/* Moves what stands in the view. Returns how much of the body that was, or ERR_PROTO. */
static ssize_t take(struct http_exchange *x, u8 *to, size_t max)
{
    struct http_conn *c = x->conn;
    size_t used = c->view_len < max ? c->view_len : max, n = used;
    const char *data = c->view;
    if (c->chunked) {
        if (http_chunk_read(&c->chunk, c->view, used, &used, &data, &n) != 0)
            return ERR_PROTO;
        x->upload_ended = c->chunk.state == HTTP_CHUNK_DONE;
    } else {
        if (used > c->body_left)
            used = n = (size_t)c->body_left;
        c->body_left -= used;
        x->upload_ended = c->body_left == 0;
    }
    if (n > 0)
        memcpy(to, data, n);
    http_input_consume(c, used);
    return (ssize_t)n;
}

/* Waits for the socket; a pusher that sends nothing for long is let go. */
static void starve(struct http_exchange *x)
{
    struct http_conn *c = x->conn;
    if (x->expect) {
        x->expect = false;
        http_conn_continue(c);
    }
    x->upload_wanted = true;
    c->deadline = uv_now(c->server->loop) + c->server->opt.stall_timeout_ms;
    http_conn_queue(c);
}

ssize_t http_upload_read(struct http_exchange *x, void *buf, size_t max)
{
    struct http_conn *c = x->conn;
    size_t got = 0;
    ssize_t n = 0;
    assert(x->upload && max > 0 && x->status == 0);
    while (got < max && n >= 0 && !x->upload_ended) {
        int need;
        n = c->view_len > 0 ? 1 : http_input_fill(c, &need);
        if (n == 0)
            n = ERR_EOF;
        if (n > 0)
            n = take(x, (u8 *)buf + got, max - got);
        if (n > 0)
            got += (size_t)n;
    }
    if (!c->running && http_input_settle(c) != 0)
        return ERR_NOMEM;
    if (got > 0) {
        c->deadline = 0;
        x->upload_wanted = false;
        return (ssize_t)got;
    }
    if (n == ERR_AGAIN)
        starve(x);
    return x->upload_ended ? 0 : n;
}
