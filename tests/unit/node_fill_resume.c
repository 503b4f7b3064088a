/* node_fill_resume.c - tests of node/fill.h: a fetch that breaks off goes on where it stopped, in
 * the same process or the next; what does not fit is thrown away, and nothing is tried for ever. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* --- a partial file of a former run ----------------------------------------------------------- */

/* The first answer stops after 1 MiB and stays open; the n-th one thereafter is `after[n]`. */
static server_script after_restart;

static void script_then(struct server_peer *p, const struct server_request *r, void *arg)
{
    if (r->number > 0) {
        after_restart(p, r, arg);
        return;
    }
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", layer.len);
    say_bytes(p, layer.data, layer.len < MIB ? layer.len - 1 : MIB);
    wait_gone(p);
}

static void begin_with_partial(server_script then, size_t layer_bytes, u64 partial)
{
    after_restart = then;
    begin(script_then, layer_bytes);
    join();
    client_wait_bytes(&client, partial - 1);
    rig_settle(&rig);
    rig_restart(&rig);
    assert_int_equal(store_partial_size(rig.store, &layer.digest), partial);
    client_init(&client, &rig);
}

static void script_layer(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    say_layer(p, r, &layer, SIZE_MAX);
}

static void test_next_run_goes_on(void **state)
{
    (void)state;
    struct client part;
    begin_with_partial(script_layer, 3 * MIB, MIB);
    client_init(&part, &rig);
    part.first = 1000; /* of what is in the file only */
    part.end = 300000;
    join();
    assert_int_equal(client_join(&part, &layer.digest, NULL), 0);
    client_expect(&part, layer.data + 1000, 299000);
    expect_whole();
    assert_int_equal(server_count(registry), 2);
    expect_range(1, "bytes=1048576-");
    assert_int_equal(fills_fetched_bytes(rig.fills), layer.len);
    finish();
}

static void script_200(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say_cut(p, layer.len);
}

static void test_next_run_gets_the_whole(void **state)
{
    (void)state;
    begin_with_partial(script_200, 3 * MIB, MIB);
    join();
    expect_whole();
    assert_int_equal(server_count(registry), 2);
    finish();
}

static void script_chunked_206(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say(p,
        "HTTP/1.1 206 Part\r\nContent-Range: bytes 1048576-%zu/*\r\n"
        "Transfer-Encoding: chunked\r\n\r\n",
        layer.len - 1);
    say_chunk(p, layer.data + MIB, layer.len - MIB);
    say_chunk(p, "", 0);
}

static void test_next_run_learns_no_size(void **state)
{
    (void)state;
    begin_with_partial(script_chunked_206, 3 * MIB, MIB);
    join();
    expect_whole();
    assert_true(client.size == STORE_SIZE_UNKNOWN);
    finish();
}

