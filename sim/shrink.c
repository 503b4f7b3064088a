/* shrink.c - see shrink.h. */
#include "sim/shrink.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* All but v[from..to). */
static void leave_out(const struct fault_plan *all, size_t from, size_t to, struct fault_plan *out)
{
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < all->n; i++)
        if (i < from || i >= to)
            fault_add(out, all->v[i]);
}

static int still_fails(const struct run_options *opt, const char *invariant,
                       const struct fault_plan *faults, bool *fails, char why[256])
{
    struct run_options o = *opt;
    struct run_result r;
    o.out = NULL;
    o.tell = o.progress = false;
    o.faults = faults;
    int rc = run_once(&o, &r, why);
    *fails = rc == 0 && !r.interrupted && r.summary.broken &&
             strcmp(r.summary.invariant, invariant) == 0;
    fault_fini(&r.faults);
    return rc;
}

int shrink_faults(const struct run_options *opt, const char *invariant, struct fault_plan *faults,
                  FILE *out, char why[256])
{
    size_t parts = 2;
    int tries = 0, rc = 0;
    while (faults->n > 0 && parts <= 2 * faults->n && tries < SHRINK_TRIES && !run_interrupted()) {
        bool smaller = false;
        for (size_t p = 0; p < parts && !smaller && tries < SHRINK_TRIES; p++) {
            size_t from = p * faults->n / parts, to = (p + 1) * faults->n / parts;
            struct fault_plan fewer;
            if (from == to)
                continue;
            leave_out(faults, from, to, &fewer);
            tries++;
            rc = still_fails(opt, invariant, &fewer, &smaller, why);
            if (smaller) {
                fault_fini(faults);
                *faults = fewer;
            } else {
                fault_fini(&fewer);
            }
            if (rc || run_interrupted())
                return rc;
        }
        fprintf(out, "shrink: %zu faults after %d tries\n", faults->n, tries);
        parts = smaller ? (parts > 2 ? parts - 1 : 2) : 2 * parts;
    }
    return 0;
}

void shrink_write(const struct fault_plan *faults, FILE *out)
{
    for (size_t i = 0; i < faults->n; i++) {
        const struct fault *f = &faults->v[i];
        char words[120];
        fault_print(f, words);
        fprintf(out, "%" PRIu64 " %" PRIu64 " %d %" PRIu32 " %" PRIu64 "  # %s\n", f->at_ns,
                f->for_ns, (int)f->kind, f->node, f->amount, words);
    }
}

int shrink_read(struct fault_plan *faults, const char *text, char why[256])
{
    memset(faults, 0, sizeof(*faults));
    for (int line = 1; *text; line++) {
        u64 v[5];
        char *end = (char *)text;
        for (int i = 0; i < 5; i++) {
            const char *from = end;
            v[i] = strtoull(from, &end, 10);
            if (end == from) {
                snprintf(why, 256, "line %d: expected five numbers", line);
                fault_fini(faults);
                return ERR_INVAL;
            }
        }
        if (v[2] >= FAULT_KIND_COUNT || v[3] > UINT32_MAX) {
            snprintf(why, 256, "line %d: no such fault", line);
            fault_fini(faults);
            return ERR_INVAL;
        }
        fault_add(faults, (struct fault){v[0], v[1], (enum fault_kind)v[2], (u32)v[3], v[4]});
        text = end + strcspn(end, "\n");
        text += *text == '\n';
    }
    return 0;
}
