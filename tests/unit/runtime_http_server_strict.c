/* The smuggling matrix: what two programs might read differently, by raw socket.
 *
 * Each row has one defined answer, whether it comes in one piece or byte by byte; a refused request
 * ends the connection by FIN, so that nothing after it is ever taken for a request. */
#include "http_rig.h"

#define HOST "Host: h\r\n"

struct row {
    const char *name;
    const char *text;
    size_t len;      /* 0: strlen(text); else NULs are in it */
    int status;      /* of the first answer */
    unsigned handed; /* requests that the handler may see */
    bool stays;      /* the connection lives on */
};

static const struct row rows[] = {
    /* Content-Length with Transfer-Encoding */
    {"length then chunked",
     "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
     "0\r\n\r\nGET /smuggled HTTP/1.1\r\n" HOST "\r\n",
     .status = 400},
    {"chunked then length",
     "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"
     "0\r\n\r\nGET /smuggled HTTP/1.1\r\n" HOST "\r\n",
     .status = 400},
    {"length on a GET, with chunked",
     "GET / HTTP/1.1\r\n" HOST "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     .status = 400},
    /* Content-Length */
    {"two lengths, different",
     "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
     .status = 400},
    {"two lengths, equal",
     "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
     .status = 400},
    {"length +5", "POST / HTTP/1.1\r\n" HOST "Content-Length: +5\r\n\r\nhello", .status = 400},
    {"length -5", "POST / HTTP/1.1\r\n" HOST "Content-Length: -5\r\n\r\nhello", .status = 400},
    {"length 0x5", "POST / HTTP/1.1\r\n" HOST "Content-Length: 0x5\r\n\r\nhello", .status = 400},
    {"length 5, 5", "POST / HTTP/1.1\r\n" HOST "Content-Length: 5, 5\r\n\r\nhello", .status = 400},
    {"length 5 5", "POST / HTTP/1.1\r\n" HOST "Content-Length: 5 5\r\n\r\nhello", .status = 400},
    {"length empty", "POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\nhello", .status = 400},
    {"length text", "POST / HTTP/1.1\r\n" HOST "Content-Length: five\r\n\r\nhello", .status = 400},
    {"length beyond 64 bits",
     "POST / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551621\r\n\r\nhello", .status = 400},
    {"length huge", "POST / HTTP/1.1\r\n" HOST "Content-Length: 9999999999999999999\r\n\r\nhello",
     .status = 413},
    {"length with leading zeros", "POST / HTTP/1.1\r\n" HOST "Content-Length: 0005\r\n\r\nhello",
     .status = 200, .handed = 1, .stays = true},
    /* Transfer-Encoding */
    {"two codings lines",
     "POST / HTTP/1.1\r\n" HOST
     "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     .status = 400},
    {"two codings lines, identity first",
     "POST / HTTP/1.1\r\n" HOST
     "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     .status = 400},
    {"gzip, chunked",
     "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", .status = 501},
    {"chunked, gzip",
     "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", .status = 400},
    {"identity", "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n", .status = 501},
    {"xchunked", "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
     .status = 501},
    {"chunked in quotes", "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \"chunked\"\r\n\r\n",
     .status = 501},
    {"coding empty", "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n\r\n", .status = 501},
    {"vertical tab before chunked",
     "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", .status = 400},
    {"chunked in HTTP/1.0",
     "POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", .status = 400},
    {"CHUNKED in capitals",
     "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: CHUNKED\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
     .status = 200, .handed = 1, .stays = true},
    /* chunks */
    {"chunk size oversize",
     "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
     .status = 400},
    {"chunk size of eight f",
     "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n00000000a\r\n", .status = 400},
    {"chunk size +1",
     "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n0\r\n\r\n",
     .status = 400},
    {"chunk size 0x1",
     "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
     .status = 400},
    {"chunk size with blank",
     "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1 \r\nx\r\n0\r\n\r\n",
     .status = 400},
    {"chunk size missing",
     "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n\r\nx\r\n0\r\n\r\n",
     .status = 400},
    {"chunk size ends in bare LF",
     "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n",
     .status = 400},
    {"chunk size ends in CR and a letter",
     "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\rxx\r\n0\r\n\r\n",
     .status = 400},
    {"chunk data without CR LF",
     "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\r\nx0\r\n\r\n", .status = 400},
    {"chunk data longer than said",
     "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
     .status = 400},
    {"chunk extension",
     "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n",
     .status = 400},
    {"trailer field",
     "POST / HTTP/1.1\r\n" HOST
     "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nContent-Length: 9\r\n\r\n",
     .status = 400},
    {"last chunk of many zeros",
     "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n000\r\n\r\n",
     .status = 200, .handed = 1, .stays = true},
    /* lines and blanks */
    {"blank before the colon", "GET / HTTP/1.1\r\nHost : h\r\n\r\n", .status = 400},
    {"blank before the colon of a coding",
     "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", .status = 400},
    {"tab before the colon", "GET / HTTP/1.1\r\n" HOST "X\t: 1\r\n\r\n", .status = 400},
    {"folded by a blank", "GET / HTTP/1.1\r\n" HOST "X: 1\r\n 2\r\n\r\n", .status = 400},
    {"folded by a tab", "GET / HTTP/1.1\r\n" HOST "X: 1\r\n\t2\r\n\r\n", .status = 400},
    {"folded coding", "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
     .status = 400},
    {"first field folded", "GET / HTTP/1.1\r\n Host: h\r\n\r\n", .status = 400},
    {"bare LF after a field", "GET / HTTP/1.1\r\n" HOST "X: 1\nY: 2\r\n\r\n", .status = 400},
    {"bare LF throughout", "GET / HTTP/1.1\nHost: h\n\n", .status = 400},
    {"bare LF for the blank line", "GET / HTTP/1.1\r\n" HOST "\n", .status = 400},
    {"bare CR in a value", "GET / HTTP/1.1\r\n" HOST "X: 1\r2\r\n\r\n", .status = 400},
    {"bare CR as a line end", "GET / HTTP/1.1\r\n" HOST "X:\rTransfer-Encoding: chunked\r\n\r\n",
     .status = 400},
    {"CR CR LF", "GET / HTTP/1.1\r\n" HOST "X: 1\r\r\n\r\n", .status = 400},
    {"NUL in a value", "GET / HTTP/1.1\r\n" HOST "X: 1\0 2\r\n\r\n",
     sizeof("GET / HTTP/1.1\r\n" HOST "X: 1\0 2\r\n\r\n") - 1, .status = 400},
    {"NUL in a name", "GET / HTTP/1.1\r\n" HOST "X\0: 1\r\n\r\n",
     sizeof("GET / HTTP/1.1\r\n" HOST "X\0: 1\r\n\r\n") - 1, .status = 400},
    {"DEL in a value", "GET / HTTP/1.1\r\n" HOST "X: \x7f\r\n\r\n", .status = 400},
    {"escape in a value", "GET / HTTP/1.1\r\n" HOST "X: \x1b[0m\r\n\r\n", .status = 400},
    {"no colon", "GET / HTTP/1.1\r\n" HOST "Xyz\r\n\r\n", .status = 400},
    {"empty name", "GET / HTTP/1.1\r\n" HOST ": 1\r\n\r\n", .status = 400},
    {"name in quotes", "GET / HTTP/1.1\r\n" HOST "\"X\": 1\r\n\r\n", .status = 400},
    {"high bytes in a name", "GET / HTTP/1.1\r\n" HOST "X\xe4: 1\r\n\r\n", .status = 400},
    {"high bytes in a value", "GET / HTTP/1.1\r\n" HOST "X: \xc3\xa4\r\n\r\n", .status = 200,
     .handed = 1, .stays = true},
    {"empty value", "GET / HTTP/1.1\r\n" HOST "X:\r\n\r\n", .status = 200, .handed = 1,
     .stays = true},
    {"one empty line before", "\r\nGET / HTTP/1.1\r\n" HOST "\r\n", .status = 200, .handed = 1,
     .stays = true},
    {"two empty lines before", "\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", .status = 400},
    /* the request line */
    {"unknown method", "BREW / HTTP/1.1\r\n" HOST "\r\n", .status = 501},
    {"method of another protocol", "SETUP / HTTP/1.1\r\n" HOST "\r\n", .status = 501},
    {"CONNECT", "CONNECT h:443 HTTP/1.1\r\n" HOST "\r\n", .status = 501},
    {"TRACE", "TRACE / HTTP/1.1\r\n" HOST "\r\n", .status = 501},
    {"small letters", "get / HTTP/1.1\r\n" HOST "\r\n", .status = 501},
    {"method is no token", "G(T / HTTP/1.1\r\n" HOST "\r\n", .status = 400},
    {"two blanks", "GET  / HTTP/1.1\r\n" HOST "\r\n", .status = 400},
    {"tab for a blank", "GET\t/ HTTP/1.1\r\n" HOST "\r\n", .status = 400},
    {"blank at the end", "GET / HTTP/1.1 \r\n" HOST "\r\n", .status = 400},
    {"blank in the target", "GET /a b HTTP/1.1\r\n" HOST "\r\n", .status = 400},
    {"absolute target", "GET http://h/ HTTP/1.1\r\n" HOST "\r\n", .status = 400},
    {"absolute target of another", "GET http://other/ HTTP/1.1\r\n" HOST "\r\n", .status = 400},
    {"asterisk", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", .status = 400},
    {"fragment", "GET /a#b HTTP/1.1\r\n" HOST "\r\n", .status = 400},
    {"high bytes in the target", "GET /\xe4 HTTP/1.1\r\n" HOST "\r\n", .status = 400},
    {"HTTP/0.9", "GET /\r\n\r\n", .status = 400},
    {"HTTP/1.2", "GET / HTTP/1.2\r\n" HOST "\r\n", .status = 505},
    {"HTTP/2.0", "GET / HTTP/2.0\r\n" HOST "\r\n", .status = 505},
    {"HTTP/1.10", "GET / HTTP/1.10\r\n" HOST "\r\n", .status = 400},
    {"http/1.1", "GET / http/1.1\r\n" HOST "\r\n", .status = 400},
    {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", .status = 505},
    {"TLS hello on a plain port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11,
     .status = 400},
    {"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", .status = 200, .handed = 1},
    {"HTTP/1.0 keeping alive", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", .status = 200,
     .handed = 1, .stays = true},
    {"Connection: close", "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", .status = 200,
     .handed = 1},
    {"an upgrade offered", "GET / HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
     .status = 200, .handed = 1, .stays = true},
    /* Host */
    {"no Host", "GET / HTTP/1.1\r\n\r\n", .status = 400},
    {"two Hosts", "GET / HTTP/1.1\r\n" HOST HOST "\r\n", .status = 400},
    {"two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\n" HOST HOST "\r\n", .status = 400},
    {"two logins", "GET / HTTP/1.1\r\n" HOST "Authorization: a\r\nauthorization: b\r\n\r\n",
     .status = 400},
    {"Host with a path", "GET / HTTP/1.1\r\nHost: h/x\r\n\r\n", .status = 400},
    {"Host with a user", "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", .status = 400},
    {"two names in Host", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", .status = 400},
    {"Host with a port", "GET / HTTP/1.1\r\nHost: [::1]:5000\r\n\r\n", .status = 200, .handed = 1,
     .stays = true},
    /* others */
    {"unknown expectation", "POST / HTTP/1.1\r\n" HOST "Expect: cake\r\nContent-Length: 1\r\n\r\nx",
     .status = 417},
    {"body on GET", "GET / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", .status = 200,
     .handed = 1, .stays = true},
    {"chunked body on HEAD",
     "HEAD / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
     .status = 200, .handed = 1, .stays = true},
};

/* Sends the row, then a second request on the same connection, and holds the answers against it. */
static void try_row(const struct row *row, bool piecemeal)
{
    struct http_server_options opt = {.drain_timeout_ms = 200};
    struct rig r;
    struct client c;
    char status[32];
    size_t len = row->len ? row->len : strlen(row->text);
    snprintf(status, sizeof(status), "HTTP/1.1 %d ", row->status);
    rig_start(&r, &opt);
    client_open(&c, &r);
    for (size_t i = 0; piecemeal && i < len; i++) {
        client_send_n(&c, row->text + i, 1);
        rig_turn(&r);
    }
    if (!piecemeal)
        client_send_n(&c, row->text, len);
    client_expect(&c, "\r\n\r\n");
    if (strncmp(c.text, status, strlen(status)) != 0)
        fail_msg("%s (%s): %.200s", row->name, piecemeal ? "piecemeal" : "whole", c.text);
    client_send(&c, "GET /second HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    client_expect_fin(&c);
    if (r.handled != row->handed + row->stays || strstr(r.seen, "smuggled"))
        fail_msg("%s: the handler saw %u requests: %s", row->name, r.handled, r.seen);
    if (!row->stays && row->status != 200 && !strstr(c.text, "{\"errors\":[{\"code\""))
        fail_msg("%s: no OCI error body: %.400s", row->name, c.text);
    assert_int_equal(rig_stats(&r).bad_requests, row->status != 200);
    client_close(&c);
    rig_stop(&r);
}

static void every_row_has_its_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(rows); i++)
        try_row(&rows[i], false);
}

static void the_same_byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(rows); i++)
        try_row(&rows[i], true);
}

/* --- floods ----------------------------------------------------------------------------------- */

/* Sends a head of `start`, `lines` times `line`, `end`; expects `status`. */
static void flood(const char *start, const char *line, size_t lines, const char *end,
                  const char *status)
{
    struct http_server_options opt = {.drain_timeout_ms = 200};
    struct rig r;
    struct client c;
    size_t n = strlen(line), at = strlen(start);
    char *text = malloc(at + n * lines + strlen(end) + 1);
    assert_non_null(text);
    memcpy(text, start, at);
    for (size_t i = 0; i < lines; i++, at += n)
        memcpy(text + at, line, n);
    memcpy(text + at, end, strlen(end) + 1);
    rig_start(&r, &opt);
    client_open(&c, &r);
    client_send_n(&c, text, at + strlen(end));
    client_expect(&c, status);
    client_expect_fin(&c); /* and not RST, though much was never read */
    assert_int_equal(r.handled, 0);
    client_close(&c);
    rig_stop(&r);
    free(text);
}

static void floods_are_refused(void **state)
{
    (void)state;
    char line[1002];
    memset(line, 'x', 1000);
    memcpy(line, "X: ", 3);
    memcpy(line + 998, "\r\n", 3);
    flood("GET / HTTP/1.1\r\n" HOST, "X: 1\r\n", 500, "\r\n", "HTTP/1.1 431 ");
    flood("GET / HTTP/1.1\r\n" HOST, "X: 1\r\n", 100, "\r\n", "HTTP/1.1 431 ");
    flood("GET / HTTP/1.1\r\n" HOST, line, 40, "\r\n", "HTTP/1.1 431 ");
    flood("GET / HTTP/1.1\r\nX: ", "xxxxxxxxxxxxxxxx", 4096, "", "HTTP/1.1 431 ");
    flood("GET /", "xxxxxxxxxxxxxxxx", 4096, "", "HTTP/1.1 414 ");
    flood("GET /", "xxxxxxxxxxxxxxxx", 512, " HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 414 ");
    flood("", "G", 100000, "", "HTTP/1.1 414 ");
}

static void a_head_at_its_limits_is_taken(void **state)
{
    struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    static char text[LIMIT_HTTP_HEAD_BYTES + 1];
    (void)state;
    rig_start(&r, &opt);
    client_open(&c, &r);

    size_t n = (size_t)snprintf(text, sizeof(text), "GET /"); /* the longest target */
    memset(text + n, 'a', LIMIT_HTTP_TARGET_BYTES - 1);
    n += LIMIT_HTTP_TARGET_BYTES - 1;
    n += (size_t)snprintf(text + n, sizeof(text) - n, " HTTP/1.1\r\n" HOST "\r\n");
    client_send_n(&c, text, n);
    client_expect_n(&c, "hello\n", 1);

    n = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n" HOST); /* the most fields */
    for (unsigned i = 1; i < LIMIT_HTTP_HEADERS; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "X%u: %u\r\n", i, i);
    n += (size_t)snprintf(text + n, sizeof(text) - n, "\r\n");
    client_send_n(&c, text, n);
    client_expect_n(&c, "hello\n", 2);

    n = (size_t)snprintf(text, sizeof(text),
                         "GET / HTTP/1.1\r\n" HOST "X: "); /* the longest head */
    memset(text + n, 'b', LIMIT_HTTP_HEAD_BYTES - n - 4);
    memcpy(text + LIMIT_HTTP_HEAD_BYTES - 4, "\r\n\r\n", 4);
    client_send_n(&c, text, LIMIT_HTTP_HEAD_BYTES);
    client_expect_n(&c, "hello\n", 3);
    client_close(&c);
    rig_stop(&r);
}

static void note(void *arg, const char *reason, u64 count)
{
    u64 *counts = arg;
    if (strcmp(reason, "FRAMING") == 0)
        counts[0] += count;
    else
        counts[1] += count;
}

static void refusals_are_counted_by_reason(void **state)
{
    struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    u64 counts[2] = {0, 0};
    (void)state;
    rig_start(&r, &opt);
    client_open(&c, &r);
    client_send(&c, rows[0].text);
    client_expect_fin(&c);
    http_server_refusals(r.server, note, counts);
    assert_int_equal(counts[0], 1);
    assert_int_equal(counts[1], 0);
    client_close(&c);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_has_its_answer),
        cmocka_unit_test(the_same_byte_by_byte),
        cmocka_unit_test(floods_are_refused),
        cmocka_unit_test(a_head_at_its_limits_is_taken),
        cmocka_unit_test(refusals_are_counted_by_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
