/* chain_wire.c - claims on the wire, and their signatures; see chain.h. */
#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "proto/chain_impl.h"
#include "proto/wire.h"

#define READ_STATES_MAX 4096u /* in one message; a talk may bring so many */

static_assert(CHAIN_ACC_BYTES == crypto_generichash_BYTES, "BLAKE2b-256");

/* --- signatures ------------------------------------------------------------------------------ */

/* A(to) from A(from). */
static void accumulate(const struct chains *c, const struct chain *ch, u32 from, u32 to,
                       u8 acc[CHAIN_ACC_BYTES])
{
    u8 said[CHAIN_ACC_BYTES + CHAIN_STATE_MAX];
    for (u32 k = from; k < to; k++) {
        memcpy(said, acc, CHAIN_ACC_BYTES);
        memcpy(said + CHAIN_ACC_BYTES, ch->states + k * c->state_bytes, c->state_bytes);
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

int chain_check(struct chains *c, struct chain *ch)
{
    u8 acc[CHAIN_ACC_BYTES], said[1 + DIGEST_BYTES_MAX + 16 + CHAIN_ACC_BYTES];
    u32 from = ch->signed_to, to = ch->pending_to;
    if (to == 0)
        return 0;
    ch->pending_to = 0;
    memcpy(acc, ch->acc, sizeof(acc));
    accumulate(c, ch, from, to, acc);
    size_t len = statement(c, ch->base, to, acc, said);
    if (identity_verify(&ch->signer, IDENTITY_CHAIN, said, len, &ch->pending)) {
        ch->held = from;
        ch->base = ch->signed_base;
        if (c->n_bad_relays < CHAIN_BAD_RELAYS)
            c->bad_relays[c->n_bad_relays++] = ch->relay;
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
    accumulate(c, ch, ch->signed_to, ch->held, ch->acc);
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

static bool is_bad_relay(const struct chains *c, const struct node_key *relay)
{
    for (size_t i = 0; i < c->n_bad_relays; i++)
        if (node_key_equal(&c->bad_relays[i], relay))
            return true;
    return false;
}

/* What is there of one relay's, and not known to be signed, is no ground for another's to stand on.
 */
static void settle(struct chains *c, struct chain *ch, const struct node_key *relay)
{
    if (ch->held == ch->signed_to || node_key_equal(&ch->relay, relay))
        return;
    (void)chain_check(c, ch);
    ch->held = ch->signed_to;
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
    if (is_bad_relay(c, relay))
        return ERR_INVAL;
    struct chain *ch = chain_find(c, &cl.signer);
    if (!ch && cl.from > 0)
        return ERR_RANGE;
    if (!ch)
        ch = chain_place(c, &cl.signer, &err);
    if (!ch)
        return err;
    settle(c, ch, relay);
    if (!ch->used)
        return ERR_DENIED;
    ch->relay = *relay;
    return take(c, ch, &cl, grew);
}
