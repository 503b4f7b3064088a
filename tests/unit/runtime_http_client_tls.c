/* runtime_http_client_tls.c - tests of runtime/http_client.h over TLS: whom it trusts, what it says
 * when it does not, and that a changed CA file counts after http_client_reload(). */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <netinet/tcp.h>
#include <signal.h>
#include <sys/ioctl.h>

#include "tests/unit/http_client_fixture.h"

#define HELLO "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

struct pair {
    EVP_PKEY *key;
    X509 *cert;
};

static char dir[] = "/tmp/http-tls-test-XXXXXX";
static char ca_path[64], other_path[64], changing_path[64];
static struct pair ca, other_ca;

static void extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509_EXTENSION *ext;
    X509V3_CTX ctx;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(ext);
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
}

/* Signed by `by`, or by itself. `san` NULL: a CA. Valid until `days` from now. */
static struct pair make_pair(const struct pair *by, const char *name, const char *san, int days)
{
    static long serial = 1;
    struct pair p = {EVP_EC_gen("P-256"), X509_new()};
    X509_NAME *subject = X509_get_subject_name(p.cert);
    X509 *issuer = by == NULL ? p.cert : by->cert;

    X509_set_version(p.cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(p.cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(p.cert), -10L * 86400);
    X509_gmtime_adj(X509_getm_notAfter(p.cert), days * 86400L);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const u8 *)name, -1, -1, 0);
    X509_set_issuer_name(p.cert, X509_get_subject_name(issuer));
    X509_set_pubkey(p.cert, p.key);
    extend(p.cert, issuer, NID_basic_constraints, san == NULL ? "critical,CA:TRUE" : "CA:FALSE");
    if (san != NULL)
        extend(p.cert, issuer, NID_subject_alt_name, san);
    assert_true(X509_sign(p.cert, by == NULL ? p.key : by->key, EVP_sha256()) > 0);
    return p;
}

static void free_pair(struct pair *p)
{
    EVP_PKEY_free(p->key);
    X509_free(p->cert);
}

static void write_cert(const char *path, const struct pair *p)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, p->cert), 1);
    fclose(f);
}

static int make_all(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN); /* the server's SSL_write */
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(ca_path, sizeof(ca_path), "%s/ca.pem", dir);
    snprintf(other_path, sizeof(other_path), "%s/other.pem", dir);
    snprintf(changing_path, sizeof(changing_path), "%s/changing.pem", dir);
    ca = make_pair(NULL, "Test CA", NULL, 10);
    other_ca = make_pair(NULL, "Another CA", NULL, 10);
    write_cert(ca_path, &ca);
    write_cert(other_path, &other_ca);
    return 0;
}

static int remove_all(void **state)
{
    char command[64];

    (void)state;
    free_pair(&ca);
    free_pair(&other_ca);
    snprintf(command, sizeof(command), "rm -r %s", dir);
    return system(command);
}

static SSL_CTX *server_tls(const struct pair *by, const char *san, int days)
{
    struct pair p = make_pair(by, "server", san, days);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    assert_non_null(ctx);
    assert_int_equal(SSL_CTX_use_certificate(ctx, p.cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, p.key), 1);
    free_pair(&p);
    return ctx;
}

static void say_hello(struct raw_peer *p)
{
    while (raw_request(p) && raw_say(p, HELLO))
        ;
}

static void get(struct fetch *f, const char *ca_file)
{
    struct http_transfer_options opt;
    char url[256];

    *f = (struct fetch){0};
    opt = options(f, url, NULL);
    opt.ca_file = ca_file;
    fetch_start_with(f, &opt);
    run_until(&f->ended);
    fetch_free(f);
}

static void expect_tls_error(SSL_CTX *tls, const char *ca_file, const char *words,
                             const char *trusted)
{
    struct fetch f;

    begin_with(say_hello, tls, 0);
    get(&f, ca_file);
    assert_int_equal(server->requests, 0); /* no byte of a request went out */
    end();
    SSL_CTX_free(tls);
    if (f.err != ERR_TLS)
        fail_msg("%s: %s", err_name(f.err), f.why);
    assert_memory_equal(f.why, "https://localhost:", 18);
    if (strstr(f.why, words) == NULL || strstr(f.why, trusted) == NULL)
        fail_msg("%s", f.why);
}

static void trusts_the_given_ca(void **state)
{
    SSL_CTX *tls = server_tls(&ca, "DNS:localhost", 5);
    struct fetch f;

    (void)state;
    begin_with(say_hello, tls, 0);
    get(&f, ca_path);
    assert_int_equal(f.err, 0);
    get(&f, ca_path);
    assert_int_equal(f.err, 0);
    assert_int_equal(server->connections, 1);
    /* A connection made under one CA is not used under another. */
    get(&f, other_path);
    assert_int_equal(f.err, ERR_TLS);
    assert_int_equal(server->requests, 2);
    end();
    SSL_CTX_free(tls);
}

