/* runtime_login.c - tests of runtime/login.h: the node's own password goes only where it may, and
 * what it buys is used as long as it holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/limits.h"
#include "runtime/check.h"
#include "runtime/login.h"
#include "support/rig.h"

#define NODE_BASIC "Basic bm9kZTpzZWNyZXQ=" /* node:secret */

static struct rig rig;
static struct server *registry;
static char realm[1200];         /* of the registry's challenge */
static const char *token_answer; /* the token server's body */
static int token_status;

/* --- a registry with a token server ----------------------------------------------------------- */

/* /token sells; anything else wants "Bearer <what was sold last>". */
static void script(struct server_peer *p, const struct server_request *r, void *arg)
{
    char field[1400];
    (void)arg;
    const char *value = request_field(r, "Authorization");
    if (strncmp(r->target, "/token", 6) == 0) {
        say_answer(p, token_status, "Location: /token2\r\n", token_answer);
    } else if (value && strcmp(value, "Bearer good") == 0) {
        say_answer(p, 200, "", "welcome");
    } else {
        snprintf(field, sizeof(field),
                 "WWW-Authenticate: Bearer realm=\"%s\",service=\"reg & co\",scope=\"x\"\r\n",
                 realm);
        say_answer(p, 401, field, "{}");
    }
}

static void begin(server_script s)
{
    rig_open(&rig, MIB);
    registry = server_new(s, NULL, NULL);
    snprintf(realm, sizeof(realm), "%s/token", server_url(registry));
    token_answer = "{\"token\":\"good\",\"expires_in\":300}";
    token_status = 200;
}

static void finish(void)
{
    rig_close(&rig);
    server_del(registry);
}

struct heard {
    bool done;
    int err, status;
    char why[200];
};

static void on_answer(void *arg, const struct answer *a)
{
    struct heard *h = arg;
    h->done = true;
    h->err = a->err;
    h->status = a->status;
    snprintf(h->why, sizeof(h->why), "%s", a->why);
}

static bool was_heard(void *arg)
{
    return ((const struct heard *)arg)->done;
}

static struct upstream_ask *ask_begin(struct upstream *u, const char *repository, bool own,
                                      struct heard *h)
{
    struct upstream_ask *k;
    struct upstream_request q = {
        .method = "GET",
        .path = "/v2/x/manifests/latest",
        .repository = repository,
        .authorization = "Basic dXNlcg==",
        .own = own,
        .follow = true,
    };
    assert_int_equal(upstream_ask(u, &q, LIMIT_RELAY_BYTES, false, on_answer, h, &k), 0);
    return k;
}

static struct heard ask(struct upstream *u, const char *repository, bool own)
{
    struct heard h = {0};
    ask_begin(u, repository, own, &h);
    rig_wait(&rig, was_heard, &h);
    return h;
}

static struct upstream *node_upstream(const char *const *allow)
{
    return rig_upstream(&rig, server_url(registry), allow, "node:secret", NULL);
}

static const char *sent(unsigned n)
{
    static struct server_request r;
    server_request_at(registry, n, &r);
    const char *value = request_field(&r, "Authorization");
    return value ? value : "(none)";
}

/* --- the dance -------------------------------------------------------------------------------- */

static void test_a_token_is_bought_and_kept(void **state)
{
    (void)state;
    struct server_request r;
    begin(script);
    struct upstream *u = node_upstream(NULL);
    assert_true(upstream_has_credentials(u));
    assert_int_equal(ask(u, "team/app", true).status, 200);
    assert_int_equal(server_count(registry), 3);
    assert_string_equal(sent(0), "(none)");
    server_request_at(registry, 1, &r);
    assert_string_equal(r.target,
                        "/token?service=reg%20%26%20co&scope=repository%3Ateam%2Fapp%3Apull");
    assert_string_equal(sent(1), NODE_BASIC);
    assert_string_equal(sent(2), "Bearer good");
    assert_int_equal(ask(u, "team/app", true).status, 200);
    assert_int_equal(server_count(registry), 4); /* the token is still good */
    assert_string_equal(sent(3), "Bearer good");
    assert_int_equal(ask(u, "team/other", true).status, 200);
    assert_int_equal(server_count(registry), 7); /* of another repository: bought anew */
    assert_string_equal(sent(4), "(none)");
    finish();
}

static void test_users_and_node_do_not_mix(void **state)
{
    (void)state;
    begin(script);
    struct upstream *u = node_upstream(NULL);
    assert_int_equal(ask(u, "team/app", true).status, 200);
    struct heard h = ask(u, "team/app", false);
    assert_int_equal(h.status, 401); /* the user's refusal is relayed, no token is bought */
    assert_int_equal(server_count(registry), 4);
    assert_string_equal(sent(3), "Basic dXNlcg==");
    for (unsigned i = 0; i < 3; i++)
        assert_string_not_equal(sent(i), "Basic dXNlcg==");
    finish();
}

