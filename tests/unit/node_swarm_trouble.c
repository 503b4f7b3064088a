/* node_swarm_trouble.c - tests of fills whose chain is nowhere to be had, or whose places for
 * chains were all taken by liars: who is appointed comes to an end all the same, and reads nothing
 * twice. The swarm's core is the test itself. */
#include "swarm_fixture.h"

/* Unverified, on the disk: nobody told a chain. */
static void take_unverified(u32 first, u32 count)
{
    holders[0].chain[0] = '\0';
    u32 id = ask(0, first, count);
    assert_int_equal(outcome_of(id), SWARM_WORKED);
    assert_int_equal(rig.fills->first->swarm->held, 0);
}

static void test_the_end_is_here(void **state)
{
    struct server_request r;
    (void)state;
    begin_swarm(1);
    join();
    take_unverified(3, 3);
    order(SWARM_FETCH, 0);
    expect_whole();
    assert_int_equal(server_count(registry), 1);
    server_request_at(registry, 0, &r);
    assert_true(asks_for(&r, 0, 3));
    end_swarm();
}

static void test_all_is_here(void **state)
{
    (void)state;
    begin_swarm(1);
    join();
    take_unverified(0, COUNT);
    order(SWARM_FETCH, 0);
    expect_whole();
    assert_int_equal(server_count(registry), 0);
    end_swarm();
}

static bool client_ended(void *arg)
{
    (void)arg;
    return client.ended;
}

/* The answer under way may be broken off, but does not end with other bytes; who comes again has
 * it. */
static void expect_whole_or_the_second_time(void)
{
    struct client again;
    rig_wait(&rig, client_ended, NULL);
    if (client.end_err == 0) {
        expect_whole();
        return;
    }
    assert_true(client.len < layer.len);
    client_leave(&client);
    rig_wait_idle(&rig);
    client_init(&again, &rig);
    assert_int_equal(join_as(&again, true, SIZE), 0);
    order(SWARM_FETCH, 0);
    client_expect(&again, layer.data, SIZE);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
}

/* What nobody vouched for is wrong. */
static void test_what_is_here_is_wrong(void **state)
{
    (void)state;
    begin_swarm(1);
    holders[0].layer.data[4 * PIECE + 7] ^= 1;
    join();
    take_unverified(3, 3);
    order(SWARM_FETCH, 0);
    expect_whole_or_the_second_time();
    end_swarm();
}

/* It is not shown, either, when the swarm is left: not even to who asks for no more than that. */
static void test_what_nobody_vouched_for_is_not_shown(void **state)
{
    (void)state;
    begin_swarm(2);
    mesh_double.swarm.fetcher = mesh_double.peers[1].key;
    holders[0].layer.data[7] ^= 1;
    client.end = PIECE / 2;
    join();
    take_unverified(0, 2);
    for (int i = 0; i < 3; i++) {
        pass_ms(60000);
        fills_tick(rig.fills);
    }
    client_expect(&client, layer.data, PIECE / 2);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    assert_int_equal(fills_fetched_bytes(rig.fills), SIZE);
    end_swarm();
}

/* As holders all are believed. `apart`: each signs another lie. */
static void expect_no_harm_of_liars(u32 apart)
{
    begin_swarm(PEERS);
    for (u32 i = 0; i < PEERS; i++) {
        mesh_double.peers[i].holds = true;
        make_chain(&holders[i], i, 3 + apart * i);
    }
    join();
    for (size_t i = 0; i < PEERS; i++) {
        u32 id = ask(i, COUNT - 1, 1);
        (void)outcome_of(id);
    }
    order(SWARM_FETCH, 0);
    expect_whole();
    assert_true(fills_fetched_bytes(rig.fills) <= 2 * SIZE);
    end_swarm();
}

static void test_liars_take_all_places(void **state)
{
    (void)state;
    expect_no_harm_of_liars(1);
    expect_no_harm_of_liars(0);
}

/* The fetcher before us told one state that is none, amid right ones; we read the end first. */
static void test_a_lie_amid_what_was_taken_over(void **state)
{
    (void)state;
    begin_swarm(1);
    make_lie(&holders[0], 0, 3, 3);
    join();
    u32 id = ask(0, 0, 1);
    assert_int_equal(outcome_of(id), SWARM_WORKED);
    order(SWARM_FETCH, 5);
    expect_whole_or_the_second_time();
    end_swarm();
}

/* Whatever kept a piece from being judged: who is appointed looks after himself. */
static void test_a_piece_that_nobody_judges(void **state)
{
    (void)state;
    begin_swarm(1);
    join();
    rig.fills->first->swarm->state[COUNT - 1] = PIECE_JUDGED;
    order(SWARM_FETCH, 0);
    client_wait_bytes(&client, 4 * PIECE);
    rig_settle(&rig);
    pass_ms(60000);
    expect_whole();
    end_swarm();
}

