/* node.c - the daemon's life: made, reloaded, drained, stopped; see node.h.
 *
 * The end, in order, since each step needs the loop to run:
 *   drain    no new connections; running answers end, at most DRAIN_MAX_MS
 *   stop     every connection closes; fetches end, partial layers kept
 *   wait     until no job and no fetch is left
 *   close    pools, HTTP client, timers; the loop ends by itself
 *   del      the store is closed, marked clean, and everything freed */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "node/holdings.h"
#include "node/last_copy.h"
#include "node/node_internal.h"
#include "proto/limits.h"
#include "runtime/check.h"
#include "runtime/clock.h"
#include "runtime/log.h"

#define DRAIN_MAX_MS 30000
#define TICK_MS      1000
#define LAG_MS       100
#define ENDING_MS    10 /* how often the end looks whether jobs are done */
#define TALKS_LARGE  8  /* of peers, read at once */
#define DISK_THREADS 4
#define HASH_THREADS 2

struct upstream *node_upstream(struct node *n, const char *ns)
{
    if (!ns[0])
        return n->upstreams[0];
    for (size_t i = 0; i < n->n_upstreams; i++)
        if (strcasecmp(upstream_name(n->upstreams[i]), ns) == 0)
            return n->upstreams[i];
    return NULL;
}

static bool is_talk(void *ctx, const struct http_request *q)
{
    static const char path[] = "/mesh/v1/talk";
    (void)ctx;
    return q->target.n == sizeof(path) - 1 && memcmp(q->target.p, path, q->target.n) == 0;
}

/* Plain HTTP on a TLS port is for peers alone (peer_plain); trackers look at /healthz. */
static bool is_permitted(const struct node *n, const struct http_request *q)
{
    static const char peers[] = "/mesh/v1/", health[] = "/healthz";
    struct http_slice t = q->target;
    return q->tls || q->local || !n->tls ||
           (t.n >= sizeof(peers) - 1 && memcmp(t.p, peers, sizeof(peers) - 1) == 0) ||
           (t.n == sizeof(health) - 1 && memcmp(t.p, health, t.n) == 0);
}

static void on_request(void *ctx, struct http_exchange *x)
{
    struct node *n = ctx;
    struct http_slice t = http_request(x)->target;
    if (!is_permitted(n, http_request(x))) {
        node_count(n, ROUTE_OTHER, 400);
        http_reply_oci_status(x, 400, OCI_UNSUPPORTED,
                              "this port speaks https: use an https:// URL", NULL);
    } else if (peer_serve_takes(t))
        peer_serve(n, x);
    else if (peer_revoke_takes(t))
        peer_revoke(n, x);
    else if (watch_takes(t))
        watch_begin(n, x);
    else if (prefetch_takes(t))
        prefetch_begin(n, x);
    else if (warm_takes(t))
        warm_serve(n, x);
    else if (is_talk(n, http_request(x)))
        node_count(n, ROUTE_PEER, region_talk(n->region, x));
    else if (t.n >= 3 && memcmp(t.p, "/v2", 3) == 0 && (t.n == 3 || t.p[3] == '/' || t.p[3] == '?'))
        pull_begin(ctx, x);
    else
        api_begin(ctx, x);
}

/* --- now and then ---------------------------------------------------------------------------- */

static void sync_work(struct job *j)
{
    store_sync(container_of(j, struct node, sync)->store);
}
static void sync_done(struct job *j)
{
    container_of(j, struct node, sync)->syncing = false;
}

static void on_tick(uv_timer_t *t)
{
    struct node *n = t->data;
    store_tick(n->store, wall_ms());
    fills_tick(n->fills);
    wan_share_tick(n);
    peer_serve_tick(n);
    pull_promises_tick(n);
    if (n->watches)
        watches_tick(n->watches);
    if (n->stopping)
        return;
    scrub_tick(n->scrub);
    if (!n->syncing) {
        n->syncing = true;
        n->sync.work = sync_work;
        n->sync.done = sync_done;
        pool_submit(n->disk, &n->sync);
    }
}

/* The worst of the last second or so: each sample may raise it, and it decays by an eighth. */
static void on_lag(uv_timer_t *t)
{
    struct node *n = t->data;
    u64 now = uv_now(n->loop);
    u64 late_ns = now > n->lag_due_ms ? (now - n->lag_due_ms) * 1000000 : 0;
    n->lag_recent_ns =
        late_ns > n->lag_recent_ns ? late_ns : n->lag_recent_ns - n->lag_recent_ns / 8;
    n->lag_due_ms = now + LAG_MS;
}

