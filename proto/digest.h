/* digest.h - the name of a blob: an algorithm and the hash of its bytes.
 *
 * Why: every table, path and request is keyed by this, so it is a small value, compared by bytes.
 * Text form is OCI's: "sha256:<64 hex>" or "sha512:<128 hex>", lower case only
 * (OCI image-spec descriptor.md, "Digests").
 * Not here: computing a hash (store/hash.h). */
#pragma once

#include "proto/types.h"

enum digest_alg {
    DIGEST_NONE = 0, /* a zeroed struct names nothing */
    DIGEST_SHA256 = 1,
    DIGEST_SHA512 = 2,
};

#define DIGEST_BYTES_MAX 64
#define DIGEST_TEXT_SIZE (7 + 2 * DIGEST_BYTES_MAX + 1) /* the longest text and its NUL */

struct digest {
    u8 alg;                     /* enum digest_alg */
    u8 bytes[DIGEST_BYTES_MAX]; /* the hash; what the algorithm leaves over is zero */
};

/* Reads the text form, exactly `len` characters. ERR_INVAL when malformed, ERR_UNSUPPORTED when
 * well formed (spec grammar) but of an algorithm unknown here; `*d` is then all zero. */
must_use int digest_parse(struct digest *d, const char *text, size_t len);

/* Writes the text form with its NUL; returns its length. `d` must name something. */
size_t digest_format(const struct digest *d, char text[DIGEST_TEXT_SIZE]);

/* The hex part alone, with its NUL; returns its length. */
size_t digest_format_hex(const struct digest *d, char text[DIGEST_TEXT_SIZE]);

/* Bytes of hash under this algorithm: 32, 64; 0 for none. */
size_t digest_size(enum digest_alg alg);

/* "sha256", "sha512"; "none". Static. */
const char *digest_alg_name(enum digest_alg alg);

bool digest_equal(const struct digest *a, const struct digest *b);

/* For hash tables: the digest's own leading bytes mixed with `seed`, so that nobody who can choose
 * digests can choose collisions. */
u64 digest_hash(const struct digest *d, u64 seed);
