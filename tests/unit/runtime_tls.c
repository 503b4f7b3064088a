/* TLS: what a context takes and refuses, and HTTP over it, with certificates made here. */
#include <fcntl.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "http_rig.h"

#define HOST "Host: h\r\n"

/* --- certificates ----------------------------------------------------------------------------- */

static char dir[] = "/tmp/dray-tls-XXXXXX";
static EVP_PKEY *ca_key;
static X509 *ca_cert;
static long serial = 1000;

static const char *in_dir(const char *name)
{
    static char paths[8][64];
    static unsigned next;
    char *path = paths[next++ % countof(paths)];
    snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

static void add_extension(X509 *cert, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert_non_null(e);
    assert_int_equal(X509_add_ext(cert, e, -1), 1);
    X509_EXTENSION_free(e);
}

/* A certificate for `name` good for `days`; signed by the CA, or by itself when it is one. */
static X509 *make_cert(EVP_PKEY *key, const char *name, bool is_ca, int days)
{
    X509 *cert = X509_new();
    assert_non_null(cert);
    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400L * days);
    X509_set_pubkey(cert, key);
    X509_NAME *n = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(cert, is_ca ? n : X509_get_subject_name(ca_cert));
    if (is_ca)
        add_extension(cert, NID_basic_constraints, "critical,CA:TRUE");
    else
        add_extension(cert, NID_subject_alt_name, "DNS:cache.test");
    assert_true(X509_sign(cert, is_ca ? key : ca_key, EVP_sha256()) > 0);
    return cert;
}

static void write_cert(const char *path, X509 *cert)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, cert), 1);
    fclose(f);
}

static void write_key(const char *path, EVP_PKEY *key, const char *password)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(PEM_write_PrivateKey(f, key, password ? EVP_aes_128_cbc() : NULL, NULL, 0,
                                          NULL, (void *)(uintptr_t)password),
                     1);
    fclose(f);
    assert_int_equal(chmod(path, 0600), 0);
}

/* Writes <name>.pem and <name>.key, signed by the CA. */
static void issue(const char *name, int days)
{
    char file[32];
    EVP_PKEY *key = EVP_EC_gen("P-256");
    assert_non_null(key);
    X509 *cert = make_cert(key, name, false, days);
    snprintf(file, sizeof(file), "%s.pem", name);
    write_cert(in_dir(file), cert);
    snprintf(file, sizeof(file), "%s.key", name);
    write_key(in_dir(file), key, NULL);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static int make_all(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(dir));
    EVP_PKEY *other_key = EVP_EC_gen("P-256");
    ca_key = other_key;
    ca_cert = make_cert(other_key, "another CA", true, 30);
    issue("stranger", 30);
    X509_free(ca_cert);
    EVP_PKEY_free(other_key);
    ca_key = EVP_EC_gen("P-256");
    ca_cert = make_cert(ca_key, "test CA", true, 30);
    write_cert(in_dir("ca.pem"), ca_cert);
    issue("server", 10);
    issue("fresh", 20);
    issue("expired", 0);
    issue("client", 10);
    return 0;
}

static int remove_all(void **state)
{
    static const char *const names[] = {"stranger.pem", "stranger.key", "ca.pem",      "server.pem",
                                        "server.key",   "fresh.pem",    "fresh.key",   "client.pem",
                                        "client.key",   "expired.pem",  "expired.key", "live.pem",
                                        "live.key",     "junk",         "locked.key"};
    (void)state;
    for (size_t i = 0; i < countof(names); i++)
        unlink(in_dir(names[i]));
    X509_free(ca_cert);
    EVP_PKEY_free(ca_key);
    return rmdir(dir);
}

static void copy_file(const char *from, const char *to)
{
    char text[8192];
    FILE *in = fopen(in_dir(from), "re"), *out = fopen(in_dir(to), "we");
    assert_non_null(in);
    assert_non_null(out);
    size_t n = fread(text, 1, sizeof(text), in);
    assert_int_equal(fwrite(text, 1, n, out), n);
    fclose(in);
    fclose(out);
    assert_int_equal(chmod(in_dir(to), 0600), 0);
}

/* --- a TLS client ----------------------------------------------------------------------------- */

struct tls_rig {
    struct rig r;
    struct tls_context *tls;
    struct http_server_options opt;
};

