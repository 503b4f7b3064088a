/* layout.c - paths, folders, and the order of fsync and rename that makes a blob appear whole.
 *
 * A rename is durable only when the folder that received the name was fsynced, and that folder only
 * when its own parent was. So: file, prefix folder's parent (once per prefix and process), rename,
 * prefix folder. A power cut between any two leaves either a partial or a whole blob. */
#include "store/layout.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LAYOUT_DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)

int layout_err(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT: return ERR_NOSPACE;
    case EMFILE:
    case ENFILE: return ERR_FULL;
    case ENOMEM: return ERR_NOMEM;
    case ENOENT: return ERR_NOTFOUND;
    default: return ERR_IO;
    }
}

int layout_why(char why[LAYOUT_WHY], int err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, LAYOUT_WHY, format, args);
    va_end(args);
    return err;
}

/* Why a system call on PATH or something below it failed, and the remedy. Paths are cut: the advice
 * must fit. */
static int layout_refusal(const struct layout *l, const char *below, int errnum,
                          char why[LAYOUT_WHY])
{
    const char *remedy = "check the path and the disk";
    int err = layout_err(errnum);
    if (errnum == EACCES || errnum == EPERM) {
        remedy = "give the folder to the user that runs this program (chown), or choose another";
        err = ERR_INVAL;
    } else if (errnum == ENOTDIR || errnum == ELOOP || errnum == EEXIST) {
        remedy = "something that is not a folder is in the way: choose another path";
        err = ERR_INVAL;
    } else if (errnum == ENOENT) {
        remedy = "make its parent folder first";
        err = ERR_INVAL;
    } else if (errnum == EROFS) {
        remedy = "the file system is mounted read-only: mount it read-write, or choose another";
        err = ERR_INVAL;
    } else if (err == ERR_NOSPACE) {
        remedy = "free some space on this disk";
    } else if (err == ERR_FULL) {
        remedy = "raise the limit on open files";
    }
    return layout_why(why, err, "store %.100s%s: %s: %s", l->path, below, strerror(errnum), remedy);
}

static void layout_clear(struct layout *l)
{
    memset(l, 0, sizeof(*l));
    l->root_fd = l->ingest_fd = -1;
    for (int alg = 0; alg < LAYOUT_ALGS; alg++)
        l->alg_fd[alg] = -1;
}

