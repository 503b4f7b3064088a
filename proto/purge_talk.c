/* purge_talk.c - how orders travel.
 *
 *   ORDER  [64, order...]        a rumor: the five fields of one order
 *   HASH   [65, hash]            of the sender's whole list
 *   ASK    [66, [order, ...]]    a talk's request: all the asker has; each order an array of five
 *   LIST   [67, [order, ...], more]   its answer: all the other has; and whether it left some of
 *                                the asker's for the next time
 *
 *   order: digest (bin: the algorithm's number and the hash), issuer, given at, until, signature */
#include <assert.h>
#include <string.h>

#include "proto/message.h"
#include "proto/purge_impl.h"

enum { MSG_ORDER = MSG_PURGE_FIRST, MSG_HASH, MSG_ASK, MSG_LIST };
static_assert((int)MSG_LIST <= (int)MSG_PURGE_LAST, "within their range");

#define RUMOR_INTERVAL_NS  200000000ull
#define RUMOR_FANOUT       3
#define HASH_INTERVAL_NS   10000000000ull
#define ASK_RETRY_NS       2000000000ull
#define ASK_REST_NS        200000000ull
#define ASK_LATER_NS       10000000000ull /* what was put off */
#define ORDER_FIELDS       5
#define MESSAGE_FIELDS_MAX 16  /* later versions may add some behind */
#define ORDER_BYTES_MAX    256 /* more than one takes on the wire */

static_assert((LIMIT_PURGES + 1) * ORDER_BYTES_MAX < LIMIT_TALK_BYTES, "a list fits a talk");

void purge_schedule_hash(struct purge *p, u64 now_ns)
{
    p->hash_ns = now_ns + HASH_INTERVAL_NS / 2 + rng_below(&p->rng, HASH_INTERVAL_NS);
}

void purge_members(struct purge *p, size_t others)
{
    p->others = others;
}

static void want_list(struct purge *p, const struct node_key *whom)
{
    if (p->ask == ASK_OUT) {
        p->ask_again = true;
        return;
    }
    p->ask = ASK_READY;
    p->ask_whom = *whom;
}

void purge_join(struct purge *p)
{
    p->quiet = p->n == 0;
    want_list(p, &(struct node_key){{0}});
}

/* --- time ------------------------------------------------------------------------------------ */

u64 purge_next_expiry(const struct purge *p)
{
    u64 next = UINT64_MAX;
    if (p->others == 0)
        return next;
    if (p->hot > 0 && p->rumor_ns < next)
        next = p->rumor_ns;
    if (p->n > 0 && p->hash_ns < next)
        next = p->hash_ns;
    if (p->ask == ASK_WAITING && p->ask_ns < next)
        next = p->ask_ns;
    return next;
}

void purge_expire(struct purge *p, u64 now_ns)
{
    if (p->others == 0)
        return;
    if (p->hot > 0 && p->rumor_ns <= now_ns) {
        p->due = p->others < RUMOR_FANOUT ? (unsigned)p->others : RUMOR_FANOUT;
        p->rumor_ns = now_ns + RUMOR_INTERVAL_NS;
    }
    if (p->n > 0 && p->hash_ns <= now_ns) {
        p->hash_due = true;
        purge_schedule_hash(p, now_ns);
    }
    if (p->ask == ASK_WAITING && p->ask_ns <= now_ns)
        p->ask = ASK_READY;
}

/* --- datagrams ------------------------------------------------------------------------------- */

static void put_order(struct wire_out *w, const struct purge_order *o)
{
    u8 name[1 + DIGEST_BYTES_MAX];
    size_t hash = digest_size((enum digest_alg)o->digest.alg);
    name[0] = o->digest.alg;
    memcpy(name + 1, o->digest.bytes, hash);
    wire_put_bin(w, name, 1 + hash);
    wire_put_key(w, &o->issuer);
    wire_put_u64(w, o->unix_ms);
    wire_put_u64(w, o->until_ms);
    wire_put_bin(w, o->signature.bytes, sizeof(o->signature.bytes));
}

