/* front.c - see front.h.
 *
 * A passage is one exchange of ours and one transfer to the registry. It lives until both have
 * ended: the exchange's end cancels the transfer, unless its answer is being kept; the transfer's
 * end leaves the answer's body to be sent. The body outlives neither: it is closed just before the
 * exchange ends. */
#include "tracker/front.h"

#include "tracker/away.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FIELDS_MAX       (LIMIT_HTTP_HEADERS + 8)
#define HEAD_TIMEOUT_MS  300000 /* a registry may check a large layer before it answers a push */
#define ALONE_MAX        64     /* answers that are heard to their end without a client */
#define READ_TIMEOUT_MS  60000  /* for what it only has to look up */
#define STALL_TIMEOUT_MS 60000
#define KEPT_TIMEOUT_MS  120000 /* for what is heard as a whole; one that drips ends, too */
#define UPLOADS_RETRY_S  "5"    /* when there are too many */

struct passage {
    struct body body; /* given to the connection with the head */
    struct tracker *t;
    struct http_exchange *x; /* NULL: ended */
    struct http_transfer *transfer;
    struct rewrite_seen seen;
    enum route route;
    struct front_wish wish;
    struct oci_route oci;
    char *authorization; /* kept for `learn` */
    u64 generation;      /* of what is remembered, when the registry was asked */
    struct away_asked away;
    struct answer answer;
    u64 collected_bytes; /* of it */
    bool collecting, replied, ended, paused, uploads;
    /* What is collected and small goes out as a whole: some clients leave once they have the head,
     * and the passage ends with them. */
    bool late;
    int late_status;
    u64 late_length;
    int err;                      /* why the answer's body is cut */
    struct passage *next, **link; /* among t->alone, when its client has left */
    u8 *buffer;
    size_t at, len; /* what stands in it */
};

static const char *method_name(enum http_method m)
{
    static const char *const names[] = {
        [HTTP_GET] = "GET",        [HTTP_HEAD] = "HEAD",   [HTTP_POST] = "POST",
        [HTTP_PUT] = "PUT",        [HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE",
        [HTTP_OPTIONS] = "OPTIONS"};
    return names[m];
}

bool front_streams(void *ctx, const struct http_request *r)
{
    (void)ctx;
    return r->target.n >= 4 && memcmp(r->target.p, "/v2/", 4) == 0;
}

/* --- the answer's body ----------------------------------------------------------------------- */

static ssize_t body_peek(struct body *b, const void **data, size_t max)
{
    struct passage *p = container_of(b, struct passage, body);
    if (p->len == 0)
        return p->err ? p->err : p->ended ? 0 : ERR_AGAIN;
    *data = p->buffer + p->at;
    return (ssize_t)(p->len < max ? p->len : max);
}

static void body_advance(struct body *b, size_t n)
{
    struct passage *p = container_of(b, struct passage, body);
    p->at += n;
    p->len -= n;
    p->t->streamed_bytes += n;
    if (p->len == 0)
        p->at = 0;
    if (p->paused && p->len <= FRONT_BUFFER / 2 && p->transfer) {
        p->paused = false;
        http_transfer_resume(p->transfer);
    }
}

static void body_close(struct body *b)
{
    (void)b; /* the passage goes with the exchange */
}

static const struct body_ops body_ops = {
    .peek = body_peek, .advance = body_advance, .close = body_close};

/* --- the answer's head ----------------------------------------------------------------------- */

/* The one field, as the client should see it. */
static const char *seen_value(struct passage *p, const char *name, const char *value,
                              char out[REWRITE_MAX])
{
    const char *own = p->t->config->registry.url, *base = p->seen.base;
    char path[REWRITE_MAX];
    if (strcasecmp(name, "Location") == 0 && rewrite_url(value, own, base, out))
        return out;
    if (strcasecmp(name, "Link") == 0 && rewrite_link(value, own, base, out))
        return out;
    if (strcasecmp(name, "WWW-Authenticate") != 0)
        return value;
    bool ours = rewrite_realm(value, own, base, out, path);
    if (ours && strlen(path) < sizeof(p->t->realm))
        memcpy(p->t->realm, path, strlen(path) + 1);
    return ours ? out : value;
}

/* ERR_TOOBIG: more fields than an answer of ours may have. */
static int add_fields(struct passage *p, const struct http_response_field *f, size_t n)
{
    const char *connection = NULL;
    char text[REWRITE_MAX];
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(f[i].name, "Connection") == 0)
            connection = f[i].value;
    for (size_t i = 0; i < n; i++) {
        if (rewrite_drops_answer(f[i].name, connection))
            continue;
        const char *value = seen_value(p, f[i].name, f[i].value, text);
        if (http_add_n(p->x, (struct http_slice){f[i].name, strlen(f[i].name)},
                       (struct http_slice){value, strlen(value)}) == ERR_TOOBIG)
            return ERR_TOOBIG;
    }
    return 0;
}

