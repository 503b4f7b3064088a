/* envelope.h - what goes between the trackers behind one name is sealed with a key that only they
 * have: it is made of their ticket key (grants.h).
 *
 * Why not the mesh key: every rack's node has it, and says itself in which role it joins; and these
 * messages change profiles and carry logins. XChaCha20-Poly1305 (libsodium):
 *
 *    0        1                      25
 *    +--------+----------------------+------------------------------- - - -+---------+
 *    |version | nonce, random        | ciphertext: sender, boot, message   | tag 16  |
 *    +--------+----------------------+------------------------------- - - -+---------+
 *
 * Authenticated with it: whether it asks or answers, and, of an answer, the nonce of what it
 * answers. A request may be shown again by whoever recorded it; what it says is versioned, or dated
 * (ledger.h, circle.h). *sender*: the tracker's id; *boot*: random, of the running process, so that
 * a tracker that is pointed at itself notices, and a copied id too. Pure: no I/O. */
#pragma once

#include "proto/ledger.h"
#include "proto/limits.h"
#include "runtime/keyfile.h"

#define ENVELOPE_NONCE    24
#define ENVELOPE_BOOT     16
#define ENVELOPE_OVERHEAD (1 + ENVELOPE_NONCE + LEDGER_ID_BYTES + ENVELOPE_BOOT + 16)
#define ENVELOPE_MAX      (LEDGER_BYTES_MAX + ENVELOPE_OVERHEAD)

struct envelope_keys {
    u8 keys[KEYFILE_KEYS][32];
    size_t n;
};

struct envelope_sender {
    u8 id[LEDGER_ID_BYTES], boot[ENVELOPE_BOOT];
};

/* Seals with the first key. `answers`: the nonce of the request, NULL for a request, whose own
 * nonce goes to `nonce` (NULL: not wanted). `out` has len + ENVELOPE_OVERHEAD bytes. Returns its
 * length. */
size_t envelope_seal(const struct envelope_keys *k, const struct envelope_sender *from,
                     const u8 *answers, const void *message, size_t len, u8 *out,
                     u8 nonce[ENVELOPE_NONCE]);
/* Opens with any key. The message is written to `out`, which has len bytes. ERR_DENIED: it is not
 * from one of us, or for another request; ERR_UNSUPPORTED: another version. */
must_use int envelope_open(const struct envelope_keys *k, const u8 *answers, const void *data,
                           size_t len, struct envelope_sender *from, u8 *out, size_t *out_len,
                           u8 nonce[ENVELOPE_NONCE]);
