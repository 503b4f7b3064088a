/* http_server.c - listeners, accepting, limits, deadlines, and the end.
 *
 * One timer sweeps all connections for passed deadlines: at four thousand connections a sweep costs
 * less than arming a timer per request would. A check handle goes on with connections that were
 * queued during a turn of the loop; an idle handle keeps the loop from sleeping until it did.
 *
 * Accepting pauses, never spins: at `max_connections` until one closes (but Unix sockets, which are
 * the operator's, have a few more), and for a moment when descriptors or memory run out. What waits
 * meanwhile, waits in the kernel's queue. */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <netinet/tcp.h>

#include "runtime/http_conn.h"
#include "runtime/inherited.h"

#define SWEEP_MS_MIN 10
#define SWEEP_MS_MAX 200

static void on_listener(uv_poll_t *handle, int status, int events);
static void on_sweep(uv_timer_t *t);

/* --- accepting ------------------------------------------------------------------------------- */

static bool may_accept(const struct http_listener *l)
{
    const struct http_server *s = l->server;
    unsigned max = s->opt.max_connections + (l->path ? HTTP_LOCAL_EXTRA : 0);
    return !s->draining && !s->accept_at && s->stats.open < max;
}

static void poll_listeners(struct http_server *s)
{
    for (struct http_listener *l = s->listeners; l; l = l->next) {
        bool on = may_accept(l);
        if (l->closed || l->polling == on)
            continue;
        l->polling = on;
        int rc = on ? uv_poll_start(&l->poll, UV_READABLE, on_listener) : uv_poll_stop(&l->poll);
        assert(rc == 0);
    }
}

static void sweep_start(struct http_server *s)
{
    if (uv_is_active((uv_handle_t *)&s->sweep))
        return;
    int rc = uv_timer_start(&s->sweep, on_sweep, s->sweep_ms, s->sweep_ms);
    assert(rc == 0);
}

static void pause_accept(struct http_server *s)
{
    s->accept_at = uv_now(s->loop) + HTTP_ACCEPT_PAUSE_MS;
    poll_listeners(s);
    sweep_start(s);
}

/* One address has enough connections. A best effort to say so: nothing is waited for. */
static void turn_away(struct http_server *s, int fd, bool tls)
{
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
                               "Retry-After: 1\r\nContent-Length: 0\r\n\r\n";
    s->stats.refused_limit++;
    if (!tls) {
        ssize_t n = send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)n;
        (void)shutdown(fd, SHUT_WR);
    }
    close(fd);
}

static void welcome(struct http_listener *l, int fd, union http_sockaddr *peer)
{
    struct http_server *s = l->server;
    struct http_address *address;
    s->stats.accepted++;
    http_address_unmap(peer);
    int rc = http_address_take(s, &peer->sa, s->opt.max_per_address, &address);
    if (rc) {
        turn_away(s, fd, l->tls != NULL);
        return;
    }
    if (http_conn_open(s, fd, peer, l->tls, l->path != NULL, address) != 0) {
        http_address_give(s, address);
        pause_accept(s);
        return;
    }
    sweep_start(s);
}

/* False: enough for this turn. */
static bool accept_one(struct http_listener *l)
{
    union http_sockaddr peer;
    struct sockaddr_storage from = {0};
    socklen_t len = sizeof(from);
    int fd = accept4(l->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        memset(&peer, 0, sizeof(peer));
        memcpy(&peer, &from, sizeof(peer));
        if (l->path)
            peer.sa.sa_family = AF_UNIX;
        welcome(l, fd, &peer);
        return true;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return false;
    if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO || errno == EPERM)
        return true; /* that connection was gone again: the next */
    l->server->stats.accept_pauses++;
    pause_accept(l->server);
    return false;
}

static void on_listener(uv_poll_t *handle, int status, int events)
{
    (void)events;
    struct http_listener *l = container_of(handle, struct http_listener, poll);
    if (status < 0) {
        l->polling = false; /* libuv has stopped the handle */
        pause_accept(l->server);
        return;
    }
    for (unsigned i = 0; i < HTTP_TURN_ACCEPTS && may_accept(l) && accept_one(l); i++)
        ;
    poll_listeners(l->server);
}

/* --- turns of the loop ----------------------------------------------------------------------- */

static void on_idle(uv_idle_t *idle)
{
    (void)idle;
}

