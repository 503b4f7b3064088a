/* http_client.c - see http_client.h: libcurl's multi socket interface on a libuv loop.
 *
 * libcurl names the sockets it waits for (one uv_poll each) and one time-out (one uv_timer).
 * Everything else happens in the pump, an idle callback that runs while there is something to do
 * and makes the loop not sleep: transfers are added, resumed and removed there, and a time-out of
 * zero, which libcurl asks for whenever a transfer begins, is served there in the same turn instead
 * of after a timer's millisecond. So a request is on its way one loop turn after
 * http_transfer_start().
 *
 * Deadlines for head and body are ours (a sweep every 100 ms while anything runs), because
 * libcurl's low-speed limit also counts while a transfer is paused for its reader's sake.
 *
 * The end: http_client_del() marks everything cancelled; the pump frees the transfers, then
 * libcurl's handles (which closes the sockets), then closes our libuv handles, and the last of them
 * to close frees the client. */
#include "runtime/http_client.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/http_client_impl.h"

#define SWEEP_MS         100
#define CONNECTIONS_KEPT 256 /* idle ones included, over all hosts */
#define PER_HOST_DEFAULT 64

struct socket {
    uv_poll_t poll;
    struct http_client *client;
    curl_socket_t fd;
};

static void handle_closed(struct http_client *c)
{
    assert(c->handles > 0);
    if (--c->handles > 0)
        return;
    assert(c->closing);
    free(c->sockets);
    free(c->user_agent);
    free(c);
    curl_global_cleanup();
}

/* Running libcurl ----------------------------------------------------------------------------- */

/* Transfers that are done. Their callbacks may queue, cancel and delete: nothing is freed meanwhile
 * but the one transfer that ended. */
static void drain_done(struct http_client *c)
{
    struct http_transfer *t;
    CURLMsg *msg;
    CURLcode code;
    int left;

    while ((msg = curl_multi_info_read(c->multi, &left)) != NULL) {
        if (msg->msg != CURLMSG_DONE)
            continue;
        code = msg->data.result;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        http_transfer_finish(t, code);
    }
}

static void run(struct http_client *c, curl_socket_t fd, int events)
{
    int running;

    c->runs++;
    curl_multi_socket_action(c->multi, fd, events, &running);
    drain_done(c);
}

static void on_pump(uv_idle_t *idle);

static void wake(struct http_client *c)
{
    if (!uv_is_active((uv_handle_t *)&c->pump))
        uv_idle_start(&c->pump, on_pump);
}

void http_client_queue(struct http_client *c, struct http_transfer *t)
{
    if (!t->in_work) {
        t->in_work = true;
        t->work_next = NULL;
        if (c->work_last != NULL)
            c->work_last->work_next = t;
        else
            c->work_first = t;
        c->work_last = t;
    }
    wake(c);
}

static void on_timer(uv_timer_t *timer)
{
    struct http_client *c = container_of(timer, struct http_client, timer);

    run(c, CURL_SOCKET_TIMEOUT, 0);
}

/* libcurl's CURLMOPT_TIMERFUNCTION. */
static int want_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct http_client *c = arg;

    (void)multi;
    if (c->closing)
        return 0;
    uv_timer_stop(&c->timer);
    c->kicked = timeout_ms == 0;
    if (c->kicked)
        wake(c);
    else if (timeout_ms > 0)
        uv_timer_start(&c->timer, on_timer, (u64)timeout_ms, 0);
    return 0;
}

static void on_socket(uv_poll_t *poll, int status, int events)
{
    struct socket *s = container_of(poll, struct socket, poll);
    int flags = 0;

    /* An error on the descriptor is found by libcurl itself when it reads: told of it, it would
     * neither take what has come, nor send a request again whose kept connection had died. libuv
     * has stopped polling, so what goes on all the same is told after all. */
    if (status < 0) {
        run(s->client, s->fd, CURL_CSELECT_IN | CURL_CSELECT_OUT);
        flags = CURL_CSELECT_ERR;
        if (uv_is_closing((uv_handle_t *)poll))
            return;
    }
    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    run(s->client, s->fd, flags); /* `s` may be closing now */
}

static void on_socket_closed(uv_handle_t *handle)
{
    struct socket *s = container_of((uv_poll_t *)handle, struct socket, poll);
    struct http_client *c = s->client;

    free(s);
    handle_closed(c);
}

static struct socket *socket_new(struct http_client *c, curl_socket_t fd)
{
    struct socket *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    if (uv_poll_init_socket(c->loop, &s->poll, fd) != 0) {
        free(s);
        return NULL;
    }
    s->client = c;
    s->fd = fd;
    c->handles++;
    curl_multi_assign(c->multi, fd, s);
    return s;
}

/* libcurl's CURLMOPT_SOCKETFUNCTION. Closing the handle takes the descriptor out of epoll at once,
 * so libcurl may close it right after. */
static int want_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct http_client *c = arg;
    struct socket *s = socket_arg;
    int events = 0;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (s == NULL)
            return 0;
        curl_multi_assign(c->multi, fd, NULL);
        uv_close((uv_handle_t *)&s->poll, on_socket_closed);
        return 0;
    }
    if (s == NULL)
        s = socket_new(c, fd);
    if (s == NULL)
        return -1; /* libcurl breaks its transfers off */
    if (what != CURL_POLL_OUT)
        events |= UV_READABLE;
    if (what != CURL_POLL_IN)
        events |= UV_WRITABLE;
    return uv_poll_start(&s->poll, events, on_socket) == 0 ? 0 : -1;
}

/* Deadlines ----------------------------------------------------------------------------------- */

static bool is_over_long(const struct http_transfer *t, u64 now)
{
    return t->whole_timeout_ms > 0 && now - t->started_ms >= t->whole_timeout_ms;
}

