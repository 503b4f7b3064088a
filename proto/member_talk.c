/* member_talk.c - seeds, and exchanging lists by stream.
 *
 *   SYNC    16 cursor sums RECORD            ours; 64 sums over the members whose key falls there
 *   SYNCED  17 reason next sums RECORD [items]     the same; items of every part whose sums differ,
 *                                            from part `cursor` on, at most a page
 *   PUSH    18 RECORD [items]                what still differs after that, the other way
 *   PUSHED  19
 *   KNOCK   20 target RECORD                 a ping by stream
 *   KNOCKED 21 word
 *
 * Two that agree exchange 700 bytes. Items are messages as in datagrams: records of the living and
 * of those who left, verdicts on the dead. Exchanged now and then with anybody (what gossip lost),
 * with a seed while it is not among the living, and with one who was thought dead and is not. */
#include "proto/member_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SEED_RETRY_NS (3 * SECOND_NS)
#define SOON_NS       (500 * MS_NS)
#define LATER_NS      (3 * SECOND_NS)
#define SURE_AFTER    3 /* exchanges that taught nothing, each with somebody else */
#define SUMS_BYTES    (4 * BUCKETS)

void talk_init(struct member *m)
{
    m->sync_due_ns = m->own_ns + rng_below(&m->rng, m->timing.sync_interval_ns + 1);
    m->seeds_due_ns = UINT64_MAX;
}

/* --- sums and items -------------------------------------------------------------------------- */

static void put_sums(struct wire_out *w, const struct member *m)
{
    u8 packed[SUMS_BYTES];
    for (unsigned b = 0; b < BUCKETS; b++)
        for (unsigned i = 0; i < 4; i++)
            packed[4 * b + i] = (u8)(bucket_sum(m, b) >> (24 - 8 * i));
    wire_put_bin(w, packed, sizeof(packed));
}

/* A bit per part that differs from ours. */
static u64 differing(const struct member *m, const u8 sums[SUMS_BYTES])
{
    u64 bits = 0;
    for (unsigned b = 0; b < BUCKETS; b++) {
        u32 theirs = 0;
        for (unsigned i = 0; i < 4; i++)
            theirs = theirs << 8 | sums[4 * b + i];
        if (theirs != bucket_sum(m, b))
            bits |= 1ull << b;
    }
    return bits;
}

static void put_listed(struct wire_out *w, const struct peer *p)
{
    if (p->state == MEMBER_DEAD)
        put_accusation(w, p, p->verdict->by, true, &p->verdict->sig);
    else
        put_record(w, p);
}

/* The members of the parts in `bits`, whole parts only, until a page is full. Returns the first
 * part left out, BUCKETS when none is. */
static unsigned put_items(struct wire_out *w, const struct member *m, u64 bits)
{
    u32 of[BUCKETS] = {0}, chosen = 0;
    unsigned end = 0;
    for (u32 i = 0; i < m->n_peers; i++)
        of[peer_bucket(&m->peers[i]->rec.key)]++;
    for (; end < BUCKETS; end++) {
        if (!(bits >> end & 1))
            continue;
        if (chosen > 0 && chosen + of[end] > SYNC_PAGE)
            break;
        chosen += of[end];
    }
    u64 page = end < BUCKETS ? bits & ((1ull << end) - 1) : bits;
    wire_put_array(w, chosen);
    for (u32 i = 0; i < m->n_peers && chosen > 0; i++)
        if (page >> peer_bucket(&m->peers[i]->rec.key) & 1)
            put_listed(w, m->peers[i]);
    return end;
}

/* One message within a message. */
static int hear_nested(struct member *m, struct wire_in *r, const struct addr *from, u64 sender,
                       bool listed)
{
    struct wire_in item = *r;
    wire_skip(r);
    if (!wire_ok(r))
        return ERR_PROTO;
    item.end = r->p;
    (void)wire_get_array(&item, UINT8_MAX);
    unsigned number = (unsigned)wire_get_max(&item, UINT8_MAX);
    if (!wire_ok(&item))
        return ERR_PROTO;
    int err = hear_item(m, number, &item, from, sender, listed);
    return err == ERR_UNSUPPORTED ? 0 : err;
}

static int hear_list(struct member *m, struct wire_in *r, const struct addr *from, u64 sender)
{
    u32 n = wire_get_array(r, LIMIT_MEMBERS);
    if (!wire_ok(r))
        return ERR_PROTO;
    for (u32 i = 0; i < n; i++) {
        int err = hear_nested(m, r, from, sender, true);
        if (err)
            return err;
    }
    return 0;
}

/* --- what is asked --------------------------------------------------------------------------- */

