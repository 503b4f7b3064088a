/* piece_body.h - a stretch of a file that is being filled, as the body of an answer. */
#pragma once

#include "runtime/body.h"
#include "runtime/pool.h"

/* Bytes [first, end) of `fd`, which is duplicated: what becomes of the file does not matter. `wake`
 * as in file_view.h. NULL: out of memory, or of descriptors. */
struct body *piece_body(int fd, struct pool *disk, u64 first, u64 end, void (*wake)(void *arg),
                        void *arg);
