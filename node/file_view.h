/* file_view.h - reads a file on the loop without ever waiting for the disk.
 *
 * What is in the page cache is read at once (preadv2 with RWF_NOWAIT); what is not is read ahead by
 * the disk pool in windows of 4 MiB, the next one at half, so that a cold disk stalls nobody. Where
 * the filesystem knows no RWF_NOWAIT the pool reads always. A view is for one reader; it owns no
 * descriptor of its own until it meets the cold disk, and then a duplicate, so that a running job
 * never depends on whoever lent the descriptor. */
#pragma once

#include <sys/types.h>

#include "proto/err.h"
#include "runtime/pool.h"

struct file_view;

#define FILE_VIEW_CHUNK (64 * 1024) /* the most one peek shows */

/* `wake(arg)` is called when a peek that said ERR_AGAIN is worth repeating. NULL: out of memory. */
struct file_view *file_view_new(struct pool *disk, void (*wake)(void *arg), void *arg);
/* Shows bytes at `offset`, at most `max`; borrowed until the next peek of any view on this thread.
 * `fd` is borrowed for the call. > 0; ERR_AGAIN; ERR_EOF past the end; ERR_IO. */
ssize_t file_view_peek(struct file_view *v, int fd, u64 offset, size_t max, const void **data);
/* Somebody else sends what lies at `offset` and behind it. If that was cold, and read for a peek,
 * the pool reads the next window meanwhile. */
void file_view_ahead(struct file_view *v, int fd, u64 offset);
/* No wake after this. */
void file_view_del(struct file_view *v);
