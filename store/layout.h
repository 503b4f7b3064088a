/* layout.h - where things are on the disk, and how they are put there so that they stay.
 *
 *   PATH/blobs/sha256/ab/<hex>   "ab": the first two digits, so that no folder grows huge
 *   PATH/ingest/sha256-<hex>
 *   PATH/index/
 *
 * Guarantee: a file is in blobs/ under its name only after its bytes are on the disk, and once
 * layout_publish() has returned its name is on the disk too. Names are made from digests alone, are
 * relative to open folders, and links are never followed: nothing from outside reaches a path.
 * Not here: what the files mean (recover.h), the lock and the marks (mark.h).
 * A layout owns its descriptors. layout_publish is for any thread; the rest for the loop's. */
#pragma once

#include "proto/digest.h"
#include "proto/err.h"

#include <stdatomic.h>

#define LAYOUT_PATH_MAX  3800 /* of the store, leaving room for our names within PATH_MAX */
#define LAYOUT_NAME_SIZE (3 + DIGEST_TEXT_SIZE)
#define LAYOUT_ALGS      3 /* indexed by enum digest_alg; 0 is unused */
#define LAYOUT_WHY       256

struct layout {
    char path[LAYOUT_PATH_MAX + 1]; /* absolute */
    int root_fd, ingest_fd;
    int alg_fd[LAYOUT_ALGS];                    /* blobs/sha256, blobs/sha512 */
    _Atomic bool prefix_kept[LAYOUT_ALGS][256]; /* blobs/<alg>/<ab> is there and durable */
    bool made;                                  /* by this opening: no store was here before */
};

/* Opens the folders of the store at `path`. ERR_INVAL: not ours to use; ERR_IO, ERR_NOSPACE. `why`
 * says what to do. Creates nothing but PATH itself: layout_make() does, once the store is locked.
 */
must_use int layout_open(struct layout *l, const char *path, char why[LAYOUT_WHY]);
/* Makes and opens the folders below PATH. */
must_use int layout_make(struct layout *l, char why[LAYOUT_WHY]);
void layout_close(struct layout *l);

/* "ab/<hex>", relative to alg_fd[d->alg]. */
void layout_blob_name(const struct digest *d, char name[LAYOUT_NAME_SIZE]);
/* "sha256-<hex>", relative to ingest_fd. */
void layout_partial_name(const struct digest *d, char name[LAYOUT_NAME_SIZE]);
/* Their inverses: false for anything that these functions would not have written. */
bool layout_blob_parse(struct digest *d, enum digest_alg alg, const char *prefix, const char *hex);
bool layout_partial_parse(struct digest *d, const char *name);

/* *Any thread*: makes `fd`, the partial of `d`, read-only and durable, then moves it into blobs/.
 * `*moved` tells whether it got there, also when a later step fails. ERR_NOSPACE, ERR_FULL, ERR_IO.
 */
must_use int layout_publish(struct layout *l, const struct digest *d, int fd, bool *moved);

/* A held blob's descriptor for reading; ERR_NOTFOUND, ERR_FULL, ERR_IO. */
must_use int layout_blob_open(const struct layout *l, const struct digest *d);
must_use int layout_partial_open(const struct layout *l, const struct digest *d);
/* Gone or never there: 0. ERR_IO else. */
must_use int layout_blob_unlink(const struct layout *l, const struct digest *d);
must_use int layout_partial_unlink(const struct layout *l, const struct digest *d);

/* Removes something that does not belong at `name`: a file, a link, an empty folder. */
bool layout_discard(int dir_fd, const char *name);

/* What the disk has left for us; UINT64_MAX when it does not say. */
u64 layout_free_bytes(const struct layout *l);

/* ENOSPC, EDQUOT: ERR_NOSPACE; EMFILE, ENFILE: ERR_FULL; ENOMEM: ERR_NOMEM; ENOENT: ERR_NOTFOUND;
 * others: ERR_IO. */
int layout_err(int errnum);

/* Formats a sentence for `why`, and returns `err`. */
int layout_why(char why[LAYOUT_WHY], int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
