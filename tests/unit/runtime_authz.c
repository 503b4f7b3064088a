/* runtime_authz.c - tests of runtime/authz.h: two facts make a permission, each for its time, and
 * nothing widens it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "proto/limits.h"
#include "runtime/authz.h"

#define TTL   60000
#define GRACE 300000
#define NOW   1700000000000ull /* Unix time, ms */

static struct authz *authz;
static struct authz_user alice, bob, nobody;
static struct digest blob, other_blob;

static struct authz_user user(const char *value)
{
    struct authz_user u;
    authz_user(authz, value, value ? strlen(value) : 0, &u);
    return u;
}

static void begin(u64 ttl, u64 grace)
{
    assert_true(sodium_init() >= 0);
    assert_int_equal(authz_new(&authz, ttl, grace), 0);
    alice = user("Basic YWxpY2U6cHc=");
    bob = user("Basic Ym9iOnB3");
    nobody = user(NULL);
    blob = (struct digest){.alg = DIGEST_SHA256, .bytes = {1}};
    other_blob = (struct digest){.alg = DIGEST_SHA256, .bytes = {2}};
}

static enum authz_answer check(const struct authz_user *u, const char *upstream, const char *repo,
                               const struct digest *d, u64 now)
{
    return authz_check(authz, u, upstream, repo, d, now);
}

/* --- the two-part rule ------------------------------------------------------------------------ */

static void test_both_facts_are_needed(void **state)
{
    (void)state;
    begin(TTL, 0);
    assert_int_equal(check(&alice, "reg", "team/app", &blob, NOW), AUTHZ_UNKNOWN);
    authz_grant_right(authz, &alice, "reg", "team/app", NOW);
    assert_int_equal(check(&alice, "reg", "team/app", &blob, NOW), AUTHZ_UNKNOWN);
    assert_int_equal(authz_check_right(authz, &alice, "reg", "team/app", NOW), AUTHZ_GRANTED);
    authz_note_member(authz, "reg", "team/app", &blob, NOW);
    assert_int_equal(check(&alice, "reg", "team/app", &blob, NOW), AUTHZ_GRANTED);
    authz_del(authz);
    begin(TTL, 0);
    authz_note_member(authz, "reg", "team/app", &blob, NOW);
    assert_int_equal(check(&alice, "reg", "team/app", &blob, NOW), AUTHZ_UNKNOWN);
    authz_del(authz);
    authz_del(NULL);
}

static void test_a_permission_is_for_exactly_one_thing(void **state)
{
    (void)state;
    begin(TTL, GRACE);
    authz_grant_right(authz, &alice, "reg", "team/app", NOW);
    authz_note_member(authz, "reg", "team/app", &blob, NOW);
    assert_int_equal(check(&bob, "reg", "team/app", &blob, NOW), AUTHZ_UNKNOWN);
    assert_int_equal(check(&nobody, "reg", "team/app", &blob, NOW), AUTHZ_UNKNOWN);
    assert_int_equal(check(&alice, "reg2", "team/app", &blob, NOW), AUTHZ_UNKNOWN);
    assert_int_equal(check(&alice, "reg", "team/app2", &blob, NOW), AUTHZ_UNKNOWN);
    assert_int_equal(check(&alice, "reg", "team/app", &other_blob, NOW), AUTHZ_UNKNOWN);
    struct digest longer = blob;
    longer.alg = DIGEST_SHA512;
    assert_int_equal(check(&alice, "reg", "team/app", &longer, NOW), AUTHZ_UNKNOWN);
    /* Names do not run into each other. */
    assert_int_equal(check(&alice, "regteam", "/app", &blob, NOW), AUTHZ_UNKNOWN);
    authz_grant_right(authz, &alice, "a", "bc", NOW);
    assert_int_equal(authz_check_right(authz, &alice, "ab", "c", NOW), AUTHZ_UNKNOWN);
    /* A right elsewhere and a member here do not add up. */
    authz_note_member(authz, "reg", "private/app", &other_blob, NOW);
    assert_int_equal(check(&alice, "reg", "private/app", &other_blob, NOW), AUTHZ_UNKNOWN);
    assert_int_equal(check(&alice, "reg", "team/app", &other_blob, NOW), AUTHZ_UNKNOWN);
    authz_del(authz);
}

