/* redirect.c - see redirect.h.
 *
 * An asking is one exchange that waits. It ends before the exchange is answered by whoever comes
 * next: the redirect itself, or front.c. */
#include "tracker/redirect.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/prefetch.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/manifest.h"
#include "runtime/sockaddr.h"
#include "tracker/api_words.h"
#include "tracker/away.h"
#include "tracker/config_schema.h"
#include "tracker/front.h"
#include "tracker/unfit.h"

#define STREAMS_MAX 512 /* layers streamed from the registry because nodes failed */

/* Who asks for what. */
struct request {
    struct tracker *t;
    struct http_exchange *x;
    const struct oci_route *oci;
    const char *authorization; /* NULL: anonymous */
    u8 user[TICKET_USER_BYTES];
    char name[256];
    char base[sizeof(((struct rewrite_seen *)NULL)->base)]; /* as whom it knows us */
    struct addr from;
    u64 size;     /* UINT64_MAX: not known */
    bool unknown; /* the repository is: only who holds the layer can help */
    bool trusted; /* sent here by the registry itself */
    u64 cut_ms;   /* it asks for the rest of the layer, since then; 0: for all of it */
    u64 probe_ms; /* it waits for nodes' answers since then; 0: not yet */
};

/* The roster as the meshes are now. */
static void look_around(struct tracker *t)
{
    struct roster_region regions[CONFIG_REGIONS_MAX] = {{.mesh = NULL}};
    for (size_t i = 0; i < regions_count(t->regions); i++) {
        struct region *r = regions_at(t->regions, i);
        regions[i] = (struct roster_region){region_mesh(r), region_version(r)};
    }
    roster_refresh(t->roster, regions, uv_now(t->loop));
    for (u16 n; (n = roster_unjudged(t->roster)) != ROSTER_NONE;)
        roster_judge(t->roster, n, unfit_url(roster_at(t->roster, n)->url, t->config->public_url));
}

static struct chooser_wish wish_of(const struct request *r)
{
    return (struct chooser_wish){.user = r->user,
                                 .from = r->from,
                                 .profile = users_cache(r->t->users, r->name),
                                 .repository = r->oci->name,
                                 .digest = &r->oci->digest,
                                 .size = r->size,
                                 .holders_only = r->unknown || away_is(r->t),
                                 .now_ms = uv_now(r->t->loop)};
}

/* --- answers --------------------------------------------------------------------------------- */

static void count(struct tracker *t, const char *reason)
{
    char labels[96];
    snprintf(labels, sizeof(labels), "reason=\"%s\"", reason);
    *metrics_counter(t->metrics, "dray_redirects_total", labels,
                     "Layers' requests of permitted users, by what decided.") += 1;
}

/* For who looks on; `c` NULL: it is streamed. */
static void show(const struct request *r, const struct pick_candidate *c, const char *reason)
{
    struct overview_sent s = {.reason = reason,
                              .user = r->user,
                              .from = &r->from,
                              .node = c ? &c->key : NULL,
                              .node_name = c ? c->name : "",
                              .region = c ? c->region : "",
                              .repository = r->oci->name,
                              .digest = &r->oci->digest,
                              .size = r->size};
    overview_sent(r->t->overview, &s, wall_ms());
}

static void stream(const struct request *r, const char *reason)
{
    char digest[DIGEST_TEXT_SIZE], path[OCI_NAME_MAX + DIGEST_TEXT_SIZE + 32];
    count(r->t, reason);
    show(r, NULL, reason);
    digest_format(&r->oci->digest, digest);
    snprintf(path, sizeof(path), "/v2/%s/blobs/%s", r->oci->name, digest);
    if (r->unknown)
        front_unavailable(r->t, r->x, ROUTE_BLOB,
                          "no node holds this layer, and nobody said of "
                          "which repository it is");
    else
        front_begin(r->t, r->x,
                    &(struct front_wish){.route = ROUTE_BLOB,
                                         .oci = r->oci,
                                         .direct = true,
                                         .path = r->trusted ? path : NULL});
}

