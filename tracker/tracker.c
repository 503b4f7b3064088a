/* tracker.c - the daemon's life, and which room gets a request; see tracker.h.
 *
 * The end, in order: drain (answers end), stop (connections close), wait (no job is left), close
 * (pools, client, timers; the loop ends by itself), del. */
#include "tracker/tracker.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/limits.h"
#include "runtime/check.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "tracker/away.h"
#include "tracker/front.h"
#include "tracker/news.h"
#include "tracker/overview_report.h"
#include "tracker/peer.h"
#include "tracker/redirect.h"
#include "tracker/tracker_internal.h"
#include "tracker/ui.h"

#define DRAIN_MAX_MS     30000
#define TICK_MS          1000
#define LAG_MS           100
#define ENDING_MS        10
#define PING_MS          15000 /* how often the registry is asked whether it is there */
#define TALKS_LARGE      8
#define DISK_THREADS     2
#define CONNECTIONS_KEPT 1536 /* a node each that users are sent to, and the registry's */
#define CONNECTIONS_OWN  64   /* to the registry, for what no client waits for */

/* --- requests -------------------------------------------------------------------------------- */

static bool is_talk(void *ctx, const struct http_request *q)
{
    static const char path[] = "/mesh/v1/talk";
    (void)ctx;
    return q->target.n == sizeof(path) - 1 && memcmp(q->target.p, path, q->target.n) == 0;
}

static bool under(struct http_slice t, const char *path)
{
    size_t n = strlen(path);
    return t.n >= n && memcmp(t.p, path, n) == 0 && (t.n == n || t.p[n] == '/' || t.p[n] == '?');
}

static enum route route_of(const struct oci_route *r)
{
    switch (r->kind) {
    case OCI_ROUTE_PING: return ROUTE_PING;
    case OCI_ROUTE_BLOB: return ROUTE_BLOB;
    case OCI_ROUTE_MANIFEST: return ROUTE_MANIFEST;
    case OCI_ROUTE_UPLOAD: return ROUTE_UPLOAD;
    case OCI_ROUTE_TAGS:
    case OCI_ROUTE_REFERRERS:
    case OCI_ROUTE_CATALOG:
    case OCI_ROUTE_NONE: break;
    }
    return ROUTE_RELAY;
}

static void registry_request(struct tracker *t, struct http_exchange *x)
{
    const struct http_request *r = http_request(x);
    struct oci_route oci;
    enum oci_code code;
    struct front_wish wish = {.route = ROUTE_RELAY};
    if (!rewrite_path_is_plain(r->target.p, r->target.n)) {
        tracker_count(t, ROUTE_OTHER, 400);
        http_reply_oci_status(x, 400, OCI_NAME_INVALID, "a path with . or .. in it", NULL);
        return;
    }
    if (oci_route_parse(&oci, r->target.p, r->target.n, &code) == 0) {
        wish.oci = &oci;
        wish.route = route_of(&oci);
    }
    wish.direct = wish.route == ROUTE_BLOB;
    bool redirects = t->regions && wish.oci;
    if (redirects && oci.kind == OCI_ROUTE_BLOB && r->method == HTTP_GET) {
        redirect_begin(t, x, &oci);
        return;
    }
    bool reads =
        r->method == HTTP_GET || r->method == HTTP_HEAD; /* of which a 200 is a permission */
    if (reads && (redirects || t->config->authz.grace_ms) && wish.oci &&
        oci.kind == OCI_ROUTE_MANIFEST)
        wish.learn = redirect_learn;
    front_begin(t, x, &wish);
}

static bool is_token(const struct tracker *t, const struct http_request *r)
{
    size_t n = strlen(t->realm);
    return n > 1 && r->target.n >= n && memcmp(r->target.p, t->realm, n) == 0 &&
           (r->target.n == n || r->target.p[n] == '?');
}

/* Plain HTTP on a TLS port is for peers alone (peer_plain): a login would pass in the open. */
static bool is_permitted(const struct tracker *t, const struct http_request *r)
{
    return r->tls || r->local || !t->tls || under(r->target, "/mesh/v1") ||
           under(r->target, "/healthz");
}