static void test_users_are_told_apart(void **state)
{
    (void)state;
    begin(TTL, 0);
    struct authz_user again = user("Basic YWxpY2U6cHc="), scheme = user("Bearer YWxpY2U6cHc="),
                      empty = user("");
    assert_memory_equal(again.id, alice.id, AUTHZ_ID_SIZE);
    assert_memory_not_equal(bob.id, alice.id, AUTHZ_ID_SIZE);
    assert_memory_not_equal(scheme.id, alice.id, AUTHZ_ID_SIZE);
    assert_memory_equal(empty.id, nobody.id, AUTHZ_ID_SIZE);
    static const u8 zero[AUTHZ_ID_SIZE];
    assert_memory_equal(nobody.id, zero, AUTHZ_ID_SIZE);
    assert_true(alice.expires_ms == UINT64_MAX && nobody.expires_ms == UINT64_MAX);
    struct authz *second; /* its key is another one: nothing can be looked up in advance */
    struct authz_user there;
    assert_int_equal(authz_new(&second, TTL, 0), 0);
    authz_user(second, "Basic YWxpY2U6cHc=", 18, &there);
    assert_memory_not_equal(there.id, alice.id, AUTHZ_ID_SIZE);
    authz_del(second);
    authz_del(authz);
}

/* --- time ------------------------------------------------------------------------------------- */

static void test_ttl_and_grace(void **state)
{
    (void)state;
    begin(TTL, GRACE);
    authz_grant_right(authz, &alice, "reg", "team/app", NOW);
    authz_note_member(authz, "reg", "team/app", &blob, NOW + 10000);
    static const struct {
        u64 after;
        enum authz_answer answer;
    } times[] = {
        {10000, AUTHZ_GRANTED},
        {TTL - 1, AUTHZ_GRANTED},
        {TTL, AUTHZ_GRACE}, /* the right has ended, the member not yet: the weaker counts */
        {TTL + 9999, AUTHZ_GRACE},
        {TTL + 10000, AUTHZ_GRACE},
        {TTL + GRACE - 1, AUTHZ_GRACE},
        {TTL + GRACE, AUTHZ_UNKNOWN},
        {TTL + GRACE + 10000, AUTHZ_UNKNOWN},
    };
    for (size_t i = 0; i < countof(times); i++)
        assert_int_equal(check(&alice, "reg", "team/app", &blob, NOW + times[i].after),
                         times[i].answer);
    authz_grant_right(authz, &alice, "reg", "team/app", NOW + TTL + 5000); /* renewed */
    authz_note_member(authz, "reg", "team/app", &blob, NOW + TTL + 5000);
    assert_int_equal(check(&alice, "reg", "team/app", &blob, NOW + 2 * TTL), AUTHZ_GRANTED);
    authz_del(authz);
}

static void test_without_grace(void **state)
{
    (void)state;
    begin(TTL, 0);
    authz_grant_right(authz, &alice, "reg", "team/app", NOW);
    authz_note_member(authz, "reg", "team/app", &blob, NOW);
    assert_int_equal(check(&alice, "reg", "team/app", &blob, NOW + TTL - 1), AUTHZ_GRANTED);
    assert_int_equal(check(&alice, "reg", "team/app", &blob, NOW + TTL), AUTHZ_UNKNOWN);
    authz_del(authz);
}

static void test_without_ttl_nothing_is_remembered(void **state)
{
    (void)state;
    begin(0, GRACE);
    authz_grant_right(authz, &alice, "reg", "team/app", NOW);
    authz_note_member(authz, "reg", "team/app", &blob, NOW);
    assert_int_equal(check(&alice, "reg", "team/app", &blob, NOW), AUTHZ_UNKNOWN);
    authz_del(authz);
}

/* --- tokens that end -------------------------------------------------------------------------- */

