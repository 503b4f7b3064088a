/* tls_rig.h - an http_rig.h server behind TLS, a client for it, and certificates made on the spot.
 *
 * A CA, certificates of it for servers and clients, one that has expired, one of another CA; made
 * before the first test, in a directory that is removed after the last. */
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "http_rig.h"

#define HOST "Host: h\r\n"

/* --- certificates ----------------------------------------------------------------------------- */

static char tls_dir[] = "/tmp/dray-tls-XXXXXX";
static EVP_PKEY *ca_key;
static X509 *ca_cert;
static long serial = 1000;

static inline const char *in_dir(const char *name)
{
    static char paths[8][64];
    static unsigned next;
    char *path = paths[next++ % countof(paths)];
    snprintf(path, sizeof(paths[0]), "%s/%s", tls_dir, name);
    return path;
}

static inline void add_extension(X509 *cert, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert_non_null(e);
    assert_int_equal(X509_add_ext(cert, e, -1), 1);
    X509_EXTENSION_free(e);
}

/* A certificate for `name` good for `days`; signed by the CA, or by itself when it is one. */
static inline X509 *make_cert(EVP_PKEY *key, const char *name, bool is_ca, int days)
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

static inline void write_cert(const char *path, X509 *cert)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, cert), 1);
    fclose(f);
}

static inline void write_key(const char *path, EVP_PKEY *key, const char *password)
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
static inline void issue(const char *name, int days)
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

static inline int make_all(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(tls_dir));
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

static inline int remove_all(void **state)
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
    return rmdir(tls_dir);
}

static inline void copy_file(const char *from, const char *to)
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

static inline void tls_start(struct tls_rig *t, const char *cert, const char *key, const char *ca)
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

static inline void tls_stop(struct tls_rig *t)
{
    rig_stop(&t->r);
    tls_context_del(t->tls);
}

static inline SSL_CTX *client_context(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    assert_non_null(ctx);
    assert_int_equal(SSL_CTX_load_verify_file(ctx, in_dir("ca.pem")), 1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    return ctx;
}

static inline SSL *tls_client(struct client *c, SSL_CTX *ctx)
{
    SSL *ssl = SSL_new(ctx);
    assert_non_null(ssl);
    SSL_set_fd(ssl, c->fd);
    SSL_set1_host(ssl, "cache.test");
    return ssl;
}

/* Repeats a step until it is done or fails; returns SSL_get_error's word. */
static inline int tls_step(struct client *c, SSL *ssl, int (*step)(SSL *ssl))
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

static inline void tls_send(SSL *ssl, const char *text)
{
    assert_int_equal(SSL_write(ssl, text, (int)strlen(text)), (int)strlen(text));
}

/* Reads what there is; returns SSL_ERROR_NONE, WANT_READ, ZERO_RETURN (close_notify) or other. */
static inline int tls_take(struct client *c, SSL *ssl)
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

static inline void tls_expect(struct client *c, SSL *ssl, const char *what)
{
    for (u64 since = rig_ms(); !strstr(c->text, what);) {
        int e = tls_take(c, ssl);
        if ((e != SSL_ERROR_NONE && e != SSL_ERROR_WANT_READ) || rig_ms() - since > RIG_PATIENCE_MS)
            fail_msg("no \"%s\" in: %.1000s (%d)", what, c->text, e);
    }
}

/* Reads to the end; returns how it ended. */
static inline int tls_end(struct client *c, SSL *ssl)
{
    for (u64 since = rig_ms();;) {
        int e = tls_take(c, ssl);
        if (e != SSL_ERROR_NONE && e != SSL_ERROR_WANT_READ)
            return e;
        assert_true(rig_ms() - since < RIG_PATIENCE_MS);
    }
}

static inline void tls_bye(struct client *c, SSL *ssl)
{
    SSL_free(ssl);
    client_close(c);
}
