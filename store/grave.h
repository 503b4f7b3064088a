/* grave.h - files without a name, whose room another thread gives back.
 *
 * Why: taking away a name costs nothing, but the last close of a large file frees its blocks and
 * its cached pages: 0.3 s for 1 GiB, measured on ext4. On the loop that would stall every client.
 * So the loop keeps a removed file open and buries its descriptor here; store_sync(), in the pool,
 * closes it. Small files, and more of them than fit, are closed at once. Locked: grave_bury from
 * the loop, grave_empty from any thread. */
#pragma once

#include "proto/types.h"

#include <pthread.h>

#define GRAVE_MAX         64           /* descriptors */
#define GRAVE_BYTES_LEAST (2ull << 20) /* below: closing is quicker than waiting */

struct grave {
    pthread_mutex_t lock;
    int fds[GRAVE_MAX];
    size_t count;
};

void grave_init(struct grave *g);
void grave_fini(struct grave *g); /* empties it */

/* Takes `fd`, of a file of `bytes` that has no name any more. */
void grave_bury(struct grave *g, int fd, u64 bytes);
/* *Any thread*: closes what is there. True when there was anything. */
bool grave_empty(struct grave *g);
