/* node_fill_stop.c - tests of node/fill.h: what becomes of fetches when the node ends. What is
 * verified is stored, what is on its way is kept as a partial. */
#include <semaphore.h>
#include <signal.h>
#include <sys/resource.h>

#include "node/fill_internal.h"
#include "tests/unit/fill_fixture.h"

#define DISK_THREADS 2 /* of the rig */

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

/* --- a disk that takes its time --------------------------------------------------------------- */

static sem_t go;
static struct job busy[DISK_THREADS];

static void busy_work(struct job *j)
{
    (void)j;
    while (sem_wait(&go) != 0)
        continue;
}

static void busy_done(struct job *j)
{
    (void)j;
}

/* Every thread of the disk is busy until disk_goes_on(). */
static void disk_stands(void)
{
    sem_init(&go, 0, 0);
    for (size_t i = 0; i < DISK_THREADS; i++) {
        busy[i] = (struct job){.work = busy_work, .done = busy_done};
        pool_submit(rig.disk, &busy[i]);
    }
}

static void disk_goes_on(void)
{
    for (size_t i = 0; i < DISK_THREADS; i++)
        sem_post(&go);
}

/* A client has all of the layer, and the disk nothing. */
static void serve_ahead_of_the_disk(struct client *c)
{
    disk_stands();
    client_init(c, &rig);
    assert_int_equal(client_join(c, &layer.digest, NULL), 0);
    client_expect(c, layer.data, layer.len);
    assert_int_equal(fills_running(rig.fills), 1);
    assert_false(rig_holds(&rig, &layer));
}

static void test_what_is_verified_is_stored(void **state)
{
    (void)state;
    struct client c;
    begin(script_layer, 3 * MIB);
    serve_ahead_of_the_disk(&c);
    fills_stop(rig.fills);
    assert_int_equal(fills_running(rig.fills), 1);
    disk_goes_on();
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    finish();
}

/* The disk fails once the digest was found right: nothing is left that could wait for ever. */
static void test_a_disk_that_fails_late(void **state)
{
    (void)state;
    struct client c;
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = MIB;
    signal(SIGXFSZ, SIG_IGN);
    for (int stop = 0; stop < 2; stop++) {
        begin(script_layer, 3 * MIB);
        serve_ahead_of_the_disk(&c);
        if (stop)
            fills_stop(rig.fills);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        disk_goes_on();
        rig_wait_idle(&rig);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_false(rig_holds(&rig, &layer));
        finish();
    }
    signal(SIGXFSZ, SIG_DFL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stop_cuts_and_keeps),
        cmocka_unit_test(test_what_is_verified_is_stored),
        cmocka_unit_test(test_a_disk_that_fails_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
