/* grants.h - what a tracker hands out once the registry has allowed a pull: tickets; and the
 * Authorization that it keeps so that a node without credentials can read through it.
 *
 * Tickets are cached per (user, repository, digest, node) for half their life. An Authorization is
 * kept per (user, repository) in memory alone, for authz.ttl, and wiped. Keys are read from
 * `ticket_key`: the first signs, all are accepted; so keys rotate by SIGHUP. Trackers behind one
 * name share that file, and with it what else only they must know: a user is known by a keyed hash
 * of the name, whose key is made of the last ticket key (so that it outlives a new first one, and
 * is the same at all trackers); and what they tell each other is sealed with keys made of these.
 * Loop thread only. */
#pragma once

#include "proto/ticket.h"
#include "runtime/conf.h"
#include "runtime/keyfile.h"

struct grants;

must_use int grants_new(struct grants **out, const char *ticket_key, u64 ttl_ms,
                        char why[CONF_WHY_MAX]);
void grants_del(struct grants *g);
must_use int grants_reload(struct grants *g, char why[CONF_WHY_MAX]); /* on failure all stays */

/* The hash of an Authorization's user, and (cap bytes with NUL) the name, "" when it has none. */
void grants_user(const struct grants *g, const char *authorization, size_t len,
                 u8 user[TICKET_USER_BYTES], char *name, size_t cap);
void grants_user_of_name(const struct grants *g, const char *name, u8 user[TICKET_USER_BYTES]);
/* Under each ticket key: while these are exchanged, tickets name a user by more than one. */
size_t grants_users_of_name(const struct grants *g, const char *name,
                            u8 users[KEYFILE_KEYS][TICKET_USER_BYTES]);
/* What trackers seal their messages to each other with; the first seals. Returns how many. */
size_t grants_circle_keys(const struct grants *g, u8 keys[KEYFILE_KEYS][32]);

/* A ticket's text, borrowed until the next call. `t` needs all but kid, iat and exp, which are
 * filled in. */
const char *grants_ticket(struct grants *g, struct ticket *t, u64 now_ms);
/* One that came back. */
must_use enum ticket_verdict grants_check(const struct grants *g, const char *text, size_t len,
                                          const struct ticket_wanted *wanted, struct ticket *out);

/* True: the other trackers should hear of it (it is new, or half its time is over). */
bool grants_keep(struct grants *g, const u8 user[TICKET_USER_BYTES], const char *repository,
                 const char *authorization, u64 now_ms);
/* As another tracker says; never for longer than our own authz.ttl. */
void grants_keep_foreign(struct grants *g, const u8 user[TICKET_USER_BYTES], const char *repository,
                         const char *authorization, u64 until_ms, u64 now_ms);
/* NULL: none is kept. "" : the user was anonymous. Borrowed until the next call. */
const char *grants_authorization(struct grants *g, const u8 user[TICKET_USER_BYTES],
                                 const char *repository, u64 now_ms);
/* Everything handed out to this user is forgotten. */
void grants_revoke(struct grants *g, const u8 user[TICKET_USER_BYTES]);
