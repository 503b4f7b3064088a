/* rng.h - random numbers that a seed determines.
 *
 * Why: a core must behave the same in every run of the simulator, so it is given its randomness.
 * xoshiro256** (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021),
 * seeded by splitmix64. Split by purpose: a stream more or fewer numbers are drawn from does not
 * disturb the others. Not for keys or nonces: those are libsodium's. */
#pragma once

#include "proto/types.h"

struct rng {
    u64 s[4];
};

void rng_seed(struct rng *r, u64 seed);
/* A stream of its own for `purpose` (a short word). The parent is not advanced: the same parent
 * state and purpose give the same stream. */
struct rng rng_split(const struct rng *parent, const char *purpose);
/* The same with a number, for one of many (a node, a link). */
struct rng rng_split_n(const struct rng *parent, const char *purpose, u64 n);

u64 rng_u64(struct rng *r);
u64 rng_below(struct rng *r, u64 bound); /* [0, bound), without bias; bound > 0 */
double rng_unit(struct rng *r);          /* [0, 1), 53 bits */
bool rng_chance(struct rng *r, double probability);
void rng_bytes(struct rng *r, void *out, size_t len);
void rng_shuffle_u32(struct rng *r, u32 *v, size_t n); /* Fisher and Yates */
