/* member_belief.c - what is believed of whom, and on whose word.
 *
 * A record is believed when it is newer (epoch, then incarnation) and signed by its key. An
 * accusation counts when it means exactly the record that is known here (a hostile one cannot name
 * an incarnation that the accused cannot outbid), comes from a living member, and is signed by it;
 * each accuser counts once. A verdict ends a *suspect*; about somebody who is not even suspected it
 * is but a reason to look, since after a partition the two sides hold verdicts on each other that
 * must not kill anybody on its own side. Before we ourselves call somebody dead we ask once more
 * (probe_check): nobody is buried by a node that has not knocked in vain.
 *
 * What is known already is recognised before its signature is looked at. What is news has to be
 * verified, so each author and each sender has a rate of it; what exceeds that is put off until the
 * next lists are compared, by which it comes again. A signature that is wrong counts for its sender
 * alone: anybody can make one up. */
#include "proto/member_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_ROUNDS   2            /* asked in vain so often, just before the verdict */
#define CHECK_AGAIN_NS (50 * MS_NS) /* too many are being asked */
#define SETTLE_NS      (30 * SECOND_NS)
#define JOINING_NS     (10 * SECOND_NS)
#define CLONE_QUIET_NS (10 * SECOND_NS)

/* --- what is verified ------------------------------------------------------------------------ */

static bool may_verify(struct member *m, struct rate *authors, u64 author, u64 sender)
{
    if (rate_take(authors, author, m->now_ns)) {
        if (rate_take(&m->by_sender, sender, m->now_ns))
            return true;
        rate_give_back(authors, author);
    }
    m->stats.put_off++;
    talk_later(m);
    return false;
}

static int verify_record(struct member *m, struct heard *h)
{
    u64 author = node_key_word(&h->rec.key);
    h->put_off = !may_verify(m, &m->by_author, author, h->sender);
    int err = h->put_off ? 0 : record_verify(m, h);
    if (err)
        rate_give_back(&m->by_author, author);
    return err;
}

/* `put_off`: it was not looked at. */
static int verify_accusation(struct member *m, const struct peer *p, const struct peer *by,
                             const struct accusing *a, bool *put_off)
{
    *put_off = !may_verify(m, &m->by_accuser, a->by, a->sender);
    int err = *put_off ? 0 : accusation_verify(m, p, by, a->verdict, &a->sig);
    if (err)
        rate_give_back(&m->by_accuser, a->by);
    return err;
}

/* --- suspicion: its time --------------------------------------------------------------------- */

static const u32 LN_1E6[ACCUSERS_MAX + 1] = {/* ln(n + 1) */
                                             0,       693147,  1098612, 1386294, 1609438,
                                             1791759, 1945910, 2079442, 2197225};

/* 1000 * max(1, log10 N), by linear interpolation between powers of two: at most 1 % off. */
static u64 log10_milli(u64 n)
{
    unsigned bits = 0;
    while (n >> (bits + 1))
        bits++;
    u64 log2_milli = 1000ull * bits + (((n - (1ull << bits)) * 1000) >> bits);
    u64 milli = log2_milli * 30103 / 100000;
    return milli < 1000 ? 1000 : milli;
}

static u64 suspicion_min(const struct member *m)
{
    u64 living = m->counts[MEMBER_ALIVE] + m->counts[MEMBER_SUSPECT] + 1;
    return m->timing.probe_interval_ns * m->timing.suspicion_alpha * log10_milli(living) / 1000;
}

/* Lifeguard, section IV-B: max - (max - min) * ln(c + 1) / ln(k + 1) after c further accusers. */
static u64 suspicion_time(const struct member *m, unsigned accusers)
{
    unsigned k = m->timing.suspicion_k, c = accusers > 0 ? accusers - 1 : 0;
    u64 min = suspicion_min(m), max = m->timing.suspicion_beta * min;
    assert(k <= ACCUSERS_MAX);
    size_t living = m->counts[MEMBER_ALIVE] + m->counts[MEMBER_SUSPECT];
    /* In a region too small for k more accusers nobody waits for them. */
    if (k == 0 || c >= k || living < k + 1)
        return min;
    return max - (max - min) / 1000 * (1000ull * LN_1E6[c] / LN_1E6[k]);
}

