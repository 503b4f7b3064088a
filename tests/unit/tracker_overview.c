/* tracker_overview.c - tests of tracker/overview.h and json_text.h: what is remembered to be shown,
 * and that it stays within bounds, whatever nodes say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tracker/json_text.h"
#include "tracker/overview.h"

static struct overview *o;
static u8 alice[TICKET_USER_BYTES] = {1, 2, 3, 4, 5};
static struct digest layer = {.alg = DIGEST_SHA256, .bytes = {9, 8, 7}};
static struct node_key one = {.bytes = {1}}, two = {.bytes = {2}};
static struct addr from;
static u64 now;
static struct outcome_report report;

static int begin(void **state)
{
    (void)state;
    now = 1000ull * OVERVIEW_BUCKET_MS * 1000;
    from = addr_v4(10, 20, 3, 4, 1);
    layer.bytes[5] = 0;
    return overview_new(&o);
}

static int end(void **state)
{
    (void)state;
    overview_del(o);
    return 0;
}

static void sent(const struct node_key *node, const char *reason)
{
    overview_sent(o,
                  &(struct overview_sent){.reason = reason,
                                          .user = alice,
                                          .from = &from,
                                          .node = node,
                                          .node_name = "rack-1",
                                          .region = "asia",
                                          .repository = "team/app",
                                          .digest = &layer,
                                          .size = 100},
                  now);
}

static void told(const struct node_key *node, enum outcome_event event, u64 bytes)
{
    memset(&report, 0, sizeof(report));
    report.n = 1;
    report.outcomes[0] = (struct outcome){
        .event = event, .digest = layer, .bytes = bytes, .took_ms = 12, .source = OUTCOME_PEER};
    memcpy(report.outcomes[0].user, alice, sizeof(alice));
    overview_told(o, node, 0, &report, now);
}

static void totals(const struct node_key *node, size_t region, u64 store, u64 origin)
{
    memset(&report, 0, sizeof(report));
    report.has_totals = true;
    report.totals = (struct outcome_totals){.served = {store, 0, origin},
                                            .from_origin = origin,
                                            .held_bytes = 50,
                                            .held_blobs = 5,
                                            .capacity_bytes = 500,
                                            .serving = 1};
    overview_told(o, node, region, &report, now);
}

static void add(void *arg, const struct overview_bucket *b)
{
    struct overview_bucket *sum = arg;
    sum->at++; /* how many */
    sum->served += b->served;
    sum->wan += b->wan;
    sum->strikes += b->strikes;
    for (size_t i = 0; i < OVERVIEW_REASONS; i++)
        sum->sent[i] += b->sent[i];
}

static struct overview_bucket sum_of_buckets(void)
{
    struct overview_bucket sum = {.at = 0};
    overview_each_bucket(o, now, add, &sum);
    return sum;
}

static void a_pull_from_sending_to_its_end(void **state)
{
    (void)state;
    assert_null(overview_pull(o, 0));
    sent(&one, "same subnet");
    const struct overview_pull *p = overview_pull(o, 0);
    assert_non_null(p);
    assert_string_equal(p->node_name, "rack-1");
    assert_string_equal(p->repository, "team/app");
    assert_true(p->prefix.ip[15] == 0 && p->prefix.ip[14] == 3 && p->prefix.port == 0);
    assert_int_equal(p->last, 0);
    told(&two, OUTCOME_BEGAN, 0); /* not where it was sent */
    assert_int_equal(p->alive, 0);
    told(&one, OUTCOME_BEGAN, 0);
    told(&one, OUTCOME_BEGAN, 0); /* a second range */
    assert_int_equal(p->alive, 2);
    now += 70;
    told(&one, OUTCOME_DONE, 60);
    told(&one, OUTCOME_LEFT, 40);
    told(&one, OUTCOME_LEFT, 0); /* one too many: no matter */
    assert_int_equal(p->alive, 0);
    assert_true(p->bytes == 100 && p->took_ms == 12 && p->source == OUTCOME_PEER);
    assert_true(p->changed_ms == now && p->sent_ms == now - 70);
}

static void the_same_again_is_one_line(void **state)
{
    (void)state;
    sent(&one, "same subnet");
    sent(&one, "same subnet");
    assert_int_equal(overview_pull(o, 0)->times, 2);
    assert_null(overview_pull(o, 1));
    sent(NULL, "struck"); /* streamed by the tracker */
    assert_false(node_key_is_set(&overview_pull(o, 0)->node));
    now += OVERVIEW_SAME_MS;
    sent(&one, "same subnet");
    assert_int_equal(overview_pull(o, 0)->times, 1);
    told(&one, OUTCOME_BEGAN, 0); /* of the newer */
    assert_int_equal(overview_pull(o, 0)->alive, 1);
    assert_int_equal(overview_pull(o, 2)->alive, 0);
    assert_null(overview_pull(o, 3));
}

static void a_flood_is_counted_and_sampled(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10000; i++) {
        memcpy(layer.bytes + 5, &i, sizeof(i));
        sent(&one, "any node");
    }
    assert_int_equal(overview_reason_total(o, 0), 10000);
    assert_int_equal(sum_of_buckets().sent[0], 10000);
    assert_true(overview_unshown(o) == 10000 - OVERVIEW_PULLS_S);
    assert_non_null(overview_pull(o, OVERVIEW_PULLS_S - 1));
    assert_null(overview_pull(o, OVERVIEW_PULLS_S));
    for (unsigned i = 0; i < 2 * OVERVIEW_PULLS; i++) {
        memcpy(layer.bytes + 5, &i, sizeof(i));
        now += 1000;
        sent(&two, "any node");
    }
    assert_non_null(overview_pull(o, OVERVIEW_PULLS - 1)); /* a full ring: the newest */
    assert_null(overview_pull(o, OVERVIEW_PULLS));
    assert_true(overview_pull(o, 0)->sent_ms == now);
}

