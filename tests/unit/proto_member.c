/* Membership as it should be: joining, dying, leaving, changing, and what can be seen of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "member_cluster.h"

#define S  CLUSTER_SECOND
#define MS CLUSTER_MS

static void one_alone_is_one(void **state)
{
    struct cluster c;
    size_t at = 0;
    struct member_view v;
    (void)state;
    cluster_new(&c, 2, 1);
    cluster_start(&c, 0);
    cluster_seed(&c, 0, 1); /* nobody is there */
    cluster_run(&c, 30 * S);
    assert_int_equal(member_count(c.node[0].m, MEMBER_ALIVE), 1);
    assert_false(member_each(c.node[0].m, &at, &v));
    assert_int_equal(c.node[0].events[MEMBER_EVENT_JOINED], 0);
    assert_int_equal(c.node[0].datagrams_out, 0);
    cluster_del(&c);
}

static void all_meet_by_one_seed(void **state)
{
    struct cluster c;
    (void)state;
    cluster_new(&c, 20, 2);
    cluster_form(&c, 20);
    assert_true(cluster_until_whole(&c, 3 * S) != UINT64_MAX);
    for (u32 i = 0; i < 20; i++) {
        assert_int_equal(c.node[i].events[MEMBER_EVENT_JOINED], 1);
        assert_int_equal(c.node[i].events[MEMBER_EVENT_UP], 19);
        assert_int_equal(c.node[i].events[MEMBER_EVENT_DOWN], 0);
    }
    cluster_del(&c);
}

/* The seed starts after those who name it. */
static void a_late_seed_gathers_them(void **state)
{
    struct cluster c;
    (void)state;
    cluster_new(&c, 6, 3);
    for (u32 i = 1; i < 6; i++) {
        cluster_start(&c, i);
        cluster_seed(&c, i, 0);
    }
    cluster_run(&c, 20 * S);
    assert_int_equal(member_count(c.node[1].m, MEMBER_ALIVE), 1);
    cluster_start(&c, 0);
    u64 took_ns = cluster_until_whole(&c, 20 * S);
    assert_true(took_ns <= 8 * S);
    cluster_del(&c);
}

/* Two regions that each know another seed, until one learns of the other. */
static void two_halves_merge_by_a_new_seed(void **state)
{
    struct cluster c;
    (void)state;
    cluster_new(&c, 12, 4);
    for (u32 i = 0; i < 12; i++) {
        cluster_start(&c, i);
        cluster_seed(&c, i, i < 6 ? 0 : 6);
    }
    cluster_run(&c, 15 * S);
    assert_int_equal(member_count(c.node[1].m, MEMBER_ALIVE), 6);
    cluster_seed(&c, 3, 9);
    assert_true(cluster_until_whole(&c, 5 * S) != UINT64_MAX);
    cluster_del(&c);
}

static void seeds_are_bounded(void **state)
{
    struct cluster c;
    (void)state;
    cluster_new(&c, 1, 5);
    cluster_start(&c, 0);
    for (u32 i = 0; i < LIMIT_SEEDS; i++) {
        struct addr a = cluster_addr(100 + i);
        assert_int_equal(member_seed(c.node[0].m, &a), 0);
        assert_int_equal(member_seed(c.node[0].m, &a), 0); /* once more is the same */
    }
    struct addr one_more = cluster_addr(99);
    assert_int_equal(member_seed(c.node[0].m, &one_more), ERR_FULL);
    member_clear_seeds(c.node[0].m);
    assert_int_equal(member_seed(c.node[0].m, &one_more), 0);
    cluster_drain(&c, 0);
    cluster_run(&c, 5 * S);
    cluster_del(&c);
}

