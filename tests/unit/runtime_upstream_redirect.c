/* runtime_upstream_redirect.c - tests of runtime/upstream.h: where an upstream may lead us, what
 * goes along, and when its redirects are a permission. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/limits.h"
#include "support/ask.h"

static struct rig rig;
static struct server *registry, *other; /* `other` is another port: another host to the rules */
static char location[8192];             /* where the registry's redirects lead */

static void begin(server_script script, server_script elsewhere)
{
    rig_open(&rig, MIB);
    registry = server_new(script, NULL, NULL);
    other = elsewhere ? server_new(elsewhere, NULL, NULL) : NULL;
    location[0] = '\0';
}

static void finish(void)
{
    rig_close(&rig);
    server_del(registry);
    server_del(other);
    registry = other = NULL;
}

static struct upstream *simple(const char *const *allow)
{
    return rig_upstream(&rig, server_url(registry), allow, NULL, NULL);
}

static void script_hello(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say_answer(p, 200, "X-Field: first\r\nX-Field: second\r\n", "hello");
}

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

/* --- redirects -------------------------------------------------------------------------------- */

/* A trial asks for a digest that nobody has heard of. */
static bool is_trial(const struct server_request *r)
{
    static const char blobs[] = "/v2/team/app/blobs/sha256:";
    return strncmp(r->target, blobs, sizeof(blobs) - 1) == 0 &&
           strcmp(r->target, ask_blob.path) != 0;
}

/* Blobs that exist are elsewhere; the random digest of a trial is unknown; the rest is here. */
static void script_redirect(struct server_peer *p, const struct server_request *r, void *arg)
{
    char field[8300];
    (void)arg;
    snprintf(field, sizeof(field), "Location: %s\r\n", location);
    if (strcmp(r->target, ask_blob.path) == 0)
        say_answer(p, 307, location[0] ? field : "", "moved");
    else if (is_trial(r))
        say_answer(p, 404, "", "");
    else
        say_answer(p, 200, "", "here");
}

static void script_there(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say_answer(p, 200, "", "there");
}

static void test_redirect_within_the_host(void **state)
{
    (void)state;
    static const char *const places[] = {"/data/1?a=b", "data", "//%s/data", "http://%s/data"};
    struct server_request r;
    struct heard h;
    for (size_t i = 0; i < countof(places); i++) {
        begin(script_redirect, NULL);
        const char *host = strstr(places[i], "%s");
        snprintf(location, sizeof(location), "%.*s%s%s",
                 (int)(host ? host - places[i] : (int)strlen(places[i])), places[i],
                 host ? server_host(registry) : "", host ? host + 2 : "");
        ask(&rig, simple(NULL), &ask_blob, &h);
        assert_int_equal(h.err, 0);
        assert_string_equal(h.body, "here");
        assert_true(h.redirected);
        unsigned last = server_count(registry) - 1;
        server_request_at(registry, last, &r);
        if (is_trial(&r)) /* it may come last */
            server_request_at(registry, last - 1, &r);
        assert_string_equal(request_field(&r, "Authorization"), "Basic dTpw");
        finish();
    }
}

static void test_redirect_to_a_listed_host(void **state)
{
    (void)state;
    const char *allow[] = {"example.org", NULL, NULL};
    char with_port[64];
    struct upstream_request q = ask_blob;
    struct server_request r;
    struct heard h;
    for (int i = 0; i < 2; i++) {
        begin(script_redirect, script_there);
        snprintf(with_port, sizeof(with_port), "%s", server_host(other));
        allow[1] = i == 0 ? with_port : "127.0.0.1";
        snprintf(location, sizeof(location), "%s/store/x?sig=1", server_url(other));
        q.range = "bytes=5-";
        ask(&rig, simple(allow), &q, &h);
        assert_int_equal(h.err, 0);
        assert_string_equal(h.body, "there");
        assert_true(h.redirected);
        assert_int_equal(server_count(other), 1);
        server_request_at(other, 0, &r);
        assert_string_equal(r.target, "/store/x?sig=1");
        assert_null(request_field(&r, "Authorization"));
        assert_string_equal(request_field(&r, "Range"), "bytes=5-");
        finish();
    }
}