static void tls_start(struct tls_rig *t, const char *cert, const char *key, const char *ca)
{
    char why[256] = "";
    struct tls_options opt = {.cert = in_dir(cert), .key = in_dir(key), .ca = ca};
    assert_int_equal(tls_context_new(&t->tls, &opt, why), 0);
    if (!t->opt.drain_timeout_ms)
        t->opt.drain_timeout_ms = 200;
    rig_new(&t->r, &t->opt);
    assert_int_equal(http_listen_tcp(t->r.server, "127.0.0.1:0", t->tls, why), 0);
    t->r.port = http_server_port(t->r.server);
}

static void tls_stop(struct tls_rig *t)
{
    rig_stop(&t->r);
    tls_context_del(t->tls);
}

static SSL_CTX *client_context(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    assert_non_null(ctx);
    assert_int_equal(SSL_CTX_load_verify_file(ctx, in_dir("ca.pem")), 1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    return ctx;
}

static SSL *tls_client(struct client *c, SSL_CTX *ctx)
{
    SSL *ssl = SSL_new(ctx);
    assert_non_null(ssl);
    SSL_set_fd(ssl, c->fd);
    SSL_set1_host(ssl, "cache.test");
    return ssl;
}

/* Repeats a step until it is done or fails; returns SSL_get_error's word. */
static int tls_step(struct client *c, SSL *ssl, int (*step)(SSL *ssl))
{
    for (u64 since = rig_ms();; rig_turn(c->rig)) {
        ERR_clear_error();
        int rc = step(ssl);
        int e = rc > 0 ? SSL_ERROR_NONE : SSL_get_error(ssl, rc);
        if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE)
            return e;
        assert_true(rig_ms() - since < RIG_PATIENCE_MS);
        usleep(50);
    }
}

static void tls_send(SSL *ssl, const char *text)
{
    assert_int_equal(SSL_write(ssl, text, (int)strlen(text)), (int)strlen(text));
}

/* Reads what there is; returns SSL_ERROR_NONE, WANT_READ, ZERO_RETURN (close_notify) or other. */
static int tls_take(struct client *c, SSL *ssl)
{
    rig_turn(c->rig);
    ERR_clear_error();
    int rc = SSL_read(ssl, c->text + c->n, (int)(RIG_TEXT_MAX - c->n));
    if (rc <= 0)
        return SSL_get_error(ssl, rc);
    c->n += (size_t)rc;
    c->text[c->n] = '\0';
    return SSL_ERROR_NONE;
}

static void tls_expect(struct client *c, SSL *ssl, const char *what)
{
    for (u64 since = rig_ms(); !strstr(c->text, what);) {
        int e = tls_take(c, ssl);
        if ((e != SSL_ERROR_NONE && e != SSL_ERROR_WANT_READ) || rig_ms() - since > RIG_PATIENCE_MS)
            fail_msg("no \"%s\" in: %.1000s (%d)", what, c->text, e);
    }
}

/* Reads to the end; returns how it ended. */
static int tls_end(struct client *c, SSL *ssl)
{
    for (u64 since = rig_ms();;) {
        int e = tls_take(c, ssl);
        if (e != SSL_ERROR_NONE && e != SSL_ERROR_WANT_READ)
            return e;
        assert_true(rig_ms() - since < RIG_PATIENCE_MS);
    }
}

static void tls_bye(struct client *c, SSL *ssl)
{
    SSL_free(ssl);
    client_close(c);
}

/* --- contexts --------------------------------------------------------------------------------- */

static void refused(const char *cert, const char *key, const char *ca, int err, const char *says)
{
    struct tls_context *t = NULL;
    char why[256] = "";
    struct tls_options opt = {
        .cert = in_dir(cert), .key = in_dir(key), .ca = ca ? in_dir(ca) : NULL};
    assert_int_equal(tls_context_new(&t, &opt, why), err);
    assert_null(t);
    if (!strstr(why, says))
        fail_msg("\"%s\" does not say \"%s\"", why, says);
}

static void bad_files_are_refused_by_name(void **state)
{
    (void)state;
    FILE *f = fopen(in_dir("junk"), "we");
    assert_non_null(f);
    fputs("this is no PEM\n", f);
    fclose(f);
    assert_int_equal(chmod(in_dir("junk"), 0600), 0);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    write_key(in_dir("locked.key"), key, "password");
    EVP_PKEY_free(key);
    refused("absent.pem", "server.key", NULL, ERR_IO, "absent.pem: No such file");
    refused("server.pem", "absent.key", NULL, ERR_IO, "absent.key: No such file");
    refused("junk", "server.key", NULL, ERR_TLS, "junk: not a certificate");
    refused("server.pem", "junk", NULL, ERR_TLS, "junk: not a private key");
    refused("server.pem", "locked.key", NULL, ERR_TLS, "locked.key: not a private key");
    refused("server.pem", "fresh.key", NULL, ERR_TLS, "fresh.key: this key does not belong");
    refused("server.pem", "server.key", "junk", ERR_TLS, "junk: no CA certificates");
    refused("server.pem", "server.key", "absent.pem", ERR_IO, "absent.pem");
    refused("server.pem", "", NULL, ERR_IO, "not a file");
}

