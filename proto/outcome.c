/* outcome.c - see outcome.h. */
#include "proto/outcome.h"

#include <assert.h>
#include <string.h>

#define VERSION        1
#define OUTCOME_FIELDS 7
#define RTT_FIELDS     3
#define TOTALS_FIELDS  (OUTCOME_SOURCES + 6)
#define V4_BYTES       3 /* of a network */
#define V6_BYTES       6

/* Each entry's longest form: heads, then its fields. */
#define OUTCOME_BYTES (1 + 1 + 2 + TICKET_USER_BYTES + 2 + 1 + DIGEST_BYTES_MAX + 9 + 9 + 5 + 1)
#define RTT_BYTES     (1 + 2 + V6_BYTES + 5 + 5)
#define TOTALS_BYTES  (1 + 9 * TOTALS_FIELDS)
static_assert(16 + OUTCOME_MAX * OUTCOME_BYTES + OUTCOME_RTTS_MAX * RTT_BYTES + TOTALS_BYTES <=
                  OUTCOME_BYTES_MAX,
              "the longest report fits");
static_assert(OUTCOME_BYTES_MAX <= LIMIT_HTTP_BODY_BYTES, "a tracker reads it as a small body");

const char *outcome_event_name(enum outcome_event e)
{
    switch (e) {
    case OUTCOME_BEGAN: return "began";
    case OUTCOME_DONE: return "done";
    case OUTCOME_LEFT: return "left";
    case OUTCOME_FAILED: return "failed";
    }
    return "unknown";
}

const char *outcome_source_name(enum outcome_source s)
{
    switch (s) {
    case OUTCOME_STORE: return "store";
    case OUTCOME_PEER: return "peer";
    case OUTCOME_ORIGIN: return "origin";
    case OUTCOME_STREAM: return "stream";
    case OUTCOME_SOURCES: break;
    }
    return "unknown";
}

static size_t prefix_bytes(const struct addr *a)
{
    return addr_is_v4(a) ? V4_BYTES : V6_BYTES;
}
/* Where an address's network begins in its 16 bytes. */
static size_t prefix_at(const struct addr *a)
{
    return addr_is_v4(a) ? 12 : 0;
}

struct addr outcome_prefix(const struct addr *client)
{
    struct addr out = *client;
    size_t kept = prefix_at(client) + prefix_bytes(client);
    memset(out.ip + kept, 0, sizeof(out.ip) - kept);
    out.port = 0;
    return out;
}

/* --- one outcome ----------------------------------------------------------------------------- */

static void put_outcome(struct wire_out *w, const struct outcome *o)
{
    u8 digest[1 + DIGEST_BYTES_MAX] = {o->digest.alg};
    size_t size = digest_size(o->digest.alg);
    assert(size > 0 && o->event >= OUTCOME_BEGAN && o->event <= OUTCOME_FAILED);
    assert(o->source < OUTCOME_SOURCES);
    memcpy(digest + 1, o->digest.bytes, size);
    wire_put_array(w, OUTCOME_FIELDS);
    wire_put_u64(w, o->event);
    wire_put_bin(w, o->user, sizeof(o->user));
    wire_put_bin(w, digest, 1 + size);
    wire_put_u64(w, o->iat_s);
    wire_put_u64(w, o->bytes);
    wire_put_u64(w, o->took_ms);
    wire_put_u64(w, o->source);
}

static void get_outcome(struct wire_in *r, struct outcome *o)
{
    size_t len = 0;
    memset(o, 0, sizeof(*o));
    if (wire_get_array(r, OUTCOME_FIELDS) != OUTCOME_FIELDS)
        r->bad = true;
    o->event = (enum outcome_event)wire_get_max(r, OUTCOME_FAILED);
    wire_get_exact(r, o->user, sizeof(o->user));
    const u8 *digest = wire_get_bin(r, 1 + DIGEST_BYTES_MAX, &len);
    o->iat_s = wire_get_u64(r);
    o->bytes = wire_get_u64(r);
    o->took_ms = (u32)wire_get_max(r, UINT32_MAX);
    o->source = (enum outcome_source)wire_get_max(r, OUTCOME_SOURCES - 1);
    if (!wire_ok(r) || o->event < OUTCOME_BEGAN || len < 1 || digest_size(digest[0]) == 0 ||
        len != 1 + digest_size(digest[0])) {
        r->bad = true;
        return;
    }
    o->digest.alg = digest[0];
    memcpy(o->digest.bytes, digest + 1, len - 1);
}

/* --- one network ----------------------------------------------------------------------------- */

static void put_rtt(struct wire_out *w, const struct outcome_rtt *t)
{
    wire_put_array(w, RTT_FIELDS);
    wire_put_bin(w, t->prefix.ip + prefix_at(&t->prefix), prefix_bytes(&t->prefix));
    wire_put_u64(w, t->rtt_us);
    wire_put_u64(w, t->samples);
}

