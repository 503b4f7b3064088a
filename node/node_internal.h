/* node_internal.h - what the daemon's rooms share: the node itself. */
#pragma once

#include "node/fill.h"
#include "node/history.h"
#include "node/keep.h"
#include "node/memo.h"
#include "node/node.h"
#include "node/outcomes.h"
#include "node/pace.h"
#include "node/peer_serve.h"
#include "node/peers.h"
#include "node/prefetch.h"
#include "node/revoked.h"
#include "node/scrub.h"
#include "node/seeds.h"
#include "node/tickets.h"
#include "node/wan_share.h"
#include "node/warm.h"
#include "node/watch.h"
#include "runtime/authz.h"
#include "runtime/http_client.h"
#include "runtime/http_server.h"
#include "runtime/metrics.h"
#include "runtime/pool.h"
#include "runtime/question.h"
#include "runtime/region.h"
#include "runtime/tls.h"
#include "runtime/upstream.h"
#include "store/store.h"

/* Where the bytes of an answer came from: X-Dray-Source. */
enum source { SOURCE_STORE, SOURCE_PEER, SOURCE_ORIGIN, SOURCE_STREAM, SOURCE_COUNT };
const char *source_name(enum source s);

enum route {
    ROUTE_PING,
    ROUTE_BLOB,
    ROUTE_MANIFEST,
    ROUTE_RELAY,
    ROUTE_API,
    ROUTE_HEALTH,
    ROUTE_PEER,
    ROUTE_OTHER,
    ROUTE_COUNT
};

struct pull;

/* Once a second: promises that were not kept in time are broken (pull_blob.c). */
void pull_promises_tick(struct node *n);

struct node {
    uv_loop_t *loop;
    struct node_config *config;
    u64 started_ms;
    struct store *store;
    struct pool *disk, *hash;
    struct http_client *client;
    struct http_server *server;
    struct tls_context *tls;
    struct metrics *metrics;
    struct authz *authz;
    struct questions *questions;
    struct fills *fills;
    struct region *region; /* NULL: alone */
    struct peers *peers;
    struct seeds *seeds;
    struct tickets *tickets;
    struct revoked *revoked;
    struct watches *watches;
    struct pull *promises; /* answers that began, and wait for their first bytes */
    struct outcomes *outcomes;
    struct prefetch *prefetch;
    struct warms *warms;
    struct memo *memo;
    struct keeper *keeper;
    struct scrub *scrub;
    struct history *history;
    struct upstream **upstreams; /* as in the config; the first is the default */
    size_t n_upstreams;
    u8 label_key[32]; /* of user labels in audit lines */
    u8 memo_key[32];  /* of what memo keeps, this run only */
    char admin_token[256];
    bool ready;

    uv_timer_t tick;      /* each second: everything that is done now and then */
    uv_timer_t lag;       /* each 100 ms: how late the loop is */
    uv_timer_t ending;    /* the drain's deadline, then the wait for jobs */
    struct pace upload;   /* to clients and peers */
    struct pace download; /* from registries and peers */
    struct pace wan;      /* from registries, beside that: our part of the region's */
    struct wan_share wan_share;
    struct peer_serving serving;
    bool stopping;
    u64 lag_due_ms, lag_recent_ns;
    struct job sync; /* the index, to disk */
    bool syncing;
    void (*drained)(void *arg);
    void *drained_arg;
    u64 goodbye_ms; /* when the region has heard that we leave */

    u64 served[SOURCE_COUNT];
    u64 layers[SOURCE_COUNT];       /* of these, layers' */
    u64 layers_now;                 /* requests for layers that run */
    u64 *answers[ROUTE_COUNT][600]; /* by status; made when first counted */
    u64 *authz_count[4];            /* granted, asked, refused, grace */
    struct histogram *first_byte;
};

enum authz_count {
    AUTHZ_COUNT_REMEMBERED,
    AUTHZ_COUNT_ASKED,
    AUTHZ_COUNT_REFUSED,
    AUTHZ_COUNT_GRACE
};

/* The upstream that ?ns= names; NULL: none. "" is the default one. */
struct upstream *node_upstream(struct node *n, const char *ns);
/* Counts an answer: before each http_reply of ours. */
void node_count(struct node *n, enum route route, int status);

/* Removes a blob here, and keeps it out until then (Unix ms). `removed` may be NULL. Noted and
 * logged; errors as store_purge(). */
int node_purge(struct node *n, const struct digest *d, u64 until_ms, const char *why);
/* May traffic be sent here? Else `*why`, as region_ready(). */
bool node_ready(const struct node *n, const char **why);

/* pull.c: everything under /v2/. */
void pull_begin(struct node *n, struct http_exchange *x);
/* api.c: everything else. */
void api_begin(struct node *n, struct http_exchange *x);

/* node_metrics.c: registers what is counted and measured. */
void node_metrics(struct node *n);
/* Before they are rendered: takes over what other modules count by reason. */
void node_metrics_refresh(struct node *n);
