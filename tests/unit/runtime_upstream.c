/* runtime_upstream.c - tests of runtime/upstream.h: what is sent, how much of an answer is taken,
 * and when a registry counts as away. Where it may lead us: node_upstream_redirect.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/limits.h"
#include "support/ask.h"

static struct rig rig;
static struct server *registry, *other;

static void begin(server_script script, server_script elsewhere)
{
    rig_open(&rig, MIB);
    registry = server_new(script, NULL, NULL);
    other = elsewhere ? server_new(elsewhere, NULL, NULL) : NULL;
}

static void finish(void)
{
    rig_close(&rig);
    server_del(registry);
    server_del(other);
    registry = other = NULL;
}

static struct upstream *simple(void)
{
    return rig_upstream(&rig, server_url(registry), NULL, NULL, NULL);
}

/* --- plain questions -------------------------------------------------------------------------- */

static void script_hello(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say_answer(p, 200, "X-Field: first\r\nX-Field: second\r\n", "hello");
}

static void test_a_plain_question(void **state)
{
    (void)state;
    static const char *const fields[] = {"Accept: a/b", "Accept: c/d, e/f"};
    struct upstream_request q = ask_blob;
    struct server_request r;
    struct heard h;
    const char *error;
    u64 since;
    begin(script_hello, NULL);
    struct upstream *u = simple();
    assert_string_equal(upstream_name(u), "registry-0");
    assert_string_equal(upstream_url(u), server_url(registry));
    assert_false(upstream_has_credentials(u));
    assert_int_equal(upstream_state(u, &error, &since), UPSTREAM_UNTRIED);
    q.fields = fields;
    q.n_fields = countof(fields);
    q.range = "bytes=0-0";
    ask(&rig, u, &q, &h);
    assert_int_equal(h.err, 0);
    assert_int_equal(h.status, 200);
    assert_int_equal(h.content_length, 5);
    assert_string_equal(h.body, "hello");
    assert_string_equal(h.field, "first");
    assert_false(h.redirected);
    server_request_at(registry, 0, &r);
    assert_string_equal(r.method, "GET");
    assert_string_equal(r.target, ask_blob.path);
    assert_non_null(strstr(r.head, "Accept: a/b\r\n"));
    assert_non_null(strstr(r.head, "Accept: c/d, e/f\r\n"));
    assert_string_equal(request_field(&r, "Range"), "bytes=0-0");
    assert_string_equal(request_field(&r, "Authorization"), "Basic dTpw");
    assert_int_equal(upstream_state(u, &error, &since), UPSTREAM_OK);
    assert_string_equal(error, "");
    finish();
}

static void test_anonymous(void **state)
{
    (void)state;
    struct upstream_request q = ask_blob;
    struct server_request r;
    struct heard h;
    begin(script_hello, NULL);
    q.authorization = NULL;
    q.own = true; /* without credentials: nothing is sent either */
    ask(&rig, simple(), &q, &h);
    server_request_at(registry, 0, &r);
    assert_null(request_field(&r, "Authorization"));
    assert_null(request_field(&r, "Range"));
    finish();
}

static void test_a_url_with_a_path(void **state)
{
    (void)state;
    char url[128], target[256];
    struct heard h;
    begin(script_hello, NULL);
    snprintf(url, sizeof(url), "%s/base", server_url(registry));
    ask(&rig, rig_upstream(&rig, url, NULL, NULL, NULL), &ask_blob, &h);
    snprintf(target, sizeof(target), "/base%s", ask_blob.path);
    assert_int_equal(server_count_of(registry, target), 1);
    finish();
}

static void never(void *arg, const struct answer *a)
{
    (void)arg;
    (void)a;
    fail_msg("nothing was asked");
}

