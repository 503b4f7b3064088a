/* circle.c - see circle.h.
 *
 * With each of the others, one request after the other:
 *
 *     WAITING --due, or a change here--> SUMS --they differ--> SWAP --> SUMS ...
 *        ^                                 |--equal, failed, or nothing changes any more
 *        '---------------------------------'
 *        '--a login to tell--> LOGINS */
#include "tracker/circle.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"
#include "runtime/log.h"
#include "tracker/envelope.h"
#include "tracker/logins.h"
#include "tracker/tracker_internal.h"

#define TICK_MS      200
#define PERIOD_MS    3000  /* all is equal: compared again after that, and up to a third more */
#define STALLED_MS   30000 /* they differ, and nothing changes: one of us is full */
#define FAILED_MS    500   /* times the failures in a row */
#define FAILURES_MAX 8
#define CONNECT_MS   2000
#define HEAD_MS      5000
#define WHOLE_MS     30000 /* one that never ends would be told nothing any more */
#define QUEUE        LOGINS_MAX

enum step { WAITING, SUMS, SWAP, LOGINS };

struct queued {
    u8 user[TICKET_USER_BYTES];
    char *repository, *authorization;
    u64 until_ms;
};

struct other {
    struct circle *circle;
    const char *url; /* borrowed from the config */
    enum step step;
    struct http_transfer *transfer;
    u8 nonce[ENVELOPE_NONCE], round[32];
    u8 *reply; /* ENVELOPE_MAX */
    size_t reply_len;
    int status;
    u64 due_ms, heard_ms; /* the loop's time; 0: never */
    unsigned failures;
    bool kicked; /* while a request ran */
    bool self;   /* this is ourselves */
    struct queued queue[QUEUE];
    size_t n_queue;
};

struct circle {
    struct tracker *t;
    struct envelope_keys keys;
    struct envelope_sender self;
    uv_timer_t timer;
    bool stopping;
    u64 *sent, *failed, *refused, *taken;
    size_t n;
    struct other others[];
};

static u8 plain[LEDGER_BYTES_MAX + ENVELOPE_OVERHEAD], sealed[ENVELOPE_MAX]; /* one thread */

static u64 now_ms(const struct circle *c)
{
    return uv_now(c->t->loop);
}

static void on_tick(uv_timer_t *timer);

static void wake(struct circle *c)
{
    if (c->n && !c->stopping)
        uv_timer_start(&c->timer, on_tick, 0, TICK_MS);
}

/* --- logins that wait ------------------------------------------------------------------------ */

static void queued_free(struct queued *q)
{
    if (q->authorization)
        sodium_memzero(q->authorization, strlen(q->authorization));
    free(q->authorization);
    free(q->repository);
    memset(q, 0, sizeof(*q));
}

static void queue_drop(struct other *o, size_t n)
{
    for (size_t i = 0; i < n; i++)
        queued_free(&o->queue[i]);
    memmove(o->queue, o->queue + n, (o->n_queue - n) * sizeof(o->queue[0]));
    memset(o->queue + o->n_queue - n, 0, n * sizeof(o->queue[0]));
    o->n_queue -= n;
}

void circle_login(struct circle *c, const u8 user[TICKET_USER_BYTES], const char *repository,
                  const char *authorization, u64 until_ms)
{
    for (size_t i = 0; i < c->n; i++) {
        struct other *o = &c->others[i];
        if (o->self || o->failures || strlen(authorization) > LOGINS_AUTH_MAX)
            continue;
        if (o->n_queue == QUEUE)
            queue_drop(o, 1);
        struct queued q = {.repository = strdup(repository),
                           .authorization = strdup(authorization),
                           .until_ms = until_ms};
        memcpy(q.user, user, sizeof(q.user));
        if (!q.repository || !q.authorization)
            queued_free(&q);
        else
            o->queue[o->n_queue++] = q;
    }
    wake(c);
}

/* --- asking ---------------------------------------------------------------------------------- */

static void ended_well(struct other *o, u64 wait_ms)
{
    struct circle *c = o->circle;
    if (o->failures)
        log_with(LOG_INFO, "another tracker answers again", LOG_STR("tracker", o->url));
    o->failures = 0;
    o->heard_ms = now_ms(c);
    o->step = WAITING;
    o->due_ms = o->kicked ? 0 : now_ms(c) + wait_ms + randombytes_uniform((u32)(wait_ms / 3) + 1);
    o->kicked = false;
    *c->sent += 1;
}

