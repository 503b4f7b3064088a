/* mark.c - the lock file, the boot id and the clean mark.
 *
 * The clean mark's removal is fsynced before the index is touched: were it to come back after a
 * power cut, a damaged index would be trusted. */
#include "store/mark.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define MARK_LINE_SIZE 128 /* the lock file's fixed length */
#define MARK_WAIT_MS   300
#define MARK_RETRY_MS  10
#define MARK_BOOT_PATH "/proc/sys/kernel/random/boot_id"

static void mark_read_boot(char boot[MARK_BOOT_SIZE])
{
    boot[0] = '\0';
    int fd = open(MARK_BOOT_PATH, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, boot, MARK_BOOT_SIZE - 1);
    close(fd);
    boot[n > 0 ? n : 0] = '\0';
    boot[strcspn(boot, " \n")] = '\0';
}

/* Reads the lock file's line; pid 0 and boot "" for whatever it does not hold. */
static void mark_read_line(int fd, long *pid, char boot[MARK_BOOT_SIZE])
{
    char line[MARK_LINE_SIZE + 1];
    ssize_t n = pread(fd, line, MARK_LINE_SIZE, 0);
    line[n > 0 ? n : 0] = '\0';
    *pid = 0;
    boot[0] = '\0';
    static const char head[] = "dray-store 1 pid ", tail[] = " boot ";
    if (strncmp(line, head, sizeof(head) - 1) != 0)
        return;
    char *at;
    *pid = strtol(line + sizeof(head) - 1, &at, 10);
    if (strncmp(at, tail, sizeof(tail) - 1) != 0)
        return;
    at += sizeof(tail) - 1;
    at[strcspn(at, " \n")] = '\0';
    if (strlen(at) < MARK_BOOT_SIZE && strcmp(at, "-") != 0)
        snprintf(boot, MARK_BOOT_SIZE, "%s", at);
}

static int mark_write_line(int fd, const char *boot)
{
    char line[MARK_LINE_SIZE + 1];
    int n = snprintf(line, sizeof(line), "dray-store 1 pid %ld boot %s", (long)getpid(),
                     boot[0] ? boot : "-");
    assert(n > 0 && n < MARK_LINE_SIZE);
    memset(line + n, ' ', (size_t)(MARK_LINE_SIZE - n));
    line[MARK_LINE_SIZE - 1] = '\n';
    errno = ENOSPC; /* what a short write means */
    if (pwrite(fd, line, MARK_LINE_SIZE, 0) != MARK_LINE_SIZE)
        return layout_err(errno);
    return fsync(fd) < 0 ? layout_err(errno) : 0;
}

static int mark_refusal(const struct layout *l, const char *what, int errnum, char why[LAYOUT_WHY])
{
    int err = layout_err(errnum);
    if (errnum == EACCES || errnum == EISDIR || errnum == ELOOP || errnum == EPERM)
        err = ERR_INVAL;
    return layout_why(why, err, "store %.100s: cannot write its file '%s': %s: %s", l->path, what,
                      strerror(errnum),
                      err == ERR_NOSPACE ? "free some space on this disk"
                                         : "check who owns it and the disk");
}

/* 0, or an errno. A process that was killed a moment ago may take another to let go: its child that
 * walks the index holds the lock until it has closed it. */
static int mark_lock(int fd)
{
    static const struct timespec pause = {.tv_nsec = MARK_RETRY_MS * 1000000};
    for (int waited_ms = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited_ms += MARK_RETRY_MS) {
        if (errno != EINTR && (errno != EWOULDBLOCK || waited_ms >= MARK_WAIT_MS))
            return errno;
        nanosleep(&pause, NULL);
    }
    return 0;
}

int mark_take(struct mark *m, const struct layout *l, const char *boot_id, char why[LAYOUT_WHY])
{
    memset(m, 0, sizeof(*m));
    m->fresh = faccessat(l->root_fd, "lock", F_OK, AT_SYMLINK_NOFOLLOW) != 0;
    m->lock_fd = openat(l->root_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (m->lock_fd < 0)
        return mark_refusal(l, "lock", errno, why);
    long pid;
    int errnum = mark_lock(m->lock_fd);
    mark_read_line(m->lock_fd, &pid, m->last_boot);
    if (errnum != 0) {
        int err = mark_refusal(l, "lock", errnum, why);
        if (errnum == EWOULDBLOCK)
            err = layout_why(why, ERR_BUSY,
                             "store %.100s is in use by process %ld: stop that one, or give this "
                             "one a path of its own",
                             l->path, pid);
        mark_release(m);
        return err;
    }

    if (boot_id)
        snprintf(m->boot, sizeof(m->boot), "%s", boot_id);
    else
        mark_read_boot(m->boot);
    m->same_boot = m->boot[0] && strcmp(m->boot, m->last_boot) == 0;
    m->clean = faccessat(l->root_fd, "clean", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    /* Our pid at once, for whoever is refused; the boot only when the index is good for it. */
    int rc = mark_write_line(m->lock_fd, m->last_boot);
    if (rc < 0) {
        rc = mark_refusal(l, "lock", errno, why);
        mark_release(m);
    }
    return rc;
}

int mark_running(struct mark *m, const struct layout *l, char why[LAYOUT_WHY])
{
    if (unlinkat(l->root_fd, "clean", 0) < 0 && errno != ENOENT)
        return mark_refusal(l, "clean", errno, why);
    if (mark_write_line(m->lock_fd, m->boot) < 0)
        return mark_refusal(l, "lock", errno, why);
    if (fsync(l->root_fd) < 0)
        return mark_refusal(l, "lock", errno, why);
    return 0;
}

int mark_clean(struct mark *m, const struct layout *l)
{
    int fd = openat(l->root_fd, "clean.tmp",
                    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return layout_err(errno);
    size_t len = strlen(m->boot);
    bool ok = write(fd, m->boot, len) == (ssize_t)len && fsync(fd) == 0;
    int rc = ok ? 0 : ERR_IO;
    close(fd);
    if (rc == 0 &&
        (renameat(l->root_fd, "clean.tmp", l->root_fd, "clean") < 0 || fsync(l->root_fd) < 0))
        rc = layout_err(errno);
    if (rc < 0)
        unlinkat(l->root_fd, "clean.tmp", 0);
    return rc;
}

void mark_release(struct mark *m)
{
    if (m->lock_fd >= 0)
        close(m->lock_fd);
    m->lock_fd = -1;
}
