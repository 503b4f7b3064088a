/* chain_wire.c - claims on the wire, and their signatures; see chain.h. */
#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "proto/chain_impl.h"
#include "proto/wire.h"

#define READ_STATES_MAX 4096u /* in one message; a talk may bring so many */

static_assert(CHAIN_ACC_BYTES == crypto_generichash_BYTES, "BLAKE2b-256");

/* --- signatures ------------------------------------------------------------------------------ */

/* A() of what `acc` is of, and these states after it. */
static void accumulate(const struct chains *c, const u8 *states, u32 n, u8 acc[CHAIN_ACC_BYTES])
{
    u8 said[CHAIN_ACC_BYTES + CHAIN_STATE_MAX];
    for (u32 k = 0; k < n; k++) {
        memcpy(said, acc, CHAIN_ACC_BYTES);
        memcpy(said + CHAIN_ACC_BYTES, states + k * c->state_bytes, c->state_bytes);
        crypto_generichash(acc, CHAIN_ACC_BYTES, said, CHAIN_ACC_BYTES + c->state_bytes, NULL, 0);
    }
}

/* What is signed: algorithm, digest, size, base, k, A(k); numbers big-endian. */
static size_t statement(const struct chains *c, u32 base, u32 k, const u8 acc[CHAIN_ACC_BYTES],
                        u8 out[1 + DIGEST_BYTES_MAX + 16 + CHAIN_ACC_BYTES])
{
    u8 *at = out;
    *at++ = c->digest.alg;
    memcpy(at, c->digest.bytes, c->state_bytes);
    at += c->state_bytes;
    for (int i = 56; i >= 0; i -= 8)
        *at++ = (u8)(c->size >> i);
    for (int i = 24; i >= 0; i -= 8)
        *at++ = (u8)(base >> i);
    for (int i = 24; i >= 0; i -= 8)
        *at++ = (u8)(k >> i);
    memcpy(at, acc, CHAIN_ACC_BYTES);
    return (size_t)(at - out) + CHAIN_ACC_BYTES;
}

static void note_bad_relay(struct chains *c, const struct node_key *relay,
                           const struct node_key *signer)
{
    if (c->n_bad_relays < CHAIN_BAD_RELAYS)
        c->bad_relays[c->n_bad_relays++] = (struct chain_bad){*relay, *signer};
}

int chain_check(struct chains *c, struct chain *ch)
{
    u8 acc[CHAIN_ACC_BYTES], said[1 + DIGEST_BYTES_MAX + 16 + CHAIN_ACC_BYTES];
    u32 from = ch->signed_to, to = ch->pending_to;
    if (to == 0)
        return 0;
    ch->pending_to = 0;
    memcpy(acc, ch->acc, sizeof(acc));
    accumulate(c, ch->states + from * c->state_bytes, to - from, acc);
    size_t len = statement(c, ch->base, to, acc, said);
    if (identity_verify(&ch->signer, IDENTITY_CHAIN, said, len, &ch->pending)) {
        ch->held = from;
        ch->base = ch->signed_base;
        note_bad_relay(c, &ch->relay, &ch->signer);
        return ERR_DENIED;
    }
    memcpy(ch->acc, acc, sizeof(acc));
    ch->signature = ch->pending;
    ch->signed_to = to;
    ch->signed_base = ch->base;
    if (chain_is_as_before(c, ch)) {
        chain_drop(ch);
        return ERR_DENIED;
    }
    chain_share_fits(c, ch, from > 0 ? from - 1 : 0);
    return 0;
}

void chain_sign(const struct chains *c, struct chain *ch, const struct node_secret *secret)
{
    u8 said[1 + DIGEST_BYTES_MAX + 16 + CHAIN_ACC_BYTES];
    if (ch->signed_to == ch->held)
        return;
    accumulate(c, ch->states + ch->signed_to * c->state_bytes, ch->held - ch->signed_to, ch->acc);
    ch->signed_to = ch->held;
    ch->signed_base = ch->base;
    size_t len = statement(c, ch->base, ch->signed_to, ch->acc, said);
    identity_sign(secret, IDENTITY_CHAIN, said, len, &ch->signature);
}

/* --- writing --------------------------------------------------------------------------------- */

u32 chains_write(struct chains *c, const struct node_key *signer, u32 from, u32 max,
                 const struct node_secret *secret, struct wire_out *w)
{
    struct chain *ch = chain_find(c, signer);
    if (ch && ch->own && secret)
        chain_sign(c, ch, secret);
    else if (ch && !ch->own)
        (void)chain_check(c, ch);
    if (!ch || from >= ch->signed_to || max == 0)
        return 0;
    u32 n = ch->signed_to - from;
    if (n > max)
        n = max;
    if (n > READ_STATES_MAX)
        n = READ_STATES_MAX;
    size_t mark = wire_mark(w);
    wire_put_array(w, 5);
    wire_put_key(w, signer);
    wire_put_u64(w, ch->signed_base);
    wire_put_u64(w, from);
    wire_put_bin(w, ch->states + from * c->state_bytes, n * c->state_bytes);
    if (from + n == ch->signed_to)
        wire_put_bin(w, ch->signature.bytes, sizeof(ch->signature.bytes));
    else
        wire_put_nil(w);
    if (!wire_full(w))
        return n;
    wire_rewind(w, mark);
    return 0;
}

/* --- reading --------------------------------------------------------------------------------- */