/* The last questions are asked so long before the verdict. */
static u64 check_lead(const struct member *m)
{
    return CHECK_ROUNDS * (m->timing.probe_interval_ns + m->timing.probe_interval_ns / 5);
}

static void wake_at(struct member *m, u64 due_ns)
{
    if (due_ns < m->suspects_due_ns)
        m->suspects_due_ns = due_ns;
}

static void set_deadline(struct member *m, struct suspicion *s, u64 deadline_ns)
{
    u64 soonest = m->own_ns + check_lead(m);
    s->deadline_ns = deadline_ns > soonest || s->silent > 0 ? deadline_ns : soonest;
    wake_at(m, s->deadline_ns > soonest ? s->deadline_ns - check_lead(m) : m->own_ns);
}

/* --- moving between states ------------------------------------------------------------------- */

static void move(struct member *m, struct peer *p, enum member_state to)
{
    assert(p != m->self && p->state != to);
    assert(to != MEMBER_SUSPECT || p->state == MEMBER_ALIVE);
    assert(to != MEMBER_DEAD || p->state == MEMBER_SUSPECT);
    peer_out(m, p);
    p->state = (u8)to;
    p->since_ns = m->now_ns;
    peer_in(m, p);
}

static void suspicion_end(struct member *m, struct peer *p)
{
    struct suspicion *s = p->suspicion;
    if (!s)
        return;
    for (unsigned i = 0; i < s->n; i++)
        news_drop(m, &s->of[i].news);
    for (u32 i = 0; i < m->n_suspects; i++) {
        if (m->suspects[i] == p) {
            m->suspects[i] = m->suspects[--m->n_suspects];
            break;
        }
    }
    free(s);
    p->suspicion = NULL;
    p->doubted = p->verdict != NULL;
}

void belief_clear(struct member *m, struct peer *p)
{
    suspicion_end(m, p);
    if (p->verdict && p->news.kind == ITEM_VERDICT)
        news_drop(m, &p->news);
    free(p->verdict);
    p->verdict = NULL;
    p->doubted = p->suspicion != NULL;
}

static struct suspicion *suspicion_start(struct member *m, struct peer *p)
{
    if (m->n_suspects == m->cap_suspects) {
        u32 cap = m->cap_suspects ? 2 * m->cap_suspects : 8;
        struct peer **suspects = realloc(m->suspects, cap * sizeof(struct peer *));
        if (!suspects)
            return NULL;
        m->suspects = suspects;
        m->cap_suspects = cap;
    }
    struct suspicion *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->start_ns = m->own_ns;
    p->suspicion = s;
    p->doubted = true;
    m->suspects[m->n_suspects++] = p;
    move(m, p, MEMBER_SUSPECT);
    member_tell(m, MEMBER_EVENT_SUSPECT, p);
    return s;
}

/* One more accuser. Only as many as count are passed on: the rest say nothing new. */
static void add_accuser(struct member *m, struct peer *p, u64 by, const struct node_signature *sig)
{
    struct suspicion *s = p->suspicion ? p->suspicion : suspicion_start(m, p);
    if (!s || s->n > m->timing.suspicion_k || s->n == ACCUSERS_MAX)
        return;
    struct accusation *a = &s->of[s->n];
    *a = (struct accusation){.by = by, .sig = *sig};
    a->about = p;
    a->news.kind = ITEM_ACCUSATION;
    a->news.slot = (u8)s->n;
    s->n++;
    m->stats.suspicions++;
    u64 deadline_ns = s->start_ns + suspicion_time(m, s->n);
    if (s->deadline_ns == 0 || deadline_ns < s->deadline_ns)
        set_deadline(m, s, deadline_ns);
    news_add(m, &a->news);
}

static bool accused_by(const struct peer *p, u64 by)
{
    for (unsigned i = 0; p->suspicion && i < p->suspicion->n; i++)
        if (p->suspicion->of[i].by == by)
            return true;
    return false;
}

