/* warm.c - see warm.h.
 *
 *   RESOLVING: manifests are asked for, one after the other --all known--> FETCHING --all over-->
 *   DONE, or FAILED with the first reason why something is missing
 *
 * Layers wait as fill_waiters; a fill that has begun goes on by itself. What runs is looked at
 * every TICK_MS. */
#include "node/warm.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/image_ref.h"
#include "node/node_internal.h"
#include "proto/limits.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/manifest.h"
#include "runtime/region_ask.h"
#include "store/hash.h"

#define TICK_MS       100
#define MANIFESTS_MAX 64   /* of one image: platforms, and what is attached to them */
#define LAYERS_MAX    4096 /* of all of them together */
#define TIMEOUT_MS    3000

enum state { RESOLVING, FETCHING, DONE, FAILED };

struct layer {
    struct layer *next;
    struct digest digest;
    u64 size; /* UINT64_MAX: not known */
    struct fill_waiter waiter;
    struct warm *of;
    enum { LAYER_TO_DO, LAYER_ASKED, LAYER_RUNS, LAYER_HELD, LAYER_LOST } state;
};

/* Another node that is told. */
struct telling {
    struct telling *next;
    struct warm *of;
    struct http_transfer *transfer; /* NULL: over */
    int status;
    char name[MEMBER_TEXT_MAX + 1];
};

struct warm {
    struct warm *next;
    struct warms *set;
    u64 id, at_ms, ended_ms;
    struct prefetch_image what;
    struct image_ref ref;
    struct upstream *upstream;
    enum state state;
    char why[200];
    char manifests[MANIFESTS_MAX][sizeof(((struct image_ref *)NULL)->reference)];
    size_t n_manifests, resolved;
    struct upstream_ask *ask;
    struct layer *layers;
    size_t n_layers;
    bool region;
    struct telling *tellings;
    size_t told, refused;
};

struct warms {
    struct node *n;
    uv_timer_t timer;
    bool stopping;
    u64 last_id;
    struct warm *first; /* the latest first */
};

/* --- its life -------------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *t);

int warms_new(struct warms **out, struct node *n)
{
    struct warms *w = *out = calloc(1, sizeof(*w));
    if (!w)
        return ERR_NOMEM;
    w->n = n;
    uv_timer_init(n->loop, &w->timer);
    w->timer.data = w;
    return 0;
}

static void warm_free(struct warm *k)
{
    if (k->ask)
        upstream_ask_cancel(k->ask);
    for (struct layer *l = k->layers, *next; l; l = next) {
        next = l->next;
        fill_leave(&l->waiter);
        free(l);
    }
    for (struct telling *t = k->tellings, *next; t; t = next) {
        next = t->next;
        if (t->transfer)
            http_transfer_cancel(t->transfer);
        free(t);
    }
    free(k);
}

void warms_stop(struct warms *w)
{
    if (!w || w->stopping)
        return;
    w->stopping = true;
    while (w->first) {
        struct warm *k = w->first;
        w->first = k->next;
        warm_free(k);
    }
    uv_close((uv_handle_t *)&w->timer, NULL);
}

void warms_del(struct warms *w)
{
    free(w);
}

static bool is_over(const struct warm *k)
{
    return k->state == DONE || k->state == FAILED;
}

static void fail(struct warm *k, const char *why)
{
    if (!k->why[0])
        snprintf(k->why, sizeof(k->why), "%s", why);
}

static void end(struct warm *k)
{
    k->state = k->why[0] ? FAILED : DONE;
    k->ended_ms = uv_now(k->set->n->loop);
    log_with(k->why[0] ? LOG_WARN : LOG_INFO, k->why[0] ? "prefetch failed" : "prefetched",
             LOG_STR("image", k->what.image), LOG_STR("platform", k->what.platform),
             LOG_NUM("layers", k->n_layers), LOG_STR("why", k->why));
}

/* --- layers ---------------------------------------------------------------------------------- */

