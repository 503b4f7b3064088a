/* node_fill_rights.c - tests of node/fill.h: with whose right a blob is asked for, to whom a
 * refusal goes, and what callbacks may do. */
#include "tests/unit/fill_fixture.h"

/* --- whose right ------------------------------------------------------------------------------ */

/* "Basic good" may; all others are refused once gate 0 is open. */
static void script_rights(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    const char *value = request_field(r, "Authorization");
    wait_gate(p, 0);
    if (value && strcmp(value, "Basic good") == 0)
        say_layer(p, r, &layer, SIZE_MAX);
    else
        say_answer(p, 401, "WWW-Authenticate: Basic realm=\"x\"\r\n", "{\"errors\":[]}");
}

static void test_refusal_goes_to_its_own_waiter(void **state)
{
    (void)state;
    struct client bad, twin, nobody, good, good_too;
    begin(script_rights, 500 * KIB);
    struct {
        struct client *c;
        const char *authorization;
    } joins[] = {{&bad, "Basic bad"},
                 {&nobody, NULL},
                 {&twin, "Basic bad"},
                 {&good, "Basic good"},
                 {&good_too, "Basic good"}};
    for (size_t i = 0; i < countof(joins); i++) {
        client_init(joins[i].c, &rig);
        assert_int_equal(client_join(joins[i].c, &layer.digest, joins[i].authorization), 0);
    }
    server_open(registry, 0);
    client_expect(&good, layer.data, layer.len);
    client_expect(&good_too, layer.data, layer.len);
    struct client *refused[] = {&bad, &twin, &nobody};
    for (size_t i = 0; i < countof(refused); i++) {
        client_expect_failed(refused[i], ERR_DENIED);
        assert_int_equal(refused[i]->refusal, 401);
        assert_string_equal(refused[i]->refusal_body, "{\"errors\":[]}");
        assert_string_equal(refused[i]->refusal_challenge, "Basic realm=\"x\"");
    }
    assert_int_equal(server_count(registry), 3); /* once for each right */
    finish();
}

static void test_refused_with_nobody_behind(void **state)
{
    (void)state;
    struct client c;
    begin(script_rights, 1000);
    server_open(registry, 0);
    client_init(&c, &rig);
    assert_int_equal(client_join(&c, &layer.digest, "Basic bad"), 0);
    client_expect_failed(&c, ERR_DENIED);
    assert_int_equal(c.refusal, 401);
    rig_wait_idle(&rig);
    assert_int_equal(server_count(registry), 1);
    finish();
}

/* The refused one leaves before the answer: it is not told, and the next one's right is asked. */
static void test_refused_after_leaving(void **state)
{
    (void)state;
    struct client bad, good;
    begin(script_rights, 1000);
    client_init(&bad, &rig);
    client_init(&good, &rig);
    assert_int_equal(client_join(&bad, &layer.digest, "Basic bad"), 0);
    assert_int_equal(client_join(&good, &layer.digest, "Basic good"), 0);
    wait_asked(1);
    client_leave(&bad);
    server_open(registry, 0);
    client_expect(&good, layer.data, layer.len);
    assert_false(bad.failed || bad.ready);
    finish();
}

