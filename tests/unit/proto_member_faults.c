/* Membership when things go wrong: loss, one-way links, stalls, partitions, moves, clones and
 * contested names. Nobody who lives may be called dead for long, nobody for no reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "member_cluster.h"

#define S  CLUSTER_SECOND
#define MS CLUSTER_MS

static u64 count(const struct cluster *c, enum member_event_kind kind)
{
    u64 n = 0;
    for (u32 i = 0; i < c->n; i++)
        n += c->node[i].events[kind];
    return n;
}

static void form(struct cluster *c, u32 slots, u32 n, u64 seed)
{
    cluster_new(c, slots, seed);
    cluster_form(c, n);
    cluster_run(c, 5 * S);
    assert_true(cluster_is_whole(c));
}

/* --- loss ------------------------------------------------------------------------------------ */

static void loss_kills_nobody(void **state)
{
    const double losses[] = {0.05, 0.15, 0.30};
    (void)state;
    for (size_t i = 0; i < countof(losses); i++) {
        for (int streams = 0; streams < 2; streams++) {
            struct cluster c;
            struct member_stats st;
            u64 refuted = 0;
            form(&c, 40, 40, 20 + i);
            c.loss = losses[i];
            c.no_streams = !streams;
            cluster_run(&c, 300 * S);
            for (u32 k = 0; k < 40; k++) {
                member_stats(c.node[k].m, &st);
                refuted += st.refutations;
            }
            print_message("loss %.0f %%, streams %d: %ju suspicions refuted in 300 s, %ju deaths\n",
                          100 * losses[i], streams, (uintmax_t)refuted,
                          (uintmax_t)count(&c, MEMBER_EVENT_DOWN));
            assert_int_equal(count(&c, MEMBER_EVENT_DOWN), 0);
            if (!streams && losses[i] > 0.1)
                assert_true(refuted > 0); /* else this proves nothing */
            cluster_del(&c);
        }
    }
}

static bool not_0_to_1(struct cluster *c, u32 from, u32 to)
{
    (void)c;
    return !(from == 0 && to == 1);
}

static bool not_between_0_and_1(struct cluster *c, u32 from, u32 to)
{
    (void)c;
    return from + to != 1;
}

static u64 refuted_by(const struct cluster *c, u32 node)
{
    struct member_stats st;
    member_stats(c->node[node].m, &st);
    return st.refutations;
}

/* A hundred stand side by side, and one across an ocean, as a tracker may: what the round trips of
 * the others teach must not make it a suspect. */
static void the_far_one_is_not_suspected(void **state)
{
    struct cluster c;
    (void)state;
    cluster_new(&c, 101, 41);
    cluster_form(&c, 101);
    c.node[100].far_ns = 80 * MS;
    cluster_run(&c, 150 * S); /* everybody has asked it by then */
    assert_true(cluster_is_whole(&c));
    u64 before = refuted_by(&c, 100);
    cluster_run(&c, 120 * S);
    assert_int_equal(refuted_by(&c, 100), before);
    assert_int_equal(count(&c, MEMBER_EVENT_DOWN), 0);
    cluster_del(&c);
}

static void others_ask_where_we_cannot(void **state)
{
    bool (*const cut[])(struct cluster *, u32, u32) = {not_0_to_1, not_between_0_and_1};
    (void)state;
    for (size_t i = 0; i < countof(cut); i++) {
        struct cluster c;
        struct member_stats st;
        form(&c, 8, 8, 30);
        c.pass = cut[i];
        cluster_run(&c, 120 * S);
        member_stats(c.node[0].m, &st);
        assert_true(st.indirect_probes > 0);
        assert_int_equal(count(&c, MEMBER_EVENT_SUSPECT), 0);
        assert_int_equal(count(&c, MEMBER_EVENT_DOWN), 0);
        cluster_del(&c);
    }
}

static bool nothing_into_0(struct cluster *c, u32 from, u32 to)
{
    (void)c;
    (void)from;
    return to != 0;
}

/* It hears nothing but is heard: it cannot be used, so it goes; it must not take others along. */
static void the_deaf_goes_alone(void **state)
{
    struct cluster c;
    (void)state;
    form(&c, 20, 20, 31);
    c.pass = nothing_into_0;
    cluster_run(&c, 60 * S);
    assert_int_equal(cluster_seen(&c, 0, MEMBER_DEAD), 19);
    for (u32 i = 1; i < 20; i++)
        assert_int_equal(member_count(c.node[i].m, MEMBER_ALIVE), 19);
    assert_in_range(member_health(c.node[0].m), 6, 8);
    c.pass = NULL;
    assert_true(cluster_until_whole(&c, 20 * S) != UINT64_MAX);
    cluster_del(&c);
}

