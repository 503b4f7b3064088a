/* ring.c - see ring.h. */
#include "node/ring.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK LIMIT_FILL_BLOCK_BYTES

static u8 *block_get(struct ring_cache *c)
{
    u8 *b = c->n > 0 ? c->free[--c->n] : malloc(BLOCK);
    if (b)
        c->blocks++;
    return b;
}

static void block_put(struct ring_cache *c, u8 *b)
{
    assert(c->blocks > 0);
    c->blocks--;
    if (c->n < RING_CACHE_BLOCKS)
        c->free[c->n++] = b;
    else
        free(b);
}

void ring_cache_fini(struct ring_cache *c)
{
    assert(c->blocks == 0);
    while (c->n > 0)
        free(c->free[--c->n]);
}

void ring_init(struct ring *r, struct ring_cache *cache, u64 at)
{
    memset(r, 0, sizeof(*r));
    r->cache = cache;
    r->first = r->end = at;
}

static u8 **slot(const struct ring *r, u64 offset)
{
    return (u8 **)&r->blocks[(offset / BLOCK) % RING_SLOTS];
}

void ring_fini(struct ring *r)
{
    for (size_t i = 0; i < RING_SLOTS; i++)
        if (r->blocks[i])
            block_put(r->cache, r->blocks[i]);
    memset(r->blocks, 0, sizeof(r->blocks));
    r->first = r->end;
}

size_t ring_append(struct ring *r, const void *data, size_t len)
{
    size_t taken = 0;
    while (taken < len) {
        if (r->end / BLOCK - r->first / BLOCK >= RING_SLOTS)
            break;
        u8 **block = slot(r, r->end);
        if (!*block && !(*block = block_get(r->cache)))
            break;
        size_t at = r->end % BLOCK;
        size_t n = len - taken < BLOCK - at ? len - taken : BLOCK - at;
        memcpy(*block + at, (const u8 *)data + taken, n);
        r->end += n;
        taken += n;
    }
    return taken;
}

const u8 *ring_at(const struct ring *r, u64 offset, u64 until, size_t *len)
{
    assert(offset >= r->first && offset < until && until <= r->end);
    size_t at = offset % BLOCK;
    u64 n = until - offset;
    *len = n < BLOCK - at ? (size_t)n : BLOCK - at;
    return *slot(r, offset) + at;
}

int ring_iov(const struct ring *r, u64 offset, u64 until, struct iovec *iov, int cap, u64 *covered)
{
    int n = 0;
    while (n < cap && offset < until) {
        size_t len;
        iov[n].iov_base = (void *)ring_at(r, offset, until, &len);
        iov[n++].iov_len = len;
        offset += len;
    }
    *covered = offset;
    return n;
}

void ring_drop(struct ring *r, u64 offset)
{
    assert(offset <= r->end);
    /* The block that the end stands in stays, even when nothing of it is left: it is being filled.
     */
    u64 keep = offset / BLOCK;
    for (u64 b = r->first / BLOCK; b < keep; b++) {
        u8 **block = &r->blocks[b % RING_SLOTS];
        if (*block)
            block_put(r->cache, *block);
        *block = NULL;
        r->first = (b + 1) * BLOCK;
    }
}
