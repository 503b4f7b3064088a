/* watches.c - see watches.h. */
#include "tracker/watches.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/log.h"
#include "runtime/region_ask.h"
#include "tracker/tracker_internal.h"

#define PATH         "/mesh/v1/watch"
#define TICK_MS      200
#define CONNECT_MS   3000
#define SILENCE_MS   60000 /* a node sends a byte every 15 s */
#define AGAIN_MS     200   /* times the failures in a row */
#define FAILURES_MAX 10
#define UNKNOWN_MS   60000 /* a node that knows no lines */
#define BUCKETS      1024

struct watch {
    struct watch *next;
    struct watches *set;
    struct node_key key;
    char name[MEMBER_TEXT_MAX + 1];
    struct http_transfer *transfer;
    int status;
    bool held;
    bool seen; /* in this round: the mesh says that it is alive */
    unsigned failures;
    u64 due_ms;
};

struct watches {
    struct tracker *t;
    uv_timer_t timer;
    bool stopping;
    size_t held;
    struct watch *buckets[BUCKETS];
};

static u64 now_ms(const struct watches *w)
{
    return uv_now(w->t->loop);
}

static struct watch *watch_of(struct watches *w, const struct member_record *m)
{
    struct watch **at = &w->buckets[node_key_word(&m->key) % BUCKETS];
    while (*at && !node_key_equal(&(*at)->key, &m->key))
        at = &(*at)->next;
    if (!*at && (*at = calloc(1, sizeof(**at))) != NULL) {
        (*at)->set = w;
        (*at)->key = m->key;
        snprintf((*at)->name, sizeof((*at)->name), "%s", m->name);
    }
    return *at;
}

/* --- a line ---------------------------------------------------------------------------------- */

static void on_head(void *arg, const struct http_response *a)
{
    struct watch *k = arg;
    k->status = a->status;
    if (a->status != 200)
        return;
    k->held = true;
    k->failures = 0;
    k->set->held++;
    pulse_heard(probes_pulse(k->set->t->probes), &k->key, now_ms(k->set));
}

static enum http_data_verdict on_data(void *arg, const void *data, size_t len)
{
    (void)arg;
    (void)data;
    (void)len;
    return HTTP_DATA_TAKEN;
}

static void let_go(struct watch *k)
{
    if (k->held)
        k->set->held--;
    k->held = false;
}

static void on_end(void *arg, int err, const char *why)
{
    struct watch *k = arg;
    struct watches *w = k->set;
    k->transfer = NULL;
    if (k->held) {
        pulse_silent(probes_pulse(w->t->probes), &k->key, now_ms(w));
        log_with(LOG_INFO, "a node is gone: its line ended", LOG_STR("node", k->name),
                 LOG_STR("why", err ? why : "it ends"));
    }
    let_go(k);
    if (k->failures < FAILURES_MAX)
        k->failures++;
    k->due_ms = now_ms(w) +
                (k->status == 404 || k->status == 405 ? UNKNOWN_MS : (u64)AGAIN_MS * k->failures);
}

static void dial(struct watch *k, struct region *region, const struct member_record *m)
{
    const struct region_to to = {.key = &m->key, .addr = &m->addr, .path = PATH};
    const struct http_transfer_options opt = {
        .connect_timeout_ms = CONNECT_MS,
        .head_timeout_ms = CONNECT_MS,
        .stall_timeout_ms = SILENCE_MS,
        .on = {.head = on_head, .data = on_data, .end = on_end},
        .arg = k,
    };
    k->status = 0;
    if (region_ask(region, k->set->t->client, &to, &opt, &k->transfer) != 0)
        k->transfer = NULL;
    region_kick(region);
}

/* --- all of them ----------------------------------------------------------------------------- */

static void look(struct watches *w, struct region *region)
{
    struct mesh *m = region_mesh(region);
    struct member_view v;
    size_t at = 0;
    while (m && member_each(mesh_member(m), &at, &v)) {
        if (v.record->role != MEMBER_NODE || v.state > MEMBER_SUSPECT)
            continue;
        struct watch *k = watch_of(w, v.record);
        if (!k)
            continue;
        k->seen = true;
        if (!k->transfer && now_ms(w) >= k->due_ms)
            dial(k, region, v.record);
    }
}

static void drop(struct watch **at)
{
    struct watch *k = *at;
    *at = k->next;
    if (k->transfer)
        http_transfer_cancel(k->transfer);
    let_go(k);
    free(k);
}

static void on_tick(uv_timer_t *timer)
{
    struct watches *w = timer->data;
    for (size_t i = 0; i < regions_count(w->t->regions); i++)
        look(w, regions_at(w->t->regions, i));
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct watch **at = &w->buckets[i]; *at;) {
            bool gone = !(*at)->seen;
            (*at)->seen = false;
            if (gone)
                drop(at);
            else
                at = &(*at)->next;
        }
}

struct watches *watches_new(struct tracker *t)
{
    struct watches *w = calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    w->t = t;
    uv_timer_init(t->loop, &w->timer);
    w->timer.data = w;
    if (t->config->n_regions)
        uv_timer_start(&w->timer, on_tick, TICK_MS, TICK_MS);
    return w;
}

void watches_stop(struct watches *w)
{
    if (!w || w->stopping)
        return;
    w->stopping = true;
    for (size_t i = 0; i < BUCKETS; i++)
        while (w->buckets[i])
            drop(&w->buckets[i]);
    uv_close((uv_handle_t *)&w->timer, NULL);
}

void watches_del(struct watches *w)
{
    free(w);
}

size_t watches_held(const struct watches *w)
{
    return w->held;
}
