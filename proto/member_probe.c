/* member_probe.c - asking who is alive.
 *
 * One member per interval, in shuffled rounds: each is asked once per round by everybody. No answer
 * within four times the usual round trip (50 to 250 ms): k others are asked to ask, who say so
 * (nack) when they have no answer either, and a stream is tried. No answer to any of these within
 * twice that time again: suspicion. All of it times (health + 1): a node that misses nacks, has to
 * refute, or whose loop is late, is likely the one that is slow.
 *
 * An answer is believed by its 64 random bits, from the address and in the name that was asked.
 * Now and then one of the dead is asked, too: so two halves of a region find each other again. */
#include "proto/member_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PACE_FACTOR    4 /* of the 99th percentile of round trips */
#define INDIRECT_PHASE 2 /* timeouts that the second phase takes */
#define NACK_PERCENT   80
#define RELAY_MS_MAX   4000
#define CONTACT_NS     (2500 * MS_NS) /* each of the dead is asked about so often, by somebody */
#define CONTACTS_MAX   8
#define BAR_AFTER      2
#define BAR_LEVEL_MAX  6 /* 1 s << 6 is over a minute */
#define BAR_MAX_NS     (60 * SECOND_NS)
#define RTT_SMOOTH     4

/* After any of those under way came, went, or was given more time. */
static void probes_fit(struct member *m)
{
    u64 next = UINT64_MAX;
    for (unsigned i = 0; i < m->n_probes; i++)
        if (m->probes[i].due_ns < next)
            next = m->probes[i].due_ns;
    for (unsigned i = 0; i < m->n_relays; i++)
        if (m->relays[i].due_ns < next)
            next = m->relays[i].due_ns;
    m->probes_due_ns = next;
}

static void relay_end(struct member *m, struct relay *y)
{
    *y = m->relays[--m->n_relays];
    probes_fit(m);
}

void probe_init(struct member *m)
{
    m->probes_due_ns = UINT64_MAX;
    m->probe_due_ns = m->own_ns + rng_below(&m->rng, m->timing.probe_interval_ns);
    m->contact_due_ns = m->own_ns + CONTACT_NS + rng_below(&m->rng, CONTACT_NS);
}

/* --- pace ------------------------------------------------------------------------------------ */

static void pace_add(struct member *m, u64 rtt_ns)
{
    u64 us = rtt_ns / 1000;
    m->pace_us[m->n_pace % PACE_SAMPLES] = us < UINT32_MAX ? (u32)us : UINT32_MAX;
    m->n_pace++;
    if (m->n_pace == 2 * PACE_SAMPLES)
        m->n_pace = PACE_SAMPLES;
}

/* For anybody: by the pace of all. */
static u64 common_timeout(const struct member *m)
{
    unsigned n = m->n_pace < PACE_SAMPLES ? m->n_pace : PACE_SAMPLES;
    const struct member_timing *t = &m->timing;
    u32 high = 0;
    if (n < 8)
        return t->probe_timeout_max_ns; /* too few to judge by */
    for (unsigned i = 0; i < n; i++)
        if (m->pace_us[i] > high)
            high = m->pace_us[i];
    u64 timeout = PACE_FACTOR * 1000ull * high; /* the highest of 64: the 99th percentile, about */
    if (timeout < t->probe_timeout_min_ns)
        return t->probe_timeout_min_ns;
    return timeout < t->probe_timeout_max_ns ? timeout : t->probe_timeout_max_ns;
}

/* Most are near, and a few may be far: a tracker is at the centre. What the pace of the near says
 * is too short for these, and an answer that comes too late teaches nothing. */
static u64 probe_timeout(const struct member *m, const struct peer *p)
{
    u64 timeout = common_timeout(m), longest = m->timing.probe_timeout_max_ns;
    u64 own = PACE_FACTOR * 1000ull * p->rtt_us;
    if (p->rtt_us == 0 && (p->probe_fails > 0 || p->rec.role == MEMBER_TRACKER))
        return longest; /* nobody knows how far it is */
    if (own < timeout)
        return timeout;
    return own < longest ? own : longest;
}

