/* WWW-Authenticate as registries write it, as the RFC allows it, and as nobody should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/challenge.h"
#include "proto/err.h"

static int parse(struct challenge *c, const char *value)
{
    return challenge_parse(c, value, strlen(value));
}

static void registries_as_they_are(void **state)
{
    (void)state;
    struct challenge c;
    assert_int_equal(parse(&c, "Bearer realm=\"https://auth.docker.io/token\",service=\"registry."
                               "docker.io\",scope=\"repository:library/alpine:pull\""),
                     0);
    assert_int_equal(c.scheme, CHALLENGE_BEARER);
    assert_string_equal(c.realm, "https://auth.docker.io/token");
    assert_string_equal(c.service, "registry.docker.io");
    assert_string_equal(c.scope, "repository:library/alpine:pull");

    assert_int_equal(parse(&c, "Basic realm=\"Registry Realm\""), 0);
    assert_int_equal(c.scheme, CHALLENGE_BASIC);
    assert_string_equal(c.realm, "Registry Realm");
    assert_string_equal(c.service, "");
    assert_string_equal(c.scope, "");
}

static void form_is_free(void **state)
{
    (void)state;
    static const char *const same[] = {
        "Bearer realm=\"https://a/t\",service=\"s v\",scope=\"x,y\"",
        "bearer scope=\"x,y\" , service=\"s v\" , realm=\"https://a/t\"",
        " ,, BEARER  Realm = \"https://a/t\"\t,\tSERVICE=\"s v\",,Scope= \"x,y\" , ",
        "Bearer realm=\"https:\\/\\/a/t\",error=\"invalid_token\",service=\"s\\ v\",scope=\"x\\,y\"",
        "Bearer extra=token,realm=\"https://a/t\",service=\"s v\",scope=\"x,y\"",
    };
    for (size_t i = 0; i < countof(same); i++) {
        struct challenge c;
        if (parse(&c, same[i]) != 0)
            fail_msg("refused: %s", same[i]);
        assert_int_equal(c.scheme, CHALLENGE_BEARER);
        assert_string_equal(c.realm, "https://a/t");
        assert_string_equal(c.service, "s v");
        assert_string_equal(c.scope, "x,y");
    }
    struct challenge c;
    assert_int_equal(parse(&c, "Bearer realm=token-form,service=s,scope=\"\""), 0);
    assert_string_equal(c.realm, "token-form");
    assert_string_equal(c.service, "s");
    assert_string_equal(c.scope, "");
    assert_int_equal(parse(&c, "Basic realm=\"say \\\"hi\\\" \\\\\""), 0);
    assert_string_equal(c.realm, "say \"hi\" \\");
    assert_int_equal(parse(&c, "Basic"), 0);
    assert_int_equal(c.scheme, CHALLENGE_BASIC);
}

static void bearer_is_preferred_and_the_first_of_each(void **state)
{
    (void)state;
    static const char *const offers[] = {
        "Basic realm=\"b\", Bearer realm=\"https://a/t\"",
        "Bearer realm=\"https://a/t\", Basic realm=\"b\"",
        "Negotiate, NTLM TlRMTVNTUAAC/+AA==, Basic realm=\"b\", Bearer realm=\"https://a/t\"",
        "Bearer realm=\"https://a/t\", Bearer realm=\"https://other/t\"",
        "Digest realm=\"d\", nonce=\"n,x\", Bearer realm=\"https://a/t\"",
        "Bearer, Bearer realm=\"https://a/t\"", /* the first names no token server */
        "Bearer abc==, Bearer realm=\"https://a/t\"",
        "Basic, Bearer realm=\"https://a/t\", Newer x=1",
    };
    for (size_t i = 0; i < countof(offers); i++) {
        struct challenge c;
        if (parse(&c, offers[i]) != 0 || c.scheme != CHALLENGE_BEARER)
            fail_msg("not taken as Bearer: %s", offers[i]);
        assert_string_equal(c.realm, "https://a/t");
        assert_string_equal(c.service, "");
    }
    struct challenge c;
    assert_int_equal(parse(&c, "Bearer error=\"x\", Basic realm=\"first\", Basic realm=\"2\""), 0);
    assert_int_equal(c.scheme, CHALLENGE_BASIC);
    assert_string_equal(c.realm, "first");
}