static void timers_open(struct node *n)
{
    uv_timer_t *timers[] = {&n->tick, &n->lag, &n->ending};
    for (size_t i = 0; i < countof(timers); i++) {
        uv_timer_init(n->loop, timers[i]);
        timers[i]->data = n;
    }
    const struct node_config *c = n->config;
    pace_init(&n->upload, n->loop, c->limits.upload);
    pace_init(&n->download, n->loop, c->limits.download);
    pace_init(&n->wan, n->loop, c->limits.wan);
    n->lag_due_ms = uv_now(n->loop) + LAG_MS;
    uv_timer_start(&n->tick, on_tick, TICK_MS, TICK_MS);
    uv_timer_start(&n->lag, on_lag, LAG_MS, LAG_MS);
}

/* --- the start ------------------------------------------------------------------------------- */

/* Makes user labels of audit lines the same across restarts; see authz_user_label(). */
static int label_key(struct node *n, char why[CONF_WHY_MAX])
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/user.key", n->config->store.path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        goto failed;
    if (read(fd, n->label_key, sizeof(n->label_key)) != (ssize_t)sizeof(n->label_key)) {
        randombytes_buf(n->label_key, sizeof(n->label_key));
        if (ftruncate(fd, 0) ||
            pwrite(fd, n->label_key, sizeof(n->label_key), 0) != (ssize_t)sizeof(n->label_key))
            log_warn("%s cannot be written: users will be labelled otherwise after a restart",
                     path);
    }
    close(fd);
    return 0;
failed:
    snprintf(why, CONF_WHY_MAX, "%.300s: %s", path, strerror(errno));
    return ERR_IO;
}

static int open_store(struct node *n, char why[CONF_WHY_MAX])
{
    const struct node_config *c = n->config;
    struct store_opened found = {0};
    struct store_options opt = {
        .path = c->store.path, .capacity_bytes = c->store.capacity_bytes, .now_ms = wall_ms()};
    char reason[256] = "";
    int rc = store_open(&n->store, &opt, &found, reason);
    if (rc) {
        snprintf(why, CONF_WHY_MAX, "store: %s", reason[0] ? reason : err_text(rc));
        return rc;
    }
    if (found.index_rebuilt)
        log_with(LOG_WARN, "store: index rebuilt from the blobs",
                 LOG_STR("why", found.rebuilt_why ? found.rebuilt_why : ""));
    log_with(LOG_INFO, "store: open", LOG_STR("path", c->store.path), LOG_NUM("blobs", found.blobs),
             LOG_NUM("bytes", found.bytes), LOG_NUM("partials", found.partials),
             LOG_NUM("garbage_removed", found.garbage_removed),
             LOG_NUM("orphans_indexed", found.orphans_indexed),
             LOG_NUM("entries_dropped", found.entries_dropped));
    return label_key(n, why);
}

static int admin_token(struct node *n, char why[CONF_WHY_MAX])
{
    char token[sizeof(n->admin_token)], reason[CONF_WHY_MAX];
    const char *path = n->config->admin.token;
    const char *bad = path ? check_token(path, reason) : NULL;
    if (!path)
        return 0;
    if (bad) {
        snprintf(why, CONF_WHY_MAX, "%.200s %.300s", path, bad);
        return ERR_INVAL;
    }
    int rc = conf_secret(path, token, sizeof(token), why);
    if (rc == 0)
        memcpy(n->admin_token, token, sizeof(token));
    sodium_memzero(token, sizeof(token));
    return rc;
}

static int open_upstreams(struct node *n, char why[CONF_WHY_MAX])
{
    const struct node_config *c = n->config;
    n->upstreams = calloc(c->n_upstreams, sizeof(struct upstream *));
    if (!n->upstreams)
        return ERR_NOMEM;
    for (; n->n_upstreams < c->n_upstreams; n->n_upstreams++) {
        int rc = upstream_new(&n->upstreams[n->n_upstreams], &c->upstreams[n->n_upstreams],
                              n->client, n->loop, why);
        if (rc)
            return rc;
    }
    return 0;
}

/* For trackers: what this node has done so far. */
static void totals(void *arg, struct outcome_totals *out)
{
    struct node *n = arg;
    struct store_stats st;
    store_stats(n->store, &st);
    *out = (struct outcome_totals){.from_peers = *peers_fetched_bytes(n->peers),
                                   .from_origin = fills_fetched_bytes(n->fills),
                                   .held_bytes = st.used_bytes,
                                   .held_blobs = st.blobs,
                                   .capacity_bytes = st.capacity_bytes,
                                   .serving = n->layers_now};
    memcpy(out->served, n->layers, sizeof(out->served));
}

