/* runtime_notify.c - tests of runtime/notify.h against sockets of our own, named both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "runtime/notify.h"

static char name[64];
static char got[1024];
static int fd = -1;

/* `text` is what NOTIFY_SOCKET says: a path or @name. */
static void listen_as(const char *text)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t len = strlen(text);

    memcpy(sa.sun_path, text, len);
    if (text[0] == '@')
        sa.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(
        bind(fd, (struct sockaddr *)&sa,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (text[0] == '/'))),
        0);
    setenv("NOTIFY_SOCKET", text, 1);
}

static const char *received(void)
{
    ssize_t n = recv(fd, got, sizeof(got) - 1, 0);

    if (n < 0)
        return NULL;
    got[n] = '\0';
    return got;
}

static int setup(void **state)
{
    (void)state;
    snprintf(name, sizeof(name), "/tmp/notify-test-%d", (int)getpid());
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (fd >= 0)
        close(fd);
    fd = -1;
    unlink(name);
    unsetenv("NOTIFY_SOCKET");
    return 0;
}

static void tells_everything(void **state)
{
    struct timespec ts;
    uint64_t usec, now;
    char *end;

    (void)state;
    listen_as(name);
    notify_ready("serving 5 blobs");
    assert_string_equal(received(), "READY=1\nSTATUS=serving 5 blobs");
    notify_ready(NULL);
    assert_string_equal(received(), "READY=1");
    notify_status("draining");
    assert_string_equal(received(), "STATUS=draining");
    notify_stopping();
    assert_string_equal(received(), "STOPPING=1");
    notify_watchdog();
    assert_string_equal(received(), "WATCHDOG=1");
    notify_reloading();
    assert_memory_equal(received(), "RELOADING=1\nMONOTONIC_USEC=", 27);
    usec = strtoull(got + 27, &end, 10);
    assert_string_equal(end, "");
    clock_gettime(CLOCK_MONOTONIC, &ts);
    now = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
    assert_in_range(usec, now - 60000000, now);
    assert_null(received());
}

static void abstract_names(void **state)
{
    (void)state;
    name[0] = '@';
    listen_as(name);
    notify_ready("x");
    assert_string_equal(received(), "READY=1\nSTATUS=x");
}

/* A status must not become an assignment of its own, nor grow without end. */
static void status_is_one_line(void **state)
{
    char longest[2000];

    (void)state;
    listen_as(name);
    notify_status("a\nREADY=1\r\x7f");
    assert_string_equal(received(), "STATUS=a READY=1  ");
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    notify_ready(longest);
    assert_in_range(strlen(received()), 400, 520);
}

static void nobody_to_tell(void **state)
{
    char longest[300];

    (void)state;
    unsetenv("NOTIFY_SOCKET");
    notify_ready("x");
    setenv("NOTIFY_SOCKET", "", 1);
    notify_ready("x");
    setenv("NOTIFY_SOCKET", "relative", 1);
    notify_ready("x");
    setenv("NOTIFY_SOCKET", "@", 1);
    notify_ready("x");
    setenv("NOTIFY_SOCKET", "/tmp/nobody-listens-here", 1);
    notify_ready("x");
    memset(longest, 'x', sizeof(longest));
    longest[0] = '/';
    longest[sizeof(longest) - 1] = '\0';
    setenv("NOTIFY_SOCKET", longest, 1);
    notify_ready("x");
    /* And one that does not read any more: nothing waits. */
    listen_as(name);
    for (int i = 0; i < 5000; i++)
        notify_watchdog();
    assert_string_equal(received(), "WATCHDOG=1");
}

static void watchdog_interval(void **state)
{
    char pid[32];

    (void)state;
    assert_int_equal(notify_watchdog_interval_ms(), 0);
    setenv("WATCHDOG_USEC", "30000000", 1);
    assert_int_equal(notify_watchdog_interval_ms(), 15000);
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    setenv("WATCHDOG_PID", pid, 1);
    assert_int_equal(notify_watchdog_interval_ms(), 15000);
    setenv("WATCHDOG_PID", "1", 1); /* meant for another process */
    assert_int_equal(notify_watchdog_interval_ms(), 0);
    setenv("WATCHDOG_PID", "x", 1);
    assert_int_equal(notify_watchdog_interval_ms(), 0);
    unsetenv("WATCHDOG_PID");
    setenv("WATCHDOG_USEC", "5", 1);
    assert_int_equal(notify_watchdog_interval_ms(), 1);
    setenv("WATCHDOG_USEC", "0", 1);
    assert_int_equal(notify_watchdog_interval_ms(), 0);
    setenv("WATCHDOG_USEC", "5s", 1);
    assert_int_equal(notify_watchdog_interval_ms(), 0);
    setenv("WATCHDOG_USEC", "99999999999999999999999", 1);
    assert_int_equal(notify_watchdog_interval_ms(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tells_everything, setup, teardown),
        cmocka_unit_test_setup_teardown(abstract_names, setup, teardown),
        cmocka_unit_test_setup_teardown(status_is_one_line, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_to_tell, setup, teardown),
        cmocka_unit_test_setup_teardown(watchdog_interval, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
