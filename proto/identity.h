/* identity.h - a node's name that cannot be borrowed: its Ed25519 key (RFC 8032), made on first
 * start and kept with the store.
 *
 * What a node says about itself is signed, so that a holder of the mesh key, which every node is,
 * cannot speak in another's name. Each kind of statement has a context of its own, so that a
 * signature under one can never be shown as another. Not here: who is believed (member.h). */
#pragma once

#include <string.h>

#include "proto/err.h"

#define NODE_KEY_BYTES       32
#define NODE_SECRET_BYTES    64
#define NODE_SIGNATURE_BYTES 64
#define NODE_KEY_TEXT_SIZE                                                                         \
    17 /* 16 hex digits and their NUL: enough to tell nodes apart in logs                          \
        */

struct node_key { /* public: the node's identity */
    u8 bytes[NODE_KEY_BYTES];
};
struct node_secret { /* libsodium's form: seed and public key */
    u8 bytes[NODE_SECRET_BYTES];
};
struct node_signature {
    u8 bytes[NODE_SIGNATURE_BYTES];
};

enum identity_context {
    IDENTITY_ALIVE = 1,   /* a member's own record */
    IDENTITY_SUSPECT = 2, /* an accusation by its accuser */
    IDENTITY_DEAD = 3,    /* a verdict by who reached it */
    IDENTITY_HEAD = 4,    /* an inventory's epoch, version and hash */
    IDENTITY_PEER = 5,    /* a request to a peer */
    IDENTITY_PURGE = 6,   /* an order to remove a blob */
    IDENTITY_CHAIN = 7,   /* a layer's hash chain */
};

/* A key pair from 32 bytes; the same seed gives the same pair. */
void identity_from_seed(const u8 seed[32], struct node_key *key, struct node_secret *secret);
void identity_public(const struct node_secret *secret, struct node_key *key);

/* Signs context and message. `len` is at most 64 KiB. */
void identity_sign(const struct node_secret *secret, enum identity_context context,
                   const void *message, size_t len, struct node_signature *out);
/* ERR_DENIED when it is not that key's. */
must_use int identity_verify(const struct node_key *key, enum identity_context context,
                             const void *message, size_t len, const struct node_signature *sig);

static inline bool node_key_equal(const struct node_key *a, const struct node_key *b)
{
    u64 x[NODE_KEY_BYTES / 8], y[NODE_KEY_BYTES / 8];
    memcpy(x, a->bytes, sizeof(x));
    memcpy(y, b->bytes, sizeof(y));
    return ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3])) == 0;
}
bool node_key_is_set(const struct node_key *k);
int node_key_compare(const struct node_key *a, const struct node_key *b); /* a total order */
/* The first eight bytes as a number: for tables. Keys are chosen by their owners, so a table that
 * must not be flooded mixes in a seed. */
u64 node_key_word(const struct node_key *k);
void node_key_format(const struct node_key *k, char text[NODE_KEY_TEXT_SIZE]);