/* Everything that needs no network of ours. */
static struct upstream *upstream_named(void *arg, const char *name)
{
    return node_upstream(arg, name);
}

static void on_closed(void *arg, const struct digest *d, u64 size, struct chains *c)
{
    struct node *n = arg;
    seeds_put(n->seeds, d, size, c);
}

static int make_parts(struct node *n, char why[CONF_WHY_MAX])
{
    const struct node_config *c = n->config;
    struct http_client_options client = {
        .loop = n->loop,
        .user_agent = "dray-node/" DRAY_VERSION,
        .max_per_host = LIMIT_UPSTREAM_CONNECTIONS,
    };
    int rc = metrics_new(&n->metrics);
    if (!rc)
        rc = history_new(&n->history);
    if (!rc)
        rc = authz_new(&n->authz, c->authz.ttl_ms, c->authz.grace_ms);
    if (!rc)
        rc = questions_new(&n->questions);
    if (!rc)
        rc = memo_new(&n->memo);
    if (!rc)
        rc = pool_new(&n->disk, n->loop, DISK_THREADS, "dray-disk");
    if (!rc)
        rc = pool_new(&n->hash, n->loop, HASH_THREADS, "dray-hash");
    if (!rc)
        rc = http_client_new(&n->client, &client);
    if (!rc)
        rc = keeper_new(&n->keeper, n->store, n->disk);
    if (!rc)
        rc = open_upstreams(n, why);
    if (!rc)
        rc = admin_token(n, why);
    struct peers_options peers = {
        .region = n->region, .client = n->client, .metrics = n->metrics, .history = n->history};
    struct outcomes_options outcomes = {
        .loop = n->loop, .client = n->client, .metrics = n->metrics, .totals = totals, .arg = n};
    if (!rc)
        rc = peers_new(&n->peers, &peers);
    if (!rc)
        rc = tickets_new(&n->tickets, c->tracker_key, n->metrics, why);
    if (rc == 0)
        rc = revoked_new(&n->revoked, c->store.path, n->disk, n->tickets);
    if (rc == 0 && !(n->watches = watches_new()))
        rc = ERR_NOMEM;
    if (!rc)
        rc = outcomes_new(&n->outcomes, &outcomes);
    if (rc == 0)
        rc = prefetch_new(&n->prefetch, n);
    if (rc == 0)
        rc = warms_new(&n->warms, n);
    return rc;
}

static int make_fills(struct node *n)
{
    struct seeds_options seeds = {.store = n->store, .hash = n->hash, .peers = n->peers};
    struct fills_options fills = {
        .loop = n->loop,
        .store = n->store,
        .disk = n->disk,
        .hash = n->hash,
        .metrics = n->metrics,
        .history = n->history,
        .pace = &n->download,
        .wan = &n->wan,
        .peers = n->peers,
        .upstream = upstream_named,
        .closed = on_closed,
        .arg = n,
    };
    int rc = seeds_new(&n->seeds, &seeds);
    if (!rc)
        rc = fills_new(&n->fills, &fills);
    if (!rc)
        rc = scrub_new(&n->scrub, n);
    if (rc == 0)
        node_metrics(n);
    if (rc == 0)
        peer_serve_open(n);
    return rc;
}

static int listen_all(struct node *n, char why[CONF_WHY_MAX])
{
    const struct node_config *c = n->config;
    char reason[256] = "";
    int rc = 0;
    if (c->tls.cert) {
        struct tls_options tls = {.cert = c->tls.cert, .key = c->tls.key};
        rc = tls_context_new(&n->tls, &tls, reason);
    }
    struct http_server_options opt = {
        .loop = n->loop,
        .handler = on_request,
        .ctx = n,
        .max_connections = c->limits.connections,
        .large = is_talk,
        .large_bytes = LIMIT_TALK_BYTES,
        .large_at_once = TALKS_LARGE,
        .plain_too = c->tls.cert && c->mesh_key && c->peer_plain,
    };
    if (rc == 0)
        rc = http_server_new(&n->server, &opt);
    if (rc == 0)
        rc = http_listen_tcp(n->server, c->listen, n->tls, reason);
    if (rc == 0)
        rc = http_listen_unix(n->server, c->admin.socket, reason);
    if (rc)
        snprintf(why, CONF_WHY_MAX, "%s", reason[0] ? reason : err_text(rc));
    return rc;
}

