/* rate.h - how often each of many may make us work: a token bucket for everybody.
 *
 * Why: a signature costs 60 us to verify, and whoever holds the mesh key can send as many as the
 * line bears. What one author or one sender makes us verify has a rate; what exceeds it is put off,
 * not judged.
 *
 * Buckets stand in a table of fixed size, by a hash that others cannot foresee: who shares one with
 * others shares its tokens, so that neither many names nor forged ones cost memory. Each is one
 * number, the moment at which it is full again: the virtual scheduling algorithm of ITU-T I.371
 * (generic cell rate algorithm).
 * Not here: what becomes of what is put off. */
#pragma once

#include "proto/types.h"

#define RATE_BUCKETS 256

struct rate {
    u64 seed;
    u64 each_ns;  /* a token comes so often */
    u64 burst_ns; /* that many of them may be spent at once */
    u64 full_ns[RATE_BUCKETS];
};

/* `burst` at once, `per_s` each second from then on: both > 0. */
void rate_init(struct rate *r, u32 burst, u32 per_s, u64 seed);
/* False: not now. */
must_use bool rate_take(struct rate *r, u64 whom, u64 now_ns);
/* Would there be one? */
bool rate_has(const struct rate *r, u64 whom, u64 now_ns);
/* For what was seen too late to be refused: takes one, on credit if need be, by another burst at
 * most. */
void rate_charge(struct rate *r, u64 whom, u64 now_ns);
/* It was not theirs: the last one comes back. */
void rate_give_back(struct rate *r, u64 whom);