static void refuse(struct passage *p, int status, enum oci_code code, const char *message,
                   const char *detail)
{
    p->replied = true;
    tracker_count(p->t, p->route, status);
    http_reply_oci_status(p->x, status, code, message, detail);
}

/* What was said lately, in the registry's place. False: nothing was. */
static bool say_again(struct tracker *t, struct http_exchange *x, enum route route,
                      const struct away_asked *q)
{
    const struct answer *a = away_answer(t, q);
    if (!a)
        return false;
    *metrics_counter(t->metrics, "dray_authz_total", "result=\"grace\"",
                     "Requests by who decided about them.") += 1;
    front_relay(t, x, route, a);
    return true;
}

/* How the registry did, as far as reading from it tells. */
static void tell(const struct passage *p, bool up, const char *why)
{
    enum http_method m = http_request(p->x)->method;
    bool elsewhere = p->wish.direct && p->t->config->direct_url;
    if (!elsewhere && (m == HTTP_GET || m == HTTP_HEAD))
        upstream_told(p->t->registry, up, why);
}

/* A server error counts as being away. True: the answer of this passage was another. */
static bool say_instead(struct passage *p, const char *why)
{
    tell(p, false, why);
    if (!say_again(p->t, p->x, p->route, &p->away))
        return false;
    p->replied = true;
    p->collecting = false;
    return true;
}

/* A part of an answer that is kept whole. False: it is too large, or they are together. */
static bool collect(struct passage *p, const void *data, size_t len)
{
    if (len > FRONT_COLLECTED - p->t->collected_bytes ||
        answer_data(&p->answer, data, len, LIMIT_MANIFEST_BYTES))
        return false;
    p->t->collected_bytes += len;
    p->collected_bytes += len;
    return true;
}

static void collect_no_more(struct passage *p)
{
    p->collecting = false;
    p->t->collected_bytes -= p->collected_bytes;
    p->collected_bytes = 0;
    answer_fini(&p->answer);
}

/* The answer is here as a whole. That is known with its last byte: the client may have it, and
 * leave, before the transfer's end is told. */
static void collected(struct passage *p)
{
    if (!p->collecting)
        return;
    bool counts =
        p->generation == authz_generation(p->t->authz); /* else one was revoked meanwhile */
    if (counts && p->answer.status == 200 && p->wish.learn)
        p->wish.learn(p->t, &p->oci, p->authorization, &p->seen.address, &p->answer);
    if (counts && away_wants(&p->away, p->answer.status))
        away_take(p->t, &p->away, &p->oci, &p->answer);
    collect_no_more(p);
}

