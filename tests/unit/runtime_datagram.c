/* runtime_datagram.c - tests of runtime/datagram.h and sockaddr.h: what comes, from whom, what is
 * dropped and counted, and that nothing is queued. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/datagram.h"
#include "runtime/sockaddr.h"

#define PATIENCE_MS 10000

static uv_loop_t loop;

struct end {
    struct datagram *d;
    struct addr at, from;
    unsigned came, batches, in_batch, most_in_batch, turn_came, most_in_turn;
    u8 last[LIMIT_DATAGRAM_BYTES];
    size_t last_len;
    bool gone, echo;
};

static void came(void *arg, const struct addr *from, const void *data, size_t len)
{
    struct end *e = arg;
    assert_false(e->gone);
    e->came++;
    e->in_batch++;
    e->turn_came++;
    e->from = *from;
    memcpy(e->last, data, len);
    e->last_len = len;
}

static void batch(void *arg)
{
    struct end *e = arg;
    assert_true(e->in_batch > 0); /* never for nothing */
    if (e->in_batch > e->most_in_batch)
        e->most_in_batch = e->in_batch;
    e->batches++;
    e->in_batch = 0;
    if (e->echo)
        assert_int_equal(datagram_send(e->d, &e->from, e->last, e->last_len), 0);
}

static void end_open(struct end *e, const char *listen)
{
    char why[256];
    struct datagram_options opt = {
        .loop = &loop, .listen = listen, .came = came, .batch = batch, .arg = e};
    memset(e, 0, sizeof(*e));
    if (datagram_new(&e->d, &opt, why))
        fail_msg("%s", why);
    e->at = datagram_bound(e->d);
}

static void gone(void *arg)
{
    ((struct end *)arg)->gone = true;
}

static void end_close(struct end *e)
{
    datagram_del(e->d, gone, e);
    while (!e->gone)
        uv_run(&loop, UV_RUN_NOWAIT);
}

#define until(condition)                                                                           \
    for (u64 since = uv_hrtime(); !(condition); usleep(100)) {                                     \
        assert_true(uv_hrtime() - since < PATIENCE_MS * 1000000ull);                               \
        uv_run(&loop, UV_RUN_NOWAIT);                                                              \
    }

static struct datagram_stats stats(struct end *e)
{
    struct datagram_stats st;
    datagram_stats(e->d, &st);
    return st;
}

static void there_and_back(const char *a_listen, const char *b_listen)
{
    struct end a, b;
    u8 data[LIMIT_DATAGRAM_BYTES];
    memset(data, 'x', sizeof(data));
    end_open(&a, a_listen);
    end_open(&b, b_listen);
    b.echo = true;
    assert_int_equal(datagram_send(a.d, &b.at, data, sizeof(data)), 0);
    until(a.came == 1);
    assert_int_equal(a.last_len, sizeof(data));
    assert_memory_equal(a.last, data, sizeof(data));
    assert_true(addr_equal(&a.from, &b.at));
    assert_true(addr_equal(&b.from, &a.at));
    assert_int_equal(stats(&a).sent, 1);
    assert_int_equal(stats(&a).bytes_sent, sizeof(data));
    assert_int_equal(stats(&b).received, 1);
    assert_int_equal(stats(&b).bytes_received, sizeof(data));
    end_close(&a);
    end_close(&b);
}

static void speaks_both_families(void **state)
{
    (void)state;
    there_and_back("127.0.0.1:0", "127.0.0.2:0");
    there_and_back("[::1]:0", "[::1]:0");
}

/* [::] takes IPv4 too, and names it as IPv4. */
static void one_socket_for_both(void **state)
{
    struct end both, four;
    (void)state;
    end_open(&both, "[::]:0");
    end_open(&four, "127.0.0.1:0");
    both.echo = true;
    struct addr to = addr_v4(127, 0, 0, 1, both.at.port);
    assert_int_equal(datagram_send(four.d, &to, "hi", 2), 0);
    until(four.came == 1);
    assert_true(addr_equal(&both.from, &four.at));
    assert_true(addr_is_v4(&both.from));

    struct addr six = {.port = both.at.port};
    six.ip[15] = 1;
    both.echo = false;
    assert_int_equal(datagram_send(both.d, &six, "me", 2), 0); /* ::1 is itself */
    until(both.came == 2);
    assert_false(addr_is_v4(&both.from));
    end_close(&both);
    end_close(&four);
}

static void what_nobody_can_be_reached_by_is_counted(void **state)
{
    struct end e;
    struct addr six = {.port = 5000}, none = {.port = 0}, no_port = addr_v4(127, 0, 0, 1, 0);
    (void)state;
    six.ip[15] = 1;
    end_open(&e, "127.0.0.1:0");
    assert_int_equal(datagram_send(e.d, &six, "x", 1), ERR_UNREACHABLE);
    assert_int_equal(datagram_send(e.d, &none, "x", 1), ERR_UNREACHABLE);
    assert_int_equal(datagram_send(e.d, &no_port, "x", 1), ERR_UNREACHABLE);
    struct addr nobody = addr_v4(255, 255, 255, 255, 9); /* broadcast is not permitted */
    assert_int_equal(datagram_send(e.d, &nobody, "x", 1), ERR_UNREACHABLE);
    assert_int_equal(stats(&e).unreachable, 4);
    assert_int_equal(stats(&e).sent, 0);
    end_close(&e);
}

