/* users.c - see users.h. On disk: one LMDB database in DIR/ledger, (kind, name) -> the packed
 * entry, and under a key of its own this tracker's id. What is older than what stands there is
 * never written, so that jobs may end in any order. */
#include "tracker/users.h"

#include <assert.h>
#include <lmdb.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/limits.h"
#include "runtime/check.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "tracker/users_check.h"

#define MAP_BYTES (1024 * MIB) /* of addresses, not of memory */
#define JOBS_MAX  64           /* of what others say; more has to wait */
#define GONE_MAX  256

#define ENTRIES_MAX                                                                                \
    (LEDGER_PROFILES_MAX + LEDGER_TEAMS_MAX + LEDGER_MEMBERS_MAX + LEDGER_REVOKED_MAX +            \
     LEDGER_DEAD_MAX)
/* Pages of a tree that grows at random are two thirds full, and each change needs some of its own:
 * a map that is full takes no deletion either. */
static_assert(3ull * ENTRIES_MAX * (1 + LEDGER_NAME_MAX + LEDGER_ENTRY_BYTES) < MAP_BYTES,
              "all that the ledger may hold");

static const char id_key[] = "\0id"; /* no kind is 0 */

struct users {
    MDB_env *env;
    MDB_dbi db;
    struct pool *disk;
    struct ledger *ledger;
    u8 id[LEDGER_ID_BYTES];
    size_t foreign_jobs, our_jobs;
    struct users_turn *turns;
    size_t coming[LEDGER_KINDS]; /* new names that changes of ours bring, when they are written */
    void (*news)(void *arg, const struct ledger_entry *e, bool foreign);
    void *news_arg;
};

enum what { OURS, FOREIGN, FORGET };

struct change {
    struct job job;
    struct users *users;
    enum what what;
    int rc;
    void (*done)(void *arg, int rc);
    void *arg;
    size_t n, cap;
    size_t coming[LEDGER_KINDS];
    struct ledger_entry *list;
};

/* --- looking --------------------------------------------------------------------------------- */

bool users_name_valid(const char *name)
{
    return ledger_name_valid(name);
}

const char *users_own_cache(const struct users *u, const char *name)
{
    return u && *name ? ledger_find(u->ledger, LEDGER_PROFILE, name) : NULL;
}

const char *users_team(const struct users *u, const char *name)
{
    return u && *name ? ledger_find(u->ledger, LEDGER_MEMBER, name) : NULL;
}

const char *users_team_cache(const struct users *u, const char *team)
{
    return ledger_find(u->ledger, LEDGER_TEAM, team);
}

const char *users_cache(const struct users *u, const char *name)
{
    const char *own = users_own_cache(u, name);
    const char *team = own ? NULL : users_team(u, name);
    return team ? users_team_cache(u, team) : own;
}

size_t users_count(const struct users *u, enum ledger_kind kind)
{
    return ledger_count(u->ledger, kind);
}

void users_each(const struct users *u, enum ledger_kind kind,
                void (*each)(void *arg, const char *name, const char *value), void *arg)
{
    struct ledger_cursor at = {0};
    struct ledger_entry e;
    while (ledger_each(u->ledger, &at, &e))
        if (e.kind == kind && !e.dead)
            each(arg, e.name, e.value);
}

const struct ledger *users_ledger(const struct users *u)
{
    return u->ledger;
}

const u8 *users_id(const struct users *u)
{
    return u->id;
}

void users_watch(struct users *u,
                 void (*news)(void *arg, const struct ledger_entry *e, bool foreign), void *arg)
{
    u->news = news;
    u->news_arg = arg;
}

/* --- reading at the start -------------------------------------------------------------------- */

