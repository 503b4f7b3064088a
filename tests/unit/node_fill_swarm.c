/* node_fill_swarm.c - tests of fills that take part in a swarm: what its steps ask for is done, and
 * only pieces that fit a chain count. The swarm's core is the test itself (mesh_double.h); peers
 * and the registry are scripted servers. */
#include "swarm_fixture.h"

#include "node/peers.h"

/* --- pieces of many ----------------------------------------------------------------------------
 */

static void test_pieces_in_any_order(void **state)
{
    (void)state;
    begin_swarm(2);
    make_chain(&holders[0], 0, 0);
    memcpy(holders[1].chain, holders[0].chain, sizeof(holders[1].chain)); /* passed on */
    join();
    assert_int_equal(mesh_double.swarm.joined, 1);
    u32 a = ask(1, 3, 3);
    assert_int_equal(outcome_of(a), SWARM_WORKED);
    assert_false(client.ready);
    u32 b = ask(0, 0, 1);
    assert_int_equal(outcome_of(b), SWARM_WORKED);
    client_wait_bytes(&client, PIECE); /* from the first piece on, clients are served */
    u32 c = ask(0, 1, 2);
    assert_int_equal(outcome_of(c), SWARM_WORKED);
    expect_whole();
    assert_int_equal(server_count(registry), 0);
    assert_true(mesh_double.swarm.have == ALL);
    assert_int_equal(mesh_double.swarm.completed, 1);
    assert_int_equal(from_peers(), SIZE);
    assert_int_equal(ended(0, MESH_FETCH_WORKED), 2);
    end_swarm();
}

static void test_appointed(void **state)
{
    (void)state;
    struct server_request r;
    begin_swarm(1);
    make_chain(&holders[0], 0, 0);
    join();
    u32 a = ask(0, 2, 1);
    assert_int_equal(outcome_of(a), SWARM_WORKED);
    order(SWARM_FETCH, 0);
    expect_whole();
    assert_int_equal(server_count(registry), 2); /* the piece that is here is left out */
    server_request_at(registry, 0, &r);
    assert_true(asks_for(&r, 0, 2));
    server_request_at(registry, 1, &r);
    assert_true(asks_for(&r, 3, COUNT - 3));
    assert_int_equal(fills_fetched_bytes(rig.fills), SIZE - PIECE);
    assert_int_equal(mesh_double.swarm.registry[0], SWARM_REGISTRY_WELL);
    end_swarm();
}

static bool is_told_of_registry(void *arg)
{
    (void)arg;
    return mesh_double.swarm.n_registry > 1;
}

static void test_the_registry_refuses(void **state)
{
    (void)state;
    begin_swarm(1);
    make_chain(&holders[0], 0, 0);
    holders[2].layer.len = SIZE - 1;
    holders[2].layer.data = calloc(1, SIZE);
    join_at(script_pieces, &holders[2]); /* says another size */
    order(SWARM_FETCH, 2);
    rig_wait(&rig, is_told_of_registry, NULL);
    u32 a = ask(0, 0, COUNT);
    assert_int_equal(outcome_of(a), SWARM_WORKED);
    expect_whole();
    assert_int_equal(mesh_double.swarm.registry[1], SWARM_REGISTRY_REFUSED);
    end_swarm();
}

static void script_no_range(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", layer.len);
    say_bytes(p, layer.data, layer.len);
}

/* What it sends beside what was asked for is counted, too: it came over the WAN. */
static void test_the_registry_knows_no_ranges(void **state)
{
    (void)state;
    begin_swarm(1);
    make_chain(&holders[0], 0, 0);
    join_at(script_no_range, NULL);
    u32 a = ask(0, 0, 3);
    assert_int_equal(outcome_of(a), SWARM_WORKED);
    order(SWARM_FETCH, 0);
    expect_whole();
    assert_int_equal(server_count(registry), 1);
    assert_int_equal(fills_fetched_bytes(rig.fills), SIZE);
    end_swarm();
}

