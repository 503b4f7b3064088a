/* http_client_transfer.c - one transfer: what libcurl is told, what it tells us, how it ended.
 *
 * Everything that libcurl would do out of kindness is switched off: redirects, proxies from the
 * environment, cookies, decoding, HTTP/2, other protocols, credentials in URLs, dot segments
 * squeezed out of paths, an `Accept` or `Expect` of its own. What the caller gives is what is sent,
 * plus Host and User-Agent.
 *
 * `allow` is asked twice: before a socket is opened (libcurl has resolved the name by then), and
 * before the request is sent, because a kept connection may have been opened for a caller with
 * other rules.
 *
 * Before that it is also looked whether a kept connection is still good (http_client_kept.c);
 * another is made if it is not.
 *
 * libcurl's own sentence is passed on for resolving, connecting and TLS only: those never quote a
 * request. Every other failure is said in our words, so no header and no query reaches a log. */
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "runtime/http_client_impl.h"

#define CONNECT_TIMEOUT_MS 5000
#define SILENCE_MS         5000 /* nobody acknowledges what is sent */
#define KEPT_SILENCE_MS    2000 /* nor on a connection that has worked */
#define HEAD_TIMEOUT_MS    60000
#define STALL_TIMEOUT_MS   30000
#define READ_BLOCK_BYTES   65536L /* larger blocks cost memory per transfer and gain nothing */
#define SPELLINGS          64     /* of one CA file, one after the other */
#define KEEPALIVE_S        30L
#define TURN_BYTES         MIB /* of one body in one run of libcurl */
#define WHY_MAX            1024

/* libcurl's callbacks ------------------------------------------------------------------------- */

static int break_off(struct http_transfer *t, int err, const char *why)
{
    t->fail = err;
    t->fail_why = why;
    return 0; /* "nothing taken": libcurl ends the transfer */
}

static void give_up_after(int fd, unsigned ms)
{
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
}

/* The connection may be kept, and its line be cut meanwhile. What is sent on it then is given up
 * before long, and libcurl opens another: else the request would wait out the time for its head. A
 * new connection has more time, which permits more lost packets; of two that were tried at once it
 * is not known here which one it is. */
static void notice_silence(struct http_transfer *t)
{
    if (t->opened == 1)
        give_up_after(t->fd, KEPT_SILENCE_MS);
}

static size_t on_header(char *line, size_t size, size_t len, void *arg)
{
    struct http_transfer *t = arg;
    int err;

    assert(size == 1);
    if (t->state != TRANSFER_RUNNING)
        return 0;
    err = client_head_line(&t->head, line, len);
    if (err < 0)
        return (size_t)break_off(t, err, t->head.why);
    if (err == 1) {
        t->progress_ms = uv_now(t->client->loop);
        notice_silence(t);
        if (t->starved) { /* libcurl forgets to end a paused upload that was refused meanwhile */
            t->resume = true;
            http_client_queue(t->client, t);
        }
        t->on.head(t->arg, &t->head.response);
    }
    return t->state == TRANSFER_RUNNING ? len : 0;
}

/* libcurl reads a fast socket a hundred times before it comes back: 6 MiB and as many milliseconds
 * in which the loop does nothing else. So after TURN_BYTES the transfer is paused, until the next
 * turn. */
static bool turn_is_over(struct http_transfer *t, size_t len)
{
    if (t->run != t->client->runs) {
        t->run = t->client->runs;
        t->run_bytes = 0;
    }
    t->run_bytes += len;
    return t->run_bytes > TURN_BYTES;
}

