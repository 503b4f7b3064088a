/* chain.h - what a piece must hash to: the hash chains of a layer that peers claim, and verdicts.
 *
 * SHA-256 is a chain of 64-byte compressions. Whoever hashes a layer knows the *state* (32 bytes;
 * 64 of SHA-512) at each piece boundary. Given these, any piece is checked alone, on any core, in
 * any order, at the cost of plain hashing: state i and piece i must give state i + 1; state 0 is
 * the algorithm's constant, and the last piece must finish to the layer's digest (so there is no
 * state for the layer's end). States are written as the digest would be: big-endian words.
 *
 * Until a layer *closes*, states are claims, signed by the node that hashed them. One signature
 * covers a prefix, so that a chain may travel while it grows: over digest, size, k and
 *
 *     A(k) = BLAKE2b-256(A(k-1) || state k),  A(0) = 0
 *
 * Relays pass states and the newest signature on as they are: a lie inside has one name on it, the
 * signer's. A receiver checks a signature when it needs a state under it, one for all that came
 * until then (60 us); a relay whose states do not fit the signature loses what it sent, and is
 * heard no more of that signer. More states than a message holds come in parts, of one relay each
 * time.
 *
 * A mismatch of a piece convicts nobody: under a forged chain every honest piece fails, and under a
 * right one a wrong piece does. What is proof:
 *   - *trusted bytes* of piece i (from the registry, by Range), hashed from a chain's own state i,
 *     give another state i + 1 than it says (chains_trusted())
 *   - the layer *closed* under another chain: all its pieces fit, and the last one finished to the
 *     digest. Then every other state is wrong (chains_is_closed())
 * A chain so refuted is evidence against its signer, kept to be shown; who merely went on from what
 * another had signed (before *base*) may begin anew, once; the same again is not taken. Of several
 * chains at most CHAINS_MAX are kept; pieces that fit where two agree fit both.
 *
 *   claimed --signature holds--> signed --refuted--> gone, with evidence
 *      |                            +--every piece fits--> closed
 *      +--it does not: what that relay sent is dropped
 *
 * Not here: hashing (the caller's, in a pool: store/hash.h; the simulator models states), whom to
 * ask (swarm.h). Owns its memory: at most CHAINS_MAX states for each piece. */
#pragma once

#include "proto/digest.h"
#include "proto/identity.h"
#include "proto/pieces.h"

struct wire_in;
struct wire_out;

#define CHAINS_MAX      3 /* by different signers; one is usual, a second comes of a takeover */
#define CHAIN_STATE_MAX 64

/* Bytes of a state, and the algorithm's first one. */
size_t chain_state_bytes(enum digest_alg alg);
void chain_state_first(enum digest_alg alg, u8 out[CHAIN_STATE_MAX]);

struct chains;

/* Of a layer with piece_count(size) > 0. ERR_NOMEM. */
must_use int chains_new(struct chains **out, const struct digest *d, u64 size);
void chains_del(struct chains *c);
u64 chains_memory(const struct chains *c);

/* --- what we hashed ourselves ---------------------------------------------------------------- */

/* State `k` (1 to pieces - 1), in order, of a chain that we hash and sign. `vouched`: by trusted
 * bytes. Else our signature says only that we went on from it: nobody is convicted by states up to
 * the last such one (*base*). Idempotent. ERR_FULL: no place for ours; ERR_RANGE: ours does not
 * reach there (any more: it was refuted); ERR_NOMEM. */
must_use int chains_own(struct chains *c, const struct node_key *self, u32 k, const u8 *state,
                        bool vouched);
/* Takes over states of others that follow ours, up to state `k`, not vouched for: who goes on with
 * what another began. Returns how many states ours has then. */
u32 chains_adopt(struct chains *c, const struct node_key *self, u32 k);
/* State `k` of ours; 0: the first. False: it does not reach so far. */
bool chains_own_state(const struct chains *c, const struct node_key *self, u32 k,
                      u8 out[CHAIN_STATE_MAX]);
/* What we hashed turned out wrong: not shown any more. */
void chains_disown(struct chains *c, const struct node_key *self);
/* Ours does not finish to the digest, and all that we vouch for is of trusted bytes: what it went
 * on from is wrong. It is dropped, and those that say the same where we began to vouch are refuted.
 * False: there is nothing that we did not vouch for. */
bool chains_begin_anew(struct chains *c, const struct node_key *self);

/* --- claims on the wire ---------------------------------------------------------------------- */

struct chain_head {
    struct node_key signer;
    u32 states; /* 1 to this are held; the last ones perhaps not under a signature yet */
    u32 signed_to;
};
/* What is held, to be told to others. Refuted ones are left out. */
size_t chains_heads(const struct chains *c, struct chain_head out[CHAINS_MAX]);

