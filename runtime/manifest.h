/* manifest.h - which blobs a manifest makes part of its repository.
 *
 * OCI image-spec manifest.md and Docker schema 2: the config and the layers, but for those with
 * `urls` (foreign layers, kept elsewhere). An index's children and a `subject` are mere mentions:
 * naming a digest does not make it one's own.
 *
 * A registry checks, when a manifest is pushed, that its blobs are in the repository. What we read
 * must therefore be what it read: only the two image manifest types count, and a document that
 * another parser could read differently (keys that differ in case only, non-ASCII keys, duplicates,
 * an index and an image in one) teaches nothing; nor does one that does not say itself which type
 * it is: older registries took it as the type its pusher named, and tell it as the type they guess.
 */
#pragma once

#include "proto/digest.h"
#include "proto/err.h"

#define MANIFEST_BLOBS_MAX 1024 /* more layers than any runtime mounts */

struct manifest_blob {
    struct digest digest;
    u64 size; /* the descriptor's, UINT64_MAX when it has none that makes sense: a claim of whoever
                 pushed it */
    bool config;
};
/* Calls `each` for every config and layer without urls, the config first, or not at all:
 * ERR_INVAL: not such a manifest; ERR_TOOBIG. */
must_use int manifest_blobs(const char *media_type, const void *json, size_t len,
                            void (*each)(void *arg, const struct manifest_blob *b), void *arg);

/* One entry of an index. Texts are borrowed for the call, "" where nothing is said. */
struct manifest_child {
    struct digest digest;
    const char *os, *architecture, *variant;
};
/* Calls `each` for every manifest that an index (OCI's, or Docker's list) names, or not at all:
 * ERR_INVAL: no such index; ERR_TOOBIG. */
must_use int manifest_children(const char *media_type, const void *json, size_t len,
                               void (*each)(void *arg, const struct manifest_child *c), void *arg);

/* Can it be of no other type? By its own `mediaType`; without one, an OCI image or index by its
 * shape. What can is not kept: who pushes the same bytes elsewhere as another type, or another
 * upstream, would otherwise decide how they are served to all. */
bool manifest_is_of_type(const char *media_type, const void *json, size_t len);

/* Docker's schema 1, whose digest is not that of its bytes: relayed, never kept. */
bool manifest_is_schema1(const char *media_type);
