/* node_region.c - tests of runtime/region.h and node/holdings.h: real meshes over loopback, on one
 * loop: they meet, know what each holds, obey purges, remember them, and refuse what is not for
 * them. */
#include <fcntl.h>
#include <ftw.h>
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

static void on_request(void *ctx, struct http_exchange *x)
{
    struct one *o = ctx;
    o->last_status = region_talk(o->region, x);
}

static bool may_be_large(void *ctx, const struct http_request *q)
{
    (void)ctx;
    (void)q;
    return true;
}

static void on_purged(void *arg, const struct digest *d, u64 until_ms)
{
    struct one *o = arg;
    o->purged = *d;
    o->until_ms = until_ms;
    o->purges++;
    assert_int_equal(store_purge(o->store, d, wall_ms(), until_ms, NULL), 0);
}

static void on_opened(void *arg, struct region *r)
{
    struct one *o = arg;
    holdings_feed(r, o->store);
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, 0600), 0);
}

static void open_store(struct one *o)
{
    struct store_opened found;
    struct store_options opt = {.path = o->path, .capacity_bytes = 64 << 20, .now_ms = wall_ms()};
    char why[256];
    if (store_open(&o->store, &opt, &found, why))
        fail_msg("%s", why);
}

/* Listens at `ip`; the port is kept for a next start. */
static void listen_at(struct one *o, const char *ip)
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

static int region_start(struct one *o, char why[CONF_WHY_MAX])
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

static void start(struct one *o, const char *ip, const char *const *seeds)
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

static void gone(void *arg)
{
    ((struct one *)arg)->server_gone = true;
}

