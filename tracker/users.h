/* users.h - profiles: which cache a user is served by.
 *
 * A profile is a name and the name of a region or of a node. All are in memory; each change is
 * written to LMDB (its default mode: durable at commit, whole after kill -9) in the disk pool, and
 * answered when it is there. Loop thread only. */
#pragma once

#include "runtime/conf.h"
#include "runtime/pool.h"

#define USERS_NAME_MAX  255
#define USERS_CACHE_MAX 64
#define USERS_MAX       200000

struct users;

must_use int users_new(struct users **out, const char *dir, struct pool *disk,
                       char why[CONF_WHY_MAX]);
/* No change may be running. */
void users_del(struct users *u);

/* NULL: no profile. Borrowed until the next change. */
const char *users_cache(const struct users *u, const char *name);
size_t users_count(const struct users *u);
void users_each(const struct users *u, void (*each)(void *arg, const char *name, const char *cache),
                void *arg);
bool users_name_valid(const char *name);

/* `cache` NULL removes it. `done` is called when it is on the disk (0) or could not be (an error:
 * as it was). ERR_INVAL: a name that is none; ERR_FULL, ERR_NOMEM: `done` is not called. */
must_use int users_set(struct users *u, const char *name, const char *cache,
                       void (*done)(void *arg, int rc), void *arg);