static struct dial *dial_add(struct member *m, enum dial_kind kind, const struct addr *to, u64 word)
{
    if (m->n_dials == DIALS_MAX)
        return NULL;
    struct dial *d = &m->dials[m->n_dials++];
    *d = (struct dial){.kind = (u8)kind, .to = *to, .word = word};
    d->id = ++m->next_dial ? m->next_dial : ++m->next_dial;
    return d;
}

u32 talk_knock(struct member *m, const struct peer *p)
{
    struct dial *d = dial_add(m, DIAL_KNOCK, &p->rec.addr, peer_word(p));
    if (!d)
        return 0;
    m->stats.stream_probes++;
    return d->id;
}

static void put_request(struct member *m, const struct dial *d, struct wire_out *w)
{
    switch ((enum dial_kind)d->kind) {
    case DIAL_SYNC:
        wire_put_array(w, 4);
        wire_put_u64(w, MSG_SYNC);
        wire_put_u64(w, d->cursor);
        put_sums(w, m);
        put_record(w, m->self);
        break;
    case DIAL_PUSH:
        wire_put_array(w, 3);
        wire_put_u64(w, MSG_PUSH);
        put_record(w, m->self);
        put_items(w, m, d->pushed);
        break;
    case DIAL_KNOCK:
        wire_put_array(w, 3);
        wire_put_u64(w, MSG_KNOCK);
        wire_put_u64(w, d->word);
        put_record(w, m->self);
        break;
    }
}

bool member_dial(struct member *m, u32 *id, struct addr *to, struct wire_out *w, u64 now_ns)
{
    (void)now_ns;
    for (unsigned i = 0; i < m->n_dials; i++) {
        struct dial *d = &m->dials[i];
        if (d->yielded)
            continue;
        put_request(m, d, w);
        assert(!wire_full(w));
        d->yielded = true;
        *id = d->id;
        *to = d->to;
        return true;
    }
    return false;
}

/* --- what is answered ------------------------------------------------------------------------ */

/* Their own record, which every request holds. `from` becomes where it says it is: a stream comes
 * from any port. */
static int hear_caller(struct member *m, struct wire_in *r, struct addr *from, struct heard *h)
{
    struct wire_in item = *r;
    wire_skip(r);
    if (!wire_ok(r))
        return ERR_PROTO;
    item.end = r->p;
    memset(h, 0, offsetof(struct heard, text));
    if (wire_get_array(&item, UINT8_MAX) == 0 || wire_get_u64(&item) != MSG_RECORD ||
        get_record(&item, h))
        return ERR_PROTO;
    *from = h->from = h->rec.addr;
    int err = hear_record(m, h);
    return !err && h->put_off ? ERR_AGAIN : err;
}

static int answer_sync(struct member *m, u64 sender, struct wire_in *r, struct wire_out *answer)
{
    struct heard h;
    struct addr from;
    u8 sums[SUMS_BYTES];
    u64 cursor = wire_get_max(r, BUCKETS - 1);
    wire_get_exact(r, sums, sizeof(sums));
    int err = wire_ok(r) ? hear_caller(m, r, &from, &h) : ERR_PROTO;
    if (err)
        return err;
    if (node_key_word(&h.rec.key) != sender)
        return ERR_DENIED;
    const struct peer *holder = h.refused == REJECT_NAME ? peer_by_word(m, h.holder) : NULL;
    u64 bits = h.refused ? 0 : differing(m, sums) & ~((1ull << cursor) - 1);
    wire_put_array(answer, 6);
    wire_put_u64(answer, MSG_SYNCED);
    wire_put_u64(answer, h.refused);
    size_t next_at = answer->len;
    wire_put_u64(answer, BUCKETS); /* one byte, patched below */
    put_sums(answer, m);
    put_record(answer, holder ? holder : m->self);
    unsigned next = put_items(answer, m, bits);
    static_assert(BUCKETS < 128, "a part's number is one byte");
    if (!wire_full(answer))
        answer->buf[next_at] = (u8)next;
    return wire_full(answer) ? ERR_TOOBIG : 0;
}

static int answer_push(struct member *m, u64 sender, struct wire_in *r, struct wire_out *answer)
{
    struct heard h;
    struct addr from;
    int err = hear_caller(m, r, &from, &h);
    if (!err && node_key_word(&h.rec.key) != sender)
        err = ERR_DENIED;
    if (!err && !h.refused)
        err = hear_list(m, r, &from, sender);
    if (err)
        return err;
    wire_put_array(answer, 1);
    wire_put_u64(answer, MSG_PUSHED);
    return 0;
}

