/* blob_body.h - a stored blob, or a part of it, as an answer. */
#pragma once

#include "runtime/body.h"
#include "runtime/pool.h"
#include "store/store.h"

/* Bytes [first, end) of a pinned blob. Takes the pin (on failure, NULL, it stays the caller's).
 * `wake(arg)`: peek again. */
struct body *blob_body(struct store *s, struct store_blob *pin, struct pool *disk, u64 first,
                       u64 end, void (*wake)(void *arg), void *arg);
