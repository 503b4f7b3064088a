/* tracker_grants.c - tests of tracker/grants.h: tickets that nodes take, keys that rotate, what is
 * kept and forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sodium.h>

#include "runtime/authz.h"
#include "tests/unit/remove_tree.h"
#include "tracker/grants.h"

static char dir[64], file[96];

static void write_key(const char *first, const char *second)
{
    u8 public[32], secret[64];
    char text[128];
    FILE *f = fopen(file, "we");
    const char *ids[] = {first, second};
    assert_non_null(f);
    for (int i = 0; i < 2 && ids[i]; i++) {
        u8 seed[32] = {(u8)ids[i][0]};
        crypto_sign_seed_keypair(public, secret, seed);
        sodium_bin2base64(text, sizeof(text), secret, 64, sodium_base64_VARIANT_ORIGINAL);
        fprintf(f, "%s:%s\n", ids[i], text);
    }
    fclose(f);
    assert_int_equal(chmod(file, 0600), 0);
}

static int begin(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/dray-grants-XXXXXX");
    if (sodium_init() < 0 || !mkdtemp(dir))
        return 1;
    snprintf(file, sizeof(file), "%s/ticket.key", dir);
    write_key("a", NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    return remove_tree(dir);
}

static struct ticket wish(u8 user)
{
    struct ticket t = {.user = {user},
                       .upstream = "r.test",
                       .repository = "team/app",
                       .digest = {.alg = DIGEST_SHA256, .bytes = {5}},
                       .size = 7,
                       .node = {.bytes = {3}},
                       .tracker = {.bytes = {4}}};
    return t;
}

static enum ticket_verdict check(const struct grants *g, const char *text, u64 now_ms)
{
    struct ticket t = wish(1), out;
    struct ticket_wanted w = {
        .node = &t.node, .repository = t.repository, .digest = &t.digest, .now_s = now_ms / 1000};
    return grants_check(g, text, strlen(text), &w, &out);
}

static void tickets_and_keys(void **state)
{
    struct grants *g;
    char why[CONF_WHY_MAX] = "", first[TICKET_TEXT_SIZE];
    u64 now = 1700000000000;
    struct ticket t = wish(1);
    (void)state;
    assert_int_equal(grants_new(&g, file, 60000, why), 0);
    snprintf(first, sizeof(first), "%s", grants_ticket(g, &t, now));
    assert_int_equal(check(g, first, now), TICKET_VALID);
    assert_true(t.exp_s - t.iat_s == TICKET_LIFE_S);
    t = wish(1);
    assert_string_equal(grants_ticket(g, &t, now + 29999), first); /* for half its life */
    t = wish(1);
    assert_string_not_equal(grants_ticket(g, &t, now + 30000), first);
    t = wish(2);
    assert_string_not_equal(grants_ticket(g, &t, now), first);

    write_key("b", "a"); /* another signs; the old one is still known */
    assert_int_equal(grants_reload(g, why), 0);
    t = wish(1);
    const char *fresh = grants_ticket(g, &t, now);
    assert_string_not_equal(fresh, first);
    assert_int_equal(check(g, fresh, now), TICKET_VALID);
    assert_int_equal(check(g, first, now), TICKET_VALID);
    FILE *f = fopen(file, "we");
    fputs("nonsense\n", f);
    fclose(f);
    assert_int_not_equal(grants_reload(g, why), 0);
    assert_non_null(strstr(why, "ticket"));
    assert_int_equal(check(g, first, now), TICKET_VALID); /* what was stays */
    write_key("b", NULL);
    assert_int_equal(grants_reload(g, why), 0);
    assert_int_equal(check(g, first, now), TICKET_UNKNOWN_KEY);
    grants_del(g);
    grants_del(NULL);
}

