/* prefetch.c - see prefetch.h.
 *
 * An order's layers wait as fill_waiters; a fill that has begun goes on by itself. Every TICK_MS
 * each order is looked at, while there are any. */
#include "node/prefetch.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "node/node_internal.h"
#include "node/pull.h"
#include "proto/prefetch.h"
#include "runtime/clock.h"
#include "runtime/log.h"

#define TICK_MS   100
#define SAVED_MS  10000 /* the budget of so long is saved up */
#define SAVED_MIN (1ull << 20)

struct layer {
    struct prefetch *set;
    struct digest digest;
    u64 size;
    bool config;
    char *ticket;
    struct fill_waiter waiter;
    enum { LAYER_TO_DO, LAYER_ASKED, LAYER_RUNS, LAYER_OVER } state;
};

struct order {
    struct order *next;
    u8 user[TICKET_USER_BYTES];
    char repository[OCI_NAME_MAX + 1];
    struct node_key tracker;
    struct upstream *upstream;
    u64 at_ms; /* when it came, or was last claimed */
    bool claimed;
    size_t n;
    struct layer layers[PREFETCH_MAX];
};

struct prefetch {
    struct node *n;
    uv_timer_t timer;
    bool stopping;
    struct order *first; /* the oldest first */
    size_t count;
    u64 budget, budget_ms; /* bytes that may be begun unasked */
    u64 *outcomes[4];
};

enum outcome_kind { ORDERED, BEGUN, CLAIMED, LAPSED };

static void count(struct prefetch *p, enum outcome_kind k)
{
    static const char *const labels[] = {"outcome=\"ordered\"", "outcome=\"begun\"",
                                         "outcome=\"claimed\"", "outcome=\"lapsed\""};
    if (!p->outcomes[k])
        p->outcomes[k] =
            metrics_counter(p->n->metrics, "dray_prefetches_total", labels[k],
                            "Orders by trackers to begin ahead of a user, and layers begun so.");
    if (p->outcomes[k])
        ++*p->outcomes[k];
}

/* --- its life -------------------------------------------------------------------------------- */

static void order_free(struct order *o)
{
    for (size_t i = 0; i < o->n; i++) {
        fill_leave(&o->layers[i].waiter);
        if (o->layers[i].ticket)
            sodium_memzero(o->layers[i].ticket, strlen(o->layers[i].ticket));
        free(o->layers[i].ticket);
    }
    free(o);
}

static void drop(struct prefetch *p, struct order **at)
{
    struct order *o = *at;
    assert(o && p->count > 0);
    *at = o->next;
    p->count--;
    if (!o->claimed)
        count(p, LAPSED);
    order_free(o);
}

static void on_timer(uv_timer_t *t);

int prefetch_new(struct prefetch **out, struct node *n)
{
    struct prefetch *p = *out = calloc(1, sizeof(*p));
    if (!p)
        return ERR_NOMEM;
    p->n = n;
    p->budget_ms = uv_now(n->loop);
    uv_timer_init(n->loop, &p->timer);
    p->timer.data = p;
    return 0;
}

void prefetch_stop(struct prefetch *p)
{
    if (!p || p->stopping)
        return;
    p->stopping = true;
    while (p->first)
        drop(p, &p->first);
    uv_close((uv_handle_t *)&p->timer, NULL);
}

void prefetch_del(struct prefetch *p)
{
    free(p);
}

/* --- fetching -------------------------------------------------------------------------------- */

static void on_ready(struct fill_waiter *w, struct fill *f)
{
    struct layer *l = container_of(w, struct layer, waiter);
    (void)f; /* it goes on by itself */
    l->state = LAYER_RUNS;
}

static void on_failed(struct fill_waiter *w, int err, const char *why, const struct answer *refusal)
{
    struct layer *l = container_of(w, struct layer, waiter);
    (void)err;
    (void)refusal;
    l->state = LAYER_OVER; /* who asks for it will be told */
    log_with(LOG_DEBUG, "not prefetched", LOG_STR("why", why));
}

static bool is_held(const struct prefetch *p, const struct digest *d)
{
    struct blob_info info;
    return store_lookup(p->n->store, d, &info) == 0;
}

