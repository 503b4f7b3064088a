/* overview.c - see overview.h.
 *
 * Pulls are a ring, with a small tag each beside it: a look-up scans the tags alone, two kilobytes,
 * and most often not even these, as a table of counts tells that no such tag is there. Nodes are an
 * open-addressed table; one that finds no place takes that of the one that was silent for the
 * longest, whose sums go to `gone`. */
#include "tracker/overview.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUN     16
#define COUNTS  4096 /* of tags, by their last bits */
#define REGIONS 64   /* that have sums of their own when nodes are forgotten */

struct node {
    struct node_key key; /* unset: free */
    u16 region;
    u64 told_ms;
    struct outcome_totals now, before; /* of this life; of those before it */
};

struct overview {
    struct overview_pull pulls[OVERVIEW_PULLS];
    u32 tags[OVERVIEW_PULLS]; /* 0: free */
    u16 counts[COUNTS];
    size_t next, n_pulls;
    u64 second, in_second, unshown;
    const char *reasons[OVERVIEW_REASONS];
    u64 reason_totals[OVERVIEW_REASONS];
    size_t n_reasons;
    struct overview_bucket buckets[OVERVIEW_BUCKETS];
    u64 strikes;
    struct node nodes[OVERVIEW_NODES];
    struct outcome_totals gone[REGIONS];
};

int overview_new(struct overview **out)
{
    *out = calloc(1, sizeof(**out));
    return *out ? 0 : ERR_NOMEM;
}

void overview_del(struct overview *o)
{
    free(o);
}

/* --- over time ------------------------------------------------------------------------------- */

static struct overview_bucket *bucket_of(struct overview *o, u64 now_ms)
{
    u64 at = now_ms / OVERVIEW_BUCKET_MS;
    struct overview_bucket *b = &o->buckets[at % OVERVIEW_BUCKETS];
    if (b->at != at)
        *b = (struct overview_bucket){.at = at};
    return b;
}

void overview_each_bucket(const struct overview *o, u64 now_ms,
                          void (*each)(void *arg, const struct overview_bucket *b), void *arg)
{
    u64 last = now_ms / OVERVIEW_BUCKET_MS;
    for (u64 i = OVERVIEW_BUCKETS; i-- > 0;) {
        const struct overview_bucket *b = &o->buckets[(last - i) % OVERVIEW_BUCKETS];
        if (last >= i && b->at == last - i && b->at > 0)
            each(arg, b);
    }
}

static size_t reason_index(struct overview *o, const char *reason)
{
    for (size_t i = 0; i < o->n_reasons; i++)
        if (o->reasons[i] == reason) /* as good as always */
            return i;
    for (size_t i = 0; i < o->n_reasons; i++)
        if (strcmp(o->reasons[i], reason) == 0)
            return i;
    if (o->n_reasons == OVERVIEW_REASONS)
        return OVERVIEW_REASONS - 1;
    o->reasons[o->n_reasons] = o->n_reasons == OVERVIEW_REASONS - 1 ? "other" : reason;
    return o->n_reasons++;
}

size_t overview_reasons(const struct overview *o)
{
    return o->n_reasons;
}

const char *overview_reason(const struct overview *o, size_t i)
{
    assert(i < o->n_reasons);
    return o->reasons[i];
}

u64 overview_reason_total(const struct overview *o, size_t i)
{
    assert(i < o->n_reasons);
    return o->reason_totals[i];
}

void overview_strikes(struct overview *o, u64 total, u64 now_ms)
{
    if (total > o->strikes)
        bucket_of(o, now_ms)->strikes += (u32)(total - o->strikes);
    o->strikes = total;
}

/* --- pulls ----------------------------------------------------------------------------------- */

/* Of hashes, so that any part of them is as good as a hash. */
static u32 tag_of(const u8 user[TICKET_USER_BYTES], const struct digest *d,
                  const struct node_key *node)
{
    u32 a, b, c = 0;
    memcpy(&a, user, sizeof(a));
    memcpy(&b, d->bytes, sizeof(b));
    if (node)
        memcpy(&c, node->bytes, sizeof(c));
    u32 tag = a * 0x9e3779b1u ^ b * 0x85ebca6bu ^ c * 0xc2b2ae35u;
    return tag ? tag : 1;
}

