/* node_tickets.c - tests of node/tickets.h: keys from a file, the ticket in a query, revocations.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <sodium.h>

#include "node/tickets.h"

#define NOW 1700000000u

static char file[] = "/tmp/dray-unit-tickets-XXXXXX";
static struct metrics *metrics;
static struct ticket_signer signers[2];
static char lines[2][96]; /* of a tracker_key file */

static void write_file(const char *text)
{
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int open_all(void **state)
{
    (void)state;
    assert_true(sodium_init() >= 0);
    close(mkstemp(file));
    for (size_t i = 0; i < 2; i++) {
        u8 seed[32] = {(u8)(i + 1)};
        struct node_key public;
        struct node_secret secret;
        char base64[64];
        identity_from_seed(seed, &public, &secret);
        snprintf(signers[i].kid, sizeof(signers[i].kid), "k%zu", i);
        memcpy(signers[i].secret, secret.bytes, sizeof(signers[i].secret));
        sodium_bin2base64(base64, sizeof(base64), public.bytes, sizeof(public.bytes),
                          sodium_base64_VARIANT_ORIGINAL);
        snprintf(lines[i], sizeof(lines[i]), "k%zu:%s\n", i, base64);
    }
    return metrics_new(&metrics);
}

static int close_all(void **state)
{
    (void)state;
    metrics_del(metrics);
    unlink(file);
    return 0;
}

static struct tickets *open_tickets(void)
{
    struct tickets *t;
    char why[CONF_WHY_MAX] = "";
    assert_int_equal(tickets_new(&t, file, metrics, why), 0);
    return t;
}

static enum ticket_verdict check(struct tickets *t, const struct ticket_signer *s, u8 user, u64 iat)
{
    char text[TICKET_TEXT_SIZE];
    struct ticket out, given = {.user = {user},
                                .upstream = "u",
                                .repository = "team/app",
                                .digest = {.alg = DIGEST_SHA256},
                                .node = {{9}},
                                .iat_s = iat,
                                .exp_s = iat + TICKET_LIFE_S};
    struct ticket_wanted wanted = {&given.node, "team/app", &given.digest, NOW};
    size_t len = ticket_issue(&given, s, text);
    enum ticket_verdict v = tickets_check(t, (struct http_slice){text, len}, &wanted, &out);
    assert_int_equal(node_key_is_set(&out.node), v == TICKET_VALID);
    return v;
}

static void test_keys_come_from_a_file(void **state)
{
    (void)state;
    char both[200], why[CONF_WHY_MAX] = "";
    write_file(lines[0]);
    struct tickets *t = open_tickets();
    assert_true(tickets_are_taken(t));
    assert_int_equal(check(t, &signers[0], 1, NOW), TICKET_VALID);
    assert_int_equal(check(t, &signers[1], 1, NOW), TICKET_UNKNOWN_KEY);
    snprintf(both, sizeof(both), "# two\n%s%s", lines[0], lines[1]);
    write_file(both);
    assert_int_equal(tickets_reload(t, why), 0);
    assert_int_equal(check(t, &signers[0], 1, NOW), TICKET_VALID);
    assert_int_equal(check(t, &signers[1], 1, NOW), TICKET_VALID);
    const char *const bad[] = {"", "k0:AAAA\n", "no key\n"};
    for (size_t i = 0; i < countof(bad); i++) {
        write_file(bad[i]);
        why[0] = '\0';
        assert_int_not_equal(tickets_reload(t, why), 0);
        assert_non_null(strstr(why, file));
        assert_int_equal(check(t, &signers[1], 1, NOW), TICKET_VALID); /* the old ones stay */
    }
    unlink(file);
    assert_int_equal(tickets_reload(t, why), ERR_IO);
    assert_int_equal(
        *metrics_counter(metrics, "dray_tickets_total", "verdict=\"unknown_key\"", NULL), 1);
    tickets_del(t);
    struct tickets *none;
    assert_int_equal(tickets_new(&none, file, metrics, why), ERR_IO);
    assert_int_equal(tickets_new(&none, NULL, metrics, why), 0);
    assert_false(tickets_are_taken(none));
    assert_int_equal(tickets_reload(none, why), 0);
    tickets_del(none);
}

static void test_the_ticket_in_a_query(void **state)
{
    (void)state;
    static const struct {
        const char *query, *text; /* NULL: none */
    } rows[] = {
        {"", NULL},
        {"a=b", NULL},
        {"tickets=a", NULL},
        {"xticket=a", NULL},
        {"ticket", NULL},
        {"ticket=abc", "abc"},
        {"a=b&ticket=abc", "abc"},
        {"ticket=abc&a=b", "abc"},
        {"a&&ticket=abc&", "abc"},
        {"ticket=", ""},
        {"ticket=abc&ticket=abc", ""},
        {"ticket=&x&ticket=abc", ""},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        struct http_slice s = {NULL, 99};
        assert_int_equal(tickets_find(rows[i].query, &s), rows[i].text != NULL);
        if (!rows[i].text)
            continue;
        assert_int_equal(s.n, strlen(rows[i].text));
        assert_memory_equal(s.p, rows[i].text, s.n);
    }
}

static void test_revoked(void **state)
{
    (void)state;
    write_file(lines[0]);
    struct tickets *t = open_tickets();
    struct revoke r = {.user = {1}, .until_s = NOW - 10};
    tickets_revoke(t, &r);
    assert_int_equal(check(t, &signers[0], 1, NOW - 10), TICKET_REVOKED);
    assert_int_equal(check(t, &signers[0], 1, NOW - 9), TICKET_VALID);
    assert_int_equal(check(t, &signers[0], 2, NOW - 10), TICKET_VALID);
    r.until_s = NOW - 20; /* takes nothing back */
    tickets_revoke(t, &r);
    assert_int_equal(check(t, &signers[0], 1, NOW - 10), TICKET_REVOKED);
    r.until_s = NOW;
    tickets_revoke(t, &r);
    assert_int_equal(check(t, &signers[0], 1, NOW), TICKET_REVOKED);
    /* Others crowd it out, but never beyond the bound. */
    for (u32 i = 0; i < TICKETS_REVOKED + 10; i++) {
        struct revoke other = {.until_s = NOW};
        memcpy(other.user, &i, sizeof(i));
        other.user[15] = 1;
        tickets_revoke(t, &other);
    }
    assert_int_equal(check(t, &signers[0], 1, NOW), TICKET_VALID);
    tickets_del(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_come_from_a_file),
        cmocka_unit_test(test_the_ticket_in_a_query),
        cmocka_unit_test(test_revoked),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