static void on_request(void *ctx, struct http_exchange *x)
{
    struct tracker *t = ctx;
    const struct http_request *r = http_request(x);
    if (!is_permitted(t, r)) {
        tracker_count(t, ROUTE_OTHER, 400);
        http_reply_oci_status(x, 400, OCI_UNSUPPORTED,
                              "this port speaks https: use an https:// URL", NULL);
    } else if (under(r->target, "/v2"))
        registry_request(t, x);
    else if (is_talk(t, r))
        tracker_count(t, ROUTE_PEER, regions_talk(t->regions, x));
    else if (peer_takes(r->target))
        peer_begin(t, x);
    else if (circle_takes(r->target))
        circle_begin(t->circle, x);
    else if (redirect_trusted(t, x))
        return;
    else if (ui_takes(r->target))
        ui_begin(t, x);
    else if (is_token(t, r))
        front_begin(t, x, &(struct front_wish){.route = ROUTE_TOKEN});
    else
        api_begin(t, x);
}

bool tracker_ready(const struct tracker *t, const char **why)
{
    const char *error;
    u64 since;
    if (!t->ready)
        *why = "the tracker starts or ends";
    else if (!t->pinged)
        *why = "the central registry has not answered yet";
    else if (upstream_state(t->registry, &error, &since) == UPSTREAM_DOWN &&
             !t->config->authz.grace_ms)
        *why = "the central registry does not answer";
    else
        return regions_ready(t->regions, why);
    return false;
}

void tracker_count(struct tracker *t, enum route route, int status)
{
    static const char *const names[] = {"ping",  "blob", "manifest", "upload", "token",
                                        "relay", "api",  "health",   "peer",   "other"};
    static_assert(countof(names) == ROUTE_COUNT, "a name each");
    if (status < 0 || status >= 600)
        return;
    u64 **at = &t->answers[route][status];
    if (!*at) {
        char labels[64];
        snprintf(labels, sizeof(labels), "route=\"%s\",code=\"%d\"", names[route], status);
        *at = metrics_counter(t->metrics, "dray_http_requests_total", labels,
                              "Requests answered, by route and status.");
    }
    if (*at)
        ++**at;
}

/* --- now and then ---------------------------------------------------------------------------- */

/* An anonymous look at the registry: is it there, and where does its realm stand? */
static void on_pinged(void *arg, const struct answer *a)
{
    struct tracker *t = arg;
    char out[REWRITE_MAX], path[REWRITE_MAX];
    const char *challenge = answer_field(a, "WWW-Authenticate");
    t->ping = NULL;
    if (answer_is_away(a))
        return;
    t->pinged = true;
    t->open = a->status != 401;
    if (challenge && rewrite_realm(challenge, t->config->registry.url, "", out, path) &&
        strlen(path) < sizeof(t->realm))
        memcpy(t->realm, path, strlen(path) + 1);
}

static void ping(struct tracker *t)
{
    u64 now = uv_now(t->loop);
    bool hurry = !t->pinged || away_is(t);
    if (t->ping || (now < t->next_ping_ms && !(hurry && now - t->pinged_ms >= TICK_MS)))
        return;
    t->pinged_ms = now;
    t->next_ping_ms = now + (hurry ? TICK_MS : PING_MS);
    struct upstream_request r = {
        .method = "GET", .path = "/v2/", .head_timeout_ms = hurry ? AWAY_PATIENCE_MS : 0};
    if (upstream_ask(t->registry, &r, LIMIT_RELAY_BYTES, false, on_pinged, t, &t->ping))
        t->ping = NULL;
}

static void on_tick(uv_timer_t *timer)
{
    struct tracker *t = timer->data;
    if (t->stopping)
        return;
    ping(t);
    users_tick(t->users);
}

/* The worst of the last second or so: each sample may raise it, and it decays by an eighth. */
static void on_lag(uv_timer_t *timer)
{
    struct tracker *t = timer->data;
    u64 now = uv_now(t->loop);
    u64 late_ns = now > t->lag_due_ms ? (now - t->lag_due_ms) * 1000000 : 0;
    t->lag_recent_ns =
        late_ns > t->lag_recent_ns ? late_ns : t->lag_recent_ns - t->lag_recent_ns / 8;
    t->lag_due_ms = now + LAG_MS;
}