static void test_unproven_right_shares_only_its_own_question(void **state)
{
    (void)state;
    struct client asker, same, other, proven, late;
    begin(script_rights, 500 * KIB);
    struct fill_source src = {
        .upstream = rig.upstreams[0],
        .repository = "team/app",
        .authorization = "Basic good",
    };
    client_init(&asker, &rig);
    client_init(&same, &rig);
    client_init(&other, &rig);
    client_init(&proven, &rig);
    client_init(&late, &rig);
    assert_int_equal(client_join_as(&asker, &layer.digest, &src), 0);
    assert_int_equal(client_join_as(&same, &layer.digest, &src), 0);
    src.authorization = "Basic bad";
    assert_int_equal(client_join_as(&other, &layer.digest, &src), ERR_AGAIN);
    src.authorization = "Basic good";
    src.repository = "else/where";
    assert_int_equal(client_join_as(&other, &layer.digest, &src), ERR_AGAIN);
    src.proven = true;
    assert_int_equal(client_join_as(&proven, &layer.digest, &src), 0);
    server_open(registry, 0);
    client_wait_bytes(&asker, 1000);
    src.proven = false; /* the head is known: nothing is asked any more that it could share */
    src.repository = "team/app";
    if (fill_is_streaming(rig.fills, &layer.digest))
        assert_int_equal(client_join_as(&late, &layer.digest, &src), ERR_AGAIN);
    client_expect(&asker, layer.data, layer.len);
    client_expect(&same, layer.data, layer.len);
    client_expect(&proven, layer.data, layer.len);
    assert_false(other.ready || other.failed || late.ready || late.failed);
    assert_int_equal(server_count(registry), 1);
    finish();
}

/* Nobody's user: "node:secret" is the node's, refused here; "Basic user" may. */
static void script_node_refused(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    const char *value = request_field(r, "Authorization");
    if (!value)
        say_answer(p, 401, "WWW-Authenticate: Basic realm=\"x\"\r\n", "");
    else if (strcmp(value, "Basic user") == 0)
        say_layer(p, r, &layer, SIZE_MAX);
    else
        say_answer(p, 403, "", "{}");
}

static void test_own_credentials_refused(void **state)
{
    (void)state;
    struct client user, stranger;
    begin(script_node_refused, 100 * KIB);
    struct upstream *up =
        rig_upstream(&rig, server_url(registry), NULL, "node:secret", NULL); /* the second one */
    struct fill_source src = {
        .upstream = up,
        .repository = "team/app",
        .authorization = "Basic stranger",
        .own = true,
        .proven = true,
    };
    client_init(&stranger, &rig);
    client_init(&user, &rig);
    assert_int_equal(client_join_as(&stranger, &layer.digest, &src), 0);
    src.authorization = "Basic user";
    assert_int_equal(client_join_as(&user, &layer.digest, &src), 0);
    client_expect(&user, layer.data, layer.len);
    client_expect_failed(&stranger, ERR_DENIED);
    assert_int_equal(stranger.refusal, 403);
    struct server_request r;
    server_request_at(registry, 1, &r);
    assert_string_equal(request_field(&r, "Authorization"), "Basic bm9kZTpzZWNyZXQ=");
    server_request_at(registry, 2, &r);
    assert_string_equal(request_field(&r, "Authorization"), "Basic stranger");
    assert_int_equal(server_count(registry), 4);
    finish();
}

static void script_503(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    (void)r;
    wait_gate(p, 0);
    say_answer(p, 503, "Retry-After: 1\r\n", "later");
}

static void test_registry_away(void **state)
{
    (void)state;
    struct client a, b;
    begin(script_503, 1000);
    client_init(&a, &rig);
    client_init(&b, &rig);
    assert_int_equal(client_join(&a, &layer.digest, "Basic a"), 0);
    assert_int_equal(client_join(&b, &layer.digest, "Basic b"), 0);
    server_open(registry, 0);
    client_expect_failed(&a, ERR_DENIED);
    client_expect_failed(&b, ERR_DENIED); /* not asked with the other right: it is away for all */
    assert_int_equal(b.refusal, 503);
    assert_string_equal(b.refusal_body, "later");
    assert_int_equal(server_count(registry), 1);
    const char *error;
    u64 since;
    assert_int_equal(upstream_state(rig.upstreams[0], &error, &since), UPSTREAM_DOWN);
    finish();
}