/* --- stalls ---------------------------------------------------------------------------------- */

static void a_short_stall_kills_nobody(void **state)
{
    struct cluster c;
    (void)state;
    form(&c, 30, 30, 40);
    for (u32 i = 0; i < 20; i++) {
        cluster_pause(&c, i, 2 * S);
        cluster_run(&c, 3 * S);
    }
    assert_int_equal(count(&c, MEMBER_EVENT_DOWN), 0);
    assert_true(count(&c, MEMBER_EVENT_REFUTED) > 0);
    cluster_del(&c);
}

/* Whoever stalls for long is called dead, comes back, and blames nobody for its own absence. */
static void a_long_stall_kills_only_the_stalled(void **state)
{
    struct cluster c;
    struct member_stats st;
    (void)state;
    form(&c, 30, 30, 41);
    cluster_pause(&c, 3, 20 * S);
    cluster_run(&c, 19 * S);
    assert_int_equal(cluster_seen(&c, 3, MEMBER_DEAD), 29);
    u64 suspicions = count(&c, MEMBER_EVENT_SUSPECT);
    cluster_run(&c, 2 * S);
    assert_true(cluster_until_whole(&c, 5 * S) != UINT64_MAX);
    assert_int_equal(count(&c, MEMBER_EVENT_SUSPECT), suspicions);
    assert_int_equal(count(&c, MEMBER_EVENT_DOWN), 29);
    assert_int_equal(c.node[3].events[MEMBER_EVENT_DOWN], 0);
    assert_int_equal(c.node[3].events[MEMBER_EVENT_SUSPECT], 0);
    member_stats(c.node[3].m, &st);
    assert_int_equal(st.pauses, 1);
    cluster_del(&c);
}

/* It had begun to suspect somebody when it stopped: that one's time stood still as well. */
static void time_does_not_run_while_we_stand(void **state)
{
    struct cluster c;
    (void)state;
    form(&c, 30, 30, 42);
    cluster_pause(&c, 7, 2500 * MS);
    while (cluster_seen(&c, 7, MEMBER_SUSPECT) == 0)
        cluster_run(&c, 10 * MS);
    u32 suspecting = 0;
    for (u32 i = 0; i < 30; i++) {
        if (i == 7 || cluster_state(&c, i, 7) != MEMBER_SUSPECT)
            continue;
        cluster_pause(&c, i, 10 * S);
        suspecting++;
    }
    assert_true(suspecting > 0);
    cluster_run(&c, 40 * S);
    assert_int_equal(cluster_seen(&c, 7, MEMBER_ALIVE), 29);
    assert_true(cluster_is_whole(&c));
    cluster_del(&c);
}

/* --- partitions ------------------------------------------------------------------------------ */

static void halves_meet_again(void **state)
{
    (void)state;
    for (int long_one = 0; long_one < 2; long_one++) {
        struct cluster c;
        form(&c, 30, 30, 50);
        for (u32 i = 0; i < 15; i++)
            c.node[i].side = 1;
        cluster_run(&c, long_one ? 120 * S : 3 * S);
        if (long_one)
            for (u32 i = 0; i < 30; i++)
                assert_int_equal(member_count(c.node[i].m, MEMBER_ALIVE), 15);
        for (u32 i = 0; i < 15; i++)
            c.node[i].side = 0;
        u64 downs = count(&c, MEMBER_EVENT_DOWN), took_ns = cluster_until_whole(&c, 60 * S);
        print_message("30 nodes: whole %.2f s after a partition of %d s\n", (double)took_ns / 1e9,
                      long_one ? 120 : 3);
        assert_true(took_ns < 20 * S);
        cluster_run(&c, 30 * S);
        assert_true(cluster_is_whole(&c));
        if (long_one) /* verdicts that cross the border kill nobody on their own side */
            assert_int_equal(count(&c, MEMBER_EVENT_DOWN), downs);
        cluster_del(&c);
    }
}

static void one_cut_off_comes_back(void **state)
{
    struct cluster c;
    (void)state;
    form(&c, 30, 30, 51);
    c.node[9].side = 1;
    cluster_run(&c, 120 * S);
    assert_int_equal(cluster_seen(&c, 9, MEMBER_DEAD), 29);
    c.node[9].side = 0;
    u64 took_ns = cluster_until_whole(&c, 60 * S);
    print_message("30 nodes: one cut off for 120 s is back after %.2f s\n", (double)took_ns / 1e9);
    assert_true(took_ns < 20 * S);
    cluster_del(&c);
}