static void get_rtt(struct wire_in *r, struct outcome_rtt *t)
{
    size_t len = 0;
    memset(t, 0, sizeof(*t));
    if (wire_get_array(r, RTT_FIELDS) != RTT_FIELDS)
        r->bad = true;
    const u8 *p = wire_get_bin(r, V6_BYTES, &len);
    t->rtt_us = (u32)wire_get_max(r, OUTCOME_RTT_MAX);
    t->samples = (u32)wire_get_max(r, UINT32_MAX);
    if (!wire_ok(r) || (len != V4_BYTES && len != V6_BYTES) || t->samples == 0) {
        r->bad = true;
        return;
    }
    if (len == V4_BYTES)
        t->prefix = addr_v4(p[0], p[1], p[2], 0, 0);
    else
        memcpy(t->prefix.ip, p, V6_BYTES);
}

/* --- totals ---------------------------------------------------------------------------------- */

static_assert(sizeof(struct outcome_totals) == TOTALS_FIELDS * sizeof(u64), "numbers alone");

static void put_totals(struct wire_out *w, const struct outcome_totals *t)
{
    for (int i = 0; i < OUTCOME_SOURCES; i++)
        wire_put_u64(w, t->served[i]);
    wire_put_u64(w, t->from_peers);
    wire_put_u64(w, t->from_origin);
    wire_put_u64(w, t->held_bytes);
    wire_put_u64(w, t->held_blobs);
    wire_put_u64(w, t->capacity_bytes);
    wire_put_u64(w, t->serving);
}

static void get_totals(struct wire_in *r, struct outcome_totals *t)
{
    for (int i = 0; i < OUTCOME_SOURCES; i++)
        t->served[i] = wire_get_max(r, OUTCOME_TOTAL_MAX);
    t->from_peers = wire_get_max(r, OUTCOME_TOTAL_MAX);
    t->from_origin = wire_get_max(r, OUTCOME_TOTAL_MAX);
    t->held_bytes = wire_get_max(r, OUTCOME_TOTAL_MAX);
    t->held_blobs = wire_get_max(r, OUTCOME_TOTAL_MAX);
    t->capacity_bytes = wire_get_max(r, OUTCOME_TOTAL_MAX);
    t->serving = wire_get_max(r, OUTCOME_TOTAL_MAX);
}

/* --- a report -------------------------------------------------------------------------------- */

size_t outcome_pack(const struct outcome_report *r, u8 *out)
{
    struct wire_out w;
    assert(r->n <= OUTCOME_MAX && r->n_rtts <= OUTCOME_RTTS_MAX);
    wire_out_init(&w, out, OUTCOME_BYTES_MAX);
    wire_put_array(&w, 4);
    wire_put_u64(&w, VERSION);
    wire_put_array(&w, (u32)r->n);
    for (size_t i = 0; i < r->n; i++)
        put_outcome(&w, &r->outcomes[i]);
    wire_put_array(&w, (u32)r->n_rtts);
    for (size_t i = 0; i < r->n_rtts; i++)
        put_rtt(&w, &r->rtts[i]);
    wire_put_array(&w, r->has_totals ? TOTALS_FIELDS : 0);
    if (r->has_totals)
        put_totals(&w, &r->totals);
    assert(!wire_full(&w));
    return w.len;
}

int outcome_unpack(struct outcome_report *r, const void *data, size_t len)
{
    struct wire_in in;
    wire_in_init(&in, data, len);
    r->n = r->n_rtts = 0;
    r->has_totals = false;
    if (len > OUTCOME_BYTES_MAX || wire_get_array(&in, 4) != 4 || wire_get_u64(&in) != VERSION)
        return ERR_PROTO;
    size_t n = wire_get_array(&in, OUTCOME_MAX), n_rtts = 0;
    for (size_t i = 0; i < n && wire_ok(&in); i++)
        get_outcome(&in, &r->outcomes[i]);
    n_rtts = wire_get_array(&in, OUTCOME_RTTS_MAX);
    for (size_t i = 0; i < n_rtts && wire_ok(&in); i++)
        get_rtt(&in, &r->rtts[i]);
    size_t n_totals = wire_get_array(&in, TOTALS_FIELDS);
    if (n_totals == TOTALS_FIELDS)
        get_totals(&in, &r->totals);
    if (!wire_ok(&in) || wire_left(&in) > 0 || (n_totals != 0 && n_totals != TOTALS_FIELDS))
        return ERR_PROTO;
    r->n = n;
    r->n_rtts = n_rtts;
    r->has_totals = n_totals > 0;
    return 0;
}