static void on_ready(struct fill_waiter *w, struct fill *f)
{
    struct layer *l = container_of(w, struct layer, waiter);
    l->state = LAYER_RUNS;
    if (!fill_is_kept(f)) {
        l->state = LAYER_LOST;
        fail(l->of, "there is no room in the store, or its disk fails");
    }
}

static void on_failed(struct fill_waiter *w, int err, const char *why, const struct answer *refusal)
{
    struct layer *l = container_of(w, struct layer, waiter);
    char text[200];
    if (err == ERR_EXISTS) {
        l->state = LAYER_HELD;
        return;
    }
    l->state = LAYER_LOST;
    if (refusal)
        snprintf(text, sizeof(text), "the registry refused a layer (%d)", refusal->status);
    fail(l->of, refusal ? text : why);
}

static bool is_held(const struct warm *k, const struct digest *d)
{
    struct blob_info info;
    return store_lookup(k->set->n->store, d, &info) == 0;
}

static void layer_look(struct warm *k, struct layer *l)
{
    if (l->state == LAYER_HELD || l->state == LAYER_LOST || l->state == LAYER_ASKED)
        return;
    if (is_held(k, &l->digest)) {
        l->state = LAYER_HELD;
    } else if (l->state == LAYER_RUNS && !fill_is_streaming(k->set->n->fills, &l->digest)) {
        l->state = LAYER_LOST;
        fail(k, "a layer broke off: see the log");
    }
}

static void layer_begin(struct warm *k, struct layer *l)
{
    struct fill_source src = {.upstream = k->upstream,
                              .repository = k->ref.repository,
                              .own = upstream_has_credentials(k->upstream),
                              .proven = true,
                              .size = l->size == UINT64_MAX ? STORE_SIZE_UNKNOWN : l->size};
    l->waiter = (struct fill_waiter){.ready = on_ready, .failed = on_failed};
    l->state = LAYER_ASKED;
    int rc = fill_join(k->set->n->fills, &l->digest, &src, &l->waiter);
    if (rc == ERR_FULL)
        l->state = LAYER_TO_DO; /* later */
    else if (rc) {
        l->state = LAYER_LOST;
        fail(k, err_text(rc));
    }
}

static void run(struct warm *k)
{
    size_t running = 0, left = 0;
    for (struct layer *l = k->layers; l; l = l->next) {
        layer_look(k, l);
        running += l->state == LAYER_ASKED || l->state == LAYER_RUNS;
    }
    for (struct layer *l = k->layers; l; l = l->next) {
        if (l->state == LAYER_TO_DO && running < WARM_AHEAD) {
            layer_begin(k, l);
            running++;
        }
        left += l->state != LAYER_HELD && l->state != LAYER_LOST;
    }
    if (left == 0)
        end(k);
}

static void on_timer(uv_timer_t *t)
{
    struct warms *w = t->data;
    bool any = false;
    for (struct warm *k = w->first; k; k = k->next) {
        if (k->state == FETCHING)
            run(k);
        any |= !is_over(k);
    }
    if (!any)
        uv_timer_stop(&w->timer);
}

/* --- manifests ------------------------------------------------------------------------------- */

static void resolve_next(struct warm *k);

static void add_layer(void *arg, const struct manifest_blob *b)
{
    struct warm *k = arg;
    struct layer **at = &k->layers;
    while (*at && !digest_equal(&(*at)->digest, &b->digest))
        at = &(*at)->next;
    if (*at)
        return; /* platforms share some */
    if (k->n_layers == LAYERS_MAX || !(*at = calloc(1, sizeof(**at)))) {
        fail(k, "more layers than are fetched at once");
        return;
    }
    (*at)->digest = b->digest;
    (*at)->size = b->size;
    (*at)->of = k;
    k->n_layers++;
}

static void add_child(void *arg, const struct manifest_child *c)
{
    struct warm *k = arg;
    if (!image_ref_is_platform(k->what.platform, c->os, c->architecture, c->variant))
        return;
    if (k->n_manifests == MANIFESTS_MAX)
        fail(k, "an index of more manifests than are followed");
    else
        digest_format(&c->digest, k->manifests[k->n_manifests++]);
}