void http_server_hurry(struct http_server *s)
{
    if (s->deleting || uv_is_active((uv_handle_t *)&s->idle))
        return;
    int rc = uv_idle_start(&s->idle, on_idle);
    assert(rc == 0);
}

static void run_some(struct http_link *list, unsigned max)
{
    /* Those that queue themselves again wait for the next turn. */
    struct http_link now;
    http_link_init(&now);
    for (unsigned i = 0; i < max && !http_link_alone(list); i++) {
        struct http_link *l = list->next;
        http_link_remove(l);
        http_link_add(&now, l);
    }
    while (!http_link_alone(&now)) {
        struct http_conn *c = container_of(now.next, struct http_conn, queue);
        http_link_remove(&c->queue);
        http_conn_run(c);
    }
}

static void on_check(uv_check_t *check)
{
    struct http_server *s = container_of(check, struct http_server, check);
    run_some(&s->handshakes, HTTP_TURN_HANDSHAKES);
    run_some(&s->ready, s->opt.max_connections);
    if (!s->deleting && http_link_alone(&s->ready) && http_link_alone(&s->handshakes))
        uv_idle_stop(&s->idle);
}

static void on_sweep(uv_timer_t *t)
{
    struct http_server *s = container_of(t, struct http_server, sweep);
    u64 now = uv_now(s->loop);
    /* A closed connection stays in the list until its handle is closed, in a later phase of the
     * loop: `next` stays valid whatever an expiry leads to. */
    for (struct http_link *l = s->conns.next; l != &s->conns; l = l->next) {
        struct http_conn *c = container_of(l, struct http_conn, link);
        if (c->deadline && now >= c->deadline)
            http_conn_expire(c);
        if (s->deleting)
            return;
    }
    if (s->accept_at && now >= s->accept_at) {
        s->accept_at = 0;
        poll_listeners(s);
    }
    if (s->stats.open == 0 && !s->accept_at)
        uv_timer_stop(&s->sweep);
}