static void timers_open(struct tracker *t)
{
    uv_timer_t *timers[] = {&t->tick, &t->lag, &t->ending};
    for (size_t i = 0; i < countof(timers); i++) {
        uv_timer_init(t->loop, timers[i]);
        timers[i]->data = t;
    }
    t->lag_due_ms = uv_now(t->loop) + LAG_MS;
    uv_timer_start(&t->tick, on_tick, 0, TICK_MS);
    uv_timer_start(&t->lag, on_lag, LAG_MS, LAG_MS);
}

/* --- the start ------------------------------------------------------------------------------- */

static int admin_token(struct tracker *t, char why[CONF_WHY_MAX])
{
    char token[sizeof(t->admin_token)], reason[CONF_WHY_MAX];
    const char *path = t->config->admin.token;
    const char *bad = path ? check_token(path, reason) : NULL;
    if (!path)
        return 0;
    if (bad) {
        snprintf(why, CONF_WHY_MAX, "%.200s %.300s", path, bad);
        return ERR_INVAL;
    }
    int rc = conf_secret(path, token, sizeof(token), why);
    if (rc == 0)
        memcpy(t->admin_token, token, sizeof(token));
    sodium_memzero(token, sizeof(token));
    return rc;
}

static int make_folder(const struct tracker_config *c, char why[CONF_WHY_MAX])
{
    if (mkdir(c->users, 0700) == 0 || errno == EEXIST)
        return 0;
    snprintf(why, CONF_WHY_MAX, "users: %.300s cannot be made: %s", c->users, strerror(errno));
    return ERR_IO;
}

static int make_parts(struct tracker *t, char why[CONF_WHY_MAX])
{
    const struct tracker_config *c = t->config;
    struct http_client_options client = {
        .loop = t->loop,
        .user_agent = "dray-tracker/" DRAY_VERSION,
        /* As many as clients: those whose layers take long keep nobody else from the registry. */
        .max_per_host = (unsigned)c->connections + CONNECTIONS_OWN,
        .kept = CONNECTIONS_KEPT,
    };
    /* What we ask and fetch ourselves goes past a redirecting middleware, or it would lead to us.
     */
    t->direct = c->registry;
    if (c->direct_url)
        t->direct.url = c->direct_url;
    int rc = make_folder(c, why);
    if (rc == 0)
        rc = metrics_new(&t->metrics);
    if (rc == 0)
        rc = authz_new(&t->authz, c->authz.ttl_ms, c->authz.grace_ms);
    if (rc == 0)
        rc = questions_new(&t->questions);
    if (rc == 0)
        rc = pool_new(&t->disk, t->loop, DISK_THREADS, "dray-disk");
    if (rc == 0)
        rc = http_client_new(&t->client, &client);
    if (rc == 0)
        rc = upstream_new(&t->registry, &t->direct, t->client, t->loop, why);
    if (rc == 0)
        rc = admin_token(t, why);
    if (rc == 0)
        rc = grants_new(&t->grants, c->ticket_key, c->authz.ttl_ms, why);
    u8 key[STRIKES_KEY_BYTES];
    static_assert(sizeof(key) == RTTS_KEY_BYTES, "one key for each");
    randombytes_buf(key, sizeof(key));
    if (rc == 0)
        rc = echoes_new(&t->echoes);
    if (rc == 0 && !(t->prefetches = prefetches_new(t)))
        rc = ERR_NOMEM;
    randombytes_buf(t->echo_key, sizeof(t->echo_key));
    if (rc == 0)
        rc = strikes_new(&t->strikes, key);
    randombytes_buf(key, sizeof(key));
    if (rc == 0)
        rc = rtts_new(&t->rtts, key);
    if (rc == 0)
        rc = overview_new(&t->overview);
    if (rc == 0)
        rc = probes_new(&t->probes, t->loop, t->client);
    if (rc == 0 && !(t->revocations = revocations_new(t)))
        rc = ERR_NOMEM;
    if (rc == 0)
        rc = users_new(&t->users, c->users, t->disk, why);
    if (rc == 0 && !(t->circle = circle_new(t)))
        rc = ERR_NOMEM;
    if (rc == 0 && !(t->watches = watches_new(t)))
        rc = ERR_NOMEM;
    if (rc == 0) {
        news_begin(t);
        tracker_metrics(t);
    }
    return rc;
}