static void a_key_that_others_can_touch_is_refused(void **state)
{
    static const mode_t bad[] = {0640, 0604, 0620, 0602, 0644, 0666};
    (void)state;
    copy_file("server.key", "live.key");
    for (size_t i = 0; i < countof(bad); i++) {
        assert_int_equal(chmod(in_dir("live.key"), bad[i]), 0);
        refused("server.pem", "live.key", NULL, ERR_DENIED, "chmod 600");
    }
}

static void expiry_is_told(void **state)
{
    struct tls_context *t;
    char why[256];
    (void)state;
    struct tls_options opt = {.cert = in_dir("server.pem"), .key = in_dir("server.key")};
    assert_int_equal(tls_context_new(&t, &opt, why), 0);
    i64 s = tls_context_expires_s(t);
    assert_true(s > 86400 * 9 && s <= 86400 * 10);
    tls_context_del(t);
    opt = (struct tls_options){.cert = in_dir("expired.pem"), .key = in_dir("expired.key")};
    assert_int_equal(tls_context_new(&t, &opt, why), 0);
    assert_true(tls_context_expires_s(t) <= 0);
    tls_context_del(t);
    tls_context_del(NULL);
}

/* --- HTTP over TLS ---------------------------------------------------------------------------- */

static void sees_tls(struct rig *r, struct http_exchange *x)
{
    (void)r;
    assert_true(http_request(x)->tls);
    assert_false(http_request(x)->verified);
    http_reply_text(x, 200, "text/plain", "hello\n", 6);
}

