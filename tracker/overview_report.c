/* overview_report.c - see overview_report.h.
 *
 * Members are rows, not objects: their columns are named once, which makes a thousand of them a
 * fifth of the size. */
#include "tracker/overview_report.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"
#include "tracker/json_text.h"
#include "tracker/unfit.h"

#define ULL(n) ((unsigned long long)(n))

struct overview_text {
    struct json_text text;
    u64 made_ms;
    char etag[2 * 16 + 5];
};

void overview_text_del(struct overview_text *o)
{
    if (o)
        json_text_fini(&o->text);
    free(o);
}

/* --- the tracker and its sums ---------------------------------------------------------------- */

static void put_tracker(struct tracker *t, struct json_text *o)
{
    static const char *const states[] = {"untried", "ok", "down"};
    const char *error, *why = "";
    u64 since_ms;
    enum upstream_state state = upstream_state(t->registry, &error, &since_ms);
    bool ready = tracker_ready(t, &why);
    json_text_add(o, ",\"version\":\"" DRAY_VERSION "\",\"name\":");
    json_text_string(o, t->config->name);
    json_text_add(o, ",\"public_url\":");
    json_text_string(o, t->config->public_url);
    json_text_add(o, ",\"ready\":%s,\"why\":", ready ? "true" : "false");
    json_text_string(o, ready ? "" : why);
    json_text_add(o, ",\"registry\":{\"url\":");
    json_text_string(o, t->config->registry.url);
    json_text_add(o, ",\"state\":\"%s\",\"error\":", states[state]);
    json_text_string(o, state == UPSTREAM_DOWN ? error : "");
    json_text_add(o, "},\"streamed_bytes\":%llu,\"uploaded_bytes\":%llu,\"through_bytes\":%llu",
                  ULL(t->streamed_bytes), ULL(t->uploaded_bytes), ULL(t->through_bytes));
}

static void put_totals(struct json_text *o, const struct outcome_totals *s)
{
    u64 served = 0;
    json_text_add(o, "{");
    for (int i = 0; i < OUTCOME_SOURCES; i++) {
        json_text_add(o, "\"%s\":%llu,", outcome_source_name((enum outcome_source)i),
                      ULL(s->served[i]));
        served += s->served[i];
    }
    json_text_add(o,
                  "\"served\":%llu,\"wan\":%llu,\"peers\":%llu,\"saved\":%llu,\"held\":%llu,"
                  "\"capacity\":%llu,\"layers\":%llu,\"serving\":%llu}",
                  ULL(served), ULL(s->from_origin), ULL(s->from_peers),
                  ULL(served > s->from_origin ? served - s->from_origin : 0), ULL(s->held_bytes),
                  ULL(s->capacity_bytes), ULL(s->held_blobs), ULL(s->serving));
}

/* --- over time ------------------------------------------------------------------------------- */

struct buckets {
    struct json_text *text;
    const struct overview *overview;
    bool any;
};

static void put_bucket(void *arg, const struct overview_bucket *b)
{
    struct buckets *all = arg;
    json_text_add(all->text, "%s[%llu,%llu,%llu,%lu,[", all->any ? "," : "", ULL(b->at),
                  ULL(b->served), ULL(b->wan), (unsigned long)b->strikes);
    for (size_t i = 0; i < overview_reasons(all->overview); i++)
        json_text_add(all->text, "%s%lu", i ? "," : "", (unsigned long)b->sent[i]);
    json_text_add(all->text, "]]");
    all->any = true;
}

static void put_series(struct tracker *t, struct json_text *o, u64 now)
{
    struct buckets all = {o, t->overview, false};
    json_text_add(o, ",\"strikes\":%llu,\"redirects\":[", ULL(strikes_total(t->strikes)));
    for (size_t i = 0; i < overview_reasons(t->overview); i++) {
        json_text_add(o, "%s[", i ? "," : "");
        json_text_string(o, overview_reason(t->overview, i));
        json_text_add(o, ",%llu]", ULL(overview_reason_total(t->overview, i)));
    }
    json_text_add(o, "],\"bucket_ms\":%d,\"buckets\":[", OVERVIEW_BUCKET_MS);
    overview_each_bucket(t->overview, now, put_bucket, &all);
    json_text_add(o, "]");
}

/* --- regions --------------------------------------------------------------------------------- */

static const char columns[] =
    "[\"name\",\"rack\",\"state\",\"role\",\"address\",\"load\",\"barred\",\"fit\",\"layers\","
    "\"held\",\"capacity\",\"serving\",\"served\",\"wan\",\"peers\",\"url\"]";

/* How many layers each member says it holds, by key. */
struct held {
    struct inventory_origin *list;
    size_t n;
};

