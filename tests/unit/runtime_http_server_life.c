/* Listeners, draining and deleting: how a server begins and ends. */
#include <sys/stat.h>

#include "http_rig.h"

#define HOST "Host: h\r\n"

/* --- listeners -------------------------------------------------------------------------------- */

static void addresses_are_checked(void **state)
{
    static const char *const bad[] = {"",           "5000",           ":5000",   "localhost:5000",
                                      "1.2.3:5000", "0.0.0.0:",       "[::]",    "::1:5000",
                                      "[::1:5000",  "0.0.0.0:70000",  "[x]:1",   "0.0.0.0:5 ",
                                      "0.0.0.0:-1", "0.0.0.0:000001", "1.2.3.4", "[1.2.3.4]:1"};
    struct http_server_options opt = {0};
    struct rig r;
    char why[256], busy[64];
    (void)state;
    rig_start(&r, &opt);
    for (size_t i = 0; i < countof(bad); i++)
        if (http_listen_tcp(r.server, bad[i], NULL, why) != ERR_INVAL)
            fail_msg("taken for an address: %s", bad[i]);
    assert_non_null(strstr(why, "0.0.0.0:5000")); /* it says how to write one */
    snprintf(busy, sizeof(busy), "127.0.0.1:%u", r.port);
    assert_int_equal(http_listen_tcp(r.server, busy, NULL, why), ERR_BUSY);
    assert_non_null(strstr(why, busy));
    assert_int_equal(http_listen_tcp(r.server, "192.0.2.1:0", NULL, why), ERR_IO);
    rig_stop(&r);
}

static void peer_is_v4(struct rig *r, struct http_exchange *x)
{
    char peer[64];
    (void)r;
    http_peer_text(http_request(x), peer);
    assert_int_equal(strncmp(peer, "127.0.0.1:", 10), 0);
    http_reply_text(x, 200, NULL, "hello\n", 6);
}

static void the_wildcard_of_ipv6_takes_ipv4_too(void **state)
{
    struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    char why[256];
    (void)state;
    rig_new(&r, &opt);
    r.on_request = peer_is_v4;
    int rc = http_listen_tcp(r.server, "[::]:0", NULL, why);
    if (rc == 0) { /* a machine without IPv6 says why it cannot */
        r.port = http_server_port(r.server);
        client_open(&c, &r);
        client_send(&c, "GET / HTTP/1.1\r\n" HOST "\r\n");
        client_expect(&c, "hello\n");
        client_close(&c);
    } else {
        assert_int_equal(rc, ERR_IO);
    }
    rig_stop(&r);
}

static void peer_is_local(struct rig *r, struct http_exchange *x)
{
    char peer[64];
    (void)r;
    http_peer_text(http_request(x), peer);
    assert_string_equal(peer, "unix");
    assert_true(http_request(x)->local);
    http_reply_text(x, 200, NULL, "hello\n", 6);
}

