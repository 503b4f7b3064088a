/* node_fill.c - tests of node/fill.h: one fetch for all who wait, whose right is asked, and what
 * becomes of wrong bytes. Broken-off fetches: node_fill_resume.c. No room: node_fill_through.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/limits.h"
#include "store/hash.h"
#include "support/rig.h"

#define CAPACITY (256 * MIB)

/* What the scripted registry has. Set before a request can come. */
static struct layer layer;
static struct rig rig;
static struct server *registry;

static void begin(server_script script, size_t layer_bytes)
{
    rig_open(&rig, CAPACITY);
    layer_make(&layer, layer_bytes, 1);
    registry = server_new(script, NULL, NULL);
    rig_upstream(&rig, server_url(registry), NULL, NULL, NULL);
}

static void finish(void)
{
    rig_close(&rig);
    server_del(registry);
    layer_free(&layer);
}

static bool stored(void *arg)
{
    (void)arg;
    return rig_holds(&rig, &layer);
}

static bool asked(void *arg)
{
    return server_count(registry) >= *(const unsigned *)arg;
}

static void wait_asked(unsigned n)
{
    rig_wait(&rig, asked, &n);
}

static bool over(void *arg)
{
    const struct client *c = arg;
    return c->ended || c->failed;
}

static void wait_over(struct client *c)
{
    rig_wait(&rig, over, c);
}

/* --- one fetch for all ------------------------------------------------------------------------ */

/* The head, half of the body; then it waits for gate 0. */
static void script_half(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    size_t half = layer.len / 2;
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", layer.len);
    say_bytes(p, layer.data, half);
    wait_gate(p, 0);
    say_bytes(p, layer.data + half, layer.len - half);
}

static void script_layer(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    say_layer(p, r, &layer, SIZE_MAX);
}

static void test_many_clients_one_get(void **state)
{
    (void)state;
    enum { EARLY = 20, LATE = 20 };
    static struct client clients[EARLY + LATE + 1];
    begin(script_half, 3 * MIB + 17);
    for (int i = 0; i < EARLY; i++) {
        client_init(&clients[i], &rig);
        assert_int_equal(client_join(&clients[i], &layer.digest, "Basic same"), 0);
        assert_false(clients[i].ready);
    }
    assert_int_equal(fills_running(rig.fills), 1);
    client_wait_bytes(&clients[0], layer.len / 2);
    assert_true(fill_is_streaming(rig.fills, &layer.digest));
    for (int i = EARLY; i < EARLY + LATE; i++) {
        client_init(&clients[i], &rig);
        assert_int_equal(client_join(&clients[i], &layer.digest, "Basic other"), 0);
        assert_true(clients[i].ready); /* the head is known: at once */
    }
    server_open(registry, 0);
    for (int i = 0; i < EARLY + LATE; i++) {
        client_expect(&clients[i], layer.data, layer.len);
        assert_int_equal(clients[i].size, layer.len);
        assert_true(clients[i].kept);
    }
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    assert_int_equal(server_count(registry), 1);
    assert_int_equal(fills_fetched_bytes(rig.fills), layer.len);
    assert_false(fill_is_streaming(rig.fills, &layer.digest));
    finish();
}

static void test_two_layers_do_not_mix(void **state)
{
    (void)state;
    struct client a, b;
    struct layer wanted;
    begin(script_half, 600 * KIB);
    layer_make(&wanted, 10, 2); /* the registry answers with the other's bytes */
    client_init(&a, &rig);
    client_init(&b, &rig);
    assert_int_equal(client_join(&a, &layer.digest, NULL), 0);
    assert_int_equal(client_join(&b, &wanted.digest, NULL), 0);
    assert_int_equal(fills_running(rig.fills), 2);
    wait_asked(2);
    server_open(registry, 0);
    client_expect(&a, layer.data, layer.len);
    wait_over(&b);
    assert_true(b.end_err < 0);
    client_leave(&b);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    assert_false(rig_holds(&rig, &wanted));
    layer_free(&wanted);
    finish();
}

static void test_whoever_leaves_stops_nobody(void **state)
{
    (void)state;
    struct client first, second, third;
    begin(script_half, 2 * MIB);
    client_init(&first, &rig);
    client_init(&second, &rig);
    client_init(&third, &rig);
    assert_int_equal(client_join(&first, &layer.digest, "Basic a"), 0);
    assert_int_equal(client_join(&second, &layer.digest, "Basic b"), 0);
    assert_int_equal(client_join(&third, &layer.digest, "Basic c"), 0);
    client_leave(&first); /* whose right is being asked */
    client_leave(&first); /* again: harmless */
    client_wait_bytes(&second, MIB);
    assert_false(first.ready || first.failed);
    client_leave(&second);
    server_open(registry, 0);
    client_expect(&third, layer.data, layer.len);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    assert_int_equal(server_count(registry), 1);
    finish();
}

