/* Signatures that are remembered: the same answers as those that are computed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/identity.h"
#include "proto/rng.h"
#include "sim/memo.h"

static void what_is_remembered_is_what_was_computed(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 1);
    struct node_key key[3];
    struct node_secret secret[3];
    for (int i = 0; i < 3; i++) {
        u8 seed[32];
        rng_bytes(&r, seed, sizeof(seed));
        identity_from_seed(seed, &key[i], &secret[i]);
    }
    for (int i = 0; i < 300; i++) {
        u8 text[200];
        size_t len = 1 + rng_below(&r, sizeof(text));
        struct node_signature sig, again, bad;
        rng_bytes(&r, text, len);
        identity_sign(&secret[i % 3], IDENTITY_ALIVE, text, len, &sig);
        identity_sign(&secret[i % 3], IDENTITY_ALIVE, text, len, &again);
        assert_memory_equal(&sig, &again, sizeof(sig));
        bad = sig;
        bad.bytes[rng_below(&r, sizeof(bad.bytes))] ^= 1;
        for (int twice = 0; twice < 2; twice++) {
            assert_int_equal(identity_verify(&key[i % 3], IDENTITY_ALIVE, text, len, &sig), 0);
            assert_int_equal(identity_verify(&key[i % 3], IDENTITY_ALIVE, text, len, &bad),
                             ERR_DENIED);
            assert_int_equal(identity_verify(&key[(i + 1) % 3], IDENTITY_ALIVE, text, len, &sig),
                             ERR_DENIED);
            assert_int_equal(identity_verify(&key[i % 3], IDENTITY_DEAD, text, len, &sig),
                             ERR_DENIED);
        }
        text[rng_below(&r, len)] ^= 1;
        assert_int_equal(identity_verify(&key[i % 3], IDENTITY_ALIVE, text, len, &sig), ERR_DENIED);
    }
    struct memo_stats s;
    memo_stats(&s);
    assert_true(s.computed > 0 && s.computed < s.asked); /* it is in place, and it remembers */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_remembered_is_what_was_computed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
