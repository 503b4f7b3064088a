/* store_state.h - what a store is, for the files that make it up.
 *
 *   store.c         reading: look-up, pins, removal, ticks
 *   store_open.c    opening and closing
 *   store_room.c    the capacity: what is counted, what must go
 *   store_purge.c   what is kept out, and who is told of changes
 *   ingest.c        blobs on their way in
 *   scrub.c         verifying what is held
 *
 * What is counted against the capacity, each file rounded up (space.h):
 *
 *   blob_used      complete blobs, by name
 *   ghost_used     removed blobs that a reader still holds
 *   idle_used      partials that nobody fills
 *   running_used   running ingests, at what they were promised
 *
 * pinned_used is the part of blob_used that may not be evicted now. */
#pragma once

#include "store/grave.h"
#include "store/hash.h"
#include "store/index.h"
#include "store/layout.h"
#include "store/mark.h"
#include "store/pending.h"
#include "store/purged.h"
#include "store/space.h"
#include "store/store.h"
#include "store/table.h"

#include <sys/queue.h>

#define STORE_PARTIALS_MAX 1024  /* idle ones; the oldest go first */
#define STORE_INGESTS_MAX  1024  /* running ones */
#define STORE_TRIM_MS      60000 /* how often the index's pages are given back */

/* A partial that nobody fills. */
struct store_partial {
    struct table_node node;
    TAILQ_ENTRY(store_partial) link; /* by age, oldest first */
    u64 bytes;                       /* the file's length */
    u64 kept_ms;
};

TAILQ_HEAD(store_partials, store_partial);

/* A blob that somebody reads. */
struct store_blob {
    struct table_node node; /* in `pins` unless removed */
    int fd;
    u64 size;
    size_t refs;
    bool removed; /* by name: a ghost */
    char media_type[STORE_MEDIA_MAX + 1];
};

struct store {
    struct layout layout;
    struct mark mark;
    struct index *index;
    struct pending pending;
    struct purged purged;
    struct grave grave;
    struct table pins, ingests, partials;
    struct store_partials idle;

    u64 capacity_bytes;
    u64 blobs, blob_bytes; /* complete; logical */
    u64 idle_bytes;        /* logical */
    u64 blob_used, pinned_used, ghost_used, idle_used, running_used;
    size_t ghosts;
    u64 evicted_blobs, evicted_bytes;
    u64 now_ms, trimmed_ms;                             /* as of the last tick or opening */
    bool (*is_last)(void *arg, const struct digest *d); /* NULL: nobody knows */
    void *is_last_arg;
    void (*changed)(void *arg, const struct blob_info *b, bool held);
    void *changed_arg;
};

struct store_ingest {
    struct table_node node; /* in `ingests` */
    struct store *store;
    struct digest digest;
    int fd;
    u64 begun_ms;
    _Atomic u64 reserved; /* logical; written never exceeds it */
    _Atomic u64 written, hashed;
    _Atomic bool broken; /* the file may not hold what was written: not to be kept */
    bool moved;          /* it stands in blobs/ */
    bool sealed;         /* and is known to be durable */
    u32 pieces;          /* of a cut one (ingest_cut.c), else 0 */
    u64 size;            /* and its layer's */
    _Atomic u64 *there;  /* a bit for each piece that is written */
    bool closed;
    _Atomic bool laid; /* its table stands in the file; else that is a prefix as any other */
    struct hasher hasher;
    char media_type[STORE_MEDIA_MAX + 1];
    char source[STORE_SOURCE_MAX + 1];
};

/* For tests: stands in for the kernel's answers. All zero is the real thing. */
struct store_hooks {
    const char *boot_id; /* NULL: the kernel's */
    u64 map_bytes;       /* the index's largest size; 0: INDEX_MAP_BYTES */
};

must_use int store_open_hooked(struct store **out, const struct store_options *opt,
                               const struct store_hooks *hooks, struct store_opened *found,
                               char why[256]);

/* --- store.c --------------------------------------------------------------------------------- */

/* A pin on `d` with an open descriptor, which it takes. NULL without memory (the descriptor then
 * stays the caller's). */
struct store_blob *store_pin_new(struct store *s, const struct digest *d, int fd, u64 size,
                                 const char *media_type);
/* Takes a blob out: its file, its entry, its bytes from the count (which a reader still holds).
 * ERR_NOMEM, ERR_IO: it stays. */
must_use int store_forget(struct store *s, const struct digest *d, u64 size);

/* --- ingest_cut.c ----------------------------------------------------------------------------
 */

/* Bytes of the table of a layer of so many; 0: it cannot be cut. */
u64 ingest_cut_table(u64 size);
/* Cuts one: pieces that its `written` bytes hold are there. ERR_NOMEM. */
must_use int ingest_cut_make(struct store_ingest *i, u64 size);
/* Writes its table, for which there is room: from now on the file is as long as ingest_length().
 * ERR_NOMEM, ERR_NOSPACE, ERR_IO: the file is as it was. */
must_use int ingest_cut_lay(struct store_ingest *i);
/* The length of the file: of a cut one, its table included. */
u64 ingest_length(const struct store_ingest *i);
/* Reads the table at the end of a file of `length` bytes. Without one: ERR_NOTFOUND, and `i` is
 * not cut. ERR_NOMEM, ERR_IO. */
must_use int ingest_cut_load(struct store_ingest *i, u64 length);
/* All pieces there, and closed? Then the table goes. ERR_CORRUPT, ERR_IO. */
must_use int ingest_cut_finish(struct store_ingest *i);

/* --- store_purge.c ----------------------------------------------------------------------------
 */

/* Tells the observer. */
void store_tell(struct store *s, const struct blob_info *b, bool held);
/* Removes what is held although it is to be kept out: a crash came between. */
void store_purge_again(struct store *s);

/* --- store_room.c ---------------------------------------------------------------------------- */

u64 store_used(const struct store *s);
/* Makes room for `bytes` (rounded) more, of which `there` are on the disk already, evicting only
 * when that will suffice. ERR_FULL: the capacity is taken by what must stay; ERR_NOSPACE: the disk
 * is. */
must_use int store_room_make(struct store *s, u64 bytes, u64 there);
/* Is there such room without evicting? */
bool store_room_is_free(const struct store *s, u64 bytes, u64 there);
/* Evicts until the capacity holds; best effort. */
void store_room_fit(struct store *s);
/* Enters an idle partial. Takes `p`. */
void store_partial_add(struct store *s, struct store_partial *p);
/* Takes one out of the books: `p` is the caller's, its file stays. */
void store_partial_take(struct store *s, struct store_partial *p);
/* Removes one with its file. Frees `p`. */
void store_partial_drop(struct store *s, struct store_partial *p);
struct store_partial *store_partial_find(const struct store *s, const struct digest *d);
