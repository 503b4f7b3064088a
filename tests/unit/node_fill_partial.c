/* node_fill_partial.c - tests of node/fill.h: a partial file that a former run left behind is gone
 * on with, if it fits what the registry has, and if its bytes are right. */
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

static void say_cut(struct server_peer *p, size_t n)
{
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", layer.len);
    say_bytes(p, layer.data, n);
    hang_up(p);
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
    client_wait_bytes(&client, partial);
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