static void reasons_have_an_end(void **state)
{
    (void)state;
    static char names[OVERVIEW_REASONS + 4][8];
    for (size_t i = 0; i < countof(names); i++) {
        snprintf(names[i], sizeof(names[i]), "r%zu", i);
        sent(&one, names[i]);
    }
    assert_int_equal(overview_reasons(o), OVERVIEW_REASONS);
    assert_string_equal(overview_reason(o, 0), "r0");
    assert_string_equal(overview_reason(o, OVERVIEW_REASONS - 1), "other");
    assert_int_equal(overview_reason_total(o, OVERVIEW_REASONS - 1), 5);
}

static void buckets_pass(void **state)
{
    (void)state;
    sent(&one, "any node");
    overview_strikes(o, 3, now);
    overview_strikes(o, 3, now);
    now += OVERVIEW_BUCKET_MS;
    sent(&one, "any node");
    assert_true(sum_of_buckets().at == 2 && sum_of_buckets().sent[0] == 2);
    assert_int_equal(sum_of_buckets().strikes, 3);
    now += (OVERVIEW_BUCKETS - 1) * (u64)OVERVIEW_BUCKET_MS;
    assert_true(sum_of_buckets().at == 1 && sum_of_buckets().sent[0] == 1);
    now += OVERVIEW_BUCKET_MS;
    assert_true(sum_of_buckets().at == 0);
}

static void sums_do_not_fall(void **state)
{
    (void)state;
    struct outcome_totals regions[2], all, node;
    totals(&one, 0, 1000, 100);
    assert_true(sum_of_buckets().served == 0); /* before we came */
    totals(&one, 0, 1500, 100);
    assert_true(sum_of_buckets().served == 500 && sum_of_buckets().wan == 0);
    totals(&two, 1, 10, 10);
    totals(&one, 0, 30, 20); /* it started anew */
    overview_sums(o, now, regions, 2, &all);
    assert_true(regions[0].served[OUTCOME_STORE] == 1530 && regions[0].from_origin == 120);
    assert_true(regions[1].from_origin == 10 && all.from_origin == 130);
    assert_true(all.held_blobs == 10 && all.serving == 2);
    assert_true(sum_of_buckets().served == 550 && sum_of_buckets().wan == 20);
    assert_true(overview_node(o, &one, &node) && node.held_bytes == 50 && node.from_origin == 120);
    now += OVERVIEW_FRESH_MS; /* nobody says any more what is held */
    overview_sums(o, now, regions, 1, &all);
    assert_true(all.held_blobs == 0 && all.from_origin == 130 && regions[0].from_origin == 120);
}

static void more_nodes_than_there_is_room_for(void **state)
{
    (void)state;
    struct outcome_totals none, all;
    const unsigned count = 4 * OVERVIEW_NODES;
    for (unsigned i = 1; i <= count; i++) {
        struct node_key k = {.bytes = {0}};
        memcpy(k.bytes + 3, &i, sizeof(i)); /* and badly spread */
        now++;
        totals(&k, 5, 0, 1);
    }
    overview_sums(o, now, &none, 0, &all);
    assert_true(all.from_origin == count);
    assert_false(overview_node(o, &one, &all));
}

/* --- JSON ------------------------------------------------------------------------------------- */

static void check_string(const char *s, const char *wanted)
{
    struct json_text t = {.n = 0};
    json_text_string(&t, s);
    assert_false(t.failed);
    assert_int_equal(t.n, strlen(wanted));
    assert_memory_equal(t.p, wanted, t.n);
    json_text_fini(&t);
}

static void strings_are_json_whatever_they_hold(void **state)
{
    (void)state;
    check_string(NULL, "\"\"");
    check_string("a\"b\\c\x01\x1f\x7f", "\"a\\\"b\\\\c\\u0001\\u001f\\u007f\"");
    check_string("<b>\xc3\xa4\xe2\x82\xac\xf0\x9f\x9a\x9a",
                 "\"<b>\xc3\xa4\xe2\x82\xac\xf0\x9f\x9a\x9a\"");
    const char *const bad[] = {"\xff",         "\x80",         "\xc0\xaf",         "\xc3",
                               "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"};
    for (size_t i = 0; i < countof(bad); i++) {
        struct json_text t = {.n = 0};
        json_text_string(&t, bad[i]);
        for (size_t k = 0; k < strlen(bad[i]); k++)
            assert_memory_equal(t.p + 1 + 3 * k, "\xef\xbf\xbd", 3);
        assert_int_equal(t.n, 2 + 3 * strlen(bad[i]));
        json_text_fini(&t);
    }
}

static void texts_grow(void **state)
{
    (void)state;
    struct json_text t = {.n = 0};
    for (int i = 0; i < 100000; i++)
        json_text_add(&t, "%d,", i % 10);
    assert_int_equal(t.n, 200000);
    assert_memory_equal(t.p + t.n - 2, "9,", 2);
    json_text_fini(&t);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_pull_from_sending_to_its_end),
        TEST(the_same_again_is_one_line),
        TEST(a_flood_is_counted_and_sampled),
        TEST(reasons_have_an_end),
        TEST(buckets_pass),
        TEST(sums_do_not_fall),
        TEST(more_nodes_than_there_is_room_for),
        cmocka_unit_test(strings_are_json_whatever_they_hold),
        cmocka_unit_test(texts_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