static void test_requests_that_are_refused_here(void **state)
{
    (void)state;
    static const char *many[40];
    static const char *const split[] = {"A: b\r\nC: d"};
    static char path[5000];
    struct upstream_request q = ask_blob;
    struct upstream_ask *k;
    begin(script_hello, NULL);
    struct upstream *u = simple();
    for (size_t i = 0; i < countof(many); i++)
        many[i] = "A: b";
    q.fields = many;
    q.n_fields = countof(many);
    assert_int_equal(upstream_ask(u, &q, 100, false, never, NULL, &k), ERR_INVAL);
    q = ask_blob;
    memset(path, 'a', sizeof(path) - 1);
    q.path = path;
    assert_int_equal(upstream_ask(u, &q, 100, false, never, NULL, &k), ERR_INVAL);
    path[4090] = '\0'; /* short enough by itself, too long with the URL before it */
    assert_int_equal(upstream_ask(u, &q, 100, false, never, NULL, &k), ERR_INVAL);
    q = ask_blob;
    q.fields = split;
    q.n_fields = 1;
    assert_int_equal(upstream_ask(u, &q, 100, false, never, NULL, &k), ERR_INVAL);
    q = ask_blob;
    q.authorization = "Basic x\r\nC: d";
    assert_int_equal(upstream_ask(u, &q, 100, false, never, NULL, &k), ERR_INVAL);
    rig_settle(&rig);
    assert_int_equal(server_count(registry), 0);
    finish();
}

/* --- how much of an answer -------------------------------------------------------------------- */

static void script_endless(struct server_peer *p, const struct server_request *r, void *arg)
{
    static const char block[4096];
    (void)r;
    (void)arg;
    say(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 100000; i++) /* 400 MB: nobody takes that */
        say_chunk(p, block, sizeof(block));
    hang_up(p);
}

static void script_huge(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: 5368709120\r\n\r\n");
    wait_gone(p);
}

static void test_an_answer_is_bounded(void **state)
{
    (void)state;
    struct heard h;
    begin(script_endless, script_huge);
    struct upstream *u = simple();
    ask_as(&rig, u, &ask_blob, 100000, false, &h);
    assert_int_equal(h.err, ERR_TOOBIG);
    assert_true(h.len <= 100000);
    u = rig_upstream(&rig, server_url(other), NULL, NULL, NULL);
    ask(&rig, u, &ask_blob, &h); /* by its head alone: no byte of it comes */
    assert_int_equal(h.err, ERR_TOOBIG);
    finish();
}

static void test_exactly_the_bound(void **state)
{
    (void)state;
    struct heard h;
    begin(script_hello, NULL);
    struct upstream *u = simple();
    ask_as(&rig, u, &ask_blob, 5, false, &h);
    assert_int_equal(h.err, 0);
    assert_string_equal(h.body, "hello");
    ask_as(&rig, u, &ask_blob, 4, false, &h);
    assert_int_equal(h.err, ERR_TOOBIG);
    finish();
}

static void test_the_head_suffices(void **state)
{
    (void)state;
    struct upstream_request q = ask_blob;
    struct heard h;
    begin(script_huge, NULL);
    struct upstream *u = simple();
    ask_as(&rig, u, &ask_blob, LIMIT_RELAY_BYTES, true, &h);
    assert_int_equal(h.err, 0);
    assert_int_equal(h.status, 200);
    assert_int_equal(h.content_length, 5368709120);
    assert_int_equal(h.len, 0);
    q.method = "HEAD";
    ask(&rig, u, &q, &h); /* a length without a body is no body too large */
    assert_int_equal(h.err, 0);
    assert_int_equal(h.content_length, 5368709120);
    finish();
}

static void script_breaks_off(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort");
    hang_up(p);
}

static void test_an_answer_cut_short(void **state)
{
    (void)state;
    struct heard h;
    begin(script_breaks_off, NULL);
    ask(&rig, simple(), &ask_blob, &h);
    assert_int_equal(h.err, ERR_EOF);
    assert_true(strlen(h.why) > 0);
    finish();
}

/* --- is it away? ------------------------------------------------------------------------------ */

static int statuses[8];

static void script_statuses(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    int status = statuses[r->number % countof(statuses)];
    if (status != 0) {
        say_answer(p, status, "", "");
    } else { /* half an answer: of none at all libcurl would think that the connection was old */
        say(p, "HTTP/1.1 200 OK\r\nContent-");
        hang_up(p);
    }
}