const char *http_server_date(struct http_server *s)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != s->date_at) {
        struct tm tm;
        gmtime_r(&now.tv_sec, &tm);
        strftime(s->date, sizeof(s->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        s->date_at = now.tv_sec;
    }
    return s->date;
}

/* --- listening ------------------------------------------------------------------------------- */

static int listen_failed(int fd, const char *what, const char *address, char why[256])
{
    int e = errno;
    snprintf(why, 256, "%s %s: %s", what, address, strerror(e));
    if (fd >= 0)
        close(fd);
    if (e == EADDRINUSE)
        return ERR_BUSY;
    if (e == EACCES || e == EPERM)
        return ERR_DENIED;
    return ERR_IO;
}

/* Takes `fd`, which listens. */
static int listener_add(struct http_server *s, int fd, struct tls_context *tls,
                        struct http_listener **out)
{
    struct http_listener *l = calloc(1, sizeof(*l));
    if (!l) {
        close(fd);
        return ERR_NOMEM;
    }
    if (uv_poll_init(s->loop, &l->poll, fd) != 0) {
        free(l);
        close(fd);
        return ERR_IO;
    }
    s->handles++;
    l->server = s;
    l->tls = tls;
    l->fd = fd;
    l->next = s->listeners;
    s->listeners = l;
    *out = l;
    return 0;
}

int http_listen_tcp(struct http_server *s, const char *address, struct tls_context *tls,
                    char why[256])
{
    union http_sockaddr a;
    socklen_t len;
    struct http_listener *l;
    const int on = 1, off = 0;
    assert(!s->draining && !s->deleting);
    if (http_address_parse(address, &a, &len) != 0) {
        snprintf(why, 256, "%.128s: not an address: write it like 0.0.0.0:5000 or [::]:5000",
                 address);
        return ERR_INVAL;
    }
    int fd = inherited_listener(&a.sa, len);
    bool inherited = fd >= 0;
    if (!inherited)
        fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return listen_failed(fd, "cannot make a socket for", address, why);
    /* Accepted sockets inherit TCP_NODELAY. [::] takes IPv4 too, whatever the system's default. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
        (!inherited && a.sa.sa_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) != 0))
        return listen_failed(fd, "cannot prepare a socket for", address, why);
    if ((!inherited && bind(fd, &a.sa, len) != 0) || listen(fd, SOMAXCONN) != 0 ||
        getsockname(fd, &a.sa, &len) != 0)
        return listen_failed(fd, "cannot listen at", address, why);
    int rc = listener_add(s, fd, tls, &l);
    if (rc) {
        snprintf(why, 256, "cannot listen at %s: %s", address, err_text(rc));
        return rc;
    }
    if (s->port == 0)
        s->port = ntohs(a.sa.sa_family == AF_INET ? a.v4.sin_port : a.v6.sin6_port);
    poll_listeners(s);
    return 0;
}

/* A socket file without anyone behind it is removed. 0: it may be bound again. */
static int replace_stale(const struct sockaddr_un *a, char why[256])
{
    struct stat st;
    if (lstat(a->sun_path, &st) != 0)
        return errno == ENOENT ? 0 : ERR_IO;
    if (!S_ISSOCK(st.st_mode)) {
        snprintf(why, 256, "%s is there and is not a socket", a->sun_path);
        return ERR_BUSY;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return listen_failed(fd, "cannot make a socket for", a->sun_path, why);
    int rc = connect(fd, (const struct sockaddr *)a, sizeof(*a));
    int e = errno;
    close(fd);
    if (rc == 0 || e == EAGAIN) {
        snprintf(why, 256, "another process listens at %s", a->sun_path);
        return ERR_BUSY;
    }
    errno = e;
    if (e != ECONNREFUSED || unlink(a->sun_path) != 0)
        return listen_failed(-1, "cannot replace", a->sun_path, why);
    return 0;
}

int http_listen_unix(struct http_server *s, const char *path, char why[256])
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct http_listener *l;
    struct stat st;
    assert(!s->draining && !s->deleting);
    if (*path == '\0' || strlen(path) >= sizeof(a.sun_path)) {
        snprintf(why, 256, "%.128s: a socket's path has 1 to %zu characters", path,
                 sizeof(a.sun_path) - 1);
        return ERR_INVAL;
    }
    memcpy(a.sun_path, path, strlen(path) + 1);
    int rc = replace_stale(&a, why);
    if (rc)
        return rc;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return listen_failed(fd, "cannot make a socket for", path, why);
    /* Linux gives the file the socket's own mode: at no moment is it open to others. */
    if (fchmod(fd, 0600) != 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 ||
        listen(fd, SOMAXCONN) != 0 || lstat(path, &st) != 0)
        return listen_failed(fd, "cannot listen at", path, why);
    char *copy = strdup(path);
    rc = copy ? listener_add(s, fd, NULL, &l) : ERR_NOMEM;
    if (rc) {
        if (!copy)
            close(fd);
        free(copy);
        unlink(path);
        snprintf(why, 256, "cannot listen at %s: %s", path, err_text(rc));
        return rc;
    }
    l->path = copy;
    l->path_dev = st.st_dev;
    l->path_ino = st.st_ino;
    poll_listeners(s);
    return 0;
}

u16 http_server_port(const struct http_server *s)
{
    return s->port;
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct http_listener *l = container_of((uv_poll_t *)handle, struct http_listener, poll);
    struct http_server *s = l->server;
    struct http_listener **link = &s->listeners;
    while (*link != l)
        link = &(*link)->next;
    *link = l->next;
    free(l->path);
    free(l);
    http_server_handle_closed(s);
}

static void close_listeners(struct http_server *s)
{
    struct stat st;
    for (struct http_listener *l = s->listeners; l; l = l->next) {
        if (l->closed)
            continue;
        l->closed = true;
        uv_close((uv_handle_t *)&l->poll, on_listener_closed);
        close(l->fd);
        /* Only the file that is ours: another daemon may have taken the name. */
        if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->path_dev &&
            st.st_ino == l->path_ino)
            unlink(l->path);
    }
}

/* --- life ------------------------------------------------------------------------------------ */

static void set_default(unsigned *value, unsigned standard)
{
    if (*value == 0)
        *value = standard;
}

static void set_defaults(struct http_server *s)
{
    struct http_server_options *o = &s->opt;
    set_default(&o->max_connections, 4096);
    set_default(&o->max_per_address, 1024);
    set_default(&o->handshake_timeout_ms, 5000);
    set_default(&o->head_timeout_ms, 10000);
    set_default(&o->idle_timeout_ms, 75000);
    set_default(&o->body_timeout_ms, 20000);
    set_default(&o->stall_timeout_ms, 60000);
    set_default(&o->drain_timeout_ms, 2000);
    const u32 all[] = {o->handshake_timeout_ms, o->head_timeout_ms,  o->idle_timeout_ms,
                       o->body_timeout_ms,      o->stall_timeout_ms, o->drain_timeout_ms};
    s->sweep_ms = SWEEP_MS_MAX;
    for (size_t i = 0; i < countof(all); i++)
        if (all[i] / 4 < s->sweep_ms)
            s->sweep_ms = all[i] / 4;
    if (s->sweep_ms < SWEEP_MS_MIN)
        s->sweep_ms = SWEEP_MS_MIN;
}

/* OpenSSL and sendfile write to sockets without MSG_NOSIGNAL. */
static void ignore_sigpipe(void)
{
    struct sigaction now;
    if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
}

int http_server_new(struct http_server **out, const struct http_server_options *opt)
{
    assert(opt->loop && opt->handler);
    struct http_server *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    s->loop = opt->loop;
    s->opt = *opt;
    set_defaults(s);
    ignore_sigpipe();
    int rc = senders_new(&s->senders, s->loop, 0);
    if (rc) {
        free(s);
        return rc;
    }
    http_link_init(&s->conns);
    http_link_init(&s->ready);
    http_link_init(&s->handshakes);
    /* These only fill in the handles. */
    rc = uv_timer_init(s->loop, &s->sweep) | uv_check_init(s->loop, &s->check) |
         uv_idle_init(s->loop, &s->idle);
    assert(rc == 0);
    rc = uv_check_start(&s->check, on_check);
    assert(rc == 0);
    /* Listeners and connections keep the loop alive; the machinery does not. */
    uv_unref((uv_handle_t *)&s->check);
    s->handles = 4; /* those, and the senders' */
    *out = s;
    return 0;
}

void http_server_stats(const struct http_server *s, struct http_server_stats *out)
{
    *out = s->stats;
}

void http_server_refusals(const struct http_server *s,
                          void (*each)(void *arg, const char *reason, u64 count), void *arg)
{
    for (int r = HTTP_REFUSE_NONE + 1; r < HTTP_REFUSALS; r++)
        each(arg, http_refusal_name((enum http_refusal)r), s->refused[r]);
}

static void maybe_drained(struct http_server *s)
{
    if (!s->draining || s->deleting || s->stats.open > 0 || !s->drained)
        return;
    void (*drained)(void *arg) = s->drained;
    s->drained = NULL;
    drained(s->drained_arg);
}

void http_server_closed(struct http_server *s)
{
    assert(s->stats.open > 0);
    s->stats.open--;
    if (s->deleting)
        return;
    if (s->stats.open + 1 >= s->opt.max_connections)
        poll_listeners(s);
    maybe_drained(s);
}

void http_server_drain(struct http_server *s, void (*drained)(void *arg), void *arg)
{
    assert(!s->deleting && !s->draining);
    s->draining = true;
    close_listeners(s);
    /* Marked only after the walk, so that `drained` comes once and last. */
    for (struct http_link *l = s->conns.next; l != &s->conns; l = l->next)
        http_conn_drain(container_of(l, struct http_conn, link));
    s->drained = drained;
    s->drained_arg = arg;
    maybe_drained(s);
}

void http_server_handle_closed(struct http_server *s)
{
    assert(s->handles > 0);
    if (--s->handles > 0)
        return;
    void (*gone)(void *arg) = s->gone;
    void *arg = s->gone_arg;
    free(s);
    if (gone)
        gone(arg);
}

static void on_senders_gone(void *arg)
{
    http_server_handle_closed(arg);
}

static void on_timer_closed(uv_handle_t *h)
{
    http_server_handle_closed(container_of((uv_timer_t *)h, struct http_server, sweep));
}

static void on_check_closed(uv_handle_t *h)
{
    http_server_handle_closed(container_of((uv_check_t *)h, struct http_server, check));
}

static void on_idle_closed(uv_handle_t *h)
{
    http_server_handle_closed(container_of((uv_idle_t *)h, struct http_server, idle));
}

void http_server_del(struct http_server *s, void (*gone)(void *arg), void *arg)
{
    if (!s)
        return;
    assert(!s->deleting);
    s->deleting = true;
    s->gone = gone;
    s->gone_arg = arg;
    close_listeners(s);
    senders_del(s->senders, on_senders_gone, s);
    for (struct http_link *l = s->conns.next; l != &s->conns; l = l->next)
        http_conn_close(container_of(l, struct http_conn, link));
    uv_close((uv_handle_t *)&s->sweep, on_timer_closed);
    uv_close((uv_handle_t *)&s->check, on_check_closed);
    uv_close((uv_handle_t *)&s->idle, on_idle_closed);
}
