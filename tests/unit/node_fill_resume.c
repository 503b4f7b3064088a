/* node_fill_resume.c - tests of node/fill.h: a fetch that breaks off goes on where it stopped; what
 * does not fit is thrown away, and nothing is tried for ever. In the next process:
 * node_fill_partial.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/limits.h"
#include "support/rig.h"

#define CAPACITY (64 * MIB)

static struct layer layer;
static struct rig rig;
static struct server *registry;
static struct client client;

static void begin(server_script script, size_t layer_bytes)
{
    rig_open(&rig, CAPACITY);
    layer_make(&layer, layer_bytes, 7);
    registry = server_new(script, NULL, NULL);
    rig_upstream(&rig, server_url(registry), NULL, NULL, NULL);
    rig_timer_max_ms = 5; /* waits between attempts are not what is tested */
    client_init(&client, &rig);
}

static void finish(void)
{
    rig_timer_max_ms = 0;
    rig_close(&rig);
    server_del(registry);
    layer_free(&layer);
}

static void join(void)
{
    assert_int_equal(client_join(&client, &layer.digest, "Basic u"), 0);
}

static void expect_range(unsigned n, const char *range)
{
    struct server_request r;
    server_request_at(registry, n, &r);
    const char *value = request_field(&r, "Range");
    if (range)
        assert_string_equal(value ? value : "(none)", range);
    else
        assert_null(value);
}

static void expect_whole(void)
{
    client_expect(&client, layer.data, layer.len);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    assert_int_equal(store_partial_size(rig.store, &layer.digest), 0);
}

/* The client's answer ends short, and nothing whole is kept, but perhaps a partial. */
static void expect_cut(u64 partial)
{
    client_expect_cut(&client, &layer);
    rig_wait_idle(&rig);
    assert_false(rig_holds(&rig, &layer));
    if (partial == 0)
        assert_int_equal(store_partial_size(rig.store, &layer.digest), 0);
    else /* what was not yet written when it failed is lost */
        assert_in_range(store_partial_size(rig.store, &layer.digest), 1, partial);
}

/* A 200 that says the true length and hangs up after `n` bytes. */
static void say_cut(struct server_peer *p, size_t n)
{
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", layer.len);
    say_bytes(p, layer.data, n);
    hang_up(p);
}

/* --- going on --------------------------------------------------------------------------------- */

/* Each answer brings a third of what is left, at most; the fourth all of it. */
static void script_thirds(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    say_layer(p, r, &layer, r->number < 3 ? layer.len / 4 : SIZE_MAX);
}

static void test_goes_on_where_it_stopped(void **state)
{
    (void)state;
    begin(script_thirds, 4 * 300000);
    join();
    expect_whole();
    expect_range(0, NULL);
    expect_range(1, "bytes=300000-");
    expect_range(2, "bytes=600000-");
    expect_range(3, "bytes=900000-");
    assert_int_equal(server_count(registry), 4);
    assert_int_equal(fills_fetched_bytes(rig.fills), layer.len); /* no byte twice */
    assert_int_equal(rig_counter(&rig, "dray_fetches_resumed_total", ""), 3);
    finish();
}

/* Does not know Range: the whole again. */
static void script_no_range(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    if (r->number == 0)
        say_cut(p, 300000);
    else
        say_answer(p, 200, "", "");
}

static void script_no_range_then_whole(struct server_peer *p, const struct server_request *r,
                                       void *arg)
{
    (void)arg;
    say_cut(p, r->number == 0 ? 300001 : layer.len);
}

static void test_whole_instead_of_the_rest(void **state)
{
    (void)state;
    begin(script_no_range_then_whole, 3 * MIB);
    join();
    expect_whole();
    assert_int_equal(server_count(registry), 2);
    expect_range(1, "bytes=300001-");
    assert_int_equal(fills_fetched_bytes(rig.fills), layer.len + 300001); /* all that came */
    finish();
}