static void get_order(struct wire_in *r, struct purge_order *o)
{
    size_t len;
    memset(o, 0, sizeof(*o));
    const u8 *name = wire_get_bin(r, 1 + DIGEST_BYTES_MAX, &len);
    wire_get_key(r, &o->issuer);
    o->unix_ms = wire_get_u64(r);
    o->until_ms = wire_get_u64(r);
    wire_get_exact(r, o->signature.bytes, sizeof(o->signature.bytes));
    size_t hash = name && len > 0 ? digest_size((enum digest_alg)name[0]) : 0;
    if (hash == 0 || len != 1 + hash) {
        r->bad = true;
        return;
    }
    o->digest.alg = name[0];
    memcpy(o->digest.bytes, name + 1, hash);
}

bool purge_has_news(const struct purge *p)
{
    return p->hot > 0;
}

bool purge_wants(const struct purge *p)
{
    return p->others > 0 && ((p->due > 0 && p->hot > 0) || p->hash_due);
}

void purge_write(struct purge *p, struct wire_out *w)
{
    if (p->hash_due) {
        size_t mark = wire_mark(w);
        wire_put_array(w, 2);
        wire_put_u64(w, MSG_HASH);
        wire_put_u64(w, p->hash);
        if (wire_full(w))
            wire_rewind(w, mark);
        else
            p->hash_due = false;
    }
    bool told = false;
    for (size_t i = 0; p->hot > 0 && i < p->n; i++) {
        struct purge_slot *s = &p->slots[(p->cursor + i) % p->n];
        if (s->sends == 0)
            continue;
        size_t mark = wire_mark(w);
        wire_put_array(w, 1 + ORDER_FIELDS);
        wire_put_u64(w, MSG_ORDER);
        put_order(w, &s->order);
        if (wire_full(w)) {
            wire_rewind(w, mark);
            p->cursor = (p->cursor + i) % p->n;
            break;
        }
        told = true;
        s->sends--;
        p->hot -= s->sends == 0;
    }
    p->due -= told && p->due > 0;
}

/* Somebody's list, in a while. */
static void ask_in_a_while(struct purge *p, u64 now_ns)
{
    if (p->ask == ASK_NONE) {
        p->ask = ASK_WAITING;
        p->ask_ns = now_ns + ASK_LATER_NS;
        memset(&p->ask_whom, 0, sizeof(p->ask_whom));
    }
}

/* Takes it if it is news. ERR_AGAIN: its issuer, or its sender, has had enough looked at. A
 * signature that is wrong counts for the sender alone. */
static int take_order(struct purge *p, const struct purge_order *o, u64 sender, bool spread,
                      u64 now_ns)
{
    u64 issuer = node_key_word(&o->issuer);
    int err = purge_check(p, o);
    if (err)
        return err == ERR_AGAIN ? ERR_EXISTS : err;
    if (!rate_take(&p->by_issuer, issuer, now_ns)) {
        p->put_off++;
        return ERR_AGAIN;
    }
    bool sent = rate_take(&p->by_sender, sender, now_ns);
    err = sent ? purge_accept(p, o, spread) : ERR_AGAIN;
    p->put_off += !sent;
    if (err)
        rate_give_back(&p->by_issuer, issuer);
    return err;
}

u64 purge_put_off(const struct purge *p)
{
    return p->put_off;
}

static int read_order(struct purge *p, const struct node_key *from, struct wire_in *msg, u64 now_ns)
{
    struct purge_order o;
    get_order(msg, &o);
    if (!wire_ok(msg))
        return ERR_PROTO;
    int err = take_order(p, &o, node_key_word(from), true, now_ns);
    if (err == ERR_AGAIN)
        ask_in_a_while(p, now_ns);
    return err == ERR_INVAL || err == ERR_DENIED ? ERR_PROTO : 0;
}

int purge_read(struct purge *p, const struct node_key *from, unsigned number, struct wire_in *msg,
               u64 now_ns)
{
    if (number == MSG_ORDER)
        return read_order(p, from, msg, now_ns);
    if (number != MSG_HASH)
        return ERR_UNSUPPORTED;
    u64 hash = wire_get_u64(msg);
    if (!wire_ok(msg))
        return ERR_PROTO;
    if (hash != p->hash)
        want_list(p, from);
    return 0;
}