static size_t on_body(char *data, size_t size, size_t len, void *arg)
{
    struct http_transfer *t = arg;

    assert(size == 1);
    if (t->state != TRANSFER_RUNNING)
        return 0;
    if (!t->head.complete)
        return (size_t)break_off(t, ERR_PROTO, "a body came before its head");
    if (len == 0)
        return 0;
    t->progress_ms = uv_now(t->client->loop);
    if (turn_is_over(t, len)) {
        t->resume = true;
        http_client_queue(t->client, t);
        return CURL_WRITEFUNC_PAUSE;
    }
    if (!t->on.data) {
        if (t->received + len > HTTP_IGNORED_BYTES)
            return (size_t)break_off(t, ERR_TOOBIG, "it answers with more than anybody wants");
    } else if (t->on.data(t->arg, data, len) == HTTP_DATA_PAUSE) {
        t->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    t->received += len;
    return t->state == TRANSFER_RUNNING ? len : 0;
}

static size_t on_upload(char *buf, size_t size, size_t n, void *arg)
{
    struct http_transfer *t = arg;
    ssize_t got;

    if (t->state != TRANSFER_RUNNING)
        return CURL_READFUNC_ABORT;
    t->progress_ms = uv_now(t->client->loop);
    got = t->upload(t->arg, buf, size * n);
    if (got == ERR_AGAIN) {
        t->starved = true;
        return CURL_READFUNC_PAUSE;
    }
    if (got < 0) {
        break_off(t, (int)got, "the body to send broke off");
        return CURL_READFUNC_ABORT;
    }
    if (t->upload_left != UINT64_MAX)
        t->upload_left -= (u64)got < t->upload_left ? (u64)got : t->upload_left;
    if ((got == 0 || t->upload_left == 0) && !t->sent) {
        t->sent = true;
        t->started_ms = t->progress_ms; /* from here on the answer is waited for */
    }
    return (size_t)got;
}

static bool allowed(struct http_transfer *t, const struct sockaddr *sa)
{
    const void *raw =
        (const u8 *)sa + (sa->sa_family == AF_INET6 ? offsetof(struct sockaddr_in6, sin6_addr)
                                                    : offsetof(struct sockaddr_in, sin_addr));

    if (t->allow == NULL || t->allow(t->arg, sa))
        return true;
    if (inet_ntop(sa->sa_family, raw, t->denied, sizeof(t->denied)) == NULL)
        snprintf(t->denied, sizeof(t->denied), "?");
    return false;
}

static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct http_transfer *t = arg;
    int fd;

    (void)purpose;
    if (t->state != TRANSFER_RUNNING || !allowed(t, &address->addr))
        return CURL_SOCKET_BAD;
    fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    t->opened++;
    t->fd = fd;
    /* To the kernel a reader whose window stays shut is silent, too, whatever it acknowledges. */
    give_up_after(fd, t->upload != NULL ? t->stall_timeout_ms : SILENCE_MS);
    return fd;
}

/* The connection is there, perhaps kept from another transfer; the request has not been sent. */
static int on_ready(void *arg, char *peer, char *local, int peer_port, int local_port)
{
    struct http_transfer *t = arg;
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((u16)peer_port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((u16)peer_port)};
    bool ok = false;

    (void)local;
    if (t->opened > 0)
        client_kept_note(t, (u16)local_port, (u16)peer_port);
    else if (client_kept_is_used_up(t, (u16)local_port, (u16)peer_port)) {
        t->leftovers = true;
        return CURL_PREREQFUNC_ABORT;
    }
    if (t->allow == NULL)
        return CURL_PREREQFUNC_OK;
    if (inet_pton(AF_INET, peer, &v4.sin_addr) == 1)
        ok = allowed(t, (struct sockaddr *)&v4);
    else if (inet_pton(AF_INET6, peer, &v6.sin6_addr) == 1)
        ok = allowed(t, (struct sockaddr *)&v6);
    if (ok)
        return CURL_PREREQFUNC_OK;
    if (t->denied[0] == '\0')
        snprintf(t->denied, sizeof(t->denied), "?");
    t->opened = 0;
    return CURL_PREREQFUNC_ABORT;
}

/* libcurl's options --------------------------------------------------------------------------- */

/* After http_client_reload() the same file is spelled with one more slash (or "./"): libcurl caches
 * CA stores, TLS sessions and connections by the file's name, so another spelling reads it afresh.
 */
static char *spell_ca(unsigned generation, const char *file)
{
    const char *more = file[0] == '/' ? "/" : "./";
    char front[2 * SPELLINGS + 1] = "";
    char *out;

    for (unsigned n = generation % SPELLINGS; n > 0; n--)
        memcpy(front + strlen(front), more, strlen(more) + 1);
    return asprintf(&out, "%s%s", front, file) < 0 ? NULL : out;
}

/* As our own listeners read (tls.c): one record without data does not lead to the next, or new keys
 * without end would hold the loop. */
static CURLcode on_tls(CURL *easy, void *ctx, void *arg)
{
    (void)easy, (void)arg;
    SSL_CTX_clear_mode((SSL_CTX *)ctx, SSL_MODE_AUTO_RETRY);
    return CURLE_OK;
}

