/* tracker_envelope.c - tests of tracker/envelope.h and tracker/logins.h: what trackers tell each
 * other opens for them alone, and says what was said. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "tracker/envelope.h"
#include "tracker/logins.h"

static struct envelope_keys one = {.keys = {{1}}, .n = 1}, both = {.keys = {{2}, {1}}, .n = 2},
                            other = {.keys = {{3}}, .n = 1};
static const struct envelope_sender me = {.id = {7}, .boot = {8}};
static u8 sealed[ENVELOPE_MAX], out[ENVELOPE_MAX], copy[ENVELOPE_MAX];

static void what_is_sealed_opens(void **state)
{
    struct envelope_sender from;
    u8 nonce[ENVELOPE_NONCE], seen[ENVELOPE_NONCE];
    size_t n;
    (void)state;
    size_t len = envelope_seal(&one, &me, NULL, "hello", 5, sealed, nonce);
    assert_int_equal(len, 5 + ENVELOPE_OVERHEAD);
    assert_int_equal(envelope_open(&both, NULL, sealed, len, &from, out, &n, seen), 0);
    assert_true(n == 5 && memcmp(out, "hello", 5) == 0);
    assert_memory_equal(&from, &me, sizeof(me));
    assert_memory_equal(seen, nonce, sizeof(nonce));
    assert_int_equal(envelope_open(&other, NULL, sealed, len, &from, out, &n, seen), ERR_DENIED);
    /* A request is no answer, nor the answer to another request. */
    assert_int_equal(envelope_open(&one, nonce, sealed, len, &from, out, &n, NULL), ERR_DENIED);
    len = envelope_seal(&one, &me, nonce, "", 0, sealed, NULL);
    assert_int_equal(envelope_open(&one, nonce, sealed, len, &from, out, &n, NULL), 0);
    assert_int_equal(n, 0);
    assert_int_equal(envelope_open(&one, NULL, sealed, len, &from, out, &n, NULL), ERR_DENIED);
    nonce[3] ^= 1;
    assert_int_equal(envelope_open(&one, nonce, sealed, len, &from, out, &n, NULL), ERR_DENIED);
}

static void what_is_altered_does_not(void **state)
{
    struct envelope_sender from;
    size_t n, len = envelope_seal(&one, &me, NULL, "profile", 7, sealed, NULL);
    (void)state;
    for (size_t i = 0; i < len; i++) {
        memcpy(copy, sealed, len);
        copy[i] ^= 0x10;
        assert_int_equal(envelope_open(&one, NULL, copy, len, &from, out, &n, NULL),
                         i == 0 ? ERR_UNSUPPORTED : ERR_DENIED);
        assert_int_equal(envelope_open(&one, NULL, sealed, i, &from, out, &n, NULL), ERR_DENIED);
    }
    assert_int_equal(envelope_open(&one, NULL, sealed, len + 1, &from, out, &n, NULL), ERR_DENIED);
}

static void the_largest_fits(void **state)
{
    static u8 message[LEDGER_BYTES_MAX];
    struct envelope_sender from;
    size_t n, len;
    (void)state;
    memset(message, 5, sizeof(message));
    len = envelope_seal(&one, &me, NULL, message, sizeof(message), sealed, NULL);
    assert_int_equal(len, ENVELOPE_MAX);
    assert_int_equal(envelope_open(&one, NULL, sealed, len, &from, out, &n, NULL), 0);
    assert_int_equal(n, sizeof(message));
    assert_memory_equal(out, message, n);
}

static void logins_are_read_back(void **state)
{
    static u8 message[LEDGER_BYTES_MAX];
    static char value[LOGINS_AUTH_MAX];
    struct logins_out o;
    struct logins_in in;
    struct kept_login l = {.user = {1},
                           .repository = "team/app",
                           .authorization = "Basic x",
                           .authorization_len = 7,
                           .until_ms = 99},
                      back;
    (void)state;
    logins_begin(&o, message);
    assert_true(logins_add(&o, &l));
    l.authorization_len = 0; /* the anonymous */
    assert_true(logins_add(&o, &l));
    size_t len = logins_end(&o);
    assert_int_equal(ledger_talk_type(message, len), 0); /* it is none of the ledger's */
    assert_int_equal(logins_read(&in, message, len), 0);
    assert_true(logins_next(&in, &back));
    assert_true(back.authorization_len == 7 && memcmp(back.authorization, "Basic x", 7) == 0);
    assert_true(back.until_ms == 99 && strcmp(back.repository, "team/app") == 0);
    assert_true(logins_next(&in, &back) && back.authorization_len == 0);
    assert_false(logins_next(&in, &back));
    for (size_t cut = 0; cut < len; cut++) {
        size_t n = 0;
        if (logins_read(&in, message, cut) == 0)
            while (logins_next(&in, &back))
                n++;
        assert_true(n < 2);
    }
    /* As many as fit. */
    memset(value, 'a', sizeof(value));
    l.authorization = value;
    l.authorization_len = sizeof(value);
    logins_begin(&o, message);
    unsigned n = 0;
    while (logins_add(&o, &l))
        n++;
    assert_int_equal(n, 3);
    assert_true(logins_end(&o) <= LEDGER_BYTES_MAX);
    l.authorization_len = 5;
    logins_begin(&o, message);
    for (n = 0; logins_add(&o, &l); n++)
        ;
    assert_int_equal(n, LOGINS_MAX);
    /* What could not have been a header, or a repository, is not taken. */
    const char *bad[] = {"Basic \nx", "Basic \x7fx"};
    for (size_t i = 0; i < countof(bad); i++) {
        l.authorization = bad[i];
        l.authorization_len = 8;
        logins_begin(&o, message);
        assert_true(logins_add(&o, &l));
        assert_int_equal(logins_read(&in, message, logins_end(&o)), 0);
        assert_false(logins_next(&in, &back));
    }
    l.authorization_len = 0;
    memcpy(l.repository, "../up", 6);
    logins_begin(&o, message);
    assert_true(logins_add(&o, &l));
    assert_int_equal(logins_read(&in, message, logins_end(&o)), 0);
    assert_false(logins_next(&in, &back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_sealed_opens),
        cmocka_unit_test(what_is_altered_does_not),
        cmocka_unit_test(the_largest_fits),
        cmocka_unit_test(logins_are_read_back),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
