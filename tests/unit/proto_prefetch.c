/* Orders to prefetch: what was packed is read back, and nothing beyond its bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/prefetch.h"

static struct prefetch_order order, back;
static u8 bytes[PREFETCH_BYTES_MAX + 1];
static char text[TICKET_TEXT_SIZE];

static void fill(size_t n, size_t ticket_n)
{
    memset(text, 'x', sizeof(text));
    memset(&order, 0, sizeof(order));
    snprintf(order.repository, sizeof(order.repository), "team/app");
    order.n = n;
    for (size_t i = 0; i < n; i++) {
        order.blobs[i].digest.alg = DIGEST_SHA256;
        order.blobs[i].digest.bytes[0] = (u8)i;
        order.blobs[i].ticket = text;
        order.blobs[i].ticket_n = ticket_n;
        order.blobs[i].config = i == 0;
    }
}

static void what_was_packed_is_read_back(void **state)
{
    (void)state;
    for (size_t n = 0; n <= PREFETCH_MAX; n += n < 2 ? 1 : PREFETCH_MAX - 2) {
        fill(n, n ? TICKET_TEXT_SIZE - n : 0);
        size_t len = prefetch_pack(&order, bytes);
        assert_int_equal(prefetch_unpack(&back, bytes, len), 0);
        assert_string_equal(back.repository, "team/app");
        assert_int_equal(back.n, n);
        for (size_t i = 0; i < n; i++) {
            assert_true(digest_equal(&back.blobs[i].digest, &order.blobs[i].digest));
            assert_int_equal(back.blobs[i].config, i == 0);
            assert_int_equal(back.blobs[i].ticket_n, order.blobs[i].ticket_n);
            assert_memory_equal(back.blobs[i].ticket, text, back.blobs[i].ticket_n);
        }
        for (size_t cut = 0; cut < len; cut += 1 + cut / 16) {
            assert_int_equal(prefetch_unpack(&back, bytes, cut), ERR_PROTO);
            assert_int_equal(back.n, 0);
        }
        bytes[len] = 0;
        assert_int_equal(prefetch_unpack(&back, bytes, len + 1), ERR_PROTO);
    }
}

static void what_is_malformed_is_refused(void **state)
{
    static const char good[] =
        "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const struct {
        unsigned version, count, fields;
        const char *digest;
        size_t ticket_n;
    } bad[] = {{2, 1, 3, good, 10},
               {1, PREFETCH_MAX + 1, 3, good, 10},
               {1, 1, 2, good, 10},
               {1, 1, 4, good, 10},
               {1, 1, 3, "", 10},
               {1, 1, 3, "sha256:00", 10},
               {1, 1, 3, good, TICKET_TEXT_SIZE}};
    (void)state;
    memset(text, 'x', sizeof(text));
    for (size_t i = 0; i < countof(bad); i++) {
        struct wire_out w;
        wire_out_init(&w, bytes, sizeof(bytes));
        wire_put_array(&w, 3);
        wire_put_u64(&w, bad[i].version);
        wire_put_text(&w, "team/app");
        wire_put_array(&w, bad[i].count);
        for (size_t k = 0; k < bad[i].count && !wire_full(&w); k++) {
            wire_put_array(&w, bad[i].fields);
            wire_put_text(&w, bad[i].digest);
            wire_put_bin(&w, text, bad[i].ticket_n);
            for (size_t f = 2; f < bad[i].fields; f++)
                wire_put_bool(&w, true);
        }
        assert_int_equal(prefetch_unpack(&back, bytes, w.len), ERR_PROTO);
        assert_int_equal(back.n, 0);
    }
}

static void images(void **state)
{
    struct prefetch_image one = {.image = "reg.example/a/b:1", .platform = "linux/amd64"}, two;
    (void)state;
    size_t len = prefetch_image_pack(&one, bytes);
    assert_int_equal(prefetch_image_unpack(&two, bytes, len), 0);
    assert_string_equal(two.image, one.image);
    assert_string_equal(two.platform, one.platform);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(prefetch_image_unpack(&two, bytes, cut), ERR_PROTO);
    snprintf(one.image, sizeof(one.image), "a b");
    len = prefetch_image_pack(&one, bytes);
    assert_int_equal(prefetch_image_unpack(&two, bytes, len), ERR_PROTO);
    memset(one.image, 'x', PREFETCH_IMAGE_MAX);
    one.image[PREFETCH_IMAGE_MAX] = 0;
    len = prefetch_image_pack(&one, bytes);
    assert_int_equal(prefetch_image_unpack(&two, bytes, len), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_packed_is_read_back),
        cmocka_unit_test(what_is_malformed_is_refused),
        cmocka_unit_test(images),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
