/* chain.c - see chain.h. */
#include "proto/chain_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

size_t chain_state_bytes(enum digest_alg alg)
{
    return digest_size(alg); /* both algorithms give all of their state as the digest */
}

void chain_state_first(enum digest_alg alg, u8 out[CHAIN_STATE_MAX])
{
    /* FIPS 180-4, 5.3.3 and 5.3.5; the words of SHA-256 are the upper halves of SHA-512's. */
    static const u64 words[8] = {0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b,
                                 0xa54ff53a5f1d36f1, 0x510e527fade682d1, 0x9b05688c2b3e6c1f,
                                 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};
    size_t word = chain_state_bytes(alg) / 8;
    assert(word > 0);
    memset(out, 0, CHAIN_STATE_MAX);
    for (size_t i = 0; i < 8; i++)
        for (size_t b = 0; b < word; b++)
            out[i * word + b] = (u8)(words[i] >> (56 - 8 * b));
}

int chains_new(struct chains **out, const struct digest *d, u64 size)
{
    u32 n = piece_count(size);
    assert(n > 0 && digest_size(d->alg) > 0);
    struct chains *c = calloc(1, sizeof(*c));
    if (!c)
        return ERR_NOMEM;
    c->digest = *d;
    c->size = size;
    c->pieces = n;
    c->states = n - 1;
    c->state_bytes = chain_state_bytes(d->alg);
    if (n == 1) { /* nobody need claim anything: from the first state to the digest */
        c->list[0].used = c->list[0].own = true;
        if (piece_map_init(&c->list[0].fits, n)) {
            free(c);
            return ERR_NOMEM;
        }
    }
    *out = c;
    return 0;
}

void chains_del(struct chains *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < CHAINS_MAX; i++)
        chain_drop(&c->list[i]);
    free(c);
}

u64 chains_memory(const struct chains *c)
{
    u64 bytes = sizeof(*c);
    for (size_t i = 0; i < CHAINS_MAX; i++)
        if (c->list[i].used)
            bytes += c->list[i].cap * c->state_bytes + c->pieces / 8;
    return bytes;
}

/* --- one chain ------------------------------------------------------------------------------- */

void chain_drop(struct chain *ch)
{
    free(ch->states);
    piece_map_fini(&ch->fits);
    memset(ch, 0, sizeof(*ch));
}

void chain_state(const struct chains *c, const struct chain *ch, u32 k, u8 out[CHAIN_STATE_MAX])
{
    assert(k <= ch->held);
    if (k == 0) {
        chain_state_first(c->digest.alg, out);
        return;
    }
    memset(out, 0, CHAIN_STATE_MAX);
    memcpy(out, ch->states + (k - 1) * c->state_bytes, c->state_bytes);
}

struct chain *chain_find(const struct chains *c, const struct node_key *signer)
{
    for (size_t i = 0; i < CHAINS_MAX; i++)
        if (c->list[i].used && node_key_equal(&c->list[i].signer, signer))
            return (struct chain *)&c->list[i];
    return NULL;
}

int chain_reserve(const struct chains *c, struct chain *ch, u32 k)
{
    u32 cap = ch->cap ? ch->cap : 64;
    assert(k <= c->states);
    if (k <= ch->cap)
        return 0;
    while (cap < k)
        cap *= 2;
    if (cap > c->states)
        cap = c->states;
    u8 *states = realloc(ch->states, cap * c->state_bytes);
    if (!states)
        return ERR_NOMEM;
    ch->states = states;
    ch->cap = cap;
    return 0;
}

bool chain_is_out(const struct chains *c, const struct node_key *signer)
{
    for (size_t i = 0; i < c->n_out; i++)
        if (node_key_equal(&c->out[i], signer))
            return true;
    return false;
}

/* The one that makes room: nothing signed, or for ours and for the preferred signer's whichever
 * fits least. */
static struct chain *expendable(struct chains *c, bool must)
{
    struct chain *least = NULL;
    for (size_t i = 0; i < CHAINS_MAX; i++) {
        struct chain *ch = &c->list[i];
        if (!ch->own && ch->signed_to == 0 && (chain_check(c, ch) || ch->signed_to == 0))
            return ch;
        if (!ch->own && (!least || ch->fits.have < least->fits.have))
            least = ch;
    }
    return must ? least : NULL;
}

