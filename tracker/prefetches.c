/* prefetches.c - see prefetches.h. */
#include "tracker/prefetches.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/prefetch.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/region_ask.h"
#include "tracker/tracker_internal.h"

#define USERS      4096
#define CONFIGS    16384
#define RUNNING    64 /* orders on their way */
#define RUNNING_TO 8  /* to one node: who never ends an answer takes no more places */
#define TIMEOUT_MS 2000

/* One who reads manifests; what falls on a taken place takes it. */
struct reader {
    u8 key[16]; /* of (user, address) */
    struct {
        u8 repository[16];
        u64 at_ms; /* 0: none */
    } open[PREFETCHES_OPEN];
    unsigned lapses; /* in a row */
    u64 lapsed_ms;   /* the last one */
};

struct telling {
    struct telling *next, **at;
    struct prefetches *set;
    struct http_transfer *transfer;
    struct node_key node;
    char name[MEMBER_TEXT_MAX + 1];
    int status;
};

struct prefetches {
    struct tracker *t;
    u8 hash_key[crypto_shorthash_siphashx24_KEYBYTES];
    struct telling *first;
    unsigned running;
    u64 *ordered, *withheld;
    struct reader readers[USERS];
    u64 configs[CONFIGS]; /* marks; what falls on a taken place takes it */
};

struct prefetches *prefetches_new(struct tracker *t)
{
    struct prefetches *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->t = t;
    randombytes_buf(p->hash_key, sizeof(p->hash_key));
    p->ordered = metrics_counter(t->metrics, "dray_prefetches_total", "outcome=\"ordered\"",
                                 "Nodes told to begin with a manifest's layers, or not.");
    p->withheld = metrics_counter(t->metrics, "dray_prefetches_total", "outcome=\"withheld\"",
                                  "Nodes told to begin with a manifest's layers, or not.");
    return p;
}

void prefetches_del(struct prefetches *p)
{
    while (p && p->first) {
        struct telling *k = p->first;
        p->first = k->next;
        free(k);
    }
    free(p);
}

/* --- configs --------------------------------------------------------------------------------- */

static void repository_key(const struct prefetches *p, const char *repository, u8 key[16])
{
    crypto_shorthash_siphashx24(key, (const u8 *)repository, strlen(repository), p->hash_key);
}

/* Of a blob in a repository; others may call it what they like in theirs. */
static u64 mark_of(const struct prefetches *p, const u8 repository[16], const struct digest *d)
{
    u8 both[16 + 1 + DIGEST_BYTES_MAX], out[16];
    u64 mark;
    memcpy(both, repository, 16);
    both[16] = d->alg;
    memcpy(both + 17, d->bytes, DIGEST_BYTES_MAX);
    crypto_shorthash_siphashx24(out, both, 17 + digest_size(d->alg), p->hash_key);
    memcpy(&mark, out, sizeof(mark));
    return mark;
}

static void note_configs(struct prefetches *p, const char *repository,
                         const struct manifest_blob *blobs, size_t n)
{
    u8 key[16];
    repository_key(p, repository, key);
    for (size_t i = 0; i < n; i++)
        if (blobs[i].config) {
            u64 mark = mark_of(p, key, &blobs[i].digest);
            p->configs[mark % CONFIGS] = mark;
        }
}

/* --- who reads ------------------------------------------------------------------------------- */

static struct reader *reader_of(struct prefetches *p, const struct chooser_wish *w)
{
    u8 both[TICKET_USER_BYTES + sizeof(w->from.ip)], key[16];
    u32 bits;
    memcpy(both, w->user, TICKET_USER_BYTES);
    memcpy(both + TICKET_USER_BYTES, w->from.ip, sizeof(w->from.ip));
    crypto_shorthash_siphashx24(key, both, sizeof(both), p->hash_key);
    memcpy(&bits, key, sizeof(bits));
    struct reader *r = &p->readers[bits % USERS];
    if (memcmp(r->key, key, sizeof(key)) != 0) {
        memset(r, 0, sizeof(*r));
        memcpy(r->key, key, sizeof(key));
    }
    return r;
}

static void lapse(struct reader *r, u64 now_ms)
{
    for (size_t i = 0; i < PREFETCHES_OPEN; i++)
        if (r->open[i].at_ms && now_ms - r->open[i].at_ms >= PREFETCHES_LAPSE_MS) {
            r->open[i].at_ms = 0;
            r->lapses++;
            r->lapsed_ms = now_ms;
        }
    if (r->lapses >= PREFETCHES_LAPSES && now_ms - r->lapsed_ms >= PREFETCHES_PAUSE_MS)
        r->lapses = PREFETCHES_LAPSES - 1; /* one more try */
}

/* True: an order may be given; it counts as open then. */
static bool may_order(struct prefetches *p, const struct chooser_wish *w)
{
    struct reader *r = reader_of(p, w);
    size_t free_place = PREFETCHES_OPEN;
    u8 repository[16];
    repository_key(p, w->repository, repository);
    lapse(r, w->now_ms);
    for (size_t i = 0; i < PREFETCHES_OPEN; i++) {
        bool same = memcmp(r->open[i].repository, repository, sizeof(repository)) == 0;
        if (r->open[i].at_ms && same)
            return false; /* ordered a moment ago */
        if (!r->open[i].at_ms)
            free_place = i;
    }
    if (r->lapses >= PREFETCHES_LAPSES || free_place == PREFETCHES_OPEN || p->running >= RUNNING)
        return false;
    memcpy(r->open[free_place].repository, repository, sizeof(repository));
    r->open[free_place].at_ms = w->now_ms;
    return true;
}

