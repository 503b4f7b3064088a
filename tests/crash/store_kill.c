/* store_kill.c - kill -9 at any instant loses no committed blob, and leaves nothing else.
 *
 *   store_kill [ROUNDS] [SEED]
 *
 * Each round a child opens the store and works at random: many ingests at once, some committed,
 * some kept, some dropped; blobs read, removed, evicted. It tells through a pipe what it is about
 * to do and what is done. At a random instant it is killed. Then the parent opens the store and
 * holds it against what it was told:
 *
 *   what was committed, and not removed or evicted, is there with the right bytes
 *   what was removed or dropped is not
 *   nothing is visible that does not have the right bytes
 *   the bytes in use are within the capacity, and are what is on the disk
 *   ingest/ holds partials and nothing else, each a right prefix that resumes, and as long as what
 *   was written
 *   the index was not lost
 *
 * Only what was under way at the instant of the kill may be either way. One store has room for all
 * blobs, so that nothing may be missing by eviction; the other has not. */
#include "crash.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#define KILL_ROUNDS  60
#define KILL_STORES  2
#define KILL_RUNNING 4 /* ingests at once */
#define KILL_LIFE_US 150000

enum kill_kind {
    KILL_OPENED,
    KILL_BEGINS, /* n: from here to BEGUN anything may be evicted */
    KILL_EVICTED,
    KILL_BEGUN, /* with what a partial already held */
    KILL_REFUSED,
    KILL_WROTE, /* so many bytes in all */
    KILL_SEALS, /* n: from here it may appear */
    KILL_COMMITTED,
    KILL_DROPS,
    KILL_DROPPED,
    KILL_REMOVES,
    KILL_REMOVED,
};

struct kill_event {
    u32 kind;
    u32 n;
    u32 bytes;
};

/* What the parent knows of one blob. */
enum kill_state {
    KILL_ABSENT,
    KILL_HELD,
    KILL_EITHER,
};

struct kill_model {
    char path[96];
    u64 capacity_bytes;
    bool roomy; /* nothing is ever evicted */
    enum kill_state blob[CRASH_BLOBS];
    bool partial[CRASH_BLOBS]; /* there may be one */
    u32 written[CRASH_BLOBS];  /* and it must be of so many bytes, where nothing is evicted */
    bool opened;               /* at least once, to the end */
    bool evicting;             /* at the kill: any blob may be gone */
    u64 commits, resumed;
};

/* --- the child: works until it is killed --------------------------------------------------- */

struct kill_child {
    struct store *store;
    struct store_ingest *running[KILL_RUNNING];
    unsigned number[KILL_RUNNING];
    bool held[CRASH_BLOBS];
    u64 random, now_ms;
    int pipe_fd;
};

static void child_tell(const struct kill_child *c, enum kill_kind kind, unsigned n, u64 bytes)
{
    struct kill_event event = {.kind = kind, .n = n, .bytes = (u32)bytes};
    crash_check(write(c->pipe_fd, &event, sizeof(event)) == (ssize_t)sizeof(event), "the pipe");
}

static bool child_each(void *arg, const struct blob_info *b)
{
    struct kill_child *c = arg;
    unsigned n = crash_number(&b->digest);
    crash_check(n < CRASH_BLOBS, "a blob that nobody made");
    c->held[n] = true;
    return true;
}

