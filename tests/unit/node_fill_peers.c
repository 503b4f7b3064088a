/* node_fill_peers.c - tests of node/fill.h with peers: they are asked first, and whoever is slow,
 * dead or full is left without the client noticing. Liars: node_fill_liars.c. */
#include "fill_peers_fixture.h"

#include "node/fill_internal.h"

/* --- peers first ------------------------------------------------------------------------------ */

static void test_a_peer_serves(void **state)
{
    (void)state;
    struct server_request r;
    char expected[DIGEST_TEXT_SIZE + 64];
    begin(3 * MIB + 5, script_layer, NULL, NULL);
    join();
    expect_whole();
    assert_int_equal(server_count(registry), 0);
    assert_int_equal(server_count(peers[0]), 1);
    assert_int_equal(from_peers(), layer.len);
    assert_int_equal(fills_fetched_bytes(rig.fills), 0);
    assert_int_equal(ended(0, MESH_FETCH_WORKED), 1);
    server_request_at(peers[0], 0, &r);
    snprintf(expected, sizeof(expected), "/mesh/v1/blobs/%s", layer.text);
    assert_string_equal(r.target, expected);
    snprintf(expected, sizeof(expected), "1 GET /mesh/v1/blobs/%s 0", layer.text);
    assert_string_equal(request_field(&r, "Dray-Peer"), expected);
    assert_null(request_field(&r, "Authorization"));
    finish();
}

static void script_layer_gated(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", layer.len);
    say_bytes(p, layer.data, layer.len - 1);
    wait_gate(p, 0);
    say_bytes(p, layer.data + layer.len - 1, 1);
}

/* Of ranges that are read beside each other, all but the last byte comes at once. */
static void test_ranges_of_what_a_peer_sends(void **state)
{
    struct client others[2];
    (void)state;
    begin(3 * MIB + 5, script_layer_gated, NULL, NULL);
    client.end = MIB;
    for (unsigned i = 0; i < countof(others); i++) {
        client_init(&others[i], &rig);
        others[i].first = (i + 1) * MIB;
        others[i].end = i == 0 ? 2 * MIB : layer.len;
    }
    join();
    for (unsigned i = 0; i < countof(others); i++)
        assert_int_equal(join_as(&others[i], true, layer.len), 0);
    client_wait_bytes(&client, MIB - 1);
    client_wait_bytes(&others[0], MIB - 1);
    rig_settle(&rig);
    assert_false(client.ended || others[0].ended || others[1].ended);
    server_open(peers[0], 0);
    client_expect(&client, layer.data, MIB);
    client_expect(&others[0], layer.data + MIB, MIB);
    client_expect(&others[1], layer.data + 2 * MIB, layer.len - 2 * MIB);
    rig_wait_idle(&rig);
    finish();
}

static void script_missing(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say_answer(p, 404, "", "{}");
}

static void test_missing_everywhere_then_the_registry(void **state)
{
    (void)state;
    begin(MIB, script_missing, script_missing, NULL);
    join();
    expect_whole();
    assert_int_equal(server_count(registry), 1);
    assert_int_equal(ended(0, MESH_FETCH_MISSING), 1);
    assert_int_equal(ended(1, MESH_FETCH_MISSING), 1);
    assert_int_equal(from_peers(), 0);
    finish();
}

/* Who is not proven to be permitted is judged by the registry; a peer's bytes grant nothing. */
static void test_unproven_never_asks_peers(void **state)
{
    (void)state;
    begin(MIB, script_layer, NULL, NULL);
    assert_int_equal(join_as(&client, false, layer.len), 0);
    expect_whole();
    assert_int_equal(server_count(peers[0]), 0);
    assert_int_equal(server_count(registry), 1);
    finish();
}

static void test_unknown_size_asks_the_registry(void **state)
{
    (void)state;
    begin(MIB, script_layer, NULL, NULL);
    assert_int_equal(join_as(&client, true, STORE_SIZE_UNKNOWN), 0);
    expect_whole();
    assert_int_equal(server_count(peers[0]), 0);
    finish();
}

static void script_mute(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    wait_gone(p);
}