struct claim {
    struct node_key signer;
    u32 base, from, n;
    const u8 *states; /* borrowed from the message */
    bool is_signed;
    struct node_signature signature;
};

static int read_claim(const struct chains *c, struct wire_in *r, struct claim *out)
{
    size_t len;
    memset(out, 0, sizeof(*out));
    bool whole = wire_get_array(r, 5) == 5;
    wire_get_key(r, &out->signer);
    out->base = (u32)wire_get_max(r, LIMIT_PIECES);
    out->from = (u32)wire_get_max(r, LIMIT_PIECES);
    out->states = wire_get_bin(r, READ_STATES_MAX * c->state_bytes, &len);
    out->is_signed = !wire_is_nil(r);
    if (out->is_signed)
        wire_get_exact(r, out->signature.bytes, sizeof(out->signature.bytes));
    if (!whole || !wire_ok(r) || len == 0 || len % c->state_bytes)
        return ERR_INVAL;
    out->n = (u32)(len / c->state_bytes);
    return out->from + out->n > c->states ? ERR_INVAL : 0;
}

static bool is_bad_relay(const struct chains *c, const struct node_key *relay,
                         const struct node_key *signer)
{
    for (size_t i = 0; i < c->n_bad_relays; i++)
        if (node_key_equal(&c->bad_relays[i].relay, relay) &&
            node_key_equal(&c->bad_relays[i].signer, signer))
            return true;
    return false;
}

/* It goes on from what is signed here already: is all of it? */
static bool is_signed(const struct chains *c, const struct chain *ch, const struct claim *cl)
{
    u8 acc[CHAIN_ACC_BYTES], said[1 + DIGEST_BYTES_MAX + 16 + CHAIN_ACC_BYTES];
    u32 known = ch->signed_to - cl->from;
    memcpy(acc, ch->acc, sizeof(acc));
    accumulate(c, cl->states + known * c->state_bytes, cl->n - known, acc);
    size_t len = statement(c, cl->base, cl->from + cl->n, acc, said);
    return !identity_verify(&cl->signer, IDENTITY_CHAIN, said, len, &cl->signature);
}

/* Is that what we hold, as far as it goes? */
static bool is_held(const struct chains *c, const struct chain *ch, const struct claim *cl)
{
    return cl->from + cl->n <= ch->held &&
           memcmp(ch->states + cl->from * c->state_bytes, cl->states, cl->n * c->state_bytes) == 0;
}

/* What is there of one relay's, and not known to be signed, is no ground for another's to stand on.
 * It makes way for what is signed, or when its relay goes on with it no more. ERR_AGAIN: not yet;
 * ERR_RANGE, ERR_INVAL, ERR_DENIED as chains_read(). */
static int settle(struct chains *c, struct chain *ch, const struct node_key *relay,
                  const struct claim *cl)
{
    bool same = node_key_equal(&ch->relay, relay);
    if (!same && ch->held > ch->signed_to)
        (void)chain_check(c, ch);
    if (!ch->used)
        return ERR_DENIED;
    if (!same && ch->held > ch->signed_to) {
        if (cl->from > ch->signed_to)
            return ERR_RANGE;
        bool says_so = cl->is_signed && cl->from + cl->n > ch->signed_to;
        if (!says_so && ++ch->passed_over < CHAIN_PATIENCE)
            return ERR_AGAIN;
        if (says_so && !is_signed(c, ch, cl)) {
            note_bad_relay(c, relay, &cl->signer);
            return ERR_INVAL;
        }
        if (says_so && is_held(c, ch, cl))
            return 0;
        ch->held = ch->signed_to;
    }
    ch->relay = *relay;
    return 0;
}

static int take(struct chains *c, struct chain *ch, const struct claim *cl, u32 *grew)
{
    u32 known = cl->from < ch->held ? ch->held - cl->from : 0, end = cl->from + cl->n;
    if (known > cl->n)
        known = cl->n;
    if (cl->from > ch->held)
        return ERR_RANGE;
    if (memcmp(ch->states ? ch->states + cl->from * c->state_bytes : cl->states, cl->states,
               known * c->state_bytes) != 0)
        return ERR_INVAL;
    if (chain_reserve(c, ch, end))
        return ERR_NOMEM;
    memcpy(ch->states + (cl->from + known) * c->state_bytes, cl->states + known * c->state_bytes,
           (cl->n - known) * c->state_bytes);
    *grew = cl->n - known;
    ch->held += *grew;
    if (*grew > 0)
        ch->passed_over = 0;
    if (cl->is_signed && end > ch->signed_to && end > ch->pending_to) {
        ch->pending_to = end;
        ch->base = cl->base;
        ch->pending = cl->signature;
    }
    return 0;
}

int chains_read(struct chains *c, struct wire_in *r, const struct node_key *relay,
                const struct node_key *self, u32 *grew)
{
    struct claim cl;
    int err;
    *grew = 0;
    if (read_claim(c, r, &cl))
        return ERR_INVAL;
    if (node_key_equal(&cl.signer, self))
        return 0;
    if (chain_is_out(c, &cl.signer))
        return ERR_DENIED;
    if (is_bad_relay(c, relay, &cl.signer))
        return ERR_INVAL;
    struct chain *ch = chain_find(c, &cl.signer);
    if (!ch && cl.from > 0)
        return ERR_RANGE;
    if (!ch)
        ch = chain_place(c, &cl.signer, &err);
    if (!ch)
        return err;
    err = settle(c, ch, relay, &cl);
    return err ? err : take(c, ch, &cl, grew);
}
