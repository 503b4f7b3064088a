/* runtime_http_client_end.c - tests of runtime/http_client.h: every moment at which a transfer or
 * the whole client can be ended, from outside and from inside each callback. */
#include <dlfcn.h>
#include <netdb.h>

#include "tests/unit/http_client_fixture.h"

#define HELLO "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

/* The resolver, in this program's hands: "slow.test" waits for the test. */
static atomic_int slow_state; /* of "slow.test": 1 asked, 2 answered */
static atomic_bool slow_go;

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                struct addrinfo **out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(
            RTLD_NEXT, "getaddrinfo");

    if (strcmp(host, "slow.test") == 0) {
        atomic_store(&slow_state, 1);
        while (!atomic_load(&slow_go))
            usleep(1000);
        atomic_store(&slow_state, 2);
    }
    return real("127.0.0.1", port, hints, out);
}

static void say_hello(struct raw_peer *p)
{
    while (raw_request(p) && raw_say(p, HELLO))
        ;
}

/* Says nothing of it, and closes the connection that could have been kept. */
static void say_hello_and_close(struct raw_peer *p)
{
    (void)(raw_request(p) && raw_say(p, HELLO));
}

static void expect_hello(void)
{
    struct fetch f = {0};

    fetch_start(&f);
    run_until(&f.ended);
    if (f.err != 0)
        fail_msg("%s", f.why);
    assert_string_equal(f.body, "hello");
    fetch_free(&f);
}

static void never_answer(struct raw_peer *p)
{
    raw_request(p);
    raw_wait_gone(p);
}

static enum http_data_verdict cancel_in_data(struct fetch *f)
{
    fetch_cancel(f);
    return f->n_data % 2 == 0 ? HTTP_DATA_PAUSE : HTTP_DATA_TAKEN;
}

static enum http_data_verdict cancel_and_pause(struct fetch *f)
{
    fetch_cancel(f);
    return HTTP_DATA_PAUSE;
}

static enum http_data_verdict pause_always(struct fetch *f)
{
    (void)f;
    return HTTP_DATA_PAUSE;
}

static void claim_5_gb(struct raw_peer *p)
{
    static const char zeros[65536];

    if (!raw_request(p))
        return;
    raw_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 5368709120\r\n\r\n");
    while (raw_write(p, zeros, sizeof(zeros)))
        ;
}

static void cancels_at_every_moment(void **state)
{
    struct fetch f[6] = {
        {.on_head = fetch_cancel},
        {.on_data = cancel_in_data},
        {.on_data = cancel_and_pause},
        {.on_data = pause_always},
        {0},
        {0},
    };

    (void)state;
    begin(claim_5_gb);
    for (size_t i = 0; i < 5; i++)
        fetch_start(&f[i]);
    fetch_cancel(&f[4]); /* before the loop ran at all */
    for (size_t i = 0; i < 3; i++)
        run_until(&f[i].canceled);
    run_until(&f[3].paused);
    assert_true(f[0].content_length == 5368709120ull);
    assert_true(f[3].head && !f[3].ended);
    assert_false(f[4].head);
    fetch_resume(&f[3]); /* a resume is waiting when the cancel comes */
    fetch_cancel(&f[3]);
    run_for(50);
    end();
    for (size_t i = 0; i < countof(f); i++) {
        assert_false(f[i].ended);
        fetch_free(&f[i]);
    }
}

static struct fetch other;

static void start_and_cancel_others(struct fetch *f)
{
    fetch_cancel(f); /* over already: does nothing */
    f->canceled = false;
    fetch_resume(f);
    fetch_cancel(&other);
    other = (struct fetch){0};
    fetch_start(&other);
}

static void callbacks_may_call_everything(void **state)
{
    struct fetch f = {.on_end = start_and_cancel_others};

    (void)state;
    begin(say_hello);
    other = (struct fetch){.on_data = pause_always};
    fetch_start(&other);
    run_until(&other.paused);
    fetch_start(&f);
    run_until(&f.ended);
    run_until(&other.ended);
    assert_int_equal(other.err, 0);
    assert_string_equal(other.body, "hello");
    end();
    fetch_free(&f);
    fetch_free(&other);
}

/* A deadline's `end` cancels a transfer whose deadline is the same. */
static void cancel_other(struct fetch *f)
{
    (void)f;
    if (!other.ended && !other.canceled)
        fetch_cancel(&other);
}

