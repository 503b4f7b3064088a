/* rendezvous.h - which of several nodes is the one for a digest, so that all come to the same
 * answer without talking.
 *
 * Highest random weight (Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
 * 1998): each node's score for the digest is a hash of both; the highest is first. A node that
 * comes or goes changes only the digests that it is first for. Nodes choose their keys: who wants
 * to be first for a digest can be, and gains work. */
#pragma once

#include "proto/digest.h"
#include "proto/identity.h"

/* SipHash-2-4 of the digest, keyed by the node key. */
u64 rendezvous_score(const struct node_key *k, const struct digest *d);
/* Does `a` stand before `b`? Ties by key, so that of two different keys one always does. */
bool rendezvous_before(const struct node_key *a, const struct node_key *b, const struct digest *d);
