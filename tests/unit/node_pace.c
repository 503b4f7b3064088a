/* node_pace.c - tests of node/pace.h and node/paced_body.h: who waits, in which order, and that
 * what comes through is whole. How fast is not asked here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/pace.h"
#include "node/paced_body.h"
#include "proto/limits.h"
#include "support/rig.h"

/* The clock of the code under test: a millisecond passes with each look at it. */
u64 uv_hrtime(void)
{
    static u64 now = 1000000000;
    return now += 1000000;
}

static struct rig rig;
static struct pace *pace;
static struct paced_share share;
static char order[64];

struct sender {
    struct pace_waiter w;
    char name;
    u64 takes;      /* when it is woken */
    unsigned again; /* lines up again so often */
    struct sender *sends_away;
};

static void on_open(void *arg)
{
    struct sender *s = arg;
    size_t n = strlen(order);
    assert_true(n + 1 < sizeof(order));
    assert_null(s->w.in); /* out of line by now */
    order[n] = s->name;
    pace_take(pace, 0, s->takes);
    if (s->sends_away)
        pace_leave(&s->sends_away->w);
    if (s->again > 0) {
        s->again--;
        pace_wait(pace, &s->w);
    }
}

static void begin(u64 rate)
{
    rig_open(&rig, 16 * MIB);
    pace = &rig.pace;
    share = (struct paced_share){pace, PACE_CLIENTS, 0};
    pace->rate = rate;
    memset(order, 0, sizeof(order));
}

static struct sender sender(char name, u64 takes)
{
    struct sender s = {.name = name, .takes = takes};
    return s;
}

static void line_up(struct sender *s)
{
    s->w.open = on_open;
    s->w.arg = s;
    pace_wait(pace, &s->w);
}

static bool so_many_came(void *arg)
{
    return strlen(order) >= *(const size_t *)arg;
}

static void wait_for(size_t n)
{
    rig_wait(&rig, so_many_came, &n);
}

static bool is_open(void *arg)
{
    (void)arg;
    return pace_is_open(pace, 0);
}

static void test_no_limit(void **state)
{
    (void)state;
    begin(0);
    for (int i = 0; i < 1000; i++) {
        assert_true(pace_is_open(pace, 0));
        pace_take(pace, 0, SIZE_MAX / 2);
    }
    rig_close(&rig);
}

static void test_debt_shuts_and_time_opens(void **state)
{
    (void)state;
    begin(10 * MIB);
    rig_wait(&rig, is_open, NULL);
    pace_take(pace, 0, MIB); /* a chunk goes whole, however little there was: 100 ms of debt */
    assert_false(pace_is_open(pace, 0));
    rig_wait(&rig, is_open, NULL);
    rig_close(&rig);
}

static void test_in_turn(void **state)
{
    (void)state;
    struct sender a = sender('a', MIB), b = sender('b', MIB), c = sender('c', MIB);
    begin(50 * MIB);
    pace_take(pace, 0, MIB);
    line_up(&a);
    line_up(&b);
    line_up(&c);
    line_up(&a); /* stands there already */
    a.again = b.again = 1;
    wait_for(5);
    assert_string_equal(order, "abcab");
    rig_settle(&rig);
    assert_string_equal(order, "abcab");
    rig_close(&rig);
}

static void test_leaving(void **state)
{
    (void)state;
    struct sender a = sender('a', 0), b = sender('b', 0), c = sender('c', 0), d = sender('d', 0);
    begin(50 * MIB);
    pace_take(pace, 0, MIB);
    line_up(&a);
    line_up(&b);
    line_up(&c);
    line_up(&d);
    pace_leave(&b.w);
    pace_leave(&b.w);
    a.sends_away = &d; /* from inside, and the last in line */
    wait_for(2);
    rig_settle(&rig);
    assert_string_equal(order, "ac");
    assert_false(pace_has_line(pace, PACE_CLIENTS));
    rig_close(&rig);
}

