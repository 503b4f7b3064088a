/* member_news.c - what is spread, and how often.
 *
 * Each piece of news is a link in the list of those sent as often as it was. A datagram takes from
 * the rarest upwards, within a list the newest first; what was sent 4 * ceil(log10(N + 1)) times is
 * forgotten. The links live in the member or the suspicion they tell of, so that newer news of the
 * same member takes the older's place, and there are never more of them than members and accusers.
 */
#include "proto/member_impl.h"

#include <assert.h>

#define SENDS_PER_DIGIT 4
#define FRESH_LEVELS    3  /* sent less often than this: many have not heard it */
#define BACKLOG         12 /* pieces of fresh news that fit one datagram, about */
#define BACKLOG_SYNC    64
#define MISFITS_MAX     4
#define ITEM_BYTES_MIN  60 /* a signature and a little */

void news_init(struct member *m)
{
    for (int i = 0; i < GOSSIP_LEVELS; i++)
        m->level[i].prev = m->level[i].next = &m->level[i];
    m->gossip_due_ns = UINT64_MAX;
}

static void link_in(struct member *m, struct item *i)
{
    struct item *head = &m->level[i->sends];
    i->prev = head;
    i->next = head->next;
    head->next->prev = i;
    head->next = i;
    m->level_n[i->sends]++;
    m->n_news++;
}

static void link_out(struct member *m, struct item *i)
{
    assert(i->prev && i->next);
    i->prev->next = i->next;
    i->next->prev = i->prev;
    i->prev = i->next = NULL;
    m->level_n[i->sends]--;
    m->n_news--;
}

void news_drop(struct member *m, struct item *i)
{
    if (i->next)
        link_out(m, i);
}

/* The first copies of something new go after a moment, so that several travel together, but not
 * after a whole interval: a death is known sooner by a second. */
static void hurry(struct member *m)
{
    u64 interval = m->timing.gossip_interval_ns;
    u64 soon = m->own_ns + interval / 20 + rng_below(&m->rng, interval / 10 + 1);
    if (soon < m->gossiped_ns + interval / 4)
        soon = m->gossiped_ns + interval / 4;
    if (soon < m->gossip_due_ns)
        m->gossip_due_ns = soon;
}

void news_add(struct member *m, struct item *i)
{
    news_drop(m, i);
    i->sends = 0;
    i->stamp = m->stamp - 1;
    link_in(m, i);
    hurry(m);
}

static unsigned sends_max(const struct member *m)
{
    u64 n = m->counts[MEMBER_ALIVE] + m->counts[MEMBER_SUSPECT] + 2; /* ourselves, and N + 1 */
    unsigned digits = 0;
    for (u64 p = 1; p < n; p *= 10)
        digits++;
    unsigned max = SENDS_PER_DIGIT * (digits ? digits : 1);
    return max < GOSSIP_LEVELS ? max : GOSSIP_LEVELS;
}

static void put_item(struct wire_out *w, const struct item *i)
{
    const struct peer *p = item_about(i);
    switch ((enum item_kind)i->kind) {
    case ITEM_RECORD:
        if (i->whole)
            put_record(w, p);
        else
            put_renewed(w, p);
        break;
    case ITEM_VERDICT: put_accusation(w, p, p->verdict->by, true, &p->verdict->sig); break;
    case ITEM_ACCUSATION:
        put_accusation(w, p, p->suspicion->of[i->slot].by, false, &p->suspicion->of[i->slot].sig);
        break;
    }
}

/* Writes one and moves it on. False: no room for it. */
static bool send_item(struct member *m, struct item *i, struct wire_out *w, unsigned max)
{
    size_t mark = wire_mark(w);
    put_item(w, i);
    if (wire_full(w)) {
        wire_rewind(w, mark);
        return false;
    }
    link_out(m, i);
    i->sends++;
    i->stamp = m->stamp;
    m->stats.gossip_items++;
    if (i->sends < max)
        link_in(m, i);
    return true;
}

void news_fill(struct member *m, struct wire_out *w)
{
    m->stamp++;
    if (m->n_news == 0)
        return;
    unsigned max = sends_max(m), misfits = 0;
    for (unsigned level = 0; level < GOSSIP_LEVELS; level++) {
        struct item *head = &m->level[level];
        for (struct item *i = head->next, *next; i != head; i = next) {
            next = i->next;
            if (wire_room(w) < ITEM_BYTES_MIN || misfits == MISFITS_MAX)
                return;
            if (i->stamp == m->stamp)
                continue;
            misfits += !send_item(m, i, w, max);
        }
    }
}

/* What was sent less often than `below` times. */
static u32 queued(const struct member *m, unsigned below)
{
    u32 n = 0;
    for (unsigned i = 0; i < below; i++)
        n += m->level_n[i];
    return n;
}

/* Several taken at random know all that we know: what went out a few times need not go further.
 * (After a whole region has started there is a minute's worth of it.) */
void news_settle(struct member *m)
{
    for (unsigned i = FRESH_LEVELS; i < GOSSIP_LEVELS; i++)
        while (m->level[i].next != &m->level[i])
            link_out(m, m->level[i].next);
}

void news_burst(struct member *m, unsigned fanout)
{
    u64 chosen[16];
    if (fanout > countof(chosen))
        fanout = countof(chosen);
    for (unsigned i = 0; i < fanout; i++) {
        const struct peer *p = peer_random(m, chosen, i);
        if (!p)
            return;
        chosen[i] = peer_word(p);
        send_add(m, SEND_NEWS, &p->rec.addr, chosen[i]);
    }
}

void news_round(struct member *m)
{
    u64 interval = m->timing.gossip_interval_ns;
    if (queued(m, GOSSIP_LEVELS) == 0) {
        m->gossip_due_ns = UINT64_MAX;
        return;
    }
    news_burst(m, m->timing.gossip_fanout);
    m->gossiped_ns = m->own_ns;
    /* After a partition there is news of half a region: it goes four times as fast, and comparing
     * lists is quicker still. */
    bool busy = queued(m, FRESH_LEVELS) > BACKLOG;
    m->gossip_due_ns = m->own_ns + (busy ? interval / 4 : interval);
    if (queued(m, GOSSIP_LEVELS) > BACKLOG_SYNC && m->unsure == 0)
        talk_unsure(m);
}