static void test_a_short_lived_token(void **state)
{
    (void)state;
    static const char *const lives[] = {"1",  "10",  "5",       "0",
                                        "-7", "1e3", "\"300\"", "99999999999999"};
    char answer[100];
    for (size_t i = 0; i < countof(lives); i++) {
        begin(script);
        snprintf(answer, sizeof(answer), "{\"access_token\":\"good\",\"expires_in\":%s}", lives[i]);
        token_answer = answer;
        struct upstream *u = node_upstream(NULL);
        assert_int_equal(ask(u, "team/app", true).status, 200); /* good for this use at least */
        assert_int_equal(ask(u, "team/app", true).status, 200);
        finish();
    }
}

static void test_a_token_that_ended_is_replaced(void **state)
{
    (void)state;
    begin(script);
    token_answer = "{\"token\":\"stale\"}"; /* the registry takes "good" only */
    struct upstream *u = node_upstream(NULL);
    assert_int_equal(ask(u, "team/app", true).status, 401); /* bought once, and no more */
    assert_int_equal(server_count(registry), 3);
    token_answer = "{\"token\":\"good\"}";
    assert_int_equal(ask(u, "team/app", true).status, 200);
    assert_int_equal(server_count(registry), 6);
    assert_string_equal(sent(3), "Bearer stale");
    assert_string_equal(sent(4), NODE_BASIC);
    finish();
}

static void test_many_repositories(void **state)
{
    (void)state;
    char name[32];
    begin(script);
    struct upstream *u = node_upstream(NULL);
    for (int i = 0; i < 130; i++) { /* two more than are kept */
        snprintf(name, sizeof(name), "r/%d", i);
        assert_int_equal(ask(u, name, true).status, 200);
    }
    unsigned before = server_count(registry);
    assert_int_equal(ask(u, "r/129", true).status, 200);
    assert_int_equal(server_count(registry), before + 1);
    assert_int_equal(ask(u, "r/0", true).status, 200); /* made room */
    assert_int_equal(server_count(registry), before + 4);
    finish();
}

static unsigned sold(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < server_count(registry); i++) {
        struct server_request r;
        server_request_at(registry, i, &r);
        n += strncmp(r.target, "/token", 6) == 0;
    }
    return n;
}

/* As script(), but the first token is not sold before the test says so. */
static void script_slow_token(struct server_peer *p, const struct server_request *r, void *arg)
{
    if (strncmp(r->target, "/token", 6) == 0)
        wait_gate(p, 0);
    script(p, r, arg);
}

static bool token_wanted(void *arg)
{
    return server_count(registry) > *(const unsigned *)arg;
}

/* `n` asks, of which each was refused and waits for a token. */
static void begin_crowd(struct heard *h, struct upstream_ask **asks, size_t n)
{
    unsigned refused = (unsigned)n;
    begin(script_slow_token);
    struct upstream *u = node_upstream(NULL);
    for (size_t i = 0; i < n; i++)
        asks[i] = ask_begin(u, "team/app", true, &h[i]);
    rig_wait(&rig, token_wanted, &refused);
    rig_settle(&rig);
}

static void test_one_token_for_many_at_once(void **state)
{
    (void)state;
    struct heard h[8] = {{0}};
    struct upstream_ask *asks[8];
    begin_crowd(h, asks, countof(h));
    server_open(registry, 0);
    for (size_t i = 0; i < countof(h); i++) {
        rig_wait(&rig, was_heard, &h[i]);
        assert_int_equal(h[i].status, 200);
    }
    assert_int_equal(sold(), 1);
    finish();
}

/* Whoever leaves, in whatever order, takes nothing from those who stay. */
static void test_some_of_many_leave(void **state)
{
    (void)state;
    for (unsigned stays = 0; stays < 16; stays++) {
        struct heard h[4] = {{0}};
        struct upstream_ask *asks[4];
        begin_crowd(h, asks, countof(h));
        for (unsigned i = 0; i < countof(h); i++)
            if (!(stays >> i & 1))
                upstream_ask_cancel(asks[i]);
        rig_settle(&rig);
        server_open(registry, 0);
        for (unsigned i = 0; i < countof(h); i++) {
            if (stays >> i & 1)
                rig_wait(&rig, was_heard, &h[i]);
            assert_int_equal(h[i].status, stays >> i & 1 ? 200 : 0);
        }
        rig_settle(&rig);
        finish();
    }
}

