/* load.c - dray-load: a load client that costs so little that the server is what gets measured.
 *
 * Why: on a small machine client and server share the cores, and a client that copies and parses
 * more than it must is half of the figure. This one is a single thread on epoll; with --discard the
 * kernel throws body bytes away without copying them (recv(2), MSG_TRUNC on TCP).
 *
 * Guarantee: strict. An unexpected status, a missing Content-Length, a short body, or silence for
 * --timeout is an error: printed, counted, exit code 1. No failed or unfinished request is counted
 * as done. Time to first byte is the first byte of the *body*: a head sent early does not help.
 *
 * Not here: TLS, chunked bodies, names (addresses are IPv4 literals), the truth of the bytes
 * (bench.py checks digests outside the timed part).
 *
 * All connections are open before the clock starts.
 *
 * Without --rate, epoll says who is readable. With --rate a connection is a slow reader: every 20
 * ms it may take its share and no more, with a small receive buffer, so that the server has to
 * wait. */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 8192
#define MAX_URLS        262144
#define MAX_HEADERS     4096        /* bytes of --header lines together */
#define MAX_REQUEST     8192        /* bytes of one request: fits any empty socket buffer */
#define HEAD_BYTES      (16 * 1024) /* a response head, and what came along with it */
#define COPY_BYTES      (256 * 1024)
#define TURN_BYTES      (8u << 20) /* taken from one connection before looking at the others */
#define TICK_NS         20000000u  /* of slow readers */
#define SLOW_RCVBUF     (64 * 1024)
#define MAX_SAMPLES     (32u << 20)
#define SHOWN_ERRORS    10

static_assert(MAX_REQUEST > MAX_HEADERS + 2048, "headers and a target fit in a request");

/* IDLE -> HEAD: a request was sent. HEAD -> BODY: the blank line came. BODY -> IDLE: complete.
 * Any -> DONE: nothing more to do, or failed. */
enum state { STATE_IDLE, STATE_HEAD, STATE_BODY, STATE_DONE };

struct conn {
    int fd;
    enum state state;
    unsigned id;
    unsigned url;     /* of the request under way */
    uint64_t asked;   /* requests begun */
    bool fresh;       /* nothing was answered on this socket yet: then an early close is an error */
    bool close_after; /* the server said so */
    bool started;     /* the first body byte of this response was seen */
    size_t head_len;
    uint64_t length, left; /* of the body */
    uint64_t start_ns;     /* when the request was sent */
    uint64_t credit;       /* slow readers: bytes that may be taken now */
    char head[HEAD_BYTES];
};

struct samples {
    uint32_t *us;
    size_t n, cap;
};