static struct overview_pull *find(struct overview *o, const u8 user[TICKET_USER_BYTES],
                                  const struct digest *d, const struct node_key *node)
{
    static const struct node_key nobody;
    u32 tag = tag_of(user, d, node);
    if (o->counts[tag % COUNTS] == 0)
        return NULL;
    if (!node)
        node = &nobody;
    for (size_t i = 0; i < OVERVIEW_PULLS; i++) {
        struct overview_pull *p = &o->pulls[i];
        if (o->tags[i] == tag && memcmp(p->user, user, sizeof(p->user)) == 0 &&
            digest_equal(&p->digest, d) && node_key_equal(&p->node, node))
            return p;
    }
    return NULL;
}

static void set_tag(struct overview *o, size_t at, u32 tag)
{
    if (o->tags[at])
        o->counts[o->tags[at] % COUNTS]--;
    if (tag)
        o->counts[tag % COUNTS]++;
    o->tags[at] = tag;
}

static void copy_text(char *out, size_t cap, const char *text)
{
    snprintf(out, cap, "%s", text ? text : "");
}

static void keep(struct overview *o, const struct overview_sent *s, const char *reason, u64 now_ms)
{
    if (o->second != now_ms / 1000) {
        o->second = now_ms / 1000;
        o->in_second = 0;
    }
    if (++o->in_second > OVERVIEW_PULLS_S) { /* nor looked for: this is the busiest path there is */
        o->unshown++;
        return;
    }
    struct overview_pull *p = find(o, s->user, s->digest, s->node);
    if (p && now_ms - p->sent_ms < OVERVIEW_SAME_MS) {
        p->times++;
        return;
    }
    if (p) /* an older one: outcomes go to the newer */
        set_tag(o, (size_t)(p - o->pulls), 0);
    p = &o->pulls[o->next];
    set_tag(o, o->next, tag_of(s->user, s->digest, s->node));
    o->next = (o->next + 1) % OVERVIEW_PULLS;
    o->n_pulls += o->n_pulls < OVERVIEW_PULLS;
    *p = (struct overview_pull){.sent_ms = now_ms,
                                .changed_ms = now_ms,
                                .digest = *s->digest,
                                .reason = reason,
                                .size = s->size,
                                .times = 1};
    memcpy(p->user, s->user, sizeof(p->user));
    if (addr_is_set(s->from))
        p->prefix = outcome_prefix(s->from);
    if (s->node)
        p->node = *s->node;
    copy_text(p->node_name, sizeof(p->node_name), s->node_name);
    copy_text(p->region, sizeof(p->region), s->region);
    copy_text(p->repository, sizeof(p->repository), s->repository);
}

void overview_sent(struct overview *o, const struct overview_sent *s, u64 now_ms)
{
    size_t reason = reason_index(o, s->reason);
    o->reason_totals[reason]++;
    bucket_of(o, now_ms)->sent[reason]++;
    keep(o, s, o->reasons[reason], now_ms);
}

static void note_outcome(struct overview *o, const struct node_key *node, const struct outcome *t,
                         u64 now_ms)
{
    struct overview_pull *p = find(o, t->user, &t->digest, node);
    if (!p)
        return;
    p->changed_ms = now_ms;
    p->last = t->event;
    if (t->event == OUTCOME_BEGAN) {
        p->alive++;
        return;
    }
    p->alive -= p->alive > 0;
    p->bytes += t->bytes;
    p->took_ms = t->took_ms;
    p->source = t->source;
}

const struct overview_pull *overview_pull(const struct overview *o, size_t n)
{
    if (n >= o->n_pulls)
        return NULL;
    return &o->pulls[(o->next + OVERVIEW_PULLS - 1 - n) % OVERVIEW_PULLS];
}

u64 overview_unshown(const struct overview *o)
{
    return o->unshown;
}

/* --- nodes ----------------------------------------------------------------------------------- */

static u64 served(const struct outcome_totals *t)
{
    u64 sum = 0;
    for (int i = 0; i < OUTCOME_SOURCES; i++)
        sum += t->served[i];
    return sum;
}

/* What grows; not what is held or runs. */
static void add_grown(struct outcome_totals *to, const struct outcome_totals *t)
{
    for (int i = 0; i < OUTCOME_SOURCES; i++)
        to->served[i] += t->served[i];
    to->from_peers += t->from_peers;
    to->from_origin += t->from_origin;
}

