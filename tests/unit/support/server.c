/* server.c - see server.h. */
#include "support/server.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/hash.h"

#define REQUESTS_MAX 512
#define PEERS_MAX    128
#define GATES        16
#define SEND_BUFFER  (64 * 1024) /* small, so that little hides in the kernel */

struct server_peer {
    struct server *server;
    pthread_t thread;
    int fd;
    SSL *ssl;
    bool over;
};

struct server {
    server_script script;
    void *arg;
    int fd;
    char url[64];
    SSL_CTX *tls;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under the lock */
    bool stopping;
    bool gates[GATES];
    struct server_request *requests[REQUESTS_MAX];
    unsigned n_requests;
    struct server_peer *peers[PEERS_MAX];
    size_t n_peers;
};

/* --- bytes ------------------------------------------------------------------------------------ */

static ssize_t peer_read(struct server_peer *p, void *data, size_t len)
{
    if (p->ssl)
        return SSL_read(p->ssl, data, (int)len);
    return recv(p->fd, data, len, 0);
}

void say_bytes(struct server_peer *p, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0 && !p->over) {
        size_t part = len < 65536 ? len : 65536;
        ssize_t n = p->ssl ? SSL_write(p->ssl, at, (int)part) : send(p->fd, at, part, MSG_NOSIGNAL);
        if (n <= 0) {
            p->over = true;
            return;
        }
        at += n;
        len -= (size_t)n;
    }
}

void say(struct server_peer *p, const char *format, ...)
{
    char text[8192];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    say_bytes(p, text, n < (int)sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

void say_answer(struct server_peer *p, int status, const char *fields, const char *body)
{
    say(p, "HTTP/1.1 %d Scripted\r\n%sContent-Length: %zu\r\n\r\n", status, fields, strlen(body));
    say_bytes(p, body, strlen(body));
}

void say_chunk(struct server_peer *p, const void *data, size_t len)
{
    say(p, "%zx\r\n", len);
    say_bytes(p, data, len);
    say_bytes(p, "\r\n", 2);
}

bool peer_left(const struct server_peer *p)
{
    return p->over;
}

void hang_up(struct server_peer *p)
{
    p->over = true;
}

void wait_gate(struct server_peer *p, unsigned gate)
{
    struct server *s = p->server;
    pthread_mutex_lock(&s->lock);
    while (!s->gates[gate] && !s->stopping)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

void wait_gone(struct server_peer *p)
{
    char skipped[256];
    while (peer_read(p, skipped, sizeof(skipped)) > 0)
        ;
    p->over = true;
}

void go_silent(struct server_peer *p)
{
    struct sock_filter nothing = {.code = BPF_RET | BPF_K, .k = 0};
    struct sock_fprog drop = {.len = 1, .filter = &nothing};
    (void)setsockopt(p->fd, SOL_SOCKET, SO_ATTACH_FILTER, &drop, sizeof(drop));
}

/* --- connections ------------------------------------------------------------------------------ */

/* Reads a head into `text`; false: the connection ended. */
static bool read_head(struct server_peer *p, char *text, size_t cap)
{
    size_t len = 0;
    while (len + 1 < cap) {
        if (peer_read(p, text + len, 1) != 1)
            return false;
        text[++len] = '\0';
        if (len >= 4 && memcmp(text + len - 4, "\r\n\r\n", 4) == 0)
            return true;
    }
    return false;
}

static bool note(struct server *s, const char *head, struct server_request *out)
{
    memset(out, 0, sizeof(*out));
    const char *end = strstr(head, "\r\n"); /* NULL: a NUL stood before it */
    if (!end || sscanf(head, "%15s %1023s", out->method, out->target) != 2)
        return false;
    snprintf(out->head, sizeof(out->head), "%s", end + 2);
    pthread_mutex_lock(&s->lock);
    bool room = s->n_requests < REQUESTS_MAX && !s->stopping;
    if (room) {
        out->number = s->n_requests;
        s->requests[s->n_requests] = malloc(sizeof(*out));
        if (s->requests[s->n_requests])
            *s->requests[s->n_requests++] = *out;
    }
    pthread_mutex_unlock(&s->lock);
    return room;
}

/* The script has answered; what is left of the request is no next one. */
static void skip_body(struct server_peer *p, const struct server_request *r)
{
    const char *length = request_field(r, "Content-Length");
    char skipped[4096];
    for (size_t left = length ? strtoull(length, NULL, 10) : 0; left > 0 && !p->over;) {
        ssize_t n = peer_read(p, skipped, left < sizeof(skipped) ? left : sizeof(skipped));
        if (n <= 0)
            p->over = true;
        else
            left -= (size_t)n;
    }
}

static void *serve(void *arg)
{
    struct server_peer *p = arg;
    struct server_request *r = malloc(sizeof(*r));
    char *head = malloc(sizeof(r->head));
    if (p->ssl && SSL_accept(p->ssl) != 1)
        p->over = true;
    while (r && head && !p->over) {
        if (!read_head(p, head, sizeof(r->head)) || !note(p->server, head, r))
            break;
        p->server->script(p, r, p->server->arg);
        skip_body(p, r);
    }
    if (p->ssl)
        SSL_shutdown(p->ssl);
    shutdown(p->fd, SHUT_RDWR);
    free(head);
    free(r);
    return NULL;
}

static void welcome(struct server *s, int fd)
{
    int bytes = SEND_BUFFER, on = 1;
    struct server_peer *p = calloc(1, sizeof(*p));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    pthread_mutex_lock(&s->lock);
    if (!p || s->stopping || s->n_peers == PEERS_MAX) {
        close(fd);
        free(p);
    } else {
        p->server = s;
        p->fd = fd;
        if (s->tls) {
            p->ssl = SSL_new(s->tls);
            SSL_set_fd(p->ssl, fd);
        }
        s->peers[s->n_peers++] = p;
        pthread_create(&p->thread, NULL, serve, p);
    }
    pthread_mutex_unlock(&s->lock);
}

static void *listen_on(void *arg)
{
    struct server *s = arg;
    for (int fd; (fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0;)
        welcome(s, fd);
    return NULL;
}

/* --- the server ------------------------------------------------------------------------------- */

/* A context under a fresh certificate for 127.0.0.1, which is its own authority. */
static SSL_CTX *tls_make(const char *ca_file)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_NAME *name = X509_get_subject_name(cert);
    X509V3_CTX v3;
    static const int kinds[] = {NID_basic_constraints, NID_subject_alt_name};
    static const char *const values[] = {"critical,CA:TRUE", "IP:127.0.0.1"};
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const u8 *)"scripted", -1, -1, 0);
    X509_set_issuer_name(cert, name);
    X509V3_set_ctx(&v3, cert, cert, NULL, NULL, 0);
    for (size_t i = 0; i < countof(kinds); i++) {
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &v3, kinds[i], values[i]);
        X509_add_ext(cert, e, -1);
        X509_EXTENSION_free(e);
    }
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    FILE *to = fopen(ca_file, "w");
    assert_non_null(to);
    assert_int_equal(PEM_write_X509(to, cert), 1);
    fclose(to);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
    X509_free(cert);
    EVP_PKEY_free(key);
    return ctx;
}

