/* Traces: what is read, what is refused and with which line, and who a user is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/catalog.h"
#include "sim/topology.h"
#include "sim/trace.h"

#define A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define H "time,user,repository,digest,bytes\n"

static void rows_become_layers_and_pulls(void **state)
{
    (void)state;
    static const char text[] =
        "digest,office,time,method,user,bytes,repository\r\n" B ",,1000.5,GET,ann,20,app\r\n" A
        ",,1000.5,GET,ann,10,app\r\n"
        "\r\n" B ",,1000.5,GET,bob,20,app\r\n" A ",tokyo,1002.000000001,GET,ann,10,app";
    struct trace t;
    char why[TRACE_WHY_MAX] = "";
    if (trace_read(&t, text, strlen(text), why))
        fail_msg("%s", why);
    assert_int_equal(t.n_rows, 4);
    assert_int_equal(t.n_layers, 2);
    assert_int_equal(t.n_pulls, 3);
    assert_int_equal(t.layers[0].bytes, 10); /* a before b */
    assert_int_equal(t.layers[0].digest.bytes[0], 0xaa);
    assert_true(t.rows[0] == 1 && t.rows[1] == 0 && t.rows[2] == 1 && t.rows[3] == 0);
    assert_true(t.pulls[0].n == 2 && t.pulls[0].at_ns == 0 && t.pulls[0].line == 2);
    assert_true(t.pulls[1].first == 2 && t.pulls[1].n == 1 && t.pulls[1].line == 5);
    assert_int_equal(t.pulls[2].at_ns, 1500000001);
    assert_string_equal(t.pulls[2].office, "tokyo");
    assert_true(t.pulls[0].user == t.pulls[2].user && t.pulls[0].user != t.pulls[1].user);
    trace_fini(&t);
}

static void a_pull_has_at_most_as_many_layers_as_an_image(void **state)
{
    (void)state;
    struct trace t;
    char why[TRACE_WHY_MAX] = "", *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    fputs(H, f);
    for (int i = 0; i < CATALOG_LAYERS_MAX + 1; i++)
        fprintf(f, "1,u,r,sha256:%064x,7\n", i);
    fclose(f);
    assert_int_equal(trace_read(&t, text, len, why), 0);
    assert_int_equal(t.n_pulls, 2);
    assert_true(t.pulls[0].n == CATALOG_LAYERS_MAX && t.pulls[1].n == 1);
    trace_fini(&t);
    free(text);
}

static void what_is_wrong_is_refused_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "line 1: nothing in it"},
        {"\n\n", "line 1: nothing in it"},
        {H, "line 1: nothing follows"},
        {"time,user,repository,digest\n", "line 1: the header needs"},
        {"time,user,repository,digest,bytes,time\n", "line 1: the header names a column twice"},
        {H "1,u,r," A "\n", "line 2: has fewer columns"},
        {H "x,u,r," A ",1\n", "line 2: time: expected"},
        {H "-1,u,r," A ",1\n", "line 2: time: expected"},
        {H "1.,u,r," A ",1\n", "line 2: time: expected"},
        {H "1.0000000001,u,r," A ",1\n", "line 2: time: expected"},
        {H "18446744074,u,r," A ",1\n", "line 2: time: expected"},
        {H "99999999999999999999999,u,r," A ",1\n", "line 2: time: expected"},
        {H "2,u,r," A ",1\n1.9,u,r," A ",1\n", "line 3: time goes back"},
        {H "1,u,r," A ",1\n400002,u,r," A ",1\n", "line 3: time: more than"},
        {H "1,,r," A ",1\n", "line 2: user"},
        {H "1,u,," A ",1\n", "line 2: repository"},
        {H "1,u,r,sha256:aa,1\n", "line 2: digest"},
        {H "1,u,r,,1\n", "line 2: digest"},
        {H "1,u,r," A ",0\n", "line 2: bytes"},
        {H "1,u,r," A ",17179869185\n", "line 2: bytes"},
        {H "1,u,r," A ",1e6\n", "line 2: bytes"},
        {H "1,u,r," A ",1\n\n2,u,r," A ",2\n", "line 4: bytes: the digest had another size"},
        {H "1,\"u\",r," A ",1\n", "line 2: control characters and quotes"},
        {H "1,u\t,r," A ",1\n", "line 2: control characters and quotes"},
        {"time,user,repository,digest,bytes,office\n1,u,r," A
         ",1,0123456789012345678901234567890123456789\n",
         "line 2: office"},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        struct trace t;
        char why[TRACE_WHY_MAX] = "";
        if (trace_read(&t, rows[i].text, strlen(rows[i].text), why) == 0 ||
            !strstr(why, rows[i].says))
            fail_msg("row %zu: '%s' instead of '%s'", i, why, rows[i].says);
        assert_null(t.pulls);
    }
}