static void child_begin(struct kill_child *c, unsigned slot, unsigned n)
{
    struct blob_info info;
    struct store_ingest_options opt = {.digest = crash_digest[n],
                                       .size = crash_random(&c->random) % 4 ? crash_size[n]
                                                                            : STORE_SIZE_UNKNOWN,
                                       .media_type = "application/octet-stream",
                                       .now_ms = c->now_ms};
    child_tell(c, KILL_BEGINS, n, 0);
    int rc = store_ingest_begin(c->store, &opt, &c->running[slot]);
    if (rc == 0) {
        c->number[slot] = n;
        rc = store_ingest_reserve(c->running[slot], crash_size[n]);
        if (rc < 0) {
            store_ingest_keep(c->running[slot]);
            c->running[slot] = NULL;
        }
    }
    for (unsigned i = 0; i < CRASH_BLOBS; i++) {
        if (c->held[i] && store_lookup(c->store, &crash_digest[i], &info) == ERR_NOTFOUND) {
            c->held[i] = false;
            child_tell(c, KILL_EVICTED, i, 0);
        }
    }
    crash_check(rc == 0 || rc == ERR_FULL || rc == ERR_BUSY, "begin %u: %s", n, err_name(rc));
    child_tell(c, rc == 0 ? KILL_BEGUN : KILL_REFUSED, n,
               rc == 0 ? store_ingest_written(c->running[slot]) : 0);
}

static void child_commit(struct kill_child *c, unsigned slot)
{
    unsigned n = c->number[slot];
    struct store_ingest *i = c->running[slot];
    int rc = store_ingest_hash_file(i, crash_size[n]);
    crash_check(rc == 0, "hash %u: %s", n, err_name(rc));
    child_tell(c, KILL_SEALS, n, 0);
    rc = store_ingest_seal(i);
    crash_check(rc == 0, "seal %u: %s", n, err_name(rc));
    rc = store_ingest_commit(i, c->now_ms, NULL);
    crash_check(rc == 0, "commit %u: %s", n, err_name(rc));
    child_tell(c, KILL_COMMITTED, n, 0);
    c->held[n] = true;
    c->running[slot] = NULL;
}

/* One step of an ingest: some bytes, or its end. */
static void child_step(struct kill_child *c, unsigned slot)
{
    struct store_ingest *i = c->running[slot];
    unsigned n = c->number[slot];
    u64 at = store_ingest_written(i), left = crash_size[n] - at;
    u64 dice = crash_random(&c->random) % 100;
    if (dice < 4) {
        store_ingest_keep(i);
        c->running[slot] = NULL;
    } else if (dice < 6) {
        child_tell(c, KILL_DROPS, n, 0);
        store_ingest_drop(i);
        child_tell(c, KILL_DROPPED, n, 0);
        c->running[slot] = NULL;
    } else if (left > 0) {
        u64 len = 1 + crash_random(&c->random) % left;
        if (dice < 50 && len > 5000)
            len = 5000;
        int rc = store_ingest_write(i, crash_bytes[n] + at, len);
        crash_check(rc == 0, "write %u: %s", n, err_name(rc));
        child_tell(c, KILL_WROTE, n, at + len);
    } else {
        child_commit(c, slot);
    }
}

/* What is counted is what is on the disk and what running ingests are promised beyond. */
static void child_count(const struct kill_child *c, const char *path)
{
    struct store_stats stats;
    u64 want = crash_disk(path);
    for (unsigned slot = 0; slot < KILL_RUNNING; slot++)
        if (c->running[slot])
            want += space_rounded(crash_size[c->number[slot]]) -
                    space_rounded(store_ingest_written(c->running[slot]));
    store_stats(c->store, &stats);
    crash_check(stats.used_bytes == want && want <= stats.capacity_bytes,
                "counted %llu bytes, there are %llu", (unsigned long long)stats.used_bytes,
                (unsigned long long)want);
}

static void child_work(struct kill_child *c)
{
    unsigned n = (unsigned)(crash_random(&c->random) % CRASH_BLOBS);
    unsigned slot = (unsigned)(crash_random(&c->random) % KILL_RUNNING);
    u64 dice = crash_random(&c->random) % 100;
    c->now_ms++;
    if (c->running[slot]) {
        child_step(c, slot);
    } else if (c->held[n] && dice < 30) {
        child_tell(c, KILL_REMOVES, n, 0);
        int rc = store_remove(c->store, &crash_digest[n]);
        crash_check(rc == 0, "remove %u: %s", n, err_name(rc));
        c->held[n] = false;
        child_tell(c, KILL_REMOVED, n, 0);
    } else if (c->held[n]) {
        crash_verify(c->store, n);
    } else {
        child_begin(c, slot, n);
    }
    if (dice < 2)
        store_tick(c->store, c->now_ms);
}

