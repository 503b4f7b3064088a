/* http_exchange.c - one request, the handler's view of it, and its end.
 *
 * An exchange is one allocation that holds the request's head as received, its fields and a small
 * reply's head: what a connection read is soon overwritten by the next one's reading. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/http_conn.h"
#include "runtime/rtt.h"

static struct http_slice slice(const char *base, struct http_span s)
{
    return (struct http_slice){base + s.at, s.n};
}

static enum http_method method_of(struct http_slice text)
{
    static const struct {
        const char *name;
        enum http_method method;
    } table[] = {{"GET", HTTP_GET},        {"HEAD", HTTP_HEAD},   {"POST", HTTP_POST},
                 {"PUT", HTTP_PUT},        {"PATCH", HTTP_PATCH}, {"DELETE", HTTP_DELETE},
                 {"OPTIONS", HTTP_OPTIONS}};
    for (size_t i = 0; i < countof(table); i++)
        if (strlen(table[i].name) == text.n && memcmp(table[i].name, text.p, text.n) == 0)
            return table[i].method;
    assert(!"the parser lets no other method through");
    return HTTP_GET;
}

static void request_fill(struct http_exchange *x, const struct http_head *head, const char *buf,
                         size_t len)
{
    struct http_field *fields = (struct http_field *)(void *)x->memory;
    char *text = x->memory + head->n_fields * sizeof(*fields);
    memcpy(text, buf, len);
    for (u16 i = 0; i < head->n_fields; i++) {
        fields[i].name = slice(text, head->fields[i].name);
        fields[i].value = slice(text, head->fields[i].value);
    }
    x->request.fields = fields;
    x->request.n_fields = head->n_fields;
    x->request.method = method_of(slice(text, head->method));
    x->request.target = slice(text, head->target);
    x->minor = head->minor;
    x->keep_alive = head->keep_alive;
    x->expect = head->expect_continue;
}

struct http_exchange *http_exchange_new(struct http_conn *c, const struct http_head *head,
                                        const char *buf, size_t len)
{
    size_t extra = head ? head->n_fields * sizeof(struct http_field) + len : 0;
    struct http_exchange *x = malloc(sizeof(*x) + extra);
    if (!x)
        return NULL;
    memset(x, 0, offsetof(struct http_exchange, small));
    x->conn = c;
    x->out = x->small;
    x->out_cap = sizeof(x->small);
    x->out_at = x->out_len = HTTP_REPLY_LEAD;
    x->minor = 1;
    x->in_body_max = LIMIT_HTTP_BODY_BYTES;
    x->request.target = (struct http_slice){"", 0};
    x->request.body = (struct http_slice){"", 0};
    x->request.peer = &c->peer.sa;
    x->request.tls = c->ssl != NULL;
    x->request.local = c->local;
    x->request.verified = c->verified;
    if (head)
        request_fill(x, head, buf, len);
    return x;
}

bool http_exchange_large(struct http_exchange *x, u64 n)
{
    struct http_server *s = x->conn->server;
    struct http_address *a = x->conn->address;
    if (s->large >= s->opt.large_at_once || (a && a->large >= HTTP_LARGE_PER_ADDRESS))
        return false;
    s->large++;
    if (a)
        a->large++;
    x->large = true;
    x->in_body_max = n;
    return true;
}

int http_exchange_body(struct http_exchange *x, const char *data, size_t n)
{
    size_t have = x->request.body.n;
    if (n > x->in_body_max - have)
        return ERR_TOOBIG;
    if (have + n > x->in_body_cap) {
        size_t cap = x->in_body_cap ? x->in_body_cap * 2 : 1024;
        while (cap < have + n)
            cap *= 2;
        char *grown = realloc(x->in_body, cap);
        if (!grown)
            return ERR_NOMEM;
        x->in_body = grown;
        x->in_body_cap = cap;
    }
    if (n > 0)
        memcpy(x->in_body + have, data, n);
    if (x->in_body)
        x->request.body = (struct http_slice){x->in_body, have + n};
    return 0;
}

void http_exchange_end(struct http_exchange *x, bool complete)
{
    struct http_conn *c = x->conn;
    assert(c->x == x);
    c->x = NULL; /* before the callback: it may delete the server */
    if (x->large) {
        assert(c->server->large > 0);
        c->server->large--;
        if (c->address)
            c->address->large--;
    }
    if (x->body)
        x->body->ops->close(x->body);
    struct http_ended e = {
        .complete = complete, .failed = x->cut, .body_bytes = x->body_sent, .status = x->status};
    if (x->on_end)
        x->on_end(x->on_end_arg, &e);
    if (x->out != x->small)
        free(x->out);
    free(x->in_body);
    free(x);
}

const struct http_request *http_request(const struct http_exchange *x)
{
    return &x->request;
}

const struct http_slice *http_field(const struct http_request *r, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < r->n_fields; i++)
        if (r->fields[i].name.n == n && strncasecmp(r->fields[i].name.p, name, n) == 0)
            return &r->fields[i].value;
    return NULL;
}

bool http_is_foreign(const struct http_request *r)
{
    static const char *const schemes[] = {"http://", "https://"};
    const struct http_slice *origin = http_field(r, "Origin"), *host = http_field(r, "Host");
    for (size_t i = 0; origin && host && i < countof(schemes); i++) {
        size_t n = strlen(schemes[i]);
        if (origin->n == n + host->n && strncasecmp(origin->p, schemes[i], n) == 0 &&
            strncasecmp(origin->p + n, host->p, host->n) == 0)
            return false;
    }
    return origin != NULL;
}

void http_on_end(struct http_exchange *x, void (*cb)(void *arg, const struct http_ended *e),
                 void *arg)
{
    x->on_end = cb;
    x->on_end_arg = arg;
}

u64 http_sent(const struct http_exchange *x)
{
    u64 away = x->conn->away ? atomic_load_explicit(&x->conn->job.sent, memory_order_relaxed) : 0;
    return x->body_sent + away;
}

u32 http_rtt_us(const struct http_exchange *x)
{
    return x->conn->local ? 0 : rtt_us(x->conn->fd);
}

void http_wake(struct http_exchange *x)
{
    if (x->status)
        http_conn_wake(x->conn);
}
