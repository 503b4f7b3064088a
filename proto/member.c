/* member.c - making, driving and looking on; see member.h, and member_impl.h for the other parts.
 */
#include "proto/member_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS_MIN  16
#define EVENTS_KEPT 64 /* a larger queue is given back when it has been read */
#define REAP_CHECK  30 /* walks of the list per reap time */

const char *member_state_name(enum member_state s)
{
    switch (s) {
    case MEMBER_ALIVE: return "alive";
    case MEMBER_SUSPECT: return "suspect";
    case MEMBER_DEAD: return "dead";
    case MEMBER_LEFT: return "left";
    case MEMBER_STATE_COUNT: break;
    }
    return "unknown";
}

/* --- making ---------------------------------------------------------------------------------- */

static void set_default_u64(u64 *v, u64 preset)
{
    if (*v == 0)
        *v = preset;
}

static void set_default(unsigned *v, unsigned preset, unsigned max)
{
    if (*v == 0)
        *v = preset;
    if (*v > max)
        *v = max;
}

static void timing_defaults(struct member_timing *t)
{
    set_default_u64(&t->probe_interval_ns, 500 * MS_NS);
    set_default_u64(&t->probe_timeout_min_ns, 50 * MS_NS);
    set_default_u64(&t->probe_timeout_max_ns, 250 * MS_NS);
    set_default_u64(&t->gossip_interval_ns, 200 * MS_NS);
    set_default_u64(&t->sync_interval_ns, 30 * SECOND_NS);
    set_default_u64(&t->reap_ns, 3600 * SECOND_NS);
    set_default(&t->indirect, 3, INDIRECT_MAX);
    set_default(&t->gossip_fanout, 3, 8);
    set_default(&t->suspicion_alpha, 4, 100);
    set_default(&t->suspicion_beta, 6, 100);
    set_default(&t->suspicion_k, 3, ACCUSERS_MAX - 1);
}

static const char *text_or_empty(const char *text)
{
    return text ? text : "";
}

static bool is_text(const char *text, size_t max)
{
    size_t n = 0;
    for (; text[n]; n++)
        if (n == max || (u8)text[n] < 0x20 || text[n] == 0x7f)
            return false;
    return true;
}

static bool is_record(const struct member_record *r)
{
    return is_text(r->name, MEMBER_TEXT_MAX) && r->name[0] && is_text(r->region, MEMBER_TEXT_MAX) &&
           is_text(r->rack, MEMBER_TEXT_MAX) && is_text(r->public_url, MEMBER_URL_MAX) &&
           addr_is_set(&r->addr) && (r->role == MEMBER_NODE || r->role == MEMBER_TRACKER);
}

/* Ourselves from what the caller says: the region's text is our own copy, which all others' records
 * point to. */
static int self_make(struct peer **out, const struct member_record *r, const char *region,
                     u8 fetches)
{
    struct heard h = {.rec = *r};
    h.rec.name = text_or_empty(r->name);
    h.rec.region = region;
    h.rec.rack = text_or_empty(r->rack);
    h.rec.public_url = text_or_empty(r->public_url);
    u8 extra[EXTRA_MAX];
    if (!is_record(&h.rec) || r->n_serves > MEMBER_SERVES_MAX)
        return ERR_INVAL;
    h.extra = extra;
    h.extra_len = serves_pack(r->serves, r->n_serves, extra);
    h.extra_len += fetches_pack(fetches, extra + h.extra_len, EXTRA_MAX - h.extra_len);
    h.rec.serves = NULL; /* the caller's */
    h.rec.n_serves = 0;
    return peer_make(out, &h, region);
}

