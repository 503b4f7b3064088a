/* runtime_question.c - tests of runtime/question.h: one question for all who ask it, and what the
 * answers of registries mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/limits.h"
#include "runtime/question.h"
#include "support/rig.h"

static struct rig rig;
static struct server *registry;
static struct questions *questions;
static struct authz *authz;
static struct layer layer;

struct asker {
    struct question_waiter w;
    bool answered;
    int err, status;
    enum verdict verdict;
    u64 size;
    char body[64];
    struct asker *leaves; /* whom the answer makes leave */
};

static void on_answer(struct question_waiter *w, const struct answer *a)
{
    struct asker *k = container_of(w, struct asker, w);
    assert_false(k->answered);
    k->answered = true;
    k->err = a->err;
    k->status = a->status;
    k->verdict = question_verdict(rig.upstreams[0], a, &k->size);
    snprintf(k->body, sizeof(k->body), "%.*s", (int)a->len, a->body ? (const char *)a->body : "");
    if (k->leaves)
        question_leave(&k->leaves->w);
}

static void begin(server_script script)
{
    rig_open(&rig, MIB);
    layer_make(&layer, 1000, 9);
    registry = server_new(script, NULL, NULL);
    rig_upstream(&rig, server_url(registry), NULL, NULL, NULL);
    assert_int_equal(questions_new(&questions), 0);
    assert_int_equal(authz_new(&authz, 60000, 0), 0);
}

static void finish(void)
{
    questions_del(questions);
    authz_del(authz);
    rig_close(&rig);
    server_del(registry);
    layer_free(&layer);
}

static void ask(struct asker *k, const char *repository, const char *authorization)
{
    struct question_text t = {
        .upstream = rig.upstreams[0],
        .repository = repository,
        .authorization = authorization,
        .digest = layer.digest,
    };
    memset(k, 0, sizeof(*k));
    k->w.answered = on_answer;
    authz_user(authz, authorization, authorization ? strlen(authorization) : 0, &t.user);
    assert_int_equal(question_ask(questions, &t, &k->w), 0);
    assert_false(k->answered);
}

static bool was_answered(void *arg)
{
    return ((const struct asker *)arg)->answered;
}

/* --- sharing ---------------------------------------------------------------------------------- */

static void script_user(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    const char *value = request_field(r, "Authorization");
    wait_gate(p, 0);
    if (value && strcmp(value, "Basic good") == 0)
        say_layer(p, r, &layer, SIZE_MAX);
    else
        say_answer(p, 403, "", "no");
}

static bool asked(void *arg)
{
    return server_count(registry) >= *(const unsigned *)arg;
}

static void wait_asked(unsigned n)
{
    rig_wait(&rig, asked, &n);
}

static void test_equal_questions_are_one(void **state)
{
    (void)state;
    struct asker same[3], other_user, other_place;
    struct server_request r;
    begin(script_user);
    for (int i = 0; i < 3; i++)
        ask(&same[i], "team/app", "Basic good");
    ask(&other_user, "team/app", "Basic bad");
    ask(&other_place, "team/other", "Basic good");
    wait_asked(3);
    server_open(registry, 0);
    for (int i = 0; i < 3; i++) {
        rig_wait(&rig, was_answered, &same[i]);
        assert_int_equal(same[i].verdict, VERDICT_ALLOWED);
        assert_int_equal(same[i].size, 1000);
    }
    rig_wait(&rig, was_answered, &other_user);
    assert_int_equal(other_user.verdict, VERDICT_REFUSED);
    assert_string_equal(other_user.body, "no");
    rig_wait(&rig, was_answered, &other_place);
    assert_int_equal(other_place.verdict, VERDICT_ALLOWED);
    assert_int_equal(server_count(registry), 3);
    server_request_at(registry, 0, &r);
    assert_string_equal(r.method, "GET");
    assert_string_equal(request_field(&r, "Range"), "bytes=0-0");
    ask(&same[0], "team/app", "Basic good"); /* later: asked again, nothing is remembered here */
    rig_wait(&rig, was_answered, &same[0]);
    assert_int_equal(server_count(registry), 4);
    finish();
}

static void test_leaving(void **state)
{
    (void)state;
    struct asker first, second, alone;
    begin(script_user);
    ask(&first, "team/app", "Basic good");
    ask(&second, "team/app", "Basic good");
    ask(&alone, "team/other", NULL);
    wait_asked(2);
    question_leave(&first.w);
    question_leave(&first.w);
    question_leave(&alone.w); /* nobody wants to know any more */
    server_open(registry, 0);
    rig_wait(&rig, was_answered, &second);
    assert_int_equal(second.verdict, VERDICT_ALLOWED);
    rig_settle(&rig);
    assert_false(first.answered || alone.answered);
    finish();
}

static bool either_answered(void *arg)
{
    struct asker **two = arg;
    return two[0]->answered || two[1]->answered;
}

static void test_leaving_from_inside(void **state)
{
    (void)state;
    struct asker a, b;
    begin(script_user);
    ask(&a, "team/app", "Basic good");
    ask(&b, "team/app", "Basic good");
    a.leaves = &b;
    b.leaves = &a;
    server_open(registry, 0);
    rig_wait(&rig, either_answered, (struct asker *[]){&a, &b});
    rig_settle(&rig);
    assert_true(a.answered != b.answered); /* who was told first made the other one leave */
    finish();
}

