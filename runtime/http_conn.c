/* http_conn.c - one connection's states; the diagram stands in http_conn.h.
 *
 * http_conn_run() takes steps until the socket, the body or the handler must be waited for. It is
 * called when the poll handle reports, and at the end of a turn of the loop for connections that
 * were queued (an answer given later, a body that woke, a turn used up); never from inside another
 * call.
 *
 * What is waited for, and how a leaving client is noticed:
 *   HEAD, BODY, LINGER   readable; the end of the stream reads as 0
 *   EXCHANGE, or SENDING while the body has nothing   the other side's FIN or RST. Linux cannot
 * tell a client that closed from one that only shut down its sending side; no registry client does
 * the latter, so both count as left SENDING while the socket is full   writable: a client that
 * closed answers our bytes with RST, and one that only shut down its sending side gets its answer.
 * While a sender has the socket (http_away.c), nothing is polled, and the same holds there.
 * The poll mask is changed only when it must be: libuv needs two system calls for it. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "runtime/http_conn.h"

static void enter(struct http_conn *c, enum http_conn_state next)
{
    static const u16 legal[] = {
        [HTTP_CONN_HANDSHAKE] = 1 << HTTP_CONN_HEAD | 1 << HTTP_CONN_SENDING,
        [HTTP_CONN_HEAD] = 1 << HTTP_CONN_BODY | 1 << HTTP_CONN_EXCHANGE | 1 << HTTP_CONN_SENDING |
                           1 << HTTP_CONN_FAREWELL,
        [HTTP_CONN_BODY] = 1 << HTTP_CONN_EXCHANGE | 1 << HTTP_CONN_SENDING,
        [HTTP_CONN_EXCHANGE] = 1 << HTTP_CONN_SENDING,
        [HTTP_CONN_SENDING] = 1 << HTTP_CONN_HEAD | 1 << HTTP_CONN_FAREWELL,
        [HTTP_CONN_FAREWELL] = 1 << HTTP_CONN_LINGER,
        [HTTP_CONN_LINGER] = 0,
        [HTTP_CONN_CLOSED] = 0,
    };
    assert(next == HTTP_CONN_CLOSED || (legal[c->state] & 1 << next));
    assert(c->state != HTTP_CONN_CLOSED);
    c->state = next;
}

static u64 after(const struct http_conn *c, u32 ms)
{
    return uv_now(c->server->loop) + ms;
}

/* --- waiting --------------------------------------------------------------------------------- */

static void on_poll(uv_poll_t *handle, int status, int events);

static void set_mask(struct http_conn *c, int mask)
{
    if (mask == c->mask)
        return;
    c->mask = mask;
    int rc = uv_poll_start(&c->poll, mask, on_poll);
    assert(rc == 0);
}

/* Waits for `need`. Readable and gone are reported together where that saves a change. */
static void want(struct http_conn *c, int need)
{
    const int both = UV_READABLE | UV_DISCONNECT;
    if ((need & both) == need && c->mask == both)
        return;
    set_mask(c, need == UV_READABLE ? both : need);
}

void http_conn_wake(struct http_conn *c)
{
    if (c->running)
        c->woken = true;
    else if (c->away)
        http_away_wake(c);
    else if (c->state != HTTP_CONN_SENDING || c->waiting) /* else it waits for its socket */
        http_conn_queue(c);
}

void http_conn_queue(struct http_conn *c)
{
    if (c->state == HTTP_CONN_CLOSED || c->running || c->away || !http_link_alone(&c->queue))
        return;
    http_link_add(&c->server->ready, &c->queue);
    http_server_hurry(c->server);
}

/* --- the end --------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
    struct http_conn *c = container_of((uv_poll_t *)handle, struct http_conn, poll);
    http_link_remove(&c->link);
    struct http_server *s = c->server;
    free(c->in);
    free(c);
    http_server_handle_closed(s);
}

void http_conn_close(struct http_conn *c)
{
    if (c->state == HTTP_CONN_CLOSED)
        return;
    if (c->away) { /* the server is deleted: the senders have ended */
        c->away = false;
        (void)!http_send_back(c->x);
    }
    enter(c, HTTP_CONN_CLOSED);
    if (c->x)
        http_exchange_end(c->x, false);
    http_link_remove(&c->queue);
    uv_close((uv_handle_t *)&c->poll, on_closed);
    SSL_free(c->ssl);
    c->ssl = NULL;
    close(c->fd);
    http_address_give(c->server, c->address);
    http_server_closed(c->server);
}

