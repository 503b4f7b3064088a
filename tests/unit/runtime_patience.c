/* runtime_patience.c - tests of runtime/upstream.h, login.h and question.h against registries and
 * token services that keep a request for ever: silent, or dripping a byte now and then. Each asker
 * is told why in the end, the connection is given up, and the next asker is served.
 *
 * The real patience is 20 s to 2 min. Here one timer of one request at a time is shortened, if it
 * is there at all, so that no other can have ended it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/limits.h"
#include "runtime/question.h"
#include "support/ask.h"

#define HASTE_MS   400
#define LONGEST_MS 120000 /* of any small answer */

/* --- whose patience is short ------------------------------------------------------------------ */

enum timer { TIMER_HEAD, TIMER_STALL, TIMER_WHOLE };

static struct {
    const char *path; /* part of the URL; NULL: nobody's */
    enum timer timer;
    unsigned left; /* requests that it still concerns */
} haste;

int __real_http_transfer_start(struct http_client *c, const struct http_transfer_options *opt,
                               struct http_transfer **out);
int __wrap_http_transfer_start(struct http_client *c, const struct http_transfer_options *opt,
                               struct http_transfer **out);

int __wrap_http_transfer_start(struct http_client *c, const struct http_transfer_options *opt,
                               struct http_transfer **out)
{
    struct http_transfer_options hasty = *opt;
    assert_in_range(opt->whole_timeout_ms, 1, LONGEST_MS); /* small answers all have an end */
    if (haste.path && haste.left > 0 && strstr(opt->url, haste.path)) {
        haste.left--;
        switch (haste.timer) {
        case TIMER_HEAD: hasty.head_timeout_ms = HASTE_MS; break;
        case TIMER_STALL: hasty.stall_timeout_ms = HASTE_MS; break;
        case TIMER_WHOLE: hasty.whole_timeout_ms = HASTE_MS; break;
        }
    }
    return __real_http_transfer_start(c, &hasty, out);
}

/* --- a registry and a token service that keep who asks ---------------------------------------- */

enum way { WELL, SILENT, HEAD_DRIPS, BODY_STALLS, BODY_DRIPS, WAYS };

/* What ends each, and what is said of it. */
static const struct {
    enum timer timer;
    const char *why;
} ends[WAYS] = {
    [SILENT] = {TIMER_HEAD, "no answer came in time"},
    [HEAD_DRIPS] = {TIMER_HEAD, "no answer came in time"},
    [BODY_STALLS] = {TIMER_STALL, "its body stopped coming"},
    [BODY_DRIPS] = {TIMER_WHOLE, "its answer did not end in time"},
};

static struct rig rig;
static struct server *registry;
static char realm[128];
static _Atomic enum way registry_way, token_way;
static atomic_bool challenges; /* the registry's 401 comes in registry_way, all else well */
static atomic_uint left;       /* connections that were kept until their client left */

static void drip(struct server_peer *p)
{
    while (!peer_left(p)) {
        say(p, "x");
        usleep(20000);
    }
}

/* Answers, or keeps the connection until the other side has had enough. */
static void behave(struct server_peer *p, enum way way, int status, const char *fields,
                   const char *body)
{
    switch (way) {
    case WELL:
    case WAYS: say_answer(p, status, fields, body); return;
    case SILENT: wait_gone(p); break;
    case HEAD_DRIPS:
        say(p, "HTTP/1.1 %d Slow\r\nX-Slow: ", status);
        drip(p);
        break;
    case BODY_STALLS:
        say(p, "HTTP/1.1 %d Slow\r\n%sContent-Length: 1000\r\n\r\n{", status, fields);
        wait_gone(p);
        break;
    case BODY_DRIPS:
        say(p, "HTTP/1.1 %d Slow\r\n%sContent-Length: 60000\r\n\r\n", status, fields);
        drip(p);
        break;
    }
    atomic_fetch_add(&left, 1);
}

