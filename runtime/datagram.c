/* datagram.c - see datagram.h.
 *
 * libuv reads up to 20 datagrams with one recvmmsg() into slots of 64 KiB of the buffer that we
 * give it, and stops after 32 in one turn. Of each slot only the first pages are ever touched. */
#include "runtime/datagram.h"

#include <arpa/inet.h>
#include <assert.h>
#include <linux/sock_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "runtime/sockaddr.h"

#define SLOTS        20
#define SLOT_BYTES   65536
#define BUFFER_BYTES (4 * MIB) /* of the socket, each way; the kernel may grant less */

struct datagram {
    uv_udp_t udp;
    void (*came)(void *arg, const struct addr *from, const void *data, size_t len);
    void (*batch)(void *arg);
    void *arg;
    void (*gone)(void *arg);
    void *gone_arg;
    struct addr bound;
    bool v6;      /* the socket's family */
    bool pending; /* datagrams came since the last `batch` */
    struct datagram_stats stats;
    char *slots;
};

/* --- receiving ------------------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct datagram *d = handle->data;
    (void)suggested;
    *buf = uv_buf_init(d->slots, SLOTS * SLOT_BYTES);
}

static void take(struct datagram *d, const uv_buf_t *buf, size_t len, const struct sockaddr *sa)
{
    struct addr from;
    d->stats.received++;
    d->stats.bytes_received += len;
    if (len > LIMIT_DATAGRAM_BYTES) {
        d->stats.too_long++;
    } else if (sockaddr_read(sa, &from) || !addr_is_set(&from)) {
        d->stats.foreign++;
    } else {
        d->pending = true;
        d->came(d->arg, &from, buf->base, len);
    }
}

static void on_receive(uv_udp_t *udp, ssize_t n, const uv_buf_t *buf, const struct sockaddr *sa,
                       unsigned flags)
{
    struct datagram *d = udp->data;
    if (sa && n >= 0) {
        take(d, buf, (flags & UV_UDP_PARTIAL) ? LIMIT_DATAGRAM_BYTES + 1 : (size_t)n, sa);
        if (flags & UV_UDP_MMSG_CHUNK)
            return;
    }
    /* The socket is empty, or a batch is over, or it said an error that is not for us. */
    if (d->pending && !uv_is_closing((uv_handle_t *)udp)) {
        d->pending = false;
        d->batch(d->arg);
    }
}

/* --- sending --------------------------------------------------------------------------------- */

int datagram_send(struct datagram *d, const struct addr *to, const void *data, size_t len)
{
    union sockaddr_any a;
    uv_buf_t buf = uv_buf_init((char *)data, (unsigned)len);
    assert(len > 0 && len <= LIMIT_DATAGRAM_BYTES);
    if (!addr_is_set(to) || (!d->v6 && !addr_is_v4(to))) {
        d->stats.unreachable++;
        return ERR_UNREACHABLE;
    }
    sockaddr_write(to, d->v6, &a);
    int rc = uv_udp_try_send(&d->udp, &buf, 1, &a.sa);
    if (rc >= 0) {
        d->stats.sent++;
        d->stats.bytes_sent += len;
        return 0;
    }
    if (rc == UV_EAGAIN || rc == UV_ENOBUFS || rc == UV_ENOMEM) {
        d->stats.full++;
        return ERR_AGAIN;
    }
    d->stats.unreachable++;
    return ERR_UNREACHABLE;
}

/* --- opening and closing --------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
    struct datagram *d = handle->data;
    if (d->gone)
        d->gone(d->gone_arg);
    free(d->slots);
    free(d);
}

void datagram_del(struct datagram *d, void (*gone)(void *arg), void *arg)
{
    d->gone = gone;
    d->gone_arg = arg;
    uv_close((uv_handle_t *)&d->udp, on_closed);
}

static int explain(int rc, const char *listen, char why[256])
{
    if (rc == UV_EADDRINUSE)
        snprintf(why, 256, "UDP %s is in use by another process; the mesh needs it beside TCP",
                 listen);
    else
        snprintf(why, 256, "UDP %s: %s", listen, uv_strerror(rc));
    return rc == UV_EADDRINUSE ? ERR_BUSY : ERR_IO;
}

static int open_socket(struct datagram *d, const union sockaddr_any *a, const char *listen,
                       char why[256])
{
    int size = (int)BUFFER_BYTES, len = sizeof(union sockaddr_any);
    union sockaddr_any bound;
    int rc = uv_udp_bind(&d->udp, &a->sa, 0);
    if (!rc)
        rc = uv_udp_getsockname(&d->udp, &bound.sa, &len);
    if (!rc)
        rc = uv_udp_recv_start(&d->udp, on_alloc, on_receive);
    if (rc)
        return explain(rc, listen, why);
    uv_recv_buffer_size((uv_handle_t *)&d->udp, &size); /* as much as the kernel grants */
    size = (int)BUFFER_BYTES;
    uv_send_buffer_size((uv_handle_t *)&d->udp, &size);
    return sockaddr_read(&bound.sa, &d->bound);
}

int datagram_new(struct datagram **out, const struct datagram_options *opt, char why[256])
{
    struct addr listen;
    union sockaddr_any a;
    bool v6 = opt->listen[0] == '[';
    why[0] = '\0';
    assert(opt->came && opt->batch);
    int rc = addr_parse(&listen, opt->listen, strlen(opt->listen));
    if (rc) {
        snprintf(why, 256, "%.100s is no address to listen on", opt->listen);
        return ERR_INVAL;
    }
    struct datagram *d = calloc(1, sizeof(*d));
    if (!d || !(d->slots = malloc((size_t)SLOTS * SLOT_BYTES))) {
        free(d);
        return ERR_NOMEM;
    }
    d->came = opt->came;
    d->batch = opt->batch;
    d->arg = opt->arg;
    d->v6 = v6;
    rc = uv_udp_init_ex(opt->loop, &d->udp, (v6 ? AF_INET6 : AF_INET) | UV_UDP_RECVMMSG);
    if (rc) {
        explain(rc, opt->listen, why);
        free(d->slots);
        free(d);
        return ERR_IO;
    }
    d->udp.data = d;
    if (opt->port)
        listen.port = opt->port;
    sockaddr_write(&listen, v6, &a);
    rc = open_socket(d, &a, opt->listen, why);
    if (rc) {
        datagram_del(d, NULL, NULL);
        return rc;
    }
    *out = d;
    return 0;
}

void datagram_stats(struct datagram *d, struct datagram_stats *out)
{
    u32 info[SK_MEMINFO_VARS] = {0};
    socklen_t len = sizeof(info);
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)&d->udp, &fd) == 0 &&
        getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) == 0)
        d->stats.overrun = info[SK_MEMINFO_DROPS];
    *out = d->stats;
}

struct addr datagram_bound(const struct datagram *d)
{
    return d->bound;
}