int member_new(struct member **out, const struct member_options *opt)
{
    struct node_key key;
    const char *region = text_or_empty(opt->self.region);
    struct member *m = calloc(1, sizeof(*m));
    char *region_copy = strdup(region);
    int err = m && region_copy ? 0 : ERR_NOMEM;
    identity_public(&opt->secret, &key);
    if (!err && (!node_key_equal(&key, &opt->self.key) || opt->datagram_max < 256))
        err = ERR_INVAL;
    if (!err)
        err = self_make(&m->self, &opt->self, region_copy, 0);
    if (err) {
        free(region_copy);
        free(m);
        return err;
    }
    m->region = region_copy;
    m->word = node_key_word(&key);
    m->secret = opt->secret;
    m->timing = opt->timing;
    timing_defaults(&m->timing);
    m->rng = rng_split(&opt->rng, "member");
    m->table_seed = rng_u64(&m->rng);
    struct rng rates = rng_split(&m->rng, "rates");
    rate_init(&m->by_author, LIMIT_RATE_RECORDS, LIMIT_RATE_RECORDS_S, rng_u64(&rates));
    rate_init(&m->by_accuser, LIMIT_RATE_DOUBTS, LIMIT_RATE_DOUBTS_S, rng_u64(&rates));
    rate_init(&m->by_sender, LIMIT_RATE_SENDER, LIMIT_RATE_SENDER_S, rng_u64(&rates));
    m->datagram_max = opt->datagram_max;
    m->clear = opt->clear;
    m->now_ns = m->own_ns = opt->now_ns;
    m->suspects_due_ns = UINT64_MAX;
    m->self->rec.left = false;
    if (m->self->rec.incarnation == 0)
        m->self->rec.incarnation = 1;
    m->self->since_ns = m->now_ns;
    m->self->settled_ns = m->now_ns + 30 * SECOND_NS;
    m->reap_due_ns = m->own_ns + m->timing.reap_ns / REAP_CHECK;
    self_sign(m);
    news_init(m);
    probe_init(m);
    talk_init(m);
    m->self->news.kind = ITEM_RECORD;
    m->self->news.whole = true;
    *out = m;
    return 0;
}

void member_del(struct member *m)
{
    if (!m)
        return;
    for (u32 i = 0; i < m->n_peers; i++)
        peer_free(m->peers[i]);
    peer_free(m->self);
    member_table_fini(&m->by_word);
    member_table_fini(&m->by_name);
    free(m->peers);
    free(m->suspects);
    free(m->order);
    free(m->events);
    free(m->region);
    free(m);
}

/* --- events ---------------------------------------------------------------------------------- */

static struct member_event *event_add(struct member *m)
{
    if (m->n_events == m->cap_events) {
        u32 cap = m->cap_events ? 2 * m->cap_events : EVENTS_MIN;
        struct member_event *events = NULL;
        if (cap <= 4 * LIMIT_MEMBERS)
            events = malloc(cap * sizeof(*events));
        if (!events) {
            m->stats.events_lost++;
            return NULL;
        }
        for (u32 i = 0; i < m->n_events; i++)
            events[i] = m->events[(m->events_at + i) % m->cap_events];
        free(m->events);
        m->events = events;
        m->cap_events = cap;
        m->events_at = 0;
    }
    return &m->events[(m->events_at + m->n_events++) % m->cap_events];
}

void member_tell_addr(struct member *m, enum member_event_kind kind, const struct node_key *k,
                      const struct addr *a)
{
    struct member_event *ev = event_add(m);
    const struct peer *p = peer_by_key(m, k);
    if (ev)
        *ev = (struct member_event){.kind = kind, .key = *k, .addr = *a};
    if (ev && p)
        ev->state = (enum member_state)p->state;
}

void member_tell(struct member *m, enum member_event_kind kind, const struct peer *p)
{
    member_tell_addr(m, kind, &p->rec.key, &p->rec.addr);
}

bool member_next_event(struct member *m, struct member_event *ev)
{
    if (m->n_events == 0) {
        if (m->cap_events > EVENTS_KEPT) {
            free(m->events);
            m->events = NULL;
            m->cap_events = m->events_at = 0;
        }
        return false;
    }
    *ev = m->events[m->events_at];
    m->events_at = (m->events_at + 1) % m->cap_events;
    m->n_events--;
    return true;
}

/* --- time ------------------------------------------------------------------------------------ */