/* Into the store, as if a client had asked: so that it is here while the registry is away. */
static void keep(struct warm *k, const struct digest *d, const char *type, const struct answer *a)
{
    char source[STORE_SOURCE_MAX + 1];
    struct node *n = k->set->n;
    int len =
        snprintf(source, sizeof(source), "%s %s", upstream_name(k->upstream), k->ref.repository);
    if (!manifest_is_of_type(type, a->body, a->len))
        return;
    struct document *doc = memo_put(n->memo, d, type, a->body, a->len);
    if (doc) {
        keeper_keep(n->keeper, doc, len < (int)sizeof(source) ? source : NULL);
        document_release(doc);
    }
}

/* False: `k->why` says it. */
static bool learn(struct warm *k, const struct answer *a)
{
    const char *type = answer_field(a, "Content-Type"), *said = k->manifests[k->resolved];
    struct digest wanted, found;
    char text[200];
    bool named = digest_parse(&wanted, said, strlen(said)) == 0;
    if (a->status != 200 || !type || !a->body || strlen(type) > STORE_MEDIA_MAX) {
        snprintf(text, sizeof(text), "the registry answered %d to %.120s%s", a->status, said,
                 a->status == 401 || a->status == 403
                     ? ": check upstreams[].credentials of this node"
                     : "");
        fail(k, text);
        return false;
    }
    hash_bytes(named ? wanted.alg : DIGEST_SHA256, a->body, a->len, &found);
    if (named && !digest_equal(&wanted, &found)) {
        fail(k, "the manifest's bytes do not match its digest");
        return false;
    }
    size_t before = k->n_manifests;
    if (manifest_children(type, a->body, a->len, add_child, k) == 0) {
        if (k->n_manifests == before) {
            snprintf(text, sizeof(text), "the image has nothing for %.63s", k->what.platform);
            fail(k, text);
        }
    } else if (manifest_blobs(type, a->body, a->len, add_layer, k)) {
        fail(k, "what the registry gave is neither an image nor an index");
    }
    keep(k, &found, type, a);
    return !k->why[0];
}

static void on_manifest(void *arg, const struct answer *a)
{
    struct warm *k = arg;
    char text[200];
    k->ask = NULL;
    if (a->err || answer_is_away(a)) {
        snprintf(text, sizeof(text), "the registry does not answer: %.150s",
                 a->err ? a->why : answer_away_text(a));
        fail(k, text);
        end(k);
    } else if (!learn(k, a)) {
        end(k);
    } else {
        k->resolved++;
        resolve_next(k);
    }
}

static void resolve_next(struct warm *k)
{
    static const char *const accept[] = {
        "Accept: application/vnd.oci.image.index.v1+json",
        "Accept: application/vnd.docker.distribution.manifest.list.v2+json",
        "Accept: application/vnd.oci.image.manifest.v1+json",
        "Accept: application/vnd.docker.distribution.manifest.v2+json"};
    char path[OCI_NAME_MAX + sizeof(k->manifests[0]) + 32];
    if (k->resolved == k->n_manifests) {
        k->state = FETCHING;
        return;
    }
    snprintf(path, sizeof(path), "/v2/%s/manifests/%s", k->ref.repository,
             k->manifests[k->resolved]);
    struct upstream_request r = {.method = "GET",
                                 .path = path,
                                 .repository = k->ref.repository,
                                 .own = upstream_has_credentials(k->upstream),
                                 .follow = true,
                                 .fields = accept,
                                 .n_fields = countof(accept)};
    if (upstream_ask(k->upstream, &r, LIMIT_MANIFEST_BYTES, false, on_manifest, k, &k->ask)) {
        fail(k, "out of memory");
        end(k);
    }
}

/* --- the others ------------------------------------------------------------------------------ */

static void on_told_head(void *arg, const struct http_response *r)
{
    ((struct telling *)arg)->status = r->status;
}