/* --- moving ---------------------------------------------------------------------------------- */

static void a_restart_elsewhere_is_the_same_node(void **state)
{
    struct cluster c;
    struct member_view v;
    (void)state;
    form(&c, 21, 20, 60);
    cluster_kill(&c, 5);
    cluster_start_as(&c, &(struct cluster_start){.slot = 20, .key = 5, .epoch = 200});
    cluster_seed(&c, 20, 0);
    cluster_run(&c, 2 * S);
    struct addr where = cluster_addr(20);
    for (u32 i = 0; i < 20; i++) {
        if (i == 5)
            continue;
        assert_true(member_find(c.node[i].m, &c.node[20].key, &v));
        assert_true(addr_equal(&v.record->addr, &where) && v.state == MEMBER_ALIVE);
        assert_int_equal(v.record->epoch, 200);
        assert_int_equal(member_count(c.node[i].m, MEMBER_ALIVE), 20);
        assert_true(addr_equal(&c.node[i].last[MEMBER_EVENT_UP].addr, &where));
    }
    cluster_run(&c, 60 * S);
    assert_int_equal(count(&c, MEMBER_EVENT_DOWN), 0);
    assert_int_equal(count(&c, MEMBER_EVENT_CLONED), 0);
    cluster_del(&c);
}

static void a_restart_in_place_goes_unnoticed(void **state)
{
    struct cluster c;
    (void)state;
    form(&c, 20, 20, 61);
    for (u32 i = 0; i < 20; i++) {
        cluster_kill(&c, i);
        cluster_run(&c, 200 * MS);
        cluster_start_as(&c, &(struct cluster_start){.slot = i, .key = i, .epoch = 200 + i});
        cluster_seed(&c, i, (i + 1) % 20);
        cluster_run(&c, 3 * S);
        assert_true(cluster_is_whole(&c));
    }
    assert_int_equal(count(&c, MEMBER_EVENT_DOWN), 0);
    cluster_del(&c);
}

/* An old life's record, kept by somebody who was away, does not bring it back. */
static void an_earlier_life_is_not_believed(void **state)
{
    struct cluster c;
    struct member_view v;
    (void)state;
    form(&c, 21, 20, 62);
    c.node[2].side = 1;
    cluster_kill(&c, 5);
    cluster_start_as(&c, &(struct cluster_start){.slot = 20, .key = 5, .epoch = 200});
    cluster_seed(&c, 20, 0);
    cluster_run(&c, 5 * S);
    c.node[2].side = 0;
    cluster_run(&c, 40 * S);
    for (u32 i = 0; i < 20; i++) {
        if (i == 5)
            continue;
        assert_true(member_find(c.node[i].m, &c.node[20].key, &v));
        assert_int_equal(v.record->epoch, 200);
        assert_int_equal(v.state, MEMBER_ALIVE);
    }
    cluster_del(&c);
}

/* --- clones and names ------------------------------------------------------------------------ */

static void a_cloned_key_is_noticed_by_both(void **state)
{
    struct cluster c;
    struct member_view v;
    (void)state;
    form(&c, 21, 20, 70);
    cluster_start_as(&c, &(struct cluster_start){.slot = 20, .key = 5, .epoch = 200});
    cluster_seed(&c, 20, 0);
    cluster_run(&c, 5 * S);
    assert_true(c.node[5].events[MEMBER_EVENT_CLONED] > 0);
    assert_true(c.node[20].events[MEMBER_EVENT_CLONED] > 0);
    assert_int_equal(cluster_slot(&c.node[5].last[MEMBER_EVENT_CLONED].addr), 20);
    assert_int_equal(cluster_slot(&c.node[20].last[MEMBER_EVENT_CLONED].addr), 5);
    cluster_run(&c, 30 * S);
    for (u32 i = 0; i < 20; i++) { /* the later life holds the key, for all alike */
        if (i == 5)
            continue;
        assert_true(member_find(c.node[i].m, &c.node[20].key, &v));
        assert_int_equal(cluster_slot(&v.record->addr), 20);
        assert_int_equal(c.node[i].events[MEMBER_EVENT_CLONED], 0);
    }
    assert_true(c.node[5].events[MEMBER_EVENT_CLONED] < 10); /* loud, not noisy */
    cluster_del(&c);
}

