/* main.c - dray-sim: the mesh by the thousand nodes, in virtual time. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "sim/cmdline.h"
#include "sim/mem.h"
#include "sim/shrink.h"

#define EXIT_BROKEN 1
#define EXIT_USAGE  2
#define FILE_MAX    (4 * MIB)

/* A whole file of at most `most` bytes, with a NUL behind it. NULL, and it was said why. */
static char *read_file(const char *path, size_t most, size_t *len)
{
    FILE *f = fopen(path, "re");
    char *text = f ? mem_new(1, most + 2) : NULL;
    if (f)
        *len = fread(text, 1, most + 1, f);
    if (f && *len > most)
        errno = EFBIG;
    if (!f || ferror(f) || *len > most) {
        fprintf(stderr, "dray-sim: %s: %s\n", path, strerror(errno));
        free(text);
        text = NULL;
    }
    if (f)
        fclose(f);
    return text;
}

static void write_faults(const char *dir, const struct fault_plan *faults)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/faults.txt", dir);
    FILE *f = fopen(path, "we");
    if (f)
        shrink_write(faults, f);
    if (!f || fclose(f))
        fprintf(stderr, "dray-sim: %s: %s\n", path, strerror(errno));
}

static int shrunk(const struct run_options *opt, struct run_result *r)
{
    char why[256];
    char invariant[sizeof(r->summary.invariant)];
    memcpy(invariant, r->summary.invariant, sizeof(invariant));
    int rc = shrink_faults(opt, invariant, &r->faults, stderr, why);
    if (rc) {
        fprintf(stderr, "dray-sim: %s\n", why);
        return EXIT_USAGE;
    }
    fprintf(stderr, "dray-sim: these faults suffice:\n");
    shrink_write(&r->faults, stderr);
    if (opt->out)
        write_faults(opt->out, &r->faults);
    return EXIT_BROKEN;
}

static int run(const struct cmdline *c, struct run_options *opt)
{
    char why[256];
    struct run_result r;
    int rc = run_once(opt, &r, why);
    if (rc) {
        fprintf(stderr, "dray-sim: %s\n", why);
        return EXIT_USAGE;
    }
    summary_print(&r.summary, stdout);
    fflush(stdout);
    int code = 0;
    if (r.interrupted)
        fprintf(stderr, "dray-sim: interrupted; this is what was measured until then\n");
    if (r.summary.broken) {
        run_complain(opt, &r.summary, stderr);
        code = c->shrink ? shrunk(opt, &r) : EXIT_BROKEN;
    }
    fault_fini(&r.faults);
    return code;
}

static int swarm(const struct cmdline *c, struct run_options *opt)
{
    u64 events = 0, done = 0;
    for (u64 i = 0; i < c->runs && !run_interrupted(); i++) {
        char why[256];
        struct run_result r;
        opt->seed = c->seed + i;
        if (cmdline_knobs(c, opt->seed, &opt->knobs, why) || run_once(opt, &r, why)) {
            fprintf(stderr, "dray-sim: seed %" PRIu64 ": %s\n", opt->seed, why);
            return EXIT_USAGE;
        }
        fault_fini(&r.faults);
        if (r.interrupted)
            break;
        events += r.summary.events;
        done++;
        summary_print(&r.summary, stdout);
        fflush(stdout);
        if (r.summary.broken) {
            run_complain(opt, &r.summary, stderr);
            return EXIT_BROKEN;
        }
        if (isatty(STDERR_FILENO))
            fprintf(stderr, "\rswarm: %" PRIu64 " of %" PRIu64 " runs, %.1f M events   ", done,
                    c->runs, (double)events / 1e6);
    }
    if (isatty(STDERR_FILENO))
        fputc('\n', stderr);
    return 0;
}

static int take_trace(const struct cmdline *c, struct trace *t, struct run_options *opt)
{
    size_t len;
    char why[TRACE_WHY_MAX], *text = read_file(c->trace, TRACE_BYTES_MAX, &len);
    if (!text)
        return ERR_IO;
    int rc = trace_read(t, text, len, why);
    if (rc)
        fprintf(stderr, "dray-sim: %s: %s\n", c->trace, why);
    free(text);
    opt->trace = t;
    return rc;
}

static int go(const struct cmdline *c)
{
    char why[CMDLINE_WHY_MAX];
    struct run_options opt = {.scenario = c->scenario,
                              .seed = c->seed,
                              .nodes = (u32)c->nodes,
                              .topology_path = c->topology,
                              .trace_path = c->trace,
                              .out = c->out,
                              .tell = c->action == CMDLINE_RUN,
                              .progress = c->action == CMDLINE_RUN && isatty(STDERR_FILENO)};
    struct fault_plan faults = {0};
    struct trace trace = {0};
    char *topology = NULL, *list = NULL;
    int code = EXIT_USAGE;
    if (cmdline_knobs(c, c->seed, &opt.knobs, why)) {
        fprintf(stderr, "dray-sim: %s\n", why);
        return EXIT_USAGE;
    }
    if (c->topology && !(topology = read_file(c->topology, FILE_MAX, &opt.topology_len)))
        goto out;
    opt.topology_text = topology;
    size_t len;
    if (c->faults) {
        list = read_file(c->faults, FILE_MAX, &len);
        if (!list)
            goto out;
        if (shrink_read(&faults, list, why)) {
            fprintf(stderr, "dray-sim: %s: %s\n", c->faults, why);
            goto out;
        }
        opt.faults = &faults;
    }
    if (c->trace && take_trace(c, &trace, &opt))
        goto out;
    run_catch_signals();
    code = c->action == CMDLINE_SWARM ? swarm(c, &opt) : run(c, &opt);
out:
    fault_fini(&faults);
    trace_fini(&trace);
    free(topology);
    free(list);
    return code;
}

/* A thousand nodes are a gigabyte, of which each event touches other lines: with small pages a good
 * part of the time goes into finding them. The C library asks for huge ones if it is told to before
 * it starts; so we start again, once. Where that fails, the run is slower and otherwise the same.
 */
static void want_huge_pages(char **argv)
{
    if (!getenv("GLIBC_TUNABLES") && !setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", 0))
        execv("/proc/self/exe", argv);
}

int main(int argc, char **argv)
{
    struct cmdline c;
    char why[CMDLINE_WHY_MAX];
    if (sodium_init() < 0) {
        fprintf(stderr, "dray-sim: libsodium does not start\n");
        return EXIT_USAGE;
    }
    if (cmdline_parse(&c, argc, argv, why)) {
        fprintf(stderr, "dray-sim: %s\n", why);
        return EXIT_USAGE;
    }
    switch (c.action) {
    case CMDLINE_HELP: cmdline_help(stdout); return 0;
    case CMDLINE_HELP_RUN: cmdline_help_run(&c); return 0;
    case CMDLINE_VERSION: printf("dray-sim %s\n", DRAY_VERSION); return 0;
    case CMDLINE_LIST: cmdline_list(); return 0;
    case CMDLINE_RUN:
    case CMDLINE_SWARM: break;
    }
    want_huge_pages(argv);
    return go(&c);
}
