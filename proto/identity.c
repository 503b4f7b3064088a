/* identity.c - Ed25519 by libsodium; see identity.h. */
#include "proto/identity.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

static_assert(NODE_KEY_BYTES == crypto_sign_PUBLICKEYBYTES, "libsodium's size");
static_assert(NODE_SECRET_BYTES == crypto_sign_SECRETKEYBYTES, "libsodium's size");
static_assert(NODE_SIGNATURE_BYTES == crypto_sign_BYTES, "libsodium's size");

#define MESSAGE_MAX 65536

void identity_from_seed(const u8 seed[32], struct node_key *key, struct node_secret *secret)
{
    int rc = crypto_sign_seed_keypair(key->bytes, secret->bytes, seed);
    assert(rc == 0);
    (void)rc;
}

void identity_public(const struct node_secret *secret, struct node_key *key)
{
    memcpy(key->bytes, secret->bytes + 32, sizeof(key->bytes));
}

/* What is signed is the BLAKE2b hash of "dray", the context and the message: one short input. */
static void statement(enum identity_context context, const void *message, size_t len, u8 out[32])
{
    crypto_generichash_state state;
    u8 prefix[5] = {'d', 'r', 'a', 'y', (u8)context};
    assert(len <= MESSAGE_MAX);
    crypto_generichash_init(&state, NULL, 0, 32);
    crypto_generichash_update(&state, prefix, sizeof(prefix));
    crypto_generichash_update(&state, message, len);
    crypto_generichash_final(&state, out, 32);
}

void identity_sign(const struct node_secret *secret, enum identity_context context,
                   const void *message, size_t len, struct node_signature *out)
{
    u8 hash[32];
    statement(context, message, len, hash);
    int rc = crypto_sign_detached(out->bytes, NULL, hash, sizeof(hash), secret->bytes);
    assert(rc == 0);
    (void)rc;
}

int identity_verify(const struct node_key *key, enum identity_context context, const void *message,
                    size_t len, const struct node_signature *sig)
{
    u8 hash[32];
    if (len > MESSAGE_MAX)
        return ERR_DENIED;
    statement(context, message, len, hash);
    if (crypto_sign_verify_detached(sig->bytes, hash, sizeof(hash), key->bytes))
        return ERR_DENIED;
    return 0;
}

bool node_key_is_set(const struct node_key *k)
{
    static const struct node_key none;
    return !node_key_equal(k, &none);
}

int node_key_compare(const struct node_key *a, const struct node_key *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

u64 node_key_word(const struct node_key *k)
{
    u64 word = 0;
    for (int i = 0; i < 8; i++)
        word = word << 8 | k->bytes[i];
    return word;
}

void node_key_format(const struct node_key *k, char text[NODE_KEY_TEXT_SIZE])
{
    sodium_bin2hex(text, NODE_KEY_TEXT_SIZE, k->bytes, 8);
}
