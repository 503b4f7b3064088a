/* Bodies that stand in files: handed over to the senders, read where that cannot be. */
#include <dlfcn.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "http_rig.h"

#define HOST      "Host: h\r\n"
#define GET       "GET / HTTP/1.1\r\n" HOST "\r\n"
#define FILE_SIZE (8 * MIB + 12345)
#define STALL_MS  400

/* Every `n`-th question of a sender is answered so that the page is not in memory; 0: none. */
static atomic_uint cold_every, questions;

ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
    static ssize_t (*_Atomic real)(int, const struct iovec *, int, off_t, int);
    ssize_t (*f)(int, const struct iovec *, int, off_t, int) = real;
    if (!f) {
        *(void **)&f = dlsym(RTLD_NEXT, "preadv2");
        real = f;
    }
    unsigned every = cold_every;
    if (every && ++questions % every == 0) {
        errno = EAGAIN;
        return -1;
    }
    return f(fd, iov, n, offset, flags);
}

/* A body that tells of its file in every `stride`-th call, and reads it in the others. */
struct file_body {
    struct body body;
    struct rig *rig;
    int fd;
    u64 at, total;
    unsigned stride, calls;
    int fail; /* what it says from now on */
    char block[65536];
};

static struct file_body *last;
static struct http_exchange *asked;
static unsigned shown, peeked;

static ssize_t file_peek(struct body *b, const void **data, size_t max)
{
    struct file_body *f = container_of(b, struct file_body, body);
    peeked++;
    if (f->fail)
        return f->fail;
    if (f->at == f->total)
        return 0;
    ssize_t n =
        pread(f->fd, f->block, max < sizeof(f->block) ? max : sizeof(f->block), (off_t)f->at);
    *data = f->block;
    return n > 0 ? n : ERR_IO; /* shorter than it was */
}

static void file_advance(struct body *b, size_t n)
{
    struct file_body *f = container_of(b, struct file_body, body);
    f->at += n;
    assert_true(f->at <= f->total);
}

static i64 file_run(struct body *b, int *fd, u64 *offset)
{
    struct file_body *f = container_of(b, struct file_body, body);
    if (f->fail)
        return f->fail;
    if (f->calls++ % f->stride)
        return 0;
    shown++;
    *fd = f->fd;
    *offset = f->at;
    return (i64)(f->total - f->at);
}

static void file_close(struct body *b)
{
    struct file_body *f = container_of(b, struct file_body, body);
    f->rig->bodies_closed++;
    last = NULL;
    asked = NULL;
    close(f->fd);
    free(f);
}

static unsigned stride;
static char content[FILE_SIZE];

static void answer_file(struct rig *r, struct http_exchange *x)
{
    static const struct body_ops ops = {
        .peek = file_peek, .advance = file_advance, .run = file_run, .close = file_close};
    char path[] = "/tmp/dray-file-XXXXXX";
    struct file_body *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->body.ops = &ops;
    f->rig = r;
    f->fd = mkstemp(path);
    assert_true(f->fd >= 0);
    unlink(path);
    f->total = FILE_SIZE;
    f->stride = stride;
    assert_int_equal(write(f->fd, content, FILE_SIZE), FILE_SIZE);
    last = f;
    asked = x;
    shown = peeked = 0;
    http_reply(x, 200, &f->body,
               rig_asks(http_request(x), "/chunked") ? HTTP_LENGTH_UNKNOWN : f->total);
}

/* Reads to the end; every byte must be right. Returns the body's bytes. */
static u64 read_all(struct client *c)
{
    u64 at = 0;
    client_expect(c, "\r\n\r\n");
    size_t body = client_body_bytes(c);
    memmove(c->text, c->text + c->n - body, body);
    c->n = body;
    for (u64 since = rig_ms(); !c->ended || c->n > 0;) {
        for (size_t i = 0; i < c->n; i++, at++)
            if (c->text[i] != rig_byte(at))
                fail_msg("byte %llu is wrong", (unsigned long long)at);
        c->n = 0;
        client_take(c, SIZE_MAX);
        assert_int_equal(c->error, 0);
        assert_true(rig_ms() - since < RIG_PATIENCE_MS);
    }
    return at;
}

