/* Addresses as text: every form that is read, what is refused, and how each is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/addr.h"

static void read_and_written(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"10.1.2.3:5000", "10.1.2.3:5000"},
        {"0.0.0.0:0", "0.0.0.0:0"},
        {"255.255.255.255:65535", "255.255.255.255:65535"},
        {"[::]:1", "[::]:1"},
        {"[::1]:5000", "[::1]:5000"},
        {"[1::]:5000", "[1::]:5000"},
        {"[2001:db8::1]:5000", "[2001:db8::1]:5000"},
        {"[2001:DB8:0:0:0:0:0:1]:5000", "[2001:db8::1]:5000"},
        {"[2001:db8::]:443", "[2001:db8::]:443"},
        {"[1:2:3:4:5:6:7:8]:9", "[1:2:3:4:5:6:7:8]:9"},
        {"[1:2:3:4:5:6:7::]:9", "[1:2:3:4:5:6:7:0]:9"},
        {"[::2:3:4:5:6:7:8]:9", "[0:2:3:4:5:6:7:8]:9"},
        {"[1:0:0:4:0:0:0:8]:9", "[1:0:0:4::8]:9"},
        {"[1:0:0:4:5:0:0:8]:9", "[1::4:5:0:0:8]:9"},
        {"[0001:00ab::ffff]:9", "[1:ab::ffff]:9"},
        {"[::ffff:10.1.2.3]:9", "10.1.2.3:9"},
        {"[::ffff:a01:203]:9", "10.1.2.3:9"},
        {"[64:ff9b::10.1.2.3]:9", "[64:ff9b::a01:203]:9"},
        {"[1:2:3:4:5:6:10.1.2.3]:9", "[1:2:3:4:5:6:a01:203]:9"},
        {"[::10.1.2.3]:9", "[::a01:203]:9"},
        {"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        struct addr a, b;
        char text[ADDR_TEXT_SIZE];
        if (addr_parse(&a, rows[i].in, strlen(rows[i].in)))
            fail_msg("refused: %s", rows[i].in);
        assert_int_equal(addr_format(&a, text), strlen(rows[i].out));
        assert_string_equal(text, rows[i].out);
        assert_int_equal(addr_parse(&b, text, strlen(text)), 0);
        assert_true(addr_equal(&a, &b));
    }
}

static void refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        ":",
        "10.1.2.3",
        "10.1.2.3:",
        "10.1.2:5000",
        "10.1.2.3.4:5000",
        "10.1.2.256:5000",
        "10.1.2.03:5000",
        "10.1.2.-3:5000",
        "10.1.2.3:65536",
        "10.1.2.3:05000",
        "10.1.2.3:99999999999999999999",
        "10.1.2.3:5000 ",
        " 10.1.2.3:5000",
        "10.1.2.3:+5",
        "10..2.3:5000",
        "0x0a.1.2.3:5000",
        "host:5000",
        "::1:5000",
        "[::1]",
        "[::1]:",
        "[::1]5000",
        "[::1:5000",
        "::1]:5000",
        "[]:5000",
        "[:]:5000",
        "[:1]:5000",
        "[1:]:5000",
        "[:::]:5000",
        "[1:::2]:5000",
        "[1::2::3]:5000",
        "[1:2:3:4:5:6:7]:5000",
        "[1:2:3:4:5:6:7:8:9]:5000",
        "[1:2:3:4:5:6:7:8::]:5000",
        "[::1:2:3:4:5:6:7:8]:5000",
        "[1:2:3:4::5:6:7:8]:5000",
        "[12345::]:5000",
        "[g::]:5000",
        "[fe80::1%eth0]:5000",
        "[1:2:3:4:5:6:7:10.1.2.3]:5000",
        "[1:2:3:4:5:6::10.1.2.3]:5000",
        "[10.1.2.3]:5000",
        "[::10.1.2]:5000",
        "[::10.1.2.3:1]:5000",
        "[::1.2.3.256]:5000",
        "[[::1]]:5000",
    };
    for (size_t i = 0; i < countof(bad); i++) {
        struct addr a;
        static const struct addr none;
        memset(&a, 0xff, sizeof(a));
        if (addr_parse(&a, bad[i], strlen(bad[i])) != ERR_INVAL)
            fail_msg("accepted: %s", bad[i]);
        assert_memory_equal(&a, &none, sizeof(a));
    }
    struct addr a;
    assert_int_equal(addr_parse(&a, "10.1.2.3:5\0", 11), ERR_INVAL);
    assert_int_equal(addr_parse(&a, "10.1.2.3:5123", 12), 0); /* `len` rules */
    assert_int_equal(a.port, 512);
}

/* Every prefix of a good address: never a byte beyond its end (a sanitizer watches). */
static void no_byte_beyond_the_end(void **state)
{
    (void)state;
    static const char whole[] = "[2001:db8::ffff:10.1.2.3]:65535";
    for (size_t len = 0; len < sizeof(whole); len++) {
        char *exact = malloc(len ? len : 1);
        struct addr a;
        memcpy(exact, whole, len);
        int err = addr_parse(&a, exact, len);
        bool number = len >= sizeof(whole) - 5 && len < sizeof(whole);
        assert_int_equal(err, number ? 0 : ERR_INVAL);
        free(exact);
    }
}

static void set_equal_and_family(void **state)
{
    (void)state;
    struct addr none = {0}, a = addr_v4(10, 1, 2, 3, 5000), b = a;
    assert_false(addr_is_set(&none));
    assert_true(addr_is_set(&a) && addr_is_v4(&a) && !addr_is_v4(&none));
    assert_true(addr_equal(&a, &b));
    b.port = 5001;
    assert_true(addr_same_ip(&a, &b) && !addr_equal(&a, &b));
    b = a;
    b.port = 0;
    assert_false(addr_is_set(&b));
    none.port = 1;
    assert_false(addr_is_set(&none));
}

static void common_bits(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        unsigned bits;
    } rows[] = {
        {"10.1.2.3:1", "10.1.2.3:2", 32},
        {"10.1.2.3:1", "10.1.2.2:1", 31},
        {"10.1.2.3:1", "10.1.2.128:1", 24},
        {"10.1.2.3:1", "10.1.3.3:1", 23},
        {"10.1.2.3:1", "138.1.2.3:1", 0},
        {"0.0.0.0:1", "1.0.0.0:1", 7},
        {"[2001:db8::1]:1", "[2001:db8::1]:1", 128},
        {"[2001:db8::1]:1", "[2001:db8::2]:1", 126},
        {"[2001:db8:0:1::1]:1", "[2001:db8:0:1:8000::]:1", 64},
        {"[2001:db8::1]:1", "10.1.2.3:1", 0},
        {"[::]:1", "0.0.0.0:1", 0},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        struct addr a, b;
        assert_int_equal(addr_parse(&a, rows[i].a, strlen(rows[i].a)), 0);
        assert_int_equal(addr_parse(&b, rows[i].b, strlen(rows[i].b)), 0);
        assert_int_equal(addr_common_bits(&a, &b), rows[i].bits);
        assert_int_equal(addr_common_bits(&b, &a), rows[i].bits);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_and_written),
        cmocka_unit_test(refused),
        cmocka_unit_test(no_byte_beyond_the_end),
        cmocka_unit_test(set_equal_and_family),
        cmocka_unit_test(common_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
