/* TLS contexts: which files they take, resumption, reloading, client certificates. */
#include "tls_rig.h"

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

/* --- sessions and reloads --------------------------------------------------------------------- */

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
        cmocka_unit_test(sessions_are_resumed_by_ticket),
        cmocka_unit_test(a_reload_is_for_new_connections),
        cmocka_unit_test(client_certificates_are_verified_when_shown),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
