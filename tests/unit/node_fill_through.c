/* node_fill_through.c - tests of node/fill.h where nothing can be kept: no room, a failing disk.
 * The layer is then served through, at the pace of its slowest reader and within bounded memory. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "node/fill_internal.h"
#include "support/rig.h"

#define SMALL     (4 * MIB)  /* a store with no room for */
#define LARGE     (24 * MIB) /* this */
#define LAG_MAX   (LIMIT_FILL_LAG_BYTES + LIMIT_FILL_BLOCK_BYTES)
#define GATE_REST 0

static struct layer layer;
static struct rig rig;
static struct server *registry;

static void begin(server_script script, u64 capacity, size_t layer_bytes)
{
    rig_open(&rig, capacity);
    layer_make(&layer, layer_bytes, 3);
    registry = server_new(script, NULL, NULL);
    rig_upstream(&rig, server_url(registry), NULL, NULL, NULL);
    rig_timer_max_ms = 5;
}

static void finish(void)
{
    rig_timer_max_ms = 0;
    rig_close(&rig);
    server_del(registry);
    layer_free(&layer);
}

static void join(struct client *c)
{
    client_init(c, &rig);
    assert_int_equal(client_join(c, &layer.digest, NULL), 0);
}

static void expect_nothing_kept(void)
{
    struct store_stats stats;
    rig_wait_idle(&rig);
    assert_false(rig_holds(&rig, &layer));
    assert_int_equal(store_partial_size(rig.store, &layer.digest), 0);
    store_stats(rig.store, &stats);
    assert_int_equal(stats.used_bytes, 0);
    assert_int_equal(rig.fills->cache.blocks, 0);
}

static void expect_bounded_memory(void)
{
    assert_true(rig.fills->cache.blocks <= LAG_MAX / LIMIT_FILL_BLOCK_BYTES + 2);
}

static void script_layer(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    say_layer(p, r, &layer, SIZE_MAX);
}

/* --- the slowest reader sets the pace --------------------------------------------------------- */

static void test_pace_of_the_slowest(void **state)
{
    (void)state;
    struct client slow, fast;
    begin(script_layer, SMALL, LARGE);
    join(&slow);
    join(&fast);
    slow.budget = 10000;
    client_wait_bytes(&slow, 10000);
    client_wait_bytes(&fast, LIMIT_FILL_LAG_BYTES / 2);
    rig_settle(&rig);
    assert_true(slow.ready && !slow.kept);
    /* The fast one is not served for long beyond what the slow one has yet to read. */
    assert_true(fast.len <= slow.len + LAG_MAX);
    assert_true(fills_fetched_bytes(rig.fills) <= slow.len + LAG_MAX);
    expect_bounded_memory();
    slow.budget = 12 * MIB;
    client_wait_bytes(&slow, 12 * MIB);
    client_wait_bytes(&fast, 12 * MIB + 1);
    rig_settle(&rig);
    assert_true(fast.len <= slow.len + LAG_MAX);
    expect_bounded_memory();
    slow.budget = UINT64_MAX;
    client_expect(&slow, layer.data, layer.len);
    client_expect(&fast, layer.data, layer.len);
    expect_nothing_kept();
    assert_int_equal(server_count(registry), 1);
    assert_int_equal(rig_counter(&rig, "dray_served_through_total", ""), 1);
    finish();
}

static void test_slow_reader_leaves(void **state)
{
    (void)state;
    struct client slow, fast;
    begin(script_layer, SMALL, LARGE);
    join(&slow);
    join(&fast);
    slow.budget = 10000;
    rig_settle(&rig);
    assert_true(fast.len < layer.len);
    client_leave(&slow); /* the other one goes on without any further push */
    client_expect(&fast, layer.data, layer.len);
    expect_nothing_kept();
    finish();
}

static void test_parts(void **state)
{
    (void)state;
    struct client head, middle;
    begin(script_layer, SMALL, LARGE);
    client_init(&head, &rig);
    client_init(&middle, &rig);
    head.end = 1000;
    middle.first = 9 * MIB; /* beyond any window: what comes before is passed over */
    middle.end = 10 * MIB;
    assert_int_equal(client_join(&head, &layer.digest, NULL), 0);
    assert_int_equal(client_join(&middle, &layer.digest, NULL), 0);
    client_expect(&head, layer.data, 1000);
    client_expect(&middle, layer.data + middle.first, MIB);
    expect_nothing_kept();
    assert_true(fills_fetched_bytes(rig.fills) < layer.len); /* nobody wanted the rest */
    finish();
}

