/* runtime_metrics.c - tests of runtime/metrics.h: the page, byte for byte, and its bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/metrics.h"

static struct metrics *m;

static int setup(void **state)
{
    (void)state;
    return metrics_new(&m);
}

static int teardown(void **state)
{
    (void)state;
    metrics_del(m);
    m = NULL;
    return 0;
}

static char *page(void)
{
    char *text = NULL;
    size_t len = 0;

    assert_int_equal(metrics_render(m, &text, &len), 0);
    assert_int_equal(strlen(text), len);
    return text;
}

static void page_is(const char *expected)
{
    char *text = page();

    assert_string_equal(text, expected);
    free(text);
}

static double seven(void *arg)
{
    return *(double *)arg;
}

static void nothing_is_an_empty_page(void **state)
{
    (void)state;
    page_is("");
    metrics_del(NULL);
}

static void families_in_order_of_registration(void **state)
{
    double value = 7;
    u64 *b, *a200;

    (void)state;
    b = metrics_counter(m, "b_total", "", "The second letter.");
    a200 = metrics_counter(m, "a_total", "code=\"200\"", NULL);
    metrics_gauge_fn(m, "members", "state=\"alive\"", "Members.", seven, &value);
    *metrics_counter(m, "a_total", "code=\"404\"", "Line one\nand a \\ two.") = 5;
    metrics_counter_fn(m, "kept_total", "", "Kept elsewhere.", seven, &value);
    *metrics_gauge(m, "lag_seconds", "", "Lag.") = 0.25;
    *b = UINT64_MAX;
    (*a200)++;
    (*a200)++;
    value = 1099511627776.0;
    page_is("# HELP b_total The second letter.\n"
            "# TYPE b_total counter\n"
            "b_total 18446744073709551615\n"
            "# HELP a_total Line one\\nand a \\\\ two.\n"
            "# TYPE a_total counter\n"
            "a_total{code=\"200\"} 2\n"
            "a_total{code=\"404\"} 5\n"
            "# HELP members Members.\n"
            "# TYPE members gauge\n"
            "members{state=\"alive\"} 1099511627776\n"
            "# HELP kept_total Kept elsewhere.\n"
            "# TYPE kept_total counter\n"
            "kept_total 1099511627776\n"
            "# HELP lag_seconds Lag.\n"
            "# TYPE lag_seconds gauge\n"
            "lag_seconds 0.25\n");
}

static void the_same_series_is_found_again(void **state)
{
    u64 *x = metrics_counter(m, "x_total", "a=\"1\"", "X.");

    (void)state;
    for (int i = 0; i < 1000; i++) { /* pointers do not move when others come */
        char labels[32];

        snprintf(labels, sizeof(labels), "a=\"%d\"", i + 10);
        metrics_counter(m, "x_total", labels, NULL);
    }
    assert_ptr_equal(metrics_counter(m, "x_total", "a=\"1\"", NULL), x);
    assert_ptr_not_equal(metrics_counter(m, "x_total", "a=\"2\"", NULL), x);
    assert_ptr_not_equal(metrics_counter(m, "y_total", "a=\"1\"", NULL), x);
}

static void numbers_are_written_exactly(void **state)
{
    double *g = metrics_gauge(m, "g", "", NULL);
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0, "0"},
        {-3, "-3"},
        {0.1, "0.1"},
        {1.0 / 3, "0.33333333333333331"},
        {1e300, "1e+300"},
        {NAN, "NaN"},
        {INFINITY, "+Inf"},
        {-INFINITY, "-Inf"},
        {9007199254740991.0, "9007199254740991"},
    };
    char expected[128];

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        *g = cases[i].value;
        snprintf(expected, sizeof(expected), "# TYPE g gauge\ng %s\n", cases[i].text);
        page_is(expected);
    }
}

