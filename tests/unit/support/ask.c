/* ask.c - see ask.h. */
#include "support/ask.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/limits.h"

const struct upstream_request ask_blob = {
    .method = "GET",
    .path = "/v2/team/app/blobs/sha256:"
            "0000000000000000000000000000000000000000000000000000000000000000",
    .repository = "team/app",
    .authorization = "Basic dTpw",
    .follow = true,
};

static void on_answer(void *arg, const struct answer *a)
{
    struct heard *h = arg;
    assert_false(h->done);
    h->done = true;
    h->err = a->err;
    snprintf(h->why, sizeof(h->why), "%s", a->why);
    h->status = a->status;
    h->redirected = a->redirected;
    h->content_length = a->content_length;
    h->len = a->len;
    snprintf(h->body, sizeof(h->body), "%.*s", a->len < 255 ? (int)a->len : 255,
             a->body ? (const char *)a->body : "");
    const char *field = answer_field(a, "x-field");
    snprintf(h->field, sizeof(h->field), "%s", field ? field : "");
}

static bool was_heard(void *arg)
{
    return ((const struct heard *)arg)->done;
}

void ask_start(struct upstream *u, const struct upstream_request *q, size_t max_body,
               bool head_suffices, struct heard *h, struct upstream_ask **k)
{
    memset(h, 0, sizeof(*h));
    assert_int_equal(upstream_ask(u, q, max_body, head_suffices, on_answer, h, k), 0);
    assert_false(h->done); /* never from inside */
}

void ask_as(struct rig *r, struct upstream *u, const struct upstream_request *q, size_t max_body,
            bool head_suffices, struct heard *h)
{
    struct upstream_ask *k;
    ask_start(u, q, max_body, head_suffices, h, &k);
    rig_wait(r, was_heard, h);
}

void ask(struct rig *r, struct upstream *u, const struct upstream_request *q, struct heard *h)
{
    ask_as(r, u, q, LIMIT_RELAY_BYTES, false, h);
}
