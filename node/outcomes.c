/* outcomes.c - see outcomes.h.
 *
 * A ring of outcomes, each with its tracker, and a table of networks, open addressing within a
 * short run: what finds no place takes that of the one with the fewest samples. A second table
 * keeps what was told, for trackers that start anew. */
#include "node/outcomes.h"
#include "runtime/region_ask.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 2000
#define ANSWER_TIMEOUT_MS  5000
#define NETWORKS           OUTCOME_RTTS_MAX /* a report holds all of them */
#define RUN                8
#define KEPT_MS            (24ull * 3600 * 1000) /* as long as a tracker believes it: rtts.h */

struct queued {
    struct node_key tracker;
    struct outcome outcome;
};

/* A report under way. */
struct sending {
    struct outcomes *outcomes;
    struct http_transfer *transfer; /* NULL: free */
    struct node_key tracker;
    int status;
};

/* The last that was measured of a network, told or not. */
struct kept {
    struct outcome_rtt is; /* samples 0: free */
    u64 at_ms;
};

struct outcomes {
    struct outcomes_options opt;
    struct region *region;
    uv_timer_t timer;
    u64 due_ms; /* of the timer; 0: not set */
    bool stopped;
    struct queued queue[OUTCOMES_QUEUE];
    size_t n;
    struct outcome_rtt networks[NETWORKS]; /* samples 0: free */
    size_t n_networks;
    struct kept kept[NETWORKS];
    struct outcome_totals told; /* as they were last sent */
    u64 told_ms;
    struct node_key seen[OUTCOMES_TRACKERS]; /* who was there then, and since when */
    u64 seen_epoch[OUTCOMES_TRACKERS];
    size_t n_seen;
    struct sending sending[OUTCOMES_TRACKERS];
    struct outcome_report report; /* being made */
    u8 bytes[OUTCOME_BYTES_MAX];
    u64 *events[OUTCOME_FAILED + 1], *sent, *failed, *dropped;
};

int outcomes_new(struct outcomes **out, const struct outcomes_options *opt)
{
    struct outcomes *o = calloc(1, sizeof(*o));
    if (!o)
        return ERR_NOMEM;
    o->opt = *opt;
    uv_timer_init(opt->loop, &o->timer);
    o->timer.data = o;
    for (int e = OUTCOME_BEGAN; e <= OUTCOME_FAILED; e++) {
        char labels[32];
        snprintf(labels, sizeof(labels), "event=\"%s\"", outcome_event_name((enum outcome_event)e));
        o->events[e] = metrics_counter(opt->metrics, "dray_ticket_events_total", labels,
                                       "What became of requests with a valid ticket.");
    }
    o->sent = metrics_counter(opt->metrics, "dray_outcome_reports_total", "result=\"sent\"",
                              "Reports to trackers, by how they went.");
    o->failed =
        metrics_counter(opt->metrics, "dray_outcome_reports_total", "result=\"failed\"", NULL);
    o->dropped = metrics_counter(opt->metrics, "dray_dropped_total", "reason=\"outcome\"",
                                 "What was refused or thrown away, by reason.");
    for (size_t i = 0; i < OUTCOMES_TRACKERS; i++)
        o->sending[i].outcomes = o;
    *out = o;
    return 0;
}

static void set_timer(struct outcomes *o, u64 in_ms);

void outcomes_attach(struct outcomes *o, struct region *region)
{
    o->region = region;
    if (region && o->opt.totals)
        set_timer(o, OUTCOMES_TOTALS_MS);
}

void outcomes_stop(struct outcomes *o)
{
    if (!o || o->stopped)
        return;
    o->stopped = true;
    for (size_t i = 0; i < OUTCOMES_TRACKERS; i++) {
        if (o->sending[i].transfer)
            http_transfer_cancel(o->sending[i].transfer);
        o->sending[i].transfer = NULL;
    }
    uv_close((uv_handle_t *)&o->timer, NULL);
}

void outcomes_del(struct outcomes *o)
{
    assert(!o || o->stopped);
    free(o);
}

/* --- sending --------------------------------------------------------------------------------- */

static void on_head(void *arg, const struct http_response *r)
{
    struct sending *s = arg;
    s->status = r->status;
}

static void on_end(void *arg, int err, const char *why)
{
    struct sending *s = arg;
    bool sent = err == 0 && s->status >= 200 && s->status < 300;
    (void)why;
    s->transfer = NULL;
    *(sent ? s->outcomes->sent : s->outcomes->failed) += 1;
}