/* Ours, of a time when the clock was ahead: no other tracker would take it before that comes. */
static int stamp_anew(struct users *u, MDB_cursor *cursor, const MDB_val *key,
                      struct ledger_entry *e, u64 now)
{
    u8 name[1 + LEDGER_NAME_MAX], bytes[LEDGER_ENTRY_BYTES];
    MDB_val same = {key->mv_size, name}, value = {0, bytes};
    int rc = key->mv_size <= sizeof(name) ? ledger_stamp(u->ledger, e, now) : ERR_PROTO;
    if (rc)
        return rc;
    memcpy(name, key->mv_data, key->mv_size); /* what it points to is written to */
    value.mv_size = ledger_pack(e, bytes);
    return mdb_cursor_put(cursor, &same, &value, MDB_CURRENT) ? ERR_IO : 0;
}

/* One that stands on the disk. A clock that went back makes nobody forget. */
static int load_one(struct users *u, MDB_cursor *cursor, const MDB_val *key, const MDB_val *value)
{
    struct ledger_entry e;
    u64 now = wall_ms();
    if (ledger_unpack(&e, value->mv_data, value->mv_size))
        return ERR_PROTO;
    if (e.counter > now + LEDGER_AHEAD_MS && memcmp(e.origin, u->id, sizeof(u->id)) == 0) {
        struct ledger_entry anew = e;
        if (stamp_anew(u, cursor, key, &anew, now) == 0)
            e = anew;
    }
    return ledger_merge(u->ledger, &e, e.counter > now ? e.counter : now);
}

static int load_all(struct users *u, MDB_txn *txn)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    size_t bad = 0;
    int rc = mdb_cursor_open(txn, u->db, &cursor);
    if (rc)
        return rc;
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        if (key.mv_size > 0 && *(const u8 *)key.mv_data == 0)
            continue; /* the id */
        int one = load_one(u, cursor, &key, &value);
        if (one == ERR_NOMEM) {
            rc = ENOMEM;
            break;
        }
        if (one == ERR_EXISTS && (rc = mdb_cursor_del(cursor, 0)) != 0) /* over */
            break;
        bad += one != 0 && one != ERR_EXISTS;
    }
    mdb_cursor_close(cursor);
    if (bad)
        log_warn("profiles: %zu entries cannot be read, or are too many", bad);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int load_id(struct users *u, MDB_txn *txn)
{
    MDB_val key = {sizeof(id_key) - 1, (void *)(uintptr_t)id_key}, value;
    int rc = mdb_get(txn, u->db, &key, &value);
    if (rc == 0 && value.mv_size == sizeof(u->id)) {
        memcpy(u->id, value.mv_data, sizeof(u->id));
        return 0;
    }
    randombytes_buf(u->id, sizeof(u->id));
    value = (MDB_val){sizeof(u->id), u->id};
    return rc == 0 || rc == MDB_NOTFOUND ? mdb_put(txn, u->db, &key, &value, 0) : rc;
}

static int load(struct users *u)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(u->env, NULL, 0, &txn);
    if (rc)
        return rc;
    rc = mdb_dbi_open(txn, NULL, 0, &u->db);
    if (rc == 0)
        rc = load_id(u, txn);
    if (rc == 0 && ledger_new(&u->ledger, u->id))
        rc = ENOMEM;
    if (rc == 0)
        rc = load_all(u, txn);
    if (rc == 0)
        return mdb_txn_commit(txn); /* the handle lives on */
    mdb_txn_abort(txn);
    return rc;
}

static_assert(1 + LEDGER_NAME_MAX <= 511, "LMDB's keys are that long");

