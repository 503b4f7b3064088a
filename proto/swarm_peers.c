/* swarm_peers.c - neighbours: who they are, what they have, what they are told.
 *
 * What we have is a *log*: piece numbers in the order in which they came, under a session number.
 * HELLO tells the log so far as a map; NEWS what came since, numbered by its place in the log and
 * acknowledged by NEWS the other way. What a neighbour lacks is told within SWARM_NEWS_NS, what it
 * has already when there is something else to say. Who offers pieces singly (swarm_offer.c) has an
 * empty log for as long. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/swarm_impl.h"

#define RETRY_NAME_NS (3000 * SWARM_MS) /* a candidate that had no room */
#define HELLOS_MAX    6
#define SEEK_NS       (100 * SWARM_MS) /* between two rounds of trying */
#define SEEDS_MAX     6
#define SEEDS_NS      (1000 * SWARM_MS)

struct swarm_peer *swarm_peer_find(struct swarm_layer *l, const struct node_key *k)
{
    u64 name = node_key_word(k);
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS; i++)
        if (l->names[i] == name && l->peers[i].used && node_key_equal(&l->peers[i].key, k))
            return &l->peers[i];
    return NULL;
}

/* --- candidates ------------------------------------------------------------------------------ */

void swarm_candidate_add(struct swarm *s, struct swarm_layer *l, const struct node_key *k)
{
    if (node_key_equal(k, &s->self) || swarm_is_forger(l, k))
        return;
    for (u32 i = 0; i < l->n_candidates; i++)
        if (node_key_equal(&l->candidates[i].key, k))
            return;
    u32 at = l->n_candidates;
    if (at == SWARM_CANDIDATES) { /* one that was tried makes room, and not the last of these */
        for (u32 i = 0; i < SWARM_CANDIDATES && at == SWARM_CANDIDATES; i++) {
            u32 next = l->next_candidate++ % SWARM_CANDIDATES;
            at = l->candidates[next].tried_ns ? next : at;
        }
        if (at == SWARM_CANDIDATES)
            return;
    } else {
        l->n_candidates++;
    }
    l->candidates[at] = (struct swarm_candidate){.key = *k};
}

void swarm_names(struct swarm *s, struct swarm_layer *l, const u8 *bin, size_t len)
{
    for (size_t at = 0; at + 8 <= len; at += 8) {
        const struct node_key *k = member_key_of(s->member, bin + at);
        if (k)
            swarm_candidate_add(s, l, k);
    }
}

static bool is_fresh(struct swarm_layer *l, const struct swarm_candidate *c, u64 now_ns)
{
    return (c->tried_ns == 0 || now_ns - c->tried_ns > RETRY_NAME_NS) &&
           !swarm_peer_find(l, &c->key);
}

static struct swarm_candidate *pick_near(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    struct swarm_candidate *best = NULL;
    u64 least = UINT64_MAX;
    for (u32 i = 0; i < l->n_candidates; i++) {
        struct swarm_candidate *c = &l->candidates[i];
        u64 d = is_fresh(l, c, now_ns) ? swarm_distance(s, &c->key) : UINT64_MAX;
        if (d < least) {
            least = d;
            best = c;
        }
    }
    return best;
}

static struct swarm_candidate *pick_random(struct swarm *s, struct swarm_layer *l, bool far,
                                           u64 now_ns)
{
    struct swarm_candidate *chosen = NULL;
    u32 n = 0;
    for (u32 i = 0; i < l->n_candidates; i++) {
        struct swarm_candidate *c = &l->candidates[i];
        if (is_fresh(l, c, now_ns) && swarm_alive(s, &c->key) &&
            (!far || !swarm_is_near(s, &c->key)) && rng_below(&s->rng, ++n) == 0)
            chosen = c;
    }
    return chosen;
}

/* Of a gate, somebody in another place, if there is one. */
static struct swarm_candidate *pick_elsewhere(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    struct swarm_candidate *c = swarm_is_gate(l) ? pick_random(s, l, true, now_ns) : NULL;
    return c ? c : pick_random(s, l, false, now_ns);
}