/* [signer, base, first, states as one bin, signature or nil]: states `from` + 1 up to at most `max`
 * more. A signature comes with the last state under it. Own chains are signed here (`secret`, else
 * NULL). Only what is signed is written. Returns how many states; 0: nothing to say, nothing
 * written. */
u32 chains_write(struct chains *c, const struct node_key *signer, u32 from, u32 max,
                 const struct node_secret *secret, struct wire_out *w);
/* Reads what chains_write() wrote, as sent by `relay`. 0: known or taken (`*grew`: states that are
 * new). ERR_INVAL: malformed, or its signature does not hold; ERR_RANGE: states are missing before
 * it (chains_text() says from where on); ERR_AGAIN: not now, for a part of another relay's is here;
 * ERR_FULL: too many signers; ERR_DENIED: that signer's chain is refuted; ERR_NOMEM. `self`: ours
 * is not taken from others. */
must_use int chains_read(struct chains *c, struct wire_in *r, const struct node_key *relay,
                         const struct node_key *self, u32 *grew);

/* How far each chain is held, as an asker tells `relay`: "<signer, 64 hex>:<states>", by comma; "-"
 * for none. What is not known to be signed is told to who sent it, and to nobody else: it may be
 * made up, and would keep the right one away. */
#define CHAIN_TEXT_SIZE 256
void chains_text(struct chains *c, const struct node_key *relay, char out[CHAIN_TEXT_SIZE]);
/* How many states of this signer the text tells of, whoever wrote it; at most LIMIT_PIECES. */
u32 chain_text_states(const char *text, size_t n, const struct node_key *signer);

/* --- verdicts -------------------------------------------------------------------------------- */

/* What a piece must do under one chain, or under several that agree on it. */
struct chain_step {
    u8 in[CHAIN_STATE_MAX];
    u8 out[CHAIN_STATE_MAX]; /* of the last piece: the digest that it must finish to */
    bool last;
    struct node_key signer; /* of the first of these chains */
};
/* Different steps for one piece, the preferred chain's first. Signatures are checked here. 0: no
 * chain reaches so far. */
size_t chains_steps(struct chains *c, u32 piece, struct chain_step out[CHAINS_MAX]);
/* Whose chain comes first from now on: the appointed fetcher's. */
void chains_prefer(struct chains *c, const struct node_key *signer);

/* The piece did what `step` says. */
void chains_fits(struct chains *c, u32 piece, const struct chain_step *step);
/* A piece from `peer` fitted no chain. Says of whom we learn nothing. */
void chains_mismatch(struct chains *c, u32 piece, const struct node_key *peer);
/* Is part of a chain here that no signature covers yet? A piece that fits nothing may fit that. */
bool chains_is_partial(struct chains *c);
/* What `peer` is, is proved: pieces of its that did not fit are no reason to doubt. */
void chains_settled(struct chains *c, const struct node_key *peer);
/* Is one to be held against trusted bytes? One piece of CHAIN_DOUBT_PEERS peers did not fit (of
 * two, when it is the last that is missing; of one, when it signed the chain that the piece does
 * not fit), or two chains differ. `*piece`: which one shows it. */
#define CHAIN_DOUBT_PEERS 3
bool chains_in_doubt(struct chains *c, u32 *piece);
/* It went on from what was wrong, and has not begun anew so far. */
bool chains_is_set_back(const struct chains *c, const struct node_key *signer);
/* No trusted bytes are to be had: that signer's chain is left for this layer, without evidence. */
void chains_leave(struct chains *c, const struct node_key *signer);
/* Trusted bytes of a piece, begun at `in`, gave `out` (of the last piece: the digest). Which chains
 * are wrong follows from it, not that the piece is here: chains_fits() says that. */
void chains_trusted(struct chains *c, u32 piece, const u8 *in, const u8 *out);

/* Does the piece fit some chain that is not refuted? After evidence came a piece may not any more.
 */
bool chains_has_fit(const struct chains *c, u32 piece);
/* All pieces fit one chain, in whatever order they came (a complete layer may so be proved from its
 * last piece backwards): the bytes have the digest. The others are refuted by that. */
bool chains_is_closed(struct chains *c);

struct chain_evidence {
    struct node_key signer;
    struct node_signature signature; /* of its prefix of `states` states, one of which is wrong */
    u32 base, states, piece;         /* the piece that shows it, not before base */
    u8 claimed[CHAIN_STATE_MAX], truth[CHAIN_STATE_MAX];
    bool by_close; /* else by trusted bytes */
    bool by_end;   /* trusted bytes from the state after `piece` on do not finish to the digest:
                      `claimed` is that state, `truth` is not known */
};
/* Evidence not taken yet. */
bool chains_take_evidence(struct chains *c, struct chain_evidence *out);
