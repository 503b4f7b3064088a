/* pull.c - requests under /v2/: who asks for what, and passing on what only the registry can
 * answer.
 *
 * Only what is named by digest is ever answered from here. /v2/, tags, tag lists and referrers go
 * to the registry with the user's own Authorization, and its answer returns. */
#include "node/pull.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "node/pull_document.h"
#include "proto/limits.h"
#include "runtime/accept.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/sockaddr.h"

const char *source_name(enum source s)
{
    static const char *const names[] = {"store", "peer", "origin", "stream"};
    return names[s];
}

/* --- answers --------------------------------------------------------------------------------- */

void pull_reply(struct pull *p, int status, struct body *body, u64 length)
{
    node_count(p->node, p->kind, status);
    if (status < 400)
        histogram_observe(p->node->first_byte, (double)(uv_hrtime() - p->started_ns) / 1e9);
    http_reply(p->x, status, body, length);
}

void pull_error(struct pull *p, enum oci_code code, const char *message, const char *detail)
{
    node_count(p->node, p->kind, oci_code_status(code));
    http_reply_oci(p->x, code, message, detail);
}

void pull_unavailable(struct pull *p, const char *why)
{
    static const char at_node[] = "this node cannot serve the layer now: pull again";
    char detail[300];
    if (p->ticket)
        snprintf(detail, sizeof(detail), "%.280s", why);
    else
        snprintf(detail, sizeof(detail), "%s: %s", upstream_name(p->up), why);
    http_add(p->x, "Retry-After", "5");
    pull_error(p, OCI_UNAVAILABLE, p->ticket ? at_node : NULL, detail);
}

void pull_bad_gateway(struct pull *p, const char *why)
{
    char detail[300];
    if (p->ticket) {
        pull_unavailable(p, why);
        return;
    }
    snprintf(detail, sizeof(detail), "%s: %s", upstream_name(p->up), why);
    log_with(LOG_WARN, "registry's answer cannot be passed on",
             LOG_STR("upstream", upstream_name(p->up)), LOG_STR("repository", p->route.name),
             LOG_STR("why", why));
    node_count(p->node, p->kind, 502);
    http_reply_oci_status(p->x, 502, OCI_UNKNOWN, "the registry's answer cannot be passed on",
                          detail);
}

void pull_add_source(struct pull *p, enum source source)
{
    p->source = source;
    http_add(p->x, "X-Dray-Source", "%s", source_name(source));
    http_add(p->x, "X-Dray-Node", "%s", p->node->config->name);
}

void pull_wake(void *arg)
{
    http_wake(arg);
}

/* --- relaying -------------------------------------------------------------------------------- */

static bool relayed(const char *name)
{
    static const char *const names[] = {
        "Content-Type",  "WWW-Authenticate", "Docker-Distribution-Api-Version",
        "ETag",          "Retry-After",      "Docker-Content-Digest",
        "Last-Modified", "Warning",          "Docker-RateLimit-Source",
    };
    for (size_t i = 0; i < countof(names); i++)
        if (strcasecmp(name, names[i]) == 0)
            return true;
    return strncasecmp(name, "OCI-", 4) == 0 || strncasecmp(name, "RateLimit-", 10) == 0;
}

/* A Link to the next page names the registry's own address, and not our `ns`: both are put right.
 * Links elsewhere are dropped. */
static void relay_link(struct pull *p, const char *value)
{
    const char *open = strchr(value, '<'), *shut = strchr(value, '>');
    const char *base = upstream_url(p->up);
    if (!open || !shut || shut < open)
        return;
    const char *target = open + 1;
    size_t n = strlen(base);
    if ((size_t)(shut - target) > n && strncmp(target, base, n) == 0)
        target += n;
    if (*target != '/' || target[1] == '/')
        return;
    int len = (int)(shut - target);
    if (p->route.ns[0])
        http_add(p->x, "Link", "<%.*s%cns=%s>%s", len, target,
                 memchr(target, '?', (size_t)len) ? '&' : '?', p->route.ns, shut + 1);
    else
        http_add(p->x, "Link", "<%.*s>%s", len, target, shut + 1);
}

void pull_relay(struct pull *p, const struct answer *a)
{
    for (size_t i = 0; i < a->n_fields; i++) {
        if (strcasecmp(a->fields[i].name, "Link") == 0)
            relay_link(p, a->fields[i].value);
        else if (relayed(a->fields[i].name))
            http_add(p->x, a->fields[i].name, "%s", a->fields[i].value);
    }
    if (a->status < 400)
        pull_add_source(p, SOURCE_STREAM);
    if (p->head) {
        pull_reply(p, a->status, NULL, a->content_length);
        return;
    }
    pull_reply(p, a->status, a->len ? body_copy(a->body, a->len) : NULL, a->len);
}

