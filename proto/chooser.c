/* chooser.c - see chooser.h. */
#include "proto/chooser_impl.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

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

void chooser_add(struct keyed *k, const void *part, size_t n)
{
    if (n > sizeof(k->bytes) - k->n)
        n = sizeof(k->bytes) - k->n;
    memcpy(k->bytes + k->n, part, n);
    k->n += n;
}

size_t chooser_place(const struct chooser *c, const struct keyed *k, size_t places,
                     u8 out[KEY_BYTES])
{
    u32 bits;
    crypto_shorthash_siphashx24(out, k->bytes, k->n, c->opt.hash_key);
    memcpy(&bits, out, sizeof(bits));
    return bits % places;
}

/* --- candidates ------------------------------------------------------------------------------ */

struct roster_node *chooser_node(const struct chooser *c, struct ref r)
{
    struct roster_node *n = roster_at(c->opt.roster, r.number);
    return n && n->serial == r.serial ? n : NULL;
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
    chooser_add(&k, d->bytes, digest_size(d->alg));
    const struct fetch *f = &c->fetches[chooser_place(c, &k, FETCHES, key)];
    return memcmp(f->key, key, sizeof(key)) == 0 ? f : NULL;
}

static u64 fetching_ns(const struct chooser *c, const struct fetch *f, u16 number, u64 now_ms)
{
    for (size_t i = 0; f && i < FETCH_NODES; i++) {
        u64 since = f->by[i].since_ms;
        if (since && f->by[i].node.number == number && now_ms - since < FETCH_MS &&
            chooser_node(c, f->by[i].node))
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
    const struct list *l = chooser_list(c, w);
    for (u16 i = 0; i < roster_end(c->opt.roster) && n < PICK_MAX; i++) {
        const struct roster_node *node = roster_at(c->opt.roster, i);
        if (!node)
            continue;
        struct pick_candidate *k = &candidates[n++];
        *k = as_now(c, node, w);
        k->rtt_ns = chooser_distance(c, w, l, node);
        const struct inventory *v =
            w->digest ? roster_inventory(c->opt.roster, k->region_index) : NULL;
        k->holds = v && inventory_is_held_by(v, w->digest, &k->key);
        k->fetching_ns = k->holds ? 0 : fetching_ns(c, f, i, w->now_ms);
    }
    *usable = pick_order(candidates, n, &user, w->size == UINT64_MAX ? 0 : w->size, &c->rng, lines);
    return n;
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
    if (!node || !few_add(c, f, w, number, chooser_distance(c, w, l, node)))
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
        if (!chooser_node(c, l->nodes[i]) || !few_add(c, f, w, l->nodes[i].number, l->rtt_ns[i]))
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
    chooser_add(&k, w->user, TICKET_USER_BYTES);
    chooser_add(&k, w->from.ip, sizeof(w->from.ip));
    chooser_add(&k, w->repository, strlen(w->repository));
    return &c->sticks[chooser_place(c, &k, STICKS, key)];
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
    const struct roster_node *node = chooser_node(c, s->node);
    if (!node)
        return false;
    struct pick_candidate k = as_now(c, node, w);
    k.rtt_ns = chooser_distance(c, w, l, node);
    if (!pick_is_usable(&k, &reason))
        return false;
    enum pick_class class = pick_class_of(&k, &user, l->nearest_ns);
    for (size_t i = 0; i < l->n; i++) { /* is there a better class by now? */
        const struct roster_node *other = chooser_node(c, l->nodes[i]);
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

/* Now and then another than the soonest, so that what was learned stays true. ROSTER_NONE: none. */
static u16 explore(struct chooser *c, const struct few *f, const struct chooser_wish *w,
                   const struct list *l)
{
    size_t at[FEW_MAX], n = 0;
    const char *reason;
    if (l->n_strangers > 0 && rng_below(&c->rng, SEARCH_ONE_IN) == 0) {
        struct ref r = l->strangers[rng_below(&c->rng, l->n_strangers)];
        const struct roster_node *node = chooser_node(c, r);
        struct pick_candidate k =
            node ? as_now(c, node, w) : (struct pick_candidate){.unfit = true};
        if (pick_is_usable(&k, &reason))
            return r.number;
    }
    if (f->usable < 2 || rng_below(&c->rng, EXPLORE_ONE_IN) != 0)
        return ROSTER_NONE;
    for (size_t i = 1; i < f->usable; i++)
        if (f->lines[i].class == f->lines[0].class)
            at[n++] = i;
    return n ? f->numbers[f->lines[at[rng_below(&c->rng, n)]].index] : ROSTER_NONE;
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
    const struct list *l = chooser_list(c, w);
    if (!w->holders_only && remembered(c, w, l, out))
        return true;
    few_make(c, f, w, l);
    size_t at = 0;
    while (w->holders_only && at < f->usable && !f->list[f->lines[at].index].holds)
        at++;
    if (at >= f->usable)
        return search(c, w, out);
    u16 other = w->holders_only ? ROSTER_NONE : explore(c, f, w, l);
    if (other != ROSTER_NONE)
        *out = (struct chooser_choice){other, "tried now and then"};
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
    chooser_add(&k, d->bytes, digest_size(d->alg));
    struct fetch *f = &c->fetches[chooser_place(c, &k, FETCHES, key)];
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