static struct chain *place(struct chains *c, const struct node_key *signer, bool own, int *err)
{
    struct chain *ch = chain_find(c, signer);
    *err = ERR_FULL;
    if (ch)
        return ch;
    for (size_t i = 0; i < CHAINS_MAX && !ch; i++)
        if (!c->list[i].used)
            ch = &c->list[i];
    if (!ch)
        ch = expendable(c, own || node_key_equal(signer, &c->preferred));
    if (!ch)
        return NULL;
    chain_drop(ch);
    *err = piece_map_init(&ch->fits, c->pieces);
    if (*err)
        return NULL;
    ch->used = true;
    ch->signer = *signer;
    return ch;
}

struct chain *chain_place(struct chains *c, const struct node_key *signer, int *err)
{
    return place(c, signer, false, err);
}

/* Ours: whoever reads from the registry has one, whatever others claim. */
static struct chain *own_place(struct chains *c, const struct node_key *self, int *err)
{
    struct chain *ch = place(c, self, true, err);
    if (ch)
        ch->own = true;
    return ch;
}

/* The i-th in order of preference. */
static struct chain *in_order(struct chains *c, size_t i)
{
    size_t first = 0;
    for (size_t k = 0; k < CHAINS_MAX; k++)
        if (c->list[k].used && node_key_equal(&c->list[k].signer, &c->preferred))
            first = k;
    return &c->list[i == 0 ? first : i <= first ? i - 1 : i];
}

static int own_state(struct chains *c, struct chain *ch, const u8 *state, bool vouched)
{
    if (chain_reserve(c, ch, ch->held + 1))
        return ERR_NOMEM;
    memcpy(ch->states + ch->held * c->state_bytes, state, c->state_bytes);
    ch->held++;
    if (!vouched)
        ch->base = ch->held;
    chain_share_fits(c, ch, ch->held - 1);
    return 0;
}

int chains_own(struct chains *c, const struct node_key *self, u32 k, const u8 *state, bool vouched)
{
    int err;
    assert(k > 0 && k <= c->states);
    struct chain *ch = own_place(c, self, &err);
    if (!ch)
        return err;
    if (k > ch->held + 1)
        return ERR_RANGE;
    return k <= ch->held ? 0 : own_state(c, ch, state, vouched);
}

/* The one that goes on where ours ends, and says the same before: the preferred one first. */
static struct chain *to_adopt(struct chains *c, const struct chain *own)
{
    for (size_t i = 0; i < CHAINS_MAX; i++) {
        struct chain *ch = in_order(c, i);
        if (!ch->used || ch == own)
            continue;
        if (ch->signed_to <= own->held)
            (void)chain_check(c, ch);
        if (ch->signed_to > own->held &&
            (own->held == 0 || memcmp(ch->states, own->states, own->held * c->state_bytes) == 0))
            return ch;
    }
    return NULL;
}

u32 chains_adopt(struct chains *c, const struct node_key *self, u32 k)
{
    int err;
    struct chain *own = own_place(c, self, &err);
    if (!own)
        return 0;
    const struct chain *from = own->held < k ? to_adopt(c, own) : NULL;
    while (from && own->held < k && own->held < from->signed_to)
        if (own_state(c, own, from->states + own->held * c->state_bytes, false))
            break;
    return own->held;
}

bool chains_own_state(const struct chains *c, const struct node_key *self, u32 k,
                      u8 out[CHAIN_STATE_MAX])
{
    const struct chain *ch = chain_find(c, self);
    if (k == 0)
        chain_state_first(c->digest.alg, out);
    else if (ch && ch->own && k <= ch->held)
        chain_state(c, ch, k, out);
    else
        return false;
    return true;
}

void chains_disown(struct chains *c, const struct node_key *self)
{
    struct chain *ch = chain_find(c, self);
    if (ch)
        chain_drop(ch);
}

size_t chains_heads(const struct chains *c, struct chain_head out[CHAINS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < CHAINS_MAX; i++) {
        const struct chain *ch = &c->list[i];
        if (ch->used && ch->held > 0)
            out[n++] =
                (struct chain_head){ch->signer, ch->held, ch->own ? ch->held : ch->signed_to};
    }
    return n;
}