static int set_tls(struct http_transfer *t, const char *ca_file, bool any_name)
{
    char *file = (char *)ca_file;
    char *spelled;
    int bad;

    if (file == NULL)
        curl_easy_getinfo(t->easy, CURLINFO_CAINFO, &file);
    t->own_ca = ca_file != NULL;
    bad = curl_easy_setopt(t->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    bad |= curl_easy_setopt(t->easy, CURLOPT_SSL_CTX_FUNCTION, on_tls);
    if (any_name)
        bad |= curl_easy_setopt(t->easy, CURLOPT_SSL_VERIFYHOST, 0L);
    /* No directory beside the file: only what the file holds is trusted, and libcurl caches what it
     * parsed only then (the system's bundle takes some 20 ms to parse). */
    bad |= curl_easy_setopt(t->easy, CURLOPT_CAPATH, NULL);
    if (file != NULL) {
        spelled = spell_ca(t->client->generation, file);
        bad |= spelled == NULL || curl_easy_setopt(t->easy, CURLOPT_CAINFO, spelled);
        free(spelled);
        t->ca = strdup(file);
        bad |= t->ca == NULL;
    }
    return bad ? ERR_NOMEM : 0;
}

static int set_request(struct http_transfer *t, const struct http_transfer_options *opt)
{
    CURL *e = t->easy;
    int bad;

    bad = curl_easy_setopt(e, CURLOPT_URL, opt->url);
    bad |= curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
    bad |= curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    bad |= curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    bad |= curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    bad |= curl_easy_setopt(e, CURLOPT_PROXY, "");
    bad |= curl_easy_setopt(e, CURLOPT_USERAGENT, t->client->user_agent);
    bad |= curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->fields);
    if (t->head_only)
        bad |= curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    else if (opt->method != NULL && strcmp(opt->method, "GET") != 0)
        bad |= curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, opt->method);
    if (opt->fresh)
        bad |= curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
    if (opt->body != NULL) {
        bad |= curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)opt->body_len);
        bad |= curl_easy_setopt(e, CURLOPT_COPYPOSTFIELDS, opt->body);
    }
    if (opt->upload != NULL) {
        curl_off_t len = opt->upload_len == UINT64_MAX ? -1 : (curl_off_t)opt->upload_len;
        bad |= curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
        bad |= curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, len);
        bad |= curl_easy_setopt(e, CURLOPT_READFUNCTION, on_upload);
        bad |= curl_easy_setopt(e, CURLOPT_READDATA, t);
        bad |= curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
    }
    return bad ? ERR_NOMEM : 0;
}

static int set_behaviour(struct http_transfer *t, u32 connect_timeout_ms)
{
    CURL *e = t->easy;
    int bad;

    bad = curl_easy_setopt(e, CURLOPT_PRIVATE, t);
    bad |= curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error);
    bad |= curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    /* Cancelling must not wait on the loop for a resolver thread that waits for a dead DNS server.
     */
    bad |= curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
    bad |= curl_easy_setopt(e, CURLOPT_BUFFERSIZE, READ_BLOCK_BYTES);
    bad |= curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_timeout_ms);
    bad |= curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    bad |= curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_S);
    bad |= curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_S);
    bad |= curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    bad |= curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
    bad |= curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    bad |= curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
    bad |= curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open);
    bad |= curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, t);
    bad |= curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, client_kept_close);
    bad |= curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, t->client);
    bad |= curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_ready);
    bad |= curl_easy_setopt(e, CURLOPT_PREREQDATA, t);
    return bad ? ERR_NOMEM : 0;
}

/* The result in words ------------------------------------------------------------------------- */

struct outcome {
    int err;
    const char *words; /* NULL: libcurl's own */
};

static struct outcome connection_outcome(const struct http_transfer *t)
{
    if (t->denied[0] != '\0' && t->opened == 0)
        return (struct outcome){ERR_DENIED, "its address is not permitted"};
    return (struct outcome){ERR_UNREACHABLE, NULL};
}

/* libcurl's "failure when receiving" covers three things that its sentence or errno tell apart. */
static struct outcome receive_outcome(const struct http_transfer *t)
{
    long os_errno = 0;

    if (strstr(t->error, "chunked-encoding") != NULL)
        return (struct outcome){ERR_PROTO, "its chunked coding is malformed"};
    curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &os_errno);
    if (os_errno == 0)
        return (struct outcome){ERR_EOF, "it closed the connection too early"};
    return (struct outcome){ERR_IO, strerror((int)os_errno)};
}

/* libcurl is content when a server hangs up in the middle of a head, so "done" is checked here: a
 * head, and after it as many bytes as it said. */
static struct outcome done_outcome(const struct http_transfer *t)
{
    const struct http_response *r = &t->head.response;
    bool bodiless = t->head_only || r->status == 204 || r->status == 304;

