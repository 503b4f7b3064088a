/* report.h - what a run leaves in its directory besides events.jsonl.
 *
 * summary.json: the line that stdout got; figures.json: everything that was counted. A page for
 * people is made here too, from these and events.jsonl, which is complete when report_write() is
 * called (docs/simulator.md describes every line of it); the run is still in memory. */
#pragma once

#include "sim/summary.h"

/* Into `dir`, which is there. ERR_IO, and `why`. */
must_use int report_write(const char *dir, struct world *w, const struct summary *s, char why[256]);
