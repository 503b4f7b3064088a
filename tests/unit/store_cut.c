/* store_cut.c - tests of ingests whose pieces come in any order: kept across kill -9, and never
 * sealed before they are closed. */
#include "store_fixture.h"

#include <signal.h>
#include <sys/resource.h>

#include "proto/pieces.h"

#define PIECE  PIECE_MIN_BYTES
#define PIECES 5u
#define BLOB   (4 * PIECE + 777)

static int begin_cut(struct fixture *f, unsigned n, struct store_ingest **i)
{
    struct store_ingest_options opt = {
        .digest = fixture_digest(n, BLOB), .size = BLOB, .now_ms = f->now_ms};
    return store_ingest_begin_cut(f->store, &opt, i);
}

static struct fixture *roomy(void **state)
{
    struct fixture *f = *state;
    f->capacity = 16 * MIB;
    fixture_open(f);
    return f;
}

static void write_piece(struct store_ingest *i, const u8 *bytes, u32 p)
{
    assert_false(store_ingest_has_piece(i, p));
    assert_int_equal(store_ingest_write_piece(i, p, bytes + piece_first(BLOB, p)), 0);
    assert_true(store_ingest_has_piece(i, p));
}

static void any_order(void **state)
{
    struct fixture *f = roomy(state);
    static const u32 order[PIECES] = {3, 4, 0, 2, 1};
    struct store_ingest *i;
    u8 *bytes = fixture_bytes(1, BLOB), *back = malloc(PIECE);
    assert_non_null(back);
    assert_int_equal(begin_cut(f, 1, &i), 0);
    assert_true(store_ingest_is_cut(i));
    for (u32 k = 0; k < PIECES; k++) {
        assert_int_equal(store_ingest_seal(i), ERR_CORRUPT);
        write_piece(i, bytes, order[k]);
        assert_int_equal(store_ingest_read_piece(i, order[k], back), 0);
        assert_memory_equal(back, bytes + piece_first(BLOB, order[k]), piece_bytes(BLOB, order[k]));
        assert_true(fixture_stats(f).used_bytes >= BLOB);
    }
    assert_int_equal(store_ingest_written(i), BLOB);
    assert_int_equal(store_ingest_seal(i), ERR_CORRUPT); /* nobody said that it is right */
    store_ingest_close_cut(i);
    assert_int_equal(store_ingest_seal(i), 0);
    assert_int_equal(store_ingest_commit(i, 2000, NULL), 0);
    fixture_check(f, 1, BLOB);
    assert_int_equal(fixture_stats(f).used_bytes, fixture_disk(f));
    free(bytes);
    free(back);
}

static void pieces_outlive_a_kill(void **state)
{
    struct fixture *f = roomy(state);
    struct store_ingest *i;
    u8 *bytes = fixture_bytes(1, BLOB);
    assert_int_equal(begin_cut(f, 1, &i), 0);
    write_piece(i, bytes, 4);
    write_piece(i, bytes, 1);
    write_piece(i, bytes, 2);
    store_ingest_forget_piece(i, 2);
    store_ingest_keep(i);
    assert_int_equal(fixture_stats(f).used_bytes, fixture_disk(f));
    fixture_kill(f);
    fixture_open(f);
    assert_int_equal(f->found.partials, 1);
    assert_int_equal(fixture_stats(f).used_bytes, fixture_disk(f));
    assert_int_equal(begin_cut(f, 1, &i), 0);
    assert_true(store_ingest_has_piece(i, 1) && store_ingest_has_piece(i, 4));
    assert_false(store_ingest_has_piece(i, 0) || store_ingest_has_piece(i, 2));
    write_piece(i, bytes, 0);
    write_piece(i, bytes, 2);
    write_piece(i, bytes, 3);
    store_ingest_close_cut(i);
    assert_int_equal(store_ingest_seal(i), 0);
    assert_int_equal(store_ingest_commit(i, 2000, NULL), 0);
    fixture_check(f, 1, BLOB);
    free(bytes);
}

