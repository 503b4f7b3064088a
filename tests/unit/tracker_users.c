/* tracker_users.c - tests of tracker/users.h: profiles, teams and revocations that outlive a
 * restart, and what another tracker says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <lmdb.h>
#include <sodium.h>

#include "runtime/clock.h"
#include "tests/unit/remove_tree.h"
#include "tracker/users.h"

static char dirs[2][64];
static uv_loop_t loop;
static struct pool *disk;

static int begin(void **state)
{
    (void)state;
    if (sodium_init() < 0 || uv_loop_init(&loop) || pool_new(&disk, &loop, 2, "disk"))
        return 1;
    for (size_t i = 0; i < countof(dirs); i++) {
        snprintf(dirs[i], sizeof(dirs[i]), "/tmp/dray-users-XXXXXX");
        if (!mkdtemp(dirs[i]))
            return 1;
    }
    return 0;
}

static int end(void **state)
{
    (void)state;
    pool_del(disk);
    uv_run(&loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&loop);
    for (size_t i = 0; i < countof(dirs); i++)
        rc |= remove_tree(dirs[i]);
    return rc;
}

static struct users *open_users(size_t i)
{
    struct users *u;
    char why[CONF_WHY_MAX] = "";
    assert_int_equal(users_new(&u, dirs[i], disk, why), 0);
    return u;
}

static void wait_disk(void)
{
    while (pool_pending(disk))
        uv_run(&loop, UV_RUN_ONCE);
}

static int last_rc;
static void on_set(void *arg, int rc)
{
    *(int *)arg += 1;
    last_rc = rc;
}

static struct ledger_entry entry(enum ledger_kind kind, const char *name, const char *value)
{
    struct ledger_entry e = {.kind = kind, .dead = value == NULL};
    snprintf(e.name, sizeof(e.name), "%s", name);
    snprintf(e.value, sizeof(e.value), "%s", value ? value : "");
    return e;
}

static int change(struct users *u, const struct ledger_entry *list, size_t n)
{
    int done = 0, rc = users_change(u, list, n, on_set, &done);
    while (rc == 0 && !done)
        uv_run(&loop, UV_RUN_ONCE);
    return rc ? rc : last_rc;
}

static int set(struct users *u, enum ledger_kind kind, const char *name, const char *value)
{
    struct ledger_entry e = entry(kind, name, value);
    return change(u, &e, 1);
}

static void count_one(void *arg, const char *name, const char *value)
{
    assert_true(users_name_valid(name) && *value);
    ++*(size_t *)arg;
}

static void profiles(void **state)
{
    char why[CONF_WHY_MAX] = "", name[USERS_NAME_MAX + 1];
    struct users *u = open_users(0);
    size_t n = 0;
    (void)state;
    assert_null(users_cache(u, "alice"));
    assert_int_equal(set(u, LEDGER_PROFILE, "alice", "asia-office"), 0);
    assert_int_equal(set(u, LEDGER_PROFILE, "alice", "n1"), 0);
    assert_int_equal(set(u, LEDGER_PROFILE, "bob", "n2"), 0);
    assert_int_equal(set(u, LEDGER_PROFILE, "carol", "n2"), 0);
    assert_int_equal(set(u, LEDGER_PROFILE, "carol", NULL), 0);
    assert_int_equal(set(u, LEDGER_PROFILE, "nobody", NULL), 0); /* idempotent */
    assert_int_equal(set(u, LEDGER_PROFILE, "", "n1"), ERR_INVAL);
    assert_int_equal(set(u, LEDGER_PROFILE, "a/b", "n1"), ERR_INVAL);
    assert_int_equal(set(u, LEDGER_PROFILE, "alice", "no such\nname"), ERR_INVAL);
    memset(name, 'x', sizeof(name));
    struct ledger_entry endless = entry(LEDGER_PROFILE, "x", "n1");
    memset(endless.name, 'x', LEDGER_NAME_MAX);
    assert_int_equal(change(u, &endless, 1), 0);
    endless.dead = true;
    assert_int_equal(change(u, &endless, 1), 0);
    users_each(u, LEDGER_PROFILE, count_one, &n);
    assert_true(n == 2 && users_count(u, LEDGER_PROFILE) == 2);
    u8 id[LEDGER_ID_BYTES];
    memcpy(id, users_id(u), sizeof(id));
    users_del(u); /* what was answered is on the disk */
    u = open_users(0);
    assert_memory_equal(id, users_id(u), sizeof(id));
    assert_string_equal(users_cache(u, "alice"), "n1");
    assert_string_equal(users_cache(u, "bob"), "n2");
    assert_null(users_cache(u, "carol"));
    assert_int_equal(ledger_count_dead(users_ledger(u)), 3);
    users_del(u);
    assert_int_not_equal(users_new(&u, "/nowhere/at/all", disk, why), 0);
    assert_non_null(strstr(why, "/nowhere"));
    users_del(u);
}

