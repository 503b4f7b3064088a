/* http_io.c - a connection's socket: read and write without blocking, with TLS or without.
 *
 * SSL works on the descriptor itself. A write that could not finish is repeated with the same
 * bytes, perhaps from another address and perhaps with more behind them: the contexts are made so
 * (tls.c), and a body's peek promises no more than that. */
#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "runtime/http_conn.h"

static bool would_block(int e)
{
    return e == EAGAIN || e == EWOULDBLOCK;
}

/* What a failed SSL call means. 0 stands for the orderly end. */
static int ssl_result(struct http_conn *c, int rc, int *need)
{
    switch (SSL_get_error(c->ssl, rc)) {
    case SSL_ERROR_WANT_READ: *need = UV_READABLE; return ERR_AGAIN;
    case SSL_ERROR_WANT_WRITE: *need = UV_WRITABLE; return ERR_AGAIN;
    case SSL_ERROR_ZERO_RETURN: return 0;
    default: return ERR_IO;
    }
}

ssize_t http_io_read(struct http_conn *c, void *buf, size_t n, int *need)
{
    *need = UV_READABLE;
    if (c->ssl) {
        ERR_clear_error();
        int rc = SSL_read(c->ssl, buf, (int)n);
        return rc > 0 ? rc : ssl_result(c, rc, need);
    }
    for (;;) {
        ssize_t rc = recv(c->fd, buf, n, 0);
        if (rc >= 0)
            return rc;
        if (errno == EINTR)
            continue;
        return would_block(errno) ? ERR_AGAIN : ERR_IO;
    }
}

static ssize_t plain_write(struct http_conn *c, const char *head, size_t head_n, const void *data,
                           size_t n)
{
    struct iovec iov[2] = {{(void *)(uintptr_t)head, head_n}, {(void *)(uintptr_t)data, n}};
    struct msghdr m = {.msg_iov = head_n ? iov : iov + 1, .msg_iovlen = head_n && n ? 2 : 1};
    for (;;) {
        ssize_t rc = sendmsg(c->fd, &m, MSG_NOSIGNAL);
        if (rc >= 0)
            return rc;
        if (errno == EINTR)
            continue;
        return would_block(errno) ? ERR_AGAIN : ERR_IO;
    }
}

ssize_t http_io_write(struct http_conn *c, const char *head, size_t head_n, const void *data,
                      size_t n)
{
    assert(head_n + n > 0);
    if (!c->ssl)
        return plain_write(c, head, head_n, data, n);
    if (head_n && n) { /* one record for both, else a small answer costs two packets */
        char *scratch = c->server->scratch;
        size_t room = sizeof(c->server->scratch);
        size_t h = head_n < room ? head_n : room;
        size_t d = n < room - h ? n : room - h;
        memcpy(scratch, head, h);
        memcpy(scratch + h, data, d);
        data = scratch;
        n = h + d;
    } else if (head_n) {
        data = head;
        n = head_n;
    }
    ERR_clear_error();
    int rc = SSL_write(c->ssl, data, n > INT32_MAX ? INT32_MAX : (int)n);
    if (rc > 0)
        return rc;
    /* With renegotiation off, writing never waits for reading. */
    int need = 0;
    rc = ssl_result(c, rc, &need);
    return rc == ERR_AGAIN && need == UV_WRITABLE ? ERR_AGAIN : ERR_IO;
}

ssize_t http_io_write_more(struct http_conn *c, const char *data, size_t n)
{
    assert(!c->ssl && n > 0);
    ssize_t w = send(c->fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE);
    if (w >= 0)
        return w;
    return would_block(errno) || errno == EINTR ? ERR_AGAIN : ERR_IO;
}

i64 http_io_taken(const struct http_conn *c)
{
    int held = 0;
    if (ioctl(c->fd, SIOCOUTQ, &held) != 0)
        held = 0;
    return (i64)http_sent(c->x) - held;
}

bool http_io_pending(const struct http_conn *c)
{
    return c->ssl && SSL_pending(c->ssl) > 0;
}

/* A TLS hello begins with 22, a method with a letter. */
int http_io_look(struct http_conn *c)
{
    char first = 0;
    ssize_t n = recv(c->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? ERR_AGAIN : ERR_EOF;
    if (n == 0)
        return ERR_EOF;
    c->peeked = true;
    return first >= 'A' && first <= 'Z';
}

int http_io_handshake(struct http_conn *c, int *need)
{
    ERR_clear_error();
    int rc = SSL_accept(c->ssl);
    if (rc == 1) {
        /* A client without a certificate verifies too: it must have shown one. */
        c->verified =
            SSL_get0_peer_certificate(c->ssl) && SSL_get_verify_result(c->ssl) == X509_V_OK;
        return 0;
    }
    rc = ssl_result(c, rc, need);
    if (rc == ERR_AGAIN)
        return rc;
    unsigned long e = ERR_peek_error();
    bool plain = ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_HTTP_REQUEST;
    ERR_clear_error();
    return plain ? ERR_PROTO : ERR_TLS;
}

int http_io_farewell(struct http_conn *c, int *need)
{
    if (c->ssl && c->complete) {
        ERR_clear_error();
        int rc = SSL_shutdown(c->ssl);
        if (rc < 0 && ssl_result(c, rc, need) == ERR_AGAIN && *need == UV_WRITABLE)
            return ERR_AGAIN;
        ERR_clear_error();
    }
    (void)shutdown(c->fd, SHUT_WR);
    return 0;
}
