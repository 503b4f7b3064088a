/* tracker_probes.c - tests of tracker/probes.h: whatever a node answers, who waits is told in the
 * end, and a clock is believed only if it is one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "runtime/clock.h"
#include "tests/unit/raw_server.h"
#include "tracker/probes.h"

static const struct node_key node = {{7}};
static uv_loop_t loop;
static struct http_client *client;
static struct probes *probes;
static struct raw_server *server;
static const char *date; /* header line, or "" */
static bool done, up;

static void script_healthz(struct raw_peer *p)
{
    char text[256];
    if (!raw_request(p))
        return;
    snprintf(text, sizeof(text),
             "HTTP/1.1 200 OK\r\n%sConnection: close\r\nContent-Length: 3\r\n\r\nok\n", date);
    raw_say(p, text);
}

/* Never late by itself: there is always one byte more. */
static void script_endless(struct raw_peer *p)
{
    if (!raw_request(p) || !raw_say(p, "HTTP/1.1 200 OK\r\n\r\n"))
        return;
    while (raw_say(p, "o"))
        usleep(50000);
}

static void begin(void (*script)(struct raw_peer *p))
{
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(
        http_client_new(&client,
                        &(struct http_client_options){.loop = &loop, .user_agent = "dray-test"}),
        0);
    assert_int_equal(probes_new(&probes, &loop, client), 0);
    server = raw_server_start(script, AF_INET, NULL);
}

static void end(void)
{
    http_client_del(client);
    uv_run(&loop, UV_RUN_DEFAULT);
    probes_del(probes);
    raw_server_stop(server);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void on_probed(void *arg, bool is_up)
{
    (void)arg;
    done = true;
    up = is_up;
}

static void probe(void)
{
    char url[64];
    struct probe *p;
    struct probe_wish w = {.node = &node, .url = url, .done = on_probed};
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/healthz", server->port);
    done = false;
    assert_int_equal(probes_ask(probes, &w, &p), 0);
    u64 until = uv_hrtime() + 15000000000ull;
    while (!done) {
        uv_run(&loop, UV_RUN_ONCE);
        if (uv_hrtime() > until)
            fail_msg("who waits is not told");
    }
}

static bool is_astray(void)
{
    return pulse_is_astray(probes_pulse(probes), &node, uv_now(&loop));
}

static void expect_date(const char *field, bool astray)
{
    date = field;
    up = false;
    for (int i = 0; i < 5 && !up; i++) /* a busy machine may be late for once */
        probe();
    assert_true(up);
    if (is_astray() != astray)
        fail_msg("%s", field);
}

static void dates_of_any_kind(void **state)
{
    char now[64];
    time_t t = (time_t)(wall_ms() / 1000);
    struct tm tm;
    (void)state;
    assert_non_null(gmtime_r(&t, &tm));
    strftime(now, sizeof(now), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
    begin(script_healthz);
    expect_date("", false);
    expect_date(now, false);
    expect_date("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", true);
    expect_date("Date: Fri, 31 Dec 9999 23:59:59 GMT\r\n", true);
    expect_date("Date: Sat, 01 Jan 0000 00:00:00 GMT\r\n", true);
    expect_date("Date:\r\n", false);
    expect_date("Date: yesterday\r\n", false);
    expect_date("Date: Sunday, 06-Nov-94 08:49:37 GMT\r\n", false);
    expect_date("Date: Sun, 06 Nov 99999999999 08:49:37 GMT\r\n", false);
    expect_date("Date: Sun, 66 Nov 1994 08:49:37 GMT\r\n", false);
    end();
}

static void a_body_that_never_ends(void **state)
{
    (void)state;
    begin(script_endless);
    probe();
    assert_false(up);
    assert_true(pulse_is_down(probes_pulse(probes), &node, uv_now(&loop)));
    end();
}

#define CROWD 100

static unsigned asked, told;

static void script_slow(struct raw_peer *p)
{
    if (!raw_request(p))
        return;
    __atomic_add_fetch(&asked, 1, __ATOMIC_RELAXED);
    usleep(200000);
    raw_say(p, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
}

static void on_told(void *arg, bool is_up)
{
    (void)arg;
    told += is_up;
}

static void run_until(unsigned n)
{
    u64 until = uv_hrtime() + 15000000000ull;
    while (told < n && uv_hrtime() < until)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(told, n);
}

static void a_crowd_asks_once(void **state)
{
    char url[64];
    struct probe *p[CROWD], *alone;
    struct probe_wish w = {.node = &node, .url = url, .done = on_told};
    (void)state;
    begin(script_slow);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/healthz", server->port);
    for (size_t i = 0; i < CROWD; i++)
        assert_int_equal(probes_ask(probes, &w, &p[i]), 0);
    w.done = NULL;
    assert_int_equal(probes_ask(probes, &w, &alone), 0);
    w.done = on_told;
    probe_cancel(p[0]);
    probe_cancel(p[CROWD - 1]);
    run_until(CROWD - 2);
    assert_int_equal(asked, 1);
    /* Who has seen it break off is not content with what was asked before. */
    assert_int_equal(probes_ask(probes, &w, &p[0]), 0);
    usleep(3000);
    uv_update_time(&loop);
    w.since_ms = uv_now(&loop);
    assert_int_equal(probes_ask(probes, &w, &p[1]), 0);
    run_until(CROWD);
    assert_int_equal(asked, 3);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(dates_of_any_kind),
                                       cmocka_unit_test(a_crowd_asks_once),
                                       cmocka_unit_test(a_body_that_never_ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
