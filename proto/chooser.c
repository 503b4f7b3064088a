/* chooser.c - see chooser.h. */
#include "proto/chooser.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define LISTS       4096
#define LIST_MS     10000 /* a shortlist is made anew after that */
#define LIST_LEAST  1000  /* and not more often than that, whoever comes */
#define STICKS      8192
#define FETCHES     4096
#define FETCH_NODES 4     /* of one layer, the latest */
#define FETCH_MS    60000 /* what is not held by then is not being fetched */
#define HOLDERS     64
#define FEW_MAX     (SHORTLIST + HOLDERS + FETCH_NODES)
#define BITS_V4     120 /* of a network, unless a node says that it serves a smaller one */
#define BITS_V6     64
#define KEY_BYTES   16

/* A node by its number, as long as that means it. */
struct ref {
    u16 number;
    u32 serial;
};

struct list {
    u8 key[KEY_BYTES]; /* of (network, profile) */
    u64 made_ms, version;
    bool made;
    u64 nearest_ns;
    size_t n;
    struct ref nodes[SHORTLIST];
    u64 rtt_ns[SHORTLIST];
};

struct stick {
    u8 key[KEY_BYTES]; /* of (user, address, repository) */
    struct ref node;
    u64 until_ms; /* 0: empty */
};

struct fetch {
    u8 key[KEY_BYTES]; /* of the digest */
    struct {
        struct ref node;
        u64 since_ms; /* 0: empty */
    } by[FETCH_NODES];
};

/* The candidates of one choice. */
struct few {
    struct pick_candidate list[FEW_MAX];
    struct pick_line lines[FEW_MAX];
    u16 numbers[FEW_MAX];
    size_t n, usable;
    enum pick_class best; /* of those that are usable */
};

struct chooser {
    struct chooser_options opt;
    struct rng rng;
    u64 rtts[PICK_MAX];                  /* of the list that is made */
    struct few few;                      /* of the choice that is made */
    struct pick_candidate all[PICK_MAX]; /* when nobody of a list is fit */
    struct pick_line lines[PICK_MAX];
    struct list lists[LISTS];
    struct stick sticks[STICKS];
    struct fetch fetches[FETCHES];
};

int chooser_new(struct chooser **out, const struct chooser_options *opt)
{
    struct chooser *c = *out = calloc(1, sizeof(*c));
    if (!c)
        return ERR_NOMEM;
    c->opt = *opt;
    rng_seed(&c->rng, opt->seed);
    return 0;
}

void chooser_del(struct chooser *c)
{
    free(c);
}

/* --- keys ------------------------------------------------------------------------------------ */

struct keyed { /* what is hashed: bounded parts, each behind the other */
    u8 bytes[TICKET_USER_BYTES + 16 + 512 + 1];
    size_t n;
};

static void add(struct keyed *k, const void *part, size_t n)
{
    if (n > sizeof(k->bytes) - k->n)
        n = sizeof(k->bytes) - k->n;
    memcpy(k->bytes + k->n, part, n);
    k->n += n;
}

static size_t place(const struct chooser *c, const struct keyed *k, size_t places,
                    u8 out[KEY_BYTES])
{
    u32 bits;
    crypto_shorthash_siphashx24(out, k->bytes, k->n, c->opt.hash_key);
    memcpy(&bits, out, sizeof(bits));
    return bits % places;
}

/* The first bits of an address: whose users are told apart by nothing that decides. */
static void add_network(const struct chooser *c, struct keyed *k, const struct addr *a)
{
    u8 bits = addr_is_v4(a) ? BITS_V4 : BITS_V6, ip[16] = {0};
    if (roster_bits(c->opt.roster) > bits)
        bits = roster_bits(c->opt.roster);
    memcpy(ip, a->ip, bits / 8);
    if (bits % 8)
        ip[bits / 8] = a->ip[bits / 8] & (u8)(0xff << (8 - bits % 8));
    add(k, ip, sizeof(ip));
}