/* Three near ones for each at random, of a gate one: never only near, whatever is known so far. */
static void seek(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    u32 near = 0, chosen = 0;
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS; i++) {
        near += l->peers[i].used && l->peers[i].near;
        chosen += l->peers[i].used && l->peers[i].chosen;
    }
    if (now_ns < l->seek_ns)
        return;
    u32 tries = SWARM_NEIGHBOURS / 2;
    for (; l->n_peers < SWARM_NEIGHBOURS && tries > 0; tries--) {
        bool wants_near =
            near < SWARM_NEAR && (swarm_is_gate(l) ? 2 * near <= chosen : 4 * near <= 3 * chosen);
        struct swarm_candidate *c =
            wants_near ? pick_near(s, l, now_ns) : pick_elsewhere(s, l, now_ns);
        if (!c)
            return;
        c->tried_ns = now_ns;
        struct swarm_peer *p = swarm_peer_new(s, l, &c->key, now_ns);
        if (!p)
            return;
        p->chosen = true;
        p->near = wants_near;
        near += wants_near;
        chosen++;
        swarm_say_hello(s, l, p, now_ns);
        l->seek_ns = now_ns + SEEK_NS;
    }
}

/* Whole holders that the inventory knows: the nearest few, and some of the others. */
static void seek_seeds(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    struct node_key all[SWARM_NAMES];
    size_t n = inventory_holders(s->inventory, &l->digest, all, SWARM_NAMES);
    n = n < SWARM_NAMES ? n : SWARM_NAMES;
    u32 have = 0;
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS; i++)
        have += l->peers[i].used && l->peers[i].complete;
    for (size_t i = 0; i < n && have < SEEDS_MAX; i++) {
        size_t at = i < SEEDS_MAX / 2 ? i : i + rng_below(&s->rng, n - i);
        const struct node_key k = all[at];
        all[at] = all[i];
        if (swarm_peer_find(l, &k) || !swarm_alive(s, &k) || swarm_is_forger(l, &k))
            continue;
        struct swarm_peer *p = swarm_peer_new(s, l, &k, now_ns);
        if (!p)
            return;
        p->chosen = true;
        have++;
        swarm_say_hello(s, l, p, now_ns);
    }
}

/* --- one comes, one goes --------------------------------------------------------------------- */

static struct swarm_former *former(struct swarm_layer *l, u64 word)
{
    for (u32 i = 0; i < SWARM_FORMER; i++)
        if (l->former[i].word == word)
            return &l->former[i];
    return NULL;
}

/* What it did is known when it comes again: else whoever says that he leaves would be a stranger
 * each time. */
static void remember(struct swarm_layer *l, const struct swarm_peer *p)
{
    const u64 word = node_key_word(&p->key);
    struct swarm_former *f = former(l, word);
    if (!f && p->wrongs == 0 && !p->barred)
        return;
    if (!f)
        f = &l->former[l->next_former++ % SWARM_FORMER];
    *f = (struct swarm_former){.word = word,
                               .wrongs = p->wrongs,
                               .forgiven = p->forgiven,
                               .forgiven_ns = p->forgiven_ns,
                               .barred = p->barred};
}

static void recall(struct swarm_layer *l, struct swarm_peer *p)
{
    const struct swarm_former *f = former(l, node_key_word(&p->key));
    if (!f)
        return;
    p->strikes = p->wrongs = f->wrongs;
    p->forgiven = f->forgiven;
    p->forgiven_ns = f->forgiven_ns;
    p->barred = f->barred;
}

struct swarm_peer *swarm_peer_new(struct swarm *s, struct swarm_layer *l, const struct node_key *k,
                                  u64 now_ns)
{
    u32 i = 0;
    while (i < LIMIT_SWARM_NEIGHBOURS && l->peers[i].used)
        i++;
    if (i == LIMIT_SWARM_NEIGHBOURS || l->n == 0)
        return NULL;
    struct swarm_peer *p = &l->peers[i];
    memset(p, 0, sizeof(*p));
    p->used = true;
    swarm_news_change(l, p);
    p->key = *k;
    l->names[i] = node_key_word(k);
    recall(l, p);
    p->heard_ns = now_ns;
    p->far = !swarm_is_near(s, k);
    l->n_peers++;
    return p;
}

/* Whoever it was delivered to is gone, or has thrown it away: it is to be offered anew. */
static void maybe_undelivered(struct swarm_layer *l, u32 piece)
{
    if (l->offers && l->avail[piece] == 0 &&
        (l->offers[piece].state == OFFER_TAKEN || l->offers[piece].state == OFFER_DELIVERED))
        l->offers[piece].state = OFFER_NO;
}

