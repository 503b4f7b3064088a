/* strikes.h - nobody is stranded: which node failed which user, told by outcomes.
 *
 * A strike is an outcome, not a repetition: a ticket that its node reports as failed, or one never
 * presented within STRIKES_WAIT_MS while the same user asks for the same layer again from the same
 * address and no transfer of it is alive. Parallel ranges, aborted ones, and many hosts of one user
 * are therefore no strikes. A struck node is not offered to that user for STRIKES_MS; after
 * STRIKES_MAX of one layer the tracker streams it from the registry.
 *
 * Bounded tables; of a full bucket the oldest is forgotten. Pure but for the caller's clock. */
#pragma once

#include "proto/addr.h"
#include "proto/outcome.h"

#define STRIKES_WAIT_MS   5000
#define STRIKES_MS        60000
#define STRIKES_MAX       2
#define STRIKES_KEY_BYTES 32
#define STRIKES_KEEP_MS   600000 /* what is not asked for again is forgotten */

struct strikes;

/* `hash_key`: random and nobody else's, so that nobody can aim at a bucket. ERR_NOMEM. */
must_use int strikes_new(struct strikes **out, const u8 hash_key[STRIKES_KEY_BYTES]);
void strikes_del(struct strikes *s);

/* The user asks for this layer (again): judges the offer before. How many strikes it has. */
unsigned strikes_asked(struct strikes *s, const u8 user[TICKET_USER_BYTES], const struct digest *d,
                       const struct addr *from, u64 now_ms);
/* It was sent to this node. */
void strikes_offered(struct strikes *s, const u8 user[TICKET_USER_BYTES], const struct digest *d,
                     const struct addr *from, const struct node_key *node, u64 now_ms);
/* A node tells. */
void strikes_told(struct strikes *s, const struct node_key *node, const struct outcome *o,
                  u64 now_ms);
bool strikes_is_struck(const struct strikes *s, const u8 user[TICKET_USER_BYTES],
                       const struct node_key *node, u64 now_ms);
u64 strikes_total(const struct strikes *s);
