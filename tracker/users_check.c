/* users_check.c - see users_check.h. Found are: pages that cannot be read; keys out of order (which
 * also ends any loop of pages); a count that is not so; and a list of free pages that names one
 * twice, beyond the end or in use, since the next write would put it to use. */
#include "tracker/users_check.h"

#include <errno.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/limits.h"

#define KEY_MAX   511 /* of LMDB */
#define CHECK_S   120 /* a walk of what there is room for takes seconds */
#define FREE_DBI  0
#define META_LAST 1 /* pages 0 and 1 hold the heads */

enum verdict { WELL, DAMAGED, NO_MEMORY, NOT_OPENED };

struct walk {
    MDB_txn *txn;
    u8 *taken; /* a bit for each page that holds entries, or is listed as free */
    size_t pages, page_bytes, last_txn;
    const u8 *map; /* where the file is mapped; NULL: not known yet, or not at all */
    u8 sum;        /* so that each byte is read */
};

static bool take_free(struct walk *w, const MDB_val *key, const MDB_val *value)
{
    size_t txn, n, page;
    if (key->mv_size != sizeof(txn) || value->mv_size < sizeof(n))
        return false;
    memcpy(&txn, key->mv_data, sizeof(txn));
    memcpy(&n, value->mv_data, sizeof(n));
    if (txn <= w->last_txn || n > value->mv_size / sizeof(page) - 1)
        return false;
    w->last_txn = txn;
    for (size_t i = 1; i <= n; i++) {
        memcpy(&page, (const u8 *)value->mv_data + i * sizeof(page), sizeof(page));
        if (page <= META_LAST || page >= w->pages || (w->taken[page / 8] >> (page % 8) & 1))
            return false;
        w->taken[page / 8] |= (u8)(1u << (page % 8));
    }
    return true;
}

/* LMDB tells where its map is for fixed ones only: it is looked for around one entry. Without /proc
 * there is one check less. */
static const u8 *find_map(const void *inside)
{
    char line[512];
    const u8 *map = NULL;
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps && !map && fgets(line, sizeof(line), maps)) {
        char *dash; /* "first-end rights ..." in hexadecimal */
        uintptr_t first = (uintptr_t)strtoull(line, &dash, 16);
        uintptr_t end = *dash == '-' ? (uintptr_t)strtoull(dash + 1, NULL, 16) : 0;
        if (first <= (uintptr_t)inside && (uintptr_t)inside < end)
            map = (const u8 *)inside - ((uintptr_t)inside - first);
    }
    if (maps)
        fclose(maps);
    return map;
}

static bool mark_page(struct walk *w, const void *inside)
{
    if (!w->map)
        w->map = find_map(inside);
    if (!w->map)
        return true;
    size_t page = (size_t)((const u8 *)inside - w->map) / w->page_bytes;
    if (page >= w->pages)
        return false;
    w->taken[page / 8] |= (u8)(1u << (page % 8));
    return true;
}

static bool take_entry(struct walk *w, const MDB_val *key, const MDB_val *value, MDB_val *last)
{
    for (size_t i = 0; i < value->mv_size; i++)
        w->sum ^= ((const u8 *)value->mv_data)[i];
    if (key->mv_size == 0 || key->mv_size > KEY_MAX || !mark_page(w, key->mv_data))
        return false;
    size_t n = key->mv_size < last->mv_size ? key->mv_size : last->mv_size;
    int order = memcmp(last->mv_data, key->mv_data, n);
    if (order > 0 || (order == 0 && last->mv_size >= key->mv_size))
        return false;
    memcpy(last->mv_data, key->mv_data, key->mv_size);
    last->mv_size = key->mv_size;
    return true;
}