/* The client is gone. */
static void left(struct http_conn *c)
{
    if (c->x)
        c->server->stats.clients_left++;
    http_conn_close(c);
}

static void say_goodbye(struct http_conn *c)
{
    enter(c, HTTP_CONN_FAREWELL);
    c->view_len = 0;
    c->taken = 0;
    c->deadline = after(c, c->server->opt.drain_timeout_ms);
}

/* --- requests -------------------------------------------------------------------------------- */

/* Answers what is no request, or will not become one, and lets the connection end. */
static void refuse(struct http_conn *c, enum http_refusal why)
{
    c->server->refused[why]++;
    if (http_refusal_status(why) == 408)
        c->server->stats.timeouts++;
    else
        c->server->stats.bad_requests++;
    if (!c->x)
        c->x = http_exchange_new(c, NULL, "", 0);
    if (!c->x) {
        http_conn_close(c);
        return;
    }
    enter(c, HTTP_CONN_SENDING);
    c->deadline = 0;
    c->stall_taken = 0;
    c->x->close = true;
    http_reply_oci_status(c->x, http_refusal_status(why), OCI_UNSUPPORTED, http_refusal_text(why),
                          NULL);
}

static void hand_over(struct http_conn *c)
{
    struct http_server *s = c->server;
    enter(c, HTTP_CONN_EXCHANGE);
    c->deadline = 0;
    c->stall_taken = 0;
    c->turn_requests--;
    s->stats.requests++;
    s->opt.handler(s->opt.ctx, c->x);
}

/* A body up to LIMIT_HTTP_BODY_BYTES is read for the handler, a larger one if it says so; that of a
 * GET or HEAD means nothing (RFC 9110 section 9.3.1) and is thrown away. */
static enum http_refusal expect_body(struct http_conn *c, const struct http_head *h)
{
    enum http_method m = c->x->request.method;
    c->discard = m == HTTP_GET || m == HTTP_HEAD;
    c->chunked = h->chunked;
    c->chunk = (struct http_chunk){.state = HTTP_CHUNK_SIZE};
    c->body_left = h->content_length;
    c->taken = 0;
    u64 max = c->discard ? LIMIT_HTTP_DRAIN_BYTES : LIMIT_HTTP_BODY_BYTES;
    if (h->content_length <= max)
        return HTTP_REFUSE_NONE;
    const struct http_server_options *opt = &c->server->opt;
    if (c->discard || !opt->large || h->content_length > opt->large_bytes ||
        !opt->large(opt->ctx, &c->x->request))
        return HTTP_REFUSE_BODY_LONG;
    return http_exchange_large(c->x, h->content_length) ? HTTP_REFUSE_NONE : HTTP_REFUSE_LARGE_BUSY;
}

void http_conn_continue(struct http_conn *c)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    /* Everything sent before has been taken by the kernel, so 25 bytes fit or the client is broken.
     */
    if (http_io_write(c, text, sizeof(text) - 1, NULL, 0) != (ssize_t)sizeof(text) - 1)
        c->broken = true;
}

static bool begin_request(struct http_conn *c, size_t head_len)
{
    struct http_server *s = c->server;
    enum http_refusal why = HTTP_REFUSE_NONE;
    if (http_head_parse(&s->head, &c->scan, c->view, head_len, &why) != 0) {
        refuse(c, why);
        return true;
    }
    c->x = http_exchange_new(c, &s->head, c->view, head_len);
    if (!c->x) {
        http_conn_close(c);
        return false;
    }
    http_input_consume(c, head_len);
    c->scan = (struct http_scan){0};
    if (!s->head.chunked && s->head.content_length == 0) {
        hand_over(c);
        return true;
    }
    if (http_upload_begin(c, &s->head)) {
        hand_over(c);
        return true;
    }
    why = expect_body(c, &s->head);
    if (why) {
        refuse(c, why);
        return true;
    }
    enter(c, HTTP_CONN_BODY);
    c->deadline = after(c, s->opt.body_timeout_ms);
    if (c->x->expect && c->view_len == 0)
        http_conn_continue(c);
    if (c->broken)
        left(c);
    return !c->broken;
}

