/* revocations.c - see revocations.h. Revocations are numbered; of each node it is known up to which
 * it was told, and what is newer goes to it in one message. */
#include "tracker/revocations.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/limits.h"
#include "proto/revoke.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/region_ask.h"
#include "tracker/tracker_internal.h"

#define TICK_MS      250
#define TIMEOUT_MS   3000
#define RETRY_MS     500 /* times the failures in a row */
#define FAILURES_MAX 8
#define BUCKETS      1024
/* Of a ticket issued at the moment of the revocation, by a clock that is ahead, at a node whose
 * clock is behind. */
#define LIFE_S (TICKET_LIFE_S + 3 * TICKET_SLACK_S)

struct told {
    struct told *next;
    struct revocations *set;
    struct node_key key;
    char name[MEMBER_TEXT_MAX + 1];
    u64 until_number; /* told up to here */
    u64 telling;      /* up to here by the transfer that runs */
    struct http_transfer *transfer;
    int status;
    unsigned failures;
    u64 due_ms;
};

struct revocations {
    struct tracker *t;
    uv_timer_t timer;
    bool stopping;
    u64 number; /* of the latest */
    struct {
        struct revoke what;
        u64 number, end_s;
    } recent[REVOKE_MAX];
    size_t n;
    struct told *buckets[BUCKETS];
};

/* --- whom ------------------------------------------------------------------------------------ */

static struct told *told_of(struct revocations *r, const struct member_record *m)
{
    struct told **at = &r->buckets[node_key_word(&m->key) % BUCKETS];
    while (*at && !node_key_equal(&(*at)->key, &m->key))
        at = &(*at)->next;
    if (!*at && (*at = calloc(1, sizeof(**at))) != NULL) {
        (*at)->set = r;
        (*at)->key = m->key;
    }
    if (*at)
        snprintf((*at)->name, sizeof((*at)->name), "%s", m->name);
    return *at;
}

static void forget_all(struct revocations *r)
{
    for (size_t i = 0; i < BUCKETS; i++)
        while (r->buckets[i]) {
            struct told *k = r->buckets[i];
            r->buckets[i] = k->next;
            if (k->transfer && !r->stopping)
                http_transfer_cancel(k->transfer);
            free(k);
        }
}

/* --- telling --------------------------------------------------------------------------------- */

static void on_head(void *arg, const struct http_response *a)
{
    struct told *k = arg;
    k->status = a->status;
}

static void on_end(void *arg, int err, const char *why)
{
    struct told *k = arg;
    k->transfer = NULL;
    if (!err && k->status >= 200 && k->status < 300) {
        k->until_number = k->telling;
        k->failures = 0;
        return;
    }
    if (!k->failures)
        log_with(LOG_WARN, "a node could not be told of a revocation: it is told again",
                 LOG_STR("node", k->name), LOG_NUM("status", k->status), LOG_STR("why", why));
    if (k->failures < FAILURES_MAX)
        k->failures++;
    k->due_ms = uv_now(k->set->t->loop) + (u64)RETRY_MS * k->failures;
}

/* What this node has not heard; its length, 0: nothing. */
static size_t message(const struct revocations *r, const struct told *k, u8 out[REVOKE_BYTES_MAX])
{
    struct revoke all[REVOKE_MAX];
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++)
        if (r->recent[i].number > k->until_number)
            all[n++] = r->recent[i].what;
    return n ? revoke_pack(all, n, out) : 0;
}

static bool tell(struct revocations *r, struct region *region, const struct member_record *m)
{
    u8 body[REVOKE_BYTES_MAX];
    struct told *k = told_of(r, m);
    if (!k || k->transfer || uv_now(r->t->loop) < k->due_ms)
        return false;
    size_t len = message(r, k, body);
    if (len == 0)
        return false;
    const struct region_to to = {.key = &m->key, .addr = &m->addr, .path = REVOKE_PATH};
    const struct http_transfer_options opt = {
        .method = "POST",
        .body = body,
        .body_len = len,
        .connect_timeout_ms = TIMEOUT_MS,
        .head_timeout_ms = TIMEOUT_MS,
        .on = {.head = on_head, .end = on_end},
        .arg = k,
    };
    k->telling = r->number;
    k->status = 0;
    return region_ask(region, r->t->client, &to, &opt, &k->transfer) == 0;
}

size_t revocations_send(struct revocations *r)
{
    size_t n = 0;
    for (size_t i = 0; i < regions_count(r->t->regions); i++) {
        struct region *region = regions_at(r->t->regions, i);
        struct mesh *m = region_mesh(region);
        struct member_view v;
        size_t at = 0;
        while (m && member_each(mesh_member(m), &at, &v))
            if (v.record->role == MEMBER_NODE && v.state <= MEMBER_SUSPECT)
                n += tell(r, region, v.record);
        region_kick(region);
    }
    return n;
}

/* --- what is told ---------------------------------------------------------------------------- */

static void drop(struct revocations *r, size_t i)
{
    memmove(&r->recent[i], &r->recent[i + 1], (r->n - i - 1) * sizeof(r->recent[0]));
    r->n--;
}

static void on_tick(uv_timer_t *timer)
{
    struct revocations *r = timer->data;
    u64 now_s = wall_ms() / 1000;
    for (size_t i = r->n; i-- > 0;)
        if (now_s >= r->recent[i].end_s)
            drop(r, i);
    if (r->n > 0) {
        (void)revocations_send(r);
        return;
    }
    uv_timer_stop(&r->timer);
    forget_all(r);
}

void revocations_add(struct revocations *r, const u8 user[TICKET_USER_BYTES], u64 until_s)
{
    u64 now_s = wall_ms() / 1000;
    if (until_s + LIFE_S <= now_s || r->stopping)
        return;
    if (r->n == REVOKE_MAX) {
        log_warn("more users are revoked than nodes can be told at a time: tickets of one end by "
                 "themselves");
        drop(r, 0);
    }
    memcpy(r->recent[r->n].what.user, user, TICKET_USER_BYTES);
    r->recent[r->n].what.until_s = until_s;
    r->recent[r->n].number = ++r->number;
    /* Not by its own date: that is another tracker's clock, perhaps. */
    r->recent[r->n++].end_s = now_s + LIFE_S;
    if (!uv_is_active((uv_handle_t *)&r->timer))
        uv_timer_start(&r->timer, on_tick, TICK_MS, TICK_MS);
}

/* --- life ------------------------------------------------------------------------------------ */

struct revocations *revocations_new(struct tracker *t)
{
    struct revocations *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->t = t;
    uv_timer_init(t->loop, &r->timer);
    r->timer.data = r;
    return r;
}

void revocations_stop(struct revocations *r)
{
    if (!r || r->stopping)
        return;
    r->stopping = true;
    uv_close((uv_handle_t *)&r->timer, NULL);
}

void revocations_del(struct revocations *r)
{
    if (r)
        forget_all(r);
    free(r);
}