static void too_much_is_refused(void **state)
{
    (void)state;
    struct trace t;
    char why[TRACE_WHY_MAX] = "", *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    fprintf(f, H "%05000d,u,r," A ",1\n", 1);
    fclose(f);
    assert_int_equal(trace_read(&t, text, len, why), ERR_TOOBIG);
    assert_non_null(strstr(why, "line 2: longer"));
    free(text);
    f = open_memstream(&text, &len);
    for (int i = 0; i < TRACE_COLUMNS_MAX; i++)
        fputc(',', f);
    fclose(f);
    assert_int_equal(trace_read(&t, text, len, why), ERR_TOOBIG);
    assert_non_null(strstr(why, "line 1: more than"));
    free(text);
    f = open_memstream(&text, &len);
    fputs(H, f);
    for (int i = 0; i < TRACE_ROWS_MAX + 1; i++)
        fputs("1,u,r," A ",1\n", f);
    fclose(f);
    assert_int_equal(trace_read(&t, text, len, why), ERR_TOOBIG);
    assert_non_null(strstr(why, "line 1000002: more than"));
    free(text);
}

static void a_user_is_always_the_same_node(void **state)
{
    (void)state;
    struct topology places;
    topology_default(&places, 100, 4, 0);
    struct trace_pull p = {.user = 0x123456789abcdef0}, q = p;
    assert_int_equal(scenario_trace_node(&places, &p), scenario_trace_node(&places, &q));
    snprintf(p.office, sizeof(p.office), "office-3");
    for (u64 user = 0; user < 1000; user++) {
        p.user = user;
        assert_int_equal(topology_place(&places, scenario_trace_node(&places, &p)).office, 2);
    }
    char why[256] = "";
    struct trace t = {.pulls = &p, .n_pulls = 1};
    assert_int_equal(scenario_trace_check(&t, &places, why), 0);
    p.line = 17;
    snprintf(p.office, sizeof(p.office), "mars");
    assert_int_equal(scenario_trace_check(&t, &places, why), ERR_INVAL);
    assert_non_null(strstr(why, "line 17: office"));
    topology_fini(&places);
}

/* The mesh hears of the digests that stand in the file. */
static void the_catalogue_is_the_files(void **state)
{
    (void)state;
    static const char text[] = H "1,u,r," B ",20\n1,u,r," A ",10\n3,u,r," A ",10\n";
    struct trace t;
    struct catalog c;
    struct knobs k;
    struct rng r;
    struct digest d;
    char why[TRACE_WHY_MAX] = "";
    assert_int_equal(trace_read(&t, text, strlen(text), why), 0);
    knobs_init(&k);
    rng_seed(&r, 1);
    catalog_init(&c, &k, &r);
    catalog_take_trace(&c, &t);
    assert_int_equal(c.n_images, 2);
    assert_int_equal(c.images[0].n, 2);
    catalog_digest(&c, c.layers[c.images[0].first], &d);
    assert_true(d.alg == DIGEST_SHA256 && d.bytes[31] == 0xbb);
    assert_int_equal(catalog_bytes(&c, c.layers[c.images[0].first]), 20);
    assert_int_equal(c.layers[c.images[1].first], c.layers[c.images[0].first + 1]);
    catalog_fini(&c);
    trace_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_become_layers_and_pulls),
        cmocka_unit_test(a_pull_has_at_most_as_many_layers_as_an_image),
        cmocka_unit_test(what_is_wrong_is_refused_with_its_line),
        cmocka_unit_test(too_much_is_refused),
        cmocka_unit_test(a_user_is_always_the_same_node),
        cmocka_unit_test(the_catalogue_is_the_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
