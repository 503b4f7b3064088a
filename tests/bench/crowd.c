/* crowd.c - dray-crowd: the nodes of a region, as many as wanted, in one process.
 *
 * Why: what a tracker decides for a region of a thousand nodes is to be measured on a machine that
 * could not run a thousand daemons. To the tracker each of these is a member like any other: the
 * same mesh core as in dray-node under a key and an address of its own (127.1.x.y), sealed
 * datagrams over UDP, talks and /healthz over HTTP, an inventory. It serves no layers.
 *
 * What is different: members hear each other in memory, not over sockets; they probe and gossip at
 * a tenth of the usual rate, so that the machine is the tracker's; and signatures that one of them
 * made or checked are not computed again (sim/memo.h). What the tracker receives and sends is
 * unchanged by all of this.
 *
 *   dray-crowd --key MESHKEY --region NAME --seed ADDRESS:PORT --port PORT --nodes N
 *              [--layers FILE --each K]
 *
 * FILE has a digest per line; member i holds K of them, from line i*K on, around the end. It runs
 * until it is told to end. Prints "ready" when everybody knows everybody. */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proto/mesh.h"
#include "runtime/keyfile.h"

#define NODES_MAX   4000
#define CONNS_MAX   8192
#define TURN_MAX    64 /* members driven before sockets are looked at again */
#define TICK_MS     20
#define HEAD_MAX    8192
#define TALK_WAIT_S 3
#define MS          1000000ull

struct one {
    struct mesh *mesh;
    struct addr addr;
    bool dirty;
};

struct conn { /* somebody asks one of them over TCP */
    int fd;   /* -1: free */
    struct one *of;
    struct addr from;
    char *buf;
    size_t len, cap;
};

struct crowd {
    struct seal_key key;
    char region[MEMBER_TEXT_MAX + 1];
    struct addr seed;
    u16 port;
    unsigned n, each;
    struct digest *layers;
    size_t n_layers;
    struct inventory_pool *pool;
    struct one *nodes;
    unsigned *dirty, n_dirty;
    int udp, tcp, epoll;
    struct conn conns[CONNS_MAX];
    u8 *talk, *answer; /* LIMIT_TALK_BYTES each */
};

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
    (void)number;
    ended = 1;
}

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("dray-crowd: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(2);
}

static u64 now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.tv_sec * 1000000000u + (u64)t.tv_nsec;
}

static u64 unix_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (u64)t.tv_sec * 1000u + (u64)t.tv_nsec / 1000000u;
}

/* --- addresses ------------------------------------------------------------------------------- */

static struct addr place_of(const struct crowd *c, unsigned i)
{
    return addr_v4(127, (u8)(1 + i / 62500), (u8)(i / 250 % 250), (u8)(1 + i % 250), c->port);
}

static struct one *who_is_at(const struct crowd *c, const struct addr *a)
{
    if (!addr_is_v4(a) || a->port != c->port || a->ip[12] != 127 || a->ip[13] == 0 ||
        a->ip[15] == 0)
        return NULL;
    unsigned i = (a->ip[13] - 1u) * 62500u + a->ip[14] * 250u + a->ip[15] - 1u;
    return i < c->n ? &c->nodes[i] : NULL;
}

static struct sockaddr_in to_socket(const struct addr *a)
{
    struct sockaddr_in s = {.sin_family = AF_INET, .sin_port = htons(a->port)};
    memcpy(&s.sin_addr, a->ip + 12, 4);
    return s;
}

static struct addr from_socket(const struct sockaddr_in *s)
{
    u32 ip = ntohl(s->sin_addr.s_addr);
    return addr_v4((u8)(ip >> 24), (u8)(ip >> 16), (u8)(ip >> 8), (u8)ip, ntohs(s->sin_port));
}

/* --- carrying -------------------------------------------------------------------------------- */

static void mark(struct crowd *c, struct one *o)
{
    if (o->dirty)
        return;
    o->dirty = true;
    c->dirty[c->n_dirty++] = (unsigned)(o - c->nodes);
}

