/* seeds.h - the chains of layers that are held whole, for those who fetch them piece by piece.
 *
 * Why: whoever gets a piece must know what it has to hash to (proto/chain.h). Who has just verified
 * a layer knows; of others the chain is made once, when somebody asks, by reading and hashing the
 * layer in the hash pool: one at a time, so that pieces never wait behind whole layers, askers in
 * turn, and only while its swarm is there. The chain of SEEDS_MAX layers is kept, the least asked
 * for goes first. Loop thread only. */
#pragma once

#include "node/peers.h"
#include "runtime/pool.h"
#include "store/store.h"

#define SEEDS_MAX 64

struct seeds;

struct seeds_options {
    struct store *store; /* all borrowed */
    struct pool *hash;
    struct peers *peers;
};
must_use int seeds_new(struct seeds **out, const struct seeds_options *opt);
void seeds_stop(struct seeds *s); /* no further chain is made; NULL is fine */
void seeds_del(struct seeds *s);  /* no job may run */
/* A layer closed here. Takes `c`. */
void seeds_put(struct seeds *s, const struct digest *d, u64 size, struct chains *c);
/* `asker` wants it of us: told to the mesh when the chain is known. */
void seeds_ask(struct seeds *s, const struct digest *d, const struct node_key *asker);
/* Borrowed for the loop's turn; NULL: not known. */
struct chains *seeds_chain(struct seeds *s, const struct digest *d);
