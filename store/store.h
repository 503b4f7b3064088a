/* store.h - verified blobs on a disk, within a byte capacity.
 *
 * Why: a blob is here complete and verified, or not here at all. Nothing that happens to the
 * process or the disk may break that: an ingest writes to `ingest/`, hashes, fsyncs, renames into
 * `blobs/`, and is then indexed in LMDB; a crash at any instant loses at most what was not yet
 * written.
 *
 *   PATH/lock                   flock: one process per store
 *   PATH/blobs/sha256/ab/<hex>  complete, verified, read-only
 *   PATH/ingest/sha256-<hex>    partial: a verified-to-be prefix; resumed by the next ingest
 *   PATH/index/                 LMDB; rebuilt from blobs/ when missing or damaged
 *   PATH/clean                  present only after an orderly close: holds the boot id
 *   PATH/purged                 what is to be kept out, and until when
 *
 * Capacity: bytes of blobs and partials, each rounded up to 4 KiB, never exceed it, also while
 * ingesting; space is reserved ahead and the coldest unpinned blobs (after idle partials) make
 * room. A pinned blob is never evicted; one removed by name keeps its bytes counted until its last
 * reader lets go.
 *
 * Threads: every function belongs to the loop's thread and returns quickly, but for those marked
 * *any thread*, which may block on the disk and which one thread at a time may call per object. No
 * thread is made here. Time is passed in: `now_ms`, Unix time. */
#pragma once

#include "proto/digest.h"
#include "proto/err.h"

#define STORE_SIZE_UNKNOWN UINT64_MAX
#define STORE_MEDIA_MAX    255 /* a media type's length */
#define STORE_SOURCE_MAX   511 /* where a blob came from: "upstream repository" */

struct store;
struct store_blob;   /* one reader's pin on a blob */
struct store_ingest; /* one blob on its way in */

struct store_options {
    const char *path;   /* made, with parents one level up existing; mode 0700 */
    u64 capacity_bytes; /* > 0 */
    u64 now_ms;
};

/* What opening found and did, for the log. */
struct store_opened {
    bool index_rebuilt;      /* it was missing, damaged, or a power cut may have damaged it */
    const char *rebuilt_why; /* static; NULL when not rebuilt */
    u64 blobs, bytes;        /* held */
    u64 partials, partial_bytes;
    u64 orphans_indexed; /* complete files without an entry: hashed, then indexed or removed */
    u64 entries_dropped; /* entries without a file, or of another size */
    u64 garbage_removed; /* foreign or temporary files in our folders */
};

struct store_stats {
    u64 capacity_bytes;
    u64 blobs, blob_bytes; /* complete; bytes are logical sizes */
    u64 partial_bytes;     /* ingest/, running and idle */
    u64 reserved_bytes;    /* promised to running ingests, beyond what is written */
    u64 used_bytes;        /* what is held against the capacity: all of the above, rounded up */
    u64 evicted_blobs, evicted_bytes;
    u64 index_errors;
};

struct blob_info {
    struct digest digest;
    u64 size;
    u64 stored_ms, used_ms, scrubbed_ms;  /* scrubbed: last time its bytes were verified */
    char media_type[STORE_MEDIA_MAX + 1]; /* "" for a layer, or when unknown */
    char source[STORE_SOURCE_MAX + 1];    /* as given to the ingest; "" when unknown */
};

/* Opens or makes a store. Blocking; call before any thread exists (it forks a child to walk the
 * index, since LMDB answers a damaged file with a signal). ERR_BUSY: another process has it.
 * ERR_INVAL: the path is not ours to use, ERR_IO, ERR_NOSPACE; `why` (256 bytes) then says what to
 * do. */
must_use int store_open(struct store **out, const struct store_options *opt,
                        struct store_opened *found, char why[256]);
/* Syncs, marks clean, frees. No pin and no ingest may be left. */
void store_close(struct store *s);

void store_stats(const struct store *s, struct store_stats *out);

/* Writes batched access times and anything else overdue; call about once a second. */
void store_tick(struct store *s, u64 now_ms);
/* *Any thread*: makes the index durable (mdb_env_sync), and gives the disk back the room of large
 * blobs that were removed, which takes 0.3 s per GiB; call after ticks. */
void store_sync(struct store *s);

/* --- reading --------------------------------------------------------------------------------- */

