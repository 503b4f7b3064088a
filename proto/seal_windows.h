/* seal_windows.h - the replay windows of all senders: one bounded table, used by seal.c alone.
 *
 * What is claimed, what is proven, and who makes room: see seal.h. Grows by doubling with the
 * senders heard, so that a thousand small regions in one process stay small. */
#pragma once

#include "proto/err.h"

struct seal_windows;

must_use int seal_windows_new(struct seal_windows **out, u64 seed); /* ERR_NOMEM */
void seal_windows_del(struct seal_windows *t);
/* Takes a counter in; false: a replay, or no memory for its window. */
bool seal_windows_take(struct seal_windows *t, const u8 sender[8], u64 epoch, bool talk,
                       u64 counter);
void seal_windows_proven(struct seal_windows *t, const u8 sender[8], u64 epoch);
/* seal_warm()'s steps: the table, the place of this sender, its window. */
void seal_windows_warm(const struct seal_windows *t, unsigned step, const u8 sender[8]);
u64 seal_windows_bytes(const struct seal_windows *t);