static void test_a_refusal_of_many_at_once(void **state)
{
    (void)state;
    struct heard h[4] = {{0}};
    struct upstream_ask *asks[4];
    begin_crowd(h, asks, countof(h));
    token_status = 403;
    server_open(registry, 0);
    for (size_t i = 0; i < countof(h); i++) {
        rig_wait(&rig, was_heard, &h[i]);
        assert_int_equal(h[i].err, ERR_DENIED);
    }
    assert_int_equal(sold(), 1);
    finish();
}

/* --- Basic ------------------------------------------------------------------------------------ */

static void script_basic(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    const char *value = request_field(r, "Authorization");
    if (value && strcmp(value, NODE_BASIC) == 0)
        say_answer(p, 200, "", "");
    else
        say_answer(p, 401, "WWW-Authenticate: Basic realm=\"x\"\r\n", "{}");
}

static void test_basic(void **state)
{
    (void)state;
    begin(script_basic);
    struct upstream *u = node_upstream(NULL);
    assert_int_equal(ask(u, "team/app", true).status, 200);
    assert_int_equal(server_count(registry), 2);
    assert_int_equal(ask(u, "team/other", true).status, 200); /* sent ahead from now on */
    assert_int_equal(server_count(registry), 3);
    finish();
}

/* None of them knew the password when it was sent; that is no refusal of it. */
static void test_basic_for_many_at_once(void **state)
{
    (void)state;
    struct heard h[8] = {{0}};
    begin(script_basic);
    struct upstream *u = node_upstream(NULL);
    for (size_t i = 0; i < countof(h); i++)
        ask_begin(u, "team/app", true, &h[i]);
    for (size_t i = 0; i < countof(h); i++) {
        rig_wait(&rig, was_heard, &h[i]);
        assert_int_equal(h[i].err, 0);
        assert_int_equal(h[i].status, 200);
    }
    finish();
}

static void test_basic_refused(void **state)
{
    (void)state;
    begin(script_basic);
    struct upstream *u = rig_upstream(&rig, server_url(registry), NULL, "node:wrong", NULL);
    struct heard h = ask(u, "team/app", true);
    assert_int_equal(h.err, 0);
    assert_int_equal(h.status, 401);
    assert_int_equal(server_count(registry), 2); /* with the password once, not in circles */
    h = ask(u, "team/app", true);
    assert_true(h.err == ERR_DENIED || h.status == 401);
    assert_true(server_count(registry) <= 4);
    finish();
}

/* As clouds give them: the password is a token of some kilobytes. */
static void script_any_basic(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    const char *value = request_field(r, "Authorization");
    if (value && strlen(value) > 3600)
        say_answer(p, 200, "", "");
    else
        say_answer(p, 401, "WWW-Authenticate: Basic realm=\"x\"\r\n", "{}");
}

static void test_a_long_password(void **state)
{
    (void)state;
    char text[2800], why[CONF_WHY_MAX];
    memset(text, 'x', sizeof(text));
    memcpy(text, "AWS:", 4);
    text[sizeof(text) - 1] = '\0';
    begin(script_any_basic);
    struct upstream *u = rig_upstream(&rig, server_url(registry), NULL, text, NULL);
    assert_null(check_credentials(rig.configs[0].credentials, why));
    assert_int_equal(ask(u, "team/app", true).status, 200);
    finish();
}

static void write_credentials(const char *text)
{
    FILE *to = fopen(rig.configs[0].credentials, "w");
    assert_non_null(to);
    fputs(text, to);
    fclose(to);
}

static void test_new_credentials(void **state)
{
    (void)state;
    char why[CONF_WHY_MAX] = "";
    begin(script_basic);
    struct upstream *u = rig_upstream(&rig, server_url(registry), NULL, "node:wrong", NULL);
    assert_int_equal(ask(u, "team/app", true).status, 401);
    write_credentials("node:secret\n");
    assert_int_equal(upstream_reload(u, why), 0);
    assert_int_equal(ask(u, "team/app", true).status, 200);
    write_credentials("no colon\n"); /* the old ones stay */
    assert_true(upstream_reload(u, why) < 0);
    assert_non_null(strstr(why, rig.configs[0].credentials));
    assert_null(strstr(why, "no colon"));
    assert_int_equal(ask(u, "team/app", true).status, 200);
    write_credentials("node:secret\n\n"); /* as an editor may leave it; no part of the password */
    assert_true(upstream_reload(u, why) < 0);
    assert_non_null(strstr(why, "one line"));
    assert_int_equal(ask(u, "team/app", true).status, 200);
    assert_int_equal(chmod(rig.configs[0].credentials, 0644), 0); /* for all to read */
    write_credentials("node:wrong\n");
    assert_true(upstream_reload(u, why) < 0);
    assert_int_equal(ask(u, "team/app", true).status, 200);
    finish();
}