static void layer_begin(struct prefetch *p, struct order *o, struct layer *l)
{
    struct fill_source src = {.upstream = o->upstream,
                              .repository = o->repository,
                              .ticket = l->ticket,
                              .tracker = o->tracker,
                              .own = upstream_has_credentials(o->upstream),
                              .proven = true,
                              .size = l->size == UINT64_MAX ? STORE_SIZE_UNKNOWN : l->size};
    l->waiter = (struct fill_waiter){.ready = on_ready, .failed = on_failed};
    l->state = LAYER_ASKED;
    count(p, BEGUN);
    if (fill_join(p->n->fills, &l->digest, &src, &l->waiter))
        l->state = LAYER_OVER;
}

/* Where it stands by now. */
static void layer_look(const struct prefetch *p, struct layer *l)
{
    if (l->state == LAYER_TO_DO && is_held(p, &l->digest))
        l->state = LAYER_OVER;
    else if (l->state == LAYER_RUNS && !fill_is_streaming(p->n->fills, &l->digest))
        l->state = LAYER_OVER;
}

static bool has_room(const struct prefetch *p, u64 size)
{
    struct store_stats s;
    store_stats(p->n->store, &s);
    return s.used_bytes < s.capacity_bytes && size < s.capacity_bytes - s.used_bytes;
}

static size_t order_running(const struct prefetch *p, struct order *o)
{
    size_t running = 0;
    for (size_t i = 0; i < o->n; i++) {
        layer_look(p, &o->layers[i]);
        running += o->layers[i].state == LAYER_ASKED || o->layers[i].state == LAYER_RUNS;
    }
    return running;
}

/* Asked for: what comes next is on its way before it is. */
static void order_run(struct prefetch *p, struct order *o)
{
    size_t running = order_running(p, o);
    for (size_t i = 0; i < o->n && running < PREFETCH_AHEAD; i++)
        if (o->layers[i].state == LAYER_TO_DO) {
            layer_begin(p, o, &o->layers[i]);
            running++;
        }
}

/* Nobody asked yet. True: one was begun. */
static bool order_try(struct prefetch *p, struct order *o)
{
    for (size_t i = 0; i < o->n; i++) {
        struct layer *l = &o->layers[i];
        if (l->state != LAYER_TO_DO || l->size > p->budget || !has_room(p, l->size))
            continue;
        p->budget -= l->size;
        layer_begin(p, o, l);
        return true;
    }
    return false;
}

static void save_up(struct prefetch *p)
{
    u64 now = uv_now(p->n->loop), wan = p->n->config->limits.wan;
    u64 rate = (wan ? wan : PREFETCH_WAN) / 10;
    u64 most = rate * SAVED_MS / 1000 > SAVED_MIN ? rate * SAVED_MS / 1000 : SAVED_MIN;
    u64 ms = now - p->budget_ms < SAVED_MS ? now - p->budget_ms : SAVED_MS;
    p->budget += rate * ms / 1000;
    if (p->budget > most)
        p->budget = most;
    p->budget_ms = now;
}

static bool all_over(const struct order *o)
{
    for (size_t i = 0; i < o->n; i++)
        if (o->layers[i].state != LAYER_OVER)
            return false;
    return true;
}

static void look(struct prefetch *p)
{
    u64 now = uv_now(p->n->loop);
    size_t unasked = 0;
    save_up(p);
    for (struct order **at = &p->first; *at;) {
        struct order *o = *at;
        if (o->claimed)
            order_run(p, o);
        else
            unasked += order_running(p, o);
        if (now - o->at_ms >= PREFETCH_LAPSE_MS || (o->claimed && all_over(o)))
            drop(p, at);
        else
            at = &o->next;
    }
    for (struct order *o = p->first; o && unasked == 0; o = o->next)
        if (!o->claimed && order_try(p, o))
            break;
    if (!p->first)
        uv_timer_stop(&p->timer);
}

static void on_timer(uv_timer_t *t)
{
    look(t->data);
}

/* --- orders ---------------------------------------------------------------------------------- */

static bool is_of(const struct order *o, const u8 user[TICKET_USER_BYTES], const char *repository)
{
    return memcmp(o->user, user, sizeof(o->user)) == 0 && strcmp(o->repository, repository) == 0;
}

static bool has_layer(const struct order *o, const struct digest *d)
{
    for (size_t i = 0; i < o->n; i++)
        if (digest_equal(&o->layers[i].digest, d))
            return !o->layers[i].config;
    return false;
}