static void a_crash_is_known_to_all(void **state)
{
    struct cluster c;
    (void)state;
    cluster_new(&c, 30, 6);
    cluster_form(&c, 30);
    cluster_run(&c, 5 * S);
    cluster_kill(&c, 7);
    u64 start_ns = c.now_ns;
    while (cluster_seen(&c, 7, MEMBER_DEAD) < 29 && c.now_ns - start_ns < 30 * S)
        cluster_run(&c, 50 * MS);
    double took_s = (double)(c.now_ns - start_ns) / 1e9;
    print_message("30 nodes: a crash known to all after %.2f s\n", took_s);
    assert_true(took_s < 6);
    for (u32 i = 0; i < 30; i++) {
        if (i == 7)
            continue;
        assert_int_equal(c.node[i].events[MEMBER_EVENT_DOWN], 1);
        assert_int_equal(c.node[i].events[MEMBER_EVENT_SUSPECT], 1);
        assert_int_equal(member_count(c.node[i].m, MEMBER_ALIVE), 29);
        assert_int_equal(member_count(c.node[i].m, MEMBER_DEAD), 1);
        assert_true(node_key_equal(&c.node[i].last[MEMBER_EVENT_DOWN].key, &c.node[7].key));
        assert_int_equal(c.node[i].last[MEMBER_EVENT_DOWN].state, MEMBER_DEAD);
    }
    cluster_del(&c);
}

/* A third at once; and the dead are forgotten after a while. */
static void many_die_at_once_and_are_reaped(void **state)
{
    struct cluster c;
    (void)state;
    cluster_new(&c, 30, 7);
    c.timing.reap_ns = 60 * S;
    cluster_form(&c, 30);
    cluster_run(&c, 5 * S);
    for (u32 i = 20; i < 30; i++)
        cluster_kill(&c, i);
    cluster_run(&c, 40 * S);
    for (u32 i = 0; i < 20; i++) {
        assert_int_equal(member_count(c.node[i].m, MEMBER_ALIVE), 20);
        assert_int_equal(member_count(c.node[i].m, MEMBER_DEAD), 10);
    }
    cluster_run(&c, 90 * S);
    for (u32 i = 0; i < 20; i++)
        assert_int_equal(member_count(c.node[i].m, MEMBER_DEAD), 0);
    assert_int_equal(cluster_state(&c, 0, 25), MEMBER_STATE_COUNT);
    cluster_del(&c);
}

static void who_leaves_is_not_called_dead(void **state)
{
    struct cluster c;
    (void)state;
    cluster_new(&c, 20, 8);
    cluster_form(&c, 20);
    cluster_run(&c, 5 * S);
    member_leave(c.node[4].m, c.now_ns);
    cluster_drain(&c, 4);
    cluster_run(&c, 2 * S);
    assert_int_equal(cluster_seen(&c, 4, MEMBER_LEFT), 19);
    cluster_kill(&c, 4);
    cluster_run(&c, 20 * S);
    assert_int_equal(cluster_seen(&c, 4, MEMBER_LEFT), 19);
    for (u32 i = 0; i < 20; i++) {
        if (i == 4)
            continue;
        assert_int_equal(c.node[i].events[MEMBER_EVENT_DOWN], 1);
        assert_int_equal(c.node[i].events[MEMBER_EVENT_SUSPECT], 0);
    }
    /* It comes back, in a later life. */
    cluster_start_as(&c, &(struct cluster_start){.slot = 4, .key = 4, .epoch = 101});
    cluster_seed(&c, 4, 0);
    assert_true(cluster_until_whole(&c, 3 * S) != UINT64_MAX);
    cluster_del(&c);
}

/* Also where somebody is dead, and somebody suspected. */
static void who_leaves_comes_to_rest(void **state)
{
    struct cluster c;
    (void)state;
    cluster_new(&c, 6, 14);
    cluster_form(&c, 6);
    cluster_kill(&c, 1);
    cluster_run(&c, 20 * S);
    cluster_kill(&c, 2);
    cluster_run(&c, 1500 * MS);
    member_leave(c.node[0].m, c.now_ns);
    cluster_drain(&c, 0);
    cluster_run(&c, 20 * S);
    u64 events = c.n_events, sent = c.node[0].datagrams_out;
    c.node[3].side = c.node[4].side = c.node[5].side = 1;
    cluster_run(&c, 60 * S);
    assert_true(c.n_events - events < 20000);
    assert_true(c.node[0].datagrams_out - sent < 5);
    cluster_del(&c);
}

