/* scrub.c - is what we hold still what it was?
 *
 * A blob is verified once when it comes in; disks forget later. The scrubber asks for the blob that
 * was verified longest ago, hashes it slowly, and either notes the time or has it fetched again:
 * that decision is the caller's. Reading a whole store must not push out of the page cache what
 * clients are reading, so what was not cached before is not left there. */
#include "store/store_state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SCRUB_BUFFER (64 * 1024)
#define SCRUB_STEP   (1024 * 1024) /* between two calls of `pace` */

static_assert(SCRUB_STEP % SCRUB_BUFFER == 0, "a step is a number of buffers");

struct scrub_next {
    struct store *store;
    struct digest digest;
    bool found;
};

static bool scrub_next_each(void *arg, const struct digest *d, u64 ms, u64 size)
{
    (void)ms;
    (void)size;
    struct scrub_next *n = arg;
    const struct pending_note *note = pending_find(&n->store->pending, d);
    if (note && (note->op != PENDING_TOUCH || note->scrubbed_ms))
        return true; /* removed, or verified a moment ago */
    n->digest = *d;
    n->found = true;
    return false;
}

int store_scrub_next(struct store *s, struct blob_info *out)
{
    struct scrub_next next = {.store = s};
    int rc = index_ordered(s->index, INDEX_SCRUB, scrub_next_each, &next);
    if (rc == 0 && !next.found && s->pending.notes.count > 0) {
        /* All of them wait to be written: do that, and look again. */
        rc = pending_flush_all(&s->pending);
        if (rc == 0)
            rc = index_ordered(s->index, INDEX_SCRUB, scrub_next_each, &next);
    }
    if (rc < 0)
        return rc;
    return next.found ? pending_get(&s->pending, &next.digest, out) : ERR_NOTFOUND;
}

void store_scrub_passed(struct store *s, const struct digest *d, u64 now_ms)
{
    pending_touch(&s->pending, d, 0, now_ms);
}

/* Is this part of the file in the page cache? Where the file system cannot say: yes. */
static bool scrub_cached(int fd, u64 offset)
{
    u8 byte;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    return preadv2(fd, &iov, 1, (off_t)offset, RWF_NOWAIT) == 1 || errno != EAGAIN;
}

/* Takes the bytes from `at` to `end` into the hash. */
static int scrub_step(int fd, struct hasher *h, u64 at, u64 end)
{
    u8 buffer[SCRUB_BUFFER];
    while (at < end) {
        size_t want = end - at < sizeof(buffer) ? (size_t)(end - at) : sizeof(buffer);
        ssize_t n = pread(fd, buffer, want, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? ERR_CORRUPT : ERR_IO; /* shorter than it was: not the blob */
        hasher_update(h, buffer, (size_t)n);
        at += (u64)n;
    }
    return 0;
}

int store_verify_fd(int fd, const struct digest *d, u64 size, bool (*pace)(void *arg), void *arg)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return ERR_IO;
    if (!S_ISREG(st.st_mode) || (u64)st.st_size != size)
        return ERR_CORRUPT;
    struct hasher h;
    hasher_init(&h, d->alg);
    for (u64 at = 0; at < size;) {
        u64 end = size - at < SCRUB_STEP ? size : at + SCRUB_STEP;
        bool cached = scrub_cached(fd, at);
        int rc = scrub_step(fd, &h, at, end);
        if (rc < 0)
            return rc;
        if (!cached)
            (void)posix_fadvise(fd, (off_t)at, (off_t)(end - at), POSIX_FADV_DONTNEED);
        at = end;
        if (pace && at < size && !pace(arg))
            return ERR_CANCELED;
    }
    struct digest got;
    hasher_digest(&h, &got);
    return digest_equal(&got, d) ? 0 : ERR_CORRUPT;
}