void member_worse(struct member *m, unsigned by)
{
    m->health = m->health + by < MEMBER_HEALTH_MAX ? m->health + by : MEMBER_HEALTH_MAX;
}

static u64 next_own(const struct member *m)
{
    u64 next = m->gossip_due_ns, other = probe_next(m);
    if (other < next)
        next = other;
    other = talk_next(m);
    if (other < next)
        next = other;
    if (m->suspects_due_ns < next)
        next = m->suspects_due_ns;
    return m->reap_due_ns < next ? m->reap_due_ns : next;
}

u64 member_next_expiry(const struct member *m)
{
    return next_own(m) + m->lost_ns;
}

/* Every call that tells the time comes through here. What lies beyond the moment at which we
 * wanted to be called is a pause of ours, and does not count. */
void member_tick(struct member *m, u64 now_ns)
{
    if (now_ns <= m->now_ns)
        return;
    u64 due_ns = member_next_expiry(m);
    if (due_ns < m->now_ns)
        due_ns = m->now_ns;
    if (now_ns > due_ns && now_ns - due_ns > LATE_NS) {
        u64 late_ns = now_ns - due_ns;
        m->lost_ns += late_ns;
        m->stats.pauses++;
        member_worse(m, late_ns > 3 * SECOND_NS ? 4 : 1 + (unsigned)(late_ns / SECOND_NS));
    }
    m->now_ns = now_ns;
    m->own_ns = now_ns - m->lost_ns;
}

void member_lag(struct member *m, u64 lag_ns, u64 now_ns)
{
    member_tick(m, now_ns);
    if (lag_ns <= LATE_NS || m->own_ns < m->lag_counted_ns)
        return;
    m->lag_counted_ns = m->own_ns + m->timing.probe_interval_ns;
    member_worse(m, 1);
}

static void reap(struct member *m)
{
    m->reap_due_ns = m->own_ns + m->timing.reap_ns / REAP_CHECK + 1;
    for (u32 i = 0; i < m->n_peers;) {
        struct peer *p = m->peers[i];
        if (!is_living(p) && m->now_ns - p->since_ns >= m->timing.reap_ns)
            peer_remove(m, p);
        else
            i++;
    }
}

void member_expire(struct member *m, u64 now_ns)
{
    member_tick(m, now_ns);
    probe_expire(m);
    belief_expire(m);
    talk_expire(m);
    if (m->gossip_due_ns <= m->own_ns)
        news_round(m);
    if (m->reap_due_ns <= m->own_ns)
        reap(m);
}

/* --- talking --------------------------------------------------------------------------------- */

static u64 word_of(const u8 sender[8])
{
    u64 word = 0;
    for (int i = 0; i < 8; i++)
        word = word << 8 | sender[i];
    return word;
}

static int read_want(struct member *m, const struct addr *from, u64 sender, struct wire_in *r)
{
    u64 word = wire_get_u64(r);
    if (!wire_ok(r))
        return ERR_PROTO;
    const struct peer *p = peer_by_word(m, word);
    if (p && (p == m->self || is_living(p)))
        send_add(m, SEND_RECORD, from, sender)->about = word;
    return 0;
}

static int read_reject(struct member *m, const struct addr *from, struct wire_in *r)
{
    u64 reason = wire_get_max(r, REJECT_COUNT - 1);
    if (!wire_ok(r))
        return ERR_PROTO;
    reject_heard(m, (enum member_reject)reason, from);
    return 0;
}

static int read_message(struct member *m, const struct addr *from, u64 sender, unsigned number,
                        struct wire_in *msg)
{
    switch (number) {
    case MSG_PING:
    case MSG_ACK:
    case MSG_PING_REQ:
    case MSG_RELAYED:
    case MSG_NACK: return probe_read(m, from, sender, number, msg);
    case MSG_WANT: return read_want(m, from, sender, msg);
    case MSG_REJECT: return read_reject(m, from, msg);
    default: return hear_item(m, number, msg, from, sender, false);
    }
}

