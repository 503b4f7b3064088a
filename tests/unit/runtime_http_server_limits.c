/* Deadlines, caps, clients that leave: what one client cannot take from the others. */
#include <sys/resource.h>

#include "http_rig.h"

#define HOST "Host: h\r\n"

/* --- deadlines -------------------------------------------------------------------------------- */

static void a_head_that_drips_is_408(void **state)
{
    struct http_server_options opt = {.head_timeout_ms = 120, .drain_timeout_ms = 200};
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &opt);
    client_open(&c, &r);
    u64 since = rig_ms();
    client_send(&c, "GET / HTTP/1.1\r\n" HOST "X: ");
    while (c.n == 0 && rig_ms() - since < RIG_PATIENCE_MS) { /* each byte comes in time */
        client_send(&c, "x");
        rig_rest(&r, 10);
        client_take(&c, SIZE_MAX);
    }
    client_expect(&c, "HTTP/1.1 408 ");
    client_expect_fin(&c);
    assert_true(rig_ms() - since >= 100);
    assert_int_equal(rig_stats(&r).timeouts, 1);
    assert_int_equal(r.handled, 0);
    client_close(&c);
    rig_stop(&r);
}

static void an_idle_connection_is_closed_without_a_word(void **state)
{
    struct http_server_options opt = {.idle_timeout_ms = 100, .drain_timeout_ms = 200};
    struct rig r;
    struct client c, silent;
    (void)state;
    rig_start(&r, &opt);
    client_open(&c, &r);
    client_open(&silent, &r);
    client_send(&c, "GET / HTTP/1.1\r\n" HOST "\r\n");
    client_expect(&c, "hello\n");
    client_forget(&c);
    client_expect_fin(&c);
    client_expect_fin(&silent);
    assert_int_equal(c.n, 0);
    assert_int_equal(silent.n, 0);
    assert_int_equal(rig_stats(&r).timeouts, 0);
    client_close(&c);
    client_close(&silent);
    rig_stop(&r);
}

static void a_body_that_does_not_come_is_408(void **state)
{
    struct http_server_options opt = {.body_timeout_ms = 100, .drain_timeout_ms = 200};
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &opt);
    client_open(&c, &r);
    client_send(&c, "POST / HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nhalf");
    client_expect(&c, "HTTP/1.1 408 ");
    client_expect_fin(&c);
    assert_int_equal(r.handled, 0);
    client_close(&c);
    rig_stop(&r);
}

static void a_reader_that_takes_nothing_is_dropped(void **state)
{
    struct http_server_options opt = {.stall_timeout_ms = 150, .drain_timeout_ms = 100};
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &opt);
    client_open_small(&c, &r, 4096);
    client_send(&c, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    rig_until(&r, r.ended == 1);
    assert_false(r.last.complete);
    assert_int_equal(rig_stats(&r).timeouts, 1);
    rig_until(&r, rig_stats(&r).open == 0);
    client_close(&c);
    rig_stop(&r);
}

static void a_body_that_has_nothing_is_no_stalled_reader(void **state)
{
    struct http_server_options opt = {.stall_timeout_ms = 50};
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &opt);
    client_open(&c, &r);
    client_send(&c, "GET /later HTTP/1.1\r\n" HOST "\r\n");
    rig_until(&r, r.n_waiting == 1);
    rig_rest(&r, 150);
    struct http_exchange *x = r.waiting[0];
    http_reply(x, 200, step_body(&r, 1, 2), 2);
    rig_rest(&r, 150);
    assert_int_equal(r.ended, 0);
    r.body->released = 2;
    http_wake(x);
    client_expect(&c, "\r\n\r\nab");
    assert_int_equal(rig_stats(&r).timeouts, 0);
    client_close(&c);
    rig_stop(&r);
}

/* --- clients that leave ----------------------------------------------------------------------- */

static void leaves_while_the_handler_works(bool slam)
{
    struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    rig_start(&r, &opt);
    client_open(&c, &r);
    client_send(&c, "GET /later HTTP/1.1\r\n" HOST "\r\n");
    rig_until(&r, r.n_waiting == 1);
    if (slam)
        client_slam(&c);
    else
        client_close(&c);
    rig_until(&r, r.ended == 1);
    assert_false(r.last.complete);
    assert_int_equal(r.last.status, 0);
    assert_int_equal(rig_stats(&r).clients_left, 1);
    rig_stop(&r);
}