static int send_report(struct outcomes *o, struct sending *s, const struct addr *to)
{
    static const char *const fields[] = {"Content-Type: application/octet-stream"};
    size_t len = outcome_pack(&o->report, o->bytes);
    const struct region_to where = {.key = &s->tracker, .addr = to, .path = OUTCOME_PATH};
    const struct http_transfer_options opt = {
        .method = "POST",
        .fields = fields,
        .n_fields = countof(fields),
        .body = o->bytes,
        .body_len = len,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .head_timeout_ms = ANSWER_TIMEOUT_MS,
        .stall_timeout_ms = ANSWER_TIMEOUT_MS,
        .on = {.head = on_head, .end = on_end},
        .arg = s,
    };
    s->status = 0;
    return region_ask(o->region, o->opt.client, &where, &opt, &s->transfer);
}

static struct sending *place_for(struct outcomes *o, const struct node_key *tracker)
{
    struct sending *found = NULL;
    for (size_t i = 0; i < OUTCOMES_TRACKERS; i++) {
        struct sending *s = &o->sending[i];
        if (s->transfer && node_key_equal(&s->tracker, tracker))
            return NULL; /* one at a time */
        if (!s->transfer && !found)
            found = s;
    }
    return found;
}

/* Takes what is for this tracker off the queue, as much as a report holds. */
static void take(struct outcomes *o, const struct node_key *tracker)
{
    size_t kept = 0;
    o->report.n = 0;
    for (size_t i = 0; i < o->n; i++) {
        if (o->report.n < OUTCOME_MAX && node_key_equal(&o->queue[i].tracker, tracker))
            o->report.outcomes[o->report.n++] = o->queue[i].outcome;
        else
            o->queue[kept++] = o->queue[i];
    }
    o->n = kept;
}

static void drop_unseen(struct outcomes *o, const struct node_key *seen, size_t n_seen)
{
    size_t kept = 0;
    for (size_t i = 0; i < o->n; i++) {
        bool known = false;
        for (size_t k = 0; k < n_seen; k++)
            known |= node_key_equal(&o->queue[i].tracker, &seen[k]);
        if (known)
            o->queue[kept++] = o->queue[i];
    }
    *o->dropped += o->n - kept;
    o->n = kept;
}

static bool is_new(const struct outcomes *o, const struct addr *prefix)
{
    for (size_t i = 0; i < o->report.n_rtts; i++)
        if (addr_same_ip(&o->report.rtts[i].prefix, prefix))
            return true;
    return false;
}

/* What is new; for a tracker that has just started, all else that is known. */
static void take_networks(struct outcomes *o, bool all)
{
    u64 now = uv_now(o->opt.loop);
    o->report.n_rtts = 0;
    for (size_t i = 0; i < NETWORKS; i++)
        if (o->networks[i].samples)
            o->report.rtts[o->report.n_rtts++] = o->networks[i];
    for (size_t i = 0; all && i < NETWORKS && o->report.n_rtts < OUTCOME_RTTS_MAX; i++) {
        const struct kept *k = &o->kept[i];
        if (k->is.samples && now - k->at_ms < KEPT_MS && !is_new(o, &k->is.prefix))
            o->report.rtts[o->report.n_rtts++] = k->is;
    }
}

/* Is it time to tell totals to everybody? They are in the report then anyhow. */
static bool take_totals(struct outcomes *o)
{
    u64 now = uv_now(o->opt.loop);
    o->report.has_totals = o->opt.totals != NULL;
    if (!o->report.has_totals)
        return false;
    o->opt.totals(o->opt.arg, &o->report.totals);
    bool due = memcmp(&o->report.totals, &o->told, sizeof(o->told)) != 0 || o->told_ms == 0 ||
               now - o->told_ms >= OUTCOMES_AGAIN_MS;
    if (due) {
        o->told = o->report.totals;
        o->told_ms = now;
    }
    return due;
}

static bool was_seen(const struct outcomes *o, const struct member_record *r)
{
    for (size_t i = 0; i < o->n_seen; i++)
        if (node_key_equal(&o->seen[i], &r->key) && o->seen_epoch[i] == r->epoch)
            return true;
    return false;
}

/* These trackers are there now; what was for others is dropped. */
static void note_seen(struct outcomes *o, const struct node_key *seen, const u64 *epochs, size_t n)
{
    memcpy(o->seen, seen, n * sizeof(*seen));
    memcpy(o->seen_epoch, epochs, n * sizeof(*epochs));
    o->n_seen = n;
    drop_unseen(o, seen, n);
}

