/* http_rig.h - a server on a loop of its own and raw clients beside it, in one thread.
 *
 * Every wait pumps the loop, so that a test reads like a conversation and has no race. Waits end
 * after RIG_PATIENCE_MS: then the test fails. rig_stop() proves that nothing leaks: the loop closes
 * clean. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/limits.h"
#include "runtime/http_server.h"
#include "runtime/tls.h"

#define RIG_PATIENCE_MS 20000
#define RIG_TEXT_MAX    (4 * 1024 * 1024)

struct rig {
    uv_loop_t loop;
    struct http_server *server;
    u16 port;
    struct http_exchange *waiting[300]; /* asked for /later, in order */
    unsigned n_waiting;
    unsigned handled, ended, ended_complete, bodies_closed;
    struct http_ended last;
    char seen[2048]; /* "METHOD target body\n" of each request */
    struct step_body *body;
    void (*on_request)(struct rig *r, struct http_exchange *x); /* instead of the routes below */
    bool gone, drained;
    char *texts[256]; /* of its clients, freed at the end */
    unsigned n_texts;
};

/* --- a body that tests steer ------------------------------------------------------------------ */

struct step_body {
    struct body body;
    struct rig *rig;
    u64 at, released, total; /* bytes at < released may be shown; the end is at `total` */
    int fail;                /* an error, once all that is released is taken */
    char block[65536];
};

/* Byte i of every test body. */
static inline char rig_byte(u64 i)
{
    return (char)('a' + i % 23);
}

static inline ssize_t step_peek(struct body *b, const void **data, size_t max)
{
    struct step_body *s = container_of(b, struct step_body, body);
    assert_true(max > 0);
    if (s->at == s->total)
        return 0;
    if (s->at == s->released)
        return s->fail ? s->fail : ERR_AGAIN;
    u64 n = s->released - s->at;
    if (n > sizeof(s->block))
        n = sizeof(s->block);
    if (n > max)
        n = max;
    for (u64 i = 0; i < n; i++)
        s->block[i] = rig_byte(s->at + i);
    *data = s->block;
    return (ssize_t)n;
}

static inline void step_advance(struct body *b, size_t n)
{
    struct step_body *s = container_of(b, struct step_body, body);
    s->at += n;
    assert_true(s->at <= s->released);
}

static inline void step_close(struct body *b)
{
    struct step_body *s = container_of(b, struct step_body, body);
    s->rig->bodies_closed++;
    s->rig->body = NULL;
    free(s);
}

static inline struct body *step_body(struct rig *r, u64 released, u64 total)
{
    static const struct body_ops ops = {
        .peek = step_peek, .advance = step_advance, .close = step_close};
    struct step_body *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    s->body.ops = &ops;
    s->rig = r;
    s->released = released;
    s->total = total;
    r->body = s;
    return &s->body;
}

/* --- the server ------------------------------------------------------------------------------- */

static inline void rig_ended(void *arg, const struct http_ended *e)
{
    struct rig *r = arg;
    r->ended++;
    r->ended_complete += e->complete;
    r->last = *e;
}

static inline bool rig_asks(const struct http_request *q, const char *path)
{
    return q->target.n == strlen(path) && memcmp(q->target.p, path, q->target.n) == 0;
}

static inline void rig_handler(void *ctx, struct http_exchange *x)
{
    static const char *const methods[] = {"GET",   "HEAD",   "POST",   "PUT",
                                          "PATCH", "DELETE", "OPTIONS"};
    struct rig *r = ctx;
    const struct http_request *q = http_request(x);
    size_t have = strlen(r->seen);
    snprintf(r->seen + have, sizeof(r->seen) - have, "%s %.*s %.*s\n", methods[q->method],
             (int)q->target.n, q->target.p, (int)(q->body.n < 64 ? q->body.n : 64), q->body.p);
    r->handled++;
    http_on_end(x, rig_ended, r);
    if (r->on_request)
        r->on_request(r, x);
    else if (rig_asks(q, "/later"))
        r->waiting[r->n_waiting++ % countof(r->waiting)] = x;
    else if (rig_asks(q, "/stream")) /* the test releases the bytes */
        http_reply(x, 200, step_body(r, 0, 1000), 1000);
    else if (rig_asks(q, "/big"))
        http_reply(x, 200, step_body(r, 64 * MIB, 64 * MIB), 64 * MIB);
    else if (rig_asks(q, "/chunked"))
        http_reply(x, 200, step_body(r, 200000, 200000), HTTP_LENGTH_UNKNOWN);
    else
        http_reply_text(x, 200, "text/plain", "hello\n", 6);
}

static inline void rig_new(struct rig *r, struct http_server_options *opt)
{
    memset(r, 0, sizeof(*r));
    assert_int_equal(uv_loop_init(&r->loop), 0);
    opt->loop = &r->loop;
    opt->handler = rig_handler;
    opt->ctx = r;
    assert_int_equal(http_server_new(&r->server, opt), 0);
}

static inline void rig_start(struct rig *r, struct http_server_options *opt)
{
    char why[256];
    rig_new(r, opt);
    assert_int_equal(http_listen_tcp(r->server, "127.0.0.1:0", NULL, why), 0);
    r->port = http_server_port(r->server);
    assert_int_not_equal(r->port, 0);
}

static inline void rig_turn(struct rig *r)
{
    uv_run(&r->loop, UV_RUN_NOWAIT);
}

static inline u64 rig_ms(void)
{
    return uv_hrtime() / 1000000;
}