static void leaving_ends_an_exchange_in_work(void **state)
{
    (void)state;
    leaves_while_the_handler_works(false);
    leaves_while_the_handler_works(true);
}

static void leaving_ends_it_though_more_requests_wait(void **state)
{
    struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &opt);
    client_open(&c, &r);
    client_send(&c, "GET /later HTTP/1.1\r\n" HOST "\r\n");
    rig_until(&r, r.n_waiting == 1);
    client_send(&c, "GET / HTTP/1.1\r\n" HOST "\r\n"); /* stays in the kernel */
    rig_rest(&r, 20);
    client_close(&c);
    rig_until(&r, r.ended == 1);
    assert_false(r.last.complete);
    assert_int_equal(r.handled, 1);
    rig_stop(&r);
}

static void leaving_ends_a_body_that_waits(void **state)
{
    struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &opt);
    client_open(&c, &r);
    client_send(&c, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
    client_expect(&c, "\r\n\r\n");
    client_close(&c);
    rig_until(&r, r.ended == 1);
    assert_false(r.last.complete);
    assert_int_equal(r.last.status, 200);
    assert_int_equal(r.bodies_closed, 1);
    rig_stop(&r);
}

static void one_that_only_stops_sending_gets_what_is_ready(void **state)
{
    struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &opt);
    client_open(&c, &r);
    client_send(&c, "GET / HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(shutdown(c.fd, SHUT_WR), 0);
    client_expect(&c, "hello\n");
    client_expect_fin(&c);
    client_close(&c);

    client_open_small(&c, &r, 100000); /* far more than one turn may send */
    client_send(&c, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(shutdown(c.fd, SHUT_WR), 0);
    for (u64 since = rig_ms(); !c.ended; c.n = 0) {
        client_take(&c, SIZE_MAX);
        assert_int_equal(c.error, 0);
        assert_true(rig_ms() - since < RIG_PATIENCE_MS);
    }
    assert_int_equal(r.ended_complete, 2);
    assert_int_equal(r.last.body_bytes, 64 * MIB);
    client_close(&c);
    rig_stop(&r);
}

static void half_a_request_harms_nobody(void **state)
{
    static const char *const starts[] = {
        "G", "GET / HTTP/1.1\r\nHo", "POST / HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nabc",
        "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nab"};
    struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &opt);
    for (size_t i = 0; i < 2 * countof(starts); i++) {
        client_open(&c, &r);
        client_send(&c, starts[i / 2]);
        rig_rest(&r, 5);
        if (i % 2)
            client_slam(&c);
        else
            client_close(&c);
    }
    rig_until(&r, rig_stats(&r).open == 0);
    assert_int_equal(r.handled, 0);
    rig_stop(&r);
}

/* --- caps ------------------------------------------------------------------------------------- */

static void an_address_has_its_share(void **state)
{
    struct http_server_options opt = {.max_per_address = 3};
    struct rig r;
    struct client c[4];
    (void)state;
    rig_start(&r, &opt);
    for (size_t i = 0; i < 4; i++) {
        client_open(&c[i], &r);
        rig_until(&r, rig_stats(&r).accepted == i + 1);
    }
    client_expect(&c[3], "HTTP/1.1 503 ");
    client_expect_fin(&c[3]);
    assert_int_equal(rig_stats(&r).refused_limit, 1);
    assert_int_equal(rig_stats(&r).open, 3);
    client_send(&c[2], "GET / HTTP/1.1\r\n" HOST "\r\n");
    client_expect(&c[2], "hello\n");
    client_close(&c[0]); /* one leaves, one may come */
    rig_until(&r, rig_stats(&r).open == 2);
    client_close(&c[3]);
    client_open(&c[3], &r);
    client_send(&c[3], "GET / HTTP/1.1\r\n" HOST "\r\n");
    client_expect(&c[3], "hello\n");
    for (size_t i = 1; i < 4; i++)
        client_close(&c[i]);
    rig_stop(&r);
}

