/* The command line and the knobs: what is taken, what is refused and how, and that the command of a
 * replay means the same run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/cmdline.h"
#include "sim/shrink.h"

static int parse(struct cmdline *c, char why[CMDLINE_WHY_MAX], const char *line)
{
    static char copy[1024], name[] = "dray-sim";
    char *argv[32] = {name};
    int argc = 1;
    snprintf(copy, sizeof(copy), "%s", line);
    for (char *p = copy; *p;) {
        argv[argc++] = p;
        p += strcspn(p, " ");
        if (*p)
            *p++ = 0;
    }
    return cmdline_parse(c, argc, argv, why);
}

static void what_is_asked_for_is_understood(void **state)
{
    (void)state;
    struct cmdline c;
    struct knobs k;
    char why[CMDLINE_WHY_MAX] = "";
    assert_int_equal(parse(&c, why,
                           "run churn --nodes 50 --seed=7 --set loss=5% --set "
                           "duration=1.5s --set topology=x.yaml --out d --shrink"),
                     0);
    assert_int_equal(c.action, CMDLINE_RUN);
    assert_string_equal(c.scenario->name, "churn");
    assert_string_equal(c.topology, "x.yaml");
    assert_string_equal(c.out, "d");
    assert_true(c.seed == 7 && c.nodes == 50 && c.shrink);
    assert_int_equal(cmdline_knobs(&c, c.seed, &k, why), 0);
    assert_true(k.nodes == 50 && k.loss == .05 && k.duration == 1500000000);
    assert_int_equal(parse(&c, why, "swarm --runs 3 --seed 9"), 0);
    assert_true(c.action == CMDLINE_SWARM && c.runs == 3 && c.seed == 9);
    assert_int_equal(parse(&c, why, "list"), 0);
    assert_int_equal(c.action, CMDLINE_LIST);
    assert_int_equal(parse(&c, why, "run churn --help"), 0);
    assert_int_equal(c.action, CMDLINE_HELP_RUN);
    assert_int_equal(parse(&c, why, "--version"), 0);
    assert_int_equal(c.action, CMDLINE_VERSION);
    assert_int_equal(parse(&c, why, ""), 0);
    assert_int_equal(c.action, CMDLINE_HELP);
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *line, *says;
    } rows[] = {
        {"walk", "unknown command"},
        {"run", "which scenario"},
        {"run nothing", "no such scenario"},
        {"run --seed 1", "before the flags"},
        {"run churn --colour red", "--colour: unknown"},
        {"run churn --seed", "needs a value"},
        {"run churn --seed x", "whole number"},
        {"run churn --nodes 0", "from 1 to"},
        {"run churn --nodes 999999", "from 1 to"},
        {"swarm --runs 0", "from 1"},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        struct cmdline c;
        char why[CMDLINE_WHY_MAX] = "";
        if (parse(&c, why, rows[i].line) == 0 || !strstr(why, rows[i].says))
            fail_msg("'%s': '%s' instead of '%s'", rows[i].line, why, rows[i].says);
    }
    static const char *const sets[] = {
        "loss",     "loss=",  "loss=2",     "loss=x",   "loss=nan",    "nodes=-1", "nodes=1.5",
        "sealed=2", "what=1", "duration=5", "wan=fast", "duration=1y", "=1",       "seeds=99"};
    for (size_t i = 0; i < countof(sets); i++) {
        struct knobs k;
        char why[KNOBS_WHY_MAX] = "";
        knobs_init(&k);
        if (knobs_set(&k, sets[i], why) == 0 || !why[0])
            fail_msg("'%s' is taken", sets[i]);
    }
}

/* Whatever a scenario with a seed is, and whatever was set on top of it: the line says it all. */
static void a_replay_is_the_same_run(void **state)
{
    (void)state;
    for (size_t i = 0; scenario_at(i); i++)
        for (u64 seed = 0; seed < 50; seed++) {
            struct run_options o = {.scenario = scenario_at(i), .seed = seed};
            struct cmdline c;
            struct knobs k;
            char line[4096], why[CMDLINE_WHY_MAX] = "";
            scenario_knobs(o.scenario, seed, &o.knobs);
            o.knobs.nodes = 77;
            o.knobs.loss = .125;
            o.knobs.duration = 1234567890;
            o.knobs.node_up = 12345678;
            o.knobs.sealed = !o.knobs.sealed;
            run_replay(&o, line, sizeof(line));
            if (parse(&c, why, line + strlen("dray-sim ")) || cmdline_knobs(&c, c.seed, &k, why))
                fail_msg("%s: %s", line, why);
            assert_true(c.scenario == o.scenario && c.seed == seed);
            char rest[1024];
            if (knobs_print_changes(&k, &o.knobs, rest, sizeof(rest)) > 0)
                fail_msg("%s: comes out with%s", line, rest);
        }
}

static void a_list_of_faults_is_read_back(void **state)
{
    (void)state;
    struct fault_plan p = {0}, q;
    for (u32 i = 0; i < FAULT_KIND_COUNT; i++)
        fault_add(&p, (struct fault){1000 + i, i, (enum fault_kind)i, 7 * i, UINT64_MAX - i});
    p.v[FAULT_ORIGIN].amount = 3; /* a mood, which is named */
    char *text = NULL, why[256] = "";
    size_t len;
    FILE *f = open_memstream(&text, &len);
    shrink_write(&p, f);
    fclose(f);
    assert_int_equal(shrink_read(&q, text, why), 0);
    assert_int_equal(q.n, p.n);
    for (size_t i = 0; i < p.n; i++)
        assert_true(p.v[i].at_ns == q.v[i].at_ns && p.v[i].for_ns == q.v[i].for_ns &&
                    p.v[i].kind == q.v[i].kind && p.v[i].node == q.v[i].node &&
                    p.v[i].amount == q.v[i].amount);
    fault_fini(&p);
    fault_fini(&q);
    free(text);
    assert_int_equal(shrink_read(&q, "1 2 3 4\nx\n", why), ERR_INVAL);
    assert_int_equal(shrink_read(&q, "1 2 99 4 5\n", why), ERR_INVAL);
    assert_non_null(strstr(why, "line 1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_asked_for_is_understood),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(a_replay_is_the_same_run),
        cmocka_unit_test(a_list_of_faults_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
