/* api.c - what operators and users ask of a running tracker: health, metrics, status.
 *
 * /healthz and /readyz are for anyone. /metrics and /api need the Unix socket, an address in
 * admin.allow, or the admin token ("Authorization: Bearer TOKEN"). Answers are JSON; their names
 * are relied upon by dray-tracker, dashboards and scripts (docs/operations.md). */
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tracker/api_users.h"
#include "tracker/overview_report.h"
#include "tracker/tracker_internal.h"

/* --- answers --------------------------------------------------------------------------------- */

void api_json(struct tracker *t, struct http_exchange *x, int status, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(value);
    tracker_count(t, ROUTE_API, text ? status : 503);
    if (text)
        http_reply_text(x, status, "application/json", text, strlen(text));
    else
        http_reply_oci(x, OCI_UNAVAILABLE, "out of memory", NULL);
    free(text);
}

void api_refuse(struct tracker *t, struct http_exchange *x, enum oci_code code, const char *message)
{
    tracker_count(t, ROUTE_API, oci_code_status(code));
    http_reply_oci(x, code, message, NULL);
}

static void plain(struct tracker *t, struct http_exchange *x, int status, const char *text)
{
    tracker_count(t, ROUTE_HEALTH, status);
    http_reply_text(x, status, "text/plain; charset=utf-8", text, strlen(text));
}

/* --- who may ask ----------------------------------------------------------------------------- */

static bool token_matches(const struct tracker *t, const struct http_slice *auth)
{
    static const char scheme[] = "Bearer ";
    size_t skip = sizeof(scheme) - 1, len = strlen(t->admin_token);
    if (!auth || len == 0 || auth->n != skip + len || strncasecmp(auth->p, scheme, skip) != 0)
        return false;
    return sodium_memcmp(auth->p + skip, t->admin_token, len) == 0;
}

bool api_may(const struct tracker *t, const struct http_request *r)
{
    if (r->local)
        return true;
    for (size_t i = 0; i < t->config->admin.n_allow; i++)
        if (cidr_has(&t->config->admin.allow[i], r->peer) && !http_is_foreign(r))
            return true;
    return token_matches(t, http_field(r, "Authorization"));
}

/* --- the endpoints --------------------------------------------------------------------------- */

static void readyz(struct tracker *t, struct http_exchange *x)
{
    const char *why;
    char text[640];
    if (tracker_ready(t, &why)) {
        plain(t, x, 200, "ready\n");
        return;
    }
    snprintf(text, sizeof(text), "not ready: %s\n", why);
    plain(t, x, 503, text);
}

static void metrics(struct tracker *t, struct http_exchange *x)
{
    char *text;
    size_t len;
    tracker_metrics_refresh(t);
    if (metrics_render(t->metrics, &text, &len)) {
        api_refuse(t, x, OCI_UNAVAILABLE, "out of memory");
        return;
    }
    tracker_count(t, ROUTE_API, 200);
    http_reply_text(x, 200, "text/plain; version=0.0.4; charset=utf-8", text, len);
    free(text);
}

static json_t *report_status(struct tracker *t)
{
    static const char *const states[] = {"untried", "ok", "down"};
    const char *error, *why = "";
    u64 since_ms;
    enum upstream_state state = upstream_state(t->registry, &error, &since_ms);
    bool ready = tracker_ready(t, &why);
    return json_pack("{s:s, s:s, s:b, s:s, s:s, s:I, s:{s:s, s:s, s:s}, s:I, s:I, s:o}", "version",
                     DRAY_VERSION, "name", t->config->name, "ready", (int)ready, "why",
                     ready ? "" : why, "public_url", t->config->public_url, "uptime_s",
                     (json_int_t)((uv_now(t->loop) - t->started_ms) / 1000), "registry", "url",
                     t->config->registry.url, "state", states[state], "error", error,
                     "streamed_bytes", (json_int_t)t->streamed_bytes, "uploaded_bytes",
                     (json_int_t)t->uploaded_bytes, "trackers", circle_report(t->circle));
}

/* --- routes ---------------------------------------------------------------------------------- */

static bool is(struct http_slice path, const char *text)
{
    return path.n == strlen(text) && memcmp(path.p, text, path.n) == 0;
}

static void api(struct tracker *t, struct http_exchange *x, struct http_slice path)
{
    const struct http_request *r = http_request(x);
    bool get = r->method == HTTP_GET || r->method == HTTP_HEAD;
    if (api_users(t, x, path))
        return;
    if (!api_may(t, r)) {
        http_add(x, "WWW-Authenticate", "Bearer realm=\"dray admin\"");
        api_refuse(t, x, OCI_UNAUTHORIZED,
                   "send the admin token, ask from an address in admin.allow, or use the Unix "
                   "socket");
    } else if (!get) {
        api_refuse(t, x, OCI_UNSUPPORTED, "use GET");
    } else if (is(path, "/metrics")) {
        metrics(t, x);
    } else if (is(path, "/api/v1/overview")) {
        overview_reply(t, x);
    } else if (is(path, "/api/v1/status")) {
        api_json(t, x, 200, report_status(t));
    } else {
        api_refuse(t, x, OCI_NAME_UNKNOWN, "no such endpoint: see docs/operations.md");
    }
}

void api_begin(struct tracker *t, struct http_exchange *x)
{
    const struct http_request *r = http_request(x);
    struct http_slice path = r->target;
    const char *query = memchr(path.p, '?', path.n);
    bool get = r->method == HTTP_GET || r->method == HTTP_HEAD;
    if (query)
        path.n = (size_t)(query - path.p);
    if (get && is(path, "/healthz")) {
        plain(t, x, 200, "ok\n");
    } else if (get && is(path, "/readyz")) {
        readyz(t, x);
    } else if (is(path, "/metrics") || (path.n >= 5 && memcmp(path.p, "/api/", 5) == 0)) {
        api(t, x, path);
    } else {
        tracker_count(t, ROUTE_OTHER, 404);
        http_reply_oci_status(x, 404, OCI_NAME_UNKNOWN,
                              "nothing here: registry clients use /v2/, operators /api/v1/status",
                              NULL);
    }
}
