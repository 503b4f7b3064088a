/* users.h - profiles: which cache a user is served by; teams, whose cache is that of their members;
 * and who was revoked. All that several trackers know alike (proto/ledger.h), on this one's disk.
 *
 * A profile is a user and the name of a region or of a node. A user without one has the cache of
 * the team, if there is one: a user is in one team at a time. All are in memory. A change made here
 * is written to LMDB (its default mode: durable at commit, whole after kill -9) in the disk pool,
 * and only then counts and is answered. What other trackers say counts at once and is written
 * after: should that be lost, they say it again. Loop thread only. */
#pragma once

#include "proto/ledger.h"
#include "runtime/conf.h"
#include "runtime/pool.h"

#define USERS_NAME_MAX    LEDGER_NAME_MAX
#define USERS_CACHE_MAX   LEDGER_VALUE_MAX
#define USERS_CHANGES_MAX 8192 /* entries of one change */

struct users;

must_use int users_new(struct users **out, const char *dir, struct pool *disk,
                       char why[CONF_WHY_MAX]);
/* No change may be running. */
void users_del(struct users *u);
/* Called for each entry that begins to count, of ours or (`foreign`) another tracker's. */
void users_watch(struct users *u,
                 void (*news)(void *arg, const struct ledger_entry *e, bool foreign), void *arg);
/* Now and then, every second or so: forgets what is over. */
void users_tick(struct users *u);

/* The cache that counts: the user's own, else the team's; NULL: none. Borrowed until the next
 * change. */
const char *users_cache(const struct users *u, const char *name);
const char *users_own_cache(const struct users *u, const char *name);
const char *users_team(const struct users *u, const char *name); /* that the user is in; NULL */
const char *users_team_cache(const struct users *u, const char *team);
size_t users_count(const struct users *u, enum ledger_kind kind);
/* Of each living entry of that kind, its name and value. */
void users_each(const struct users *u, enum ledger_kind kind,
                void (*each)(void *arg, const char *name, const char *value), void *arg);
bool users_name_valid(const char *name);

/* Why ERR_AGAIN, for people. */
#define USERS_AHEAD                                                                                \
    "it was changed while a clock was more than a day ahead: see to the clocks, and restart the tracker where that was"

/* Some changes as one: all are on the disk, or none. Kind, name and value are given; dead: it is
 * removed. `done` is called when they count (0) or could not be written (an error: as it was).
 * ERR_INVAL: a name that is none; ERR_AGAIN: what is known of it lies too far ahead of
 * our clock; ERR_FULL, ERR_NOMEM, ERR_TOOBIG: `done` is not called. */
must_use int users_change(struct users *u, const struct ledger_entry *changes, size_t n,
                          void (*done)(void *arg, int rc), void *arg);

/* Whoever looks first and changes what follows from it does both in its turn: when no change made
 * here is on its way to the disk, maybe at once. Zero it first. A turn that is left does not come.
 */
struct users_turn {
    void (*go)(struct users_turn *w);
    struct users_turn *next, **at; /* the users' own */
};
void users_wait(struct users *u, struct users_turn *w);
void users_leave(struct users_turn *w);

/* --- for the other trackers
 * ----------------------------------------------------------------------- */

const struct ledger *users_ledger(const struct users *u);
/* This tracker, for good: kept with the profiles. */
const u8 *users_id(const struct users *u);
/* Takes over the entries of a message; how many were news, or ERR_PROTO; ERR_BUSY: the disk is
 * behind. */
must_use int users_take(struct users *u, const void *message, size_t len);