    if (!t->head.complete)
        return (struct outcome){ERR_EOF, "it closed the connection in the head of its answer"};
    if (!bodiless && r->content_length != UINT64_MAX && t->received != r->content_length)
        return (struct outcome){ERR_EOF, "its body ended too early"};
    return (struct outcome){0, "done"};
}

static struct outcome curl_outcome(const struct http_transfer *t, CURLcode code)
{
    switch ((int)code) {
    case CURLE_OK: return done_outcome(t);
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT: return connection_outcome(t);
    case CURLE_ABORTED_BY_CALLBACK:
        if (t->denied[0] != '\0')
            return connection_outcome(t);
        return (struct outcome){ERR_IO, "broken off"};
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CLIENTCERT: return (struct outcome){ERR_TLS, NULL};
    case CURLE_PARTIAL_FILE: return (struct outcome){ERR_EOF, "its body ended too early"};
    case CURLE_GOT_NOTHING:
        return (struct outcome){ERR_EOF, "it closed the connection without an answer"};
    case CURLE_RECV_ERROR: return receive_outcome(t);
    case CURLE_SEND_ERROR: return (struct outcome){ERR_IO, "the request could not be sent"};
    case CURLE_OUT_OF_MEMORY:
        /* Also libcurl's answer to one header line over 100 KB. */
        if (!t->head.complete && t->head.seen > 0)
            return (struct outcome){ERR_TOOBIG, "a header line is too long, or memory ended"};
        return (struct outcome){ERR_NOMEM, "out of memory"};
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_HTTP_RETURNED_ERROR:
        return (struct outcome){ERR_PROTO, "it does not speak HTTP/1.1"};
    default: return (struct outcome){ERR_IO, curl_easy_strerror(code)};
    }
}

static int outcome(const struct http_transfer *t, CURLcode code, char why[WHY_MAX])
{
    struct outcome o = {t->fail, t->fail_why};
    const char *between = "", *after = "";

    if (o.err == 0)
        o = curl_outcome(t, code);
    if (o.err == 0) {
        snprintf(why, WHY_MAX, "%s: done", t->origin);
        return 0;
    }
    if (o.words == NULL)
        o.words = t->error[0] != '\0' ? t->error : curl_easy_strerror(code);
    if (o.err == ERR_TLS && t->ca != NULL) {
        between = t->own_ca ? "; trusted is what stands in " : "; trusted are the system's CAs, ";
        after = t->ca;
    } else if (t->denied[0] != '\0' && (o.err == ERR_DENIED || o.err == ERR_UNREACHABLE)) {
        between = o.err == ERR_DENIED ? ": " : "; not permitted: ";
        after = t->denied;
    }
    snprintf(why, WHY_MAX, "%s: %s%s%.400s", t->origin, o.words, between, after);
    for (char *c = why; *c != '\0'; c++)
        if ((u8)*c < 0x20 || (u8)*c >= 0x7f) /* a certificate's words may be cut in a letter */
            *c = '?';
    return o.err;
}

/* A transfer's life --------------------------------------------------------------------------- */

static CURL *easy_get(struct http_client *c)
{
    CURL *easy;

    if (c->n_spares > 0)
        return c->spares[--c->n_spares];
    easy = curl_easy_init();
    if (easy != NULL)
        curl_easy_setopt(easy, CURLOPT_SHARE, c->share);
    return easy;
}

/* Only one that got an answer is used again: libcurl 7.88 leaves a buffer in one that ended while
 * it stood in line for a connection, and takes no CURLOPT_BUFFERSIZE ever after. */
static void easy_put(struct http_client *c, CURL *easy, bool answered)
{
    if (easy == NULL)
        return;
    if (!answered || c->n_spares == CLIENT_SPARES) {
        curl_easy_cleanup(easy);
        return;
    }
    curl_easy_reset(easy);
    c->spares[c->n_spares++] = easy;
}

void http_transfer_free(struct http_transfer *t)
{
    struct http_client *c = t->client;

    assert(!t->in_work);
    if (t->easy != NULL)
        curl_multi_remove_handle(c->multi, t->easy);
    if (t->prev != NULL)
        t->prev->next = t->next;
    else if (c->all == t)
        c->all = t->next;
    if (t->next != NULL)
        t->next->prev = t->prev;
    if (c->all == NULL)
        uv_timer_stop(&c->sweep);
    easy_put(c, t->easy, t->head.complete);
    curl_slist_free_all(t->fields);
    client_head_fini(&t->head);
    free(t->ca);
    free(t);
}