static void test_nobody_left(void **state)
{
    (void)state;
    struct client a, b;
    begin(script_layer, SMALL, LARGE);
    join(&a);
    join(&b);
    a.budget = b.budget = 5000;
    client_wait_bytes(&a, 5000);
    client_wait_bytes(&b, 5000);
    rig_settle(&rig);
    client_leave(&a);
    assert_int_equal(fills_running(rig.fills), 1);
    client_leave(&b);
    expect_nothing_kept();
    assert_true(fills_fetched_bytes(rig.fills) <= 5000 + LAG_MAX);
    finish();
}

static void test_nobody_came(void **state)
{
    (void)state;
    struct client c;
    begin(script_layer, SMALL, LARGE);
    join(&c);
    client_leave(&c); /* before the head */
    expect_nothing_kept();
    assert_true(fills_fetched_bytes(rig.fills) <= LIMIT_FILL_BLOCK_BYTES);
    finish();
}

/* Who comes while the beginning is still in memory shares; who comes later starts another fetch. */
static void test_latecomers(void **state)
{
    (void)state;
    struct client first, early, late;
    begin(script_layer, SMALL, LARGE);
    join(&first);
    first.budget = 10000;
    client_wait_bytes(&first, 10000);
    rig_settle(&rig);
    join(&early);
    assert_true(early.ready);
    assert_int_equal(server_count(registry), 1);
    first.budget = early.budget = 12 * MIB;
    client_wait_bytes(&first, 12 * MIB);
    client_wait_bytes(&early, 12 * MIB);
    rig_settle(&rig);
    join(&late);
    assert_false(late.ready);
    assert_int_equal(fills_running(rig.fills), 2);
    first.budget = early.budget = UINT64_MAX;
    client_expect(&first, layer.data, layer.len);
    client_expect(&early, layer.data, layer.len);
    client_expect(&late, layer.data, layer.len);
    assert_int_equal(server_count(registry), 2);
    expect_nothing_kept();
    finish();
}

/* --- wrong, broken off, empty ----------------------------------------------------------------- */

static void script_wrong(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    u8 wrong = layer.data[layer.len - 1] ^ 1;
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", layer.len);
    say_bytes(p, layer.data, layer.len - 1);
    say_bytes(p, &wrong, 1);
}

static void test_wrong_bytes_never_complete(void **state)
{
    (void)state;
    struct client c;
    begin(script_wrong, SMALL, 6 * MIB);
    join(&c);
    client_expect_cut(&c, &layer);
    expect_nothing_kept();
    assert_int_equal(rig_counter(&rig, "dray_dropped_total", "reason=\"wrong_digest\""), 1);
    finish();
}

static void script_breaks_off(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    say_layer(p, r, &layer, r->number < 2 ? 2 * MIB + 1 : SIZE_MAX);
}

static void test_goes_on_where_it_stopped(void **state)
{
    (void)state;
    struct client c;
    begin(script_breaks_off, SMALL, 6 * MIB);
    join(&c);
    client_expect(&c, layer.data, layer.len);
    assert_int_equal(server_count(registry), 3);
    assert_int_equal(fills_fetched_bytes(rig.fills), layer.len);
    expect_nothing_kept();
    finish();
}

/* --- it turns out on the way ------------------------------------------------------------------ */

static void script_chunked(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t at = 0; at < layer.len; at += 100000) {
        if (at == 1000000)
            wait_gate(p, GATE_REST);
        say_chunk(p, layer.data + at, layer.len - at < 100000 ? layer.len - at : 100000);
    }
    say_chunk(p, "", 0);
}

static void test_unknown_size_outgrows_the_store(void **state)
{
    (void)state;
    struct client slow, fast, late;
    struct store_stats stats;
    begin(script_chunked, SMALL, LARGE);
    server_open(registry, GATE_REST);
    join(&slow);
    slow.budget = 100;
    join(&fast);
    client_wait_bytes(&fast, 3 * MIB);
    rig_settle(&rig);
    assert_true(slow.kept); /* it looked so when it began */
    store_stats(rig.store, &stats);
    assert_true(stats.used_bytes <= SMALL);
    /* What stands in the file need not stay in memory for the slow one. */
    assert_true(fast.len < layer.len);
    expect_bounded_memory();
    join(&late); /* file and memory together still hold the beginning */
    slow.budget = UINT64_MAX;
    client_expect(&slow, layer.data, layer.len);
    client_expect(&fast, layer.data, layer.len);
    client_expect(&late, layer.data, layer.len);
    assert_int_equal(server_count(registry), 1);
    expect_nothing_kept();
    finish();
}