#define SHORT (100 * KIB)
static_assert(SHORT < PIECE, "no answer brings a piece");

static void script_short(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    say_layer(p, r, &layer, SHORT);
}

/* Each answer breaks off within a piece: what it brought is kept. */
static void test_the_registry_breaks_off(void **state)
{
    char range[64];
    (void)state;
    begin_swarm(0);
    join_at(script_short, NULL);
    order(SWARM_FETCH, 0);
    expect_whole();
    assert_int_equal(fills_fetched_bytes(rig.fills), SIZE);
    assert_int_equal(server_count(registry), (SIZE + SHORT - 1) / SHORT);
    for (unsigned i = 1; i < server_count(registry); i++) {
        snprintf(range, sizeof(range), "bytes=%u-%u", (unsigned)(i * SHORT), (unsigned)SIZE - 1);
        expect_range(registry, i, range);
    }
    end_swarm();
}

static void script_byte(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    say_layer(p, r, &layer, 1);
}

static bool is_cut_off(void *arg)
{
    (void)arg;
    return mesh_double.swarm.n_registry > 0 &&
           mesh_double.swarm.registry[mesh_double.swarm.n_registry - 1] == SWARM_REGISTRY_CUT;
}

/* A byte with each answer is no progress. */
static void test_the_registry_drips(void **state)
{
    (void)state;
    begin_swarm(1);
    make_chain(&holders[0], 0, 0);
    rig_timer_max_ms = 5;
    join_at(script_byte, NULL);
    order(SWARM_FETCH, 0);
    rig_wait(&rig, is_cut_off, NULL);
    assert_int_equal(server_count(registry), 4);
    u32 a = ask(0, 0, COUNT);
    assert_int_equal(outcome_of(a), SWARM_WORKED);
    expect_whole();
    rig_timer_max_ms = 0;
    end_swarm();
}

static void script_short_then_later(struct server_peer *p, const struct server_request *r,
                                    void *arg)
{
    if (r->number == 0)
        script_short(p, r, arg);
    else if (r->number == 1)
        say_answer(p, 429, "Retry-After: 60\r\n", "{}");
    else
        script_layer(p, r, arg);
}

static bool is_put_off(void *arg)
{
    const struct fill *f = rig.fills->first;
    (void)arg;
    return server_count(registry) == 2 && !f->call && uv_is_active((const uv_handle_t *)&f->retry);
}

/* Between two answers there is no end of the piece to wait for, and its next fetcher begins it. */
static void test_yields_within_a_piece(void **state)
{
    (void)state;
    begin_swarm(0);
    join_at(script_short_then_later, NULL);
    order(SWARM_FETCH, 0);
    rig_wait(&rig, is_put_off, NULL);
    assert_non_null(rig.fills->first->swarm->piece);
    order(SWARM_YIELD, 0);
    assert_false(rig.fills->first->swarm->appointed);
    assert_null(rig.fills->first->swarm->piece);
    order(SWARM_FETCH, 0);
    expect_whole();
    expect_range(registry, 2, "(none)");
    end_swarm();
}

static void test_answers_that_are_none(void **state)
{
    (void)state;
    begin_swarm(1);
    holders[0].layer.len = SIZE + 1; /* another size than is known */
    join();
    u32 a = ask(0, 0, 1);
    assert_int_equal(outcome_of(a), SWARM_LIED);
    assert_int_equal(mesh_double.swarm.have, 0);
    order(SWARM_FETCH, 0);
    expect_whole();
    end_swarm();
}

/* --- liars -------------------------------------------------------------------------------------
 */