static void a_team_is_a_default(void **state)
{
    struct users *u = open_users(0);
    struct ledger_entry team[] = {entry(LEDGER_TEAM, "web", "asia-office"),
                                  entry(LEDGER_MEMBER, "alice", "web"),
                                  entry(LEDGER_MEMBER, "bob", "web")};
    (void)state;
    assert_int_equal(change(u, team, countof(team)), 0);
    assert_string_equal(users_cache(u, "alice"), "asia-office");
    assert_int_equal(set(u, LEDGER_PROFILE, "alice", "n7"), 0);
    assert_string_equal(users_cache(u, "alice"), "n7"); /* the own one wins */
    assert_string_equal(users_cache(u, "bob"), "asia-office");
    assert_int_equal(set(u, LEDGER_PROFILE, "alice", NULL), 0);
    assert_string_equal(users_cache(u, "alice"), "asia-office");
    assert_int_equal(set(u, LEDGER_MEMBER, "bob", "nosuch"), 0);
    assert_null(users_cache(u, "bob")); /* in a team without a cache */
    assert_int_equal(set(u, LEDGER_TEAM, "bad name", "n1"), ERR_INVAL);
    /* All of a change, or nothing. */
    struct ledger_entry half[] = {entry(LEDGER_TEAM, "db", "west"), entry(LEDGER_MEMBER, "", "db")};
    assert_int_equal(change(u, half, countof(half)), ERR_INVAL);
    assert_null(users_team_cache(u, "db"));
    users_del(u);
    u = open_users(0);
    assert_string_equal(users_cache(u, "alice"), "asia-office");
    assert_string_equal(users_team(u, "bob"), "nosuch");
    users_del(u);
}

static void note(void *arg, const struct ledger_entry *e, bool foreign)
{
    size_t *n = arg;
    n[foreign]++;
    assert_true(ledger_name_valid(e->name));
}

/* One way is enough: what both have, each has. */
static void exchange(struct users *from, struct users *to)
{
    static u8 a[LEDGER_BYTES_MAX], b[LEDGER_BYTES_MAX];
    size_t n = ledger_sums(users_ledger(from), a), m;
    assert_int_equal(ledger_have(users_ledger(to), a, n, b, &m), 0);
    assert_int_equal(ledger_swap(users_ledger(from), b, m, a, &n), 0);
    if (n == 0)
        return;
    assert_true(users_take(to, a, n) >= 0);
    assert_int_equal(ledger_take(users_ledger(to), a, n, b, &m), 0);
    assert_true(users_take(from, b, m) >= 0);
}

static void two_trackers(void **state)
{
    struct users *a = open_users(0), *b = open_users(1);
    size_t news[2] = {0};
    (void)state;
    users_watch(b, note, news);
    assert_int_equal(set(a, LEDGER_PROFILE, "alice", "asia-office"), 0);
    assert_int_equal(set(b, LEDGER_PROFILE, "bob", "n2"), 0);
    struct ledger_entry gone = entry(LEDGER_REVOKED, "eve", "");
    assert_int_equal(change(a, &gone, 1), 0);
    exchange(a, b);
    assert_true(news[0] == 1 && news[1] == 2);
    assert_string_equal(users_cache(b, "alice"), "asia-office");
    assert_string_equal(users_cache(a, "bob"), "n2");
    assert_non_null(ledger_find(users_ledger(b), LEDGER_REVOKED, "eve"));
    assert_int_equal(set(b, LEDGER_PROFILE, "alice", NULL), 0);
    exchange(a, b);
    assert_null(users_cache(a, "alice"));
    wait_disk();
    users_del(a);
    users_del(b);
    a = open_users(0); /* what the other said is kept, too */
    b = open_users(1);
    assert_null(users_cache(a, "alice"));
    assert_string_equal(users_cache(a, "bob"), "n2");
    assert_memory_not_equal(users_id(a), users_id(b), LEDGER_ID_BYTES);
    assert_int_equal(users_take(a, "nonsense", 8), ERR_PROTO);
    users_del(a);
    users_del(b);
}