static void script(struct server_peer *p, const struct server_request *r, void *arg)
{
    char field[256];
    (void)arg;
    const char *value = request_field(r, "Authorization");
    const char *body = strcmp(r->method, "HEAD") == 0 ? "" : "welcome";
    if (strncmp(r->target, "/token", 6) == 0) {
        behave(p, token_way, 200, "", "{\"token\":\"good\",\"expires_in\":300}");
        return;
    }
    if (value && strncmp(value, "Bearer good", 11) != 0 && strncmp(value, "Basic ", 6) != 0)
        value = NULL;
    snprintf(field, sizeof(field), "WWW-Authenticate: Bearer realm=\"%s\",service=\"s\"\r\n",
             realm);
    if (!value)
        behave(p, challenges ? registry_way : WELL, 401, field, "{}");
    else if (challenges || registry_way == WELL)
        say_answer(p, 200, "", body);
    else
        behave(p, registry_way, 200, "", body);
}

static void begin(const char *credentials)
{
    haste.path = NULL;
    registry_way = token_way = WELL;
    challenges = false;
    left = 0;
    rig_open(&rig, MIB);
    registry = server_new(script, NULL, NULL);
    snprintf(realm, sizeof(realm), "%s/token", server_url(registry));
    rig_upstream(&rig, server_url(registry), NULL, credentials, NULL);
}

static void finish(void)
{
    rig_close(&rig);
    server_del(registry);
}

static void be_hasty(const char *path, enum way way, unsigned requests)
{
    haste.path = path;
    haste.timer = ends[way].timer;
    haste.left = requests;
}

static bool all_left(void *arg)
{
    return atomic_load(&left) >= *(const unsigned *)arg;
}

/* As many connections were given up. */
static void expect_left(unsigned n)
{
    rig_wait(&rig, all_left, &n);
}

static void expect_why(const struct heard *h, enum way way)
{
    assert_int_equal(h->err, ERR_TIMEOUT);
    if (!strstr(h->why, ends[way].why))
        fail_msg("way %d: \"%s\"", way, h->why);
}

/* --- small answers ---------------------------------------------------------------------------- */

static void small_answers_end(const char *path, const char *method)
{
    struct upstream_request q = {
        .method = method, .path = path, .authorization = "Basic dTpw", .follow = true};
    const char *error;
    u64 since;
    begin(NULL);
    for (enum way way = SILENT; way < WAYS; way++) {
        struct heard h;
        bool bodiless = strcmp(method, "HEAD") == 0 && way >= BODY_STALLS;
        unsigned kept = left;
        if (bodiless)
            continue;
        registry_way = way;
        be_hasty(path, way, 1);
        ask(&rig, rig.upstreams[0], &q, &h);
        expect_why(&h, way);
        assert_int_equal(haste.left, 0);
        /* it counts as away, which /api and the log say */
        assert_int_equal(upstream_state(rig.upstreams[0], &error, &since), UPSTREAM_DOWN);
        assert_non_null(strstr(error, ends[way].why));
        expect_left(kept + 1);
        registry_way = WELL;
        ask(&rig, rig.upstreams[0], &q, &h);
        assert_int_equal(h.err, 0);
        assert_int_equal(h.status, 200);
        assert_int_equal(upstream_state(rig.upstreams[0], &error, &since), UPSTREAM_OK);
    }
    finish();
}

static void test_manifests(void **state)
{
    (void)state;
    small_answers_end("/v2/team/app/manifests/latest", "GET");
    small_answers_end("/v2/team/app/manifests/latest", "HEAD");
}

static void test_tags(void **state)
{
    (void)state;
    small_answers_end("/v2/team/app/tags/list?n=2", "GET");
}

/* --- token services --------------------------------------------------------------------------- */

static const struct upstream_request own = {.method = "GET",
                                            .path = "/v2/team/app/manifests/latest",
                                            .repository = "team/app",
                                            .own = true,
                                            .follow = true};