struct load {
    /* what was asked */
    unsigned connections;
    uint64_t requests, range_step, rate;
    unsigned long status; /* expected; 0: 200, or 206 of a range */
    double seconds, timeout;
    bool once, discard, in_turn;
    struct sockaddr_in server;
    char host[64];
    const char *paths[MAX_URLS];
    const char *lines[MAX_URLS]; /* a header line of this request alone; "" */
    unsigned n_urls;
    char headers[MAX_HEADERS];
    /* what happened */
    int epoll;
    struct conn *conns;
    unsigned open;  /* connections not DONE */
    uint64_t begun; /* requests, over all connections */
    uint64_t done, bytes, reconnects, errors;
    uint64_t start_ns, last_ns, progress_ns, end_ns;
    struct samples latency, first;
    char *copy;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("dray-load: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(2);
}

static void samples_add(struct samples *s, uint64_t ns)
{
    if (s->n == MAX_SAMPLES)
        return;
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 4096;
        s->us = realloc(s->us, s->cap * sizeof(*s->us));
        if (!s->us)
            die("out of memory");
    }
    uint64_t us = ns / 1000;
    s->us[s->n++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static int samples_order(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void samples_sort(struct samples *s)
{
    if (s->n)
        qsort(s->us, s->n, sizeof(*s->us), samples_order);
}

/* Seconds at quantile `q`, nearest rank; the samples must be sorted. */
static double samples_at(const struct samples *s, double q)
{
    if (!s->n)
        return 0;
    size_t i = (size_t)(q * (double)s->n);
    return (double)s->us[i < s->n ? i : s->n - 1] / 1e6;
}

/* --- one connection --------------------------------------------------------------------------- */

static void conn_close(struct load *l, struct conn *c)
{
    assert(c->state != STATE_DONE);
    c->state = STATE_DONE;
    close(c->fd);
    c->fd = -1;
    l->open--;
}

__attribute__((format(printf, 3, 4))) static void conn_fail(struct load *l, struct conn *c,
                                                            const char *format, ...)
{
    l->errors++;
    if (l->errors <= SHOWN_ERRORS) {
        va_list args;
        va_start(args, format);
        fprintf(stderr, "dray-load: connection %u, %s: ", c->id, l->paths[c->url]);
        vfprintf(stderr, format, args);
        fputc('\n', stderr);
        va_end(args);
    }
    conn_close(l, c);
}

/* Loopback and idle listeners: a blocking connect is immediate, and none is part of a timed answer.
 */
static void conn_open(struct load *l, struct conn *c)
{
    int one = 1, small = SLOW_RCVBUF;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    if (l->rate)
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    if (connect(c->fd, (struct sockaddr *)&l->server, sizeof(l->server)) != 0)
        die("connect to %s: %s", l->host, strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0)
        die("fcntl: %s", strerror(errno));
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
    if (!l->rate && epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &ev) != 0)
        die("epoll_ctl: %s", strerror(errno));
    c->state = STATE_IDLE;
    c->fresh = true;
}

static void conn_send(struct load *l, struct conn *c)
{
    assert(c->state == STATE_IDLE);
    char request[MAX_REQUEST], range[64] = "";
    if (l->range_step)
        snprintf(range, sizeof(range), "Range: bytes=%llu-\r\n",
                 (unsigned long long)l->range_step * c->id);
    const char *own = l->lines[c->url] ? l->lines[c->url] : "";
    int n = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: %s\r\n%s%s%s%s\r\n",
                     l->paths[c->url], l->host, l->headers, range, own, *own ? "\r\n" : "");
    if (n < 0 || (size_t)n >= sizeof(request))
        die("request too long: %s", l->paths[c->url]);
    c->head_len = 0;
    c->started = c->close_after = false;
    c->start_ns = now_ns();
    c->state = STATE_HEAD;
    ssize_t sent = send(c->fd, request, (size_t)n, MSG_NOSIGNAL);
    /* A kept-alive socket that the server just closed: the read that follows tells, and reopens. */
    if (sent < 0 && !c->fresh && (errno == EPIPE || errno == ECONNRESET))
        return;
    if (sent != n)
        conn_fail(l, c, "send: %s", sent < 0 ? strerror(errno) : "short");
}

/* Begins the connection's next request, or ends it when there is none. */
static void conn_next(struct load *l, struct conn *c)
{
    assert(c->state == STATE_IDLE);
    bool more = l->once ? c->asked < l->n_urls : !l->requests || l->begun < l->requests;
    if (!more) {
        conn_close(l, c);
        return;
    }
    c->url = (unsigned)((l->once      ? c->asked
                         : l->in_turn ? l->begun
                                      : c->asked + c->id) %
                        l->n_urls);
    c->asked++;
    l->begun++;
    conn_send(l, c);
}

static void conn_reopen(struct load *l, struct conn *c)
{
    close(c->fd);
    l->reconnects++;
    conn_open(l, c);
}

static void conn_complete(struct load *l, struct conn *c)
{
    assert(c->state == STATE_BODY && c->left == 0);
    uint64_t now = now_ns();
    samples_add(&l->latency, now - c->start_ns);
    l->done++;
    l->last_ns = now;
    c->state = STATE_IDLE;
    c->fresh = false;
    if (c->close_after)
        conn_reopen(l, c);
    conn_next(l, c);
}

/* `n` more body bytes are here. */
static void conn_took(struct load *l, struct conn *c, uint64_t n)
{
    assert(n <= c->left);
    if (n && !c->started) {
        c->started = true;
        samples_add(&l->first, now_ns() - c->start_ns);
    }
    c->left -= n;
    l->bytes += n;
}

/* The value of a header line in c->head, or NULL. The head ends with a NUL. */
static const char *head_field(const char *head, const char *name)
{
    size_t n = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, n) == 0 && line[n] == ':') {
            line += n + 1;
            return line + strspn(line, " \t");
        }
    }
    return NULL;
}