static void test_unproven_does_not_join_what_peers_are_asked(void **state)
{
    (void)state;
    struct client other;
    begin(MIB, script_mute, NULL, NULL);
    client_init(&other, &rig);
    join();
    assert_int_equal(join_as(&other, false, layer.len), ERR_AGAIN);
    client_leave(&other);
    rig_wait(&rig, is_asked, peers[0]);
    pass_ms(1000);
    expect_whole(); /* by the registry, in the end */
    assert_int_equal(ended(0, MESH_FETCH_FAILED), 1);
    assert_int_equal(server_count(registry), 1);
    finish();
}

static void script_refuse(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say_answer(p, 403, "", "no, not you");
}

/* Peers failed, and the registry refuses: its answer is the user's. */
static void test_the_registrys_refusal_comes_through(void **state)
{
    (void)state;
    begin(MIB, script_missing, NULL, NULL);
    struct server *strict = server_new(script_refuse, NULL, NULL);
    struct fill_source src = {
        .upstream = rig_upstream(&rig, server_url(strict), NULL, NULL, NULL),
        .repository = "team/app",
        .proven = true,
        .size = layer.len,
    };
    assert_int_equal(client_join_as(&client, &layer.digest, &src), 0);
    client_expect_failed(&client, ERR_DENIED);
    assert_int_equal(client.refusal, 403);
    assert_string_equal(client.refusal_body, "no, not you");
    finish();
    server_del(strict);
}

/* --- left within one piece -------------------------------------------------------------------- */

static void script_half(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    say_layer(p, r, &layer, layer.len / 2);
}

static void test_broken_off_goes_on_elsewhere(void **state)
{
    (void)state;
    char range[48];
    begin(4 * MIB + 2, script_half, script_layer, NULL);
    join();
    expect_whole();
    assert_int_equal(server_count(registry), 0);
    snprintf(range, sizeof(range), "bytes=%zu-", layer.len / 2);
    expect_range(peers[1], 0, range);
    assert_int_equal(ended(0, MESH_FETCH_FAILED), 1);
    assert_int_equal(ended(1, MESH_FETCH_WORKED), 1);
    assert_int_equal(from_peers(), layer.len);
    finish();
}

/* A third of it, then not one byte more, as a stopped process does. */
static void script_stall(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", layer.len);
    say_bytes(p, layer.data, layer.len / 3);
    wait_gone(p);
}

static void test_stalled_is_left(void **state)
{
    (void)state;
    begin(3 * MIB, script_stall, script_layer, NULL);
    join();
    client_wait_bytes(&client, layer.len / 3);
    pass_ms(499);
    rig_settle(&rig);
    assert_int_equal(server_count(peers[1]), 0);
    pass_ms(1);
    expect_whole();
    assert_int_equal(server_count(registry), 0);
    assert_int_equal(ended(0, MESH_FETCH_FAILED), 1);
    finish();
}

static void test_a_mute_peer_costs_a_quarter_second(void **state)
{
    (void)state;
    begin(MIB, script_mute, script_layer, NULL);
    join();
    rig_wait(&rig, is_asked, peers[0]);
    pass_ms(249);
    rig_settle(&rig);
    assert_int_equal(server_count(peers[1]), 0);
    pass_ms(1);
    expect_whole();
    assert_int_equal(server_count(registry), 0);
    assert_int_equal(ended(0, MESH_FETCH_LEFT), 1);
    assert_int_equal(ended(1, MESH_FETCH_WORKED), 1);
    finish();
}

static void script_trickle(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", layer.len);
    for (size_t at = 0; at < layer.len && !peer_left(p); at += 2000) {
        struct timespec pause = {0, 20000000};
        say_bytes(p, layer.data + at, layer.len - at < 2000 ? layer.len - at : 2000);
        nanosleep(&pause, NULL);
    }
}