bool pull_forward(struct pull *p, const char *method, void (*cb)(void *arg, const struct answer *a))
{
    char path[OCI_NAME_MAX + DIGEST_TEXT_SIZE + OCI_QUERY_MAX + 64], digest[DIGEST_TEXT_SIZE];
    const struct oci_route *r = &p->route;
    const char *mark = r->query[0] ? "?" : "";
    if (r->digest.alg)
        digest_format(&r->digest, digest);
    switch (r->kind) {
    case OCI_ROUTE_MANIFEST:
        snprintf(path, sizeof(path), "/v2/%s/manifests/%s%s%s", r->name,
                 r->tag[0] ? r->tag : digest, mark, r->query);
        break;
    case OCI_ROUTE_TAGS:
        snprintf(path, sizeof(path), "/v2/%s/tags/list%s%s", r->name, mark, r->query);
        break;
    case OCI_ROUTE_REFERRERS:
        snprintf(path, sizeof(path), "/v2/%s/referrers/%s%s%s", r->name, digest, mark, r->query);
        break;
    case OCI_ROUTE_NONE:
    case OCI_ROUTE_PING:
    case OCI_ROUTE_BLOB:
    case OCI_ROUTE_UPLOAD:
    case OCI_ROUTE_CATALOG: snprintf(path, sizeof(path), "/v2/");
    }
    struct upstream_request request = {
        .method = method,
        .path = path,
        .repository = r->name[0] ? r->name : NULL,
        .authorization = p->authorization,
        .follow = true,
        .fields = (const char *const *)p->fields,
        .n_fields = p->n_fields,
        .head_timeout_ms = p->remembered ? PULL_PATIENCE_MS : 0,
    };
    size_t max = r->kind == OCI_ROUTE_MANIFEST ? LIMIT_MANIFEST_BYTES : LIMIT_RELAY_BYTES;
    int rc = upstream_ask(p->up, &request, max, false, cb, p, &p->ask);
    if (rc)
        pull_unavailable(p, err_text(rc));
    return rc == 0;
}

static void on_relay(void *arg, const struct answer *a)
{
    struct pull *p = arg;
    p->ask = NULL;
    if (answer_is_away(a))
        pull_unavailable(p, answer_away_text(a));
    else if (a->err)
        pull_bad_gateway(p, a->why);
    else
        pull_relay(p, a);
}

/* --- /v2/
 * --------------------------------------------------------------------------------------------------
 */

static void ping_key(const struct pull *p, u8 key[16])
{
    crypto_generichash_state st;
    crypto_generichash_init(&st, p->node->memo_key, sizeof(p->node->memo_key), 16);
    crypto_generichash_update(&st, (const u8 *)"ping", 5);
    crypto_generichash_update(&st, p->user.id, sizeof(p->user.id));
    const char *name = upstream_name(p->up);
    crypto_generichash_update(&st, (const u8 *)name, strlen(name) + 1);
    crypto_generichash_final(&st, key, 16);
}

/* What it answered lately to the same credentials, while authz.grace lasts. */
static const struct saying *ping_saying(struct pull *p)
{
    u8 key[16];
    const struct node_config *c = p->node->config;
    ping_key(p, key);
    const struct saying *s = c->authz.grace_ms ? memo_recall(p->node->memo, key) : NULL;
    if (!s || wall_ms() >= s->at_ms + c->authz.ttl_ms + c->authz.grace_ms ||
        wall_ms() >= p->user.expires_ms)
        return NULL;
    return s;
}

static bool ping_from_memory(struct pull *p)
{
    const struct saying *s = ping_saying(p);
    if (!s)
        return false;
    *p->node->authz_count[AUTHZ_COUNT_GRACE] += 1;
    http_add(p->x, "Docker-Distribution-Api-Version", "registry/2.0");
    if (s->status == 200) {
        static const char empty[] = "{}";
        http_add(p->x, "Content-Type", "application/json");
        pull_reply(p, 200, body_copy(empty, 2), 2);
    } else {
        http_add(p->x, "WWW-Authenticate", "%s", s->challenge);
        pull_error(p, OCI_UNAUTHORIZED, NULL, NULL);
    }
    return true;
}