static void requests_are_served_over_tls(void **state)
{
    struct tls_rig t = {0};
    struct client c;
    const unsigned char *alpn;
    unsigned alpn_n;
    (void)state;
    tls_start(&t, "server.pem", "server.key", NULL);
    t.r.on_request = sees_tls;
    SSL_CTX *ctx = client_context();
    client_open(&c, &t.r);
    SSL *ssl = tls_client(&c, ctx);
    SSL_set_alpn_protos(ssl, (const unsigned char *)"\x02h2\x08http/1.1", 12);
    assert_int_equal(tls_step(&c, ssl, SSL_connect), SSL_ERROR_NONE);
    SSL_get0_alpn_selected(ssl, &alpn, &alpn_n);
    assert_int_equal(alpn_n, 8);
    assert_memory_equal(alpn, "http/1.1", 8);
    for (int i = 0; i < 3; i++) {
        client_forget(&c);
        tls_send(ssl, "GET / HTTP/1.1\r\n" HOST "\r\n");
        tls_expect(&c, ssl, "hello\n");
    }
    client_forget(&c);
    tls_send(ssl,
             "GET /a HTTP/1.1\r\n" HOST "\r\nGET /b HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    assert_int_equal(tls_end(&c, ssl), SSL_ERROR_ZERO_RETURN); /* close_notify */
    assert_int_equal(client_count(&c, "hello\n"), 2);
    tls_bye(&c, ssl);
    SSL_CTX_free(ctx);
    tls_stop(&t);
}

static void only_what_we_speak_is_negotiated(void **state)
{
    struct tls_rig t = {0};
    struct client c;
    (void)state;
    tls_start(&t, "server.pem", "server.key", NULL);
    SSL_CTX *ctx = client_context();
    client_open(&c, &t.r);
    SSL *ssl = tls_client(&c, ctx);
    SSL_set_alpn_protos(ssl, (const unsigned char *)"\x02h2", 3);
    assert_int_not_equal(tls_step(&c, ssl, SSL_connect), SSL_ERROR_NONE);
    tls_bye(&c, ssl);
    SSL_CTX_set_cipher_list(ctx, "DEFAULT:@SECLEVEL=0");
    SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(ctx, TLS1_1_VERSION);
    client_open(&c, &t.r);
    ssl = tls_client(&c, ctx);
    assert_int_not_equal(tls_step(&c, ssl, SSL_connect), SSL_ERROR_NONE);
    tls_bye(&c, ssl);
    SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
    client_open(&c, &t.r);
    ssl = tls_client(&c, ctx);
    assert_int_equal(tls_step(&c, ssl, SSL_connect), SSL_ERROR_NONE);
    tls_bye(&c, ssl);
    assert_int_equal(rig_stats(&t.r).tls_failures, 2);
    SSL_CTX_free(ctx);
    tls_stop(&t);
}

static void big_bytes_survive_interrupted_writes(void **state)
{
    struct tls_rig t = {0};
    struct client c;
    u64 at = 0;
    (void)state;
    tls_start(&t, "server.pem", "server.key", NULL);
    SSL_CTX *ctx = client_context();
    client_open_small(&c, &t.r, 50000);
    SSL *ssl = tls_client(&c, ctx);
    assert_int_equal(tls_step(&c, ssl, SSL_connect), SSL_ERROR_NONE);
    tls_send(ssl, "GET /big HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    tls_expect(&c, ssl, "\r\n\r\n");
    size_t body = client_body_bytes(&c);
    memmove(c.text, c.text + c.n - body, body);
    c.n = body;
    int e = SSL_ERROR_NONE;
    for (u64 since = rig_ms(); e == SSL_ERROR_NONE || e == SSL_ERROR_WANT_READ || c.n > 0;) {
        for (size_t i = 0; i < c.n; i++, at++)
            if (c.text[i] != rig_byte(at))
                fail_msg("byte %llu is wrong", (unsigned long long)at);
        c.n = 0;
        e = tls_take(&c, ssl);
        assert_true(rig_ms() - since < RIG_PATIENCE_MS);
    }
    assert_int_equal(e, SSL_ERROR_ZERO_RETURN);
    assert_int_equal(at, 64 * MIB);
    tls_bye(&c, ssl);
    SSL_CTX_free(ctx);
    tls_stop(&t);
}

static void a_cut_answer_gets_fin_but_no_close_notify(void **state)
{
    struct tls_rig t = {0};
    struct client c;
    (void)state;
    tls_start(&t, "server.pem", "server.key", NULL);
    SSL_CTX *ctx = client_context();
    client_open(&c, &t.r);
    SSL *ssl = tls_client(&c, ctx);
    assert_int_equal(tls_step(&c, ssl, SSL_connect), SSL_ERROR_NONE);
    tls_send(ssl, "GET /later HTTP/1.1\r\n" HOST "\r\n");
    rig_until(&t.r, t.r.n_waiting == 1);
    struct body *b = step_body(&t.r, 400, 1000);
    t.r.body->fail = ERR_EOF;
    http_reply(t.r.waiting[0], 200, b, 1000);
    assert_int_equal(tls_end(&c, ssl), SSL_ERROR_SSL); /* an end that is no TLS end */
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_UNEXPECTED_EOF_WHILE_READING);
    assert_int_equal(client_body_bytes(&c), 400);
    tls_bye(&c, ssl);
    SSL_CTX_free(ctx);
    tls_stop(&t);
}

static void leaving_is_noticed_over_tls(void **state)
{
    struct tls_rig t = {0};
    struct client c;
    (void)state;
    tls_start(&t, "server.pem", "server.key", NULL);
    SSL_CTX *ctx = client_context();
    client_open(&c, &t.r);
    SSL *ssl = tls_client(&c, ctx);
    assert_int_equal(tls_step(&c, ssl, SSL_connect), SSL_ERROR_NONE);
    tls_send(ssl, "GET /later HTTP/1.1\r\n" HOST "\r\n");
    rig_until(&t.r, t.r.n_waiting == 1);
    SSL_shutdown(ssl);
    tls_bye(&c, ssl);
    rig_until(&t.r, t.r.ended == 1);
    assert_false(t.r.last.complete);
    SSL_CTX_free(ctx);
    tls_stop(&t);
}

static SSL_SESSION *kept;

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(kept);
    kept = session;
    return 1;
}

