/* region_rig.h - real regions over loopback, on one loop: what tests of runtime/region.h and
 * node/holdings.h begin with. */
#pragma once

#include <fcntl.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/holdings.h"
#include "runtime/clock.h"
#include "runtime/http_server.h"
#include "runtime/log.h"
#include "runtime/region_impl.h"
#include "store/hash.h"
#include "support/server.h"
#include "tests/unit/remove_tree.h"

#define PATIENCE_MS 20000
#define NODES       4
#define KEY_A       "a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
#define KEY_B       "b:AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"

static char dir[64];
static uv_loop_t loop;

/* One node's half of what node.c puts together. */
struct one {
    char name[16], path[96], listen[64], key_file[96];
    char *seeds[4];
    struct node_config config;
    struct store *store;
    struct pool *disk;
    struct http_client *client;
    struct http_server *server;
    struct region *region;
    bool server_gone;
    struct digest purged;
    u64 until_ms;
    unsigned purges;
    int last_status;
};
static struct one ones[NODES];

static inline void on_request(void *ctx, struct http_exchange *x)
{
    struct one *o = ctx;
    o->last_status = region_talk(o->region, x);
}

static inline bool may_be_large(void *ctx, const struct http_request *q)
{
    (void)ctx;
    (void)q;
    return true;
}

static inline void on_purged(void *arg, const struct digest *d, u64 until_ms)
{
    struct one *o = arg;
    o->purged = *d;
    o->until_ms = until_ms;
    o->purges++;
    assert_int_equal(store_purge(o->store, d, wall_ms(), until_ms, NULL), 0);
}

static inline void on_opened(void *arg, struct region *r)
{
    struct one *o = arg;
    holdings_feed(r, o->store);
}

static inline void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, 0600), 0);
}

static inline void open_store(struct one *o)
{
    struct store_opened found;
    struct store_options opt = {.path = o->path, .capacity_bytes = 64 << 20, .now_ms = wall_ms()};
    char why[256];
    if (store_open(&o->store, &opt, &found, why))
        fail_msg("%s", why);
}

/* Listens at `ip`; the port is kept for a next start. */
static inline void listen_at(struct one *o, const char *ip)
{
    struct http_server_options opt = {.loop = &loop,
                                      .handler = on_request,
                                      .ctx = o,
                                      .large = may_be_large,
                                      .large_bytes = LIMIT_TALK_BYTES,
                                      .large_at_once = 4};
    char why[256];
    if (!o->listen[0])
        snprintf(o->listen, sizeof(o->listen), "%s:0", ip);
    assert_int_equal(http_server_new(&o->server, &opt), 0);
    if (http_listen_tcp(o->server, o->listen, NULL, why))
        fail_msg("%s", why);
    snprintf(o->listen, sizeof(o->listen), "%s:%u", ip, http_server_port(o->server));
}

static inline int region_start(struct one *o, char why[CONF_WHY_MAX])
{
    struct region_options opt = {.loop = &loop,
                                 .config = holdings_config(&o->config),
                                 .disk = o->disk,
                                 .client = o->client,
                                 .opened = on_opened,
                                 .purged = on_purged,
                                 .arg = o};
    return region_new(&o->region, &opt, why);
}

static inline void start(struct one *o, const char *ip, const char *const *seeds)
{
    struct http_client_options client = {.loop = &loop, .user_agent = "dray/test"};
    char why[CONF_WHY_MAX] = "";
    if (!o->name[0])
        snprintf(o->name, sizeof(o->name), "node-%zu", (size_t)(o - ones));
    snprintf(o->path, sizeof(o->path), "%s/%s", dir, o->name);
    snprintf(o->key_file, sizeof(o->key_file), "%s/%s.key", dir, o->name);
    if (access(o->key_file, F_OK) != 0)
        write_text(o->key_file, KEY_A);
    open_store(o);
    assert_int_equal(pool_new(&o->disk, &loop, 1, "disk"), 0);
    assert_int_equal(http_client_new(&o->client, &client), 0);
    listen_at(o, ip);
    o->server_gone = false;
    o->purges = 0;
    o->config = (struct node_config){.name = o->name,
                                     .region = (char *)"test",
                                     .rack = (char *)"r1",
                                     .listen = o->listen,
                                     .advertise = strstr(o->listen, "0.0.0.0") ? NULL : o->listen,
                                     .mesh_key = o->key_file,
                                     .seeds = o->seeds,
                                     .store.path = o->path};
    for (; seeds && *seeds; seeds++)
        o->seeds[o->config.n_seeds++] = (char *)(uintptr_t)*seeds;
    if (region_start(o, why))
        fail_msg("%s", why);
}

static inline void gone(void *arg)
{
    ((struct one *)arg)->server_gone = true;
}

#define until(condition)                                                                           \
    for (u64 since = uv_hrtime(); !(condition); usleep(200)) {                                     \
        if (uv_hrtime() - since > PATIENCE_MS * 1000000ull)                                        \
            fail_msg("waited in vain for " #condition);                                            \
        uv_run(&loop, UV_RUN_NOWAIT);                                                              \
    }

static inline void stop(struct one *o)
{
    if (!o->store)
        return;
    holdings_stop(o->store);
    region_stop(o->region);
    http_server_del(o->server, gone, o);
    until(o->server_gone && pool_pending(o->disk) == 0 && o->region->looking == 0);
    http_client_del(o->client);
    pool_del(o->disk);
    for (int i = 0; i < 50; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    region_del(o->region);
    store_close(o->store);
    o->store = NULL;
    o->region = NULL;
}

static inline size_t living(struct one *o)
{
    return member_count(mesh_member(region_mesh(o->region)), MEMBER_ALIVE);
}

static inline struct digest put(struct one *o, const char *text, const char *media_type)
{
    struct store_ingest *i;
    struct store_ingest_options opt = {
        .size = strlen(text), .media_type = media_type, .now_ms = wall_ms()};
    hash_bytes(DIGEST_SHA256, text, strlen(text), &opt.digest);
    assert_int_equal(store_ingest_begin(o->store, &opt, &i), 0);
    assert_int_equal(store_ingest_write(i, text, strlen(text)), 0);
    store_ingest_hash(i, text, strlen(text));
    assert_int_equal(store_ingest_seal(i), 0);
    assert_int_equal(store_ingest_commit(i, wall_ms(), NULL), 0);
    return opt.digest;
}

static inline void rest(u64 ms)
{
    for (u64 since = uv_hrtime(); uv_hrtime() - since < ms * 1000000; usleep(500))
        uv_run(&loop, UV_RUN_NOWAIT);
}

static inline int begin(void **state)
{
    (void)state;
    memset(ones, 0, sizeof(ones));
    snprintf(dir, sizeof(dir), "/tmp/dray-region-XXXXXX");
    log_setup(LOG_AUDIT, LOG_TEXT, "test");
    return sodium_init() < 0 || !mkdtemp(dir) || uv_loop_init(&loop);
}

static inline int finish(void **state)
{
    (void)state;
    for (size_t i = 0; i < NODES; i++)
        stop(&ones[i]);
    uv_run(&loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&loop);
    return remove_tree(dir) || rc;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, finish)