static void add_held(struct outcome_totals *to, const struct outcome_totals *t)
{
    to->held_bytes += t->held_bytes;
    to->held_blobs += t->held_blobs;
    to->capacity_bytes += t->capacity_bytes;
    to->serving += t->serving;
}

static size_t node_at(const struct node_key *key)
{
    u64 h;
    memcpy(&h, key->bytes, sizeof(h));
    return (size_t)((h ^ h >> 29) % OVERVIEW_NODES);
}

static const struct node *node_find(const struct overview *o, const struct node_key *key)
{
    size_t first = node_at(key);
    for (size_t i = 0; i < RUN; i++) {
        const struct node *n = &o->nodes[(first + i) % OVERVIEW_NODES];
        if (n->told_ms && node_key_equal(&n->key, key))
            return n;
    }
    return NULL;
}

static struct node *node_make(struct overview *o, const struct node_key *key, size_t region)
{
    size_t first = node_at(key);
    struct node *victim = &o->nodes[first];
    for (size_t i = 0; i < RUN; i++) {
        struct node *n = &o->nodes[(first + i) % OVERVIEW_NODES];
        if (n->told_ms < victim->told_ms)
            victim = n;
    }
    struct outcome_totals *gone = &o->gone[victim->region % REGIONS];
    add_grown(gone, &victim->now);
    add_grown(gone, &victim->before);
    *victim = (struct node){.key = *key, .region = (u16)region};
    return victim;
}

static bool fell(const struct outcome_totals *was, const struct outcome_totals *is)
{
    bool less = is->from_peers < was->from_peers || is->from_origin < was->from_origin;
    for (int i = 0; i < OUTCOME_SOURCES; i++)
        less |= is->served[i] < was->served[i];
    return less;
}

static void note_totals(struct overview *o, const struct node_key *key, size_t region,
                        const struct outcome_totals *t, u64 now_ms)
{
    struct node *n = (struct node *)node_find(o, key);
    bool known = n != NULL;
    if (!known)
        n = node_make(o, key, region);
    if (fell(&n->now, t)) { /* it started anew */
        add_grown(&n->before, &n->now);
        memset(&n->now, 0, sizeof(n->now));
    }
    if (known) { /* what it did before we knew it did not happen just now */
        struct overview_bucket *b = bucket_of(o, now_ms);
        b->served += served(t) - served(&n->now);
        b->wan += t->from_origin - n->now.from_origin;
    }
    n->now = *t;
    n->region = (u16)region;
    n->told_ms = now_ms;
}

void overview_told(struct overview *o, const struct node_key *node, size_t region,
                   const struct outcome_report *r, u64 now_ms)
{
    assert(node);
    for (size_t i = 0; i < r->n; i++)
        note_outcome(o, node, &r->outcomes[i], now_ms);
    if (r->has_totals)
        note_totals(o, node, region, &r->totals, now_ms);
}

bool overview_node(const struct overview *o, const struct node_key *node,
                   struct outcome_totals *out)
{
    const struct node *n = node_find(o, node);
    if (!n)
        return false;
    *out = n->now;
    add_grown(out, &n->before);
    return true;
}

void overview_sums(const struct overview *o, u64 now_ms, struct outcome_totals *regions, size_t n,
                   struct outcome_totals *all)
{
    memset(all, 0, sizeof(*all));
    memset(regions, 0, n * sizeof(*regions));
    for (size_t i = 0; i < REGIONS; i++) {
        add_grown(all, &o->gone[i]);
        if (i < n)
            add_grown(&regions[i], &o->gone[i]);
    }
    for (size_t i = 0; i < OVERVIEW_NODES; i++) {
        const struct node *one = &o->nodes[i];
        struct outcome_totals sum = {.serving = 0};
        if (!one->told_ms)
            continue;
        add_grown(&sum, &one->now);
        add_grown(&sum, &one->before);
        if (now_ms - one->told_ms < OVERVIEW_FRESH_MS)
            add_held(&sum, &one->now);
        add_grown(all, &sum);
        add_held(all, &sum);
        if (one->region < n) {
            add_grown(&regions[one->region], &sum);
            add_held(&regions[one->region], &sum);
        }
    }
}