static void deadlines_may_cancel_each_other(void **state)
{
    struct http_transfer_options opt;
    struct fetch first = {.on_end = cancel_other}, last = {.on_end = cancel_other};
    struct fetch *all[] = {&first, &other, &last};
    char url[256];

    (void)state;
    begin(never_answer);
    other = (struct fetch){0};
    for (size_t i = 0; i < countof(all); i++) {
        opt = options(all[i], url, NULL);
        opt.head_timeout_ms = 200;
        fetch_start_with(all[i], &opt);
    }
    run_until(&first.ended);
    run_until(&last.ended);
    assert_true(other.canceled);
    assert_int_equal(first.err, ERR_TIMEOUT);
    end();
}

/* The end of the client ----------------------------------------------------------------------- */

static struct http_client *deleted;

static void del_client(struct fetch *f)
{
    f->canceled = !f->ended;
    deleted = client;
    client = NULL;
    in_call = true;
    http_client_del(deleted);
    in_call = false;
}

static enum http_data_verdict del_client_in_data(struct fetch *f)
{
    del_client(f);
    return HTTP_DATA_TAKEN;
}

static void del_with(struct fetch *f, void (*script)(struct raw_peer *))
{
    struct fetch bystanders[8];

    begin(script);
    for (size_t i = 0; i < countof(bystanders); i++) {
        bystanders[i] = (struct fetch){.on_data = pause_always};
        fetch_start(&bystanders[i]);
    }
    fetch_start(f);
    while (client != NULL)
        uv_run(&loop, UV_RUN_ONCE);
    for (size_t i = 0; i < countof(bystanders); i++) /* from now on nothing may be heard */
        bystanders[i].canceled = true;
    end();
    fetch_free(f);
}

static void client_ends_inside_callbacks(void **state)
{
    struct fetch in_head = {.on_head = del_client}, in_data = {.on_data = del_client_in_data},
                 in_end = {.on_end = del_client};

    (void)state;
    del_with(&in_head, claim_5_gb);
    assert_false(in_head.ended);
    del_with(&in_data, claim_5_gb);
    assert_false(in_data.ended);
    del_with(&in_end, say_hello);
    assert_true(in_end.ended);
}

static void client_ends_with_all_kinds_running(void **state)
{
    struct fetch f[3] = {{0}, {.on_data = pause_always}, {0}};

    (void)state;
    begin(claim_5_gb);
    fetch_start(&f[0]);
    fetch_start(&f[1]);
    run_until(&f[0].head);
    run_until(&f[1].paused);
    fetch_resume(&f[1]);
    fetch_start(&f[2]); /* not begun yet */
    for (size_t i = 0; i < countof(f); i++)
        f[i].canceled = true; /* no callback may come any more */
    end();
    for (size_t i = 0; i < countof(f); i++)
        fetch_free(&f[i]);
    begin(say_hello); /* and a client that was never used */
    end();
}

/* A resolver that waits for a dead DNS server must not hold the loop. */
static void cancel_does_not_wait_for_the_resolver(void **state)
{
    struct http_transfer_options opt;
    struct fetch f = {0};
    char url[256];

    (void)state;
    atomic_store(&slow_state, 0);
    atomic_store(&slow_go, false);
    begin(say_hello);
    opt = options(&f, url, NULL);
    opt.url = "http://slow.test/";
    fetch_start_with(&f, &opt);
    while (atomic_load(&slow_state) == 0)
        uv_run(&loop, UV_RUN_NOWAIT);
    fetch_cancel(&f);
    run_for(20);
    expect_hello(); /* others go on */
    f = (struct fetch){0};
    atomic_store(&slow_state, 0);
    fetch_start_with(&f, &opt);
    while (atomic_load(&slow_state) == 0)
        uv_run(&loop, UV_RUN_NOWAIT);
    f.canceled = true;
    end(); /* nor does the end of the client */
    assert_int_equal(slow_state, 1);
    atomic_store(&slow_go, true);
    while (atomic_load(&slow_state) != 2)
        usleep(1000);
    usleep(50000); /* the threads that were left behind clean up after themselves */
}

/* The next request meets the end of its connection at any moment: before it is sent, on its way, or
 * by a reset. It is sent again on another one. */
static void kept_connections_may_die(void **state)
{
    (void)state;
    begin(say_hello_and_close);
    for (int i = 0; i < 200; i++)
        expect_hello();
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_connections_may_die),
        cmocka_unit_test(cancels_at_every_moment),
        cmocka_unit_test(callbacks_may_call_everything),
        cmocka_unit_test(deadlines_may_cancel_each_other),
        cmocka_unit_test(client_ends_inside_callbacks),
        cmocka_unit_test(client_ends_with_all_kinds_running),
        cmocka_unit_test(cancel_does_not_wait_for_the_resolver),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
