/* node_fill.c - tests of node/fill.h: one fetch for all who wait, and what becomes of wrong bytes.
 * Whose right is asked: node_fill_rights.c. Broken-off fetches: node_fill_resume.c. No room:
 * node_fill_through.c. The end of a node: node_fill_stop.c. */
#include "store/hash.h"
#include "tests/unit/fill_fixture.h"

static bool stored(void *arg)
{
    (void)arg;
    return rig_holds(&rig, &layer);
}

static bool over(void *arg)
{
    const struct client *c = arg;
    return c->ended || c->failed;
}

static void wait_over(struct client *c)
{
    rig_wait(&rig, over, c);
}

/* --- one fetch for all ------------------------------------------------------------------------ */

static void test_many_clients_one_get(void **state)
{
    (void)state;
    enum { EARLY = 20, LATE = 20 };
    static struct client clients[EARLY + LATE + 1];
    begin(script_half, 3 * MIB + 17);
    for (int i = 0; i < EARLY; i++) {
        client_init(&clients[i], &rig);
        assert_int_equal(client_join(&clients[i], &layer.digest, "Basic same"), 0);
        assert_false(clients[i].ready);
    }
    assert_int_equal(fills_running(rig.fills), 1);
    client_wait_bytes(&clients[0], layer.len / 2);
    assert_true(fill_is_streaming(rig.fills, &layer.digest));
    for (int i = EARLY; i < EARLY + LATE; i++) {
        client_init(&clients[i], &rig);
        assert_int_equal(client_join(&clients[i], &layer.digest, "Basic other"), 0);
        assert_true(clients[i].ready); /* the head is known: at once */
    }
    server_open(registry, 0);
    for (int i = 0; i < EARLY + LATE; i++) {
        client_expect(&clients[i], layer.data, layer.len);
        assert_int_equal(clients[i].size, layer.len);
        assert_true(clients[i].kept);
    }
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    assert_int_equal(server_count(registry), 1);
    assert_int_equal(fills_fetched_bytes(rig.fills), layer.len);
    assert_false(fill_is_streaming(rig.fills, &layer.digest));
    finish();
}

static void test_two_layers_do_not_mix(void **state)
{
    (void)state;
    struct client a, b;
    struct layer wanted;
    begin(script_half, 600 * KIB);
    layer_make(&wanted, 10, 2); /* the registry answers with the other's bytes */
    client_init(&a, &rig);
    client_init(&b, &rig);
    assert_int_equal(client_join(&a, &layer.digest, NULL), 0);
    assert_int_equal(client_join(&b, &wanted.digest, NULL), 0);
    assert_int_equal(fills_running(rig.fills), 2);
    wait_asked(2);
    server_open(registry, 0);
    client_expect(&a, layer.data, layer.len);
    wait_over(&b);
    assert_true(b.end_err < 0);
    client_leave(&b);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    assert_false(rig_holds(&rig, &wanted));
    layer_free(&wanted);
    finish();
}

static void test_whoever_leaves_stops_nobody(void **state)
{
    (void)state;
    struct client first, second, third;
    begin(script_half, 2 * MIB);
    client_init(&first, &rig);
    client_init(&second, &rig);
    client_init(&third, &rig);
    assert_int_equal(client_join(&first, &layer.digest, "Basic a"), 0);
    assert_int_equal(client_join(&second, &layer.digest, "Basic b"), 0);
    assert_int_equal(client_join(&third, &layer.digest, "Basic c"), 0);
    client_leave(&first); /* whose right is being asked */
    client_leave(&first); /* again: harmless */
    client_wait_bytes(&second, MIB);
    assert_false(first.ready || first.failed);
    client_leave(&second);
    server_open(registry, 0);
    client_expect(&third, layer.data, layer.len);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    assert_int_equal(server_count(registry), 1);
    finish();
}

static void test_kept_though_everybody_left(void **state)
{
    (void)state;
    struct client c;
    begin(script_half, MIB + 1);
    client_init(&c, &rig);
    assert_int_equal(client_join(&c, &layer.digest, NULL), 0);
    client_wait_bytes(&c, 1000);
    client_leave(&c);
    server_open(registry, 0);
    rig_wait(&rig, stored, NULL);
    rig_wait_idle(&rig);
    assert_int_equal(server_count(registry), 1);
    finish();
}

/* A reader that stands still must hold up neither the others nor the store. */
static void test_slow_reader_holds_nobody_up(void **state)
{
    (void)state;
    struct client slow, fast;
    begin(script_layer, 24 * MIB);
    client_init(&slow, &rig);
    client_init(&fast, &rig);
    slow.budget = 100;
    assert_int_equal(client_join(&slow, &layer.digest, NULL), 0);
    assert_int_equal(client_join(&fast, &layer.digest, NULL), 0);
    client_expect(&fast, layer.data, layer.len);
    rig_wait(&rig, stored, NULL);
    assert_int_equal(slow.len, 100);
    slow.budget = UINT64_MAX; /* the rest, from the file by now */
    client_expect(&slow, layer.data, layer.len);
    assert_int_equal(server_count(registry), 1);
    finish();
}

