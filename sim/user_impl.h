/* user_impl.h - what user.c and user_want.c share. */
#pragma once

#include "sim/user.h"

/* A layer has come, or never will. */
void user_want_ends(struct world *w, u32 id, bool worked);
/* The first try. */
void user_want_begins(struct world *w, u32 id);
