/* store_recover.c - tests of opening a store, whatever was done to it before: killed, cut off from
 * power, damaged, filled with rubbish, or in use by another. */
#include "store_fixture.h"

#include <signal.h>
#include <sys/wait.h>

#include "store/recover.h"

#define BLOBS 40
#define LEN   3000

static void fill(struct fixture *f)
{
    fixture_open(f);
    for (unsigned n = 0; n < BLOBS; n++, f->now_ms++)
        fixture_put(f, n, LEN + n);
}

static void check_all(struct fixture *f)
{
    assert_int_equal(f->found.blobs, BLOBS);
    assert_int_equal(fixture_stats(f).blobs, BLOBS);
    for (unsigned n = 0; n < BLOBS; n++)
        fixture_check(f, n, LEN + n);
    assert_int_equal(fixture_stats(f).used_bytes, fixture_disk(f));
}

static void path_of(const struct fixture *f, const char *below, char path[400])
{
    snprintf(path, 400, "%s/%s", f->path, below);
}

static struct blob_info info_of(struct fixture *f, unsigned n)
{
    struct blob_info info;
    struct digest d = fixture_digest(n, LEN + n);
    assert_int_equal(store_lookup(f->store, &d, &info), 0);
    return info;
}

/* --- how it was left ------------------------------------------------------------------------ */

static void fresh_and_clean(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    char clean[400];
    fill(f);
    assert_false(f->found.index_rebuilt);
    assert_null(f->found.rebuilt_why);
    assert_int_equal(f->found.blobs, 0);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    path_of(f, "clean", clean);
    assert_false(fixture_exists(clean));
    fixture_close(f);
    assert_true(fixture_exists(clean));
    fixture_open(f);
    assert_false(fixture_exists(clean));
    assert_false(f->found.index_rebuilt);
    check_all(f);
    assert_string_equal(info_of(f, 3).media_type, FIXTURE_MEDIA);
}

static void killed(void **state)
{
    struct fixture *f = *state;
    fill(f);
    fixture_kill(f);
    fixture_open(f);
    assert_false(f->found.index_rebuilt);
    assert_int_equal(f->found.entries_dropped + f->found.orphans_indexed, 0);
    check_all(f);
    assert_string_equal(info_of(f, 3).media_type, FIXTURE_MEDIA);
    assert_int_equal(info_of(f, 3).scrubbed_ms, 1003);
}

static void power_cut(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    fill(f);
    assert_int_equal(fixture_begin(f, 1000, LEN, &i), 0);
    fixture_feed(i, 1000, LEN, 0, LEN / 2);
    store_ingest_keep(i);
    fixture_kill(f);
    f->boot = "boot-2";
    fixture_open(f);
    assert_true(f->found.index_rebuilt);
    assert_string_equal(f->found.rebuilt_why, "the machine stopped without an orderly close");
    assert_int_equal(f->found.partials, 0); /* was never synced */
    check_all(f);
    assert_string_equal(info_of(f, 3).media_type, "");
    assert_string_equal(info_of(f, 3).source, "");
    for (unsigned n = 0; n < BLOBS; n++)
        assert_int_equal(info_of(f, n).scrubbed_ms, 0); /* the scrubber begins with them */
    /* From here on it is of this boot. */
    fixture_kill(f);
    fixture_open(f);
    assert_false(f->found.index_rebuilt);
}

static void orderly_reboot(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    fill(f);
    assert_int_equal(fixture_begin(f, 1000, LEN, &i), 0);
    fixture_feed(i, 1000, LEN, 0, LEN / 2);
    store_ingest_keep(i);
    fixture_close(f);
    f->boot = "boot-2";
    fixture_open(f);
    assert_false(f->found.index_rebuilt);
    assert_int_equal(f->found.partials, 1);
    check_all(f);
}

/* A kernel that does not tell its boot: trust nothing but a clean mark. */
static void boot_unknown(void **state)
{
    struct fixture *f = *state;
    f->boot = "";
    fill(f);
    fixture_kill(f);
    fixture_open(f);
    assert_true(f->found.index_rebuilt);
    check_all(f);
    fixture_close(f);
    fixture_open(f);
    assert_false(f->found.index_rebuilt);
}