static bool tell(struct outcomes *o, const struct member_record *r, bool totals)
{
    struct sending *s = place_for(o, &r->key);
    if (!s)
        return false;
    take(o, &r->key);
    if (o->report.n + o->report.n_rtts == 0 && !totals)
        return false;
    s->tracker = r->key;
    if (send_report(o, s, &r->addr)) {
        s->transfer = NULL;
        *o->failed += 1;
    }
    return true;
}

static void flush(struct outcomes *o)
{
    struct mesh *m = o->region ? region_mesh(o->region) : NULL;
    struct node_key seen[OUTCOMES_TRACKERS] = {0};
    u64 epochs[OUTCOMES_TRACKERS] = {0};
    struct member_view v;
    size_t n_seen = 0, at = 0;
    bool told = false, totals = take_totals(o);
    while (m && n_seen < OUTCOMES_TRACKERS && member_each(mesh_member(m), &at, &v)) {
        const struct member_record *r = v.record;
        if (r->role != MEMBER_TRACKER || v.state > MEMBER_SUSPECT)
            continue;
        seen[n_seen] = r->key;
        epochs[n_seen++] = r->epoch;
        bool anew = !was_seen(o, r);
        take_networks(o, anew);
        told |= tell(o, r, totals || (o->report.has_totals && anew));
    }
    note_seen(o, seen, epochs, n_seen);
    if (told || n_seen == 0) {
        memset(o->networks, 0, sizeof(o->networks));
        o->n_networks = 0;
    }
    if (o->n > 0)
        set_timer(o, OUTCOMES_FLUSH_MS);
    else if (o->n_networks > 0 || (o->region && o->opt.totals))
        set_timer(o, OUTCOMES_TOTALS_MS);
}

static void on_timer(uv_timer_t *t)
{
    struct outcomes *o = t->data;
    o->due_ms = 0;
    flush(o);
}

/* Sooner than it is set already, if that is sooner. */
static void set_timer(struct outcomes *o, u64 in_ms)
{
    u64 due = uv_now(o->opt.loop) + in_ms;
    if (o->stopped || (o->due_ms && o->due_ms <= due))
        return;
    o->due_ms = due;
    uv_timer_start(&o->timer, on_timer, in_ms, 0);
}

/* --- noting ---------------------------------------------------------------------------------- */

void outcomes_note(struct outcomes *o, const struct node_key *tracker, const struct outcome *what)
{
    *o->events[what->event] += 1;
    if (o->n == OUTCOMES_QUEUE || !o->region) {
        *o->dropped += 1;
        return;
    }
    o->queue[o->n++] = (struct queued){*tracker, *what};
    set_timer(o, OUTCOMES_FLUSH_MS);
}

static size_t network_hash(const struct addr *a)
{
    u64 h = 0xcbf29ce484222325ull; /* FNV-1a; a flood of networks costs a place, and no time */
    for (size_t i = 0; i < sizeof(a->ip); i++)
        h = (h ^ a->ip[i]) * 0x100000001b3ull;
    return (size_t)(h ^ h >> 32);
}

static void keep(struct outcomes *o, const struct addr *prefix, u32 rtt_us)
{
    size_t first = network_hash(prefix);
    struct kept *place = NULL;
    for (size_t i = 0; i < RUN; i++) {
        struct kept *k = &o->kept[(first + i) % NETWORKS];
        if (k->is.samples && addr_same_ip(&k->is.prefix, prefix)) {
            place = k;
            break;
        }
        if (!place || k->at_ms < place->at_ms)
            place = k; /* the oldest makes room */
    }
    *place = (struct kept){.is = {.prefix = *prefix, .rtt_us = rtt_us, .samples = 1},
                           .at_ms = uv_now(o->opt.loop)};
}

void outcomes_note_rtt(struct outcomes *o, const struct addr *client, u32 rtt_us)
{
    struct addr prefix = outcome_prefix(client);
    struct outcome_rtt *place = NULL;
    if (!o->region || rtt_us == 0 || rtt_us > OUTCOME_RTT_MAX)
        return;
    keep(o, &prefix, rtt_us);
    size_t first = network_hash(&prefix);
    for (size_t i = 0; i < RUN; i++) {
        struct outcome_rtt *t = &o->networks[(first + i) % NETWORKS];
        if (t->samples && addr_same_ip(&t->prefix, &prefix)) {
            t->rtt_us = rtt_us < t->rtt_us ? rtt_us : t->rtt_us;
            t->samples += t->samples < UINT32_MAX;
            return;
        }
        if (!place || t->samples < place->samples)
            place = t;
    }
    o->n_networks += place->samples == 0;
    *place = (struct outcome_rtt){.prefix = prefix, .rtt_us = rtt_us, .samples = 1};
    set_timer(o, OUTCOMES_TOTALS_MS);
}