static void on_head(void *arg, const struct http_response *r)
{
    struct passage *p = arg;
    if (r->status >= 500 && away_answer(p->t, &p->away)) {
        struct http_transfer *t = p->transfer;
        p->transfer = NULL;
        http_transfer_cancel(t);
        if (!say_instead(p, "it answers with a server error"))
            refuse(p, 503, OCI_UNAVAILABLE, "the central registry does not answer", NULL);
        return;
    }
    if (add_fields(p, r->fields, r->n_fields)) {
        struct http_transfer *t = p->transfer;
        p->transfer = NULL;
        http_transfer_cancel(t);
        refuse(p, 502, OCI_UNKNOWN, "the registry's answer has more fields than are passed on",
               NULL);
        return;
    }
    bool learn = p->wish.learn && r->status == 200;
    p->collecting =
        (learn || away_wants(&p->away, r->status)) && answer_head(&p->answer, r, false) == 0;
    tell(p, r->status < 500, r->status < 500 ? "" : "it answers with a server error");
    p->replied = true;
    p->t->pinged = true;
    tracker_count(p->t, p->route, r->status);
    u64 length = r->content_length == UINT64_MAX ? HTTP_LENGTH_UNKNOWN : r->content_length;
    if (http_request(p->x)->method == HTTP_HEAD || length == 0)
        collected(p);
    p->late = p->collecting && length <= FRONT_BUFFER / 2;
    p->late_status = r->status;
    p->late_length = length;
    if (!p->late)
        http_reply(p->x, r->status, &p->body, length);
}

/* The client is to look again; the passage may be gone afterwards. */
static void wake(struct passage *p)
{
    bool late = p->late;
    p->late = false;
    if (late)
        http_reply(p->x, p->late_status, &p->body, p->late_length);
    else
        http_wake(p->x);
}

static void passage_free(struct passage *p);

/* The client has left. */
static enum http_data_verdict on_data_alone(struct passage *p, const void *data, size_t len)
{
    if (p->collecting && collect(p, data, len) && p->answer.len != p->answer.content_length)
        return HTTP_DATA_TAKEN;
    if (p->answer.len == p->answer.content_length)
        collected(p);
    http_transfer_cancel(p->transfer);
    passage_free(p);
    return HTTP_DATA_TAKEN;
}

static enum http_data_verdict on_data(void *arg, const void *data, size_t len)
{
    struct passage *p = arg;
    if (!p->x)
        return on_data_alone(p, data, len);
    if (!p->buffer && !(p->buffer = malloc(FRONT_BUFFER))) {
        p->err = ERR_NOMEM;
        p->paused = true;
        wake(p);
        return HTTP_DATA_PAUSE;
    }
    if (p->at > 0 && p->at + p->len + len > FRONT_BUFFER) {
        memmove(p->buffer, p->buffer + p->at, p->len);
        p->at = 0;
    }
    if (p->len + len > FRONT_BUFFER) {
        p->paused = true;
        return HTTP_DATA_PAUSE;
    }
    memcpy(p->buffer + p->at + p->len, data, len);
    p->len += len;
    if (p->collecting && !collect(p, data, len))
        collect_no_more(p);
    if (p->collecting && p->answer.len == p->answer.content_length)
        collected(p);
    if (!p->late || !p->collecting)
        wake(p);
    return HTTP_DATA_TAKEN;
}

static void on_end(void *arg, int err, const char *why)
{
    struct passage *p = arg;
    p->transfer = NULL;
    p->ended = true;
    p->err = err;
    if (!p->x) {
        if (err == 0)
            collected(p);
        passage_free(p);
        return;
    }
    if (!p->replied) {
        if (!say_instead(p, why))
            front_unavailable(p->t, p->x, p->route, why);
        p->replied = true;
        return;
    }
    if (err == 0)
        collected(p);
    wake(p);
}

/* --- the request ----------------------------------------------------------------------------- */

static ssize_t on_upload(void *arg, void *buf, size_t max)
{
    struct passage *p = arg;
    if (p->replied || !p->x)
        return ERR_EOF;
    ssize_t n = http_upload_read(p->x, buf, max);
    if (n > 0)
        p->t->uploaded_bytes += (u64)n;
    return n;
}

static void on_came(void *arg)
{
    struct passage *p = arg;
    if (p->transfer)
        http_transfer_feed(p->transfer);
}

struct lines {
    char *line[FIELDS_MAX];
    size_t n;
};

static bool add_line(struct lines *l, const char *name, size_t name_n, const char *value,
                     size_t value_n)
{
    size_t cap = name_n + value_n + 3;
    if (l->n == FIELDS_MAX || !(l->line[l->n] = malloc(cap)))
        return false;
    snprintf(l->line[l->n++], cap, "%.*s: %.*s", (int)name_n, name, (int)value_n, value);
    return true;
}

