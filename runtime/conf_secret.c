/* conf_secret.c - small files that hold a key or a password.
 *
 * The file is judged by the descriptor that is then read, so nothing can be exchanged in between.
 * What was read is wiped when it is not handed out. Never blocks on a pipe put in the file's place.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/conf.h"

static int judge(int fd, const char *path, char why[CONF_WHY_MAX])
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        snprintf(why, CONF_WHY_MAX, "%.300s: cannot be read: %s", path, strerror(errno));
        return ERR_IO;
    }
    if (!S_ISREG(st.st_mode)) {
        snprintf(why, CONF_WHY_MAX, "%.300s: is not a regular file", path);
        return ERR_IO;
    }
    if ((st.st_mode & 077) != 0) {
        snprintf(
            why, CONF_WHY_MAX,
            "%.200s: others than its owner can use this secret (mode %03o); run: chmod 600 %.200s",
            path, (unsigned)(st.st_mode & 0777), path);
        return ERR_DENIED;
    }
    return 0;
}

static int read_secret(int fd, const char *path, char *out, size_t cap, char why[CONF_WHY_MAX])
{
    size_t len = 0;
    ssize_t n;

    while (len < cap) {
        n = read(fd, out + len, cap - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            snprintf(why, CONF_WHY_MAX, "%.300s: cannot be read: %s", path, strerror(errno));
            return ERR_IO;
        }
        if (n == 0)
            break;
        len += (size_t)n;
    }
    if (len == cap) {
        snprintf(why, CONF_WHY_MAX, "%.300s: is larger than %zu bytes: is it the right file?", path,
                 cap - 1);
        return ERR_TOOBIG;
    }
    if (len > 0 && out[len - 1] == '\n')
        len--;
    if (len > 0 && out[len - 1] == '\r')
        len--;
    out[len] = '\0';
    if (len == 0 || strlen(out) != len) {
        snprintf(why, CONF_WHY_MAX, "%.300s: %s", path,
                 len == 0 ? "is empty" : "holds a zero byte: a text file is needed");
        return ERR_INVAL;
    }
    return 0;
}

int conf_secret(const char *path, char *out, size_t cap, char why[CONF_WHY_MAX])
{
    int fd, err;

    assert(cap > 1);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        snprintf(why, CONF_WHY_MAX, "%.300s: %s%s", path, strerror(errno),
                 errno == EACCES ? "; it must belong to the user this daemon runs as" : "");
        return errno == ENOENT || errno == ENOTDIR ? ERR_NOTFOUND : ERR_IO;
    }
    err = judge(fd, path, why);
    if (err == 0) {
        err = read_secret(fd, path, out, cap, why);
        if (err != 0)
            explicit_bzero(out, cap);
    }
    close(fd);
    return err;
}
