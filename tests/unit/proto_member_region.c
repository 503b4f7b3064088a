/* A region of a thousand in virtual time: what it costs to be in it, how soon a crash is known,
 * that stalls and loss kill nobody, and that its halves meet again. Prints what it measures; the
 * bounds are the goals, or above what was measured by so much that a change for the worse shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "member_cluster.h"

#define N       1000
#define CRASHES 12
#define S       CLUSTER_SECOND

static struct cluster region;
static struct {
    u32 victim, knowing;
    u64 died_ns, false_deaths;
    double after_s[CRASHES * N];
    size_t n;
} seen;

static void on_event(struct cluster *c, u32 node, const struct member_event *ev)
{
    (void)node;
    if (ev->kind != MEMBER_EVENT_DOWN)
        return;
    if (seen.died_ns == 0 || cluster_slot(&ev->addr) != seen.victim) {
        seen.false_deaths++;
        return;
    }
    seen.knowing++;
    if (seen.n < countof(seen.after_s))
        seen.after_s[seen.n++] = (double)(c->now_ns - seen.died_ns) / 1e9;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int set_up(void **state)
{
    (void)state;
    cluster_new(&region, N, 1);
    cluster_form(&region, N);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    cluster_del(&region);
    return 0;
}

static void a_thousand_meet_by_one_seed(void **state)
{
    (void)state;
    u64 took_ns = cluster_until_whole(&region, 30 * S);
    print_message("%u nodes started within 1 s know each other %.2f s later\n", N,
                  (double)took_ns / 1e9);
    assert_true(took_ns < 10 * S);
    region.on_event = on_event;
}

static void idle_costs_little(void **state)
{
    u64 bytes = 0, talk = 0, memory = 0;
    (void)state;
    cluster_run(&region, 40 * S);
    for (u32 i = 0; i < N; i++)
        region.node[i].bytes_out = region.node[i].talk_bytes = 0;
    cluster_run(&region, 60 * S);
    for (u32 i = 0; i < N; i++) {
        bytes += region.node[i].bytes_out;
        talk += region.node[i].talk_bytes;
        memory += member_bytes(region.node[i].m);
    }
    print_message(
        "idle: %.0f B/s per node by datagram, headers included, %.0f by stream; %.0f KiB\n",
        (double)bytes / 60 / N, (double)talk / 60 / N, (double)memory / N / 1024);
    assert_true(bytes / 60 / N < 600 && talk / 60 / N < 30);
    assert_true(memory / N < 420 * KIB);
    assert_int_equal(seen.false_deaths, 0);
}

static void crashes_are_known_soon(void **state)
{
    double everywhere[CRASHES];
    (void)state;
    for (u32 k = 0; k < CRASHES; k++) {
        seen.victim = 1 + 17 * k;
        seen.knowing = 0;
        seen.died_ns = region.now_ns;
        cluster_kill(&region, seen.victim);
        while (seen.knowing < N - 1 && region.now_ns < seen.died_ns + 60 * S)
            cluster_step(&region, UINT64_MAX);
        everywhere[k] = (double)(region.now_ns - seen.died_ns) / 1e9;
        seen.died_ns = 0;
        /* Back in a later life, elsewhere in the round. */
        cluster_start_as(&region, &(struct cluster_start){
                                      .slot = seen.victim, .key = seen.victim, .epoch = 200});
        cluster_seed(&region, seen.victim, 0);
        cluster_run(&region, 2 * S + rng_below(&region.rng, S));
        assert_true(cluster_is_whole(&region));
    }
    qsort(everywhere, CRASHES, sizeof(double), by_value);
    qsort(seen.after_s, seen.n, sizeof(double), by_value);
    double p50_s = everywhere[CRASHES / 2], worst_s = everywhere[CRASHES - 1];
    print_message(
        "a crash is known everywhere after p50 %.2f s, at most %.2f s of %u; per node p50 "
        "%.2f s, p99 %.2f s\n",
        p50_s, worst_s, CRASHES, seen.after_s[seen.n / 2], seen.after_s[seen.n * 99 / 100]);
    assert_true(p50_s <= 8 && worst_s <= 11);
    assert_int_equal(seen.false_deaths, 0);
}

static void stalls_and_loss_kill_nobody(void **state)
{
    u64 stalls = 0, bytes = 0, start_ns = region.now_ns;
    (void)state;
    for (u32 i = 0; i < N; i++)
        region.node[i].bytes_out = 0;
    region.loss = 0.05;
    while (region.now_ns - start_ns < 10 * S) {
        u32 slot = (u32)rng_below(&region.rng, N);
        if (region.node[slot].paused_until_ns <= region.now_ns) {
            cluster_pause(&region, slot, 5 * S);
            stalls++;
        }
        cluster_run(&region, S / 2);
    }
    cluster_run(&region, 10 * S);
    region.loss = 0;
    for (u32 i = 0; i < N; i++)
        bytes += region.node[i].bytes_out;
    print_message("%ju stalls of 5 s in 10 s at 5 %% loss: %ju false deaths, %.0f B/s per node\n",
                  (uintmax_t)stalls, (uintmax_t)seen.false_deaths, (double)bytes / 20 / N);
    assert_int_equal(seen.false_deaths, 0);
    assert_true(cluster_is_whole(&region));
}

/* Of fewer, since each half must first bury the other. */
static void halves_meet_again(void **state)
{
    const u32 n = 200;
    struct cluster c;
    (void)state;
    cluster_new(&c, n, 2);
    cluster_form(&c, n);
    cluster_run(&c, 10 * S);
    for (u32 i = 0; i < n / 2; i++)
        c.node[i].side = 1;
    cluster_run(&c, 60 * S);
    size_t alive = member_count(c.node[0].m, MEMBER_ALIVE);
    for (u32 i = 0; i < n / 2; i++)
        c.node[i].side = 0;
    u64 took_ns = cluster_until_whole(&c, 60 * S);
    print_message("halves cut off for 60 s (%zu of %u seen alive) are whole %.2f s later\n", alive,
                  n, (double)took_ns / 1e9);
    assert_int_equal(alive, n / 2);
    assert_true(took_ns <= 20 * S);
    cluster_del(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thousand_meet_by_one_seed),
        cmocka_unit_test(idle_costs_little),
        cmocka_unit_test(crashes_are_known_soon),
        cmocka_unit_test(stalls_and_loss_kill_nobody),
        cmocka_unit_test(halves_meet_again),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
