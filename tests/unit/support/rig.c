/* rig.c - see rig.h. */
#include "support/rig.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/clock.h"
#include "runtime/log.h"
#include "store/hash.h"

#define BEAT_MS     2
#define QUIET_TURNS 25 /* turns of the loop, a beat each, without any change */

u64 rig_timer_max_ms;

int uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, u64 timeout, u64 repeat)
{
    static int (*real)(uv_timer_t *, uv_timer_cb, u64, u64);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "uv_timer_start");
    if (rig_timer_max_ms > 0 && timeout > rig_timer_max_ms)
        timeout = rig_timer_max_ms;
    return real(timer, cb, timeout, repeat);
}

/* --- opening and closing ---------------------------------------------------------------------- */

static void on_beat(uv_timer_t *t)
{
    (void)t;
}

void rig_path(const struct rig *r, const char *name, char out[128])
{
    int n = snprintf(out, 128, "%s/%s", r->dir, name);
    assert_true(n > 0 && n < 128);
}

static void open_store(struct rig *r)
{
    char path[128], why[256] = "";
    rig_path(r, "store", path);
    struct store_options opt = {
        .path = path, .capacity_bytes = r->capacity_bytes, .now_ms = wall_ms()};
    struct store_opened found;
    int rc = store_open(&r->store, &opt, &found, why);
    if (rc)
        fail_msg("store: %s", why);
    struct fills_options fills = {
        .loop = &r->loop,
        .store = r->store,
        .disk = r->disk,
        .hash = r->hash,
        .metrics = r->metrics,
        .history = r->history,
        .pace = &r->pace,
        .peers = r->peers,
    };
    assert_int_equal(fills_new(&r->fills, &fills), 0);
}