static void nothing_we_speak_is_not_found(void **state)
{
    (void)state;
    static const char *const none[] = {"",
                                       "  ",
                                       ",,",
                                       "Negotiate",
                                       "Negotiate abc=",
                                       "Digest realm=\"d\", qop=auth",
                                       "Bearer",
                                       "Bearer abc",
                                       "Bearer scope=\"x\"",
                                       "Bearer realm=\"\"",
                                       "Bearers realm=x"};
    for (size_t i = 0; i < countof(none); i++) {
        struct challenge c, nothing = {0};
        memset(&c, 0xff, sizeof c);
        if (parse(&c, none[i]) != ERR_NOTFOUND)
            fail_msg("not ERR_NOTFOUND: %s", none[i]);
        assert_memory_equal(&c, &nothing, sizeof c);
    }
    struct challenge c;
    assert_int_equal(challenge_parse(&c, NULL, 0), ERR_NOTFOUND);
}

static void bad_syntax_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "Bearer realm=\"https://a/t",
        "Bearer realm=\"x\\",
        "Bearer realm=\"x\\\"",
        "realm=\"x\"",
        "Bearer realm=\"a\",realm=\"b\"",
        "Basic realm=\"a\",REALM=\"b\"",
        "Bearer realm=\"a\" service=\"b\"",
        "Bearer realm=\"a\"x",
        "Bearer realm=https://a/t",
        "Bearer realm=\"a\", =\"b\"",
        "=",
        "\"Bearer\"",
        "Bearer: realm=\"x\"",
        "Bearer realm \"x\"",
        "Bearer realm=\"a\x01\"",
        "Bearer realm=\"a\r\nX: y\"",
        "Bearer realm=\"a\x7f\"",
        "Bearer realm=\"a\",service=",
        "Bearer realm=\"a\";scope=\"x\"",
        "Bearer\x01realm=\"x\"",
        "Basic realm=\"x\", (comment)",
        "Bearer realm=\"a\", Digest \"x\"",
    };
    for (size_t i = 0; i < countof(bad); i++) {
        struct challenge c, nothing = {0};
        if (parse(&c, bad[i]) != ERR_INVAL)
            fail_msg("not ERR_INVAL: %s", bad[i]);
        assert_memory_equal(&c, &nothing, sizeof c);
    }
    struct challenge c;
    assert_int_equal(challenge_parse(&c, "Basic realm=\"a\0b\"", 17), ERR_INVAL);
}

static void long_text_fits_or_is_refused(void **state)
{
    (void)state;
    char value[4096], realm[CHALLENGE_TEXT_MAX + 1];
    struct challenge c;
    memset(realm, 'r', sizeof realm);

    int len = snprintf(value, sizeof value, "Bearer realm=\"%.*s\"", CHALLENGE_TEXT_MAX - 1, realm);
    assert_int_equal(challenge_parse(&c, value, (size_t)len), 0);
    assert_int_equal(strlen(c.realm), CHALLENGE_TEXT_MAX - 1);

    len = snprintf(value, sizeof value, "Bearer realm=\"%.*s\"", CHALLENGE_TEXT_MAX, realm);
    assert_int_equal(challenge_parse(&c, value, (size_t)len), ERR_TOOBIG);
    len = snprintf(value, sizeof value, "Bearer realm=x,service=%.*s", 256, realm);
    assert_int_equal(challenge_parse(&c, value, (size_t)len), ERR_TOOBIG);
    len = snprintf(value, sizeof value, "Bearer realm=x,scope=\"%.*s\"", CHALLENGE_TEXT_MAX, realm);
    assert_int_equal(challenge_parse(&c, value, (size_t)len), ERR_TOOBIG);

    /* What is not kept may be long: another scheme's realm, a parameter nobody asks for. */
    len = snprintf(value, sizeof value, "Digest realm=\"%.*s\", Bearer realm=x, hint=\"%.*s\"",
                   CHALLENGE_TEXT_MAX, realm, CHALLENGE_TEXT_MAX, realm);
    assert_int_equal(challenge_parse(&c, value, (size_t)len), 0);
    assert_string_equal(c.realm, "x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registries_as_they_are),
        cmocka_unit_test(form_is_free),
        cmocka_unit_test(bearer_is_preferred_and_the_first_of_each),
        cmocka_unit_test(nothing_we_speak_is_not_found),
        cmocka_unit_test(bad_syntax_is_refused),
        cmocka_unit_test(long_text_fits_or_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
