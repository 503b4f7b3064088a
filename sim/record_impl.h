/* record_impl.h - the two readers of what is told: record.c writes lines for programs,
 * record_page.c collects the page for people. */
#pragma once

#include <stdio.h>

#include "sim/fetch.h"
#include "sim/page.h"
#include "sim/record.h"

struct record {
    FILE *file;
    struct page *page;
    const struct world *world; /* set by the first line */
    u64 *got_bytes;            /* by node: fetched so far */
    u64 peer_bytes, registry_bytes;
    double last_s; /* of the last row of seconds */
};

/* As the record_ functions of these names. `r` may be NULL. */
void paged_run(struct record *r, const struct world *w);
void paged_node(struct record *r, u64 now_ns, const char *what, u32 node);
void paged_fault(struct record *r, u64 now_ns, const struct fault *f);
void paged_fetch_ends(struct record *r, u64 now_ns, const struct fetch *f, int err);
void paged_request(struct record *r, u64 now_ns, const struct fetch *f,
                   const struct fetch_request *q, const char *outcome);
void paged_pull_ends(struct record *r, u64 now_ns, u64 took_ns);
void paged_phase(struct record *r, u64 now_ns, const char *phase);
void paged_broken(struct record *r, u64 now_ns, const char *invariant, const char *why);
void paged_second(struct record *r, u64 now_ns, const struct record_second *s);
