/* inventory_link.c - one neighbour: numbered batches of ops, acknowledged.
 *
 * A batch goes when the link has been still for batch_ns, or as soon as a datagram is full: the
 * first op of a quiet link waits for nobody. Each carries what was received the other way (all up
 * to `ack`, and a mask beyond); where nothing goes that way an empty batch does it, 150 ms after
 * the last one came, 500 ms at most, and at once where the link was quiet. A hole in what is
 * acknowledged is sent again at once, the oldest of what is not after a time-out as TCP's (RFC
 * 6298): the last batch lost is noticed too.
 *
 * A neighbour that leaves a repeated batch unanswered is *silent*: until it answers, or membership
 * decides, links to its own neighbours stand in for it, from the first unanswered op on, so that
 * nothing hangs on one node's health. */
#include "proto/inventory_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define ACK_NS       (150 * INVENTORY_MS)
#define ACK_MAX_NS   (500 * INVENTORY_MS)
#define ACK_SOON_NS  (20 * INVENTORY_MS)  /* reordering is not loss */
#define ACK_QUIET_NS (400 * INVENTORY_MS) /* no other batch may follow: tell it at once */
#define RTO_FIRST    (700 * INVENTORY_MS)
#define RTO_MIN      (200 * INVENTORY_MS)
#define RTO_MAX      (3000 * INVENTORY_MS)
#define TRIES_MAX    6
#define KEEP_NS      (5000 * INVENTORY_MS)
#define ASK_NS       (100 * INVENTORY_MS)
#define LOG_STEP     64u /* room in the log is looked for once in so many entries */

static struct inventory_sent *sent_at(struct inventory_link *l, u32 seq)
{
    return &l->sent[seq % INVENTORY_WINDOW];
}

/* Serial numbers (RFC 1982): less, equal, greater. */
static int order(u32 a, u32 b)
{
    return (int32_t)(a - b) < 0 ? -1 : a != b;
}

/* It is given what is new. */
static bool outward(const struct inventory_link *l)
{
    return l->tree || l->instead_of != INVENTORY_NONE;
}

/* --- when ------------------------------------------------------------------------------------ */

static u64 timeout(const struct inventory_link *l)
{
    u64 t = l->srtt_ns ? l->srtt_ns + 4 * l->rttvar_ns : RTO_FIRST;
    return inventory_min(inventory_max(t, RTO_MIN), RTO_MAX);
}

static u32 item_room(const struct inventory *v)
{
    return (u32)v->datagram_max - INVENTORY_FRAME_BYTES;
}

/* Entries that fill a datagram, about. */
static u32 full_batch(const struct inventory *v)
{
    return item_room(v) / INVENTORY_TYPICAL_BYTES;
}

/* When the oldest that is not acknowledged should go again; or one that was seen missing. */
static u64 resend_due(const struct inventory_link *l, u32 *seq)
{
    if (l->low == l->seq)
        return UINT64_MAX;
    for (u32 q = l->low; q != l->seq; q++)
        if (l->sent[q % INVENTORY_WINDOW].resend) {
            *seq = q;
            return 0;
        }
    const struct inventory_sent *s = &l->sent[l->low % INVENTORY_WINDOW];
    *seq = l->low;
    return s->sent_ns + (timeout(l) << (s->tries ? s->tries - 1 : 0));
}

static u64 data_due(const struct inventory *v, const struct inventory_link *l)
{
    u32 waiting = v->waiting[l->slot];
    if (!outward(l) || waiting == 0 || l->seq - l->low >= INVENTORY_WINDOW)
        return UINT64_MAX;
    if (waiting >= full_batch(v))
        return 0;
    return l->last_ns ? l->last_ns + v->batch_ns : 0;
}

static u64 link_due(const struct inventory *v, const struct inventory_link *l)
{
    u32 seq;
    u64 t = inventory_min(resend_due(l, &seq), l->ack_ns);
    return inventory_min(t, data_due(v, l));
}

