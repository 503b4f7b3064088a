/* node_fill_crowd.c - tests of node/fill.h: readers that are served from the file while it is
 * written, and what becomes of the descriptor that was lent to them. */
#include <unistd.h>

#include "tests/unit/fill_fixture.h"

/* Half of the layer at once; gate 0 lets out a little more, gate 1 the rest. */
#define LITTLE 1000

static void script_steps(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    size_t half = layer.len / 2;
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", layer.len);
    say_bytes(p, layer.data, half);
    wait_gate(p, 0);
    say_bytes(p, layer.data + half, LITTLE);
    wait_gate(p, 1);
    say_bytes(p, layer.data + half + LITTLE, layer.len - half - LITTLE);
}

/* Many follow a fast fetch that then stands still, then crawls: nothing is held back for long. */
static void test_a_crowd_gets_all_that_there_is(void **state)
{
    (void)state;
    enum { MANY = 16 };
    static struct client c[MANY];
    begin(script_steps, 9 * MIB + 5);
    for (int i = 0; i < MANY; i++) {
        client_init(&c[i], &rig);
        if (i == 3)
            c[i].end = layer.len / 2 + LITTLE / 2; /* its last bytes come with the little more */
        assert_int_equal(client_join(&c[i], &layer.digest, NULL), 0);
    }
    for (int i = 0; i < MANY; i++)
        client_wait_bytes(&c[i], layer.len / 2);
    server_open(registry, 0);
    client_expect(&c[3], layer.data, layer.len / 2 + LITTLE / 2);
    for (int i = 0; i < MANY; i++)
        if (i != 3)
            client_wait_bytes(&c[i], layer.len / 2 + LITTLE);
    server_open(registry, 1);
    for (int i = 0; i < MANY; i++)
        if (i != 3)
            client_expect(&c[i], layer.data, layer.len);
    assert_int_equal(server_count(registry), 1);
    finish();
}

/* --- the lent descriptor ---------------------------------------------------------------------- */

static struct client lent;
static int lent_fd;
static u64 lent_offset;

static bool has_run(void *arg)
{
    (void)arg;
    return lent.body && lent.body->ops->run(lent.body, &lent_fd, &lent_offset) > 0;
}

static void lend(void)
{
    client_init(&lent, &rig);
    lent.budget = 0; /* the test is its reader */
    assert_int_equal(client_join(&lent, &layer.digest, NULL), 0);
    rig_wait(&rig, has_run, NULL);
    assert_int_equal(lent_offset, 0);
}

static void expect_lent_bytes(void)
{
    u8 got[4096];
    assert_int_equal(pread(lent_fd, got, sizeof(got), 0), sizeof(got));
    assert_memory_equal(got, layer.data, sizeof(got));
}

static void test_lent_across_the_commit(void **state)
{
    (void)state;
    begin(script_steps, 3 * MIB);
    lend();
    server_open(registry, 0);
    server_open(registry, 1);
    rig_settle(&rig);
    assert_true(rig_holds(&rig, &layer));
    expect_lent_bytes();
    int before = lent_fd;
    assert_int_equal(lent.body->ops->run(lent.body, &lent_fd, &lent_offset), layer.len);
    assert_int_equal(lent_fd, before);
    lent.body->ops->advance(lent.body, layer.len - 10);
    assert_int_equal(lent.body->ops->run(lent.body, &lent_fd, &lent_offset), 10);
    lent.body->ops->advance(lent.body, 10);
    assert_int_equal(lent.body->ops->run(lent.body, &lent_fd, &lent_offset), 0);
    client_leave(&lent);
    finish();
}

static void script_wrong(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", layer.len);
    say_bytes(p, layer.data, layer.len - 1);
    wait_gate(p, 0);
    u8 last = (u8)~layer.data[layer.len - 1];
    say_bytes(p, &last, 1);
}

/* The store throws the file away; what was lent can still be read, and is not to be sent on. */
static void test_lent_across_a_failure(void **state)
{
    (void)state;
    begin(script_wrong, 3 * MIB);
    lend();
    assert_true(lent.body->ops->run(lent.body, &lent_fd, &lent_offset) < (i64)layer.len);
    lent.woken = false;
    server_open(registry, 0);
    rig_settle(&rig);
    assert_true(lent.woken); /* so that who sends it is called back */
    assert_false(rig_holds(&rig, &layer));
    assert_int_equal(store_partial_size(rig.store, &layer.digest), 0);
    int before = lent_fd;
    assert_true(lent.body->ops->run(lent.body, &lent_fd, &lent_offset) < 0);
    assert_int_equal(lent_fd, before);
    expect_lent_bytes();
    client_leave(&lent);
    finish();
}

/* A partial that is kept is whole although somebody was reading it. */
static void test_lent_across_the_end(void **state)
{
    (void)state;
    begin(script_steps, 3 * MIB);
    lend();
    rig_settle(&rig);
    fills_stop(rig.fills);
    rig_settle(&rig);
    assert_int_equal(store_partial_size(rig.store, &layer.digest), layer.len / 2);
    expect_lent_bytes();
    client_leave(&lent);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_crowd_gets_all_that_there_is),
        cmocka_unit_test(test_lent_across_the_commit),
        cmocka_unit_test(test_lent_across_a_failure),
        cmocka_unit_test(test_lent_across_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
