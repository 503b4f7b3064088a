/* Requests, answers and bodies over real sockets: what a handler is promised. */
#include "http_rig.h"

#define HOST "Host: h\r\n"

static struct http_server_options quick = {.drain_timeout_ms = 200};

/* --- requests --------------------------------------------------------------------------------- */

static void a_connection_is_kept_for_the_next_request(void **state)
{
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &quick);
    client_open(&c, &r);
    for (unsigned i = 1; i <= 3; i++) {
        client_send(&c, "GET /x HTTP/1.1\r\n" HOST "\r\n");
        client_expect_n(&c, "hello\n", i);
    }
    assert_int_equal(rig_stats(&r).accepted, 1);
    assert_int_equal(rig_stats(&r).requests, 3);
    assert_null(strstr(c.text, "Connection:"));
    assert_non_null(strstr(c.text, "Date: "));
    client_close(&c);
    rig_until(&r, rig_stats(&r).open == 0);
    rig_stop(&r);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &quick);
    client_open(&c, &r);
    client_send(&c, "GET /later HTTP/1.1\r\n" HOST "\r\n"
                    "POST /2 HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc"
                    "GET /3 HTTP/1.1\r\n" HOST "\r\nGET /4 HT");
    rig_until(&r, r.n_waiting == 1);
    rig_rest(&r, 20);
    assert_int_equal(r.handled, 1); /* one exchange at a time */
    http_reply_text(r.waiting[0], 200, "text/plain", "first\n", 6);
    client_expect_n(&c, "hello\n", 2);
    assert_true(strstr(c.text, "first\n") < strstr(c.text, "hello\n"));
    client_send(&c, "TP/1.1\r\n" HOST "\r\n");
    client_expect_n(&c, "hello\n", 3);
    assert_string_equal(r.seen, "GET /later \nPOST /2 abc\nGET /3 \nGET /4 \n");
    client_close(&c);
    rig_stop(&r);
}

static void many_pipelined_requests_take_turns(void **state)
{
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &quick);
    client_open(&c, &r);
    for (unsigned i = 0; i < 1000; i++)
        client_send(&c, "GET / HTTP/1.1\r\n" HOST "\r\n");
    client_expect_n(&c, "hello\n", 1000);
    client_close(&c);
    rig_stop(&r);
}

static void see_fields(struct rig *r, struct http_exchange *x)
{
    const struct http_request *q = http_request(x);
    char peer[64];
    (void)r;
    const struct http_slice *accept = http_field(q, "ACCEPT");
    assert_non_null(accept);
    assert_int_equal(accept->n, 3);
    assert_memory_equal(accept->p, "a/b", 3);
    assert_null(http_field(q, "Accept-Encoding"));
    assert_int_equal(q->n_fields, 4);
    assert_memory_equal(q->fields[2].value.p, "c/d", 3); /* the second line of that name */
    assert_int_equal(http_field(q, "empty")->n, 0);
    assert_int_equal(q->target.n, 9);
    assert_memory_equal(q->target.p, "/v2/?ns=x", 9);
    assert_false(q->tls);
    assert_false(q->local);
    assert_false(q->verified);
    assert_int_equal(q->peer->sa_family, AF_INET);
    http_peer_text(q, peer);
    assert_int_equal(strncmp(peer, "127.0.0.1:", 10), 0);
    http_reply_text(x, 200, "text/plain", "hello\n", 6);
}

static void a_handler_sees_target_fields_and_peer(void **state)
{
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &quick);
    r.on_request = see_fields;
    client_open(&c, &r);
    client_send(&c, "GET /v2/?ns=x HTTP/1.1\r\n" HOST
                    "accept: \t a/b \r\nAccept: c/d\r\nEmpty: \r\n\r\n");
    client_expect(&c, "hello\n");
    client_close(&c);
    rig_stop(&r);
}

/* --- request bodies --------------------------------------------------------------------------- */