/* Jobs may end in any order: the disk keeps the newest. */
static void the_newest_stays(void **state)
{
    struct users *u = open_users(0);
    int done = 0;
    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        struct ledger_entry e = entry(LEDGER_PROFILE, "alice", "n");
        snprintf(e.value, sizeof(e.value), "n%u", i);
        assert_int_equal(users_change(u, &e, 1, on_set, &done), 0);
    }
    wait_disk();
    while (done < 300)
        uv_run(&loop, UV_RUN_ONCE);
    assert_string_equal(users_cache(u, "alice"), "n299");
    users_del(u);
    u = open_users(0);
    assert_string_equal(users_cache(u, "alice"), "n299");
    users_del(u);
}

/* As a tracker of that id writes it whose clock is 30 days ahead. */
static void write_ahead(size_t i, const char *name, const char *cache, const u8 *id)
{
    struct ledger_entry e = entry(LEDGER_PROFILE, name, cache);
    char path[96], text[LEDGER_NAME_MAX + 2];
    u8 bytes[LEDGER_ENTRY_BYTES];
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi db;
    e.counter = wall_ms() + 30 * LEDGER_DAY_MS;
    memcpy(e.origin, id, sizeof(e.origin));
    snprintf(path, sizeof(path), "%s/ledger", dirs[i]);
    snprintf(text, sizeof(text), "%c%s", LEDGER_PROFILE, name);
    MDB_val key = {strlen(text), text}, value = {ledger_pack(&e, bytes), bytes};
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_open(env, path, 0, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, NULL, 0, &db), 0);
    assert_int_equal(mdb_put(txn, db, &key, &value, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

/* What was changed while the clock was ahead is told to others after a restart, and can be changed;
 * not so what another tracker said then. */
static void a_clock_that_was_ahead_ends_no_changes(void **state)
{
    struct users *a = open_users(0), *b = open_users(1);
    u8 id[LEDGER_ID_BYTES], other[LEDGER_ID_BYTES] = {1};
    (void)state;
    memcpy(id, users_id(a), sizeof(id));
    users_del(a);
    write_ahead(0, "bob", "n1", id);
    write_ahead(0, "eve", "n1", other);
    for (int k = 0; k < 2; k++) { /* stamped anew once, on the disk */
        a = open_users(0);
        assert_string_equal(users_cache(a, "bob"), "n1");
        exchange(a, b);
        wait_disk();
        assert_non_null(users_cache(b, "bob"));
        assert_null(users_cache(b, "eve"));
        users_del(a);
    }
    a = open_users(0);
    assert_int_equal(set(a, LEDGER_PROFILE, "bob", "n2"), 0);
    assert_int_equal(set(a, LEDGER_PROFILE, "eve", "n2"), ERR_AGAIN);
    assert_int_equal(set(a, LEDGER_PROFILE, "mallory", "n2"), 0);
    users_del(a);
    a = open_users(0);
    assert_string_equal(users_cache(a, "bob"), "n2");
    assert_string_equal(users_cache(a, "eve"), "n1");
    users_del(a);
    users_del(b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

/* Changes that would be too many together are refused before they are written: else they were on
 * the disk, and pushed others out at the next start. */
static void too_many_at_once_are_none(void **state)
{
    static struct ledger_entry list[LEDGER_TEAMS_MAX];
    struct users *u = open_users(0);
    int done = 0;
    (void)state;
    for (size_t i = 0; i < countof(list); i++) {
        char name[32];
        snprintf(name, sizeof(name), "t%zu", i);
        list[i] = entry(LEDGER_TEAM, name, "n1");
    }
    struct ledger_entry more[] = {entry(LEDGER_TEAM, "a1", "n1"), entry(LEDGER_TEAM, "a2", "n1")};
    assert_int_equal(change(u, list, countof(list) - 1), 0);
    assert_int_equal(change(u, more, 2), ERR_FULL);
    assert_int_equal(users_change(u, &more[0], 1, on_set, &done), 0); /* on its way */
    assert_int_equal(change(u, &more[1], 1), ERR_FULL);
    while (!done)
        uv_run(&loop, UV_RUN_ONCE);
    users_del(u);
    u = open_users(0);
    assert_int_equal(users_count(u, LEDGER_TEAM), LEDGER_TEAMS_MAX);
    for (size_t i = 0; i < countof(list) - 1; i++)
        assert_non_null(users_team_cache(u, list[i].name));
    users_del(u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(profiles),
                                       TEST(a_team_is_a_default),
                                       TEST(two_trackers),
                                       TEST(the_newest_stays),
                                       TEST(a_clock_that_was_ahead_ends_no_changes),
                                       TEST(too_many_at_once_are_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