static bool keep_verdict(struct peer *p, u64 by, const struct node_signature *sig)
{
    if (!p->verdict)
        p->verdict = malloc(sizeof(*p->verdict));
    if (!p->verdict)
        return false;
    *p->verdict = (struct verdict){.by = by, .sig = *sig};
    p->doubted = true;
    return true;
}

static void die(struct member *m, struct peer *p, u64 by, const struct node_signature *sig)
{
    if (!keep_verdict(p, by, sig))
        return; /* no memory: the next verdict will do */
    suspicion_end(m, p);
    move(m, p, MEMBER_DEAD);
    probe_forget(m, peer_word(p));
    p->news.kind = ITEM_VERDICT;
    news_add(m, &p->news);
    m->stats.deaths++;
    member_tell(m, MEMBER_EVENT_DOWN, p);
}

/* --- ourselves ------------------------------------------------------------------------------- */

void self_renew(struct member *m)
{
    m->self->rec.incarnation++;
    self_sign(m);
    m->self->news.kind = ITEM_RECORD;
    m->self->news.whole = m->self->news.whole && m->self->news.next;
    news_add(m, &m->self->news);
}

/* "I am here", at once to who says otherwise, and to several more. */
static void refute(struct member *m, const struct accusing *a)
{
    const struct peer *accuser = peer_by_word(m, a->by);
    self_renew(m);
    member_worse(m, 1);
    m->stats.refutations++;
    if (accuser && accuser != m->self)
        send_add(m, SEND_NEWS, &accuser->rec.addr, a->by);
    if (a->sender != a->by)
        send_add(m, SEND_NEWS, &a->from, a->sender);
    news_burst(m, 2 * m->timing.gossip_fanout);
    member_tell(m, MEMBER_EVENT_REFUTED, m->self);
}

static int self_accused(struct member *m, const struct accusing *a)
{
    const struct member_record *r = &m->self->rec;
    if (a->epoch != r->epoch || a->incarnation != r->incarnation || m->leaving) {
        if (a->epoch < r->epoch || (a->epoch == r->epoch && a->incarnation < r->incarnation))
            send_add(m, SEND_RECORD, &a->from, a->sender)->about = self_word(m);
        return 0;
    }
    const struct peer *by = peer_by_word(m, a->by);
    if (by == m->self)
        return 0;
    if (by) {
        bool put_off;
        int err = verify_accusation(m, m->self, by, a, &put_off);
        if (err || put_off)
            return err;
    } else {
        /* Who accuses is not known here, so that it cannot be checked. Refuted all the same, but
         * not as often as somebody likes. */
        if (m->blind_refuted_ns && m->own_ns - m->blind_refuted_ns < SECOND_NS)
            return 0;
        m->blind_refuted_ns = m->own_ns;
    }
    refute(m, a);
    return 0;
}

/* Our own key in a record that is not ours. */
static int self_heard(struct member *m, struct heard *h)
{
    const struct member_record *mine = &m->self->rec, *r = &h->rec;
    bool newer =
        r->epoch > mine->epoch || (r->epoch == mine->epoch && r->incarnation > mine->incarnation);
    bool same = r->epoch == mine->epoch && r->incarnation == mine->incarnation;
    if (!newer && !same) {
        /* An earlier life of ours: whoever tells of it should know of this one. */
        if (!h->listed && r->epoch < mine->epoch)
            send_add(m, SEND_RECORD, &h->from, h->sender)->about = self_word(m);
        return 0;
    }
    if (same && record_body(r, h->extra, h->extra_len) == m->self->body)
        return 0;
    if (m->cloned_ns && m->own_ns - m->cloned_ns < CLONE_QUIET_NS)
        return 0;
    int err = verify_record(m, h);
    if (err || h->put_off)
        return err;
    m->cloned_ns = m->own_ns;
    member_tell_addr(m, MEMBER_EVENT_CLONED, &r->key, &r->addr);
    if (!addr_equal(&r->addr, &mine->addr))
        send_add(m, SEND_RECORD, &r->addr, 0)->about = self_word(m);
    return 0;
}