static void test_other_size_on_resume(void **state)
{
    (void)state;
    begin(script_no_range, MIB);
    join();
    expect_cut(300000); /* "Content-Length: 0" the second time; what came first may be right */
    assert_int_equal(server_count(registry), 2);
    finish();
}

/* Never gets beyond what is here already, because it knows no Range and breaks off earlier. */
static void script_ever_shorter(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    say_cut(p, r->number == 0 ? 500000 : 100000);
}

static void test_known_bytes_are_no_progress(void **state)
{
    (void)state;
    begin(script_ever_shorter, MIB);
    join();
    expect_cut(500000);
    assert_int_equal(server_count(registry), 1 + 6);
    finish();
}

static void script_stops_for_good(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    if (r->number == 0)
        say_layer(p, r, &layer, 12345);
    else
        hang_up(p);
}

static void test_attempts_are_bounded(void **state)
{
    (void)state;
    begin(script_stops_for_good, MIB);
    join();
    expect_cut(12345);
    /* Each is sent twice when no answer came: a kept connection may have died. */
    assert_in_range(server_count(registry), 1 + 6, 1 + 12);
    for (unsigned i = 1; i < 7; i++)
        expect_range(i, "bytes=12345-");
    finish();
}

/* Breaks off ten times, with some bytes each time: that is progress, and may go on. */
static void script_crumbs(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    say_layer(p, r, &layer, r->number < 10 ? 1000 : SIZE_MAX);
}

static void test_progress_renews_the_attempts(void **state)
{
    (void)state;
    begin(script_crumbs, 100000);
    join();
    expect_whole();
    assert_int_equal(server_count(registry), 11);
    finish();
}

static void script_busy_meanwhile(struct server_peer *p, const struct server_request *r, void *arg)
{
    static const int statuses[] = {0, 503, 429, 500};
    (void)arg;
    if (r->number == 0)
        say_layer(p, r, &layer, 70000);
    else if (r->number < countof(statuses))
        say_answer(p, statuses[r->number], "Retry-After: 1\r\n", "busy");
    else
        say_layer(p, r, &layer, SIZE_MAX);
}

static void test_busy_registry_is_asked_again(void **state)
{
    (void)state;
    begin(script_busy_meanwhile, 200000);
    join();
    expect_whole();
    assert_int_equal(server_count(registry), 5);
    finish();
}

/* --- rights that end half way ----------------------------------------------------------------- */

static void script_token_ends(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    const char *value = request_field(r, "Authorization");
    if (r->number == 0)
        say_layer(p, r, &layer, 70000);
    else if (value && strcmp(value, "Basic v") == 0)
        say_layer(p, r, &layer, SIZE_MAX);
    else
        say_answer(p, 401, "WWW-Authenticate: Basic realm=\"x\"\r\n", "");
}

static void test_another_right_goes_on(void **state)
{
    (void)state;
    struct client other;
    begin(script_token_ends, 200000);
    join();
    client_init(&other, &rig);
    assert_int_equal(client_join(&other, &layer.digest, "Basic v"), 0);
    client_expect(&other, layer.data, layer.len);
    expect_whole();
    assert_int_equal(server_count(registry), 3);
    expect_range(2, "bytes=70000-");
    finish();
}

static void test_no_right_is_left(void **state)
{
    (void)state;
    begin(script_token_ends, 200000);
    join();
    expect_cut(70000);
    assert_int_equal(server_count(registry), 2);
    finish();
}

/* --- lies ------------------------------------------------------------------------------------- */

/* What the second answer says, after a first one that broke off at 100,000 of 200,000 bytes. */
static const char *second_head;

static void script_second_head(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    if (r->number == 0) {
        say_layer(p, r, &layer, 100000);
        return;
    }
    say(p, "%s\r\n", second_head);
    say_bytes(p, layer.data + 100000, 100000);
    hang_up(p);
}