static void bodies_come_whole(void **state)
{
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &quick);
    client_open(&c, &r);
    client_send(&c, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\nhello ");
    rig_rest(&r, 10);
    assert_int_equal(r.handled, 0);
    client_send(&c, "world");
    client_expect_n(&c, "hello\n", 1);
    client_send(&c, "PUT /b HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nhe");
    rig_rest(&r, 10);
    client_send(&c, "llo\r\nA\r\n, chunks!\n\r\n0\r\n\r\n");
    client_expect_n(&c, "hello\n", 2);
    client_send(&c, "PATCH /c HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n");
    client_expect_n(&c, "hello\n", 3);
    assert_string_equal(r.seen, "POST /a hello world\nPUT /b hello, chunks!\n\nPATCH /c \n");
    client_close(&c);
    rig_stop(&r);
}

static void check_long_body(struct rig *r, struct http_exchange *x)
{
    const struct http_request *q = http_request(x);
    (void)r;
    assert_int_equal(q->body.n, LIMIT_HTTP_BODY_BYTES);
    for (size_t i = 0; i < q->body.n; i++)
        assert_int_equal(q->body.p[i], rig_byte(i));
    http_reply_text(x, 200, NULL, "hello\n", 6);
}

static void a_body_at_the_limit_is_taken(void **state)
{
    struct rig r;
    struct client c;
    static char body[LIMIT_HTTP_BODY_BYTES];
    char head[128];
    (void)state;
    for (size_t i = 0; i < sizeof(body); i++)
        body[i] = rig_byte(i);
    rig_start(&r, &quick);
    r.on_request = check_long_body;
    client_open(&c, &r);
    snprintf(head, sizeof(head), "POST / HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n",
             sizeof(body));
    client_send(&c, head);
    client_send_n(&c, body, sizeof(body));
    client_expect(&c, "hello\n");
    client_send(&c, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t i = 0; i < sizeof(body); i += 1024) {
        client_send(&c, "400\r\n");
        client_send_n(&c, body + i, 1024);
        client_send(&c, "\r\n");
    }
    client_send(&c, "0\r\n\r\n");
    client_expect_n(&c, "hello\n", 2);
    client_close(&c);
    rig_stop(&r);
}

/* The answer arrives, and then FIN, although the client sends on and on. */
static void too_large(const char *head, const char *piece, size_t times)
{
    struct rig r;
    struct client c;
    rig_start(&r, &quick);
    client_open(&c, &r);
    client_send(&c, head);
    for (size_t i = 0; i < times; i++)
        client_send(&c, piece);
    client_expect(&c, "HTTP/1.1 413 ");
    client_expect(&c, "Connection: close");
    client_expect_fin(&c);
    assert_int_equal(r.handled, 0);
    client_close(&c);
    rig_stop(&r);
}

static void a_body_over_the_limit_is_413_and_fin(void **state)
{
    char piece[4097];
    (void)state;
    memset(piece, 'x', sizeof(piece) - 1);
    piece[4096] = '\0';
    too_large("POST / HTTP/1.1\r\n" HOST "Content-Length: 65537\r\n\r\n", piece, 16);
    too_large("PUT / HTTP/1.1\r\n" HOST "Content-Length: 900000\r\n\r\n", piece, 200);
    too_large("GET / HTTP/1.1\r\n" HOST "Content-Length: 1048577\r\n\r\n", piece, 10);
    too_large("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", "4\r\nabcd\r\n",
              17000);
    /* Framing counts: many small chunks of a body that is thrown away */
    too_large("GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n", 180000);
}

/* A loop that stood still beyond the time for draining finds that over and the rest of the body
 * there: it takes that first, for closing over it would send RST. */
static void a_late_loop_drains_before_it_closes(void **state)
{
    struct rig r;
    struct client c;
    char piece[4096];
    int error = 0;
    socklen_t len = sizeof(error);
    (void)state;
    memset(piece, 'x', sizeof(piece));
    rig_start(&r, &quick);
    client_open(&c, &r);
    client_send(&c, "POST / HTTP/1.1\r\n" HOST "Content-Length: 65537\r\n\r\n");
    client_expect(&c, "HTTP/1.1 413 ");
    client_expect_fin(&c);
    for (int i = 0; i < 16; i++)
        client_send_n(&c, piece, sizeof(piece));
    usleep(400000); /* twice the time */
    rig_until(&r, rig_stats(&r).open == 0);
    assert_int_equal(getsockopt(c.fd, SOL_SOCKET, SO_ERROR, &error, &len), 0);
    assert_int_equal(error, 0);
    client_close(&c);
    rig_stop(&r);
}

