/* revocations.h - a revoked user's tickets end at the nodes at once (proto/revoke.h).
 *
 * Each revocation is told to every node of every region, until it says that it knows, or until no
 * ticket from before could be valid any more. So a node that cannot be reached, is down, or joins
 * within that time hears of it as soon as it is there. Nodes keep what they are told on their disk.
 * Bounded: REVOKE_MAX revocations at a time; of more the oldest is not told any further. Loop
 * thread only. */
#pragma once

#include "proto/ticket.h"

struct tracker;
struct revocations;

struct revocations *revocations_new(struct tracker *t); /* NULL: out of memory */
void revocations_stop(struct revocations *r);           /* its handles close on the loop */
void revocations_del(struct revocations *r);            /* after the HTTP client */

/* This user's tickets issued until then (Unix seconds) count no more. */
void revocations_add(struct revocations *r, const u8 user[TICKET_USER_BYTES], u64 until_s);
/* Tells who is there; returns how many nodes are being told. */
size_t revocations_send(struct revocations *r);