/* One datagram leaves from the sender's own address. */
static void send_out(const struct crowd *c, const struct one *from, const struct addr *to,
                     const u8 *data, size_t len)
{
    struct sockaddr_in s = to_socket(to), own = to_socket(&from->addr);
    union {
        char bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
        struct cmsghdr align;
    } control = {.bytes = {0}};
    struct iovec iov = {(void *)(uintptr_t)data, len};
    struct msghdr m = {.msg_name = &s,
                       .msg_namelen = sizeof(s),
                       .msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    struct in_pktinfo info = {.ipi_spec_dst = own.sin_addr};
    h->cmsg_level = IPPROTO_IP;
    h->cmsg_type = IP_PKTINFO;
    h->cmsg_len = CMSG_LEN(sizeof(info));
    memcpy(CMSG_DATA(h), &info, sizeof(info));
    (void)sendmsg(c->udp, &m, 0); /* what is lost is repeated */
}

/* A talk with the tracker: POST /mesh/v1/talk, read to its end. Bytes of the answer, or an error.
 */
static ssize_t talk_out(struct crowd *c, const struct one *from, const struct addr *to, size_t len)
{
    struct sockaddr_in s = to_socket(to), own = to_socket(&from->addr);
    struct timeval wait = {.tv_sec = TALK_WAIT_S};
    char head[256];
    own.sin_port = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return ERR_IO;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
    int n = snprintf(head, sizeof(head),
                     "POST /mesh/v1/talk HTTP/1.1\r\nHost: tracker\r\nContent-Length: %zu\r\n"
                     "Connection: close\r\n\r\n",
                     len);
    size_t got = 0, cap = LIMIT_TALK_BYTES;
    bool good = bind(fd, (struct sockaddr *)&own, sizeof(own)) == 0 &&
                connect(fd, (struct sockaddr *)&s, sizeof(s)) == 0 &&
                send(fd, head, (size_t)n, MSG_NOSIGNAL) == n &&
                send(fd, c->talk, len, MSG_NOSIGNAL) == (ssize_t)len;
    for (ssize_t k; good && got < cap && (k = recv(fd, c->answer + got, cap - got, 0)) != 0;) {
        good = k > 0;
        got += good ? (size_t)k : 0;
    }
    close(fd);
    u8 *blank = good ? memmem(c->answer, got, "\r\n\r\n", 4) : NULL;
    if (!blank || got < 12 || memcmp(c->answer + 9, "200", 3) != 0)
        return blank ? ERR_DENIED : ERR_UNREACHABLE;
    size_t body = got - (size_t)(blank + 4 - c->answer);
    memmove(c->answer, blank + 4, body);
    return (ssize_t)body;
}

static void dial(struct crowd *c, struct one *o)
{
    struct addr to;
    size_t len;
    u32 id;
    while (mesh_dial(o->mesh, &id, &to, c->talk, LIMIT_TALK_BYTES, &len, now_ns())) {
        struct one *other = who_is_at(c, &to);
        size_t got = 0;
        int err = 0;
        if (other) {
            err = mesh_answer(other->mesh, &o->addr, c->talk, len, c->answer, LIMIT_TALK_BYTES,
                              &got, now_ns());
            mark(c, other);
        } else {
            ssize_t n = talk_out(c, o, &to, len);
            err = n < 0 ? (int)n : 0;
            got = n < 0 ? 0 : (size_t)n;
        }
        mesh_dialed(o->mesh, id, err, err ? NULL : c->answer, got, now_ns());
    }
}

static void drive(struct crowd *c, struct one *o)
{
    u8 buf[LIMIT_DATAGRAM_BYTES];
    struct mesh_event ev;
    struct addr to;
    size_t n;
    u64 now = now_ns();
    while ((n = mesh_write(o->mesh, &to, buf, sizeof(buf), now)) > 0) {
        struct one *other = who_is_at(c, &to);
        if (other) {
            (void)mesh_read(other->mesh, &o->addr, buf, n, now);
            mark(c, other);
        } else {
            send_out(c, o, &to, buf, n);
        }
    }
    dial(c, o);
    while (mesh_next_event(o->mesh, &ev))
        ;
}

static void drive_dirty(struct crowd *c)
{
    for (unsigned turns = 0; c->n_dirty > 0 && turns < TURN_MAX; turns++) {
        struct one *o = &c->nodes[c->dirty[--c->n_dirty]];
        o->dirty = false;
        drive(c, o);
    }
}

static void expire(struct crowd *c)
{
    u64 now = now_ns();
    for (unsigned i = 0; i < c->n; i++)
        if (mesh_next_expiry(c->nodes[i].mesh) <= now) {
            mesh_expire(c->nodes[i].mesh, now);
            mark(c, &c->nodes[i]);
        }
}

/* --- datagrams that come --------------------------------------------------------------------- */

static void receive(struct crowd *c)
{
    u8 buf[LIMIT_DATAGRAM_BYTES + 1];
    union {
        char bytes[256];
        struct cmsghdr align;
    } control;
    for (;;) {
        struct sockaddr_in s = {0};
        struct iovec iov = {buf, sizeof(buf)};
        struct msghdr m = {.msg_name = &s,
                           .msg_namelen = sizeof(s),
                           .msg_iov = &iov,
                           .msg_iovlen = 1,
                           .msg_control = control.bytes,
                           .msg_controllen = sizeof(control.bytes)};
        ssize_t n = recvmsg(c->udp, &m, MSG_DONTWAIT);
        if (n < 0)
            return;
        for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
            struct in_pktinfo info = {0};
            if (h->cmsg_level != IPPROTO_IP || h->cmsg_type != IP_PKTINFO)
                continue;
            memcpy(&info, CMSG_DATA(h), sizeof(info));
            struct sockaddr_in own = {.sin_port = htons(c->port), .sin_addr = info.ipi_addr};
            struct addr at = from_socket(&own), from = from_socket(&s);
            struct one *o = who_is_at(c, &at);
            if (o) {
                (void)mesh_read(o->mesh, &from, buf, (size_t)n, now_ns());
                mark(c, o);
            }
        }
    }
}

