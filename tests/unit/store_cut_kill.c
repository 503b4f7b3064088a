/* store_cut_kill.c - tests of ingests in pieces, killed at each of their system calls in turn: what
 * is there after that has the right bytes, and what was there before is there still. */
#include "store_fixture.h"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "proto/pieces.h"

#define PIECE     PIECE_MIN_BYTES
#define PIECES    5u
#define BLOB      (4 * PIECE + 777)
#define PREFIX    (2 * PIECE + 5)
#define CALLS_MAX 200
#define OTHERS    7u /* in a full store */
#define SKIPPED   77

static int begin_cut(struct fixture *f, bool unsure, struct store_ingest **i)
{
    struct store_ingest_options opt = {
        .digest = fixture_digest(1, BLOB), .size = BLOB, .now_ms = f->now_ms, .unsure = unsure};
    return store_ingest_begin_cut(f->store, &opt, i);
}

static int write_piece(struct store_ingest *i, const u8 *bytes, u32 p)
{
    return store_ingest_write_piece(i, p, bytes + piece_first(BLOB, p));
}

/* In the child; stopped for the parent before what counts. Where the store is full, room is made
 * once the size is sure. */
static void work(struct fixture *f, bool full)
{
    struct store_ingest *i;
    u8 *bytes = fixture_bytes(1, BLOB);
    if (fixture_try_open(f))
        _exit(1);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
        _exit(SKIPPED);
    raise(SIGSTOP);
    if (begin_cut(f, full, &i) || (full && store_ingest_is_reserved(i)) ||
        store_ingest_reserve_cut(i) || write_piece(i, bytes, 4) || write_piece(i, bytes, 3))
        _exit(1);
    store_ingest_forget_piece(i, 4);
    _exit(0);
}

/* Lets it make so many calls, each seen twice, and kills it. True: it had ended before. */
static bool killed_after(struct fixture *f, bool full, unsigned stops)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        work(f, full);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    for (unsigned n = 0; n < stops && WIFSTOPPED(status); n++) {
        assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
    }
    if (!WIFSTOPPED(status)) {
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == SKIPPED) {
            print_message("processes may not be traced here\n");
            exit(SKIPPED);
        }
        assert_int_equal(WEXITSTATUS(status), 0);
        return true;
    }
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return false;
}

static void put_other(struct fixture *f, unsigned n)
{
    struct digest d = fixture_digest(n, 512 * KIB);
    struct store_blob *b;
    if (store_pin(f->store, &d, f->now_ms, &b))
        fixture_put(f, n, 512 * KIB);
    else
        store_unpin(f->store, b);
}

static void leave_prefix(struct fixture *f, bool full)
{
    struct store_ingest *i;
    fixture_open(f);
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), 0);
    fixture_feed(i, 1, BLOB, 0, PREFIX);
    store_ingest_keep(i);
    for (unsigned n = 0; full && n < OTHERS; n++)
        put_other(f, 2 + n);
    fixture_kill(f);
}

static void expect_right(struct fixture *f, bool full, unsigned stops)
{
    struct store_ingest *i;
    u8 *bytes = fixture_bytes(1, BLOB), *back = malloc(PIECE);
    assert_non_null(back);
    fixture_open(f);
    assert_true(!full || fixture_stats(f).blobs >= OTHERS - 1);
    assert_int_equal(begin_cut(f, full, &i), 0);
    for (u32 p = 0; p < PIECES; p++) {
        if (!store_ingest_has_piece(i, p)) {
            if (p < PREFIX / PIECE)
                fail_msg("piece %u is lost, after %u stops", p, stops);
            continue;
        }
        assert_int_equal(store_ingest_read_piece(i, p, back), 0);
        if (memcmp(back, bytes + piece_first(BLOB, p), piece_bytes(BLOB, p)) != 0)
            fail_msg("piece %u is said to be there, and is not, after %u stops", p, stops);
    }
    store_ingest_drop(i);
    assert_int_equal(fixture_stats(f).used_bytes, full ? fixture_disk(f) : 0);
    fixture_close(f);
    free(bytes);
    free(back);
}

static void kill_at_each_call(struct fixture *f, bool full)
{
    unsigned stops = 0;
    f->capacity = full ? 4 * MIB : 16 * MIB;
    for (bool ended = false; !ended; stops++) {
        assert_true(stops < CALLS_MAX);
        leave_prefix(f, full);
        ended = killed_after(f, full, stops);
        expect_right(f, full, stops);
    }
    assert_true(stops > 10);
}

static void killed_at_each_call(void **state)
{
    kill_at_each_call(*state, false);
}

/* Nothing goes for a size that is hearsay; and what was there stays while room is made. */
static void killed_in_a_full_store(void **state)
{
    kill_at_each_call(*state, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {FIXTURE_TEST(killed_at_each_call),
                                       FIXTURE_TEST(killed_in_a_full_store)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