static void test_ending_with_questions_open(void **state)
{
    (void)state;
    struct asker a;
    begin(script_user);
    ask(&a, "team/app", "Basic good");
    wait_asked(1);
    question_leave(&a.w);
    ask(&a, "team/app", "Basic good");
    questions_del(questions); /* it cancels what runs */
    questions = NULL;
    server_open(registry, 0);
    rig_settle(&rig);
    assert_false(a.answered);
    finish();
}

/* --- verdicts --------------------------------------------------------------------------------- */

static struct http_response_field content_range = {"Content-Range", NULL};

static enum verdict judge(int err, int status, const char *range, u64 length, u64 *size)
{
    struct answer a;
    struct http_response r = {.status = status,
                              .content_length = length,
                              .fields = &content_range,
                              .n_fields = range ? 1 : 0};
    content_range.value = range;
    answer_init(&a);
    assert_int_equal(answer_head(&a, &r, false), 0);
    answer_end(&a, err, "");
    enum verdict v = question_verdict(rig.upstreams[0], &a, size);
    answer_fini(&a);
    return v;
}

static void test_verdicts(void **state)
{
    (void)state;
    static const u64 none = UINT64_MAX;
    static const struct {
        int err, status;
        const char *range;
        u64 length;
        enum verdict verdict;
        u64 size;
    } cases[] = {
        {0, 200, NULL, 1000, VERDICT_ALLOWED, 1000},
        {0, 200, NULL, none, VERDICT_ALLOWED, none},
        {0, 200, NULL, 0, VERDICT_ALLOWED, 0},
        {0, 206, "bytes 0-0/1000", 1, VERDICT_ALLOWED, 1000},
        {0, 206, "bytes 0-0/*", 1, VERDICT_ALLOWED, none},
        {0, 206, "rubbish", 1, VERDICT_ALLOWED, none},
        {0, 206, NULL, 1, VERDICT_ALLOWED, none},
        /* a blob of no bytes has no first one */
        {0, 416, "bytes */0", 0, VERDICT_ALLOWED, 0},
        {0, 416, "bytes */5", 0, VERDICT_REFUSED, none},
        {0, 416, "bytes */00", 0, VERDICT_REFUSED, none},
        {0, 416, NULL, 0, VERDICT_REFUSED, none},
        /* no other answer permits, whatever its class */
        {0, 201, NULL, 1000, VERDICT_REFUSED, none},
        {0, 202, NULL, 0, VERDICT_REFUSED, none},
        {0, 204, NULL, 0, VERDICT_REFUSED, none},
        {0, 304, NULL, 0, VERDICT_REFUSED, none},
        {0, 300, NULL, 0, VERDICT_REFUSED, none},
        {0, 307, NULL, 0, VERDICT_REFUSED, none},
        {0, 400, NULL, 0, VERDICT_REFUSED, none},
        {0, 401, NULL, 0, VERDICT_REFUSED, none},
        {0, 403, NULL, 0, VERDICT_REFUSED, none},
        {0, 404, NULL, 0, VERDICT_REFUSED, none},
        {0, 429, NULL, 0, VERDICT_REFUSED, none},
        /* away: 5xx and transport, nothing else */
        {0, 500, NULL, 0, VERDICT_AWAY, none},
        {0, 503, NULL, 0, VERDICT_AWAY, none},
        {0, 599, NULL, 0, VERDICT_AWAY, none},
        {ERR_UNREACHABLE, 0, NULL, none, VERDICT_AWAY, none},
        {ERR_TIMEOUT, 0, NULL, none, VERDICT_AWAY, none},
        {ERR_EOF, 200, NULL, 1000, VERDICT_AWAY, none},
        {ERR_TLS, 0, NULL, none, VERDICT_AWAY, none},
        {ERR_DENIED, 0, NULL, none, VERDICT_REFUSED, none},
        {ERR_PROTO, 0, NULL, none, VERDICT_REFUSED, none},
        {ERR_TOOBIG, 200, NULL, none, VERDICT_REFUSED, none},
    };
    begin(script_user);
    for (size_t i = 0; i < countof(cases); i++) {
        u64 size = 12345;
        enum verdict v =
            judge(cases[i].err, cases[i].status, cases[i].range, cases[i].length, &size);
        if (v != cases[i].verdict || size != cases[i].size)
            fail_msg("case %zu: %d, %llu", i, v, (unsigned long long)size);
    }
    finish();
}

/* Redirects to the layer, and, when blind, from any other blob as well. */
static bool blind;

static void script_redirect(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    if (strcmp(r->target, "/data") == 0)
        say_layer(p, r, &layer, SIZE_MAX);
    else
        say_answer(p, strstr(r->target, layer.text) || blind ? 307 : 404, "Location: /data\r\n",
                   "");
}

static void test_redirected_answers(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct asker k;
        begin(script_redirect);
        blind = i == 1;
        ask(&k, "team/app", NULL);
        rig_wait(&rig, was_answered, &k);
        assert_int_equal(k.status, 206);
        assert_int_equal(k.size, 1000);
        wait_asked(3);
        /* Once the trial is over, which may take some more questions. */
        for (int more = 0; more < 50 && k.verdict == VERDICT_ALLOWED_ONCE; more++) {
            rig_settle(&rig);
            ask(&k, "team/app", NULL);
            rig_wait(&rig, was_answered, &k);
            if (blind && more == 2)
                break;
        }
        assert_int_equal(k.verdict, blind ? VERDICT_ALLOWED_ONCE : VERDICT_ALLOWED);
        finish();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_questions_are_one),
        cmocka_unit_test(test_leaving),
        cmocka_unit_test(test_leaving_from_inside),
        cmocka_unit_test(test_ending_with_questions_open),
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_redirected_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