/* Is it held? ERR_NOTFOUND; ERR_IO when the index cannot be read. Does not count as use. */
must_use int store_lookup(struct store *s, const struct digest *d, struct blob_info *out);

/* Opens a held blob for reading and keeps it from eviction. All pins of one blob share one
 * descriptor. ERR_NOTFOUND (also when the file is gone: the entry is then dropped), ERR_FULL (out
 * of descriptors), ERR_IO. */
must_use int store_pin(struct store *s, const struct digest *d, u64 now_ms,
                       struct store_blob **out);
void store_unpin(struct store *s, struct store_blob *b);

int store_blob_fd(const struct store_blob *b); /* borrowed until unpin; use pread only */
u64 store_blob_size(const struct store_blob *b);
const char *store_blob_media_type(const struct store_blob *b); /* borrowed until unpin */

/* Calls `each` for every held blob until it returns false. `each` must not call the store. */
void store_each(struct store *s, bool (*each)(void *arg, const struct blob_info *b), void *arg);

/* Removes a blob by name, pinned or not (readers finish). ERR_NOTFOUND. */
must_use int store_remove(struct store *s, const struct digest *d);

/* --- purging --------------------------------------------------------------------------------- */

/* Removes a blob by name, if it is held (`*removed`, may be NULL), pinned or not, and what is there
 * of a partial, and keeps it out until `until_ms` (Unix time): no ingest of it may begin, one that
 * runs will not be committed. Remembered across restarts, in place of an earlier purge of it; a
 * time that is over removes only. ERR_FULL: too many are kept out already; ERR_NOSPACE, ERR_IO: it
 * cannot be remembered, or not removed. */
must_use int store_purge(struct store *s, const struct digest *d, u64 now_ms, u64 until_ms,
                         bool *removed);
/* Until when it is kept out; 0: it is not. */
u64 store_purged_until(const struct store *s, const struct digest *d, u64 now_ms);
/* `each` must not call the store. */
void store_each_purged(const struct store *s, u64 now_ms,
                       void (*each)(void *arg, const struct digest *d, u64 until_ms), void *arg);

/* --- the region ------------------------------------------------------------------------------ */

/* `is_last`: is our copy of this blob the one that the region counts on (evict.h)? Asked whenever
 * room must be made, some hundred times then, from inside: it must be quick, and not call the
 * store. NULL: no copy is. */
void store_ask_last(struct store *s, bool (*is_last)(void *arg, const struct digest *d), void *arg);

/* --- looking on ------------------------------------------------------------------------------ */

/* `changed` is called for each blob that is held from now on, or not any more, from inside the
 * function that did it: it must not call the store. One observer; NULL: none. */
void store_observe(struct store *s,
                   void (*changed)(void *arg, const struct blob_info *b, bool held), void *arg);

/* --- ingesting ------------------------------------------------------------------------------- */

struct store_ingest_options {
    struct digest digest;
    u64 size;               /* STORE_SIZE_UNKNOWN when the upstream did not say */
    const char *media_type; /* copied; NULL for none */
    const char *source;     /* copied; NULL for none */
    u64 now_ms;
    bool unsure; /* of a cut one: the size is hearsay, and nothing is evicted for it */
};

/* Reserves room and opens the partial file, resuming one left behind: store_ingest_written() then
 * tells where to go on. ERR_EXISTS: held. ERR_BUSY: being ingested. ERR_FULL: no room can be made
 * (serve through). ERR_DENIED: purged. ERR_NOSPACE, ERR_IO. */
must_use int store_ingest_begin(struct store *s, const struct store_ingest_options *opt,
                                struct store_ingest **out);

/* Bytes of an idle partial of this digest, which the next ingest would resume; 0: none. */
u64 store_partial_size(const struct store *s, const struct digest *d);

/* For unknown sizes: promises room up to `size` bytes in all. ERR_FULL, ERR_NOSPACE. */
must_use int store_ingest_reserve(struct store_ingest *i, u64 size);

/* *Any thread*: appends at store_ingest_written(). ERR_NOSPACE, ERR_IO: the prefix before the call
 * is still good. ERR_TOOBIG beyond the reserved size. */
