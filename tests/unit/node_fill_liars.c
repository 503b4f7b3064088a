/* node_fill_liars.c - tests of node/fill.h with peers that lie: of lengths, ranges and bytes. Wrong
 * bytes are never kept, and nobody is blamed who is not proved to have sent them. */
#include "fill_peers_fixture.h"

static void script_longer(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", layer.len + 1);
    say_bytes(p, layer.data, layer.len);
}

static void script_endless(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (!peer_left(p))
        say_chunk(p, layer.data, layer.len);
}

/* Good at first; then a range that was not asked for. */
static void script_other_range(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say(p,
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 1-%zu/%zu\r\nContent-Length: "
        "%zu\r\n\r\n",
        layer.len - 1, layer.len, layer.len - 1);
    say_bytes(p, layer.data + 1, layer.len - 1);
}

static void test_other_lengths_and_ranges_are_lies(void **state)
{
    (void)state;
    begin(MIB, script_longer, script_endless, script_other_range);
    join();
    expect_whole();
    assert_int_equal(server_count(registry), 1);
    for (size_t i = 0; i < PEERS; i++) {
        assert_int_equal(mesh_double.peers[i].asked, 1);
        assert_int_equal(ended(i, MESH_FETCH_FAILED), 1);
    }
    assert_int_equal(from_peers(), 0);
    finish();
}

/* The right length, and one byte of it is another. */
static void script_wrong(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    size_t half = layer.len / 2;
    u8 other = layer.data[half] ^ 1;
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", layer.len);
    say_bytes(p, layer.data, half);
    say_bytes(p, &other, 1);
    say_bytes(p, layer.data + half + 1, layer.len - half - 1);
}

static u64 bad_pieces(const char *peer)
{
    char labels[64];
    snprintf(labels, sizeof(labels), "peer=\"%s\"", peer);
    return rig_counter(&rig, "dray_bad_pieces_total", labels);
}

static bool stored(void *arg)
{
    (void)arg;
    return rig_holds(&rig, &layer);
}

/* All of it came from one peer: that one is to blame. The client's answer ends short, the registry
 * is asked at once, and who comes again is served. */
static void test_wrong_bytes_of_one_peer(void **state)
{
    (void)state;
    struct client again;
    begin(2 * MIB, script_wrong, NULL, NULL);
    join();
    rig_wait(&rig, stored, NULL);
    assert_true(client.ready);
    client_leave(&client);
    rig_wait_idle(&rig);
    assert_int_equal(server_count(registry), 1);
    assert_int_equal(bad_pieces("rack-1"), 1);
    assert_int_equal(rig_counter(&rig, "dray_dropped_total", "reason=\"wrong_digest\""), 1);
    /* Another layer: it is not asked again. */
    assert_int_equal(store_remove(rig.store, &layer.digest), 0);
    client_init(&again, &rig);
    assert_int_equal(join_as(&again, true, layer.len), 0);
    client_expect(&again, layer.data, layer.len);
    assert_int_equal(mesh_double.peers[0].asked, 1);
    assert_int_equal(server_count(registry), 2);
    finish();
}

static bool cut(void *arg)
{
    (void)arg;
    return client.ended && client.end_err < 0;
}

/* Nor is a range complete that a liar filled, though it ends long before the layer does. */
static void test_a_range_ends_short(void **state)
{
    (void)state;
    begin(4 * MIB, script_wrong, NULL, NULL);
    client.end = 3 * MIB;
    join();
    rig_wait(&rig, cut, NULL);
    assert_true(client.len < client.end);
    client_leave(&client);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    assert_int_equal(bad_pieces("rack-1"), 1);
    finish();
}

static void test_the_clients_answer_ends_short(void **state)
{
    (void)state;
    begin(2 * MIB, script_wrong, NULL, NULL);
    join();
    rig_wait(&rig, stored, NULL);
    rig_wait(&rig, cut, NULL);
    assert_true(client.len < layer.len);
    client_leave(&client);
    rig_wait_idle(&rig);
    finish();
}

/* A small layer is answered when it is verified: nobody sees the lie. */
static void test_wrong_bytes_of_a_small_layer_go_unnoticed(void **state)
{
    (void)state;
    struct client second;
    begin(100 * KIB, script_wrong, NULL, NULL);
    client_init(&second, &rig);
    join();
    assert_int_equal(join_as(&second, true, layer.len), 0);
    client_expect(&second, layer.data, layer.len);
    expect_whole();
    assert_int_equal(server_count(registry), 1);
    assert_int_equal(bad_pieces("rack-1"), 1);
    finish();
}

static void script_wrong_half(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    u8 other = layer.data[0] ^ 1;
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", layer.len);
    say_bytes(p, &other, 1);
    say_bytes(p, layer.data + 1, layer.len / 2);
    hang_up(p);
}

/* Two peers had a part in it: nothing is proved, nobody is blamed, and it is fetched all the same.
 */
static void test_wrong_bytes_of_several_convict_nobody(void **state)
{
    (void)state;
    begin(2 * MIB, script_wrong_half, script_layer, NULL);
    join();
    rig_wait(&rig, stored, NULL);
    client_leave(&client);
    rig_wait_idle(&rig);
    assert_int_equal(bad_pieces("rack-1"), 0);
    assert_int_equal(bad_pieces("rack-2"), 0);
    assert_int_equal(server_count(registry), 1);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_lengths_and_ranges_are_lies),
        cmocka_unit_test(test_wrong_bytes_of_one_peer),
        cmocka_unit_test(test_a_range_ends_short),
        cmocka_unit_test(test_the_clients_answer_ends_short),
        cmocka_unit_test(test_wrong_bytes_of_a_small_layer_go_unnoticed),
        cmocka_unit_test(test_wrong_bytes_of_several_convict_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