static void ended_badly(struct other *o, const char *why)
{
    struct circle *c = o->circle;
    if (!o->failures)
        log_with(LOG_WARN, "another tracker cannot be told: it catches up when it answers",
                 LOG_STR("tracker", o->url), LOG_NUM("status", o->status), LOG_STR("why", why));
    if (o->failures < FAILURES_MAX)
        o->failures++;
    queue_drop(o, o->n_queue);
    o->step = WAITING;
    o->kicked = false;
    o->due_ms = now_ms(c) + (u64)FAILED_MS * o->failures;
    *c->failed += 1;
}

static void on_head(void *arg, const struct http_response *a)
{
    struct other *o = arg;
    o->status = a->status;
}

static enum http_data_verdict on_data(void *arg, const void *data, size_t len)
{
    struct other *o = arg;
    size_t room = ENVELOPE_MAX - o->reply_len;
    memcpy(o->reply + o->reply_len, data, len < room ? len : room);
    o->reply_len += len < room ? len : room; /* what is longer does not open */
    return HTTP_DATA_TAKEN;
}

static void on_end(void *arg, int err, const char *why);

static int post(struct other *o, enum step step, size_t len)
{
    struct circle *c = o->circle;
    char url[CONF_WHY_MAX];
    const char *ca = c->t->config->tls.ca;
    static const char *const fields[] = {"Content-Type: application/octet-stream"};
    size_t n = envelope_seal(&c->keys, &c->self, NULL, plain, len, sealed, o->nonce);
    if (!o->reply && !(o->reply = malloc(ENVELOPE_MAX)))
        return ERR_NOMEM;
    snprintf(url, sizeof(url), "%.400s" CIRCLE_PATH, o->url);
    struct http_transfer_options opt = {
        .method = "POST",
        .url = url,
        .fields = fields,
        .n_fields = countof(fields),
        .body = sealed,
        .body_len = n,
        .ca_file = ca,
        .any_name = ca != NULL, /* who it is, the envelope shows */
        .connect_timeout_ms = CONNECT_MS,
        .head_timeout_ms = HEAD_MS,
        .stall_timeout_ms = HEAD_MS,
        .whole_timeout_ms = WHOLE_MS,
        .on = {.head = on_head, .data = on_data, .end = on_end},
        .arg = o,
    };
    o->step = step;
    o->status = 0;
    o->reply_len = 0;
    return http_transfer_start(c->t->client, &opt, &o->transfer);
}

static int ask_sums(struct other *o)
{
    return post(o, SUMS, ledger_sums(users_ledger(o->circle->t->users), plain));
}

static int tell_logins(struct other *o)
{
    struct logins_out out;
    size_t n = 0;
    logins_begin(&out, plain);
    for (; n < o->n_queue; n++) {
        struct kept_login l = {.authorization = o->queue[n].authorization,
                               .authorization_len = strlen(o->queue[n].authorization),
                               .until_ms = o->queue[n].until_ms};
        memcpy(l.user, o->queue[n].user, sizeof(l.user));
        snprintf(l.repository, sizeof(l.repository), "%s", o->queue[n].repository);
        if (!logins_add(&out, &l))
            break;
    }
    queue_drop(o, n);
    int rc = post(o, LOGINS, logins_end(&out));
    sodium_memzero(plain, sizeof(plain));
    return rc;
}

static void drive(struct other *o)
{
    int rc = 0;
    if (o->transfer || o->self || o->circle->keys.n == 0)
        return;
    if (o->n_queue)
        rc = tell_logins(o);
    else if (now_ms(o->circle) >= o->due_ms)
        rc = ask_sums(o);
    if (rc)
        ended_badly(o, err_text(rc));
}

/* They differ: what each lacks is exchanged, unless it was just tried in vain. */
static void on_have(struct other *o, const u8 *message, size_t len)
{
    const struct ledger *ledger = users_ledger(o->circle->t->users);
    u8 round[32];
    crypto_generichash_state st;
    size_t n;
    if (ledger_swap(ledger, message, len, plain, &n)) {
        ended_badly(o, "its answer is malformed");
        return;
    }
    if (n == 0) {
        ended_well(o, PERIOD_MS);
        return;
    }
    crypto_generichash_init(&st, NULL, 0, sizeof(round));
    crypto_generichash_update(&st, message, len);
    crypto_generichash_update(&st, plain, n);
    crypto_generichash_final(&st, round, sizeof(round));
    bool in_vain = memcmp(round, o->round, sizeof(round)) == 0;
    memcpy(o->round, round, sizeof(round));
    if (in_vain)
        ended_well(o, STALLED_MS);
    else if (post(o, SWAP, n))
        ended_badly(o, "out of memory");
}

