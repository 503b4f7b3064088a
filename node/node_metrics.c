/* node_metrics.c - what the node counts and measures; names are part of docs/operations.md. */
#include <ctype.h>
#include <stdio.h>

#include "node/node_internal.h"

void node_count(struct node *n, enum route route, int status)
{
    static const char *const routes[] = {"ping", "blob",   "manifest", "relay",
                                         "api",  "health", "mesh",     "other"};
    static_assert(countof(routes) == ROUTE_COUNT, "a name for each route");
    if (status < 0 || status >= 600)
        status = 0;
    u64 **count = &n->answers[route][status];
    if (!*count) {
        char labels[64];
        snprintf(labels, sizeof(labels), "route=\"%s\",code=\"%d\"", routes[route], status);
        *count = metrics_counter(n->metrics, "dray_http_requests_total", labels,
                                 "Requests answered, by route and status.");
    }
    **count += 1;
}

/* --- read when asked for ------------------------------------------------------------------------
 */

static struct store_stats stats(struct node *n)
{
    struct store_stats st;
    store_stats(n->store, &st);
    return st;
}

static double used_bytes(void *arg)
{
    return (double)stats(arg).used_bytes;
}
static double capacity_bytes(void *arg)
{
    return (double)stats(arg).capacity_bytes;
}
static double blobs(void *arg)
{
    return (double)stats(arg).blobs;
}
static double evicted_bytes(void *arg)
{
    return (double)stats(arg).evicted_bytes;
}
static double evicted_blobs(void *arg)
{
    return (double)stats(arg).evicted_blobs;
}
static double index_errors(void *arg)
{
    return (double)stats(arg).index_errors;
}
static double wan_share(void *arg)
{
    return (double)((struct node *)arg)->wan.rate;
}

static double fetches(void *arg)
{
    return (double)fills_running(((struct node *)arg)->fills);
}
static double uptime(void *arg)
{
    struct node *n = arg;
    return (double)(uv_now(n->loop) - n->started_ms) / 1000;
}
static double loop_lag(void *arg)
{
    return (double)((struct node *)arg)->lag_recent_ns / 1e9;
}

static double served_store(void *arg)
{
    return (double)((struct node *)arg)->served[SOURCE_STORE];
}
static double served_origin(void *arg)
{
    return (double)((struct node *)arg)->served[SOURCE_ORIGIN];
}
static double served_peer(void *arg)
{
    return (double)((struct node *)arg)->served[SOURCE_PEER];
}
static double peer_streams(void *arg)
{
    return (double)((struct node *)arg)->serving.streams;
}
static double served_stream(void *arg)
{
    return (double)((struct node *)arg)->served[SOURCE_STREAM];
}

static struct http_server_stats http(struct node *n)
{
    struct http_server_stats st = {0};
    if (n->server)
        http_server_stats(n->server, &st);
    return st;
}

static double connections(void *arg)
{
    return (double)http(arg).open;
}
static double timeouts(void *arg)
{
    return (double)http(arg).timeouts;
}
static double refused(void *arg)
{
    return (double)http(arg).refused_limit;
}
static double tls_failures(void *arg)
{
    return (double)http(arg).tls_failures;
}
static double clients_left(void *arg)
{
    return (double)http(arg).clients_left;
}

void node_metrics(struct node *n)
{
    static const struct {
        const char *name, *labels, *help;
        double (*read)(void *arg);
        bool counter;
    } table[] = {
        {"dray_served_bytes_total", "source=\"store\"", "Bytes of answers, by where from.",
         served_store, true},
        {"dray_served_bytes_total", "source=\"origin\"", NULL, served_origin, true},
        {"dray_served_bytes_total", "source=\"peer\"", NULL, served_peer, true},
        {"dray_peer_streams", "", "Answers to peers that run now.", peer_streams, false},
        {"dray_served_bytes_total", "source=\"stream\"", NULL, served_stream, true},
        {"dray_store_bytes", "", "Bytes held against the capacity.", used_bytes, false},
        {"dray_store_capacity_bytes", "", "The store's bound.", capacity_bytes, false},
        {"dray_store_blobs", "", "Blobs held.", blobs, false},
        {"dray_evicted_bytes_total", "", "Bytes evicted to make room.", evicted_bytes, true},
        {"dray_evicted_blobs_total", "", "Blobs evicted to make room.", evicted_blobs, true},
        {"dray_index_errors_total", "", "Writes to the index that failed.", index_errors, true},
        {"dray_fetches", "", "Layers being fetched now.", fetches, false},
        {"dray_wan_share_bytes", "",
         "Bytes per second that this node may read from registries now; 0: no limit.", wan_share,
         false},
        {"dray_connections", "", "Client connections open.", connections, false},
        {"dray_dropped_total", "reason=\"timeout\"", "What was refused or thrown away, by reason.",
         timeouts, true},
        {"dray_dropped_total", "reason=\"address_limit\"", NULL, refused, true},
        {"dray_dropped_total", "reason=\"tls\"", NULL, tls_failures, true},
        {"dray_clients_left_total", "", "Clients that left before their answer was complete.",
         clients_left, true},
        {"dray_loop_lag_seconds", "",
         "How late the loop's timers are: the worst of the last second.", loop_lag, false},
        {"dray_uptime_seconds", "", "Since the start.", uptime, false},
    };
    static const char *const results[] = {"remembered", "asked", "refused", "grace"};
    for (size_t i = 0; i < countof(table); i++)
        (table[i].counter ? metrics_counter_fn : metrics_gauge_fn)(
            n->metrics, table[i].name, table[i].labels, table[i].help, table[i].read, n);
    for (size_t i = 0; i < countof(results); i++) {
        char labels[32];
        snprintf(labels, sizeof(labels), "result=\"%s\"", results[i]);
        n->authz_count[i] =
            metrics_counter(n->metrics, "dray_authz_total", labels,
                            "Permissions, by how they were decided (refused counts beside asked).");
    }
    n->first_byte = metrics_histogram(n->metrics, "dray_first_byte_seconds", "",
                                      "From a request to the first byte of its answer.");
}

/* "HEAD_LONG" becomes reason="head_long". */
static void set_refusal(void *arg, const char *reason, u64 count)
{
    struct node *n = arg;
    char labels[64];
    size_t at = (size_t)snprintf(labels, sizeof(labels), "reason=\"");
    for (; *reason && at < sizeof(labels) - 2; reason++)
        labels[at++] = (char)tolower((unsigned char)*reason);
    labels[at++] = '"';
    labels[at] = '\0';
    *metrics_counter(n->metrics, "dray_dropped_total", labels, NULL) = count;
}

void node_metrics_refresh(struct node *n)
{
    http_server_refusals(n->server, set_refusal, n);
    region_metrics_refresh(n->region, n->metrics);
}