static void test_a_wrong_piece_is_asked_elsewhere(void **state)
{
    (void)state;
    begin_swarm(2);
    make_chain(&holders[0], 0, 0);
    holders[1].layer.data[3 * PIECE + 7] ^= 1;
    join();
    u32 a = ask(0, 0, 3);
    assert_int_equal(outcome_of(a), SWARM_WORKED);
    u32 b = ask(1, 3, 1);
    (void)outcome_of(b);
    assert_false(mesh_double.swarm.came[mesh_double.swarm.n_came - 1].right);
    assert_int_equal(bad_pieces(1), 0); /* nothing is proved yet */
    u32 c = ask(0, 3, 3);
    assert_int_equal(outcome_of(c), SWARM_WORKED);
    expect_whole();
    assert_int_equal(bad_pieces(1), 1); /* the layer closed: now it is */
    assert_int_equal(bad_pieces(0), 0);
    assert_int_equal(server_count(registry), 0);
    end_swarm();
}

static bool is_forged(void *arg)
{
    (void)arg;
    return mesh_double.swarm.forged > 0;
}

/* Under the fetcher's forged chain honest pieces fail: the registry's bytes show who lied. */
static void test_a_forged_chain(void **state)
{
    (void)state;
    begin_swarm(3);
    make_chain(&holders[0], 0, 3);
    holders[1].chain[0] = holders[2].chain[0] = '\0';
    join();
    u32 a = ask(0, 0, 2);
    assert_int_equal(outcome_of(a), SWARM_WORKED);
    for (size_t i = 0; i < PEERS; i++) {
        u32 b = ask(i, 2, 1);
        (void)outcome_of(b);
    }
    rig_wait(&rig, is_forged, NULL);
    assert_true(mesh_double.swarm.lost >= 2); /* what came by that chain alone */
    order(SWARM_FETCH, 3); /* the next one: it reads it from the beginning, and nobody is cut */
    expect_whole();
    /* what decided, and all of it; piece 2 may have come of a peer meanwhile */
    assert_in_range(fills_fetched_bytes(rig.fills), SIZE, SIZE + PIECE);
    assert_int_equal(bad_pieces(0), 1);
    assert_int_equal(bad_pieces(1), 0);
    assert_int_equal(bad_pieces(2), 0);
    end_swarm();
}

/* Who is neither fetcher nor holder may claim what he likes. */
static void test_claims_of_anybody(void **state)
{
    (void)state;
    begin_swarm(2);
    make_chain(&holders[1], 1, 2);
    make_chain(&holders[0], 0, 0);
    join();
    u32 a = ask(1, 0, 2);
    (void)outcome_of(a);
    assert_int_equal(mesh_double.swarm.have, 0); /* no chain to judge them by */
    u32 b = ask(0, 2, 4);
    assert_int_equal(outcome_of(b), SWARM_WORKED);
    wait_have(ALL); /* and now there is */
    expect_whole();
    assert_int_equal(server_count(registry), 0);
    end_swarm();
}

/* Who the fetcher is becomes known later: what came meanwhile, pieces and claims, is kept, and not
 * asked for again. */
static void test_claims_of_a_fetcher_not_known_yet(void **state)
{
    (void)state;
    begin_swarm(1);
    make_chain(&holders[0], 0, 0);
    memset(&mesh_double.swarm.fetcher, 0, sizeof(mesh_double.swarm.fetcher));
    join();
    for (int time = 0; time < 3; time++)
        for (u32 i = 1; i < COUNT; i++)
            assert_int_equal(outcome_of(ask(0, i, 1)), SWARM_WORKED);
    assert_int_equal(server_count(peers[0]), COUNT - 1);
    assert_int_equal(mesh_double.swarm.have, 0);
    mesh_double.swarm.fetcher = mesh_double.peers[0].key;
    wait_have(ALL & ~1ull);
    assert_int_equal(server_count(peers[0]), COUNT - 1); /* by the claims that were kept */
    assert_int_equal(outcome_of(ask(0, 0, 1)), SWARM_WORKED);
    expect_whole();
    end_swarm();
}

