/* The wire cursor: what is written is read back, every width is taken, nothing hostile gets
 * through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/wire.h"

#define ROOM 256

struct rig {
    u8 buf[ROOM];
    struct wire_out w;
    struct wire_in r;
};

static struct wire_out *fresh(struct rig *g)
{
    wire_out_init(&g->w, g->buf, sizeof(g->buf));
    return &g->w;
}

static struct wire_in *back(struct rig *g)
{
    assert_false(wire_full(&g->w));
    wire_in_init(&g->r, g->buf, g->w.len);
    return &g->r;
}

/* A reader over these very bytes. */
#define READER(name, ...)                                                                          \
    static const u8 name##_bytes[] = {__VA_ARGS__};                                                \
    struct wire_in name;                                                                           \
    wire_in_init(&name, name##_bytes, sizeof(name##_bytes))

static void done(struct wire_in *r)
{
    assert_true(wire_ok(r));
    assert_int_equal(wire_left(r), 0);
}

static void numbers_come_back_in_the_shortest_form(void **state)
{
    (void)state;
    static const struct {
        u64 v;
        size_t len;
    } rows[] = {
        {0, 1},     {127, 1},   {128, 2},        {255, 2},        {256, 3},
        {65535, 3}, {65536, 5}, {UINT32_MAX, 5}, {1ull << 32, 9}, {UINT64_MAX, 9},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        struct rig g;
        wire_put_u64(fresh(&g), rows[i].v);
        assert_int_equal(g.w.len, rows[i].len);
        assert_int_equal(wire_get_u64(back(&g)), rows[i].v);
        done(&g.r);
    }
    static const i64 signed_rows[] = {0,         1,         -1,           -32,    -33,
                                      -128,      -129,      -32768,       -32769, INT32_MIN,
                                      INT64_MIN, INT64_MAX, INT64_MIN + 1};
    for (size_t i = 0; i < countof(signed_rows); i++) {
        struct rig g;
        wire_put_i64(fresh(&g), signed_rows[i]);
        assert_true(wire_get_i64(back(&g)) == signed_rows[i]);
        done(&g.r);
    }
}

static void any_width_is_taken(void **state)
{
    (void)state;
    READER(u, 0xcc, 5, 0xcd, 0, 5, 0xce, 0, 0, 0, 5, 0xcf, 0, 0, 0, 0, 0, 0, 0, 5, 0xd0, 5, 0xd1, 0,
           5, 0xd2, 0, 0, 0, 5, 0xd3, 0, 0, 0, 0, 0, 0, 0, 5);
    for (int i = 0; i < 8; i++)
        assert_int_equal(wire_get_u64(&u), 5);
    done(&u);
    READER(s, 0xff, 0xd0, 0xff, 0xd1, 0xff, 0xff, 0xd2, 0xff, 0xff, 0xff, 0xff, 0xd3, 0xff, 0xff,
           0xff, 0xff, 0xff, 0xff, 0xff, 0xff);
    for (int i = 0; i < 5; i++)
        assert_true(wire_get_i64(&s) == -1);
    done(&s);
}

static void numbers_out_of_bounds_are_bad(void **state)
{
    (void)state;
    READER(negative, 0xff);
    assert_int_equal(wire_get_u64(&negative), 0);
    assert_false(wire_ok(&negative));
    READER(int_min, 0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0);
    assert_true(wire_get_i64(&int_min) == INT64_MIN);
    READER(large, 0xcf, 0x80, 0, 0, 0, 0, 0, 0, 0);
    assert_true(wire_get_i64(&large) == 0 && !wire_ok(&large));
    READER(seven, 7, 8);
    assert_int_equal(wire_get_max(&seven, 7), 7);
    assert_int_equal(wire_get_max(&seven, 7), 0);
    assert_false(wire_ok(&seven));
}

static void all_kinds_come_back(void **state)
{
    (void)state;
    struct rig g;
    struct node_key key = {{1, 2, 3}}, key2;
    struct addr v4 = addr_v4(10, 1, 2, 3, 5000), v6, got4, got6;
    char text[8];
    size_t len;
    assert_int_equal(addr_parse(&v6, "[2001:db8::1]:65535", 19), 0);
    struct wire_out *w = fresh(&g);
    wire_put_array(w, 9);
    wire_put_bool(w, true);
    wire_put_bool(w, false);
    wire_put_f32(w, -1.5f);
    wire_put_nil(w);
    wire_put_bin(w, "\0\1\2", 3);
    wire_put_text(w, "rack-12");
    wire_put_key(w, &key);
    wire_put_addr(w, &v4);
    wire_put_addr(w, &v6);
    struct wire_in *r = back(&g), copy = *r;
    assert_int_equal(wire_get_array(r, 9), 9);
    assert_true(wire_get_bool(r));
    assert_false(wire_get_bool(r));
    assert_true(wire_get_f32(r) == -1.5f);
    assert_true(wire_is_nil(r) && !wire_is_nil(r));
    const u8 *bin = wire_get_bin(r, 3, &len);
    assert_int_equal(len, 3);
    assert_memory_equal(bin, "\0\1\2", 3);
    wire_get_text(r, text, sizeof(text));
    assert_string_equal(text, "rack-12");
    wire_get_key(r, &key2);
    assert_true(node_key_equal(&key, &key2));
    wire_get_addr(r, &got4);
    wire_get_addr(r, &got6);
    assert_true(addr_equal(&v4, &got4) && addr_equal(&v6, &got6));
    done(r);
    wire_skip(&copy);
    done(&copy);
}

static void empty_things_are_things(void **state)
{
    (void)state;
    struct rig g;
    char text[1];
    size_t len;
    struct wire_out *w = fresh(&g);
    wire_put_bin(w, NULL, 0);
    wire_put_text(w, "");
    wire_put_array(w, 0);
    wire_put_bin(w, NULL, 0);
    struct wire_in *r = back(&g);
    assert_non_null(wire_get_bin(r, 0, &len));
    assert_int_equal(len, 0);
    wire_get_text(r, text, sizeof(text));
    assert_string_equal(text, "");
    assert_int_equal(wire_get_array(r, 0), 0);
    wire_get_exact(r, NULL, 0);
    done(r);
    wire_in_init(r, NULL, 0);
    assert_true(wire_ok(r) && wire_left(r) == 0 && !wire_is_nil(r));
    assert_int_equal(wire_get_u64(r), 0);
    assert_false(wire_ok(r));
}

/* Of each kind of value: a reader of another kind refuses it. */
static void another_kind_is_bad(void **state)
{
    (void)state;
    enum { KINDS = 7 };
    for (int put = 0; put < KINDS; put++)
        for (int get = 0; get < KINDS; get++) {
            struct rig g;
            struct wire_out *w = fresh(&g);
            char text[8];
            size_t len;
            switch (put) {
            case 0: wire_put_u64(w, 1); break;
            case 1: wire_put_bool(w, true); break;
            case 2: wire_put_f32(w, 1); break;
            case 3: wire_put_bin(w, "b", 1); break;
            case 4: wire_put_text(w, "t"); break;
            case 5: wire_put_array(w, 1), wire_put_nil(w); break;
            case 6: wire_put_nil(w); break;
            }
            struct wire_in *r = back(&g);
            switch (get) {
            case 0: wire_get_u64(r); break;
            case 1: wire_get_bool(r); break;
            case 2: wire_get_f32(r); break;
            case 3: wire_get_bin(r, 8, &len); break;
            case 4: wire_get_text(r, text, sizeof(text)); break;
            case 5: wire_get_array(r, 8); break;
            case 6:
                if (!wire_is_nil(r))
                    r->bad = true;
                break;
            }
            assert_int_equal(wire_ok(r), put == get);
        }
}

static void an_error_sticks(void **state)
{
    (void)state;
    READER(r, 0xc1, 5, 0xc3, 0xc0);
    char text[4] = "abc";
    struct node_key k;
    struct addr a;
    size_t len = 9;
    memset(&k, 0xff, sizeof(k));
    memset(&a, 0xff, sizeof(a));
    wire_get_u64(&r);
    assert_false(wire_ok(&r));
    assert_int_equal(wire_get_u64(&r), 0);
    assert_true(wire_get_i64(&r) == 0);
    assert_false(wire_get_bool(&r) || wire_is_nil(&r));
    assert_true(wire_get_f32(&r) == 0);
    assert_null(wire_get_bin(&r, 100, &len));
    assert_int_equal(len, 0);
    assert_int_equal(wire_get_array(&r, 100), 0);
    wire_get_text(&r, text, sizeof(text));
    assert_string_equal(text, "");
    wire_get_key(&r, &k);
    wire_get_addr(&r, &a);
    assert_false(node_key_is_set(&k) || addr_is_set(&a));
    wire_skip(&r);
    assert_int_equal(wire_left(&r), 0);
    assert_false(wire_ok(&r));
}

static void lengths_that_lie_are_bad(void **state)
{
    (void)state;
    size_t len;
    char text[300];
    u8 four[4];
    READER(bin, 0xc6, 0xff, 0xff, 0xff, 0xff, 1);
    assert_null(wire_get_bin(&bin, SIZE_MAX, &len));
    READER(str, 0xdb, 0xff, 0xff, 0xff, 0xff, 'a');
    wire_get_text(&str, text, sizeof(text));
    assert_false(wire_ok(&str));
    READER(array, 0xdd, 0xff, 0xff, 0xff, 0xff, 1);
    assert_int_equal(wire_get_array(&array, UINT32_MAX), 0);
    assert_false(wire_ok(&array));
    READER(shorter, 0xc4, 3, 1, 2, 3);
    wire_get_exact(&shorter, four, sizeof(four));
    assert_false(wire_ok(&shorter));
    READER(longer, 0xc4, 5, 1, 2, 3, 4, 5);
    wire_get_exact(&longer, four, sizeof(four));
    assert_false(wire_ok(&longer));
    READER(nul, 0xa3, 'a', 0, 'b');
    wire_get_text(&nul, text, sizeof(text));
    assert_false(wire_ok(&nul));
    assert_string_equal(text, "");
    READER(fits, 0xa3, 'a', 'b', 'c');
    wire_get_text(&fits, text, 4);
    assert_string_equal(text, "abc");
    READER(no_room, 0xa3, 'a', 'b', 'c');
    wire_get_text(&no_room, text, 3);
    assert_false(wire_ok(&no_room));
    READER(address, 0xc4, 7, 1, 2, 3, 4, 5, 6, 7);
    struct addr a;
    wire_get_addr(&address, &a);
    assert_false(wire_ok(&address) || addr_is_set(&a));
}

static void numbers_that_are_none_are_bad(void **state)
{
    (void)state;
    READER(nan, 0xca, 0x7f, 0xc0, 0, 0);
    assert_true(wire_get_f32(&nan) == 0 && !wire_ok(&nan));
    READER(inf, 0xca, 0xff, 0x80, 0, 0);
    assert_true(wire_get_f32(&inf) == 0 && !wire_ok(&inf));
    READER(f64, 0xcb, 0, 0, 0, 0, 0, 0, 0, 0);
    assert_true(wire_get_f32(&f64) == 0 && !wire_ok(&f64));
}

static void a_full_writer_says_so_and_takes_back(void **state)
{
    (void)state;
    u8 buf[8];
    struct wire_out w;
    memset(buf, 0xee, sizeof(buf));
    wire_out_init(&w, buf, 7);
    wire_put_u64(&w, 300);
    size_t mark = wire_mark(&w);
    assert_int_equal(wire_room(&w), 4);
    wire_put_bin(&w, "12345", 5);
    assert_true(wire_full(&w) && wire_room(&w) == 0);
    wire_put_u64(&w, 1); /* would fit, but comes after what did not */
    assert_true(wire_full(&w));
    wire_rewind(&w, mark);
    assert_false(wire_full(&w));
    wire_put_bin(&w, "12", 2);
    assert_false(wire_full(&w));
    assert_int_equal(w.len, 7);
    assert_int_equal(buf[7], 0xee);
    wire_put_nil(&w);
    assert_true(wire_full(&w));
}

/* --- stepping over --------------------------------------------------------------------------- */

static void every_kind_is_stepped_over(void **state)
{
    (void)state;
    READER(r, 5, 0xff, 0xc0, 0xc2, 0xc3, 0xcc, 1, 0xcd, 1, 2, 0xce, 1, 2, 3, 4, 0xcf, 1, 2, 3, 4, 5,
           6, 7, 8, 0xd0, 1, 0xd1, 1, 2, 0xd2, 1, 2, 3, 4, 0xd3, 1, 2, 3, 4, 5, 6, 7, 8, 0xca, 1, 2,
           3, 4, 0xcb, 1, 2, 3, 4, 5, 6, 7, 8, 0xa1, 'a', 0xd9, 1, 'a', 0xda, 0, 1, 'a', 0xdb, 0, 0,
           0, 1, 'a', 0xc4, 1, 9, 0xc5, 0, 1, 9, 0xc6, 0, 0, 0, 1, 9, 0x91, 1, 0xdc, 0, 1, 1, 0xdd,
           0, 0, 0, 1, 1, 0x81, 1, 2, 0xde, 0, 1, 1, 2, 0xdf, 0, 0, 0, 1, 1, 2, 0x90, 0x80);
    for (int i = 0; i < 30; i++)
        wire_skip(&r);
    done(&r);
}

static void depth_and_promises_are_bounded(void **state)
{
    (void)state;
    u8 nest[10];
    struct wire_in r;
    for (size_t depth = 1; depth < sizeof(nest); depth++) {
        memset(nest, 0x91, depth);
        nest[depth] = 1;
        wire_in_init(&r, nest, depth + 1);
        wire_skip(&r);
        assert_int_equal(wire_ok(&r), depth < 8);
    }
    READER(map, 0xdf, 0xff, 0xff, 0xff, 0xff, 1, 2);
    wire_skip(&map);
    assert_false(wire_ok(&map));
    READER(ext, 0xd4, 1, 2);
    wire_skip(&ext);
    assert_false(wire_ok(&ext));
    READER(never, 0xc1);
    wire_skip(&never);
    assert_false(wire_ok(&never));
    READER(cut, 0x92, 1);
    wire_skip(&cut);
    assert_false(wire_ok(&cut));
}

/* Each prefix of a message is refused, and nothing beyond its end is looked at. */
static void cut_anywhere(void **state)
{
    (void)state;
    struct rig g;
    struct wire_out *w = fresh(&g);
    struct node_key key = {{7}};
    wire_put_array(w, 3);
    wire_put_key(w, &key);
    wire_put_u64(w, 1ull << 40);
    wire_put_text(w, "asia-office-which-is-longer-than-31-bytes");
    for (size_t len = 0; len < w->len; len++) {
        u8 *exact = malloc(len ? len : 1);
        memcpy(exact, g.buf, len);
        struct wire_in r;
        char text[64];
        wire_in_init(&r, exact, len);
        wire_get_array(&r, 3);
        wire_get_key(&r, &key);
        wire_get_u64(&r);
        wire_get_text(&r, text, sizeof(text));
        assert_false(wire_ok(&r));
        wire_in_init(&r, exact, len);
        wire_skip(&r);
        assert_false(wire_ok(&r));
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_come_back_in_the_shortest_form),
        cmocka_unit_test(any_width_is_taken),
        cmocka_unit_test(numbers_out_of_bounds_are_bad),
        cmocka_unit_test(all_kinds_come_back),
        cmocka_unit_test(empty_things_are_things),
        cmocka_unit_test(another_kind_is_bad),
        cmocka_unit_test(an_error_sticks),
        cmocka_unit_test(lengths_that_lie_are_bad),
        cmocka_unit_test(numbers_that_are_none_are_bad),
        cmocka_unit_test(a_full_writer_says_so_and_takes_back),
        cmocka_unit_test(every_kind_is_stepped_over),
        cmocka_unit_test(depth_and_promises_are_bounded),
        cmocka_unit_test(cut_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
