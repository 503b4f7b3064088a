/* ingest_cut.c - an ingest whose pieces come in any order; see store.h.
 *
 * Several threads may write, each a piece of its own: bytes first, then its entry in the table,
 * then its bit, which is atomic. `written` counts bytes of pieces that are there, for the books. */
#include "store/store_state.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/pieces.h"

#define ENTRY     8u
#define TAIL      24u
#define WORD_BITS 64u
#define NO_PIECE  UINT32_MAX

static const char magic[8] = "dray cut";

u64 ingest_cut_table(u64 size)
{
    u32 n = size == STORE_SIZE_UNKNOWN ? 0 : piece_count(size);
    return n ? (u64)n * ENTRY + TAIL : 0;
}

/* What stands for a piece that is there; never 0. */
static u64 mark_of(const struct store_ingest *i, u32 piece)
{
    u64 mark, said[2] = {i->size, piece};
    crypto_generichash_state st;
    u8 hash[crypto_generichash_BYTES_MIN];
    crypto_generichash_init(&st, NULL, 0, sizeof(hash));
    crypto_generichash_update(&st, i->digest.bytes, sizeof(i->digest.bytes));
    crypto_generichash_update(&st, (const u8 *)said, sizeof(said));
    crypto_generichash_final(&st, hash, sizeof(hash));
    memcpy(&mark, hash, sizeof(mark));
    return mark | 1;
}