static int by_key(const void *a, const void *b)
{
    return node_key_compare(&((const struct inventory_origin *)a)->key,
                            &((const struct inventory_origin *)b)->key);
}

static void held_find(struct held *h, const struct mesh *m)
{
    size_t at = 0;
    h->n = 0;
    while (h->list && h->n < LIMIT_MEMBERS &&
           inventory_each(mesh_inventory(m), &at, &h->list[h->n]))
        h->n++;
    if (h->n)
        qsort(h->list, h->n, sizeof(*h->list), by_key);
}

static u64 held_layers(const struct held *h, const struct node_key *key, u64 otherwise)
{
    struct inventory_origin wanted = {.key = *key};
    const struct inventory_origin *found =
        h->n ? bsearch(&wanted, h->list, h->n, sizeof(*h->list), by_key) : NULL;
    return found && found->complete ? found->layers : otherwise;
}

static void put_member(struct tracker *t, struct json_text *o, const struct held *h,
                       const struct member_view *v)
{
    const struct member_record *r = v->record;
    struct outcome_totals s = {.serving = 0};
    char address[ADDR_TEXT_SIZE];
    bool known = overview_node(t->overview, &r->key, &s), node = r->role == MEMBER_NODE;
    bool barred = v->barred || pulse_is_down(probes_pulse(t->probes), &r->key, uv_now(t->loop));
    bool fit = node && v->state == MEMBER_ALIVE && !barred &&
               !unfit_url(r->public_url, t->config->public_url);
    u64 served = 0;
    for (int i = 0; i < OUTCOME_SOURCES; i++)
        served += s.served[i];
    addr_format(&r->addr, address);
    json_text_add(o, "[");
    json_text_string(o, r->name);
    json_text_add(o, ",");
    json_text_string(o, r->rack);
    json_text_add(o, ",\"%s\",\"%s\",\"%s\",%d,%d,%d", member_state_name(v->state),
                  node ? "node" : "tracker", address, (int)v->load * 100 / 255, (int)barred,
                  (int)fit);
    json_text_add(o, ",%llu", ULL(held_layers(h, &r->key, s.held_blobs)));
    if (known)
        json_text_add(o, ",%llu,%llu,%llu,%llu,%llu,%llu,", ULL(s.held_bytes),
                      ULL(s.capacity_bytes), ULL(s.serving), ULL(served), ULL(s.from_origin),
                      ULL(s.from_peers));
    else
        json_text_add(o, ",null,null,0,0,0,0,");
    json_text_string(o, r->public_url);
    json_text_add(o, "]");
}

/* Returns how many are not shown. */
static u64 put_members(struct tracker *t, struct json_text *o, size_t region, struct held *h,
                       size_t *left)
{
    struct mesh *m = region_mesh(regions_at(t->regions, region));
    struct member_view v;
    size_t at = 0;
    u64 unshown = 0;
    bool any = false;
    if (m)
        held_find(h, m);
    json_text_add(o, ",\"members\":[");
    while (m && member_each(mesh_member(m), &at, &v)) {
        if (*left == 0) {
            unshown++;
            continue;
        }
        --*left;
        json_text_add(o, "%s", any ? "," : "");
        put_member(t, o, h, &v);
        any = true;
    }
    json_text_add(o, "]");
    return unshown;
}

static void put_regions(struct tracker *t, struct json_text *o, u64 now)
{
    size_t n = regions_count(t->regions), left = OVERVIEW_NODES_SHOWN;
    struct outcome_totals *sums = calloc(n + 1, sizeof(*sums));
    struct held held = {calloc(LIMIT_MEMBERS, sizeof(*held.list)), 0};
    if (!sums || !held.list) {
        o->failed = true;
    } else {
        overview_sums(t->overview, now, sums, n, &sums[n]);
        json_text_add(o, ",\"totals\":");
        put_totals(o, &sums[n]);
        json_text_add(o, ",\"columns\":%s,\"regions\":[", columns);
        for (size_t i = 0; i < n; i++) {
            json_text_add(o, "%s{\"name\":", i ? "," : "");
            json_text_string(o, regions_name(t->regions, i));
            json_text_add(o, ",\"totals\":");
            put_totals(o, &sums[i]);
            u64 unshown = put_members(t, o, i, &held, &left);
            json_text_add(o, ",\"unshown\":%llu}", ULL(unshown));
        }
        json_text_add(o, "]");
    }
    free(sums);
    free(held.list);
}

/* --- pulls ----------------------------------------------------------------------------------- */