int member_read(struct member *m, const struct addr *from, const u8 sender[8], unsigned number,
                struct wire_in *msg, u64 now_ns)
{
    u64 word = word_of(sender);
    member_tick(m, now_ns);
    if (word == self_word(m))
        return ERR_DENIED;
    int err = read_message(m, from, word, number, msg);
    m->stats.malformed += err == ERR_PROTO;
    return err;
}

int member_answer(struct member *m, const struct addr *from, const u8 sender[8], unsigned number,
                  struct wire_in *request, struct wire_out *answer, u64 now_ns)
{
    u64 word = word_of(sender);
    (void)from; /* a stream's port says nothing: the caller's record does */
    member_tick(m, now_ns);
    if (word == self_word(m))
        return ERR_DENIED;
    int err = talk_answer(m, word, number, request, answer);
    m->stats.malformed += err == ERR_PROTO;
    return err;
}

void member_dialed(struct member *m, u32 id, int err, struct wire_in *answer, u64 now_ns)
{
    member_tick(m, now_ns);
    m->stats.malformed += talk_dialed(m, id, err, answer) == ERR_PROTO;
}

/* A datagram's own message, what there is to say about who gets it, and news in what room is left.
 */
static bool write_one(struct member *m, const struct send *s, struct wire_out *w)
{
    size_t mark = wire_mark(w);
    if (!send_write(m, s, w) || wire_full(w)) {
        wire_rewind(w, mark);
        return false;
    }
    const struct peer *to = s->to_word ? peer_by_word(m, s->to_word) : NULL;
    if (to && to != m->self && (s->kind == SEND_PING || s->kind == SEND_ACK))
        put_doubts(w, to);
    news_fill(m, w);
    return w->len > mark;
}

bool member_write(struct member *m, struct addr *to, struct wire_out *w, u64 now_ns)
{
    member_tick(m, now_ns);
    struct wire_out part = *w;
    if (part.cap - part.len > m->datagram_max)
        part.cap = part.len + m->datagram_max;
    while (m->n_sends > 0) {
        struct send s = m->sends[m->sends_at];
        m->sends_at = (m->sends_at + 1) % SENDS_MAX;
        if (--m->n_sends == 0)
            m->sends_at = 0; /* the same place again, which is at hand */
        if (!write_one(m, &s, &part))
            continue;
        *to = s.to;
        w->len = part.len;
        return true;
    }
    return false;
}

void member_own(struct member *m, const struct addr *from, u64 now_ns)
{
    member_tick(m, now_ns);
    if (addr_equal(from, &m->self->rec.addr))
        return;
    if (m->cloned_ns && m->own_ns - m->cloned_ns < 10 * SECOND_NS)
        return;
    m->cloned_ns = m->own_ns;
    member_tell_addr(m, MEMBER_EVENT_CLONED, &m->self->rec.key, from);
}

/* --- being told ------------------------------------------------------------------------------ */

void member_change(struct member *m, const struct member_record *self, u64 now_ns)
{
    struct peer *next, *old = m->self;
    member_tick(m, now_ns);
    struct member_record r = *self;
    r.key = old->rec.key;
    r.epoch = old->rec.epoch;
    r.incarnation = old->rec.incarnation;
    r.left = false;
    if (m->leaving || self_make(&next, &r, m->region, m->fetches))
        return;
    next->coord = old->coord;
    next->load = old->load;
    memcpy(next->key_ids, old->key_ids, sizeof(old->key_ids));
    next->since_ns = old->since_ns;
    next->settled_ns = old->settled_ns;
    bool whole = next->body != old->body || (old->news.next && old->news.whole);
    news_drop(m, &old->news);
    peer_free(old);
    m->self = next;
    self_renew(m);
    next->news.whole = whole;
}

void member_change_fetches(struct member *m, const struct member_record *self, u8 fetches,
                           u64 now_ns)
{
    m->fetches = fetches < MEMBER_FETCHES_MAX ? fetches : MEMBER_FETCHES_MAX;
    member_change(m, self, now_ns);
}

