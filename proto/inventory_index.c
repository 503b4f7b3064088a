/* inventory_index.c - fingerprint -> tables: rows of u32 in 65,536 buckets; see inventory_pool.h.
 *
 * A row is unsorted: to add is to append (one cache line touched), to look up is to scan it: some
 * 300 entries of 4 bytes at 20 million. Rows grow by an eighth, so that slack stays small. */
#include "proto/inventory_pool.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 65536u

void *inventory_resize(u64 *bytes, void *old, size_t from, size_t to)
{
    if (to == 0) {
        free(old);
        *bytes -= from;
        return NULL;
    }
    void *p = realloc(old, to);
    if (p)
        *bytes += to - from; /* wraps where it shrinks, as it should */
    return p;
}

int inventory_index_init(struct inventory_index *ix, u64 *bytes)
{
    ix->at = calloc(BUCKETS, sizeof(struct inventory_bucket *));
    if (!ix->at)
        return ERR_NOMEM;
    *bytes += BUCKETS * sizeof(struct inventory_bucket *);
    return 0;
}

/* What a row of `cap` entries takes, the allocator's header included. */
static size_t row_bytes(u32 cap)
{
    return sizeof(struct inventory_bucket) + cap * sizeof(u32);
}

void inventory_index_fini(struct inventory_index *ix, u64 *bytes)
{
    if (!ix->at)
        return;
    for (u32 i = 0; ix->rows > 0; i++)
        if (ix->at[i]) {
            inventory_resize(bytes, ix->at[i], row_bytes(ix->at[i]->cap), 0);
            ix->rows--;
        }
    free(ix->at);
    *bytes -= BUCKETS * sizeof(struct inventory_bucket *);
    ix->at = NULL;
}

int inventory_index_add(struct inventory_index *ix, u64 *bytes, u32 fp, u16 table)
{
    struct inventory_bucket *b = ix->at[fp >> 16];
    if (!b || b->len == b->cap) {
        u32 cap = b ? b->cap : 0;
        u32 more = cap + (cap / 8 > 2 ? cap / 8 : 2);
        bool fresh = !b;
        b = inventory_resize(bytes, b, b ? row_bytes(cap) : 0, row_bytes(more));
        if (!b)
            return ERR_NOMEM;
        if (fresh) {
            b->len = 0;
            ix->rows++;
        }
        b->cap = more;
        ix->at[fp >> 16] = b;
    }
    b->e[b->len++] = fp << 16 | table;
    ix->entries++;
    return 0;
}

void inventory_index_take(struct inventory_index *ix, u64 *bytes, u32 fp, u16 table)
{
    struct inventory_bucket *b = ix->at[fp >> 16];
    u32 e = fp << 16 | table, i = 0;
    assert(b);
    while (i < b->len && b->e[i] != e)
        i++;
    assert(i < b->len);
    b->e[i] = b->e[--b->len];
    ix->entries--;
    if (b->len == 0) {
        inventory_resize(bytes, b, row_bytes(b->cap), 0);
        ix->at[fp >> 16] = NULL;
        ix->rows--;
    } else if (b->cap > 2 * b->len + 8) {
        u32 less = b->len + 4;
        struct inventory_bucket *s = inventory_resize(bytes, b, row_bytes(b->cap), row_bytes(less));
        if (s) {
            s->cap = less;
            ix->at[fp >> 16] = s;
        }
    }
}