/* Reads the head; `end` is where the body begins in c->head. False: failed, and said so. */
static bool conn_head(struct load *l, struct conn *c, size_t end)
{
    c->head[end - 2] = '\0'; /* the blank line's CR LF ends the text */
    unsigned long status = 0, expected = l->status ? l->status : l->range_step ? 206 : 200;
    if (strncmp(c->head, "HTTP/1.", 7) == 0 && strlen(c->head) > 9)
        status = strtoul(c->head + 9, NULL, 10);
    if (!status) {
        conn_fail(l, c, "not an HTTP/1 answer");
        return false;
    }
    if (status != expected) {
        conn_fail(l, c, "status %lu, expected %lu", status, expected);
        return false;
    }
    const char *length = head_field(c->head, "content-length");
    if (!length || *length < '0' || *length > '9') {
        conn_fail(l, c, "no Content-Length");
        return false;
    }
    const char *keep = head_field(c->head, "connection");
    c->close_after = keep && strncasecmp(keep, "close", 5) == 0;
    c->length = c->left = strtoull(length, NULL, 10);
    c->state = STATE_BODY;
    return true;
}

/* What one read gave: bytes, 0 for the end, -1 for "not now", -2 when the connection failed. */
static ssize_t conn_recv(struct load *l, struct conn *c, char *into, size_t max, int flags)
{
    ssize_t n = recv(c->fd, into, max, flags);
    if (n > 0)
        return n;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return -1;
    if (c->state == STATE_HEAD && c->head_len == 0 && !c->fresh) {
        conn_reopen(l, c); /* closed while idle, as a server may: ask again, once per socket */
        conn_send(l, c);
        return -1;
    }
    if (c->state == STATE_BODY)
        conn_fail(l, c, "short body: %llu of %llu bytes, then %s",
                  (unsigned long long)(c->length - c->left), (unsigned long long)c->length,
                  n == 0 ? "FIN" : strerror(errno));
    else
        conn_fail(l, c, "no answer: %s", n == 0 ? "closed" : strerror(errno));
    return -2;
}

static ssize_t conn_read_head(struct load *l, struct conn *c)
{
    ssize_t n = conn_recv(l, c, c->head + c->head_len, HEAD_BYTES - 1 - c->head_len, 0);
    if (n < 0)
        return n;
    c->head_len += (size_t)n;
    c->head[c->head_len] = '\0';
    char *blank = memmem(c->head, c->head_len, "\r\n\r\n", 4);
    if (!blank) {
        if (c->head_len == HEAD_BYTES - 1) {
            conn_fail(l, c, "head of more than %d bytes", HEAD_BYTES - 1);
            return -2;
        }
        return n;
    }
    size_t end = (size_t)(blank - c->head) + 4;
    if (!conn_head(l, c, end))
        return -2;
    size_t body = c->head_len - end;
    if (body > c->left) {
        conn_fail(l, c, "%zu bytes beyond Content-Length", body - (size_t)c->left);
        return -2;
    }
    conn_took(l, c, body);
    return n;
}

static ssize_t conn_read_body(struct load *l, struct conn *c, size_t max)
{
    if (max > c->left)
        max = (size_t)c->left;
    ssize_t n;
    if (l->discard)
        n = conn_recv(l, c, NULL, max, MSG_TRUNC);
    else
        n = conn_recv(l, c, l->copy, max < COPY_BYTES ? max : COPY_BYTES, 0);
    if (n > 0)
        conn_took(l, c, (uint64_t)n);
    return n;
}

/* Takes what is there, at most `budget` body bytes; returns what is left of the budget. */
static size_t conn_read(struct load *l, struct conn *c, size_t budget)
{
    while (budget && c->state != STATE_DONE) {
        uint64_t asked = c->asked;
        ssize_t n = c->state == STATE_HEAD ? conn_read_head(l, c) : conn_read_body(l, c, budget);
        if (n < 0)
            break;
        l->progress_ns = now_ns();
        budget -= (size_t)n < budget ? (size_t)n : budget;
        if (c->state == STATE_BODY && c->left == 0)
            conn_complete(l, c);
        if (c->asked != asked)
            break; /* a new request: its answer wakes us */
        /* A small read emptied the socket: epoll is level-triggered, spare the EAGAIN. */
        if (!l->rate && n < 32768 && c->state == STATE_BODY)
            break;
    }
    return budget;
}

/* --- the run ---------------------------------------------------------------------------------- */

static bool load_over(struct load *l, uint64_t now)
{
    if (!l->open || (l->end_ns && now >= l->end_ns))
        return true;
    if (now - l->progress_ns < (uint64_t)(l->timeout * 1e9))
        return false;
    for (unsigned i = 0; i < l->connections; i++) {
        if (l->conns[i].state != STATE_DONE)
            conn_fail(l, &l->conns[i], "nothing came for %.0f s", l->timeout);
    }
    return true;
}