void swarm_peer_clear(struct swarm_layer *l, struct swarm_peer *p)
{
    u64 bit = swarm_peer_bit(l, p);
    for (u32 i = 0; p->have > 0 && i < l->n; i++)
        if (l->holders[i] & bit) {
            l->holders[i] &= ~bit;
            l->avail[i]--;
            p->have--;
            maybe_undelivered(l, i);
            swarm_piece_changed(l, i);
        }
    swarm_news_change(l, p);
}

void swarm_peer_drop(struct swarm *s, struct swarm_layer *l, struct swarm_peer *p, int bye,
                     u64 now_ns)
{
    u32 index = (u32)(p - l->peers);
    assert(p->used);
    (void)now_ns;
    for (u32 i = 0; i < LIMIT_SWARM_REQUESTS; i++)
        if (l->requests[i].id && l->requests[i].peer == index)
            swarm_request_drop(s, l, &l->requests[i], true, "it left the swarm");
    for (u32 i = 0; l->offers && i < l->n; i++)
        if ((l->offers[i].state == OFFER_MADE || l->offers[i].state == OFFER_GIVEN) &&
            l->offers[i].peer == index) {
            l->offered -= l->offers[i].state == OFFER_MADE;
            l->offers[i].state = OFFER_NO;
        }
    if (bye >= 0)
        swarm_say_bye(s, l, &p->key, bye);
    swarm_peer_clear(l, p);
    remember(l, p);
    p->used = false;
    swarm_news_change(l, p);
    l->n_peers--;
    swarm_wake(l, now_ns);
}

void swarm_peer_has(struct swarm *s, struct swarm_layer *l, struct swarm_peer *p, u32 piece,
                    u64 now_ns)
{
    if (piece >= l->n || swarm_peer_holds(l, p, piece))
        return;
    l->holders[piece] |= swarm_peer_bit(l, p);
    l->avail[piece]++;
    p->have++;
    swarm_piece_changed(l, piece);
    swarm_news_change(l, p);
    swarm_offer_told(s, l, p, piece, now_ns);
}

void swarm_peer_lacks(struct swarm_layer *l, struct swarm_peer *p, u32 piece)
{
    if (swarm_peer_holds(l, p, piece)) {
        l->holders[piece] &= ~swarm_peer_bit(l, p);
        l->avail[piece]--;
        p->have--;
        maybe_undelivered(l, piece);
        swarm_piece_changed(l, piece);
    }
    p->complete = false;
    swarm_news_change(l, p);
}

/* --- what they are told ---------------------------------------------------------------------- */

void swarm_say_bye(struct swarm *s, struct swarm_layer *l, const struct node_key *to, int reason)
{
    swarm_order(
        s,
        &(struct swarm_out){
            .kind = MSG_BYE, .reason = (u8)reason, .layer = l->slot, .word = l->word, .to = *to});
}

void swarm_say_hello(struct swarm *s, struct swarm_layer *l, struct swarm_peer *p, u64 now_ns)
{
    p->hello_ns = now_ns;
    p->hellos++;
    swarm_order(s, &(struct swarm_out){.kind = MSG_HELLO,
                                       .layer = l->slot,
                                       .word = l->word,
                                       .to = p->key,
                                       .arg = (u32)(p - l->peers)});
}

void swarm_new_session(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    l->session++;
    swarm_news_change_all(l);
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS; i++) {
        struct swarm_peer *p = &l->peers[i];
        if (!p->used)
            continue;
        bool queued = p->hello_ns == now_ns && p->hellos > 0; /* it will tell of this one */
        p->acked_hello = false;
        p->told = p->sent = p->hellos = 0;
        if (queued)
            p->hellos = 1;
        else
            swarm_say_hello(s, l, p, now_ns);
    }
}

/* How much of our log is told: nothing while pieces are offered singly. */
static u32 log_told(const struct swarm_layer *l)
{
    return l->offers ? 0 : l->n_log;
}

/* How long what is new to this one may wait: a third of the neighbours, for each piece another
 * third, hear at once and tell others. */
