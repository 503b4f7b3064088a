/* HTTP over TLS, and what a handshake may cost. */
#include "tls_rig.h"

#include <netinet/tcp.h>
#include <openssl/kdf.h>
#include <sys/ioctl.h>

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

/* A body that has nothing for now in every second look, also while a write of its bytes is under
 * way: what it showed before is written later, not its framing alone. */
static struct http_exchange *flickering;
static unsigned looks;
static bool dark;

static ssize_t flicker_peek(struct body *b, const void **data, size_t max)
{
    dark = ++looks % 2 == 0;
    return dark ? ERR_AGAIN
                : step_peek(b, data, max < 2000 ? max : 2000); /* each with its framing */
}

static void answer_flickering(struct rig *r, struct http_exchange *x)
{
    static const struct body_ops ops = {
        .peek = flicker_peek, .advance = step_advance, .close = step_close};
    struct body *b = step_body(r, 4 * MIB, 4 * MIB);
    b->ops = &ops;
    flickering = x;
    http_reply(x, 200, b, HTTP_LENGTH_UNKNOWN);
}

static void a_write_under_way_waits_for_its_bytes(void **state)
{
    struct tls_rig t = {0};
    struct client c;
    (void)state;
    tls_start(&t, "server.pem", "server.key", NULL);
    t.r.on_request = answer_flickering;
    SSL_CTX *ctx = client_context();
    client_open_small(&c, &t.r, 20000);
    SSL *ssl = tls_client(&c, ctx);
    assert_int_equal(tls_step(&c, ssl, SSL_connect), SSL_ERROR_NONE);
    tls_send(ssl, "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    int e = SSL_ERROR_NONE;
    for (u64 since = rig_ms(); e == SSL_ERROR_NONE || e == SSL_ERROR_WANT_READ;) {
        c.n = 0;
        if (dark && t.r.ended == 0) {
            dark = false;
            http_wake(flickering);
        }
        e = tls_take(&c, ssl);
        assert_true(rig_ms() - since < RIG_PATIENCE_MS);
    }
    assert_int_equal(e, SSL_ERROR_ZERO_RETURN);
    assert_true(t.r.last.complete);
    assert_int_equal(t.r.last.body_bytes, 4 * MIB);
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

static void says_how_it_came(struct rig *r, struct http_exchange *x)
{
    (void)r;
    const char *text = http_request(x)->tls ? "sealed\n" : "plain\n";
    http_reply_text(x, 200, "text/plain", text, strlen(text));
}

/* Peers may come plain to a port on which users come by TLS. */
static void plain_is_served_beside_tls_where_wanted(void **state)
{
    struct tls_rig t = {.opt = {.plain_too = true, .handshake_timeout_ms = 300}};
    struct client c;
    (void)state;
    tls_start(&t, "server.pem", "server.key", NULL);
    t.r.on_request = says_how_it_came;
    SSL_CTX *ctx = client_context();
    client_open(&c, &t.r);
    SSL *ssl = tls_client(&c, ctx);
    assert_int_equal(tls_step(&c, ssl, SSL_connect), SSL_ERROR_NONE);
    tls_send(ssl, "GET / HTTP/1.1\r\n" HOST "\r\n");
    tls_expect(&c, ssl, "sealed\n");
    tls_bye(&c, ssl);
    client_open(&c, &t.r);
    for (int i = 0; i < 2; i++) {
        client_forget(&c);
        client_send(&c, "GET / HTTP/1.1\r\n" HOST "\r\n");
        client_expect(&c, "plain\n");
    }
    client_close(&c);
    u64 failures = rig_stats(&t.r).tls_failures, timeouts = rig_stats(&t.r).timeouts;
    client_open(&c, &t.r); /* neither */
    client_send(&c, "\x01\x02");
    rig_until(&t.r, rig_stats(&t.r).tls_failures + rig_stats(&t.r).timeouts > failures + timeouts);
    client_close(&c);
    timeouts = rig_stats(&t.r).timeouts;
    client_open(&c, &t.r); /* nothing at all */
    rig_until(&t.r, rig_stats(&t.r).timeouts == timeouts + 1);
    client_close(&c);
    client_open(&c, &t.r);
    client_close(&c);
    rig_until(&t.r, rig_stats(&t.r).open == 0);
    SSL_CTX_free(ctx);
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

/* --- what comes after the handshake and is no data -------------------------------------------- */

/* The server's end of a client's connection. */
static int other_end(const struct client *c)
{
    struct sockaddr_in ours, peer = {0};
    socklen_t n = sizeof(ours);
    assert_int_equal(getsockname(c->fd, (struct sockaddr *)&ours, &n), 0);
    for (int fd = 3; fd < 256; fd++) {
        n = sizeof(peer);
        if (fd != c->fd && getpeername(fd, (struct sockaddr *)&peer, &n) == 0 &&
            peer.sin_family == AF_INET && peer.sin_port == ours.sin_port)
            return fd;
    }
    fail_msg("no such connection");
    return -1;
}

static int unread(int fd)
{
    int n = 0;
    assert_int_equal(ioctl(fd, FIONREAD, &n), 0);
    return n;
}

#define FLOOD 1000

/* New keys over and over: each is work, and reading would go on for as long as they come. */
static void new_keys_without_end_hold_nobody_up(void **state)
{
    struct tls_rig t = {0};
    struct client c;
    (void)state;
    tls_start(&t, "server.pem", "server.key", NULL);
    SSL_CTX *ctx = client_context();
    client_open(&c, &t.r);
    SSL *ssl = tls_client(&c, ctx);
    assert_int_equal(tls_step(&c, ssl, SSL_connect), SSL_ERROR_NONE);
    rig_rest(&t.r, 20);
    int fd = other_end(&c), now = 1;
    assert_int_equal(setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &now, sizeof(now)), 0);
    for (int i = 0; i < FLOOD; i++) {
        assert_int_equal(SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(ssl), 1);
    }
    int before = unread(fd);
    assert_true(before > FLOOD);
    rig_turn(&t.r);
    assert_true(unread(fd) > before / 2); /* others have their turn now */
    tls_send(ssl, "GET / HTTP/1.1\r\n" HOST "\r\n");
    tls_expect(&c, ssl, "hello\n"); /* and it has had its own in the end */
    tls_bye(&c, ssl);
    SSL_CTX_free(ctx);
    tls_stop(&t);
}

/* A client's record under TLS 1.2 with AES-128-GCM (RFC 5288), made by hand: no library sends such.
 */
struct by_hand {
    u8 keys[40]; /* client's, server's, and the beginnings of their nonces */
    u64 seq;
};

static void by_hand_init(struct by_hand *h, const SSL *ssl)
{
    u8 master[48], seed[64];
    size_t n = sizeof(h->keys);
    EVP_PKEY_CTX *prf = EVP_PKEY_CTX_new_id(EVP_PKEY_TLS1_PRF, NULL);
    assert_string_equal(SSL_get_cipher_name(ssl), "ECDHE-ECDSA-AES128-GCM-SHA256");
    assert_int_equal(SSL_SESSION_get_master_key(SSL_get_session(ssl), master, sizeof(master)), 48);
    assert_int_equal(SSL_get_server_random(ssl, seed, 32), 32);
    assert_int_equal(SSL_get_client_random(ssl, seed + 32, 32), 32);
    assert_int_equal(EVP_PKEY_derive_init(prf), 1);
    assert_int_equal(EVP_PKEY_CTX_set_tls1_prf_md(prf, EVP_sha256()), 1);
    assert_int_equal(EVP_PKEY_CTX_set1_tls1_prf_secret(prf, master, sizeof(master)), 1);
    assert_int_equal(EVP_PKEY_CTX_add1_tls1_prf_seed(prf, (const u8 *)"key expansion", 13), 1);
    assert_int_equal(EVP_PKEY_CTX_add1_tls1_prf_seed(prf, seed, sizeof(seed)), 1);
    assert_int_equal(EVP_PKEY_derive(prf, h->keys, &n), 1);
    EVP_PKEY_CTX_free(prf);
    h->seq = 1; /* after Finished */
}

static void put_u64(u8 *to, u64 v)
{
    for (int i = 0; i < 8; i++)
        to[i] = (u8)(v >> (56 - 8 * i));
}

/* Returns the record's length. */
static size_t by_hand_record(struct by_hand *h, u8 type, const u8 *text, u8 len, u8 *out)
{
    u8 nonce[12], head[13] = {[8] = type, 3, 3, 0, len};
    int n;
    EVP_CIPHER_CTX *gcm = EVP_CIPHER_CTX_new();
    memcpy(nonce, h->keys + 32, 4);
    put_u64(nonce + 4, h->seq);
    put_u64(head, h->seq++);
    memcpy(out, (u8[]){type, 3, 3, 0, (u8)(8 + len + 16)}, 5);
    memcpy(out + 5, nonce + 4, 8);
    assert_int_equal(EVP_EncryptInit_ex(gcm, EVP_aes_128_gcm(), NULL, h->keys, nonce), 1);
    assert_int_equal(EVP_EncryptUpdate(gcm, NULL, &n, head, sizeof(head)), 1);
    assert_int_equal(EVP_EncryptUpdate(gcm, out + 13, &n, text, len), 1);
    assert_int_equal(EVP_EncryptFinal_ex(gcm, out + 13 + len, &n), 1);
    assert_int_equal(EVP_CIPHER_CTX_ctrl(gcm, EVP_CTRL_GCM_GET_TAG, 16, out + 13 + len), 1);
    EVP_CIPHER_CTX_free(gcm);
    return 13u + len + 16;
}

/* Asked to renegotiate, OpenSSL says no and reads on, for as long as it is asked. */
static void renegotiations_without_end_hold_nobody_up(void **state)
{
    static const u8 hello[] = {1, 0, 0, 0}; /* enough to see what is wanted */
    static u8 flood[FLOOD * 40];
    struct tls_rig t = {0};
    struct client c;
    struct by_hand h;
    size_t n = 0;
    (void)state;
    tls_start(&t, "server.pem", "server.key", NULL);
    SSL_CTX *ctx = client_context();
    SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_cipher_list(ctx, "ECDHE-ECDSA-AES128-GCM-SHA256");
    client_open(&c, &t.r);
    SSL *ssl = tls_client(&c, ctx);
    assert_int_equal(tls_step(&c, ssl, SSL_connect), SSL_ERROR_NONE);
    rig_rest(&t.r, 20);
    by_hand_init(&h, ssl);
    for (int i = 0; i < FLOOD; i++)
        n += by_hand_record(&h, 22, hello, sizeof(hello), flood + n);
    client_send_n(&c, flood, n);
    int fd = other_end(&c);
    assert_int_equal(unread(fd), n);
    rig_turn(&t.r);
    assert_true(rig_stats(&t.r).open == 0 || unread(fd) > (int)n / 2);
    tls_bye(&c, ssl);
    SSL_CTX_free(ctx);
    tls_stop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_served_over_tls),
        cmocka_unit_test(only_what_we_speak_is_negotiated),
        cmocka_unit_test(big_bytes_survive_interrupted_writes),
        cmocka_unit_test(a_write_under_way_waits_for_its_bytes),
        cmocka_unit_test(a_cut_answer_gets_fin_but_no_close_notify),
        cmocka_unit_test(leaving_is_noticed_over_tls),
        cmocka_unit_test(half_a_handshake_costs_nothing_and_ends),
        cmocka_unit_test(garbage_is_no_handshake),
        cmocka_unit_test(plain_http_is_told_the_way),
        cmocka_unit_test(plain_is_served_beside_tls_where_wanted),
        cmocka_unit_test(many_handshakes_at_once_all_succeed),
        cmocka_unit_test(new_keys_without_end_hold_nobody_up),
        cmocka_unit_test(renegotiations_without_end_hold_nobody_up),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