#define until(condition)                                                                           \
    for (u64 since = uv_hrtime(); !(condition); usleep(200)) {                                     \
        if (uv_hrtime() - since > PATIENCE_MS * 1000000ull)                                        \
            fail_msg("waited in vain for " #condition);                                            \
        uv_run(&loop, UV_RUN_NOWAIT);                                                              \
    }

static void stop(struct one *o)
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

static size_t living(struct one *o)
{
    return member_count(mesh_member(region_mesh(o->region)), MEMBER_ALIVE);
}

static struct digest put(struct one *o, const char *text, const char *media_type)
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

static void rest(u64 ms)
{
    for (u64 since = uv_hrtime(); uv_hrtime() - since < ms * 1000000; usleep(500))
        uv_run(&loop, UV_RUN_NOWAIT);
}

/* --- meeting ---------------------------------------------------------------------------------- */

static void they_meet_by_a_seed(void **state)
{
    const char *why;
    (void)state;
    start(&ones[0], "127.0.0.1", NULL);
    assert_true(region_ready(ones[0].region, &why)); /* nobody to wait for */
    const char *seed[] = {ones[0].listen, NULL};
    start(&ones[1], "127.0.0.2", seed);
    start(&ones[2], "127.0.0.3", seed);
    until(living(&ones[0]) == 3 && living(&ones[1]) == 3 && living(&ones[2]) == 3);
    assert_true(region_ready(ones[2].region, &why));
    /* A new region of the same store is the same node. */
    struct node_key before = *mesh_key(region_mesh(ones[1].region));
    stop(&ones[1]);
    start(&ones[1], "127.0.0.2", seed);
    assert_true(node_key_equal(mesh_key(region_mesh(ones[1].region)), &before));
    until(living(&ones[1]) == 3);
}

/* How many `o` holds, as `m` knows. */
static size_t layers_of(const struct mesh *m, struct one *o)
{
    struct inventory_origin origin;
    size_t at = 0;
    while (inventory_each(mesh_inventory(m), &at, &origin))
        if (node_key_equal(&origin.key, mesh_key(region_mesh(o->region))))
            return origin.layers;
    return SIZE_MAX;
}

static void what_the_store_holds_is_known(void **state)
{
    (void)state;
    start(&ones[0], "127.0.0.1", NULL);
    struct digest early = put(&ones[0], "early", NULL);
    const char *seed[] = {ones[0].listen, NULL};
    start(&ones[1], "127.0.0.2", seed);
    struct mesh *at = region_mesh(ones[1].region);
    until(mesh_copies(at, &early) == 1);
    struct digest late = put(&ones[0], "late", NULL);
    struct digest manifest = put(&ones[0], "{}", "application/vnd.oci.image.manifest.v1+json");
    until(mesh_copies(at, &late) == 1);
    assert_int_equal(mesh_copies(at, &manifest), 0); /* asked of the registry, always */
    assert_int_equal(store_remove(ones[0].store, &early), 0);
    until(mesh_copies(at, &early) == 0);
    stop(&ones[0]);
    start(&ones[0], "127.0.0.1", NULL);
    until(living(&ones[0]) == 2 && mesh_copies(at, &late) == 1);
    assert_int_equal(mesh_copies(at, &early), 0);
    assert_int_equal(layers_of(at, &ones[0]), 1);
    assert_int_equal(store_remove(ones[0].store, &late), 0);
    until(mesh_copies(at, &late) == 0);
    until(layers_of(at, &ones[0]) == 0);
}

static void listening_everywhere_an_address_is_found(void **state)
{
    (void)state;
    start(&ones[0], "127.0.0.1", NULL);
    const char *seed[] = {ones[0].listen, NULL};
    start(&ones[1], "0.0.0.0", seed);
    until(living(&ones[0]) == 2);
    assert_memory_equal(ones[1].region->address_text, "127.0.0.1:", 10);
    struct member_view v;
    assert_true(member_find(mesh_member(region_mesh(ones[0].region)),
                            mesh_key(region_mesh(ones[1].region)), &v));
    assert_true(addr_equal(&v.record->addr, &ones[1].region->address));
    assert_non_null(strstr(v.record->public_url, ones[1].region->address_text));
}

static void seeds_by_name_and_not_oneself(void **state)
{
    char by_name[64];
    (void)state;
    start(&ones[0], "127.0.0.1", NULL);
    snprintf(by_name, sizeof(by_name), "localhost%s", strchr(ones[0].listen, ':'));
    const char *seed[] = {"no-such-name.invalid:1", by_name, by_name, NULL};
    start(&ones[1], "127.0.0.2", seed);
    assert_non_null(region_mesh(ones[1].region)); /* no name server is waited for */
    until(living(&ones[0]) == 2);
    assert_int_equal(ones[1].region->n_seeds, 1);
    until(living(&ones[1]) == 2 && !ones[1].region->saving);
    stop(&ones[1]);
    char file[160];
    snprintf(file, sizeof(file), "%s/" REGION_KNOWN_FILE, ones[1].path);
    assert_int_equal(remove(file), 0); /* whom it knew */
    const char *self[] = {ones[1].listen, ones[1].listen, NULL};
    start(&ones[1], "127.0.0.2", self);
    const char *why;
    until(region_mesh(ones[1].region) != NULL);
    assert_int_equal(ones[1].region->n_seeds, 0);
    assert_true(region_ready(ones[1].region, &why));
}

static void silent_seeds_are_waited_for_a_while(void **state)
{
    const char *seed[] = {"127.0.0.9:9", NULL}, *why;
    (void)state;
    start(&ones[0], "127.0.0.1", seed);
    assert_false(region_ready(ones[0].region, &why));
    assert_non_null(strstr(why, "seeds"));
    u64 at = uv_hrtime();
    until(region_ready(ones[0].region, &why));
    assert_true(uv_hrtime() - at > 2000000000ull);
    assert_null(why);
}

/* --- members remembered ----------------------------------------------------------------------- */

static size_t remembered(struct one *o, struct addr out[REGION_KNOWN_MAX])
{
    u8 data[REGION_KNOWN_BYTES];
    ssize_t len = region_file_read(o->path, REGION_KNOWN_FILE, data, sizeof(data));
    return len > 0 ? region_known_unpack(data, (size_t)len, out) : 0;
}

static void without_its_seed_it_finds_the_region(void **state)
{
    struct addr known[REGION_KNOWN_MAX];
    (void)state;
    start(&ones[0], "127.0.0.1", NULL);
    const char *seed[] = {ones[0].listen, NULL}, *dead[] = {"127.0.0.9:9", NULL};
    start(&ones[1], "127.0.0.2", seed);
    start(&ones[2], "127.0.0.3", seed);
    until(living(&ones[1]) == 3 && living(&ones[2]) == 3);
    until(!ones[1].region->saving);
    assert_int_equal(remembered(&ones[1], known), 2);
    stop(&ones[1]);
    stop(&ones[0]); /* the only seed */
    start(&ones[1], "127.0.0.2", seed);
    until(living(&ones[1]) == 2 && living(&ones[2]) == 2);
    region_known_refresh(ones[1].region); /* nobody takes the dead one's place */
    assert_int_equal(ones[1].region->n_known, 2);
    stop(&ones[1]);
    start(&ones[1], "127.0.0.2", dead); /* nor does it matter what the config says */
    until(living(&ones[1]) == 2);
}

static void the_living_take_the_place_of_the_dead(void **state)
{
    (void)state;
    start(&ones[0], "127.0.0.1", NULL);
    struct region *r = ones[0].region;
    for (unsigned i = 0; i < REGION_KNOWN_MAX + 5; i++) {
        struct addr a = addr_v4(127, 9, 9, (u8)(i + 1), 9);
        region_known_add(r, &a);
        region_known_add(r, &a);
    }
    assert_int_equal(r->n_known, REGION_KNOWN_MAX);
    const char *seed[] = {ones[0].listen, NULL};
    start(&ones[1], "127.0.0.2", seed);
    until(living(&ones[0]) == 2);
    region_known_refresh(r);
    assert_int_equal(r->n_known, REGION_KNOWN_MAX);
    assert_true(addr_equal(&r->known[0], &ones[1].region->address));
    until(!r->saving);
    struct addr known[REGION_KNOWN_MAX];
    assert_int_equal(remembered(&ones[0], known), REGION_KNOWN_MAX);
    assert_memory_equal(known, r->known, sizeof(known));
}

static void damaged_memories_are_passed_over(void **state)
{
    struct addr some[3] = {addr_v4(127, 0, 0, 1, 5), addr_v4(127, 0, 0, 1, 6), {.port = 7}};
    struct addr out[REGION_KNOWN_MAX];
    u8 data[REGION_KNOWN_BYTES];
    (void)state;
    some[2].ip[0] = 0xfd;
    size_t len = region_known_pack(some, 3, data, sizeof(data));
    assert_int_equal(region_known_unpack(data, len, out), 3);
    assert_memory_equal(out, some, sizeof(some));
    for (size_t cut = 0; cut < len; cut++)
        assert_true(region_known_unpack(data, cut, out) < 3);
    assert_int_equal(region_known_pack(some, 3, data, len - 1), 0);
    struct addr odd[3] = {some[0], some[0], addr_v4(127, 0, 0, 1, 0)}; /* twice; no port */
    len = region_known_pack(odd, 3, data, sizeof(data));
    assert_int_equal(region_known_unpack(data, len, out), 1);
    start(&ones[0], "127.0.0.1", NULL);
    stop(&ones[0]);
    char file[160];
    snprintf(file, sizeof(file), "%s/" REGION_KNOWN_FILE, ones[0].path);
    write_text(file, "rubbish");
    start(&ones[0], "127.0.0.1", NULL);
    assert_int_equal(ones[0].region->n_known, 0);
}

/* --- talks ------------------------------------------------------------------------------------ */

struct reply {
    int status, err;
    bool ended;
};

static void reply_head(void *arg, const struct http_response *h)
{
    ((struct reply *)arg)->status = h->status;
}
static enum http_data_verdict reply_data(void *arg, const void *data, size_t len)
{
    (void)arg;
    (void)data;
    (void)len;
    return HTTP_DATA_TAKEN;
}
static void reply_end(void *arg, int err, const char *why)
{
    struct reply *r = arg;
    (void)why;
    r->err = err;
    r->ended = true;
}

static int talk_to(struct one *o, const char *method, const void *body, size_t len)
{
    char url[128];
    struct reply r = {0};
    struct http_transfer *t;
    snprintf(url, sizeof(url), "http://%s/mesh/v1/talk", o->listen);
    struct http_transfer_options opt = {
        .method = method,
        .url = url,
        .body = body,
        .body_len = len,
        .on = {.head = reply_head, .data = reply_data, .end = reply_end},
        .arg = &r};
    assert_int_equal(http_transfer_start(o->client, &opt, &t), 0);
    until(r.ended);
    return r.status;
}

static void strangers_are_refused(void **state)
{
    static u8 noise[LIMIT_TALK_BYTES];
    (void)state;
    randombytes_buf(noise, sizeof(noise));
    start(&ones[0], "127.0.0.1", NULL);
    assert_int_equal(talk_to(&ones[0], "GET", NULL, 0), 405);
    assert_int_equal(talk_to(&ones[0], "POST", noise, 0), 403);
    assert_int_equal(talk_to(&ones[0], "POST", noise, 100), 403);
    assert_int_equal(talk_to(&ones[0], "POST", noise, sizeof(noise)), 403);
    assert_int_equal(ones[0].region->talks_refused, 4);
    struct region *r = ones[0].region;
    ones[0].region = NULL; /* a node that is in no region */
    assert_int_equal(talk_to(&ones[0], "POST", noise, 100), 503);
    ones[0].region = r;
}

/* Whoever sits at a seed's address may answer anything. */
static void say_anything(struct server_peer *p, const struct server_request *q, void *arg)
{
    static const char block[65536];
    (void)arg;
    switch (q->number % 6) {
    case 0: say_answer(p, 403, "", "no"); break;
    case 1: say_answer(p, 200, "", "not sealed"); break;
    case 2:
        say(p, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"); /* without end */
        for (int i = 0; i < 1000 && !peer_left(p); i++)
            say_bytes(p, block, sizeof(block));
        hang_up(p);
        break;
    case 3: say(p, "rubbish"), hang_up(p); break;
    case 4: hang_up(p); break;
    default: say_answer(p, 503, "", "busy"); break;
    }
}

static void a_seed_may_answer_anything(void **state)
{
    (void)state;
    struct server *s = server_new(say_anything, NULL, NULL);
    const char *seed[] = {server_host(s), NULL};
    start(&ones[0], "127.0.0.1", seed);
    until(ones[0].region->talks_failed >= 3);
    assert_int_equal(living(&ones[0]), 1);
    stop(&ones[0]);
    server_del(s);
}

/* --- purges ----------------------------------------------------------------------------------- */

static void purges_reach_all_and_stay(void **state)
{
    (void)state;
    start(&ones[0], "127.0.0.1", NULL);
    const char *seed[] = {ones[0].listen, NULL};
    start(&ones[1], "127.0.0.2", seed);
    until(living(&ones[0]) == 2);
    struct digest d = put(&ones[1], "bad", NULL);
    until(mesh_copies(region_mesh(ones[0].region), &d) == 1);
    u64 until_ms = wall_ms() + 3600000;
    assert_int_equal(region_purge(ones[0].region, &d, wall_ms(), until_ms), 0);
    assert_int_equal(ones[0].purges, 1); /* before it returns */
    until(ones[1].purges == 1);
    assert_true(digest_equal(&ones[1].purged, &d));
    assert_int_equal(ones[1].until_ms, until_ms);
    until(mesh_copies(region_mesh(ones[0].region), &d) == 0);
    until(!ones[0].region->saving && !ones[1].region->saving);

    stop(&ones[0]); /* the whole region goes down */
    stop(&ones[1]);
    start(&ones[0], "127.0.0.1", NULL);
    assert_true(mesh_is_purged(region_mesh(ones[0].region), &d, wall_ms()));
    start(&ones[2], "127.0.0.3", seed); /* and tells who was not there */
    until(ones[2].purges == 1);
    assert_int_equal(ones[2].until_ms, until_ms);
    assert_int_equal(region_purge(ones[0].region, &d, wall_ms(), 1), ERR_INVAL);
}

static void damaged_orders_are_passed_over(void **state)
{
    char file[160];
    (void)state;
    start(&ones[0], "127.0.0.1", NULL);
    struct digest d = put(&ones[0], "bad", NULL);
    assert_int_equal(region_purge(ones[0].region, &d, wall_ms(), wall_ms() + 3600000), 0);
    until(!ones[0].region->saving);
    snprintf(file, sizeof(file), "%s/orders", ones[0].path);
    u8 data[1024];
    int fd = open(file, O_RDONLY);
    ssize_t len = read(fd, data, sizeof(data));
    close(fd);
    assert_true(len > 100);
    struct purge_order orders[2];
    assert_int_equal(region_orders_unpack(data, (size_t)len, orders, 2), 1);
    assert_true(digest_equal(&orders[0].digest, &d));
    u8 again[1024];
    assert_int_equal(region_orders_pack(orders, 1, again, sizeof(again)), len);
    assert_memory_equal(again, data, (size_t)len);
    for (size_t cut = 0; cut < (size_t)len; cut++)
        assert_int_equal(region_orders_unpack(data, cut, orders, 2), 0);
    stop(&ones[0]);
    data[len - 1] ^= 1; /* of the signature */
    fd = open(file, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, data, (size_t)len), len);
    close(fd);
    start(&ones[0], "127.0.0.1", NULL);
    assert_false(mesh_is_purged(region_mesh(ones[0].region), &d, wall_ms()));
    assert_true(store_purged_until(ones[0].store, &d, wall_ms()) > 0); /* here it stays so */
}

/* --- keys ------------------------------------------------------------------------------------- */

static void keys_are_exchanged_while_it_runs(void **state)
{
    char why[CONF_WHY_MAX] = "";
    (void)state;
    start(&ones[0], "127.0.0.1", NULL);
    const char *seed[] = {ones[0].listen, NULL};
    snprintf(ones[1].name, sizeof(ones[1].name), "node-1");
    snprintf(ones[1].key_file, sizeof(ones[1].key_file), "%s/node-1.key", dir);
    write_text(ones[1].key_file, KEY_B);
    start(&ones[1], "127.0.0.2", seed);
    rest(500);
    assert_int_equal(living(&ones[0]), 1);
    struct mesh_stats st;
    mesh_stats(region_mesh(ones[0].region), &st);
    assert_true(st.dropped[SEAL_KEY] > 0);
    write_text(ones[0].key_file, KEY_A KEY_B);
    assert_int_equal(region_reload(ones[0].region, why), 0);
    rest(200);
    write_text(ones[1].key_file, KEY_B KEY_A);
    assert_int_equal(region_reload(ones[1].region, why), 0);
    until(living(&ones[0]) == 2 && living(&ones[1]) == 2);
    write_text(ones[0].key_file, "rubbish");
    assert_int_equal(region_reload(ones[0].region, why), ERR_INVAL);
    assert_non_null(strstr(why, ones[0].key_file));
    write_text(ones[0].key_file, "a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
                                 "b:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n");
    assert_int_not_equal(region_reload(ones[0].region, why), 0);
    assert_non_null(strstr(why, "twice"));
    assert_int_equal(chmod(ones[0].key_file, 0644), 0);
    assert_int_not_equal(region_reload(ones[0].region, why), 0);
    assert_int_equal(ones[0].region->ring.n, 2); /* as it was */
    rest(300);
    assert_int_equal(living(&ones[0]), 2);
}

/* --- time, and the rest ----------------------------------------------------------------------- */

static void a_late_loop_distrusts_itself(void **state)
{
    (void)state;
    start(&ones[0], "127.0.0.1", NULL);
    const char *seed[] = {ones[0].listen, NULL};
    start(&ones[1], "127.0.0.2", seed);
    until(living(&ones[0]) == 2);
    rest(1500);
    assert_int_equal(member_health(mesh_member(region_mesh(ones[0].region))), 0);
    usleep(600000); /* nobody runs the loop */
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_true(member_health(mesh_member(region_mesh(ones[0].region))) > 0);
    until(member_health(mesh_member(region_mesh(ones[0].region))) == 0);
    assert_int_equal(living(&ones[0]), 2);
}

static void a_busy_port_is_said_at_the_start(void **state)
{
    char why[CONF_WHY_MAX] = "";
    (void)state;
    start(&ones[0], "127.0.0.1", NULL);
    struct one *o = &ones[1];
    *o = (struct one){.store = ones[0].store, .disk = ones[0].disk, .client = ones[0].client};
    o->config = ones[0].config;
    assert_int_equal(region_start(o, why), ERR_BUSY);
    assert_non_null(strstr(why, "UDP"));
    region_stop(o->region);
    uv_run(&loop, UV_RUN_NOWAIT);
    region_del(o->region);
    memset(o, 0, sizeof(*o));
}

static void without_a_region_all_is_quiet(void **state)
{
    const char *why = "x";
    (void)state;
    assert_null(region_mesh(NULL));
    assert_true(region_ready(NULL, &why));
    region_kick(NULL);
    assert_int_equal(region_leave(NULL), 0);
    region_stop(NULL);
    region_del(NULL);
    json_t *report = region_report(NULL),
           *members =
               region_report_members(NULL, &(struct region_config){.name = "n", .region = "r"});
    assert_string_equal(json_string_value(json_object_get(report, "state")), "off");
    assert_int_equal(json_array_size(json_object_get(members, "members")), 1);
    json_decref(report);
    json_decref(members);
}

/* Names are not checked on the wire: each member is shown, whatever it calls itself. */
static void a_name_that_is_no_text_is_shown_in_ascii(void **state)
{
    (void)state;
    snprintf(ones[1].name, sizeof(ones[1].name),
             "r\xc3\xa4"
             "ck-\xff\xfe");
    snprintf(ones[2].name, sizeof(ones[2].name),
             "r\xc3\xa4"
             "ck");
    start(&ones[0], "127.0.0.1", NULL);
    const char *seed[] = {ones[0].listen, NULL};
    start(&ones[1], "127.0.0.2", seed);
    start(&ones[2], "127.0.0.3", seed);
    until(living(&ones[0]) == 3);
    struct region_config c = {.name = "node-0", .region = "test"};
    json_t *report = region_report_members(ones[0].region, &c), *one;
    json_t *members = json_object_get(report, "members");
    size_t i, as_it_is = 0, in_ascii = 0;
    assert_int_equal(json_array_size(members), 3);
    json_array_foreach(members, i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));
        assert_non_null(name);
        assert_string_equal(json_string_value(json_object_get(one, "region")), "test");
        as_it_is += strcmp(name, ones[2].name) == 0;
        in_ascii += strcmp(name, "r?\?ck-??") == 0;
    }
    assert_int_equal(as_it_is, 1);
    assert_int_equal(in_ascii, 1);
    json_decref(report);
}

