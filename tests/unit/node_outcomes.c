/* node_outcomes.c - tests of node/outcomes.h: which tracker hears of what, and what is dropped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "double/mesh_double.h"
#include "node/outcomes.h"
#include "support/rig.h"

static struct rig rig;
static struct outcomes *outcomes;
static struct server *trackers[2];

/* --- what trackers hear ----------------------------------------------------------------------- */

/* The scripted server reads no bodies, so the transfer is looked at where it starts. */
#define HEARD_MAX 32
static struct {
    char url[128];
    struct outcome_report report;
} heard[HEARD_MAX];
static size_t n_heard;
static bool hold; /* reports stay under way */

static struct http_transfer_options held[HEARD_MAX];

int __wrap_http_transfer_start(struct http_client *c, const struct http_transfer_options *opt,
                               struct http_transfer **out);
void __wrap_http_transfer_cancel(struct http_transfer *t);

int __wrap_http_transfer_start(struct http_client *c, const struct http_transfer_options *opt,
                               struct http_transfer **out)
{
    (void)c;
    assert_true(n_heard < HEARD_MAX);
    assert_string_equal(opt->method, "POST");
    assert_non_null(strstr(opt->fields[0], "Dray-Peer: "));
    assert_non_null(strstr(opt->fields[0], " POST /mesh/v1/outcomes "));
    snprintf(heard[n_heard].url, sizeof(heard[n_heard].url), "%s", opt->url);
    assert_int_equal(outcome_unpack(&heard[n_heard].report, opt->body, opt->body_len), 0);
    held[n_heard] = *opt;
    *out = (struct http_transfer *)(void *)&held[n_heard++];
    return 0;
}

void __wrap_http_transfer_cancel(struct http_transfer *t)
{
    (void)t;
}

static void answer(size_t i, int status)
{
    struct http_response r = {.status = status};
    held[i].on.head(held[i].arg, &r);
    held[i].on.end(held[i].arg, 0, "");
}

static bool has_heard(void *arg)
{
    for (size_t i = 0; i < n_heard && !hold; i++)
        if (held[i].arg) {
            answer(i, 204);
            held[i].arg = NULL;
        }
    return n_heard >= *(const size_t *)arg;
}

static void wait_heard(size_t n)
{
    rig_wait(&rig, has_heard, &n);
}

/* --- stage ------------------------------------------------------------------------------------ */

static void script_none(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    hang_up(p);
}

static void begin(void)
{
    rig_open(&rig, 64 * MIB);
    double_reset();
    n_heard = 0;
    hold = false;
    struct outcomes_options opt = {.loop = &rig.loop, .client = rig.http, .metrics = rig.metrics};
    assert_int_equal(outcomes_new(&outcomes, &opt), 0);
    outcomes_attach(outcomes, double_region());
    for (size_t i = 0; i < 2; i++) {
        trackers[i] = server_new(script_none, NULL, NULL);
        double_tracker(trackers[i]);
    }
}

static void finish(void)
{
    outcomes_stop(outcomes);
    rig_close(&rig);
    outcomes_del(outcomes);
    for (size_t i = 0; i < 2; i++)
        server_del(trackers[i]);
}

static const struct node_key *key(size_t tracker)
{
    return &mesh_double.trackers[tracker].record.key;
}

static void note(size_t tracker, enum outcome_event event, u64 bytes)
{
    struct outcome o = {.event = event,
                        .user = {1, 2},
                        .digest = {.alg = DIGEST_SHA256, .bytes = {3}},
                        .iat_s = 4,
                        .bytes = bytes,
                        .took_ms = 5};
    outcomes_note(outcomes, key(tracker), &o);
}

static u64 dropped(void)
{
    return rig_counter(&rig, "dray_dropped_total", "reason=\"outcome\"");
}

/* What tracker i was told, of all reports. */
static const struct outcome_report *told(size_t tracker)
{
    for (size_t i = 0; i < n_heard; i++)
        if (strstr(heard[i].url, server_host(trackers[tracker])))
            return &heard[i].report;
    return NULL;
}

/* --- tests ------------------------------------------------------------------------------------ */