/* --- records --------------------------------------------------------------------------------- */

static bool is_newer(const struct member_record *a, const struct member_record *b)
{
    return a->epoch > b->epoch || (a->epoch == b->epoch && a->incarnation > b->incarnation);
}

static int refuse(struct member *m, struct heard *h, enum member_reject reason, u64 holder)
{
    h->refused = (u8)reason;
    h->holder = holder;
    m->stats.refused_region += reason == REJECT_REGION;
    m->stats.refused_name += reason == REJECT_NAME;
    m->stats.refused_full += reason == REJECT_FULL;
    if (h->sender == node_key_word(&h->rec.key) && !h->listed) {
        struct send *s = send_add(m, SEND_REJECT, &h->from, h->sender);
        s->reason = (u8)reason;
        s->about = holder;
    }
    return 0;
}

/* May this key have its name? Two that came at the same time, each somewhere else, are told apart
 * by their keys, so that all decide alike. */
static bool name_is_free(const struct member *m, const struct heard *h, struct peer **holder)
{
    bool is_ours = strcmp(h->rec.name, m->self->rec.name) == 0;
    *holder = is_ours ? m->self : peer_by_name(m, h->rec.name);
    if (!*holder || node_key_equal(&(*holder)->rec.key, &h->rec.key))
        return true;
    return m->now_ns < (*holder)->settled_ns &&
           node_key_compare(&h->rec.key, &(*holder)->rec.key) < 0;
}

static void displace(struct member *m, struct peer *holder)
{
    if (holder == m->self) {
        member_tell(m, MEMBER_EVENT_NAME_TAKEN, m->self);
        return;
    }
    struct send *s = send_add(m, SEND_REJECT, &holder->rec.addr, peer_word(holder));
    s->reason = REJECT_NAME;
    m->stats.refused_name++;
    if (is_living(holder))
        member_tell_addr(m, MEMBER_EVENT_DOWN, &holder->rec.key, &holder->rec.addr);
    peer_remove(m, holder);
}

static int take_new(struct member *m, const struct heard *h)
{
    struct peer *p;
    int err = peer_make(&p, h, m->self->rec.region);
    if (err)
        return err;
    p->state = MEMBER_ALIVE;
    p->since_ns = p->heard_ns = m->now_ns;
    p->settled_ns = m->now_ns + (h->listed ? 0 : SETTLE_NS);
    err = peer_add(m, p);
    if (err) {
        peer_free(p);
        return err;
    }
    p->news.kind = ITEM_RECORD;
    p->news.whole = true;
    probe_joined(m, p->index);
    if (!m->joined) {
        m->joined = true;
        m->joined_ns = m->own_ns;
        member_tell(m, MEMBER_EVENT_JOINED, p);
        news_add(m, &m->self->news);
        talk_unsure(m);
    }
    /* The lists that a joiner gets are nobody's news; one that comes later may be of a region that
     * was cut off. */
    if (!h->listed || m->own_ns - m->joined_ns > JOINING_NS)
        news_add(m, &p->news);
    member_tell(m, MEMBER_EVENT_UP, p);
    return 0;
}

/* What changed, told. */
static void tell_update(struct member *m, const struct peer *p, bool was_living, bool moved)
{
    if (p->state == MEMBER_LEFT) {
        if (was_living)
            member_tell(m, MEMBER_EVENT_DOWN, p);
    } else if (!was_living || moved) {
        member_tell(m, MEMBER_EVENT_UP, p);
    } else {
        member_tell(m, MEMBER_EVENT_CHANGED, p);
    }
}