static bool add_text(struct lines *l, const char *name, const char *value)
{
    return add_line(l, name, strlen(name), value, strlen(value));
}

/* What the client sent, in its order and as often, and who it truly is. */
static bool make_lines(const struct passage *p, struct lines *l)
{
    const struct http_request *r = http_request(p->x);
    const struct rewrite_seen *s = &p->seen;
    char text[800];
    bool good = add_text(l, "Host", s->host);
    for (size_t i = 0; good && i < r->n_fields; i++)
        if (!rewrite_drops_request(r, &r->fields[i]))
            good = add_line(l, r->fields[i].name.p, r->fields[i].name.n, r->fields[i].value.p,
                            r->fields[i].value.n);
    bool v6 = strchr(s->client, ':') != NULL;
    snprintf(text, sizeof(text), "for=\"%s%s%s\";host=\"%s\";proto=%s", v6 ? "[" : "",
             s->client[0] ? s->client : "unknown", v6 ? "]" : "", s->host,
             s->https ? "https" : "http");
    good = good && add_text(l, "Forwarded", text) && add_text(l, "X-Forwarded-Host", s->host) &&
           add_text(l, "X-Forwarded-Proto", s->https ? "https" : "http");
    return good && (!s->forwarded[0] || add_text(l, "X-Forwarded-For", s->forwarded));
}

/* Is its answer collected before anybody may have it all? */
static bool is_kept(const struct passage *p)
{
    enum away_kind kind = p->away.kind;
    return p->wish.learn || kind == AWAY_PING || kind == AWAY_TOKEN || kind == AWAY_MANIFEST;
}

static int start(struct passage *p)
{
    const struct http_request *r = http_request(p->x);
    const struct upstream_config *c = &p->t->config->registry;
    struct lines l = {.n = 0};
    char url[LIMIT_HTTP_TARGET_BYTES + 2304];
    const char *base =
        p->wish.direct && p->t->config->direct_url ? p->t->config->direct_url : c->url;
    if (p->wish.path)
        snprintf(url, sizeof(url), "%s%s", base, p->wish.path);
    else
        snprintf(url, sizeof(url), "%s%.*s", base, (int)r->target.n, r->target.p);
    bool body = r->method != HTTP_GET && r->method != HTTP_HEAD;
    struct http_transfer_options opt = {
        .method = method_name(r->method),
        .url = url,
        .fields = (const char *const *)l.line,
        .ca_file = c->ca,
        .head_timeout_ms = away_answer(p->t, &p->away) ? AWAY_PATIENCE_MS
                           : body                      ? HEAD_TIMEOUT_MS
                                                       : READ_TIMEOUT_MS,
        .stall_timeout_ms = STALL_TIMEOUT_MS,
        .whole_timeout_ms = !body && is_kept(p) ? KEPT_TIMEOUT_MS : 0,
        .on = {.head = on_head, .data = on_data, .end = on_end},
        .arg = p,
    };
    if (http_upload_is(p->x)) {
        opt.upload = on_upload;
        opt.upload_len = http_upload_length(p->x);
        http_upload_on(p->x, on_came, p);
    } else if (body && (r->method != HTTP_DELETE || r->body.n > 0)) {
        opt.body = r->body.p;
        opt.body_len = r->body.n;
    }
    int rc = make_lines(p, &l) ? 0 : ERR_NOMEM;
    opt.n_fields = l.n;
    if (rc == 0)
        rc = http_transfer_start(p->t->client, &opt, &p->transfer);
    for (size_t i = 0; i < l.n; i++) { /* one of them may hold a password */
        sodium_memzero(l.line[i], strlen(l.line[i]));
        free(l.line[i]);
    }
    return rc;
}

/* --- its life -------------------------------------------------------------------------------- */

static void passage_free(struct passage *p)
{
    if (p->link) {
        *p->link = p->next;
        if (p->next)
            p->next->link = p->link;
        p->t->n_alone--;
    }
    if (p->authorization)
        sodium_memzero(p->authorization, strlen(p->authorization));
    free(p->authorization);
    collect_no_more(p);
    free(p->buffer);
    free(p);
}

/* Clients (skopeo, of `/v2/`) read a head and leave: what is being kept is heard to its end all the
 * same. */
