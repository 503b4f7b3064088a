/* shrink.h - of the faults of a run that failed, those that it takes.
 *
 * Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002): leave out ever
 * smaller parts of the list as long as the same invariant still breaks. Each try is a whole run. */
#pragma once

#include "sim/run.h"

#define SHRINK_TRIES 200

/* `faults` made `opt` break `invariant`; on return it holds fewer, or as many. Progress on `out`.
 * ERR_IO and the like as run_once(). */
must_use int shrink_faults(const struct run_options *opt, const char *invariant,
                           struct fault_plan *faults, FILE *out, char why[256]);

/* A list as text: a fault a line, "at_ns for_ns kind node amount  # words". */
void shrink_write(const struct fault_plan *faults, FILE *out);
/* ERR_INVAL, naming the line. */
must_use int shrink_read(struct fault_plan *faults, const char *text, char why[256]);
