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

#define SHA256_BLOCK 64
#define SHA512_BLOCK 128

void hasher_export(const struct hasher *h, u8 *state)
{
    if (h->alg == DIGEST_SHA256) {
        const SHA256_CTX *c = (const SHA256_CTX *)(const void *)h->state;
        assert(h->count % SHA256_BLOCK == 0 && c->num == 0);
        for (size_t i = 0; i < 32; i++)
            state[i] = (u8)(c->h[i / 4] >> (24 - 8 * (i % 4)));
    } else {
        const SHA512_CTX *c = (const SHA512_CTX *)(const void *)h->state;
        assert(h->alg == DIGEST_SHA512 && h->count % SHA512_BLOCK == 0 && c->num == 0);
        for (size_t i = 0; i < 64; i++)
            state[i] = (u8)(c->h[i / 8] >> (56 - 8 * (i % 8)));
    }
}

void hasher_import(struct hasher *h, enum digest_alg alg, const u8 *state, u64 count)
{
    hasher_init(h, alg);
    h->count = count;
    if (alg == DIGEST_SHA256) {
        SHA256_CTX *c = (SHA256_CTX *)(void *)h->state;
        assert(count % SHA256_BLOCK == 0);
        memset(c->h, 0, sizeof(c->h));
        for (size_t i = 0; i < 32; i++)
            c->h[i / 4] |= (SHA_LONG)state[i] << (24 - 8 * (i % 4));
        c->Nl = (SHA_LONG)(count << 3);
        c->Nh = (SHA_LONG)(count >> 29);
    } else {
        SHA512_CTX *c = (SHA512_CTX *)(void *)h->state;
        assert(count % SHA512_BLOCK == 0);
        memset(c->h, 0, sizeof(c->h));
        for (size_t i = 0; i < 64; i++)
            c->h[i / 8] |= (SHA_LONG64)state[i] << (56 - 8 * (i % 8));
        c->Nl = count << 3;
        c->Nh = count >> 61;
    }
}

void hash_bytes(enum digest_alg alg, const void *data, size_t len, struct digest *out)
{
    struct hasher h;
    hasher_init(&h, alg);
    hasher_update(&h, data, len);
    hasher_digest(&h, out);
}
