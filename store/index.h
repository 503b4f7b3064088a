/* index.h - what is held, in LMDB: by digest, by last use, and by last verification.
 *
 * Why: a hundred thousand blobs are looked up in a microsecond without their list living in our
 * memory. The index says what blobs/ holds and can be rebuilt from it, so it is never synced for a
 * commit (MDB_NOSYNC): a killed process loses nothing, and after a power cut it is rebuilt.
 *
 *   "blobs"  digest                 -> sizes, times, media type, source, checksum
 *   "used"   used_ms, digest        -> size      (big-endian: LMDB's order is the eviction order)
 *   "scrub"  scrubbed_ms, digest    -> nothing
 *   "state"  "built"                -> 1         (absent while a rebuild is under way)
 *
 * Changes are made in a batch: index_begin, any puts and dels, index_commit. No reader outlives the
 * call that opened it, since an open one keeps LMDB from reusing pages.
 * Not here: changes that wait to be written (pending.h). A damaged file may kill the process with a
 * signal: index_audit() walks one in a child first (recover.h).
 * Loop's thread only, but for index_sync. */
#pragma once

#include "store/store.h"

#include <lmdb.h>
#include <stdatomic.h>

#define INDEX_MAP_BYTES (64ull << 30) /* sparse: address space alone */

enum index_db { INDEX_BLOBS, INDEX_USED, INDEX_SCRUB, INDEX_STATE, INDEX_DBS };

struct index {
    MDB_env *env;
    MDB_dbi db[INDEX_DBS];
    MDB_txn *reader; /* reset between calls */
    MDB_txn *batch;  /* NULL outside a batch */
    void *map;       /* where the file is mapped; NULL when not known */
    size_t map_bytes;
    _Atomic u64 errors;
};

/* Opens the index in the folder `dir`, with `map_bytes` of address space. `create`: makes what is
 * missing; else ERR_NOTFOUND when there is none, ERR_CORRUPT when it cannot be used.
 * ERR_NOSPACE, ERR_NOMEM, ERR_IO. */
must_use int index_open(struct index **out, const char *dir, u64 map_bytes, bool create);
void index_close(struct index *ix); /* NULL is nothing; open batches are dropped */
/* *Any thread*: all commits so far are durable. */
must_use int index_sync(struct index *ix);

/* ERR_NOTFOUND, ERR_IO. Sees the open batch. */
must_use int index_get(struct index *ix, const struct digest *d, struct blob_info *out);

/* A batch: after any failure of put, del or commit it is gone, and nothing of it was written. */
must_use int index_begin(struct index *ix);
must_use int index_put(struct index *ix, const struct blob_info *info); /* new or replaced */
must_use int index_del(struct index *ix, const struct digest *d);       /* absent: 0 */
must_use int index_mark_built(struct index *ix);
must_use int index_commit(struct index *ix);
void index_abort(struct index *ix);

/* Calls `each` in the order of digests until it returns false. */
must_use int index_each(struct index *ix, bool (*each)(void *arg, const struct blob_info *b),
                        void *arg);
/* Calls `each` from the smallest time on, in INDEX_USED (with sizes) or INDEX_SCRUB (size 0). */
must_use int index_ordered(struct index *ix, enum index_db order,
                           bool (*each)(void *arg, const struct digest *d, u64 ms, u64 size),
                           void *arg);
/* Gives the pages that were read back to the page cache: they count as resident memory. */
void index_trim(struct index *ix);

struct index_totals {
    u64 blobs;
    u64 bytes;      /* logical */
    u64 used_bytes; /* each rounded up as it counts against the capacity */
};

/* Walks everything there is; only in a process that may die. ERR_CORRUPT, ERR_IO. */
must_use int index_audit(struct index *ix, struct index_totals *out);

/* --- encoding, shared with index_audit.c ----------------------------------------------------- */

#define INDEX_KEY_MAX   (1 + DIGEST_BYTES_MAX)
#define INDEX_ORDER_MAX (8 + INDEX_KEY_MAX)

size_t index_key(u8 key[INDEX_KEY_MAX], const struct digest *d);
size_t index_order_key(u8 key[INDEX_ORDER_MAX], u64 ms, const struct digest *d);
/* ERR_CORRUPT for anything the encoder would not have written. */
must_use int index_key_read(const void *key, size_t len, struct digest *d);
must_use int index_order_read(const void *key, size_t len, u64 *ms, struct digest *d);
/* `checked` also verifies the checksum: damage inside a value is then found too. */
must_use int index_value_read(const struct digest *d, const void *value, size_t len, bool checked,
                              struct blob_info *out);
/* FNV-1a, 64 bits: finds damage, not malice. */
u64 index_sum(u64 sum, const void *data, size_t len);
#define INDEX_SUM_FIRST 0xcbf29ce484222325ull

u64 index_read_u64(const u8 *at);
