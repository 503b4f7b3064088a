/* peer_serve.c - see peer_serve.h. */
#include "node/peer_serve.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/blob_body.h"
#include "node/node_internal.h"
#include "node/paced_body.h"
#include "proto/range.h"
#include "runtime/clock.h"
#include "runtime/log.h"

#define STREAMS_PER_CORE 16
#define STREAM_BPS       (512 * KIB)  /* less than this for each, and all of them are slow */
#define LAG_MAX_NS       250000000ull /* a loop this late does none of them good */
#define RETRY_AFTER      "1"

static const char prefix[] = "/mesh/v1/blobs/";

/* One request of a peer. */
struct serving {
    struct node *node;
    struct http_exchange *x;
    struct digest digest;
    struct node_key from;
    bool head, stream; /* stream: counted */
};

/* --- load ------------------------------------------------------------------------------------ */

void peer_serve_open(struct node *n)
{
    struct peer_serving *s = &n->serving;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned max = STREAMS_PER_CORE * (cores > 0 ? (unsigned)cores : 1);
    unsigned connections = n->config->limits.connections / 2;
    s->streams_max = connections && connections < max ? connections : max;
    s->sent_bytes = metrics_counter(n->metrics, "dray_peer_sent_bytes_total", "",
                                    "Bytes of layers sent to peers.");
    s->busy = metrics_counter(n->metrics, "dray_peer_busy_total", "",
                              "Requests of peers that were sent to another one.");
    s->denied = metrics_counter(n->metrics, "dray_dropped_total", "reason=\"peer_denied\"",
                                "What was refused or thrown away, by reason.");
    s->plain = metrics_counter(n->metrics, "dray_dropped_total", "reason=\"peer_plain\"", NULL);
    s->revokes_put_off =
        metrics_counter(n->metrics, "dray_dropped_total", "reason=\"revocation_put_off\"", NULL);
    rate_init(&s->revoking, LIMIT_RATE_REVOKES, LIMIT_RATE_REVOKES_S,
              randombytes_uniform(UINT32_MAX));
}

/* How many streams the limits allow right now. */
static unsigned streams_allowed(const struct node *n)
{
    unsigned max = n->serving.streams_max;
    u64 rate = n->upload.rate;
    if (rate == 0)
        return max;
    if (pace_has_line(&n->upload, PACE_CLIENTS))
        rate /= 4; /* their share */
    u64 by_rate = rate / STREAM_BPS + 1;
    return by_rate < max ? (unsigned)by_rate : max;
}

u8 peer_serve_load(const struct node *n)
{
    u64 streams = 255ull * n->serving.streams / streams_allowed(n);
    u64 lag = 255ull * n->lag_recent_ns / LAG_MAX_NS;
    u64 load = streams > lag ? streams : lag;
    return load > 255 ? 255 : (u8)load;
}

bool peer_serve_stream(struct node *n, const struct node_key *to)
{
    unsigned most = peer_share_most(streams_allowed(n));
    if (most > LIMIT_SWARM_SERVES / 2)
        most = LIMIT_SWARM_SERVES / 2; /* of the swarm's places likewise */
    if (!peer_share_take(&n->serving.shares, to, most))
        return false;
    n->serving.streams++;
    return true;
}

void peer_serve_streamed(struct node *n, const struct node_key *to)
{
    peer_share_leave(&n->serving.shares, to);
    n->serving.streams--;
}

bool peer_serve_is_busy(const struct node *n)
{
    return n->serving.streams >= streams_allowed(n) || n->lag_recent_ns > LAG_MAX_NS;
}

void peer_serve_tick(struct node *n)
{
    struct mesh *m = n->region ? region_mesh(n->region) : NULL;
    if (!m)
        return;
    mesh_set_load(m, peer_serve_load(n));
    region_kick(n->region);
}

/* --- answers --------------------------------------------------------------------------------- */