int layout_open(struct layout *l, const char *path, char why[LAYOUT_WHY])
{
    layout_clear(l);
    if (!path || path[0] == '\0')
        return layout_why(why, ERR_INVAL, "the store has no path: set store.path");
    if (strlen(path) > LAYOUT_PATH_MAX)
        return layout_why(why, ERR_INVAL, "the store's path is longer than %d bytes: shorten it",
                          LAYOUT_PATH_MAX);
    snprintf(l->path, sizeof(l->path), "%s", path);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return layout_refusal(l, "", errno, why);
    l->root_fd = open(path, LAYOUT_DIR_FLAGS);
    if (l->root_fd < 0)
        return layout_refusal(l, "", errno, why);

    /* Absolute from here on: LMDB takes a path, and a daemon may change its folder. */
    char *absolute = realpath(path, NULL);
    size_t len = absolute ? strlen(absolute) : 0;
    if (absolute && len <= LAYOUT_PATH_MAX)
        memcpy(l->path, absolute, len + 1);
    free(absolute);

    /* Foreign files in our folders are removed, so the folders must be ours. */
    if (faccessat(l->root_fd, "blobs", F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
        faccessat(l->root_fd, "lock", F_OK, AT_SYMLINK_NOFOLLOW) != 0) {
        int err = layout_why(why, ERR_INVAL,
                             "store %.100s: there is a folder 'blobs' but no file 'lock', so this "
                             "is no store of ours: choose an empty folder",
                             l->path);
        layout_close(l);
        return err;
    }
    return 0;
}

/* Makes and opens one folder. */
static int layout_folder(struct layout *l, const char *below, int *fd, char why[LAYOUT_WHY])
{
    if (mkdirat(l->root_fd, below + 1, 0700) == 0)
        l->made = true;
    else if (errno != EEXIST)
        return layout_refusal(l, below, errno, why);
    int opened = openat(l->root_fd, below + 1, LAYOUT_DIR_FLAGS | O_NOFOLLOW);
    if (opened < 0)
        return layout_refusal(l, below, errno, why);
    *fd = opened;
    return 0;
}

int layout_make(struct layout *l, char why[LAYOUT_WHY])
{
    int blobs_fd = -1, index_fd = -1;
    int rc = layout_folder(l, "/blobs", &blobs_fd, why);
    if (rc == 0)
        rc = layout_folder(l, "/ingest", &l->ingest_fd, why);
    if (rc == 0)
        rc = layout_folder(l, "/index", &index_fd, why);
    if (rc == 0)
        rc = layout_folder(l, "/blobs/sha256", &l->alg_fd[DIGEST_SHA256], why);
    if (rc == 0)
        rc = layout_folder(l, "/blobs/sha512", &l->alg_fd[DIGEST_SHA512], why);
    if (rc == 0 && l->made && (fsync(blobs_fd) < 0 || fsync(l->root_fd) < 0))
        rc = layout_refusal(l, "", errno, why);
    if (blobs_fd >= 0)
        close(blobs_fd);
    if (index_fd >= 0)
        close(index_fd);
    return rc;
}

void layout_close(struct layout *l)
{
    if (l->root_fd >= 0)
        close(l->root_fd);
    if (l->ingest_fd >= 0)
        close(l->ingest_fd);
    for (int alg = 0; alg < LAYOUT_ALGS; alg++)
        if (l->alg_fd[alg] >= 0)
            close(l->alg_fd[alg]);
    layout_clear(l);
}

void layout_blob_name(const struct digest *d, char name[LAYOUT_NAME_SIZE])
{
    char hex[DIGEST_TEXT_SIZE];
    digest_format_hex(d, hex);
    snprintf(name, LAYOUT_NAME_SIZE, "%.2s/%s", hex, hex);
}

void layout_partial_name(const struct digest *d, char name[LAYOUT_NAME_SIZE])
{
    size_t len = digest_format(d, name);
    char *colon = memchr(name, ':', len);
    assert(colon);
    *colon = '-'; /* a colon troubles some tools */
}

bool layout_blob_parse(struct digest *d, enum digest_alg alg, const char *prefix, const char *hex)
{
    char text[DIGEST_TEXT_SIZE];
    int len = snprintf(text, sizeof(text), "%s:%s", digest_alg_name(alg), hex);
    return len > 0 && (size_t)len < sizeof(text) && digest_parse(d, text, (size_t)len) == 0 &&
           d->alg == alg && strncmp(prefix, hex, 2) == 0 && prefix[2] == '\0';
}

bool layout_partial_parse(struct digest *d, const char *name)
{
    char text[DIGEST_TEXT_SIZE];
    size_t len = strlen(name);
    if (len >= sizeof(text))
        return false;
    memcpy(text, name, len + 1);
    char *dash = memchr(text, '-', len);
    if (!dash || memchr(text, ':', len))
        return false;
    *dash = ':';
    return digest_parse(d, text, len) == 0;
}

/* The prefix folder, open, with its own name durable. */
static int layout_prefix_open(struct layout *l, const struct digest *d, const char *name, int *fd)
{
    char prefix[3] = {name[0], name[1], '\0'};
    _Atomic bool *kept = &l->prefix_kept[d->alg][d->bytes[0]];
    int alg_fd = l->alg_fd[d->alg];
    if (!atomic_load(kept)) {
        if (mkdirat(alg_fd, prefix, 0700) < 0 && errno != EEXIST)
            return layout_err(errno);
        if (fsync(alg_fd) < 0)
            return layout_err(errno);
        atomic_store(kept, true);
    }
    *fd = openat(alg_fd, prefix, LAYOUT_DIR_FLAGS | O_NOFOLLOW);
    if (*fd < 0)
        return errno == ENOENT ? ERR_IO : layout_err(errno);
    return 0;
}

int layout_publish(struct layout *l, const struct digest *d, int fd, bool *moved)
{
    char from[LAYOUT_NAME_SIZE], to[LAYOUT_NAME_SIZE];
    layout_partial_name(d, from);
    layout_blob_name(d, to);
    *moved = false;
    int prefix_fd;
    int rc = layout_prefix_open(l, d, to, &prefix_fd);
    if (rc < 0) {
        atomic_store(&l->prefix_kept[d->alg][d->bytes[0]], false); /* made again next time */
        return rc;
    }
    if (fchmod(fd, 0444) < 0 || fsync(fd) < 0 ||
        renameat(l->ingest_fd, from, prefix_fd, to + 3) < 0) {
        rc = layout_err(errno);
        goto out;
    }
    *moved = true;
    if (fsync(prefix_fd) < 0)
        rc = layout_err(errno);
out:
    close(prefix_fd);
    return rc == ERR_NOTFOUND ? ERR_IO : rc;
}

int layout_blob_open(const struct layout *l, const struct digest *d)
{
    char name[LAYOUT_NAME_SIZE];
    layout_blob_name(d, name);
    int fd = openat(l->alg_fd[d->alg], name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    return fd < 0 ? layout_err(errno) : fd;
}

int layout_partial_open(const struct layout *l, const struct digest *d)
{
    char name[LAYOUT_NAME_SIZE];
    layout_partial_name(d, name);
    int fd = openat(l->ingest_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    return fd < 0 ? layout_err(errno) : fd;
}

static int layout_unlink(int dir_fd, const char *name)
{
    return unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT ? 0 : ERR_IO;
}

int layout_blob_unlink(const struct layout *l, const struct digest *d)
{
    char name[LAYOUT_NAME_SIZE];
    layout_blob_name(d, name);
    return layout_unlink(l->alg_fd[d->alg], name);
}

int layout_partial_unlink(const struct layout *l, const struct digest *d)
{
    char name[LAYOUT_NAME_SIZE];
    layout_partial_name(d, name);
    return layout_unlink(l->ingest_fd, name);
}

bool layout_discard(int dir_fd, const char *name)
{
    return unlinkat(dir_fd, name, 0) == 0 || unlinkat(dir_fd, name, AT_REMOVEDIR) == 0;
}

u64 layout_free_bytes(const struct layout *l)
{
    struct statvfs vfs;
    if (fstatvfs(l->root_fd, &vfs) < 0 || vfs.f_blocks == 0)
        return UINT64_MAX;
    return (u64)vfs.f_bavail * vfs.f_frsize;
}