/* Loopback is for nobody but the configured host and those that are listed. */
static void test_redirect_to_an_inner_address(void **state)
{
    (void)state;
    static const char *const hosts[] = {"127.0.0.1", "localhost",          "127.1",     "[::1]",
                                        "0.0.0.0",   "[::ffff:127.0.0.1]", "2130706433"};
    const char *allow[] = {"127.0.0.1:1", "example.org", "127.0.0", NULL};
    struct heard h;
    for (size_t i = 0; i < countof(hosts); i++) {
        begin(script_redirect, script_there);
        snprintf(location, sizeof(location), "http://%s%s/x", hosts[i],
                 strchr(server_host(other), ':'));
        struct upstream *u = simple(allow);
        ask(&rig, u, &ask_blob, &h);
        assert_true(h.err == ERR_DENIED);
        assert_true(strlen(h.why) > 0);
        assert_int_equal(server_count(other), 0);
        assert_false(upstream_is_away(u)); /* the registry itself answered */
        finish();
    }
}

static void test_redirect_that_is_no_url(void **state)
{
    (void)state;
    static const char *const places[] = {
        "",
        "javascript:alert(1)",
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "gopher://127.0.0.1/x",
        "http://user:password@127.0.0.1/x",
        "http://",
        "http://[::1/x",
        "http://127.0.0.1:99999/x",
    };
    struct heard h;
    for (size_t i = 0; i <= countof(places); i++) {
        begin(script_redirect, NULL);
        if (i < countof(places)) {
            snprintf(location, sizeof(location), "%s", places[i]);
        } else {
            memset(location, 'a', 6000);
            memcpy(location, "/", 1);
            location[6000] = '\0';
        }
        ask(&rig, simple(NULL), &ask_blob, &h);
        assert_int_equal(h.err, ERR_PROTO);
        finish();
    }
}

static void test_redirect_not_followed(void **state)
{
    (void)state;
    struct upstream_request q = ask_blob;
    struct heard h;
    begin(script_redirect, NULL);
    snprintf(location, sizeof(location), "/data");
    q.follow = false;
    ask(&rig, simple(NULL), &q, &h);
    assert_int_equal(h.err, 0);
    assert_int_equal(h.status, 307);
    assert_string_equal(h.body, "moved");
    assert_false(h.redirected);
    assert_int_equal(server_count_of(registry, "/data"), 0);
    finish();
}

/* "/n" leads to "/n-1", "/0" answers; the blob leads to `location`. */
static void script_chain(struct server_peer *p, const struct server_request *r, void *arg)
{
    static const int kinds[] = {301, 302, 303, 308};
    char field[64];
    (void)arg;
    unsigned n = (unsigned)strtoul(r->target + 1, NULL, 10);
    if (strcmp(r->target, ask_blob.path) == 0)
        n = (unsigned)strtoul(location, NULL, 10) + 1;
    snprintf(field, sizeof(field), "Location: /%u\r\n", n - 1);
    if (is_trial(r))
        say_answer(p, 404, "", "");
    else if (n == 0)
        say_answer(p, 200, "", "end");
    else
        say_answer(p, kinds[n % 4], field, "");
}

static void test_too_many_redirects(void **state)
{
    (void)state;
    struct heard h;
    begin(script_chain, NULL);
    struct upstream *u = simple(NULL);
    snprintf(location, sizeof(location), "2"); /* to /2, /1, /0: three */
    ask(&rig, u, &ask_blob, &h);
    assert_int_equal(h.err, 0);
    assert_string_equal(h.body, "end");
    snprintf(location, sizeof(location), "3");
    ask(&rig, u, &ask_blob, &h);
    assert_int_equal(h.err, ERR_PROTO);
    assert_int_equal(server_count_of(registry, "/0"), 1);
    finish();
}

static void test_redirect_in_circles(void **state)
{
    (void)state;
    struct heard h;
    begin(script_redirect, NULL);
    snprintf(location, sizeof(location), "%s", ask_blob.path);
    ask(&rig, simple(NULL), &ask_blob, &h);
    assert_int_equal(h.err, ERR_PROTO);
    rig_settle(&rig);
    assert_int_equal(server_count_of(registry, ask_blob.path), 1 + LIMIT_UPSTREAM_REDIRECTS);
    finish();
}