static void histograms_are_cumulative(void **state)
{
    struct histogram *h = metrics_histogram(m, "t_seconds", "from=\"peer\"", "Time.");
    struct histogram *plain;

    (void)state;
    histogram_observe(h, 0.00048828125);
    histogram_observe(h, 0.0009765625);
    histogram_observe(h, 0.25); /* an upper bound is inside its bucket */
    histogram_observe(h, 299);
    histogram_observe(h, 1000);
    histogram_observe(h, -5); /* a clock that stepped back */
    histogram_observe(h, NAN);
    page_is("# HELP t_seconds Time.\n"
            "# TYPE t_seconds histogram\n"
            "t_seconds_bucket{from=\"peer\",le=\"0.001\"} 3\n"
            "t_seconds_bucket{from=\"peer\",le=\"0.0025\"} 3\n"
            "t_seconds_bucket{from=\"peer\",le=\"0.005\"} 3\n"
            "t_seconds_bucket{from=\"peer\",le=\"0.01\"} 3\n"
            "t_seconds_bucket{from=\"peer\",le=\"0.025\"} 3\n"
            "t_seconds_bucket{from=\"peer\",le=\"0.05\"} 3\n"
            "t_seconds_bucket{from=\"peer\",le=\"0.1\"} 3\n"
            "t_seconds_bucket{from=\"peer\",le=\"0.25\"} 4\n"
            "t_seconds_bucket{from=\"peer\",le=\"0.5\"} 4\n"
            "t_seconds_bucket{from=\"peer\",le=\"1\"} 4\n"
            "t_seconds_bucket{from=\"peer\",le=\"2.5\"} 4\n"
            "t_seconds_bucket{from=\"peer\",le=\"5\"} 4\n"
            "t_seconds_bucket{from=\"peer\",le=\"10\"} 4\n"
            "t_seconds_bucket{from=\"peer\",le=\"30\"} 4\n"
            "t_seconds_bucket{from=\"peer\",le=\"60\"} 4\n"
            "t_seconds_bucket{from=\"peer\",le=\"120\"} 4\n"
            "t_seconds_bucket{from=\"peer\",le=\"300\"} 5\n"
            "t_seconds_bucket{from=\"peer\",le=\"+Inf\"} 6\n"
            "t_seconds_sum{from=\"peer\"} 1299.25146484375\n"
            "t_seconds_count{from=\"peer\"} 6\n");
    plain = metrics_histogram(m, "u_seconds", "", "Time.");
    histogram_observe(plain, 2);
    {
        char *text = page();

        assert_non_null(strstr(text, "\nu_seconds_bucket{le=\"+Inf\"} 1\nu_seconds_sum 2\n"
                                     "u_seconds_count 1\n"));
        free(text);
    }
}

static void label_values_are_escaped(void **state)
{
    char out[32], small[5];

    (void)state;
    metrics_label_escape(out, sizeof(out), "a\"b\\c\nd\te\xff");
    assert_string_equal(out, "a\\\"b\\\\c\\nd?e?");
    metrics_label_escape(small, sizeof(small), "abc\"d"); /* never half an escape */
    assert_string_equal(small, "abc");
    metrics_label_escape(small, 1, "abc");
    assert_string_equal(small, "");
    metrics_label_escape(small, sizeof(small), "abcdef");
    assert_string_equal(small, "abcd");
}

static void series_are_bounded(void **state)
{
    char labels[64], *text;
    size_t lines = 0;
    u64 *other = NULL, *plain;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        snprintf(labels, sizeof(labels), "peer=\"p\\\"%d\",code=\"%d\"", i, i);
        other = metrics_counter(m, "bad_total", labels, "Bad.");
        (*other)++;
    }
    *metrics_gauge(m, "late", "peer=\"z\"", NULL) = 3; /* a family that comes when all is full */
    plain = metrics_counter(m, "plain_total", "", NULL);
    *plain = 9;
    histogram_observe(metrics_histogram(m, "late_seconds", "a=\"b\"", NULL), 1);
    text = page();
    for (const char *c = text; *c != '\0'; c++)
        lines += *c == '\n';
    assert_in_range(lines, 4096, 4150);
    assert_int_equal(*other, 20000 - 4096);
    assert_non_null(strstr(text, "\nbad_total{peer=\"other\",code=\"other\"} 15904\n"));
    assert_non_null(strstr(text, "\nbad_total{peer=\"p\\\"4095\",code=\"4095\"} 1\n"));
    assert_null(strstr(text, "4096\""));
    assert_non_null(strstr(text, "\nlate{peer=\"other\"} 3\n"));
    assert_non_null(strstr(text, "\nplain_total 9\n"));
    assert_non_null(strstr(text, "\nlate_seconds_count{a=\"other\"} 1\n"));
    free(text);
}

static void families_are_bounded(void **state)
{
    char name[32], *text;
    double value = 1;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "family_%d", i);
        *metrics_counter(m, name, "", NULL) = 1; /* never NULL */
    }
    *metrics_gauge(m, "gauge", "", NULL) = 1;
    metrics_gauge_fn(m, "gauge_fn", "", NULL, seven, &value);
    histogram_observe(metrics_histogram(m, "histogram", "", NULL), 1);
    text = page();
    assert_non_null(strstr(text, "family_255 1"));
    assert_null(strstr(text, "family_256"));
    free(text);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_an_empty_page),
        TEST(families_in_order_of_registration),
        TEST(the_same_series_is_found_again),
        TEST(numbers_are_written_exactly),
        TEST(histograms_are_cumulative),
        TEST(label_values_are_escaped),
        TEST(series_are_bounded),
        TEST(families_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