int node_purge(struct node *n, const struct digest *d, u64 until_ms, const char *why)
{
    struct blob_info held = {0};
    char digest[DIGEST_TEXT_SIZE];
    bool removed = false;
    digest_format(d, digest);
    memo_forget(n->memo, d);
    (void)!store_lookup(n->store, d, &held);
    int rc = store_purge(n->store, d, wall_ms(), until_ms, &removed);
    if (rc) {
        log_with(LOG_ERROR, "purge failed", LOG_STR("digest", digest), LOG_STR("by", why),
                 LOG_STR("why", err_text(rc)));
        return rc;
    }
    log_with(LOG_INFO, removed ? "purged" : "kept out", LOG_STR("digest", digest),
             LOG_STR("by", why), LOG_NUM("bytes", removed ? held.size : 0));
    history_note(n->history, d, "purged", "by %s, %s", why, removed ? "removed" : "not held");
    return 0;
}

bool node_ready(const struct node *n, const char **why)
{
    static const char starting[] = "the node starts or ends";
    *why = starting;
    return n->ready && region_ready(n->region, why);
}

/* --- the region ------------------------------------------------------------------------------ */

static void on_purged(void *arg, const struct digest *d, u64 until_ms)
{
    node_purge(arg, d, until_ms, "the region");
}

static void on_opened(void *arg, struct region *r)
{
    struct node *n = arg;
    holdings_feed(r, n->store);
}

static bool is_last(void *arg, const struct digest *d)
{
    struct node *n = arg;
    return last_copy(region_mesh(n->region), d);
}

static void on_swarm(void *arg, const struct swarm_step *step)
{
    struct node *n = arg;
    switch (step->what) {
    case SWARM_SERVE:
    case SWARM_DROP: peer_serve_step(n, step); break;
    case SWARM_SEED: seeds_ask(n->seeds, &step->digest, &step->peer); break;
    case SWARM_FETCH:
    case SWARM_YIELD:
    case SWARM_ASK:
    case SWARM_CANCEL:
    case SWARM_GIVE_UP: fills_step(n->fills, step); break;
    }
}

static int open_region(struct node *n, char why[CONF_WHY_MAX])
{
    struct region_options opt = {
        .loop = n->loop,
        .config = holdings_config(n->config),
        .disk = n->disk,
        .client = n->client,
        .port = http_server_port(n->server),
        .opened = on_opened,
        .purged = on_purged,
        .swarm = on_swarm,
        .arg = n,
    };
    int rc = n->config->mesh_key ? region_new(&n->region, &opt, why) : 0;
    if (rc || !n->region)
        return rc;
    peers_attach(n->peers, n->region);
    outcomes_attach(n->outcomes, n->region);
    store_ask_last(n->store, is_last, n);
    return 0;
}

int node_new(struct node **out, uv_loop_t *loop, struct node_config *config, char why[CONF_WHY_MAX])
{
    struct node *n = calloc(1, sizeof(*n));
    if (!n)
        return ERR_NOMEM;
    n->loop = loop;
    n->config = config;
    n->started_ms = uv_now(loop);
    randombytes_buf(n->memo_key, sizeof(n->memo_key));
    why[0] = '\0';
    timers_open(n);
    int rc = open_store(n, why);
    if (rc == 0)
        rc = make_parts(n, why);
    if (rc == 0)
        rc = make_fills(n);
    if (rc == 0)
        rc = listen_all(n, why);
    if (rc == 0)
        rc = open_region(n, why);
    if (rc) {
        if (!why[0])
            snprintf(why, CONF_WHY_MAX, "%s", err_text(rc));
        node_stop(n);
        uv_run(loop, UV_RUN_DEFAULT);
        node_del(n);
        return rc;
    }
    n->ready = true;
    log_with(LOG_INFO, "serving", LOG_STR("name", config->name), LOG_STR("listen", config->listen),
             LOG_NUM("port", http_server_port(n->server)), LOG_STR("tls", n->tls ? "yes" : "no"),
             LOG_STR("upstream", upstream_name(n->upstreams[0])),
             LOG_NUM("upstreams", n->n_upstreams));
    *out = n;
    return 0;
}

void node_reload(struct node *n)
{
    char why[CONF_WHY_MAX];
    char reason[256];
    bool all = true;
    if (n->tls && tls_context_reload(n->tls, reason)) {
        log_error("reload: the old certificate stays: %s", reason);
        all = false;
    }
    for (size_t i = 0; i < n->n_upstreams; i++)
        if (upstream_reload(n->upstreams[i], why)) {
            log_error("reload: the old credentials of %s stay: %s", upstream_name(n->upstreams[i]),
                      why);
            all = false;
        }
    http_client_reload(n->client); /* CA files are read anew */
    if (admin_token(n, why)) {
        log_error("reload: the old admin token stays: %s", why);
        all = false;
    }
    if (n->region && region_reload(n->region, why)) {
        log_error("reload: the old mesh keys stay: %s", why);
        all = false;
    }
    if (tickets_reload(n->tickets, why)) {
        log_error("reload: the old tracker keys stay: %s", why);
        all = false;
    }
    if (all)
        log_info("reloaded certificates, credentials, tokens, mesh and tracker keys");
}