static void reply(struct serving *s, int status, struct body *body, u64 length)
{
    node_count(s->node, ROUTE_PEER, status);
    http_reply(s->x, status, body, length);
}

static void refuse(struct serving *s, int status, const char *text)
{
    node_count(s->node, ROUTE_PEER, status);
    http_reply_text(s->x, status, "text/plain; charset=utf-8", text, strlen(text));
}

static void answer_busy(struct serving *s)
{
    *s->node->serving.busy += 1;
    http_add(s->x, "Retry-After", RETRY_AFTER);
    refuse(s, 503, "busy: ask another peer\n");
}

static void add_fields(struct serving *s)
{
    char digest[DIGEST_TEXT_SIZE];
    digest_format(&s->digest, digest);
    http_add(s->x, "Content-Type", "application/octet-stream");
    http_add(s->x, "Docker-Content-Digest", "%s", digest);
    http_add(s->x, "Accept-Ranges", "bytes");
    http_add(s->x, "X-Dray-Load", "%u", peer_serve_load(s->node));
    http_add(s->x, "X-Dray-Node", "%s", s->node->config->name);
}

static void wake(void *arg)
{
    http_wake(arg);
}

/* The part asked for, of what is `size` bytes long. False: answered already. */
static bool read_range(struct serving *s, u64 size, struct byte_range *part, bool *whole)
{
    const struct http_slice *range = http_field(http_request(s->x), "Range");
    enum range_kind kind = range ? range_parse(range->p, range->n, size, part) : RANGE_NONE;
    *whole = kind != RANGE_PART;
    if (*whole)
        *part = (struct byte_range){0, size ? size - 1 : 0};
    if (kind != RANGE_UNMET)
        return true;
    http_add(s->x, "Content-Range", "bytes */%" PRIu64, size);
    refuse(s, 416, "no such range\n");
    return false;
}

/* From either place: a pinned blob (taken), or a fetch. */
static void answer(struct serving *s, struct store_blob *pin, struct fill *f, u64 size)
{
    struct node *n = s->node;
    struct byte_range part;
    struct body *body = NULL;
    bool whole;
    if (!read_range(s, size, &part, &whole)) {
        if (pin)
            store_unpin(n->store, pin);
        return;
    }
    u64 end = size ? part.last + 1 : 0;
    s->stream = !s->head && peer_serve_stream(n, &s->from);
    if (!s->head && !s->stream) {
        if (pin)
            store_unpin(n->store, pin);
        answer_busy(s);
        return;
    }
    if (pin && s->head)
        store_unpin(n->store, pin);
    else if (pin)
        body = blob_body(n->store, pin, n->disk, part.first, end, wake, s->x);
    else if (!s->head)
        body = fill_body(f, part.first, end, wake, s->x);
    if (!body && pin && !s->head)
        store_unpin(n->store, pin);
    const struct paced_share share = {&n->upload, PACE_PEERS, pace_flow(&s->digest)};
    if (body)
        body = paced_body(body, &share, wake, s->x);
    if (!body && !s->head) {
        peer_serve_streamed(n, &s->from);
        s->stream = false;
        answer_busy(s);
        return;
    }
    add_fields(s);
    if (!whole)
        http_add(s->x, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, part.first,
                 part.last, size);
    reply(s, whole ? 200 : 206, body, end - part.first);
}

/* The first byte that is asked for, as far as that can be said without the size. */
static u64 first_byte(const struct http_request *r)
{
    const struct http_slice *range = http_field(r, "Range");
    struct byte_range part;
    if (!range || range_parse(range->p, range->n, INT64_MAX, &part) != RANGE_PART)
        return 0;
    return part.first;
}