/* The ones that are not synced are not believed after a power cut. */
static void pieces_do_not_outlive_a_power_cut(void **state)
{
    struct fixture *f = roomy(state);
    struct store_ingest *i;
    u8 *bytes = fixture_bytes(1, BLOB);
    assert_int_equal(begin_cut(f, 1, &i), 0);
    write_piece(i, bytes, 4);
    store_ingest_keep(i);
    fixture_kill(f);
    f->boot = "boot-2";
    fixture_open(f);
    assert_int_equal(f->found.partials, 0);
    assert_int_equal(begin_cut(f, 1, &i), 0);
    assert_false(store_ingest_has_piece(i, 4));
    store_ingest_drop(i);
    free(bytes);
}

/* From a prefix to pieces, and from pieces to the prefix before the first gap. */
static void prefixes_and_pieces(void **state)
{
    struct fixture *f = roomy(state);
    struct store_ingest *i;
    u8 *bytes = fixture_bytes(1, BLOB);
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), 0);
    fixture_feed(i, 1, BLOB, 0, 2 * PIECE + 5);
    store_ingest_keep(i);
    assert_int_equal(begin_cut(f, 1, &i), 0);
    assert_true(store_ingest_has_piece(i, 0) && store_ingest_has_piece(i, 1));
    assert_false(store_ingest_has_piece(i, 2));
    write_piece(i, bytes, 4);
    store_ingest_keep(i);
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), 0);
    assert_false(store_ingest_is_cut(i));
    assert_int_equal(store_ingest_written(i), 2 * PIECE);
    assert_int_equal(store_ingest_hash_file(i, 2 * PIECE), 0);
    fixture_feed(i, 1, BLOB, 2 * PIECE, BLOB);
    assert_int_equal(store_ingest_seal(i), 0);
    assert_int_equal(store_ingest_commit(i, 2000, NULL), 0);
    fixture_check(f, 1, BLOB);
    free(bytes);
}

static void uncut_while_it_runs(void **state)
{
    struct fixture *f = roomy(state);
    struct store_ingest *i;
    u8 *bytes = fixture_bytes(1, BLOB);
    assert_int_equal(begin_cut(f, 1, &i), 0);
    write_piece(i, bytes, 0);
    write_piece(i, bytes, 2);
    assert_int_equal(store_ingest_uncut(i), 0);
    assert_int_equal(store_ingest_written(i), PIECE);
    assert_int_equal(store_ingest_hash_file(i, PIECE), 0);
    fixture_feed(i, 1, BLOB, PIECE, BLOB);
    assert_int_equal(store_ingest_verify(i), 0);
    store_ingest_drop(i);
    assert_int_equal(fixture_stats(f).used_bytes, 0);
    free(bytes);
}

/* Whatever stands in the file: a table that was damaged, or is of another size, is none. */
static void damaged_tables(void **state)
{
    struct fixture *f = roomy(state);
    u8 *bytes = fixture_bytes(1, BLOB);
    char path[400], name[LAYOUT_NAME_SIZE];
    struct digest d = fixture_digest(1, BLOB);
    layout_partial_name(&d, name);
    snprintf(path, sizeof(path), "%s/ingest/%s", f->path, name);
    for (u64 at = 0; at < ingest_cut_table(BLOB); at++) {
        struct store_ingest *i;
        assert_int_equal(begin_cut(f, 1, &i), 0);
        for (u32 p = 0; p < PIECES; p++)
            if (!store_ingest_has_piece(i, p))
                write_piece(i, bytes, p);
        u64 length = ingest_length(i);
        assert_int_equal(length, BLOB + ingest_cut_table(BLOB));
        u8 c;
        assert_int_equal(pread(store_ingest_fd(i), &c, 1, (off_t)(BLOB + at)), 1);
        c ^= 0xff;
        assert_int_equal(pwrite(store_ingest_fd(i), &c, 1, (off_t)(BLOB + at)), 1);
        store_ingest_keep(i);
        assert_int_equal(begin_cut(f, 1, &i), 0);
        if (at < 8 * PIECES) {
            for (u32 p = 0; p < PIECES; p++)
                assert_int_equal(store_ingest_has_piece(i, p), p != at / 8);
        } else {
            assert_false(store_ingest_has_piece(i, 4)); /* it passes for bytes in order, too many */
        }
        store_ingest_keep(i);
        if (at % 16 == 15 && at < 8 * PIECES) { /* and without its end */
            assert_int_equal(truncate(path, (off_t)(length - 1)), 0);
            assert_int_equal(begin_cut(f, 1, &i), 0);
            assert_false(store_ingest_has_piece(i, 0));
            store_ingest_drop(i);
        }
    }
    free(bytes);
}