/* --- two classes ------------------------------------------------------------------------------ */

#define CHUNK (64 * KIB)

/* Bytes that each class took, and when it stops lining up again. */
static u64 took[PACE_CLASS_COUNT], enough[PACE_CLASS_COUNT];

static void on_turn(void *arg)
{
    struct pace_waiter *w = arg;
    took[w->class] += CHUNK;
    pace_take_as(pace, w->class, w->flow, CHUNK);
    if (took[w->class] < enough[w->class])
        pace_wait(pace, w);
}

static void crowd(struct pace_waiter *w, size_t n, enum pace_class c, u64 bytes)
{
    took[c] = 0;
    enough[c] = bytes;
    for (size_t i = 0; i < n; i++) {
        w[i] = (struct pace_waiter){.open = on_turn, .arg = &w[i], .class = c};
        pace_wait(pace, &w[i]);
    }
}

static bool line_is_empty(void *arg)
{
    return !pace_has_line(pace, *(const enum pace_class *)arg);
}

static void wait_for_line(enum pace_class c)
{
    rig_wait(&rig, line_is_empty, &c);
}

static void test_clients_get_three_of_four(void **state)
{
    (void)state;
    struct pace_waiter clients[3], peers[9]; /* numbers do not count, classes do */
    begin(100 * MIB);
    pace_take(pace, 0, MIB);
    crowd(clients, countof(clients), PACE_CLIENTS, 12 * MIB);
    crowd(peers, countof(peers), PACE_PEERS, 8 * MIB);
    wait_for_line(PACE_CLIENTS);
    assert_in_range(took[PACE_PEERS], 3 * MIB, 5 * MIB);
    wait_for_line(PACE_PEERS); /* alone it gets all there is */
    assert_true(took[PACE_PEERS] >= 8 * MIB);
    rig_close(&rig);
}

static void test_nothing_is_saved_up(void **state)
{
    (void)state;
    struct pace_waiter clients[2], peers[2];
    begin(100 * MIB);
    pace_take(pace, 0, MIB);
    crowd(peers, countof(peers), PACE_PEERS, 8 * MIB);
    wait_for_line(PACE_PEERS);
    pace_take(pace, 0, MIB);
    crowd(peers, countof(peers), PACE_PEERS, 8 * MIB);
    crowd(clients, countof(clients), PACE_CLIENTS, 12 * MIB);
    wait_for_line(PACE_CLIENTS);
    /* Peers had 8 MiB to themselves before; that is not held against them now. */
    assert_in_range(took[PACE_PEERS], 3 * MIB, 5 * MIB);
    wait_for_line(PACE_PEERS);
    rig_close(&rig);
}

static void test_open_to_one_of_them(void **state)
{
    (void)state;
    struct pace_waiter client = {.open = on_turn, .arg = &client};
    begin(100 * MIB);
    rig_wait(&rig, is_open, NULL);
    assert_true(pace_is_open_to(pace, PACE_PEERS, 0));
    pace_take_as(pace, PACE_PEERS, 0, 1);
    assert_true(pace_is_open_to(pace, PACE_PEERS, 0)); /* nobody else wants anything */
    enough[PACE_CLIENTS] = 0;
    pace->lines[PACE_CLIENTS].woke_ns = uv_hrtime(); /* it is about to take: the line counts */
    pace_wait(pace, &client);
    assert_false(pace_is_open_to(pace, PACE_PEERS, 0));
    assert_true(pace_is_open_to(pace, PACE_CLIENTS, 0));
    wait_for_line(PACE_CLIENTS);
    rig_close(&rig);
}

/* --- flows of one class ----------------------------------------------------------------------- */

static u64 flow_took[PACE_FLOWS], flow_enough;

static void on_flows_turn(void *arg)
{
    struct pace_waiter *w = arg;
    flow_took[w->flow] += CHUNK;
    pace_take_as(pace, w->class, w->flow, CHUNK);
    if (flow_took[w->flow] < flow_enough)
        pace_wait(pace, w);
}