static void on_ping(void *arg, const struct answer *a)
{
    struct pull *p = arg;
    p->ask = NULL;
    const char *challenge = answer_field(a, "WWW-Authenticate");
    if (answer_is_away(a)) {
        if (!ping_from_memory(p))
            pull_unavailable(p, answer_away_text(a));
        return;
    }
    if (a->err) {
        pull_bad_gateway(p, a->why);
        return;
    }
    bool worth = a->status == 200 || (a->status == 401 && challenge &&
                                      strlen(challenge) < sizeof(((struct saying *)0)->challenge));
    if (worth && p->node->config->authz.grace_ms) {
        u8 key[16];
        ping_key(p, key);
        struct saying *s = memo_note(p->node->memo, key, wall_ms());
        if (s) {
            s->status = a->status;
            snprintf(s->challenge, sizeof(s->challenge), "%s", challenge ? challenge : "");
        }
    }
    pull_relay(p, a);
}

/* --- permission ------------------------------------------------------------------------------ */

void pull_grant(struct pull *p, const struct digest *d)
{
    u64 now = wall_ms();
    authz_grant_right(p->node->authz, &p->user, upstream_name(p->up), p->route.name, now);
    if (d)
        authz_note_member(p->node->authz, upstream_name(p->up), p->route.name, d, now);
}

enum authz_answer pull_check(struct pull *p)
{
    return authz_check(p->node->authz, &p->user, upstream_name(p->up), p->route.name,
                       &p->route.digest, wall_ms());
}

/* --- a pull
 * ------------------------------------------------------------------------------------------------
 */

/* One line per layer served: the centre no longer sees it. */
static void audit(const struct pull *p, const struct http_ended *e)
{
    char digest[DIGEST_TEXT_SIZE], user[2 * TICKET_USER_BYTES + 1], peer[64];
    const struct http_request *r = http_request(p->x);
    const char *outcome = e->complete ? "done" : e->body_bytes ? "cut short" : "nothing sent";
    digest_format(&p->route.digest, digest);
    if (p->ticket)
        sodium_bin2hex(user, sizeof(user), p->ticket->user, sizeof(p->ticket->user));
    else
        authz_user_label(p->node->label_key, p->authorization,
                         p->authorization ? strlen(p->authorization) : 0, user);
    http_peer_text(r, peer);
    log_with(LOG_AUDIT, "layer served", LOG_STR("user", user), LOG_STR("client", peer),
             LOG_STR("upstream", p->ticket ? p->ticket->upstream : upstream_name(p->up)),
             LOG_STR("repository", p->route.name), LOG_STR("digest", digest),
             LOG_NUM("bytes", e->body_bytes), LOG_NUM("of", p->expected),
             LOG_STR("source", source_name(p->source)), LOG_STR("outcome", outcome),
             LOG_NUM("ms", (uv_hrtime() - p->started_ns) / 1000000));
}

/* How far this client is, for the trackers. */
static void note_rtt(const struct pull *p)
{
    struct addr client;
    const struct http_request *r = http_request(p->x);
    u32 us = http_rtt_us(p->x);
    if (us && !r->local && sockaddr_read(r->peer, &client) == 0)
        outcomes_note_rtt(p->node->outcomes, &client, us);
}

static void on_ended(void *arg, const struct http_ended *e)
{
    struct pull *p = arg;
    p->node->served[p->source] += e->body_bytes;
    if (p->layer) {
        p->node->layers[p->source] += e->body_bytes;
        p->node->layers_now--;
        audit(p, e);
        note_rtt(p);
    }
    if (p->ticket)
        pull_ticket_ended(p, e);
    if (p->ask)
        upstream_ask_cancel(p->ask);
    question_leave(&p->question);
    fill_leave(&p->fill);
    pull_promise_over(p);
    for (size_t i = 0; i < p->n_fields; i++)
        free(p->fields[i]);
    if (p->authorization) {
        sodium_memzero(p->authorization, strlen(p->authorization));
        free(p->authorization);
    }
    if (p->ticket_text)
        sodium_memzero(p->ticket_text, strlen(p->ticket_text));
    free(p->ticket_text);
    free(p->ticket);
    free(p);
}

/* Every Accept line, as sent and in order: a registry converts manifests for who seems not to know
 * them. */