static bool goes_on_alone(struct passage *p)
{
    struct tracker *t = p->t;
    if (!p->collecting || !p->transfer || t->n_alone >= ALONE_MAX)
        return false;
    p->x = NULL;
    p->next = t->alone;
    if (p->next)
        p->next->link = &p->next;
    p->link = &t->alone;
    t->alone = p;
    t->n_alone++;
    http_transfer_resume(p->transfer);
    return true;
}

static void on_ended(void *arg, const struct http_ended *e)
{
    struct passage *p = arg;
    (void)e;
    p->t->passages--;
    p->t->uploads -= p->uploads;
    if (goes_on_alone(p))
        return;
    if (p->transfer)
        http_transfer_cancel(p->transfer);
    passage_free(p);
}

void front_stop(struct tracker *t)
{
    for (struct passage *p = t->alone, *next; p; p = next) {
        next = p->next;
        http_transfer_cancel(p->transfer);
        passage_free(p);
    }
}

static struct passage *passage_new(struct tracker *t, struct http_exchange *x,
                                   const struct front_wish *wish)
{
    struct passage *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    const struct http_request *r = http_request(x);
    const struct http_slice *auth = http_field(r, "Authorization");
    p->body.ops = &body_ops;
    p->t = t;
    p->x = x;
    p->route = wish->route;
    p->wish = *wish;
    p->generation = authz_generation(t->authz);
    if (wish->oci)
        p->oci = *wish->oci;
    answer_init(&p->answer);
    away_see(t, r, wish->route, wish->oci, &p->away);
    if (wish->learn && auth && auth->n > 0)
        p->authorization = strndup(auth->p, auth->n);
    rewrite_see(&p->seen, r, t->config->public_url, t->config->trusted_proxies,
                t->config->n_trusted_proxies);
    return p;
}

void front_begin(struct tracker *t, struct http_exchange *x, const struct front_wish *wish)
{
    struct passage *p = passage_new(t, x, wish);
    if (!p) {
        tracker_count(t, wish->route, 503);
        http_reply_oci(x, OCI_UNAVAILABLE, "out of memory", NULL);
        return;
    }
    t->passages++;
    http_on_end(x, on_ended, p);
    if (away_is(t) && say_again(t, x, p->route, &p->away)) {
        p->replied = true;
        return;
    }
    if (http_upload_is(x) && t->uploads == LIMIT_UPLOADS) {
        (void)!http_add(x, "Retry-After", UPLOADS_RETRY_S);
        refuse(p, 429, OCI_TOOMANYREQUESTS, "too many pushes at once", NULL);
        return;
    }
    p->uploads = http_upload_is(x);
    t->uploads += p->uploads;
    int rc = start(p);
    if (rc)
        refuse(p, rc == ERR_INVAL ? 400 : 503, rc == ERR_INVAL ? OCI_UNSUPPORTED : OCI_UNAVAILABLE,
               rc == ERR_INVAL ? "the request cannot be passed on" : "out of memory", NULL);
}

void front_unavailable(struct tracker *t, struct http_exchange *x, enum route route,
                       const char *why)
{
    tracker_count(t, route, 503);
    http_reply_oci(x, OCI_UNAVAILABLE, "the central registry does not answer", why);
}

void front_relay(struct tracker *t, struct http_exchange *x, enum route route,
                 const struct answer *a)
{
    struct passage p = {.t = t, .x = x};
    rewrite_see(&p.seen, http_request(x), t->config->public_url, t->config->trusted_proxies,
                t->config->n_trusted_proxies);
    struct body *body = body_copy(a->body ? a->body : (const u8 *)"", a->len);
    if (!body || add_fields(&p, a->fields, a->n_fields)) {
        if (body)
            body->ops->close(body);
        front_unavailable(t, x, route, "out of memory");
        return;
    }
    tracker_count(t, route, a->status);
    /* Of a HEAD's answer the length is that of what was not sent. */
    bool head = http_request(x)->method == HTTP_HEAD && a->len == 0;
    http_reply(x, a->status, body,
               head && a->content_length != UINT64_MAX ? a->content_length : a->len);
}
