/* member_wire.c - the messages of membership, written and read in one place.
 *
 * Each is an array; what comes after the known fields is ignored.
 *
 *   PING      1 seq target status          seq: 64 random bits, echoed; target: whom we mean
 *   ACK       2 seq status
 *   PING_REQ  3 seq target timeout_ms
 *   RELAYED   4 seq        NACK 5 seq
 *   RECORD    6 sig record                 record: key epoch incarnation addr flags version_min
 *                                          version_max name region rack public_url extra
 *   RENEWED   7 sig word epoch incarnation flags body
 *   SUSPECT   8 target epoch incarnation by sig      DEAD 9: the same
 *   WANT     10 word
 *   REJECT   11 reason, and the record of who has the name: sig record
 *   status      known coord load key_id key_id
 *
 * A member is named by its *word*, the first eight bytes of its key. Signed are the record in
 * canonical packing (so that whoever has it can write it anew), and of an accusation the whole key,
 * epoch and incarnation of the accused. */
#include "proto/member_impl.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#define RECORD_FIELDS 12
#define FLAG_ROLE     0x0f
#define FLAG_FETCH    0x10
#define FLAG_LEFT     0x20

/* --- records --------------------------------------------------------------------------------- */

static u8 flags_of(const struct member_record *r)
{
    return (u8)((r->role & FLAG_ROLE) | (r->can_fetch ? FLAG_FETCH : 0) |
                (r->left ? FLAG_LEFT : 0));
}

static void flags_to(struct member_record *r, u64 flags)
{
    r->role = flags & FLAG_ROLE;
    r->can_fetch = flags & FLAG_FETCH;
    r->left = flags & FLAG_LEFT;
}

static void put_fields(struct wire_out *w, const struct member_record *r, const u8 *extra,
                       size_t extra_len)
{
    wire_put_key(w, &r->key);
    wire_put_u64(w, r->epoch);
    wire_put_u64(w, r->incarnation);
    wire_put_addr(w, &r->addr);
    wire_put_u64(w, flags_of(r));
    wire_put_u64(w, r->version_min);
    wire_put_u64(w, r->version_max);
    wire_put_text(w, r->name);
    wire_put_text(w, r->region);
    wire_put_text(w, r->rack);
    wire_put_text(w, r->public_url);
    wire_put_bin(w, extra, extra_len);
}

size_t record_pack(const struct member_record *r, const u8 *extra, size_t extra_len,
                   u8 out[RECORD_PACKED_MAX])
{
    struct wire_out w;
    wire_out_init(&w, out, RECORD_PACKED_MAX);
    put_fields(&w, r, extra, extra_len);
    assert(!wire_full(&w));
    return w.len;
}

u32 record_body(const struct member_record *r, const u8 *extra, size_t extra_len)
{
    struct member_record plain = *r;
    u8 packed[RECORD_PACKED_MAX];
    u64 h = 0xcbf29ce484222325u;
    plain.incarnation = 0;
    flags_to(&plain, 0);
    size_t n = record_pack(&plain, extra, extra_len, packed);
    for (size_t i = 0; i < n; i++)
        h = (h ^ packed[i]) * 0x100000001b3u;
    return (u32)(h ^ h >> 32);
}

void put_record(struct wire_out *w, const struct peer *p)
{
    wire_put_array(w, 2 + RECORD_FIELDS);
    wire_put_u64(w, MSG_RECORD);
    wire_put_bin(w, p->sig.bytes, sizeof(p->sig.bytes));
    put_fields(w, &p->rec, (const u8 *)p->text, p->extra_len);
}

void put_renewed(struct wire_out *w, const struct peer *p)
{
    wire_put_array(w, 7);
    wire_put_u64(w, MSG_RENEWED);
    wire_put_bin(w, p->sig.bytes, sizeof(p->sig.bytes));
    wire_put_u64(w, peer_word(p));
    wire_put_u64(w, p->rec.epoch);
    wire_put_u64(w, p->rec.incarnation);
    wire_put_u64(w, flags_of(&p->rec));
    wire_put_u64(w, p->body);
}