/* --- what a piece must do -------------------------------------------------------------------- */

/* The step that a chain says a piece does. False: it does not reach so far. */
static bool step_of(const struct chains *c, const struct chain *ch, u32 piece, struct chain_step *s)
{
    u32 reach = ch->own ? ch->held : ch->signed_to;
    s->last = piece == c->states;
    if (!ch->used || reach < piece + !s->last)
        return false;
    chain_state(c, ch, piece, s->in);
    if (s->last) {
        memset(s->out, 0, sizeof(s->out));
        memcpy(s->out, c->digest.bytes, c->state_bytes);
    } else {
        chain_state(c, ch, piece + 1, s->out);
    }
    s->signer = ch->signer;
    return true;
}

static bool same_step(const struct chain_step *a, const struct chain_step *b)
{
    return memcmp(a->in, b->in, CHAIN_STATE_MAX) == 0 &&
           memcmp(a->out, b->out, CHAIN_STATE_MAX) == 0;
}

void chain_share_fits(struct chains *c, struct chain *ch, u32 from)
{
    struct chain_step mine, theirs;
    for (size_t i = 0; i < CHAINS_MAX; i++) {
        const struct chain *other = &c->list[i];
        if (!other->used || other == ch)
            continue;
        for (u32 p = piece_map_next(&other->fits, from, true); p < c->pieces;
             p = piece_map_next(&other->fits, p + 1, true)) {
            if (!step_of(c, ch, p, &mine))
                break;
            if (step_of(c, other, p, &theirs) && same_step(&mine, &theirs))
                (void)piece_map_set(&ch->fits, p);
        }
    }
}

size_t chains_steps(struct chains *c, u32 piece, struct chain_step out[CHAINS_MAX])
{
    size_t n = 0;
    assert(piece < c->pieces);
    for (size_t i = 0; i < CHAINS_MAX; i++) {
        struct chain *ch = in_order(c, i);
        if (!ch->used)
            continue;
        if (!ch->own && ch->signed_to < piece + (piece < c->states))
            (void)chain_check(c, ch);
        bool known = !step_of(c, ch, piece, &out[n]);
        for (size_t k = 0; k < n && !known; k++)
            known = same_step(&out[k], &out[n]);
        n += !known;
    }
    return n;
}

void chains_prefer(struct chains *c, const struct node_key *signer)
{
    c->preferred = *signer;
}

/* --- verdicts -------------------------------------------------------------------------------- */

/* Whoever passed on another chain of its than the one that is wrong may do so again. */
static void clear_relays(struct chains *c, const struct node_key *signer)
{
    size_t left = 0;
    for (size_t i = 0; i < c->n_bad_relays; i++)
        if (!node_key_equal(&c->bad_relays[i].signer, signer))
            c->bad_relays[left++] = c->bad_relays[i];
    c->n_bad_relays = left;
}

/* Out for this layer. */
static void set_out(struct chains *c, struct chain *ch)
{
    if (!chain_is_out(c, &ch->signer) && c->n_out < CHAIN_OUT_SIGNERS)
        c->out[c->n_out++] = ch->signer;
    clear_relays(c, &ch->signer);
    chain_drop(ch);
}

bool chain_is_as_before(const struct chains *c, const struct chain *ch)
{
    for (size_t i = 0; i < c->n_again; i++) {
        const struct chain_back *b = &c->again[i];
        if (node_key_equal(&b->signer, &ch->signer))
            return ch->signed_to >= b->k &&
                   memcmp(ch->states + (b->k - 1) * c->state_bytes, b->state, c->state_bytes) == 0;
    }
    return false;
}

bool chains_is_set_back(const struct chains *c, const struct node_key *signer)
{
    bool back = false;
    for (size_t i = 0; i < c->n_again; i++)
        back |= node_key_equal(&c->again[i].signer, signer);
    return back && !chain_find(c, signer);
}

/* It said what another had said, and goes; its state after `piece`, or before the last one, is not
 * taken again. Another time it is out: else it could return for ever. */