static void send_away(const struct request *r, const struct chooser_wish *w,
                      const struct chooser_choice *choice)
{
    struct tracker *t = r->t;
    const struct pick_candidate *c = &roster_at(t->roster, choice->number)->of;
    struct mesh *m = region_mesh(regions_at(t->regions, c->region_index));
    char digest[DIGEST_TEXT_SIZE];
    struct ticket ticket = {
        .tracker = *mesh_key(m), .digest = r->oci->digest, .size = r->size, .node = c->key};
    memcpy(ticket.user, r->user, sizeof(ticket.user));
    snprintf(ticket.upstream, sizeof(ticket.upstream), "%s", t->config->registry.name);
    snprintf(ticket.repository, sizeof(ticket.repository), "%s", r->oci->name);
    const char *text = grants_ticket(t->grants, &ticket, wall_ms());
    if (grants_keep(t->grants, r->user, r->oci->name, r->authorization, uv_now(t->loop)))
        circle_login(t->circle, r->user, r->oci->name, r->authorization ? r->authorization : "",
                     wall_ms() + t->config->authz.ttl_ms);
    strikes_offered(t->strikes, r->user, &r->oci->digest, &r->from, &c->key, uv_now(t->loop));
    chooser_sent(t->chooser, w, choice->number);
    digest_format(&r->oci->digest, digest);
    int rc = http_add(r->x, "Location", "%s/v2/%s/blobs/%s?ticket=%s", c->url, r->oci->name, digest,
                      text);
    if (rc) {
        stream(r, "too_long");
        return;
    }
    http_add(r->x, "Cache-Control", "no-store");
    http_add(r->x, "Docker-Content-Digest", "%s", digest);
    http_add(r->x, "X-Dray-Node", "%s", c->name);
    count(t, choice->by);
    show(r, c, choice->by);
    log_with(LOG_DEBUG, "sent", LOG_STR("node", c->name), LOG_STR("digest", digest),
             LOG_STR("why", choice->by));
    tracker_count(t, ROUTE_BLOB, 307);
    http_reply(r->x, 307, NULL, 0);
}

static bool probe_first(const struct request *r, const struct pick_candidate *c);
static void probe_ahead(const struct request *r, const struct pick_candidate *c);

/* The user may have it. */
static void permitted(const struct request *r)
{
    struct tracker *t = r->t;
    struct chooser_choice choice;
    unsigned strikes =
        strikes_asked(t->strikes, r->user, &r->oci->digest, &r->from, uv_now(t->loop));
    struct chooser_wish w = wish_of(r);
    look_around(t);
    prefetches_asked(t->prefetches, &w);
    if ((strikes >= STRIKES_MAX && t->passages < STREAMS_MAX) ||
        !chooser_choose(t->chooser, &w, &choice)) {
        stream(r, strikes >= STRIKES_MAX ? "struck" : "no_node");
        return;
    }
    const struct pick_candidate *c = &roster_at(t->roster, choice.number)->of;
    if (strcmp(r->base, t->config->public_url) != 0 && unfit_url(c->url, r->base)) {
        stream(r, "own_name");
        return;
    }
    const struct pulse *pulse = probes_pulse(t->probes);
    u64 now_ms = uv_now(t->loop);
    bool fresh = pulse_is_fresh(pulse, &c->key, r->cut_ms, now_ms);
    if (fresh && pulse_is_due(pulse, &c->key, now_ms))
        probe_ahead(r, c);
    if (!fresh && !pulse_may_wait(r->probe_ms, now_ms))
        stream(r, "no_answer");
    else if (fresh || !probe_first(r, c))
        send_away(r, &w, &choice);
}

/* --- waiting -------------------------------------------------------------------------------- */

/* A request that waits for the registry's word, or for a node's. */
struct asking {
    struct question_waiter waiter;
    struct probe *probe;
    struct request r;
    struct oci_route oci;
    struct authz_user user;
    u64 generation; /* of what is remembered, when it began to wait */
    char *authorization;
};

static void asking_free(struct asking *a)
{
    if (a->authorization)
        sodium_memzero(a->authorization, strlen(a->authorization));
    free(a->authorization);
    free(a);
}

static void on_ended(void *arg, const struct http_ended *e)
{
    struct asking *a = arg;
    (void)e;
    question_leave(&a->waiter);
    if (a->probe)
        probe_cancel(a->probe);
    asking_free(a);
}

