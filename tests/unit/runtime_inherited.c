/* runtime_inherited.c - tests of runtime/inherited.h: a listener that somebody else holds is found
 * by its address, once, and only by the process that it is meant for; a stream that nobody left is
 * no file of ours. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/inherited.h"

static struct sockaddr_in bound;

static int make(int type, int listens)
{
    socklen_t len = sizeof(bound);
    int fd = socket(AF_INET, type, 0);
    memset(&bound, 0, sizeof(bound));
    bound.sin_family = AF_INET;
    bound.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&bound, sizeof(bound)), 0);
    if (listens)
        assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&bound, &len), 0);
    return fd;
}

static void say(long pid, const char *fds)
{
    char text[32];
    snprintf(text, sizeof(text), "%ld", pid);
    assert_int_equal(setenv("LISTEN_PID", text, 1), 0);
    assert_int_equal(setenv("LISTEN_FDS", fds, 1), 0);
}

static int take(void)
{
    return inherited_listener((struct sockaddr *)&bound, sizeof(bound));
}

/* In a child, whose descriptors from 3 on are the test's own. */
static void in_child(void (*test)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        for (int fd = 3; fd < 256; fd++)
            (void)close(fd);
        test();
        _exit(7);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void found_once(void)
{
    assert_int_equal(make(SOCK_DGRAM, 0), 3);
    assert_int_equal(make(SOCK_STREAM, 1), 4);
    say(getpid(), "2");
    struct sockaddr_in here = bound;
    bound.sin_port ^= 0x100;
    assert_int_equal(take(), -1); /* another port */
    bound = here;
    assert_int_equal(take(), 4);
    assert_true(fcntl(4, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(4, F_GETFL) & O_NONBLOCK);
    assert_int_equal(take(), -1);
}

static void not_ours(void)
{
    assert_int_equal(make(SOCK_STREAM, 1), 3);
    say(getpid() + 1, "1");
    assert_int_equal(take(), -1);
    static const char *const bad[] = {"", "0", "-1", "x", "1x", "99999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        say(getpid(), bad[i]);
        assert_int_equal(take(), -1);
    }
    unsetenv("LISTEN_FDS");
    assert_int_equal(take(), -1);
}

static void no_listener(void)
{
    assert_int_equal(make(SOCK_STREAM, 0), 3); /* bound, and does not listen */
    say(getpid(), "4");                        /* more than there are */
    assert_int_equal(take(), -1);
    assert_int_equal(listen(3, 5), 0);
    say(getpid(), "9223372036854775807"); /* a number, at least */
    assert_int_equal(take(), 3);
}

/* None is open, as after `<&- >&- 2>&-`. */
static void streams_are_filled(void)
{
    for (int fd = 0; fd < 3; fd++)
        (void)close(fd);
    inherited_streams();
    bool filled = open("/dev/null", O_RDONLY) == 3; /* and no more than they */
    for (int fd = 0; fd < 3; fd++)
        filled &= (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR;
    if (!filled)
        _exit(1);
}

static void streams_that_are_there_stay(void)
{
    int ends[2];
    if (pipe(ends) != 0 || dup2(ends[1], 2) != 2)
        _exit(1);
    (void)close(0);
    inherited_streams();
    if (fcntl(0, F_GETFL) < 0 || (fcntl(2, F_GETFL) & O_ACCMODE) != O_WRONLY)
        _exit(1);
}

static void test_found_once(void **state)
{
    (void)state;
    in_child(found_once);
}
static void test_not_ours(void **state)
{
    (void)state;
    in_child(not_ours);
}
static void test_no_listener(void **state)
{
    (void)state;
    in_child(no_listener);
}
static void test_streams(void **state)
{
    (void)state;
    in_child(streams_are_filled);
    in_child(streams_that_are_there_stay);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found_once),
        cmocka_unit_test(test_not_ours),
        cmocka_unit_test(test_no_listener),
        cmocka_unit_test(test_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