static bool is_late(const struct http_transfer *t, u64 now)
{
    if (is_over_long(t, now))
        return true;
    if (!t->head.complete && t->upload != NULL && !t->sent)
        return !t->starved && now - t->progress_ms >= t->stall_timeout_ms;
    if (!t->head.complete)
        return now - t->started_ms >= t->head_timeout_ms;
    return !t->paused && now - t->progress_ms >= t->stall_timeout_ms;
}

/* Late twice in a row: the loop has looked at all sockets in between. After a turn that took long,
 * or a process that was stopped, the first look at the clock says nothing about the other side. */
static void check_deadline(struct http_transfer *t, u64 now)
{
    if (t->state != TRANSFER_QUEUED && t->state != TRANSFER_RUNNING)
        return;
    if (!is_late(t, now)) {
        t->late = false;
        return;
    }
    if (!t->late) {
        t->late = true;
        return;
    }
    t->fail_why = !t->head.complete      ? "no answer came in time"
                  : is_over_long(t, now) ? "its answer did not end in time"
                                         : "its body stopped coming";
    t->fail = ERR_TIMEOUT;
    http_transfer_finish(t, CURLE_OPERATION_TIMEDOUT);
}

static void on_sweep(uv_timer_t *timer)
{
    struct http_client *c = container_of(timer, struct http_client, sweep);
    struct http_transfer *next;
    u64 now = uv_now(c->loop);

    /* `end` may start transfers (they go to the front) and cancel others (they stay until the
     * pump): the next one stays valid. */
    for (struct http_transfer *t = c->all; t != NULL; t = next) {
        next = t->next;
        check_deadline(t, now);
    }
}

/* The pump ------------------------------------------------------------------------------------ */

static void on_handle_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

static void shut(struct http_client *c)
{
    assert(c->all == NULL && c->work_first == NULL);
    for (size_t i = 0; i < c->n_spares; i++)
        curl_easy_cleanup(c->spares[i]);
    curl_multi_cleanup(c->multi);
    curl_share_cleanup(c->share);
    uv_close((uv_handle_t *)&c->pump, on_handle_closed);
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
    uv_close((uv_handle_t *)&c->sweep, on_handle_closed);
}

static void pump_one(struct http_transfer *t)
{
    switch (t->state) {
    case TRANSFER_QUEUED: http_transfer_add(t); break;
    case TRANSFER_RUNNING:
        if (t->resume)
            http_transfer_unpause(t);
        break;
    case TRANSFER_CANCELED:
    case TRANSFER_ENDED: http_transfer_free(t); break;
    }
}

static void on_pump(uv_idle_t *idle)
{
    struct http_client *c = container_of(idle, struct http_client, pump);
    struct http_transfer *t, *batch = c->work_first;

    /* What callbacks queue while this runs is left to the next turn: other handles come between. */
    c->work_first = c->work_last = NULL;
    while ((t = batch) != NULL) {
        batch = t->work_next;
        t->in_work = false;
        pump_one(t);
    }
    if (c->closing && c->all == NULL) {
        shut(c);
        return;
    }
    if (c->kicked) {
        c->kicked = false;
        run(c, CURL_SOCKET_TIMEOUT, 0);
    }
    if (c->all != NULL && !uv_is_active((uv_handle_t *)&c->sweep))
        uv_timer_start(&c->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
    if (c->work_first == NULL && !c->kicked && !c->closing)
        uv_idle_stop(&c->pump);
}

/* The client ---------------------------------------------------------------------------------- */

static int setup_curl(struct http_client *c, const struct http_client_options *opt)
{
    long per_host = opt->max_per_host == 0 ? PER_HOST_DEFAULT : (long)opt->max_per_host;

    c->multi = curl_multi_init();
    c->share = curl_share_init();
    if (c->multi == NULL || c->share == NULL)
        return ERR_NOMEM;
    if (curl_share_setopt(c->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) != CURLSHE_OK)
        return ERR_NOMEM;
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, want_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
    curl_multi_setopt(c->multi, CURLMOPT_MAX_HOST_CONNECTIONS, per_host);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS,
                      opt->kept ? (long)opt->kept : (long)CONNECTIONS_KEPT);
    return 0;
}

int http_client_new(struct http_client **out, const struct http_client_options *opt)
{
    struct http_client *c;
    int err;

    assert(out != NULL && opt != NULL && opt->loop != NULL && opt->user_agent != NULL);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        return ERR_NOMEM;
    c = calloc(1, sizeof(*c));
    if (c == NULL) {
        curl_global_cleanup();
        return ERR_NOMEM;
    }
    c->loop = opt->loop;
    c->user_agent = strdup(opt->user_agent);
    err = c->user_agent == NULL ? ERR_NOMEM : setup_curl(c, opt);
    if (err != 0) {
        if (c->multi != NULL)
            curl_multi_cleanup(c->multi);
        if (c->share != NULL)
            curl_share_cleanup(c->share);
        free(c->user_agent);
        free(c);
        curl_global_cleanup();
        return err;
    }
    uv_timer_init(c->loop, &c->timer);
    uv_timer_init(c->loop, &c->sweep);
    uv_idle_init(c->loop, &c->pump);
    c->timer.data = c->sweep.data = c->pump.data = c;
    c->handles = 3;
    *out = c;
    return 0;
}

void http_client_reload(struct http_client *c)
{
    c->generation++;
}

void http_client_del(struct http_client *c)
{
    if (c == NULL)
        return;
    assert(!c->closing);
    for (struct http_transfer *t = c->all; t != NULL; t = t->next)
        http_transfer_cancel(t);
    c->closing = true;
    uv_timer_stop(&c->timer);
    uv_timer_stop(&c->sweep);
    wake(c);
}