static void get_text(struct wire_in *r, char **at, size_t max, const char **out)
{
    wire_get_text(r, *at, max + 1);
    *out = *at;
    for (const char *c = *at; *c; c++)
        if ((u8)*c < 0x20 || *c == 0x7f)
            r->bad = true;
    *at += strlen(*at) + 1;
}

/* The record and its signature; the number is read off. */
int get_record(struct wire_in *r, struct heard *h)
{
    struct member_record *rec = &h->rec;
    char *at = h->text;
    wire_get_exact(r, h->sig.bytes, sizeof(h->sig.bytes));
    wire_get_key(r, &rec->key);
    rec->epoch = wire_get_u64(r);
    rec->incarnation = wire_get_u64(r);
    wire_get_addr(r, &rec->addr);
    flags_to(rec, wire_get_max(r, FLAG_ROLE | FLAG_FETCH | FLAG_LEFT));
    rec->version_min = (u8)wire_get_max(r, UINT8_MAX);
    rec->version_max = (u8)wire_get_max(r, UINT8_MAX);
    get_text(r, &at, MEMBER_TEXT_MAX, &rec->name);
    get_text(r, &at, MEMBER_TEXT_MAX, &rec->region);
    get_text(r, &at, MEMBER_TEXT_MAX, &rec->rack);
    get_text(r, &at, MEMBER_URL_MAX, &rec->public_url);
    h->extra = wire_get_bin(r, EXTRA_MAX, &h->extra_len);
    if (!wire_ok(r) || !addr_is_set(&rec->addr) || rec->name[0] == '\0' || rec->role == 0)
        return ERR_PROTO;
    return 0;
}

/* The same of a member that is known: whole again, from what is known of it. `unknown`: it is not
 * known, or not in this form. */
int get_renewed(struct member *m, struct wire_in *r, struct heard *h, bool *unknown, u64 *word)
{
    wire_get_exact(r, h->sig.bytes, sizeof(h->sig.bytes));
    *word = wire_get_u64(r);
    u64 epoch = wire_get_u64(r), incarnation = wire_get_u64(r);
    u64 flags = wire_get_max(r, FLAG_ROLE | FLAG_FETCH | FLAG_LEFT);
    u32 body = (u32)wire_get_max(r, UINT32_MAX);
    if (!wire_ok(r) || (flags & FLAG_ROLE) == 0)
        return ERR_PROTO;
    const struct peer *p = peer_by_word(m, *word);
    bool newer =
        !p || epoch > p->rec.epoch || (epoch == p->rec.epoch && incarnation > p->rec.incarnation);
    *unknown = newer && (!p || body != p->body || epoch != p->rec.epoch);
    if (!p || *unknown)
        return 0;
    h->rec = p->rec;
    h->extra = (const u8 *)p->text;
    h->extra_len = p->extra_len;
    h->rec.epoch = epoch;
    h->rec.incarnation = incarnation;
    flags_to(&h->rec, flags);
    return 0;
}

/* --- signatures ------------------------------------------------------------------------------ */

/* In the simulator's clear mode: a hash of who, what and how, long enough to tell a damaged or
 * misattributed statement. */
static void clear_signature(const struct node_key *by, enum identity_context context,
                            const void *text, size_t len, struct node_signature *out)
{
    crypto_generichash_state s;
    u8 c = (u8)context;
    crypto_generichash_init(&s, NULL, 0, sizeof(out->bytes));
    crypto_generichash_update(&s, by->bytes, sizeof(by->bytes));
    crypto_generichash_update(&s, &c, 1);
    crypto_generichash_update(&s, text, len);
    crypto_generichash_final(&s, out->bytes, sizeof(out->bytes));
}

static void sign(struct member *m, enum identity_context context, const void *text, size_t len,
                 struct node_signature *out)
{
    if (m->clear)
        clear_signature(&m->self->rec.key, context, text, len, out);
    else
        identity_sign(&m->secret, context, text, len, out);
}