/* --- where the password may not go ------------------------------------------------------------ */

static void expect_denied(const char *to, const char *const *allow, int err)
{
    begin(script);
    snprintf(realm, sizeof(realm), "%s", to);
    struct heard h = ask(node_upstream(allow), "team/app", true);
    assert_int_equal(h.err, err);
    assert_true(strlen(h.why) > 0);
    assert_null(strstr(h.why, "secret"));
    assert_int_equal(server_count(registry), 1);
    finish();
}

static void test_foreign_realms(void **state)
{
    (void)state;
    static const char *const realms[] = {"http://127.0.0.1:1/token", "http://example.org/token",
                                         "https://127.0.0.2/token"};
    static const char *const allow[] = {"example.com", "example.org:81", NULL};
    for (size_t i = 0; i < countof(realms); i++)
        expect_denied(realms[i], allow, ERR_DENIED);
}

static void test_realms_that_are_no_urls(void **state)
{
    (void)state;
    static const char *const realms[] = {
        "/token",
        "token",
        "ftp://127.0.0.1/token",
        "http://user@127.0.0.1/token",
        "http://",
        "file:///etc/passwd",
    };
    for (size_t i = 0; i < countof(realms); i++)
        expect_denied(realms[i], NULL, ERR_PROTO);
}

static void script_garbled(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    (void)r;
    say_answer(p, 401, "WWW-Authenticate: Bearer realm=\"unclosed\r\n", "{}");
}

static void test_a_garbled_challenge(void **state)
{
    (void)state;
    begin(script_garbled);
    assert_int_equal(ask(node_upstream(NULL), "team/app", true).err, ERR_PROTO);
    assert_int_equal(server_count(registry), 1);
    finish();
}

/* RFC 9110, 11.6.1: a list may as well come in several lines. */
static void script_two_lines(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    const char *value = request_field(r, "Authorization");
    if (value && strcmp(value, NODE_BASIC) == 0)
        say_answer(p, 200, "", "");
    else
        say_answer(p, 401, "WWW-Authenticate: Negotiate\r\nWWW-Authenticate: Basic realm=\"x\"\r\n",
                   "{}");
}

static void test_challenges_in_several_lines(void **state)
{
    (void)state;
    begin(script_two_lines);
    assert_int_equal(ask(node_upstream(NULL), "team/app", true).status, 200);
    finish();
}

static void test_a_listed_realm(void **state)
{
    (void)state;
    const char *allow[] = {NULL, NULL};
    begin(script);
    struct server *seller = server_new(script, NULL, NULL);
    allow[0] = server_host(seller);
    snprintf(realm, sizeof(realm), "%s/token?a=b", server_url(seller));
    assert_int_equal(ask(node_upstream(allow), "team/app", true).status, 200);
    struct server_request r;
    server_request_at(seller, 0, &r);
    assert_int_equal(strncmp(r.target, "/token?a=b&service=", 19), 0);
    assert_string_equal(request_field(&r, "Authorization"), NODE_BASIC);
    assert_int_equal(server_count(registry), 2);
    finish();
    server_del(seller);
}

/* Over TLS the password does not leave it, whatever is listed. */
static void test_http_realm_under_https(void **state)
{
    (void)state;
    char ca[128];
    const char *allow[] = {"127.0.0.1", NULL};
    rig_open(&rig, MIB);
    rig_path(&rig, "ca.pem", ca);
    registry = server_new(script, NULL, ca);
    token_answer = "{\"token\":\"good\"}";
    token_status = 200;
    snprintf(realm, sizeof(realm), "http://%s/token", server_host(registry));
    struct upstream *u = rig_upstream(&rig, server_url(registry), allow, "node:secret", ca);
    assert_int_equal(ask(u, "team/app", true).err, ERR_DENIED);
    assert_int_equal(server_count(registry), 1);
    snprintf(realm, sizeof(realm), "%s/token", server_url(registry));
    assert_int_equal(ask(u, "team/app", true).status, 200);
    finish();
}

/* --- token servers that do not do their job --------------------------------------------------- */

static void expect_no_token(int status, const char *answer, int err)
{
    begin(script);
    token_status = status;
    token_answer = answer;
    struct heard h = ask(node_upstream(NULL), "team/app", true);
    assert_int_equal(h.err, err);
    assert_true(strlen(h.why) > 0);
    assert_int_equal(server_count(registry), 2);
    finish();
}