/* ---------------------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    return remove(path);
}

static int begin(void **state)
{
    (void)state;
    memset(ones, 0, sizeof(ones));
    snprintf(dir, sizeof(dir), "/tmp/dray-region-XXXXXX");
    log_setup(LOG_AUDIT, LOG_TEXT, "test");
    return sodium_init() < 0 || !mkdtemp(dir) || uv_loop_init(&loop);
}

static int finish(void **state)
{
    (void)state;
    for (size_t i = 0; i < NODES; i++)
        stop(&ones[i]);
    uv_run(&loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&loop);
    return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) || rc;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(they_meet_by_a_seed),
        TEST(what_the_store_holds_is_known),
        TEST(listening_everywhere_an_address_is_found),
        TEST(seeds_by_name_and_not_oneself),
        TEST(silent_seeds_are_waited_for_a_while),
        TEST(without_its_seed_it_finds_the_region),
        TEST(the_living_take_the_place_of_the_dead),
        TEST(damaged_memories_are_passed_over),
        TEST(strangers_are_refused),
        TEST(a_seed_may_answer_anything),
        TEST(purges_reach_all_and_stay),
        TEST(damaged_orders_are_passed_over),
        TEST(keys_are_exchanged_while_it_runs),
        TEST(a_late_loop_distrusts_itself),
        TEST(a_busy_port_is_said_at_the_start),
        TEST(without_a_region_all_is_quiet),
        TEST(a_name_that_is_no_text_is_shown_in_ascii),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
