/* purge.c - the list of orders: what is believed, what makes room. Talking: purge_talk.c. */
#include "proto/purge.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "proto/purge_impl.h"

#define FIRST_ROOM 8

int purge_new(struct purge **out, const struct rng *rng, u64 now_ns)
{
    struct purge *p = calloc(1, sizeof(*p));
    *out = p;
    if (!p)
        return ERR_NOMEM;
    p->rng = *rng;
    struct rng rates = rng_split(&p->rng, "rates");
    rate_init(&p->by_issuer, LIMIT_RATE_ORDERS, LIMIT_RATE_ORDERS_S, rng_u64(&rates));
    rate_init(&p->by_sender, LIMIT_RATE_ORDER_SENDER, LIMIT_RATE_ORDER_SEND_S, rng_u64(&rates));
    purge_schedule_hash(p, now_ns);
    return 0;
}

void purge_del(struct purge *p)
{
    if (!p)
        return;
    free(p->slots);
    free(p);
}

u64 purge_bytes(const struct purge *p)
{
    return sizeof(*p) + p->room * sizeof(*p->slots);
}

/* --- one order ------------------------------------------------------------------------------- */

#define STATEMENT_BYTES (1 + DIGEST_BYTES_MAX + 8 + 8)

static void put_be(u8 *out, u64 v)
{
    for (int i = 8; i-- > 0; v >>= 8)
        out[i] = (u8)v;
}

/* What is signed: algorithm, hash, given at, until. */
static size_t statement(const struct purge_order *o, u8 out[STATEMENT_BYTES])
{
    size_t hash = digest_size((enum digest_alg)o->digest.alg);
    out[0] = o->digest.alg;
    memcpy(out + 1, o->digest.bytes, hash);
    put_be(out + 1 + hash, o->unix_ms);
    put_be(out + 9 + hash, o->until_ms);
    return 17 + hash;
}

static bool is_sane(const struct purge_order *o)
{
    return digest_size((enum digest_alg)o->digest.alg) > 0 && o->until_ms > o->unix_ms &&
           o->until_ms - o->unix_ms <= LIMIT_PURGE_MS;
}

/* By no clock that is right within a day. */
static bool is_ahead(const struct purge *p, const struct purge_order *o)
{
    return p->unix_ms > 0 && o->unix_ms > p->unix_ms &&
           o->unix_ms - p->unix_ms > LIMIT_PURGE_AHEAD_MS;
}

static u64 hash_of(const struct purge_order *o)
{
    u8 text[STATEMENT_BYTES + NODE_KEY_BYTES], hash[16];
    size_t len = statement(o, text);
    memcpy(text + len, o->issuer.bytes, NODE_KEY_BYTES);
    crypto_generichash(hash, sizeof(hash), text, len + NODE_KEY_BYTES, NULL, 0);
    u64 word = 0;
    for (int i = 0; i < 8; i++)
        word = word << 8 | hash[i];
    return word;
}