static void continue_is_said_when_the_body_is_welcome(void **state)
{
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &quick);
    client_open(&c, &r);
    client_send(&c,
                "POST /a HTTP/1.1\r\n" HOST "Expect: 100-Continue\r\nContent-Length: 2\r\n\r\n");
    client_expect(&c, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_int_equal(r.handled, 0);
    client_send(&c, "hi");
    client_expect(&c, "hello\n");
    client_forget(&c);
    client_send(&c, "POST /b HTTP/1.1\r\n" HOST
                    "Expect: 100-continue\r\nContent-Length: 99999\r\n\r\n");
    client_expect(&c, "HTTP/1.1 413 ");
    client_expect_fin(&c);
    assert_null(strstr(c.text, "100 Continue"));
    client_close(&c);
    rig_stop(&r);
}

/* --- answers ---------------------------------------------------------------------------------- */

static void answer_by_target(struct rig *r, struct http_exchange *x)
{
    const struct http_request *q = http_request(x);
    if (rig_asks(q, "/204"))
        http_reply(x, 204, NULL, 0);
    else if (rig_asks(q, "/304"))
        http_reply(x, 304, step_body(r, 10, 10), 10);
    else if (rig_asks(q, "/none"))
        http_reply(x, 200, NULL, 77);
    else if (rig_asks(q, "/odd"))
        http_reply(x, 999, NULL, 0);
    else if (rig_asks(q, "/oci"))
        http_reply_oci(x, OCI_BLOB_UNKNOWN, NULL, "sha256:\"x\"");
    else if (rig_asks(q, "/unknown"))
        http_reply(x, 200, step_body(r, 10, 10), HTTP_LENGTH_UNKNOWN);
    else
        http_reply(x, 200, step_body(r, 10, 10), 10);
}

static void ask(struct client *c, const char *request, const char *expected)
{
    client_forget(c);
    client_send(c, request);
    client_expect(c, expected);
}

static void heads_and_bodies_follow_the_rules(void **state)
{
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &quick);
    r.on_request = answer_by_target;
    client_open(&c, &r);
    ask(&c, "GET / HTTP/1.1\r\n" HOST "\r\n", "Content-Length: 10\r\n\r\nabcdefghij");
    ask(&c, "HEAD / HTTP/1.1\r\n" HOST "\r\n", "Content-Length: 10\r\n\r\n");
    assert_int_equal(client_body_bytes(&c), 0);
    ask(&c, "HEAD /unknown HTTP/1.1\r\n" HOST "\r\n", "\r\n\r\n");
    assert_null(strstr(c.text, "Content-Length"));
    ask(&c, "GET /204 HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 204 No Content\r\n");
    assert_null(strstr(c.text, "Content-Length"));
    ask(&c, "GET /304 HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 304 Not Modified\r\n");
    assert_null(strstr(c.text, "Content-Length"));
    ask(&c, "GET /none HTTP/1.1\r\n" HOST "\r\n", "Content-Length: 0\r\n\r\n");
    ask(&c, "HEAD /none HTTP/1.1\r\n" HOST "\r\n", "Content-Length: 77\r\n\r\n");
    ask(&c, "GET /odd HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 502 Bad Gateway\r\n");
    ask(&c, "GET /oci HTTP/1.1\r\n" HOST "\r\n", "\"code\":\"BLOB_UNKNOWN\"");
    assert_non_null(strstr(c.text, "HTTP/1.1 404 Not Found\r\n"));
    assert_non_null(strstr(c.text, "Content-Type: application/json\r\n"));
    ask(&c, "GET / HTTP/1.1\r\n" HOST "\r\n", "abcdefghij"); /* nothing was out of step */
    assert_int_equal(r.ended_complete, r.handled);
    client_close(&c);
    rig_stop(&r);
}

