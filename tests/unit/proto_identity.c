/* Node keys: a signature holds for one key, one context, one message; and the order of keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "proto/identity.h"

static void make(u8 fill, struct node_key *k, struct node_secret *s)
{
    u8 seed[32];
    memset(seed, fill, sizeof(seed));
    identity_from_seed(seed, k, s);
}

static void a_seed_makes_one_pair(void **state)
{
    (void)state;
    struct node_key a, a2, b, public;
    struct node_secret sa, sa2, sb;
    make(1, &a, &sa);
    make(1, &a2, &sa2);
    make(2, &b, &sb);
    assert_true(node_key_equal(&a, &a2) && !node_key_equal(&a, &b));
    assert_memory_equal(&sa, &sa2, sizeof(sa));
    identity_public(&sa, &public);
    assert_true(node_key_equal(&a, &public));
}

/* RFC 8032, 7.1, the first secret key's public key: the pair is plain Ed25519. */
static void the_key_is_plain_ed25519(void **state)
{
    (void)state;
    u8 seed[32], want[32];
    struct node_key k;
    struct node_secret s;
    size_t n;
    assert_int_equal(
        sodium_hex2bin(seed, 32, "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                       64, NULL, &n, NULL),
        0);
    assert_int_equal(
        sodium_hex2bin(want, 32, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                       64, NULL, &n, NULL),
        0);
    identity_from_seed(seed, &k, &s);
    assert_memory_equal(k.bytes, want, 32);
}

static void a_signature_holds(void **state)
{
    (void)state;
    struct node_key k;
    struct node_secret s;
    struct node_signature sig;
    make(1, &k, &s);
    identity_sign(&s, IDENTITY_ALIVE, "here", 4, &sig);
    assert_int_equal(identity_verify(&k, IDENTITY_ALIVE, "here", 4, &sig), 0);
    identity_sign(&s, IDENTITY_CHAIN, NULL, 0, &sig);
    assert_int_equal(identity_verify(&k, IDENTITY_CHAIN, NULL, 0, &sig), 0);
}

static void for_its_key_context_and_message_alone(void **state)
{
    (void)state;
    struct node_key k, other, none = {{0}};
    struct node_secret s, so;
    struct node_signature sig;
    make(1, &k, &s);
    make(2, &other, &so);
    for (int c = IDENTITY_ALIVE; c <= IDENTITY_CHAIN; c++) {
        identity_sign(&s, (enum identity_context)c, "here", 4, &sig);
        for (int v = IDENTITY_ALIVE; v <= IDENTITY_CHAIN; v++)
            assert_int_equal(identity_verify(&k, (enum identity_context)v, "here", 4, &sig),
                             v == c ? 0 : ERR_DENIED);
    }
    identity_sign(&s, IDENTITY_DEAD, "here", 4, &sig);
    assert_int_equal(identity_verify(&other, IDENTITY_DEAD, "here", 4, &sig), ERR_DENIED);
    assert_int_equal(identity_verify(&none, IDENTITY_DEAD, "here", 4, &sig), ERR_DENIED);
    assert_int_equal(identity_verify(&k, IDENTITY_DEAD, "hers", 4, &sig), ERR_DENIED);
    assert_int_equal(identity_verify(&k, IDENTITY_DEAD, "her", 3, &sig), ERR_DENIED);
    for (size_t bit = 0; bit < 8 * sizeof(sig); bit++) {
        struct node_signature bad = sig;
        bad.bytes[bit / 8] ^= (u8)(1 << (bit % 8));
        assert_int_equal(identity_verify(&k, IDENTITY_DEAD, "here", 4, &bad), ERR_DENIED);
    }
}

static void a_message_may_be_64_kib(void **state)
{
    (void)state;
    struct node_key k;
    struct node_secret s;
    struct node_signature sig;
    u8 *big = calloc(1, 65537);
    make(1, &k, &s);
    identity_sign(&s, IDENTITY_HEAD, big, 65536, &sig);
    assert_int_equal(identity_verify(&k, IDENTITY_HEAD, big, 65536, &sig), 0);
    assert_int_equal(identity_verify(&k, IDENTITY_HEAD, big, 65537, &sig), ERR_DENIED);
    free(big);
}

static void keys_have_an_order_and_a_name(void **state)
{
    (void)state;
    struct node_key a = {{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}}, b = a, none = {{0}};
    char text[NODE_KEY_TEXT_SIZE];
    b.bytes[31] = 1;
    assert_int_equal(node_key_compare(&a, &a), 0);
    assert_true(node_key_compare(&a, &b) < 0 && node_key_compare(&b, &a) > 0);
    assert_true(node_key_is_set(&a) && node_key_is_set(&b) && !node_key_is_set(&none));
    assert_int_equal(node_key_word(&a), 0x0123456789abcdefu);
    node_key_format(&b, text);
    assert_string_equal(text, "0123456789abcdef");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_seed_makes_one_pair),
        cmocka_unit_test(the_key_is_plain_ed25519),
        cmocka_unit_test(a_signature_holds),
        cmocka_unit_test(for_its_key_context_and_message_alone),
        cmocka_unit_test(a_message_may_be_64_kib),
        cmocka_unit_test(keys_have_an_order_and_a_name),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