/* Copies the request; it ends with its exchange unless asking_take() comes first. */
static struct asking *asking_new(const struct request *r)
{
    struct asking *a = calloc(1, sizeof(*a));
    if (!a || (r->authorization && !(a->authorization = strdup(r->authorization)))) {
        free(a);
        return NULL;
    }
    a->r = *r;
    a->oci = *r->oci;
    a->r.oci = &a->oci;
    a->r.authorization = a->authorization;
    a->generation = authz_generation(r->t->authz);
    http_on_end(r->x, on_ended, a);
    return a;
}

/* Somebody was revoked while it waited: what was decided before counts no more. */
static bool is_overtaken(const struct asking *a)
{
    return a->generation != authz_generation(a->r.t->authz);
}

static void decide(struct request *r);

static void on_probed(void *arg, bool up)
{
    struct asking *a = arg;
    (void)up; /* who is down is not chosen any more */
    a->probe = NULL;
    http_on_end(a->r.x, NULL, NULL); /* the next one has it */
    if (is_overtaken(a) && !a->r.trusted)
        decide(&a->r);
    else
        permitted(&a->r);
    asking_free(a);
}

static bool probe(const struct request *r, const struct pick_candidate *c, struct asking *a)
{
    struct region *region = regions_at(r->t->regions, c->region_index);
    struct probe *alone;
    char url[ADDR_TEXT_SIZE + 24], at[ADDR_TEXT_SIZE];
    addr_format(&c->addr, at);
    snprintf(url, sizeof(url), "%s://%s/healthz", region_scheme(region), at);
    struct probe_wish w = {
        .node = &c->key, .url = url, .ca = region_ca(region), .since_ms = r->cut_ms, .arg = a};
    if (a)
        w.done = on_probed;
    return probes_ask(r->t->probes, &w, a ? &a->probe : &alone) == 0;
}

static bool probe_first(const struct request *r, const struct pick_candidate *c)
{
    struct asking *a = asking_new(r);
    if (a && a->r.probe_ms == 0)
        a->r.probe_ms = uv_now(r->t->loop);
    if (a && probe(r, c, a))
        return true;
    if (a) {
        http_on_end(r->x, NULL, NULL);
        asking_free(a);
    }
    return false;
}

/* Nobody waits: whoever comes next finds a fresh answer. */
static void probe_ahead(const struct request *r, const struct pick_candidate *c)
{
    if (!probe(r, c, NULL))
        log_debug("out of memory: a node is not asked ahead");
}

/* --- the registry's word --------------------------------------------------------------------- */

static void note(const struct asking *a, u64 size)
{
    struct tracker *t = a->r.t;
    const char *up = upstream_name(t->registry);
    u64 now = wall_ms();
    authz_grant_right(t->authz, &a->user, up, a->oci.name, now);
    authz_note_member(t->authz, up, a->oci.name, &a->oci.digest, now);
    authz_note_size(t->authz, up, a->oci.name, &a->oci.digest, size);
}

/* Granted lately: that counts while it is away. The anonymous are told how to log in. */
static void without_registry(const struct request *r, const struct authz_user *user,
                             const char *why)
{
    struct tracker *t = r->t;
    const struct answer *challenge = r->authorization ? NULL : away_challenge(t, r->oci->name);
    if (authz_check(t->authz, user, upstream_name(t->registry), r->oci->name, &r->oci->digest,
                    wall_ms()) != AUTHZ_UNKNOWN) {
        *metrics_counter(t->metrics, "dray_authz_total", "result=\"grace\"",
                         "Requests by who decided about them.") += 1;
        permitted(r);
    } else if (challenge) {
        front_relay(t, r->x, ROUTE_BLOB, challenge);
    } else {
        front_unavailable(t, r->x, ROUTE_BLOB, why);
    }
}

static void ask(const struct request *r, const struct authz_user *user);

static void on_answered(struct question_waiter *w, const struct answer *answer)
{
    struct asking *a = container_of(w, struct asking, waiter);
    struct tracker *t = a->r.t;
    u64 size;
    http_on_end(a->r.x, NULL, NULL); /* the next one has it */
    if (is_overtaken(a)) {
        ask(&a->r, &a->user);
        asking_free(a);
        return;
    }
    switch (question_verdict(t->registry, answer, &size)) {
    case VERDICT_ALLOWED:
        note(a, size);
        a->r.size = size;
        permitted(&a->r);
        break;
    case VERDICT_ALLOWED_ONCE:
        a->r.size = size;
        permitted(&a->r);
        break;
    case VERDICT_REFUSED:
        if (answer->err)
            front_unavailable(t, a->r.x, ROUTE_BLOB, answer->why);
        else
            front_relay(t, a->r.x, ROUTE_BLOB, answer);
        break;
    case VERDICT_AWAY: without_registry(&a->r, &a->user, answer_away_text(answer)); break;
    }
    asking_free(a);
}

