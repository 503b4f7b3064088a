/* cmdline.c - see cmdline.h. A flag is --KEY VALUE or --KEY=VALUE. */
#include "sim/cmdline.h"

#include <stdlib.h>
#include <string.h>

#define NODES_MAX 20000
#define RUNS_MAX  100000000

void cmdline_help(FILE *out)
{
    fputs(
        "dray-sim " DRAY_VERSION " - thousands of real nodes in one process, in virtual time\n"
        "\n"
        "  dray-sim list                     the scenarios\n"
        "  dray-sim run SCENARIO             runs one: a line of JSON on stdout, exit 1 when an\n"
        "                                    invariant broke\n"
        "      --nodes N                     how many nodes\n"
        "      --seed S                      another seed, another run; the same seed, the same run\n"
        "      --set KEY=VALUE               any of the knobs (dray-sim run SCENARIO --help)\n"
        "      --set topology=FILE           offices, racks, users, trackers and lines from a YAML\n"
        "                                    file (docs/simulator.md has one)\n"
        "      --set trace=FILE              pulls to replay, as CSV; of the scenario trace\n"
        "      --out DIR                     report.html to look at; events.jsonl, summary.json,\n"
        "                                    figures.json\n"
        "      --shrink                      a run that fails: finds fewer faults that still fail,\n"
        "                                    and writes them to DIR/faults.txt\n"
        "      --faults FILE                 exactly these faults instead of drawn ones\n"
        "  dray-sim swarm --runs K --seed S  K runs drawn at random; stops at the first that fails\n"
        "\n"
        "Try: dray-sim run churn --nodes 200 --out /tmp/churn\n"
        "     dray-sim run offices --set duration=300s --out /tmp/offices   # users and trackers\n",
        out);
}

void cmdline_list(void)
{
    for (size_t i = 0; scenario_at(i); i++)
        printf("%-16s %s\n", scenario_at(i)->name, scenario_at(i)->summary);
}

void cmdline_help_run(const struct cmdline *c)
{
    struct knobs k;
    if (c->scenario) {
        printf("%s: %s\n\n%s\n\n", c->scenario->name, c->scenario->summary, c->scenario->text);
        scenario_knobs(c->scenario, c->seed, &k);
        printf("Knobs, and their values in this scenario:\n");
    } else {
        cmdline_list();
        knobs_init(&k);
        printf("\nKnobs (--set KEY=VALUE), and their standard values:\n");
    }
    knobs_print_help(&k);
}

static int parse_number(const char *name, const char *text, u64 least, u64 most, u64 *out,
                        char why[CMDLINE_WHY_MAX])
{
    char *end;
    u64 v = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || v < least || v > most || strlen(text) > 20) {
        snprintf(why, CMDLINE_WHY_MAX, "--%s: expected a whole number from %ju to %ju", name,
                 (uintmax_t)least, (uintmax_t)most);
        return ERR_INVAL;
    }
    *out = v;
    return 0;
}

static int take_set(struct cmdline *c, const char *value, char why[CMDLINE_WHY_MAX])
{
    if (strncmp(value, "topology=", 9) == 0) {
        c->topology = value + 9;
        return 0;
    }
    if (strncmp(value, "trace=", 6) == 0) {
        c->trace = value + 6;
        return 0;
    }
    if (c->n_sets == CMDLINE_SETS) {
        snprintf(why, CMDLINE_WHY_MAX, "--set: at most %d of them", CMDLINE_SETS);
        return ERR_FULL;
    }
    c->sets[c->n_sets++] = value;
    return 0;
}

static int take_flag(struct cmdline *c, const char *name, const char *value,
                     char why[CMDLINE_WHY_MAX])
{
    if (strcmp(name, "seed") == 0) {
        c->seed_given = true;
        return parse_number(name, value, 0, UINT64_MAX, &c->seed, why);
    }
    if (strcmp(name, "nodes") == 0)
        return parse_number(name, value, 1, NODES_MAX, &c->nodes, why);
    if (strcmp(name, "runs") == 0)
        return parse_number(name, value, 1, RUNS_MAX, &c->runs, why);
    if (strcmp(name, "set") == 0)
        return take_set(c, value, why);
    if (strcmp(name, "out") == 0)
        c->out = value;
    else
        c->faults = value;
    return 0;
}