static void on_told(void *arg, int err, const char *why)
{
    struct telling *t = arg;
    t->transfer = NULL;
    if (err == 0 && t->status < 300) {
        t->of->told++;
        return;
    }
    t->of->refused++;
    log_with(LOG_WARN, "a node does not prefetch", LOG_STR("node", t->name),
             LOG_NUM("status", t->status), LOG_STR("why", why));
}

static void tell(struct warm *k, const struct member_record *m, const u8 *body, size_t len)
{
    struct region *region = k->set->n->region;
    struct telling *t = calloc(1, sizeof(*t));
    if (!t) {
        k->refused++;
        return;
    }
    snprintf(t->name, sizeof(t->name), "%s", m->name);
    t->of = k;
    t->next = k->tellings;
    k->tellings = t;
    const struct region_to to = {.key = &m->key, .addr = &m->addr, .path = PREFETCH_IMAGE_PATH};
    const struct http_transfer_options opt = {
        .method = "POST",
        .body = body,
        .body_len = len,
        .connect_timeout_ms = TIMEOUT_MS,
        .head_timeout_ms = TIMEOUT_MS,
        .on = {.head = on_told_head, .end = on_told},
        .arg = t,
    };
    if (region_ask(region, k->set->n->client, &to, &opt, &t->transfer))
        k->refused++;
}

static void tell_all(struct warm *k)
{
    struct mesh *m = k->set->n->region ? region_mesh(k->set->n->region) : NULL;
    u8 body[PREFETCH_IMAGE_BYTES_MAX];
    size_t len = prefetch_image_pack(&k->what, body), at = 0;
    struct member_view v;
    while (m && member_each(mesh_member(m), &at, &v))
        if (v.record->role == MEMBER_NODE && v.state <= MEMBER_SUSPECT)
            tell(k, v.record, body, len);
    region_kick(k->set->n->region);
}

/* --- beginning ------------------------------------------------------------------------------- */

static size_t running(const struct warms *w)
{
    size_t n = 0;
    for (const struct warm *k = w->first; k; k = k->next)
        n += !is_over(k);
    return n;
}

/* Of those that are over the oldest are forgotten. */
static void forget(struct warms *w)
{
    size_t n = 0;
    for (struct warm **at = &w->first; *at;) {
        struct warm *k = *at;
        if (++n < WARM_KEPT || !is_over(k)) {
            at = &k->next;
            continue;
        }
        *at = k->next;
        warm_free(k);
    }
}

int warm_begin(struct warms *w, const struct prefetch_image *what, bool region, u64 *id)
{
    struct image_ref ref;
    if (image_ref_parse(&ref, what->image))
        return ERR_INVAL;
    struct upstream *up = node_upstream(w->n, ref.registry);
    if (!up && w->n->n_upstreams == 1)
        up = w->n->upstreams[0]; /* a tracker's name, perhaps: there is no other */
    if (!up)
        return ERR_NOTFOUND;
    if (running(w) >= WARM_RUNNING)
        return ERR_FULL;
    forget(w);
    struct warm *k = calloc(1, sizeof(*k));
    if (!k)
        return ERR_NOMEM;
    k->set = w;
    *id = k->id = ++w->last_id;
    k->at_ms = uv_now(w->n->loop);
    k->what = *what;
    if (!k->what.platform[0])
        snprintf(k->what.platform, sizeof(k->what.platform), "%s", image_ref_own_platform());
    k->ref = ref;
    k->upstream = up;
    k->region = region;
    snprintf(k->manifests[k->n_manifests++], sizeof(k->manifests[0]), "%s", ref.reference);
    k->next = w->first;
    w->first = k;
    if (region)
        tell_all(k);
    uv_timer_start(&w->timer, on_timer, TICK_MS, TICK_MS);
    resolve_next(k);
    return 0;
}

/* --- looking on ------------------------------------------------------------------------------ */

struct received {
    const struct digest *digest;
    u64 bytes;
};

static void find_received(void *arg, const struct fill_status *st)
{
    struct received *r = arg;
    if (digest_equal(&st->digest, r->digest))
        r->bytes = st->received;
}