static void ask(const struct request *r, const struct authz_user *user)
{
    struct tracker *t = r->t;
    bool known = authz_check(t->authz, user, upstream_name(t->registry), r->oci->name,
                             &r->oci->digest, wall_ms()) != AUTHZ_UNKNOWN;
    if (away_is(t) && (known || !r->authorization)) {
        without_registry(r, user, "it did not answer a moment ago");
        return;
    }
    struct asking *a = asking_new(r);
    if (!a) {
        front_unavailable(t, r->x, ROUTE_BLOB, "out of memory");
        return;
    }
    a->user = *user;
    a->waiter.answered = on_answered;
    struct question_text q = {.upstream = t->registry,
                              .repository = a->oci.name,
                              .authorization = a->authorization,
                              .user = *user,
                              .digest = a->oci.digest,
                              .generation = a->generation,
                              .patience_ms = known ? AWAY_PATIENCE_MS : 0};
    if (question_ask(t->questions, &q, &a->waiter) == 0)
        return;
    http_on_end(r->x, NULL, NULL);
    asking_free(a);
    front_unavailable(t, r->x, ROUTE_BLOB, "out of memory");
}

/* Is it known that the user may have it, or is the registry to be asked? */
static void decide(struct request *r)
{
    struct tracker *t = r->t;
    const char *value = r->authorization ? r->authorization : "", *up = upstream_name(t->registry);
    struct authz_user user;
    authz_user(t->authz, value, strlen(value), &user);
    if (authz_check(t->authz, &user, up, r->oci->name, &r->oci->digest, wall_ms()) ==
        AUTHZ_GRANTED) {
        r->size = authz_size(t->authz, up, r->oci->name, &r->oci->digest);
        permitted(r);
    } else {
        ask(r, &user);
    }
}

/* A request for the rest of a layer: what came before was cut, maybe, by a node that died. */
static u64 cut_at(const struct tracker *t, const struct http_request *q)
{
    static const char whole[] = "bytes=0-";
    const struct http_slice *f = http_field(q, "Range");
    bool rest = f && !(f->n >= sizeof(whole) - 1 && memcmp(f->p, whole, sizeof(whole) - 1) == 0);
    return rest ? uv_now(t->loop) : 0;
}

void redirect_begin(struct tracker *t, struct http_exchange *x, const struct oci_route *oci)
{
    const struct http_request *q = http_request(x);
    const struct http_slice *auth = http_field(q, "Authorization");
    struct request r = {.t = t, .x = x, .oci = oci, .cut_ms = cut_at(t, q)};
    struct rewrite_seen seen;
    char value[16384] = "";
    if (auth && auth->n >= sizeof(value)) {
        front_begin(t, x, &(struct front_wish){.route = ROUTE_BLOB, .oci = oci, .direct = true});
        return;
    }
    if (auth && auth->n > 0) {
        memcpy(value, auth->p, auth->n);
        value[auth->n] = 0;
        r.authorization = value;
    }
    rewrite_see(&seen, q, t->config->public_url, t->config->trusted_proxies,
                t->config->n_trusted_proxies);
    if (sockaddr_read((const struct sockaddr *)&seen.address, &r.from))
        memset(&r.from, 0, sizeof(r.from));
    r.from.port = 1; /* its network counts, and only an address with a port is one */
    memcpy(r.base, seen.base, sizeof(r.base));
    grants_user(t->grants, value, strlen(value), r.user, r.name, sizeof(r.name));
    decide(&r);
    sodium_memzero(value, sizeof(value));
}

/* --- sent here by the registry --------------------------------------------------------------- */

