/* http_client_fixture.h - a loop, a client, a raw server, and a transfer that writes down what it
 * saw.
 *
 * Every callback checks the promises that hold always: on no stack of a call into the module, head
 * before data, nothing after the end or a cancel, no query in a sentence. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/http_client.h"
#include "tests/unit/raw_server.h"

#define QUERY "secret=s3cr3t"

static uv_loop_t loop;
static struct http_client *client;
static struct raw_server *server;
static bool in_call; /* a call into the module is on the stack */

struct fetch {
    struct http_transfer *t;
    bool head, ended, canceled, paused;
    unsigned n_data;
    int status;
    u64 content_length;
    char fields[8192]; /* "name=value\n" */
    char *body;
    size_t len, cap;
    int err;
    char why[1100];
    /* What the test wants done. */
    void (*on_head)(struct fetch *f);
    enum http_data_verdict (*on_data)(struct fetch *f); /* before anything is taken */
    void (*on_end)(struct fetch *f);
};

static inline void fetch_cancel(struct fetch *f)
{
    f->canceled = true;
    in_call = true;
    http_transfer_cancel(f->t);
    in_call = false;
}

static inline void fetch_resume(struct fetch *f)
{
    in_call = true;
    http_transfer_resume(f->t);
    in_call = false;
}

static void fetch_head(void *arg, const struct http_response *r)
{
    struct fetch *f = arg;

    assert_false(in_call || f->head || f->ended || f->canceled);
    f->head = true;
    f->status = r->status;
    f->content_length = r->content_length;
    for (size_t i = 0; i < r->n_fields; i++)
        snprintf(f->fields + strlen(f->fields), sizeof(f->fields) - strlen(f->fields), "%s=%s\n",
                 r->fields[i].name, r->fields[i].value);
    if (f->on_head != NULL)
        f->on_head(f);
}

static enum http_data_verdict fetch_data(void *arg, const void *data, size_t len)
{
    struct fetch *f = arg;

    assert_true(f->head && len > 0);
    assert_false(in_call || f->ended || f->canceled);
    f->n_data++;
    if (f->on_data != NULL && f->on_data(f) == HTTP_DATA_PAUSE) {
        f->paused = true;
        return HTTP_DATA_PAUSE;
    }
    if (f->cap < f->len + len + 1) {
        f->cap = 2 * (f->len + len + 1);
        f->body = realloc(f->body, f->cap);
        assert_non_null(f->body);
    }
    memcpy(f->body + f->len, data, len);
    f->len += len;
    f->body[f->len] = '\0';
    return HTTP_DATA_TAKEN;
}

static void fetch_end(void *arg, int err, const char *why)
{
    struct fetch *f = arg;

    assert_false(in_call || f->ended || f->canceled);
    assert_true(err != 0 || f->head);
    assert_null(strstr(why, "s3cr3t"));
    f->ended = true;
    f->err = err;
    snprintf(f->why, sizeof(f->why), "%s", why);
    if (f->on_end != NULL)
        f->on_end(f);
}

static void fetch_free(struct fetch *f)
{
    free(f->body);
    f->body = NULL;
}

/* Fills url and events; `path` NULL: /p with a query. */
static struct http_transfer_options options(struct fetch *f, char url[256], const char *path)
{
    snprintf(url, 256, "%s://%s:%u%s", server->tls != NULL ? "https" : "http",
             server->tls != NULL ? "localhost" : "127.0.0.1", server->port,
             path == NULL ? "/p?" QUERY : path);
    return (struct http_transfer_options){
        .url = url,
        .on = {.head = fetch_head, .data = fetch_data, .end = fetch_end},
        .arg = f,
    };
}

static void fetch_start_with(struct fetch *f, const struct http_transfer_options *opt)
{
    int err;

    in_call = true;
    err = http_transfer_start(client, opt, &f->t);
    in_call = false;
    assert_int_equal(err, 0);
}

static inline void fetch_start(struct fetch *f)
{
    char url[256];
    struct http_transfer_options opt = options(f, url, NULL);

    fetch_start_with(f, &opt);
}

static void on_too_long(uv_timer_t *timer)
{
    (void)timer;
    fprintf(stderr, "the test waits for ever\n");
    abort();
}

/* Runs the loop until `*flag`. */
static void run_until(const bool *flag)
{
    uv_timer_t guard;

    uv_timer_init(&loop, &guard);
    uv_timer_start(&guard, on_too_long, 30000, 0);
    while (!*flag)
        uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&guard, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void on_nap_over(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

static inline void run_for(u64 ms)
{
    bool over = false;
    uv_timer_t timer;

    uv_timer_init(&loop, &timer);
    timer.data = &over;
    uv_timer_start(&timer, on_nap_over, ms, 0);
    while (!over)
        uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void begin_with(void (*script)(struct raw_peer *p), SSL_CTX *tls, unsigned max_per_host)
{
    struct http_client_options opt = {
        .loop = &loop, .user_agent = "dray/test", .max_per_host = max_per_host};

    server = raw_server_start(script, AF_INET, tls);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(http_client_new(&client, &opt), 0);
}

static inline void begin(void (*script)(struct raw_peer *p))
{
    begin_with(script, NULL, 0);
}

static void end(void)
{
    http_client_del(client);
    client = NULL;
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0); /* every handle is closed */
    raw_server_stop(server);
}

/* One GET of one script, from start to end. */
static inline void fetch_all(struct fetch *f, void (*script)(struct raw_peer *p))
{
    begin(script);
    fetch_start(f);
    run_until(&f->ended);
    end();
}