/* --- talks ----------------------------------------------------------------------------------- */

static void put_list(const struct purge *p, struct wire_out *w)
{
    wire_put_array(w, (u32)p->n);
    for (size_t i = 0; i < p->n; i++) {
        wire_put_array(w, ORDER_FIELDS);
        put_order(w, &p->slots[i].order);
    }
}

/* Takes what is news, as told by `sender`; `*rest`: more than may be verified at once. ERR_AGAIN:
 * it was not read to its end, because something was put off for longer. */
static int get_list(struct purge *p, struct wire_in *r, u64 sender, bool spread, bool *rest,
                    u64 now_ns)
{
    struct purge_order o;
    unsigned verified = 0;
    *rest = false;
    u32 n = wire_get_array(r, LIMIT_PURGES);
    for (u32 i = 0; i < n && wire_ok(r); i++) {
        if (wire_get_array(r, ORDER_FIELDS) != ORDER_FIELDS)
            return ERR_PROTO;
        get_order(r, &o);
        if (!wire_ok(r))
            return ERR_PROTO;
        int err = purge_check(p, &o);
        if (err == ERR_INVAL)
            return ERR_PROTO;
        if (err)
            continue;
        if (verified++ == LIMIT_PURGE_VERIFY) {
            *rest = true;
            return 0;
        }
        err = take_order(p, &o, sender, spread, now_ns);
        if (err == ERR_DENIED)
            return ERR_PROTO;
        if (err == ERR_AGAIN) {
            ask_in_a_while(p, now_ns);
            return err;
        }
    }
    return wire_ok(r) ? 0 : ERR_PROTO;
}

bool purge_dial(struct purge *p, struct node_key *to, struct wire_out *w)
{
    if (p->ask != ASK_READY || p->others == 0)
        return false;
    wire_put_array(w, 2);
    wire_put_u64(w, MSG_ASK);
    put_list(p, w);
    assert(!wire_full(w));
    *to = p->ask_whom;
    p->ask = ASK_OUT;
    p->ask_again = false;
    return true;
}

static void ask_later(struct purge *p, u64 at_ns)
{
    p->ask = ASK_WAITING;
    p->ask_ns = at_ns;
}

/* Its answer: what is news is taken. */
static int read_answer(struct purge *p, struct wire_in *r, bool *rest, u64 now_ns)
{
    if (wire_get_array(r, MESSAGE_FIELDS_MAX) < 3 || wire_get_u64(r) != MSG_LIST)
        return ERR_PROTO;
    int err = get_list(p, r, node_key_word(&p->ask_whom), !p->quiet, rest, now_ns);
    if (err || *rest) /* then the list was not read to its end */
        return err == ERR_AGAIN ? 0 : err;
    *rest = wire_get_bool(r);
    return wire_ok(r) ? 0 : ERR_PROTO;
}

void purge_dialed(struct purge *p, int err, struct wire_in *answer, u64 now_ns)
{
    if (p->ask != ASK_OUT)
        return;
    bool rest = false;
    p->ask = ASK_NONE;
    if (!err)
        err = read_answer(p, answer, &rest, now_ns);
    if (err) {
        memset(&p->ask_whom, 0, sizeof(p->ask_whom)); /* somebody else may do better */
        ask_later(p, now_ns + ASK_RETRY_NS);
        return;
    }
    p->quiet = p->quiet && rest;
    if (rest || p->ask_again)
        ask_later(p, now_ns + ASK_REST_NS);
}

int purge_answer(struct purge *p, const struct node_key *from, unsigned number,
                 struct wire_in *request, struct wire_out *answer, u64 now_ns)
{
    bool rest;
    if (number != MSG_ASK)
        return ERR_UNSUPPORTED;
    int err = get_list(p, request, node_key_word(from), true, &rest, now_ns);
    if (err && err != ERR_AGAIN)
        return err;
    wire_put_array(answer, 3);
    wire_put_u64(answer, MSG_LIST);
    put_list(p, answer);
    wire_put_bool(answer, rest);
    return wire_full(answer) ? ERR_TOOBIG : 0;
}