static void sessions_are_resumed_by_ticket(void **state)
{
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct tls_rig t = {0};
        struct client c;
        tls_start(&t, "server.pem", "server.key", in_dir("ca.pem"));
        SSL_CTX *ctx = client_context();
        SSL_CTX_set_max_proto_version(ctx, version);
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(ctx, keep_session);
        for (int i = 0; i < 2; i++) {
            client_open(&c, &t.r);
            SSL *ssl = tls_client(&c, ctx);
            if (i == 1)
                assert_int_equal(SSL_set_session(ssl, kept), 1);
            assert_int_equal(tls_step(&c, ssl, SSL_connect), SSL_ERROR_NONE);
            tls_send(ssl, "GET / HTTP/1.1\r\n" HOST "\r\n");
            tls_expect(&c, ssl, "hello\n");
            assert_non_null(kept);
            assert_int_equal(SSL_session_reused(ssl), i);
            SSL_shutdown(ssl);
            tls_bye(&c, ssl);
        }
        SSL_SESSION_free(kept);
        kept = NULL;
        SSL_CTX_free(ctx);
        tls_stop(&t);
    }
}

static long serial_shown(SSL *ssl)
{
    return ASN1_INTEGER_get(X509_get0_serialNumber(SSL_get0_peer_certificate(ssl)));
}

static void a_reload_is_for_new_connections(void **state)
{
    struct tls_rig t = {0};
    struct client before, after;
    char why[256];
    (void)state;
    copy_file("server.pem", "live.pem");
    copy_file("server.key", "live.key");
    tls_start(&t, "live.pem", "live.key", NULL);
    SSL_CTX *ctx = client_context();
    client_open(&before, &t.r);
    SSL *old = tls_client(&before, ctx);
    assert_int_equal(tls_step(&before, old, SSL_connect), SSL_ERROR_NONE);

    copy_file("fresh.pem", "live.pem"); /* the key does not fit yet: the old pair stays in force */
    assert_int_equal(tls_context_reload(t.tls, why), ERR_TLS);
    client_open(&after, &t.r);
    SSL *still = tls_client(&after, ctx);
    assert_int_equal(tls_step(&after, still, SSL_connect), SSL_ERROR_NONE);
    assert_int_equal(serial_shown(still), serial_shown(old));
    tls_bye(&after, still);

    copy_file("fresh.key", "live.key");
    assert_int_equal(tls_context_reload(t.tls, why), 0);
    assert_true(tls_context_expires_s(t.tls) > 86400 * 19);
    client_open(&after, &t.r);
    SSL *fresh = tls_client(&after, ctx);
    assert_int_equal(tls_step(&after, fresh, SSL_connect), SSL_ERROR_NONE);
    assert_int_not_equal(serial_shown(fresh), serial_shown(old));
    tls_send(old, "GET / HTTP/1.1\r\n" HOST "\r\n");
    tls_expect(&before, old, "hello\n");
    tls_bye(&before, old);
    tls_bye(&after, fresh);
    SSL_CTX_free(ctx);
    tls_stop(&t);
}

/* --- handshakes ------------------------------------------------------------------------------- */