static void test_kept_though_everybody_left(void **state)
{
    (void)state;
    struct client c;
    begin(script_half, MIB + 1);
    client_init(&c, &rig);
    assert_int_equal(client_join(&c, &layer.digest, NULL), 0);
    client_wait_bytes(&c, 1000);
    client_leave(&c);
    server_open(registry, 0);
    rig_wait(&rig, stored, NULL);
    rig_wait_idle(&rig);
    assert_int_equal(server_count(registry), 1);
    finish();
}

/* A reader that stands still must hold up neither the others nor the store. */
static void test_slow_reader_holds_nobody_up(void **state)
{
    (void)state;
    struct client slow, fast;
    begin(script_layer, 24 * MIB);
    client_init(&slow, &rig);
    client_init(&fast, &rig);
    slow.budget = 100;
    assert_int_equal(client_join(&slow, &layer.digest, NULL), 0);
    assert_int_equal(client_join(&fast, &layer.digest, NULL), 0);
    client_expect(&fast, layer.data, layer.len);
    rig_wait(&rig, stored, NULL);
    assert_int_equal(slow.len, 100);
    slow.budget = UINT64_MAX; /* the rest, from the file by now */
    client_expect(&slow, layer.data, layer.len);
    assert_int_equal(server_count(registry), 1);
    finish();
}

static void test_parts(void **state)
{
    (void)state;
    struct client inner, tail, last, none;
    u64 size = 2 * MIB + 5;
    begin(script_half, size);
    client_init(&inner, &rig);
    client_init(&tail, &rig);
    client_init(&last, &rig);
    client_init(&none, &rig);
    inner.first = 300000;
    inner.end = 300001 + 64 * KIB;
    tail.first = MIB - 1;
    last.first = size - 1;
    last.end = size;
    none.first = none.end = 5;
    assert_int_equal(client_join(&inner, &layer.digest, NULL), 0);
    assert_int_equal(client_join(&tail, &layer.digest, NULL), 0);
    assert_int_equal(client_join(&last, &layer.digest, NULL), 0);
    assert_int_equal(client_join(&none, &layer.digest, NULL), 0);
    /* A part that is here ends before the whole is. */
    client_expect(&inner, layer.data + inner.first, inner.end - inner.first);
    client_expect(&none, layer.data, 0);
    assert_false(tail.ended || last.ended);
    assert_int_equal(last.len, 0);
    server_open(registry, 0);
    client_expect(&tail, layer.data + tail.first, size - tail.first);
    client_expect(&last, layer.data + size - 1, 1);
    finish();
}

/* --- sizes ------------------------------------------------------------------------------------ */

static void script_chunked(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t at = 0; at < layer.len; at += 50000)
        say_chunk(p, layer.data + at, layer.len - at < 50000 ? layer.len - at : 50000);
    say_chunk(p, "", 0);
}

static void test_unknown_size(void **state)
{
    (void)state;
    struct client c;
    begin(script_chunked, 5 * MIB + 3);
    client_init(&c, &rig);
    assert_int_equal(client_join(&c, &layer.digest, NULL), 0);
    client_expect(&c, layer.data, layer.len);
    assert_true(c.size == STORE_SIZE_UNKNOWN);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    finish();
}

static void test_empty_blob(void **state)
{
    (void)state;
    static const server_script scripts[] = {script_layer, script_chunked};
    for (size_t i = 0; i < countof(scripts); i++) {
        struct client c;
        begin(scripts[i], 0);
        client_init(&c, &rig);
        assert_int_equal(client_join(&c, &layer.digest, NULL), 0);
        client_expect(&c, layer.data, 0);
        rig_wait_idle(&rig);
        assert_true(rig_holds(&rig, &layer));
        finish();
    }
}

static void test_one_byte(void **state)
{
    (void)state;
    struct client c;
    begin(script_layer, 1);
    client_init(&c, &rig);
    assert_int_equal(client_join(&c, &layer.digest, NULL), 0);
    client_expect(&c, layer.data, 1);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    finish();
}

static void test_sha512(void **state)
{
    (void)state;
    struct client c;
    begin(script_layer, 700 * KIB);
    hash_bytes(DIGEST_SHA512, layer.data, layer.len, &layer.digest);
    client_init(&c, &rig);
    assert_int_equal(client_join(&c, &layer.digest, NULL), 0);
    client_expect(&c, layer.data, layer.len);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    finish();
}

/* --- wrong bytes ------------------------------------------------------------------------------ */

/* The first answer has a flipped last byte, later ones are right. */
static void script_wrong_once(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    if (r->number > 0) {
        say_layer(p, r, &layer, SIZE_MAX);
        return;
    }
    u8 wrong = layer.data[layer.len - 1] ^ 1;
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", layer.len);
    say_bytes(p, layer.data, layer.len - 1);
    say_bytes(p, &wrong, 1);
}

