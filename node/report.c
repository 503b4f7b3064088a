/* report.c - see report.h. */
#include "node/report.h"

#include <time.h>

#include "node/holdings.h"
#include "node/node_internal.h"
#include "runtime/clock.h"

json_t *report_moment(u64 ms)
{
    char text[32];
    struct tm tm;
    time_t s = (time_t)(ms / 1000);
    if (ms == 0 || !gmtime_r(&s, &tm) ||
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        return json_null();
    return json_string(text);
}

static json_t *count(u64 n)
{
    return json_integer((json_int_t)n);
}

static json_t *fetch(const struct fill_status *st)
{
    char digest[DIGEST_TEXT_SIZE];
    digest_format(&st->digest, digest);
    return json_pack("{s:s, s:s, s:s, s:s?, s:o, s:o, s:o, s:i, s:s, s:b, s:o, s:i, s:i, s:i, s:i, "
                     "s:b}",
                     "digest", digest, "repository", st->repository, "upstream", st->upstream,
                     "peer", st->peer, "received_bytes", count(st->received), "size_bytes",
                     st->size == STORE_SIZE_UNKNOWN ? json_null() : count(st->size), "bytes_per_s",
                     count(st->bytes_per_s), "clients", (int)st->clients, "state", st->state,
                     "kept", (int)st->kept, "age_s", json_real((double)st->age_ms / 1000), "pieces",
                     (int)st->pieces, "pieces_held", (int)st->held, "neighbours",
                     (int)st->neighbours, "requests", (int)st->requests, "appointed",
                     (int)st->appointed);
}

static void add_fetch(void *arg, const struct fill_status *st)
{
    json_array_append_new(arg, fetch(st));
}

static json_t *upstreams(struct node *n)
{
    static const char *const states[] = {"unknown", "ok", "down"};
    json_t *all = json_array();
    for (size_t i = 0; i < n->n_upstreams; i++) {
        const char *error;
        u64 since;
        enum upstream_state state = upstream_state(n->upstreams[i], &error, &since);
        json_array_append_new(
            all, json_pack("{s:s, s:s, s:s, s:s, s:o}", "name", upstream_name(n->upstreams[i]),
                           "url", upstream_url(n->upstreams[i]), "state", states[state],
                           "last_error", error, "since_s", json_real((double)since / 1000)));
    }
    return all;
}

static json_t *store(struct node *n)
{
    struct store_stats st;
    store_stats(n->store, &st);
    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "path", n->config->store.path,
                     "capacity_bytes", count(st.capacity_bytes), "used_bytes", count(st.used_bytes),
                     "blobs", count(st.blobs), "blob_bytes", count(st.blob_bytes), "partial_bytes",
                     count(st.partial_bytes), "evicted_blobs", count(st.evicted_blobs),
                     "evicted_bytes", count(st.evicted_bytes), "index_errors",
                     count(st.index_errors));
}

json_t *report_status(struct node *n)
{
    struct http_server_stats http;
    http_server_stats(n->server, &http);
    json_t *fetches = json_array();
    fills_each(n->fills, add_fetch, fetches);
    const struct node_config *c = n->config;
    const char *why;
    bool ready = node_ready(n, &why);
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:b, s:s, s:o, s:{s:o, s:o, s:o, s:o, s:o}, "
        "s:{s:o, s:o}, s:o, s:o, s:o, s:o, s:o}",
        "name", c->name, "region", c->region, "rack", c->rack ? c->rack : "", "version",
        DRAY_VERSION, "uptime_s", json_real((double)(uv_now(n->loop) - n->started_ms) / 1000),
        "listen", c->listen, "public_url", c->public_url ? c->public_url : "", "ready", (int)ready,
        "not_ready", ready ? "" : why, "store", store(n), "served", "store_bytes",
        count(n->served[SOURCE_STORE]), "peer_bytes", count(n->served[SOURCE_PEER]), "origin_bytes",
        count(n->served[SOURCE_ORIGIN]), "stream_bytes", count(n->served[SOURCE_STREAM]),
        "requests", count(http.requests), "fetched", "origin_bytes",
        count(fills_fetched_bytes(n->fills)), "peer_bytes", count(*peers_fetched_bytes(n->peers)),
        "connections", count(http.open), "loop_lag_ms", json_real((double)n->lag_recent_ns / 1e6),
        "upstreams", upstreams(n), "fetches", fetches, "mesh", region_report(n->region));
}

json_t *report_members(struct node *n)
{
    const struct region_config c = holdings_config(n->config);
    return region_report_members(n->region, &c);
}

/* --- why ------------------------------------------------------------------------------------- */

struct search {
    const struct digest *digest;
    json_t *found;
};

static void find_fetch(void *arg, const struct fill_status *st)
{
    struct search *s = arg;
    if (!s->found && digest_equal(&st->digest, s->digest))
        s->found = fetch(st);
}

static void add_event(void *arg, const struct history_event *e)
{
    json_array_append_new(arg, json_pack("{s:o, s:s, s:s}", "at", report_moment(e->at_ms), "event",
                                         e->event, "detail", e->detail));
}

/* Who in the region holds it, ourselves left out, in the order in which they would be asked now. */
static json_t *holders(struct node *n, const struct digest *d, u64 bytes)
{
    struct mesh_source list[MESH_SOURCES_MAX];
    size_t k = peers_look(n->peers, d, bytes, list);
    json_t *all = json_array();
    for (size_t i = 0; i < k; i++) {
        char key[NODE_KEY_TEXT_SIZE], at[ADDR_TEXT_SIZE];
        node_key_format(&list[i].key, key);
        addr_format(&list[i].addr, at);
        json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:s, s:o, s:b, s:s}", "name",
                                             list[i].name, "key", key, "address", at, "tier",
                                             choose_tier_name(list[i].tier), "expected_ms",
                                             json_real((double)list[i].expected_ns / 1e6), "usable",
                                             (int)list[i].usable, "reason", list[i].reason));
    }
    return all;
}

json_t *report_blob(struct node *n, const struct digest *d)
{
    char digest[DIGEST_TEXT_SIZE];
    struct blob_info b = {0};
    struct search search = {d, NULL};
    json_t *history = json_array();
    digest_format(d, digest);
    bool held = store_lookup(n->store, d, &b) == 0;
    fills_each(n->fills, find_fetch, &search);
    history_each(n->history, d, add_event, history);
    return json_pack("{s:s, s:b, s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "digest",
                     digest, "held", (int)held, "size_bytes", held ? count(b.size) : json_null(),
                     "media_type", b.media_type, "source", b.source, "stored_at",
                     report_moment(b.stored_ms), "used_at", report_moment(b.used_ms), "verified_at",
                     report_moment(b.scrubbed_ms), "fetch",
                     search.found ? search.found : json_null(), "holders",
                     holders(n, d, held ? b.size : 0), "history", history, "purged_until",
                     report_moment(store_purged_until(n->store, d, wall_ms())));
}
