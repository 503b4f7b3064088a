/* probes.c - see probes.h. */
#include "tracker/probes.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/clock.h"

#define CONNECT_TIMEOUT_MS 1000
#define HEAD_TIMEOUT_MS    2000
#define WHOLE_TIMEOUT_MS   3000 /* users wait for it */

/* One that runs; it ends by itself, whoever leaves. */
struct question {
    struct probes *set;
    struct question *next, **at;
    struct http_transfer *transfer;
    struct probe *waiters;
    struct node_key node;
    u64 asked_ms;
    bool up;
    i64 off_ms; /* its clock; INT64_MAX: it did not say */
};

struct probe {
    struct probe *next, **at;
    void (*done)(void *arg, bool up);
    void *arg;
};

struct probes {
    uv_loop_t *loop;
    struct http_client *client;
    struct pulse *pulse;
    struct question *first;
};

int probes_new(struct probes **out, uv_loop_t *loop, struct http_client *client)
{
    struct probes *p = *out = calloc(1, sizeof(*p));
    if (!p)
        return ERR_NOMEM;
    p->loop = loop;
    p->client = client;
    return pulse_new(&p->pulse);
}

void probes_del(struct probes *p)
{
    if (!p)
        return;
    for (struct question *q = p->first, *next; q; q = next) {
        next = q->next;
        free(q);
    }
    pulse_del(p->pulse);
    free(p);
}

struct pulse *probes_pulse(struct probes *p)
{
    return p->pulse;
}

static void on_head(void *arg, const struct http_response *r)
{
    struct question *q = arg;
    const char *date = http_response_field(r, "Date");
    struct tm tm = {.tm_year = 0};
    q->up = r->status == 200;
    if (!date || !strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &tm))
        return;
    q->off_ms = (i64)timegm(&tm) * 1000 - (i64)wall_ms();
}

void probe_cancel(struct probe *k)
{
    *k->at = k->next;
    if (k->next)
        k->next->at = k->at;
    free(k);
}

/* Nobody joins it any more. */
static void question_out(struct question *q)
{
    *q->at = q->next;
    if (q->next)
        q->next->at = q->at;
}

static void on_end(void *arg, int err, const char *why)
{
    struct question *q = arg;
    bool up = err == 0 && q->up;
    u64 now = uv_now(q->set->loop);
    (void)why;
    if (up)
        pulse_answered(q->set->pulse, &q->node, q->off_ms, now);
    else
        pulse_silent(q->set->pulse, &q->node, now);
    question_out(q);
    for (struct probe *k; (k = q->waiters) != NULL;) {
        void (*done)(void *arg, bool up) = k->done;
        void *done_arg = k->arg;
        q->waiters = k->next;
        if (k->next)
            k->next->at = &q->waiters;
        free(k);
        done(done_arg, up);
    }
    free(q);
}

static int begin(struct probes *p, const struct probe_wish *w, struct question **out)
{
    struct question *q = *out = calloc(1, sizeof(*q));
    if (!q)
        return ERR_NOMEM;
    q->set = p;
    q->node = *w->node;
    q->asked_ms = uv_now(p->loop);
    q->off_ms = INT64_MAX;
    struct http_transfer_options opt = {
        .url = w->url,
        .ca_file = w->ca,
        .any_name = w->ca != NULL,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .head_timeout_ms = HEAD_TIMEOUT_MS,
        .stall_timeout_ms = HEAD_TIMEOUT_MS,
        .whole_timeout_ms = WHOLE_TIMEOUT_MS,
        .on = {.head = on_head, .end = on_end},
        .arg = q,
    };
    int rc = http_transfer_start(p->client, &opt, &q->transfer);
    if (rc) {
        free(q);
        return rc;
    }
    q->at = &p->first;
    q->next = p->first;
    if (q->next)
        q->next->at = &q->next;
    p->first = q;
    pulse_asks(p->pulse, w->node, !w->done, q->asked_ms);
    return 0;
}

int probes_ask(struct probes *p, const struct probe_wish *w, struct probe **out)
{
    struct probe *k = w->done ? calloc(1, sizeof(*k)) : NULL;
    struct question *q = p->first;
    if (w->done && !k)
        return ERR_NOMEM;
    while (q && (!node_key_equal(&q->node, w->node) || q->asked_ms < w->since_ms))
        q = q->next;
    int rc = q ? 0 : begin(p, w, &q);
    if (rc || !k) {
        free(k);
        return rc;
    }
    k->done = w->done;
    k->arg = w->arg;
    k->at = &q->waiters;
    k->next = q->waiters;
    if (k->next)
        k->next->at = &k->next;
    q->waiters = k;
    *out = k;
    return 0;
}