static void test_wrong_bytes_never_complete(void **state)
{
    (void)state;
    struct client whole, part, again;
    begin(script_wrong_once, MIB);
    client_init(&whole, &rig);
    client_init(&part, &rig);
    part.end = 1000;
    assert_int_equal(client_join(&whole, &layer.digest, NULL), 0);
    assert_int_equal(client_join(&part, &layer.digest, NULL), 0);
    client_expect_cut(&whole, &layer);
    wait_over(&part); /* it may have been served, or cut, before all was here */
    client_leave(&part);
    rig_wait_idle(&rig);
    assert_false(rig_holds(&rig, &layer));
    assert_int_equal(store_partial_size(rig.store, &layer.digest), 0);
    assert_int_equal(rig_counter(&rig, "dray_dropped_total", "reason=\"wrong_digest\""), 1);
    struct store_stats stats;
    store_stats(rig.store, &stats);
    assert_int_equal(stats.used_bytes, 0);
    /* Asked again, from the first byte. */
    client_init(&again, &rig);
    assert_int_equal(client_join(&again, &layer.digest, NULL), 0);
    client_expect(&again, layer.data, layer.len);
    struct server_request r;
    server_request_at(registry, 1, &r);
    assert_null(request_field(&r, "Range"));
    finish();
}

static void script_chunked_wrong(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    say_chunk(p, layer.data, layer.len / 2); /* properly ended, and too short */
    say_chunk(p, "", 0);
}

static void test_wrong_length_of_unknown_size(void **state)
{
    (void)state;
    struct client c;
    begin(script_chunked_wrong, MIB);
    client_init(&c, &rig);
    assert_int_equal(client_join(&c, &layer.digest, NULL), 0);
    client_expect_cut(&c, &layer);
    assert_true(c.len < layer.len / 2); /* its last byte waited for the digest */
    rig_wait_idle(&rig);
    assert_false(rig_holds(&rig, &layer));
    finish();
}

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

/* --- bounds, looking on, stopping ------------------------------------------------------------- */

static void script_silent(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    wait_gone(p);
}

static void test_too_many_fills(void **state)
{
    (void)state;
    static struct client clients[LIMIT_FILLS + 1];
    begin(script_silent, 100);
    struct digest d = layer.digest;
    for (unsigned i = 0; i < countof(clients); i++) {
        client_init(&clients[i], &rig);
        d.bytes[0] = (u8)i;
        d.bytes[1] = (u8)(i >> 8);
        assert_int_equal(client_join(&clients[i], &d, NULL), i < LIMIT_FILLS ? 0 : ERR_FULL);
    }
    d.bytes[1] = 0; /* one that runs may still be joined */
    clients[LIMIT_FILLS].waiter.fill = NULL;
    assert_int_equal(client_join(&clients[LIMIT_FILLS], &d, NULL), 0);
    assert_int_equal(fills_running(rig.fills), LIMIT_FILLS);
    fills_stop(rig.fills);
    for (unsigned i = 0; i < countof(clients); i++)
        client_expect_failed(&clients[i], ERR_CANCELED);
    rig_wait_idle(&rig);
    finish();
}

static void see(void *arg, const struct fill_status *st)
{
    *(struct fill_status *)arg = *st;
}

static void test_status(void **state)
{
    (void)state;
    struct client c;
    struct fill_status st = {0};
    begin(script_half, MIB);
    client_init(&c, &rig);
    assert_int_equal(client_join(&c, &layer.digest, NULL), 0);
    fills_each(rig.fills, see, &st);
    assert_string_equal(st.state, "asking");
    assert_true(st.size == STORE_SIZE_UNKNOWN);
    client_wait_bytes(&c, MIB / 2);
    fills_each(rig.fills, see, &st);
    assert_true(digest_equal(&st.digest, &layer.digest));
    assert_string_equal(st.state, "streaming");
    assert_string_equal(st.repository, "team/app");
    assert_string_equal(st.upstream, "registry-0");
    assert_int_equal(st.received, MIB / 2);
    assert_int_equal(st.size, MIB);
    assert_int_equal(st.clients, 1);
    assert_true(st.kept);
    server_open(registry, 0);
    client_expect(&c, layer.data, layer.len);
    finish();
}

static void test_stop_cuts_and_keeps(void **state)
{
    (void)state;
    struct client c;
    begin(script_half, MIB);
    client_init(&c, &rig);
    assert_int_equal(client_join(&c, &layer.digest, NULL), 0);
    client_wait_bytes(&c, MIB / 2);
    rig_settle(&rig);
    fills_stop(rig.fills);
    client_expect_cut(&c, &layer);
    rig_wait_idle(&rig);
    assert_int_equal(store_partial_size(rig.store, &layer.digest), MIB / 2);
    assert_false(rig_holds(&rig, &layer));
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_clients_one_get),
        cmocka_unit_test(test_two_layers_do_not_mix),
        cmocka_unit_test(test_whoever_leaves_stops_nobody),
        cmocka_unit_test(test_kept_though_everybody_left),
        cmocka_unit_test(test_slow_reader_holds_nobody_up),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_unknown_size),
        cmocka_unit_test(test_empty_blob),
        cmocka_unit_test(test_one_byte),
        cmocka_unit_test(test_sha512),
        cmocka_unit_test(test_wrong_bytes_never_complete),
        cmocka_unit_test(test_wrong_length_of_unknown_size),
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
        cmocka_unit_test(test_too_many_fills),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_stop_cuts_and_keeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
