/* region_talk.c - talks: one sealed request, one sealed answer, as POST /mesh/v1/talk.
 *
 * Ours go out by the node's HTTP client, a few at once; the mesh keeps what must wait. They are
 * short or worthless: seconds without progress end them. Those of others are answered at once, from
 * inside the request's handler. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/http_server.h"
#include "runtime/region_impl.h"
#include "runtime/sockaddr.h"

#define CONNECT_MS 2000
#define ANSWER_MS  5000
#define STALL_MS   3000
#define WHOLE_MS   30000 /* a few at once: who drips must not keep a place from others */

/* --- ours ------------------------------------------------------------------------------------ */

static void talk_free(struct region_talk_out *t)
{
    free(t->answer);
    memset(t, 0, sizeof(*t));
}

static void talk_head(void *arg, const struct http_response *h)
{
    struct region_talk_out *t = arg;
    t->status = h->status;
}

static void talk_end(void *arg, int err, const char *why);

/* What comes of a refusal is read to its end, and not kept: the connection can be used again. What
 * has no end is broken off. */
static enum http_data_verdict talk_data(void *arg, const void *data, size_t len)
{
    struct region_talk_out *t = arg;
    if (len > LIMIT_TALK_BYTES - t->seen) {
        http_transfer_cancel(t->transfer);
        talk_end(t, ERR_TOOBIG, "too long");
        return HTTP_DATA_TAKEN;
    }
    t->seen += len;
    if (t->status != 200 || t->err)
        return HTTP_DATA_TAKEN;
    if (t->len + len > t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 4096;
        while (cap < t->len + len)
            cap *= 2;
        char *grown = realloc(t->answer, cap);
        if (!grown) {
            t->err = ERR_NOMEM;
            return HTTP_DATA_TAKEN;
        }
        t->answer = grown;
        t->cap = cap;
    }
    memcpy(t->answer + t->len, data, len);
    t->len += len;
    return HTTP_DATA_TAKEN;
}

static int talk_outcome(const struct region_talk_out *t, int err)
{
    if (err)
        return err;
    if (t->err)
        return t->err;
    switch (t->status) {
    case 200: return 0;
    case 403: return ERR_DENIED;
    case 503: return ERR_BUSY;
    default: return ERR_PROTO;
    }
}

static void talk_end(void *arg, int err, const char *why)
{
    struct region_talk_out *t = arg, ended = *t;
    struct region *r = t->region;
    (void)why; /* the mesh knows what to make of it: often a peer that is down */
    err = talk_outcome(t, err);
    memset(t, 0, sizeof(*t)); /* before the drive: the place is free for the next */
    r->talks_failed += err != 0;
    if (r->mesh)
        mesh_dialed(r->mesh, ended.id, err, err ? NULL : ended.answer, err ? 0 : ended.len,
                    region_in(r));
    free(ended.answer);
    region_drive(r);
}

static int talk_start(struct region *r, struct region_talk_out *t, const struct addr *to,
                      size_t len)
{
    static const char *const fields[] = {"Content-Type: application/octet-stream"};
    char url[ADDR_TEXT_SIZE + 32], address[ADDR_TEXT_SIZE];
    addr_format(to, address);
    snprintf(url, sizeof(url), "%s://%s/mesh/v1/talk", region_scheme(r), address);
    struct http_transfer_options opt = {
        .method = "POST",
        .url = url,
        .fields = fields,
        .n_fields = countof(fields),
        .body = r->talk_buffer,
        .body_len = len,
        .ca_file = region_ca(r),
        .any_name = region_ca(r) != NULL,
        .connect_timeout_ms = CONNECT_MS,
        .head_timeout_ms = ANSWER_MS,
        .stall_timeout_ms = STALL_MS,
        .whole_timeout_ms = WHOLE_MS,
        .on = {.head = talk_head, .data = talk_data, .end = talk_end},
        .arg = t,
    };
    t->region = r;
    return http_transfer_start(r->opt.client, &opt, &t->transfer);
}

static struct region_talk_out *free_place(struct region *r)
{
    for (size_t i = 0; i < REGION_TALKS_MAX; i++)
        if (!r->talks[i].transfer)
            return &r->talks[i];
    return NULL;
}

void region_dial(struct region *r)
{
    struct region_talk_out *t;
    struct addr to;
    size_t len;
    u32 id;
    while (r->mesh && !r->stopping && (t = free_place(r)) != NULL &&
           mesh_dial(r->mesh, &id, &to, r->talk_buffer, LIMIT_TALK_BYTES, &len, region_in(r))) {
        t->id = id;
        int rc = talk_start(r, t, &to, len);
        if (rc) {
            talk_free(t);
            mesh_dialed(r->mesh, id, rc, NULL, 0, region_in(r));
        }
    }
}

void region_talks_stop(struct region *r)
{
    for (size_t i = 0; i < REGION_TALKS_MAX; i++)
        if (r->talks[i].transfer) {
            http_transfer_cancel(r->talks[i].transfer);
            talk_free(&r->talks[i]);
        }
}

/* --- theirs ---------------------------------------------------------------------------------- */

static int refuse(struct region *r, struct http_exchange *x, int status, enum oci_code code,
                  const char *message)
{
    if (r)
        r->talks_refused++;
    http_reply_oci_status(x, status, code, message, NULL);
    return status;
}

int region_talk(struct region *r, struct http_exchange *x)
{
    const struct http_request *q = http_request(x);
    struct addr from;
    size_t len = 0;
    if (q->method != HTTP_POST)
        return refuse(r, x, 405, OCI_UNSUPPORTED, "use POST");
    if (q->local || sockaddr_read(q->peer, &from))
        return refuse(r, x, 403, OCI_DENIED, "for members of the region, over TCP");
    if (!r || !r->mesh || r->stopping)
        return refuse(r, x, 503, OCI_UNAVAILABLE, "this node is in no region now");
    int rc = mesh_answer(r->mesh, &from, q->body.p, q->body.n, r->talk_buffer, LIMIT_TALK_BYTES,
                         &len, region_in(r));
    region_kick(r);
    if (rc == ERR_DENIED)
        return refuse(r, x, 403, OCI_DENIED, "not sealed by this region's key, or said before");
    if (rc == ERR_NOMEM)
        return refuse(r, x, 503, OCI_UNAVAILABLE, "out of memory");
    if (rc)
        return refuse(r, x, 400, OCI_UNSUPPORTED, "not understood");
    http_reply_text(x, 200, "application/octet-stream", r->talk_buffer, len);
    return 200;
}
