/* chooser_list.c - which nodes may be near a network of users; see chooser.h.
 *
 * A node that was measured is an anchor. Its region's mesh knows how far other nodes are from it
 * (coord.h); so by the triangle's inequality another is not farther from the users than both ways
 * together, nor nearer than their difference. Of what was never measured, the first stands in for
 * the distance, and where the second leaves hope for less than half of the way to the best that is
 * known, users are sent there now and then until somebody near is found. So a network is placed
 * after a request or two for each region and each office of its own. */
#include "proto/chooser_impl.h"

#include <string.h>

#define LIST_MS      10000 /* a shortlist is made anew after that */
#define LIST_SOON_MS 2000  /* ... while nobody near is known */
#define LIST_LEAST   1000  /* and not more often than that, whoever comes */
#define BITS_V4      120   /* of a network, unless a node says that it serves a smaller one */
#define BITS_V6      64

/* The first bits of an address: whose users are told apart by nothing that decides. */
static void add_network(const struct chooser *c, struct keyed *k, const struct addr *a)
{
    u8 bits = addr_is_v4(a) ? BITS_V4 : BITS_V6, ip[16] = {0};
    if (roster_bits(c->opt.roster) > bits)
        bits = roster_bits(c->opt.roster);
    memcpy(ip, a->ip, bits / 8);
    if (bits % 8)
        ip[bits / 8] = a->ip[bits / 8] & (u8)(0xff << (8 - bits % 8));
    chooser_add(k, ip, sizeof(ip));
}

/* --- distances ------------------------------------------------------------------------------- */

/* As a node measured it; 0: none did. */
static u64 measured(const struct chooser *c, const struct chooser_wish *w, const struct node_key *k)
{
    struct addr prefix;
    if (!addr_is_set(&w->from))
        return 0;
    prefix = outcome_prefix(&w->from);
    return rtts_ns(c->opt.rtts, &prefix, k, w->now_ms);
}

/* At most; 0: nothing is known. At least: `*least`. */
static u64 estimated(const struct list *l, const struct roster_node *n, u64 *least)
{
    u64 most = 0;
    *least = 0;
    for (size_t i = 0; i < l->n_anchors; i++) {
        const struct anchor *a = &l->anchors[i];
        if (a->region != n->of.region_index)
            continue;
        u64 between = coord_distance_ns(&a->coord, &n->coord), far = between + a->rtt_ns;
        u64 near = between > a->rtt_ns ? between - a->rtt_ns : a->rtt_ns - between;
        most = most == 0 || far < most ? far : most;
        *least = near > *least ? near : *least;
    }
    return most;
}

u64 chooser_distance(const struct chooser *c, const struct chooser_wish *w, const struct list *l,
                     const struct roster_node *n)
{
    u64 least, known = measured(c, w, &n->of.key);
    return known ? known : estimated(l, n, &least);
}

/* The nearest of those that were measured. */
static void anchor_keep(struct list *l, const struct roster_node *node, u64 rtt_ns)
{
    size_t at = l->n_anchors;
    if (at == ANCHORS && rtt_ns >= l->anchors[at - 1].rtt_ns)
        return;
    if (at < ANCHORS)
        l->n_anchors++;
    else
        at--;
    for (; at > 0 && rtt_ns < l->anchors[at - 1].rtt_ns; at--)
        l->anchors[at] = l->anchors[at - 1];
    l->anchors[at] = (struct anchor){rtt_ns, node->coord, node->of.region_index};
}

static void measure(struct chooser *c, struct list *l, const struct addr *prefix, u64 now_ms)
{
    bool known = rtts_knows(c->opt.rtts, prefix);
    const char *reason;
    l->nearest_ns = UINT64_MAX;
    l->n_anchors = 0;
    for (u16 i = 0; i < roster_end(c->opt.roster); i++) {
        const struct roster_node *node = roster_at(c->opt.roster, i);
        c->rtts[i] = known && node ? rtts_ns(c->opt.rtts, prefix, &node->of.key, now_ms) : 0;
        if (c->rtts[i] == 0)
            continue;
        anchor_keep(l, node, c->rtts[i]);
        if (pick_is_usable(&node->of, &reason) && c->rtts[i] < l->nearest_ns)
            l->nearest_ns = c->rtts[i];
    }
}

/* --- the list ------------------------------------------------------------------------------ */

/* One who may be on a list. */
struct entry {
    enum pick_class class;
    u64 rtt_ns, lot; /* UINT64_MAX: not known */
    u16 number;
};

static bool entry_before(const struct entry *a, const struct entry *b)
{
    if (a->class != b->class)
        return a->class < b->class;
    return a->rtt_ns != b->rtt_ns ? a->rtt_ns < b->rtt_ns : a->lot < b->lot;
}

/* Keeps the first SHORTLIST, in order. */
static void entry_keep(struct entry *best, size_t *n, const struct entry *e)
{
    size_t at = *n;
    if (at == SHORTLIST && !entry_before(e, &best[at - 1]))
        return;
    if (at < SHORTLIST)
        ++*n;
    else
        at--;
    for (; at > 0 && entry_before(e, &best[at - 1]); at--)
        best[at] = best[at - 1];
    best[at] = *e;
}