static void set_back(struct chains *c, struct chain *ch, u32 piece)
{
    struct chain_back *b = &c->again[c->n_again];
    bool twice = c->n_again == CHAIN_OUT_SIGNERS;
    for (size_t i = 0; i < c->n_again; i++)
        twice |= node_key_equal(&c->again[i].signer, &ch->signer);
    if (twice) {
        set_out(c, ch);
        return;
    }
    c->n_again++;
    b->signer = ch->signer;
    b->k = piece < c->states ? piece + 1 : c->states;
    chain_state(c, ch, b->k, b->state);
    clear_relays(c, &ch->signer);
    chain_drop(ch);
}

/* That the last piece finishes to the digest follows from the whole chain, of which who went on
 * from another's has vouched for a part alone. */
static void refute(struct chains *c, struct chain *ch, u32 piece, const u8 *truth, bool by_close)
{
    struct chain_step said;
    u32 base = ch->own ? ch->base : ch->signed_base;
    if (piece < base || (piece == c->states && base > 0)) {
        set_back(c, ch, piece);
        return;
    }
    if (c->n_evidence < CHAIN_EVIDENCE && !ch->own && step_of(c, ch, piece, &said)) {
        struct chain_evidence *e = &c->evidence[c->n_evidence++];
        *e = (struct chain_evidence){.signer = ch->signer,
                                     .signature = ch->signature,
                                     .base = ch->signed_base,
                                     .states = ch->signed_to,
                                     .piece = piece,
                                     .by_close = by_close};
        memcpy(e->claimed, said.out, CHAIN_STATE_MAX);
        memcpy(e->truth, truth, c->state_bytes);
    }
    set_out(c, ch);
}

/* The state after `piece` is wrong, by what came of it. */
static void refute_by_end(struct chains *c, struct chain *ch, u32 piece)
{
    if (piece < ch->signed_base) {
        set_back(c, ch, piece);
        return;
    }
    if (c->n_evidence < CHAIN_EVIDENCE) {
        struct chain_evidence *e = &c->evidence[c->n_evidence++];
        *e = (struct chain_evidence){.signer = ch->signer,
                                     .signature = ch->signature,
                                     .base = ch->signed_base,
                                     .states = ch->signed_to,
                                     .piece = piece,
                                     .by_end = true};
        chain_state(c, ch, piece + 1, e->claimed);
    }
    set_out(c, ch);
}

bool chains_begin_anew(struct chains *c, const struct node_key *self)
{
    struct chain *own = chain_find(c, self);
    u8 mine[CHAIN_STATE_MAX], theirs[CHAIN_STATE_MAX];
    if (!own || !own->own || own->base == 0)
        return false;
    u32 base = own->base;
    chain_state(c, own, base, mine);
    for (size_t i = 0; i < CHAINS_MAX; i++) {
        struct chain *ch = &c->list[i];
        if (!ch->used || ch == own || ch->signed_to < base)
            continue;
        chain_state(c, ch, base, theirs);
        if (memcmp(mine, theirs, CHAIN_STATE_MAX) == 0)
            refute_by_end(c, ch, base - 1);
    }
    chain_drop(own);
    return true;
}

void chains_leave(struct chains *c, const struct node_key *signer)
{
    struct chain *ch = chain_find(c, signer);
    if (ch)
        set_out(c, ch);
}

void chains_fits(struct chains *c, u32 piece, const struct chain_step *step)
{
    struct chain_step said;
    for (size_t i = 0; i < CHAINS_MAX; i++)
        if (step_of(c, &c->list[i], piece, &said) && same_step(&said, step))
            (void)piece_map_set(&c->list[i].fits, piece);
}

void chains_mismatch(struct chains *c, u32 piece, const struct node_key *peer)
{
    for (size_t i = 0; i < c->n_doubts; i++)
        if (c->doubts[i].piece == piece && node_key_equal(&c->doubts[i].peer, peer))
            return;
    if (c->n_doubts == CHAIN_DOUBTS)
        memmove(&c->doubts[0], &c->doubts[1], --c->n_doubts * sizeof(c->doubts[0]));
    c->doubts[c->n_doubts].piece = piece;
    c->doubts[c->n_doubts++].peer = *peer;
}

bool chains_is_partial(struct chains *c)
{
    bool partial = false;
    for (size_t i = 0; i < CHAINS_MAX; i++) {
        struct chain *ch = &c->list[i];
        if (ch->own)
            continue;
        (void)chain_check(c, ch);
        partial |= ch->held > ch->signed_to;
    }
    return partial;
}