static void test_slow_is_left(void **state)
{
    (void)state;
    begin(6 * MIB, script_trickle, script_layer, NULL);
    mesh_double.peers[0].expected_ns = 60 * SOURCING_MS;
    join();
    client_wait_bytes(&client, 10000);
    pass_ms(1000);
    expect_whole();
    assert_int_equal(server_count(registry), 0);
    assert_int_equal(ended(0, MESH_FETCH_WORKED), 1); /* slow is no crime, and remembered */
    assert_int_equal(ended(0, MESH_FETCH_FAILED), 0);
    finish();
}

static void test_nobody_listens(void **state)
{
    (void)state;
    begin(MIB, script_layer, script_layer, NULL);
    server_del(peers[0]);
    peers[0] = NULL;
    join();
    expect_whole();
    assert_int_equal(ended(0, MESH_FETCH_FAILED), 1);
    assert_int_equal(ended(1, MESH_FETCH_WORKED), 1);
    assert_int_equal(server_count(registry), 0);
    finish();
}

static void script_cut_then_mute(struct server_peer *p, const struct server_request *r, void *arg)
{
    if (r->number == 0)
        script_half(p, r, arg);
    else
        wait_gone(p);
}

/* The registry breaks off half way: a peer that holds it goes on. */
static void test_from_the_registry_to_a_peer(void **state)
{
    (void)state;
    begin(2 * MIB, script_layer, NULL, NULL);
    struct server *frail = server_new(script_cut_then_mute, NULL, NULL);
    struct fill_source src = {
        .upstream = rig_upstream(&rig, server_url(frail), NULL, NULL, NULL),
        .repository = "team/app",
    };
    assert_int_equal(client_join_as(&client, &layer.digest, &src), 0);
    expect_whole();
    assert_int_equal(server_count(frail), 1);
    assert_int_equal(from_peers(), layer.len / 2);
    finish();
    server_del(frail);
}

/* --- busy ------------------------------------------------------------------------------------- */

static void script_busy_twice(struct server_peer *p, const struct server_request *r, void *arg)
{
    if (r->number < 2)
        say_answer(p, 503, "Retry-After: 0\r\n", "busy\n");
    else
        script_layer(p, r, arg);
}

static void script_busy(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say_answer(p, 503, "Retry-After: 1\r\n", "busy\n");
}

static void test_busy_leads_to_another_peer(void **state)
{
    (void)state;
    begin(MIB, script_busy, script_layer, NULL);
    join();
    expect_whole();
    assert_int_equal(ended(0, MESH_FETCH_BUSY), 1);
    assert_int_equal(server_count(registry), 0);
    finish();
}

static bool was_busy(void *arg)
{
    return ended(0, MESH_FETCH_BUSY) == *(const unsigned *)arg;
}

static void test_busy_is_waited_for(void **state)
{
    (void)state;
    begin(MIB, script_busy_twice, script_missing, NULL);
    join();
    for (unsigned times = 1; times <= 2; times++) {
        rig_wait(&rig, was_busy, &times);
        pass_ms(1000);
    }
    expect_whole();
    assert_int_equal(ended(0, MESH_FETCH_BUSY), 2);
    assert_int_equal(ended(0, MESH_FETCH_WORKED), 1);
    assert_int_equal(server_count(registry), 0);
    finish();
}

/* --- no room ---------------------------------------------------------------------------------- */

/* What does not fit comes from a peer all the same, and is not kept. */
static void test_served_through(void **state)
{
    (void)state;
    begin(CAPACITY + 3 * MIB, script_layer, NULL, NULL);
    join();
    client_expect(&client, layer.data, layer.len);
    rig_wait_idle(&rig);
    assert_false(rig_holds(&rig, &layer));
    assert_int_equal(server_count(registry), 0);
    finish();
}

/* Fills the memory, almost; asked again it waits, and has nothing. */
static void script_much_then_missing(struct server_peer *p, const struct server_request *r,
                                     void *arg)
{
    (void)arg;
    if (r->number == 0) {
        say_layer(p, r, &layer, LIMIT_FILL_LAG_BYTES - 1000);
        return;
    }
    wait_gate(p, 1);
    say_answer(p, 404, "", "{}");
}

static void script_layer_later(struct server_peer *p, const struct server_request *r, void *arg)
{
    wait_gate(p, 0);
    script_layer(p, r, arg);
}

