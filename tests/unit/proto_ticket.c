/* Tickets: what was issued is read back, and nothing else is believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "proto/ticket.h"

#define NOW 1700000000u

struct stage {
    struct ticket_signer signer;
    struct ticket_key keys[2];
    struct ticket ticket;
    struct ticket_wanted wanted;
    char text[TICKET_TEXT_SIZE];
};

static void key_pair(u8 first, const char *kid, struct ticket_signer *s, struct ticket_key *k)
{
    u8 seed[32] = {first};
    struct node_key public;
    struct node_secret secret;
    identity_from_seed(seed, &public, &secret);
    if (s) {
        memset(s, 0, sizeof(*s));
        memcpy(s->kid, kid, strlen(kid));
        memcpy(s->secret, secret.bytes, sizeof(s->secret));
    }
    memset(k, 0, sizeof(*k));
    memcpy(k->kid, kid, strlen(kid));
    memcpy(k->bytes, public.bytes, sizeof(k->bytes));
}

static void set(struct stage *s)
{
    memset(s, 0, sizeof(*s));
    key_pair(1, "old", NULL, &s->keys[0]);
    key_pair(2, "new", &s->signer, &s->keys[1]);
    s->ticket = (struct ticket){.tracker = {{7}},
                                .user = {1, 2, 3},
                                .upstream = "registry.example.org",
                                .repository = "website/ui",
                                .digest = {.alg = DIGEST_SHA256, .bytes = {0xab, 0xcd}},
                                .size = 123456789,
                                .node = {{9, 9}},
                                .iat_s = NOW,
                                .exp_s = NOW + TICKET_LIFE_S};
    s->wanted = (struct ticket_wanted){&s->ticket.node, "website/ui", &s->ticket.digest, NOW + 1};
    ticket_issue(&s->ticket, &s->signer, s->text);
}

static enum ticket_verdict check(struct stage *s, struct ticket *out)
{
    return ticket_check(s->text, strlen(s->text), s->keys, 2, &s->wanted, out);
}

static void what_was_issued_is_read_back(void **state)
{
    (void)state;
    struct stage s;
    struct ticket t;
    set(&s);
    assert_int_equal(check(&s, &t), TICKET_VALID);
    assert_string_equal(t.kid, "new");
    assert_string_equal(t.upstream, s.ticket.upstream);
    assert_string_equal(t.repository, s.ticket.repository);
    assert_memory_equal(t.user, s.ticket.user, sizeof(t.user));
    assert_true(node_key_equal(&t.tracker, &s.ticket.tracker));
    assert_true(node_key_equal(&t.node, &s.ticket.node));
    assert_true(digest_equal(&t.digest, &s.ticket.digest));
    assert_true(t.size == s.ticket.size && t.iat_s == NOW && t.exp_s == NOW + 60);
    assert_true(
        strspn(s.text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") ==
        strlen(s.text));
}

static void the_longest_fits(void **state)
{
    (void)state;
    struct stage s;
    struct ticket t;
    set(&s);
    memset(s.ticket.upstream, 'u', OCI_NS_MAX);
    memset(s.ticket.repository, 'r', OCI_NAME_MAX);
    memset(s.ticket.digest.bytes, 0xff, DIGEST_BYTES_MAX);
    s.ticket.digest.alg = DIGEST_SHA512;
    s.ticket.size = UINT64_MAX;
    s.wanted.repository = s.ticket.repository;
    memset(s.signer.kid, 'k', TICKET_KID_MAX);
    memset(s.keys[1].kid, 'k', TICKET_KID_MAX);
    assert_true(ticket_issue(&s.ticket, &s.signer, s.text) < TICKET_TEXT_SIZE);
    assert_int_equal(check(&s, &t), TICKET_VALID);
    assert_true(t.size == UINT64_MAX);
}

static void one_bit_is_enough(void **state)
{
    (void)state;
    struct stage s;
    struct ticket t;
    set(&s);
    size_t len = strlen(s.text);
    for (size_t i = 0; i < len; i++) {
        char was = s.text[i];
        s.text[i] = was == 'A' ? 'B' : 'A';
        enum ticket_verdict v = check(&s, &t);
        if (v == TICKET_VALID)
            fail_msg("character %zu changed, and still valid", i);
        assert_false(node_key_is_set(&t.node));
        s.text[i] = was;
    }
    for (size_t n = 0; n < len; n++)
        assert_int_not_equal(ticket_check(s.text, n, s.keys, 2, &s.wanted, &t), TICKET_VALID);
    assert_int_equal(check(&s, &t), TICKET_VALID);
}

static void each_misuse_has_its_verdict(void **state)
{
    (void)state;
    struct stage s;
    struct ticket t;
    struct node_key other = {{1}};
    struct digest layer = {.alg = DIGEST_SHA256, .bytes = {1}};
    set(&s);
    s.wanted.node = &other;
    assert_int_equal(check(&s, &t), TICKET_OTHER_NODE);
    set(&s);
    s.wanted.digest = &layer;
    assert_int_equal(check(&s, &t), TICKET_OTHER_LAYER);
    set(&s);
    s.wanted.repository = "website/ui2";
    assert_int_equal(check(&s, &t), TICKET_OTHER_REPOSITORY);
    set(&s);
    memcpy(s.keys[1].kid, "nil", 4);
    assert_int_equal(check(&s, &t), TICKET_UNKNOWN_KEY);
    set(&s);
    memcpy(s.keys[1].bytes, s.keys[0].bytes, sizeof(s.keys[1].bytes));
    assert_int_equal(check(&s, &t), TICKET_FORGED);
}

static void clocks_may_differ_a_little(void **state)
{
    (void)state;
    static const struct {
        u64 now_s;
        enum ticket_verdict verdict;
    } rows[] = {
        {NOW - TICKET_SLACK_S - 1, TICKET_EARLY},
        {NOW - TICKET_SLACK_S, TICKET_VALID},
        {NOW + TICKET_LIFE_S + TICKET_SLACK_S - 1, TICKET_VALID},
        {NOW + TICKET_LIFE_S + TICKET_SLACK_S, TICKET_EXPIRED},
        {0, TICKET_EARLY},
        {UINT64_MAX, TICKET_EXPIRED},
    };
    struct stage s;
    struct ticket t;
    for (size_t i = 0; i < countof(rows); i++) {
        set(&s);
        s.wanted.now_s = rows[i].now_s;
        assert_int_equal(check(&s, &t), rows[i].verdict);
    }
}

static void what_is_no_ticket_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {"",     "A",        "AAAA", "not a ticket",
                                       "====", "\x80\xff", "a.b.c"};
    struct stage s;
    struct ticket t;
    set(&s);
    for (size_t i = 0; i < countof(rows); i++)
        assert_int_equal(ticket_check(rows[i], strlen(rows[i]), s.keys, 2, &s.wanted, &t),
                         TICKET_MALFORMED);
    char padded[TICKET_TEXT_SIZE + 8];
    size_t len = strlen(s.text);
    memcpy(padded, s.text, len);
    memcpy(padded + len, "AAAA", 5);
    assert_int_not_equal(ticket_check(padded, len + 4, s.keys, 2, &s.wanted, &t), TICKET_VALID);
    memset(padded, 'A', sizeof(padded));
    assert_int_equal(ticket_check(padded, sizeof(padded), s.keys, 2, &s.wanted, &t),
                     TICKET_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_issued_is_read_back),
        cmocka_unit_test(the_longest_fits),
        cmocka_unit_test(one_bit_is_enough),
        cmocka_unit_test(each_misuse_has_its_verdict),
        cmocka_unit_test(clocks_may_differ_a_little),
        cmocka_unit_test(what_is_no_ticket_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