static void *child_sync(void *arg)
{
    struct kill_child *c = arg;
    for (;;) {
        store_sync(c->store);
        usleep(3000);
    }
    return NULL;
}

static _Noreturn void child_run(const struct kill_model *m, u64 seed, int pipe_fd)
{
    struct kill_child c = {.random = seed, .now_ms = 1000, .pipe_fd = pipe_fd};
    struct store_options opt = {
        .path = m->path, .capacity_bytes = m->capacity_bytes, .now_ms = c.now_ms};
    struct store_opened found;
    char why[256];
    pthread_t sync_thread;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    int rc = store_open(&c.store, &opt, &found, why);
    crash_check(rc == 0, "child: %s", why);
    store_each(c.store, child_each, &c);
    crash_check(pthread_create(&sync_thread, NULL, child_sync, &c) == 0, "no thread");
    child_tell(&c, KILL_OPENED, 0, 0);
    for (;;) {
        child_work(&c);
        if (crash_random(&c.random) % 50 == 0)
            child_count(&c, m->path);
    }
}

/* --- the parent: what it was told, and what is there ----------------------------------------- */

static void model_hear(struct kill_model *m, const struct kill_event *event)
{
    unsigned n = event->n;
    crash_check(n < CRASH_BLOBS, "event %u of blob %u", event->kind, n);
    switch ((enum kill_kind)event->kind) {
    case KILL_OPENED: m->opened = true; break;
    case KILL_BEGINS:
        m->evicting = true;
        m->partial[n] = true;
        break;
    case KILL_EVICTED: m->blob[n] = KILL_ABSENT; break;
    case KILL_BEGUN:
        m->evicting = false;
        m->written[n] = event->bytes;
        break;
    case KILL_REFUSED: m->evicting = false; break;
    case KILL_WROTE: m->written[n] = event->bytes; break;
    case KILL_SEALS:
        m->blob[n] = KILL_EITHER;
        m->written[n] = 0;
        break;
    case KILL_COMMITTED:
        m->blob[n] = KILL_HELD;
        m->partial[n] = false;
        m->commits++;
        break;
    case KILL_DROPS: m->written[n] = 0; break;
    case KILL_DROPPED: m->partial[n] = false; break;
    case KILL_REMOVES: m->blob[n] = KILL_EITHER; break;
    case KILL_REMOVED: m->blob[n] = KILL_ABSENT; break;
    }
}

static u64 now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (u64)ts.tv_sec * 1000000 + (u64)ts.tv_nsec / 1000;
}

/* Lets a child work for `life_us`, kills it, and hears all that it told. */
static void parent_run(struct kill_model *m, u64 seed, u64 life_us)
{
    int fds[2];
    crash_check(pipe(fds) == 0, "no pipe");
    u64 end = now_us() + life_us;
    pid_t pid = fork();
    crash_check(pid >= 0, "no child");
    if (pid == 0) {
        close(fds[0]);
        child_run(m, seed, fds[1]);
    }
    close(fds[1]);
    bool killed = false;
    struct kill_event event;
    for (;;) {
        u64 now = now_us();
        if (!killed && now >= end) {
            kill(pid, SIGKILL);
            killed = true;
        }
        struct pollfd wait = {.fd = fds[0], .events = POLLIN};
        int timeout_ms = killed ? -1 : (int)((end - now) / 1000);
        if (poll(&wait, 1, timeout_ms) <= 0)
            continue;
        ssize_t got = read(fds[0], &event, sizeof(event));
        if (got == 0)
            break;
        crash_check(got == (ssize_t)sizeof(event), "half an event");
        model_hear(m, &event);
    }
    close(fds[0]);
    int status;
    waitpid(pid, &status, 0);
    crash_check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
                "the child ended by itself, status %x", (unsigned)status);
}

struct parent_walk {
    bool held[CRASH_BLOBS];
    u64 blobs;
};

