/* api.c - what operators ask of a running node: health, metrics, status, why, purge.
 *
 * /healthz and /readyz are for anyone. /metrics and /api need the Unix socket, an address in
 * admin.allow, or the admin token ("Authorization: Bearer TOKEN"). Answers are JSON; their names
 * are relied upon by dray-node status, dashboards and scripts (docs/operations.md). */
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "node/node_internal.h"
#include "node/report.h"
#include "proto/limits.h"
#include "runtime/clock.h"

#define PURGE_DEFAULT_MS (24ull * 3600 * 1000)

/* --- answers -------------------------------------------------------------------------------------
 */

static void reply_json(struct node *n, struct http_exchange *x, int status, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(value);
    node_count(n, ROUTE_API, text ? status : 503);
    if (text)
        http_reply_text(x, status, "application/json", text, strlen(text));
    else
        http_reply_oci(x, OCI_UNAVAILABLE, "out of memory", NULL);
    free(text);
}

static void reply_plain(struct node *n, struct http_exchange *x, int status, const char *text)
{
    node_count(n, ROUTE_HEALTH, status);
    http_reply_text(x, status, "text/plain; charset=utf-8", text, strlen(text));
}

static void refuse(struct node *n, struct http_exchange *x, enum oci_code code, const char *message)
{
    node_count(n, ROUTE_API, oci_code_status(code));
    http_reply_oci(x, code, message, NULL);
}

/* --- who may ask ----------------------------------------------------------------------------- */

static bool token_matches(const struct node *n, const struct http_slice *auth)
{
    static const char scheme[] = "Bearer ";
    size_t skip = sizeof(scheme) - 1, len = strlen(n->admin_token);
    if (!auth || len == 0 || auth->n != skip + len || strncasecmp(auth->p, scheme, skip) != 0)
        return false;
    return sodium_memcmp(auth->p + skip, n->admin_token, len) == 0;
}

static bool may_ask(const struct node *n, const struct http_request *r)
{
    if (r->local)
        return true;
    for (size_t i = 0; i < n->config->admin.n_allow; i++)
        if (cidr_has(&n->config->admin.allow[i], r->peer) && !http_is_foreign(r))
            return true;
    return token_matches(n, http_field(r, "Authorization"));
}

/* --- the endpoints --------------------------------------------------------------------------- */

/* Its Date tells trackers how far our clock is off (RFC 9110, 5.6.7: in this form). */
static void healthz(struct node *n, struct http_exchange *x)
{
    time_t now = (time_t)(wall_ms() / 1000);
    struct tm tm;
    char date[64];
    if (gmtime_r(&now, &tm) && strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm))
        http_add(x, "Date", "%s", date);
    reply_plain(n, x, 200, "ok\n");
}

static void readyz(struct node *n, struct http_exchange *x)
{
    const char *why;
    char text[640];
    if (node_ready(n, &why)) {
        reply_plain(n, x, 200, "ready\n");
        return;
    }
    snprintf(text, sizeof(text), "not ready: %s\n", why);
    reply_plain(n, x, 503, text);
}

static void metrics(struct node *n, struct http_exchange *x)
{
    char *text;
    size_t len;
    node_metrics_refresh(n);
    if (metrics_render(n->metrics, &text, &len)) {
        refuse(n, x, OCI_UNAVAILABLE, "out of memory");
        return;
    }
    node_count(n, ROUTE_API, 200);
    http_reply_text(x, 200, "text/plain; version=0.0.4; charset=utf-8", text, len);
    free(text);
}

static void status(struct node *n, struct http_exchange *x)
{
    reply_json(n, x, 200, report_status(n));
}

static void members(struct node *n, struct http_exchange *x)
{
    reply_json(n, x, 200, report_members(n));
}

static void why(struct node *n, struct http_exchange *x, const char *text, size_t len)
{
    struct digest d;
    if (digest_parse(&d, text, len)) {
        refuse(n, x, OCI_DIGEST_INVALID, "give a digest such as sha256:<64 hex digits>");
        return;
    }
    reply_json(n, x, 200, report_blob(n, &d));
}