static void what_is_kept(void **state)
{
    struct grants *g;
    char why[CONF_WHY_MAX], name[64];
    u8 alice[TICKET_USER_BYTES], again[TICKET_USER_BYTES], nobody[TICKET_USER_BYTES];
    static const char basic[] = "Basic YWxpY2U6c2VjcmV0", other[] = "Basic YWxpY2U6b3RoZXI=";
    (void)state;
    assert_int_equal(grants_new(&g, file, 60000, why), 0);
    grants_user(g, basic, strlen(basic), alice, name, sizeof(name));
    assert_string_equal(name, "alice");
    grants_user(g, other, strlen(other), again, name, sizeof(name));
    assert_memory_equal(alice, again, sizeof(alice)); /* the name counts, not the password */
    grants_user_of_name(g, "alice", again);
    assert_memory_equal(alice, again, sizeof(alice));
    grants_user(g, NULL, 0, nobody, name, sizeof(name));
    assert_string_equal(name, "");
    assert_null(grants_authorization(g, alice, "team/app", 0));
    assert_true(grants_keep(g, alice, "team/app", basic, 1000)); /* worth telling other trackers */
    assert_false(grants_keep(g, alice, "team/app", basic, 1000));
    assert_string_equal(grants_authorization(g, alice, "team/app", 60999), basic);
    assert_null(grants_authorization(g, alice, "team/other", 2000));
    assert_null(grants_authorization(g, nobody, "team/app", 2000));
    assert_null(grants_authorization(g, alice, "team/app", 61000));
    assert_true(grants_keep(g, alice, "team/app", basic, 31000)); /* half its time is over */
    assert_true(grants_keep(g, alice, "team/app", other, 31000));
    assert_true(grants_keep(g, alice, "team/app", basic, 1000));
    assert_true(grants_keep(g, nobody, "team/app", NULL, 1000));
    grants_revoke(g, alice);
    assert_null(grants_authorization(g, alice, "team/app", 1000));
    assert_string_equal(grants_authorization(g, nobody, "team/app", 1000), "");
    /* As another tracker says: never for longer than ours. */
    grants_keep_foreign(g, alice, "team/app", other, 500, 1000);
    assert_null(grants_authorization(g, alice, "team/app", 1000));
    grants_keep_foreign(g, alice, "team/app", other, 999999, 1000);
    assert_string_equal(grants_authorization(g, alice, "team/app", 60999), other);
    assert_null(grants_authorization(g, alice, "team/app", 61000));
    grants_del(g);
    assert_int_equal(grants_new(&g, file, 60000, why), 0); /* known again after a restart */
    grants_user_of_name(g, "alice", again);
    assert_memory_equal(alice, again, sizeof(alice));
    grants_del(g);
}

/* All trackers know a user by the same hash, and seal with the same keys; a key that is put first
 * changes neither the hash nor what is understood. */
static void what_trackers_share(void **state)
{
    struct grants *g, *h;
    char why[CONF_WHY_MAX];
    u8 alice[TICKET_USER_BYTES], again[TICKET_USER_BYTES];
    u8 hashes[KEYFILE_KEYS][TICKET_USER_BYTES], keys[KEYFILE_KEYS][32], before[32];
    (void)state;
    assert_int_equal(grants_new(&g, file, 60000, why), 0);
    assert_int_equal(grants_new(&h, file, 60000, why), 0);
    grants_user_of_name(g, "alice", alice);
    grants_user_of_name(h, "alice", again);
    assert_memory_equal(alice, again, sizeof(alice));
    assert_int_equal(grants_circle_keys(g, keys), 1);
    memcpy(before, keys[0], sizeof(before));
    write_key("b", "a");
    assert_int_equal(grants_reload(g, why), 0);
    grants_user_of_name(g, "alice", again);
    assert_memory_equal(alice, again, sizeof(alice));
    assert_int_equal(grants_users_of_name(g, "alice", hashes), 2);
    assert_memory_not_equal(hashes[0], alice, sizeof(alice));
    assert_memory_equal(hashes[1], alice, sizeof(alice));
    assert_int_equal(grants_circle_keys(g, keys), 2);
    assert_memory_equal(keys[1], before, sizeof(before));
    grants_del(g);
    grants_del(h);
    assert_int_equal(grants_new(&g, NULL, 60000, why), 0); /* nobody is redirected */
    assert_int_equal(grants_users_of_name(g, "alice", hashes), 1);
    assert_int_equal(grants_circle_keys(g, keys), 0);
    grants_del(g);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(tickets_and_keys), TEST(what_is_kept),
                                       TEST(what_trackers_share)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
