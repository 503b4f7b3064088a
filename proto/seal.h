/* seal.h - what goes between nodes is sealed under the mesh key, and counted once.
 *
 * XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03, libsodium). A sealed message:
 *
 *    0        1           5             13          21          29
 *    +--------+-----------+-------------+-----------+-----------+----------- - - +---------+
 *    |version | key id    | sender      | epoch     | counter   | ciphertext     | tag 16  |
 *    +--------+-----------+-------------+-----------+-----------+----------- - - +---------+
 *     the nonce is sender, epoch, counter (24 bytes); all 29 bytes before the text are
 * authenticated
 *
 * *sender*: the first 8 bytes of the node key. *epoch*: greater at each start of a sender;
 * *counter*: one more for each message. So no nonce repeats under a key, and nothing needs a clock.
 * Replay (as in RFC 4303, 3.4.3): per sender the newest epoch and a window of 1,024 counters behind
 * the highest seen; older epochs are refused. Datagrams and streams share counters and window.
 * The key id is the first 4 bytes of the key's BLAKE2b hash: named, never guessed.
 * Proves: the sender holds the mesh key. Does not prove which node it is: see identity.h.
 * Windows are bounded (LIMIT_SEAL_SENDERS); the one heard from longest ago makes room. */
#pragma once

#include "proto/identity.h"
#include "proto/limits.h"

#define SEAL_KEY_BYTES 32
#define SEAL_OVERHEAD  (29 + 16)
#define WIRE_VERSION   1 /* spoken; this one and the one before are understood */

struct seal;

/* Why a message was dropped: a metric label each. */
enum seal_drop {
    SEAL_OK,
    SEAL_SHORT,    /* shorter than an empty sealed message */
    SEAL_VERSION,  /* a wire version not spoken */
    SEAL_KEY,      /* under a key not in the ring */
    SEAL_FORGED,   /* the tag does not fit */
    SEAL_REPLAYED, /* seen, or older than the window or the epoch */
    SEAL_OWN,      /* from ourselves, or from somebody with our key: see member.h */
    SEAL_DROP_COUNT
};
const char *seal_drop_name(enum seal_drop d);

struct seal_key {
    u8 bytes[SEAL_KEY_BYTES];
};

/* Seals as `self` in `epoch`. With `clear`, for the simulator only, text is authenticated by
 * nothing and not encrypted (the layout stays): tells protocol cost from cipher cost. ERR_NOMEM. */
must_use int seal_new(struct seal **out, const struct node_key *self, u64 epoch, bool clear);
void seal_del(struct seal *s);

/* The ring: the first seals, all open. Copied; at most LIMIT_MESH_KEYS. While running: install a
 * new one behind, then put it first, then leave the old one out. ERR_INVAL: none, too many, one
 * twice. */
must_use int seal_set_keys(struct seal *s, const struct seal_key *keys, size_t n);
size_t seal_keys(const struct seal *s, u32 ids[LIMIT_MESH_KEYS]); /* in ring order */
u32 seal_key_id(const struct seal_key *k);

/* `out` has room for len + SEAL_OVERHEAD; returns what was written. May be in place when
 * out == text - 29. */
size_t seal_close(struct seal *s, const void *text, size_t len, u8 *out);

struct seal_from {
    u8 sender[8];
    u64 epoch;
    u32 key_id;
    u8 version;
};
/* Opens and takes it into the window. `text` has room for len - SEAL_OVERHEAD and may be in place.
 */
enum seal_drop seal_open(struct seal *s, const u8 *in, size_t len, u8 *text, size_t *text_len,
                         struct seal_from *from);
/* A sender's signed record names its epoch: whatever is older is a replay. */
void seal_epoch_known(struct seal *s, const u8 sender[8], u64 epoch);
u64 seal_epoch(const struct seal *s);