static void at_the_cap_new_connections_wait(void **state)
{
    struct http_server_options opt = {.max_connections = 2};
    struct rig r;
    struct client c[3];
    (void)state;
    rig_start(&r, &opt);
    for (size_t i = 0; i < 3; i++)
        client_open(&c[i], &r);
    client_send(&c[2], "GET / HTTP/1.1\r\n" HOST "\r\n");
    rig_rest(&r, 50);
    assert_int_equal(rig_stats(&r).open, 2);
    assert_int_equal(r.handled, 0);
    client_close(&c[0]);
    client_expect(&c[2], "hello\n");
    assert_int_equal(rig_stats(&r).refused_limit, 0);
    client_close(&c[1]);
    client_close(&c[2]);
    rig_stop(&r);
}

/* Whoever fills the port does not lock the operator out of the socket. */
static void at_the_cap_the_operator_is_served(void **state)
{
    struct http_server_options opt = {.max_connections = 2};
    struct rig r;
    struct client c[3], local;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char why[256];
    (void)state;
    rig_start(&r, &opt);
    snprintf(a.sun_path, sizeof(a.sun_path), "/tmp/dray-limits-%d.sock", (int)getpid());
    assert_int_equal(http_listen_unix(r.server, a.sun_path, why), 0);
    for (int i = 0; i < 3; i++)
        client_open(&c[i], &r);
    rig_rest(&r, 50);
    assert_int_equal(rig_stats(&r).accepted, 2);
    for (int i = 0; i < 20; i++) { /* as often as they like, and the port stays full */
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
        client_open_fd(&local, &r, fd);
        client_send(&local, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        client_expect(&local, "hello\n");
        client_close(&local);
        rig_until(&r, rig_stats(&r).open == 2);
    }
    assert_int_equal(rig_stats(&r).accepted, 22);
    client_send(&c[2], "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    client_close(&c[0]);
    client_expect(&c[2], "hello\n");
    client_close(&c[1]);
    client_close(&c[2]);
    rig_stop(&r);
}

static void without_descriptors_accepting_pauses(void **state)
{
    struct http_server_options opt = {0};
    struct rlimit before, none;
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &opt);
    client_open(&c, &r);
    client_send(&c, "GET / HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)c.fd + 1; /* the client's is the last one there is */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    rig_until(&r, rig_stats(&r).accept_pauses > 0);
    rig_rest(&r, 300);
    u64 pauses = rig_stats(&r).accept_pauses;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(pauses < 10); /* no spinning */
    client_expect(&c, "hello\n");
    client_close(&c);
    rig_stop(&r);
}

static bool may_be_large(void *ctx, const struct http_request *q)
{
    (void)ctx;
    return q->method == HTTP_POST && rig_asks(q, "/later");
}

static void post_head(struct client *c, const char *path, size_t len)
{
    char head[128];
    snprintf(head, sizeof(head), "POST %s HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n", path,
             len);
    client_send(c, head);
}

/* Sends `n` bytes while the server reads them. */
static void post_bytes(struct client *c, struct rig *r, size_t n)
{
    static char block[16384];
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = rig_byte(i);
    for (size_t at = 0; at < n;) {
        size_t want = n - at < sizeof(block) ? n - at : sizeof(block);
        ssize_t sent = send(c->fd, block, want, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0)
            at += (size_t)sent;
        for (int i = 0; i < 4; i++)
            rig_turn(r);
        assert_true(sent > 0 || errno == EAGAIN);
        if (at % sizeof(block)) /* the pattern goes on where it was cut */
            for (size_t i = 0; i < sizeof(block); i++)
                block[i] = rig_byte(at % sizeof(block) + i);
    }
}

static void a_large_body_where_one_is_permitted(void **state)
{
    struct http_server_options opt = {
        .large = may_be_large, .large_bytes = 2 * MIB, .large_at_once = 3};
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &opt);
    client_open(&c, &r);
    post_head(&c, "/later", 2 * MIB);
    post_bytes(&c, &r, 2 * MIB);
    rig_until(&r, r.n_waiting == 1);
    struct http_slice body = http_request(r.waiting[0])->body;
    assert_int_equal(body.n, 2 * MIB);
    for (size_t i = 0; i < 16384; i++)
        assert_int_equal(body.p[i], rig_byte(i));
    http_reply_text(r.waiting[0], 200, "text/plain", "took it\n", 8);
    client_expect(&c, "took it\n");

    client_forget(&c); /* the next request of this connection is an ordinary one */
    post_head(&c, "/", LIMIT_HTTP_BODY_BYTES + 1);
    client_expect(&c, "HTTP/1.1 413 ");
    client_close(&c);
    client_open(&c, &r);
    post_head(&c, "/later", 2 * MIB + 1);
    client_expect(&c, "HTTP/1.1 413 ");
    client_close(&c);
    client_open(&c, &r);
    client_send(&c, "POST /later HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                    "20000\r\n");
    post_bytes(&c, &r, 0x20000);
    client_expect(&c, "HTTP/1.1 413 ");
    client_close(&c);
    assert_int_equal(r.handled, 1);
    rig_stop(&r);
}

static void large_bodies_are_few_at_a_time(void **state)
{
    struct http_server_options opt = {
        .large = may_be_large, .large_bytes = 2 * MIB, .large_at_once = 3};
    struct rig r;
    struct client c[3];
    (void)state;
    rig_start(&r, &opt);
    for (size_t i = 0; i < 2; i++) {
        client_open(&c[i], &r);
        post_head(&c[i], "/later", MIB);
        rig_rest(&r, 5);
    }
    client_open(&c[2], &r); /* two are one address's share */
    post_head(&c[2], "/later", MIB);
    client_expect(&c[2], "HTTP/1.1 503 ");
    client_close(&c[2]);
    client_close(&c[0]); /* one leaves, one may come */
    rig_until(&r, rig_stats(&r).open == 1);
    client_open(&c[2], &r);
    post_head(&c[2], "/later", MIB);
    post_bytes(&c[2], &r, MIB);
    rig_until(&r, r.n_waiting == 1);
    http_reply_text(r.waiting[0], 200, "text/plain", "took it\n", 8);
    client_expect(&c[2], "took it\n");
    client_close(&c[1]);
    client_close(&c[2]);
    rig_stop(&r);
}

static void two_hundred_clients_at_once(void **state)
{
    struct http_server_options opt = {0};
    struct rig r;
    static struct client c[200];
    (void)state;
    rig_start(&r, &opt);
    for (size_t i = 0; i < countof(c); i++) {
        client_open(&c[i], &r);
        client_send(&c[i], i % 2 ? "GET /later HTTP/1.1\r\n" HOST "\r\n"
                                 : "GET / HTTP/1.1\r\n" HOST "\r\n");
    }
    rig_until(&r, r.n_waiting == 100);
    for (size_t i = 0; i < 100; i++)
        http_reply_text(r.waiting[i], 200, "text/plain", "hello\n", 6);
    for (size_t i = 0; i < countof(c); i++) {
        client_expect(&c[i], "hello\n");
        client_close(&c[i]);
    }
    rig_until(&r, rig_stats(&r).open == 0);
    assert_int_equal(r.ended_complete, 200);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_that_drips_is_408),
        cmocka_unit_test(an_idle_connection_is_closed_without_a_word),
        cmocka_unit_test(a_body_that_does_not_come_is_408),
        cmocka_unit_test(a_reader_that_takes_nothing_is_dropped),
        cmocka_unit_test(a_body_that_has_nothing_is_no_stalled_reader),
        cmocka_unit_test(leaving_ends_an_exchange_in_work),
        cmocka_unit_test(leaving_ends_it_though_more_requests_wait),
        cmocka_unit_test(leaving_ends_a_body_that_waits),
        cmocka_unit_test(one_that_only_stops_sending_gets_what_is_ready),
        cmocka_unit_test(half_a_request_harms_nobody),
        cmocka_unit_test(an_address_has_its_share),
        cmocka_unit_test(at_the_cap_new_connections_wait),
        cmocka_unit_test(at_the_cap_the_operator_is_served),
        cmocka_unit_test(without_descriptors_accepting_pauses),
        cmocka_unit_test(a_large_body_where_one_is_permitted),
        cmocka_unit_test(large_bodies_are_few_at_a_time),
        cmocka_unit_test(two_hundred_clients_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