/* All of it made up alike, pieces and chain: nothing of it is kept, nobody gets it whole. */
static void test_a_consistent_forgery(void **state)
{
    (void)state;
    begin_swarm(1);
    holders[0].layer.data[10] ^= 1;
    make_chain(&holders[0], 0, 0);
    join();
    u32 a = ask(0, 0, COUNT - 1);
    (void)outcome_of(a);
    client_wait_bytes(&client, 5 * PIECE);
    u32 b = ask(0, COUNT - 1, 1);
    (void)outcome_of(b);
    order(SWARM_GIVE_UP, 0);
    client_expect_cut(&client, &holders[0].layer);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer)); /* fetched again, from the registry */
    end_swarm();
}

/* Who takes over goes on from the states of a fetcher that lied. The layer's end tells; all of it
 * is read again, and the client that was shown the lie is cut. */
static void test_taking_over_from_a_liar(void **state)
{
    (void)state;
    begin_swarm(1);
    holders[0].layer.data[PIECE + 10] ^= 1;
    make_chain(&holders[0], 0, 0);
    join();
    u32 a = ask(0, 0, COUNT - 1);
    (void)outcome_of(a);
    client_wait_bytes(&client, 5 * PIECE);
    order(SWARM_FETCH, COUNT - 1);
    client_expect_cut(&client, &holders[0].layer);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    assert_int_equal(bad_pieces(0), 1);
    assert_int_equal(mesh_double.swarm.forged, 1);
    /* the end, all before it once more, and what turned out wrong on the disk */
    assert_int_equal(fills_fetched_bytes(rig.fills), SIZE + PIECE + 1000);
    end_swarm();
}

/* --- leaving, and coming back ------------------------------------------------------------------
 */

static void test_going_on_alone(void **state)
{
    (void)state;
    struct server_request r;
    begin_swarm(1);
    make_chain(&holders[0], 0, 0);
    join();
    u32 a = ask(0, 0, 2), b = ask(0, 4, 1);
    (void)outcome_of(a);
    (void)outcome_of(b);
    order(SWARM_GIVE_UP, 0);
    expect_whole();
    server_request_at(registry, 0, &r);
    assert_true(asks_for(&r, 2, 2));
    assert_int_equal(fills_fetched_bytes(rig.fills), SIZE - 3 * PIECE); /* nothing twice */
    end_swarm();
}

/* --- ends ------------------------------------------------------------------------------------
 */

static void script_status(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    if (*(const int *)arg > 0)
        say_answer(p, *(const int *)arg, "", "{}");
    else
        hang_up(p);
}

static bool has_failed(void *arg)
{
    (void)arg;
    return client.failed;
}

static bool has_resigned(void *arg)
{
    (void)arg;
    size_t n = mesh_double.swarm.n_registry;
    enum swarm_registry last = mesh_double.swarm.registry[(n + DOUBLE_CAME - 1) % DOUBLE_CAME];
    return n > 0 && (last == SWARM_REGISTRY_REFUSED || last == SWARM_REGISTRY_CUT);
}

/* Half of the layer, and after gate 0 the rest; whatever else is asked is answered. */
static void script_pauses(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    if (strcmp(r->target, "/v2/") == 0) {
        say_answer(p, 200, "", "{}");
        return;
    }
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", layer.len);
    say_bytes(p, layer.data, SIZE / 2);
    wait_gate(p, 0);
    say_bytes(p, layer.data + SIZE / 2, SIZE - SIZE / 2);
}

static bool is_looked_for(void *arg)
{
    (void)arg;
    return server_count_of(registry, "/v2/") > 0;
}

