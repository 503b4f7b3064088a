/* raw_server.h - a server for tests that says exactly the bytes its script says.
 *
 * One thread accepts, one more serves each connection by calling the script. A script returns when
 * it is done with its connection, which is then closed (FIN). raw_server_stop() shuts every socket
 * down, so scripts that wait in raw_read() come back, and joins all threads. */
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/types.h"

#define RAW_CONNECTIONS 256
#define RAW_REQUEST_MAX 65536

struct raw_server;

struct raw_peer {
    struct raw_server *server;
    int fd;
    SSL *ssl;        /* NULL: plain */
    unsigned number; /* of this connection, from 0 */
    pthread_t thread;
};

struct raw_server {
    int fd;
    u16 port;
    void (*script)(struct raw_peer *p);
    SSL_CTX *tls;
    atomic_uint connections, requests, open, most_open;
    atomic_bool stopping;
    atomic_int gate; /* for scripts that wait for the test: raw_wait() */
    pthread_mutex_t lock;
    char request[RAW_REQUEST_MAX]; /* the last one; guarded by lock */
    struct raw_peer peers[RAW_CONNECTIONS];
    pthread_t thread;
};

static inline ssize_t raw_read(struct raw_peer *p, void *out, size_t cap)
{
    return p->ssl != NULL ? SSL_read(p->ssl, out, (int)cap) : recv(p->fd, out, cap, 0);
}

static inline bool raw_write(struct raw_peer *p, const void *data, size_t len)
{
    const char *at = data;
    ssize_t n;

    while (len > 0) {
        n = p->ssl != NULL ? SSL_write(p->ssl, at, (int)(len > 16384 ? 16384 : len))
                           : send(p->fd, at, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static inline bool raw_say(struct raw_peer *p, const char *text)
{
    return raw_write(p, text, strlen(text));
}

/* One request head. False when the client is gone. */
static inline bool raw_request(struct raw_peer *p)
{
    char text[RAW_REQUEST_MAX];
    size_t len = 0;

    while (len < sizeof(text) - 1) {
        ssize_t n = raw_read(p, text + len, 1);

        if (n <= 0)
            return false;
        len++;
        if (len >= 4 && memcmp(text + len - 4, "\r\n\r\n", 4) == 0)
            break;
    }
    text[len] = '\0';
    pthread_mutex_lock(&p->server->lock);
    memcpy(p->server->request, text, len + 1);
    pthread_mutex_unlock(&p->server->lock);
    atomic_fetch_add(&p->server->requests, 1);
    return true;
}

/* `len` bytes of a request's body. */
static inline bool raw_body(struct raw_peer *p, char *out, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = raw_read(p, out + at, len - at);
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

/* Until the client closes, or the test stops the server. */
static inline void raw_wait_gone(struct raw_peer *p)
{
    char c;

    while (raw_read(p, &c, 1) > 0)
        ;
}

/* Until the test sets `gate` to at least `value`, or stops. */
static inline void raw_wait(struct raw_peer *p, int value)
{
    while (atomic_load(&p->server->gate) < value && !atomic_load(&p->server->stopping))
        usleep(1000);
}

/* The close that follows is an RST. */
static inline void raw_reset(struct raw_peer *p)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};

    setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
}

static inline void *raw_serve(void *arg)
{
    struct raw_peer *p = arg;
    struct raw_server *s = p->server;
    unsigned open = atomic_fetch_add(&s->open, 1) + 1;
    unsigned most = atomic_load(&s->most_open);

    while (open > most && !atomic_compare_exchange_weak(&s->most_open, &most, open))
        ;
    if (s->tls != NULL) {
        p->ssl = SSL_new(s->tls);
        SSL_set_fd(p->ssl, p->fd);
        if (SSL_accept(p->ssl) == 1)
            s->script(p);
        SSL_free(p->ssl);
        p->ssl = NULL;
    } else
        s->script(p);
    atomic_fetch_sub(&s->open, 1);
    pthread_mutex_lock(&s->lock);
    close(p->fd);
    p->fd = -1;
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static inline void *raw_accept(void *arg)
{
    struct raw_server *s = arg;
    unsigned n;

    for (;;) {
        int fd = accept(s->fd, NULL, NULL);

        if (fd < 0 || atomic_load(&s->stopping)) {
            if (fd >= 0)
                close(fd);
            return NULL;
        }
        n = atomic_load(&s->connections);
        if (n == RAW_CONNECTIONS)
            abort();
        s->peers[n] = (struct raw_peer){.server = s, .fd = fd, .number = n};
        atomic_fetch_add(&s->connections, 1); /* before anybody can see it answered */
        if (pthread_create(&s->peers[n].thread, NULL, raw_serve, &s->peers[n]) != 0)
            abort();
    }
}

static inline struct raw_server *raw_server_start(void (*script)(struct raw_peer *p), int family,
                                                  SSL_CTX *tls)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    socklen_t len = family == AF_INET ? sizeof(v4) : sizeof(v6);
    struct sockaddr *sa = family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
    struct raw_server *s = calloc(1, sizeof(*s));

    if (s == NULL)
        abort();
    s->script = script;
    s->tls = tls;
    pthread_mutex_init(&s->lock, NULL);
    s->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->fd < 0 || bind(s->fd, sa, len) != 0 || listen(s->fd, 128) != 0 ||
        getsockname(s->fd, sa, &len) != 0) {
        perror("raw server");
        abort();
    }
    s->port = ntohs(family == AF_INET ? v4.sin_port : v6.sin6_port);
    if (pthread_create(&s->thread, NULL, raw_accept, s) != 0)
        abort();
    return s;
}

static inline void raw_server_stop(struct raw_server *s)
{
    atomic_store(&s->stopping, true);
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < atomic_load(&s->connections); i++)
        if (s->peers[i].fd >= 0)
            shutdown(s->peers[i].fd, SHUT_RDWR);
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < atomic_load(&s->connections); i++)
        pthread_join(s->peers[i].thread, NULL);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