static int verify(struct member *m, const struct node_key *by, enum identity_context context,
                  const void *text, size_t len, const struct node_signature *sig)
{
    int err;
    m->stats.verified++;
    if (m->clear) {
        struct node_signature right;
        clear_signature(by, context, text, len, &right);
        err = memcmp(right.bytes, sig->bytes, sizeof(sig->bytes)) ? ERR_DENIED : 0;
    } else {
        err = identity_verify(by, context, text, len, sig);
    }
    m->stats.bad_signatures += err != 0;
    return err;
}

void self_sign(struct member *m)
{
    u8 packed[RECORD_PACKED_MAX];
    struct peer *p = m->self;
    size_t n = record_pack(&p->rec, (const u8 *)p->text, p->extra_len, packed);
    sign(m, IDENTITY_ALIVE, packed, n, &p->sig);
}

int record_verify(struct member *m, const struct heard *h)
{
    u8 packed[RECORD_PACKED_MAX];
    size_t n = record_pack(&h->rec, h->extra, h->extra_len, packed);
    return verify(m, &h->rec.key, IDENTITY_ALIVE, packed, n, &h->sig);
}

#define ACCUSATION_BYTES (NODE_KEY_BYTES + 16)

static void accusation_text(const struct peer *p, u8 out[ACCUSATION_BYTES])
{
    memcpy(out, p->rec.key.bytes, NODE_KEY_BYTES);
    for (int i = 0; i < 8; i++) {
        out[NODE_KEY_BYTES + i] = (u8)(p->rec.epoch >> (56 - 8 * i));
        out[NODE_KEY_BYTES + 8 + i] = (u8)(p->rec.incarnation >> (56 - 8 * i));
    }
}

void accusation_sign(struct member *m, const struct peer *p, bool verdict,
                     struct node_signature *out)
{
    u8 text[ACCUSATION_BYTES];
    accusation_text(p, text);
    sign(m, verdict ? IDENTITY_DEAD : IDENTITY_SUSPECT, text, sizeof(text), out);
}

int accusation_verify(struct member *m, const struct peer *target, const struct peer *by,
                      bool verdict, const struct node_signature *sig)
{
    u8 text[ACCUSATION_BYTES];
    accusation_text(target, text);
    return verify(m, &by->rec.key, verdict ? IDENTITY_DEAD : IDENTITY_SUSPECT, text, sizeof(text),
                  sig);
}

/* --- accusations ----------------------------------------------------------------------------- */

void put_accusation(struct wire_out *w, const struct peer *p, u64 by, bool verdict,
                    const struct node_signature *sig)
{
    wire_put_array(w, 6);
    wire_put_u64(w, verdict ? MSG_DEAD : MSG_SUSPECT);
    wire_put_u64(w, peer_word(p));
    wire_put_u64(w, p->rec.epoch);
    wire_put_u64(w, p->rec.incarnation);
    wire_put_u64(w, by);
    wire_put_bin(w, sig->bytes, sizeof(sig->bytes));
}

int get_accusation(struct wire_in *r, struct accusing *a)
{
    a->target = wire_get_u64(r);
    a->epoch = wire_get_u64(r);
    a->incarnation = wire_get_u64(r);
    a->by = wire_get_u64(r);
    wire_get_exact(r, a->sig.bytes, sizeof(a->sig.bytes));
    return wire_ok(r) ? 0 : ERR_PROTO;
}

void put_doubts(struct wire_out *w, const struct peer *p)
{
    size_t mark = wire_mark(w);
    if (!p->doubted)
        return;
    if (p->verdict)
        put_accusation(w, p, p->verdict->by, true, &p->verdict->sig);
    for (unsigned i = 0; p->suspicion && i < p->suspicion->n && !wire_full(w); i++) {
        const struct accusation *a = &p->suspicion->of[i];
        mark = wire_mark(w);
        put_accusation(w, p, a->by, false, &a->sig);
    }
    if (wire_full(w))
        wire_rewind(w, mark);
}

/* --- status ---------------------------------------------------------------------------------- */