void chains_settled(struct chains *c, const struct node_key *peer)
{
    size_t left = 0;
    for (size_t i = 0; i < c->n_doubts; i++)
        if (!node_key_equal(&c->doubts[i].peer, peer))
            c->doubts[left++] = c->doubts[i];
    c->n_doubts = left;
}

/* How many pieces fit no chain, as far as it matters: 2 stands for more. */
static u32 unfit(const struct chains *c)
{
    u32 n = 0;
    for (u32 p = 0; p < c->pieces && n < 2; p++)
        n += !chains_has_fit(c, p);
    return n;
}

/* Who sent a piece that did not fit signed a chain that says what it must do. */
static bool is_by_signer(const struct chains *c, u32 piece, const struct node_key *peer)
{
    struct chain_step said;
    const struct chain *ch = chain_find(c, peer);
    return ch && step_of(c, ch, piece, &said);
}

/* The first piece at which two chains say different things of the same state. */
static bool first_difference(const struct chains *c, u32 *piece)
{
    struct chain_step a, b;
    for (size_t i = 0; i < CHAINS_MAX; i++)
        for (size_t k = i + 1; k < CHAINS_MAX; k++)
            for (u32 p = 0;
                 p < c->states && step_of(c, &c->list[i], p, &a) && step_of(c, &c->list[k], p, &b);
                 p++)
                if (!same_step(&a, &b)) {
                    *piece = p;
                    return true;
                }
    return false;
}

bool chains_in_doubt(struct chains *c, u32 *piece)
{
    u32 missing = c->n_doubts > 0 ? unfit(c) : 0;
    for (size_t i = 0; i < c->n_doubts; i++) {
        u32 p = c->doubts[i].piece;
        unsigned peers = 0;
        if (chains_has_fit(c, p))
            continue;
        for (size_t k = 0; k < c->n_doubts; k++)
            peers += c->doubts[k].piece == p;
        if (peers >= CHAIN_DOUBT_PEERS || (peers == 2 && missing == 1) ||
            is_by_signer(c, p, &c->doubts[i].peer)) {
            *piece = p;
            return true;
        }
    }
    return first_difference(c, piece);
}

void chains_trusted(struct chains *c, u32 piece, const u8 *in, const u8 *out)
{
    struct chain_step said;
    for (size_t i = 0; i < CHAINS_MAX; i++) {
        struct chain *ch = &c->list[i];
        if (!ch->used || (ch->own && piece >= ch->base) || !step_of(c, ch, piece, &said) ||
            memcmp(said.in, in, c->state_bytes) != 0)
            continue; /* what is ours, and vouched for, is of such bytes itself */
        if (memcmp(said.out, out, c->state_bytes) != 0)
            refute(c, ch, piece, out, false);
    }
    size_t left = 0; /* doubts of this piece begin anew, with the chains that are left */
    for (size_t i = 0; i < c->n_doubts; i++)
        if (c->doubts[i].piece != piece)
            c->doubts[left++] = c->doubts[i];
    c->n_doubts = left;
}

bool chains_has_fit(const struct chains *c, u32 piece)
{
    for (size_t i = 0; i < CHAINS_MAX; i++)
        if (c->list[i].used && piece_map_has(&c->list[i].fits, piece))
            return true;
    return false;
}

bool chains_is_closed(struct chains *c)
{
    struct chain *closed = NULL;
    struct chain_step truth, said;
    for (size_t i = 0; i < CHAINS_MAX && !closed; i++)
        if (c->list[i].used && piece_map_is_full(&c->list[i].fits))
            closed = &c->list[i];
    for (size_t i = 0; closed && i < CHAINS_MAX; i++) {
        struct chain *ch = &c->list[i];
        if (!ch->used || ch == closed)
            continue;
        for (u32 p = 0; p < c->states && step_of(c, ch, p, &said); p++) {
            bool known = step_of(c, closed, p, &truth);
            assert(known);
            if (known && !same_step(&said, &truth)) {
                refute(c, ch, p, truth.out, true);
                break;
            }
        }
    }
    return closed != NULL;
}

bool chains_take_evidence(struct chains *c, struct chain_evidence *out)
{
    if (c->n_evidence == 0)
        return false;
    *out = c->evidence[--c->n_evidence];
    return true;
}