void rig_open(struct rig *r, u64 capacity_bytes)
{
    memset(r, 0, sizeof(*r));
    log_setup(LOG_AUDIT, LOG_TEXT, "test");
    assert_true(sodium_init() >= 0);
    snprintf(r->dir, sizeof(r->dir), "/tmp/dray-unit-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    r->capacity_bytes = capacity_bytes;
    assert_int_equal(uv_loop_init(&r->loop), 0);
    uv_timer_init(&r->loop, &r->beat);
    uv_timer_start(&r->beat, on_beat, BEAT_MS, BEAT_MS);
    assert_int_equal(pool_new(&r->disk, &r->loop, 2, "disk"), 0);
    assert_int_equal(pool_new(&r->hash, &r->loop, 2, "hash"), 0);
    pace_init(&r->pace, &r->loop, 0);
    assert_int_equal(metrics_new(&r->metrics), 0);
    assert_int_equal(history_new(&r->history), 0);
    struct http_client_options client = {.loop = &r->loop, .user_agent = "rig"};
    assert_int_equal(http_client_new(&r->http, &client), 0);
    struct peers_options peers = {.client = r->http, .metrics = r->metrics, .history = r->history};
    assert_int_equal(peers_new(&r->peers, &peers), 0);
    open_store(r);
}

struct upstream *rig_upstream(struct rig *r, const char *url, const char *const *allow,
                              const char *credentials, const char *ca_file)
{
    static char names[RIG_UPSTREAMS][16];
    char path[128], why[CONF_WHY_MAX] = "";
    size_t i = r->n_upstreams;
    assert_true(i < RIG_UPSTREAMS);
    struct upstream_config *c = &r->configs[i];
    snprintf(names[i], sizeof(names[i]), "registry-%zu", i);
    *c = (struct upstream_config){.name = names[i], .allow_hosts = (char **)allow};
    c->url = strdup(url);
    c->ca = ca_file ? strdup(ca_file) : NULL;
    while (allow && allow[c->n_allow_hosts])
        c->n_allow_hosts++;
    if (credentials) {
        snprintf(why, sizeof(why), "cred-%zu", i);
        rig_path(r, why, path);
        FILE *to = fopen(path, "w");
        assert_non_null(to);
        fputs(credentials, to);
        fclose(to);
        assert_int_equal(chmod(path, 0600), 0);
        c->credentials = strdup(path);
    }
    if (upstream_new(&r->upstreams[i], c, r->http, &r->loop, why))
        fail_msg("upstream: %s", why);
    r->n_upstreams++;
    return r->upstreams[i];
}

static bool no_fills(void *arg)
{
    const struct rig *r = arg;
    return fills_running(r->fills) == 0 && pool_pending(r->disk) == 0 && pool_pending(r->hash) == 0;
}

void rig_wait_idle(struct rig *r)
{
    rig_wait(r, no_fills, r);
}

static void end_fills(struct rig *r)
{
    fills_stop(r->fills);
    while (r->clients) {
        struct client *c = r->clients;
        client_leave(c);
        free(c->got);
        r->clients = c->next;
    }
    rig_wait_idle(r);
    fills_del(r->fills);
    store_close(r->store);
}

void rig_restart(struct rig *r)
{
    end_fills(r);
    open_store(r);
}

static void remove_tree(const char *path)
{
    char command[160];
    snprintf(command, sizeof(command), "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
}

void rig_close(struct rig *r)
{
    end_fills(r);
    for (size_t i = 0; i < r->n_upstreams; i++) {
        upstream_del(r->upstreams[i]);
        free(r->configs[i].url);
        free(r->configs[i].ca);
        free(r->configs[i].credentials);
    }
    http_client_del(r->http);
    pool_del(r->disk);
    pool_del(r->hash);
    pace_close(&r->pace);
    uv_close((uv_handle_t *)&r->beat, NULL);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    peers_del(r->peers);
    history_del(r->history);
    metrics_del(r->metrics);
    remove_tree(r->dir);
}

/* --- clients ---------------------------------------------------------------------------------- */

static void keep(struct client *c, const void *data, size_t n)
{
    if (c->len + n > c->cap) {
        c->cap = c->len + n > 2 * c->cap ? c->len + n : 2 * c->cap;
        c->got = realloc(c->got, c->cap);
        assert_non_null(c->got);
    }
    memcpy(c->got + c->len, data, n);
    c->len += n;
}

/* As a sender does: straight from the file. False: the body has none to show. */
static bool client_read_file(struct client *c, u64 left)
{
    u8 block[65536];
    int fd;
    u64 offset;
    i64 n = c->body->ops->run(c->body, &fd, &offset);
    if (n <= 0)
        return false;
    if ((u64)n > left)
        n = (i64)left;
    if (n > (i64)sizeof(block))
        n = sizeof(block);
    assert_int_equal(pread(fd, block, (size_t)n, (off_t)offset), n);
    keep(c, block, (size_t)n);
    c->body->ops->advance(c->body, (size_t)n);
    return true;
}

/* Reads what its body shows, now from the file, now as it comes. It looks only after a wake, so a
 * wake that is forgotten shows. */
static bool client_read(struct client *c)
{
    bool moved = false;
    while (c->body && !c->ended && c->woken && c->len < c->budget) {
        const void *data;
        u64 left = c->budget - c->len;
        moved = true;
        if (++c->looks % 2 == 0 && client_read_file(c, left))
            continue;
        ssize_t n = c->body->ops->peek(c->body, &data, left < 65536 ? (size_t)left : 65536);
        if (n == ERR_AGAIN) {
            c->woken = false;
        } else if (n <= 0) {
            c->ended = true;
            c->end_err = (int)n;
        } else {
            keep(c, data, (size_t)n);
            c->body->ops->advance(c->body, (size_t)n);
        }
    }
    return moved;
}

static void on_wake(void *arg)
{
    struct client *c = arg;
    c->woken = true;
}

static void on_ready(struct fill_waiter *w, struct fill *f)
{
    struct client *c = container_of(w, struct client, waiter);
    c->ready = true;
    c->size = fill_size(f);
    c->kept = fill_is_kept(f);
    c->woken = true;
    c->body = fill_body(f, c->first, c->end, on_wake, c);
    if (c->on_ready)
        c->on_ready(c);
}

static void on_failed(struct fill_waiter *w, int err, const char *why, const struct answer *refusal)
{
    struct client *c = container_of(w, struct client, waiter);
    c->failed = true;
    c->err = err;
    snprintf(c->why, sizeof(c->why), "%s", why);
    if (!refusal)
        return;
    c->refusal = refusal->status;
    snprintf(c->refusal_body, sizeof(c->refusal_body), "%.*s", (int)refusal->len,
             refusal->body ? (const char *)refusal->body : "");
    const char *challenge = answer_field(refusal, "WWW-Authenticate");
    snprintf(c->refusal_challenge, sizeof(c->refusal_challenge), "%s", challenge ? challenge : "");
}

void client_init(struct client *c, struct rig *r)
{
    struct client **at = &r->clients;
    while (*at && *at != c)
        at = &(*at)->next;
    if (*at) { /* the same once more */
        *at = c->next;
        client_leave(c);
        free(c->got);
    }
    memset(c, 0, sizeof(*c));
    c->rig = r;
    c->end = c->budget = UINT64_MAX;
    c->waiter.ready = on_ready;
    c->waiter.failed = on_failed;
    c->next = r->clients;
    r->clients = c;
}

int client_join_as(struct client *c, const struct digest *d, const struct fill_source *src)
{
    c->joined = fill_join(c->rig->fills, d, src, &c->waiter);
    return c->joined;
}

int client_join(struct client *c, const struct digest *d, const char *authorization)
{
    struct fill_source src = {
        .upstream = c->rig->upstreams[0],
        .repository = "team/app",
        .authorization = authorization,
        .proven = true,
    };
    return client_join_as(c, d, &src);
}

void client_leave(struct client *c)
{
    fill_leave(&c->waiter);
    if (c->body)
        c->body->ops->close(c->body);
    c->body = NULL;
}

static bool is_over(void *arg)
{
    const struct client *c = arg;
    return c->ended || c->failed;
}

void client_expect(struct client *c, const u8 *data, size_t len)
{
    rig_wait(c->rig, is_over, c);
    if (c->failed)
        fail_msg("the client failed: %d, %s", c->err, c->why);
    assert_int_equal(c->end_err, 0);
    assert_int_equal(c->len, len);
    assert_memory_equal(c->got ? c->got : (const u8 *)"", data, len);
    client_leave(c);
}

void client_expect_cut(struct client *c, const struct layer *l)
{
    rig_wait(c->rig, is_over, c);
    assert_false(c->failed);
    assert_true(c->end_err < 0);
    assert_true(c->len < l->len);
    assert_memory_equal(c->got ? c->got : (const u8 *)"", l->data, c->len);
    client_leave(c);
}

void client_expect_failed(struct client *c, int err)
{
    rig_wait(c->rig, is_over, c);
    assert_true(c->failed);
    assert_false(c->ready);
    assert_int_equal(c->err, err);
}

struct enough {
    const struct client *c;
    u64 n;
};

static bool has_enough(void *arg)
{
    const struct enough *e = arg;
    return e->c->len >= e->n || e->c->ended || e->c->failed;
}

void client_wait_bytes(struct client *c, u64 n)
{
    struct enough e = {c, n};
    rig_wait(c->rig, has_enough, &e);
    assert_true(c->len >= n);
}

/* --- waiting ---------------------------------------------------------------------------------- */

static bool read_all(struct rig *r)
{
    bool moved = false;
    for (struct client *c = r->clients; c; c = c->next)
        moved |= client_read(c);
    return moved;
}

void rig_turn(struct rig *r)
{
    uv_run(&r->loop, UV_RUN_NOWAIT);
    read_all(r);
}

void rig_wait(struct rig *r, bool (*met)(void *arg), void *arg)
{
    uv_update_time(&r->loop);
    u64 until = uv_now(&r->loop) + RIG_PATIENCE_MS;
    read_all(r);
    while (!met(arg)) {
        uv_run(&r->loop, UV_RUN_ONCE);
        fills_tick(r->fills);
        read_all(r);
        if (uv_now(&r->loop) > until)
            fail_msg("what the test waits for does not come");
    }
}

void rig_settle(struct rig *r)
{
    u64 bytes = fills_fetched_bytes(r->fills);
    for (int quiet = 0; quiet < QUIET_TURNS; quiet++) {
        uv_run(&r->loop, UV_RUN_ONCE);
        bool moved = read_all(r) || pool_pending(r->disk) > 0 || pool_pending(r->hash) > 0;
        if (moved || fills_fetched_bytes(r->fills) != bytes)
            quiet = 0;
        bytes = fills_fetched_bytes(r->fills);
    }
}

u64 rig_counter(struct rig *r, const char *name, const char *labels)
{
    return *metrics_counter(r->metrics, name, labels, NULL);
}

/* --- the store -------------------------------------------------------------------------------- */

bool rig_holds(struct rig *r, const struct layer *l)
{
    struct store_blob *pin;
    if (store_pin(r->store, &l->digest, wall_ms(), &pin))
        return false;
    assert_int_equal(store_blob_size(pin), l->len);
    u8 *data = malloc(l->len + 1);
    assert_non_null(data);
    assert_int_equal(pread(store_blob_fd(pin), data, l->len + 1, 0), l->len);
    assert_memory_equal(data, l->data, l->len);
    free(data);
    store_unpin(r->store, pin);
    return true;
}
