/* grave.c - a locked array of descriptors. The lock is never held over a close. */
#include "store/grave.h"

#include <assert.h>
#include <string.h>
#include <unistd.h>

void grave_init(struct grave *g)
{
    g->count = 0;
    int rc = pthread_mutex_init(&g->lock, NULL);
    assert(rc == 0);
}

void grave_fini(struct grave *g)
{
    grave_empty(g);
    pthread_mutex_destroy(&g->lock);
}

void grave_bury(struct grave *g, int fd, u64 bytes)
{
    bool buried = false;
    if (bytes >= GRAVE_BYTES_LEAST) {
        pthread_mutex_lock(&g->lock);
        buried = g->count < GRAVE_MAX;
        if (buried)
            g->fds[g->count++] = fd;
        pthread_mutex_unlock(&g->lock);
    }
    if (!buried)
        close(fd);
}

bool grave_empty(struct grave *g)
{
    int fds[GRAVE_MAX];
    pthread_mutex_lock(&g->lock);
    size_t count = g->count;
    memcpy(fds, g->fds, count * sizeof(fds[0]));
    g->count = 0;
    pthread_mutex_unlock(&g->lock);
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
    return count > 0;
}
