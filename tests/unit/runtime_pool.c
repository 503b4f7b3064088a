/* runtime_pool.c - tests of runtime/pool.h: order, threads, and the ways a pool ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/pool.h"

struct task {
    struct job job;
    unsigned number;
    pthread_t worked_on;
    unsigned again; /* submit itself so many more times */
    char thread_name[16];
};

static uv_loop_t loop;
static struct pool *pool;
static pthread_t loop_thread;
static atomic_uint worked;
static unsigned started[5000]; /* numbers in the order begun: read after the threads are done */
static unsigned done_count;
static bool in_submit, del_in_done;

static void work(struct job *j)
{
    struct task *t = container_of(j, struct task, job);

    t->worked_on = pthread_self();
    pthread_getname_np(pthread_self(), t->thread_name, sizeof(t->thread_name));
    started[atomic_fetch_add(&worked, 1)] = t->number;
}

static void submit(struct task *t)
{
    in_submit = true;
    pool_submit(pool, &t->job);
    in_submit = false;
}

static void done(struct job *j)
{
    struct task *t = container_of(j, struct task, job);

    assert_false(in_submit);
    assert_true(pthread_equal(pthread_self(), loop_thread));
    assert_false(pthread_equal(t->worked_on, loop_thread));
    done_count++;
    if (t->again > 0) {
        t->again--;
        submit(t);
    }
    if (del_in_done) {
        del_in_done = false;
        pool_del(pool);
    }
}

static void done_and_free(struct job *j)
{
    done(j);
    free(container_of(j, struct task, job));
}

static void begin(unsigned threads)
{
    loop_thread = pthread_self();
    atomic_store(&worked, 0);
    done_count = 0;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(pool_new(&pool, &loop, threads, "a-name-that-is-too-long"), 0);
}

static void end(void)
{
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0); /* every handle is closed */
}

static void runs_each_once_in_order(void **state)
{
    struct task *tasks = calloc(1000, sizeof(*tasks));

    (void)state;
    begin(1);
    for (unsigned i = 0; i < 1000; i++) {
        tasks[i] = (struct task){.job = {.work = work, .done = done}, .number = i};
        submit(&tasks[i]);
    }
    assert_int_equal(pool_pending(pool), 1000);
    assert_int_equal(done_count, 0);
    uv_run(&loop, UV_RUN_DEFAULT); /* ends: an idle pool does not hold the loop */
    assert_int_equal(done_count, 1000);
    assert_int_equal(pool_pending(pool), 0);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(started[i], i);
    assert_string_equal(tasks[7].thread_name, "a-name-that-is-");
    pool_del(pool);
    end();
    free(tasks);
}

static void many_threads_lose_nothing(void **state)
{
    (void)state;
    begin(8);
    for (unsigned i = 0; i < 4000; i++) {
        struct task *t = calloc(1, sizeof(*t));

        assert_non_null(t);
        t->job = (struct job){.work = work, .done = done_and_free};
        submit(t);
        if (i % 100 == 0)
            uv_run(&loop, UV_RUN_NOWAIT);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(done_count, 4000);
    pool_del(pool);
    end();
}

static void done_may_submit_again(void **state)
{
    struct task t = {.job = {.work = work, .done = done}, .again = 50};

    (void)state;
    begin(2);
    submit(&t);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(done_count, 51);
    pool_del(pool);
    end();
}

static void pause_and_work(struct job *j)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    work(j);
}

/* Queued jobs, running jobs, and what their `done` submits: all are done before pool_del() returns.
 */
static void del_finishes_what_was_submitted(void **state)
{
    struct task tasks[40];

    (void)state;
    begin(2);
    for (unsigned i = 0; i < 40; i++) {
        tasks[i] = (struct task){.job = {.work = pause_and_work, .done = done}, .again = i % 2};
        submit(&tasks[i]);
    }
    pool_del(pool);
    assert_int_equal(done_count, 60);
    end();
}

static void del_from_inside_done(void **state)
{
    struct task tasks[40];

    (void)state;
    begin(2);
    for (unsigned i = 0; i < 40; i++) {
        tasks[i] = (struct task){.job = {.work = pause_and_work, .done = done}};
        submit(&tasks[i]);
    }
    del_in_done = true;
    end();
    assert_int_equal(done_count, 40);
}

static void unused_pool_ends(void **state)
{
    (void)state;
    begin(3);
    assert_int_equal(pool_pending(pool), 0);
    pool_del(pool);
    end();
    pool_del(NULL);
}

static void look_at_mask(struct job *j)
{
    sigset_t mask;

    work(j);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    container_of(j, struct task, job)->number = (unsigned)sigismember(&mask, SIGTERM);
}

static void threads_take_no_signals(void **state)
{
    struct task t = {.job = {.work = look_at_mask, .done = done}};
    sigset_t mask;

    (void)state;
    begin(1);
    submit(&t);
    pool_del(pool);
    end();
    assert_int_equal(t.number, 1);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_int_equal(sigismember(&mask, SIGTERM), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_each_once_in_order),
        cmocka_unit_test(many_threads_lose_nothing),
        cmocka_unit_test(done_may_submit_again),
        cmocka_unit_test(del_finishes_what_was_submitted),
        cmocka_unit_test(del_from_inside_done),
        cmocka_unit_test(unused_pool_ends),
        cmocka_unit_test(threads_take_no_signals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