static void test_away_and_back(void **state)
{
    (void)state;
    /* Half an answer might be a kept connection's fault, so it is asked for twice. */
    static const int said[] = {404, 500, 401, 503, 429, 0, 0, 200};
    struct heard h;
    const char *error;
    u64 since;
    begin(script_statuses, NULL);
    memcpy(statuses, said, sizeof(said));
    struct upstream *u = simple();
    for (size_t i = 0; i < countof(said); i += said[i] ? 1 : 2) {
        bool away = said[i] == 0 || said[i] >= 500;
        ask(&rig, u, &ask_blob, &h);
        assert_int_equal(h.status, said[i]); /* 0: none came */
        assert_true(said[i] ? h.err == 0 : h.err < 0);
        assert_int_equal(upstream_state(u, &error, &since), away ? UPSTREAM_DOWN : UPSTREAM_OK);
        assert_int_equal(upstream_is_away(u), away);
        assert_int_equal(strlen(error) > 0, away);
    }
    finish();
}

static void test_nothing_listens(void **state)
{
    (void)state;
    struct heard h;
    begin(script_hello, script_hello);
    struct upstream *u = rig_upstream(&rig, server_url(other), NULL, NULL, NULL);
    server_del(other);
    other = NULL;
    ask(&rig, u, &ask_blob, &h);
    assert_int_equal(h.err, ERR_UNREACHABLE);
    assert_true(upstream_is_away(u));
    finish();
}

static void script_then_silent(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    go_silent(p); /* what is sent still arrives */
    say_answer(p, 200, "", "");
}

/* The line of a kept connection is cut: the request on it vanishes. Another connection is tried
 * long before the time for an answer is over. */
static void test_silence_on_a_kept_connection(void **state)
{
    (void)state;
    struct heard h;
    begin(script_then_silent, NULL);
    struct upstream *u = simple();
    ask(&rig, u, &ask_blob, &h);
    assert_int_equal(h.status, 200);
    u64 since = uv_hrtime();
    ask(&rig, u, &ask_blob, &h);
    u64 took_ms = (uv_hrtime() - since) / 1000000;
    assert_int_equal(h.status, 200);
    assert_in_range(took_ms, 1500, 8000);
    assert_int_equal(server_count(registry), 2);
    assert_false(upstream_is_away(u));
    finish();
}

static bool was_asked(void *arg)
{
    return server_count(registry) >= *(const unsigned *)arg;
}

/* --- cancelling ------------------------------------------------------------------------------- */

static void script_gate(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    wait_gate(p, 0);
    say_answer(p, 200, "", "late");
}

static void test_cancel(void **state)
{
    (void)state;
    struct upstream_ask *k;
    struct heard h, second;
    unsigned one = 1;
    begin(script_gate, NULL);
    struct upstream *u = simple();
    ask_start(u, &ask_blob, 100, false, &h, &k);
    upstream_ask_cancel(k); /* before it was sent */
    ask_start(u, &ask_blob, 100, false, &h, &k);
    rig_wait(&rig, was_asked, &one);
    upstream_ask_cancel(k); /* while it is being answered */
    server_open(registry, 0);
    ask(&rig, u, &ask_blob, &second);
    assert_string_equal(second.body, "late");
    rig_settle(&rig);
    assert_false(h.done);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_plain_question),
        cmocka_unit_test(test_anonymous),
        cmocka_unit_test(test_a_url_with_a_path),
        cmocka_unit_test(test_requests_that_are_refused_here),
        cmocka_unit_test(test_an_answer_is_bounded),
        cmocka_unit_test(test_exactly_the_bound),
        cmocka_unit_test(test_the_head_suffices),
        cmocka_unit_test(test_an_answer_cut_short),
        cmocka_unit_test(test_away_and_back),
        cmocka_unit_test(test_nothing_listens),
        cmocka_unit_test(test_silence_on_a_kept_connection),
        cmocka_unit_test(test_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