static u64 patience_of(const struct swarm_layer *l, const struct swarm_peer *p, u32 n)
{
    u64 patience = SWARM_LAZY_NS;
    u32 slot = (u32)(p - l->peers);
    if (p->super && p->sent < n)
        return SWARM_NEWS_NS; /* it waits for this before it offers more */
    for (u32 i = p->sent; i < n && !p->complete && patience > SWARM_NEWS_NS; i++)
        if (!swarm_peer_holds(l, p, l->log[i]))
            patience = (l->log[i] + slot) % 3 == 0 ? SWARM_NEWS_NS : SWARM_LATER_NS;
    return patience;
}

/* When this one is to hear from us again. Whatever is looked at here and changes has to be told:
 * swarm_news_change(). */
static u64 due_of(const struct swarm *s, const struct swarm_layer *l, const struct swarm_peer *p)
{
    u32 n = log_told(l);
    if (!p->used || !p->met || !p->acked_hello || p->queued)
        return UINT64_MAX;
    u64 due = p->sent_ns + SWARM_ALIVE_NS;
    if (!p->complete && p->told_load >= swarm_uploads(s, l) &&
        swarm_load(s, l) < swarm_uploads(s, l))
        due = p->sent_ns + 4 * SWARM_NEWS_NS;
    if (p->sent < n)
        due = p->sent_ns + patience_of(l, p, n);
    if (p->told < p->sent && p->unacked_ns + SWARM_AGAIN_NS < due)
        due = p->unacked_ns + SWARM_AGAIN_NS;
    if (p->ack_due && p->sent_ns + SWARM_AGAIN_NS / 3 < due)
        due = p->sent_ns + SWARM_AGAIN_NS / 3;
    return due;
}

/* Most of what comes changes this for one neighbour. */
static void work_out_news(const struct swarm *s, struct swarm_layer *l)
{
    bool idle = swarm_load(s, l) < swarm_uploads(s, l);
    if (idle != l->news_idle)
        swarm_news_change_all(l);
    l->news_idle = idle;
    const u64 all = UINT64_MAX >> (64 - LIMIT_SWARM_NEIGHBOURS);
    for (u64 left = l->news_stale & all; left; left &= left - 1) {
        u32 i = (u32)__builtin_ctzll(left);
        l->news_ns[i] = due_of(s, l, &l->peers[i]);
    }
    l->news_stale = 0;
}

void swarm_say_news(struct swarm *s, struct swarm_layer *l, struct swarm_peer *p)
{
    swarm_news_change(l, p);
    p->queued = swarm_order(s, &(struct swarm_out){.kind = MSG_NEWS,
                                                   .layer = l->slot,
                                                   .word = l->word,
                                                   .to = p->key,
                                                   .arg = (u32)(p - l->peers)});
}

void swarm_news_due(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    u64 next = UINT64_MAX;
    work_out_news(s, l);
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS; i++) {
        struct swarm_peer *p = &l->peers[i];
        if (l->news_ns[i] > now_ns) {
            next = l->news_ns[i] < next ? l->news_ns[i] : next;
            continue;
        }
        if (p->told < p->sent && now_ns - p->unacked_ns >= SWARM_AGAIN_NS)
            p->sent = p->told;
        swarm_say_news(s, l, p);
    }
    swarm_wake(l, next);
}

void swarm_peers_tick(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    bool look = now_ns >= l->look_ns; /* swarm_peer_down() tells of most */
    if (look) {
        l->look_ns = now_ns + SWARM_ALIVE_NS;
        swarm_news_change_all(l);
    }
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS; i++) {
        struct swarm_peer *p = &l->peers[i];
        if (!p->used)
            continue;
        if ((look && !swarm_alive(s, &p->key)) ||
            (p->met && now_ns - p->heard_ns > SWARM_SILENT_NS) ||
            (!p->acked_hello && p->hellos >= HELLOS_MAX))
            swarm_peer_drop(s, l, p, -1, now_ns);
        else if (l->complete && p->met && p->complete)
            swarm_peer_drop(s, l, p, BYE_DONE, now_ns);
        else if (!p->acked_hello && now_ns - p->hello_ns >= SWARM_HELLO_NS)
            swarm_say_hello(s, l, p, now_ns);
    }
    if (!l->wanted)
        return;
    if (now_ns >= l->seeds_ns) {
        l->seeds_ns = now_ns + SEEDS_NS;
        seek_seeds(s, l, now_ns);
    }
    seek(s, l, now_ns);
}