/* The handler or the body has the next word; meanwhile the client may leave. */
static void wait_owner(struct http_conn *c)
{
    c->waiting = true;
    want(c, c->x->upload_wanted ? UV_READABLE : UV_DISCONNECT);
}

static void next_turn(struct http_conn *c)
{
    http_link_add(&c->server->ready, &c->queue);
    http_server_hurry(c->server);
}

/* Reads more. > 0: there is more; ERR_AGAIN: waiting is arranged; else there is nothing to come. */
static ssize_t fill(struct http_conn *c)
{
    int need = UV_READABLE;
    ssize_t n = http_input_fill(c, &need);
    if (n == ERR_AGAIN)
        want(c, need);
    return n;
}

/* --- steps: true means go on ----------------------------------------------------------------- */

static bool step_head(struct http_conn *c)
{
    struct http_server *s = c->server;
    size_t head_len = 0;
    enum http_refusal why = HTTP_REFUSE_NONE;
    if (c->turn_requests == 0) {
        next_turn(c);
        return false;
    }
    if (c->view_len > 0) {
        int rc = http_head_scan(&c->scan, c->view, c->view_len, &head_len, &why);
        if (rc == 0)
            return begin_request(c, head_len);
        if (rc == ERR_PROTO) {
            refuse(c, why);
            return true;
        }
    }
    bool first = c->view_len == 0;
    ssize_t n = fill(c);
    if (n == ERR_AGAIN)
        return false;
    if (n <= 0) {
        left(c);
        return false;
    }
    if (first)
        c->deadline = after(c, s->opt.head_timeout_ms);
    return true;
}

/* Takes what stands in the view. 0: more must come, or `*done`. */
static int take_body(struct http_conn *c, bool *done, enum http_refusal *why)
{
    size_t used = c->view_len, n = used;
    const char *data = c->view;
    *why = HTTP_REFUSE_BODY_LONG;
    if (c->chunked) {
        if (http_chunk_read(&c->chunk, c->view, c->view_len, &used, &data, &n) != 0) {
            *why = HTTP_REFUSE_CHUNK;
            return ERR_PROTO;
        }
        *done = c->chunk.state == HTTP_CHUNK_DONE;
    } else {
        if (used > c->body_left)
            used = n = (size_t)c->body_left;
        c->body_left -= used;
        *done = c->body_left == 0;
    }
    c->taken += used;
    if (c->taken > LIMIT_HTTP_DRAIN_BYTES && !c->x->large)
        return ERR_TOOBIG;
    int rc = c->discard ? 0 : http_exchange_body(c->x, data, n);
    http_input_consume(c, used);
    return rc;
}

static bool step_body(struct http_conn *c)
{
    enum http_refusal why;
    while (c->view_len > 0) {
        bool done = false;
        int rc = take_body(c, &done, &why);
        if (rc == ERR_NOMEM) {
            http_conn_close(c);
            return false;
        }
        if (rc) {
            refuse(c, why);
            return true;
        }
        if (done) {
            hand_over(c);
            return true;
        }
    }
    ssize_t n = fill(c);
    if (n == ERR_AGAIN)
        return false;
    if (n <= 0)
        left(c);
    return n > 0;
}

static void finish(struct http_conn *c, bool complete)
{
    bool close_after = c->x->close;
    c->complete = complete;
    http_exchange_end(c->x, complete);
    if (c->state == HTTP_CONN_CLOSED)
        return; /* its owner deleted the server */
    if (close_after || !complete || c->server->draining) {
        say_goodbye(c);
        return;
    }
    enter(c, HTTP_CONN_HEAD);
    c->deadline =
        after(c, c->view_len ? c->server->opt.head_timeout_ms : c->server->opt.idle_timeout_ms);
}

/* A window of time in which the reader must take HTTP_STALL_BYTES. */
static void watch_stall(struct http_conn *c)
{
    i64 taken = http_io_taken(c);
    if (c->deadline && taken < c->stall_taken + HTTP_STALL_BYTES)
        return;
    c->stall_taken = taken;
    c->deadline = after(c, c->server->opt.stall_timeout_ms);
}

