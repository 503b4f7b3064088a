/* tickets.h - whose tickets count here, and what came of those that were shown.
 *
 * The public keys of trackers stand in the file `tracker_key`, several lines while they are
 * exchanged, and are read anew on SIGHUP. A ticket is checked by them alone (proto/ticket.h):
 * nobody is asked. Without keys a ticket is no more than a piece of query. Trackers may revoke
 * those of a user (proto/revoke.h), which is kept for the last TICKETS_REVOKED of them: far more
 * than fall into the minute and a half for which a ticket could be valid. Loop thread only. */
#pragma once

#include "proto/revoke.h"
#include "proto/ticket.h"
#include "runtime/conf.h"
#include "runtime/http_server.h"
#include "runtime/metrics.h"

#define TICKETS_REVOKED 4096

struct tickets;

/* `file` is borrowed; NULL: no keys. `why` says what is wrong with it. */
must_use int tickets_new(struct tickets **out, const char *file, struct metrics *metrics,
                         char why[CONF_WHY_MAX]);
void tickets_del(struct tickets *t);
/* On failure the old keys stay. */
must_use int tickets_reload(struct tickets *t, char why[CONF_WHY_MAX]);
/* Are there keys? */
bool tickets_are_taken(const struct tickets *t);

/* The ticket in a request's query (without its ?). False: it has none. One that is there twice, or
 * is empty, is read as an empty one, which no check lets pass. Borrowed as the query is. */
bool tickets_find(const char *query, struct http_slice *text);
/* Those of this user that were issued until then count no more. */
void tickets_revoke(struct tickets *t, const struct revoke *r);
/* Would that be news? */
bool tickets_knows(const struct tickets *t, const struct revoke *r);
/* The latest of those that a ticket could still be concerned by; returns how many. */
size_t tickets_revoked(const struct tickets *t, u64 now_s, struct revoke out[REVOKE_MAX]);
/* As ticket_check(), what was revoked not valid, counted. */
must_use enum ticket_verdict tickets_check(struct tickets *t, struct http_slice text,
                                           const struct ticket_wanted *wanted, struct ticket *out);