/* --- the end --------------------------------------------------------------------------------- */

static void drain_over(struct node *n)
{
    void (*done)(void *arg) = n->drained;
    n->drained = NULL;
    uv_timer_stop(&n->ending);
    if (done)
        done(n->drained_arg);
}

static void on_said_goodbye(uv_timer_t *t)
{
    drain_over(t->data);
}

static void on_drained(void *arg)
{
    struct node *n = arg;
    u64 now = uv_now(n->loop);
    if (now >= n->goodbye_ms)
        drain_over(n);
    else /* the members are still being told */
        uv_timer_start(&n->ending, on_said_goodbye, n->goodbye_ms - now, 0);
}

static void on_drain_deadline(uv_timer_t *t)
{
    log_warn("answers still running after %d s are cut", DRAIN_MAX_MS / 1000);
    drain_over(t->data);
}

void node_drain(struct node *n, void (*done)(void *arg), void *arg)
{
    n->ready = false;
    n->drained = done;
    n->drained_arg = arg;
    n->goodbye_ms = uv_now(n->loop) + region_leave(n->region);
    uv_timer_start(&n->ending, on_drain_deadline, DRAIN_MAX_MS, 0);
    watches_end(n->watches);
    http_server_drain(n->server, on_drained, n);
}

static void close_rest(struct node *n)
{
    uv_close((uv_handle_t *)&n->tick, NULL);
    uv_close((uv_handle_t *)&n->lag, NULL);
    uv_close((uv_handle_t *)&n->ending, NULL);
    pace_close(&n->upload);
    pace_close(&n->download);
    pace_close(&n->wan);
    questions_del(n->questions);
    n->questions = NULL;
    for (size_t i = 0; i < n->n_upstreams; i++)
        upstream_del(n->upstreams[i]);
    if (n->client)
        http_client_del(n->client);
    if (n->disk)
        pool_del(n->disk);
    if (n->hash)
        pool_del(n->hash);
}

static void on_ending(uv_timer_t *t)
{
    struct node *n = t->data;
    if ((n->fills && fills_running(n->fills) > 0) || (n->disk && pool_pending(n->disk) > 0) ||
        (n->hash && pool_pending(n->hash) > 0))
        return;
    close_rest(n);
}

static void on_server_gone(void *arg)
{
    struct node *n = arg;
    n->server = NULL;
    if (n->scrub)
        scrub_stop(n->scrub);
    prefetch_stop(n->prefetch);
    warms_stop(n->warms);
    if (n->fills)
        fills_stop(n->fills);
    seeds_stop(n->seeds);
    outcomes_stop(n->outcomes);
    if (n->store)
        holdings_stop(n->store);
    region_stop(n->region);
    uv_timer_start(&n->ending, on_ending, 0, ENDING_MS);
}

void node_stop(struct node *n)
{
    if (n->stopping)
        return;
    n->stopping = true;
    n->ready = false;
    n->drained = NULL;
    uv_timer_stop(&n->ending);
    if (n->server)
        http_server_del(n->server, on_server_gone, n);
    else
        on_server_gone(n);
}

void node_del(struct node *n)
{
    scrub_del(n->scrub);
    keeper_del(n->keeper);
    fills_del(n->fills);
    seeds_del(n->seeds);
    peers_del(n->peers);
    outcomes_del(n->outcomes);
    watches_del(n->watches);
    peer_shares_fini(&n->serving.shares);
    prefetch_del(n->prefetch);
    warms_del(n->warms);
    revoked_del(n->revoked);
    tickets_del(n->tickets);
    if (n->store)
        store_ask_last(n->store, NULL, NULL);
    region_del(n->region);
    memo_del(n->memo);
    authz_del(n->authz);
    history_del(n->history);
    if (n->metrics)
        metrics_del(n->metrics);
    if (n->tls)
        tls_context_del(n->tls);
    if (n->store)
        store_close(n->store);
    free(n->upstreams);
    sodium_memzero(n->admin_token, sizeof(n->admin_token));
    sodium_memzero(n->label_key, sizeof(n->label_key));
    free(n);
}