/* One upstream is away; a waiter of another one goes on there. */
static void test_next_upstream_when_one_is_away(void **state)
{
    (void)state;
    struct client a, b;
    begin(script_503, 100 * KIB);
    struct server *second = server_new(script_layer, NULL, NULL);
    struct fill_source src = {
        .upstream = rig_upstream(&rig, server_url(second), NULL, NULL, NULL),
        .repository = "team/app",
        .proven = true,
    };
    client_init(&a, &rig);
    client_init(&b, &rig);
    assert_int_equal(client_join(&a, &layer.digest, NULL), 0);
    assert_int_equal(client_join_as(&b, &layer.digest, &src), 0);
    server_open(registry, 0);
    client_expect_failed(&a, ERR_DENIED);
    client_expect(&b, layer.data, layer.len);
    rig_close(&rig);
    server_del(second);
    server_del(registry);
    layer_free(&layer);
}

static void script_hang_up(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    hang_up(p);
}

static void test_no_answer_at_all(void **state)
{
    (void)state;
    struct client a, b;
    begin(script_hang_up, 1000);
    client_init(&a, &rig);
    client_init(&b, &rig);
    assert_int_equal(client_join(&a, &layer.digest, "Basic a"), 0);
    assert_int_equal(client_join(&b, &layer.digest, "Basic b"), 0);
    rig_wait_idle(&rig);
    assert_true(a.failed && b.failed);
    assert_true(a.err < 0 && a.err == b.err && a.err != ERR_DENIED);
    assert_int_equal(a.refusal, 0);
    assert_true(strlen(a.why) > 0);
    finish();
}

static void test_nothing_listens(void **state)
{
    (void)state;
    struct client c;
    begin(script_layer, 1000);
    struct server *gone = server_new(script_layer, NULL, NULL);
    struct fill_source src = {
        .upstream = rig_upstream(&rig, server_url(gone), NULL, NULL, NULL),
        .repository = "team/app",
    };
    server_del(gone);
    client_init(&c, &rig);
    assert_int_equal(client_join_as(&c, &layer.digest, &src), 0);
    client_expect_failed(&c, ERR_UNREACHABLE);
    finish();
}

/* --- from inside the callbacks ---------------------------------------------------------------- */

static struct client second_try;

static void join_again(struct fill_waiter *w, int err, const char *why,
                       const struct answer *refusal)
{
    (void)why;
    (void)refusal;
    struct client *c = container_of(w, struct client, waiter);
    c->failed = true;
    c->err = err;
    client_init(&second_try, &rig);
    (void)!client_join(&second_try, &layer.digest, "Basic good");
}

static void test_joining_from_a_refusal(void **state)
{
    (void)state;
    struct client bad;
    begin(script_rights, 1000);
    server_open(registry, 0);
    client_init(&bad, &rig);
    bad.waiter.failed = join_again;
    assert_int_equal(client_join(&bad, &layer.digest, "Basic bad"), 0);
    client_expect_failed(&bad, ERR_DENIED);
    assert_int_equal(second_try.joined, 0);
    client_expect(&second_try, layer.data, layer.len);
    finish();
}

static void test_closing_from_ready(void **state)
{
    (void)state;
    struct client c;
    begin(script_layer, 300 * KIB);
    client_init(&c, &rig);
    c.on_ready = client_leave;
    assert_int_equal(client_join(&c, &layer.digest, NULL), 0);
    rig_wait_idle(&rig);
    assert_true(c.ready);
    assert_null(c.body);
    assert_true(rig_holds(&rig, &layer));
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusal_goes_to_its_own_waiter),
        cmocka_unit_test(test_refused_with_nobody_behind),
        cmocka_unit_test(test_refused_after_leaving),
        cmocka_unit_test(test_unproven_right_shares_only_its_own_question),
        cmocka_unit_test(test_own_credentials_refused),
        cmocka_unit_test(test_registry_away),
        cmocka_unit_test(test_next_upstream_when_one_is_away),
        cmocka_unit_test(test_no_answer_at_all),
        cmocka_unit_test(test_nothing_listens),
        cmocka_unit_test(test_joining_from_a_refusal),
        cmocka_unit_test(test_closing_from_ready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
