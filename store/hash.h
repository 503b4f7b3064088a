/* hash.h - SHA-256 and SHA-512 over a stream, by libcrypto.
 *
 * Why libcrypto: 1.7 GB/s with the CPU's SHA instructions, five times libsodium. The one place that
 * touches its low-level interface. A hasher is a plain value: copy it to keep a state. Any thread,
 * one at a time. */
#pragma once

#include "proto/digest.h"

#define HASHER_SIZE 256

struct hasher {
    u8 alg;    /* enum digest_alg */
    u64 count; /* bytes taken so far */
    _Alignas(16) u8 state[HASHER_SIZE];
};

/* `alg` must be a known one. */
void hasher_init(struct hasher *h, enum digest_alg alg);
void hasher_update(struct hasher *h, const void *data, size_t len);
/* The digest of what was taken; `h` itself is left as it was and may take more. */
void hasher_digest(const struct hasher *h, struct digest *out);
/* One call for small inputs. */
void hash_bytes(enum digest_alg alg, const void *data, size_t len, struct digest *out);