static void http_1_0_gets_what_it_understands(void **state)
{
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &quick);
    r.on_request = answer_by_target;
    client_open(&c, &r);
    ask(&c, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "abcdefghij");
    assert_non_null(strstr(c.text, "Connection: keep-alive\r\n"));
    ask(&c, "GET /unknown HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "\r\n\r\nabcdefghij");
    assert_null(strstr(c.text, "chunked"));
    assert_non_null(strstr(c.text, "Connection: close\r\n"));
    client_expect_fin(&c);
    client_close(&c);
    rig_stop(&r);
}

static void fields_of_all_kinds(struct rig *r, struct http_exchange *x)
{
    static char huge[LIMIT_HTTP_REPLY_HEAD + 1], large[12000];
    (void)r;
    memset(huge, 'x', sizeof(huge) - 1);
    memset(large, 'y', sizeof(large) - 1);
    assert_int_equal(http_add(x, "X-Number", "%d", 7), 0);
    assert_int_equal(http_add(x, "X-Evil", "a\r\nSet-Cookie: b"), ERR_INVAL);
    assert_int_equal(http_add(x, "X-Evil", "a\nb"), ERR_INVAL);
    assert_int_equal(http_add(x, "X-Evil\r\n", "a"), ERR_INVAL);
    assert_int_equal(http_add(x, "X Evil", "a"), ERR_INVAL);
    assert_int_equal(http_add(x, "", "a"), ERR_INVAL);
    assert_int_equal(
        http_add_n(x, (struct http_slice){"X-Evil", 6}, (struct http_slice){"a\0b", 3}), ERR_INVAL);
    assert_int_equal(http_add(x, "content-length", "5"), ERR_INVAL);
    assert_int_equal(http_add(x, "Transfer-Encoding", "chunked"), ERR_INVAL);
    assert_int_equal(http_add(x, "X-Huge", "%s", huge), ERR_TOOBIG);
    assert_int_equal(http_add(x, "X-Large", "%s", large), 0);
    assert_int_equal(http_add(x, "X-Large", "%s", large), ERR_TOOBIG);
    assert_int_equal(http_add_n(x, (struct http_slice){"X-Empty", 7}, (struct http_slice){"", 0}),
                     0);
    http_reply_text(x, 200, "text/plain", "hello\n", 6);
}

static void fields_are_bounded_and_cannot_split_an_answer(void **state)
{
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &quick);
    r.on_request = fields_of_all_kinds;
    client_open(&c, &r);
    client_send(&c, "GET / HTTP/1.1\r\n" HOST "\r\n");
    client_expect(&c, "hello\n");
    assert_non_null(strstr(c.text, "X-Number: 7\r\nX-Large: yyyy"));
    assert_non_null(strstr(c.text, "yyyy\r\nX-Empty: \r\n"));
    assert_null(strstr(c.text, "Evil"));
    assert_null(strstr(c.text, "Huge"));
    client_close(&c);
    rig_stop(&r);
}

/* Reads a chunked body at `p`; returns its payload's length, checking each byte. */
static u64 dechunk(const char *p, bool *ended)
{
    u64 total = 0;
    for (;;) {
        char *end;
        u64 n = strtoull(p, &end, 16);
        assert_memory_equal(end, "\r\n", 2);
        p = end + 2;
        if (n == 0)
            break;
        for (u64 i = 0; i < n; i++, p++, total++)
            assert_int_equal(*p, rig_byte(total));
        assert_memory_equal(p, "\r\n", 2);
        p += 2;
    }
    *ended = memcmp(p, "\r\n", 3) == 0;
    return total;
}

static void an_unknown_length_goes_in_chunks(void **state)
{
    struct rig r;
    struct client c;
    bool ended = false;
    (void)state;
    rig_start(&r, &quick);
    client_open_small(&c, &r, 20000); /* small: chunks are interrupted by a full socket */
    client_send(&c, "GET /chunked HTTP/1.1\r\n" HOST "\r\n");
    client_expect(&c, "\r\n0\r\n\r\n");
    assert_non_null(strstr(c.text, "Transfer-Encoding: chunked\r\n"));
    assert_int_equal(dechunk(strstr(c.text, "\r\n\r\n") + 4, &ended), 200000);
    assert_true(ended);
    assert_int_equal(r.last.body_bytes, 200000);
    client_forget(&c);
    client_send(&c, "GET / HTTP/1.1\r\n" HOST "\r\n");
    client_expect(&c, "hello\n");
    client_close(&c);
    rig_stop(&r);
}