static void on_peer_wake(void *arg)
{
    (void)arg;
}

/* Peers read along from what is here already, and from nothing else. */
static void test_a_fill_with_a_byte(void **state)
{
    (void)state;
    struct client c;
    const void *data;
    struct layer other;
    begin(script_half, 2 * MIB);
    layer_make(&other, 10, 9);
    client_init(&c, &rig);
    assert_null(fill_with_byte(rig.fills, &layer.digest, 0));
    assert_int_equal(client_join(&c, &layer.digest, NULL), 0);
    assert_null(fill_with_byte(rig.fills, &layer.digest, 0)); /* nothing came yet */
    client_wait_bytes(&c, MIB);
    struct fill *f = fill_with_byte(rig.fills, &layer.digest, MIB - 1);
    assert_non_null(f);
    assert_int_equal(fill_size(f), layer.len);
    assert_null(fill_with_byte(rig.fills, &layer.digest, MIB)); /* not here yet */
    assert_null(fill_with_byte(rig.fills, &other.digest, 0));
    struct body *b = fill_body(f, MIB - 1, layer.len, on_peer_wake, NULL);
    assert_non_null(b);
    assert_int_equal(b->ops->peek(b, &data, 100), 1);
    assert_int_equal(*(const u8 *)data, layer.data[MIB - 1]);
    b->ops->close(b);
    assert_int_equal(fills_running(rig.fills), 1);
    server_open(registry, 0);
    client_expect(&c, layer.data, layer.len);
    layer_free(&other);
    finish();
}

static void test_parts(void **state)
{
    (void)state;
    struct client inner, tail, last, none;
    u64 size = 2 * MIB + 5;
    begin(script_half, size);
    client_init(&inner, &rig);
    client_init(&tail, &rig);
    client_init(&last, &rig);
    client_init(&none, &rig);
    inner.first = 300000;
    inner.end = 300001 + 64 * KIB;
    tail.first = MIB - 1;
    last.first = size - 1;
    last.end = size;
    none.first = none.end = 5;
    assert_int_equal(client_join(&inner, &layer.digest, NULL), 0);
    assert_int_equal(client_join(&tail, &layer.digest, NULL), 0);
    assert_int_equal(client_join(&last, &layer.digest, NULL), 0);
    assert_int_equal(client_join(&none, &layer.digest, NULL), 0);
    /* A part that is here ends before the whole is. */
    client_expect(&inner, layer.data + inner.first, inner.end - inner.first);
    client_expect(&none, layer.data, 0);
    assert_false(tail.ended || last.ended);
    assert_int_equal(last.len, 0);
    server_open(registry, 0);
    client_expect(&tail, layer.data + tail.first, size - tail.first);
    client_expect(&last, layer.data + size - 1, 1);
    finish();
}

/* --- sizes ------------------------------------------------------------------------------------ */

static void script_chunked(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t at = 0; at < layer.len; at += 50000)
        say_chunk(p, layer.data + at, layer.len - at < 50000 ? layer.len - at : 50000);
    say_chunk(p, "", 0);
}

static void test_unknown_size(void **state)
{
    (void)state;
    struct client c;
    begin(script_chunked, 5 * MIB + 3);
    client_init(&c, &rig);
    assert_int_equal(client_join(&c, &layer.digest, NULL), 0);
    client_expect(&c, layer.data, layer.len);
    assert_true(c.size == STORE_SIZE_UNKNOWN);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    finish();
}

static void test_empty_blob(void **state)
{
    (void)state;
    static const server_script scripts[] = {script_layer, script_chunked};
    for (size_t i = 0; i < countof(scripts); i++) {
        struct client c;
        begin(scripts[i], 0);
        client_init(&c, &rig);
        assert_int_equal(client_join(&c, &layer.digest, NULL), 0);
        client_expect(&c, layer.data, 0);
        rig_wait_idle(&rig);
        assert_true(rig_holds(&rig, &layer));
        finish();
    }
}

static void test_one_byte(void **state)
{
    (void)state;
    struct client c;
    begin(script_layer, 1);
    client_init(&c, &rig);
    assert_int_equal(client_join(&c, &layer.digest, NULL), 0);
    client_expect(&c, layer.data, 1);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    finish();
}

static void test_sha512(void **state)
{
    (void)state;
    struct client c;
    begin(script_layer, 700 * KIB);
    hash_bytes(DIGEST_SHA512, layer.data, layer.len, &layer.digest);
    client_init(&c, &rig);
    assert_int_equal(client_join(&c, &layer.digest, NULL), 0);
    client_expect(&c, layer.data, layer.len);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    finish();
}

/* --- wrong bytes ------------------------------------------------------------------------------ */

/* The first answer has a flipped last byte, later ones are right. */
static void script_wrong_once(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    if (r->number > 0) {
        say_layer(p, r, &layer, SIZE_MAX);
        return;
    }
    u8 wrong = layer.data[layer.len - 1] ^ 1;
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", layer.len);
    say_bytes(p, layer.data, layer.len - 1);
    say_bytes(p, &wrong, 1);
}