static bool small_ones_are_done(void *arg)
{
    (void)arg;
    for (u32 i = 1; i <= 10; i++)
        if (flow_took[i] < flow_enough)
            return false;
    return true;
}

/* Ten small layers in one request each, beside a large one in thirty: all get the same. */
static void test_a_large_layer_starves_nobody(void **state)
{
    (void)state;
    struct pace_waiter large[30], small[10],
        late = {.open = on_flows_turn, .arg = &late, .flow = 11};
    begin(100 * MIB);
    pace_take(pace, 0, MIB);
    memset(flow_took, 0, sizeof(flow_took));
    flow_enough = UINT64_MAX;
    for (size_t i = 0; i < countof(large); i++) {
        large[i] = (struct pace_waiter){.open = on_flows_turn, .arg = &large[i], .flow = 0};
        pace_wait(pace, &large[i]);
    }
    while (flow_took[0] < 8 * MIB) /* alone it gets all there is */
        uv_run(&rig.loop, UV_RUN_ONCE);
    u64 before = flow_took[0];
    flow_enough = 2 * MIB;
    for (u32 i = 0; i < countof(small); i++) {
        small[i] = (struct pace_waiter){.open = on_flows_turn, .arg = &small[i], .flow = i + 1};
        pace_wait(pace, &small[i]);
    }
    flow_took[0] = 0; /* so that it goes on */
    rig_wait(&rig, small_ones_are_done, NULL);
    assert_true(before >= 8 * MIB);
    assert_in_range(flow_took[0], 3 * MIB / 2, 3 * MIB);
    flow_took[11] = 0; /* who comes later had saved nothing up */
    u64 then = flow_took[0];
    flow_enough = UINT64_MAX;
    for (size_t i = 0; i < countof(large); i++)
        pace_wait(pace, &large[i]);
    pace_wait(pace, &late);
    while (flow_took[11] < 2 * MIB)
        uv_run(&rig.loop, UV_RUN_ONCE);
    assert_in_range(flow_took[0] - then, 3 * MIB / 2, 3 * MIB);
    flow_enough = 0;
    for (size_t i = 0; i < countof(large); i++)
        pace_leave(&large[i]);
    pace_leave(&late);
    rig_close(&rig);
}

/* --- a body under it -------------------------------------------------------------------------- */

static unsigned wakes;

static void on_wake(void *arg)
{
    (void)arg;
    wakes++;
}

static void released(void *arg)
{
    *(bool *)arg = true;
}

static bool was_woken(void *arg)
{
    return wakes > *(const unsigned *)arg;
}

static void test_a_paced_body(void **state)
{
    (void)state;
    static u8 text[300000];
    u64 at = 0;
    unsigned waited = 0;
    bool closed = false;
    begin(10 * MIB);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (u8)(i * 11);
    struct body *inner = body_borrow(text, sizeof(text), released, &closed);
    struct body *b = paced_body(inner, &share, on_wake, NULL);
    assert_ptr_not_equal(b, inner);
    for (;;) {
        const void *data;
        unsigned before = wakes;
        ssize_t n = b->ops->peek(b, &data, 65536);
        if (n == 0)
            break;
        if (n == ERR_AGAIN) {
            waited++;
            rig_wait(&rig, was_woken, &before);
            continue;
        }
        assert_in_range(n, 1, 65536);
        assert_memory_equal(data, text + at, (size_t)n);
        b->ops->advance(b, (size_t)n);
        at += (u64)n;
    }
    assert_int_equal(at, sizeof(text));
    assert_true(waited > 0);
    b->ops->close(b);
    assert_true(closed);
    rig_close(&rig);
}

