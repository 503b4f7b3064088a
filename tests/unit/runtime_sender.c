/* runtime_sender.c - tests of runtime/sender.h: right bytes, honest counts, and every way in which
 * a job comes back. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/sender.h"

#define PATIENCE_MS 20000
#define FILE_SIZE   (5 * MIB + 777)

/* From here to there the file seems not to be in memory. */
static _Atomic u64 cold_from, cold_to;
static atomic_bool cannot_tell;

ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
    static ssize_t (*_Atomic known)(int, const struct iovec *, int, off_t, int);
    ssize_t (*real)(int, const struct iovec *, int, off_t, int) = known;
    if (!real) {
        *(void **)&real = dlsym(RTLD_NEXT, "preadv2");
        known = real;
    }
    if (cannot_tell || ((u64)offset >= cold_from && (u64)offset < cold_to)) {
        errno = cannot_tell ? EOPNOTSUPP : EAGAIN;
        return -1;
    }
    return real(fd, iov, n, offset, flags);
}

static uv_loop_t loop;
static struct senders *senders;
static int file;
static u8 *content;
static bool gone;

struct line { /* a job, and the other end of its socket */
    struct send_job job;
    int far;
    unsigned done;
    u64 got;
};

static void on_done(struct send_job *j)
{
    container_of(j, struct line, job)->done++;
}

static void on_gone(void *arg)
{
    (void)arg;
    gone = true;
}

static u8 byte_at(u64 i)
{
    return (u8)(i * 7 + i / 256 + i / 65536);
}

static void begin(unsigned threads)
{
    char path[] = "/tmp/dray-sender-XXXXXX";
    cold_from = cold_to = 0;
    cannot_tell = gone = false;
    file = mkstemp(path);
    assert_true(file >= 0);
    unlink(path);
    content = malloc(FILE_SIZE);
    assert_non_null(content);
    for (u64 i = 0; i < FILE_SIZE; i++)
        content[i] = byte_at(i);
    assert_int_equal(write(file, content, FILE_SIZE), FILE_SIZE);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(senders_new(&senders, &loop, threads), 0);
}

static void end(void)
{
    if (senders)
        senders_del(senders, on_gone, NULL);
    senders = NULL;
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_true(gone);
    assert_int_equal(uv_loop_close(&loop), 0);
    close(file);
    free(content);
}

static void tcp_pair(int *near, int *far)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int small = 20000, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
    *far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(*far, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    assert_int_equal(connect(*far, (struct sockaddr *)&a, sizeof(a)), 0);
    *near = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(*near >= 0);
    assert_int_equal(fcntl(*far, F_SETFL, O_NONBLOCK), 0);
    close(listener);
}

static void line_open(struct line *l)
{
    memset(l, 0, sizeof(*l));
    tcp_pair(&l->job.sock, &l->far);
    l->job.done = on_done;
}

static void line_submit(struct line *l, u64 offset, u64 n)
{
    l->done = 0;
    l->job.file = file;
    l->job.offset = offset;
    l->job.left = n;
    assert_int_equal(senders_submit(senders, &l->job), 0);
    assert_int_equal(l->done, 0);
}

static void line_close(struct line *l)
{
    close(l->job.sock);
    if (l->far >= 0)
        close(l->far);
}

static u64 sent(struct line *l)
{
    return atomic_load(&l->job.sent);
}

/* Takes what there is of the file, from `start` on. */
static void line_take(struct line *l, u64 start)
{
    u8 block[65536];
    ssize_t n;
    while ((n = recv(l->far, block, sizeof(block), 0)) > 0) {
        assert_memory_equal(block, content + start + l->got, (size_t)n);
        l->got += (u64)n;
    }
}

static void pump(u64 since)
{
    uv_run(&loop, UV_RUN_NOWAIT);
    if (uv_hrtime() / 1000000 - since > PATIENCE_MS)
        fail_msg("waited in vain");
    usleep(100);
}

#define until(condition)                                                                           \
    for (u64 since = uv_hrtime() / 1000000; !(condition); pump(since)) {                           \
    }

