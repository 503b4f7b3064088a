/* Names of blobs: one spelling each, nothing else accepted, and text that reads back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/digest.h"
#include "proto/err.h"

#define HEX32       "0123456789abcdef0123456789abcdef"
#define SHA256_TEXT "sha256:" HEX32 HEX32
#define SHA512_TEXT "sha512:" HEX32 HEX32 HEX32 HEX32

static int parse(struct digest *d, const char *text)
{
    return digest_parse(d, text, strlen(text));
}

static void both_algorithms_read_back(void **state)
{
    (void)state;
    const struct {
        const char *text;
        enum digest_alg alg;
        size_t size;
    } rows[] = {{SHA256_TEXT, DIGEST_SHA256, 32}, {SHA512_TEXT, DIGEST_SHA512, 64}};
    for (size_t i = 0; i < countof(rows); i++) {
        struct digest d;
        char text[DIGEST_TEXT_SIZE];
        assert_int_equal(parse(&d, rows[i].text), 0);
        assert_int_equal(d.alg, rows[i].alg);
        assert_int_equal(digest_size(rows[i].alg), rows[i].size);
        assert_int_equal(d.bytes[0], 0x01);
        assert_int_equal(d.bytes[rows[i].size - 1], 0xef);
        assert_int_equal(digest_format(&d, text), strlen(rows[i].text));
        assert_string_equal(text, rows[i].text);
        assert_int_equal(digest_format_hex(&d, text), 2 * rows[i].size);
        assert_string_equal(text, rows[i].text + 7);
        for (size_t k = rows[i].size; k < DIGEST_BYTES_MAX; k++)
            assert_int_equal(d.bytes[k], 0);
    }
}

static void only_len_characters_are_read(void **state)
{
    (void)state;
    struct digest d;
    assert_int_equal(digest_parse(&d, SHA256_TEXT "/and more", 71), 0);
    assert_int_equal(digest_parse(&d, SHA256_TEXT "a", 72), ERR_INVAL);
    assert_int_equal(digest_parse(&d, SHA256_TEXT, 70), ERR_INVAL);
    assert_int_equal(digest_parse(&d, NULL, 0), ERR_INVAL);
}

static void malformed_is_refused_and_names_nothing(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        ":",
        "sha256",
        "sha256:",
        ":" HEX32 HEX32,
        "sha256:totallywrong",
        "sha256:" HEX32,
        SHA256_TEXT "0",
        SHA512_TEXT "00",
        "sha512:" HEX32 HEX32,
        "SHA256:" HEX32 HEX32,
        "sha256:0123456789ABCDEF"
        "0123456789abcdef" HEX32, /* upper case: a second spelling */
        "sha256:g123456789abcdef"
        "0123456789abcdef" HEX32,
        " " SHA256_TEXT,
        SHA256_TEXT " ",
        "sha256::" HEX32 HEX32,
        "sha256%3A" HEX32 HEX32,
        "+sha256:" HEX32 HEX32,
        "sha256+:" HEX32 HEX32,
        "sha2..56:abc",
        "unknown:ab/cd",
        "unknown:ab\xc3\xa9",
        "unknown:",
        "sha256:../../../etc/passwd",
    };
    for (size_t i = 0; i < countof(bad); i++) {
        struct digest d, nothing = {0};
        memset(&d, 0xff, sizeof d);
        if (parse(&d, bad[i]) != ERR_INVAL)
            fail_msg("accepted: %s", bad[i]);
        assert_memory_equal(&d, &nothing, sizeof d);
    }
    struct digest d;
    assert_int_equal(digest_parse(&d, "sha256:" HEX32 "\0" HEX32, 71), ERR_INVAL);
}

static void unknown_algorithms_are_told_apart_from_nonsense(void **state)
{
    (void)state;
    static const char *const unknown[] = {
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha384:abc",
        "blake3:AbC_-=",
        "sha256+b64u:LCa0a2j_",
        "multihash+base58.v1:QmRZ",
        "sha25:" HEX32 HEX32,
        "sha2560:" HEX32 HEX32,
    };
    for (size_t i = 0; i < countof(unknown); i++) {
        struct digest d, nothing = {0};
        if (parse(&d, unknown[i]) != ERR_UNSUPPORTED)
            fail_msg("not told apart: %s", unknown[i]);
        assert_memory_equal(&d, &nothing, sizeof d);
    }
}

static void equality_is_of_algorithm_and_bytes(void **state)
{
    (void)state;
    struct digest a, b;
    assert_int_equal(parse(&a, SHA256_TEXT), 0);
    b = a;
    assert_true(digest_equal(&a, &b));
    b.bytes[31] ^= 1;
    assert_false(digest_equal(&a, &b));
    b = a;
    b.alg = DIGEST_SHA512;
    assert_false(digest_equal(&a, &b));
}

static void the_hash_takes_every_byte_and_the_seed(void **state)
{
    (void)state;
    struct digest a;
    assert_int_equal(parse(&a, SHA512_TEXT), 0);
    u64 hash = digest_hash(&a, 7);
    assert_true(digest_hash(&a, 7) == hash);
    assert_true(digest_hash(&a, 8) != hash);
    for (size_t i = 0; i < DIGEST_BYTES_MAX; i++) {
        struct digest b = a;
        b.bytes[i] ^= 1; /* equal in every other byte: still another bucket */
        assert_true(digest_hash(&b, 7) != hash);
    }
}

static void names_of_algorithms(void **state)
{
    (void)state;
    assert_string_equal(digest_alg_name(DIGEST_SHA256), "sha256");
    assert_string_equal(digest_alg_name(DIGEST_SHA512), "sha512");
    assert_string_equal(digest_alg_name(DIGEST_NONE), "none");
    assert_string_equal(digest_alg_name((enum digest_alg)77), "none");
    assert_int_equal(digest_size(DIGEST_NONE), 0);
    assert_int_equal(digest_size((enum digest_alg)77), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_algorithms_read_back),
        cmocka_unit_test(only_len_characters_are_read),
        cmocka_unit_test(malformed_is_refused_and_names_nothing),
        cmocka_unit_test(unknown_algorithms_are_told_apart_from_nonsense),
        cmocka_unit_test(equality_is_of_algorithm_and_bytes),
        cmocka_unit_test(the_hash_takes_every_byte_and_the_seed),
        cmocka_unit_test(names_of_algorithms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