static int unix_connect(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(a.sun_path, path, strlen(path) + 1);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

static void a_unix_socket_is_its_owners_alone(void **state)
{
    struct http_server_options opt = {.drain_timeout_ms = 100};
    struct rig r, other;
    struct client c;
    struct stat st;
    char dir[] = "/tmp/dray-http-XXXXXX", path[64], file[64], why[256], long_path[200];
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/sock", dir);
    snprintf(file, sizeof(file), "%s/file", dir);
    memset(long_path, 'x', sizeof(long_path) - 1);
    long_path[sizeof(long_path) - 1] = '\0';
    mode_t mask = umask(0);
    rig_new(&r, &opt);
    assert_int_equal(http_listen_unix(r.server, path, why), 0);
    umask(mask);
    assert_int_equal(http_server_port(r.server), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    r.on_request = peer_is_local;
    client_open_fd(&c, &r, unix_connect(path));
    client_send(&c, "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    client_expect(&c, "hello\n");
    client_expect_fin(&c);
    client_close(&c);

    rig_new(&other, &opt);
    assert_int_equal(http_listen_unix(other.server, path, why), ERR_BUSY);
    assert_non_null(strstr(why, path));
    assert_int_equal(http_listen_unix(other.server, "", why), ERR_INVAL);
    assert_int_equal(http_listen_unix(other.server, long_path, why), ERR_INVAL);
    assert_int_equal(http_listen_unix(other.server, "/nowhere/at/all", why), ERR_IO);
    fclose(fopen(file, "w"));
    assert_int_equal(http_listen_unix(other.server, file, why), ERR_BUSY);
    assert_int_equal(stat(file, &st), 0); /* not removed */
    rig_stop(&other);
    rig_stop(&r);
    assert_int_equal(stat(path, &st), -1); /* removed with its listener */

    /* A socket file that a killed process left behind. */
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    memcpy(a.sun_path, path, strlen(path) + 1);
    int dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(dead, (struct sockaddr *)&a, sizeof(a)), 0);
    close(dead);
    rig_new(&r, &opt);
    assert_int_equal(http_listen_unix(r.server, path, why), 0);
    close(unix_connect(path));
    rig_stop(&r);
    unlink(file);
    assert_int_equal(rmdir(dir), 0);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void draining_lets_running_exchanges_end(void **state)
{
    struct http_server_options opt = {.drain_timeout_ms = 200};
    struct rig r;
    struct client idle, busy, late;
    (void)state;
    rig_start(&r, &opt);
    client_open(&idle, &r);
    client_open(&busy, &r);
    client_send(&idle, "GET / HTTP/1.1\r\n" HOST "\r\n");
    client_expect(&idle, "hello\n");
    client_send(&busy, "GET /later HTTP/1.1\r\n" HOST "\r\n");
    rig_until(&r, r.n_waiting == 1);
    http_server_drain(r.server, rig_drained, &r);
    client_expect_fin(&idle);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(r.port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    client_open_fd(&late, &r, fd);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), -1); /* nobody listens */
    assert_false(r.drained);
    http_reply_text(r.waiting[0], 200, NULL, "the last\n", 9);
    client_expect(&busy, "the last\n");
    assert_non_null(strstr(busy.text, "Connection: close\r\n"));
    client_expect_fin(&busy);
    client_close(&idle);
    client_close(&busy);
    client_close(&late);
    rig_until(&r, r.drained);
    assert_int_equal(r.ended_complete, 2);
    rig_stop(&r);
}

static void an_empty_server_is_drained_at_once(void **state)
{
    struct http_server_options opt = {0};
    struct rig r;
    (void)state;
    rig_start(&r, &opt);
    http_server_drain(r.server, rig_drained, &r);
    assert_true(r.drained);
    rig_stop(&r);
}

static void drain_now(struct rig *r, struct http_exchange *x)
{
    http_server_drain(r->server, rig_drained, r);
    http_reply_text(x, 200, NULL, "hello\n", 6);
}

static void a_handler_may_drain_its_server(void **state)
{
    struct http_server_options opt = {.drain_timeout_ms = 200};
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &opt);
    r.on_request = drain_now;
    client_open(&c, &r);
    client_send(&c, "GET / HTTP/1.1\r\n" HOST "\r\n");
    client_expect(&c, "hello\n");
    client_expect_fin(&c);
    client_close(&c);
    rig_until(&r, r.drained);
    rig_stop(&r);
}

static void delete_now(struct rig *r, struct http_exchange *x)
{
    http_reply_text(x, 200, NULL, "hello\n", 6);
    http_server_del(r->server, rig_gone, r);
}

static void a_handler_may_delete_its_server(void **state)
{
    struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &opt);
    r.on_request = delete_now;
    client_open(&c, &r);
    client_send(&c, "GET / HTTP/1.1\r\n" HOST "\r\n");
    rig_until(&r, r.gone);
    assert_int_equal(r.ended, 1);
    assert_false(r.last.complete);
    client_close(&c);
    rig_stop(&r);
}

static void delete_at_end(void *arg, const struct http_ended *e)
{
    struct rig *r = arg;
    rig_ended(r, e);
    http_server_del(r->server, rig_gone, r);
}

static void answer_then_delete(struct rig *r, struct http_exchange *x)
{
    http_on_end(x, delete_at_end, r);
    http_reply_text(x, 200, NULL, "hello\n", 6);
}

static void the_end_of_an_exchange_may_delete_the_server(void **state)
{
    struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &opt);
    r.on_request = answer_then_delete;
    client_open(&c, &r);
    client_send(&c, "GET / HTTP/1.1\r\n" HOST "\r\nGET / HTTP/1.1\r\n" HOST "\r\n");
    client_expect(&c, "hello\n");
    rig_until(&r, r.gone);
    assert_true(r.last.complete);
    assert_int_equal(r.handled, 1);
    client_close(&c);
    rig_stop(&r);
}

static void deleting_ends_whatever_runs(void **state)
{
    static const char *const requests[] = {
        "GET /later HTTP/1.1\r\n" HOST "\r\n", "GET /stream HTTP/1.1\r\n" HOST "\r\n",
        "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nab", "GET / HT", ""};
    struct http_server_options opt = {0};
    struct rig r;
    struct client c[countof(requests)], slow;
    (void)state;
    rig_start(&r, &opt);
    for (size_t i = 0; i < countof(requests); i++) {
        client_open(&c[i], &r);
        client_send(&c[i], requests[i]);
    }
    rig_until(&r, r.handled == 2);
    client_open_small(&slow, &r, 4096);
    rig_rest(&r, 10);
    http_server_del(r.server, rig_gone, &r);
    assert_int_equal(r.ended, 2);
    rig_until(&r, r.gone);
    assert_int_equal(r.ended_complete, 0);
    for (size_t i = 0; i < countof(requests); i++)
        client_close(&c[i]);
    client_close(&slow);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_checked),
        cmocka_unit_test(the_wildcard_of_ipv6_takes_ipv4_too),
        cmocka_unit_test(a_unix_socket_is_its_owners_alone),
        cmocka_unit_test(draining_lets_running_exchanges_end),
        cmocka_unit_test(an_empty_server_is_drained_at_once),
        cmocka_unit_test(a_handler_may_drain_its_server),
        cmocka_unit_test(a_handler_may_delete_its_server),
        cmocka_unit_test(the_end_of_an_exchange_may_delete_the_server),
        cmocka_unit_test(deleting_ends_whatever_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