/* Until it came back; the far end reads meanwhile. */
static void line_back(struct line *l, u64 start)
{
    for (u64 since = uv_hrtime() / 1000000; !l->done; pump(since))
        line_take(l, start);
    assert_int_equal(l->done, 1);
}

static void expect_got(struct line *l, u64 start, u64 n)
{
    for (u64 since = uv_hrtime() / 1000000; l->got < n; pump(since))
        line_take(l, start);
    line_take(l, start);
    assert_int_equal(l->got, n);
}

static void test_a_run_arrives(void **state)
{
    (void)state;
    static const struct {
        u64 offset, n;
    } runs[] = {{0, FILE_SIZE}, {1, FILE_SIZE - 1}, {4095, 2}, {FILE_SIZE - 1, 1}, {MIB, 3 * MIB}};
    begin(0);
    for (size_t i = 0; i < countof(runs); i++) {
        struct line l;
        line_open(&l);
        line_submit(&l, runs[i].offset, runs[i].n);
        line_back(&l, runs[i].offset);
        assert_int_equal(l.job.rc, 0);
        assert_int_equal(sent(&l), runs[i].n);
        assert_int_equal(l.job.left, 0);
        expect_got(&l, runs[i].offset, runs[i].n);
        line_submit(&l, runs[i].offset, runs[i].n); /* the same socket once more */
        l.got = 0;
        line_back(&l, runs[i].offset);
        expect_got(&l, runs[i].offset, runs[i].n);
        line_close(&l);
    }
    end();
}

static void test_many_at_once(void **state)
{
    (void)state;
    enum { LINES = 40 };
    static struct line l[LINES];
    for (unsigned threads = 1; threads <= 3; threads++) {
        unsigned back = 0;
        begin(threads);
        for (u64 i = 0; i < LINES; i++) {
            line_open(&l[i]);
            line_submit(&l[i], i * 1000, FILE_SIZE - i * 1000);
        }
        for (u64 since = uv_hrtime() / 1000000; back < LINES; pump(since)) {
            back = 0;
            for (u64 i = 0; i < LINES; i++) {
                line_take(&l[i], i * 1000);
                back += l[i].done;
            }
        }
        for (u64 i = 0; i < LINES; i++) {
            assert_int_equal(l[i].job.rc, 0);
            expect_got(&l[i], i * 1000, FILE_SIZE - i * 1000);
            line_close(&l[i]);
        }
        end();
    }
}

/* What is not in memory is not waited for; what stands before it is sent. */
static void test_a_cold_page_is_told(void **state)
{
    (void)state;
    struct line l;
    begin(1);
    line_open(&l);
    cold_from = 3 * MIB;
    cold_to = FILE_SIZE;
    line_submit(&l, 100, FILE_SIZE - 100);
    line_back(&l, 100);
    assert_int_equal(l.job.rc, ERR_AGAIN);
    assert_in_range(sent(&l), 3 * MIB - 64 * KIB, 3 * MIB);
    assert_int_equal(l.job.offset, 100 + sent(&l));
    assert_int_equal(l.job.left, FILE_SIZE - 100 - sent(&l));
    expect_got(&l, 100, sent(&l));
    cold_from = 0; /* all of it */
    line_submit(&l, 0, FILE_SIZE);
    line_back(&l, 0);
    assert_int_equal(l.job.rc, ERR_AGAIN);
    assert_int_equal(sent(&l), 0);
    cannot_tell = true; /* then it is sent, come what may */
    l.got = 0;
    line_submit(&l, 0, FILE_SIZE);
    line_back(&l, 0);
    assert_int_equal(l.job.rc, 0);
    expect_got(&l, 0, FILE_SIZE);
    line_close(&l);
    end();
}