/* A redirect's own body is of no interest, however long. */
static void script_long_redirect(struct server_peer *p, const struct server_request *r, void *arg)
{
    static const char block[65536];
    (void)arg;
    if (strcmp(r->target, "/data") == 0) {
        say_answer(p, 200, "", "here");
        return;
    }
    if (is_trial(r)) {
        say_answer(p, 404, "", "");
        return;
    }
    say(p, "HTTP/1.1 307 Moved\r\nLocation: /data\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 10000; i++)
        say_chunk(p, block, sizeof(block));
    hang_up(p);
}

static void test_redirect_with_an_endless_body(void **state)
{
    (void)state;
    struct heard h;
    begin(script_long_redirect, NULL);
    ask(&rig, simple(NULL), &ask_blob, &h);
    assert_int_equal(h.err, 0);
    assert_string_equal(h.body, "here");
    finish();
}

/* Short, and never at its end: a byte at a time, until the next request is there. */
static void script_dripping_redirect(struct server_peer *p, const struct server_request *r,
                                     void *arg)
{
    (void)arg;
    if (strcmp(r->target, "/data") == 0 || is_trial(r)) {
        say_answer(p, is_trial(r) ? 404 : 200, "", "here");
        return;
    }
    say(p, "HTTP/1.1 307 Moved\r\nLocation: /data\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (server_count_of(registry, "/data") == 0 && !peer_left(p)) {
        say_chunk(p, "x", 1);
        usleep(50000);
    }
    hang_up(p);
}

static void test_redirect_with_a_dripping_body(void **state)
{
    (void)state;
    struct heard h;
    begin(script_dripping_redirect, NULL);
    ask(&rig, simple(NULL), &ask_blob, &h);
    assert_int_equal(h.err, 0);
    assert_string_equal(h.body, "here");
    finish();
}

/* A storage server that fails does not make the registry count as away. */
static void test_failing_storage(void **state)
{
    (void)state;
    const char *allow[] = {"127.0.0.1", NULL};
    struct heard h;
    begin(script_redirect, script_statuses);
    memset(statuses, 0, sizeof(statuses));
    statuses[0] = 503;
    snprintf(location, sizeof(location), "%s/x", server_url(other));
    struct upstream *u = simple(allow);
    ask(&rig, u, &ask_blob, &h);
    assert_int_equal(h.status, 503);
    assert_false(upstream_is_away(u));
    ask(&rig, u, &ask_blob, &h); /* breaks off */
    assert_true(h.err < 0);
    assert_false(upstream_is_away(u));
    finish();
}

/* --- TLS -------------------------------------------------------------------------------------- */

static void begin_tls(server_script script, server_script elsewhere, char ca[128])
{
    rig_open(&rig, MIB);
    rig_path(&rig, "ca.pem", ca);
    registry = server_new(script, NULL, ca);
    other = server_new(elsewhere, NULL, NULL);
    location[0] = '\0';
}

static void test_from_https_to_http(void **state)
{
    (void)state;
    char ca[128];
    const char *allow[] = {"127.0.0.1", NULL};
    struct heard h;
    begin_tls(script_redirect, script_there, ca);
    snprintf(location, sizeof(location), "/data");
    struct upstream *u = rig_upstream(&rig, server_url(registry), allow, NULL, ca);
    ask(&rig, u, &ask_blob, &h); /* the certificate holds, and within https it may */
    assert_int_equal(h.err, 0);
    assert_string_equal(h.body, "here");
    snprintf(location, sizeof(location), "%s/x", server_url(other)); /* though listed */
    ask(&rig, u, &ask_blob, &h);
    assert_int_equal(h.err, ERR_DENIED);
    snprintf(location, sizeof(location), "http://%s/x", server_host(registry));
    ask(&rig, u, &ask_blob, &h);
    assert_int_equal(h.err, ERR_DENIED);
    assert_int_equal(server_count(other), 0);
    finish();
}

static void test_unknown_authority(void **state)
{
    (void)state;
    char ca[128];
    struct heard h;
    begin_tls(script_hello, script_hello, ca);
    struct upstream *u = rig_upstream(&rig, server_url(registry), NULL, NULL, NULL);
    ask(&rig, u, &ask_blob, &h);
    assert_int_equal(h.err, ERR_TLS);
    assert_int_equal(server_count(registry), 0);
    assert_true(upstream_is_away(u));
    finish();
}

/* --- are its redirects a permission? ---------------------------------------------------------- */

/* Redirects whatever is asked under /blobs/. */
static void script_blind(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    if (strstr(r->target, "/blobs/"))
        say_answer(p, 307, "Location: /data\r\n", "");
    else
        say_answer(p, 200, "", "here");
}

static bool trial_seen(void *arg)
{
    return server_count(registry) >= *(const unsigned *)arg;
}

static void wait_requests(unsigned n)
{
    rig_wait(&rig, trial_seen, &n);
    rig_settle(&rig);
    assert_int_equal(server_count(registry), n);
}

static bool proves(void *arg)
{
    return upstream_redirect_proves(arg);
}

/* One of the requests must be a trial: of an unheard-of digest in the same repository, with the
 * same right, put as a permission is asked. */
static void find_trial(struct server_request *r)
{
    for (unsigned i = 0; i < server_count(registry); i++) {
        server_request_at(registry, i, r);
        if (is_trial(r))
            return;
    }
    fail_msg("no trial");
}

static void test_redirects_that_prove(void **state)
{
    (void)state;
    struct server_request r;
    struct heard h;
    begin(script_redirect, NULL);
    snprintf(location, sizeof(location), "/data");
    struct upstream *u = simple(NULL);
    assert_false(upstream_redirect_proves(u));
    ask(&rig, u, &ask_blob, &h);
    rig_wait(&rig, proves, u);
    wait_requests(3);
    find_trial(&r);
    assert_int_equal(strncmp(r.target, "/v2/team/app/blobs/sha256:", 26), 0);
    assert_int_equal(strlen(r.target), 26 + 64);
    assert_string_equal(r.method, "GET");
    assert_string_equal(request_field(&r, "Range"), "bytes=0-0");
    assert_string_equal(request_field(&r, "Authorization"), "Basic dTpw");
    ask(&rig, u, &ask_blob, &h);
    wait_requests(5); /* one trial is enough */
    finish();
}

static void test_redirects_that_prove_nothing(void **state)
{
    (void)state;
    struct heard h;
    begin(script_blind, NULL);
    struct upstream *u = simple(NULL);
    ask(&rig, u, &ask_blob, &h);
    assert_int_equal(h.status, 200);
    wait_requests(3);
    assert_false(upstream_redirect_proves(u));
    ask(&rig, u, &ask_blob, &h);
    wait_requests(5);
    assert_false(upstream_redirect_proves(u));
    finish();
}

/* Blind, but only for GET: to a HEAD it says what it holds. */
static void script_blind_to_get(struct server_peer *p, const struct server_request *r, void *arg)
{
    if (is_trial(r) && strcmp(r->method, "HEAD") == 0)
        say_answer(p, 404, "", "");
    else
        script_blind(p, r, arg);
}

static void test_blind_to_get_alone(void **state)
{
    (void)state;
    struct heard h;
    begin(script_blind_to_get, NULL);
    struct upstream *u = simple(NULL);
    ask(&rig, u, &ask_blob, &h);
    wait_requests(3);
    assert_false(upstream_redirect_proves(u));
    finish();
}

static int trial_status;
static atomic_uint trials;

/* The first trial gets `trial_status`, later ones a clear word. */
static void script_trial(struct server_peer *p, const struct server_request *r, void *arg)
{
    int status = 307;
    (void)arg;
    if (strcmp(r->target, "/data") == 0)
        status = 200;
    else if (is_trial(r))
        status = atomic_fetch_add(&trials, 1) == 0 ? trial_status : 404;
    say_answer(p, status, "Location: /data\r\n", "");
}

static void test_a_trial_that_tells_nothing(void **state)
{
    (void)state;
    static const int tells_nothing[] = {500, 503, 429, 401, 403, 400, 200};
    struct heard h;
    for (size_t i = 0; i < countof(tells_nothing); i++) {
        begin(script_trial, NULL);
        trial_status = tells_nothing[i];
        atomic_store(&trials, 0);
        struct upstream *u = simple(NULL);
        ask(&rig, u, &ask_blob, &h);
        wait_requests(3);
        assert_false(upstream_redirect_proves(u));
        /* A redirect after the end of that trial tries again, and is told. */
        for (int more = 0; more < 50 && !upstream_redirect_proves(u); more++) {
            ask(&rig, u, &ask_blob, &h);
            rig_settle(&rig);
        }
        assert_true(upstream_redirect_proves(u));
        assert_int_equal(atomic_load(&trials), 2);
        finish();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_redirect_within_the_host),
        cmocka_unit_test(test_redirect_to_a_listed_host),
        cmocka_unit_test(test_redirect_to_an_inner_address),
        cmocka_unit_test(test_redirect_that_is_no_url),
        cmocka_unit_test(test_redirect_not_followed),
        cmocka_unit_test(test_too_many_redirects),
        cmocka_unit_test(test_redirect_in_circles),
        cmocka_unit_test(test_redirect_with_an_endless_body),
        cmocka_unit_test(test_redirect_with_a_dripping_body),
        cmocka_unit_test(test_failing_storage),
        cmocka_unit_test(test_from_https_to_http),
        cmocka_unit_test(test_unknown_authority),
        cmocka_unit_test(test_redirects_that_prove),
        cmocka_unit_test(test_redirects_that_prove_nothing),
        cmocka_unit_test(test_blind_to_get_alone),
        cmocka_unit_test(test_a_trial_that_tells_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