static void the_kernels_boot(void **state)
{
    struct fixture *f = *state;
    struct store_options opt = {.path = f->path, .capacity_bytes = f->capacity, .now_ms = 1};
    for (unsigned turn = 0; turn < 2; turn++) {
        assert_int_equal(store_open(&f->store, &opt, &f->found, f->why), 0);
        assert_false(f->found.index_rebuilt);
        assert_int_equal(strlen(f->store->mark.boot), 36);
        fixture_kill(f);
    }
}

static void partials_resume_after_a_kill(void **state)
{
    struct fixture *f = *state;
    struct store_ingest *i;
    char path[400], name[LAYOUT_NAME_SIZE];
    fill(f);
    assert_int_equal(fixture_begin(f, 1000, LEN, &i), 0);
    fixture_feed(i, 1000, LEN, 0, 1000);
    layout_partial_name(&i->digest, name);
    store_ingest_keep(i);
    fixture_kill(f);
    /* Killed in the middle of a seal: already read-only. */
    snprintf(path, sizeof(path), "%s/ingest/%s", f->path, name);
    assert_int_equal(chmod(path, 0444), 0);
    fixture_open(f);
    assert_int_equal(f->found.partials, 1);
    assert_int_equal(f->found.partial_bytes, 1000);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(fixture_begin(f, 1000, LEN, &i), 0);
    assert_int_equal(store_ingest_written(i), 1000);
    fixture_feed(i, 1000, LEN, 1000, LEN);
    assert_int_equal(store_ingest_hash_file(i, LEN), 0);
    assert_int_equal(store_ingest_seal(i), 0);
    assert_int_equal(store_ingest_commit(i, 1, NULL), 0);
    fixture_check(f, 1000, LEN);
}

/* --- index and files that disagree ---------------------------------------------------------- */

static void orphans(void **state)
{
    struct fixture *f = *state;
    char path[400], prefix[400];
    fill(f);
    fixture_kill(f);
    /* One right, one with wrong bytes: both complete files without an entry. */
    for (unsigned n = 1000; n < 1002; n++) {
        struct digest d = fixture_digest(n, LEN);
        fixture_blob_path(f, &d, path);
        snprintf(prefix, sizeof(prefix), "%s", path);
        *strrchr(prefix, '/') = '\0';
        assert_true(mkdir(prefix, 0700) == 0 || errno == EEXIST);
        u8 *bytes = fixture_bytes(n == 1000 ? n : 7, LEN);
        fixture_write_file(path, bytes, LEN);
        free(bytes);
    }
    fixture_open(f);
    assert_false(f->found.index_rebuilt);
    assert_int_equal(f->found.orphans_indexed, 1);
    assert_int_equal(f->found.garbage_removed, 1);
    assert_int_equal(f->found.blobs, BLOBS + 1);
    assert_false(fixture_exists(path));
    fixture_check(f, 1000, LEN);
    assert_int_equal(fixture_stats(f).used_bytes, fixture_disk(f));
}

static void entries_without_a_file(void **state)
{
    struct fixture *f = *state;
    char path[400];
    fill(f);
    fixture_kill(f);
    struct digest d[3];
    for (unsigned n = 0; n < 3; n++) {
        d[n] = fixture_digest(n, LEN + n);
        fixture_blob_path(f, &d[n], path);
        if (n == 0)
            assert_int_equal(unlink(path), 0);
        else
            assert_int_equal(truncate(path, n == 1 ? 5 : 1 << 20), 0);
    }
    fixture_open(f);
    assert_false(f->found.index_rebuilt);
    assert_int_equal(f->found.entries_dropped, 3);
    assert_int_equal(f->found.blobs, BLOBS - 3);
    for (unsigned n = 0; n < 3; n++)
        assert_false(fixture_held(f, &d[n]));
    fixture_check(f, 3, LEN + 3);
    assert_int_equal(fixture_stats(f).used_bytes, fixture_disk(f));
}