/* After anything about it changed: when it has something to do. */
static void link_note(struct inventory *v, const struct inventory_link *l)
{
    u64 t = inventory_min(link_due(v, l), l->ask_ns);
    v->link_due[l->slot] = outward(l) ? t : inventory_min(t, l->keep_ns);
    v->outward = (v->outward & ~(1u << l->slot)) | (u32)outward(l) << l->slot;
}

/* --- the log --------------------------------------------------------------------------------- */

static u64 log_tail(const struct inventory *v)
{
    u64 tail = v->log_head > v->log_cap ? v->log_head - v->log_cap : 0;
    return inventory_max(tail, v->log_floor);
}

static const struct inventory_logged *log_at(const struct inventory *v, u64 at)
{
    return &v->log[at & (v->log_cap - 1)];
}

static u64 link_needs(const struct inventory_link *l)
{
    u64 low = l->low != l->seq ? l->sent[l->low % INVENTORY_WINDOW].from : l->cursor;
    return inventory_min(low, l->cursor);
}

static bool log_room(struct inventory *v)
{
    u64 needed = v->log_head;
    for (u32 i = 0; i < v->n_links; i++)
        needed = inventory_min(needed, link_needs(v->links[i]));
    if (v->log_cap > 0 &&
        (v->log_head - needed + LOG_STEP <= v->log_cap || v->log_cap == INVENTORY_LOG_MAX))
        return true; /* the oldest is not needed, or must go all the same */
    u32 cap = v->log_cap ? 2 * v->log_cap : LOG_STEP;
    struct inventory_logged *log = inventory_resize(&v->bytes, NULL, 0, cap * sizeof(*log));
    if (!log)
        return v->log_cap > 0;
    v->log_floor = log_tail(v); /* the larger one does not bring back what the smaller one lost */
    for (u64 at = v->log_floor; at < v->log_head; at++)
        log[at & (cap - 1)] = *log_at(v, at);
    inventory_resize(&v->bytes, v->log, v->log_cap * sizeof(*log), 0);
    v->log = log;
    v->log_cap = cap;
    return true;
}

bool inventory_log_put(struct inventory *v, u16 table, u32 n, u16 via)
{
    u16 peer = via & (INVENTORY_LOG_HEAD - 1);
    bool any = false;
    for (u32 i = 0; i < v->n_links; i++)
        any |= (v->outward >> i & 1) && v->link_peer[i] != peer;
    /* A leaf's only link has no use for what came by it. */
    if (!any || (v->log_head % LOG_STEP == 0 && !log_room(v)) || v->log_cap == 0)
        return any;
    v->log[v->log_head++ & (v->log_cap - 1)] =
        (struct inventory_logged){.n = n, .table = table, .via = via};
    return true;
}

void inventory_log_count(struct inventory *v, u32 count, u16 via)
{
    u16 peer = via & (INVENTORY_LOG_HEAD - 1);
    for (u32 i = 0; count > 0 && i < v->n_links; i++) {
        if (!(v->outward >> i & 1) || v->link_peer[i] == peer)
            continue;
        u32 before = v->waiting[i];
        v->waiting[i] += count;
        if (before == 0 || (before < full_batch(v) && v->waiting[i] >= full_batch(v)))
            link_note(v, v->links[i]);
    }
}

void inventory_log(struct inventory *v, u16 table, u32 n, u16 via)
{
    if (inventory_log_put(v, table, n, via))
        inventory_log_count(v, 1, via);
}

static u32 count_waiting(const struct inventory *v, const struct inventory_link *l)
{
    u32 n = 0;
    for (u64 at = inventory_max(l->cursor, log_tail(v)); at < v->log_head; at++)
        n += (log_at(v, at)->via & (INVENTORY_LOG_HEAD - 1)) != l->peer;
    return n;
}

/* --- links ----------------------------------------------------------------------------------- */

static struct inventory_link *link_find(const struct inventory *v, u16 peer)
{
    for (u32 i = 0; i < v->n_links; i++)
        if (v->link_peer[i] == peer)
            return v->links[i];
    return NULL;
}