static int keep_fields(struct pull *p, const struct http_request *r)
{
    accept_sum(r, p->accept_hash);
    for (size_t i = 0; i < r->n_fields; i++) {
        const struct http_field *f = &r->fields[i];
        if (f->name.n != 6 || strncasecmp(f->name.p, "Accept", 6) != 0)
            continue;
        if (p->n_fields == PULL_FIELDS_MAX)
            return ERR_TOOBIG;
        size_t cap = f->value.n + sizeof("Accept: ");
        char *line = malloc(cap);
        if (!line)
            return ERR_NOMEM;
        snprintf(line, cap, "Accept: %.*s", (int)f->value.n, f->value.p);
        p->fields[p->n_fields++] = line;
    }
    const struct http_slice *auth = http_field(r, "Authorization");
    if (auth && auth->n > 0) {
        p->authorization = strndup(auth->p, auth->n);
        if (!p->authorization)
            return ERR_NOMEM;
    }
    return 0;
}

static void dispatch(struct pull *p)
{
    switch (p->route.kind) {
    case OCI_ROUTE_PING:
        p->kind = ROUTE_PING;
        if (upstream_is_away(p->up) && ping_from_memory(p))
            return;
        p->remembered = ping_saying(p) != NULL;
        (void)pull_forward(p, p->head ? "HEAD" : "GET", on_ping);
        return;
    case OCI_ROUTE_BLOB:
        p->kind = ROUTE_BLOB;
        pull_blob(p);
        return;
    case OCI_ROUTE_MANIFEST:
        p->kind = ROUTE_MANIFEST;
        pull_manifest(p);
        return;
    case OCI_ROUTE_TAGS:
    case OCI_ROUTE_REFERRERS:
        p->kind = ROUTE_RELAY;
        (void)pull_forward(p, p->head ? "HEAD" : "GET", on_relay);
        return;
    case OCI_ROUTE_UPLOAD:
    case OCI_ROUTE_CATALOG:
    case OCI_ROUTE_NONE:
        pull_error(p, OCI_UNSUPPORTED, "a cache node only serves pulls",
                   "push to the registry itself");
    }
}

static void refuse(struct node *n, struct http_exchange *x, enum oci_code code, const char *message,
                   const char *detail)
{
    node_count(n, ROUTE_OTHER, oci_code_status(code));
    http_reply_oci(x, code, message, detail);
}

static struct pull *pull_new(struct node *n, struct http_exchange *x, const struct oci_route *route,
                             struct upstream *up)
{
    struct pull *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->node = n;
    p->x = x;
    p->route = *route;
    p->head = http_request(x)->method == HTTP_HEAD;
    p->up = up;
    p->own = upstream_has_credentials(up);
    p->size = UINT64_MAX;
    p->started_ns = uv_hrtime();
    p->source = SOURCE_STREAM;
    return p;
}

void pull_begin(struct node *n, struct http_exchange *x)
{
    const struct http_request *r = http_request(x);
    enum oci_code code = OCI_NAME_INVALID;
    struct oci_route route;
    if (r->method != HTTP_GET && r->method != HTTP_HEAD) {
        http_add(x, "Allow", "GET, HEAD");
        refuse(n, x, OCI_UNSUPPORTED, "a cache node only serves pulls",
               "push to the registry itself");
        return;
    }
    int rc = oci_route_parse(&route, r->target.p, r->target.n, &code);
    if (rc) {
        refuse(n, x, rc == ERR_NOTFOUND ? OCI_NAME_UNKNOWN : code, NULL, NULL);
        return;
    }
    /* With a ticket, whatever else the client says is of no account: its ns, its Authorization. */
    struct http_slice ticket;
    bool by_ticket = route.kind == OCI_ROUTE_BLOB && tickets_are_taken(n->tickets) && n->region &&
                     tickets_find(route.query, &ticket);
    struct upstream *up = by_ticket ? n->upstreams[0] : node_upstream(n, route.ns);
    if (!up) {
        refuse(n, x, OCI_NAME_UNKNOWN, "no upstream of that name is configured here", route.ns);
        return;
    }
    if (document_serve_hot(n, x, &route, up))
        return;
    struct pull *p = pull_new(n, x, &route, up);
    if (!p) {
        refuse(n, x, OCI_UNAVAILABLE, "out of memory", NULL);
        return;
    }
    http_on_end(x, on_ended, p);
    if (by_ticket) {
        pull_ticket(p, ticket);
        return;
    }
    rc = keep_fields(p, r);
    if (rc) {
        pull_error(p, OCI_UNSUPPORTED, "too many Accept lines", NULL);
        return;
    }
    authz_user(n->authz, p->authorization, p->authorization ? strlen(p->authorization) : 0,
               &p->user);
    dispatch(p);
}
