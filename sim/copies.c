/* copies.c - see copies.h. */
#include "sim/copies.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "sim/fetch_impl.h"
#include "sim/host.h"
#include "sim/mem.h"

void copies_init(struct world *w)
{
    w->copies = mem_new(1, sizeof(*w->copies));
    w->copies->index_size = 64;
    w->copies->index = mem_new(w->copies->index_size, sizeof(u32));
}

void copies_fini(struct world *w)
{
    struct copies *s = w->copies;
    for (size_t i = 0; i < s->n; i++) {
        free(s->v[i].came_ms);
        free(s->v[i].loose);
        free(s->v[i].away);
    }
    free(s->v);
    free(s->index);
    free(s);
}

/* --- which there are ------------------------------------------------------------------------- */

static size_t cell_of(const struct copies *s, u32 region, u32 layer)
{
    u64 h = ((u64)region << 32 | layer) * 0x9e3779b97f4a7c15u;
    size_t at = (size_t)(h >> 32) & (s->index_size - 1);
    while (s->index[at] &&
           (s->v[s->index[at] - 1].region != region || s->v[s->index[at] - 1].layer != layer))
        at = (at + 1) & (s->index_size - 1);
    return at;
}

static void grow(struct copies *s)
{
    s->v = mem_grow(s->v, &s->cap, s->n + 1, sizeof(*s->v));
    if (2 * (s->n + 1) < s->index_size)
        return;
    free(s->index);
    s->index_size *= 2;
    s->index = mem_new(s->index_size, sizeof(*s->index));
    for (u32 i = 0; i < s->n; i++)
        s->index[cell_of(s, s->v[i].region, s->v[i].layer)] = i + 1;
}

static struct copy *copy_of(struct world *w, const struct fetch *f)
{
    struct copies *s = w->copies;
    u32 region = w->hosts[f->node].place.region;
    size_t cell = cell_of(s, region, f->layer);
    if (s->index[cell])
        return &s->v[s->index[cell] - 1];
    grow(s);
    struct copy *c = &s->v[s->n++];
    *c = (struct copy){.region = region,
                       .layer = f->layer,
                       .came_ms = mem_new(f->map.n, sizeof(*c->came_ms)),
                       .loose = mem_new(f->map.n, sizeof(*c->loose)),
                       .away = mem_new(f->map.n, sizeof(*c->away))};
    s->index[cell_of(s, region, f->layer)] = (u32)s->n;
    return c;
}

/* --- who has what ---------------------------------------------------------------------------- */

static bool is_honest(const struct host *h)
{
    return h->lies == HOST_HONEST && h->ring == HOST_RING_NOW && !h->denied;
}

/* One that all others can get it from. */
static bool gives(const struct host *h)
{
    return h->state == HOST_UP && !h->leaving && is_honest(h);
}

static bool holds(const struct world *w, struct host *h, u32 layer, u32 piece)
{
    const struct shelf_entry *e = shelf_find(&h->shelf, layer);
    if (e && !e->rotten)
        return true;
    u32 id = fetch_find(w, h->index, layer);
    const struct fetch *of = id != FETCH_NONE ? &w->fetches->v[id] : NULL;
    return of && of->content == CONTENT_RIGHT && piece_map_has(&of->map, piece);
}

/* Somebody else of the region, or this node itself by another way. */
static bool is_held(struct world *w, const struct fetch *f, u32 piece)
{
    u32 region = w->hosts[f->node].place.region;
    if (piece_map_has(&f->map, piece))
        return true;
    for (u32 i = 0; i < w->n; i++) {
        struct host *h = &w->hosts[i];
        if (i != f->node && h->place.region == region && gives(h) && holds(w, h, f->layer, piece))
            return true;
    }
    return false;
}

/* Does somebody have it who stands still or does not run, and may come back with it? */
static bool is_away(struct world *w, const struct copy *c, u32 piece)
{
    for (u32 i = 0; i < w->n; i++) {
        struct host *h = &w->hosts[i];
        if (h->state != HOST_UP && h->place.region == c->region && is_honest(h) &&
            (holds(w, h, c->layer, piece) || partial_has(&h->partials, c->layer, piece)))
            return true;
    }
    return false;
}

/* --- what may come again --------------------------------------------------------------------- */

static bool is_unsettled(const struct world *w, u32 region)
{
    for (u32 i = 0; i < w->members; i++) {
        const struct host *h = &w->hosts[i];
        if (h->place.region == region &&
            (h->lied || (h->state == HOST_UP && world_now(w) - h->since_ns < COPIES_SETTLED_NS)))
            return true;
    }
    return false;
}

