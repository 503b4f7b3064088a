/* probes.c - see probes.h. */
#include "tracker/probes.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/clock.h"

#define CONNECT_TIMEOUT_MS 1000
#define HEAD_TIMEOUT_MS    2000
#define WHOLE_TIMEOUT_MS   3000 /* users wait for it */

struct probes {
    uv_loop_t *loop;
    struct http_client *client;
    struct pulse *pulse;
    struct probe *alone; /* those that nobody waits for */
};

struct probe {
    struct probes *set;
    struct probe *next, **at; /* among `alone` */
    struct http_transfer *transfer;
    struct node_key node;
    void (*done)(void *arg, bool up);
    void *arg;
    bool up;
    i64 off_ms; /* its clock; INT64_MAX: it did not say */
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
    while (p->alone) {
        struct probe *k = p->alone;
        p->alone = k->next;
        free(k);
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
    struct probe *k = arg;
    const char *date = http_response_field(r, "Date");
    struct tm tm = {.tm_year = 0};
    k->up = r->status == 200;
    if (!date || !strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &tm))
        return;
    k->off_ms = (i64)timegm(&tm) * 1000 - (i64)wall_ms();
}

static void on_end(void *arg, int err, const char *why)
{
    struct probe *k = arg;
    bool up = err == 0 && k->up;
    (void)why;
    u64 now = uv_now(k->set->loop);
    if (up)
        pulse_answered(k->set->pulse, &k->node, k->off_ms, now);
    else
        pulse_silent(k->set->pulse, &k->node, now);
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
    pulse_asks(p->pulse, w->node, !w->done, uv_now(p->loop));
    k->set = p;
    k->node = *w->node;
    k->off_ms = INT64_MAX;
    k->done = w->done;
    k->arg = w->arg;
    struct http_transfer_options opt = {
        .url = w->url,
        .ca_file = w->ca,
        .any_name = w->ca != NULL,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .head_timeout_ms = HEAD_TIMEOUT_MS,
        .stall_timeout_ms = HEAD_TIMEOUT_MS,
        .whole_timeout_ms = WHOLE_TIMEOUT_MS,
        .on = {.head = on_head, .end = on_end},
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
