/* chain_fixture.h - a layer, and who hashes and signs it, rightly or not: what the tests of chains
 * share. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "proto/chain.h"
#include "proto/wire.h"
#include "store/hash.h"

#define PIECES 6
#define SIZE   (5 * PIECE_MIN_BYTES + 1000)

struct signer {
    struct node_key key;
    struct node_secret secret;
};

struct layer {
    u8 *bytes;
    struct digest digest;
};

static struct signer honest, liar, relay, other, me;

static inline void make_layer(struct layer *l, enum digest_alg alg)
{
    l->bytes = malloc(SIZE);
    assert_non_null(l->bytes);
    for (size_t i = 0; i < SIZE; i++)
        l->bytes[i] = (u8)(i * 7 + i / 1000);
    hash_bytes(alg, l->bytes, SIZE, &l->digest);
}

static inline struct chains *chains_of(const struct layer *l)
{
    struct chains *c;
    assert_int_equal(chains_new(&c, &l->digest, SIZE), 0);
    return c;
}

/* What piece `p` gives, begun at `in`. */
static inline void hash_piece(const struct layer *l, u32 p, const u8 *in, u8 out[CHAIN_STATE_MAX])
{
    struct hasher h;
    u64 first = piece_first(SIZE, p);
    memset(out, 0, CHAIN_STATE_MAX);
    hasher_import(&h, l->digest.alg, in, first);
    hasher_update(&h, l->bytes + first, piece_bytes(SIZE, p));
    if (p == PIECES - 1) {
        struct digest d;
        hasher_digest(&h, &d);
        memcpy(out, d.bytes, CHAIN_STATE_MAX);
    } else {
        hasher_export(&h, out);
    }
}

/* The chain of `l` with a lie from state `wrong` on (0: none), in `c` as `s`'s own. */
static inline void own(struct chains *c, const struct layer *l, const struct signer *s, u32 wrong)
{
    u8 in[CHAIN_STATE_MAX], out[CHAIN_STATE_MAX];
    chain_state_first(l->digest.alg, in);
    for (u32 k = 1; k < PIECES; k++) {
        hash_piece(l, k - 1, in, out);
        if (wrong && k >= wrong)
            out[0] ^= 0x80;
        assert_int_equal(chains_own(c, &s->key, k, out, true), 0);
        memcpy(in, out, sizeof(in));
    }
}

/* From `a` to `b`, by way of `by`. */
static inline int tell(struct chains *a, struct chains *b, const struct signer *s, u32 from,
                       u32 max, const struct signer *by, u32 *grew)
{
    u8 buf[4096];
    struct wire_out w;
    struct wire_in r;
    wire_out_init(&w, buf, sizeof(buf));
    assert_true(chains_write(a, &s->key, from, max, &s->secret, &w) > 0);
    wire_in_init(&r, buf, w.len);
    return chains_read(b, &r, &by->key, &me.key, grew);
}

static inline void claim(struct chains *to, const struct layer *l, const struct signer *s,
                         u32 wrong)
{
    u32 grew;
    struct chains *from = chains_of(l);
    own(from, l, s, wrong);
    assert_int_equal(tell(from, to, s, 0, PIECES, &relay, &grew), 0);
    assert_int_equal(grew, PIECES - 1);
    chains_del(from);
}

/* Does piece `p` of `l` fit? As a node does it. */
static inline bool piece_came(struct chains *c, const struct layer *l, u32 p)
{
    struct chain_step steps[CHAINS_MAX];
    u8 out[CHAIN_STATE_MAX];
    bool fits = false;
    size_t n = chains_steps(c, p, steps);
    for (size_t i = 0; i < n; i++) {
        hash_piece(l, p, steps[i].in, out);
        if (memcmp(out, steps[i].out, CHAIN_STATE_MAX) == 0) {
            chains_fits(c, p, &steps[i]);
            fits = true;
        }
    }
    return fits;
}

/* Before the first test: their keys. */
static inline int signers_begin(void)
{
    if (sodium_init() < 0)
        return -1;
    struct signer *all[] = {&honest, &liar, &relay, &other, &me};
    for (size_t i = 0; i < countof(all); i++) {
        u8 seed[32] = {(u8)(i + 1)};
        identity_from_seed(seed, &all[i]->key, &all[i]->secret);
    }
    return 0;
}