static void no_room(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    f->capacity = BLOB; /* the table does not fit */
    fixture_open(f);
    assert_int_equal(begin_cut(f, 1, &i), ERR_FULL);
    assert_int_equal(fixture_stats(f).used_bytes, 0);
}

/* The size is hearsay, and the store is full: nothing goes before it is sure, and what was there of
 * the layer stays. */
static void unsure_of_the_size(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    struct store_ingest_options opt = {
        .digest = fixture_digest(1, BLOB), .size = BLOB, .now_ms = f->now_ms, .unsure = true};
    u8 *bytes = fixture_bytes(1, BLOB);
    f->capacity = 4 * MIB;
    fixture_open(f);
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), 0);
    fixture_feed(i, 1, BLOB, 0, 2 * PIECE + 5);
    store_ingest_keep(i);
    for (unsigned n = 2; n < 9; n++)
        fixture_put(f, n, 512 * KIB);
    for (int times = 0; times < 2; times++) {
        assert_int_equal(store_ingest_begin_cut(f->store, &opt, &i), 0);
        assert_false(store_ingest_is_reserved(i));
        assert_true(store_ingest_has_piece(i, 0) && store_ingest_has_piece(i, 1));
        assert_int_equal(fixture_stats(f).evicted_blobs, 0);
        if (times == 0)
            store_ingest_keep(i);
    }
    assert_int_equal(store_ingest_reserve_cut(i), 0);
    assert_true(store_ingest_is_reserved(i));
    assert_int_equal(fixture_stats(f).evicted_blobs, 1);
    for (u32 p = 2; p < PIECES; p++)
        write_piece(i, bytes, p);
    store_ingest_close_cut(i);
    assert_int_equal(store_ingest_seal(i), 0);
    assert_int_equal(store_ingest_commit(i, 2000, NULL), 0);
    fixture_check(f, 1, BLOB);
    assert_int_equal(fixture_stats(f).used_bytes, fixture_disk(f));
    free(bytes);
}

/* The layer's bytes would fit, their table does not: as on a full disk. */
static void begin_in_vain(struct fixture *f, unsigned n)
{
    struct store_ingest *i;
    struct rlimit was, small;
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    small = was;
    small.rlim_cur = BLOB + 8;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(begin_cut(f, n, &i), ERR_IO);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(fixture_stats(f).used_bytes, fixture_disk(f));
}

static void what_cannot_be_cut_stays_as_it_is(void **state)
{
    struct fixture *f = roomy(state);
    struct store_ingest *i;
    begin_in_vain(f, 2); /* nothing was there, nor is it now */
    assert_int_equal(fixture_stats(f).used_bytes, 0);
    assert_int_equal(fixture_begin(f, 1, BLOB, &i), 0);
    fixture_feed(i, 1, BLOB, 0, 2 * PIECE + 5);
    store_ingest_keep(i);
    begin_in_vain(f, 1);
    fixture_kill(f);
    fixture_open(f);
    assert_int_equal(f->found.partials, 1);
    assert_int_equal(begin_cut(f, 1, &i), 0);
    assert_true(store_ingest_has_piece(i, 0) && store_ingest_has_piece(i, 1));
    assert_false(store_ingest_has_piece(i, 2));
    store_ingest_drop(i);
    assert_int_equal(fixture_stats(f).used_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(any_order),
        FIXTURE_TEST(pieces_outlive_a_kill),
        FIXTURE_TEST(pieces_do_not_outlive_a_power_cut),
        FIXTURE_TEST(prefixes_and_pieces),
        FIXTURE_TEST(uncut_while_it_runs),
        FIXTURE_TEST(damaged_tables),
        FIXTURE_TEST(no_room),
        FIXTURE_TEST(unsure_of_the_size),
        FIXTURE_TEST(what_cannot_be_cut_stays_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
