/* purged.h - digests that are to be kept out of the store for a while, remembered on the disk.
 *
 *   PATH/purged   a line "<digest> <until, Unix ms>" each; written anew at every change
 *
 * Why: what was purged would come back with the next pull. The file is replaced by rename() before
 * the blob goes, so that no crash of the process loses a purge that was said to be done; the disk
 * is told by the next sync. A line that cannot be read is passed over. At most LIMIT_PURGES; what
 * has lapsed makes room. Loop thread, but for purged_sync(). */
#pragma once

#include "store/layout.h"
#include "store/table.h"

#include <stdatomic.h>

struct purged {
    const struct layout *layout; /* borrowed */
    struct table table;
    atomic_bool unsynced;
};

/* Reads the file; what has lapsed at `now_ms` is left out. ERR_NOMEM, ERR_IO. */
must_use int purged_init(struct purged *p, const struct layout *l, u64 seed, u64 now_ms);
void purged_fini(struct purged *p);

/* In place of what is known of it; a time that is over takes it off the list. ERR_FULL;
 * ERR_NOSPACE, ERR_IO: it could not be written, and all is as it was. */
must_use int purged_set(struct purged *p, const struct digest *d, u64 now_ms, u64 until_ms);
/* Until when; 0: it may come in. */
u64 purged_until(const struct purged *p, const struct digest *d, u64 now_ms);
void purged_each(const struct purged *p, u64 now_ms,
                 void (*each)(void *arg, const struct digest *d, u64 until_ms), void *arg);
/* *Any thread*: makes durable what was written since. */
void purged_sync(struct purged *p);