static void test_a_body_closed_in_line(void **state)
{
    (void)state;
    const void *data;
    bool closed = false;
    begin(MIB);
    wakes = 0;
    struct body *b = paced_body(body_borrow("x", 1, released, &closed), &share, on_wake, NULL);
    pace_take(pace, 0, MIB / 10);
    assert_int_equal(b->ops->peek(b, &data, 1), ERR_AGAIN);
    assert_int_equal(b->ops->peek(b, &data, 1), ERR_AGAIN);
    b->ops->close(b);
    assert_true(closed);
    rig_wait(&rig, is_open, NULL);
    rig_settle(&rig);
    assert_int_equal(wakes, 0);
    rig_close(&rig);
}

static void test_a_body_without_limit(void **state)
{
    (void)state;
    begin(0);
    struct body *inner = body_copy("x", 1);
    assert_ptr_equal(paced_body(inner, &share, on_wake, NULL), inner);
    inner->ops->close(inner);
    assert_null(paced_body(NULL, &share, on_wake, NULL));
    rig_close(&rig);
}

/* --- fills under it --------------------------------------------------------------------------- */

static struct layer layers[3];

static void script(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < countof(layers); i++)
        if (strstr(r->target, layers[i].text))
            say_layer(p, r, &layers[i], r->number < 3 ? MIB / 2 : SIZE_MAX);
}

static void test_paced_fills(void **state)
{
    (void)state;
    static struct client clients[countof(layers)], leaver;
    begin(40 * MIB);
    struct server *registry = server_new(script, NULL, NULL);
    rig_upstream(&rig, server_url(registry), NULL, NULL, NULL);
    for (size_t i = 0; i < countof(layers); i++) {
        layer_make(&layers[i], MIB + i, i + 1);
        client_init(&clients[i], &rig);
        assert_int_equal(client_join(&clients[i], &layers[i].digest, NULL), 0);
    }
    client_init(&leaver, &rig);
    assert_int_equal(client_join(&leaver, &layers[0].digest, NULL), 0);
    client_wait_bytes(&leaver, 1);
    client_leave(&leaver);
    for (size_t i = 0; i < countof(layers); i++)
        client_expect(&clients[i], layers[i].data, layers[i].len);
    rig_wait_idle(&rig);
    assert_false(pace_has_line(pace, PACE_CLIENTS));
    for (size_t i = 0; i < countof(layers); i++) {
        assert_true(rig_holds(&rig, &layers[i]));
        layer_free(&layers[i]);
    }
    rig_close(&rig);
    server_del(registry);
}

static void test_stopping_paced_fills(void **state)
{
    (void)state;
    static struct client c;
    begin(MIB);
    struct server *registry = server_new(script, NULL, NULL);
    rig_upstream(&rig, server_url(registry), NULL, NULL, NULL);
    layer_make(&layers[0], 4 * MIB, 1);
    client_init(&c, &rig);
    assert_int_equal(client_join(&c, &layers[0].digest, NULL), 0);
    client_wait_bytes(&c, 1);
    fills_stop(rig.fills); /* perhaps in line: it leaves */
    client_expect_cut(&c, &layers[0]);
    rig_wait_idle(&rig);
    assert_false(pace_has_line(pace, PACE_CLIENTS));
    layer_free(&layers[0]);
    rig_close(&rig);
    server_del(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_limit),
        cmocka_unit_test(test_debt_shuts_and_time_opens),
        cmocka_unit_test(test_in_turn),
        cmocka_unit_test(test_leaving),
        cmocka_unit_test(test_clients_get_three_of_four),
        cmocka_unit_test(test_nothing_is_saved_up),
        cmocka_unit_test(test_open_to_one_of_them),
        cmocka_unit_test(test_a_large_layer_starves_nobody),
        cmocka_unit_test(test_a_paced_body),
        cmocka_unit_test(test_a_body_closed_in_line),
        cmocka_unit_test(test_a_body_without_limit),
        cmocka_unit_test(test_paced_fills),
        cmocka_unit_test(test_stopping_paced_fills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