static void link_del(struct inventory *v, u32 i)
{
    free(v->links[i]);
    v->bytes -= sizeof(*v->links[i]);
    u32 last = --v->n_links;
    v->links[i] = v->links[last];
    if (i < last)
        v->links[i]->slot = (u8)i;
    v->link_peer[i] = v->link_peer[last];
    v->waiting[i] = v->waiting[last];
    v->link_due[i] = v->link_due[last];
    u32 moved = v->outward >> last & 1;
    v->outward = (v->outward & ~(1u << i) & ~(1u << last)) | (i < last ? moved << i : 0);
}

static void link_reset(struct inventory *v, struct inventory_link *l)
{
    l->session = (u32)rng_u64(&v->rng);
    l->seq = l->low = 1;
    l->cursor = v->log_head;
    v->waiting[l->slot] = 0;
}

static struct inventory_link *link_new(struct inventory *v, u16 peer, u64 now_ns)
{
    for (u32 i = 0; v->n_links == INVENTORY_LINKS && i < v->n_links; i++)
        if (!outward(v->links[i]))
            link_del(v, i);
    struct inventory_link *l = v->n_links < INVENTORY_LINKS ? calloc(1, sizeof(*l)) : NULL;
    if (!l)
        return NULL;
    v->bytes += sizeof(*l);
    l->peer = peer;
    l->slot = (u8)v->n_links++;
    l->instead_of = INVENTORY_NONE;
    l->keep_ns = now_ns + KEEP_NS;
    l->ask_ns = l->ack_ns = UINT64_MAX;
    v->links[l->slot] = l;
    v->link_peer[l->slot] = peer;
    link_reset(v, l);
    link_note(v, l);
    return l;
}

void inventory_links_drop(struct inventory *v, u16 peer)
{
    for (u32 i = v->n_links; i > 0; i--)
        if (v->link_peer[i - 1] == peer)
            link_del(v, i - 1);
}

void inventory_links_fini(struct inventory *v)
{
    while (v->n_links > 0)
        link_del(v, v->n_links - 1);
}

/* A tree neighbour; what it is given begins now, and what it lacks it learns by comparing. */
static void fit_tree(struct inventory *v, u16 peer, u64 now_ns)
{
    struct inventory_link *l = peer == INVENTORY_NONE ? NULL : link_find(v, peer);
    if (peer == INVENTORY_NONE || (l && l->tree))
        return;
    if (!l)
        l = link_new(v, peer, now_ns);
    if (!l)
        return;
    if (!outward(l)) {
        l->cursor = v->log_head;
        v->waiting[l->slot] = 0;
        l->ask_ns = now_ns + ASK_NS;
    }
    l->tree = true;
}

/* A neighbour of a silent one. */
static void fit_instead(struct inventory *v, u16 peer, struct inventory_link *silent, u64 now_ns)
{
    struct inventory_link *l = peer == INVENTORY_NONE ? NULL : link_find(v, peer);
    if (peer == INVENTORY_NONE || peer == v->me || (l && outward(l)))
        return;
    if (!l)
        l = link_new(v, peer, now_ns);
    if (!l)
        return;
    l->instead_of = silent->peer;
    l->cursor = link_needs(silent);
    v->waiting[l->slot] = count_waiting(v, l);
}

static bool is_neighbour(const struct inventory *v, u16 a, u16 b)
{
    const struct inventory_limb *l = &v->limbs[a];
    bool is = l->up == b;
    for (unsigned k = 0; k < INVENTORY_KIDS; k++)
        is |= l->kid[k] == b;
    return is;
}

void inventory_links_fit(struct inventory *v, u64 now_ns)
{
    const struct inventory_limb *mine = &v->limbs[v->me];
    for (u32 i = 0; i < v->n_links; i++) {
        struct inventory_link *l = v->links[i];
        assert(l);
        if (!outward(l))
            continue;
        l->tree = l->tree && is_neighbour(v, v->me, l->peer);
        const struct inventory_link *silent =
            l->instead_of == INVENTORY_NONE ? NULL : link_find(v, l->instead_of);
        if (!silent || !silent->silent || !is_neighbour(v, silent->peer, l->peer))
            l->instead_of = INVENTORY_NONE;
        if (!outward(l)) {
            v->waiting[l->slot] = 0;
            l->keep_ns = now_ns + KEEP_NS;
        }
    }
    fit_tree(v, mine->up, now_ns);
    for (unsigned k = 0; k < INVENTORY_KIDS; k++)
        fit_tree(v, mine->kid[k], now_ns);
    for (u32 i = 0; i < v->n_links; i++) {
        struct inventory_link *l = v->links[i];
        if (!l->silent || !outward(l))
            continue;
        fit_instead(v, v->limbs[l->peer].up, l, now_ns);
        for (unsigned k = 0; k < INVENTORY_KIDS; k++)
            fit_instead(v, v->limbs[l->peer].kid[k], l, now_ns);
    }
    for (u32 i = 0; i < v->n_links; i++)
        link_note(v, v->links[i]);
}

