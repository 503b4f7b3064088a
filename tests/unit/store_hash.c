/* store_hash.c - tests of store/hash.h against the standards' own vectors (FIPS 180-4 examples). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "store/hash.h"

static void expect(const struct digest *d, const char *text)
{
    char got[DIGEST_TEXT_SIZE];
    digest_format(d, got);
    assert_string_equal(got, text);
}

static void vectors(void **state)
{
    (void)state;
    struct digest d;
    hash_bytes(DIGEST_SHA256, "", 0, &d);
    expect(&d, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    hash_bytes(DIGEST_SHA256, "abc", 3, &d);
    expect(&d, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    hash_bytes(DIGEST_SHA512, "abc", 3, &d);
    expect(&d, "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
               "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
}

/* However the bytes come in, and however often one looks in between, it is one hash. */
static void pieces(void **state)
{
    (void)state;
    u8 data[1000];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (u8)(i * 7);
    static const enum digest_alg algs[] = {DIGEST_SHA256, DIGEST_SHA512};
    for (size_t a = 0; a < countof(algs); a++) {
        struct digest whole, piecewise, peek;
        hash_bytes(algs[a], data, sizeof(data), &whole);
        for (size_t step = 1; step < 200; step += 13) {
            struct hasher h;
            hasher_init(&h, algs[a]);
            for (size_t at = 0; at < sizeof(data); at += step) {
                hasher_update(&h, data + at, at + step > sizeof(data) ? sizeof(data) - at : step);
                hasher_digest(&h, &peek);
                assert_int_equal(digest_equal(&peek, &whole), h.count == sizeof(data));
            }
            assert_int_equal(h.count, sizeof(data));
            hasher_digest(&h, &piecewise);
            assert_true(digest_equal(&whole, &piecewise));
        }
    }
}

/* A state that was taken out goes on elsewhere, also beyond 2^32 bits. */
static void states(void **state)
{
    (void)state;
    static const enum digest_alg algs[] = {DIGEST_SHA256, DIGEST_SHA512};
    size_t piece = 1 << 20, pieces = 520; /* 4.36 Gbit */
    u8 *data = malloc(piece), mid[64], first[64];
    assert_non_null(data);
    for (size_t i = 0; i < piece; i++)
        data[i] = (u8)(i * 31 + (i >> 9));
    for (size_t a = 0; a < countof(algs); a++) {
        struct hasher whole, part;
        struct digest d1, d2;
        size_t n = algs[a] == DIGEST_SHA256 ? pieces : 3;
        hasher_init(&whole, algs[a]);
        hasher_export(&whole, mid);
        for (size_t i = 0; i < n; i++) {
            hasher_import(&part, algs[a], mid, whole.count);
            hasher_update(&whole, data, piece);
            if (i > 2 && i < n - 3) {
                hasher_export(&whole, mid);
                continue;
            }
            hasher_update(&part, data, piece);
            hasher_export(&whole, mid);
            hasher_export(&part, first);
            assert_memory_equal(first, mid, digest_size(algs[a]));
            hasher_update(&part, "end", 3);
            struct hasher end = whole;
            hasher_update(&end, "end", 3);
            hasher_digest(&end, &d1);
            hasher_digest(&part, &d2);
            assert_true(digest_equal(&d1, &d2));
        }
    }
    free(data);
}

/* A hasher is a value: a copy goes its own way. */
static void copies(void **state)
{
    (void)state;
    struct hasher a, b;
    struct digest da, db, ab;
    hasher_init(&a, DIGEST_SHA256);
    hasher_update(&a, "a", 1);
    b = a;
    hasher_update(&a, "b", 1);
    hasher_update(&b, "c", 1);
    hasher_digest(&a, &da);
    hasher_digest(&b, &db);
    hash_bytes(DIGEST_SHA256, "ab", 2, &ab);
    assert_true(digest_equal(&da, &ab));
    assert_false(digest_equal(&da, &db));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors),
        cmocka_unit_test(pieces),
        cmocka_unit_test(states),
        cmocka_unit_test(copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