static void put_prefix(struct json_text *o, const struct addr *prefix)
{
    char text[ADDR_TEXT_SIZE];
    struct addr a = *prefix;
    if (addr_equal(prefix, &(struct addr){.port = 0})) {
        json_text_string(o, "");
        return;
    }
    a.port = 1;
    addr_format(&a, text);
    text[strlen(text) - 2] = '\0'; /* ":1" */
    json_text_add(o, "\"%s/%d\"", text, addr_is_v4(prefix) ? 24 : 48);
}

static void put_pull(struct json_text *o, const struct overview_pull *p)
{
    char digest[DIGEST_TEXT_SIZE], user[2 * 4 + 1];
    sodium_bin2hex(user, sizeof(user), p->user, 4);
    digest_format(&p->digest, digest);
    json_text_add(o, "{\"at\":%llu,\"heard\":%llu,\"user\":\"%s\",\"prefix\":", ULL(p->sent_ms),
                  ULL(p->changed_ms), user);
    put_prefix(o, &p->prefix);
    json_text_add(o, ",\"node\":");
    json_text_string(o, p->node_name);
    json_text_add(o, ",\"region\":");
    json_text_string(o, p->region);
    json_text_add(o, ",\"repository\":");
    json_text_string(o, p->repository);
    json_text_add(o, ",\"reason\":");
    json_text_string(o, p->reason);
    json_text_add(o, ",\"digest\":\"%s\",\"times\":%u,\"running\":%u,\"outcome\":\"%s\"", digest,
                  p->times, p->alive,
                  p->last                     ? outcome_event_name(p->last)
                  : node_key_is_set(&p->node) ? "sent"
                                              : "streamed");
    if (p->size != UINT64_MAX)
        json_text_add(o, ",\"size\":%llu", ULL(p->size));
    if (p->last > OUTCOME_BEGAN || p->bytes)
        json_text_add(o, ",\"bytes\":%llu,\"ms\":%lu,\"source\":\"%s\"", ULL(p->bytes),
                      (unsigned long)p->took_ms, outcome_source_name(p->source));
    json_text_add(o, "}");
}

static void put_pulls(struct tracker *t, struct json_text *o)
{
    const struct overview_pull *p;
    json_text_add(o, ",\"pulls_unshown\":%llu,\"pulls\":[", ULL(overview_unshown(t->overview)));
    for (size_t i = 0; i < OVERVIEW_PULLS_SHOWN && (p = overview_pull(t->overview, i)); i++) {
        json_text_add(o, "%s", i ? "," : "");
        put_pull(o, p);
    }
    json_text_add(o, "]}");
}

/* --- the answer ------------------------------------------------------------------------------ */

static int make(struct tracker *t, struct overview_text *o, u64 now)
{
    u8 hash[16];
    overview_strikes(t->overview, strikes_total(t->strikes), now);
    o->text.n = 0;
    o->text.failed = false;
    json_text_add(&o->text, "{\"now\":%llu", ULL(now));
    size_t clock = o->text.n;
    put_tracker(t, &o->text);
    put_series(t, &o->text, now);
    put_regions(t, &o->text, now);
    put_pulls(t, &o->text);
    if (o->text.failed)
        return ERR_NOMEM;
    crypto_generichash(hash, sizeof(hash), (const u8 *)o->text.p + clock, o->text.n - clock, NULL,
                       0);
    memcpy(o->etag, "W/\"", 3);
    sodium_bin2hex(o->etag + 3, sizeof(o->etag) - 3, hash, sizeof(hash));
    memcpy(o->etag + 3 + 2 * sizeof(hash), "\"", 2);
    o->made_ms = now;
    return 0;
}

void overview_reply(struct tracker *t, struct http_exchange *x)
{
    const struct http_slice *has = http_field(http_request(x), "If-None-Match");
    u64 now = wall_ms();
    if (!t->overview_text)
        t->overview_text = calloc(1, sizeof(*t->overview_text));
    struct overview_text *o = t->overview_text;
    bool fresh = o && o->made_ms <= now && now - o->made_ms < OVERVIEW_EVERY_MS;
    if (!o || (!fresh && make(t, o, now))) {
        if (o)
            o->made_ms = 0;
        api_refuse(t, x, OCI_UNAVAILABLE, "out of memory");
        return;
    }
    bool same = has && has->n == strlen(o->etag) && memcmp(has->p, o->etag, has->n) == 0;
    http_add(x, "ETag", "%s", o->etag);
    http_add(x, "Cache-Control", "no-cache");
    http_add(x, "X-Content-Type-Options", "nosniff");
    tracker_count(t, ROUTE_API, same ? 304 : 200);
    if (same)
        http_reply(x, 304, NULL, 0);
    else
        http_reply_text(x, 200, "application/json", o->text.p, o->text.n);
}