static void a_clone_of_the_same_life_is_noticed(void **state)
{
    struct cluster c;
    (void)state;
    form(&c, 21, 20, 71);
    cluster_start_as(&c, &(struct cluster_start){.slot = 20, .key = 5, .epoch = 100});
    cluster_seed(&c, 20, 0);
    cluster_run(&c, 10 * S);
    assert_true(c.node[20].events[MEMBER_EVENT_CLONED] > 0);
    assert_true(c.node[5].events[MEMBER_EVENT_CLONED] > 0);
    cluster_del(&c);
}

static void a_name_belongs_to_who_lives_under_it(void **state)
{
    struct cluster c;
    struct member_stats st;
    (void)state;
    form(&c, 21, 20, 72);
    cluster_run(&c, 40 * S);
    cluster_start_as(&c,
                     &(struct cluster_start){.slot = 20, .key = 20, .epoch = 1, .name = "node-5"});
    cluster_seed(&c, 20, 0);
    cluster_run(&c, 10 * S);
    assert_true(c.node[20].events[MEMBER_EVENT_NAME_TAKEN] > 0);
    assert_int_equal(cluster_seen(&c, 20, MEMBER_ALIVE), 0);
    assert_int_equal(member_count(c.node[20].m, MEMBER_ALIVE), 1);
    assert_int_equal(cluster_seen(&c, 5, MEMBER_ALIVE), 19);
    member_stats(c.node[0].m, &st);
    assert_true(st.refused_name > 0);
    cluster_kill(&c, 5); /* now the name is free */
    cluster_run(&c, 30 * S);
    assert_int_equal(cluster_seen(&c, 20, MEMBER_ALIVE), 19);
    assert_int_equal(member_count(c.node[20].m, MEMBER_ALIVE), 20);
    cluster_del(&c);
}

static void two_of_one_name_are_told_apart_by_all_alike(void **state)
{
    struct cluster c;
    (void)state;
    form(&c, 22, 20, 73);
    for (u32 slot = 20; slot < 22; slot++)
        cluster_start_as(
            &c, &(struct cluster_start){.slot = slot, .key = slot, .epoch = 1, .name = "twin"});
    cluster_seed(&c, 20, 3);
    cluster_seed(&c, 21, 4);
    cluster_run(&c, 20 * S);
    u32 a = 0, b = 0;
    for (u32 i = 0; i < 20; i++) {
        a += cluster_state(&c, i, 20) == MEMBER_ALIVE;
        b += cluster_state(&c, i, 21) == MEMBER_ALIVE;
    }
    assert_true((a == 20 && b == 0) || (a == 0 && b == 20));
    assert_true(c.node[a ? 21 : 20].events[MEMBER_EVENT_NAME_TAKEN] > 0);
    cluster_del(&c);
}

static void another_region_is_not_let_in(void **state)
{
    struct cluster c;
    struct member_stats st;
    (void)state;
    form(&c, 21, 20, 74);
    cluster_start_as(
        &c, &(struct cluster_start){.slot = 20, .key = 20, .epoch = 1, .region = "elsewhere"});
    cluster_seed(&c, 20, 0);
    cluster_run(&c, 10 * S);
    assert_int_equal(cluster_seen(&c, 20, MEMBER_ALIVE), 0);
    assert_int_equal(member_count(c.node[20].m, MEMBER_ALIVE), 1);
    assert_true(c.node[20].events[MEMBER_EVENT_FOREIGN] > 0);
    assert_int_equal(cluster_slot(&c.node[20].last[MEMBER_EVENT_FOREIGN].addr), 0);
    member_stats(c.node[0].m, &st);
    assert_true(st.refused_region > 0);
    cluster_del(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_kills_nobody),
        cmocka_unit_test(others_ask_where_we_cannot),
        cmocka_unit_test(the_far_one_is_not_suspected),
        cmocka_unit_test(the_deaf_goes_alone),
        cmocka_unit_test(a_short_stall_kills_nobody),
        cmocka_unit_test(a_long_stall_kills_only_the_stalled),
        cmocka_unit_test(time_does_not_run_while_we_stand),
        cmocka_unit_test(halves_meet_again),
        cmocka_unit_test(one_cut_off_comes_back),
        cmocka_unit_test(a_restart_elsewhere_is_the_same_node),
        cmocka_unit_test(a_restart_in_place_goes_unnoticed),
        cmocka_unit_test(an_earlier_life_is_not_believed),
        cmocka_unit_test(a_cloned_key_is_noticed_by_both),
        cmocka_unit_test(a_clone_of_the_same_life_is_noticed),
        cmocka_unit_test(a_name_belongs_to_who_lives_under_it),
        cmocka_unit_test(two_of_one_name_are_told_apart_by_all_alike),
        cmocka_unit_test(another_region_is_not_let_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