/* --- candidates ------------------------------------------------------------------------------ */

static struct roster_node *node_at(const struct chooser *c, struct ref r)
{
    struct roster_node *n = roster_at(c->opt.roster, r.number);
    return n && n->serial == r.serial ? n : NULL;
}

static u64 rtt_of(const struct chooser *c, const struct chooser_wish *w, const struct node_key *k)
{
    struct addr prefix;
    if (!addr_is_set(&w->from))
        return 0;
    prefix = outcome_prefix(&w->from);
    return rtts_ns(c->opt.rtts, &prefix, k, w->now_ms);
}

/* What is so for this user now; holds, fetching_ns and rtt_ns stay as they are. */
static struct pick_candidate as_now(const struct chooser *c, const struct roster_node *n,
                                    const struct chooser_wish *w)
{
    struct pick_candidate k = n->of;
    k.inflight_bytes = roster_inflight(n, w->now_ms);
    k.barred = k.barred || pulse_is_down(c->opt.pulse, &k.key, w->now_ms);
    k.astray = pulse_is_astray(c->opt.pulse, &k.key, w->now_ms);
    k.struck = w->user && strikes_is_struck(c->opt.strikes, w->user, &k.key, w->now_ms);
    return k;
}

static const struct fetch *fetch_of(const struct chooser *c, const struct digest *d)
{
    struct keyed k = {.n = 0};
    u8 key[KEY_BYTES];
    add(&k, d->bytes, digest_size(d->alg));
    const struct fetch *f = &c->fetches[place(c, &k, FETCHES, key)];
    return memcmp(f->key, key, sizeof(key)) == 0 ? f : NULL;
}

static u64 fetching_ns(const struct chooser *c, const struct fetch *f, u16 number, u64 now_ms)
{
    for (size_t i = 0; f && i < FETCH_NODES; i++) {
        u64 since = f->by[i].since_ms;
        if (since && f->by[i].node.number == number && now_ms - since < FETCH_MS &&
            node_at(c, f->by[i].node))
            return (now_ms - since) * 1000000 + 1;
    }
    return 0;
}

size_t chooser_all(struct chooser *c, const struct chooser_wish *w,
                   struct pick_candidate *candidates, struct pick_line *lines, size_t *usable)
{
    size_t n = 0;
    struct pick_user user = {.addr = w->from, .profile = w->profile};
    const struct fetch *f = w->digest ? fetch_of(c, w->digest) : NULL;
    for (u16 i = 0; i < roster_end(c->opt.roster) && n < PICK_MAX; i++) {
        const struct roster_node *node = roster_at(c->opt.roster, i);
        if (!node)
            continue;
        struct pick_candidate *k = &candidates[n++];
        *k = as_now(c, node, w);
        k->rtt_ns = rtt_of(c, w, &k->key);
        const struct inventory *v =
            w->digest ? roster_inventory(c->opt.roster, k->region_index) : NULL;
        k->holds = v && inventory_is_held_by(v, w->digest, &k->key);
        k->fetching_ns = k->holds ? 0 : fetching_ns(c, f, i, w->now_ms);
    }
    *usable = pick_order(candidates, n, &user, w->size == UINT64_MAX ? 0 : w->size, &c->rng, lines);
    return n;
}

/* --- shortlists ------------------------------------------------------------------------------ */

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