static void half_a_handshake_costs_nothing_and_ends(void **state)
{
    struct tls_rig t = {.opt = {.handshake_timeout_ms = 300}};
    struct client c, silent;
    unsigned turns = 0;
    (void)state;
    tls_start(&t, "server.pem", "server.key", NULL);
    client_open(&c, &t.r);
    client_open(&silent, &t.r);
    client_send_n(&c, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
    rig_until(&t.r, rig_stats(&t.r).open == 2);
    while (rig_stats(&t.r).open > 0) { /* sleeps in each turn: a spinning server takes thousands */
        uv_run(&t.r.loop, UV_RUN_ONCE);
        turns++;
    }
    assert_true(turns < 100);
    assert_int_equal(rig_stats(&t.r).timeouts, 2);
    client_close(&c);
    client_close(&silent);
    tls_stop(&t);
}

static void garbage_is_no_handshake(void **state)
{
    struct tls_rig t = {0};
    struct client c;
    (void)state;
    tls_start(&t, "server.pem", "server.key", NULL);
    client_open(&c, &t.r);
    client_send_n(&c, "\x00\xff\x00\xff garbage of some length\r\n\r\n", 32);
    rig_until(&t.r, rig_stats(&t.r).tls_failures == 1);
    rig_until(&t.r, rig_stats(&t.r).open == 0);
    client_close(&c);
    tls_stop(&t);
}

static void plain_http_is_told_the_way(void **state)
{
    struct tls_rig t = {0};
    struct client c;
    (void)state;
    tls_start(&t, "server.pem", "server.key", NULL);
    client_open(&c, &t.r);
    client_send(&c, "GET / HTTP/1.1\r\n" HOST "\r\n");
    client_expect(&c, "HTTP/1.1 400 ");
    client_expect(&c, "https://");
    client_expect_fin(&c);
    assert_int_equal(t.r.handled, 0);
    client_close(&c);
    tls_stop(&t);
}

static void many_handshakes_at_once_all_succeed(void **state)
{
    struct tls_rig t = {0};
    static struct client c[60];
    SSL *ssl[countof(c)];
    bool done[countof(c)] = {false};
    unsigned left = countof(c);
    (void)state;
    tls_start(&t, "server.pem", "server.key", NULL);
    SSL_CTX *ctx = client_context();
    for (size_t i = 0; i < countof(c); i++) {
        client_open(&c[i], &t.r);
        ssl[i] = tls_client(&c[i], ctx);
    }
    for (u64 since = rig_ms(); left > 0; rig_turn(&t.r)) {
        assert_true(rig_ms() - since < RIG_PATIENCE_MS);
        for (size_t i = 0; i < countof(c); i++) {
            if (!done[i] && SSL_connect(ssl[i]) == 1) {
                done[i] = true;
                left--;
            }
        }
    }
    for (size_t i = 0; i < countof(c); i++)
        tls_send(ssl[i], "GET / HTTP/1.1\r\n" HOST "\r\n");
    for (size_t i = 0; i < countof(c); i++) {
        tls_expect(&c[i], ssl[i], "hello\n");
        tls_bye(&c[i], ssl[i]);
    }
    SSL_CTX_free(ctx);
    tls_stop(&t);
}

/* --- client certificates ---------------------------------------------------------------------- */

static void says_verified(struct rig *r, struct http_exchange *x)
{
    (void)r;
    const char *text = http_request(x)->verified ? "verified\n" : "anonymous\n";
    http_reply_text(x, 200, "text/plain", text, strlen(text));
}

/* `answer` NULL: the handshake must fail. */
static void with_certificate(const char *name, const char *answer)
{
    struct tls_rig t = {0};
    struct client c;
    char cert[32], key[32];
    tls_start(&t, "server.pem", "server.key", in_dir("ca.pem"));
    t.r.on_request = says_verified;
    SSL_CTX *ctx = client_context();
    if (name) {
        snprintf(cert, sizeof(cert), "%s.pem", name);
        snprintf(key, sizeof(key), "%s.key", name);
        assert_int_equal(SSL_CTX_use_certificate_chain_file(ctx, in_dir(cert)), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, in_dir(key), SSL_FILETYPE_PEM), 1);
    }
    client_open(&c, &t.r);
    SSL *ssl = tls_client(&c, ctx);
    /* With TLS 1.3 the client is done before the server has judged its certificate. */
    assert_int_equal(tls_step(&c, ssl, SSL_connect), SSL_ERROR_NONE);
    tls_send(ssl, "GET / HTTP/1.1\r\n" HOST "\r\n");
    if (answer) {
        tls_expect(&c, ssl, answer);
    } else {
        assert_int_not_equal(tls_end(&c, ssl), SSL_ERROR_ZERO_RETURN);
        assert_int_equal(t.r.handled, 0);
        assert_int_equal(rig_stats(&t.r).tls_failures, 1);
    }
    tls_bye(&c, ssl);
    SSL_CTX_free(ctx);
    tls_stop(&t);
}

static void client_certificates_are_verified_when_shown(void **state)
{
    (void)state;
    with_certificate(NULL, "anonymous\n");
    with_certificate("client", "verified\n");
    with_certificate("stranger", NULL);
    with_certificate("expired", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_files_are_refused_by_name),
        cmocka_unit_test(a_key_that_others_can_touch_is_refused),
        cmocka_unit_test(expiry_is_told),
        cmocka_unit_test(requests_are_served_over_tls),
        cmocka_unit_test(only_what_we_speak_is_negotiated),
        cmocka_unit_test(big_bytes_survive_interrupted_writes),
        cmocka_unit_test(a_cut_answer_gets_fin_but_no_close_notify),
        cmocka_unit_test(leaving_is_noticed_over_tls),
        cmocka_unit_test(sessions_are_resumed_by_ticket),
        cmocka_unit_test(a_reload_is_for_new_connections),
        cmocka_unit_test(half_a_handshake_costs_nothing_and_ends),
        cmocka_unit_test(garbage_is_no_handshake),
        cmocka_unit_test(plain_http_is_told_the_way),
        cmocka_unit_test(many_handshakes_at_once_all_succeed),
        cmocka_unit_test(client_certificates_are_verified_when_shown),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