static void rubbish(void **state)
{
    static const char *const rubbish[] = {
        "ingest/x",
        "ingest/sha256-abc",
        "ingest/sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "ingest/sha256-0000000000000000000000000000000000000000000000000000000000000000", /* empty
                                                                                           */
        "ingest/md5-00000000000000000000000000000000",
        "blobs/sha256/file",
        "blobs/sha256/zz",
        "blobs/sha256/00/short",
        "blobs/sha256/00/0000000000000000000000000000000000000000000000000000000000000000.tmp",
        /* in another's folder; in capitals */
        "blobs/sha256/00/1100000000000000000000000000000000000000000000000000000000000000",
        "blobs/sha256/00/00AA000000000000000000000000000000000000000000000000000000000000",
        "blobs/sha512/00/0000000000000000000000000000000000000000000000000000000000000000",
    };
    struct fixture *f = *state;
    char path[400];
    fill(f);
    fixture_kill(f);
    path_of(f, "blobs/sha256/00", path);
    (void)mkdir(path, 0700);
    path_of(f, "blobs/sha512/00", path);
    (void)mkdir(path, 0700);
    for (size_t i = 0; i < countof(rubbish); i++) {
        path_of(f, rubbish[i], path);
        fixture_write_file(path, "", 0);
    }
    path_of(f, "blobs/sha256/gg", path); /* an empty folder, a folder with something, a link */
    assert_int_equal(mkdir(path, 0700), 0);
    path_of(f, "blobs/sha256/keep", path);
    assert_int_equal(mkdir(path, 0700), 0);
    path_of(f, "blobs/sha256/keep/precious", path);
    fixture_write_file(path, "?", 1);
    path_of(f, "ingest/link", path);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    path_of(f, "dray.sock", path); /* the daemon's own, beside our folders */
    fixture_write_file(path, "", 0);

    fixture_open(f);
    assert_int_equal(f->found.garbage_removed, countof(rubbish) + 2);
    for (size_t i = 0; i < countof(rubbish); i++) {
        path_of(f, rubbish[i], path);
        assert_false(fixture_exists(path));
    }
    path_of(f, "blobs/sha256/keep/precious", path);
    assert_true(fixture_exists(path));
    path_of(f, "dray.sock", path);
    assert_true(fixture_exists(path));
    assert_int_equal(f->found.blobs, BLOBS);
    assert_int_equal(f->found.partials, 0);
}

/* Killed between rename and the removal of nothing: both names of one blob. */
static void partial_of_a_held_blob(void **state)
{
    struct fixture *f = *state;
    char path[400], name[LAYOUT_NAME_SIZE];
    fill(f);
    fixture_close(f);
    struct digest d = fixture_digest(0, LEN);
    layout_partial_name(&d, name);
    snprintf(path, sizeof(path), "%s/ingest/%s", f->path, name);
    fixture_write_file(path, "abc", 3);
    fixture_open(f);
    assert_int_equal(f->found.partials, 0);
    assert_int_equal(f->found.garbage_removed, 1);
    assert_false(fixture_exists(path));
    check_all(f);
}

/* --- a damaged index ------------------------------------------------------------------------- */

enum damage {
    DAMAGE_DELETE,
    DAMAGE_EMPTY,
    DAMAGE_TRUNCATE,
    DAMAGE_ZERO,
    DAMAGE_GARBAGE,
    DAMAGE_META,
    DAMAGE_LARGE, /* it says that it is larger than any address space */
    DAMAGE_SWAP,  /* pages that look right, in the wrong places */
    DAMAGE_LOCK,  /* of LMDB's own lock file, which is no damage at all */
    DAMAGES
};

static void damage(const struct fixture *f, enum damage kind, unsigned page)
{
    char path[400];
    struct stat st;
    u8 bytes[4096], other[4096];
    path_of(f, kind == DAMAGE_LOCK ? "index/lock.mdb" : "index/data.mdb", path);
    if (kind == DAMAGE_DELETE) {
        assert_int_equal(unlink(path), 0);
        return;
    }
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (u8)((i * 2654435761u + page * 40503u) >> 7);
    off_t at = (off_t)page * 4096;
    switch (kind) {
    case DAMAGE_EMPTY: assert_int_equal(ftruncate(fd, 0), 0); break;
    case DAMAGE_TRUNCATE: assert_int_equal(ftruncate(fd, st.st_size / 3), 0); break;
    case DAMAGE_ZERO:
        memset(bytes, 0, sizeof(bytes));
        assert_int_equal(pwrite(fd, bytes, sizeof(bytes), at), sizeof(bytes));
        break;
    case DAMAGE_META:
        assert_int_equal(pwrite(fd, bytes, 100, 40), 100);
        assert_int_equal(pwrite(fd, bytes, 100, 4096 + 40), 100);
        break;
    case DAMAGE_LARGE: { /* the last page, behind two descriptions of trees */
        const u64 last = 1ull << 40;
        assert_int_equal(pwrite(fd, &last, 8, 136), 8);
        assert_int_equal(pwrite(fd, &last, 8, 4096 + 136), 8);
        break;
    }
    case DAMAGE_SWAP:
        if (at + 8192 <= st.st_size) {
            assert_int_equal(pread(fd, bytes, 4096, at), 4096);
            assert_int_equal(pread(fd, other, 4096, at + 4096), 4096);
            assert_int_equal(pwrite(fd, other, 4096, at), 4096);
            assert_int_equal(pwrite(fd, bytes, 4096, at + 4096), 4096);
        }
        break;
    case DAMAGE_GARBAGE:
    case DAMAGE_LOCK: assert_int_equal(pwrite(fd, bytes, sizeof(bytes), at), sizeof(bytes)); break;
    case DAMAGE_DELETE:
    case DAMAGES: break;
    }
    close(fd);
}

