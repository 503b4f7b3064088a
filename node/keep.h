/* keep.h - puts a small document, already in memory and verified by its reader, into the store.
 *
 * The bytes are hashed again on the way in (the store trusts nobody); the disk pool does the work;
 * what fails is logged and forgotten, since the document was served already. At most 64 at a time:
 * what comes beyond is not kept this time. */
#pragma once

#include "node/memo.h"
#include "runtime/pool.h"
#include "store/store.h"

struct keeper;

must_use int keeper_new(struct keeper **out, struct store *store, struct pool *disk);
/* No keep may run any more: the pool was drained. */
void keeper_del(struct keeper *k);
/* Takes a reference of its own on `d`. `source` is copied. */
void keeper_keep(struct keeper *k, struct document *d, const char *source);