static void on_take(struct other *o, const u8 *message, size_t len)
{
    struct circle *c = o->circle;
    int rc = users_take(c->t->users, message, len);
    if (rc > 0)
        *c->taken += (u64)rc;
    if (rc == ERR_BUSY)
        ended_well(o, PERIOD_MS);
    else if (rc < 0)
        ended_badly(o, "its answer is malformed");
    else if (ask_sums(o)) /* is it all? */
        ended_badly(o, "out of memory");
}

/* Somebody with our id answered: we, or one that was made from a copy of our folder. */
static bool is_self(struct other *o, const struct envelope_sender *from)
{
    struct circle *c = o->circle;
    if (memcmp(from->id, c->self.id, sizeof(from->id)) != 0)
        return false;
    o->self = true;
    o->step = WAITING;
    queue_drop(o, o->n_queue);
    if (memcmp(from->boot, c->self.boot, sizeof(from->boot)) != 0)
        log_with(LOG_ERROR,
                 "another tracker has this one's id, as when its `users` folder was copied: stop "
                 "it, and start it with an empty one; it is told nothing until then",
                 LOG_STR("tracker", o->url));
    return true;
}

static void on_end(void *arg, int err, const char *why)
{
    struct other *o = arg;
    struct circle *c = o->circle;
    struct envelope_sender from;
    size_t len;
    o->transfer = NULL;
    if (err || o->status != 200) {
        ended_badly(o, err                ? why
                       : o->status == 403 ? "refused: have both the same ticket_key?"
                                          : "");
        return;
    }
    if (envelope_open(&c->keys, o->nonce, o->reply, o->reply_len, &from, sealed, &len, NULL)) {
        ended_badly(o, "its answer does not open: have both the same ticket_key?");
        return;
    }
    if (is_self(o, &from))
        return;
    switch (o->step) {
    case SUMS: on_have(o, sealed, len); break;
    case SWAP: on_take(o, sealed, len); break;
    case LOGINS:
        o->step = WAITING;
        o->heard_ms = now_ms(c);
        o->due_ms = o->kicked ? 0 : o->due_ms;
        o->kicked = false;
        break;
    case WAITING: break;
    }
    drive(o); /* what came up meanwhile */
}

static void on_tick(uv_timer_t *timer)
{
    struct circle *c = timer->data;
    for (size_t i = 0; i < c->n; i++)
        drive(&c->others[i]);
}

void circle_kick(struct circle *c)
{
    for (size_t i = 0; c && i < c->n; i++) {
        struct other *o = &c->others[i];
        o->kicked = o->step != WAITING;
        if (!o->failures)
            o->due_ms = 0;
    }
    if (c)
        wake(c);
}

/* --- being asked ----------------------------------------------------------------------------- */

bool circle_takes(struct http_slice target)
{
    static const char path[] = CIRCLE_PATH;
    return target.n == sizeof(path) - 1 && memcmp(target.p, path, target.n) == 0;
}

static void refuse(struct circle *c, struct http_exchange *x, int status, const char *message)
{
    *c->refused += status != 503;
    tracker_count(c->t, ROUTE_PEER, status);
    http_reply_oci_status(x, status,
                          status == 403   ? OCI_DENIED
                          : status == 503 ? OCI_UNAVAILABLE
                                          : OCI_UNSUPPORTED,
                          message, NULL);
}

static int keep_logins(struct circle *c, const u8 *message, size_t len)
{
    struct tracker *t = c->t;
    struct logins_in in;
    struct kept_login l;
    char value[LOGINS_AUTH_MAX + 1];
    u64 wall = wall_ms(), now = now_ms(c);
    if (logins_read(&in, message, len))
        return ERR_PROTO;
    while (logins_next(&in, &l)) {
        snprintf(value, sizeof(value), "%.*s", (int)l.authorization_len,
                 l.authorization_len ? l.authorization : "");
        if (l.until_ms > wall)
            grants_keep_foreign(t->grants, l.user, l.repository, value, now + (l.until_ms - wall),
                                now);
    }
    sodium_memzero(value, sizeof(value));
    return 0;
}

/* The answer to a message, in `plain`. */
static int answer(struct circle *c, const u8 *message, size_t len, size_t *out_len)
{
    const struct ledger *ledger = users_ledger(c->t->users);
    *out_len = 0;
    if (keep_logins(c, message, len) == 0)
        return 0;
    if (ledger_have(ledger, message, len, plain, out_len) == 0)
        return 0;
    int taken = users_take(c->t->users, message, len);
    if (taken < 0)
        return taken;
    *c->taken += (u64)taken;
    return ledger_take(ledger, message, len, plain, out_len);
}