static void load_run_fast(struct load *l)
{
    struct epoll_event events[256];
    while (!load_over(l, now_ns())) {
        int n = epoll_wait(l->epoll, events, 256, 50);
        if (n < 0 && errno != EINTR)
            die("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (c->state != STATE_DONE)
                conn_read(l, c, TURN_BYTES);
        }
    }
}

static void load_run_slow(struct load *l)
{
    uint64_t share = l->rate * TICK_NS / 1000000000u, next = now_ns();
    while (!load_over(l, now_ns())) {
        for (unsigned i = 0; i < l->connections; i++) {
            struct conn *c = &l->conns[i];
            if (c->state == STATE_DONE)
                continue;
            c->credit += share;
            if (c->credit > l->rate)
                c->credit = l->rate; /* at most one second is saved up */
            c->credit = conn_read(l, c, (size_t)c->credit);
        }
        next += TICK_NS;
        struct timespec until = {.tv_sec = (time_t)(next / 1000000000u),
                                 .tv_nsec = (long)(next % 1000000000u)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
}

static void load_run(struct load *l)
{
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->conns = calloc(l->connections, sizeof(*l->conns));
    l->copy = malloc(COPY_BYTES);
    if (l->epoll < 0 || !l->conns || !l->copy)
        die("out of memory or descriptors");
    l->open = l->connections;
    for (unsigned i = 0; i < l->connections; i++) {
        l->conns[i].id = i;
        conn_open(l, &l->conns[i]);
    }
    l->start_ns = l->last_ns = l->progress_ns = now_ns();
    if (l->seconds > 0)
        l->end_ns = l->start_ns + (uint64_t)(l->seconds * 1e9);
    for (unsigned i = 0; i < l->connections; i++)
        conn_next(l, &l->conns[i]);
    if (l->rate)
        load_run_slow(l);
    else
        load_run_fast(l);
    if (l->end_ns)
        l->last_ns = now_ns();
}

static void load_print(struct load *l)
{
    double seconds = (double)(l->last_ns - l->start_ns) / 1e9;
    samples_sort(&l->latency);
    samples_sort(&l->first);
    printf("{\"requests\": %llu, \"bytes\": %llu, \"seconds\": %.6f, \"requests_per_s\": %.3f, "
           "\"bytes_per_s\": %.0f, \"latency_p50_s\": %.6f, \"latency_p99_s\": %.6f, "
           "\"ttfb_median_s\": %.6f, \"ttfb_max_s\": %.6f, \"last_done_s\": %.6f, "
           "\"reconnects\": %llu, \"unfinished\": %u, \"errors\": %llu}\n",
           (unsigned long long)l->done, (unsigned long long)l->bytes, seconds,
           seconds > 0 ? (double)l->done / seconds : 0,
           seconds > 0 ? (double)l->bytes / seconds : 0, samples_at(&l->latency, 0.5),
           samples_at(&l->latency, 0.99), samples_at(&l->first, 0.5), samples_at(&l->first, 1.0),
           seconds, (unsigned long long)l->reconnects, l->open, (unsigned long long)l->errors);
}

/* --- the command line ------------------------------------------------------------------------- */

static const char usage[] =
    "usage: dray-load --connections N (--requests K | --seconds S | --once) [options] URL...\n"
    "  HTTP/1.1 keep-alive GETs of http://ADDRESS:PORT/path, all of one server; prints JSON.\n"
    "  --connections N   at once\n"
    "  --requests K      stop after K requests in all\n"
    "  --seconds S       stop after S seconds; what is under way then counts in bytes only\n"
    "  --once            every connection fetches each URL once, all starting together\n"
    "  --header 'X: y'   added to each request; may be repeated\n"
    "  --discard         let the kernel throw body bytes away uncopied\n"
    "  --rate B          each connection reads B bytes/s at most\n"
    "  --range-step B    connection i asks for 'bytes=i*B-' and expects 206\n"
    "  --status N        the status expected of each answer\n"
    "  --list FILE       more URLs, a line each, perhaps with a tab and a header line behind it; all\n"
    "                    URLs are then asked for in turn, whichever connection comes next\n"
    "  --timeout S       silence of all connections that is an error; default 120\n"
    "exit: 0, 1 when anything failed, 2 for a wrong command line or an unreachable server\n";

static void load_url(struct load *l, const char *url)
{
    char host[64];
    int used = 0;
    if (sscanf(url, "http://%63[0-9.:]%n", host, &used) != 1 || url[used] != '/')
        die("not http://ADDRESS:PORT/path: %s", url);
    if (l->n_urls == MAX_URLS)
        die("more than %d URLs", MAX_URLS);
    if (l->n_urls && strcmp(host, l->host) != 0)
        die("URLs of two servers: %s, %s", l->host, host);
    memcpy(l->host, host, sizeof(host));
    l->paths[l->n_urls++] = url + used;
    char *colon = strchr(host, ':');
    unsigned long port = 80;
    if (colon) {
        *colon = '\0';
        port = strtoul(colon + 1, NULL, 10);
    }
    l->server.sin_family = AF_INET;
    l->server.sin_port = htons((uint16_t)port);
    if (port == 0 || port > 65535 || inet_pton(AF_INET, host, &l->server.sin_addr) != 1)
        die("not an IPv4 address and port: %s", url);
}

/* The whole file, kept: URLs and lines point into it. */
static void load_list(struct load *l, const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f)
        die("--list %s: %s", path, strerror(errno));
    char *text = NULL, *at = NULL;
    size_t cap = 0;
    if (getdelim(&text, &cap, 0, f) <= 0)
        die("--list %s: empty", path);
    fclose(f);
    for (char *line = strtok_r(text, "\n", &at); line; line = strtok_r(NULL, "\n", &at)) {
        char *tab = strchr(line, '\t');
        if (tab)
            *tab = '\0';
        load_url(l, line);
        l->lines[l->n_urls - 1] = tab ? tab + 1 : NULL;
    }
    l->in_turn = true;
}

static double number(const char *what, const char *text, double min, double max)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !(v >= min && v <= max))
        die("--%s %s: expected a number from %.0f to %.0f", what, text, min, max);
    return v;
}