static int digest_compare(const struct digest *a, const struct digest *b)
{
    return a->alg != b->alg ? (a->alg < b->alg ? -1 : 1)
                            : memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

/* Both for one digest. */
static bool is_later(const struct purge_order *a, const struct purge_order *b)
{
    if (a->unix_ms != b->unix_ms)
        return a->unix_ms > b->unix_ms;
    if (a->until_ms != b->until_ms)
        return a->until_ms > b->until_ms;
    return node_key_compare(&a->issuer, &b->issuer) > 0;
}

/* --- the list -------------------------------------------------------------------------------- */

/* Where it stands, or where it would. */
static size_t position(const struct purge *p, const struct digest *d, bool *found)
{
    size_t low = 0, high = p->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = digest_compare(&p->slots[mid].order.digest, d);
        if (order == 0) {
            *found = true;
            return mid;
        }
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *found = false;
    return low;
}

static void cool(struct purge *p, struct purge_slot *s)
{
    p->hot -= s->sends > 0;
    s->sends = 0;
}

static void untell(struct purge *p, struct purge_slot *s)
{
    p->untold -= s->untold;
    s->untold = false;
}

static void leave(struct purge *p, size_t at)
{
    struct purge_slot *s = &p->slots[at];
    cool(p, s);
    untell(p, s);
    p->hash ^= s->hash;
    memmove(s, s + 1, (p->n - at - 1) * sizeof(*s));
    p->n--;
}

/* Ends sooner; equal ends: by digest, so that all forget the same. */
static bool goes_first(const struct purge_order *a, const struct purge_order *b)
{
    if (a->until_ms != b->until_ms)
        return a->until_ms < b->until_ms;
    return digest_compare(&a->digest, &b->digest) < 0;
}

static void find_soonest(struct purge *p)
{
    p->soonest = 0;
    for (size_t i = 1; p->n == LIMIT_PURGES && i < p->n; i++)
        if (goes_first(&p->slots[i].order, &p->slots[p->soonest].order))
            p->soonest = i;
}

/* Room for one more, which may cost the one that ends soonest. */
static int make_room(struct purge *p)
{
    if (p->n < p->room)
        return 0;
    if (p->room < LIMIT_PURGES) {
        size_t room = p->room ? 2 * p->room : FIRST_ROOM;
        struct purge_slot *slots = realloc(p->slots, room * sizeof(*slots));
        if (!slots)
            return ERR_NOMEM;
        p->slots = slots;
        p->room = room;
        return 0;
    }
    leave(p, p->soonest);
    return 0;
}

/* Rounds until a rumor has reached everybody, nearly surely: each tells three at a time. */
static unsigned sends_for(size_t others)
{
    unsigned sends = 6;
    for (size_t n = others; n > 0; n /= 4)
        sends += 3;
    return sends;
}

int purge_check(const struct purge *p, const struct purge_order *o)
{
    if (!is_sane(o))
        return ERR_INVAL;
    if (is_ahead(p, o))
        return ERR_AGAIN;
    bool found;
    size_t at = position(p, &o->digest, &found);
    if (found)
        return is_later(o, &p->slots[at].order) ? 0 : ERR_EXISTS;
    bool full = p->n == LIMIT_PURGES && goes_first(o, &p->slots[p->soonest].order);
    return full ? ERR_FULL : 0;
}

int purge_accept(struct purge *p, const struct purge_order *o, bool spread)
{
    u8 text[STATEMENT_BYTES];
    bool found;
    int err = purge_check(p, o);
    if (err)
        return err;
    if (identity_verify(&o->issuer, IDENTITY_PURGE, text, statement(o, text), &o->signature))
        return ERR_DENIED;
    size_t at = position(p, &o->digest, &found);
    if (found)
        leave(p, at);
    else if ((err = make_room(p)))
        return err;
    at = position(p, &o->digest, &found);
    assert(!found && p->n < p->room);
    struct purge_slot *s = &p->slots[at];
    memmove(s + 1, s, (p->n - at) * sizeof(*s));
    p->n++;
    *s = (struct purge_slot){.order = *o, .hash = hash_of(o), .untold = true};
    p->hash ^= s->hash;
    p->untold++;
    find_soonest(p);
    if (spread) {
        s->sends = (u8)sends_for(p->others);
        p->hot++;
    }
    return 0;
}

void purge_clock(struct purge *p, u64 unix_ms)
{
    bool first = p->unix_ms == 0;
    p->unix_ms = unix_ms;
    for (size_t i = p->n; first && i > 0; i--) /* believed before we knew */
        if (is_ahead(p, &p->slots[i - 1].order))
            leave(p, i - 1);
}

int purge_import(struct purge *p, const struct purge_order *order)
{
    return purge_accept(p, order, false);
}

int purge_issue(struct purge *p, const struct node_key *self, const struct node_secret *secret,
                const struct digest *d, u64 unix_ms, u64 until_ms)
{
    struct purge_order o = {
        .digest = *d, .issuer = *self, .unix_ms = unix_ms, .until_ms = until_ms};
    u8 text[STATEMENT_BYTES];
    bool found;
    size_t at = position(p, d, &found);
    if (!is_sane(&o))
        return ERR_INVAL;
    if (found && o.unix_ms <= p->slots[at].order.unix_ms) {
        o.unix_ms = p->slots[at].order.unix_ms + 1;
        if (o.until_ms <= o.unix_ms) /* theirs runs ahead: what is over by our clock still ends */
            o.until_ms = o.unix_ms + 1;
    }
    identity_sign(secret, IDENTITY_PURGE, text, statement(&o, text), &o.signature);
    return purge_accept(p, &o, true);
}

bool purge_is(const struct purge *p, const struct digest *d, u64 unix_ms)
{
    bool found;
    size_t at = position(p, d, &found);
    return found && p->slots[at].order.until_ms > unix_ms;
}

bool purge_each(const struct purge *p, size_t *at, struct purge_order *out)
{
    if (*at >= p->n)
        return false;
    *out = p->slots[(*at)++].order;
    return true;
}

size_t purge_count(const struct purge *p)
{
    return p->n;
}

u64 purge_hash(const struct purge *p)
{
    return p->hash;
}

bool purge_next(struct purge *p, struct purge_order *out)
{
    for (size_t i = 0; p->untold > 0 && i < p->n; i++) {
        struct purge_slot *s = &p->slots[i];
        if (!s->untold)
            continue;
        untell(p, s);
        *out = s->order;
        return true;
    }
    return false;
}