/* By class and distance; what changes from one moment to the next (load, holders) is left out. */
static void list_make(struct chooser *c, struct list *l, const struct chooser_wish *w)
{
    struct pick_user user = {.addr = w->from, .profile = w->profile};
    struct entry best[SHORTLIST];
    struct addr prefix = outcome_prefix(&w->from);
    bool known = addr_is_set(&w->from) && rtts_knows(c->opt.rtts, &prefix);
    u64 *rtts = c->rtts;
    const char *reason;
    l->nearest_ns = UINT64_MAX;
    for (u16 i = 0; i < roster_end(c->opt.roster); i++) {
        const struct roster_node *node = roster_at(c->opt.roster, i);
        if (!node || !pick_is_usable(&node->of, &reason))
            continue;
        rtts[i] = known ? rtt_of(c, w, &node->of.key) : 0;
        if (rtts[i] && rtts[i] < l->nearest_ns)
            l->nearest_ns = rtts[i];
    }
    l->n = 0;
    for (u16 i = 0; i < roster_end(c->opt.roster); i++) {
        const struct roster_node *node = roster_at(c->opt.roster, i);
        if (!node || !pick_is_usable(&node->of, &reason))
            continue;
        struct pick_candidate k = node->of;
        k.rtt_ns = rtts[i];
        struct entry e = {.class = pick_class_of(&k, &user, l->nearest_ns),
                          .rtt_ns = rtts[i] ? rtts[i] : UINT64_MAX,
                          .lot = rng_u64(&c->rng),
                          .number = i};
        entry_keep(best, &l->n, &e);
    }
    for (size_t i = 0; i < l->n; i++) {
        l->nodes[i] =
            (struct ref){best[i].number, roster_at(c->opt.roster, best[i].number)->serial};
        l->rtt_ns[i] = best[i].rtt_ns == UINT64_MAX ? 0 : best[i].rtt_ns;
    }
    l->version = roster_version(c->opt.roster);
    l->made_ms = w->now_ms;
    l->made = true;
}

static const struct list *list_get(struct chooser *c, const struct chooser_wish *w)
{
    struct keyed k = {.n = 0};
    u8 key[KEY_BYTES];
    add_network(c, &k, &w->from);
    if (w->profile)
        add(&k, w->profile, strlen(w->profile) + 1);
    struct list *l = &c->lists[place(c, &k, LISTS, key)];
    u64 age = w->now_ms - l->made_ms;
    bool fresh = l->made && memcmp(l->key, key, sizeof(key)) == 0 && age < LIST_MS &&
                 (age < LIST_LEAST || l->version == roster_version(c->opt.roster));
    if (!fresh) {
        memcpy(l->key, key, sizeof(key));
        list_make(c, l, w);
    }
    return l;
}

/* --- the few --------------------------------------------------------------------------------- */

static bool few_add(struct chooser *c, struct few *f, const struct chooser_wish *w, u16 number,
                    u64 rtt_ns)
{
    const struct roster_node *node = roster_at(c->opt.roster, number);
    if (!node || f->n == FEW_MAX)
        return false;
    f->list[f->n] = as_now(c, node, w);
    f->list[f->n].rtt_ns = rtt_ns;
    f->numbers[f->n++] = number;
    return true;
}

static size_t few_find(const struct few *f, u16 number)
{
    size_t i = 0;
    while (i < f->n && f->numbers[i] != number)
        i++;
    return i;
}

/* One who may have it, or soon: joins if it is of the best class. Its place; f->n: it did not. */
static size_t few_join(struct chooser *c, struct few *f, const struct chooser_wish *w,
                       const struct list *l, u16 number)
{
    struct pick_user user = {.addr = w->from, .profile = w->profile};
    size_t at = few_find(f, number);
    if (at < f->n || number == ROSTER_NONE)
        return at;
    const struct roster_node *node = roster_at(c->opt.roster, number);
    if (!node || !few_add(c, f, w, number, rtt_of(c, w, &node->of.key)))
        return f->n;
    if (pick_class_of(&f->list[at], &user, l->nearest_ns) <= f->best || w->holders_only)
        return at;
    f->n--;
    return f->n;
}