void member_leave(struct member *m, u64 now_ns)
{
    member_tick(m, now_ns);
    if (m->leaving)
        return;
    m->leaving = true;
    m->self->rec.left = true;
    self_renew(m);
    news_burst(m, 4 * m->timing.gossip_fanout);
}

void member_set_load(struct member *m, u8 load)
{
    m->self->load = load;
}

void member_set_key_ids(struct member *m, const u32 ids[2])
{
    m->self->key_ids[0] = ids[0];
    m->self->key_ids[1] = ids[1];
}

/* --- looking on ------------------------------------------------------------------------------ */

static void view(const struct member *m, const struct peer *p, struct member_view *out)
{
    *out = (struct member_view){
        .record = &p->rec,
        .state = (enum member_state)p->state,
        .since_ns = p->since_ns,
        .rtt_ns = 1000ull * p->rtt_us,
        .coord = p->coord,
        .load = p->load,
        .barred = p->barred_until_ns > m->now_ns,
        .heard_ns = p->heard_ns,
        .key_ids = {p->key_ids[0], p->key_ids[1]},
        .extra = (const u8 *)p->text,
        .extra_len = p->extra_len,
    };
}

bool member_find(const struct member *m, const struct node_key *k, struct member_view *out)
{
    const struct peer *p = peer_by_key(m, k);
    if (p)
        view(m, p, out);
    return p != NULL;
}

bool member_find_sender(const struct member *m, const u8 sender[8], struct member_view *out)
{
    const struct peer *p = peer_by_word(m, word_of(sender));
    if (p)
        view(m, p, out);
    return p != NULL;
}

const struct node_key *member_key_of(const struct member *m, const u8 sender[8])
{
    const struct peer *p = peer_by_word(m, word_of(sender));
    return p ? &p->rec.key : NULL;
}

static void warm_lines(const void *p, size_t size)
{
    for (size_t at = 0; at < size; at += LINE_BYTES)
        __builtin_prefetch((const char *)p + at);
}

void member_warm(const struct member *m, unsigned step, const u8 *sender)
{
    const void *place;
    if (step == 0) {
        warm_lines(m, offsetof(struct member, timing));
        warm_lines(&m->sends[0], sizeof(m->sends[0]));
        return;
    }
    if (step == 1) {
        warm_lines(m->self, 2 * (size_t)LINE_BYTES);
        warm_lines(&m->probes[0], sizeof(m->probes[0]));
    }
    place = sender ? peer_place(m, word_of(sender), step - 1) : probe_place(m, step - 1);
    if (place)
        warm_lines(place, step == 3 ? 2 * (size_t)LINE_BYTES : 1);
}

bool member_each(const struct member *m, size_t *at, struct member_view *out)
{
    if (*at >= m->n_peers)
        return false;
    view(m, m->peers[(*at)++], out);
    return true;
}

const struct member_record *member_self(const struct member *m)
{
    return &m->self->rec;
}

const struct coord *member_coord(const struct member *m)
{
    return &m->self->coord;
}

size_t member_count(const struct member *m, enum member_state s)
{
    return m->counts[s] + (s == (m->leaving ? MEMBER_LEFT : MEMBER_ALIVE));
}

unsigned member_health(const struct member *m)
{
    return m->health;
}

void member_stats(const struct member *m, struct member_stats *out)
{
    *out = m->stats;
}

u64 member_bytes(const struct member *m)
{
    u64 n = sizeof(*m) + m->cap_peers * sizeof(struct peer *) + m->cap_order * sizeof(u32) +
            8ull * (m->by_word.cap + m->by_name.cap) + m->cap_suspects * sizeof(struct peer *) +
            m->cap_events * sizeof(struct member_event);
    for (u32 i = 0; i < m->n_peers; i++) {
        const struct peer *p = m->peers[i];
        n += offsetof(struct peer, text) + strlen(p->rec.name) + strlen(p->rec.rack) +
             strlen(p->rec.public_url) + 3 + p->extra_len;
        n += p->suspicion ? sizeof(*p->suspicion) : 0;
        n += p->verdict ? sizeof(*p->verdict) : 0;
    }
    return n;
}