static bool is_asked_twice(void *arg)
{
    return server_count(arg) == 2;
}

static bool is_paused(void *arg)
{
    (void)arg;
    return rig.fills->first->paused;
}

static bool is_missing(void *arg)
{
    return ended(*(const unsigned *)arg, MESH_FETCH_MISSING) == 1;
}

/* One waits for a client that stands still; that the one asked beside it ends does not matter. */
static void test_paused_beside_one_that_ends(void **state)
{
    unsigned first = 0;
    (void)state;
    begin(CAPACITY + 3 * MIB, script_much_then_missing, script_layer_later, NULL);
    client.budget = 0;
    join();
    rig_wait(&rig, is_asked, peers[1]);
    pass_ms(251);
    rig_wait(&rig, is_asked_twice, peers[0]);
    server_open(peers[1], 0);
    rig_wait(&rig, is_paused, NULL);
    server_open(peers[0], 1);
    rig_wait(&rig, is_missing, &first);
    client.budget = UINT64_MAX;
    client_expect(&client, layer.data, layer.len);
    rig_wait_idle(&rig);
    assert_int_equal(server_count(registry), 0);
    finish();
}

static void test_small_and_served_through(void **state)
{
    (void)state;
    open_rig(64 * KIB);
    layer_make(&layer, 200 * KIB, 5);
    registry = server_new(script_layer, NULL, NULL);
    memset(peers, 0, sizeof(peers));
    peers[0] = server_new(script_layer, NULL, NULL);
    rig_upstream(&rig, server_url(registry), NULL, NULL, NULL);
    double_peer(peers[0]);
    client_init(&client, &rig);
    join();
    client_expect(&client, layer.data, layer.len);
    assert_int_equal(server_count(registry), 0);
    rig_wait_idle(&rig);
    finish();
}

/* --- limits ----------------------------------------------------------------------------------- */

/* While our own limit holds it up, a lot of time passes. */
static bool held_up(void *arg)
{
    (void)arg;
    if (!pace_has_line(&rig.pace, PACE_CLIENTS))
        return false;
    pass_ms(60000);
    return true;
}

/* Our own limit makes the peer wait: not its fault. */
static void test_paced(void **state)
{
    (void)state;
    begin(3 * MIB, script_layer, script_layer, NULL);
    mesh_double.peers[0].expected_ns = 10 * SOURCING_MS;
    rig.pace.rate = 2 * MIB;
    join();
    rig_wait(&rig, held_up, NULL);
    expect_whole();
    assert_int_equal(ended(0, MESH_FETCH_WORKED), 1);
    assert_int_equal(mesh_double.peers[1].asked, 0);
    finish();
}

static void test_stopped_while_peers_are_asked(void **state)
{
    (void)state;
    begin(MIB, script_mute, script_mute, NULL);
    join();
    rig_settle(&rig);
    client_leave(&client);
    finish(); /* nothing is left, and nothing stays announced */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_peer_serves),
        cmocka_unit_test(test_ranges_of_what_a_peer_sends),
        cmocka_unit_test(test_missing_everywhere_then_the_registry),
        cmocka_unit_test(test_unproven_never_asks_peers),
        cmocka_unit_test(test_unknown_size_asks_the_registry),
        cmocka_unit_test(test_unproven_does_not_join_what_peers_are_asked),
        cmocka_unit_test(test_the_registrys_refusal_comes_through),
        cmocka_unit_test(test_broken_off_goes_on_elsewhere),
        cmocka_unit_test(test_stalled_is_left),
        cmocka_unit_test(test_a_mute_peer_costs_a_quarter_second),
        cmocka_unit_test(test_slow_is_left),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_from_the_registry_to_a_peer),
        cmocka_unit_test(test_busy_leads_to_another_peer),
        cmocka_unit_test(test_busy_is_waited_for),
        cmocka_unit_test(test_served_through),
        cmocka_unit_test(test_paused_beside_one_that_ends),
        cmocka_unit_test(test_small_and_served_through),
        cmocka_unit_test(test_paced),
        cmocka_unit_test(test_stopped_while_peers_are_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
