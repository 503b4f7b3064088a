/* evict.c - see evict.h. Candidates come in windows of some dozens, so the sort's cost is nothing.
 */
#include "store/evict.h"

#include <stdlib.h>
#include <string.h>

u64 evict_rank_ms(const struct evict_candidate *c)
{
    return c->last ? c->used_ms + EVICT_LAST_MS : c->used_ms;
}

/* A total order: qsort then cannot show that it is unstable. */
static int evict_compare(const void *left, const void *right)
{
    const struct evict_candidate *a = left, *b = right;
    if (a->partial != b->partial)
        return a->partial ? -1 : 1;
    if (evict_rank_ms(a) != evict_rank_ms(b))
        return evict_rank_ms(a) < evict_rank_ms(b) ? -1 : 1;
    if (a->digest.alg != b->digest.alg)
        return a->digest.alg < b->digest.alg ? -1 : 1;
    return memcmp(a->digest.bytes, b->digest.bytes, sizeof(a->digest.bytes));
}

u64 evict_choose(struct evict_candidate *c, size_t count, u64 need_bytes, size_t *taken)
{
    if (count > 1)
        qsort(c, count, sizeof(*c), evict_compare);
    u64 freed = 0;
    size_t n = 0;
    while (n < count && freed < need_bytes)
        freed += c[n++].bytes;
    *taken = n;
    return freed;
}