static void test_ranges_that_were_not_asked_for(void **state)
{
    (void)state;
    static const char *const heads[] = {
        "HTTP/1.1 206 Part\r\nContent-Range: bytes 99999-199999/200000\r\nContent-Length: 100001\r\n",
        "HTTP/1.1 206 Part\r\nContent-Range: bytes 100001-199999/200000\r\nContent-Length: 99999\r\n",
        "HTTP/1.1 206 Part\r\nContent-Range: bytes 100000-200000/200001\r\nContent-Length: 100001\r\n",
        "HTTP/1.1 206 Part\r\nContent-Range: bytes 100000-199999/100000\r\nContent-Length: 100000\r\n",
        "HTTP/1.1 206 Part\r\nContent-Range: rubbish\r\nContent-Length: 100000\r\n",
        "HTTP/1.1 206 Part\r\nContent-Length: 100000\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 199999\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 200001\r\n",
    };
    for (size_t i = 0; i < countof(heads); i++) {
        second_head = heads[i];
        begin(script_second_head, 200000);
        join();
        expect_cut(100000);
        assert_int_equal(server_count(registry), 2);
        finish();
    }
}

static void test_ranges_that_fit(void **state)
{
    (void)state;
    static const char *const heads[] = {
        "HTTP/1.1 206 Part\r\nContent-Range: bytes 100000-199999/200000\r\nContent-Length: 100000\r\n",
        "HTTP/1.1 206 Part\r\nContent-Range: bytes 100000-199999/*\r\nContent-Length: 100000\r\n",
    };
    for (size_t i = 0; i < countof(heads); i++) {
        second_head = heads[i];
        begin(script_second_head, 200000);
        join();
        expect_whole();
        finish();
    }
}

static void script_too_many_bytes(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    if (r->number == 0) {
        say_layer(p, r, &layer, 100000);
        return;
    }
    say(p,
        "HTTP/1.1 206 Part\r\nContent-Range: bytes 100000-%zu/%zu\r\n"
        "Transfer-Encoding: chunked\r\n\r\n",
        layer.len - 1, layer.len);
    say_chunk(p, layer.data + 100000, layer.len - 100000);
    say_chunk(p, "and more", 8);
    say_chunk(p, "", 0);
}

/* More comes than was said; what was said is right all the same, or the answer is given up. */
static void test_more_bytes_than_said(void **state)
{
    (void)state;
    begin(script_too_many_bytes, 8 * MIB);
    join();
    client_expect_cut(&client, &layer);
    rig_wait_idle(&rig);
    assert_false(rig_holds(&rig, &layer));
    assert_int_equal(server_count(registry), 2);
    finish();
}

static void script_416(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    if (r->number == 0)
        say_layer(p, r, &layer, 100000);
    else
        say_answer(p, 416, "Content-Range: bytes */100000\r\n", "");
}

/* It said 200,000 and now has no more than 100,000: one of the two is a lie, nothing is kept. */
static void test_nothing_left_in_the_middle(void **state)
{
    (void)state;
    begin(script_416, 200000);
    join();
    expect_cut(0);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goes_on_where_it_stopped),
        cmocka_unit_test(test_whole_instead_of_the_rest),
        cmocka_unit_test(test_other_size_on_resume),
        cmocka_unit_test(test_known_bytes_are_no_progress),
        cmocka_unit_test(test_attempts_are_bounded),
        cmocka_unit_test(test_progress_renews_the_attempts),
        cmocka_unit_test(test_busy_registry_is_asked_again),
        cmocka_unit_test(test_another_right_goes_on),
        cmocka_unit_test(test_no_right_is_left),
        cmocka_unit_test(test_ranges_that_were_not_asked_for),
        cmocka_unit_test(test_ranges_that_fit),
        cmocka_unit_test(test_more_bytes_than_said),
        cmocka_unit_test(test_nothing_left_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