static int write_at(int fd, const void *data, size_t len, u64 at)
{
    const u8 *bytes = data;
    while (len > 0) {
        ssize_t n = pwrite(fd, bytes, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && layout_err(errno) == ERR_NOSPACE ? ERR_NOSPACE : ERR_IO;
        bytes += n;
        at += (u64)n;
        len -= (size_t)n;
    }
    return 0;
}

static int read_at(int fd, void *data, size_t len, u64 at)
{
    u8 *bytes = data;
    while (len > 0) {
        ssize_t n = pread(fd, bytes, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ERR_IO;
        bytes += n;
        at += (u64)n;
        len -= (size_t)n;
    }
    return 0;
}

static void set_there(struct store_ingest *i, u32 piece)
{
    u64 bit = 1ull << (piece % WORD_BITS);
    if (!(atomic_fetch_or(&i->there[piece / WORD_BITS], bit) & bit))
        atomic_fetch_add(&i->written, piece_bytes(i->size, piece));
}

static int allocate(struct store_ingest *i, u64 size)
{
    u32 n = piece_count(size);
    i->there = calloc((n + WORD_BITS - 1) / WORD_BITS, sizeof(*i->there));
    if (!i->there)
        return ERR_NOMEM;
    i->size = size;
    i->pieces = n;
    return 0;
}

u64 ingest_length(const struct store_ingest *i)
{
    return i->pieces ? i->size + ingest_cut_table(i->size) : atomic_load(&i->written);
}

int ingest_cut_load(struct store_ingest *i, u64 length)
{
    u8 tail[TAIL];
    u64 size, check;
    if (length <= TAIL || read_at(i->fd, tail, TAIL, length - TAIL))
        return length <= TAIL ? ERR_NOTFOUND : ERR_IO;
    memcpy(&size, tail + sizeof(magic), sizeof(size));
    memcpy(&check, tail + 2 * sizeof(magic), sizeof(check));
    if (memcmp(tail, magic, sizeof(magic)) != 0 || size >= length || piece_count(size) == 0 ||
        size + ingest_cut_table(size) != length)
        return ERR_NOTFOUND;
    i->size = size;
    if (check != mark_of(i, NO_PIECE))
        return ERR_NOTFOUND;
    u32 n = piece_count(size);
    u64 *entries = calloc(n, ENTRY);
    int rc = entries ? allocate(i, size) : ERR_NOMEM;
    if (rc == 0)
        rc = read_at(i->fd, entries, (size_t)n * ENTRY, size);
    atomic_store(&i->written, 0);
    for (u32 p = 0; p < n && rc == 0; p++)
        if (entries[p] && entries[p] == mark_of(i, p))
            set_there(i, p);
    free(entries);
    atomic_store(&i->laid, rc == 0);
    return rc;
}

int ingest_cut_make(struct store_ingest *i, u64 size)
{
    u64 prefix = atomic_load(&i->written);
    int rc = allocate(i, size);
    if (rc < 0)
        return rc;
    atomic_store(&i->written, 0);
    for (u32 p = 0; p < i->pieces && piece_first(size, p) + piece_bytes(size, p) <= prefix; p++)
        set_there(i, p);
    return 0;
}

/* The table in one write, behind where the layer will end, and its mark at its end: who is killed
 * before it leaves the file as it was, and zeros never pass for bytes. */
int ingest_cut_lay(struct store_ingest *i)
{
    u64 size = i->size, table = ingest_cut_table(size), mark = mark_of(i, NO_PIECE);
    assert(table > TAIL);
    struct stat was;
    u8 *bytes = calloc(1, (size_t)table), *tail = bytes ? bytes + table - TAIL : NULL;
    int rc = !bytes ? ERR_NOMEM : fstat(i->fd, &was) < 0 ? ERR_IO : 0;
    if (rc < 0) {
        free(bytes);
        return rc;
    }
    memcpy(tail, magic, sizeof(magic));
    memcpy(tail + 8, &size, sizeof(size));
    memcpy(tail + 16, &mark, sizeof(mark));
    for (u32 p = 0; p < i->pieces; p++) {
        mark = store_ingest_has_piece(i, p) ? mark_of(i, p) : 0;
        memcpy(bytes + (size_t)p * ENTRY, &mark, ENTRY);
    }
    rc = write_at(i->fd, bytes, (size_t)table, size);
    if (rc < 0)
        (void)!ftruncate(i->fd, was.st_size); /* as it was */
    free(bytes);
    atomic_store(&i->laid, rc == 0);
    return rc;
}

int store_ingest_reserve_cut(struct store_ingest *i)
{
    assert(i->pieces);
    if (store_ingest_is_reserved(i))
        return 0;
    int rc = store_ingest_reserve(i, i->size + ingest_cut_table(i->size));
    return rc ? rc : ingest_cut_lay(i);
}

bool store_ingest_is_reserved(const struct store_ingest *i)
{
    return atomic_load(&i->laid);
}

bool store_ingest_is_cut(const struct store_ingest *i)
{
    return i->pieces > 0;
}

bool store_ingest_has_piece(const struct store_ingest *i, u32 piece)
{
    assert(piece < i->pieces);
    return atomic_load(&i->there[piece / WORD_BITS]) >> (piece % WORD_BITS) & 1;
}

int store_ingest_write_piece(struct store_ingest *i, u32 piece, const void *data)
{
    assert(!i->moved && piece < i->pieces && store_ingest_is_reserved(i));
    u64 mark = mark_of(i, piece);
    int rc =
        write_at(i->fd, data, (size_t)piece_bytes(i->size, piece), piece_first(i->size, piece));
    if (rc == 0)
        rc = write_at(i->fd, &mark, ENTRY, i->size + (u64)piece * ENTRY);
    if (rc == 0)
        set_there(i, piece);
    return rc;
}

int store_ingest_read_piece(const struct store_ingest *i, u32 piece, void *data)
{
    assert(piece < i->pieces);
    return read_at(i->fd, data, (size_t)piece_bytes(i->size, piece), piece_first(i->size, piece));
}

void store_ingest_forget_piece(struct store_ingest *i, u32 piece)
{
    static const u64 none;
    u64 bit = 1ull << (piece % WORD_BITS);
    assert(piece < i->pieces && !i->closed);
    if (!(atomic_fetch_and(&i->there[piece / WORD_BITS], ~bit) & bit))
        return;
    atomic_fetch_sub(&i->written, piece_bytes(i->size, piece));
    if (atomic_load(&i->laid) && write_at(i->fd, &none, ENTRY, i->size + (u64)piece * ENTRY))
        atomic_store(&i->broken, true); /* it would come back after a restart */
}

void store_ingest_close_cut(struct store_ingest *i)
{
    assert(i->pieces && atomic_load(&i->written) == i->size);
    i->closed = true;
}

int ingest_cut_finish(struct store_ingest *i)
{
    if (!i->closed || atomic_load(&i->written) != i->size)
        return ERR_CORRUPT;
    return ftruncate(i->fd, (off_t)i->size) < 0 ? ERR_IO : 0;
}

int store_ingest_uncut(struct store_ingest *i)
{
    u64 prefix = 0;
    assert(i->pieces && !i->moved);
    for (u32 p = 0; p < i->pieces && store_ingest_has_piece(i, p); p++)
        prefix += piece_bytes(i->size, p);
    free(i->there);
    i->there = NULL;
    i->pieces = 0;
    i->closed = false;
    atomic_store(&i->laid, false);
    atomic_store(&i->written, prefix);
    hasher_init(&i->hasher, i->digest.alg);
    atomic_store(&i->hashed, 0);
    return ftruncate(i->fd, (off_t)prefix) < 0 ? ERR_IO : 0;
}
