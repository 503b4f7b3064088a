/* peer.c - see peer.h.
 *
 * A read through is one exchange and one call to the registry: with the Authorization that is kept
 * in memory, the Range passed on, redirects followed by the rules of hygiene.h. Its end is the end
 * of both. */
#include "tracker/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proto/limits.h"
#include "proto/outcome.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "tracker/front.h"

static const char origin[] = "/mesh/v1/origin/";

static bool begins(struct http_slice t, const char *with)
{
    size_t n = strlen(with);
    return t.n >= n && memcmp(t.p, with, n) == 0;
}

bool peer_takes(struct http_slice target)
{
    return begins(target, origin) || begins(target, OUTCOME_PATH);
}

static void refuse(struct tracker *t, struct http_exchange *x, int status, enum oci_code code,
                   const char *message)
{
    tracker_count(t, ROUTE_PEER, status);
    http_reply_oci_status(x, status, code, message, NULL);
}

/* --- outcomes -------------------------------------------------------------------------------- */

static void outcomes(struct tracker *t, struct http_exchange *x)
{
    const struct http_request *q = http_request(x);
    static struct outcome_report report; /* one thread: too large for a stack */
    struct node_key from;
    size_t region;
    if (q->method != HTTP_POST) {
        refuse(t, x, 405, OCI_UNSUPPORTED, "use POST");
        return;
    }
    if (regions_check_peer(t->regions, q, "POST", &region, &from)) {
        refuse(t, x, 403, OCI_DENIED, "not a peer of a region");
        return;
    }
    if (outcome_unpack(&report, q->body.p, q->body.n)) {
        refuse(t, x, 400, OCI_UNSUPPORTED, "not understood");
        return;
    }
    u64 now = uv_now(t->loop);
    pulse_heard(probes_pulse(t->probes), &from, uv_now(t->loop));
    for (size_t i = 0; i < report.n; i++)
        strikes_told(t->strikes, &from, &report.outcomes[i], now);
    for (size_t i = 0; i < report.n_rtts; i++)
        rtts_told(t->rtts, &report.rtts[i].prefix, &from, report.rtts[i].rtt_us, now);
    overview_told(t->overview, &from, region, &report, wall_ms());
    tracker_count(t, ROUTE_PEER, 204);
    http_reply(x, 204, NULL, 0);
}

/* --- reading through ------------------------------------------------------------------------- */

struct through {
    struct body body;
    struct tracker *t;
    struct http_exchange *x;
    struct upstream_call *call; /* NULL: ended */
    u8 *buffer;
    size_t at, len;
    int err;
    bool replied, ended, paused;
};

static ssize_t body_peek(struct body *b, const void **data, size_t max)
{
    struct through *r = container_of(b, struct through, body);
    if (r->len == 0)
        return r->err ? r->err : r->ended ? 0 : ERR_AGAIN;
    *data = r->buffer + r->at;
    return (ssize_t)(r->len < max ? r->len : max);
}

static void body_advance(struct body *b, size_t n)
{
    struct through *r = container_of(b, struct through, body);
    r->at += n;
    r->len -= n;
    r->t->through_bytes += n;
    if (r->len == 0)
        r->at = 0;
    if (r->paused && r->len <= FRONT_BUFFER / 2 && r->call) {
        r->paused = false;
        upstream_call_resume(r->call);
    }
}

static void body_close(struct body *b)
{
    (void)b; /* it goes with the exchange */
}

static const struct body_ops body_ops = {
    .peek = body_peek, .advance = body_advance, .close = body_close};

static void on_head(void *arg, const struct http_response *a, bool redirected)
{
    struct through *r = arg;
    static const char *const told[] = {"Content-Type", "Content-Range", "Retry-After",
                                       "Docker-Content-Digest", "WWW-Authenticate"};
    (void)redirected;
    for (size_t i = 0; i < countof(told); i++) {
        const char *value = http_response_field(a, told[i]);
        if (value)
            http_add(r->x, told[i], "%s", value);
    }
    r->replied = true;
    tracker_count(r->t, ROUTE_PEER, a->status);
    if (a->status >= 300) { /* its words are for nobody; and some registries' are not all sent */
        upstream_call_cancel(r->call);
        r->call = NULL;
        r->ended = true;
        http_reply(r->x, a->status, NULL, 0);
        return;
    }
    http_reply(r->x, a->status, &r->body,
               a->content_length == UINT64_MAX ? HTTP_LENGTH_UNKNOWN : a->content_length);
}

static enum http_data_verdict on_data(void *arg, const void *data, size_t len)
{
    struct through *r = arg;
    if (r->at > 0 && r->at + r->len + len > FRONT_BUFFER) {
        memmove(r->buffer, r->buffer + r->at, r->len);
        r->at = 0;
    }
    if (r->len + len > FRONT_BUFFER) {
        r->paused = true;
        return HTTP_DATA_PAUSE;
    }
    memcpy(r->buffer + r->at + r->len, data, len);
    r->len += len;
    http_wake(r->x);
    return HTTP_DATA_TAKEN;
}

