/* inherited.c - see inherited.h. A descriptor that was taken is told by its close-on-exec flag,
 * which the convention leaves unset. */
#include "runtime/inherited.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_FD 3
#define FDS_MAX  64

static long number(const char *name)
{
    const char *text = getenv(name);
    char *end;
    errno = 0;
    long n = text && *text ? strtol(text, &end, 10) : -1;
    return n >= 0 && *end == '\0' && errno == 0 ? n : -1;
}

static bool is_listener_at(int fd, const struct sockaddr *address, socklen_t len)
{
    struct sockaddr_storage bound;
    socklen_t n = sizeof(bound);
    int type = 0, listens = 0;
    socklen_t size = sizeof(int);
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM &&
           getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens &&
           getsockname(fd, (struct sockaddr *)&bound, &n) == 0 && n == len &&
           memcmp(&bound, address, len) == 0;
}

void inherited_streams(void)
{
    int fd;
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd < FIRST_FD)
        ;
    if (fd >= 0)
        close(fd);
}

int inherited_listener(const struct sockaddr *address, socklen_t len)
{
    long n = number("LISTEN_PID") == (long)getpid() ? number("LISTEN_FDS") : 0;
    for (int fd = FIRST_FD; fd - FIRST_FD < n && fd < FIRST_FD + FDS_MAX; fd++) {
        int flags = fcntl(fd, F_GETFD), mode = fcntl(fd, F_GETFL);
        if (flags < 0 || mode < 0 || (flags & FD_CLOEXEC) || !is_listener_at(fd, address, len))
            continue;
        if (fcntl(fd, F_SETFD, flags | FD_CLOEXEC) == 0 &&
            fcntl(fd, F_SETFL, mode | O_NONBLOCK) == 0)
            return fd;
    }
    return -1;
}