int users_new(struct users **out, const char *dir, struct pool *disk, char why[CONF_WHY_MAX])
{
    char path[4096];
    struct users *u = calloc(1, sizeof(*u));
    *out = u;
    if (!u)
        return ERR_NOMEM;
    u->disk = disk;
    snprintf(path, sizeof(path), "%s/ledger", dir);
    (void)!mkdir(path, 0700);
    int checked = users_check(path, MAP_BYTES, why);
    if (checked)
        return checked;
    int rc = mdb_env_create(&u->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(u->env, MAP_BYTES);
    if (rc == 0)
        rc = mdb_env_open(u->env, path, MDB_NOTLS, 0600);
    if (rc == 0)
        rc = load(u);
    if (rc == 0)
        return 0;
    snprintf(why, CONF_WHY_MAX, "%.300s: %s", path, mdb_strerror(rc));
    return ERR_IO;
}

void users_del(struct users *u)
{
    if (!u)
        return;
    ledger_del(u->ledger);
    if (u->env)
        mdb_env_close(u->env);
    free(u);
}

/* --- writing --------------------------------------------------------------------------------- */

/* In the pool: is what stands there newer, or (when it is to be forgotten) another? */
static bool is_settled(MDB_txn *txn, MDB_dbi db, MDB_val *key, const struct ledger_entry *e,
                       enum what what)
{
    struct ledger_entry have;
    MDB_val value;
    if (mdb_get(txn, db, key, &value) != 0 ||
        ledger_unpack(&have, value.mv_data, value.mv_size) != 0)
        return false;
    int order = memcmp(have.origin, e->origin, sizeof(e->origin));
    bool same = have.counter == e->counter && order == 0;
    if (what == FORGET)
        return !same;
    return have.counter > e->counter || (have.counter == e->counter && order >= 0);
}

static int write_one(MDB_txn *txn, MDB_dbi db, const struct ledger_entry *e, enum what what)
{
    u8 name[1 + LEDGER_NAME_MAX], bytes[LEDGER_ENTRY_BYTES];
    size_t n = strlen(e->name);
    name[0] = (u8)e->kind;
    memcpy(name + 1, e->name, n);
    MDB_val key = {1 + n, name}, value = {0, bytes};
    if (is_settled(txn, db, &key, e, what))
        return 0;
    if (what == FORGET) {
        int rc = mdb_del(txn, db, &key, NULL);
        return rc == MDB_NOTFOUND ? 0 : rc;
    }
    value.mv_size = ledger_pack(e, bytes);
    return mdb_put(txn, db, &key, &value, 0);
}

static void change_work(struct job *j)
{
    struct change *c = container_of(j, struct change, job);
    MDB_txn *txn;
    int rc = mdb_txn_begin(c->users->env, NULL, 0, &txn);
    if (rc == 0) {
        for (size_t i = 0; rc == 0 && i < c->n; i++)
            rc = write_one(txn, c->users->db, &c->list[i], c->what);
        if (rc == 0)
            rc = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
    }
    if (rc)
        log_error("profiles cannot be written: %s", mdb_strerror(rc));
    c->rc = rc ? ERR_IO : 0;
}

static void change_free(struct change *c)
{
    for (size_t i = 0; i < LEDGER_KINDS; i++)
        c->users->coming[i] -= c->coming[i];
    free(c->list);
    free(c);
}

static void tell(struct users *u, const struct ledger_entry *e, bool foreign)
{
    if (u->news)
        u->news(u->news_arg, e, foreign);
}

void users_leave(struct users_turn *w)
{
    if (!w->at)
        return;
    *w->at = w->next;
    if (w->next)
        w->next->at = w->at;
    w->at = NULL;
}

static void next_turns(struct users *u)
{
    while (u->turns && u->our_jobs == 0) {
        struct users_turn *w = u->turns;
        users_leave(w);
        w->go(w);
    }
}

void users_wait(struct users *u, struct users_turn *w)
{
    struct users_turn **at = &u->turns;
    while (*at)
        at = &(*at)->next;
    w->at = at;
    w->next = NULL;
    *at = w;
    next_turns(u);
}

static void change_done(struct job *j)
{
    struct change *c = container_of(j, struct change, job);
    struct users *u = c->users;
    int rc = c->rc;
    u->foreign_jobs -= c->what == FOREIGN;
    u->our_jobs -= c->what == OURS;
    for (size_t i = 0; c->what == OURS && rc == 0 && i < c->n; i++) {
        int one = ledger_merge(c->users->ledger, &c->list[i], wall_ms());
        if (one == 0)
            tell(c->users, &c->list[i], false);
        else if (one != ERR_EXISTS) /* another tracker was faster: that counts */
            rc = one;
    }
    if (c->done)
        c->done(c->arg, rc);
    change_free(c);
    next_turns(u);
}

static void submit(struct change *c)
{
    c->job.work = change_work;
    c->job.done = change_done;
    pool_submit(c->users->disk, &c->job);
}

/* Is it well-formed, and is there room? The version is filled in. */
static int prepare(struct change *c, struct ledger_entry *e, const struct ledger_entry *wanted)
{
    struct users *u = c->users;
    *e = *wanted;
    if (e->dead)
        e->value[0] = 0;
    if (!ledger_name_valid(e->name) || (e->kind == LEDGER_TEAM && check_label(e->name)) ||
        (!e->dead && e->kind != LEDGER_REVOKED && check_label(e->value)))
        return ERR_INVAL;
    if (!e->dead && !ledger_find(u->ledger, e->kind, e->name)) {
        if (!ledger_has_room(u->ledger, e->kind, u->coming[e->kind]))
            return ERR_FULL;
        u->coming[e->kind]++;
        c->coming[e->kind]++;
    }
    return ledger_stamp(u->ledger, e, wall_ms());
}

int users_change(struct users *u, const struct ledger_entry *changes, size_t n,
                 void (*done)(void *arg, int rc), void *arg)
{
    if (n > USERS_CHANGES_MAX)
        return ERR_TOOBIG;
    struct change *c = calloc(1, sizeof(*c));
    if (!c || !(c->list = calloc(n + 1, sizeof(*c->list)))) {
        free(c);
        return ERR_NOMEM;
    }
    c->users = u;
    for (; c->n < n; c->n++) {
        int rc = prepare(c, &c->list[c->n], &changes[c->n]);
        if (rc) {
            change_free(c);
            return rc;
        }
    }
    c->what = OURS;
    c->done = done;
    c->arg = arg;
    u->our_jobs++;
    submit(c);
    return 0;
}

/* --- what others say, and what is over ---------------------------------------------------------
 */

static bool add(struct change *c, const struct ledger_entry *e)
{
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 16;
        struct ledger_entry *grown = realloc(c->list, cap * sizeof(*grown));
        if (!grown)
            return false;
        c->list = grown;
        c->cap = cap;
    }
    c->list[c->n++] = *e;
    return true;
}