/* It is looked at whether the registry is still there; slowness is no reason to resign. */
static void test_a_slow_registry_is_waited_for(void **state)
{
    (void)state;
    begin_swarm(1);
    make_chain(&holders[0], 0, 0);
    server_del(registry);
    registry = server_new(script_pauses, NULL, NULL);
    rig_upstream(&rig, server_url(registry), NULL, NULL, NULL);
    struct fill_source src = {
        .upstream = rig.upstreams[1], .repository = "team/app", .proven = true, .size = SIZE};
    assert_int_equal(client_join_as(&client, &layer.digest, &src), 0);
    order(SWARM_FETCH, 0);
    rig_wait(&rig, is_looked_for, NULL);
    rig_settle(&rig);
    server_open(registry, 0);
    expect_whole();
    for (size_t i = 0; i < mesh_double.swarm.n_registry; i++)
        assert_int_equal(mesh_double.swarm.registry[i], SWARM_REGISTRY_WELL);
    assert_int_equal(server_count(registry), 2);
    end_swarm();
}

/* Before a registry that answers so, and nothing else. */
static void begin_refused(int *status)
{
    begin_swarm(1);
    make_chain(&holders[0], 0, 0);
    server_del(registry);
    registry = server_new(script_status, status, NULL);
    rig_upstream(&rig, server_url(registry), NULL, NULL, NULL);
    rig_timer_max_ms = 2; /* later is soon */
    struct fill_source src = {
        .upstream = rig.upstreams[1], .repository = "team/app", .proven = true, .size = SIZE};
    assert_int_equal(client_join_as(&client, &layer.digest, &src), 0);
}

static void end_refused(void)
{
    rig_wait_idle(&rig);
    rig_timer_max_ms = 0;
    assert_true(mesh_double.swarm.left > 0);
    end_swarm();
}

static int statuses[] = {401, 403, 404, 429, 500, 503, 0};

static void test_who_is_refused_is_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(statuses); i++) {
        begin_refused(&statuses[i]);
        order(SWARM_FETCH, 0);
        rig_wait(&rig, has_resigned, NULL);
        order(SWARM_GIVE_UP, 0);
        rig_wait(&rig, has_failed, NULL);
        assert_true(client.err < 0);
        assert_int_equal(client.refusal, statuses[i]);
        end_refused();
    }
}

/* Nobody appoints us, nobody has it, nobody says so. */
static void test_who_is_alone_is_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(statuses); i++) {
        begin_refused(&statuses[i]);
        pass_ms(60 * 1000);
        rig_wait(&rig, has_failed, NULL);
        assert_int_equal(client.refusal, statuses[i]);
        end_refused();
    }
}

static bool passes_until_failed(void *arg)
{
    pass_ms(100);
    return has_failed(arg);
}

/* As many nodes as there are go on alone when nothing comes: not all of them in one moment. */
static void test_patience_ends_in_turns(void **state)
{
    (void)state;
    u64 least_ns = UINT64_MAX, most_ns = 0;
    for (size_t i = 0; i < 8; i++) {
        begin_refused(&statuses[0]);
        mesh_double.swarm.neighbours = 9;
        u64 since_ns = mesh_double.now_ns;
        rig_wait(&rig, passes_until_failed, NULL);
        u64 took_ns = mesh_double.now_ns - since_ns;
        least_ns = took_ns < least_ns ? took_ns : least_ns;
        most_ns = took_ns > most_ns ? took_ns : most_ns;
        end_refused();
    }
    assert_true(least_ns >= 10 * SWARM_ALONE_NS);
    assert_true(most_ns - least_ns > SWARM_TURN_NS);
}

static bool passes_until_ended(void *arg)
{
    (void)arg;
    pass_ms(100);
    return client.ended || client.failed;
}

/* What came of a peer that is gone since is no whole layer: the answer is cut. */
static void test_an_answer_that_cannot_go_on_is_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(statuses); i++) {
        begin_refused(&statuses[i]);
        u32 a = ask(0, 0, 2), b = ask(0, 4, 1);
        assert_int_equal(outcome_of(a), SWARM_WORKED);
        assert_int_equal(outcome_of(b), SWARM_WORKED);
        order(SWARM_FETCH, 2);
        rig_wait(&rig, has_resigned, NULL);
        rig_wait(&rig, passes_until_ended, NULL);
        client_expect_cut(&client, &layer);
        assert_true(client.len <= 2 * PIECE);
        end_refused();
    }
}