/* "/docker/registry/v2/blobs/sha256/ab/<64 hex>/data", behind whatever base path. */
static bool read_storage_path(struct http_slice target, struct digest *d)
{
    static const char middle[] = "/docker/registry/v2/blobs/", end[] = "/data";
    char text[LIMIT_HTTP_TARGET_BYTES + 1], name[DIGEST_TEXT_SIZE];
    if (target.n >= sizeof(text))
        return false;
    memcpy(text, target.p, target.n);
    text[target.n] = 0;
    text[strcspn(text, "?")] = 0;
    char *at = strstr(text, middle);
    if (!at)
        return false;
    char *alg = at + sizeof(middle) - 1, *two = strchr(alg, '/');
    char *hex = two && strlen(two) > 4 && two[3] == '/' ? two + 4 : NULL;
    size_t n = hex ? strcspn(hex, "/") : 0;
    if (!hex || strcmp(hex + n, end) != 0 || memcmp(two + 1, hex, 2) != 0)
        return false;
    int len = snprintf(name, sizeof(name), "%.*s:%.*s", (int)(two - alg), alg, (int)n, hex);
    return len > 0 && len < (int)sizeof(name) && digest_parse(d, name, (size_t)len) == 0;
}

/* Clients that follow a redirect say whence: of that URL the repository is taken, as a hint where
 * the layer may be fetched. */
static bool read_referer(const struct http_request *q, struct oci_route *oci)
{
    const struct http_slice *f = http_field(q, "Referer");
    char text[LIMIT_HTTP_TARGET_BYTES + 1];
    struct oci_route said;
    enum oci_code code;
    if (!f || f->n >= sizeof(text))
        return false;
    memcpy(text, f->p, f->n);
    text[f->n] = 0;
    const char *path = strstr(text, "/v2/");
    if (!path || oci_route_parse(&said, path, strlen(path), &code) || said.kind != OCI_ROUTE_BLOB ||
        !digest_equal(&said.digest, &oci->digest))
        return false;
    *oci = said;
    return true;
}

bool redirect_trusted(struct tracker *t, struct http_exchange *x)
{
    const struct http_request *q = http_request(x);
    struct oci_route oci = {.kind = OCI_ROUTE_BLOB, .name = "unknown/unknown"};
    struct request r = {
        .t = t, .x = x, .oci = &oci, .size = UINT64_MAX, .trusted = true, .cut_ms = cut_at(t, q)};
    struct rewrite_seen seen;
    bool trusted = false;
    if ((q->method != HTTP_GET && q->method != HTTP_HEAD) ||
        !read_storage_path(q->target, &oci.digest))
        return false;
    rewrite_see(&seen, q, t->config->public_url, t->config->trusted_proxies,
                t->config->n_trusted_proxies);
    for (size_t i = 0; i < t->config->n_trusted_redirects; i++)
        trusted |=
            cidr_has(&t->config->trusted_redirects[i], (const struct sockaddr *)&seen.address);
    if (!trusted || !t->regions) {
        tracker_count(t, ROUTE_BLOB, 403);
        http_reply_oci(x, OCI_DENIED, "this address is not in trusted_redirects", NULL);
        return true;
    }
    if (sockaddr_read((const struct sockaddr *)&seen.address, &r.from))
        memset(&r.from, 0, sizeof(r.from));
    r.from.port = 1; /* its network counts, and only an address with a port is one */
    r.unknown = !read_referer(q, &oci);
    memcpy(r.base, seen.base, sizeof(r.base));
    grants_user(t->grants, seen.client, strlen(seen.client), r.user, r.name, sizeof(r.name));
    permitted(&r);
    return true;
}

/* --- what manifests teach -------------------------------------------------------------------- */

struct lesson {
    struct tracker *t;
    const char *repository;
    struct manifest_blob blobs[PREFETCH_MAX];
    size_t n;
};

static void learn_blob(void *arg, const struct manifest_blob *b)
{
    struct lesson *l = arg;
    const char *up = upstream_name(l->t->registry);
    authz_note_member(l->t->authz, up, l->repository, &b->digest, wall_ms());
    authz_note_size(l->t->authz, up, l->repository, &b->digest, b->size);
    if (l->n < PREFETCH_MAX)
        l->blobs[l->n++] = *b;
}

