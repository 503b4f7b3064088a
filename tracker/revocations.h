/* revocations.h - a revoked user's tickets end at the nodes at once (proto/revoke.h).
 *
 * Each node of each region that may be alive is told once, all at a time; who cannot be reached is
 * counted and logged, and forgets the tickets when they expire. Loop thread only. */
#pragma once

#include "proto/ticket.h"

struct tracker;
struct revocations;

struct revocations *revocations_new(struct tracker *t); /* NULL: out of memory */
void revocations_del(struct revocations *r);            /* after the HTTP client */

/* Returns how many nodes are being told. */
size_t revocations_send(struct revocations *r, const u8 user[TICKET_USER_BYTES]);