static int answer_knock(struct member *m, u64 sender, struct wire_in *r, struct wire_out *answer)
{
    struct heard h;
    struct addr from;
    u64 target = wire_get_u64(r);
    int err = wire_ok(r) ? hear_caller(m, r, &from, &h) : ERR_PROTO;
    if (err)
        return err;
    if (target != self_word(m) || node_key_word(&h.rec.key) != sender)
        return ERR_DENIED;
    wire_put_array(answer, 2);
    wire_put_u64(answer, MSG_KNOCKED);
    wire_put_u64(answer, self_word(m));
    return 0;
}

int talk_answer(struct member *m, u64 sender, unsigned number, struct wire_in *request,
                struct wire_out *answer)
{
    switch (number) {
    case MSG_SYNC: return answer_sync(m, sender, request, answer);
    case MSG_PUSH: return answer_push(m, sender, request, answer);
    case MSG_KNOCK: return answer_knock(m, sender, request, answer);
    default: return ERR_UNSUPPORTED;
    }
}

/* --- what came back -------------------------------------------------------------------------- */

void reject_heard(struct member *m, enum member_reject reason, const struct addr *from)
{
    if (m->rejected_ns && m->own_ns - m->rejected_ns < 10 * SECOND_NS)
        return;
    m->rejected_ns = m->own_ns;
    if (reason == REJECT_NAME)
        member_tell_addr(m, MEMBER_EVENT_NAME_TAKEN, &m->self->rec.key, from);
    else if (reason == REJECT_REGION)
        member_tell_addr(m, MEMBER_EVENT_FOREIGN, &m->self->rec.key, from);
}

static void seed_answered(struct member *m, const struct addr *to, u64 word)
{
    for (unsigned i = 0; i < m->n_seeds; i++)
        if (addr_equal(&m->seeds[i].addr, to))
            m->seeds[i].word = word;
}

static int synced(struct member *m, const struct dial *d, struct wire_in *r)
{
    u8 sums[SUMS_BYTES];
    struct heard h;
    struct addr from;
    u64 reason = wire_get_max(r, REJECT_COUNT - 1), next = wire_get_max(r, BUCKETS);
    wire_get_exact(r, sums, sizeof(sums));
    if (!wire_ok(r))
        return ERR_PROTO;
    if (reason != REJECT_NONE) {
        reject_heard(m, (enum member_reject)reason, &d->to);
        return 0;
    }
    int err = hear_caller(m, r, &from, &h);
    if (err)
        return err;
    u64 word = node_key_word(&h.rec.key), learned = m->learned;
    seed_answered(m, &d->to, word);
    if (h.refused)
        return 0;
    err = hear_list(m, r, &from, word);
    if (m->learned != learned)
        talk_unsure(m);
    if (err)
        return err;
    if (next > d->cursor && next < BUCKETS) {
        struct dial *more = dial_add(m, DIAL_SYNC, &d->to, d->word);
        if (more)
            more->cursor = (u8)next;
        return 0;
    }
    u64 bits = differing(m, sums);
    if (bits == 0 && m->learned == learned) {
        m->unsure -= m->unsure > 0;
        if (m->unsure == 0)
            news_settle(m);
    }
    struct dial *push = bits ? dial_add(m, DIAL_PUSH, &d->to, d->word) : NULL;
    if (push)
        push->pushed = bits;
    return 0;
}

/* The number of an answer; 0: none. */
static unsigned answer_number(struct wire_in *answer)
{
    if (!answer || wire_get_array(answer, UINT8_MAX) == 0)
        return 0;
    return (unsigned)wire_get_max(answer, UINT8_MAX);
}

int talk_dialed(struct member *m, u32 id, int err, struct wire_in *answer)
{
    struct dial d = {0};
    unsigned i = 0;
    while (i < m->n_dials && m->dials[i].id != id)
        i++;
    if (i == m->n_dials)
        return 0;
    d = m->dials[i];
    m->dials[i] = m->dials[--m->n_dials];
    unsigned number = err ? 0 : answer_number(answer);
    switch ((enum dial_kind)d.kind) {
    case DIAL_SYNC:
        err = number == MSG_SYNCED ? synced(m, &d, answer) : 0;
        if (m->unsure > 0)
            talk_soon(m, 0);
        return err;
    case DIAL_PUSH: return 0;
    case DIAL_KNOCK:
        probe_knocked(m, id, number == MSG_KNOCKED && wire_get_u64(answer) == d.word);
        return 0;
    }
    return 0;
}

