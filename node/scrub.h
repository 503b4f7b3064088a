/* scrub.h - reads everything that is held again and again, slowly, and heals what rotted.
 *
 * One blob at a time, the one verified longest ago, at a pace that finishes a round in store.scrub.
 * A blob whose bytes no longer match its digest is removed at once, then fetched again from where
 * it came (with the node's own credentials, or none). Hashing runs in the disk pool and sleeps
 * between pieces, so that it never takes more than a quarter of one thread. */
#pragma once

#include "proto/err.h"

struct node;
struct scrub;

must_use int scrub_new(struct scrub **out, struct node *n);
/* No new blob is begun; the running job ends within a second. */
void scrub_stop(struct scrub *s);
void scrub_del(struct scrub *s); /* after its job is done: drain the pools first */
/* Each second. */
void scrub_tick(struct scrub *s);