u16 stamp_of(const struct peer *p)
{
    u64 x = (p->rec.epoch + 0x9e3779b97f4a7c15u * p->rec.incarnation) * 0xbf58476d1ce4e5b9u;
    return (u16)(x >> 48 ? x >> 48 : 1);
}

void put_status(struct wire_out *w, const struct member *m, u64 to_word)
{
    const struct peer *to = to_word ? peer_by_word(m, to_word) : NULL, *self = m->self;
    wire_put_u64(w, to ? stamp_of(to) : 0);
    coord_put(w, &self->coord);
    wire_put_u64(w, self->load);
    wire_put_u64(w, self->key_ids[0]);
    wire_put_u64(w, self->key_ids[1]);
}

void get_status(struct wire_in *r, struct status *s)
{
    s->known = (u16)wire_get_max(r, UINT16_MAX);
    coord_get(r, &s->coord);
    s->load = (u8)wire_get_max(r, UINT8_MAX);
    s->key_ids[0] = (u32)wire_get_max(r, UINT32_MAX);
    s->key_ids[1] = (u32)wire_get_max(r, UINT32_MAX);
}

/* --- datagrams ------------------------------------------------------------------------------- */

struct send *send_add(struct member *m, enum send_kind kind, const struct addr *to, u64 to_word)
{
    static const struct send none;
    unsigned at = (m->sends_at + m->n_sends) % SENDS_MAX;
    if (m->n_sends == SENDS_MAX)
        m->sends_at = (m->sends_at + 1) % SENDS_MAX; /* the oldest is the stalest */
    else
        m->n_sends++;
    m->sends[at] = none;
    m->sends[at].kind = (u8)kind;
    m->sends[at].to = *to;
    m->sends[at].to_word = to_word;
    return &m->sends[at];
}

static void put_ping(struct member *m, const struct send *s, struct wire_out *w)
{
    wire_put_array(w, 3 + STATUS_FIELDS);
    wire_put_u64(w, MSG_PING);
    wire_put_u64(w, s->seq);
    wire_put_u64(w, s->to_word);
    put_status(w, m, s->to_word);
}

static void put_reject(struct member *m, const struct send *s, struct wire_out *w)
{
    const struct peer *holder = s->reason == REJECT_NAME ? peer_by_word(m, s->about) : NULL;
    wire_put_array(w, 2);
    wire_put_u64(w, MSG_REJECT);
    wire_put_u64(w, s->reason);
    if (holder)
        put_record(w, holder);
}

static void put_seq(struct wire_out *w, enum member_message number, u64 seq)
{
    wire_put_array(w, 2);
    wire_put_u64(w, number);
    wire_put_u64(w, seq);
}

/* A datagram's own message. False: it is no longer worth one. */
bool send_write(struct member *m, const struct send *s, struct wire_out *w)
{
    const struct peer *about;
    switch ((enum send_kind)s->kind) {
    case SEND_PING: put_ping(m, s, w); return true;
    case SEND_ACK:
        wire_put_array(w, 2 + STATUS_FIELDS);
        wire_put_u64(w, MSG_ACK);
        wire_put_u64(w, s->seq);
        put_status(w, m, s->to_word);
        return true;
    case SEND_PING_REQ:
        wire_put_array(w, 4);
        wire_put_u64(w, MSG_PING_REQ);
        wire_put_u64(w, s->seq);
        wire_put_u64(w, s->about);
        wire_put_u64(w, s->timeout_ms);
        return true;
    case SEND_RELAYED: put_seq(w, MSG_RELAYED, s->seq); return true;
    case SEND_NACK: put_seq(w, MSG_NACK, s->seq); return true;
    case SEND_NEWS: return true;
    case SEND_RECORD:
        about = peer_by_word(m, s->about);
        if (about)
            put_record(w, about);
        return about != NULL;
    case SEND_WANT: put_seq(w, MSG_WANT, s->about); return true;
    case SEND_REJECT: put_reject(m, s, w); return true;
    }
    return false;
}