/* --- receiving ------------------------------------------------------------------------------- */

static void measure(struct inventory_link *l, u64 rtt_ns)
{
    if (l->srtt_ns == 0) {
        l->srtt_ns = rtt_ns;
        l->rttvar_ns = rtt_ns / 2;
        return;
    }
    u64 off = rtt_ns > l->srtt_ns ? rtt_ns - l->srtt_ns : l->srtt_ns - rtt_ns;
    l->rttvar_ns = (3 * l->rttvar_ns + off) / 4;
    l->srtt_ns = (7 * l->srtt_ns + rtt_ns) / 8;
}

/* What a neighbour still lacks, and we sent longer ago than it takes to be told of: it is heard, so
 * the way is open, and nothing is left of the waiting between attempts. Without this one hole kept
 * a link for a minute after a line had been bad, with a full window behind it. */
static bool still_lacked(const struct inventory_link *l, const struct inventory_sent *s, u64 now_ns)
{
    return s->tries > 0 && now_ns - s->sent_ns > timeout(l);
}

/* True: it was silent, and is not any more. */
static bool acked(struct inventory_link *l, u32 ack, u32 mask, u64 now_ns)
{
    u32 top = ack; /* the highest that arrived */
    bool news = false;
    if (ack - l->low + 1 > l->seq - l->low)
        return false; /* not of what is under way */
    for (u32 b = 0; b < 32; b++)
        if (mask >> b & 1)
            top = ack + 1 + b;
    for (u32 q = l->low; q != l->seq; q++) {
        struct inventory_sent *s = sent_at(l, q);
        u32 beyond = q - ack - 1;
        bool here = order(q, ack) <= 0 || (beyond < 32 && (mask >> beyond & 1));
        if (here && !s->acked) {
            s->acked = news = true;
            s->resend = false;
            if (s->tries == 0)
                measure(l, now_ns - s->sent_ns);
        } else if (!here && !s->acked && s->tries == 0 && order(q, top) < 0) {
            s->resend = true;
        } else if (!here && !s->acked && still_lacked(l, s, now_ns)) {
            s->resend = true;
            s->tries = 1;
        }
    }
    while (l->low != l->seq && sent_at(l, l->low)->acked)
        l->low++;
    if (!news || !l->silent)
        return false;
    l->silent = false;
    l->ask_ns = now_ns;
    return true;
}

/* Notes that `seq` came; false when it had come before. */
static bool number_take(struct inventory *v, struct inventory_link *l, u32 session, u32 seq,
                        u64 now_ns)
{
    if (session != l->in_session || seq - l->in_ack - 1 >= 32) {
        bool before = session == l->in_session && order(seq, l->in_ack) <= 0;
        if (before) {
            l->ack_ns = now_ns + ACK_SOON_NS; /* our acknowledgement was lost */
            return false;
        }
        /* A new row, or so far on that the rest was given up. */
        l->in_session = session;
        l->in_ack = seq <= 32 ? 0 : seq - 1;
        l->in_mask = 0;
    }
    u32 bit = seq - l->in_ack - 1;
    if (l->in_mask >> bit & 1) {
        l->ack_ns = now_ns + ACK_SOON_NS;
        return false;
    }
    l->in_mask |= 1u << bit;
    while (l->in_mask & 1) {
        l->in_ack++;
        l->in_mask >>= 1;
    }
    if (l->ack_ns == UINT64_MAX)
        l->ack_since_ns = now_ns;
    l->ack_ns = inventory_min(now_ns + ACK_NS, l->ack_since_ns + ACK_MAX_NS);
    if (now_ns - l->in_last_ns > ACK_QUIET_NS)
        l->ack_ns = now_ns + ACK_SOON_NS;
    l->in_last_ns = now_ns;
    if (l->in_mask) {
        v->stats.gaps++;
        l->ack_ns = inventory_min(l->ack_ns, now_ns + ACK_SOON_NS);
    }
    return true;
}