static int take_update(struct member *m, struct peer *p, const struct heard *h)
{
    bool was_living = is_living(p), was_dead = p->state == MEMBER_DEAD;
    u32 body = record_body(&h->rec, h->extra, h->extra_len);
    bool whole = body != p->body || (p->news.next && p->news.kind == ITEM_RECORD && p->news.whole);
    struct addr old = p->rec.addr;
    bool moved = h->rec.epoch != p->rec.epoch || !addr_equal(&old, &h->rec.addr);
    if (body != p->body) {
        struct peer *next;
        int err = peer_make(&next, h, m->self->rec.region);
        if (err)
            return err;
        belief_clear(m, p);
        next->state = p->state;
        next->since_ns = p->since_ns;
        next->settled_ns = p->settled_ns;
        peer_swap(m, p, next);
        p = next;
    }
    belief_clear(m, p);
    peer_out(m, p);
    p->rec.epoch = h->rec.epoch;
    p->rec.incarnation = h->rec.incarnation;
    p->rec.role = h->rec.role;
    p->rec.can_fetch = h->rec.can_fetch;
    p->rec.left = h->rec.left;
    p->sig = h->sig;
    enum member_state to = h->rec.left ? MEMBER_LEFT : MEMBER_ALIVE;
    if (p->state != to) {
        p->state = (u8)to;
        p->since_ns = m->now_ns;
    }
    peer_in(m, p);
    p->news.kind = ITEM_RECORD;
    p->news.whole = whole;
    news_add(m, &p->news);
    if (moved)
        probe_forget(m, peer_word(p));
    if (was_dead && to == MEMBER_ALIVE)
        talk_soon(m, peer_word(p));
    if (!addr_equal(&old, &p->rec.addr)) /* should somebody still sit there, it learns of it */
        send_add(m, SEND_RECORD, &old, 0)->about = peer_word(p);
    tell_update(m, p, was_living, moved);
    return 0;
}

int hear_record(struct member *m, struct heard *h)
{
    struct peer *p = peer_by_word(m, node_key_word(&h->rec.key)), *holder = NULL;
    if (p && !node_key_equal(&p->rec.key, &h->rec.key))
        return refuse(m, h, REJECT_FULL, 0); /* two keys of one word: the first stays */
    if (p && p == m->self)
        return self_heard(m, h);
    if (p && !is_newer(&h->rec, &p->rec))
        return 0;
    if (strcmp(h->rec.region, m->self->rec.region) != 0)
        return refuse(m, h, REJECT_REGION, 0);
    if (!p && h->rec.left)
        return 0;
    bool free_name = h->rec.left || name_is_free(m, h, &holder);
    if (!free_name)
        return refuse(m, h, REJECT_NAME, peer_word(holder));
    int err = verify_record(m, h);
    if (err || h->put_off)
        return err;
    if (holder && !node_key_equal(&holder->rec.key, &h->rec.key))
        displace(m, holder);
    m->learned++;
    err = p ? take_update(m, p, h) : take_new(m, h);
    return err ? refuse(m, h, REJECT_FULL, 0) : 0;
}

/* --- accusations ----------------------------------------------------------------------------- */

/* A verdict about somebody who seems well: a reason to look, not to bury. */
static void look_after(struct member *m, struct peer *p, const struct accusing *a)
{
    struct suspicion *s = suspicion_start(m, p);
    if (!s)
        return;
    keep_verdict(p, a->by, &a->sig);
    set_deadline(m, s, s->start_ns + suspicion_min(m));
}

int hear_accusation(struct member *m, struct accusing *a)
{
    struct peer *p = peer_by_word(m, a->target);
    if (!p || a->by == a->target)
        return 0;
    if (p == m->self)
        return self_accused(m, a);
    if (!is_living(p))
        return 0;
    if (a->epoch != p->rec.epoch || a->incarnation != p->rec.incarnation) {
        bool behind = a->epoch < p->rec.epoch ||
                      (a->epoch == p->rec.epoch && a->incarnation < p->rec.incarnation);
        if (!behind)
            send_add(m, SEND_WANT, &a->from, a->sender)->about = a->target;
        else if (a->sender == a->by)
            send_add(m, SEND_RECORD, &a->from, a->sender)->about = a->target;
        return 0;
    }
    /* What is no news is recognised first: most of what comes is heard from several. */
    const struct suspicion *s = p->suspicion;
    if (a->verdict ? s && s->n == 0 : s && (accused_by(p, a->by) || s->n > m->timing.suspicion_k))
        return 0;
    const struct peer *by = peer_by_word(m, a->by);
    if (!by || by == m->self || !is_living(by))
        return 0;
    bool put_off;
    int err = verify_accusation(m, p, by, a, &put_off);
    if (err || put_off)
        return err;
    if (!a->verdict)
        add_accuser(m, p, a->by, &a->sig);
    else if (s)
        die(m, p, a->by, &a->sig);
    else
        look_after(m, p, a);
    return 0;
}