static void too_long_ones_are_dropped(void **state)
{
    struct end e;
    union sockaddr_any to;
    static char data[4000];
    (void)state;
    end_open(&e, "127.0.0.1:0");
    socklen_t len = sockaddr_write(&e.at, false, &to);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(sendto(fd, data, sizeof(data), 0, &to.sa, len), sizeof(data));
    assert_int_equal(sendto(fd, data, LIMIT_DATAGRAM_BYTES + 1, 0, &to.sa, len),
                     LIMIT_DATAGRAM_BYTES + 1);
    assert_int_equal(sendto(fd, data, 0, 0, &to.sa, len), 0); /* an empty one is one, too */
    assert_int_equal(sendto(fd, data, 5, 0, &to.sa, len), 5);
    until(stats(&e).received == 4);
    assert_int_equal(e.came, 2);
    assert_int_equal(e.last_len, 5);
    assert_int_equal(stats(&e).too_long, 2);
    close(fd);
    end_close(&e);
}

/* A flood: bounded work in a turn, the rest waits; what does not fit the kernel counts. */
static void a_flood_takes_turns(void **state)
{
    struct end e;
    union sockaddr_any to;
    static char data[1000];
    enum { SENT = 20000 };
    (void)state;
    end_open(&e, "127.0.0.1:0");
    socklen_t len = sockaddr_write(&e.at, false, &to);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    for (int i = 0; i < SENT; i++)
        assert_int_equal(sendto(fd, data, sizeof(data), 0, &to.sa, len), sizeof(data));
    for (u64 since = uv_hrtime(); e.came + stats(&e).overrun < SENT;) {
        assert_true(uv_hrtime() - since < PATIENCE_MS * 1000000ull);
        e.turn_came = 0;
        uv_run(&loop, UV_RUN_NOWAIT);
        if (e.turn_came > e.most_in_turn)
            e.most_in_turn = e.turn_came;
    }
    assert_int_equal(e.came + stats(&e).overrun, SENT);
    assert_true(stats(&e).overrun > 0);
    assert_true(e.came > 100);
    assert_true(e.most_in_turn <= 64);
    assert_true(e.most_in_batch > 1); /* several for one system call */
    assert_true(e.batches < e.came);
    close(fd);
    end_close(&e);
}

static void closes_with_datagrams_waiting(void **state)
{
    struct end a, b;
    (void)state;
    end_open(&a, "127.0.0.1:0");
    end_open(&b, "127.0.0.1:0");
    for (int i = 0; i < 50; i++)
        assert_int_equal(datagram_send(a.d, &b.at, "x", 1), 0);
    end_close(&b);
    assert_int_equal(b.came, 0);
    assert_int_equal(datagram_send(a.d, &b.at, "x", 1), 0); /* nobody there: nobody says so */
    end_close(&a);
}

static void a_port_in_use_is_named(void **state)
{
    struct end e;
    char listen[64], why[256];
    struct datagram *d = NULL;
    (void)state;
    end_open(&e, "127.0.0.1:0");
    snprintf(listen, sizeof(listen), "127.0.0.1:%u", e.at.port);
    struct datagram_options opt = {
        .loop = &loop, .listen = listen, .came = came, .batch = batch, .arg = &e};
    assert_int_equal(datagram_new(&d, &opt, why), ERR_BUSY);
    assert_non_null(strstr(why, listen));
    opt.listen = "127.0.0.1:0";
    opt.port = e.at.port;
    assert_int_equal(datagram_new(&d, &opt, why), ERR_BUSY);
    opt.listen = "192.0.2.1:0"; /* no address of ours */
    opt.port = 0;
    assert_int_equal(datagram_new(&d, &opt, why), ERR_IO);
    opt.listen = "localhost:5000";
    assert_int_equal(datagram_new(&d, &opt, why), ERR_INVAL);
    assert_null(d);
    end_close(&e);
    opt.listen = listen;
    assert_int_equal(datagram_new(&e.d, &opt, why), 0);
    e.gone = false;
    end_close(&e);
}

static void addresses_translate(void **state)
{
    static const char *const texts[] = {"127.0.0.1:5000", "[2001:db8::7]:443", "[::1]:1"};
    union sockaddr_any sa;
    struct addr a, back;
    (void)state;
    for (size_t i = 0; i < countof(texts); i++) {
        assert_int_equal(addr_parse(&a, texts[i], strlen(texts[i])), 0);
        for (int mapped = 0; mapped < 2; mapped++) {
            socklen_t len = sockaddr_write(&a, mapped, &sa);
            bool v4 = i == 0 && !mapped;
            assert_int_equal(sa.sa.sa_family, v4 ? AF_INET : AF_INET6);
            assert_int_equal(len, v4 ? sizeof(sa.v4) : sizeof(sa.v6));
            assert_int_equal(sockaddr_read(&sa.sa, &back), 0);
            assert_true(addr_equal(&a, &back));
        }
    }
    sockaddr_write(&a, true, &sa);
    sa.v6.sin6_scope_id = 2;
    assert_int_equal(sockaddr_read(&sa.sa, &back), ERR_UNSUPPORTED);
    sa.sa.sa_family = AF_UNIX;
    assert_int_equal(sockaddr_read(&sa.sa, &back), ERR_UNSUPPORTED);
}

static int open_loop(void **state)
{
    (void)state;
    return uv_loop_init(&loop);
}

static int close_loop(void **state)
{
    (void)state;
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(speaks_both_families),
        cmocka_unit_test(one_socket_for_both),
        cmocka_unit_test(what_nobody_can_be_reached_by_is_counted),
        cmocka_unit_test(too_long_ones_are_dropped),
        cmocka_unit_test(a_flood_takes_turns),
        cmocka_unit_test(closes_with_datagrams_waiting),
        cmocka_unit_test(a_port_in_use_is_named),
        cmocka_unit_test(addresses_translate),
    };
    return cmocka_run_group_tests(tests, open_loop, close_loop);
}