static void serve(struct serving *s)
{
    struct node *n = s->node;
    struct store_blob *pin;
    struct blob_info held;
    u64 first = first_byte(http_request(s->x));
    bool stored = store_lookup(n->store, &s->digest, &held) == 0;
    struct fill *f = stored ? NULL : fill_with_byte(n->fills, &s->digest, first);
    if (!stored && !f) {
        refuse(s, 404, "not held here\n");
    } else if (!s->head && peer_serve_is_busy(n)) {
        answer_busy(s);
    } else if (f) {
        answer(s, NULL, f, fill_size(f));
    } else if (store_pin(n->store, &s->digest, wall_ms(), &pin)) {
        refuse(s, 404, "not held here\n");
    } else {
        answer(s, pin, NULL, store_blob_size(pin));
    }
}

/* From here on it is another's: peer_pieces.c */
static void pieces(struct serving *s)
{
    struct node *n = s->node;
    struct http_exchange *x = s->x;
    struct digest d = s->digest;
    struct node_key from = s->from;
    http_on_end(x, NULL, NULL);
    free(s);
    peer_serve_pieces(n, x, &d, &from);
}

/* --- who asks -------------------------------------------------------------------------------- */

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)a;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
    return a->sa_family == AF_INET6 &&
           (IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127));
}

static void deny(struct node *n, struct http_exchange *x, u64 *count, const char *text)
{
    *count += 1;
    node_count(n, ROUTE_PEER, 403);
    http_reply_text(x, 403, "text/plain; charset=utf-8", text, strlen(text));
}

bool peer_may_ask(struct node *n, struct http_exchange *x, const char *method,
                  struct node_key *from)
{
    const struct http_request *r = http_request(x);
    struct mesh *m = n->region ? region_mesh(n->region) : NULL;
    const struct http_slice *field = http_field(r, "Dray-Peer");
    char header[MESH_PEER_HEADER_MAX] = "", path[256];
    if (!r->tls && !n->config->peer_plain && !is_loopback(r->peer)) {
        deny(n, x, n->serving.plain, "peers speak TLS here\n");
        return false;
    }
    if (field && field->n < sizeof(header) && r->target.n < sizeof(path)) {
        memcpy(header, field->p, field->n);
        memcpy(path, r->target.p, r->target.n);
        path[r->target.n] = '\0';
        if (m && mesh_peer_check(m, header, method, path, from) == 0)
            return true;
    }
    deny(n, x, n->serving.denied, "not a peer of this region\n");
    return false;
}

static void on_ended(void *arg, const struct http_ended *e)
{
    struct serving *s = arg;
    struct node *n = s->node;
    if (s->stream) {
        char key[NODE_KEY_TEXT_SIZE];
        node_key_format(&s->from, key);
        peer_serve_streamed(n, &s->from);
        *n->serving.sent_bytes += e->body_bytes;
        history_note(n->history, &s->digest, "sent", "%" PRIu64 " bytes to peer %s%s",
                     e->body_bytes, key, e->complete ? "" : ", which left before the end");
    }
    free(s);
}

bool peer_serve_takes(struct http_slice target)
{
    return target.n >= sizeof(prefix) - 1 && memcmp(target.p, prefix, sizeof(prefix) - 1) == 0;
}

void peer_serve(struct node *n, struct http_exchange *x)
{
    const struct http_request *r = http_request(x);
    size_t skip = sizeof(prefix) - 1;
    struct serving *s = calloc(1, sizeof(*s));
    if (!s) {
        node_count(n, ROUTE_PEER, 503);
        http_reply_oci(x, OCI_UNAVAILABLE, "out of memory", NULL);
        return;
    }
    s->node = n;
    s->x = x;
    s->head = r->method == HTTP_HEAD;
    http_on_end(x, on_ended, s);
    if (!s->head && r->method != HTTP_GET) {
        http_add(x, "Allow", "GET, HEAD");
        refuse(s, 405, "peers only read here\n");
    } else if (peer_may_ask(n, x, s->head ? "HEAD" : "GET", &s->from)) {
        if (digest_parse(&s->digest, r->target.p + skip, r->target.n - skip))
            refuse(s, 404, "no such digest\n");
        else if (!s->head && http_field(r, "Dray-Chain"))
            pieces(s);
        else
            serve(s);
    }
}