int member_prime(struct member *m, const struct member *of, u64 now_ns)
{
    const struct peer *p = of->self;
    struct heard h;
    memset(&h, 0, offsetof(struct heard, text));
    h.rec = p->rec;
    h.extra = (const u8 *)p->text;
    h.extra_len = p->extra_len;
    h.sig = p->sig;
    h.from = p->rec.addr;
    h.listed = true;
    assert(m != of);
    member_tick(m, now_ns);
    int err = hear_record(m, &h);
    if (!err && h.refused)
        err = ERR_FULL;
    if (!err)
        seed_answered(m, &p->rec.addr, peer_word(p));
    return err;
}

/* --- time ------------------------------------------------------------------------------------ */

static unsigned sync_scale(const struct member *m)
{
    size_t n = m->counts[MEMBER_ALIVE] + m->counts[MEMBER_SUSPECT] + 1;
    unsigned scale = 1;
    for (; n > 32; n = (n + 1) / 2)
        scale++;
    return scale;
}

static void seeds_fit(struct member *m)
{
    m->seeds_due_ns = UINT64_MAX;
    for (unsigned i = 0; i < m->n_seeds; i++)
        if (m->seeds[i].due_ns < m->seeds_due_ns)
            m->seeds_due_ns = m->seeds[i].due_ns;
}

int member_seed(struct member *m, const struct addr *a)
{
    for (unsigned i = 0; i < m->n_seeds; i++)
        if (addr_equal(&m->seeds[i].addr, a))
            return 0;
    if (m->n_seeds == LIMIT_SEEDS)
        return ERR_FULL;
    m->seeds[m->n_seeds++] = (struct seed){.addr = *a, .due_ns = m->own_ns};
    seeds_fit(m);
    return 0;
}

void member_clear_seeds(struct member *m)
{
    m->n_seeds = 0;
    seeds_fit(m);
}

/* Is who answers at this seed among the living, or ourselves? */
static bool seed_lives(const struct member *m, const struct seed *s)
{
    const struct peer *p = s->word ? peer_by_word(m, s->word) : NULL;
    if (addr_equal(&s->addr, &m->self->rec.addr))
        return true;
    return p && (p == m->self || is_living(p));
}

static bool is_dialed(const struct member *m, const struct addr *a)
{
    for (unsigned i = 0; i < m->n_dials; i++)
        if (m->dials[i].kind == DIAL_SYNC && addr_equal(&m->dials[i].to, a))
            return true;
    return false;
}

static void seeds_expire(struct member *m)
{
    if (m->seeds_due_ns > m->own_ns)
        return;
    u64 scale = m->joined && m->counts[MEMBER_ALIVE] > 0 ? sync_scale(m) : 1;
    for (unsigned i = 0; i < m->n_seeds; i++) {
        struct seed *s = &m->seeds[i];
        if (s->due_ns > m->own_ns)
            continue;
        s->due_ns = m->own_ns + scale * (SEED_RETRY_NS / 2 + rng_below(&m->rng, SEED_RETRY_NS));
        if (!seed_lives(m, s) && !is_dialed(m, &s->addr))
            (void)dial_add(m, DIAL_SYNC, &s->addr, 0);
    }
    seeds_fit(m);
}

/* With `word`, or with anybody (0). */
void talk_soon(struct member *m, u64 word)
{
    u64 due = m->own_ns + SOON_NS + rng_below(&m->rng, SOON_NS);
    if (!m->sync_word)
        m->sync_word = word;
    if (due < m->sync_due_ns)
        m->sync_due_ns = due;
}

/* Much has changed, or something was missed: lists are compared until nobody teaches us anything.
 */
void talk_unsure(struct member *m)
{
    m->unsure = SURE_AFTER;
    talk_soon(m, 0);
}

/* Something was put off: by the time of the next lists there may be time for it. */
void talk_later(struct member *m)
{
    u64 due = m->own_ns + LATER_NS + rng_below(&m->rng, LATER_NS);
    if (due < m->sync_due_ns)
        m->sync_due_ns = due;
}

u64 talk_next(const struct member *m)
{
    if (m->leaving)
        return UINT64_MAX;
    return m->seeds_due_ns < m->sync_due_ns ? m->seeds_due_ns : m->sync_due_ns;
}

void talk_expire(struct member *m)
{
    if (m->leaving)
        return;
    seeds_expire(m);
    if (m->sync_due_ns > m->own_ns)
        return;
    const struct peer *p = m->sync_word ? peer_by_word(m, m->sync_word) : NULL;
    m->sync_word = 0;
    if (!p || p == m->self || !is_living(p))
        p = peer_random(m, NULL, 0);
    if (p)
        (void)dial_add(m, DIAL_SYNC, &p->rec.addr, peer_word(p));
    u64 interval = m->timing.sync_interval_ns * sync_scale(m);
    m->sync_due_ns = m->own_ns + interval / 2 + rng_below(&m->rng, interval + 1);
}