static void a_change_is_told(void **state)
{
    struct cluster c;
    struct member_view v;
    (void)state;
    cluster_new(&c, 10, 9);
    cluster_form(&c, 10);
    cluster_run(&c, 5 * S);
    struct member_record r = *member_self(c.node[3].m);
    r.can_fetch = false;
    member_change(c.node[3].m, &r, c.now_ns); /* flags only: goes in short form */
    cluster_drain(&c, 3);
    cluster_run(&c, 3 * S);
    for (u32 i = 0; i < 10; i++) {
        if (i == 3)
            continue;
        assert_true(member_find(c.node[i].m, &c.node[3].key, &v));
        assert_false(v.record->can_fetch);
        assert_true(v.record->incarnation == 2 && v.state == MEMBER_ALIVE);
        assert_int_equal(c.node[i].events[MEMBER_EVENT_CHANGED], 1);
    }
    r = *member_self(c.node[3].m);
    r.rack = "rack-99";
    r.public_url = "https://elsewhere.example.net:8443";
    member_change(c.node[3].m, &r, c.now_ns);
    cluster_drain(&c, 3);
    cluster_run(&c, 3 * S);
    for (u32 i = 0; i < 10; i++) {
        if (i == 3)
            continue;
        assert_true(member_find(c.node[i].m, &c.node[3].key, &v));
        assert_string_equal(v.record->rack, "rack-99");
        assert_string_equal(v.record->public_url, "https://elsewhere.example.net:8443");
        assert_string_equal(v.record->name, "node-3");
        assert_string_equal(v.record->region, "test");
        assert_int_equal(v.record->incarnation, 3);
    }
    cluster_del(&c);
}

static struct member_network network_v4(u8 a, u8 b, u8 n, u8 bits)
{
    struct addr at = addr_v4(a, b, n, 0, 1);
    struct member_network out = {.bits = (u8)(96 + bits)};
    memcpy(out.ip, at.ip, sizeof(out.ip));
    return out;
}

static void networks_are_told(void **state)
{
    struct cluster c;
    struct member_view v;
    struct member_network told[MEMBER_SERVES_MAX], longest[MEMBER_SERVES_MAX];
    struct member_network all[] = {network_v4(10, 20, 0, 16),
                                   network_v4(10, 21, 7, 26),
                                   {.ip = {0x20, 1, 0xd, 0xb8}, .bits = 48},
                                   network_v4(0, 0, 0, 0)};
    (void)state;
    cluster_new(&c, 6, 31);
    cluster_form(&c, 6);
    cluster_run(&c, 5 * S);
    assert_true(member_find(c.node[0].m, &c.node[3].key, &v));
    assert_int_equal(member_serves(&v, told), 0);
    struct member_record r = *member_self(c.node[3].m);
    r.serves = all;
    r.n_serves = countof(all);
    member_change(c.node[3].m, &r, c.now_ns);
    cluster_drain(&c, 3);
    cluster_run(&c, 3 * S);
    for (u32 i = 0; i < 6; i++) {
        if (i == 3)
            continue;
        assert_true(member_find(c.node[i].m, &c.node[3].key, &v));
        assert_int_equal(member_serves(&v, told), countof(all));
        for (size_t k = 0; k < countof(all); k++) {
            assert_int_equal(told[k].bits, all[k].bits);
            assert_memory_equal(told[k].ip, all[k].ip, sizeof(told[k].ip));
        }
    }
    const struct addr in = addr_v4(10, 20, 255, 1, 1), out = addr_v4(10, 22, 0, 1, 1),
                      near = addr_v4(10, 21, 7, 63, 1), far = addr_v4(10, 21, 7, 64, 1);
    assert_true(member_network_has(&told[0], &in) && !member_network_has(&told[0], &out));
    assert_true(member_network_has(&told[1], &near) && !member_network_has(&told[1], &far));
    assert_true(!member_network_has(&told[2], &in) && member_network_has(&told[3], &out));
    for (size_t k = 0; k < MEMBER_SERVES_MAX; k++) /* the most that fit */
        longest[k] = (struct member_network){.ip = {0xfd, (u8)k}, .bits = 128};
    r = *member_self(c.node[3].m);
    r.serves = longest;
    r.n_serves = MEMBER_SERVES_MAX;
    member_change(c.node[3].m, &r, c.now_ns);
    cluster_drain(&c, 3);
    cluster_run(&c, 3 * S);
    assert_true(member_find(c.node[0].m, &c.node[3].key, &v));
    assert_int_equal(member_serves(&v, told), MEMBER_SERVES_MAX);
    assert_memory_equal(told[6].ip, longest[6].ip, sizeof(told[6].ip));
    cluster_del(&c);
}