must_use int store_ingest_write(struct store_ingest *i, const void *data, size_t len);
/* Bytes in the file, as of the last finished write. Safe from the loop while a write runs. */
u64 store_ingest_written(const struct store_ingest *i);
/* For readers of a running ingest; borrowed until the ingest ends. */
int store_ingest_fd(const struct store_ingest *i);

/* *Any thread* (may run beside store_ingest_write): takes the next bytes into the hash. */
void store_ingest_hash(struct store_ingest *i, const void *data, size_t len);
/* *Any thread*: hashes what a resumed file already holds, from hashed() up to `end`. ERR_IO. */
must_use int store_ingest_hash_file(struct store_ingest *i, u64 end);
u64 store_ingest_hashed(const struct store_ingest *i);
/* Do the bytes hashed so far match (whether or not all are written yet)? 0 or ERR_CORRUPT. */
must_use int store_ingest_verify(const struct store_ingest *i);

/* *Any thread*: verified (else ERR_CORRUPT) and all written: fsync, rename into blobs/, fsync the
 * folder. */
must_use int store_ingest_seal(struct store_ingest *i);
/* After a successful seal: indexes it. Takes `i` in any case. `*out` (may be NULL) is a pin.
 * ERR_DENIED: it was purged meanwhile, and is gone. */
must_use int store_ingest_commit(struct store_ingest *i, u64 now_ms, struct store_blob **out);
/* Stops here; the file stays as a partial for a later resume. Takes `i`. */
void store_ingest_keep(struct store_ingest *i);
/* Wrong bytes or no wish for more: removes the file. Takes `i`. */
void store_ingest_drop(struct store_ingest *i);

/* --- pieces in any order -----------------------------------------------------------------------
 *
 * A *cut* ingest takes the pieces of a layer (proto/pieces.h) in whatever order they come. Its
 * partial is sparse, and behind the layer's bytes there is a table of which pieces were written:
 *
 *   bytes [0, size)   n entries of 8 bytes   "dray cut", size, check: 8 bytes each
 *
 * An entry is a checksum of digest, size and number once its piece was written, else 0: pieces
 * survive kill -9, and a torn entry is none. What a former run left is *there*, not verified: it is
 * read and hashed like a piece from a peer. After a power cut partials are dropped, as ever. */

/* Begins one, or goes on with what is there, also of an ingest that was not cut. `opt->size` is
 * known, and piece_count() of it not 0. As store_ingest_begin(). */
must_use int store_ingest_begin_cut(struct store *s, const struct store_ingest_options *opt,
                                    struct store_ingest **out);
/* Where that room was not free, an `unsure` one begins all the same, and takes no piece before its
 * size is sure and room is made: here. 0 also when it was. ERR_FULL, ERR_NOSPACE. */
must_use int store_ingest_reserve_cut(struct store_ingest *i);
bool store_ingest_is_reserved(const struct store_ingest *i);
bool store_ingest_is_cut(const struct store_ingest *i);
bool store_ingest_has_piece(const struct store_ingest *i, u32 piece);
/* *Any threads*, each a piece of its own: writes, or reads, a whole piece. ERR_NOSPACE, ERR_IO. */
must_use int store_ingest_write_piece(struct store_ingest *i, u32 piece, const void *data);
must_use int store_ingest_read_piece(const struct store_ingest *i, u32 piece, void *data);
/* Its bytes were wrong. Never while it is written. */
void store_ingest_forget_piece(struct store_ingest *i, u32 piece);
/* The caller has found all pieces to fit one chain that finishes to the digest (proto/chain.h), and
 * all are written: it may be sealed. */
void store_ingest_close_cut(struct store_ingest *i);
/* Back to bytes in order: what stands behind the first gap goes. No piece may be under way. */
must_use int store_ingest_uncut(struct store_ingest *i);

/* --- scrubbing ------------------------------------------------------------------------------- */

/* The held blob whose bytes were verified longest ago. ERR_NOTFOUND when empty. */
must_use int store_scrub_next(struct store *s, struct blob_info *out);
/* Notes that its bytes were found right. */
void store_scrub_passed(struct store *s, const struct digest *d, u64 now_ms);
/* *Any thread*: hashes an open blob, calling `pace` (may sleep, may return false to stop) after
 * each MiB. 0, ERR_CORRUPT, ERR_IO, ERR_CANCELED. */
must_use int store_verify_fd(int fd, const struct digest *d, u64 size, bool (*pace)(void *arg),
                             void *arg);