static bool walk_tree(struct walk *w, MDB_dbi db)
{
    u8 bytes[KEY_MAX] = {0};
    MDB_val key, value, last = {0, bytes};
    MDB_cursor *cursor;
    MDB_stat stat;
    size_t n = 0;
    unsigned flags; /* damaged ones would order keys otherwise */
    int rc;
    if ((db != FREE_DBI && (mdb_dbi_flags(w->txn, db, &flags) != 0 || flags != 0)) ||
        mdb_stat(w->txn, db, &stat) != 0 || mdb_cursor_open(w->txn, db, &cursor) != 0)
        return false;
    bool good = true;
    while (good && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) != MDB_NOTFOUND) {
        good = rc == 0 &&
               (db == FREE_DBI ? take_free(w, &key, &value) : take_entry(w, &key, &value, &last));
        n++;
    }
    mdb_cursor_close(cursor);
    return good && n == stat.ms_entries;
}

static enum verdict walk_all(MDB_env *env)
{
    struct walk w = {0};
    MDB_envinfo info;
    MDB_stat stat;
    MDB_dbi db;
    if (mdb_txn_begin(env, NULL, MDB_RDONLY, &w.txn) != 0 ||
        mdb_dbi_open(w.txn, NULL, 0, &db) != 0 || mdb_env_info(env, &info) != 0 ||
        mdb_env_stat(env, &stat) != 0 || stat.ms_psize == 0 ||
        info.me_last_pgno >= info.me_mapsize / stat.ms_psize)
        return DAMAGED;
    w.page_bytes = stat.ms_psize;
    w.pages = info.me_last_pgno + 1;
    w.taken = calloc(1, w.pages / 8 + 1);
    if (!w.taken)
        return NO_MEMORY;
    bool well = walk_tree(&w, db) && walk_tree(&w, FREE_DBI);
    free(w.taken);
    return well ? WELL : DAMAGED;
}

/* A damaged file may say that it is larger than any address space. */
static bool has_room(u64 bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at != MAP_FAILED && munmap(at, bytes) == 0;
}

static enum verdict check(const char *path, u64 map_bytes)
{
    MDB_env *env;
    if (mdb_env_create(&env) != 0 || mdb_env_set_mapsize(env, map_bytes) != 0)
        return NO_MEMORY;
    int rc = mdb_env_open(env, path, MDB_NOTLS | MDB_RDONLY, 0600);
    if (rc == ENOMEM)
        return has_room(map_bytes) ? DAMAGED : NO_MEMORY;
    if (rc == MDB_INVALID || rc == MDB_CORRUPTED || rc == MDB_VERSION_MISMATCH)
        return DAMAGED;
    return rc == 0 ? walk_all(env) : NOT_OPENED;
}

static _Noreturn void child(const char *path, u64 map_bytes, pid_t parent)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM};
    const struct rlimit none = {0, 0};
    for (size_t i = 0; i < countof(fatal); i++)
        signal(fatal[i], SIG_DFL); /* die quietly */
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(NOT_OPENED); /* it died before we asked */
    alarm(CHECK_S);
    _exit((int)check(path, map_bytes));
}

static enum verdict ask_child(const char *path, u64 map_bytes)
{
    int status = 0;
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        return NO_MEMORY;
    if (pid == 0)
        child(path, map_bytes, parent);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return NOT_OPENED;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return NO_MEMORY; /* the kernel had too little: nothing is known of the file */
    return WIFEXITED(status) && WEXITSTATUS(status) <= NOT_OPENED
               ? (enum verdict)WEXITSTATUS(status)
               : DAMAGED;
}

int users_check(const char *path, u64 map_bytes, char why[CONF_WHY_MAX])
{
    char file[4096 + 16];
    struct stat st;
    snprintf(file, sizeof(file), "%s/data.mdb", path);
    if (stat(file, &st) != 0 || st.st_size == 0)
        return 0; /* a new one */
    switch (ask_child(path, map_bytes)) {
    case WELL:
    case NOT_OPENED: return 0; /* whoever opens it says why it cannot */
    case NO_MEMORY:
        snprintf(why, CONF_WHY_MAX,
                 "%.300s: not enough memory or processes to check it: it maps %llu MiB of address "
                 "space",
                 path, (unsigned long long)(map_bytes / MIB));
        return ERR_NOMEM;
    case DAMAGED: break;
    }
    snprintf(why, CONF_WHY_MAX,
             "%.300s: damaged. Move it away and start again: what other trackers know comes back "
             "from them, the rest from an export (dray-tracker users import)",
             path);
    return ERR_CORRUPT;
}