static void test_each_tracker_hears_of_its_tickets(void **state)
{
    (void)state;
    char url[128];
    begin();
    note(0, OUTCOME_BEGAN, 0);
    note(1, OUTCOME_BEGAN, 0);
    note(0, OUTCOME_DONE, 77);
    wait_heard(2);
    assert_int_equal(told(0)->n, 2);
    assert_int_equal(told(1)->n, 1);
    const struct outcome *o = &told(0)->outcomes[1];
    assert_int_equal(o->event, OUTCOME_DONE);
    assert_true(o->bytes == 77 && o->iat_s == 4 && o->took_ms == 5 && o->user[1] == 2);
    snprintf(url, sizeof(url), "http://%s/mesh/v1/outcomes", server_host(trackers[0]));
    assert_true(strcmp(heard[0].url, url) == 0 || strcmp(heard[1].url, url) == 0);
    size_t two = 2;
    has_heard(&two);
    assert_int_equal(rig_counter(&rig, "dray_outcome_reports_total", "result=\"sent\""), 2);
    assert_int_equal(rig_counter(&rig, "dray_ticket_events_total", "event=\"began\""), 2);
    assert_int_equal(dropped(), 0);
    finish();
}

static void test_one_report_at_a_time(void **state)
{
    (void)state;
    begin();
    hold = true;
    note(0, OUTCOME_BEGAN, 0);
    wait_heard(1);
    note(0, OUTCOME_FAILED, 1);
    note(1, OUTCOME_LEFT, 1);
    wait_heard(2); /* the other tracker's */
    assert_non_null(strstr(heard[1].url, server_host(trackers[1])));
    answer(0, 500);
    wait_heard(3);
    assert_int_equal(heard[2].report.n, 1);
    assert_int_equal(heard[2].report.outcomes[0].event, OUTCOME_FAILED);
    assert_int_equal(rig_counter(&rig, "dray_outcome_reports_total", "result=\"failed\""), 1);
    finish();
}

static void test_more_than_a_report_holds(void **state)
{
    (void)state;
    begin();
    for (size_t i = 0; i < OUTCOME_MAX + 3; i++)
        note(0, OUTCOME_DONE, i);
    wait_heard(2);
    assert_int_equal(heard[0].report.n, OUTCOME_MAX);
    assert_int_equal(heard[1].report.n, 3);
    assert_int_equal(heard[1].report.outcomes[0].bytes, OUTCOME_MAX); /* in their order */
    finish();
}

static bool queue_is_empty(void *arg)
{
    (void)arg;
    return dropped() == 1;
}

static void test_what_nobody_can_be_told_is_dropped(void **state)
{
    (void)state;
    begin();
    mesh_double.trackers[1].dead = true;
    note(1, OUTCOME_DONE, 1);
    rig_wait(&rig, queue_is_empty, NULL);
    for (size_t i = 0; i < OUTCOMES_QUEUE + 5; i++) /* before the loop turns */
        note(0, OUTCOME_DONE, i);
    assert_int_equal(dropped(), 1 + 5);
    outcomes_attach(outcomes, NULL);
    note(0, OUTCOME_DONE, 1);
    assert_int_equal(dropped(), 1 + 6);
    finish();
}

static void test_round_trips_of_networks(void **state)
{
    (void)state;
    const struct addr a = addr_v4(10, 1, 2, 3, 40000), b = addr_v4(10, 1, 2, 9, 40001),
                      c = addr_v4(10, 1, 3, 9, 40001), a_net = addr_v4(10, 1, 2, 0, 0);
    begin();
    outcomes_note_rtt(outcomes, &a, 900);
    outcomes_note_rtt(outcomes, &b, 700);
    outcomes_note_rtt(outcomes, &c, 50);
    outcomes_note_rtt(outcomes, &c, 0);                   /* not known */
    outcomes_note_rtt(outcomes, &c, OUTCOME_RTT_MAX + 1); /* absurd */
    note(0, OUTCOME_DONE, 1);
    wait_heard(2); /* every tracker hears of them, with an outcome or without */
    for (size_t i = 0; i < 2; i++) {
        const struct outcome_report *r = told(i);
        assert_int_equal(r->n, i == 0);
        assert_int_equal(r->n_rtts, 2);
        size_t at = addr_same_ip(&r->rtts[0].prefix, &a_net) ? 0 : 1;
        assert_true(addr_equal(&r->rtts[at].prefix, &a_net));
        assert_true(r->rtts[at].rtt_us == 700 && r->rtts[at].samples == 2);
        assert_true(r->rtts[1 - at].rtt_us == 50 && r->rtts[1 - at].samples == 1);
    }
    note(0, OUTCOME_DONE, 2);
    wait_heard(3);
    assert_int_equal(heard[2].report.n_rtts, 0); /* told once */
    finish();
}