/* The flags from argv[i] on. */
static int parse_flags(struct cmdline *c, int argc, char **argv, int i, char why[CMDLINE_WHY_MAX])
{
    static const char *const with_value[] = {"seed", "nodes", "runs", "set", "out", "faults"};
    for (; i < argc; i++) {
        const char *arg = argv[i];
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            c->action = c->action == CMDLINE_RUN ? CMDLINE_HELP_RUN : CMDLINE_HELP;
            return 0;
        }
        if (strcmp(arg, "--shrink") == 0) {
            c->shrink = true;
            continue;
        }
        const char *found = NULL;
        size_t len = strncmp(arg, "--", 2) == 0 ? strcspn(arg + 2, "=") : 0;
        for (size_t k = 0; k < countof(with_value); k++)
            if (len == strlen(with_value[k]) && memcmp(arg + 2, with_value[k], len) == 0)
                found = with_value[k];
        if (!found) {
            snprintf(why, CMDLINE_WHY_MAX, "%.80s: unknown; see dray-sim --help", arg);
            return ERR_INVAL;
        }
        const char *value = arg[2 + len] == '=' ? arg + 3 + len : i + 1 < argc ? argv[++i] : NULL;
        if (!value) {
            snprintf(why, CMDLINE_WHY_MAX, "--%s: needs a value; see dray-sim --help", found);
            return ERR_INVAL;
        }
        int rc = take_flag(c, found, value, why);
        if (rc)
            return rc;
    }
    return 0;
}

static int parse_run(struct cmdline *c, int argc, char **argv, char why[CMDLINE_WHY_MAX])
{
    c->action = CMDLINE_RUN;
    if (argc < 3) {
        snprintf(why, CMDLINE_WHY_MAX, "run: which scenario? dray-sim list names them");
        return ERR_INVAL;
    }
    bool flag = argv[2][0] == '-';
    if (!flag) {
        c->scenario = scenario_find(argv[2]);
        if (!c->scenario) {
            snprintf(why, CMDLINE_WHY_MAX, "%.80s: no such scenario; dray-sim list names them",
                     argv[2]);
            return ERR_INVAL;
        }
    }
    int rc = parse_flags(c, argc, argv, flag ? 2 : 3, why);
    if (rc == 0 && !c->scenario && c->action == CMDLINE_RUN) {
        snprintf(why, CMDLINE_WHY_MAX, "run: the scenario stands before the flags");
        return ERR_INVAL;
    }
    return rc;
}

int cmdline_parse(struct cmdline *c, int argc, char **argv, char why[CMDLINE_WHY_MAX])
{
    *c = (struct cmdline){.seed = 1, .runs = 100};
    const char *word = argc > 1 ? argv[1] : "--help";
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        c->action = CMDLINE_HELP;
        return 0;
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "version") == 0) {
        c->action = CMDLINE_VERSION;
        return 0;
    }
    if (strcmp(word, "list") == 0) {
        c->action = CMDLINE_LIST;
        return parse_flags(c, argc, argv, 2, why);
    }
    if (strcmp(word, "run") == 0)
        return parse_run(c, argc, argv, why);
    if (strcmp(word, "swarm") == 0) {
        c->action = CMDLINE_SWARM;
        c->scenario = &scenario_swarm;
        return parse_flags(c, argc, argv, 2, why);
    }
    snprintf(why, CMDLINE_WHY_MAX, "%.80s: unknown command; see dray-sim --help", word);
    return ERR_INVAL;
}

int cmdline_knobs(const struct cmdline *c, u64 seed, struct knobs *k, char why[CMDLINE_WHY_MAX])
{
    scenario_knobs(c->scenario, seed, k);
    if (c->nodes)
        k->nodes = c->nodes;
    for (size_t i = 0; i < c->n_sets; i++) {
        char reason[KNOBS_WHY_MAX];
        int rc = knobs_set(k, c->sets[i], reason);
        if (rc) {
            snprintf(why, CMDLINE_WHY_MAX, "--set %s", reason);
            return rc;
        }
    }
    if (k->layers >= k->catalog)
        k->catalog = k->layers + 1;
    return 0;
}