static void add_holders(struct chooser *c, struct few *f, const struct chooser_wish *w,
                        const struct list *l)
{
    struct node_key holders[HOLDERS];
    for (size_t i = 0; i < roster_regions(c->opt.roster); i++) {
        const struct inventory *v = roster_inventory(c->opt.roster, i);
        size_t n = v ? inventory_holders(v, w->digest, holders, HOLDERS) : 0;
        for (size_t k = 0; k < n && k < HOLDERS; k++) {
            size_t at = few_join(c, f, w, l, roster_find(c->opt.roster, &holders[k]));
            if (at < f->n)
                f->list[at].holds = true;
        }
        for (size_t k = 0; n > HOLDERS && k < f->n; k++)
            if (f->list[k].region_index == i && !f->list[k].holds)
                f->list[k].holds = inventory_is_held_by(v, w->digest, &f->list[k].key);
    }
}

static void add_fetchers(struct chooser *c, struct few *f, const struct chooser_wish *w,
                         const struct list *l)
{
    const struct fetch *of = fetch_of(c, w->digest);
    for (size_t i = 0; of && i < FETCH_NODES; i++) {
        u64 ns = of->by[i].since_ms ? fetching_ns(c, of, of->by[i].node.number, w->now_ms) : 0;
        size_t at = ns ? few_join(c, f, w, l, of->by[i].node.number) : f->n;
        if (at < f->n && !f->list[at].holds)
            f->list[at].fetching_ns = ns;
    }
}

static void few_make(struct chooser *c, struct few *f, const struct chooser_wish *w,
                     const struct list *l)
{
    struct pick_user user = {.addr = w->from, .profile = w->profile};
    const char *reason;
    f->n = 0;
    f->best = PICK_ANY;
    for (size_t i = 0; i < l->n; i++) {
        if (!node_at(c, l->nodes[i]) || !few_add(c, f, w, l->nodes[i].number, l->rtt_ns[i]))
            continue;
        const struct pick_candidate *k = &f->list[f->n - 1];
        enum pick_class class = pick_class_of(k, &user, l->nearest_ns);
        if (class < f->best && pick_is_usable(k, &reason))
            f->best = class;
    }
    if (w->digest) {
        add_holders(c, f, w, l);
        add_fetchers(c, f, w, l);
    }
    f->usable =
        pick_order(f->list, f->n, &user, w->size == UINT64_MAX ? 0 : w->size, &c->rng, f->lines);
}

/* --- the choice ------------------------------------------------------------------------------ */

static struct stick *stick_of(struct chooser *c, const struct chooser_wish *w, u8 key[KEY_BYTES])
{
    struct keyed k = {.n = 0};
    if (!w->user || !w->repository)
        return NULL;
    add(&k, w->user, TICKET_USER_BYTES);
    add(&k, w->from.ip, sizeof(w->from.ip));
    add(&k, w->repository, strlen(w->repository));
    return &c->sticks[place(c, &k, STICKS, key)];
}

/* The image's other layers went to one that is still as near as any. */
static bool remembered(struct chooser *c, const struct chooser_wish *w, const struct list *l,
                       struct chooser_choice *out)
{
    struct pick_user user = {.addr = w->from, .profile = w->profile};
    u8 key[KEY_BYTES];
    const char *reason;
    const struct stick *s = stick_of(c, w, key);
    if (!s || w->now_ms >= s->until_ms || memcmp(s->key, key, sizeof(key)) != 0)
        return false;
    const struct roster_node *node = node_at(c, s->node);
    if (!node)
        return false;
    struct pick_candidate k = as_now(c, node, w);
    k.rtt_ns = rtt_of(c, w, &k.key);
    if (!pick_is_usable(&k, &reason))
        return false;
    enum pick_class class = pick_class_of(&k, &user, l->nearest_ns);
    for (size_t i = 0; i < l->n; i++) { /* is there a better class by now? */
        const struct roster_node *other = node_at(c, l->nodes[i]);
        if (!other)
            continue;
        struct pick_candidate o = other->of;
        o.rtt_ns = l->rtt_ns[i];
        if (pick_class_of(&o, &user, l->nearest_ns) >= class)
            break; /* they stand in order */
        o = as_now(c, other, w);
        if (pick_is_usable(&o, &reason))
            return false;
    }
    *out = (struct chooser_choice){s->node.number, pick_class_name(class)};
    return true;
}

