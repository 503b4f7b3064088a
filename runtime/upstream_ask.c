/* upstream_ask.c - a whole small answer from a registry, collected; see upstream.h. */
#include <stdlib.h>
#include <string.h>

#include "proto/limits.h"
#include "runtime/upstream.h"

/* Of a 2xx whose head suffices, a body up to this is read all the same: its connection can then be
 * used again, which is cheaper than a new one. */
#define READ_ALONG_MAX (64 * KIB)
#define WHOLE_MS       120000 /* the largest manifest over 300 kbit/s; one that drips ends, too */

struct upstream_ask {
    struct upstream_call *call;
    void (*cb)(void *arg, const struct answer *a);
    void *arg;
    size_t max_body;
    bool head_suffices, head_method;
    struct answer answer;
};

static void ask_free(struct upstream_ask *k)
{
    answer_fini(&k->answer);
    free(k);
}

static void ask_deliver(struct upstream_ask *k, int err, const char *why)
{
    answer_end(&k->answer, err, why);
    k->cb(k->arg, &k->answer);
    ask_free(k);
}

/* From inside a callback of the call: it goes on no further. */
static void ask_stop(struct upstream_ask *k, int err, const char *why)
{
    upstream_call_cancel(k->call);
    ask_deliver(k, err, why);
}

static void on_head(void *arg, const struct http_response *r, bool redirected)
{
    struct upstream_ask *k = arg;
    if (answer_head(&k->answer, r, redirected)) {
        ask_stop(k, ERR_NOMEM, "out of memory");
        return;
    }
    if (k->head_method)
        return;
    bool granted = r->status >= 200 && r->status < 300;
    if (k->head_suffices && granted && r->content_length > READ_ALONG_MAX)
        ask_stop(k, 0, "");
    else if (r->content_length != UINT64_MAX && r->content_length > k->max_body)
        ask_stop(k, ERR_TOOBIG, "the registry's answer is larger than permitted");
}

static enum http_data_verdict on_data(void *arg, const void *data, size_t len)
{
    struct upstream_ask *k = arg;
    int rc = answer_data(&k->answer, data, len, k->max_body);
    if (rc == ERR_TOOBIG)
        ask_stop(k, rc, "the registry's answer is larger than permitted");
    else if (rc)
        ask_stop(k, rc, "out of memory");
    return HTTP_DATA_TAKEN;
}

static void on_end(void *arg, int err, const char *why)
{
    ask_deliver(arg, err, why);
}

int upstream_ask(struct upstream *u, const struct upstream_request *r, size_t max_body,
                 bool head_suffices, void (*cb)(void *arg, const struct answer *a), void *arg,
                 struct upstream_ask **out)
{
    static const struct upstream_events on = {on_head, on_data, on_end};
    struct upstream_ask *k = calloc(1, sizeof(*k));
    if (!k)
        return ERR_NOMEM;
    k->cb = cb;
    k->arg = arg;
    k->max_body = max_body;
    k->head_suffices = head_suffices;
    k->head_method = strcmp(r->method, "HEAD") == 0;
    answer_init(&k->answer);
    struct upstream_request whole = *r;
    whole.whole_timeout_ms = WHOLE_MS;
    int rc = upstream_call(u, &whole, &on, k, &k->call);
    if (rc) {
        ask_free(k);
        return rc;
    }
    *out = k;
    return 0;
}

void upstream_ask_cancel(struct upstream_ask *k)
{
    upstream_call_cancel(k->call);
    ask_free(k);
}