static void test_a_file_without_more(void **state)
{
    (void)state;
    struct line l;
    begin(1);
    line_open(&l);
    assert_int_equal(ftruncate(file, MIB), 0);
    line_submit(&l, 0, FILE_SIZE);
    line_back(&l, 0);
    assert_int_equal(l.job.rc, ERR_AGAIN);
    assert_int_equal(sent(&l), MIB);
    l.got = 0;
    line_submit(&l, 2 * MIB, 10); /* beyond its end */
    line_back(&l, 0);
    assert_int_equal(l.job.rc, ERR_AGAIN);
    line_close(&l);
    int folder = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* cannot be read */
    int kept = file;
    line_open(&l);
    file = folder;
    line_submit(&l, 0, 10);
    line_back(&l, 0);
    assert_int_equal(l.job.rc, ERR_AGAIN);
    file = kept;
    close(folder);
    line_close(&l);
    end();
}

/* The reader leaves: at once, while the job waits for it, by FIN and by RST. */
static void test_a_reader_that_leaves(void **state)
{
    (void)state;
    begin(2);
    for (int i = 0; i < 4; i++) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        struct line l;
        line_open(&l);
        if (i & 1)
            assert_int_equal(setsockopt(l.far, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
        if (i & 2) {
            close(l.far);
            l.far = -1;
        }
        line_submit(&l, 0, FILE_SIZE);
        if (l.far >= 0) {
            until(sent(&l) > 0);
            close(l.far);
            l.far = -1;
        }
        until(l.done);
        assert_int_equal(l.job.rc, ERR_IO);
        assert_true(sent(&l) < FILE_SIZE);
        line_close(&l);
    }
    end();
}

/* The way to call a job back; the bytes it counted still arrive, then FIN. */
static void test_shut_down_from_the_loop(void **state)
{
    (void)state;
    struct line l;
    u8 byte;
    begin(2);
    line_open(&l);
    line_submit(&l, 0, FILE_SIZE);
    until(sent(&l) > 0);
    assert_int_equal(shutdown(l.job.sock, SHUT_WR), 0);
    until(l.done);
    assert_int_equal(l.job.rc, ERR_IO);
    expect_got(&l, 0, sent(&l));
    assert_int_equal(recv(l.far, &byte, 1, 0), 0);
    line_close(&l);
    end();
}

static void test_deleted_with_jobs_out(void **state)
{
    (void)state;
    enum { LINES = 10 };
    static struct line l[LINES];
    begin(2);
    for (int i = 0; i < LINES; i++) {
        line_open(&l[i]);
        line_submit(&l[i], 0, FILE_SIZE);
    }
    until(sent(&l[0]) > 0);
    senders_del(senders, on_gone, NULL);
    senders = NULL;
    for (int i = 0; i < LINES; i++) {
        u64 before = sent(&l[i]);
        assert_int_equal(l[i].job.offset, before); /* ours again, and it tells the truth */
        expect_got(&l[i], 0, before);
        line_close(&l[i]);
    }
    end();
    for (int i = 0; i < LINES; i++)
        assert_int_equal(l[i].done, 0);
}

static struct line twice[2];

static void on_done_delete(struct send_job *j)
{
    (void)j;
    if (senders)
        senders_del(senders, on_gone, NULL);
    senders = NULL;
}

static void test_deleted_from_done(void **state)
{
    (void)state;
    begin(2);
    for (int i = 0; i < 2; i++) {
        line_open(&twice[i]);
        twice[i].job.done = on_done_delete;
        line_submit(&twice[i], 0, 10);
    }
    usleep(20000); /* both have ended: the second `done` is not called any more */
    until(!senders);
    for (int i = 0; i < 2; i++)
        line_close(&twice[i]);
    end();
}

static void test_a_socket_that_cannot_be_watched(void **state)
{
    (void)state;
    struct line l;
    begin(1);
    line_open(&l);
    close(l.job.sock);
    l.job.file = file;
    l.job.left = 10;
    l.job.offset = 0;
    assert_int_equal(senders_submit(senders, &l.job), ERR_NOMEM);
    close(l.far);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_run_arrives),
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_a_cold_page_is_told),
        cmocka_unit_test(test_a_file_without_more),
        cmocka_unit_test(test_a_reader_that_leaves),
        cmocka_unit_test(test_shut_down_from_the_loop),
        cmocka_unit_test(test_deleted_with_jobs_out),
        cmocka_unit_test(test_deleted_from_done),
        cmocka_unit_test(test_a_socket_that_cannot_be_watched),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
