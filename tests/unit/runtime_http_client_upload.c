/* runtime_http_client_upload.c - tests of http_transfer_options.upload: what is asked for arrives,
 * in whichever framing, and waits where there is nothing yet. */
#include "http_client_fixture.h"

#include "proto/limits.h"

#define SIZE (3 * 1024 * 1024 + 17)

static struct {
    u64 at, total, released;
    int fail;
    struct http_transfer *t;
} source;

static u8 byte_at(u64 i)
{
    return (u8)(i * 7 + i / 251);
}

static ssize_t upload(void *arg, void *buf, size_t max)
{
    u64 n = source.released - source.at;
    (void)arg;
    if (source.at == source.total)
        return 0;
    if (n == 0)
        return source.fail ? source.fail : ERR_AGAIN;
    n = n < max ? n : max;
    for (u64 i = 0; i < n; i++)
        ((u8 *)buf)[i] = byte_at(source.at++);
    return (ssize_t)n;
}

static u8 got[SIZE];
static bool whole;

static void take_length(struct raw_peer *p)
{
    while (raw_request(p)) {
        whole =
            raw_body(p, (char *)got, SIZE) && strstr(p->server->request, "Content-Length: 3145745");
        raw_say(p, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    }
}

static void say_no(struct raw_peer *p)
{
    char some[1000];
    if (raw_request(p) && raw_body(p, some, sizeof(some)))
        raw_say(p, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
}

static void take_chunks(struct raw_peer *p)
{
    char all[4096] = "";
    size_t n = 0;
    if (!raw_request(p))
        return;
    while (n < sizeof(all) - 1 && !memmem(all, n, "0\r\n\r\n", 5)) {
        ssize_t k = raw_read(p, all + n, sizeof(all) - 1 - n);
        if (k <= 0)
            return;
        n += (size_t)k;
        all[n] = 0;
    }
    whole =
        strstr(p->server->request, "Transfer-Encoding: chunked") && memcmp(all, "a\r\n", 3) == 0;
    raw_say(p, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
}

static struct http_transfer_options begin_upload(struct fetch *f, char url[256], u64 total, u64 len)
{
    struct http_transfer_options opt = options(f, url, "/v2/a/blobs/uploads/1");
    memset(&source, 0, sizeof(source));
    source.total = source.released = total;
    whole = false;
    opt.method = "PATCH";
    opt.upload = upload;
    opt.upload_len = len;
    return opt;
}

static void a_length_that_is_known(void **state)
{
    struct fetch f = {0};
    char url[256];
    (void)state;
    begin(take_length);
    struct http_transfer_options opt = begin_upload(&f, url, SIZE, SIZE);
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    if (f.err)
        fail_msg("%s", f.why);
    assert_int_equal(f.status, 201);
    assert_true(whole);
    for (u64 i = 0; i < SIZE; i++)
        assert_int_equal(got[i], byte_at(i));
    assert_non_null(strstr(server->request, "PATCH /v2/a/blobs/uploads/1 HTTP/1.1\r\n"));
    assert_null(strstr(server->request, "Expect"));
    end();
    fetch_free(&f);
}

static void one_that_is_not_and_comes_late(void **state)
{
    struct fetch f = {0};
    char url[256];
    (void)state;
    begin(take_chunks);
    struct http_transfer_options opt = begin_upload(&f, url, 20, UINT64_MAX);
    source.released = 0;
    fetch_start_with(&f, &opt);
    for (int i = 0; i < 2; i++) {
        run_for(50);
        assert_false(f.ended);
        source.released += 10;
        http_transfer_feed(f.t);
        http_transfer_feed(f.t); /* idempotent */
    }
    run_until(&f.ended);
    assert_int_equal(f.err, 0);
    assert_int_equal(f.status, 202);
    assert_true(whole && source.at == 20);
    end();
    fetch_free(&f);
}

static void a_source_that_breaks(void **state)
{
    struct fetch f = {0};
    char url[256];
    (void)state;
    begin(take_chunks);
    struct http_transfer_options opt = begin_upload(&f, url, 20, UINT64_MAX);
    source.released = 5;
    source.fail = ERR_EOF;
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    assert_int_equal(f.err, ERR_EOF);
    assert_false(f.head);
    end();
    fetch_free(&f);
}

static void an_answer_before_the_end(void **state)
{
    struct fetch f = {0};
    char url[256];
    (void)state;
    begin(say_no);
    struct http_transfer_options opt = begin_upload(&f, url, SIZE, SIZE);
    source.released = 1000; /* the rest never comes */
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    assert_int_equal(f.status, 401);
    assert_string_equal(f.body, "no");
    end();
    fetch_free(&f);
}

#define LONG_SIZE (16 * 1024 * 1024) /* more than the kernels hold */

/* A registry that hands on what it has to a slow storage before it reads more: its window is shut,
 * but it is there, and says so. */
static void take_a_break(struct raw_peer *p)
{
    static char some[65536];
    size_t n = 0;
    if (!raw_request(p))
        return;
    sleep(8);
    for (ssize_t k; n < LONG_SIZE && (k = raw_read(p, some, sizeof(some))) > 0;)
        n += (size_t)k;
    whole = n == LONG_SIZE;
    raw_say(p, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
}

static void a_reader_that_takes_a_break(void **state)
{
    struct fetch f = {0};
    char url[256];
    (void)state;
    begin(take_a_break);
    struct http_transfer_options opt = begin_upload(&f, url, LONG_SIZE, LONG_SIZE);
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    if (f.err)
        fail_msg("%s", f.why);
    assert_int_equal(f.status, 202);
    assert_true(whole);
    end();
    fetch_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_length_that_is_known),
        cmocka_unit_test(one_that_is_not_and_comes_late),
        cmocka_unit_test(a_source_that_breaks),
        cmocka_unit_test(an_answer_before_the_end),
        cmocka_unit_test(a_reader_that_takes_a_break),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
