/* runtime_http_upload.c - tests of http_upload_*: request bodies that their handler reads as they
 * come, with lengths and in chunks, slowly and not to their end. */
#include "http_rig.h"

#define HOST "Host: h\r\n"

static struct {
    struct http_exchange *x;
    u64 bytes;
    bool wrong; /* a byte that is not rig_byte() */
    ssize_t last;
    unsigned came;
    bool hold;  /* reads nothing by itself */
    bool early; /* answers before the end */
} up;

static bool streams(void *ctx, const struct http_request *q)
{
    (void)ctx;
    return q->target.n >= 3 && memcmp(q->target.p, "/up", 3) == 0;
}

static void read_on(void *arg)
{
    char buf[10000];
    struct http_exchange *x = up.x;
    (void)arg;
    up.came++;
    while (!up.hold && (up.last = http_upload_read(x, buf, sizeof(buf))) > 0)
        for (ssize_t i = 0; i < up.last; i++)
            up.wrong |= buf[i] != rig_byte(up.bytes++);
    if (up.last == 0)
        http_reply_text(x, 201, "text/plain", "taken\n", 6);
    else if (up.last != ERR_AGAIN && !up.hold)
        http_reply_text(x, 400, "text/plain", "broken\n", 7);
}

static void on_request(struct rig *r, struct http_exchange *x)
{
    (void)r;
    if (!http_upload_is(x)) {
        http_reply_text(x, 200, "text/plain", "plain\n", 6);
        return;
    }
    up.x = x;
    up.last = ERR_AGAIN;
    if (up.early) {
        http_reply_text(x, 401, "text/plain", "no\n", 3);
        return;
    }
    http_upload_on(x, read_on, NULL);
    read_on(NULL);
}

static void begin(struct rig *r, struct client *c, struct http_server_options *opt)
{
    memset(&up, 0, sizeof(up));
    opt->streams = streams;
    rig_start(r, opt);
    r->on_request = on_request;
    client_open(c, r);
}

static void send_bytes(struct client *c, u64 from, u64 n)
{
    static char block[65536];
    for (u64 at = from; at < from + n;) {
        u64 k = from + n - at < sizeof(block) ? from + n - at : sizeof(block);
        for (u64 i = 0; i < k; i++)
            block[i] = rig_byte(at + i);
        client_send_n(c, block, k);
        at += k;
    }
}

static void a_body_with_a_length(void **state)
{
    struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    (void)state;
    begin(&r, &c, &opt);
    client_send(&c, "PATCH /up HTTP/1.1\r\n" HOST "Content-Length: 3000000\r\n\r\n");
    send_bytes(&c, 0, 3000000);
    client_expect(&c, "taken\n");
    client_expect(&c, "HTTP/1.1 201 ");
    assert_true(up.bytes == 3000000 && !up.wrong);
    client_forget(&c); /* and the connection goes on */
    client_send(&c, "GET /x HTTP/1.1\r\n" HOST "\r\n");
    client_expect(&c, "plain\n");
    client_close(&c);
    rig_stop(&r);
}

static void a_body_in_chunks_and_a_request_behind(void **state)
{
    struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    (void)state;
    begin(&r, &c, &opt);
    client_send(&c, "PUT /up HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    for (u64 at = 0; at < 400000; at += 40000) {
        client_send(&c, "9c40\r\n");
        send_bytes(&c, at, 40000);
        client_send(&c, "\r\n");
    }
    client_send(&c, "0\r\n\r\nGET /x HTTP/1.1\r\n" HOST "\r\n");
    client_expect(&c, "taken\n");
    client_expect(&c, "plain\n");
    assert_true(up.bytes == 400000 && !up.wrong);
    client_close(&c);
    rig_stop(&r);
}

static void chunks_that_are_none(void **state)
{
    struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    (void)state;
    begin(&r, &c, &opt);
    client_send(&c, "PUT /up HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\n");
    client_expect(&c, "broken\n");
    client_expect_fin(&c);
    assert_int_equal(up.last, ERR_PROTO);
    client_close(&c);
    rig_stop(&r);
}

static void who_is_slow_is_waited_for(void **state)
{
    struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    (void)state;
    begin(&r, &c, &opt);
    client_send(&c,
                "PUT /up HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 6\r\n\r\n");
    client_expect(&c, "HTTP/1.1 100 Continue");
    for (u64 i = 0; i < 6; i += 2) {
        rig_rest(&r, 20);
        send_bytes(&c, i, 2);
    }
    client_expect(&c, "taken\n");
    assert_true(up.bytes == 6 && up.came > 2);
    client_close(&c);
    rig_stop(&r);
}

static void what_is_not_read_stays_with_the_sender(void **state)
{
    struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    int small = 65536;
    size_t sent = 0;
    static char block[65536];
    (void)state;
    begin(&r, &c, &opt);
    up.hold = true;
    assert_int_equal(setsockopt(c.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    client_send(&c, "PUT /up HTTP/1.1\r\n" HOST "Content-Length: 100000000\r\n\r\n");
    rig_until(&r, up.x);
    for (u64 since = rig_ms(); rig_ms() - since < 200; rig_turn(&r)) {
        ssize_t n = send(c.fd, block, sizeof(block), MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
    }
    assert_true(sent < 20000000);
    client_slam(&c); /* and who leaves is noticed */
    rig_until(&r, r.ended == 1);
    rig_stop(&r);
}

static void an_early_answer_ends_the_connection(void **state)
{
    struct http_server_options opt = {.drain_timeout_ms = 300};
    struct rig r;
    struct client c;
    (void)state;
    begin(&r, &c, &opt);
    up.early = true;
    client_send(&c, "PUT /up HTTP/1.1\r\n" HOST "Content-Length: 500\r\n\r\nabc");
    client_expect(&c, "Connection: close");
    client_expect(&c, "no\n");
    client_expect_fin(&c);
    client_close(&c);
    rig_stop(&r);
}

static void who_sends_nothing_for_long_is_let_go(void **state)
{
    struct http_server_options opt = {.stall_timeout_ms = 100};
    struct rig r;
    struct client c;
    (void)state;
    begin(&r, &c, &opt);
    client_send(&c, "PUT /up HTTP/1.1\r\n" HOST "Content-Length: 500\r\n\r\n");
    rig_until(&r, r.ended == 1);
    assert_false(r.last.complete);
    client_close(&c);
    rig_stop(&r);
}

static void other_paths_are_read_as_ever(void **state)
{
    struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    (void)state;
    begin(&r, &c, &opt);
    client_send(&c, "PUT /x HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nhi");
    client_expect(&c, "plain\n");
    assert_non_null(strstr(r.seen, "PUT /x hi"));
    client_close(&c);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_with_a_length),
        cmocka_unit_test(a_body_in_chunks_and_a_request_behind),
        cmocka_unit_test(chunks_that_are_none),
        cmocka_unit_test(who_is_slow_is_waited_for),
        cmocka_unit_test(what_is_not_read_stays_with_the_sender),
        cmocka_unit_test(an_early_answer_ends_the_connection),
        cmocka_unit_test(who_sends_nothing_for_long_is_let_go),
        cmocka_unit_test(other_paths_are_read_as_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
