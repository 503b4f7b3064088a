/* shelf.c - see shelf.h. */
#include "sim/shelf.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/err.h"
#include "sim/mem.h"
#include "store/evict.h"

#define WINDOW 64 /* candidates that the policy is shown at once */

void shelf_init(struct shelf *s, u64 capacity)
{
    memset(s, 0, sizeof(*s));
    s->capacity = capacity;
    s->newest = s->oldest = s->free = SHELF_NONE;
}

void shelf_fini(struct shelf *s)
{
    free(s->entries);
    free(s->index);
    memset(s, 0, sizeof(*s));
}

static size_t home(const struct shelf *s, u32 layer)
{
    return (size_t)(layer * 0x9e3779b97f4a7c15u >> 20) & (s->index_size - 1);
}

/* Where it stands in the index, or where it would. */
static size_t spot(const struct shelf *s, u32 layer)
{
    size_t i = home(s, layer);
    while (s->index[i] && s->entries[s->index[i] - 1].layer != layer)
        i = (i + 1) & (s->index_size - 1);
    return i;
}

static void grow_index(struct shelf *s)
{
    size_t size = s->index_size ? 2 * s->index_size : 64;
    free(s->index);
    s->index = mem_new(size, sizeof(*s->index));
    s->index_size = size;
    for (u32 at = s->oldest; at != SHELF_NONE; at = s->entries[at].newer)
        s->index[spot(s, s->entries[at].layer)] = at + 1;
}

struct shelf_entry *shelf_find(struct shelf *s, u32 layer)
{
    if (s->n == 0)
        return NULL;
    u32 at = s->index[spot(s, layer)];
    return at ? &s->entries[at - 1] : NULL;
}

static void unlink_entry(struct shelf *s, u32 at)
{
    struct shelf_entry *e = &s->entries[at];
    *(e->newer == SHELF_NONE ? &s->newest : &s->entries[e->newer].older) = e->older;
    *(e->older == SHELF_NONE ? &s->oldest : &s->entries[e->older].newer) = e->newer;
}

static void link_newest(struct shelf *s, u32 at)
{
    struct shelf_entry *e = &s->entries[at];
    e->newer = SHELF_NONE;
    e->older = s->newest;
    *(s->newest == SHELF_NONE ? &s->oldest : &s->entries[s->newest].newer) = at;
    s->newest = at;
}

void shelf_use(struct shelf *s, struct shelf_entry *e, u64 now_ms)
{
    u32 at = (u32)(e - s->entries);
    e->used_ms = now_ms;
    unlink_entry(s, at);
    link_newest(s, at);
}

void shelf_put(struct shelf *s, u32 layer, u64 bytes, u64 now_ms)
{
    assert(s->used + bytes <= s->capacity);
    if (s->index_size < 2 * ((size_t)s->n + 1))
        grow_index(s);
    size_t i = spot(s, layer);
    assert(s->index[i] == 0);
    u32 at = s->free;
    if (at != SHELF_NONE) {
        s->free = s->entries[at].newer;
    } else {
        s->entries = mem_grow(s->entries, &s->cap, s->n_slots + 1u, sizeof(*s->entries));
        at = s->n_slots++;
    }
    s->entries[at] = (struct shelf_entry){
        .layer = layer, .bytes = bytes, .used_ms = now_ms, .stored_ms = now_ms};
    link_newest(s, at);
    s->index[i] = at + 1;
    s->n++;
    s->used += bytes;
}

void shelf_remove(struct shelf *s, u32 layer)
{
    size_t i = spot(s, layer), hole = i;
    assert(s->n > 0 && s->index[i]);
    u32 at = s->index[i] - 1;
    assert(s->entries[at].pins == 0);
    s->used -= s->entries[at].bytes;
    s->n--;
    unlink_entry(s, at);
    s->index[i] = 0;
    /* Knuth, 6.4, algorithm R: whoever stood behind the hole because of it moves up. */
    for (;;) {
        i = (i + 1) & (s->index_size - 1);
        if (s->index[i] == 0)
            break;
        size_t h = home(s, s->entries[s->index[i] - 1].layer);
        if (((i - h) & (s->index_size - 1)) < ((i - hole) & (s->index_size - 1)))
            continue;
        s->index[hole] = s->index[i];
        s->index[i] = 0;
        hole = i;
    }
    s->entries[at].newer = s->free;
    s->free = at;
}

int shelf_make_room(struct shelf *s, const struct catalog *c, u64 bytes, u32 *gone, size_t max,
                    size_t *n)
{
    if (bytes > s->capacity)
        return ERR_FULL;
    while (s->used + bytes > s->capacity) {
        struct evict_candidate v[WINDOW];
        u32 layers[WINDOW];
        size_t count = 0, taken;
        for (u32 at = s->oldest; at != SHELF_NONE && count < WINDOW; at = s->entries[at].newer) {
            const struct shelf_entry *e = &s->entries[at];
            if (e->pins > 0)
                continue;
            layers[count] = e->layer;
            v[count] = (struct evict_candidate){.bytes = e->bytes, .used_ms = e->used_ms};
            catalog_digest(c, e->layer, &v[count++].digest);
        }
        evict_choose(v, count, s->used + bytes - s->capacity, &taken);
        if (taken == 0)
            return ERR_FULL;
        for (size_t i = 0; i < taken; i++)
            for (size_t k = 0; k < count; k++) {
                struct digest d;
                catalog_digest(c, layers[k], &d);
                if (!digest_equal(&d, &v[i].digest))
                    continue;
                if (*n == max)
                    return ERR_FULL;
                gone[(*n)++] = layers[k];
                s->evicted++;
                s->evicted_bytes += v[i].bytes;
                shelf_remove(s, layers[k]);
                break;
            }
    }
    return 0;
}

void shelf_crash(struct shelf *s, u64 synced_ms, u32 *gone, size_t max, size_t *n)
{
    for (u32 at = s->oldest, next; at != SHELF_NONE && *n < max; at = next) {
        next = s->entries[at].newer;
        s->entries[at].pins = 0;
        if (s->entries[at].stored_ms > synced_ms) {
            gone[(*n)++] = s->entries[at].layer;
            shelf_remove(s, s->entries[at].layer);
        }
    }
}

const struct shelf_entry *shelf_each(const struct shelf *s, u32 *at)
{
    *at = *at == SHELF_NONE ? s->oldest : s->entries[*at].newer;
    return *at == SHELF_NONE ? NULL : &s->entries[*at];
}
