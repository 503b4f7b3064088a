/* runtime_http_client.c - tests of runtime/http_client.h: what is sent, which answers are taken as
 * what, and which are refused. */
#include "tests/unit/http_client_fixture.h"

/* Answers `answer` to every request; closes when it says so. */
static const char *answer;

static void say_answer(struct raw_peer *p)
{
    while (raw_request(p)) {
        if (!raw_say(p, answer))
            return;
        if (strstr(answer, "Connection: close") != NULL)
            return;
    }
}

static void get(struct fetch *f, const char *text)
{
    *f = (struct fetch){0};
    answer = text;
    fetch_all(f, say_answer);
}

static void expect(const char *text, int status, const char *body)
{
    struct fetch f;

    get(&f, text);
    if (f.err != 0)
        fail_msg("%s: %s", err_name(f.err), f.why);
    assert_int_equal(f.status, status);
    assert_string_equal(f.len == 0 ? "" : f.body, body);
    fetch_free(&f);
}

static void expect_err(const char *text, int err)
{
    struct fetch f;

    get(&f, text);
    if (f.err != err)
        fail_msg("%s, not %s, for: %s", err_name(f.err), err_name(err), text);
    assert_non_null(strstr(f.why, "http://127.0.0.1:"));
    fetch_free(&f);
}

static void sends_exactly_what_is_asked(void **state)
{
    static const char *const fields[] = {"Accept: a/b", "accept:  c/d",
                                         "X-Empty:", "X-Blank: ", "Authorization: Basic eDp5"};
    struct fetch f = {0};
    struct http_transfer_options opt;
    char url[256], expected[1024];

    (void)state;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\n\r\nhi";
    begin(say_answer);
    opt = options(&f, url, "/v2/a/../b/%2e%2E/blobs?q=1&r");
    opt.fields = fields;
    opt.n_fields = countof(fields);
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    assert_int_equal(f.err, 0);
    snprintf(expected, sizeof(expected),
             "GET /v2/a/../b/%%2e%%2E/blobs?q=1&r HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
             "User-Agent: dray/test\r\nAccept: a/b\r\naccept:  c/d\r\nX-Empty:\r\nX-Blank:\r\n"
             "Authorization: Basic eDp5\r\n\r\n",
             server->port);
    assert_string_equal(server->request, expected);
    fetch_free(&f);

    f = (struct fetch){0}; /* and nothing of it is remembered: no cookie, no Accept of libcurl's */
    opt = options(&f, url, "/#part");
    opt.method = "DELETE";
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    snprintf(expected, sizeof(expected),
             "DELETE / HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUser-Agent: dray/test\r\n\r\n",
             server->port);
    assert_string_equal(server->request, expected);
    end();
    fetch_free(&f);
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
}

#define POSTED (3 * 1024 * 1024)
static char posted[POSTED];

static void take_post(struct raw_peer *p)
{
    while (raw_request(p) &&
           raw_body(p, posted, strstr(p->server->request, ": 0\r\n") ? 0 : POSTED))
        raw_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
}

static void sends_a_body(void **state)
{
    static const char *const fields[] = {"Content-Type: a/b"};
    char *body = malloc(POSTED);
    char url[256], expected[1024];
    struct fetch f = {0};

    (void)state;
    for (size_t i = 0; i < POSTED; i++)
        body[i] = (char)(i * 7 + i / 251);
    begin(take_post);
    for (int round = 0; round < 3; round++) { /* the last one has an empty body */
        struct http_transfer_options opt = options(&f, url, "/talk");
        bool empty = round == 2;
        opt.method = "POST";
        opt.body = body;
        opt.body_len = empty ? 0 : POSTED;
        opt.fields = fields;
        opt.n_fields = round == 0 ? 1 : 0;
        memset(posted, 0, sizeof(posted));
        fetch_start_with(&f, &opt);
        if (round == 0) { /* it was copied */
            char *gone = body;
            body = malloc(POSTED);
            memcpy(body, gone, POSTED);
            memset(gone, 0xff, POSTED);
            free(gone);
        }
        run_until(&f.ended);
        if (f.err)
            fail_msg("%s", f.why);
        assert_int_equal(f.status, 200);
        snprintf(expected, sizeof(expected),
                 "POST /talk HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUser-Agent: dray/test\r\n%s"
                 "Content-Length: %d\r\n\r\n",
                 server->port, round == 0 ? "Content-Type: a/b\r\n" : "", empty ? 0 : POSTED);
        assert_string_equal(server->request, expected);
        assert_int_equal(memcmp(posted, body, POSTED) == 0, !empty);
        fetch_free(&f);
        f = (struct fetch){0};
    }
    end();
    free(body);
}