void accuse(struct member *m, struct peer *p)
{
    struct node_signature sig;
    const struct suspicion *s = p->suspicion;
    if (!is_living(p) || accused_by(p, self_word(m)) || (s && s->n > m->timing.suspicion_k))
        return;
    accusation_sign(m, p, false, &sig);
    add_accuser(m, p, self_word(m), &sig);
}

/* --- the last question, and time ------------------------------------------------------------- */

/* It answered us: whatever others say, it lives. It was told of the suspicion with the question. */
void doubt_answered(struct member *m, struct peer *p)
{
    struct suspicion *s = p->suspicion;
    if (!s || !s->checking)
        return;
    s->checking = false;
    s->silent = 0;
    set_deadline(m, s, m->own_ns + suspicion_min(m));
}

void doubt_silent(struct member *m, struct peer *p)
{
    struct suspicion *s = p->suspicion;
    if (!s || !s->checking)
        return;
    s->checking = false;
    s->silent++;
    wake_at(m, m->own_ns);
}

static void suspect_expire(struct member *m, struct peer *p)
{
    struct suspicion *s = p->suspicion;
    struct node_signature sig;
    if (s->checking)
        return; /* its end wakes us */
    u64 due_ns = s->silent < CHECK_ROUNDS ? s->deadline_ns - check_lead(m) : s->deadline_ns;
    if (due_ns > m->own_ns) {
        wake_at(m, due_ns);
    } else if (s->silent < CHECK_ROUNDS) {
        s->checking = probe_check(m, p);
        if (!s->checking)
            wake_at(m, m->own_ns + CHECK_AGAIN_NS);
    } else {
        accusation_sign(m, p, true, &sig);
        die(m, p, self_word(m), &sig);
    }
}

void belief_expire(struct member *m)
{
    if (m->suspects_due_ns > m->own_ns)
        return;
    m->suspects_due_ns = UINT64_MAX;
    for (u32 i = 0; i < m->n_suspects;) {
        struct peer *p = m->suspects[i];
        suspect_expire(m, p);
        if (i < m->n_suspects && m->suspects[i] == p)
            i++; /* else it died, and another stands in its place */
    }
}

/* --- from the wire --------------------------------------------------------------------------- */

static int hear_renewed(struct member *m, struct wire_in *r, struct heard *h)
{
    bool unknown = false;
    u64 word = 0;
    int err = get_renewed(m, r, h, &unknown, &word);
    if (err)
        return err;
    if (unknown)
        send_add(m, SEND_WANT, &h->from, h->sender)->about = word;
    else if (node_key_is_set(&h->rec.key))
        return hear_record(m, h);
    return 0;
}

int hear_item(struct member *m, unsigned number, struct wire_in *r, const struct addr *from,
              u64 sender, bool listed)
{
    struct heard h;
    struct accusing a;
    switch (number) {
    case MSG_RECORD:
    case MSG_RENEWED:
        memset(&h, 0, offsetof(struct heard, text));
        h.from = *from;
        h.sender = sender;
        h.listed = listed;
        if (number == MSG_RENEWED)
            return hear_renewed(m, r, &h);
        if (get_record(r, &h))
            return ERR_PROTO;
        return hear_record(m, &h);
    case MSG_SUSPECT:
    case MSG_DEAD:
        a = (struct accusing){.from = *from, .sender = sender, .verdict = number == MSG_DEAD};
        if (get_accusation(r, &a))
            return ERR_PROTO;
        return hear_accusation(m, &a);
    default: return ERR_UNSUPPORTED;
    }
}