static void test_wrong_bytes_never_complete(void **state)
{
    (void)state;
    struct client whole, part, again;
    begin(script_wrong_once, MIB);
    client_init(&whole, &rig);
    client_init(&part, &rig);
    part.end = 1000;
    assert_int_equal(client_join(&whole, &layer.digest, NULL), 0);
    assert_int_equal(client_join(&part, &layer.digest, NULL), 0);
    client_expect_cut(&whole, &layer);
    wait_over(&part); /* it may have been served, or cut, before all was here */
    client_leave(&part);
    rig_wait_idle(&rig);
    assert_false(rig_holds(&rig, &layer));
    assert_int_equal(store_partial_size(rig.store, &layer.digest), 0);
    assert_int_equal(rig_counter(&rig, "dray_dropped_total", "reason=\"wrong_digest\""), 1);
    struct store_stats stats;
    store_stats(rig.store, &stats);
    assert_int_equal(stats.used_bytes, 0);
    /* Asked again, from the first byte. */
    client_init(&again, &rig);
    assert_int_equal(client_join(&again, &layer.digest, NULL), 0);
    client_expect(&again, layer.data, layer.len);
    struct server_request r;
    server_request_at(registry, 1, &r);
    assert_null(request_field(&r, "Range"));
    finish();
}

static void script_chunked_wrong(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    say_chunk(p, layer.data, layer.len / 2); /* properly ended, and too short */
    say_chunk(p, "", 0);
}

static void test_wrong_length_of_unknown_size(void **state)
{
    (void)state;
    struct client c;
    begin(script_chunked_wrong, MIB);
    client_init(&c, &rig);
    assert_int_equal(client_join(&c, &layer.digest, NULL), 0);
    client_expect_cut(&c, &layer);
    assert_true(c.len < layer.len / 2); /* its last byte waited for the digest */
    rig_wait_idle(&rig);
    assert_false(rig_holds(&rig, &layer));
    finish();
}

/* --- bounds, looking on, stopping ------------------------------------------------------------- */

static void script_silent(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    wait_gone(p);
}

static void test_too_many_fills(void **state)
{
    (void)state;
    static struct client clients[LIMIT_FILLS + 1];
    begin(script_silent, 100);
    struct digest d = layer.digest;
    for (unsigned i = 0; i < countof(clients); i++) {
        client_init(&clients[i], &rig);
        d.bytes[0] = (u8)i;
        d.bytes[1] = (u8)(i >> 8);
        assert_int_equal(client_join(&clients[i], &d, NULL), i < LIMIT_FILLS ? 0 : ERR_FULL);
    }
    d.bytes[1] = 0; /* one that runs may still be joined */
    clients[LIMIT_FILLS].waiter.fill = NULL;
    assert_int_equal(client_join(&clients[LIMIT_FILLS], &d, NULL), 0);
    assert_int_equal(fills_running(rig.fills), LIMIT_FILLS);
    fills_stop(rig.fills);
    for (unsigned i = 0; i < countof(clients); i++)
        client_expect_failed(&clients[i], ERR_CANCELED);
    rig_wait_idle(&rig);
    finish();
}

static void see(void *arg, const struct fill_status *st)
{
    *(struct fill_status *)arg = *st;
}

static void test_status(void **state)
{
    (void)state;
    struct client c;
    struct fill_status st = {0};
    begin(script_half, MIB);
    client_init(&c, &rig);
    assert_int_equal(client_join(&c, &layer.digest, NULL), 0);
    fills_each(rig.fills, see, &st);
    assert_string_equal(st.state, "asking");
    assert_true(st.size == STORE_SIZE_UNKNOWN);
    client_wait_bytes(&c, MIB / 2);
    fills_each(rig.fills, see, &st);
    assert_true(digest_equal(&st.digest, &layer.digest));
    assert_string_equal(st.state, "streaming");
    assert_string_equal(st.repository, "team/app");
    assert_string_equal(st.upstream, "registry-0");
    assert_int_equal(st.received, MIB / 2);
    assert_int_equal(st.size, MIB);
    assert_int_equal(st.clients, 1);
    assert_true(st.kept);
    server_open(registry, 0);
    client_expect(&c, layer.data, layer.len);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_clients_one_get),
        cmocka_unit_test(test_two_layers_do_not_mix),
        cmocka_unit_test(test_whoever_leaves_stops_nobody),
        cmocka_unit_test(test_kept_though_everybody_left),
        cmocka_unit_test(test_slow_reader_holds_nobody_up),
        cmocka_unit_test(test_a_fill_with_a_byte),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_unknown_size),
        cmocka_unit_test(test_empty_blob),
        cmocka_unit_test(test_one_byte),
        cmocka_unit_test(test_sha512),
        cmocka_unit_test(test_wrong_bytes_never_complete),
        cmocka_unit_test(test_wrong_length_of_unknown_size),
        cmocka_unit_test(test_too_many_fills),
        cmocka_unit_test(test_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