static void test_unknown_size_outgrows_with_nobody_left(void **state)
{
    (void)state;
    struct client c;
    begin(script_chunked, SMALL, LARGE);
    join(&c);
    client_wait_bytes(&c, 900000);
    client_leave(&c);
    server_open(registry, GATE_REST);
    expect_nothing_kept();
    assert_true(fills_fetched_bytes(rig.fills) < layer.len / 2);
    finish();
}

/* A file may not grow beyond 2 MiB: the disk fails half way. */
static void test_failing_disk(void **state)
{
    (void)state;
    struct client slow, fast;
    struct rlimit before, small;
    begin(script_layer, 64 * MIB, LARGE);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 2 * MIB + 12345;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    join(&slow);
    join(&fast);
    slow.budget = 100;
    client_wait_bytes(&fast, 3 * MIB);
    rig_settle(&rig);
    expect_bounded_memory();
    slow.budget = UINT64_MAX;
    client_expect(&slow, layer.data, layer.len); /* from the file as far as it goes */
    client_expect(&fast, layer.data, layer.len);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(server_count(registry), 1);
    assert_int_equal(rig_counter(&rig, "dray_served_through_total", ""), 1);
    expect_nothing_kept();
    finish();
}

static void test_partial_that_cannot_grow(void **state)
{
    (void)state;
    struct client c;
    struct store_ingest *i;
    begin(script_layer, SMALL, 6 * MIB);
    struct store_ingest_options opt = {
        .digest = layer.digest, .size = STORE_SIZE_UNKNOWN, .now_ms = 1};
    assert_int_equal(store_ingest_begin(rig.store, &opt, &i), 0);
    assert_int_equal(store_ingest_reserve(i, MIB), 0);
    assert_int_equal(store_ingest_write(i, layer.data, MIB), 0);
    store_ingest_keep(i);
    join(&c);
    client_expect(&c, layer.data, layer.len);
    assert_false(c.kept);
    assert_int_equal(fills_fetched_bytes(rig.fills), layer.len - MIB);
    expect_nothing_kept();
    finish();
}

/* --- many at once ----------------------------------------------------------------------------- */

static void test_many_share_the_lag(void **state)
{
    (void)state;
    enum { LAYERS = 24 };
    static struct client clients[LAYERS];
    begin(script_layer, SMALL, 6 * MIB);
    for (unsigned i = 0; i < LAYERS; i++) { /* other names for the same bytes: all end as wrong */
        struct digest d = layer.digest;
        d.bytes[31] ^= (u8)(i + 1);
        client_init(&clients[i], &rig);
        clients[i].budget = 1000;
        assert_int_equal(client_join(&clients[i], &d, NULL), 0);
    }
    for (unsigned i = 0; i < LAYERS; i++)
        client_wait_bytes(&clients[i], 1000);
    rig_settle(&rig);
    u64 bound = 64 * MIB / LIMIT_FILL_BLOCK_BYTES + 2 * LAYERS;
    assert_true(rig.fills->cache.blocks <= bound);
    for (unsigned i = 0; i < LAYERS; i++) {
        assert_int_equal(clients[i].len, 1000);
        client_leave(&clients[i]);
    }
    expect_nothing_kept();
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pace_of_the_slowest),
        cmocka_unit_test(test_slow_reader_leaves),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_nobody_left),
        cmocka_unit_test(test_nobody_came),
        cmocka_unit_test(test_latecomers),
        cmocka_unit_test(test_wrong_bytes_never_complete),
        cmocka_unit_test(test_goes_on_where_it_stopped),
        cmocka_unit_test(test_unknown_size_outgrows_the_store),
        cmocka_unit_test(test_unknown_size_outgrows_with_nobody_left),
        cmocka_unit_test(test_failing_disk),
        cmocka_unit_test(test_partial_that_cannot_grow),
        cmocka_unit_test(test_many_share_the_lag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