static void on_call_end(void *arg, int err, const char *why)
{
    struct through *r = arg;
    r->call = NULL;
    r->ended = true;
    r->err = err;
    if (r->replied) {
        http_wake(r->x);
        return;
    }
    r->replied = true;
    log_with(LOG_WARN, "a layer cannot be read through for a node", LOG_STR("why", why));
    refuse(r->t, r->x, 502, OCI_UNAVAILABLE, "the central registry does not answer");
}

static void on_ended(void *arg, const struct http_ended *e)
{
    struct through *r = arg;
    (void)e;
    if (r->call)
        upstream_call_cancel(r->call);
    free(r->buffer);
    free(r);
}

static void read_through(struct tracker *t, struct http_exchange *x, const struct oci_route *oci,
                         const char *authorization)
{
    const struct http_slice *range = http_field(http_request(x), "Range");
    struct through *r = calloc(1, sizeof(*r));
    char digest[DIGEST_TEXT_SIZE], path[OCI_NAME_MAX + DIGEST_TEXT_SIZE + 32], part[128];
    if (!r || !(r->buffer = malloc(FRONT_BUFFER))) {
        free(r);
        refuse(t, x, 503, OCI_UNAVAILABLE, "out of memory");
        return;
    }
    r->body.ops = &body_ops;
    r->t = t;
    r->x = x;
    digest_format(&oci->digest, digest);
    snprintf(path, sizeof(path), "/v2/%s/blobs/%s", oci->name, digest);
    snprintf(part, sizeof(part), "%.*s", range ? (int)range->n : 0, range ? range->p : "");
    struct upstream_request q = {
        .method = "GET",
        .path = path,
        .repository = oci->name,
        .authorization = authorization[0] ? authorization : NULL,
        .follow = true,
        .range = part[0] ? part : NULL,
    };
    struct upstream_events on = {.head = on_head, .data = on_data, .end = on_call_end};
    http_on_end(x, on_ended, r);
    if (upstream_call(t->registry, &q, &on, r, &r->call)) {
        r->replied = true;
        refuse(t, x, 503, OCI_UNAVAILABLE, "out of memory");
    }
}

/* The route and ticket of a target; false: malformed. */
static bool read_target(struct http_slice t, struct oci_route *oci, const char **ticket,
                        size_t *ticket_n)
{
    static const char key[] = "ticket=";
    char path[LIMIT_HTTP_TARGET_BYTES + 8];
    enum oci_code code;
    const char *query = memchr(t.p, '?', t.n);
    size_t skip = sizeof(origin) - 1, end = query ? (size_t)(query - t.p) : t.n;
    if (!query || t.n - end - 1 < sizeof(key) || memcmp(query + 1, key, sizeof(key) - 1) != 0)
        return false;
    *ticket = query + sizeof(key);
    *ticket_n = t.n - end - sizeof(key);
    int n = snprintf(path, sizeof(path), "/v2/%.*s", (int)(end - skip), t.p + skip);
    return n > 0 && n < (int)sizeof(path) && oci_route_parse(oci, path, (size_t)n, &code) == 0 &&
           oci->kind == OCI_ROUTE_BLOB;
}

static void origin_begin(struct tracker *t, struct http_exchange *x)
{
    const struct http_request *q = http_request(x);
    struct oci_route oci;
    struct node_key from;
    struct ticket ticket;
    const char *text;
    size_t region, n;
    if (q->method != HTTP_GET || !read_target(q->target, &oci, &text, &n)) {
        refuse(t, x, 400, OCI_UNSUPPORTED, "not understood");
        return;
    }
    if (regions_check_peer(t->regions, q, "GET", &region, &from)) {
        refuse(t, x, 403, OCI_DENIED, "not a peer of a region");
        return;
    }
    struct ticket_wanted wanted = {
        .node = &from, .repository = oci.name, .digest = &oci.digest, .now_s = wall_ms() / 1000};
    enum ticket_verdict v = grants_check(t->grants, text, n, &wanted, &ticket);
    if (v != TICKET_VALID) {
        refuse(t, x, 403, OCI_DENIED, ticket_verdict_text(v));
        return;
    }
    const char *authorization =
        grants_authorization(t->grants, ticket.user, oci.name, uv_now(t->loop));
    if (!authorization) {
        refuse(t, x, 403, OCI_DENIED, "this user's login is not kept any more: pull again");
        return;
    }
    read_through(t, x, &oci, authorization);
}

void peer_begin(struct tracker *t, struct http_exchange *x)
{
    const struct http_request *q = http_request(x);
    if (!q->tls && !t->config->peer_plain && t->tls)
        refuse(t, x, 403, OCI_DENIED, "peers speak TLS here");
    else if (begins(q->target, origin))
        origin_begin(t, x);
    else
        outcomes(t, x);
}
