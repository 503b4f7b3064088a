/* tracker_users_full.c - tests of tracker/users.h with as much as the ledger may hold, of the
 * longest names: all of it is on the disk, and can still be changed and taken back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <sodium.h>

#include "tests/unit/remove_tree.h"
#include "tracker/users.h"

static char dir[64];
static uv_loop_t loop;
static struct pool *disk;
static struct ledger_entry batch[USERS_CHANGES_MAX];

static void on_done(void *arg, int rc)
{
    *(int *)arg = rc;
}

/* The i-th name, as long as may be; neighbours lie far apart in the tree. */
static void make(struct ledger_entry *e, enum ledger_kind kind, size_t i, bool dead)
{
    size_t len = kind == LEDGER_TEAM ? 60 : LEDGER_NAME_MAX;
    *e = (struct ledger_entry){.kind = kind, .dead = dead};
    memset(e->name, 'x', len);
    snprintf(e->name, 17, "%016llx", (unsigned long long)i * 0x9e3779b97f4a7c15ull);
    e->name[16] = 'x';
    if (!dead && kind != LEDGER_REVOKED)
        memset(e->value, 'v', LEDGER_VALUE_MAX - 1);
}

static void put(struct users *u, enum ledger_kind kind, size_t total, bool dead)
{
    for (size_t at = 0; at < total;) {
        size_t n = 0;
        int rc = 1;
        for (; n < USERS_CHANGES_MAX && at < total; n++)
            make(&batch[n], kind, at++, dead);
        assert_int_equal(users_change(u, batch, n, on_done, &rc), 0);
        while (rc == 1)
            uv_run(&loop, UV_RUN_ONCE);
        if (rc)
            fail_msg("of kind %d, %zu of %zu: %s", kind, at, total, err_name(rc));
    }
}

static void as_much_as_may_be(void **state)
{
    struct users *u;
    char why[CONF_WHY_MAX] = "";
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/dray-users-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(pool_new(&disk, &loop, 1, "disk"), 0);
    assert_int_equal(users_new(&u, dir, disk, why), 0);
    put(u, LEDGER_PROFILE, LEDGER_PROFILES_MAX, false);
    put(u, LEDGER_TEAM, LEDGER_TEAMS_MAX, false);
    put(u, LEDGER_MEMBER, LEDGER_MEMBERS_MAX, false);
    put(u, LEDGER_REVOKED, LEDGER_REVOKED_MAX, false);
    put(u, LEDGER_PROFILE, LEDGER_PROFILES_MAX, false);
    put(u, LEDGER_PROFILE, LEDGER_DEAD_MAX, true);
    assert_int_equal(users_count(u, LEDGER_PROFILE), LEDGER_PROFILES_MAX - LEDGER_DEAD_MAX);
    assert_int_equal(users_count(u, LEDGER_MEMBER), LEDGER_MEMBERS_MAX);
    users_del(u);
    assert_int_equal(users_new(&u, dir, disk, why), 0);
    assert_int_equal(users_count(u, LEDGER_PROFILE), LEDGER_PROFILES_MAX - LEDGER_DEAD_MAX);
    assert_int_equal(users_count(u, LEDGER_MEMBER), LEDGER_MEMBERS_MAX);
    users_del(u);
    pool_del(disk);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(remove_tree(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_much_as_may_be)};
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