static void test_there_is_no_region_any_more(void **state)
{
    (void)state;
    begin_swarm(1);
    make_chain(&holders[0], 0, 0);
    join();
    u32 id = ask(0, 0, 2);
    assert_int_equal(outcome_of(id), SWARM_WORKED);
    mesh_double.off = true;
    expect_whole();
    end_swarm();
}

static void wait_minutes(unsigned n)
{
    for (unsigned i = 0; i < n * 60; i++) {
        pass_ms(1000);
        fills_tick(rig.fills);
    }
}

/* The home says so again and again: each piece is worth two minutes of patience. */
static void test_the_registry_backs_off_for_ever(void **state)
{
    (void)state;
    begin_swarm(1);
    make_chain(&holders[0], 0, 0);
    join();
    mesh_double.swarm.backoff_ns = 60000 * SWARM_MS;
    wait_minutes(1);
    u32 a = ask(0, 1, 1);
    assert_int_equal(outcome_of(a), SWARM_WORKED);
    wait_minutes(1);
    assert_non_null(rig.fills->first->swarm);
    wait_minutes(2);
    expect_whole();
    assert_true(server_count(registry) > 0);
    end_swarm();
}

static struct upstream *by_name(void *arg, const char *name)
{
    return strcmp(name, "registry-1") == 0 ? arg : NULL;
}

static void fetch_for_region(const char *origin, u64 size)
{
    struct swarm_step step = {
        .what = SWARM_FETCH, .digest = layer.digest, .size = size, .reason = "by the test"};
    snprintf(step.origin, sizeof(step.origin), "%s", origin);
    fills_step(rig.fills, &step);
}

static void expect_refused(size_t i)
{
    assert_int_equal(mesh_double.swarm.n_registry, i + 1);
    assert_int_equal(mesh_double.swarm.registry[i], SWARM_REGISTRY_REFUSED);
}

/* With our own credentials, for nobody here: from where a member said, if that is a repository. */
static void test_origins_of_any_kind(void **state)
{
    static const char *const none[] = {"",
                                       "registry-1",
                                       "registry-1 ",
                                       "registry-2 team/app",
                                       "registry-1 ../../admin",
                                       "registry-1 team/../../app",
                                       "registry-1 team/app?x=",
                                       "registry-1 team//app",
                                       "registry-1 /team",
                                       "registry-1 team app",
                                       "registry-1 Team",
                                       "registry-1 team%2fapp"};
    static const u64 sizes[] = {0, UINT64_MAX, 1ull << 63, 1ull << 62, CAPACITY + 1};
    struct server_request r;
    (void)state;
    begin_swarm(1);
    rig.fills->opt.upstream = by_name;
    rig.fills->opt.arg =
        rig_upstream(&rig, server_url(registry), NULL, "dray:secret of the node\n", NULL);
    for (size_t i = 0; i < countof(none); i++) {
        fetch_for_region(none[i], SIZE);
        expect_refused(i);
    }
    for (size_t i = 0; i < countof(sizes); i++) {
        fetch_for_region("registry-1 team/app", sizes[i]);
        expect_refused(countof(none) + i);
    }
    rig_settle(&rig);
    assert_int_equal(server_count(registry), 0);
    fetch_for_region("registry-1 team/app", SIZE);
    rig_wait(&rig, is_asked, registry);
    server_request_at(registry, 0, &r);
    assert_non_null(strstr(r.target, "/v2/team/app/blobs/sha256:"));
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    end_swarm();
}

