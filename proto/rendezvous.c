/* rendezvous.c - see rendezvous.h. */
#include "proto/rendezvous.h"

#include <assert.h>
#include <sodium.h>

static_assert(crypto_shorthash_KEYBYTES <= NODE_KEY_BYTES, "a node key is long enough");
static_assert(crypto_shorthash_BYTES == 8, "a score is 64 bits");

u64 rendezvous_score(const struct node_key *k, const struct digest *d)
{
    u8 hash[crypto_shorthash_BYTES];
    u64 score = 0;
    crypto_shorthash(hash, d->bytes, digest_size((enum digest_alg)d->alg), k->bytes);
    for (size_t i = 0; i < sizeof(hash); i++) /* the same number on every machine */
        score = score << 8 | hash[i];
    return score;
}

bool rendezvous_before(const struct node_key *a, const struct node_key *b, const struct digest *d)
{
    u64 mine = rendezvous_score(a, d), theirs = rendezvous_score(b, d);
    return mine != theirs ? mine > theirs : node_key_compare(a, b) < 0;
}