static u64 layer_bytes(const struct warm *k, const struct layer *l)
{
    struct received r = {.digest = &l->digest};
    if (l->state == LAYER_HELD)
        return l->size == UINT64_MAX ? 0 : l->size;
    if (l->state == LAYER_RUNS)
        fills_each(k->set->n->fills, find_received, &r);
    return r.bytes;
}

static json_t *region_of(const struct warm *k)
{
    struct mesh *m = k->set->n->region ? region_mesh(k->set->n->region) : NULL;
    u64 bytes = 0, of = 0, nodes = 1 + k->told;
    for (const struct layer *l = k->layers; m && l; l = l->next) {
        u64 size = l->size == UINT64_MAX ? 0 : l->size;
        u64 copies = mesh_copies(m, &l->digest) + (l->state == LAYER_HELD);
        bytes += size * (copies < nodes ? copies : nodes);
        of += size * nodes;
    }
    return json_pack("{s:I, s:I, s:I, s:I}", "nodes", (json_int_t)nodes, "refused",
                     (json_int_t)k->refused, "bytes", (json_int_t)bytes, "of", (json_int_t)of);
}

static json_t *report(const struct warm *k)
{
    static const char *const names[] = {"resolving", "fetching", "done", "failed"};
    u64 bytes = 0, of = 0, held = 0;
    u64 until = k->ended_ms ? k->ended_ms : uv_now(k->set->n->loop);
    for (const struct layer *l = k->layers; l; l = l->next) {
        held += l->state == LAYER_HELD;
        bytes += layer_bytes(k, l);
        of += l->size == UINT64_MAX ? 0 : l->size;
    }
    return json_pack("{s:I, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "id",
                     (json_int_t)k->id, "image", k->what.image, "platform", k->what.platform,
                     "state", names[k->state], "why", k->why, "layers", (json_int_t)k->n_layers,
                     "layers_held", (json_int_t)held, "bytes", (json_int_t)bytes, "of",
                     (json_int_t)of, "ms", (json_int_t)(until - k->at_ms), "region",
                     k->region ? region_of(k) : json_null());
}

json_t *warm_report(const struct warms *w, u64 id)
{
    for (const struct warm *k = w->first; k; k = k->next)
        if (k->id == id)
            return report(k);
    return NULL;
}

json_t *warms_report(const struct warms *w)
{
    json_t *all = json_array();
    for (const struct warm *k = w->first; k; k = k->next)
        json_array_append_new(all, report(k));
    return json_pack("{s:o}", "prefetches", all);
}

/* --- a peer's order -------------------------------------------------------------------------- */

bool warm_takes(struct http_slice target)
{
    static const char path[] = PREFETCH_IMAGE_PATH;
    return target.n == sizeof(path) - 1 && memcmp(target.p, path, target.n) == 0;
}

static void refuse(struct node *n, struct http_exchange *x, int status, const char *message)
{
    node_count(n, ROUTE_PEER, status);
    http_reply_oci_status(x, status, status == 503 ? OCI_UNAVAILABLE : OCI_UNSUPPORTED, message,
                          NULL);
}

void warm_serve(struct node *n, struct http_exchange *x)
{
    const struct http_request *q = http_request(x);
    struct prefetch_image what;
    struct node_key from;
    u64 id;
    if (q->method != HTTP_POST) {
        refuse(n, x, 405, "use POST");
        return;
    }
    if (!peer_may_ask(n, x, "POST", &from))
        return;
    int rc = prefetch_image_unpack(&what, q->body.p, q->body.n);
    if (rc == 0)
        rc = warm_begin(n->warms, &what, false, &id);
    if (rc == 0) {
        node_count(n, ROUTE_PEER, 202);
        http_reply(x, 202, NULL, 0);
    } else if (rc == ERR_FULL || rc == ERR_NOMEM) {
        refuse(n, x, 503, "as many prefetches as may run do");
    } else {
        refuse(n, x, 400, "no image of a registry known here");
    }
}