static void test_token_services(void **state)
{
    (void)state;
    begin("node:secret");
    for (enum way way = SILENT; way < WAYS; way++) {
        struct heard h;
        token_way = way;
        be_hasty("/token", way, 1);
        ask(&rig, rig.upstreams[0], &own, &h);
        expect_why(&h, way);
        assert_int_equal(h.status, 0);
        expect_left(way);
    }
    /* nothing of all that was taken for a token */
    struct heard h;
    token_way = WELL;
    ask(&rig, rig.upstreams[0], &own, &h);
    assert_int_equal(h.err, 0);
    assert_string_equal(h.body, "welcome");
    finish();
}

static bool token_wanted(void *arg)
{
    (void)arg;
    return server_count_of(registry, "/token?service=s&scope=repository%3Ateam%2Fapp%3Apull") > 0;
}

/* Who waits for a token and leaves takes its request along. */
static void test_a_token_nobody_waits_for(void **state)
{
    struct upstream_ask *k;
    struct heard h;
    (void)state;
    begin("node:secret");
    token_way = BODY_DRIPS;
    ask_start(rig.upstreams[0], &own, LIMIT_RELAY_BYTES, false, &h, &k);
    rig_wait(&rig, token_wanted, NULL);
    upstream_ask_cancel(k);
    expect_left(1);
    assert_false(h.done);
    finish();
}

/* The answer that asks for a login is not needed to its end. */
static void test_a_challenge_that_never_ends(void **state)
{
    (void)state;
    for (enum way way = BODY_STALLS; way < WAYS; way++) {
        struct heard h;
        begin("node:secret");
        challenges = true;
        registry_way = way;
        be_hasty("/v2/", way, 1);
        ask(&rig, rig.upstreams[0], &own, &h);
        assert_int_equal(h.err, 0);
        assert_string_equal(h.body, "welcome");
        expect_left(1);
        finish();
    }
}

/* --- may this user? --------------------------------------------------------------------------- */

struct asker {
    struct question_waiter w;
    bool answered;
    enum verdict verdict;
    char why[200];
};

static void on_answer(struct question_waiter *w, const struct answer *a)
{
    struct asker *k = container_of(w, struct asker, w);
    u64 size;
    k->answered = true;
    k->verdict = question_verdict(rig.upstreams[0], a, &size);
    snprintf(k->why, sizeof(k->why), "%s", answer_away_text(a));
}

static bool was_answered(void *arg)
{
    return ((const struct asker *)arg)->answered;
}

static void put(struct questions *set, struct asker *k)
{
    struct question_text t = {.upstream = rig.upstreams[0],
                              .repository = "team/app",
                              .authorization = "Basic dTpw",
                              .digest = {.alg = DIGEST_SHA256}};
    *k = (struct asker){.w.answered = on_answer};
    assert_int_equal(question_ask(set, &t, &k->w), 0);
}

/* All who wait for one answer are told, and the next one asks anew. */
static void test_permissions(void **state)
{
    struct questions *set;
    (void)state;
    begin(NULL);
    assert_int_equal(questions_new(&set), 0);
    for (enum way way = SILENT; way < WAYS; way++) {
        struct asker two[2], next;
        unsigned asked = server_count(registry);
        registry_way = way;
        be_hasty("/blobs/", way, 1);
        put(set, &two[0]);
        put(set, &two[1]);
        for (size_t i = 0; i < countof(two); i++) {
            rig_wait(&rig, was_answered, &two[i]);
            assert_int_equal(two[i].verdict, VERDICT_AWAY);
            assert_non_null(strstr(two[i].why, ends[way].why));
        }
        expect_left(way);
        assert_int_equal(server_count(registry), asked + 1);
        registry_way = WELL;
        put(set, &next);
        rig_wait(&rig, was_answered, &next);
        assert_int_equal(next.verdict, VERDICT_ALLOWED);
    }
    questions_del(set);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_manifests),
        cmocka_unit_test(test_tags),
        cmocka_unit_test(test_token_services),
        cmocka_unit_test(test_a_token_nobody_waits_for),
        cmocka_unit_test(test_a_challenge_that_never_ends),
        cmocka_unit_test(test_permissions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
