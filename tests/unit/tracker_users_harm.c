/* tracker_users_harm.c - tests of tracker/users.h when it is harmed: a disk that takes no more, and
 * a process killed while it writes. What was acknowledged stays, nothing else is claimed. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sodium.h>

#include "proto/limits.h"
#include "proto/rng.h"
#include "tests/unit/remove_tree.h"
#include "tracker/users.h"

#define BULK 200 /* of one request: several pages */

static char dir[64];
static uv_loop_t loop;
static struct pool *disk;

static int begin(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/dray-users-XXXXXX");
    return sodium_init() < 0 || !mkdtemp(dir);
}

static int end(void **state)
{
    (void)state;
    return remove_tree(dir);
}

static struct users *open_users(void)
{
    struct users *u;
    char why[CONF_WHY_MAX] = "";
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(pool_new(&disk, &loop, 1, "disk"), 0);
    if (users_new(&u, dir, disk, why))
        fail_msg("%s", why);
    return u;
}

static void close_users(struct users *u)
{
    while (pool_pending(disk))
        uv_run(&loop, UV_RUN_ONCE);
    users_del(u);
    pool_del(disk);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void on_done(void *arg, int rc)
{
    *(int *)arg = rc;
}

/* Profiles "<round>-0" to "<round>-<BULK - 1>", in one request. */
static int put(struct users *u, unsigned round)
{
    static struct ledger_entry all[BULK];
    int rc = 1;
    for (unsigned i = 0; i < BULK; i++) {
        all[i] = (struct ledger_entry){.kind = LEDGER_PROFILE};
        snprintf(all[i].name, sizeof(all[i].name), "%u-%u", round, i);
        snprintf(all[i].value, sizeof(all[i].value), "office");
    }
    assert_int_equal(users_change(u, all, BULK, on_done, &rc), 0);
    while (rc == 1)
        uv_run(&loop, UV_RUN_ONCE);
    return rc;
}

static unsigned kept(struct users *u, unsigned round)
{
    unsigned n = 0;
    char name[64];
    for (unsigned i = 0; i < BULK; i++) {
        snprintf(name, sizeof(name), "%u-%u", round, i);
        n += users_cache(u, name) != NULL;
    }
    return n;
}

/* Opens, or says what to do. */
static bool opens(void)
{
    struct users *u;
    char why[CONF_WHY_MAX] = "";
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(pool_new(&disk, &loop, 1, "disk"), 0);
    int rc = users_new(&u, dir, disk, why);
    if (rc)
        assert_true(strlen(why) > 20);
    if (rc == ERR_CORRUPT)
        assert_non_null(strstr(why, "Move it away"));
    close_users(u);
    return rc == 0;
}

/* Bytes of the file change on the disk: it is said, and never ends in a signal. */
static void a_file_that_went_bad(void **state)
{
    static u8 good[8 * MIB], bad[8 * MIB];
    char file[128];
    struct rng rng;
    unsigned refused = 0;
    (void)state;
    struct users *u = open_users();
    for (unsigned round = 0; round < 6; round++)
        assert_int_equal(put(u, round), 0);
    close_users(u);
    snprintf(file, sizeof(file), "%s/ledger/data.mdb", dir);
    int fd = open(file, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t n = pread(fd, good, sizeof(good), 0);
    assert_true(n > 20 * 4096 && n < (ssize_t)sizeof(good));
    rng_seed(&rng, 1);
    for (unsigned round = 0; round < 60; round++) {
        memcpy(bad, good, (size_t)n);
        size_t len = (size_t)n, page = 4096 * rng_below(&rng, len / 4096);
        for (unsigned i = 0; round % 5 == 0 && i < 40; i++)
            bad[rng_below(&rng, len)] ^= (u8)(1u << rng_below(&rng, 8));
        if (round % 5 == 1)
            rng_bytes(&rng, bad + page, 64);
        else if (round % 5 == 2)
            rng_bytes(&rng, bad + 4096 * rng_below(&rng, 2) + 24 + rng_below(&rng, 120), 8);
        else if (round % 5 == 3)
            memset(bad + page, 0, 4096);
        else if (round % 5 == 4)
            len = page;
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, bad, len, 0), len);
        if (!opens()) {
            refused++;
        } else { /* what is believed can be written to */
            u = open_users();
            (void)put(u, 100 + round);
            close_users(u);
        }
    }
    assert_true(refused > 20);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(pwrite(fd, good, (size_t)n, 0), n);
    assert_int_equal(close(fd), 0);
    u = open_users();
    for (unsigned round = 0; round < 6; round++)
        assert_int_equal(kept(u, round), BULK);
    close_users(u);
}

static void a_disk_that_takes_no_more(void **state)
{
    struct rlimit was, small;
    struct stat st;
    char file[128];
    unsigned round = 0, refused;
    (void)state;
    struct users *u = open_users();
    assert_int_equal(put(u, round++), 0);
    snprintf(file, sizeof(file), "%s/ledger/data.mdb", dir);
    assert_int_equal(stat(file, &st), 0);
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    small = was;
    small.rlim_cur = (rlim_t)st.st_size;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    while (put(u, round) == 0)
        assert_true(++round < 100);
    refused = round++;
    assert_int_equal(kept(u, refused), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(put(u, round), 0); /* and goes on when there is room */
    close_users(u);
    u = open_users();
    for (unsigned r = 0; r <= round; r++)
        assert_int_equal(kept(u, r), r == refused ? 0 : BULK);
    close_users(u);
}

/* Writes until it is killed, and says after each round that it was acknowledged. */
static void write_on(int out)
{
    struct users *u = open_users();
    for (unsigned round = 0;; round++)
        if (put(u, round) || write(out, "+", 1) != 1)
            _exit(1);
}

static void a_process_that_is_killed(void **state)
{
    (void)state;
    for (unsigned kill_after = 1; kill_after < 12; kill_after += 3) {
        int ends[2];
        char one;
        unsigned said = 0;
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            write_on(ends[1]);
        close(ends[1]);
        while (said < kill_after && read(ends[0], &one, 1) == 1)
            said++;
        assert_int_equal(kill(pid, SIGKILL), 0);
        while (read(ends[0], &one, 1) == 1)
            said++;
        close(ends[0]);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_true(said >= kill_after);
        struct users *u = open_users();
        for (unsigned r = 0; r < said; r++)
            assert_int_equal(kept(u, r), BULK);
        unsigned last = kept(u, said);
        assert_true(last == 0 || last == BULK); /* all of a request, or nothing */
        close_users(u);
        assert_int_equal(end(NULL) || begin(NULL), 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(a_file_that_went_bad), TEST(a_process_that_is_killed),
                                       TEST(a_disk_that_takes_no_more)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