/* Now and then another than the soonest: SIZE_MAX when there is none to be tried. */
static size_t explore(struct chooser *c, const struct few *f)
{
    const struct pick_line *first = &f->lines[0];
    size_t at[FEW_MAX], n = 0;
    if (f->usable < 2 || rng_below(&c->rng, EXPLORE_ONE_IN) != 0)
        return SIZE_MAX;
    for (size_t i = 1; i < f->usable; i++) {
        const struct pick_candidate *k = &f->list[f->lines[i].index];
        if (first->class == PICK_NEAR
                ? k->rtt_ns == 0 && k->region_index == f->list[first->index].region_index
                : f->lines[i].class == first->class)
            at[n++] = i;
    }
    return n ? at[rng_below(&c->rng, n)] : SIZE_MAX;
}

/* Of all, when nobody on the list is fit. */
static bool search(struct chooser *c, const struct chooser_wish *w, struct chooser_choice *out)
{
    size_t usable;
    size_t n = chooser_all(c, w, c->all, c->lines, &usable);
    (void)n;
    for (size_t i = 0; i < usable; i++) {
        const struct pick_candidate *k = &c->all[c->lines[i].index];
        if (w->holders_only && !k->holds)
            continue;
        *out = (struct chooser_choice){roster_find(c->opt.roster, &k->key),
                                       pick_class_name(c->lines[i].class)};
        return true;
    }
    return false;
}

bool chooser_choose(struct chooser *c, const struct chooser_wish *w, struct chooser_choice *out)
{
    struct few *f = &c->few;
    const struct list *l = list_get(c, w);
    if (!w->holders_only && remembered(c, w, l, out))
        return true;
    few_make(c, f, w, l);
    size_t at = 0;
    while (w->holders_only && at < f->usable && !f->list[f->lines[at].index].holds)
        at++;
    if (at >= f->usable)
        return search(c, w, out);
    size_t other = w->holders_only ? SIZE_MAX : explore(c, f);
    if (other != SIZE_MAX)
        *out = (struct chooser_choice){f->numbers[f->lines[other].index], "tried now and then"};
    else
        *out = (struct chooser_choice){f->numbers[f->lines[at].index],
                                       pick_class_name(f->lines[at].class)};
    return true;
}

/* --- what is remembered ---------------------------------------------------------------------- */

static void note_fetch(struct chooser *c, const struct digest *d, struct ref node, u64 now_ms)
{
    struct keyed k = {.n = 0};
    u8 key[KEY_BYTES];
    add(&k, d->bytes, digest_size(d->alg));
    struct fetch *f = &c->fetches[place(c, &k, FETCHES, key)];
    if (memcmp(f->key, key, sizeof(key)) != 0) {
        memset(f, 0, sizeof(*f));
        memcpy(f->key, key, sizeof(key));
    }
    size_t oldest = 0;
    for (size_t i = 0; i < FETCH_NODES; i++) {
        if (f->by[i].since_ms && f->by[i].node.number == node.number &&
            f->by[i].node.serial == node.serial && now_ms - f->by[i].since_ms < FETCH_MS)
            return; /* since then */
        if (f->by[i].since_ms < f->by[oldest].since_ms)
            oldest = i;
    }
    f->by[oldest].node = node;
    f->by[oldest].since_ms = now_ms;
}

void chooser_sent(struct chooser *c, const struct chooser_wish *w, u16 number)
{
    u8 key[KEY_BYTES];
    struct roster_node *node = roster_at(c->opt.roster, number);
    struct stick *s = w->holders_only ? NULL : stick_of(c, w, key);
    if (!node)
        return;
    struct ref ref = {number, node->serial};
    if (s) {
        memcpy(s->key, key, sizeof(key));
        s->node = ref;
        s->until_ms = w->now_ms + STICK_MS;
    }
    roster_sent(node, w->size, w->now_ms);
    if (w->digest)
        note_fetch(c, w->digest, ref, w->now_ms);
}
