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
/* The state between two blocks, big-endian like a digest: digest_size() bytes. `count` must be a
 * multiple of the block (64 bytes, 128 of SHA-512): at any piece boundary (proto/chain.h) it is. */
void hasher_export(const struct hasher *h, u8 *state);
/* On from such a state, `count` bytes in. */
void hasher_import(struct hasher *h, enum digest_alg alg, const u8 *state, u64 count);
/* One call for small inputs. */
void hash_bytes(enum digest_alg alg, const void *data, size_t len, struct digest *out);
