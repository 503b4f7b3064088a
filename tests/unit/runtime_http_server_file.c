/* Bodies that stand in files: sent from the page cache without a copy, read where that cannot be.
 */
#include "http_rig.h"

#define HOST      "Host: h\r\n"
#define FILE_SIZE (8 * MIB + 12345)

/* A body that tells of its file in every `stride`-th call, and reads it in the others. */
struct file_body {
    struct body body;
    struct rig *rig;
    int fd;
    u64 at, total;
    unsigned stride, calls;
    char block[65536];
};

static struct file_body *last;
static unsigned shown, peeked;

static ssize_t file_peek(struct body *b, const void **data, size_t max)
{
    struct file_body *f = container_of(b, struct file_body, body);
    peeked++;
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

static bool file_file(struct body *b, size_t *len, int *fd, u64 *offset)
{
    struct file_body *f = container_of(b, struct file_body, body);
    assert_true(*len > 0 && *len <= f->total - f->at);
    if (f->calls++ % f->stride)
        return false;
    shown++;
    *fd = f->fd;
    *offset = f->at;
    return true;
}

static void file_close(struct body *b)
{
    struct file_body *f = container_of(b, struct file_body, body);
    f->rig->bodies_closed++;
    last = NULL;
    close(f->fd);
    free(f);
}

static unsigned stride;

static void answer_file(struct rig *r, struct http_exchange *x)
{
    static const struct body_ops ops = {
        .peek = file_peek, .advance = file_advance, .file = file_file, .close = file_close};
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
    for (u64 at = 0; at < f->total;) {
        size_t n = sizeof(f->block) < f->total - at ? sizeof(f->block) : (size_t)(f->total - at);
        for (size_t i = 0; i < n; i++)
            f->block[i] = rig_byte(at + i);
        assert_int_equal(write(f->fd, f->block, n), n);
        at += n;
    }
    last = f;
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

/* The page cache has nothing beyond the file's end: what the body then says of it counts. */
static void a_file_that_shrinks_ends_the_answer_by_fin(void **state)
{
    struct http_server_options opt = {.drain_timeout_ms = 200};
    struct rig r;
    struct client c;
    (void)state;
    stride = 1;
    rig_start(&r, &opt);
    r.on_request = answer_file;
    client_open_small(&c, &r, 20000);
    client_send(&c, "GET / HTTP/1.1\r\n" HOST "\r\n");
    rig_until(&r, last && last->at > 0);
    assert_int_equal(ftruncate(last->fd, 6 * MIB), 0);
    u64 before = last->at;
    assert_true(before < 6 * MIB);
    assert_int_equal(read_all(&c), 6 * MIB);
    assert_false(r.last.complete);
    assert_int_equal(r.last.body_bytes, 6 * MIB);
    assert_int_equal(rig_stats(&r).clients_left, 0);
    client_close(&c);
    rig_stop(&r);
}

static void leaving_ends_a_file(void **state)
{
    struct http_server_options opt = {.drain_timeout_ms = 200};
    struct rig r;
    struct client c;
    (void)state;
    for (int slam = 0; slam < 2; slam++) {
        stride = 1;
        rig_start(&r, &opt);
        r.on_request = answer_file;
        client_open_small(&c, &r, 20000);
        client_send(&c, "GET / HTTP/1.1\r\n" HOST "\r\n");
        client_expect(&c, "\r\n\r\n");
        if (slam)
            client_slam(&c);
        else
            client_close(&c);
        rig_until(&r, r.ended == 1);
        assert_false(r.last.complete);
        assert_int_equal(rig_stats(&r).clients_left, 1);
        rig_stop(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_arrives_unharmed),
        cmocka_unit_test(chunks_and_heads_do_without),
        cmocka_unit_test(a_file_that_shrinks_ends_the_answer_by_fin),
        cmocka_unit_test(leaving_ends_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