static void fetches_are_told(void **state)
{
    struct cluster c;
    struct member_view v;
    struct member_network told[MEMBER_SERVES_MAX], net = network_v4(10, 20, 0, 16);
    (void)state;
    cluster_new(&c, 6, 33);
    cluster_form(&c, 6);
    cluster_run(&c, 5 * S);
    for (u8 n = 0; n <= MEMBER_FETCHES_MAX; n += MEMBER_FETCHES_MAX / 2) {
        struct member_record r = *member_self(c.node[3].m); /* texts are its own */
        r.serves = &net;
        r.n_serves = n > 0;
        member_change_fetches(c.node[3].m, &r, n, c.now_ns);
        cluster_drain(&c, 3);
        cluster_run(&c, 3 * S);
        for (u32 i = 0; i < 6; i++)
            if (i != 3) {
                assert_true(member_find(c.node[i].m, &c.node[3].key, &v));
                assert_int_equal(member_fetches(&v), n);
                assert_int_equal(member_serves(&v, told), n > 0);
            }
    }
    cluster_del(&c);

    static const u8 many[] = {2, 1, 200}, none[] = {2, 0}, cut[] = {2, 1},
                    after[] = {9, 1, 7, 2, 1, 3};
    v = (struct member_view){.extra = many, .extra_len = sizeof(many)};
    assert_int_equal(member_fetches(&v), MEMBER_FETCHES_MAX);
    v = (struct member_view){.extra = none, .extra_len = sizeof(none)};
    assert_int_equal(member_fetches(&v), 0);
    v = (struct member_view){.extra = cut, .extra_len = sizeof(cut)};
    assert_int_equal(member_fetches(&v), 0);
    v = (struct member_view){.extra = after, .extra_len = sizeof(after)};
    assert_int_equal(member_fetches(&v), 3);
}

/* Whatever stands in that field, no more is read than there is. */
static void networks_of_others_are_read_with_care(void **state)
{
    struct member_network told[MEMBER_SERVES_MAX];
    struct rng rng;
    (void)state;
    static const u8 later[] = {9, 2, 0xff, 0xff, 1, 3, 129 + 16, 10, 20};
    static const u8 bad[][6] = {
        {1}, {1, 200}, {1, 1, 130}, {1, 2, 255, 1}, {1, 3, 129 + 33, 1, 2}, {7, 250, 1, 1}};
    struct member_view v = {.extra = later, .extra_len = sizeof(later)};
    assert_int_equal(member_serves(&v, told), 1); /* behind what is not known yet */
    assert_int_equal(told[0].bits, 96 + 16);
    for (size_t i = 0; i < countof(bad); i++) {
        v = (struct member_view){.extra = bad[i], .extra_len = 1 + i};
        assert_int_equal(member_serves(&v, told), 0);
    }
    rng_seed(&rng, 5);
    for (int i = 0; i < 20000; i++) {
        u8 *bytes = malloc(129);
        assert_non_null(bytes);
        v.extra_len = rng_below(&rng, 129);
        rng_bytes(&rng, bytes, 129);
        bytes[0] = 1;
        u8 *exact = realloc(bytes, v.extra_len + 1); /* a byte too far is seen by the sanitizer */
        assert_non_null(exact);
        v.extra = exact + 1;
        (void)member_serves(&v, told);
        assert_true(member_fetches(&v) <= MEMBER_FETCHES_MAX);
        free(exact);
    }
}

static void views_show_what_is_known(void **state)
{
    struct cluster c;
    struct member_view v;
    size_t at = 0, n = 0;
    u32 ids[2] = {0xdeadbeef, 7};
    (void)state;
    cluster_new(&c, 10, 10);
    c.latency_ns = 10 * MS;
    cluster_form(&c, 10);
    member_set_load(c.node[2].m, 77);
    member_set_key_ids(c.node[2].m, ids);
    cluster_run(&c, 60 * S);
    while (member_each(c.node[0].m, &at, &v)) {
        n++;
        assert_true(v.rtt_ns > 5 * MS && v.rtt_ns < 35 * MS);
        assert_true(c.now_ns - v.heard_ns < 20 * S && v.since_ns < c.now_ns);
        u64 estimate_ns = coord_distance_ns(&v.coord, member_coord(c.node[0].m));
        assert_true(estimate_ns > 5 * MS && estimate_ns < 60 * MS);
    }
    assert_int_equal(n, 9);
    assert_true(member_find_sender(c.node[0].m, c.node[2].key.bytes, &v));
    assert_int_equal(v.load, 77);
    assert_true(v.key_ids[0] == 0xdeadbeef && v.key_ids[1] == 7);
    u8 nobody[8] = {1, 2, 3};
    assert_false(member_find_sender(c.node[0].m, nobody, &v));
    assert_string_equal(member_state_name(MEMBER_SUSPECT), "suspect");
    assert_true(member_bytes(c.node[0].m) > 9 * sizeof(struct member_record));
    cluster_del(&c);
}