static bool another_fetches(const struct world *w, const struct copy *c, const struct fetch *f)
{
    const struct fetches *s = w->fetches;
    bool other = false;
    for (size_t i = 0; i < s->n && !other; i++)
        other = s->v[i].used && s->v[i].fetches && s->v[i].layer == f->layer && &s->v[i] != f &&
                w->hosts[s->v[i].node].place.region == c->region &&
                w->hosts[s->v[i].node].state == HOST_UP;
    return other;
}

/* Does somebody else fetch it too, and has not for longer than two leases may stand? */
static bool is_overlap(struct world *w, struct copy *c, const struct fetch *f)
{
    if (!another_fetches(w, c, f))
        return false;
    u64 since = world_now(w) - c->overlap_at_ns;
    c->overlap_ns += since < SIM_S ? since : 0;
    c->overlap_at_ns = world_now(w);
    return c->overlap_ns <= COPIES_OVERLAP_NS;
}

/* Is the whole of it here, for so long that all know? */
static bool is_seeded(struct world *w, const struct copy *c)
{
    for (u32 i = 0; i < w->n; i++) {
        struct host *h = &w->hosts[i];
        const struct shelf_entry *e =
            h->place.region == c->region && gives(h) ? shelf_find(&h->shelf, c->layer) : NULL;
        if (e && !e->rotten && world_now(w) >= e->stored_ms * SIM_MS + COPIES_NEWS_NS)
            return true;
    }
    return false;
}

/* Has anybody who wants it gained nothing for long, just now or a moment ago? */
static bool somebody_starves(const struct world *w, const struct copy *c)
{
    const struct fetches *s = w->fetches;
    for (size_t i = 0; i < s->n; i++) {
        const struct fetch *f = &s->v[i];
        if (f->used && f->layer == c->layer && w->hosts[f->node].place.region == c->region &&
            (world_now(w) - f->gained_ns >= COPIES_STARVES_NS ||
             (f->starved_ns && world_now(w) - f->starved_ns < COPIES_HEARD_NS)))
            return true;
    }
    return false;
}

void copies_appointed(struct world *w, u32 fetch, u32 first)
{
    struct fetch *f = &w->fetches->v[fetch];
    struct copy *c = copy_of(w, f);
    f->was_cut = false;
    f->was_unsettled = is_unsettled(w, c->region);
    f->appointed_ns = world_now(w);
    bool other = another_fetches(w, c, f); /* its stream goes on */
    for (u32 p = 0; p < f->map.n; p++)
        c->away[p] = (other && c->away[p]) || (!is_held(w, f, p) && is_away(w, c, p));
    u32 now_ms = (u32)(world_now(w) / SIM_MS);
    bool starves = somebody_starves(w, c);
    bool behind = starves || world_now(w) - f->begun_ns < COPIES_FRESH_NS;
    if (!starves && is_seeded(w, c))
        return;
    for (u32 p = 0; p < f->map.n; p++) {
        if (piece_map_has(&f->map, p))
            continue;
        bool held = is_held(w, f, p);
        behind |= !held || (c->came_ms[p] && now_ms - c->came_ms[p] < COPIES_NEWS_NS / SIM_MS);
        if (starves || (held && behind && p >= first))
            c->allowed += piece_bytes(f->size, p);
    }
}

void copies_disproved(struct world *w, u32 fetch)
{
    const struct fetch *f = &w->fetches->v[fetch];
    copy_of(w, f)->allowed += f->size;
}

void copies_came(struct world *w, u32 fetch, u32 piece)
{
    struct fetch *f = &w->fetches->v[fetch];
    struct copy *c = copy_of(w, f);
    u64 bytes = piece_bytes(f->size, piece), always = 2 * piece_size(f->size);
    bool counts = is_honest(&w->hosts[f->node]) && f->content == CONTENT_RIGHT;
    bool loose = measure_is_cut(w) || is_unsettled(w, c->region);
    bool passed = c->loose[piece] && c->came_ms[piece] * SIM_MS >= f->appointed_ns;
    bool again = counts && is_held(w, f, piece), at_hand = piece_map_has(&f->map, piece);
    c->came_ms[piece] = (u32)(world_now(w) / SIM_MS);
    c->loose[piece] = loose || !counts;
    f->was_cut |= measure_is_cut(w);
    if (!again) {
        c->needed += bytes;
        return;
    }
    c->again += bytes;
    w->copies->again += bytes;
    bool reads_on = (f->was_unsettled || c->away[piece]) && !another_fetches(w, c, f);
    if (is_overlap(w, c, f) || loose || reads_on || f->was_cut || passed || at_hand)
        c->allowed += bytes;
    if (c->again > c->allowed + always)
        measure_break(w, "copies",
                      "region %u read layer %u, and %" PRIu64
                      " bytes of it again; causes allow for "
                      "%" PRIu64 "; node %u reads piece %u, which is there",
                      c->region, f->layer, c->again, c->allowed + always, f->node, piece);
}
