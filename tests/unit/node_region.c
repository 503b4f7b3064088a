/* node_region.c - tests of runtime/region.h and node/holdings.h: nodes meet, know what each holds,
 * and refuse what is not for them. What outlives a restart: node_region_kept.c. */
#include "proto/inventory_impl.h"
#include "tests/unit/region_rig.h"

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

#define WANTS  55 /* of one message */
#define ASKING 12 /* messages that come as one batch, each answered by eight */

/* Both views are ours to look into. */
static struct inventory *view(struct one *o)
{
    return (struct inventory *)(uintptr_t)mesh_inventory(region_mesh(o->region));
}

static void all_of_a_batch_is_answered(void **state)
{
    (void)state;
    start(&ones[0], "127.0.0.1", NULL);
    const char *seed[] = {ones[0].listen, NULL};
    start(&ones[1], "127.0.0.2", seed);
    until(living(&ones[0]) == 2 && living(&ones[1]) == 2);
    for (u64 k = 0; k < 60; k++) {
        struct digest d = {.alg = DIGEST_SHA256};
        memcpy(d.bytes, &k, sizeof(k));
        region_hold(ones[0].region, &d);
    }
    until(layers_of(region_mesh(ones[1].region), &ones[0]) == 60);
    struct inventory *asked = view(&ones[0]), *asking = view(&ones[1]);
    u16 o = inventory_find_key(asking, mesh_key(region_mesh(ones[0].region)));
    u8 wants[WANTS * INVENTORY_WANT_BYTES], message[LIMIT_DATAGRAM_BYTES];
    asking->seats[o].n -= 60; /* what it would say then */
    for (u32 k = 0; k < WANTS; k++)
        inventory_want_put(asking, o, wants + k * INVENTORY_WANT_BYTES);
    asking->seats[o].n += 60;
    struct wire_out w;
    wire_out_init(&w, message, sizeof(message));
    wire_put_array(&w, 2);
    wire_put_u64(&w, MSG_INVENTORY_WANT);
    wire_put_bin(&w, wants, sizeof(wants));
    struct inventory_stats before, after;
    inventory_stats(asked, &before);
    for (u32 k = 0; k < ASKING; k++)
        assert_true(inventory_queue(asking, o, message, w.len));
    region_drive(ones[1].region);
    rest(200);
    inventory_stats(asked, &after);
    assert_int_equal(after.unsent, 0);
    assert_true(after.deltas_sent - before.deltas_sent >= 8 * ASKING);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(they_meet_by_a_seed),
        TEST(what_the_store_holds_is_known),
        TEST(all_of_a_batch_is_answered),
        TEST(listening_everywhere_an_address_is_found),
        TEST(seeds_by_name_and_not_oneself),
        TEST(silent_seeds_are_waited_for_a_while),
        TEST(strangers_are_refused),
        TEST(a_seed_may_answer_anything),
        TEST(keys_are_exchanged_while_it_runs),
        TEST(a_late_loop_distrusts_itself),
        TEST(a_busy_port_is_said_at_the_start),
        TEST(without_a_region_all_is_quiet),
        TEST(a_name_that_is_no_text_is_shown_in_ascii),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
