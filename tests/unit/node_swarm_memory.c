/* node_swarm_memory.c - tests of fills of a swarm when other fills have taken all the memory that
 * pieces may have: each goes on by itself, a piece at a time, and none waits for ever. And of peers
 * that say anything at all in the header of claims. The swarm's core is the test itself. */
#include "fill_peers_fixture.h"

#include <sodium.h>

#include "node/fill_swarm.h"

#define PIECE PIECE_MIN_BYTES
#define SIZE  (5 * PIECE + 1000)
#define COUNT 6u

static const char *claims; /* the value of a peer's Dray-Chain */

static void say_pieces(struct server_peer *p, const struct server_request *r, size_t most)
{
    const char *number = strchr(request_field(r, "Range"), '=') + 1;
    size_t first = strtoull(number, (char **)&number, 10), last = strtoull(number + 1, NULL, 10);
    size_t n = last + 1 - first;
    say(p, "HTTP/1.1 206 Part\r\nContent-Range: bytes %zu-%zu/%zu\r\nContent-Length: %zu\r\n",
        first, last, layer.len, n);
    if (claims)
        say(p, "Dray-Chain: %s\r\n", claims);
    say(p, "\r\n");
    say_bytes(p, layer.data + first, n < most ? n : most);
}

static void script_pieces(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    say_pieces(p, r, SIZE_MAX);
}

static void script_stall(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    say_pieces(p, r, PIECE / 2);
    wait_gone(p);
}

static void begin_swarm(server_script first, server_script second)
{
    claims = NULL;
    begin(SIZE, first, second, NULL);
    mesh_double.swarm.on = true;
    for (size_t i = 0; i < mesh_double.n_peers; i++)
        mesh_double.peers[i].holds = false;
    join();
    assert_int_equal(mesh_double.swarm.joined, 1);
}

/* What the pieces of other fills take. */
static void others_take(i64 bytes)
{
    rig.fills->piece_bytes += (u64)bytes;
}

static void ask(u32 id, size_t peer, u32 first, u32 count)
{
    struct swarm_step step = {.what = SWARM_ASK,
                              .digest = layer.digest,
                              .id = id,
                              .first = first,
                              .count = count,
                              .peer = mesh_double.peers[peer].key,
                              .addr = mesh_double.peers[peer].addr};
    fills_step(rig.fills, &step);
}

static void fetch(void)
{
    struct swarm_step step = {.what = SWARM_FETCH, .digest = layer.digest, .reason = "by the test"};
    fills_step(rig.fills, &step);
}

static bool has_ended(void *arg)
{
    u32 id = *(u32 *)arg;
    for (size_t i = 0; i < mesh_double.swarm.n_ended; i++)
        if (mesh_double.swarm.ended[i].request == id)
            return mesh_double.swarm.ended[i].outcome == SWARM_WORKED;
    return false;
}

static void wait_ended(u32 id)
{
    rig_wait(&rig, has_ended, &id);
}

static void a_row_of_pieces_goes_on(void **state)
{
    (void)state;
    begin_swarm(script_pieces, NULL);
    others_take(SWARM_MEMORY);
    ask(1, 0, 0, COUNT);
    wait_ended(1);
    others_take(-(i64)SWARM_MEMORY);
    fetch();
    expect_whole();
    assert_int_equal(rig.fills->piece_bytes, 0);
    finish();
}

static void the_fetcher_goes_on(void **state)
{
    (void)state;
    begin_swarm(script_pieces, NULL);
    others_take(SWARM_MEMORY);
    fetch();
    expect_whole();
    assert_int_equal(rig.fills->piece_bytes, SWARM_MEMORY);
    finish();
}

static bool has_begun_a_piece(void *arg)
{
    (void)arg;
    return rig.fills->first->piece_bytes > 0;
}

/* What this fill has in hand does not come to an end; then another one makes room. */
static void room_that_others_make_is_taken(void **state)
{
    (void)state;
    begin_swarm(script_stall, script_pieces);
    ask(1, 0, 0, 1);
    rig_wait(&rig, has_begun_a_piece, NULL);
    others_take(SWARM_MEMORY);
    ask(2, 1, 1, 2);
    rig_wait(&rig, is_asked, peers[1]);
    rig_settle(&rig);
    others_take(-(i64)SWARM_MEMORY);
    wait_ended(2);
    fetch();
    expect_whole();
    finish();
}

/* The pieces are taken, and wait for a chain. */
static void claims_of_any_bytes(void **state)
{
    static char long_one[7000];
    static const char *const bad[] = {"",
                                      "-",
                                      "=",
                                      "%%%%",
                                      "AAAA",
                                      "a b c",
                                      "lcQg",
                                      "lcQg/",
                                      "3_____8",
                                      "-_______",
                                      "k5OTk5OTk5OTk5OT",
                                      long_one};
    (void)state;
    memset(long_one, 'k', sizeof(long_one) - 1);
    begin_swarm(script_pieces, NULL);
    for (u32 i = 0; i < countof(bad); i++) {
        claims = bad[i];
        ask(i + 1, 0, i % COUNT, 1);
        wait_ended(i + 1);
    }
    assert_int_equal(rig.fills->first->swarm->held, 0);
    fetch();
    expect_whole();
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_of_pieces_goes_on),
        cmocka_unit_test(the_fetcher_goes_on),
        cmocka_unit_test(room_that_others_make_is_taken),
        cmocka_unit_test(claims_of_any_bytes),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
