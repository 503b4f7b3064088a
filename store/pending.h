/* pending.h - index changes that wait to be written, and what is true meanwhile.
 *
 * Why: access times come by the thousand and are written together; and an index that cannot be
 * written for a while (a full disk) must neither lose a blob nor bring back a removed one. So every
 * change is first noted here and then flushed in batches; a look-up asks here before the index.
 * What could not be flushed is tried again at the next flush; what a crash takes from here is found
 * again when the store opens (recover.h), access times excepted.
 *
 *   TOUCH  new times for an entry of the index
 *   PUT    an entry, whatever the index says
 *   DEL    no entry, whatever the index says
 *
 * At most PENDING_TOUCHES_MAX access times wait: further ones are forgotten, which costs their
 * blobs only their place in the order of eviction. Owns its notes; borrows the index. Loop's
 * thread. */
#pragma once

#include "store/index.h"
#include "store/table.h"

#define PENDING_TOUCHES_MAX 4096
#define PENDING_TICK_MAX    512 /* changes written in one tick: about 5 ms at worst */
#define PENDING_SQUEEZED    16  /* deletions tried by themselves when a batch had no room */
/* PUTs and DELs that may wait before new ingests are refused: the index cannot be written at all.
 */
#define PENDING_CHANGES_MAX 4096

enum pending_op { PENDING_TOUCH, PENDING_PUT, PENDING_DEL };

struct pending_note {
    struct table_node node;
    enum pending_op op;
    u64 used_ms, scrubbed_ms;        /* TOUCH: 0 leaves what is there */
    struct blob_info *info;          /* PUT: owned */
    struct pending_note *batch_next; /* within one flush */
};

struct pending {
    struct index *index;
    struct table notes;
    size_t touches, changes; /* changes: PUTs and DELs */
};

must_use int pending_init(struct pending *p, struct index *index, u64 seed);
void pending_fini(struct pending *p); /* what was not flushed is forgotten */

/* What is held, changes included. ERR_NOTFOUND, ERR_IO. */
must_use int pending_get(const struct pending *p, const struct digest *d, struct blob_info *out);
/* The note on `d`, or NULL. Borrowed until the next change. */
const struct pending_note *pending_find(const struct pending *p, const struct digest *d);
/* Calls `each` for every waiting PUT until it returns false. */
void pending_each_put(const struct pending *p,
                      bool (*each)(void *arg, const struct blob_info *info), void *arg);

/* ERR_NOMEM: nothing changed. */
must_use int pending_put(struct pending *p, const struct blob_info *info);
must_use int pending_del(struct pending *p, const struct digest *d);
void pending_touch(struct pending *p, const struct digest *d, u64 used_ms, u64 scrubbed_ms);

/* Writes up to `max` changes, in one batch if the disk permits. An error leaves all of them waiting
 * that could not be written. */
must_use int pending_flush(struct pending *p, size_t max);
must_use int pending_flush_all(struct pending *p);