void http_transfer_finish(struct http_transfer *t, CURLcode code)
{
    char why[WHY_MAX];
    int err;

    if (t->state == TRANSFER_CANCELED || t->state == TRANSFER_ENDED)
        return;
    curl_multi_remove_handle(t->client->multi, t->easy);
    if (code == CURLE_ABORTED_BY_CALLBACK && t->leftovers) { /* nothing was sent */
        t->leftovers = false;
        curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, 1L);
        http_transfer_add(t);
        return;
    }
    err = outcome(t, code, why);
    t->state = TRANSFER_ENDED;
    t->on.end(t->arg, err, why);
    if (!t->in_work)
        http_transfer_free(t); /* else the pump, which has it listed, does */
}

void http_transfer_add(struct http_transfer *t)
{
    t->state = TRANSFER_RUNNING;
    if (curl_multi_add_handle(t->client->multi, t->easy) != CURLM_OK)
        http_transfer_finish(t, CURLE_OUT_OF_MEMORY);
}

void http_transfer_unpause(struct http_transfer *t)
{
    CURLcode code;

    t->resume = t->paused = t->starved = false;
    t->client->runs++;
    t->progress_ms = uv_now(t->client->loop);
    code = curl_easy_pause(t->easy, CURLPAUSE_CONT); /* may call on_body() */
    if (code != CURLE_OK)
        http_transfer_finish(t, code);
}

int http_transfer_start(struct http_client *c, const struct http_transfer_options *opt,
                        struct http_transfer **out)
{
    struct http_transfer *t;
    int err;

    assert(out != NULL && opt->url != NULL && !c->closing);
    assert(opt->on.head != NULL && opt->on.end != NULL);
    assert((opt->body == NULL && opt->upload == NULL) || opt->method != NULL); /* a GET has none */
    assert(opt->body == NULL || opt->upload == NULL);
    assert(!opt->any_name || opt->ca_file != NULL); /* or anybody's certificate would do */
    if (opt->method != NULL && !client_request_token(opt->method, strlen(opt->method)))
        return ERR_INVAL;
    t = calloc(1, sizeof(*t));
    if (t == NULL)
        return ERR_NOMEM;
    t->client = c;
    t->on = opt->on;
    t->arg = opt->arg;
    t->allow = opt->allow;
    t->upload = opt->upload;
    t->upload_left = opt->upload_len;
    t->head_only = opt->method != NULL && strcmp(opt->method, "HEAD") == 0;
    t->head_timeout_ms = opt->head_timeout_ms == 0 ? HEAD_TIMEOUT_MS : opt->head_timeout_ms;
    t->stall_timeout_ms = opt->stall_timeout_ms == 0 ? STALL_TIMEOUT_MS : opt->stall_timeout_ms;
    t->whole_timeout_ms = opt->whole_timeout_ms;
    if (t->whole_timeout_ms == 0 && opt->on.data == NULL && opt->upload == NULL)
        t->whole_timeout_ms = t->head_timeout_ms + t->stall_timeout_ms;
    t->started_ms = t->progress_ms = uv_now(c->loop);
    err = client_request_url(opt->url, t->origin, sizeof(t->origin));
    if (err == 0)
        err = client_request_fields(opt, &t->fields);
    if (err == 0 && (t->easy = easy_get(c)) == NULL)
        err = ERR_NOMEM;
    if (err == 0)
        err = set_request(t, opt);
    if (err == 0)
        err = set_behaviour(t, opt->connect_timeout_ms == 0 ? CONNECT_TIMEOUT_MS
                                                            : opt->connect_timeout_ms);
    if (err == 0)
        err = set_tls(t, opt->ca_file, opt->any_name);
    if (err != 0) {
        http_transfer_free(t);
        return err;
    }
    t->next = c->all;
    if (c->all != NULL)
        c->all->prev = t;
    c->all = t;
    http_client_queue(c, t);
    *out = t;
    return 0;
}

void http_transfer_resume(struct http_transfer *t)
{
    if (t->state != TRANSFER_RUNNING || !t->paused || t->resume)
        return;
    t->resume = true;
    http_client_queue(t->client, t);
}

void http_transfer_feed(struct http_transfer *t)
{
    if (t->state != TRANSFER_RUNNING || !t->starved || t->resume)
        return;
    t->resume = true;
    http_client_queue(t->client, t);
}

void http_transfer_cancel(struct http_transfer *t)
{
    if (t->state == TRANSFER_ENDED || t->state == TRANSFER_CANCELED)
        return;
    t->state = TRANSFER_CANCELED;
    http_client_queue(t->client, t);
}