/* Pumps the loop until the condition holds. */
#define rig_until(r, condition)                                                                    \
    for (u64 rig_since = rig_ms(); !(condition); rig_turn(r)) {                                    \
        if (rig_ms() - rig_since > RIG_PATIENCE_MS)                                                \
            fail_msg("waited in vain for " #condition);                                            \
        usleep(100);                                                                               \
    }

static inline void rig_rest(struct rig *r, u64 ms)
{
    for (u64 since = rig_ms(); rig_ms() - since < ms; usleep(500))
        rig_turn(r);
}

static inline void rig_gone(void *arg)
{
    struct rig *r = arg;
    r->gone = true;
}

static inline void rig_drained(void *arg)
{
    struct rig *r = arg;
    r->drained = true;
}

/* Deletes the server if it still is, and closes the loop. */
static inline void rig_stop(struct rig *r)
{
    if (!r->gone)
        http_server_del(r->server, rig_gone, r);
    rig_until(r, r->gone);
    while (r->n_texts > 0)
        munmap(r->texts[--r->n_texts], RIG_TEXT_MAX + 1);
    assert_int_equal(r->handled, r->ended);
    assert_null(r->body);
    assert_int_equal(uv_run(&r->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&r->loop), 0);
}

static inline struct http_server_stats rig_stats(struct rig *r)
{
    struct http_server_stats s;
    http_server_stats(r->server, &s);
    return s;
}

/* --- a client --------------------------------------------------------------------------------- */

struct client {
    struct rig *rig;
    int fd;
    char *text; /* all that came, NUL-terminated */
    size_t n;
    bool ended; /* by FIN */
    int error;  /* errno that receiving ended with, ECONNRESET for RST */
};

static inline void client_open_fd(struct client *c, struct rig *r, int fd)
{
    memset(c, 0, sizeof(*c));
    c->rig = r;
    c->fd = fd;
    /* Only what is used of it becomes memory: two hundred clients are cheap. */
    c->text = mmap(NULL, RIG_TEXT_MAX + 1, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(c->text != MAP_FAILED);
    assert_true(r->n_texts < countof(r->texts));
    r->texts[r->n_texts++] = c->text;
    c->text[0] = '\0';
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
}

/* `buffer` bytes of receive buffer; 0: the system's. */
static inline void client_open_small(struct client *c, struct rig *r, int buffer)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(r->port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (buffer)
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    client_open_fd(c, r, fd);
}

static inline void client_open(struct client *c, struct rig *r)
{
    client_open_small(c, r, 0);
}

static inline void client_send_n(struct client *c, const void *data, size_t n)
{
    const char *p = data;
    for (u64 since = rig_ms(); n > 0;) {
        ssize_t rc = send(c->fd, p, n, MSG_NOSIGNAL);
        if (rc > 0) {
            p += rc;
            n -= (size_t)rc;
            continue;
        }
        if (errno != EAGAIN)
            return; /* refused on the way: what the server answered is what counts */
        assert_true(rig_ms() - since < RIG_PATIENCE_MS);
        rig_turn(c->rig);
    }
}

static inline void client_send(struct client *c, const char *text)
{
    client_send_n(c, text, strlen(text));
}

/* Takes what has come; at most `max` bytes. */
static inline void client_take(struct client *c, size_t max)
{
    rig_turn(c->rig);
    while (max > 0 && !c->ended && !c->error && c->n < RIG_TEXT_MAX) {
        size_t room = RIG_TEXT_MAX - c->n;
        ssize_t rc = recv(c->fd, c->text + c->n, room < max ? room : max, 0);
        if (rc < 0 && errno == EAGAIN)
            return;
        if (rc < 0)
            c->error = errno;
        if (rc == 0)
            c->ended = true;
        if (rc <= 0)
            return;
        c->n += (size_t)rc;
        c->text[c->n] = '\0';
        max -= (size_t)rc;
    }
}

static inline unsigned client_count(const struct client *c, const char *what)
{
    unsigned n = 0;
    for (const char *p = c->text; (p = strstr(p, what)); p++)
        n++;
    return n;
}

/* Waits until `what` has come `times` times. */
static inline void client_expect_n(struct client *c, const char *what, unsigned times)
{
    for (u64 since = rig_ms(); client_count(c, what) < times; client_take(c, SIZE_MAX)) {
        if (c->ended || c->error || rig_ms() - since > RIG_PATIENCE_MS)
            fail_msg("no \"%s\" in: %.2000s (ended %d, errno %d)", what, c->text, c->ended,
                     c->error);
        usleep(100);
    }
}

static inline void client_expect(struct client *c, const char *what)
{
    client_expect_n(c, what, 1);
}

/* Waits for the end, which must be FIN. */
static inline void client_expect_fin(struct client *c)
{
    for (u64 since = rig_ms(); !c->ended; client_take(c, SIZE_MAX)) {
        if (c->error || rig_ms() - since > RIG_PATIENCE_MS)
            fail_msg("no FIN but errno %d after: %.2000s", c->error, c->text);
        usleep(100);
    }
}

static inline void client_forget(struct client *c)
{
    c->n = 0;
    c->text[0] = '\0';
}

/* Bytes of the body after the first blank line. */
static inline size_t client_body_bytes(const struct client *c)
{
    const char *blank = strstr(c->text, "\r\n\r\n");
    return blank ? c->n - (size_t)(blank + 4 - c->text) : 0;
}

static inline void client_close(struct client *c)
{
    close(c->fd);
}

/* Closes with RST. */
static inline void client_slam(struct client *c)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    client_close(c);
}
