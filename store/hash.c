/* hash.c - the one file that touches libcrypto's low-level hashing.
 *
 * Why low-level: EVP allocates, and its states cannot be copied out; a plain SHA256_CTX is a value
 * that a layer's chain of states is made of. The interface is deprecated but fixed, and the include
 * below says so in this file only. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "store/hash.h"

#include <assert.h>
#include <openssl/sha.h>
#include <string.h>

static_assert(sizeof(SHA256_CTX) <= HASHER_SIZE, "a SHA-256 state fits");
static_assert(sizeof(SHA512_CTX) <= HASHER_SIZE, "a SHA-512 state fits");

void hasher_init(struct hasher *h, enum digest_alg alg)
{
    assert(alg == DIGEST_SHA256 || alg == DIGEST_SHA512);
    memset(h, 0, sizeof(*h));
    h->alg = (u8)alg;
    int ok = alg == DIGEST_SHA256 ? SHA256_Init((SHA256_CTX *)(void *)h->state)
                                  : SHA512_Init((SHA512_CTX *)(void *)h->state);
    assert(ok == 1);
}

void hasher_update(struct hasher *h, const void *data, size_t len)
{
    assert(h->alg == DIGEST_SHA256 || h->alg == DIGEST_SHA512);
    int ok = h->alg == DIGEST_SHA256 ? SHA256_Update((SHA256_CTX *)(void *)h->state, data, len)
                                     : SHA512_Update((SHA512_CTX *)(void *)h->state, data, len);
    assert(ok == 1);
    h->count += len;
}

void hasher_digest(const struct hasher *h, struct digest *out)
{
    assert(h->alg == DIGEST_SHA256 || h->alg == DIGEST_SHA512);
    struct hasher last = *h; /* finishing spoils a state: spoil a copy */
    memset(out, 0, sizeof(*out));
    out->alg = h->alg;
    int ok = h->alg == DIGEST_SHA256 ? SHA256_Final(out->bytes, (SHA256_CTX *)(void *)last.state)
                                     : SHA512_Final(out->bytes, (SHA512_CTX *)(void *)last.state);
    assert(ok == 1);
}

void hash_bytes(enum digest_alg alg, const void *data, size_t len, struct digest *out)
{
    struct hasher h;
    hasher_init(&h, alg);
    hasher_update(&h, data, len);
    hasher_digest(&h, out);
}
