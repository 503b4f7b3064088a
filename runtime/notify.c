/* notify.c - see notify.h.
 *
 * The protocol is one datagram of KEY=VALUE lines to the Unix socket that $NOTIFY_SOCKET names: a
 * path, or an abstract name when it starts with `@` (sd_notify(3)). Nothing here waits, and nothing
 * fails loudly: a service manager that does not listen must not harm the service. */
#include "runtime/notify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define NOTIFY_TEXT_MAX 512 /* a status line for a person */

/* False when there is nobody to tell. */
static bool notify_address(struct sockaddr_un *sa, socklen_t *len)
{
    const char *name = getenv("NOTIFY_SOCKET");
    size_t n;

    if (name == NULL || (name[0] != '/' && name[0] != '@'))
        return false;
    n = strlen(name);
    if (n < 2 || n >= sizeof(sa->sun_path))
        return false;
    memset(sa, 0, sizeof(*sa));
    sa->sun_family = AF_UNIX;
    memcpy(sa->sun_path, name, n);
    if (name[0] == '@')
        sa->sun_path[0] = '\0';
    *len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (name[0] == '/'));
    return true;
}

static void notify_send(const char *text)
{
    struct sockaddr_un sa;
    socklen_t len;
    int fd;

    if (!notify_address(&sa, &len))
        return;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&sa, len);
    close(fd);
}

/* A line break in a status would be read as another assignment. */
static void notify_with_status(const char *before, const char *status)
{
    char text[NOTIFY_TEXT_MAX];
    int n;

    n = snprintf(text, sizeof(text), "%sSTATUS=%s", before, status == NULL ? "" : status);
    if (n < 0)
        return;
    for (char *c = text + strlen(before); *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    notify_send(text);
}

void notify_ready(const char *status)
{
    if (status == NULL)
        notify_send("READY=1");
    else
        notify_with_status("READY=1\n", status);
}

void notify_status(const char *status)
{
    notify_with_status("", status);
}

void notify_reloading(void)
{
    char text[80];
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
             (u64)ts.tv_sec * 1000000 + (u64)ts.tv_nsec / 1000);
    notify_send(text);
}

void notify_stopping(void)
{
    notify_send("STOPPING=1");
}

void notify_watchdog(void)
{
    notify_send("WATCHDOG=1");
}

static bool env_u64(const char *name, u64 *out)
{
    const char *text = getenv(name);
    u64 v = 0;

    if (text == NULL || *text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || v > (UINT64_MAX - 9) / 10)
            return false;
        v = v * 10 + (u64)(*text - '0');
    }
    *out = v;
    return true;
}

u64 notify_watchdog_interval_ms(void)
{
    u64 usec, pid;

    if (!env_u64("WATCHDOG_USEC", &usec) || usec == 0)
        return 0;
    /* WATCHDOG_PID names who is watched; a child that inherits the environment is not. */
    if (getenv("WATCHDOG_PID") != NULL && (!env_u64("WATCHDOG_PID", &pid) || pid != (u64)getpid()))
        return 0;
    return usec / 2000 > 0 ? usec / 2000 : 1;
}
