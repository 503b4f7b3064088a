/* tracker_internal.h - what the tracker's rooms share: the tracker itself. */
#pragma once

#include <jansson.h>

#include "proto/chooser.h"
#include "proto/rtts.h"
#include "proto/strikes.h"
#include "runtime/authz.h"
#include "runtime/http_client.h"
#include "runtime/http_server.h"
#include "runtime/metrics.h"
#include "runtime/pool.h"
#include "runtime/question.h"
#include "runtime/region.h"
#include "runtime/tls.h"
#include "runtime/upstream.h"
#include "tracker/circle.h"
#include "tracker/echoes.h"
#include "tracker/grants.h"
#include "tracker/overview.h"
#include "tracker/prefetches.h"
#include "tracker/probes.h"
#include "tracker/regions.h"
#include "tracker/revocations.h"
#include "tracker/rewrite.h"
#include "tracker/tracker.h"
#include "tracker/users.h"
#include "tracker/watches.h"

#define TRACKER_REALM_MAX 1024

enum route {
    ROUTE_PING,
    ROUTE_BLOB,
    ROUTE_MANIFEST,
    ROUTE_UPLOAD,
    ROUTE_TOKEN,
    ROUTE_RELAY, /* all else under /v2/ */
    ROUTE_API,
    ROUTE_HEALTH,
    ROUTE_PEER,
    ROUTE_OTHER,
    ROUTE_COUNT
};

struct tracker {
    uv_loop_t *loop;
    struct tracker_config *config;
    u64 started_ms, started_wall_ms;
    struct pool *disk;
    struct http_client *client;
    struct http_server *server;
    struct tls_context *tls;
    struct metrics *metrics;
    struct upstream_config direct; /* borrows from the config */
    struct upstream *registry;
    struct authz *authz;
    struct questions *questions;
    struct regions *regions; /* NULL: none, nobody is redirected */
    struct grants *grants;
    struct strikes *strikes;
    struct overview *overview;
    struct overview_text *overview_text; /* overview_report.c's: made when first asked for */
    struct rtts *rtts;
    struct probes *probes;
    struct revocations *revocations;
    size_t revocation_told; /* nodes, by the last one made here */
    struct users *users;
    struct circle *circle;
    struct watches *watches;
    struct roster *roster; /* who is in the regions */
    struct prefetches *prefetches;
    struct chooser *chooser; /* who of them gets whom */
    struct echoes *echoes;   /* what the registry said, for when it is away */
    u8 echo_key[32];
    char admin_token[256];
    char realm[TRACKER_REALM_MAX]; /* path of the token service at the registry's host; "" none */
    struct upstream_ask *ping;
    u64 pinged_ms; /* when it was sent */
    bool pinged;   /* the registry answered once */
    bool open;     /* it lets the anonymous in, so that it vouches for nobody */
    bool ready, stopping;

    uv_timer_t tick, lag, ending;
    u64 lag_due_ms, lag_recent_ns, next_ping_ms;
    u64 goodbye_ms; /* when the regions have heard that we leave */
    void (*drained)(void *arg);
    void *drained_arg;

    u64 *answers[ROUTE_COUNT][600]; /* by status; made when first counted */
    u64 passages;                   /* that run now */
    u64 collected_bytes;            /* of their answers that are kept whole, by front.c */
    unsigned uploads;               /* of them, those that send a body as it comes */
    struct passage *alone;          /* front.c's: those whose client has left */
    unsigned n_alone;
    u64 through_bytes;  /* read through for nodes */
    u64 streamed_bytes; /* of answers passed on */
    u64 uploaded_bytes;
};

/* Counts an answer: before each http_reply of ours. */
void tracker_count(struct tracker *t, enum route route, int status);
/* May traffic be sent here? Else `*why`, borrowed until the loop turns. */
bool tracker_ready(const struct tracker *t, const char **why);

/* tracker_metrics.c */
void tracker_metrics(struct tracker *t);
void tracker_metrics_refresh(struct tracker *t);

/* api.c: health, metrics, what operators and users ask. */
void api_begin(struct tracker *t, struct http_exchange *x);
/* May this request see what is the operator's? */
bool api_may(const struct tracker *t, const struct http_request *r);
/* Answers with `value`, which is taken; NULL: out of memory. */
void api_json(struct tracker *t, struct http_exchange *x, int status, json_t *value);
void api_refuse(struct tracker *t, struct http_exchange *x, enum oci_code code,
                const char *message);