/* Whatever was done to it, clean mark or not: the store opens, holds every blob, and works. */
static void damaged_index(void **state)
{
    struct fixture *f = *state;
    char path[400];
    struct stat st;
    unsigned rebuilt = 0, tries = 0;
    fill(f);
    fixture_close(f);
    path_of(f, "index/data.mdb", path);
    assert_int_equal(stat(path, &st), 0);
    unsigned pages = (unsigned)(st.st_size / 4096);
    for (enum damage kind = 0; kind < DAMAGES; kind++) {
        bool paged = kind == DAMAGE_ZERO || kind == DAMAGE_GARBAGE || kind == DAMAGE_SWAP;
        for (unsigned page = 0; page < (paged ? pages : 2); page++, tries++) {
            damage(f, kind, paged ? page : 0);
            fixture_open(f);
            rebuilt += f->found.index_rebuilt;
            if (!paged && kind != DAMAGE_LOCK && kind != DAMAGE_TRUNCATE)
                assert_true(f->found.index_rebuilt);
            if (kind == DAMAGE_LOCK)
                assert_false(f->found.index_rebuilt);
            if (kind == DAMAGE_DELETE)
                assert_string_equal(f->found.rebuilt_why, "the index was missing");
            check_all(f);
            struct digest d = fixture_put(f, 5000 + tries, 10);
            assert_int_equal(store_remove(f->store, &d), 0);
            store_tick(f->store, f->now_ms);
            if (page % 2) {
                fixture_kill(f);
                fixture_open(f);
                assert_false(f->found.index_rebuilt);
                check_all(f);
            }
            fixture_close(f);
        }
    }
    assert_true(rebuilt > 10);
}

/* The rebuild itself was cut short: its index is not trusted. */
static void rebuild_cut_short(void **state)
{
    struct fixture *f = *state;
    struct index *ix;
    char dir[400];
    fill(f);
    fixture_close(f);
    damage(f, DAMAGE_DELETE, 0);
    path_of(f, "index", dir);
    assert_int_equal(index_open(&ix, dir, INDEX_MAP_BYTES, true), 0);
    index_close(ix);
    fixture_open(f);
    assert_true(f->found.index_rebuilt);
    check_all(f);
}

/* --- refusals --------------------------------------------------------------------------------- */

static void in_use(void **state)
{
    struct fixture *f = *state;
    struct fixture other;
    char pid[32];
    fill(f);
    other = *f;
    assert_int_equal(fixture_try_open(&other), ERR_BUSY);
    snprintf(pid, sizeof(pid), "process %ld", (long)getpid());
    assert_non_null(strstr(other.why, pid));
    assert_non_null(strstr(other.why, f->path));
    assert_non_null(strstr(other.why, "stop that one"));
    f->found.blobs = BLOBS; /* it was empty when it was opened */
    check_all(f);           /* the refused opening harmed nothing */
}

static void not_ours(void **state)
{
    struct fixture *f = *state;
    char path[400], home[96];
    snprintf(home, sizeof(home), "%s", f->path);

    fixture_write_file(f->path, "x", 1); /* a file */
    assert_int_equal(fixture_try_open(f), ERR_INVAL);
    assert_non_null(strstr(f->why, "choose another path"));
    assert_int_equal(unlink(f->path), 0);

    snprintf(f->path, sizeof(f->path), "%s/no/parent", f->dir);
    assert_int_equal(fixture_try_open(f), ERR_INVAL);
    assert_non_null(strstr(f->why, "make its parent folder"));
    f->path[0] = '\0';
    assert_int_equal(fixture_try_open(f), ERR_INVAL);

    /* A folder 'blobs' of somebody else: nothing of it is touched. */
    snprintf(f->path, sizeof(f->path), "%s", home);
    assert_int_equal(mkdir(f->path, 0700), 0);
    path_of(f, "blobs", path);
    assert_int_equal(mkdir(path, 0700), 0);
    path_of(f, "blobs/mine", path);
    fixture_write_file(path, "x", 1);
    assert_int_equal(fixture_try_open(f), ERR_INVAL);
    assert_non_null(strstr(f->why, "no store of ours"));
    assert_true(fixture_exists(path));
    path_of(f, "lock", path);
    assert_false(fixture_exists(path));
}