int users_take(struct users *u, const void *message, size_t len)
{
    struct ledger_reader r;
    struct ledger_entry e;
    if (ledger_read(&r, message, len))
        return ERR_PROTO;
    if (u->foreign_jobs >= JOBS_MAX)
        return ERR_BUSY;
    struct change *c = calloc(1, sizeof(*c));
    if (!c)
        return ERR_NOMEM;
    c->users = u;
    c->what = FOREIGN;
    while (ledger_next(&r, &e)) {
        if (ledger_merge(u->ledger, &e, wall_ms()) != 0)
            continue;
        if (!add(c, &e))
            log_warn("profiles: out of memory: a change of another tracker is not kept");
        tell(u, &e, true);
    }
    int n = (int)c->n;
    if (n == 0) {
        change_free(c);
        return 0;
    }
    u->foreign_jobs++;
    submit(c);
    return n;
}

void users_tick(struct users *u)
{
    static struct ledger_entry gone[GONE_MAX]; /* one thread: too large for a stack */
    size_t n = ledger_expire(u->ledger, wall_ms(), gone, GONE_MAX);
    struct change *c = n ? calloc(1, sizeof(*c)) : NULL;
    if (!c || !(c->list = calloc(n, sizeof(*c->list)))) {
        free(c);
        return; /* the next start forgets them on the disk */
    }
    memcpy(c->list, gone, n * sizeof(*gone));
    c->n = n;
    c->users = u;
    c->what = FORGET;
    submit(c);
}