void circle_begin(struct circle *c, struct http_exchange *x)
{
    const struct http_request *q = http_request(x);
    static u8 message[ENVELOPE_MAX];
    struct envelope_sender from;
    u8 nonce[ENVELOPE_NONCE];
    size_t len, out_len;
    if (q->method != HTTP_POST) {
        http_add(x, "Allow", "POST");
        refuse(c, x, 405, "use POST");
        return;
    }
    if (c->keys.n == 0 ||
        envelope_open(&c->keys, NULL, q->body.p, q->body.n, &from, message, &len, nonce)) {
        refuse(c, x, 403, "for the trackers behind this name alone");
        return;
    }
    bool ours = memcmp(from.id, c->self.id, sizeof(from.id)) == 0;
    int rc = ours ? 0 : answer(c, message, len, &out_len);
    sodium_memzero(message, len);
    if (rc) {
        refuse(c, x, rc == ERR_PROTO ? 400 : 503, err_text(rc));
        return;
    }
    size_t n = envelope_seal(&c->keys, &c->self, nonce, plain, ours ? 0 : out_len, sealed, NULL);
    tracker_count(c->t, ROUTE_PEER, 200);
    http_reply_text(x, 200, "application/octet-stream", (const char *)sealed, n);
}

/* --- life ------------------------------------------------------------------------------------ */

static void count(struct circle *c)
{
    struct metrics *m = c->t->metrics;
    static const char name[] = "dray_tracker_exchanges_total",
                      help[] = "Exchanges with the other trackers, by what came of them.";
    c->sent = metrics_counter(m, name, "result=\"ok\"", help);
    c->failed = metrics_counter(m, name, "result=\"failed\"", help);
    c->refused = metrics_counter(m, name, "result=\"refused\"", help);
    c->taken = metrics_counter(m, "dray_tracker_entries_total", "",
                               "Profiles, teams and revocations taken over from other trackers.");
}

void circle_reload(struct circle *c)
{
    c->keys.n = grants_circle_keys(c->t->grants, c->keys.keys);
    for (size_t i = 0; i < c->n; i++)
        c->others[i].self = false;
}

struct circle *circle_new(struct tracker *t)
{
    size_t n = t->config->n_trackers;
    struct circle *c = calloc(1, sizeof(*c) + n * sizeof(c->others[0]));
    if (!c)
        return NULL;
    c->t = t;
    c->n = n;
    for (size_t i = 0; i < n; i++) {
        c->others[i].circle = c;
        c->others[i].url = t->config->trackers[i];
    }
    memcpy(c->self.id, users_id(t->users), sizeof(c->self.id));
    randombytes_buf(c->self.boot, sizeof(c->self.boot));
    circle_reload(c);
    count(c);
    uv_timer_init(t->loop, &c->timer);
    c->timer.data = c;
    if (n)
        uv_timer_start(&c->timer, on_tick, 0, TICK_MS);
    return c;
}

void circle_stop(struct circle *c)
{
    if (!c || c->stopping)
        return;
    c->stopping = true;
    for (size_t i = 0; i < c->n; i++) {
        if (c->others[i].transfer)
            http_transfer_cancel(c->others[i].transfer);
        c->others[i].transfer = NULL;
    }
    uv_close((uv_handle_t *)&c->timer, NULL);
}

void circle_del(struct circle *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++) {
        queue_drop(&c->others[i], c->others[i].n_queue);
        free(c->others[i].reply);
    }
    sodium_memzero(&c->keys, sizeof(c->keys));
    free(c);
}

/* --- looking on ------------------------------------------------------------------------------ */

static const char *state_of(const struct other *o)
{
    return o->self ? "self" : o->failures ? "away" : o->heard_ms ? "ok" : "untried";
}

json_t *circle_report(const struct circle *c)
{
    json_t *all = json_array();
    for (size_t i = 0; i < c->n; i++) {
        const struct other *o = &c->others[i];
        json_t *heard = o->heard_ms ? json_integer((json_int_t)((now_ms(c) - o->heard_ms) / 1000))
                                    : json_null();
        json_array_append_new(all, json_pack("{s:s, s:s, s:o}", "url", o->url, "state", state_of(o),
                                             "heard_s", heard));
    }
    return all;
}

size_t circle_away(const struct circle *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        n += !c->others[i].self && c->others[i].failures > 0;
    return n;
}