struct server *server_new(server_script script, void *arg, const char *ca_file)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    struct server *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    s->script = script;
    s->arg = arg;
    s->tls = ca_file ? tls_make(ca_file) : NULL;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(s->fd >= 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(s->fd, 128), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&at, &len), 0);
    snprintf(s->url, sizeof(s->url), "%s://127.0.0.1:%u", ca_file ? "https" : "http",
             ntohs(at.sin_port));
    assert_int_equal(pthread_create(&s->thread, NULL, listen_on, s), 0);
    return s;
}

void server_del(struct server *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->changed);
    for (size_t i = 0; i < s->n_peers; i++)
        shutdown(s->peers[i]->fd, SHUT_RDWR);
    pthread_mutex_unlock(&s->lock);
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
    for (size_t i = 0; i < s->n_peers; i++) {
        pthread_join(s->peers[i]->thread, NULL);
        SSL_free(s->peers[i]->ssl);
        close(s->peers[i]->fd);
        free(s->peers[i]);
    }
    for (unsigned i = 0; i < s->n_requests; i++)
        free(s->requests[i]);
    SSL_CTX_free(s->tls);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    free(s);
}

const char *server_url(const struct server *s)
{
    return s->url;
}

const char *server_host(const struct server *s)
{
    return strstr(s->url, "://") + 3;
}

unsigned server_count(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    unsigned n = s->n_requests;
    pthread_mutex_unlock(&s->lock);
    return n;
}

void server_request_at(struct server *s, unsigned n, struct server_request *out)
{
    assert_true(n < server_count(s));
    *out = *s->requests[n]; /* never changes once it is noted */
}

unsigned server_count_of(struct server *s, const char *target)
{
    unsigned found = 0;
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < s->n_requests; i++)
        found += strcmp(s->requests[i]->target, target) == 0;
    pthread_mutex_unlock(&s->lock);
    return found;
}

const char *request_field(const struct server_request *r, const char *name)
{
    static _Thread_local char value[4096];
    size_t n = strlen(name);
    for (const char *at = r->head; at && *at; at = strstr(at, "\r\n"), at = at ? at + 2 : NULL) {
        if (strncasecmp(at, name, n) != 0 || at[n] != ':')
            continue;
        at += n + 1;
        at += strspn(at, " ");
        snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\r"), at);
        return value;
    }
    return NULL;
}

void server_open(struct server *s, unsigned gate)
{
    assert_true(gate < GATES);
    pthread_mutex_lock(&s->lock);
    s->gates[gate] = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* --- layers ----------------------------------------------------------------------------------- */

void layer_make(struct layer *l, size_t len, u64 seed)
{
    l->data = malloc(len ? len : 1);
    assert_non_null(l->data);
    l->len = len;
    u64 x = seed * 0x9e3779b97f4a7c15 + 1;
    for (size_t i = 0; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        l->data[i] = (u8)(x >> 32);
    }
    hash_bytes(DIGEST_SHA256, l->data, len, &l->digest);
    digest_format(&l->digest, l->text);
}

void layer_free(struct layer *l)
{
    free(l->data);
    l->data = NULL;
}

void say_layer(struct server_peer *p, const struct server_request *r, const struct layer *l,
               size_t limit)
{
    const char *range = request_field(r, "Range");
    size_t first = 0;
    size_t last = l->len - 1;
    if (range) {
        const char *number = strchr(range, '=') + 1;
        first = strtoull(number, (char **)&number, 10);
        if (number[1] >= '0' && number[1] <= '9')
            last = strtoull(number + 1, NULL, 10);
    }
    if (range && first >= l->len) {
        say(p, "HTTP/1.1 416 No\r\nContent-Range: bytes */%zu\r\nContent-Length: 0\r\n\r\n",
            l->len);
        return;
    }
    size_t n = last + 1 - first;
    if (range)
        say(p, "HTTP/1.1 206 Part\r\nContent-Range: bytes %zu-%zu/%zu\r\n", first, last, l->len);
    else
        say(p, "HTTP/1.1 200 OK\r\n");
    say(p, "Content-Length: %zu\r\n\r\n", n);
    say_bytes(p, l->data + first, n < limit ? n : limit);
    if (limit < n)
        hang_up(p);
}