static void failed_fetches_bar_for_a_while(void **state)
{
    struct cluster c;
    struct member_view v;
    (void)state;
    cluster_new(&c, 3, 11);
    cluster_form(&c, 3);
    cluster_run(&c, 3 * S);
    struct member *m = c.node[0].m;
    const struct node_key *k = &c.node[1].key;
    member_fetch_failed(m, k, c.now_ns);
    assert_true(member_find(m, k, &v) && !v.barred);
    member_fetch_failed(m, k, c.now_ns);
    assert_true(member_find(m, k, &v) && v.barred);
    member_fetch_failed(m, k, c.now_ns); /* was under way: does not make it longer */
    cluster_run(&c, 2 * S);
    assert_true(member_find(m, k, &v) && !v.barred);
    /* Probes have worked in between, which proves nothing; the next failure bars at once. */
    member_fetch_failed(m, k, c.now_ns);
    assert_true(member_find(m, k, &v) && v.barred);
    cluster_run(&c, 1500 * MS);
    assert_true(member_find(m, k, &v) && v.barred); /* twice as long */
    member_fetch_worked(m, k, c.now_ns);
    assert_true(member_find(m, k, &v) && !v.barred && v.state == MEMBER_ALIVE);
    member_fetch_failed(m, k, c.now_ns);
    assert_true(member_find(m, k, &v) && !v.barred); /* counted from the start again */
    assert_int_equal(cluster_state(&c, 2, 1), MEMBER_ALIVE);
    cluster_del(&c);
}

static void a_late_loop_distrusts_itself(void **state)
{
    struct cluster c;
    (void)state;
    cluster_new(&c, 4, 12);
    cluster_form(&c, 4);
    cluster_run(&c, 5 * S);
    struct member *m = c.node[0].m;
    assert_int_equal(member_health(m), 0);
    member_lag(m, 50 * MS, c.now_ns);
    assert_int_equal(member_health(m), 0);
    for (int i = 0; i < 40; i++) {
        member_lag(m, 300 * MS, c.now_ns);
        if (i % 2)
            cluster_run(&c, 250 * MS);
    }
    assert_in_range(member_health(m), 4, 8);
    cluster_run(&c, 30 * S);
    assert_int_equal(member_health(m), 0);
    cluster_del(&c);
}

static void what_cannot_be_is_refused(void **state)
{
    struct node_key key;
    struct member_options opt = {.datagram_max = 1155, .now_ns = 1};
    struct member *m = NULL;
    char longer[MEMBER_URL_MAX + 2];
    (void)state;
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    cluster_secret(1, &key, &opt.secret);
    const struct member_record good = {.key = key,
                                       .epoch = 1,
                                       .addr = cluster_addr(1),
                                       .role = MEMBER_NODE,
                                       .name = "a",
                                       .region = "r"};
    opt.self = good;
    assert_int_equal(member_new(&m, &opt), 0);
    assert_string_equal(member_self(m)->rack, "");
    assert_int_equal(member_self(m)->incarnation, 1);
    member_del(m);
    struct member_record bad[8];
    for (size_t i = 0; i < countof(bad); i++)
        bad[i] = good;
    bad[0].name = NULL;
    bad[1].name = "two\nlines";
    bad[2].public_url = longer;
    bad[3].region = longer;
    bad[4].addr = (struct addr){0};
    bad[5].role = 0;
    bad[6].key.bytes[0] ^= 1;
    bad[7].role = 3;
    for (size_t i = 0; i < countof(bad); i++) {
        opt.self = bad[i];
        assert_int_equal(member_new(&m, &opt), ERR_INVAL);
    }
    member_del(NULL);
}

