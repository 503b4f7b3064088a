/* node_revoked.c - tests of node/revoked.h: what was acknowledged is known after a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sodium.h>
#include <uv.h>

#include "node/revoked.h"
#include "runtime/clock.h"
#include "tests/unit/remove_tree.h"

static char dir[64];
static uv_loop_t loop;
static struct pool *disk;
static struct metrics *metrics;
static struct tickets *tickets;
static struct revoked *revoked;

static void open_all(void)
{
    char why[CONF_WHY_MAX];
    assert_int_equal(pool_new(&disk, &loop, 2, "disk"), 0);
    assert_int_equal(metrics_new(&metrics), 0);
    assert_int_equal(tickets_new(&tickets, NULL, metrics, why), 0);
    assert_int_equal(revoked_new(&revoked, dir, disk, tickets), 0);
}

static void close_all(void)
{
    while (pool_pending(disk))
        uv_run(&loop, UV_RUN_ONCE);
    revoked_del(revoked);
    tickets_del(tickets);
    metrics_del(metrics);
    pool_del(disk);
    uv_run(&loop, UV_RUN_DEFAULT);
}

static int begin(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/dray-revoked-XXXXXX");
    return sodium_init() < 0 || !mkdtemp(dir) || uv_loop_init(&loop);
}

static int end(void **state)
{
    (void)state;
    return uv_loop_close(&loop) || remove_tree(dir);
}

static int kept, last_rc;
static void on_kept(void *arg, int rc)
{
    (void)arg;
    kept++;
    last_rc = rc;
}

static void revoke_one(u32 number, u64 until_s)
{
    struct revoke r = {.until_s = until_s};
    memcpy(r.user, &number, sizeof(number));
    tickets_revoke(tickets, &r);
}

static void keep(void)
{
    int before = kept;
    assert_int_equal(revoked_keep(revoked, on_kept, NULL), 0);
    while (kept == before)
        uv_run(&loop, UV_RUN_ONCE);
}

static size_t known(void)
{
    struct revoke all[REVOKE_MAX];
    return tickets_revoked(tickets, wall_ms() / 1000, all);
}

static void it_outlives_a_restart(void **state)
{
    u64 now = wall_ms() / 1000;
    (void)state;
    open_all();
    assert_int_equal(known(), 0);
    revoke_one(1, now);
    revoke_one(2, now - 60);
    revoke_one(3, now - 1000); /* no ticket could be good any more */
    keep();
    assert_int_equal(last_rc, 0);
    close_all();
    open_all();
    struct revoke all[REVOKE_MAX];
    assert_int_equal(tickets_revoked(tickets, now, all), 2);
    assert_int_equal(all[0].user[0] + all[1].user[0], 3);
    assert_true(all[0].until_s == now || all[1].until_s == now);
    close_all();
}

/* Many at once, and those that come while a write runs. */
static void all_who_wait_are_told(void **state)
{
    u64 now = wall_ms() / 1000;
    (void)state;
    open_all();
    kept = 0;
    for (u32 i = 0; i < REVOKE_MAX + 40; i++) {
        revoke_one(i, now);
        assert_int_equal(revoked_keep(revoked, on_kept, NULL), 0);
    }
    while (kept < (int)REVOKE_MAX + 40)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(last_rc, 0);
    close_all();
    open_all();
    assert_int_equal(known(), REVOKE_MAX); /* the latest */
    close_all();
}

/* What was written is there again after a restart. */
static void is_kept(void)
{
    assert_int_equal(last_rc, 0);
    close_all();
    open_all();
    assert_int_equal(known(), 1);
    close_all();
}

static void what_cannot_be_read_is_left(void **state)
{
    char path[96];
    (void)state;
    snprintf(path, sizeof(path), "%s/revoked", dir);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs("nonsense", f);
    fclose(f);
    open_all();
    assert_int_equal(known(), 0);
    revoke_one(1, wall_ms() / 1000);
    keep();
    is_kept();
}

/* Whoever can write there must not be able to stop us. */
static void a_pipe_in_its_place_stops_nobody(void **state)
{
    char path[96];
    (void)state;
    snprintf(path, sizeof(path), "%s/revoked", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    open_all();
    assert_int_equal(known(), 0);
    snprintf(path, sizeof(path), "%s/revoked.tmp", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    revoke_one(1, wall_ms() / 1000);
    keep();
    assert_int_equal(last_rc, ERR_IO);
    assert_int_equal(unlink(path), 0);
    keep();
    is_kept();
}

static void what_cannot_be_written_is_said(void **state)
{
    (void)state;
    open_all();
    char aside[96];
    snprintf(aside, sizeof(aside), "%s/revoked.tmp", dir);
    assert_int_equal(mkdir(aside, 0700), 0); /* in the way */
    revoke_one(1, wall_ms() / 1000);
    keep();
    assert_int_equal(last_rc, ERR_IO);
    close_all();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_outlives_a_restart), TEST(all_who_wait_are_told), TEST(what_cannot_be_read_is_left),
        TEST(a_pipe_in_its_place_stops_nobody), TEST(what_cannot_be_written_is_said)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