static int listen_all(struct tracker *t, char why[CONF_WHY_MAX])
{
    const struct tracker_config *c = t->config;
    char reason[256] = "";
    int rc = 0;
    if (c->tls.cert) {
        struct tls_options tls = {.cert = c->tls.cert, .key = c->tls.key};
        rc = tls_context_new(&t->tls, &tls, reason);
    }
    struct http_server_options opt = {
        .loop = t->loop,
        .handler = on_request,
        .ctx = t,
        .max_connections = c->connections,
        .large = is_talk,
        .large_bytes = LIMIT_TALK_BYTES,
        .large_at_once = TALKS_LARGE,
        .streams = front_streams,
        .plain_too = c->tls.cert && c->mesh_key && c->peer_plain,
    };
    if (rc == 0)
        rc = http_server_new(&t->server, &opt);
    if (rc == 0)
        rc = http_listen_tcp(t->server, c->listen, t->tls, reason);
    if (rc == 0)
        rc = http_listen_unix(t->server, c->admin.socket, reason);
    if (rc)
        snprintf(why, CONF_WHY_MAX, "%s", reason[0] ? reason : err_text(rc));
    return rc;
}

static int open_regions(struct tracker *t, char why[CONF_WHY_MAX])
{
    struct regions_options opt = {.loop = t->loop,
                                  .config = t->config,
                                  .disk = t->disk,
                                  .client = t->client,
                                  .port = http_server_port(t->server),
                                  .tls = t->tls,
                                  .handler = on_request,
                                  .ctx = t};
    return t->config->n_regions ? regions_new(&t->regions, &opt, why) : 0;
}

static int open_choice(struct tracker *t)
{
    u8 key[ROSTER_KEY_BYTES];
    randombytes_buf(key, sizeof(key));
    int rc = roster_new(&t->roster, regions_count(t->regions), key);
    struct chooser_options opt = {.roster = t->roster,
                                  .strikes = t->strikes,
                                  .rtts = t->rtts,
                                  .pulse = probes_pulse(t->probes)};
    randombytes_buf(&opt.seed, sizeof(opt.seed));
    randombytes_buf(opt.hash_key, sizeof(opt.hash_key));
    return rc ? rc : chooser_new(&t->chooser, &opt);
}

int tracker_new(struct tracker **out, uv_loop_t *loop, struct tracker_config *config,
                char why[CONF_WHY_MAX])
{
    struct tracker *t = calloc(1, sizeof(*t));
    if (!t)
        return ERR_NOMEM;
    t->loop = loop;
    t->config = config;
    t->started_ms = uv_now(loop);
    t->started_wall_ms = wall_ms();
    t->open = true; /* until it refused the anonymous */
    why[0] = '\0';
    timers_open(t);
    int rc = make_parts(t, why);
    if (rc == 0)
        rc = listen_all(t, why);
    if (rc == 0)
        rc = open_regions(t, why);
    if (rc == 0)
        rc = open_choice(t);
    if (rc) {
        if (!why[0])
            snprintf(why, CONF_WHY_MAX, "%s", err_text(rc));
        tracker_stop(t);
        uv_run(loop, UV_RUN_DEFAULT);
        tracker_del(t);
        return rc;
    }
    t->ready = true;
    log_with(LOG_INFO, "serving", LOG_STR("public_url", config->public_url),
             LOG_STR("listen", config->listen), LOG_NUM("port", http_server_port(t->server)),
             LOG_STR("tls", t->tls ? "yes" : "no"), LOG_STR("registry", config->registry.url));
    *out = t;
    return 0;
}

