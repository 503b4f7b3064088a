/* index_audit.c - is this index what we once wrote? Walks all of it.
 *
 * LMDB trusts its file: a damaged page ends in a signal, in an endless walk, or in wrong answers.
 * So before anything trusts it, a child process that may die walks it here. Found are: pages that
 * cannot be read; keys out of order (which also ends any loop of pages); values whose checksum is
 * wrong; databases that disagree with each other; and a list of free pages that names a page twice,
 * beyond the end, or in use, since the next write would put it to use. Everything is read in the
 * file's order, once: 100,000 entries take some tens of milliseconds. */
#include "store/index.h"
#include "store/space.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct index_audit {
    struct index *ix;
    MDB_txn *txn;
    u8 *used;     /* a bit per page: holds entries, or is listed as free */
    size_t pages; /* bits in it */
    size_t page_bytes;
    struct index_totals totals;
    /* Sums over (time, digest): of what the entries say, and of what the two orders hold. */
    u64 sum_used, sum_scrub;
};

static bool index_audit_bit(const struct index_audit *a, size_t page)
{
    return a->used[page / 8] >> (page % 8) & 1;
}

/* Notes the page that `bytes` lies in as in use. */
static int index_audit_page(struct index_audit *a, const void *bytes)
{
    if (!a->ix->map)
        return 0;
    size_t page = (size_t)((const u8 *)bytes - (const u8 *)a->ix->map) / a->page_bytes;
    if (page >= a->pages)
        return ERR_CORRUPT;
    a->used[page / 8] |= (u8)(1u << (page % 8));
    return 0;
}

static u64 index_audit_sum(u64 ms, const struct digest *d)
{
    u8 key[INDEX_ORDER_MAX];
    size_t len = index_order_key(key, ms, d);
    return index_sum(INDEX_SUM_FIRST, key, len);
}

static int index_audit_blob(struct index_audit *a, const MDB_val *key, const MDB_val *value)
{
    struct digest d;
    struct blob_info info;
    if (index_key_read(key->mv_data, key->mv_size, &d) < 0 ||
        index_value_read(&d, value->mv_data, value->mv_size, true, &info) < 0)
        return ERR_CORRUPT;
    a->totals.blobs++;
    a->totals.bytes += info.size;
    a->totals.used_bytes += space_rounded(info.size);
    /* Sums commute, so the order of the walk does not matter; the size goes along with the use. */
    a->sum_used += index_audit_sum(info.used_ms, &d) ^ info.size;
    a->sum_scrub += index_audit_sum(info.scrubbed_ms, &d);
    return 0;
}

static int index_audit_entry(struct index_audit *a, enum index_db db, const MDB_val *key,
                             const MDB_val *value)
{
    u64 ms;
    struct digest d;
    switch (db) {
    case INDEX_BLOBS: return index_audit_blob(a, key, value);
    case INDEX_USED:
        if (index_order_read(key->mv_data, key->mv_size, &ms, &d) < 0 || value->mv_size != 8)
            return ERR_CORRUPT;
        a->sum_used -= index_audit_sum(ms, &d) ^ index_read_u64(value->mv_data);
        return 0;
    case INDEX_SCRUB:
        if (index_order_read(key->mv_data, key->mv_size, &ms, &d) < 0 || value->mv_size != 0)
            return ERR_CORRUPT;
        a->sum_scrub -= index_audit_sum(ms, &d);
        return 0;
    case INDEX_STATE: return 0;
    case INDEX_DBS: break;
    }
    assert(false);
    return ERR_CORRUPT;
}