/* --- HTTP that comes ------------------------------------------------------------------------- */

static void conn_close(struct conn *k)
{
    close(k->fd);
    free(k->buf);
    memset(k, 0, sizeof(*k));
    k->fd = -1;
}

/* Small answers to a patient client: a blocking send is as good as any. */
static bool reply(const struct conn *k, int status, const void *body, size_t len)
{
    char head[256];
    int n =
        snprintf(head, sizeof(head), "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n", status, len);
    if (send(k->fd, head, (size_t)n, MSG_NOSIGNAL) != n)
        return false;
    for (size_t at = 0; at < len;) {
        ssize_t w = send(k->fd, (const u8 *)body + at, len - at, MSG_NOSIGNAL);
        if (w <= 0)
            return false;
        at += (size_t)w;
    }
    return true;
}

/* What stands in the buffer, if it is whole. False: the connection is of no use any more. */
static bool serve(struct crowd *c, struct conn *k)
{
    char *blank = memmem(k->buf, k->len, "\r\n\r\n", 4);
    if (!blank)
        return k->len < HEAD_MAX;
    size_t head = (size_t)(blank - k->buf) + 4, body = 0;
    for (char *line = k->buf; line < blank; line = strstr(line, "\r\n") + 2)
        if (strncasecmp(line, "content-length:", 15) == 0)
            body = strtoul(line + 15, NULL, 10);
    if (body > LIMIT_TALK_BYTES)
        return false;
    if (k->len < head + body)
        return true;
    bool good;
    if (strncmp(k->buf, "POST /mesh/v1/talk ", 19) == 0) {
        size_t got = 0;
        int err = mesh_answer(k->of->mesh, &k->from, k->buf + head, body, c->answer,
                              LIMIT_TALK_BYTES, &got, now_ns());
        mark(c, k->of);
        good = reply(k, err == 0 ? 200 : err == ERR_DENIED ? 403 : 400, c->answer, err ? 0 : got);
    } else {
        good = reply(k, strncmp(k->buf, "GET /healthz ", 13) == 0 ? 200 : 204, NULL, 0);
    }
    k->len -= head + body;
    memmove(k->buf, k->buf + head + body, k->len);
    k->buf[k->len] = 0;
    return good;
}

