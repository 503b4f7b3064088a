/* circle.h - the trackers behind one name, told of what each must know (`trackers:`).
 *
 * Profiles, teams and revocations (users.h) are exchanged by anti-entropy (ledger.h): with each of
 * the others in turn the sums are compared every few seconds, at once after a change made here, and
 * until all is equal. There is no other way, so that one that was away catches up by what everybody
 * does all the time. Logins that are kept for reading through (logins.h) are sent as they come, and
 * lost if the other is away.
 *
 * POST /mesh/v1/trackers, sealed both ways with what only trackers know (envelope.h): the mesh is
 * not needed for it, and no member of it is believed. A tracker may stand in its own list, so that
 * all can have the same. Bounded: one request at a time with each, a message of LEDGER_BYTES_MAX,
 * what it can hold by the ledger's limits. Loop thread only. */
#pragma once

#include <jansson.h>

#include "proto/ticket.h"
#include "runtime/http_server.h"

#define CIRCLE_PATH "/mesh/v1/trackers"

struct tracker;
struct circle;

/* After users and grants. NULL: out of memory. */
struct circle *circle_new(struct tracker *t);
void circle_stop(struct circle *c); /* no more requests; its handles close on the loop */
void circle_del(struct circle *c);  /* after the loop ended */

/* A change was made here. Cheap. */
void circle_kick(struct circle *c);
/* A login is kept here (`authorization` "": anonymous) until then (Unix ms). */
void circle_login(struct circle *c, const u8 user[TICKET_USER_BYTES], const char *repository,
                  const char *authorization, u64 until_ms);
/* The ticket keys may have changed. */
void circle_reload(struct circle *c);

bool circle_takes(struct http_slice target);
void circle_begin(struct circle *c, struct http_exchange *x);
/* One object for each of the others, for /api/v1/status. A new reference. */
json_t *circle_report(const struct circle *c);
size_t circle_away(const struct circle *c); /* of the others, how many do not answer */