/* A round trip that none of our pauses fell into. */
static void rtt_heard(struct member *m, struct peer *p, u64 sent_ns, u64 lost_ns,
                      const struct status *s)
{
    u64 rtt_ns = m->own_ns - sent_ns, us = rtt_ns / 1000;
    if (lost_ns != m->lost_ns || rtt_ns == 0)
        return;
    pace_add(m, rtt_ns);
    if (us == 0)
        us = 1;
    if (us > UINT32_MAX)
        us = UINT32_MAX;
    if (p->rtt_us == 0)
        p->rtt_us = (u32)us;
    else
        p->rtt_us = (u32)(((u64)p->rtt_us * (RTT_SMOOTH - 1) + us) / RTT_SMOOTH);
    coord_update(&m->self->coord, &s->coord, rtt_ns, &m->rng);
}

/* --- quarantine ------------------------------------------------------------------------------ */

/* `fails`: in a row, of fetches or of probes, each counted for itself: a peer may answer pings and
 * yet serve nothing. */
static void bar(struct member *m, struct peer *p, u8 *fails)
{
    if (p->barred_until_ns > m->now_ns)
        return; /* what was under way when it was barred */
    if (*fails < UINT8_MAX)
        ++*fails;
    if (*fails < BAR_AFTER)
        return;
    u64 ns = SECOND_NS << p->bar_level;
    p->barred_until_ns = m->now_ns + (ns < BAR_MAX_NS ? ns : BAR_MAX_NS);
    if (p->bar_level < BAR_LEVEL_MAX)
        p->bar_level++;
}

static void unbar(struct peer *p)
{
    p->fetch_fails = p->probe_fails = p->bar_level = 0;
    p->barred_until_ns = 0;
}

void member_fetch_failed(struct member *m, const struct node_key *k, u64 now_ns)
{
    struct peer *p = peer_by_key(m, k);
    if (now_ns > m->now_ns)
        m->now_ns = now_ns;
    if (p && p != m->self)
        bar(m, p, &p->fetch_fails);
}

void member_fetch_worked(struct member *m, const struct node_key *k, u64 now_ns)
{
    struct peer *p = peer_by_key(m, k);
    if (p && p != m->self) {
        unbar(p);
        p->heard_ns = now_ns;
    }
}

/* --- a probe --------------------------------------------------------------------------------- */

static struct probe *probe_start(struct member *m, struct peer *p, bool check)
{
    if (m->n_probes == PROBES_MAX)
        return NULL;
    struct probe *q = &m->probes[m->n_probes++];
    u64 timeout = probe_timeout(m, p) * (m->health + 1);
    u64 longest = m->timing.probe_interval_ns * (m->health + 1);
    u64 whole = timeout * (1 + INDIRECT_PHASE);
    *q = (struct probe){.seq = rng_u64(&m->rng), .word = peer_word(p), .addr = p->rec.addr};
    q->sent_ns = m->own_ns;
    q->lost_ns = m->lost_ns;
    q->due_ns = m->own_ns + timeout;
    q->end_ns = m->own_ns + (whole < longest || timeout > longest / 2 ? whole : longest);
    q->check = check;
    probes_fit(m);
    m->stats.probes++;
    send_add(m, SEND_PING, &p->rec.addr, q->word)->seq = q->seq;
    return q;
}

bool probe_check(struct member *m, struct peer *p)
{
    return probe_start(m, p, true) != NULL;
}

static void probe_end(struct member *m, struct probe *q)
{
    *q = m->probes[--m->n_probes];
    probes_fit(m);
}

void probe_forget(struct member *m, u64 word)
{
    for (unsigned i = 0; i < m->n_probes;) {
        if (m->probes[i].word == word)
            probe_end(m, &m->probes[i]);
        else
            i++;
    }
}