static void say_more(struct raw_peer *p)
{
    while (raw_request(p) && raw_say(p, HELLO)) {
        if (p->number > 0 || atomic_load(&p->server->gate) == 2)
            continue;
        raw_wait(p, 1);
        raw_say(p, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        atomic_store(&p->server->gate, 2);
    }
}

/* What came unasked is no answer to the next request. Session tickets are no such thing: see above.
 */
static void leftovers_are_no_answer(void **state)
{
    SSL_CTX *tls = server_tls(&ca, "DNS:localhost", 5);
    struct fetch f;

    (void)state;
    begin_with(say_more, tls, 0);
    get(&f, ca_path);
    assert_int_equal(f.err, 0);
    atomic_store(&server->gate, 1);
    while (atomic_load(&server->gate) != 2)
        usleep(1000);
    get(&f, ca_path);
    assert_int_equal(f.err, 0);
    assert_int_equal(f.status, 200);
    assert_int_equal(server->connections, 2);
    end();
    SSL_CTX_free(tls);
}

static void trusts_nobody_else(void **state)
{
    (void)state;
    expect_tls_error(server_tls(&ca, "DNS:localhost", 5), NULL, "issuer",
                     "trusted are the system's CAs");
    expect_tls_error(server_tls(&ca, "DNS:localhost", 5), other_path, "issuer", other_path);
    expect_tls_error(server_tls(&ca, "DNS:elsewhere.test", 5), ca_path, "matches target host name",
                     ca_path);
    expect_tls_error(server_tls(&ca, "DNS:localhost", -1), ca_path, "expired", ca_path);
    expect_tls_error(server_tls(NULL, "DNS:localhost", 5), ca_path, "self", ca_path);
    expect_tls_error(server_tls(&ca, "DNS:localhost", 5), "/nowhere/ca.pem",
                     "error setting certificate", "/nowhere/ca.pem");
}

/* A peer dialled by its address. */
static void a_name_may_be_left_to_others(void **state)
{
    struct http_transfer_options opt;
    char url[256];
    const struct pair *by[] = {&ca, &other_ca};

    (void)state;
    for (size_t i = 0; i < countof(by); i++) {
        SSL_CTX *tls = server_tls(by[i], "DNS:elsewhere.test", 5);
        struct fetch f = {0};

        begin_with(say_hello, tls, 0);
        for (int any = 1; any >= 0; any--) { /* nor does the kept connection serve who compares */
            f = (struct fetch){0};
            opt = options(&f, url, NULL);
            opt.ca_file = ca_path;
            opt.any_name = any;
            fetch_start_with(&f, &opt);
            run_until(&f.ended);
            assert_int_equal(f.err, any && by[i] == &ca ? 0 : ERR_TLS);
            fetch_free(&f);
        }
        end();
        SSL_CTX_free(tls);
    }
}

static void old_protocols_are_refused(void **state)
{
    SSL_CTX *tls = server_tls(&ca, "DNS:localhost", 5);

    (void)state;
    SSL_CTX_set_security_level(tls, 0);
    SSL_CTX_set_min_proto_version(tls, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(tls, TLS1_1_VERSION);
    expect_tls_error(tls, ca_path, "", ca_path);
}

static void talk_plain(struct raw_peer *p)
{
    char byte;

    if (raw_read(p, &byte, 1) == 1)
        raw_say(p, "HTTP/1.1 400 Bad Request\r\n\r\n");
}

static void plain_servers_are_named(void **state)
{
    struct http_transfer_options opt;
    struct fetch f = {0};
    char url[256];

    (void)state;
    begin(talk_plain);
    opt = options(&f, url, NULL);
    snprintf(url, sizeof(url), "https://127.0.0.1:%u/", server->port);
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    assert_int_equal(f.err, ERR_TLS);
    end();
}

/* FIN without close_notify in the middle of a body. */
static void say_some_and_drop(struct raw_peer *p)
{
    raw_request(p);
    raw_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    shutdown(p->fd, SHUT_WR);
    SSL_set_quiet_shutdown(p->ssl, 1);
}

static void cut_bodies_are_noticed(void **state)
{
    SSL_CTX *tls = server_tls(&ca, "DNS:localhost", 5);
    struct fetch f;

    (void)state;
    begin_with(say_some_and_drop, tls, 0);
    get(&f, ca_path);
    end();
    assert_int_equal(f.err, ERR_EOF);
    assert_int_equal(f.len, 3);
    SSL_CTX_free(tls);
}

static void reload_reads_the_ca_again(void **state)
{
    SSL_CTX *tls = server_tls(&ca, "DNS:localhost", 5);
    struct fetch f;

    (void)state;
    write_cert(changing_path, &other_ca);
    begin_with(say_hello, tls, 0);
    get(&f, changing_path);
    assert_int_equal(f.err, ERR_TLS);
    write_cert(changing_path, &ca);
    http_client_reload(client);
    get(&f, changing_path);
    assert_int_equal(f.err, 0);
    get(&f, changing_path);
    assert_int_equal(f.err, 0);
    assert_int_equal(server->connections, 2);
    /* Trust is also taken away, from the connection that is kept as well. */
    write_cert(changing_path, &other_ca);
    http_client_reload(client);
    get(&f, changing_path);
    assert_int_equal(f.err, ERR_TLS);
    assert_non_null(strstr(f.why, changing_path));
    end();
    SSL_CTX_free(tls);
}

static void say_large(struct raw_peer *p)
{
    static char block[16384];

    if (!raw_request(p))
        return;
    raw_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n");
    for (int i = 0; i < 256 && raw_write(p, block, sizeof(block)); i++)
        ;
    raw_wait_gone(p);
}

static enum http_data_verdict pause_each_other(struct fetch *f)
{
    if (f->n_data % 2 == 0)
        return HTTP_DATA_TAKEN;
    return HTTP_DATA_PAUSE;
}

static void on_resume_timer(uv_timer_t *timer)
{
    struct fetch *f = timer->data;

    if (!f->ended)
        fetch_resume(f);
}

/* What TLS has decrypted already makes no socket readable: a resume must find it all the same. */
static void large_bodies_come_whole(void **state)
{
    SSL_CTX *tls = server_tls(&ca, "DNS:localhost", 5);
    struct fetch f = {.on_data = pause_each_other};
    struct http_transfer_options opt;
    uv_timer_t timer;
    char url[256];

    (void)state;
    begin_with(say_large, tls, 0);
    uv_timer_init(&loop, &timer);
    timer.data = &f;
    uv_timer_start(&timer, on_resume_timer, 1, 1);
    opt = options(&f, url, NULL);
    opt.ca_file = ca_path;
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    uv_close((uv_handle_t *)&timer, NULL);
    end();
    assert_int_equal(f.err, 0);
    assert_int_equal(f.len, 4194304);
    fetch_free(&f);
    SSL_CTX_free(tls);
}

/* --- what comes after the handshake and is no data ----------------------------------------- */

#define FLOOD 1000

static atomic_int flooded;

static void say_keys_without_end(struct raw_peer *p)
{
    int now = 1;

    if (!raw_request(p))
        return;
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &now, sizeof(now));
    for (int i = 0; i < FLOOD; i++)
        if (SSL_key_update(p->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1 ||
            SSL_do_handshake(p->ssl) != 1)
            return;
    atomic_store(&flooded, 1);
    raw_wait(p, 1);
    raw_say(p, HELLO);
    raw_wait_gone(p);
}

/* Our end of the connection to the server. */
static int our_end(void)
{
    struct sockaddr_in peer = {0};

    for (int fd = 3; fd < 256; fd++) {
        socklen_t n = sizeof(peer);

        if (getpeername(fd, (struct sockaddr *)&peer, &n) == 0 && peer.sin_family == AF_INET &&
            ntohs(peer.sin_port) == server->port)
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

static void new_keys_without_end_hold_nobody_up(void **state)
{
    SSL_CTX *tls = server_tls(&ca, "DNS:localhost", 5);
    struct fetch f = {0};
    struct http_transfer_options opt;
    char url[256];
    int before, fd;

    (void)state;
    begin_with(say_keys_without_end, tls, 0);
    opt = options(&f, url, NULL);
    opt.ca_file = ca_path;
    fetch_start_with(&f, &opt);
    while (atomic_load(&server->requests) == 0)
        uv_run(&loop, UV_RUN_NOWAIT);
    while (atomic_load(&flooded) == 0)
        usleep(1000);
    fd = our_end();
    before = unread(fd);
    assert_true(before > FLOOD);
    for (int i = 0; i < 4; i++) /* one may go to something else */
        uv_run(&loop, UV_RUN_NOWAIT);
    assert_true(unread(fd) > before / 2);
    atomic_store(&server->gate, 1);
    run_until(&f.ended);
    assert_int_equal(f.err, 0);
    assert_string_equal(f.body, "hello");
    fetch_free(&f);
    end();
    SSL_CTX_free(tls);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trusts_the_given_ca),
        cmocka_unit_test(leftovers_are_no_answer),
        cmocka_unit_test(trusts_nobody_else),
        cmocka_unit_test(a_name_may_be_left_to_others),
        cmocka_unit_test(old_protocols_are_refused),
        cmocka_unit_test(plain_servers_are_named),
        cmocka_unit_test(cut_bodies_are_noticed),
        cmocka_unit_test(reload_reads_the_ca_again),
        cmocka_unit_test(large_bodies_come_whole),
        cmocka_unit_test(new_keys_without_end_hold_nobody_up),
    };

    return cmocka_run_group_tests(tests, make_all, remove_all);
}
