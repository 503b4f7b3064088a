/* partial.c - see partial.h. */
#include "sim/partial.h"

#include <assert.h>
#include <string.h>

static void remove_at(struct partials *s, u32 at)
{
    piece_map_fini(&s->v[at].map);
    s->n--;
    memmove(&s->v[at], &s->v[at + 1], (s->n - at) * sizeof(*s->v));
}

static u32 find(const struct partials *s, u32 layer)
{
    u32 at = 0;
    while (at < s->n && s->v[at].layer != layer)
        at++;
    return at;
}

void partial_keep(struct partials *s, u32 layer, struct piece_map *map)
{
    u32 at = find(s, layer);
    assert(map->words);
    if (at < s->n)
        remove_at(s, at);
    if (s->n == PARTIALS_MAX)
        remove_at(s, 0);
    s->v[s->n++] = (struct partial){.layer = layer, .map = *map};
    memset(map, 0, sizeof(*map));
}

bool partial_take(struct partials *s, u32 layer, struct piece_map *map)
{
    u32 at = find(s, layer);
    if (at == s->n)
        return false;
    assert(s->v[at].map.n == map->n);
    piece_map_fini(map);
    *map = s->v[at].map;
    memset(&s->v[at].map, 0, sizeof(s->v[at].map));
    remove_at(s, at);
    return true;
}

bool partial_has(const struct partials *s, u32 layer, u32 piece)
{
    u32 at = find(s, layer);
    return at < s->n && piece_map_has(&s->v[at].map, piece);
}

void partial_drop_all(struct partials *s)
{
    while (s->n > 0)
        remove_at(s, s->n - 1);
}