static void probe_indirect(struct member *m, struct probe *q)
{
    u64 without[INDIRECT_MAX + 1] = {q->word};
    const struct peer *p = peer_by_word(m, q->word), *helper;
    u64 timeout_ms = (q->end_ns - q->due_ns) / INDIRECT_PHASE / MS_NS;
    q->indirect = true;
    for (unsigned i = 0; i < m->timing.indirect; i++) {
        helper = peer_random(m, without, i + 1);
        if (!helper)
            break;
        q->relay[i] = without[i + 1] = peer_word(helper);
        q->relays++;
        struct send *s = send_add(m, SEND_PING_REQ, &helper->rec.addr, q->relay[i]);
        s->seq = q->seq;
        s->about = q->word;
        s->timeout_ms = (u16)(timeout_ms < RELAY_MS_MAX ? timeout_ms : RELAY_MS_MAX);
        m->stats.indirect_probes++;
    }
    q->due_ns = q->end_ns;
    probes_fit(m);
    if (!p)
        return;
    /* Once more ourselves: on a path that loses one in twenty, this saves nine of ten suspicions.
     */
    q->again_ns = m->own_ns;
    send_add(m, SEND_PING, &q->addr, q->word)->seq = q->seq ^ 1;
    q->dial = talk_knock(m, p);
}

static void probe_failed(struct member *m, struct probe *q)
{
    struct probe was = *q;
    struct peer *p = peer_by_word(m, was.word);
    unsigned missed = was.relays - was.nacks;
    probe_end(m, q);
    m->stats.probe_failures++;
    m->stats.nacks_missed += missed;
    if (!p || p == m->self || !is_living(p))
        return; /* one of the dead, asked in case */
    /* Nacks show that it is not we who are cut off. */
    member_worse(m, was.relays > 0 ? missed : 1);
    bar(m, p, &p->probe_fails);
    if (was.check)
        doubt_silent(m, p);
    accuse(m, p);
}

static void probe_answered(struct member *m, struct probe *q)
{
    struct peer *p = peer_by_word(m, q->word);
    bool check = q->check;
    probe_end(m, q);
    if (m->health > 0)
        m->health--;
    if (!p || p == m->self)
        return;
    p->heard_ns = m->now_ns;
    p->probe_fails = 0;
    if (p->fetch_fails == 0)
        unbar(p);
    if (check)
        doubt_answered(m, p);
}

/* --- rounds ---------------------------------------------------------------------------------- */

void probe_joined(struct member *m, u32 index)
{
    if (m->n_order == m->cap_order) {
        u32 cap = m->cap_order ? 2 * m->cap_order : 16;
        u32 *order = realloc(m->order, cap * sizeof(u32));
        if (!order)
            return; /* asked from the next round on */
        m->order = order;
        m->cap_order = cap;
    }
    u32 at = m->order_at + (u32)rng_below(&m->rng, m->n_order - m->order_at + 1);
    u32 moved = at < m->n_order ? m->order[at] : index;
    m->order[m->n_order++] = moved;
    m->order[at] = index;
}

static void round_start(struct member *m)
{
    if (m->cap_order < m->n_peers) {
        u32 *order = realloc(m->order, m->n_peers * sizeof(u32));
        if (!order)
            return; /* the last round's order once more */
        m->order = order;
        m->cap_order = m->n_peers;
    }
    for (u32 i = 0; i < m->n_peers; i++)
        m->order[i] = i;
    m->n_order = m->n_peers;
    m->order_at = 0;
    rng_shuffle_u32(&m->rng, m->order, m->n_order);
}

/* The next living one of this round. */
static struct peer *round_next(struct member *m)
{
    for (int rounds = 0; rounds < 2; rounds++) {
        while (m->order_at < m->n_order) {
            u32 index = m->order[m->order_at++];
            if (index < m->n_peers && is_living(m->peers[index]))
                return m->peers[index];
        }
        round_start(m);
    }
    return NULL;
}

