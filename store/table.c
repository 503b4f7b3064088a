/* table.c - chained hashing with a power of two of slots, doubled when they are all taken.
 *
 * It never shrinks: its owners are bounded, and the slots are 8 bytes each. */
#include "store/table.h"

#include "proto/err.h"

#include <assert.h>
#include <stdlib.h>

#define TABLE_SLOTS_FIRST 64

static size_t table_slot(const struct table *t, const struct digest *d)
{
    return (size_t)digest_hash(d, t->seed) & t->mask;
}

int table_init(struct table *t, u64 seed)
{
    t->slots = calloc(TABLE_SLOTS_FIRST, sizeof(struct table_node *));
    t->mask = TABLE_SLOTS_FIRST - 1;
    t->count = 0;
    t->seed = seed;
    return t->slots ? 0 : ERR_NOMEM;
}

void table_fini(struct table *t)
{
    assert(t->count == 0);
    free(t->slots);
    t->slots = NULL;
}

struct table_node *table_find(const struct table *t, const struct digest *d)
{
    for (struct table_node *n = t->slots[table_slot(t, d)]; n; n = n->next)
        if (digest_equal(&n->digest, d))
            return n;
    return NULL;
}

static void table_grow(struct table *t)
{
    size_t slots = 2 * (t->mask + 1);
    struct table_node **old = t->slots, **bigger = calloc(slots, sizeof(struct table_node *));
    if (!bigger)
        return; /* longer chains serve as well, only slower */
    size_t old_slots = t->mask + 1;
    t->slots = bigger;
    t->mask = slots - 1;
    for (size_t i = 0; i < old_slots; i++) {
        for (struct table_node *n = old[i], *next; n; n = next) {
            next = n->next;
            size_t slot = table_slot(t, &n->digest);
            n->next = t->slots[slot];
            t->slots[slot] = n;
        }
    }
    free(old);
}

void table_put(struct table *t, struct table_node *n)
{
    assert(!table_find(t, &n->digest));
    if (t->count > t->mask)
        table_grow(t);
    size_t slot = table_slot(t, &n->digest);
    n->next = t->slots[slot];
    t->slots[slot] = n;
    t->count++;
}

void table_del(struct table *t, struct table_node *n)
{
    struct table_node **link = &t->slots[table_slot(t, &n->digest)];
    while (*link && *link != n)
        link = &(*link)->next;
    assert(*link == n);
    *link = n->next;
    n->next = NULL;
    t->count--;
}

struct table_node *table_next(const struct table *t, const struct table_node *n)
{
    if (n && n->next)
        return n->next;
    size_t slot = n ? table_slot(t, &n->digest) + 1 : 0;
    for (; slot <= t->mask; slot++)
        if (t->slots[slot])
            return t->slots[slot];
    return NULL;
}