static void test_round_trips_alone(void **state)
{
    (void)state;
    const struct addr a = addr_v4(10, 1, 2, 3, 40000);
    begin();
    rig_timer_max_ms = 50;
    outcomes_note_rtt(outcomes, &a, 900);
    wait_heard(2);
    rig_timer_max_ms = 0;
    assert_int_equal(heard[0].report.n_rtts, 1);
    finish();
}

static struct outcome_totals done; /* what the node would say of itself */

static void say_done(void *arg, struct outcome_totals *out)
{
    assert_ptr_equal(arg, &done);
    *out = done;
}

/* As begin(), of a node that tells what it has done. */
static void begin_telling(void)
{
    begin();
    rig_timer_max_ms = 50;
    outcomes_stop(outcomes);
    rig_settle(&rig);
    outcomes_del(outcomes);
    done = (struct outcome_totals){.from_origin = 7};
    struct outcomes_options opt = {.loop = &rig.loop,
                                   .client = rig.http,
                                   .metrics = rig.metrics,
                                   .totals = say_done,
                                   .arg = &done};
    assert_int_equal(outcomes_new(&outcomes, &opt), 0);
    outcomes_attach(outcomes, double_region());
}

static void test_totals_ride_along_and_go_alone(void **state)
{
    (void)state;
    begin_telling();
    note(0, OUTCOME_DONE, 1);
    wait_heard(2); /* a tracker that was not told before is told without an outcome */
    for (size_t i = 0; i < 2; i++)
        assert_true(told(i)->has_totals && told(i)->totals.from_origin == 7);
    note(0, OUTCOME_DONE, 2);
    wait_heard(3); /* nothing new for the other */
    assert_true(heard[2].report.has_totals && heard[2].report.n == 1);
    done.served[OUTCOME_STORE] = 9;
    wait_heard(5);
    rig_timer_max_ms = 0;
    for (size_t i = 3; i < 5; i++) {
        assert_true(heard[i].report.totals.served[OUTCOME_STORE] == 9);
        assert_int_equal(heard[i].report.n, 0);
    }
    finish();
}

static void test_a_tracker_that_came_anew_is_told(void **state)
{
    (void)state;
    begin_telling();
    wait_heard(2);
    for (int i = 0; i < 20; i++)
        rig_turn(&rig);
    mesh_double.trackers[1].record.epoch++;
    wait_heard(3);
    rig_timer_max_ms = 0;
    assert_non_null(strstr(heard[2].url, server_host(trackers[1])));
    assert_true(heard[2].report.has_totals);
    finish();
}

/* It has forgotten how far users are, and need not learn it anew. */
static void test_a_tracker_that_came_anew_hears_of_networks_again(void **state)
{
    (void)state;
    const struct addr a = addr_v4(10, 1, 2, 3, 40000), b = addr_v4(10, 1, 3, 9, 40001);
    begin();
    rig_timer_max_ms = 50;
    outcomes_note_rtt(outcomes, &a, 900);
    wait_heard(2);
    mesh_double.trackers[1].record.epoch++;
    outcomes_note_rtt(outcomes, &b, 300);
    wait_heard(4);
    rig_timer_max_ms = 0;
    for (size_t i = 2; i < 4; i++) {
        bool anew = strstr(heard[i].url, server_host(trackers[1])) != NULL;
        assert_int_equal(heard[i].report.n_rtts, anew ? 2 : 1);
    }
    finish();
}

static void test_networks_are_bounded(void **state)
{
    (void)state;
    begin();
    for (unsigned i = 0; i < 20000; i++) {
        struct addr a = addr_v4((u8)(i >> 16), (u8)(i >> 8), (u8)i, 1, 1);
        outcomes_note_rtt(outcomes, &a, 1 + i);
    }
    note(0, OUTCOME_DONE, 1);
    wait_heard(2);
    assert_in_range(told(0)->n_rtts, OUTCOME_RTTS_MAX / 2, OUTCOME_RTTS_MAX);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_tracker_hears_of_its_tickets),
        cmocka_unit_test(test_one_report_at_a_time),
        cmocka_unit_test(test_more_than_a_report_holds),
        cmocka_unit_test(test_what_nobody_can_be_told_is_dropped),
        cmocka_unit_test(test_round_trips_of_networks),
        cmocka_unit_test(test_round_trips_alone),
        cmocka_unit_test(test_a_tracker_that_came_anew_hears_of_networks_again),
        cmocka_unit_test(test_networks_are_bounded),
        cmocka_unit_test(test_totals_ride_along_and_go_alone),
        cmocka_unit_test(test_a_tracker_that_came_anew_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