/* The node that will have this user's layers may begin. */
static void order(struct tracker *t, const struct oci_route *oci, const char *authorization,
                  const struct sockaddr_storage *from, const struct lesson *l)
{
    char name[256];
    u8 user[TICKET_USER_BYTES];
    struct chooser_wish w = {
        .user = user, .repository = oci->name, .size = UINT64_MAX, .now_ms = uv_now(t->loop)};
    if (!t->regions || l->n == 0)
        return;
    if (sockaddr_read((const struct sockaddr *)from, &w.from))
        memset(&w.from, 0, sizeof(w.from));
    w.from.port = 1;
    grants_user(t->grants, authorization, authorization ? strlen(authorization) : 0, user, name,
                sizeof(name));
    w.profile = users_cache(t->users, name);
    look_around(t);
    prefetches_manifest(t->prefetches, &w, authorization, l->blobs, l->n);
}

void redirect_learn(struct tracker *t, const struct oci_route *oci, const char *authorization,
                    const struct sockaddr_storage *from, const struct answer *a)
{
    const char *type = answer_field(a, "Content-Type");
    struct authz_user user;
    struct lesson l = {.t = t, .repository = oci->name};
    if (!type || manifest_is_schema1(type) || answer_field(a, "Content-Encoding"))
        return;
    authz_user(t->authz, authorization, authorization ? strlen(authorization) : 0, &user);
    authz_grant_right(t->authz, &user, upstream_name(t->registry), oci->name, wall_ms());
    /* An index, or anything else, is no error: it just has no blobs of its own. */
    (void)!manifest_blobs(type, a->body ? a->body : (const u8 *)"", a->len, learn_blob, &l);
    order(t, oci, authorization, from, &l);
}

/* --- looking on ------------------------------------------------------------------------------ */

static json_t *line(const struct pick_candidate *c, const struct pick_line *l, size_t rank)
{
    return json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:i, s:f, s:f, s:f}", "rank",
                     (json_int_t)(l->usable ? rank + 1 : 0), "node", c->name, "region", c->region,
                     "url", c->url, "class", pick_class_name(l->class), "reason", l->reason,
                     "usable", (int)l->usable, "holds", (int)c->holds, "fetching",
                     (int)(c->fetching_ns > 0), "load", (int)c->load, "rtt_ms",
                     (double)c->rtt_ns / 1e6, "sent_mb", (double)c->inflight_bytes / 1e6,
                     "expected_ms", (double)l->expected_ns / 1e6);
}

struct crowd {
    struct pick_candidate list[PICK_MAX];
    struct pick_line lines[PICK_MAX];
    size_t n, usable;
};

/* Borrowed until the next call. */
static struct crowd *gather(struct tracker *t, const struct chooser_wish *w)
{
    static struct crowd c; /* one thread: too large for a stack */
    look_around(t);
    c.n = chooser_all(t->chooser, w, c.list, c.lines, &c.usable);
    return &c;
}

json_t *redirect_why(struct tracker *t, const char *user, const struct addr *from,
                     const struct digest *d)
{
    u8 id[TICKET_USER_BYTES];
    struct chooser_wish w = {.profile = user ? users_cache(t->users, user) : NULL,
                             .digest = d,
                             .size = UINT64_MAX,
                             .now_ms = uv_now(t->loop)};
    if (from)
        w.from = *from;
    if (user) {
        grants_user_of_name(t->grants, user, id);
        w.user = id;
    }
    struct crowd *c = gather(t, &w);
    json_t *all = json_array();
    for (size_t i = 0; i < c->n; i++)
        json_array_append_new(all, line(&c->list[c->lines[i].index], &c->lines[i], i));
    const struct pick_line *first = c->usable ? &c->lines[0] : NULL;
    return json_pack("{s:o, s:s, s:s, s:s, s:i, s:o}", "user", words_string(user ? user : ""),
                     "profile", w.profile ? w.profile : "", "decided",
                     first ? pick_class_name(first->class) : "no node is fit: the registry", "then",
                     first ? first->reason : "", "tried_one_in", EXPLORE_ONE_IN, "candidates", all);
}

json_t *redirect_caches(struct tracker *t)
{
    struct chooser_wish w = {.size = UINT64_MAX, .now_ms = uv_now(t->loop)};
    struct crowd *c = gather(t, &w);
    json_t *all = json_array();
    for (size_t i = 0; i < c->n; i++)
        json_array_append_new(all,
                              json_pack("{s:s, s:s, s:s, s:b}", "name", c->list[i].name, "region",
                                        c->list[i].region, "url", c->list[i].url, "fit",
                                        (int)(c->list[i].healthy && !c->list[i].unfit)));
    return json_pack("{s:o}", "caches", all);
}