static void flip_first_byte(void)
{
    char path[128], name[300], hex[DIGEST_TEXT_SIZE];
    digest_format_hex(&layer.digest, hex);
    rig_path(&rig, "store/ingest", path);
    snprintf(name, sizeof(name), "%s/sha256-%s", path, hex);
    int fd = open(name, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    u8 byte = layer.data[0] ^ 1;
    assert_int_equal(pwrite(fd, &byte, 1, 0), 1);
    close(fd);
}

static bool over(void *arg)
{
    (void)arg;
    return client.ended || client.failed;
}

/* The client's answer ends short, whatever it got before, and nothing of it is kept. */
static void expect_wrong(void)
{
    rig_wait(&rig, over, NULL);
    assert_true(client.ready);
    assert_true(client.end_err < 0);
    assert_true(client.first + client.len < layer.len);
    client_leave(&client);
    rig_wait_idle(&rig);
    assert_false(rig_holds(&rig, &layer));
    assert_int_equal(store_partial_size(rig.store, &layer.digest), 0);
    assert_int_equal(rig_counter(&rig, "dray_dropped_total", "reason=\"wrong_digest\""), 1);
    client_init(&client, &rig); /* for the next try, which starts anew */
    join();
    expect_whole();
    expect_range(server_count(registry) - 1, NULL);
}

static void test_damaged_partial(void **state)
{
    (void)state;
    begin_with_partial(script_layer, 3 * MIB, MIB);
    flip_first_byte();
    client.first = MIB; /* beyond the damage */
    join();
    expect_wrong();
    finish();
}

static void script_refuse(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    if (r->number == 1)
        say_answer(p, 403, "", "{}");
    else
        say_layer(p, r, &layer, SIZE_MAX);
}

static void test_refused_partial_stays(void **state)
{
    (void)state;
    begin_with_partial(script_refuse, 3 * MIB, MIB);
    join();
    client_expect_failed(&client, ERR_DENIED);
    rig_wait_idle(&rig);
    assert_int_equal(store_partial_size(rig.store, &layer.digest), MIB);
    client_init(&client, &rig);
    join();
    expect_whole();
    expect_range(2, "bytes=1048576-");
    finish();
}

/* --- a partial file that the registry's blob does not fit ------------------------------------- */

/* Leaves a partial of `held` bytes of whatever, under the layer's name. */
static void plant_partial(const void *data, size_t held)
{
    struct store_ingest *i;
    struct store_ingest_options opt = {
        .digest = layer.digest, .size = STORE_SIZE_UNKNOWN, .now_ms = 1};
    assert_int_equal(store_ingest_begin(rig.store, &opt, &i), 0);
    assert_int_equal(store_ingest_reserve(i, held), 0);
    assert_int_equal(store_ingest_write(i, data, held), 0);
    store_ingest_keep(i);
    assert_int_equal(store_partial_size(rig.store, &layer.digest), held);
}

static void test_partial_is_all_there_is(void **state)
{
    (void)state;
    begin(script_layer, 300000);
    plant_partial(layer.data, layer.len);
    join();
    expect_whole();
    expect_range(0, "bytes=300000-"); /* 416, of 300000: right and complete */
    assert_int_equal(server_count(registry), 1);
    assert_int_equal(client.size, layer.len);
    finish();
}

static void test_partial_is_all_there_is_but_wrong(void **state)
{
    (void)state;
    begin(script_layer, 300000);
    layer.data[0] ^= 1;
    plant_partial(layer.data, layer.len);
    layer.data[0] ^= 1;
    join();
    expect_wrong();
    finish();
}

/* Longer than the layer is. The registry says so by 416, or does not know Range. */
static void test_partial_is_too_long(void **state)
{
    (void)state;
    static const server_script scripts[] = {script_layer, script_200};
    for (size_t i = 0; i < countof(scripts); i++) {
        struct layer longer;
        begin(scripts[i], 300000);
        layer_make(&longer, 400000, 7);
        plant_partial(longer.data, longer.len);
        join();
        expect_whole();
        expect_range(0, "bytes=400000-");
        expect_range(1, NULL);
        assert_int_equal(server_count(registry), 2);
        layer_free(&longer);
        finish();
    }
}

static void script_416_bare(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    if (request_field(r, "Range"))
        say_answer(p, 416, "", "");
    else
        say_layer(p, r, &layer, SIZE_MAX);
}

/* Is the partial all there is? The digest says. */
static void test_416_that_says_nothing(void **state)
{
    (void)state;
    begin(script_416_bare, 300000);
    plant_partial(layer.data, layer.len);
    join();
    expect_whole();
    assert_int_equal(server_count(registry), 1);
    finish();
    begin(script_416_bare, 300000);
    plant_partial(layer.data, 100000);
    join();
    expect_wrong();
    assert_int_equal(server_count(registry), 2);
    finish();
}

/* Refuses every Range, also the fresh request: an end must come. */
static void script_416_always(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say_answer(p, 416, "Content-Range: bytes */5\r\n", "");
}

static void test_416_without_a_range(void **state)
{
    (void)state;
    begin(script_416_always, 300000);
    plant_partial(layer.data, 100000);
    join();
    client_expect_failed(&client, ERR_DENIED);
    assert_int_equal(client.refusal, 416);
    assert_int_equal(server_count(registry), 2);
    finish();
}

static void see(void *arg, const struct fill_status *st)
{
    *(struct fill_status *)arg = *st;
}

static void script_forgetful(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    if (request_field(r, "Range")) {
        say_answer(p, 416, "Content-Range: bytes */5\r\n", "");
        return;
    }
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", layer.len);
    say_bytes(p, layer.data, 1000);
    wait_gate(p, 0);
    say_bytes(p, layer.data + 1000, layer.len - 1000);
}

static bool second_passed(void *arg)
{
    return uv_now(&rig.loop) > *(u64 *)arg;
}

/* The speed that status shows counts from where the fetch began in truth. */
static void test_speed_after_a_forgotten_partial(void **state)
{
    (void)state;
    struct fill_status st;
    begin(script_forgetful, 300000);
    plant_partial(layer.data, 100000);
    join();
    client_wait_bytes(&client, 1000);
    u64 until = uv_now(&rig.loop) + 1001;
    rig_wait(&rig, second_passed, &until);
    fills_tick(rig.fills);
    fills_each(rig.fills, see, &st);
    assert_in_range(st.bytes_per_s, 1, 1000);
    server_open(registry, 0);
    expect_whole();
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
        cmocka_unit_test(test_next_run_goes_on),
        cmocka_unit_test(test_next_run_gets_the_whole),
        cmocka_unit_test(test_next_run_learns_no_size),
        cmocka_unit_test(test_damaged_partial),
        cmocka_unit_test(test_refused_partial_stays),
        cmocka_unit_test(test_partial_is_all_there_is),
        cmocka_unit_test(test_partial_is_all_there_is_but_wrong),
        cmocka_unit_test(test_partial_is_too_long),
        cmocka_unit_test(test_416_that_says_nothing),
        cmocka_unit_test(test_416_without_a_range),
        cmocka_unit_test(test_speed_after_a_forgotten_partial),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