void prefetch_claim(struct prefetch *p, const struct ticket *t)
{
    for (struct order *o = p->first; o; o = o->next) {
        if (!is_of(o, t->user, t->repository) || !has_layer(o, &t->digest))
            continue;
        if (!o->claimed)
            count(p, CLAIMED);
        o->claimed = true;
        o->at_ms = uv_now(p->n->loop);
        order_run(p, o);
    }
}

static void make_room(struct prefetch *p)
{
    struct order **at = &p->first;
    while (*at && (*at)->claimed)
        at = &(*at)->next;
    drop(p, *at ? at : &p->first);
}

/* All its tickets count here, and are of one user; else NULL. */
static struct order *order_new(struct node *n, const struct prefetch_order *from)
{
    struct order *o = calloc(1, sizeof(*o));
    struct ticket_wanted wanted = {.repository = from->repository,
                                   .node = mesh_key(region_mesh(n->region)),
                                   .now_s = wall_ms() / 1000};
    struct ticket t;
    bool good = o != NULL;
    if (good)
        memcpy(o->repository, from->repository, sizeof(o->repository));
    for (size_t i = 0; good && i < from->n; i++) {
        const struct prefetch_blob *b = &from->blobs[i];
        struct layer *to = &o->layers[i];
        wanted.digest = &b->digest;
        good = tickets_check(n->tickets, (struct http_slice){b->ticket, b->ticket_n}, &wanted,
                             &t) == TICKET_VALID &&
               (i == 0 || memcmp(o->user, t.user, sizeof(t.user)) == 0) &&
               (to->ticket = strndup(b->ticket, b->ticket_n)) != NULL;
        if (!good)
            break;
        memcpy(o->user, t.user, sizeof(o->user));
        o->tracker = t.tracker;
        o->upstream = pull_upstream_of(n, &t);
        to->digest = b->digest;
        to->size = t.size;
        to->config = b->config;
        o->n = i + 1;
        good = o->upstream != NULL;
    }
    if (good)
        return o;
    if (o)
        order_free(o);
    return NULL;
}

static void take(struct prefetch *p, struct order *o)
{
    struct order **at = &p->first;
    bool claimed = false;
    for (const struct order *old = p->first; old; old = old->next)
        claimed |= old->claimed && is_of(old, o->user, o->repository); /* of the same pull */
    if (p->count == PREFETCH_ORDERS)
        make_room(p);
    o->at_ms = uv_now(p->n->loop);
    o->claimed = claimed;
    while (*at)
        at = &(*at)->next;
    *at = o;
    p->count++;
    count(p, ORDERED);
    uv_timer_start(&p->timer, on_timer, 0, TICK_MS);
}

/* --- the request ----------------------------------------------------------------------------- */

bool prefetch_takes(struct http_slice target)
{
    static const char path[] = PREFETCH_PATH;
    return target.n == sizeof(path) - 1 && memcmp(target.p, path, target.n) == 0;
}

static void answer(struct node *n, struct http_exchange *x, int status, const char *message)
{
    node_count(n, ROUTE_PEER, status);
    if (status == 204)
        http_reply(x, 204, NULL, 0);
    else
        http_reply_oci_status(x, status, status == 403 ? OCI_DENIED : OCI_UNSUPPORTED, message,
                              NULL);
}

void prefetch_begin(struct node *n, struct http_exchange *x)
{
    static struct prefetch_order order; /* one thread: too large for a stack */
    const struct http_request *q = http_request(x);
    struct node_key from;
    struct member_view v;
    struct order *o;
    if (q->method != HTTP_POST)
        answer(n, x, 405, "use POST");
    else if (!peer_may_ask(n, x, "POST", &from))
        return;
    else if (!member_find(mesh_member(region_mesh(n->region)), &from, &v) ||
             v.record->role != MEMBER_TRACKER)
        answer(n, x, 403, "for trackers alone");
    else if (prefetch_unpack(&order, q->body.p, q->body.n) || order.n == 0)
        answer(n, x, 400, "not understood");
    else if (!(o = order_new(n, &order)))
        answer(n, x, 403, "a ticket that does not count here");
    else {
        take(n->prefetch, o);
        answer(n, x, 204, NULL);
    }
}