static void script_elsewhere(struct server_peer *p, const struct server_request *r, void *arg)
{
    if (strstr(r->target, "/team/none/"))
        say(p, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    else
        script_layer(p, r, arg);
}

static bool has_refused(void *arg)
{
    return mesh_double.swarm.n_registry > 0 &&
           mesh_double.swarm.registry[mesh_double.swarm.n_registry - 1] == SWARM_REGISTRY_REFUSED &&
           mesh_double.swarm.n_registry >= *(size_t *)arg;
}

/* Sent to where it is not, or told a wrong size of it: that ends it here, and the next one who says
 * where it is is as good as the first would have been. */
static void test_a_false_origin_bars_no_other(void **state)
{
    size_t told = 0;
    (void)state;
    begin_swarm(1);
    server_del(registry);
    registry = server_new(script_elsewhere, NULL, NULL);
    rig.fills->opt.upstream = by_name;
    rig.fills->opt.arg =
        rig_upstream(&rig, server_url(registry), NULL, "dray:secret of the node\n", NULL);
    for (int how = 0; how < 3; how++) {
        fetch_for_region(how == 0 ? "registry-1 team/none" : "registry-1 team/app",
                         how == 1 ? SIZE - 1 : SIZE + 1);
        told += 2; /* it begins, and is refused */
        rig_wait(&rig, has_refused, &told);
        told = mesh_double.swarm.n_registry;
        rig_wait_idle(&rig);
    }
    fetch_for_region("registry-1 team/app", SIZE);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    end_swarm();
}

/* Others are held, of `bytes` each. */
static void hold_others(unsigned n, size_t bytes)
{
    for (unsigned i = 0; i < n; i++) {
        struct layer other;
        struct store_ingest *in;
        layer_make(&other, bytes, 100 + i);
        struct store_ingest_options opt = {
            .digest = other.digest, .size = bytes, .now_ms = 1000 + i};
        assert_int_equal(store_ingest_begin(rig.store, &opt, &in), 0);
        assert_int_equal(store_ingest_write(in, other.data, bytes), 0);
        store_ingest_hash(in, other.data, bytes);
        assert_int_equal(store_ingest_seal(in), 0);
        assert_int_equal(store_ingest_commit(in, 1000 + i, NULL), 0);
        layer_free(&other);
    }
}

static u64 evicted(void)
{
    struct store_stats stats;
    store_stats(rig.store, &stats);
    return stats.evicted_blobs;
}

/* A member's word, which the registry does not confirm. */
static void test_hearsay_of_a_size_evicts_nothing(void **state)
{
    size_t told = 0;
    (void)state;
    begin_swarm(1);
    hold_others(10, 4 * MIB);
    server_del(registry);
    registry = server_new(script_elsewhere, NULL, NULL);
    rig.fills->opt.upstream = by_name;
    rig.fills->opt.arg =
        rig_upstream(&rig, server_url(registry), NULL, "dray:secret of the node\n", NULL);
    for (int how = 0; how < 2; how++) {
        fetch_for_region(how == 0 ? "registry-1 team/none" : "registry-1 team/app", CAPACITY - MIB);
        told += 2;
        rig_wait(&rig, has_refused, &told);
        told = mesh_double.swarm.n_registry;
        rig_wait_idle(&rig);
        assert_int_equal(server_count(registry), how + 1);
        assert_int_equal(evicted(), 0);
    }
    end_swarm();
}

/* A manifest's word, likewise; what is asked for is fetched all the same. */
static void test_a_manifest_says_too_much(void **state)
{
    size_t told = 2;
    (void)state;
    begin_swarm(0);
    hold_others(10, 4 * MIB);
    assert_int_equal(join_as(&client, true, CAPACITY - MIB), 0);
    order(SWARM_FETCH, 0);
    rig_wait(&rig, has_refused, &told);
    for (int i = 0; i < 3; i++) {
        pass_ms(60000);
        fills_tick(rig.fills);
    }
    expect_whole();
    assert_int_equal(evicted(), 0);
    end_swarm();
}

/* All but half a MiB is taken: what is really wanted makes room. */
static void begin_full(void)
{
    begin_swarm(1);
    make_chain(&holders[0], 0, 0);
    hold_others(15, 4 * MIB);
    hold_others(1, 3 * MIB + 512 * KIB);
    join();
    assert_int_equal(evicted(), 0);
}

static void test_room_is_made_for_the_registry(void **state)
{
    (void)state;
    begin_full();
    order(SWARM_FETCH, 0);
    expect_whole();
    assert_int_equal(evicted(), 1);
    end_swarm();
}

static void test_room_is_made_for_a_piece_that_fits(void **state)
{
    char chain[sizeof(holders[0].chain)];
    (void)state;
    begin_full();
    memcpy(chain, holders[0].chain, sizeof(chain));
    holders[0].chain[0] = '\0';
    u32 a = ask(0, 0, 1); /* nobody vouches for it */
    rig_wait(&rig, is_asked, peers[0]);
    rig_settle(&rig);
    fills_tick(rig.fills);
    (void)outcome_of(a);
    assert_int_equal(evicted(), 0);
    memcpy(holders[0].chain, chain, sizeof(chain));
    u32 b = ask(0, 3, 1);
    assert_int_equal(outcome_of(b), SWARM_WORKED);
    assert_int_equal(evicted(), 1);
    u32 c = ask(0, 0, 3), d = ask(0, 4, 2);
    assert_int_equal(outcome_of(c), SWARM_WORKED);
    assert_int_equal(outcome_of(d), SWARM_WORKED);
    expect_whole();
    assert_int_equal(server_count(registry), 0);
    end_swarm();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_end_is_here),
        cmocka_unit_test(test_all_is_here),
        cmocka_unit_test(test_what_is_here_is_wrong),
        cmocka_unit_test(test_what_nobody_vouched_for_is_not_shown),
        cmocka_unit_test(test_liars_take_all_places),
        cmocka_unit_test(test_a_lie_amid_what_was_taken_over),
        cmocka_unit_test(test_a_piece_that_nobody_judges),
        cmocka_unit_test(test_there_is_no_region_any_more),
        cmocka_unit_test(test_the_registry_backs_off_for_ever),
        cmocka_unit_test(test_origins_of_any_kind),
        cmocka_unit_test(test_a_false_origin_bars_no_other),
        cmocka_unit_test(test_hearsay_of_a_size_evicts_nothing),
        cmocka_unit_test(test_a_manifest_says_too_much),
        cmocka_unit_test(test_room_is_made_for_the_registry),
        cmocka_unit_test(test_room_is_made_for_a_piece_that_fits),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