int inventory_batch_read(struct inventory *v, u16 from, struct wire_in *msg, u64 now_ns)
{
    u32 session = (u32)wire_get_max(msg, UINT32_MAX), seq = (u32)wire_get_max(msg, UINT32_MAX);
    u32 mine = (u32)wire_get_max(msg, UINT32_MAX), ack = (u32)wire_get_max(msg, UINT32_MAX);
    u32 mask = (u32)wire_get_max(msg, UINT32_MAX);
    struct inventory_items items = {.from = from};
    items.p = wire_get_bin(msg, LIMIT_DATAGRAM_BYTES, &items.len);
    if (!wire_ok(msg))
        return ERR_PROTO;
    struct inventory_link *l = link_find(v, from);
    bool back = false;
    if (!l)
        l = link_new(v, from, now_ns);
    if (l) {
        l->heard_ns = now_ns;
        l->keep_ns = now_ns + KEEP_NS;
        if (mine == l->session)
            back = acked(l, ack, mask, now_ns);
        if (seq > 0 && !number_take(v, l, session, seq, now_ns))
            items.len = 0; /* read before */
        link_note(v, l);
    }
    if (back) /* `l` may go */
        inventory_links_fit(v, now_ns);
    return inventory_items_read(v, &items, now_ns);
}

/* --- sending --------------------------------------------------------------------------------- */

/* The bytes of one log entry, or 0 when there is nothing (any more) to say. */
static size_t encode_one(const struct inventory *v, const struct inventory_link *l, u64 at,
                         u8 out[INVENTORY_HEAD_BYTES])
{
    const struct inventory_logged *e = log_at(v, at);
    const struct inventory_table *t = inventory_table_at(v, e->table);
    if ((e->via & (INVENTORY_LOG_HEAD - 1)) == l->peer || !t || !inventory_seat_up(v, t->origin) ||
        v->seats[t->origin].table != e->table)
        return 0;
    if (e->via & INVENTORY_LOG_HEAD) {
        const struct inventory_head *h = inventory_head_at(t, e->n);
        return h && h->n == e->n ? inventory_item_head(v, t, h, out) : 0;
    }
    if (e->n <= t->reach || e->n > v->seats[t->origin].n)
        return 0;
    return inventory_item_op(v, t, e->n, false, out);
}

/* Items of a datagram, with room for one that does not fit any more. */
#define ITEMS_BYTES (LIMIT_DATAGRAM_BYTES + INVENTORY_HEAD_BYTES)

/* Items of the log from `at`, up to `end` or as many as fit. Returns where it stopped. */
static u64 encode(struct inventory *v, struct inventory_link *l, u64 at, u64 end,
                  u8 out[ITEMS_BYTES], size_t *len, u32 *passed)
{
    *len = *passed = 0;
    for (at = inventory_max(at, log_tail(v)); at < end; at++) {
        size_t n = encode_one(v, l, at, out + *len);
        if (*len + n > item_room(v))
            break;
        *len += n;
        *passed += (log_at(v, at)->via & (INVENTORY_LOG_HEAD - 1)) != l->peer;
        v->stats.ops_sent += n > 0;
    }
    return at;
}

static void put_batch(struct inventory_link *l, u32 seq, const u8 *items, size_t len,
                      struct wire_out *w)
{
    wire_put_array(w, 7);
    wire_put_u64(w, MSG_INVENTORY_BATCH);
    wire_put_u64(w, l->session);
    wire_put_u64(w, seq);
    wire_put_u64(w, l->in_session);
    wire_put_u64(w, l->in_ack);
    wire_put_u64(w, l->in_mask);
    wire_put_bin(w, items, len);
    assert(!wire_full(w));
    l->ack_ns = UINT64_MAX;
}

