/* runtime_http_client_flow.c - tests of runtime/http_client.h: connections, deadlines, pauses,
 * and which addresses may be reached. */
#include <dlfcn.h>
#include <netdb.h>

#include "tests/unit/http_client_fixture.h"

#define HELLO "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

/* The resolver, in this program's hands ------------------------------------------------------- */

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                struct addrinfo **out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(
            RTLD_NEXT, "getaddrinfo");

    if (strcmp(host, "nowhere.test") == 0)
        return EAI_NONAME;
    return real("127.0.0.1", port, hints, out);
}

/* Connections --------------------------------------------------------------------------------- */

static void say_hello(struct raw_peer *p)
{
    while (raw_request(p) && raw_say(p, HELLO))
        ;
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

static void connections_are_reused(void **state)
{
    (void)state;
    begin(say_hello);
    for (int i = 0; i < 40; i++)
        expect_hello();
    assert_int_equal(server->requests, 40);
    assert_int_equal(server->connections, 1);
    end();
}

static void say_hello_once(struct raw_peer *p)
{
    if (raw_request(p))
        raw_say(p, HELLO);
}

static void closed_connections_are_replaced(void **state)
{
    (void)state;
    begin(say_hello_once);
    for (int i = 0; i < 5; i++) {
        expect_hello();
        run_for(20); /* the server's FIN arrives while nobody looks */
    }
    assert_int_equal(server->connections, 5);
    end();
}

/* The first connection takes a second request and hangs up: a race every keep-alive client loses at
 * times. */
static void hang_up_on_second(struct raw_peer *p)
{
    if (p->number > 0)
        say_hello(p);
    else if (raw_request(p) && raw_say(p, HELLO))
        raw_request(p);
}

static void race_with_close_is_retried(void **state)
{
    (void)state;
    begin(hang_up_on_second);
    expect_hello();
    expect_hello();
    assert_int_equal(server->connections, 2);
    assert_int_equal(server->requests, 3);
    end();
}

static unsigned n_ended;
static bool all_ended;

static void count_ended(struct fetch *f)
{
    assert_int_equal(f->err, 0);
    if (--n_ended == 0)
        all_ended = true;
}

static void many_at_once_share_few_connections(void **state)
{
    struct fetch fetches[64];

    (void)state;
    begin_with(say_hello, NULL, 4);
    n_ended = countof(fetches);
    all_ended = false;
    for (size_t i = 0; i < countof(fetches); i++) {
        fetches[i] = (struct fetch){.on_end = count_ended};
        fetch_start(&fetches[i]);
    }
    run_until(&all_ended);
    for (size_t i = 0; i < countof(fetches); i++) {
        assert_string_equal(fetches[i].body, "hello");
        fetch_free(&fetches[i]);
    }
    assert_int_equal(server->requests, 64);
    assert_in_range(server->most_open, 1, 4);
    end();
}

static void hello_after_the_gate(struct raw_peer *p)
{
    while (raw_request(p)) {
        raw_wait(p, 1);
        if (!raw_say(p, HELLO))
            break;
    }
}

/* Who ends while in line for a connection, by will or by time, leaves nothing to those after him.
 */
static void ends_in_line(void **state)
{
    struct fetch first = {0}, canceled = {0}, late = {0}, after[6];
    struct http_transfer_options opt;
    char url[256];

    (void)state;
    begin_with(hello_after_the_gate, NULL, 1);
    fetch_start(&first);
    run_for(50);
    fetch_start(&canceled);
    opt = options(&late, url, NULL);
    opt.head_timeout_ms = 100;
    fetch_start_with(&late, &opt);
    run_for(50);
    fetch_cancel(&canceled);
    run_until(&late.ended);
    assert_int_equal(late.err, ERR_TIMEOUT);
    atomic_store(&server->gate, 1);
    run_until(&first.ended);
    fetch_free(&first);
    n_ended = countof(after);
    all_ended = false;
    for (size_t i = 0; i < countof(after); i++) {
        after[i] = (struct fetch){.on_end = count_ended};
        fetch_start(&after[i]);
    }
    run_until(&all_ended);
    for (size_t i = 0; i < countof(after); i++)
        fetch_free(&after[i]);
    end();
}

static void nobody_there(void **state)
{
    struct http_transfer_options opt;
    struct fetch f = {0};
    char url[256];

    (void)state;
    begin(say_hello);
    opt = options(&f, url, NULL);
    opt.url = "http://127.0.0.1:1/x?" QUERY;
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    assert_int_equal(f.err, ERR_UNREACHABLE);
    assert_memory_equal(f.why, "http://127.0.0.1:1: ", 20);
    f = (struct fetch){0};
    opt.url = "https://nowhere.test/x?" QUERY;
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    assert_int_equal(f.err, ERR_UNREACHABLE);
    assert_non_null(strstr(f.why, "resolve host: nowhere.test"));
    end();
}

/* A listener whose queue is full drops further SYNs. */
static void connecting_takes_too_long(void **state)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    struct http_transfer_options opt;
    struct fetch f = {0};
    int full = socket(AF_INET, SOCK_STREAM, 0), fill[4];
    char url[256];

    (void)state;
    assert_int_equal(bind(full, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(listen(full, 0), 0);
    getsockname(full, (struct sockaddr *)&sa, &len);
    for (size_t i = 0; i < countof(fill); i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fill[i], (struct sockaddr *)&sa, len);
    }
    begin(say_hello);
    opt = options(&f, url, NULL);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", ntohs(sa.sin_port));
    opt.connect_timeout_ms = 150;
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    assert_int_equal(f.err, ERR_UNREACHABLE);
    end();
    for (size_t i = 0; i < countof(fill); i++)
        close(fill[i]);
    close(full);
}

/* Addresses ----------------------------------------------------------------------------------- */

static bool allow_none(void *arg, const struct sockaddr *sa)
{
    assert_int_equal(sa->sa_family, AF_INET);
    assert_int_equal(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr,
                     htonl(INADDR_LOOPBACK));
    assert_int_equal(ntohs(((const struct sockaddr_in *)(const void *)sa)->sin_port), server->port);
    (void)arg;
    return false;
}

static bool allow_all(void *arg, const struct sockaddr *sa)
{
    (void)arg;
    (void)sa;
    return true;
}

static void addresses_are_judged(void **state)
{
    struct http_transfer_options opt;
    struct fetch f = {0};
    char url[256];

    (void)state;
    begin(say_hello);
    opt = options(&f, url, NULL);
    snprintf(url, sizeof(url), "http://name.test:%u/?" QUERY, server->port);
    opt.allow = allow_none;
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    assert_int_equal(f.err, ERR_DENIED);
    assert_non_null(strstr(f.why, "name.test"));
    assert_non_null(strstr(f.why, "127.0.0.1"));
    assert_int_equal(server->connections, 0); /* not even a SYN */

    f = (struct fetch){0};
    opt.allow = allow_all;
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    assert_int_equal(f.err, 0);
    fetch_free(&f);

    /* A connection is kept now; who may not go there may not use it either. */
    f = (struct fetch){0};
    opt.allow = allow_none;
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    assert_int_equal(f.err, ERR_DENIED);
    assert_non_null(strstr(f.why, "127.0.0.1"));
    assert_int_equal(server->requests, 1);
    end();
}

/* Deadlines ----------------------------------------------------------------------------------- */

static void never_answer(struct raw_peer *p)
{
    raw_request(p);
    raw_wait_gone(p);
}

static void trickle_head(struct raw_peer *p)
{
    if (!raw_request(p) || !raw_say(p, "HTTP/1.1 200 OK\r\nX: "))
        return;
    while (raw_say(p, "x"))
        usleep(20000);
}

static void stall_in_body(struct raw_peer *p)
{
    raw_request(p);
    raw_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    raw_wait_gone(p);
}

static void expect_timeout(void (*script)(struct raw_peer *), const char *words)
{
    struct http_transfer_options opt;
    struct fetch f = {0};
    char url[256];

    begin(script);
    opt = options(&f, url, NULL);
    opt.head_timeout_ms = 200;
    opt.stall_timeout_ms = 200;
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    assert_int_equal(f.err, ERR_TIMEOUT);
    assert_non_null(strstr(f.why, words));
    end();
    fetch_free(&f);
}

static void late_answers_are_given_up(void **state)
{
    (void)state;
    expect_timeout(never_answer, "no answer came in time");
    expect_timeout(trickle_head, "no answer came in time");
    expect_timeout(stall_in_body, "its body stopped coming");
}

/* Each byte comes before the stall limit, all of them after it. */
static void trickle_body(struct raw_peer *p)
{
    raw_request(p);
    raw_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    for (int i = 0; i < 10; i++) {
        usleep(200000);
        if (!raw_say(p, "x"))
            return;
    }
}

static void slow_bodies_are_borne(void **state)
{
    struct http_transfer_options opt;
    struct fetch f = {0};
    char url[256];

    (void)state;
    begin(trickle_body);
    opt = options(&f, url, NULL);
    opt.head_timeout_ms = 1500;
    opt.stall_timeout_ms = 1500;
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    assert_int_equal(f.err, 0);
    assert_int_equal(f.len, 10);
    end();
    fetch_free(&f);
}

static void endless_body(struct raw_peer *p)
{
    if (!raw_request(p) || !raw_say(p, "HTTP/1.1 200 OK\r\n\r\n"))
        return;
    while (raw_say(p, "x"))
        usleep(20000);
}

static void a_short_answer_has_an_end(void **state)
{
    struct http_transfer_options opt;
    struct fetch f = {0};
    char url[256];

    (void)state;
    begin(endless_body);
    opt = options(&f, url, NULL);
    opt.whole_timeout_ms = 3000;
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    assert_int_equal(f.err, ERR_TIMEOUT);
    assert_non_null(strstr(f.why, "its answer did not end in time"));
    end();
    fetch_free(&f);
}

static void never_end(struct raw_peer *p)
{
    static char some[4096];

    memset(some, 'x', sizeof(some) - 1);
    raw_request(p);
    raw_say(p, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    while (raw_say(p, some))
        ;
}

static void expect_unwanted(void (*script)(struct raw_peer *p), int err)
{
    struct http_transfer_options opt;
    struct fetch f = {0};
    char url[256];

    begin(script);
    opt = options(&f, url, NULL);
    opt.on.data = NULL;
    opt.head_timeout_ms = opt.stall_timeout_ms = 3000;
    fetch_start_with(&f, &opt);
    run_until(&f.ended);
    assert_int_equal(f.err, err);
    assert_int_equal(f.status, 200);
    end();
    fetch_free(&f);
}

/* Who wants the head alone need not take a body, and is not kept by one that has no end. */
static void unwanted_bodies_end(void **state)
{
    (void)state;
    expect_unwanted(say_hello, 0);
    expect_unwanted(never_end, ERR_TOOBIG);
    expect_unwanted(endless_body, ERR_TIMEOUT);
}

/* Pauses -------------------------------------------------------------------------------------- */

#define LARGE (8u << 20)

static void say_large(struct raw_peer *p)
{
    u32 block[4096], n = 0;

    if (!raw_request(p))
        return;
    raw_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n");
    for (u32 at = 0; at < LARGE; at += sizeof(block)) {
        for (size_t i = 0; i < countof(block); i++)
            block[i] = n++;
        if (!raw_write(p, block, sizeof(block)))
            return;
    }
}

static unsigned verdicts;

static enum http_data_verdict pause_each_other(struct fetch *f)
{
    if (verdicts++ % 2 != 0)
        return HTTP_DATA_TAKEN;
    fetch_resume(f); /* before the pause: asks for nothing */
    return HTTP_DATA_PAUSE;
}

static void on_resume_timer(uv_timer_t *timer)
{
    struct fetch *f = timer->data;

    if (f->ended)
        return;
    fetch_resume(f);
    fetch_resume(f);
}

static void paused_bytes_come_again(void **state)
{
    struct fetch f = {.on_data = pause_each_other};
    uv_timer_t timer;

    (void)state;
    begin(say_large);
    uv_timer_init(&loop, &timer);
    timer.data = &f;
    uv_timer_start(&timer, on_resume_timer, 1, 1);
    verdicts = 0;
    fetch_start(&f);
    run_until(&f.ended);
    uv_close((uv_handle_t *)&timer, NULL);
    end();
    assert_int_equal(f.err, 0);
    assert_int_equal(f.len, LARGE);
    for (u32 i = 0; i < LARGE / 4; i++)
        if (memcmp(f.body + 4 * (size_t)i, &i, 4) != 0)
            fail_msg("byte %u is another", 4 * i);
    fetch_free(&f);
}

static size_t len_before, most_in_turn;

static void on_turn(uv_prepare_t *prepare)
{
    struct fetch *f = prepare->data;

    if (f->len - len_before > most_in_turn)
        most_in_turn = f->len - len_before;
    len_before = f->len;
}

/* A fast server must not hold the loop: one turn takes a megabyte from the socket and one in the
 * pump, and what is at hand beyond that waits for the next. */
static void fast_bodies_leave_the_loop_free(void **state)
{
    struct fetch f = {0};
    uv_prepare_t turn;

    (void)state;
    len_before = most_in_turn = 0;
    begin(say_large);
    uv_prepare_init(&loop, &turn);
    turn.data = &f;
    uv_prepare_start(&turn, on_turn);
    fetch_start(&f);
    run_until(&f.ended);
    uv_close((uv_handle_t *)&turn, NULL);
    end();
    assert_int_equal(f.err, 0);
    assert_int_equal(f.len, LARGE);
    for (u32 i = 0; i < LARGE / 4; i++)
        if (memcmp(f.body + 4 * (size_t)i, &i, 4) != 0)
            fail_msg("byte %u is another", 4 * i);
    assert_in_range(most_in_turn, 1, (2u << 20) + (256u << 10));
    fetch_free(&f);
}

static enum http_data_verdict pause_first(struct fetch *f)
{
    return f->n_data == 1 ? HTTP_DATA_PAUSE : HTTP_DATA_TAKEN;
}

static void pauses_do_not_time_out(void **state)
{
    struct http_transfer_options opt;
    struct fetch f = {.on_data = pause_first};
    char url[256];

    (void)state;
    begin(say_large);
    opt = options(&f, url, NULL);
    opt.stall_timeout_ms = 200;
    fetch_start_with(&f, &opt);
    run_until(&f.paused);
    run_for(800);
    assert_false(f.ended);
    assert_int_equal(f.n_data, 1);
    fetch_resume(&f);
    assert_int_equal(f.n_data, 1); /* not from inside the call */
    run_until(&f.ended);
    assert_int_equal(f.err, 0);
    assert_int_equal(f.len, LARGE);
    end();
    fetch_free(&f);
}

/* The server is gone when the pause ends: what came is given, then the error. */
static void say_some_and_close(struct raw_peer *p)
{
    raw_request(p);
    raw_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
}

static void paused_bytes_survive_the_server(void **state)
{
    struct fetch f = {.on_data = pause_first};

    (void)state;
    begin(say_some_and_close);
    fetch_start(&f);
    run_until(&f.paused);
    run_for(20);
    assert_false(f.ended);
    fetch_resume(&f);
    run_until(&f.ended);
    assert_int_equal(f.err, ERR_EOF);
    assert_string_equal(f.body, "hello");
    end();
    fetch_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_are_reused),
        cmocka_unit_test(closed_connections_are_replaced),
        cmocka_unit_test(race_with_close_is_retried),
        cmocka_unit_test(many_at_once_share_few_connections),
        cmocka_unit_test(ends_in_line),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(connecting_takes_too_long),
        cmocka_unit_test(addresses_are_judged),
        cmocka_unit_test(late_answers_are_given_up),
        cmocka_unit_test(slow_bodies_are_borne),
        cmocka_unit_test(a_short_answer_has_an_end),
        cmocka_unit_test(unwanted_bodies_end),
        cmocka_unit_test(paused_bytes_come_again),
        cmocka_unit_test(fast_bodies_leave_the_loop_free),
        cmocka_unit_test(pauses_do_not_time_out),
        cmocka_unit_test(paused_bytes_survive_the_server),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