/* {"digest": "sha256:…", "for_s": seconds}; the second may be left out. */
static int read_purge(const struct http_slice body, struct digest *d, u64 *for_ms)
{
    json_t *asked = json_loadb(body.n ? body.p : "", body.n, JSON_REJECT_DUPLICATES, NULL);
    const json_t *text = json_object_get(asked, "digest"), *s = json_object_get(asked, "for_s");
    int rc = json_is_string(text)
                 ? digest_parse(d, json_string_value(text), json_string_length(text))
                 : ERR_INVAL;
    *for_ms = PURGE_DEFAULT_MS;
    if (rc == 0 && s) {
        json_int_t n = json_integer_value(s);
        *for_ms = (u64)n * 1000;
        rc = json_is_integer(s) && n >= 0 && (u64)n <= LIMIT_PURGE_MS / 1000 ? 0 : ERR_RANGE;
    }
    json_decref(asked);
    return rc;
}

static void refuse_purge(struct node *n, struct http_exchange *x, int rc)
{
    if (rc == ERR_RANGE)
        refuse(n, x, OCI_UNSUPPORTED, "for_s must be a whole number of seconds, at most 400 days");
    else if (rc == ERR_INVAL || rc == ERR_UNSUPPORTED)
        refuse(n, x, OCI_DIGEST_INVALID,
               "the body must be {\"digest\": \"sha256:<64 hex digits>\"}, perhaps with "
               "\"for_s\": SECONDS");
    else
        refuse(n, x, OCI_UNAVAILABLE,
               rc == ERR_AGAIN  ? "the mesh is not up yet: try again"
               : rc == ERR_FULL ? "as many blobs as there may be are kept out already"
                                : "the purge cannot be remembered: see the log");
}

static void purge(struct node *n, struct http_exchange *x)
{
    struct digest d = {0};
    struct blob_info held, now;
    u64 for_ms, at_ms = wall_ms();
    int rc = read_purge(http_request(x)->body, &d, &for_ms);
    if (rc) {
        refuse_purge(n, x, rc);
        return;
    }
    u64 until_ms = at_ms + (for_ms ? for_ms : 1); /* an order has an end */
    bool was_held = store_lookup(n->store, &d, &held) == 0;
    if (n->region)
        rc = region_purge(n->region, &d, at_ms, until_ms);
    else
        rc = node_purge(n, &d, until_ms, "command");
    bool removed = was_held && store_lookup(n->store, &d, &now) == ERR_NOTFOUND;
    if (rc || was_held != removed) {
        refuse_purge(n, x, rc ? rc : ERR_IO);
        return;
    }
    char digest[DIGEST_TEXT_SIZE];
    digest_format(&d, digest);
    reply_json(n, x, 200,
               json_pack("{s:s, s:b, s:I, s:b, s:o}", "digest", digest, "removed", (int)removed,
                         "bytes", (json_int_t)(removed ? held.size : 0), "region",
                         (int)(n->region != NULL), "until",
                         for_ms ? report_moment(until_ms) : json_null()));
}

/* {"image": "website/ui:3", "platform": "linux/arm64", "region": true}; the image alone suffices.
 */
static int read_prefetch(const struct http_slice body, struct prefetch_image *what, bool *region)
{
    json_t *asked = json_loadb(body.n ? body.p : "", body.n, JSON_REJECT_DUPLICATES, NULL);
    const json_t *image = json_object_get(asked, "image");
    const json_t *platform = json_object_get(asked, "platform");
    const json_t *all = json_object_get(asked, "region");
    const char *text = platform ? json_string_value(platform) : "";
    int rc = json_is_string(image) && text && (!all || json_is_boolean(all)) ? 0 : ERR_INVAL;
    if (rc == 0 && (json_string_length(image) > PREFETCH_IMAGE_MAX ||
                    strlen(json_string_value(image)) != json_string_length(image) ||
                    strlen(text) > PREFETCH_PLATFORM_MAX))
        rc = ERR_INVAL;
    if (rc == 0) {
        snprintf(what->image, sizeof(what->image), "%s", json_string_value(image));
        snprintf(what->platform, sizeof(what->platform), "%s", text);
        *region = json_is_true(all);
    }
    json_decref(asked);
    return rc;
}