static void load_header(struct load *l, const char *line)
{
    size_t used = strlen(l->headers), n = strlen(line);
    if (!strchr(line, ':') || strpbrk(line, "\r\n"))
        die("--header '%s': expected 'Name: value'", line);
    if (used + n + 3 > sizeof(l->headers))
        die("more than %d bytes of headers", MAX_HEADERS);
    snprintf(l->headers + used, sizeof(l->headers) - used, "%s\r\n", line);
}

static void load_options(struct load *l, int argc, char **argv)
{
    static const struct option options[] = {{"connections", required_argument, NULL, 'c'},
                                            {"requests", required_argument, NULL, 'n'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {"once", no_argument, NULL, 'o'},
                                            {"header", required_argument, NULL, 'H'},
                                            {"discard", no_argument, NULL, 'd'},
                                            {"rate", required_argument, NULL, 'r'},
                                            {"range-step", required_argument, NULL, 'R'},
                                            {"status", required_argument, NULL, 'S'},
                                            {"list", required_argument, NULL, 'l'},
                                            {"timeout", required_argument, NULL, 't'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    l->timeout = 120;
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (o) {
        case 'c':
            l->connections = (unsigned)number("connections", optarg, 1, MAX_CONNECTIONS);
            break;
        case 'n': l->requests = (uint64_t)number("requests", optarg, 1, 1e12); break;
        case 's': l->seconds = number("seconds", optarg, 0.01, 86400); break;
        case 'o': l->once = true; break;
        case 'H': load_header(l, optarg); break;
        case 'd': l->discard = true; break;
        case 'r': l->rate = (uint64_t)number("rate", optarg, 1000, 1e12); break;
        case 'R': l->range_step = (uint64_t)number("range-step", optarg, 1, 1e12); break;
        case 'S': l->status = (unsigned long)number("status", optarg, 200, 599); break;
        case 'l': load_list(l, optarg); break;
        case 't': l->timeout = number("timeout", optarg, 0.1, 86400); break;
        case 'h': fputs(usage, stdout); exit(0);
        default: fputs(usage, stderr); exit(2);
        }
    }
    for (int i = optind; i < argc; i++)
        load_url(l, argv[i]);
    int ways = (l->requests > 0) + (l->seconds > 0) + l->once;
    if (!l->connections || !l->n_urls || ways != 1) {
        fputs(usage, stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    static struct load l;
    load_options(&l, argc, argv);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    load_run(&l);
    load_print(&l);
    return l.errors ? 1 : 0;
}
