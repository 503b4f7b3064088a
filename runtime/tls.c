/* tls.c - see tls.h. */
#include "runtime/tls.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct tls_context {
    SSL_CTX *ctx; /* replaced by a reload; each SSL holds the one that it was made from */
    char *cert, *key, *ca;
};

__attribute__((format(printf, 3, 4))) static int fail(char why[256], int err, const char *format,
                                                      ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, 256, format, args);
    va_end(args);
    ERR_clear_error();
    return err;
}

static const char *reason(void)
{
    const char *r = ERR_reason_error_string(ERR_peek_last_error());
    return r ? r : "unknown error";
}

/* Keys must be their owner's alone. Looks at the open file, so that nobody can swap it. */
static int open_key(const char *path, FILE **out, char why[256])
{
    struct stat st;
    FILE *f = fopen(path, "re");
    if (!f)
        return fail(why, ERR_IO, "%.128s: %s", path, strerror(errno));
    if (fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode)) {
        fclose(f);
        return fail(why, ERR_IO, "%.128s: not a file", path);
    }
    if (st.st_mode & 066) {
        fclose(f);
        return fail(why, ERR_DENIED,
                    "%.100s: others can read or write this private key: run chmod 600 on it", path);
    }
    *out = f;
    return 0;
}

/* A daemon has nobody to ask for a password. */
static int no_password(char *buf, int size, int writing, void *arg)
{
    (void)buf, (void)size, (void)writing, (void)arg;
    return -1;
}

static int load_key(SSL_CTX *ctx, const char *path, char why[256])
{
    FILE *f = NULL;
    int rc = open_key(path, &f, why);
    if (rc)
        return rc;
    EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, no_password, NULL);
    fclose(f);
    if (!key)
        return fail(why, ERR_TLS,
                    "%.128s: not a private key in PEM form without a password (%.64s)", path,
                    reason());
    int ok = SSL_CTX_use_PrivateKey(ctx, key);
    EVP_PKEY_free(key);
    if (ok != 1 || SSL_CTX_check_private_key(ctx) != 1)
        return fail(why, ERR_TLS, "%.128s: this key does not belong to the certificate (%.64s)",
                    path, reason());
    return 0;
}

static int load_cert(SSL_CTX *ctx, const char *path, char why[256])
{
    FILE *f = fopen(path, "re");
    if (!f)
        return fail(why, ERR_IO, "%.128s: %s", path, strerror(errno));
    fclose(f);
    if (SSL_CTX_use_certificate_chain_file(ctx, path) != 1)
        return fail(why, ERR_TLS, "%.128s: not a certificate chain in PEM form (%.64s)", path,
                    reason());
    return 0;
}

/* Clients may show a certificate; one that they show must be the CA's. */
static int load_ca(SSL_CTX *ctx, const char *path, char why[256])
{
    FILE *f = fopen(path, "re");
    if (!f)
        return fail(why, ERR_IO, "%.128s: %s", path, strerror(errno));
    fclose(f);
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(path);
    if (!names || SSL_CTX_load_verify_file(ctx, path) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return fail(why, ERR_TLS, "%.128s: no CA certificates in PEM form (%.64s)", path, reason());
    }
    SSL_CTX_set_client_CA_list(ctx, names);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    return 0;
}

/* HTTP/1.1 alone is spoken; who insists on something else is told so. */
static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen,
                       const unsigned char *in, unsigned int inlen, void *arg)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *picked;
    (void)ssl, (void)arg;
    if (SSL_select_next_proto(&picked, outlen, ours, sizeof(ours) - 1, in, inlen) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = picked;
    return SSL_TLSEXT_ERR_OK;
}

/* Asked to renegotiate, OpenSSL says no and reads on within the same SSL_read(), as long as it is
 * asked again. Who asks has ended, as far as we read. */
static void on_info(const SSL *ssl, int where, int what)
{
    SSL *own = (SSL *)(uintptr_t)ssl;
    if (where == SSL_CB_WRITE_ALERT && (what & 0xff) == SSL_AD_NO_RENEGOTIATION)
        SSL_set_shutdown(own, SSL_get_shutdown(own) | SSL_RECEIVED_SHUTDOWN);
}

static int settings(SSL_CTX *ctx)
{
    static const unsigned char id[] = "dray";
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    /* A write may be repeated from another address, and end at a record: bodies are only peeked. */
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    /* Reading comes back after each record, also one without data: new keys without end would else
     * hold the loop. */
    SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_info_callback(ctx, on_info);
    /* Sessions live in the clients' tickets, not in our memory. */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
                   SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1 &&
                   SSL_CTX_set_session_id_context(ctx, id, sizeof(id) - 1) == 1
               ? 0
               : ERR_TLS;
}

static int load(const struct tls_context *t, SSL_CTX **out, char why[256])
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx)
        return fail(why, ERR_NOMEM, "out of memory");
    int rc = settings(ctx) == 0 ? 0 : fail(why, ERR_TLS, "OpenSSL: %.64s", reason());
    if (!rc)
        rc = load_cert(ctx, t->cert, why);
    if (!rc)
        rc = load_key(ctx, t->key, why);
    if (!rc && t->ca)
        rc = load_ca(ctx, t->ca, why);
    if (rc) {
        SSL_CTX_free(ctx);
        return rc;
    }
    ERR_clear_error();
    *out = ctx;
    return 0;
}

int tls_context_new(struct tls_context **out, const struct tls_options *opt, char why[256])
{
    assert(opt->cert && opt->key);
    struct tls_context *t = calloc(1, sizeof(*t));
    if (!t)
        return fail(why, ERR_NOMEM, "out of memory");
    t->cert = strdup(opt->cert);
    t->key = strdup(opt->key);
    t->ca = opt->ca ? strdup(opt->ca) : NULL;
    int rc = t->cert && t->key && (t->ca || !opt->ca) ? load(t, &t->ctx, why)
                                                      : fail(why, ERR_NOMEM, "out of memory");
    if (rc) {
        tls_context_del(t);
        return rc;
    }
    *out = t;
    return 0;
}

int tls_context_reload(struct tls_context *t, char why[256])
{
    SSL_CTX *fresh = NULL;
    int rc = load(t, &fresh, why);
    if (rc)
        return rc;
    SSL_CTX_free(t->ctx);
    t->ctx = fresh;
    return 0;
}

SSL *tls_context_accept(struct tls_context *t)
{
    SSL *ssl = SSL_new(t->ctx);
    if (ssl)
        SSL_set_accept_state(ssl);
    ERR_clear_error();
    return ssl;
}

i64 tls_context_expires_s(const struct tls_context *t)
{
    int days = 0, seconds = 0;
    const X509 *cert = SSL_CTX_get0_certificate(t->ctx);
    if (!cert || ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)) != 1) {
        ERR_clear_error();
        return 0;
    }
    return (i64)days * 86400 + seconds;
}

void tls_context_del(struct tls_context *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->ctx);
    free(t->cert);
    free(t->key);
    free(t->ca);
    free(t);
}
