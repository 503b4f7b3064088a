/* fault_impl.h - what fault.c and fault_upset.c share. */
#pragma once

#include "sim/world.h"

void fault_upset_begins(struct world *w, const struct fault *f);
void fault_upset_ends(struct world *w, const struct fault *f);
void fault_tracker_begins(struct world *w, const struct fault *f);
void fault_tracker_ends(struct world *w, const struct fault *f);