static void something_in_the_way(void **state)
{
    static const char *const names[] = {"ingest", "index", "lock"};
    struct fixture *f = *state;
    char path[400];
    for (size_t i = 0; i < countof(names); i++) {
        snprintf(f->path, sizeof(f->path), "%s/store%zu", f->dir, i);
        assert_int_equal(mkdir(f->path, 0700), 0);
        path_of(f, names[i], path);
        assert_int_equal(symlink("/tmp", path), 0);
        assert_int_equal(fixture_try_open(f), ERR_INVAL);
        assert_true(strlen(f->why) > 20);
        /* Refused, not left locked: it opens once the obstacle is gone. */
        assert_int_equal(unlink(path), 0);
        fixture_open(f);
        fixture_close(f);
    }
}

/* Pipes that nobody reads or writes, where files should be: nobody waits for them. */
static void pipes_in_the_way(void **state)
{
    static const char *const names[] = {"purged", "purged.tmp", "clean", "clean.tmp",
                                        "index/data.mdb"};
    struct fixture *f = *state;
    char path[400];
    fill(f);
    fixture_close(f);
    for (size_t i = 0; i < countof(names); i++) {
        path_of(f, names[i], path);
        (void)unlink(path);
        assert_int_equal(mkfifo(path, 0600), 0);
        if (fixture_try_open(f) == 0) {
            check_all(f);
            fixture_close(f);
        } else {
            assert_true(strlen(f->why) > 20);
        }
        (void)unlink(path);
        fixture_open(f);
        check_all(f);
        fixture_close(f);
    }
}

/* A path of any length: an answer that still says what to do. */
static void long_path(void **state)
{
    struct fixture *f = *state;
    char path[LAYOUT_PATH_MAX + 100], why[256];
    memset(path, 'x', sizeof(path));
    path[0] = '/';
    struct store_options opt = {.path = path, .capacity_bytes = 1, .now_ms = 1};
    static const size_t lengths[] = {300, LAYOUT_PATH_MAX, LAYOUT_PATH_MAX + 50};
    for (size_t i = 0; i < countof(lengths); i++) {
        path[lengths[i]] = '\0';
        assert_true(store_open(&f->store, &opt, &f->found, why) < 0);
        assert_true(strlen(why) > 20);
        path[lengths[i]] = 'x';
    }
}

/* Somebody who may not write: refused with the remedy, as any user but root would be. */
static void no_permission(void **state)
{
    struct fixture *f = *state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(mkdir(f->path, 0755), 0);
    assert_int_equal(chmod(f->dir, 0755), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (setgid(65534) < 0 || setuid(65534) < 0)
            _exit(9);
        int rc = fixture_try_open(f);
        _exit(rc == ERR_INVAL && strstr(f->why, "check who owns it") ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(fresh_and_clean),
        FIXTURE_TEST(killed),
        FIXTURE_TEST(power_cut),
        FIXTURE_TEST(orderly_reboot),
        FIXTURE_TEST(boot_unknown),
        FIXTURE_TEST(the_kernels_boot),
        FIXTURE_TEST(partials_resume_after_a_kill),
        FIXTURE_TEST(orphans),
        FIXTURE_TEST(entries_without_a_file),
        FIXTURE_TEST(rubbish),
        FIXTURE_TEST(partial_of_a_held_blob),
        FIXTURE_TEST(damaged_index),
        FIXTURE_TEST(pipes_in_the_way),
        FIXTURE_TEST(rebuild_cut_short),
        FIXTURE_TEST(in_use),
        FIXTURE_TEST(not_ours),
        FIXTURE_TEST(something_in_the_way),
        FIXTURE_TEST(long_path),
        FIXTURE_TEST(no_permission),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