static bool parent_each(void *arg, const struct blob_info *b)
{
    struct parent_walk *w = arg;
    unsigned n = crash_number(&b->digest);
    crash_check(n < CRASH_BLOBS, "a blob that nobody made");
    crash_check(!w->held[n], "blob %u twice", n);
    w->held[n] = true;
    w->blobs++;
    return true;
}

static void parent_check_blobs(struct kill_model *m, struct store *s)
{
    struct parent_walk w = {0};
    store_each(s, parent_each, &w);
    for (unsigned n = 0; n < CRASH_BLOBS; n++) {
        if (w.held[n])
            crash_verify(s, n);
        bool may_lack = m->blob[n] != KILL_HELD || m->evicting;
        bool may_hold = m->blob[n] != KILL_ABSENT;
        crash_check(w.held[n] || may_lack, "blob %u was committed and is lost", n);
        crash_check(!w.held[n] || may_hold, "blob %u was never committed, or is gone", n);
        m->blob[n] = w.held[n] ? KILL_HELD : KILL_ABSENT;
    }
    struct store_stats stats;
    store_stats(s, &stats);
    crash_check(stats.blobs == w.blobs, "counted %llu blobs, there are %llu",
                (unsigned long long)stats.blobs, (unsigned long long)w.blobs);
    u64 disk = crash_disk(m->path);
    crash_check(stats.used_bytes == disk && disk <= stats.capacity_bytes,
                "counted %llu bytes, on the disk %llu, capacity %llu",
                (unsigned long long)stats.used_bytes, (unsigned long long)disk,
                (unsigned long long)stats.capacity_bytes);
    crash_check(stats.index_errors == 0, "the index failed");
}

/* Resumes a partial: half of them to their end, the others are left for later. */
static void parent_resume(struct kill_model *m, struct store *s, unsigned n, u64 length, bool end)
{
    struct store_ingest *i;
    u8 *prefix = malloc(length + 1);
    struct store_ingest_options opt = {
        .digest = crash_digest[n], .size = crash_size[n], .now_ms = 1000};
    int rc = store_ingest_begin(s, &opt, &i);
    if (rc == ERR_FULL) {
        free(prefix);
        return;
    }
    crash_check(rc == 0, "resume %u: %s", n, err_name(rc));
    crash_check(store_ingest_written(i) == length, "partial %u: %llu bytes became %llu", n,
                (unsigned long long)length, (unsigned long long)store_ingest_written(i));
    crash_check(pread(store_ingest_fd(i), prefix, length, 0) == (ssize_t)length &&
                    memcmp(prefix, crash_bytes[n], length) == 0,
                "partial %u is no prefix of the blob", n);
    free(prefix);
    if (!end) {
        store_ingest_keep(i);
        return;
    }
    rc = store_ingest_write(i, crash_bytes[n] + length, crash_size[n] - length);
    if (rc == 0)
        rc = store_ingest_hash_file(i, crash_size[n]);
    if (rc == 0)
        rc = store_ingest_seal(i);
    crash_check(rc == 0, "resumed %u: %s", n, err_name(rc));
    rc = store_ingest_commit(i, 1000, NULL);
    crash_check(rc == 0, "resumed %u: %s", n, err_name(rc));
    crash_verify(s, n);
    m->resumed++;
}