void tracker_reload(struct tracker *t)
{
    char why[CONF_WHY_MAX], reason[256];
    bool all = true;
    if (t->tls && tls_context_reload(t->tls, reason)) {
        log_error("reload: the old certificate stays: %s", reason);
        all = false;
    }
    http_client_reload(t->client); /* CA files are read anew */
    if (admin_token(t, why)) {
        log_error("reload: the old admin token stays: %s", why);
        all = false;
    }
    if (grants_reload(t->grants, why)) {
        log_error("reload: the old ticket keys stay: %s", why);
        all = false;
    }
    circle_reload(t->circle);
    if (t->regions && regions_reload(t->regions, why)) {
        log_error("reload: the old mesh keys stay: %s", why);
        all = false;
    }
    if (all)
        log_info("reloaded certificates, tokens and keys");
}

/* --- the end --------------------------------------------------------------------------------- */

static void drain_over(struct tracker *t)
{
    void (*done)(void *arg) = t->drained;
    t->drained = NULL;
    uv_timer_stop(&t->ending);
    if (done)
        done(t->drained_arg);
}

static void on_said_goodbye(uv_timer_t *timer)
{
    drain_over(timer->data);
}

static void on_drained(void *arg)
{
    struct tracker *t = arg;
    u64 now = uv_now(t->loop);
    if (now >= t->goodbye_ms)
        drain_over(t);
    else /* the members are still being told */
        uv_timer_start(&t->ending, on_said_goodbye, t->goodbye_ms - now, 0);
}

static void on_drain_deadline(uv_timer_t *timer)
{
    log_warn("answers still running after %d s are cut", DRAIN_MAX_MS / 1000);
    drain_over(timer->data);
}

void tracker_drain(struct tracker *t, void (*done)(void *arg), void *arg)
{
    t->ready = false;
    t->drained = done;
    t->drained_arg = arg;
    t->goodbye_ms = uv_now(t->loop) + regions_leave(t->regions);
    uv_timer_start(&t->ending, on_drain_deadline, DRAIN_MAX_MS, 0);
    http_server_drain(t->server, on_drained, t);
}

static void close_rest(struct tracker *t)
{
    uv_close((uv_handle_t *)&t->tick, NULL);
    uv_close((uv_handle_t *)&t->lag, NULL);
    uv_close((uv_handle_t *)&t->ending, NULL);
    watches_stop(t->watches);
    circle_stop(t->circle);
    revocations_stop(t->revocations);
    if (t->ping)
        upstream_ask_cancel(t->ping);
    t->ping = NULL;
    front_stop(t);
    questions_del(t->questions);
    upstream_del(t->registry);
    if (t->client)
        http_client_del(t->client);
    if (t->disk)
        pool_del(t->disk);
}

static void on_ending(uv_timer_t *timer)
{
    struct tracker *t = timer->data;
    if (!t->disk || pool_pending(t->disk) == 0)
        close_rest(t);
}

static void on_server_gone(void *arg)
{
    struct tracker *t = arg;
    t->server = NULL;
    regions_stop(t->regions);
    uv_timer_start(&t->ending, on_ending, 0, ENDING_MS);
}

void tracker_stop(struct tracker *t)
{
    if (t->stopping)
        return;
    t->stopping = true;
    t->ready = false;
    t->drained = NULL;
    uv_timer_stop(&t->ending);
    if (t->server)
        http_server_del(t->server, on_server_gone, t);
    else
        on_server_gone(t);
}

void tracker_del(struct tracker *t)
{
    prefetches_del(t->prefetches);
    echoes_del(t->echoes);
    chooser_del(t->chooser);
    roster_del(t->roster);
    regions_del(t->regions);
    watches_del(t->watches);
    circle_del(t->circle);
    users_del(t->users);
    revocations_del(t->revocations);
    probes_del(t->probes);
    rtts_del(t->rtts);
    strikes_del(t->strikes);
    overview_del(t->overview);
    overview_text_del(t->overview_text);
    grants_del(t->grants);
    authz_del(t->authz);
    if (t->metrics)
        metrics_del(t->metrics);
    if (t->tls)
        tls_context_del(t->tls);
    sodium_memzero(t->admin_token, sizeof(t->admin_token));
    free(t);
}