/* `before`, the claims in base64, `after`: "Bearer header." and ".signature" make a token. */
static struct authz_user bearer(const char *claims, const char *before, const char *after)
{
    char payload[4096], value[8192];
    sodium_bin2base64(payload, sizeof(payload), (const u8 *)claims, strlen(claims),
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    snprintf(value, sizeof(value), "%s%s%s", before, payload, after);
    return user(value);
}

#define TOKEN "Bearer aGVhZA.", ".c2ln"

static void test_a_token_s_end_shortens(void **state)
{
    (void)state;
    begin(TTL, GRACE);
    struct authz_user u = bearer("{\"sub\":\"a\",\"exp\":1700000030}", TOKEN);
    assert_int_equal(u.expires_ms, NOW + 30000);
    authz_grant_right(authz, &u, "reg", "team/app", NOW);
    authz_note_member(authz, "reg", "team/app", &blob, NOW);
    assert_int_equal(check(&u, "reg", "team/app", &blob, NOW + 29999), AUTHZ_GRANTED);
    /* Not even in grace: the registry would refuse it. */
    assert_int_equal(check(&u, "reg", "team/app", &blob, NOW + 30000), AUTHZ_UNKNOWN);
    u = bearer("{\"exp\":1700009999}", TOKEN); /* a far end lengthens nothing */
    authz_grant_right(authz, &u, "reg", "team/app", NOW);
    assert_int_equal(check(&u, "reg", "team/app", &blob, NOW + TTL - 1), AUTHZ_GRANTED);
    assert_int_equal(check(&u, "reg", "team/app", &blob, NOW + TTL), AUTHZ_GRACE);
    u = bearer("{\"exp\":1699999999}", TOKEN); /* ended before it was granted */
    authz_grant_right(authz, &u, "reg", "team/app", NOW);
    assert_int_equal(check(&u, "reg", "team/app", &blob, NOW), AUTHZ_UNKNOWN);
    authz_del(authz);
}

static void test_ends_of_tokens(void **state)
{
    (void)state;
    begin(TTL, 0);
    static const struct {
        const char *claims;
        u64 expires_ms;
    } cases[] = {
        {"{\"exp\":1700000030}", 1700000030000},
        {"{\"exp\":1700000030.5}", 1700000030500},
        {"{\"exp\":0}", 0},
        {"{\"exp\":-5}", 0},
        {"{\"exp\":-1e300}", 0},
        {"{\"exp\":1e300}", UINT64_MAX},
        {"{\"exp\":9223372036854775807}", UINT64_MAX},
        /* not a number, not there, not claims: it has no end that we know of */
        {"{\"exp\":\"1700000030\"}", UINT64_MAX},
        {"{\"exp\":null}", UINT64_MAX},
        {"{\"nbf\":5}", UINT64_MAX},
        {"{}", UINT64_MAX},
        {"[]", UINT64_MAX},
        {"[1700000030]", UINT64_MAX},
        {"5", UINT64_MAX},
        {"rubbish", UINT64_MAX},
        {"{\"exp\":1,\"exp\":2}", UINT64_MAX},
        {"{\"exp\":1e999}", UINT64_MAX},
        {"\xff\xfe", UINT64_MAX},
        {"", UINT64_MAX},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct authz_user u = bearer(cases[i].claims, TOKEN);
        if (u.expires_ms != cases[i].expires_ms)
            fail_msg("%s: %llu", cases[i].claims, (unsigned long long)u.expires_ms);
    }
    static const char *const around[][2] = {
        {"Bearer ", ""},    {"Bearer .", ""},     {"Bearer a.", ""},
        {"Bearer a", ".b"}, {"Bearer a.", "=.b"}, {"Bearer a.*.", ""},
        {"Basic a.", ".b"}, {"Bearera.", ".b"},   {"Bearer", ".a.b"},
    };
    for (size_t i = 0; i < countof(around); i++) {
        struct authz_user u = bearer("{\"exp\":5}", around[i][0], around[i][1]);
        if (u.expires_ms != UINT64_MAX)
            fail_msg("%s%s", around[i][0], around[i][1]);
    }
    static const char *const short_ones[] = {"Bearer",    "Bearer ",    "Bearer .",
                                             "Bearer ..", "Bearer ...", "."};
    for (size_t i = 0; i < countof(short_ones); i++)
        assert_true(user(short_ones[i]).expires_ms == UINT64_MAX);
    assert_int_equal(bearer("{\"exp\":5}", "bearer   a.", ".b").expires_ms, 5000);
    assert_int_equal(bearer("{\"exp\":5}", "BEARER a.", ".b.c").expires_ms, 5000);
    authz_del(authz);
}

static void test_an_overlong_token(void **state)
{
    (void)state;
    size_t len = 40000;
    begin(TTL, 0);
    char *value = malloc(len + 1);
    assert_non_null(value);
    memset(value, 'A', len);
    memcpy(value, "Bearer a.", 9);
    value[len - 2] = '.';
    value[len] = '\0';
    struct authz_user u = user(value);
    assert_true(u.expires_ms == UINT64_MAX);
    free(value);
    authz_del(authz);
}

/* --- bounds ----------------------------------------------------------------------------------- */

static void test_tables_are_bounded(void **state)
{
    (void)state;
    unsigned n = LIMIT_AUTHZ_ENTRIES + LIMIT_AUTHZ_ENTRIES / 2, found = 0;
    char repo[32];
    begin(TTL, 0);
    for (unsigned i = 0; i < n; i++) {
        snprintf(repo, sizeof(repo), "r/%u", i);
        authz_grant_right(authz, &alice, "reg", repo, NOW + i / 100);
    }
    for (unsigned i = 0; i < n; i++) {
        snprintf(repo, sizeof(repo), "r/%u", i);
        found += authz_check_right(authz, &alice, "reg", repo, NOW + n / 100) == AUTHZ_GRANTED;
        if (i == n - 1) /* the newest is there: what ends first made room */
            assert_int_equal(authz_check_right(authz, &alice, "reg", repo, NOW + n / 100),
                             AUTHZ_GRANTED);
    }
    assert_true(found <= LIMIT_AUTHZ_ENTRIES);
    assert_true(found > LIMIT_AUTHZ_ENTRIES * 3 / 4);
    authz_del(authz);
}

/* --- labels ----------------------------------------------------------------------------------- */

static void label(const char *value, char out[17])
{
    static const u8 key[32] = "a key that is kept with a store";
    authz_user_label(key, value, value ? strlen(value) : 0, out);
}

static void expect_same(const char *a, const char *b, bool same)
{
    char x[17], y[17];
    label(a, x);
    label(b, y);
    if ((strcmp(x, y) == 0) != same)
        fail_msg("%s and %s: %s and %s", a, b, x, y);
}

/* A token, as some registries take it in a password's place. */
static void test_a_name_before_a_long_password(void **state)
{
    (void)state;
    static char plain[8000], value[12000] = "Basic ";
    u8 name[64];
    begin(TTL, 0);
    for (size_t n = 8; n < sizeof(plain); n += n < 200 ? 1 : 97) {
        memset(plain, 'x', n);
        memcpy(plain, "alice:", 6);
        sodium_bin2base64(value + 6, sizeof(value) - 6, (const u8 *)plain, n,
                          sodium_base64_VARIANT_ORIGINAL);
        expect_same("Basic YWxpY2U6cHc=", value, true);
        assert_int_equal(authz_user_name(value, strlen(value), name, sizeof(name)), 5);
        assert_memory_equal(name, "alice", 5);
    }
    memset(plain, 'x', sizeof(plain)); /* and a name that is too long is none */
    plain[100] = ':';
    sodium_bin2base64(value + 6, sizeof(value) - 6, (const u8 *)plain, sizeof(plain),
                      sodium_base64_VARIANT_ORIGINAL);
    assert_int_equal(authz_user_name(value, strlen(value), name, sizeof(name)), 0);
    authz_del(authz);
}

static void test_labels(void **state)
{
    (void)state;
    char text[17];
    begin(TTL, 0);
    label(NULL, text);
    assert_string_equal(text, "anonymous");
    label("", text);
    assert_string_equal(text, "anonymous");
    label("Basic YWxpY2U6cHc=", text); /* alice:pw */
    assert_int_equal(strlen(text), 16);
    assert_int_equal(strspn(text, "0123456789abcdef"), 16);
    expect_same("Basic YWxpY2U6cHc=", "Basic YWxpY2U6b3RoZXI=", true); /* alice:other */
    expect_same("Basic YWxpY2U6cHc=", "basic  YWxpY2U6cHc=", true);
    expect_same("Basic YWxpY2U6cHc=", "Basic Ym9iOnB3", false);
    /* A token's `sub`, whichever token; alice is alice by either way. */
    expect_same("Bearer a.eyJzdWIiOiJhbGljZSJ9.b", "Bearer c.eyJzdWIiOiJhbGljZSIsImV4cCI6NX0.d",
                true);
    expect_same("Bearer a.eyJzdWIiOiJhbGljZSJ9.b", "Basic YWxpY2U6cHc=", true);
    /* Nobody is named: the whole value counts. */
    expect_same("Bearer opaque", "Bearer opaque", true);
    expect_same("Bearer opaque", "Bearer opaque2", false);
    expect_same("Basic !!!", "Basic ???", false);
    expect_same("Basic OnB3", "Basic Om90aGVy", false); /* ":pw", ":other" */
    expect_same("Basic bm9jb2xvbg==", "Basic bm8=", false);
    expect_same("Digest x", "Digest y", false);
    static const u8 other_key[32] = "another one";
    char with_other[17];
    authz_user_label(other_key, "Basic YWxpY2U6cHc=", 18, with_other);
    assert_string_not_equal(with_other, text);
    authz_del(authz);
}

static void test_sizes(void **state)
{
    (void)state;
    begin(TTL, 0);
    authz_note_size(authz, "reg", "team/app", &blob, 10); /* not a member: nothing to note it at */
    assert_true(authz_size(authz, "reg", "team/app", &blob) == UINT64_MAX);
    authz_note_member(authz, "reg", "team/app", &blob, NOW);
    assert_true(authz_size(authz, "reg", "team/app", &blob) == UINT64_MAX);
    authz_note_size(authz, "reg", "team/app", &blob, 10);
    authz_note_size(authz, "reg", "team/app", &blob, UINT64_MAX);
    assert_int_equal(authz_size(authz, "reg", "team/app", &blob), 10);
    authz_note_member(authz, "reg", "team/app", &blob, NOW + 1); /* known again: size stays */
    assert_int_equal(authz_size(authz, "reg", "team/app", &blob), 10);
    assert_true(authz_size(authz, "reg", "other/app", &blob) == UINT64_MAX);
    assert_true(authz_size(authz, "other", "team/app", &blob) == UINT64_MAX);
    assert_true(authz_size(authz, "reg", "team/app", &other_blob) == UINT64_MAX);
    authz_del(authz);
}

/* However far a clock is set back, nothing counts for longer than `ttl` by it. */
static void test_a_clock_that_is_set_back_prolongs_nothing(void **state)
{
    (void)state;
    begin(TTL, GRACE);
    authz_grant_right(authz, &alice, "reg", "team/app", NOW);
    authz_note_member(authz, "reg", "team/app", &blob, NOW);
    assert_int_equal(check(&alice, "reg", "team/app", &blob, NOW - TTL / 2), AUTHZ_UNKNOWN);
    assert_int_equal(check(&alice, "reg", "team/app", &blob, NOW - 3600000), AUTHZ_UNKNOWN);
    assert_int_equal(check(&alice, "reg", "team/app", &blob, NOW), AUTHZ_GRANTED);
    authz_grant_right(authz, &alice, "reg", "team/app", NOW - 3600000);
    authz_note_member(authz, "reg", "team/app", &blob, NOW - 3600000);
    assert_int_equal(check(&alice, "reg", "team/app", &blob, NOW - 3600000), AUTHZ_GRANTED);
    assert_int_equal(check(&alice, "reg", "team/app", &blob, NOW - 3600000 + TTL), AUTHZ_GRACE);
    authz_del(authz);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_clock_that_is_set_back_prolongs_nothing),
        cmocka_unit_test(test_both_facts_are_needed),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_a_permission_is_for_exactly_one_thing),
        cmocka_unit_test(test_users_are_told_apart),
        cmocka_unit_test(test_ttl_and_grace),
        cmocka_unit_test(test_without_grace),
        cmocka_unit_test(test_without_ttl_nothing_is_remembered),
        cmocka_unit_test(test_a_token_s_end_shortens),
        cmocka_unit_test(test_ends_of_tokens),
        cmocka_unit_test(test_an_overlong_token),
        cmocka_unit_test(test_tables_are_bounded),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_a_name_before_a_long_password),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