/* The other tests sign by hashes, to be quick: a whole life with Ed25519. */
static void all_of_it_with_real_signatures(void **state)
{
    struct cluster c;
    struct member_stats st;
    (void)state;
    cluster_new(&c, 12, 16);
    c.clear = false;
    cluster_form(&c, 12);
    assert_true(cluster_until_whole(&c, 3 * S) != UINT64_MAX);
    cluster_pause(&c, 3, 1500 * MS);
    cluster_run(&c, 4 * S);
    assert_int_equal(c.node[3].events[MEMBER_EVENT_REFUTED], 1);
    assert_true(cluster_is_whole(&c));
    cluster_kill(&c, 5);
    member_leave(c.node[6].m, c.now_ns);
    cluster_drain(&c, 6);
    cluster_run(&c, 8 * S);
    assert_int_equal(cluster_seen(&c, 5, MEMBER_DEAD), 10); /* who left is told nothing */
    assert_int_equal(cluster_seen(&c, 6, MEMBER_LEFT), 10);
    for (u32 i = 0; i < 12; i++) {
        if (i == 5)
            continue;
        member_stats(c.node[i].m, &st);
        assert_true(st.bad_signatures == 0 && st.verified > 11 && st.verified < 100);
    }
    cluster_del(&c);
}

static void the_list_has_an_end(void **state)
{
    struct cluster c;
    struct member_stats st;
    const u32 more = 50;
    (void)state;
    cluster_new(&c, LIMIT_MEMBERS + more, 15);
    cluster_start(&c, 0);
    for (u32 i = 1; i < LIMIT_MEMBERS + more; i++) {
        cluster_start(&c, i);
        cluster_seed(&c, i, 0);
        cluster_run(&c, 6 * MS);
        cluster_kill(&c, i);
    }
    member_stats(c.node[0].m, &st);
    assert_int_equal(member_count(c.node[0].m, MEMBER_ALIVE) +
                         member_count(c.node[0].m, MEMBER_SUSPECT),
                     LIMIT_MEMBERS);
    assert_int_equal(st.refused_full, more);
    assert_true(member_bytes(c.node[0].m) < 4 * MIB);
    /* Once some are known to be dead, there is room again. */
    while (member_count(c.node[0].m, MEMBER_DEAD) < 10)
        cluster_run(&c, 10 * S);
    cluster_start_as(&c, &(struct cluster_start){.slot = 1, .key = LIMIT_MEMBERS + 1, .epoch = 9});
    cluster_seed(&c, 1, 0);
    cluster_run(&c, 1 * S);
    assert_int_equal(cluster_state(&c, 0, 1), MEMBER_ALIVE);
    cluster_del(&c);
}

static void equal_seeds_give_equal_runs(void **state)
{
    u64 events[2], bytes[2];
    (void)state;
    for (int run = 0; run < 2; run++) {
        struct cluster c;
        cluster_new(&c, 40, 13);
        c.loss = 0.1;
        cluster_form(&c, 40);
        cluster_pause(&c, 5, 5 * S);
        cluster_run(&c, 20 * S);
        events[run] = c.n_events;
        bytes[run] = 0;
        for (u32 i = 0; i < 40; i++)
            bytes[run] = bytes[run] * 31 + c.node[i].bytes_out;
        cluster_del(&c);
    }
    assert_true(events[0] == events[1] && bytes[0] == bytes[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_alone_is_one),
        cmocka_unit_test(all_meet_by_one_seed),
        cmocka_unit_test(a_late_seed_gathers_them),
        cmocka_unit_test(two_halves_merge_by_a_new_seed),
        cmocka_unit_test(seeds_are_bounded),
        cmocka_unit_test(a_crash_is_known_to_all),
        cmocka_unit_test(many_die_at_once_and_are_reaped),
        cmocka_unit_test(who_leaves_is_not_called_dead),
        cmocka_unit_test(who_leaves_comes_to_rest),
        cmocka_unit_test(a_change_is_told),
        cmocka_unit_test(networks_are_told),
        cmocka_unit_test(fetches_are_told),
        cmocka_unit_test(networks_of_others_are_read_with_care),
        cmocka_unit_test(views_show_what_is_known),
        cmocka_unit_test(failed_fetches_bar_for_a_while),
        cmocka_unit_test(a_late_loop_distrusts_itself),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(all_of_it_with_real_signatures),
        cmocka_unit_test(the_list_has_an_end),
        cmocka_unit_test(equal_seeds_give_equal_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