static void see_fields(struct fetch *f)
{
    assert_string_equal(f->fields, "Content-Length=2\nX-A=1\nx-a=2 2\nX-Empty=\nX-Tab=a\tb\n");
}

static void look_up(void *arg, const struct http_response *r)
{
    fetch_head(arg, r);
    assert_string_equal(http_response_field(r, "x-A"), "1");
    assert_string_equal(http_response_field(r, "CONTENT-length"), "2");
    assert_string_equal(http_response_field(r, "x-empty"), "");
    assert_null(http_response_field(r, "x-b"));
    assert_null(http_response_field(r, ""));
}

static void head_is_given_whole(void **state)
{
    struct fetch f = {.on_head = see_fields};
    struct http_transfer_options opt;
    char url[256];

    (void)state;
    answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A:1\r\nx-a: \t 2 2 \r\nX-Empty:\r\n"
             "X-Tab: a\tb\r\n\r\nhi";
    begin(say_answer);
    opt = options(&f, url, NULL);
    opt.on.head = look_up;
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    end();
    assert_int_equal(f.err, 0);
    assert_int_equal(f.status, 200);
    assert_int_equal(f.content_length, 2);
    assert_string_equal(f.body, "hi");
    fetch_free(&f);
}

static void good_answers(void **state)
{
    struct fetch f;

    (void)state;
    expect("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "");
    expect("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope", 404, "nope");
    expect("HTTP/1.1 503\r\nContent-Length: 1\r\n\r\nx", 503, "x");
    expect("HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nuntil the end", 200, "until the end");
    expect("HTTP/1.1 200 OK\nContent-Length: 1\n\nx", 200, "x");
    expect("HTTP/1.1 204 No Content\r\n\r\n", 204, "");
    expect("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, "");
    expect("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", 200, "hi");
    /* Nothing is decoded and nothing followed. */
    expect("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b", 200,
           "\x1f\x8b");
    expect("HTTP/1.1 307 T\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 2\r\n\r\ngo", 307,
           "go");
    expect("HTTP/1.1 401 U\r\nWWW-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno", 401, "no");
    /* More than was announced is not passed on. */
    expect("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi there", 200, "hi");
    /* Interim heads leave nothing behind. */
    get(&f, "HTTP/1.1 103 Early Hints\r\nLink: x\r\nContent-Length: 7\r\n\r\n"
            "HTTP/1.1 100 Continue\r\n\r\n"
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    assert_int_equal(f.err, 0);
    assert_string_equal(f.fields, "Content-Length=2\n");
    assert_string_equal(f.body, "hi");
    fetch_free(&f);
}

static void chunked_answers(void **state)
{
    struct fetch f;

    (void)state;
    get(&f, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            "3\r\nabc\r\n00a;ext=1\r\n0123456789\r\n0\r\nX-Trailer: t\r\n\r\n");
    assert_int_equal(f.err, 0);
    assert_true(f.content_length == UINT64_MAX);
    assert_string_equal(f.body, "abc0123456789");
    assert_string_equal(f.fields, "Transfer-Encoding=chunked\n");
    fetch_free(&f);
    expect_err("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
               "5\r\nab",
               ERR_EOF);
    expect_err("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
               "3\r\nabc\r\n",
               ERR_EOF);
    expect_err("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n", ERR_PROTO);
    expect_err("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
               "fffffffffffffffffff\r\nabc\r\n",
               ERR_PROTO);
}

static void head_method_reads_no_body(void **state)
{
    struct http_transfer_options opt;
    struct fetch f = {0};
    char url[256];

    (void)state;
    answer = "HTTP/1.1 200 OK\r\nContent-Length: 5368709120\r\n\r\n";
    begin(say_answer);
    for (int i = 0; i < 2; i++) {
        f = (struct fetch){0};
        opt = options(&f, url, NULL);
        opt.method = "HEAD";
        fetch_start_with(&f, &opt);
        run_until(&f.ended);
        assert_int_equal(f.err, 0);
        assert_true(f.content_length == 5368709120ull);
        assert_int_equal(f.n_data, 0);
        assert_memory_equal(server->request, "HEAD /p?", 8);
    }
    assert_int_equal(server->connections, 1); /* and the connection is good for more */
    end();
}

/* An answer, and when the gate opens more of it, which nobody waits for; then answers as such. */
static void say_more(struct raw_peer *p)
{
    static const char more[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsmugg";
    if (!raw_request(p))
        return;
    raw_say(p, answer);
    if (p->number == 0) {
        raw_wait(p, 1);
        raw_say(p, more);
        atomic_store(&p->server->gate, 2);
    }
    while (raw_request(p))
        raw_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
}

/* It is no answer to the next one, who gets a connection of its own. */
static void leftovers_are_no_answer(void **state)
{
    static const char *const first[] = {"HTTP/1.1 200 OK\r\nContent-Length: 43\r\n\r\n",
                                        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                                        "HTTP/1.1 304 Not Modified\r\n\r\n"};
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct fetch f = {0};
        char url[256];
        answer = first[i];
        begin(say_more);
        struct http_transfer_options opt = options(&f, url, NULL);
        opt.method = i == 0 ? "HEAD" : "GET";
        fetch_start_with(&f, &opt);
        run_until(&f.ended);
        assert_int_equal(f.err, 0);
        fetch_free(&f);
        atomic_store(&server->gate, 1);
        while (atomic_load(&server->gate) != 2)
            usleep(1000);
        answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        f = (struct fetch){0};
        opt = options(&f, url, NULL);
        fetch_start_with(&f, &opt);
        run_until(&f.ended);
        assert_int_equal(f.err, 0);
        assert_string_equal(f.body, "hello");
        fetch_free(&f);
        assert_int_equal(server->connections, 2);
        end();
    }
}

static void cut_answers(void **state)
{
    struct fetch f;

    (void)state;
    get(&f, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\nabc");
    assert_int_equal(f.err, ERR_EOF);
    assert_string_equal(f.body, "abc");
    fetch_free(&f);
    expect_err("Connection: close", ERR_PROTO); /* not HTTP at all */
    expect_err("HTTP/1.1 200 OK\r\nConnection: close\r\n", ERR_EOF);
}

static void hang_up(struct raw_peer *p)
{
    raw_request(p);
}

static void reset(struct raw_peer *p)
{
    raw_request(p);
    raw_reset(p);
}

static void reset_in_body(struct raw_peer *p)
{
    raw_request(p);
    raw_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    raw_wait(p, 1);
    raw_reset(p);
}

static void open_gate(struct fetch *f)
{
    (void)f;
    atomic_store(&server->gate, 1);
}

static void broken_connections(void **state)
{
    struct fetch f = {0};

    (void)state;
    fetch_all(&f, hang_up);
    assert_int_equal(f.err, ERR_EOF);
    f = (struct fetch){0};
    fetch_all(&f, reset);
    assert_int_equal(f.err, ERR_IO);
    f = (struct fetch){.on_head = open_gate};
    fetch_all(&f, reset_in_body);
    assert_int_equal(f.err, ERR_IO);
    assert_string_equal(f.body, "abc");
    fetch_free(&f);
}

static void malformed_answers(void **state)
{
    static const char *const bad[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nX-A: b\r\n folded\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\n: no name\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nX A: b\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nX-A: b\x01\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nX-A: b\rc\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\nhi",
        "HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 20 Odd\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 2000 Odd\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/2 200\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
        "HTTP/3.0 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
        "hello, who is there?\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
    };

    (void)state;
    for (size_t i = 0; i < countof(bad); i++)
        expect_err(bad[i], ERR_PROTO);
}

static void say_nul(struct raw_peer *p)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nX-A: b\0c\r\nContent-Length: 2\r\n\r\nhi";

    if (raw_request(p))
        raw_write(p, text, sizeof(text) - 1);
}

static void flood_lines(struct raw_peer *p)
{
    char line[1100];

    if (!raw_request(p) || !raw_say(p, "HTTP/1.1 200 OK\r\n"))
        return;
    memset(line, 'x', sizeof(line));
    memcpy(line, "X-Flood: ", 9);
    memcpy(line + sizeof(line) - 3, "\r\n", 3);
    while (raw_say(p, line))
        ;
}

static void flood_interim(struct raw_peer *p)
{
    if (!raw_request(p))
        return;
    while (raw_say(p, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"))
        ;
}

static void flood_one_line(struct raw_peer *p)
{
    if (!raw_request(p) || !raw_say(p, "HTTP/1.1 200 OK\r\nX-Flood: "))
        return;
    while (raw_say(p, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"))
        ;
}

static void flood_trailers(struct raw_peer *p)
{
    if (!raw_request(p))
        return;
    raw_say(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
    while (raw_say(p, "X-Trailer: 0123456789abcdef0123456789abcdef\r\n"))
        ;
}

static void floods_are_cut(void **state)
{
    static void (*const floods[])(struct raw_peer *) = {flood_lines, flood_interim, flood_one_line,
                                                        flood_trailers};
    struct fetch f = {0};

    (void)state;
    fetch_all(&f, say_nul);
    assert_int_equal(f.err, ERR_PROTO);
    for (size_t i = 0; i < countof(floods); i++) {
        f = (struct fetch){0};
        fetch_all(&f, floods[i]);
        if (f.err != ERR_TOOBIG)
            fail_msg("flood %zu: %s: %s", i, err_name(f.err), f.why);
    }
}

static void large_heads_pass(void **state)
{
    static char text[70000];
    char *p = text + snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n");
    struct fetch f;

    (void)state;
    for (int i = 0; i < 60; i++)
        p += snprintf(p, 1100, "X-%d: %01000d\r\n", i, i);
    memcpy(p, "\r\nhi", 5);
    get(&f, text);
    assert_int_equal(f.err, 0);
    assert_string_equal(f.body, "hi");
    fetch_free(&f);
}

static void bad_options_are_refused(void **state)
{
    static const char *const urls[] = {
        "",
        "x",
        "/v2/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "http:/127.0.0.1/",
        "http:///127.0.0.1/",
        "http://",
        "http:///",
        "http://user:pw@127.0.0.1/",
        "http://user@127.0.0.1/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/a\r\nX: y",
        "http://127.0.0.1\\@x/",
        "http://127.0.0.1/\x80",
        "http://[::1/",
        "//127.0.0.1/",
    };
    static const char *const fields[] = {"NoColon",  ": x",  "A b: c", "A\r\nB: c", "A: b\r\nC: d",
                                         "A: b\x01", "Ä: b", "",       "A : b"};
    struct http_transfer *t = NULL;
    struct http_transfer_options opt;
    struct fetch f = {0};
    char url[256];

    (void)state;
    answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    begin(say_answer);
    for (size_t i = 0; i < countof(urls); i++) {
        opt = options(&f, url, NULL);
        opt.url = urls[i];
        if (http_transfer_start(client, &opt, &t) != ERR_INVAL)
            fail_msg("%s taken", urls[i]);
    }
    for (size_t i = 0; i < countof(fields); i++) {
        opt = options(&f, url, NULL);
        opt.fields = &fields[i];
        opt.n_fields = 1;
        if (http_transfer_start(client, &opt, &t) != ERR_INVAL)
            fail_msg("%s taken", fields[i]);
    }
    opt = options(&f, url, NULL);
    opt.method = "GE T";
    assert_int_equal(http_transfer_start(client, &opt, &t), ERR_INVAL);
    opt.method = "";
    assert_int_equal(http_transfer_start(client, &opt, &t), ERR_INVAL);
    assert_null(t);
    end();
    assert_false(f.ended); /* who was refused hears nothing more */
}

static void ipv6_and_long_urls(void **state)
{
    struct raw_server *v6;
    struct http_transfer_options opt;
    struct fetch f = {0};
    char url[256], long_url[9000];

    (void)state;
    answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    begin(say_answer);
    v6 = raw_server_start(say_answer, AF_INET6, NULL);
    opt = options(&f, url, NULL);
    snprintf(url, sizeof(url), "HTTP://[::1]:%u/", v6->port);
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    assert_int_equal(f.err, 0);
    fetch_free(&f);

    f = (struct fetch){0};
    opt = options(&f, url, NULL);
    memset(long_url, 'q', sizeof(long_url));
    long_url[sizeof(long_url) - 1] = '\0';
    memcpy(long_url, url, strlen(url));
    opt.url = long_url;
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    assert_int_equal(f.err, 0);
    fetch_free(&f);
    end();
    raw_server_stop(v6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sends_exactly_what_is_asked),
        cmocka_unit_test(sends_a_body),
        cmocka_unit_test(head_is_given_whole),
        cmocka_unit_test(good_answers),
        cmocka_unit_test(chunked_answers),
        cmocka_unit_test(head_method_reads_no_body),
        cmocka_unit_test(leftovers_are_no_answer),
        cmocka_unit_test(cut_answers),
        cmocka_unit_test(broken_connections),
        cmocka_unit_test(malformed_answers),
        cmocka_unit_test(floods_are_cut),
        cmocka_unit_test(large_heads_pass),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(ipv6_and_long_urls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