static void test_pieces_outlive_a_restart(void **state)
{
    (void)state;
    begin_swarm(1);
    make_chain(&holders[0], 0, 0);
    join();
    u32 a = ask(0, 1, 2), b = ask(0, 4, 2);
    (void)outcome_of(a);
    (void)outcome_of(b);
    rig_restart(&rig);
    client_expect_failed(&client, ERR_CANCELED);
    mesh_double.swarm.have = 0;
    mesh_double.swarm.n_ended = 0;
    struct client again;
    client_init(&again, &rig);
    assert_int_equal(join_as(&again, true, SIZE), 0);
    u32 c = ask(0, 0, 1); /* its claims tell what the others must be */
    assert_int_equal(outcome_of(c), SWARM_WORKED);
    wait_have(0x37);
    u32 d = ask(0, 3, 1);
    assert_int_equal(outcome_of(d), SWARM_WORKED);
    client_expect(&again, layer.data, SIZE);
    rig_wait_idle(&rig);
    assert_int_equal(server_count(registry), 0);
    end_swarm();
}

static void test_pieces_outlive_a_restart_alone(void **state)
{
    (void)state;
    begin_swarm(1);
    make_chain(&holders[0], 0, 0);
    join();
    u32 a = ask(0, 0, 2), b = ask(0, 4, 1);
    (void)outcome_of(a);
    (void)outcome_of(b);
    client_leave(&client);
    rig_restart(&rig);
    struct client again;
    client_init(&again, &rig);
    assert_int_equal(join_as(&again, true, SIZE), 0);
    order(SWARM_FETCH, 0); /* nobody tells a chain: ours goes over what is here */
    client_expect(&again, layer.data, SIZE);
    rig_wait_idle(&rig);
    assert_int_equal(fills_fetched_bytes(rig.fills), SIZE - 3 * PIECE);
    end_swarm();
}

static void test_cancelled_requests(void **state)
{
    (void)state;
    begin_swarm(1);
    make_chain(&holders[0], 0, 0);
    join();
    u32 a = ask(0, 0, 2);
    struct swarm_step step = {.what = SWARM_CANCEL, .digest = layer.digest, .id = a};
    fills_step(rig.fills, &step);
    fills_step(rig.fills, &step);
    order(SWARM_FETCH, 0);
    order(SWARM_YIELD, 0);
    order(SWARM_FETCH, 0);
    expect_whole();
    end_swarm();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_in_any_order),
        cmocka_unit_test(test_appointed),
        cmocka_unit_test(test_the_registry_refuses),
        cmocka_unit_test(test_the_registry_knows_no_ranges),
        cmocka_unit_test(test_the_registry_breaks_off),
        cmocka_unit_test(test_the_registry_drips),
        cmocka_unit_test(test_yields_within_a_piece),
        cmocka_unit_test(test_answers_that_are_none),
        cmocka_unit_test(test_a_wrong_piece_is_asked_elsewhere),
        cmocka_unit_test(test_a_forged_chain),
        cmocka_unit_test(test_claims_of_anybody),
        cmocka_unit_test(test_claims_of_a_fetcher_not_known_yet),
        cmocka_unit_test(test_a_consistent_forgery),
        cmocka_unit_test(test_taking_over_from_a_liar),
        cmocka_unit_test(test_going_on_alone),
        cmocka_unit_test(test_a_slow_registry_is_waited_for),
        cmocka_unit_test(test_who_is_refused_is_told),
        cmocka_unit_test(test_who_is_alone_is_told),
        cmocka_unit_test(test_patience_ends_in_turns),
        cmocka_unit_test(test_an_answer_that_cannot_go_on_is_cut),
        cmocka_unit_test(test_pieces_outlive_a_restart),
        cmocka_unit_test(test_pieces_outlive_a_restart_alone),
        cmocka_unit_test(test_cancelled_requests),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