const void *probe_place(const struct member *m, unsigned step)
{
    if (m->order_at >= m->n_order)
        return NULL;
    const u32 *index = &m->order[m->order_at];
    if (step == 0)
        return index;
    if (*index >= m->n_peers)
        return NULL;
    return step == 1 ? (const void *)&m->peers[*index] : m->peers[*index];
}

/* Some of the dead, as many as let each be asked once per CONTACT_NS by all of us together. */
static void contact_dead(struct member *m)
{
    size_t dead = m->counts[MEMBER_DEAD];
    size_t living = m->counts[MEMBER_ALIVE] + m->counts[MEMBER_SUSPECT] + 1;
    m->contact_due_ns = m->own_ns + CONTACT_NS / 2 + rng_below(&m->rng, CONTACT_NS + 1);
    if (dead == 0)
        return;
    size_t n = dead / living + (rng_below(&m->rng, living) < dead % living);
    if (n > CONTACTS_MAX)
        n = CONTACTS_MAX;
    u32 start = (u32)rng_below(&m->rng, m->n_peers);
    for (u32 i = 0; i < m->n_peers && n > 0; i++) {
        struct peer *p = m->peers[(start + i) % m->n_peers];
        if (p->state == MEMBER_DEAD && probe_start(m, p, false))
            n--;
    }
}

u64 probe_next(const struct member *m)
{
    u64 next = m->leaving ? UINT64_MAX : m->probe_due_ns;
    if (!m->leaving && m->contact_due_ns < next && m->counts[MEMBER_DEAD] > 0)
        next = m->contact_due_ns;
    return m->probes_due_ns < next ? m->probes_due_ns : next;
}

static void relays_expire(struct member *m)
{
    for (unsigned i = 0; i < m->n_relays;) {
        struct relay *y = &m->relays[i];
        if (y->due_ns > m->own_ns) {
            i++;
            continue;
        }
        send_add(m, SEND_NACK, &y->asker, 0)->seq = y->their_seq;
        relay_end(m, y);
    }
}

void probe_expire(struct member *m)
{
    bool due = m->probes_due_ns <= m->own_ns;
    if (due)
        relays_expire(m);
    for (unsigned i = 0; due && i < m->n_probes;) {
        struct probe *q = &m->probes[i];
        u64 seq = q->seq;
        if (q->due_ns > m->own_ns) {
            i++;
            continue;
        }
        const struct peer *p = peer_by_word(m, q->word);
        if (!q->indirect && p && is_living(p))
            probe_indirect(m, q);
        else
            probe_failed(m, q);
        if (i < m->n_probes && m->probes[i].seq == seq)
            i++;
    }
    if (m->leaving)
        return;
    if (m->probe_due_ns <= m->own_ns) {
        struct peer *p = round_next(m);
        if (p)
            probe_start(m, p, false);
        m->probe_due_ns = m->own_ns + m->timing.probe_interval_ns * (m->health + 1);
    }
    if (m->contact_due_ns <= m->own_ns)
        contact_dead(m);
}

/* --- what comes ------------------------------------------------------------------------------ */

void status_heard(struct member *m, struct peer *p, const struct status *s)
{
    p->coord = s->coord;
    p->load = s->load;
    p->key_ids[0] = s->key_ids[0];
    p->key_ids[1] = s->key_ids[1];
    p->heard_ns = m->now_ns;
}

/* Who knows another record of ours than this one is sent it. */
static void compare_notes(struct member *m, const struct addr *from, u64 sender,
                          const struct status *s)
{
    if (s->known != stamp_of(m->self))
        send_add(m, SEND_RECORD, from, sender)->about = self_word(m);
}

static void read_ping(struct member *m, const struct addr *from, u64 sender, u64 seq,
                      const struct status *s)
{
    struct peer *p = peer_by_word(m, sender);
    send_add(m, SEND_ACK, from, sender)->seq = seq;
    if (p && addr_equal(&p->rec.addr, from))
        status_heard(m, p, s);
    compare_notes(m, from, sender, s);
}