static void fetch(unsigned every, int buffer)
{
    struct http_server_options opt = {.drain_timeout_ms = 200};
    struct rig r;
    struct client c;
    stride = every;
    rig_start(&r, &opt);
    r.on_request = answer_file;
    client_open_small(&c, &r, buffer);
    client_send(&c, "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    assert_int_equal(read_all(&c), FILE_SIZE);
    assert_true(r.last.complete);
    assert_int_equal(r.last.body_bytes, FILE_SIZE);
    assert_true(shown > 0);
    client_close(&c);
    rig_stop(&r);
}

static void a_file_arrives_unharmed(void **state)
{
    (void)state;
    fetch(1, 0);
    fetch(1, 50000); /* interrupted by a full socket */
    fetch(3, 50000); /* partly not in the page cache */
}

static void chunks_and_heads_do_without(void **state)
{
    struct http_server_options opt = {.drain_timeout_ms = 200};
    struct rig r;
    struct client c;
    (void)state;
    stride = 1;
    rig_start(&r, &opt);
    r.on_request = answer_file;
    client_open(&c, &r);
    client_send(&c, "HEAD / HTTP/1.1\r\n" HOST "\r\n");
    client_expect(&c, "\r\n\r\n");
    rig_until(&r, r.ended == 1);
    assert_int_equal(shown + peeked, 0);
    client_close(&c);
    client_open_small(&c, &r, 50000);
    client_send(&c, "GET /chunked HTTP/1.1\r\n" HOST "\r\n");
    for (u64 since = rig_ms(); r.ended < 2; c.n = 0) {
        client_take(&c, SIZE_MAX);
        assert_true(rig_ms() - since < RIG_PATIENCE_MS);
    }
    assert_int_equal(r.last.body_bytes, FILE_SIZE);
    assert_int_equal(shown, 0);
    client_close(&c);
    rig_stop(&r);
}

/* Begins an answer to a client with little room, so that it is handed over and waits. */
static void begin(struct rig *r, struct client *c, const struct http_server_options *given)
{
    static struct http_server_options opt;
    opt = *given;
    if (opt.drain_timeout_ms == 0)
        opt.drain_timeout_ms = 200;
    stride = 1;
    rig_start(r, &opt);
    r->on_request = answer_file;
    client_open_small(c, r, 20000);
    client_send(c, GET);
    rig_until(r, asked && http_sent(asked) > 0);
    assert_int_equal(last->at, 0); /* nothing was copied: it is away */
}

static void finish(struct rig *r, struct client *c)
{
    client_close(c);
    rig_stop(r);
}

static void cold_pages_are_read(void **state)
{
    (void)state;
    for (unsigned every = 1; every < 5; every++) {
        cold_every = every;
        fetch(1, 0);
        fetch(1, 50000);
        assert_true(every > 1 || peeked > 0); /* else its halves may do */
    }
    cold_every = 0;
}

/* There is nothing to send beyond the file's end: what the body then says of it counts. */
static void a_file_that_shrinks_ends_the_answer_by_fin(void **state)
{
    const struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    (void)state;
    begin(&r, &c, &opt);
    assert_int_equal(ftruncate(last->fd, 6 * MIB), 0);
    assert_true(http_sent(asked) < 6 * MIB);
    assert_int_equal(read_all(&c), 6 * MIB);
    assert_false(r.last.complete);
    assert_int_equal(r.last.body_bytes, 6 * MIB);
    assert_int_equal(rig_stats(&r).clients_left, 0);
    finish(&r, &c);
}

static void leaving_ends_a_file(void **state)
{
    const struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    (void)state;
    for (int slam = 0; slam < 2; slam++) {
        begin(&r, &c, &opt);
        if (slam)
            client_slam(&c);
        else
            client_close(&c);
        rig_until(&r, r.ended == 1);
        assert_false(r.last.complete);
        assert_true(r.last.body_bytes > 0);
        assert_int_equal(rig_stats(&r).clients_left, 1);
        rig_stop(&r);
    }
}

/* Takes little for three times as long as one may take nothing, and until more than `before` was
 * sent. Returns the longest pause that it made, in ms, beyond which the cut would be right: other
 * processes may have the processor. */
static u64 take_little(struct rig *r, struct client *c, u64 before, u64 *took)
{
    u64 longest = 0, now = rig_ms();
    for (u64 since = now, next;
         !r->ended && (now - since < 3 * STALL_MS || http_sent(asked) == before); now = next) {
        assert_true(now - since < RIG_PATIENCE_MS);
        c->n = 0;
        client_take(c, 8000);
        *took += c->n;
        rig_rest(r, 5);
        next = rig_ms();
        longest = next - now > longest ? next - now : longest;
    }
    return longest;
}

/* Who takes nothing is cut, by FIN; who takes little is not. */
static void a_stalled_reader_is_cut(void **state)
{
    const struct http_server_options opt = {.stall_timeout_ms = STALL_MS, .drain_timeout_ms = 2000};
    struct rig r;
    struct client c;
    u64 before, took, pause;
    (void)state;
    for (u64 since = rig_ms();;) {
        begin(&r, &c, &opt);
        client_take(&c, 1000);
        before = http_sent(asked);
        took = client_body_bytes(&c);
        pause = take_little(&r, &c, before, &took);
        if (!r.ended)
            break;
        if (pause < STALL_MS / 2)
            fail_msg("cut after %llu bytes", (unsigned long long)took);
        assert_true(rig_ms() - since < RIG_PATIENCE_MS);
        finish(&r, &c);
    }
    assert_int_equal(last->at, 0);
    rig_until(&r, r.ended == 1);
    assert_false(r.last.complete);
    assert_true(r.last.body_bytes > before);
    assert_int_equal(rig_stats(&r).timeouts, 1);
    for (c.n = 0; !c.ended; took += c.n, c.n = 0) {
        client_take(&c, SIZE_MAX);
        assert_int_equal(c.error, 0);
    }
    assert_int_equal(took, r.last.body_bytes);
    finish(&r, &c);
}

static void bytes_that_turn_out_wrong_end_by_fin(void **state)
{
    const struct http_server_options opt = {.drain_timeout_ms = 2000};
    struct rig r;
    struct client c;
    (void)state;
    begin(&r, &c, &opt);
    http_wake(asked); /* nothing has happened: it goes on */
    rig_rest(&r, 50);
    assert_int_equal(r.ended, 0);
    last->fail = ERR_CORRUPT;
    http_wake(asked);
    http_wake(asked);
    rig_until(&r, r.ended == 1);
    assert_false(r.last.complete);
    assert_int_equal(rig_stats(&r).clients_left, 0);
    client_expect_fin(&c);
    assert_int_equal(client_body_bytes(&c), r.last.body_bytes);
    assert_true(r.last.body_bytes < FILE_SIZE);
    finish(&r, &c);
}

static void deleting_the_server_ends_a_file(void **state)
{
    const struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    (void)state;
    begin(&r, &c, &opt);
    u64 before = http_sent(asked);
    http_server_del(r.server, rig_gone, &r);
    assert_int_equal(r.ended, 1);
    assert_false(r.last.complete);
    assert_true(r.last.body_bytes >= before);
    rig_until(&r, r.gone);
    finish(&r, &c);
}

static void draining_lets_a_file_end(void **state)
{
    const struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    (void)state;
    begin(&r, &c, &opt);
    http_server_drain(r.server, rig_drained, &r);
    rig_rest(&r, 50);
    assert_false(r.drained);
    assert_int_equal(read_all(&c), FILE_SIZE);
    assert_true(r.last.complete);
    client_close(&c);
    rig_until(&r, r.drained);
    rig_stop(&r);
}

/* `times` answers, one after the other, each of them whole. */
static void expect_files(struct client *c, unsigned times)
{
    u64 at = 0;
    char head[1024] = "";
    size_t head_n = 0;
    bool in_head = true;
    for (u64 since = rig_ms(); times > 0; c->n = 0) {
        client_take(c, SIZE_MAX);
        assert_false(c->ended);
        assert_true(rig_ms() - since < RIG_PATIENCE_MS);
        for (size_t i = 0; i < c->n; i++) {
            if (in_head) {
                assert_true(head_n < sizeof(head) - 1);
                head[head_n++] = c->text[i];
                head[head_n] = '\0';
                in_head = !strstr(head, "\r\n\r\n");
            } else if (c->text[i] != rig_byte(at++)) {
                fail_msg("byte %llu is wrong", (unsigned long long)at - 1);
            }
            if (!in_head && at == FILE_SIZE) {
                at = head_n = 0;
                in_head = true;
                times--;
            }
        }
    }
}

/* The socket is polled again, and what came in meanwhile is there. */
static void a_connection_goes_on_after_a_file(void **state)
{
    const struct http_server_options opt = {0};
    struct rig r;
    struct client c;
    (void)state;
    begin(&r, &c, &opt);
    client_send(&c, GET GET); /* pipelined, while it is away */
    expect_files(&c, 3);
    rig_rest(&r, 50);
    client_send(&c, GET); /* kept alive */
    expect_files(&c, 1);
    rig_until(&r, r.ended == 4); /* its sender tells us after the last byte is out */
    assert_int_equal(r.ended_complete, 4);
    client_slam(&c); /* idle again: noticed by the loop */
    rig_until(&r, rig_stats(&r).open == 0);
    rig_stop(&r);
}

/* Many at once, over all threads, some of whom leave. */
static void many_files_at_once(void **state)
{
    enum { CLIENTS = 24 };
    struct http_server_options opt = {.drain_timeout_ms = 200};
    static struct client c[CLIENTS];
    struct rig r;
    (void)state;
    stride = 1;
    cold_every = 7;
    rig_start(&r, &opt);
    r.on_request = answer_file;
    for (int i = 0; i < CLIENTS; i++) {
        client_open_small(&c[i], &r, i % 2 ? 0 : 30000);
        client_send(&c[i], i % 3 ? "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n" : GET);
    }
    rig_until(&r, r.handled == CLIENTS);
    for (int i = 0; i < CLIENTS; i++) {
        if (i % 3)
            assert_int_equal(read_all(&c[i]), FILE_SIZE);
        else
            client_slam(&c[i]);
    }
    rig_until(&r, r.ended == CLIENTS);
    assert_in_range(r.ended_complete, CLIENTS - CLIENTS / 3, CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        if (i % 3)
            client_close(&c[i]);
    cold_every = 0;
    rig_stop(&r);
}

/* A Unix socket's peer is not handed over: it could not be called back. */
static void a_unix_socket_stays_here(void **state)
{
    struct http_server_options opt = {.drain_timeout_ms = 200};
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct client c;
    struct rig r;
    char why[256];
    (void)state;
    stride = 1;
    rig_new(&r, &opt);
    r.on_request = answer_file;
    snprintf(a.sun_path, sizeof(a.sun_path), "/tmp/dray-file-%d.sock", (int)getpid());
    assert_int_equal(http_listen_unix(r.server, a.sun_path, why), 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    client_open_fd(&c, &r, fd);
    client_send(&c, "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    assert_int_equal(read_all(&c), FILE_SIZE);
    assert_int_equal(shown, 0);
    finish(&r, &c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_arrives_unharmed),
        cmocka_unit_test(chunks_and_heads_do_without),
        cmocka_unit_test(cold_pages_are_read),
        cmocka_unit_test(a_file_that_shrinks_ends_the_answer_by_fin),
        cmocka_unit_test(leaving_ends_a_file),
        cmocka_unit_test(a_stalled_reader_is_cut),
        cmocka_unit_test(bytes_that_turn_out_wrong_end_by_fin),
        cmocka_unit_test(deleting_the_server_ends_a_file),
        cmocka_unit_test(draining_lets_a_file_end),
        cmocka_unit_test(a_connection_goes_on_after_a_file),
        cmocka_unit_test(many_files_at_once),
        cmocka_unit_test(a_unix_socket_stays_here),
    };
    for (u64 i = 0; i < FILE_SIZE; i++)
        content[i] = rig_byte(i);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