static bool step_sending(struct http_conn *c)
{
    c->woken = false;
    if (c->recalled) {
        finish(c, false);
        return true;
    }
    if (c->broken) {
        left(c);
        return false;
    }
    switch (http_send(c->x)) {
    case HTTP_SENT_ALL: finish(c, true); return true;
    case HTTP_SENT_CUT: finish(c, false); return true;
    case HTTP_SENT_LEFT: left(c); return false;
    case HTTP_SENT_SOCKET:
        watch_stall(c);
        want(c, UV_WRITABLE);
        return false;
    case HTTP_SENT_BODY:
        c->deadline = 0;
        if (c->woken) {
            next_turn(c);
            return false;
        }
        wait_owner(c);
        return false;
    case HTTP_SENT_AWAY:
        watch_stall(c);
        http_away_begin(c);
        return false;
    case HTTP_SENT_TURN: next_turn(c); return false;
    }
    return false;
}

static bool step_farewell(struct http_conn *c)
{
    int need = UV_WRITABLE;
    if (http_io_farewell(c, &need) == ERR_AGAIN) {
        want(c, need);
        return false;
    }
    enter(c, HTTP_CONN_LINGER);
    c->readable = true;
    return true;
}

/* Closing with unread bytes would send RST, which destroys what the client has not read yet. */
static bool step_linger(struct http_conn *c)
{
    SSL *ssl = c->ssl;
    int need;
    c->ssl = NULL; /* what still comes need not be understood */
    ssize_t n = c->readable ? http_io_read(c, c->server->input, HTTP_READ_BYTES, &need) : ERR_AGAIN;
    c->ssl = ssl;
    if (n == ERR_AGAIN) {
        c->readable = false;
        want(c, UV_READABLE);
        return false;
    }
    if (n > 0)
        c->taken += (u64)n;
    if (n <= 0 || c->taken > LIMIT_HTTP_DRAIN_BYTES) {
        http_conn_close(c);
        return false;
    }
    return true;
}

/* The handshake is over, or was not needed. */
static void begin_http(struct http_conn *c)
{
    enter(c, HTTP_CONN_HEAD);
    c->deadline = after(c, c->server->opt.idle_timeout_ms);
    c->readable = true; /* the request may have come with the end of the handshake */
}

static bool step_handshake(struct http_conn *c)
{
    int need = UV_READABLE;
    int rc = c->server->opt.plain_too && !c->peeked ? http_io_look(c) : 0;
    if (rc == 0)
        rc = http_io_handshake(c, &need);
    if (rc == ERR_AGAIN) {
        want(c, need);
        return false;
    }
    if (rc > 0) { /* plain */
        SSL_free(c->ssl);
        c->ssl = NULL;
    }
    if (rc >= 0) {
        begin_http(c);
        return true;
    }
    c->server->stats.tls_failures++;
    if (rc == ERR_PROTO) {
        SSL_free(c->ssl);
        c->ssl = NULL;
        refuse(c, HTTP_REFUSE_HTTPS_PORT);
        return true;
    }
    http_conn_close(c);
    return false;
}

static bool step(struct http_conn *c)
{
    switch (c->state) {
    case HTTP_CONN_HANDSHAKE: return step_handshake(c);
    case HTTP_CONN_HEAD: return step_head(c);
    case HTTP_CONN_BODY: return step_body(c);
    case HTTP_CONN_EXCHANGE:
        if (c->broken) {
            left(c);
            return false;
        }
        if (!c->x->status) {
            wait_owner(c);
            return false;
        }
        enter(c, HTTP_CONN_SENDING);
        return true;
    case HTTP_CONN_SENDING: return step_sending(c);
    case HTTP_CONN_FAREWELL: return step_farewell(c);
    case HTTP_CONN_LINGER: return step_linger(c);
    case HTTP_CONN_CLOSED: return false;
    }
    return false;
}

