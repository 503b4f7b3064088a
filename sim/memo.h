/* memo.h - signatures that were made or checked once are not computed again.
 *
 * Why: in a daemon each node checks each member's record once; in one process a thousand nodes
 * check the same thousand records, at 65 us each. Signing (Ed25519, RFC 8032) and checking are
 * functions of their arguments alone, so that whoever asked first has answered for all: no node
 * sees a difference but in time. The linker puts these in the place of libsodium's (--wrap,
 * CMakeLists.txt). The table is kept between runs, of one size; an entry makes room for the next of
 * its place. Keyed by a BLAKE2b hash over all arguments, of which 256 bits are compared. */
#pragma once

#include "proto/types.h"

struct memo_stats {
    u64 asked, computed;
};
void memo_stats(struct memo_stats *out);

/* As libsodium's crypto_sign_verify_detached() and crypto_sign_detached(). */
int __wrap_crypto_sign_verify_detached(const unsigned char *sig, const unsigned char *m,
                                       unsigned long long len, const unsigned char *key);
int __wrap_crypto_sign_detached(unsigned char *sig, unsigned long long *sig_len,
                                const unsigned char *m, unsigned long long len,
                                const unsigned char *secret);
