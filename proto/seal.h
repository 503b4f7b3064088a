/* seal.h - what goes between nodes is sealed under the mesh key, and counted once.
 *
 * XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03, libsodium). A sealed message:
 *
 *    0        1           5             13          21          29
 *    +--------+-----------+-------------+-----------+-----------+----------- - - +---------+
 *    |version | key id    | sender      | epoch     | counter   | ciphertext     | tag 16  |
 *    +--------+-----------+-------------+-----------+-----------+----------- - - +---------+
 *     all numbers big-endian; the nonce is sender, epoch, counter (24 bytes); the 29 bytes before
 *     the text are authenticated with it
 *
 * *sender*: the first 8 bytes of the node key. *epoch*: greater at each start of a sender.
 * *counter*: the two highest bits name the *lane*, the rest is one more for each message in it. So
 * no nonce repeats under a key, and nothing needs a clock. Lanes keep a datagram from being shown
 * as a talk or an answer as a request, and late streams from falling out of the datagrams' window.
 *
 * Replay: per sender and lane a window (window.h) behind the highest counter seen: 1,024 datagrams,
 * 128 talks; answers and peer statements say inside what they are good for. Who holds the mesh key
 * can claim any sender and any epoch; so an epoch is only *claimed* until the sender's signed
 * record proves it (seal_epoch_known):
 *   - older than the proven one: refused
 *   - the proven one: its window
 *   - newer than it, or nothing proven: a window of its own, of which there is one; another claimed
 *     epoch takes its place. (Were the highest kept, one forged message would make us deaf to a
 *     node for ever. Until a record proves an epoch, messages of two claimed ones can be replayed
 * in turns; what they say is idempotent or signed.) A holder of the key can still spoil the window
 * of another node's running epoch.
 *
 * The key id is the first 4 bytes of the key's BLAKE2b hash: named, never guessed.
 * Proves: the sender holds the mesh key. Does not prove which node it is: see identity.h.
 * Windows are bounded (LIMIT_SEAL_SENDERS); the one heard from longest ago makes room, those of
 * proven senders last. The program has called sodium_init(). */
#pragma once

#include "proto/identity.h"
#include "proto/limits.h"

#define SEAL_KEY_BYTES 32
#define SEAL_HEAD      29
#define SEAL_OVERHEAD  (SEAL_HEAD + 16)

#define SEAL_WINDOW_DATAGRAMS 1024
#define SEAL_WINDOW_TALKS     128

#ifndef WIRE_VERSION   /* a build may be told to speak the next one already: tests of upgrades */
#define WIRE_VERSION 1 /* spoken */
#endif
/* The oldest understood: the one before, once there is one. */
#define WIRE_VERSION_MIN (WIRE_VERSION > 1 ? WIRE_VERSION - 1 : 1)
static_assert(WIRE_VERSION - WIRE_VERSION_MIN <= 1, "this version and the one before");

struct seal;

enum seal_lane {
    SEAL_DATAGRAM,
    SEAL_TALK,   /* a talk's request */
    SEAL_PEER,   /* `Dray-Peer`: numbered and signed inside, so no window is kept here: mesh.h */
    SEAL_ANSWER, /* a talk's answer: names its request inside, so no window either: mesh_talk.c */
    SEAL_LANE_COUNT
};

/* Why a message was dropped: a metric label each. */
enum seal_drop {
    SEAL_OK,
    SEAL_SHORT,    /* shorter than an empty sealed message */
    SEAL_LONG,     /* longer than any of its lane may be */
    SEAL_VERSION,  /* a wire version not spoken */
    SEAL_KEY,      /* under a key not in the ring */
    SEAL_LANE,     /* sealed for another lane */
    SEAL_FORGED,   /* the tag does not fit */
    SEAL_REPLAYED, /* seen, or older than the window or the epoch */
    SEAL_OWN,      /* from ourselves, or from somebody with our key: see member.h */
    SEAL_DROP_COUNT
};
const char *seal_drop_name(enum seal_drop d);

struct seal_key {
    u8 bytes[SEAL_KEY_BYTES];
};

struct seal_options {
    struct node_key self;
    u64 epoch; /* > 0 */
    /* For the simulator only: nothing is encrypted, and a checksum stands where the tag would, so
     * that bytes spoiled on the way are still noticed. Tells protocol cost from cipher cost. */
    bool clear;
    u8 version_min, version_max; /* understood; 0: WIRE_VERSION_MIN, WIRE_VERSION */
    u64 seed;                    /* of the table's hash: nobody else may know it */
};
must_use int seal_new(struct seal **out, const struct seal_options *opt); /* ERR_NOMEM */
void seal_del(struct seal *s);

/* The ring: the first seals, all open. Copied; at most LIMIT_MESH_KEYS. While running: install a
 * new one behind, then put it first, then leave the old one out. ERR_INVAL: none, too many, one
 * twice (or two of one id); the ring is then as it was. Needed before anything is sealed. */
must_use int seal_set_keys(struct seal *s, const struct seal_key *keys, size_t n);
size_t seal_keys(const struct seal *s, u32 ids[LIMIT_MESH_KEYS]); /* in ring order */
u32 seal_key_id(const struct seal_key *k);

/* `out` has room for len + SEAL_OVERHEAD; returns what was written. In place when
 * text == out + SEAL_HEAD; otherwise they do not overlap. `version` is what the receiver reads. */
size_t seal_close(struct seal *s, enum seal_lane lane, u8 version, const void *text, size_t len,
                  u8 *out);
/* The counter that the last seal_close() in this lane used; 0: none yet. */
u64 seal_counter(const struct seal *s, enum seal_lane lane);

struct seal_from {
    u8 sender[8];
    u64 epoch;
    u64 counter; /* within the lane */
    u32 key_id;
    u8 version;
    size_t text_len;
};
/* Opens and takes it into the window. Of a clear seal `text` may be NULL: nothing is copied, and
 * what was opened stands at in + SEAL_HEAD. `text` has room for len - SEAL_OVERHEAD; in place when
 * text == in + SEAL_HEAD, otherwise they do not overlap. Not SEAL_OK: no window moved, and the text
 * is not to be read. SEAL_OWN and SEAL_REPLAYED fill in `from`, others zero it. */
enum seal_drop seal_open(struct seal *s, enum seal_lane lane, const u8 *in, size_t len, u8 *text,
                         struct seal_from *from);
/* A sender's signed record names its epoch: whatever is older is a replay. */
void seal_epoch_known(struct seal *s, const u8 sender[8], u64 epoch);
/* A hint: this will be opened soon; see mesh_warm(). */
#define SEAL_WARM_STEPS 3
void seal_warm(const struct seal *s, unsigned step, const u8 *in, size_t len);
u64 seal_epoch(const struct seal *s); /* our own */
u64 seal_bytes(const struct seal *s); /* memory */