static void conn_read(struct crowd *c, struct conn *k)
{
    if (k->cap - k->len < 2048) {
        size_t cap = k->cap ? 2 * k->cap : 4096;
        char *grown = realloc(k->buf, cap);
        if (!grown)
            die("out of memory");
        k->buf = grown;
        k->cap = cap;
    }
    ssize_t n = recv(k->fd, k->buf + k->len, k->cap - k->len - 1, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        k->len += (size_t)n;
        k->buf[k->len] = 0;
    }
    if (n <= 0 || !serve(c, k))
        conn_close(k);
}

static void accept_all(struct crowd *c)
{
    for (struct conn *k = c->conns; k < c->conns + CONNS_MAX; k++) {
        struct sockaddr_in peer = {0}, own = {0};
        socklen_t peer_len = sizeof(peer), own_len = sizeof(own);
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = k};
        int one = 1;
        if (k->fd >= 0)
            continue;
        int fd = accept4(c->tcp, (struct sockaddr *)&peer, &peer_len, SOCK_CLOEXEC);
        if (fd < 0)
            return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        getsockname(fd, (struct sockaddr *)&own, &own_len);
        struct addr at = from_socket(&own);
        *k = (struct conn){.fd = fd, .of = who_is_at(c, &at), .from = from_socket(&peer)};
        if (!k->of || epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &ev) != 0)
            conn_close(k);
    }
}

/* --- the start ------------------------------------------------------------------------------- */

static void read_key(struct crowd *c, const char *path)
{
    struct keyfile_key keys[KEYFILE_KEYS];
    char text[KEYFILE_MAX] = "";
    size_t n = 0;
    unsigned line;
    FILE *f = fopen(path, "r");
    if (!f || fread(text, 1, sizeof(text) - 1, f) == 0 ||
        keyfile_parse(text, KEYFILE_MESH, keys, &n, &line) != 0)
        die("%s: no mesh key", path);
    fclose(f);
    memcpy(c->key.bytes, keys[0].bytes, SEAL_KEY_BYTES);
}

static void read_layers(struct crowd *c, const char *path)
{
    char line[512];
    FILE *f = fopen(path, "r");
    if (!f)
        die("%s: %s", path, strerror(errno));
    for (size_t cap = 0; fgets(line, sizeof(line), f);) {
        size_t n = strcspn(line, "\n");
        if (c->n_layers == cap) {
            cap = cap ? 2 * cap : 1024;
            c->layers = realloc(c->layers, cap * sizeof(*c->layers));
            if (!c->layers)
                die("out of memory");
        }
        if (digest_parse(&c->layers[c->n_layers++], line, n))
            die("%s: no digest: %s", path, line);
    }
    fclose(f);
}

static void listen_all(struct crowd *c)
{
    struct sockaddr_in s = {.sin_family = AF_INET, .sin_port = htons(c->port)};
    int one = 1, room = 8 << 20;
    c->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    c->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(c->tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(c->udp, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one));
    setsockopt(c->udp, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    if (bind(c->udp, (struct sockaddr *)&s, sizeof(s)) != 0 ||
        bind(c->tcp, (struct sockaddr *)&s, sizeof(s)) != 0 || listen(c->tcp, 1024) != 0)
        die("port %u: %s", c->port, strerror(errno));
    struct epoll_event udp = {.events = EPOLLIN, .data.ptr = &c->udp};
    struct epoll_event tcp = {.events = EPOLLIN, .data.ptr = &c->tcp};
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (c->epoll < 0 || epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->udp, &udp) != 0 ||
        epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->tcp, &tcp) != 0)
        die("epoll: %s", strerror(errno));
    for (struct conn *k = c->conns; k < c->conns + CONNS_MAX; k++)
        k->fd = -1;
}