static void parent_check_partials(struct kill_model *m, struct store *s, u64 *random)
{
    char path[128];
    u64 length[CRASH_BLOBS] = {0};
    snprintf(path, sizeof(path), "%s/ingest", m->path);
    DIR *dir = opendir(path);
    crash_check(dir != NULL, "no ingest/");
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        struct digest d;
        struct stat st;
        if (entry->d_name[0] == '.')
            continue;
        crash_check(layout_partial_parse(&d, entry->d_name), "ingest/%s", entry->d_name);
        unsigned n = crash_number(&d);
        crash_check(n < CRASH_BLOBS && m->partial[n], "ingest/%s was never begun, or is over",
                    entry->d_name);
        crash_check(m->blob[n] == KILL_ABSENT, "a partial of held blob %u", n);
        crash_check(fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && st.st_size > 0 &&
                        st.st_size <= crash_size[n],
                    "partial %u is of %lld bytes", n, (long long)st.st_size);
        length[n] = (u64)st.st_size;
    }
    if (dir)
        closedir(dir);
    for (unsigned n = 0; n < CRASH_BLOBS; n++)
        crash_check(!m->roomy || length[n] >= m->written[n],
                    "partial %u had %u bytes and now has %llu", n, m->written[n],
                    (unsigned long long)length[n]);
    for (unsigned n = 0; n < CRASH_BLOBS; n++) {
        struct store_partial *p = store_partial_find(s, &crash_digest[n]);
        /* The ones before may have taken its room. */
        if (p)
            parent_resume(m, s, n, length[n], crash_random(random) % 2);
    }
}

/* What the parent itself did to the store is part of what the next round starts from. */
static void parent_note(struct kill_model *m, struct store *s)
{
    for (unsigned n = 0; n < CRASH_BLOBS; n++) {
        struct blob_info info;
        m->blob[n] = store_lookup(s, &crash_digest[n], &info) == 0 ? KILL_HELD : KILL_ABSENT;
        const struct store_partial *p = store_partial_find(s, &crash_digest[n]);
        m->partial[n] = p != NULL;
        m->written[n] = p ? (u32)p->bytes : 0;
    }
    m->evicting = false;
}

static void parent_check(struct kill_model *m, u64 *random)
{
    struct store *s;
    struct store_opened found;
    char why[256], clean[128];
    struct store_options opt = {
        .path = m->path, .capacity_bytes = m->capacity_bytes, .now_ms = 1000};
    bool was_opened = m->opened;
    int rc = store_open(&s, &opt, &found, why);
    crash_check(rc == 0, "%s", why);
    crash_check(!found.index_rebuilt || !was_opened, "the index was rebuilt: %s",
                found.rebuilt_why ? found.rebuilt_why : "");
    m->opened = true;
    parent_check_blobs(m, s);
    parent_check_partials(m, s, random);
    parent_note(m, s);
    store_close(s);
    /* Every other time the child starts from what looks like another kill. */
    snprintf(clean, sizeof(clean), "%s/clean", m->path);
    crash_check(access(clean, F_OK) == 0, "no clean mark");
    if (crash_random(random) % 2)
        unlink(clean);
}

int main(int argc, char **argv)
{
    unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : KILL_ROUNDS;
    u64 seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (u64)time(NULL);
    u64 random = seed;
    static struct kill_model model[KILL_STORES];
    printf("store_kill: %lu rounds, seed %llu\n", rounds, (unsigned long long)seed);
    fflush(stdout);
    crash_make_blobs();
    crash_make_dir();
    for (unsigned i = 0; i < KILL_STORES; i++) {
        snprintf(model[i].path, sizeof(model[i].path), "%s/store%u", crash_dir, i);
        model[i].roomy = i == 0;
        model[i].capacity_bytes = model[i].roomy ? 64 << 20 : 1 << 20;
    }
    for (unsigned long round = 0; round < rounds; round++) {
        struct kill_model *m = &model[round % KILL_STORES];
        snprintf(crash_when, sizeof(crash_when), "round %lu of seed %llu, store%lu", round,
                 (unsigned long long)seed, round % KILL_STORES);
        /* Some do not even finish opening. */
        u64 life_us = crash_random(&random) % (round % 5 == 4 ? 5000 : KILL_LIFE_US);
        parent_run(m, crash_random(&random), life_us);
        parent_check(m, &random);
    }
    unsigned long long commits = model[0].commits + model[1].commits;
    unsigned long long resumed = model[0].resumed + model[1].resumed;
    printf("store_kill: %llu blobs committed, %llu partials resumed to their end\n", commits,
           resumed);
    crash_check(rounds < KILL_ROUNDS || commits > 0, "nothing was committed");
    crash_remove_dir();
    return 0;
}