static void prefetch(struct node *n, struct http_exchange *x)
{
    struct prefetch_image what;
    bool region = false;
    u64 id;
    int rc = read_prefetch(http_request(x)->body, &what, &region);
    if (rc == 0)
        rc = warm_begin(n->warms, &what, region, &id);
    if (rc == ERR_INVAL)
        refuse(n, x, OCI_NAME_INVALID,
               "the body must be {\"image\": \"repository:tag\"}, perhaps with \"platform\": "
               "\"linux/amd64\" or \"all\", and \"region\": true");
    else if (rc == ERR_NOTFOUND)
        refuse(n, x, OCI_NAME_UNKNOWN, "its registry is none of this node's upstreams");
    else if (rc)
        refuse(n, x, OCI_UNAVAILABLE,
               rc == ERR_FULL ? "as many prefetches as may run do: try again" : "out of memory");
    else
        reply_json(n, x, 202, warm_report(n->warms, id));
}

/* "?id=3" of the target; all without. */
static void prefetches(struct node *n, struct http_exchange *x)
{
    const struct http_slice t = http_request(x)->target;
    static const char key[] = "?id=";
    const char *query = memchr(t.p, '?', t.n);
    char text[24] = "";
    size_t left = query ? (size_t)(t.p + t.n - query) : 0, skip = sizeof(key) - 1;
    if (!query) {
        reply_json(n, x, 200, warms_report(n->warms));
        return;
    }
    if (left > skip && left - skip < sizeof(text) && memcmp(query, key, skip) == 0)
        memcpy(text, query + skip, left - skip);
    json_t *one = warm_report(n->warms, strtoull(text, NULL, 10));
    if (one)
        reply_json(n, x, 200, one);
    else
        refuse(n, x, OCI_NAME_UNKNOWN, "no such prefetch");
}

/* --- routes ---------------------------------------------------------------------------------- */

static bool is(struct http_slice path, const char *text)
{
    return path.n == strlen(text) && memcmp(path.p, text, path.n) == 0;
}

static void api(struct node *n, struct http_exchange *x, struct http_slice path)
{
    static const char blobs[] = "/api/v1/blobs/";
    const struct http_request *r = http_request(x);
    bool get = r->method == HTTP_GET || r->method == HTTP_HEAD;
    size_t skip = sizeof(blobs) - 1;
    if (!may_ask(n, r)) {
        http_add(x, "WWW-Authenticate", "Bearer realm=\"dray admin\"");
        refuse(n, x, OCI_UNAUTHORIZED,
               "send the admin token, ask from an address in admin.allow, or use the Unix socket");
    } else if (is(path, "/api/v1/purge")) {
        if (r->method == HTTP_POST)
            purge(n, x);
        else
            refuse(n, x, OCI_UNSUPPORTED, "use POST");
    } else if (is(path, "/api/v1/prefetch")) {
        if (r->method == HTTP_POST)
            prefetch(n, x);
        else if (get)
            prefetches(n, x);
        else
            refuse(n, x, OCI_UNSUPPORTED, "use POST or GET");
    } else if (!get) {
        refuse(n, x, OCI_UNSUPPORTED, "use GET");
    } else if (is(path, "/metrics")) {
        metrics(n, x);
    } else if (is(path, "/api/v1/status")) {
        status(n, x);
    } else if (is(path, "/api/v1/members")) {
        members(n, x);
    } else if (path.n > skip && memcmp(path.p, blobs, skip) == 0) {
        why(n, x, path.p + skip, path.n - skip);
    } else {
        refuse(n, x, OCI_NAME_UNKNOWN, "no such endpoint: see docs/operations.md");
    }
}

void api_begin(struct node *n, struct http_exchange *x)
{
    const struct http_request *r = http_request(x);
    struct http_slice path = r->target;
    const char *query = memchr(path.p, '?', path.n);
    bool get = r->method == HTTP_GET || r->method == HTTP_HEAD;
    if (query)
        path.n = (size_t)(query - path.p);
    if (get && is(path, "/healthz")) {
        healthz(n, x);
    } else if (get && is(path, "/readyz")) {
        readyz(n, x);
    } else if (is(path, "/metrics") || (path.n >= 5 && memcmp(path.p, "/api/", 5) == 0)) {
        api(n, x, path);
    } else {
        node_count(n, ROUTE_OTHER, 404);
        http_reply_oci_status(x, 404, OCI_NAME_UNKNOWN,
                              "nothing here: registry clients use /v2/, operators /api/v1/status",
                              NULL);
    }
}