/* Walks one database; `*count` entries. */
static int index_audit_db(struct index_audit *a, enum index_db db, u64 *count)
{
    u8 last[INDEX_ORDER_MAX];
    MDB_val prev = {.mv_data = last, .mv_size = 0}, key, value;
    MDB_cursor *cursor;
    MDB_dbi dbi = a->ix->db[db];
    unsigned flags; /* damaged ones would order keys otherwise */
    *count = 0;
    if (mdb_dbi_flags(a->txn, dbi, &flags) != 0 || flags != 0)
        return ERR_CORRUPT;
    if (mdb_cursor_open(a->txn, dbi, &cursor) != 0)
        return ERR_CORRUPT;
    int rc = 0, got;
    while (rc == 0 && (got = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) != MDB_NOTFOUND) {
        if (got != 0 || key.mv_size > sizeof(last) ||
            (*count > 0 && mdb_cmp(a->txn, dbi, &prev, &key) >= 0)) {
            rc = ERR_CORRUPT;
            break;
        }
        memcpy(last, key.mv_data, key.mv_size);
        prev.mv_size = key.mv_size;
        rc = index_audit_page(a, key.mv_data);
        if (rc == 0)
            rc = index_audit_entry(a, db, &key, &value);
        ++*count;
    }
    mdb_cursor_close(cursor);
    MDB_stat stat;
    if (rc == 0 && (mdb_stat(a->txn, dbi, &stat) != 0 || stat.ms_entries != *count))
        rc = ERR_CORRUPT;
    return rc;
}

/* LMDB's list of free pages is database 0: transaction -> count, page numbers. */
static int index_audit_free(struct index_audit *a)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    size_t last = 0, first = 1; /* transactions start at 1 */
    if (mdb_cursor_open(a->txn, 0, &cursor) != 0)
        return ERR_CORRUPT;
    int rc = 0, got;
    while (rc == 0 && (got = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) != MDB_NOTFOUND) {
        size_t txn, count, page;
        if (got != 0 || key.mv_size != sizeof(txn) || value.mv_size < sizeof(count)) {
            rc = ERR_CORRUPT;
            break;
        }
        memcpy(&txn, key.mv_data, sizeof(txn));
        memcpy(&count, value.mv_data, sizeof(count));
        if (txn < first || txn <= last || count > value.mv_size / sizeof(page) - 1)
            rc = ERR_CORRUPT;
        last = txn;
        for (size_t i = 1; rc == 0 && i <= count; i++) {
            memcpy(&page, (const u8 *)value.mv_data + i * sizeof(page), sizeof(page));
            if (page < 2 || page >= a->pages || index_audit_bit(a, page))
                rc = ERR_CORRUPT; /* 0 and 1 are the meta pages */
            else
                a->used[page / 8] |= (u8)(1u << (page % 8));
        }
    }
    mdb_cursor_close(cursor);
    return rc;
}

int index_audit(struct index *ix, struct index_totals *out)
{
    struct index_audit a = {.ix = ix};
    MDB_envinfo info;
    MDB_stat stat;
    u64 blobs = 0, used = 0, scrub = 0, state = 0;
    int rc = ERR_CORRUPT;
    if (mdb_txn_renew(ix->reader) != 0)
        return ERR_IO;
    a.txn = ix->reader;
    if (mdb_env_info(ix->env, &info) != 0 || mdb_env_stat(ix->env, &stat) != 0 ||
        stat.ms_psize == 0 || info.me_last_pgno >= info.me_mapsize / stat.ms_psize)
        goto out;
    a.page_bytes = stat.ms_psize;
    a.pages = info.me_last_pgno + 1;
    a.used = calloc(1, a.pages / 8 + 1);
    if (!a.used) {
        rc = ERR_NOMEM;
        goto out;
    }
    rc = index_audit_db(&a, INDEX_BLOBS, &blobs);
    if (rc == 0)
        rc = index_audit_db(&a, INDEX_USED, &used);
    if (rc == 0)
        rc = index_audit_db(&a, INDEX_SCRUB, &scrub);
    if (rc == 0)
        rc = index_audit_db(&a, INDEX_STATE, &state);
    if (rc == 0)
        rc = index_audit_free(&a);
    if (rc == 0 && (used != blobs || scrub != blobs || a.sum_used != 0 || a.sum_scrub != 0))
        rc = ERR_CORRUPT;
    *out = a.totals;
out:
    mdb_txn_reset(ix->reader);
    free(a.used);
    return rc;
}