static void read_ack(struct member *m, const struct addr *from, u64 sender, u64 seq,
                     const struct status *s)
{
    struct peer *p = peer_by_word(m, sender);
    if (!p || p == m->self || !addr_equal(&p->rec.addr, from))
        return;
    for (unsigned i = 0; i < m->n_probes; i++) {
        struct probe *q = &m->probes[i];
        bool second = q->indirect && seq == (q->seq ^ 1);
        if ((q->seq != seq && !second) || q->word != sender || !addr_equal(&q->addr, from))
            continue;
        status_heard(m, p, s);
        rtt_heard(m, p, second ? q->again_ns : q->sent_ns, q->lost_ns, s);
        probe_answered(m, q);
        compare_notes(m, from, sender, s);
        return;
    }
    for (unsigned i = 0; i < m->n_relays; i++) {
        struct relay *y = &m->relays[i];
        if (y->seq != seq || y->word != sender || !addr_equal(&y->addr, from))
            continue;
        status_heard(m, p, s);
        rtt_heard(m, p, y->sent_ns, y->lost_ns, s);
        send_add(m, SEND_RELAYED, &y->asker, 0)->seq = y->their_seq;
        relay_end(m, y);
        return;
    }
}

static void read_ping_req(struct member *m, const struct addr *from, u64 seq, u64 target, u64 ms)
{
    const struct peer *p = peer_by_word(m, target);
    /* Only to where a member is known to sit: nobody makes us send elsewhere. */
    if (!p || p == m->self || m->n_relays == RELAYS_MAX) {
        send_add(m, SEND_NACK, from, 0)->seq = seq;
        return;
    }
    struct relay *y = &m->relays[m->n_relays++];
    *y = (struct relay){.seq = rng_u64(&m->rng), .their_seq = seq, .word = target};
    y->addr = p->rec.addr;
    y->asker = *from;
    y->sent_ns = m->own_ns;
    y->lost_ns = m->lost_ns;
    y->due_ns = m->own_ns + ms * MS_NS * NACK_PERCENT / 100;
    probes_fit(m);
    send_add(m, SEND_PING, &p->rec.addr, target)->seq = y->seq;
}

static void read_relayed(struct member *m, u64 sender, u64 seq, bool alive)
{
    for (unsigned i = 0; i < m->n_probes; i++) {
        struct probe *q = &m->probes[i];
        for (unsigned k = 0; q->seq == seq && k < q->relays; k++) {
            if (q->relay[k] != sender)
                continue;
            q->relay[k] = 0; /* each speaks once */
            q->nacks++;
            if (alive)
                probe_answered(m, q);
            return;
        }
    }
}

void probe_knocked(struct member *m, u32 dial, bool alive)
{
    for (unsigned i = 0; i < m->n_probes; i++) {
        if (m->probes[i].dial != dial || dial == 0)
            continue;
        if (alive)
            probe_answered(m, &m->probes[i]);
        return;
    }
}

int probe_read(struct member *m, const struct addr *from, u64 sender, unsigned number,
               struct wire_in *r)
{
    struct status s;
    u64 seq = wire_get_u64(r), target = 0, ms = 0;
    if (number == MSG_PING || number == MSG_PING_REQ)
        target = wire_get_u64(r);
    if (number == MSG_PING_REQ)
        ms = wire_get_max(r, RELAY_MS_MAX);
    if (number == MSG_PING || number == MSG_ACK)
        get_status(r, &s);
    if (!wire_ok(r))
        return ERR_PROTO;
    if (number == MSG_PING && target == self_word(m))
        read_ping(m, from, sender, seq, &s);
    else if (number == MSG_ACK)
        read_ack(m, from, sender, seq, &s);
    else if (number == MSG_PING_REQ)
        read_ping_req(m, from, seq, target, ms);
    else if (number == MSG_RELAYED || number == MSG_NACK)
        read_relayed(m, sender, seq, number == MSG_RELAYED);
    return 0;
}