/* --- pulling ---------------------------------------------------------------------------------- */

static void a_body_is_sent_as_it_comes(void **state)
{
    struct rig r;
    struct client c;
    struct http_exchange *x;
    (void)state;
    rig_start(&r, &quick);
    client_open(&c, &r);
    client_send(&c, "GET /later HTTP/1.1\r\n" HOST "\r\n");
    rig_until(&r, r.n_waiting == 1);
    x = r.waiting[0];
    http_reply(x, 200, step_body(&r, 0, 100000), 100000);
    client_expect(&c, "Content-Length: 100000\r\n\r\n"); /* the head does not wait */
    for (u64 n = 1; n < 100000; n += 9999) {
        r.body->released = n;
        http_wake(x);
        http_wake(x);
        for (u64 since = rig_ms(); client_body_bytes(&c) < n; client_take(&c, SIZE_MAX))
            assert_true(rig_ms() - since < RIG_PATIENCE_MS);
        assert_int_equal(http_sent(x), n);
    }
    assert_int_equal(r.ended, 0);
    r.body->released = 100000;
    http_wake(x);
    rig_until(&r, r.ended == 1);
    assert_true(r.last.complete);
    assert_int_equal(r.last.body_bytes, 100000);
    assert_int_equal(r.last.status, 200);
    assert_int_equal(r.bodies_closed, 1);
    client_close(&c);
    rig_stop(&r);
}

static void a_slow_reader_holds_its_body_back(void **state)
{
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &quick);
    client_open_small(&c, &r, 8192);
    client_send(&c, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    rig_until(&r, r.body);
    rig_rest(&r, 50);
    u64 before = r.body->at;
    rig_rest(&r, 50);
    assert_true(before > 0 && before < 32 * MIB); /* what the kernel took, and no more */
    assert_int_equal(r.body->at, before);
    client_slam(&c); /* RST while the socket is full */
    rig_until(&r, r.ended == 1);
    assert_false(r.last.complete);
    assert_int_equal(rig_stats(&r).clients_left, 1);
    rig_stop(&r);
}

static void big_bytes_arrive_unharmed(void **state)
{
    struct rig r;
    struct client c;
    u64 at = 0;
    (void)state;
    rig_start(&r, &quick);
    client_open_small(&c, &r, 100000);
    client_send(&c, "GET /big HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    client_expect(&c, "\r\n\r\n");
    size_t body = client_body_bytes(&c);
    memmove(c.text, c.text + c.n - body, body);
    c.n = body;
    for (u64 since = rig_ms(); !c.ended || c.n > 0;) {
        for (size_t i = 0; i < c.n; i++, at++)
            if (c.text[i] != rig_byte(at))
                fail_msg("byte %llu is wrong", (unsigned long long)at);
        c.n = 0;
        client_take(&c, SIZE_MAX);
        assert_int_equal(c.error, 0);
        assert_true(rig_ms() - since < RIG_PATIENCE_MS);
    }
    assert_int_equal(at, 64 * MIB);
    client_close(&c);
    rig_stop(&r);
}

/* The body breaks off after 400 of the 1,000 bytes that the head promised. */
static void breaks_off(int fail, u64 total, bool chunked)
{
    struct rig r;
    struct client c;
    rig_start(&r, &quick);
    client_open(&c, &r);
    client_send(&c, "GET /later HTTP/1.1\r\n" HOST "\r\n");
    rig_until(&r, r.n_waiting == 1);
    struct body *b = step_body(&r, 400, total);
    r.body->fail = fail;
    http_reply(r.waiting[0], 200, b, chunked ? HTTP_LENGTH_UNKNOWN : 1000);
    client_expect_fin(&c);
    if (chunked) {
        assert_null(strstr(c.text, "\r\n0\r\n"));
        assert_int_equal(client_body_bytes(&c), 400 + strlen("190\r\n\r\n"));
    } else {
        assert_int_equal(client_body_bytes(&c), 400);
    }
    assert_false(r.last.complete);
    assert_int_equal(r.last.body_bytes, 400);
    assert_int_equal(rig_stats(&r).clients_left, 0);
    client_close(&c);
    rig_stop(&r);
}

static void a_broken_body_ends_in_fin(void **state)
{
    (void)state;
    breaks_off(ERR_IO, 1000, false);
    breaks_off(0, 400, false); /* ended too early */
    breaks_off(ERR_CORRUPT, 1000, true);
}

static void a_body_longer_than_its_length_is_cut_there(void **state)
{
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &quick);
    client_open(&c, &r);
    client_send(&c, "GET /later HTTP/1.1\r\n" HOST "\r\nGET /next HTTP/1.1\r\n" HOST "\r\n");
    rig_until(&r, r.n_waiting == 1);
    http_reply(r.waiting[0], 200, step_body(&r, 500, 500), 5);
    client_expect(&c, "\r\n\r\nabcdeHTTP/1.1 200 OK\r\n");
    client_close(&c);
    rig_stop(&r);
}