static void test_answers_without_a_token(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "",
        "rubbish",
        "{}",
        "[]",
        "null",
        "{\"token\":\"\"}",
        "{\"token\":5}",
        "{\"token\":null,\"access_token\":[]}",
        "{\"token\":\"a\",\"token\":\"b\"}",
        "{\"token\":\"two words\"}",
        "{\"token\":\"line\\r\\nX: y\"}",
        "{\"token\":\"nul\\u0000\"}",
        "{\"token\":\"\\u00e9\"}",
    };
    for (size_t i = 0; i < countof(answers); i++)
        expect_no_token(200, answers[i], ERR_PROTO);
    /* No header would hold it. */
    static char text[20 * KIB];
    memset(text, 'x', sizeof(text) - 1);
    memcpy(text, "{\"token\":\"", 10);
    memcpy(text + sizeof(text) - 3, "\"}", 2);
    expect_no_token(200, text, ERR_PROTO);
}

static void test_other_answers(void **state)
{
    (void)state;
    expect_no_token(401, "{}", ERR_DENIED);
    expect_no_token(403, "{}", ERR_DENIED);
    expect_no_token(404, "{\"token\":\"good\"}", ERR_PROTO);
    expect_no_token(500, "{\"token\":\"good\"}", ERR_PROTO);
    expect_no_token(307, "{\"token\":\"good\"}", ERR_PROTO); /* the password follows nothing */
}

static atomic_ullong sold_bytes;

static void script_endless_token(struct server_peer *p, const struct server_request *r, void *arg)
{
    static const char block[4096];
    if (strncmp(r->target, "/token", 6) != 0) {
        script(p, r, arg);
        return;
    }
    say(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (; sold_bytes < 256 * MIB && !peer_left(p); sold_bytes += sizeof(block))
        say_chunk(p, block, sizeof(block));
    hang_up(p);
}

static void test_an_endless_answer(void **state)
{
    (void)state;
    begin(script_endless_token);
    struct heard h = ask(node_upstream(NULL), "team/app", true);
    assert_int_equal(h.err, ERR_PROTO);
    /* Long before all of it came: what the kernels hold is some megabytes. */
    assert_true(sold_bytes < 64 * MIB);
    finish();
}

static void script_mute_token(struct server_peer *p, const struct server_request *r, void *arg)
{
    if (strncmp(r->target, "/token", 6) == 0)
        wait_gone(p);
    else
        script(p, r, arg);
}

static bool token_asked(void *arg)
{
    (void)arg;
    return server_count(registry) == 2;
}

static void test_cancel_while_buying(void **state)
{
    (void)state;
    struct heard h = {0};
    struct upstream_ask *k;
    struct upstream_request q = {.method = "GET", .path = "/v2/", .own = true};
    begin(script_mute_token);
    struct upstream *u = node_upstream(NULL);
    assert_int_equal(upstream_ask(u, &q, 100, false, on_answer, &h, &k), 0);
    rig_wait(&rig, token_asked, NULL);
    rig_settle(&rig);
    struct server_request r;
    server_request_at(registry, 1, &r);
    assert_null(strstr(r.target, "scope")); /* no repository was named */
    upstream_ask_cancel(k);
    rig_settle(&rig);
    assert_false(h.done);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_token_is_bought_and_kept),
        cmocka_unit_test(test_users_and_node_do_not_mix),
        cmocka_unit_test(test_a_short_lived_token),
        cmocka_unit_test(test_a_token_that_ended_is_replaced),
        cmocka_unit_test(test_many_repositories),
        cmocka_unit_test(test_one_token_for_many_at_once),
        cmocka_unit_test(test_some_of_many_leave),
        cmocka_unit_test(test_a_refusal_of_many_at_once),
        cmocka_unit_test(test_basic),
        cmocka_unit_test(test_basic_for_many_at_once),
        cmocka_unit_test(test_basic_refused),
        cmocka_unit_test(test_a_long_password),
        cmocka_unit_test(test_new_credentials),
        cmocka_unit_test(test_foreign_realms),
        cmocka_unit_test(test_realms_that_are_no_urls),
        cmocka_unit_test(test_a_garbled_challenge),
        cmocka_unit_test(test_challenges_in_several_lines),
        cmocka_unit_test(test_a_listed_realm),
        cmocka_unit_test(test_http_realm_under_https),
        cmocka_unit_test(test_answers_without_a_token),
        cmocka_unit_test(test_other_answers),
        cmocka_unit_test(test_an_endless_answer),
        cmocka_unit_test(test_cancel_while_buying),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
