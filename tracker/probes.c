/* probes.c - see probes.h. What was heard stands in a row of places chosen by the node's key. */
#include "tracker/probes.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/clock.h"

#define PLACES             4096
#define CONNECT_TIMEOUT_MS 1000
#define HEAD_TIMEOUT_MS    2000
#define ASTRAY_MS          60000 /* a clock is looked at again after that */

struct heard {
    struct node_key node;
    u64 at_ms; /* 0: nothing */
    bool up, astray;
    u64 astray_at_ms;
    u64 asked_ms; /* the last question that nobody waits for */
};

struct probes {
    uv_loop_t *loop;
    struct http_client *client;
    u64 fresh_ms, second_ms; /* how long an answer holds; when this second began */
    unsigned asked;          /* in it */
    struct heard heard[PLACES];
    struct probe *alone; /* those that nobody waits for */
};

struct probe {
    struct probes *set;
    struct probe *next, **at; /* among `alone` */
    struct http_transfer *transfer;
    struct node_key node;
    void (*done)(void *arg, bool up);
    void *arg;
    bool up, astray;
};

int probes_new(struct probes **out, uv_loop_t *loop, struct http_client *client)
{
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return ERR_NOMEM;
    (*out)->fresh_ms = PROBES_FRESH_MS;
    (*out)->loop = loop;
    (*out)->client = client;
    return 0;
}

void probes_del(struct probes *p)
{
    while (p && p->alone) {
        struct probe *k = p->alone;
        p->alone = k->next;
        free(k);
    }
    free(p);
}

static struct heard *place_of(const struct probes *p, const struct node_key *node)
{
    return (struct heard *)&p->heard[node_key_word(node) % PLACES];
}

static bool heard_within(const struct probes *p, const struct node_key *node, bool up, u64 ms)
{
    const struct heard *h = place_of(p, node);
    return h->at_ms && h->up == up && node_key_equal(&h->node, node) &&
           uv_now(p->loop) - h->at_ms < ms;
}

bool probes_is_fresh(const struct probes *p, const struct node_key *node, u64 since_ms)
{
    return heard_within(p, node, true, p->fresh_ms) && place_of(p, node)->at_ms >= since_ms;
}

bool probes_is_down(const struct probes *p, const struct node_key *node)
{
    return heard_within(p, node, false, PROBES_DOWN_MS);
}

bool probes_is_due(const struct probes *p, const struct node_key *node)
{
    const struct heard *h = place_of(p, node);
    u64 now = uv_now(p->loop);
    return now - h->at_ms >= p->fresh_ms / 2 && now - h->asked_ms >= p->fresh_ms / 2;
}

bool probes_is_astray(const struct probes *p, const struct node_key *node)
{
    const struct heard *h = place_of(p, node);
    return h->astray && node_key_equal(&h->node, node) &&
           uv_now(p->loop) - h->astray_at_ms < ASTRAY_MS;
}

void probes_heard(struct probes *p, const struct node_key *node)
{
    struct heard *h = place_of(p, node);
    if (!node_key_equal(&h->node, node))
        *h = (struct heard){.node = *node};
    h->at_ms = uv_now(p->loop);
    h->up = true;
}

/* One question for each ms at most: answers hold for as many ms as there are nodes asked. */
static void pace(struct probes *p)
{
    u64 now = uv_now(p->loop), took = now - p->second_ms;
    if (took >= 1000) {
        u64 busy = took < 2000 ? p->asked * p->fresh_ms / took : 0;
        p->fresh_ms = busy < PROBES_FRESH_MS   ? PROBES_FRESH_MS
                      : busy > PROBES_STALE_MS ? PROBES_STALE_MS
                                               : busy;
        p->second_ms = now;
        p->asked = 0;
    }
    p->asked++;
}

static void on_head(void *arg, const struct http_response *r)
{
    struct probe *k = arg;
    const char *date = http_response_field(r, "Date");
    struct tm tm = {.tm_year = 0};
    k->up = r->status == 200;
    if (!date || !strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &tm))
        return;
    i64 off_ms = (i64)timegm(&tm) * 1000 - (i64)wall_ms();
    k->astray = off_ms > PROBES_ASTRAY_MS || off_ms < -PROBES_ASTRAY_MS;
}

static enum http_data_verdict on_data(void *arg, const void *data, size_t len)
{
    (void)arg;
    (void)data;
    (void)len;
    return HTTP_DATA_TAKEN;
}

static void on_end(void *arg, int err, const char *why)
{
    struct probe *k = arg;
    struct heard *h = place_of(k->set, &k->node);
    bool up = err == 0 && k->up;
    (void)why;
    u64 now = uv_now(k->set->loop);
    u64 asked_ms = node_key_equal(&h->node, &k->node) ? h->asked_ms : 0;
    *h = (struct heard){.node = k->node,
                        .at_ms = now,
                        .up = up,
                        .astray = k->astray,
                        .astray_at_ms = now,
                        .asked_ms = asked_ms};
    if (k->at) {
        *k->at = k->next;
        if (k->next)
            k->next->at = k->at;
    }
    void (*done)(void *arg, bool up) = k->done;
    void *done_arg = k->arg;
    free(k);
    if (done)
        done(done_arg, up);
}

int probes_ask(struct probes *p, const struct probe_wish *w, struct probe **out)
{
    struct probe *k = calloc(1, sizeof(*k));
    if (!k)
        return ERR_NOMEM;
    pace(p);
    k->set = p;
    k->node = *w->node;
    k->done = w->done;
    k->arg = w->arg;
    struct http_transfer_options opt = {
        .url = w->url,
        .ca_file = w->ca,
        .any_name = w->ca != NULL,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .head_timeout_ms = HEAD_TIMEOUT_MS,
        .stall_timeout_ms = HEAD_TIMEOUT_MS,
        .on = {.head = on_head, .data = on_data, .end = on_end},
        .arg = k,
    };
    int rc = http_transfer_start(p->client, &opt, &k->transfer);
    if (rc) {
        free(k);
        return rc;
    }
    if (w->done) {
        *out = k;
        return 0;
    }
    struct heard *h = place_of(p, w->node);
    if (node_key_equal(&h->node, w->node))
        h->asked_ms = uv_now(p->loop);
    k->at = &p->alone;
    k->next = p->alone;
    if (k->next)
        k->next->at = &k->next;
    p->alone = k;
    return 0;
}

void probe_cancel(struct probe *k)
{
    http_transfer_cancel(k->transfer);
    free(k);
}