/* Of a network that nobody has seen yet, its neighbours are told: one office's networks are often
 * cut from one larger one. What is measured then takes the place of this guess. */
static void measure_all(struct chooser *c, struct list *l, const struct chooser_wish *w)
{
    struct addr prefix = {.port = 0};
    if (addr_is_set(&w->from))
        prefix = outcome_prefix(&w->from);
    measure(c, l, &prefix, w->now_ms);
    if (l->n_anchors > 0 || !addr_is_set(&w->from))
        return;
    struct addr wider = rtts_wider(&prefix);
    measure(c, l, &wider, w->now_ms);
}

/* May it be less than half as far as whom we would choose? */
static bool is_promising(const struct list *l, const struct roster_node *node,
                         enum pick_class class, const struct entry *first)
{
    u64 least;
    estimated(l, node, &least);
    return (class <= PICK_REGION) == (first->class <= PICK_REGION) && least < first->rtt_ns / 2;
}

/* An even sample of those: Vitter, "Random Sampling with a Reservoir", 1985, algorithm R. */
static void find_strangers(struct chooser *c, struct list *l, const struct chooser_wish *w,
                           const struct entry *first)
{
    struct pick_user user = {.addr = w->from, .profile = w->profile};
    const char *reason;
    size_t seen = 0;
    for (u16 i = 0; i < roster_end(c->opt.roster); i++) {
        const struct roster_node *node = roster_at(c->opt.roster, i);
        if (!node || c->rtts[i] || !pick_is_usable(&node->of, &reason) ||
            !is_promising(l, node, pick_class_of(&node->of, &user, 0), first))
            continue;
        size_t at = seen < STRANGERS ? seen : rng_below(&c->rng, seen + 1);
        if (at < STRANGERS)
            l->strangers[at] = (struct ref){i, node->serial};
        seen++;
    }
    l->n_strangers = seen < STRANGERS ? seen : STRANGERS;
}

/* Do distances decide, and is nobody near? */
static bool is_lost(const struct chooser_wish *w, const struct entry *first)
{
    return addr_is_set(&w->from) && first->class != PICK_NAMED && first->class != PICK_SUBNET &&
           first->class != PICK_REGION_SUBNET && first->rtt_ns > PICK_NEAR_NS &&
           first->rtt_ns != UINT64_MAX;
}

/* By class and distance; what changes from one moment to the next (load, holders) is left out. */
static void list_make(struct chooser *c, struct list *l, const struct chooser_wish *w)
{
    struct pick_user user = {.addr = w->from, .profile = w->profile};
    struct entry best[SHORTLIST] = {{.class = PICK_NAMED}};
    const char *reason;
    measure_all(c, l, w);
    l->n = l->n_strangers = 0;
    for (u16 i = 0; i < roster_end(c->opt.roster); i++) {
        const struct roster_node *node = roster_at(c->opt.roster, i);
        if (!node || !pick_is_usable(&node->of, &reason))
            continue;
        struct pick_candidate k = node->of;
        u64 least;
        k.rtt_ns = c->rtts[i] ? c->rtts[i] : estimated(l, node, &least);
        struct entry e = {.class = pick_class_of(&k, &user, l->nearest_ns),
                          .rtt_ns = k.rtt_ns ? k.rtt_ns : UINT64_MAX,
                          .lot = rng_u64(&c->rng),
                          .number = i};
        entry_keep(best, &l->n, &e);
    }
    for (size_t i = 0; i < l->n; i++) {
        l->nodes[i] =
            (struct ref){best[i].number, roster_at(c->opt.roster, best[i].number)->serial};
        l->rtt_ns[i] = best[i].rtt_ns == UINT64_MAX ? 0 : best[i].rtt_ns;
    }
    if (l->n > 0 && is_lost(w, &best[0]))
        find_strangers(c, l, w, &best[0]);
    l->version = roster_version(c->opt.roster);
    l->made_ms = w->now_ms;
    l->made = true;
}

const struct list *chooser_list(struct chooser *c, const struct chooser_wish *w)
{
    struct keyed k = {.n = 0};
    u8 key[KEY_BYTES];
    add_network(c, &k, &w->from);
    if (w->profile)
        chooser_add(&k, w->profile, strlen(w->profile) + 1);
    struct list *l = &c->lists[chooser_place(c, &k, LISTS, key)];
    u64 age = w->now_ms - l->made_ms;
    bool fresh = l->made && memcmp(l->key, key, sizeof(key)) == 0 &&
                 age < (l->nearest_ns > PICK_NEAR_NS ? LIST_SOON_MS : LIST_MS) &&
                 (age < LIST_LEAST || l->version == roster_version(c->opt.roster));
    if (!fresh) {
        memcpy(l->key, key, sizeof(key));
        list_make(c, l, w);
    }
    return l;
}