static void make_one(struct crowd *c, unsigned i)
{
    struct one *o = &c->nodes[i];
    char name[32], rack[32], url[96];
    snprintf(name, sizeof(name), "node-%04u", i);
    snprintf(rack, sizeof(rack), "rack-%u", i / 16);
    snprintf(url, sizeof(url), "https://node-%04u.caches.example.net", i);
    o->addr = place_of(c, i);
    struct mesh_options opt = {
        .self = {.addr = o->addr,
                 .role = MEMBER_NODE,
                 .can_fetch = true,
                 .name = name,
                 .region = c->region,
                 .rack = rack,
                 .public_url = url},
        .boot_epoch = unix_ms(),
        .inventory_epoch = unix_ms(),
        .keys = &c->key,
        .n_keys = 1,
        .pool = c->pool,
        .timing = {.probe_interval_ns = 5000 * MS,
                   .probe_timeout_min_ns = 1000 * MS,
                   .probe_timeout_max_ns = 2500 * MS,
                   .gossip_interval_ns = 2000 * MS},
        .rng_seed = i,
        .now_ns = now_ns(),
    };
    randombytes_buf(opt.seed, sizeof(opt.seed));
    if (mesh_new(&o->mesh, &opt) || mesh_seed(o->mesh, &c->seed))
        die("a node cannot be made");
    mesh_clock(o->mesh, unix_ms());
    for (unsigned k = 0; k < c->each && c->n_layers; k++)
        mesh_hold(o->mesh, &c->layers[((size_t)i * c->each + k) % c->n_layers], now_ns());
    mark(c, o);
}

static void start(struct crowd *c)
{
    if (inventory_pool_new(&c->pool, inventory_salt(c->region)))
        die("out of memory");
    c->nodes = calloc(c->n, sizeof(*c->nodes));
    c->dirty = calloc(c->n, sizeof(*c->dirty));
    c->talk = malloc(LIMIT_TALK_BYTES);
    c->answer = malloc(LIMIT_TALK_BYTES);
    if (!c->nodes || !c->dirty || !c->talk || !c->answer)
        die("out of memory");
    listen_all(c);
    for (unsigned i = 0; i < c->n; i++)
        make_one(c, i);
}

static bool all_know_all(const struct crowd *c)
{
    for (unsigned i = 0; i < c->n; i++)
        if (member_count(mesh_member(c->nodes[i].mesh), MEMBER_ALIVE) <= c->n)
            return false; /* the tracker counts, too */
    return true;
}

static void turn(struct crowd *c)
{
    struct epoll_event events[256];
    int n = epoll_wait(c->epoll, events, countof(events), c->n_dirty ? 0 : TICK_MS);
    for (int i = 0; i < n; i++) {
        void *what = events[i].data.ptr;
        if (what == &c->udp)
            receive(c);
        else if (what == &c->tcp)
            accept_all(c);
        else
            conn_read(c, what);
    }
}

static void run(struct crowd *c)
{
    bool said = false;
    u64 next = 0;
    while (!ended) {
        turn(c);
        if (now_ns() >= next) {
            expire(c);
            next = now_ns() + TICK_MS * MS;
        }
        drive_dirty(c);
        if (!said && (said = all_know_all(c))) {
            puts("ready");
            fflush(stdout);
        }
    }
}

static unsigned number(const char *text, unsigned max)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);
    if (*end || v == 0 || v > max)
        die("%s: expected a number from 1 to %u", text, max);
    return (unsigned)v;
}

int main(int argc, char **argv)
{
    static struct crowd c;
    static const struct option options[] = {
        {"key", required_argument, NULL, 'k'},   {"region", required_argument, NULL, 'r'},
        {"seed", required_argument, NULL, 's'},  {"port", required_argument, NULL, 'p'},
        {"nodes", required_argument, NULL, 'n'}, {"layers", required_argument, NULL, 'l'},
        {"each", required_argument, NULL, 'e'},  {NULL, 0, NULL, 0}};
    const char *key = NULL, *layers = NULL;
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (o) {
        case 'k': key = optarg; break;
        case 'l': layers = optarg; break;
        case 'r': snprintf(c.region, sizeof(c.region), "%s", optarg); break;
        case 'p': c.port = (u16)number(optarg, 65535); break;
        case 'n': c.n = number(optarg, NODES_MAX); break;
        case 'e': c.each = number(optarg, LIMIT_INVENTORY_SLOTS); break;
        case 's':
            if (addr_parse(&c.seed, optarg, strlen(optarg)))
                die("--seed %s: expected ADDRESS:PORT", optarg);
            break;
        default: exit(2);
        }
    if (!key || !c.region[0] || !c.port || !c.n || !c.seed.port)
        die("needs --key, --region, --seed, --port and --nodes");
    if (sodium_init() < 0)
        die("libsodium does not start");
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    read_key(&c, key);
    if (layers)
        read_layers(&c, layers);
    start(&c);
    run(&c);
    return 0;
}