u64 inventory_links_due(const struct inventory *v)
{
    u64 t = UINT64_MAX;
    for (u32 i = 0; i < v->n_links; i++)
        t = inventory_min(t, v->link_due[i]);
    return t;
}

/* Ops that have become NAMED since are longer: what a batch has no room for any more goes with the
 * next ones, and all after it once more. */
static void cut_short(struct inventory *v, struct inventory_link *l, struct inventory_sent *s,
                      u64 end)
{
    s->to = end;
    if (!outward(l))
        return;
    l->cursor = inventory_min(l->cursor, end);
    v->waiting[l->slot] = count_waiting(v, l);
}

static bool send_again(struct inventory *v, struct inventory_link *l, u32 seq, struct wire_out *w,
                       u64 now_ns)
{
    struct inventory_sent *s = sent_at(l, seq);
    u8 items[ITEMS_BYTES];
    size_t len;
    u32 passed;
    if (s->tries >= TRIES_MAX) { /* given up: when it is back, it compares */
        link_reset(v, l);
        return false;
    }
    u64 end = encode(v, l, s->from, s->to, items, &len, &passed);
    if (end < s->to)
        cut_short(v, l, s, end);
    put_batch(l, seq, items, len, w);
    s->sent_ns = now_ns;
    s->resend = false;
    s->tries++;
    v->stats.resent++;
    if (s->tries >= 2 && !l->silent && outward(l)) {
        l->silent = true;
        inventory_links_fit(v, now_ns);
    }
    return true;
}

static bool send_new(struct inventory *v, struct inventory_link *l, struct wire_out *w, u64 now_ns)
{
    u8 items[ITEMS_BYTES];
    size_t len;
    u32 passed;
    u64 from = l->cursor;
    l->cursor = encode(v, l, from, v->log_head, items, &len, &passed);
    v->waiting[l->slot] = l->cursor == v->log_head ? 0 : v->waiting[l->slot] - passed;
    if (len == 0)
        return false; /* all of it is out of date */
    *sent_at(l, l->seq) = (struct inventory_sent){.from = from, .to = l->cursor, .sent_ns = now_ns};
    put_batch(l, l->seq++, items, len, w);
    l->last_ns = now_ns;
    return true;
}

static bool link_write(struct inventory *v, struct inventory_link *l, struct wire_out *w,
                       u64 now_ns)
{
    u32 seq = 0;
    if (resend_due(l, &seq) <= now_ns && send_again(v, l, seq, w, now_ns))
        return true;
    while (data_due(v, l) <= now_ns)
        if (send_new(v, l, w, now_ns))
            return true;
    if (l->ack_ns > now_ns)
        return false;
    put_batch(l, 0, NULL, 0, w);
    return true;
}

bool inventory_links_write(struct inventory *v, u16 *to, struct wire_out *w, u64 now_ns)
{
    for (u32 i = 0; i < v->n_links; i++) {
        if (v->link_due[i] > now_ns)
            continue;
        struct inventory_link *l = v->links[i];
        u16 peer = l->peer;
        bool wrote = link_due(v, l) <= now_ns && link_write(v, l, w, now_ns);
        for (u32 k = 0; k < v->n_links; k++) /* one that fell silent may have been replaced */
            if (v->links[k] == l)
                link_note(v, l);
        if (wrote) {
            *to = peer;
            return true;
        }
    }
    return false;
}

void inventory_links_expire(struct inventory *v, u64 now_ns)
{
    for (u32 i = v->n_links; i > 0; i--) {
        struct inventory_link *l = v->links[i - 1];
        if (v->link_due[i - 1] > now_ns)
            continue;
        if (now_ns >= l->ask_ns) {
            l->ask_ns = UINT64_MAX;
            if (outward(l))
                inventory_ask(v, l->peer, true);
            link_note(v, l);
        }
        if (!outward(l) && now_ns >= l->keep_ns)
            link_del(v, i - 1);
    }
}
