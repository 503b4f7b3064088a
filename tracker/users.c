/* users.c - see users.h. In memory: chains in buckets. On disk: one LMDB database, name -> cache.
 */
#include "tracker/users.h"

#include <assert.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/limits.h"
#include "runtime/check.h"

#define BUCKETS   16384
#define MAP_BYTES (256 * MIB)

struct profile {
    struct profile *next;
    char cache[USERS_CACHE_MAX + 1];
    char name[];
};

struct users {
    MDB_env *env;
    MDB_dbi db;
    struct pool *disk;
    size_t n;
    struct profile *buckets[BUCKETS];
};

struct change {
    struct job job;
    struct users *users;
    char name[USERS_NAME_MAX + 1], cache[USERS_CACHE_MAX + 1];
    bool remove;
    int rc;
    void (*done)(void *arg, int rc);
    void *arg;
};

/* FNV-1a: names are given by administrators and by users known to the registry. */
static struct profile **bucket_of(const struct users *u, const char *name)
{
    u64 h = 14695981039346656037ull;
    for (const char *c = name; *c; c++)
        h = (h ^ (u8)*c) * 1099511628211ull;
    return (struct profile **)&u->buckets[h % BUCKETS];
}

static struct profile **find(const struct users *u, const char *name)
{
    struct profile **at = bucket_of(u, name);
    while (*at && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

/* --- memory ---------------------------------------------------------------------------------- */

bool users_name_valid(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < n; i++)
        if ((u8)name[i] <= ' ' || name[i] == 0x7f || name[i] == '/')
            return false;
    return n > 0 && n <= USERS_NAME_MAX;
}

const char *users_cache(const struct users *u, const char *name)
{
    const struct profile *p = u && *name ? *find(u, name) : NULL;
    return p ? p->cache : NULL;
}

size_t users_count(const struct users *u)
{
    return u->n;
}

void users_each(const struct users *u, void (*each)(void *arg, const char *name, const char *cache),
                void *arg)
{
    for (size_t i = 0; i < BUCKETS; i++)
        for (const struct profile *p = u->buckets[i]; p; p = p->next)
            each(arg, p->name, p->cache);
}

static int put(struct users *u, const char *name, const char *cache)
{
    struct profile **at = find(u, name);
    if (!*at) {
        size_t n = strlen(name) + 1;
        struct profile *p = u->n < USERS_MAX ? calloc(1, sizeof(*p) + n) : NULL;
        if (!p)
            return u->n < USERS_MAX ? ERR_NOMEM : ERR_FULL;
        memcpy(p->name, name, n);
        *at = p;
        u->n++;
    }
    snprintf((*at)->cache, sizeof((*at)->cache), "%s", cache);
    return 0;
}

static void take_out(struct users *u, const char *name)
{
    struct profile **at = find(u, name), *p = *at;
    if (!p)
        return;
    *at = p->next;
    free(p);
    u->n--;
}

/* --- disk ------------------------------------------------------------------------------------ */

static int load(struct users *u)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_txn_begin(u->env, NULL, 0, &txn);
    if (rc)
        return rc;
    rc = mdb_dbi_open(txn, NULL, 0, &u->db);
    if (rc == 0)
        rc = mdb_cursor_open(txn, u->db, &cursor);
    if (rc) {
        mdb_txn_abort(txn);
        return rc;
    }
    int bad = 0;
    while (bad == 0 && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        char name[USERS_NAME_MAX + 1], cache[USERS_CACHE_MAX + 1];
        if (key.mv_size >= sizeof(name) || value.mv_size >= sizeof(cache))
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)key.mv_size, (const char *)key.mv_data);
        snprintf(cache, sizeof(cache), "%.*s", (int)value.mv_size, (const char *)value.mv_data);
        bad = put(u, name, cache);
    }
    mdb_cursor_close(cursor);
    if (bad == 0 && rc == MDB_NOTFOUND)
        return mdb_txn_commit(txn); /* the handle lives on */
    mdb_txn_abort(txn);
    return bad ? bad : rc;
}

static_assert(USERS_NAME_MAX <= 511, "LMDB's keys are that long");

int users_new(struct users **out, const char *dir, struct pool *disk, char why[CONF_WHY_MAX])
{
    char path[4096];
    struct users *u = calloc(1, sizeof(*u));
    *out = u;
    if (!u)
        return ERR_NOMEM;
    u->disk = disk;
    snprintf(path, sizeof(path), "%s/profiles", dir);
    (void)!mkdir(path, 0700);
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
    for (size_t i = 0; i < BUCKETS; i++)
        while (u->buckets[i])
            take_out(u, u->buckets[i]->name);
    if (u->env)
        mdb_env_close(u->env);
    free(u);
}

static void change_work(struct job *j)
{
    struct change *c = container_of(j, struct change, job);
    MDB_val key = {strlen(c->name), c->name}, value = {strlen(c->cache), c->cache};
    MDB_txn *txn;
    int rc = mdb_txn_begin(c->users->env, NULL, 0, &txn);
    if (rc == 0) {
        rc = c->remove ? mdb_del(txn, c->users->db, &key, NULL)
                       : mdb_put(txn, c->users->db, &key, &value, 0);
        if (rc == 0 || rc == MDB_NOTFOUND)
            rc = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
    }
    c->rc = rc ? ERR_IO : 0;
}

static void change_done(struct job *j)
{
    struct change *c = container_of(j, struct change, job);
    int rc = c->rc;
    if (rc == 0 && c->remove)
        take_out(c->users, c->name);
    else if (rc == 0)
        rc = put(c->users, c->name, c->cache);
    c->done(c->arg, rc);
    free(c);
}

int users_set(struct users *u, const char *name, const char *cache, void (*done)(void *arg, int rc),
              void *arg)
{
    if (!users_name_valid(name) || (cache && check_label(cache)))
        return ERR_INVAL;
    if (cache && u->n >= USERS_MAX && !*find(u, name))
        return ERR_FULL;
    struct change *c = calloc(1, sizeof(*c));
    if (!c)
        return ERR_NOMEM;
    c->users = u;
    c->remove = !cache;
    c->done = done;
    c->arg = arg;
    snprintf(c->name, sizeof(c->name), "%s", name);
    snprintf(c->cache, sizeof(c->cache), "%s", cache ? cache : "");
    c->job.work = change_work;
    c->job.done = change_done;
    pool_submit(u->disk, &c->job);
    return 0;
}