/* A body that has nothing at its first peek, and wakes its exchange from inside that very call. */
struct hasty_body {
    struct body body;
    struct rig *rig;
    struct http_exchange *x;
    unsigned peeks;
};

static ssize_t hasty_peek(struct body *b, const void **data, size_t max)
{
    struct hasty_body *h = container_of(b, struct hasty_body, body);
    (void)max;
    if (h->peeks++ == 0) {
        http_wake(h->x);
        return ERR_AGAIN;
    }
    *data = "xyz";
    return 3;
}

static void hasty_advance(struct body *b, size_t n)
{
    (void)b;
    assert_int_equal(n, 3);
}

static void hasty_close(struct body *b)
{
    free(container_of(b, struct hasty_body, body));
}

static void wake_inside(struct rig *r, struct http_exchange *x)
{
    static const struct body_ops ops = {
        .peek = hasty_peek, .advance = hasty_advance, .close = hasty_close};
    struct hasty_body *h = calloc(1, sizeof(*h));
    assert_non_null(h);
    h->body.ops = &ops;
    h->rig = r;
    h->x = x;
    http_reply(x, 200, &h->body, 3);
}

static void a_wake_from_inside_peek_is_not_lost(void **state)
{
    struct rig r;
    struct client c;
    (void)state;
    rig_start(&r, &quick);
    r.on_request = wake_inside;
    client_open(&c, &r);
    client_send(&c, "GET / HTTP/1.1\r\n" HOST "\r\n");
    client_expect(&c, "xyz");
    client_close(&c);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_is_kept_for_the_next_request),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(many_pipelined_requests_take_turns),
        cmocka_unit_test(a_handler_sees_target_fields_and_peer),
        cmocka_unit_test(bodies_come_whole),
        cmocka_unit_test(a_body_at_the_limit_is_taken),
        cmocka_unit_test(a_body_over_the_limit_is_413_and_fin),
        cmocka_unit_test(a_late_loop_drains_before_it_closes),
        cmocka_unit_test(continue_is_said_when_the_body_is_welcome),
        cmocka_unit_test(heads_and_bodies_follow_the_rules),
        cmocka_unit_test(http_1_0_gets_what_it_understands),
        cmocka_unit_test(fields_are_bounded_and_cannot_split_an_answer),
        cmocka_unit_test(an_unknown_length_goes_in_chunks),
        cmocka_unit_test(a_body_is_sent_as_it_comes),
        cmocka_unit_test(a_slow_reader_holds_its_body_back),
        cmocka_unit_test(big_bytes_arrive_unharmed),
        cmocka_unit_test(a_broken_body_ends_in_fin),
        cmocka_unit_test(a_body_longer_than_its_length_is_cut_there),
        cmocka_unit_test(a_wake_from_inside_peek_is_not_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
