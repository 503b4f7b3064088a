/* chain_impl.h - what the files of chain share: chain.c holds and judges, chain_wire.c reads and
 * writes claims. */
#pragma once

#include "proto/chain.h"

#define CHAIN_ACC_BYTES   32
#define CHAIN_DOUBTS      16 /* mismatches remembered */
#define CHAIN_OUT_SIGNERS 32 /* whose chains are not taken any more, for this layer */
#define CHAIN_BAD_RELAYS  32
#define CHAIN_PATIENCE    64 /* claims of others, until who left states unsigned is given up */
#define CHAIN_EVIDENCE    8

struct chain {
    bool used, own;
    struct node_key signer;
    u8 *states; /* state k at (k - 1) * state_bytes */
    u32 cap, held, signed_to;
    u32 base, signed_base;   /* states up to here are others': as told, as signed */
    u8 acc[CHAIN_ACC_BYTES]; /* A(signed_to) */
    struct node_signature signature;
    u32 pending_to; /* a signature that was not checked yet covers this many; 0: none */
    struct node_signature pending;
    struct node_key relay; /* sent what is beyond signed_to */
    u32 passed_over;       /* claims of others since it sent some of that */
    struct piece_map fits;
};

struct chains {
    struct digest digest;
    u64 size;
    u32 pieces, states; /* pieces - 1 */
    size_t state_bytes;
    struct chain list[CHAINS_MAX];
    struct node_key preferred;
    struct {
        u32 piece;
        struct node_key peer;
    } doubts[CHAIN_DOUBTS];
    size_t n_doubts;
    struct node_key out[CHAIN_OUT_SIGNERS];
    size_t n_out;
    struct chain_back {
        struct node_key signer; /* went on from what was wrong; may begin anew, once, */
        u32 k;                  /* with another state than this one */
        u8 state[CHAIN_STATE_MAX];
    } again[CHAIN_OUT_SIGNERS];
    size_t n_again;
    struct chain_bad { /* what it sent of this signer's did not fit the signature */
        struct node_key relay, signer;
    } bad_relays[CHAIN_BAD_RELAYS];
    size_t n_bad_relays;
    struct chain_evidence evidence[CHAIN_EVIDENCE];
    size_t n_evidence;
};

/* State `k` of a chain, 0 (the constant) to held. */
void chain_state(const struct chains *c, const struct chain *ch, u32 k, u8 out[CHAIN_STATE_MAX]);
struct chain *chain_find(const struct chains *c, const struct node_key *signer);
/* The one of this signer, or a place for it. NULL: full, or no memory (`*err`). */
struct chain *chain_place(struct chains *c, const struct node_key *signer, int *err);
/* Room for states up to `k`. ERR_NOMEM. */
must_use int chain_reserve(const struct chains *c, struct chain *ch, u32 k);
void chain_drop(struct chain *ch);
/* Checks the newest signature, if one waits. Bad: what is beyond the last good one goes; all of it
 * when it was set back for that. */
int chain_check(struct chains *c, struct chain *ch);
void chain_sign(const struct chains *c, struct chain *ch, const struct node_secret *secret);
/* It grew: pieces that fit another chain may fit this one too. */
void chain_share_fits(struct chains *c, struct chain *ch, u32 from);
bool chain_is_out(const struct chains *c, const struct node_key *signer);
/* Does it say, signed, what it was set back for? */
bool chain_is_as_before(const struct chains *c, const struct chain *ch);