void prefetches_asked(struct prefetches *p, const struct chooser_wish *w)
{
    struct reader *r = reader_of(p, w);
    u8 repository[16];
    repository_key(p, w->repository, repository);
    u64 mark = mark_of(p, repository, w->digest);
    if (p->configs[mark % CONFIGS] == mark)
        return; /* who pulls asks for layers */
    r->lapses = 0;
    for (size_t i = 0; i < PREFETCHES_OPEN; i++)
        if (memcmp(r->open[i].repository, repository, sizeof(repository)) == 0)
            r->open[i].at_ms = 0;
}

/* --- telling --------------------------------------------------------------------------------- */

static bool may_tell(const struct prefetches *p, const struct node_key *node)
{
    unsigned n = 0;
    for (const struct telling *k = p->first; k; k = k->next)
        n += node_key_equal(&k->node, node);
    return n < RUNNING_TO;
}

static void over(struct telling *k)
{
    *k->at = k->next;
    if (k->next)
        k->next->at = k->at;
    k->set->running--;
    free(k);
}

static void on_head(void *arg, const struct http_response *r)
{
    ((struct telling *)arg)->status = r->status;
}

static void on_end(void *arg, int err, const char *why)
{
    struct telling *k = arg;
    if (err || k->status >= 300)
        log_with(LOG_DEBUG, "a node was not told to begin", LOG_STR("node", k->name),
                 LOG_NUM("status", k->status), LOG_STR("why", why));
    over(k);
}

static void tell(struct prefetches *p, const struct pick_candidate *c, const u8 *body, size_t len)
{
    struct region *region = regions_at(p->t->regions, c->region_index);
    struct telling *k = calloc(1, sizeof(*k));
    if (!k)
        return;
    snprintf(k->name, sizeof(k->name), "%s", c->name);
    k->set = p;
    k->node = c->key;
    k->at = &p->first;
    k->next = p->first;
    if (k->next)
        k->next->at = &k->next;
    p->first = k;
    p->running++;
    const struct region_to to = {.key = &c->key, .addr = &c->addr, .path = PREFETCH_PATH};
    const struct http_transfer_options opt = {
        .method = "POST",
        .body = body,
        .body_len = len,
        .connect_timeout_ms = TIMEOUT_MS,
        .head_timeout_ms = TIMEOUT_MS,
        .on = {.head = on_head, .end = on_end},
        .arg = k,
    };
    if (region_ask(region, p->t->client, &to, &opt, &k->transfer))
        over(k);
    else
        ++*p->ordered;
}

/* --- what is ordered ------------------------------------------------------------------------- */

/* What the node does not hold. The tickets are those that the user will be given. */
static void write_order(struct prefetches *p, const struct chooser_wish *w,
                        const struct pick_candidate *c, const struct manifest_blob *blobs, size_t n,
                        struct prefetch_order *out)
{
    static char texts[PREFETCH_MAX][TICKET_TEXT_SIZE]; /* one thread: too large for a stack */
    struct mesh *m = region_mesh(regions_at(p->t->regions, c->region_index));
    out->n = 0;
    snprintf(out->repository, sizeof(out->repository), "%s", w->repository);
    for (size_t i = 0; m && i < n && out->n < PREFETCH_MAX; i++) {
        if (inventory_is_held_by(mesh_inventory(m), &blobs[i].digest, &c->key))
            continue;
        struct ticket ticket = {.tracker = *mesh_key(m),
                                .digest = blobs[i].digest,
                                .size = blobs[i].size,
                                .node = c->key};
        memcpy(ticket.user, w->user, sizeof(ticket.user));
        snprintf(ticket.upstream, sizeof(ticket.upstream), "%s", p->t->config->registry.name);
        snprintf(ticket.repository, sizeof(ticket.repository), "%s", w->repository);
        struct prefetch_blob *b = &out->blobs[out->n];
        snprintf(texts[out->n], sizeof(texts[0]), "%s",
                 grants_ticket(p->t->grants, &ticket, wall_ms()));
        b->digest = blobs[i].digest;
        b->config = blobs[i].config;
        b->ticket = texts[out->n];
        b->ticket_n = strlen(texts[out->n]);
        out->n++;
    }
}

void prefetches_manifest(struct prefetches *p, const struct chooser_wish *w,
                         const char *authorization, const struct manifest_blob *blobs, size_t n)
{
    static struct prefetch_order order;
    static u8 body[PREFETCH_BYTES_MAX];
    struct tracker *t = p->t;
    struct chooser_choice choice;
    struct chooser_wish wish = *w;
    if (n == 0)
        return;
    note_configs(p, w->repository, blobs, n);
    wish.digest = &blobs[0].digest;
    wish.size = blobs[0].size;
    if (!may_order(p, w) || !chooser_choose(t->chooser, &wish, &choice)) {
        ++*p->withheld;
        return;
    }
    const struct pick_candidate *c = &roster_at(t->roster, choice.number)->of;
    if (!may_tell(p, &c->key)) {
        ++*p->withheld;
        return;
    }
    /* Its layers will be sent there; nothing is under way to it yet. */
    wish.digest = NULL;
    wish.size = 0;
    chooser_sent(t->chooser, &wish, choice.number);
    write_order(p, w, c, blobs, n, &order);
    if (order.n == 0)
        return;
    if (grants_keep(t->grants, w->user, w->repository, authorization, uv_now(t->loop)))
        circle_login(t->circle, w->user, w->repository, authorization ? authorization : "",
                     wall_ms() + t->config->authz.ttl_ms);
    tell(p, c, body, prefetch_pack(&order, body));
}
