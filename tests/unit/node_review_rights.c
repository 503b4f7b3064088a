/* node_review_rights.c - tests of node/fill.h against whoever would get more than his right: an
 * answer to another's question, a redirect taken for a permission, an answer complete before its
 * digest is known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/limits.h"
#include "support/rig.h"

static struct layer layer;
static struct rig rig;
static struct server *registry;

static void begin(server_script script, size_t layer_bytes)
{
    rig_open(&rig, 64 * MIB);
    layer_make(&layer, layer_bytes, 3);
    registry = server_new(script, NULL, NULL);
    rig_upstream(&rig, server_url(registry), NULL, NULL, NULL);
}

static void finish(void)
{
    rig_close(&rig);
    server_del(registry);
    layer_free(&layer);
}

static bool asked_once(void *arg)
{
    (void)arg;
    return server_count(registry) >= 1;
}

static int join(struct client *c, const char *authorization, bool proven)
{
    struct fill_source src = {.upstream = rig.upstreams[0],
                              .repository = "team/app",
                              .authorization = authorization,
                              .proven = proven};
    client_init(c, &rig);
    return client_join_as(c, &layer.digest, &src);
}

/* A former run left the layer's first bytes. */
static void plant_partial(size_t held)
{
    struct store_ingest *i;
    struct store_ingest_options opt = {
        .digest = layer.digest, .size = STORE_SIZE_UNKNOWN, .now_ms = 1};
    assert_int_equal(store_ingest_begin(rig.store, &opt, &i), 0);
    assert_int_equal(store_ingest_reserve(i, held), 0);
    assert_int_equal(store_ingest_write(i, layer.data, held), 0);
    store_ingest_keep(i);
}

/* --- an empty answer -------------------------------------------------------------------------- */

/* As a broken proxy answers, of whatever. */
static void script_empty(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say_answer(p, 200, "", "");
}

static void test_empty_answer_for_a_layer(void **state)
{
    (void)state;
    struct client c;
    begin(script_empty, 1000);
    assert_int_equal(join(&c, "Basic a", true), 0);
    client_expect_failed(&c, ERR_PROTO);
    assert_false(c.ready); /* a head that says 0 bytes would be a whole answer */
    rig_wait_idle(&rig);
    assert_false(rig_holds(&rig, &layer));
    finish();
}

static void test_empty_layer(void **state)
{
    (void)state;
    struct client c;
    begin(script_empty, 0);
    assert_int_equal(join(&c, "Basic a", true), 0);
    client_expect(&c, layer.data, 0);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    finish();
}

/* --- whose answer it is ----------------------------------------------------------------------- */

/* Only b may. The partial does not fit, and the first answer about it waits for gate 0. */
static void script_only_b(struct server_peer *p, const struct server_request *r, void *arg)
{
    const char *who = request_field(r, "Authorization");
    (void)arg;
    if (request_field(r, "Range")) {
        wait_gate(p, 0);
        say_answer(p, 416, "Content-Range: bytes */5\r\n", "");
    } else if (who && strcmp(who, "Basic b") == 0) {
        say_layer(p, r, &layer, SIZE_MAX);
    } else {
        say_answer(p, 403, "", "not yours");
    }
}

/* An unproven waiter gets the answer to his own right, also when the fetch begins anew and who
 * stands before him is permitted. */
static void test_unproven_gets_his_own_answer(void **state)
{
    (void)state;
    struct client first, permitted, second;
    begin(script_only_b, 300000);
    plant_partial(1000);
    assert_int_equal(join(&first, "Basic a", false), 0);
    assert_int_equal(join(&permitted, "Basic b", true), 0);
    assert_int_equal(join(&second, "Basic a", false), 0);
    rig_wait(&rig, asked_once, NULL);
    client_leave(&first);
    server_open(registry, 0);
    client_expect_failed(&second, ERR_DENIED);
    assert_int_equal(second.refusal, 403);
    client_expect(&permitted, layer.data, layer.len);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    finish();
}

/* --- redirects -------------------------------------------------------------------------------- */

/* Redirects all, and where that leads the partial is known to be complete. */
static void script_redirected_416(struct server_peer *p, const struct server_request *r, void *arg)
{
    char field[64];
    (void)arg;
    snprintf(field, sizeof(field), "Content-Range: bytes */%zu\r\n", layer.len);
    if (strcmp(r->target, "/data") == 0)
        say_answer(p, 416, field, "");
    else
        say_answer(p, 307, "Location: /data\r\n", "");
}

static bool was_redirected;
static void (*plain_ready)(struct fill_waiter *w, struct fill *f);

static void note_ready(struct fill_waiter *w, struct fill *f)
{
    was_redirected = fill_was_redirected(f);
    plain_ready(w, f);
}

static void test_redirected_416_is_marked(void **state)
{
    (void)state;
    struct client c;
    struct fill_source src = {.repository = "team/app", .authorization = "Basic a"};
    begin(script_redirected_416, 300000);
    plant_partial(layer.len);
    src.upstream = rig.upstreams[0];
    client_init(&c, &rig);
    plain_ready = c.waiter.ready;
    c.waiter.ready = note_ready;
    was_redirected = false;
    assert_int_equal(client_join_as(&c, &layer.digest, &src), 0);
    client_expect(&c, layer.data, layer.len);
    assert_true(was_redirected); /* so that it is not remembered as a permission */
    rig_wait_idle(&rig);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_answer_for_a_layer),
        cmocka_unit_test(test_empty_layer),
        cmocka_unit_test(test_unproven_gets_his_own_answer),
        cmocka_unit_test(test_redirected_416_is_marked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
