/* report.h - what a run leaves in its directory besides events.jsonl.
 *
 * summary.json: the line that stdout got; figures.json: everything that was counted; report.html:
 * the page for people (page.h). */
#pragma once

#include "sim/page.h"
#include "sim/summary.h"

/* `again`: the command that repeats the run. Into `dir`, which is there. ERR_IO, and `why`. */
must_use int report_write(const char *dir, struct world *w, const struct summary *s,
                          struct page *page, const char *again, char why[256]);