void http_conn_run(struct http_conn *c)
{
    assert(!c->running);
    if (c->state == HTTP_CONN_CLOSED)
        return;
    c->running = true;
    c->waiting = false;
    c->turn_bytes = LIMIT_HTTP_TURN_BYTES;
    c->turn_requests = HTTP_TURN_REQUESTS;
    while (step(c))
        ;
    if (c->state != HTTP_CONN_CLOSED && http_input_settle(c) != 0)
        http_conn_close(c);
    c->running = false;
}

/* --- what happens to it ---------------------------------------------------------------------- */

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct http_conn *c = container_of(handle, struct http_conn, poll);
    if (status < 0) {
        left(c);
        return;
    }
    if (c->waiting && (events & UV_DISCONNECT)) {
        left(c);
        return;
    }
    if (c->waiting) { /* a pipelined request, which waits in the kernel; or more of an upload */
        struct http_exchange *x = c->x;
        bool wanted = x->upload_wanted;
        c->readable = true;
        set_mask(c, UV_DISCONNECT);
        x->upload_wanted = false;
        if (wanted && x->upload_came)
            x->upload_came(x->upload_arg);
        return;
    }
    if (events & (UV_READABLE | UV_DISCONNECT))
        c->readable = true;
    if (c->state == HTTP_CONN_HANDSHAKE) {
        if (!http_link_alone(&c->queue))
            return;
        http_link_add(&c->server->handshakes, &c->queue);
        http_server_hurry(c->server);
        return;
    }
    http_link_remove(&c->queue);
    http_conn_run(c);
}

void http_conn_expire(struct http_conn *c)
{
    c->deadline = 0;
    switch (c->state) {
    case HTTP_CONN_HEAD:
        if (c->view_len == 0) {
            say_goodbye(c);
            break;
        }
        refuse(c, HTTP_REFUSE_HEAD_SLOW);
        break;
    case HTTP_CONN_BODY: refuse(c, HTTP_REFUSE_BODY_SLOW); break;
    case HTTP_CONN_SENDING:
        if (http_io_taken(c) >= c->stall_taken + HTTP_STALL_BYTES) {
            watch_stall(c);
            return;
        }
        c->server->stats.timeouts++;
        if (c->away) {
            http_away_recall(c);
            return;
        }
        finish(c, false);
        break;
    case HTTP_CONN_HANDSHAKE:
        c->server->stats.timeouts++;
        http_conn_close(c);
        return;
    case HTTP_CONN_LINGER: /* the loop may have been late, not the client: what came is taken */
        c->readable = true;
        while (step_linger(c))
            ;
        http_conn_close(c);
        return;
    case HTTP_CONN_EXCHANGE:
    case HTTP_CONN_FAREWELL:
    case HTTP_CONN_CLOSED: http_conn_close(c); return;
    }
    http_conn_queue(c);
}

void http_conn_drain(struct http_conn *c)
{
    if (c->state == HTTP_CONN_HANDSHAKE) {
        http_conn_close(c);
    } else if (c->state == HTTP_CONN_HEAD && c->view_len == 0) {
        say_goodbye(c);
        http_conn_queue(c);
    }
}

int http_conn_open(struct http_server *s, int fd, const union http_sockaddr *peer,
                   struct tls_context *tls, bool local, struct http_address *address)
{
    struct http_conn *c = calloc(1, sizeof(*c));
    if (!c) {
        close(fd);
        return ERR_NOMEM;
    }
    c->server = s;
    c->fd = fd;
    c->job.done = http_away_done;
    c->peer = *peer;
    c->local = local;
    http_link_init(&c->queue);
    if (tls && !(c->ssl = tls_context_accept(tls)))
        goto failed;
    if (c->ssl && SSL_set_fd(c->ssl, fd) != 1)
        goto failed;
    if (uv_poll_init(s->loop, &c->poll, fd) != 0)
        goto failed;
    s->handles++;
    http_link_add(&s->conns, &c->link);
    s->stats.open++;
    c->address = address;
    c->complete = true;
    c->state = c->ssl ? HTTP_CONN_HANDSHAKE : HTTP_CONN_HEAD;
    c->deadline = after(c, c->ssl ? s->opt.handshake_timeout_ms : s->opt.idle_timeout_ms);
    want(c, UV_READABLE);
    return 0;
failed:
    SSL_free(c->ssl);
    free(c);
    close(fd);
    return ERR_NOMEM;
}
