/* flow.c - see flow.h.
 *
 * Filling with a lazy heap: a line's share only grows while others are filled, so a key that is too
 * old is merely put back; each flow is fixed once and touches its four lines: O(F log L). */
#include "sim/flow.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim/mem.h"

#define NB        1000000000ull /* billionths */
#define BYTES_MAX (16ull << 30)

void flow_init(struct flows *f)
{
    memset(f, 0, sizeof(*f));
    f->next_end_ns = UINT64_MAX;
}

void flow_fini(struct flows *f)
{
    free(f->lines);
    free(f->flows);
    free(f->free);
    free(f->active);
    free(f->links);
    free(f->heap);
    free(f->done);
    memset(f, 0, sizeof(*f));
}

/* --- time passes ----------------------------------------------------------------------------- */

static void count_moved(struct flows *f, const struct flow *w, u64 nb)
{
    for (int i = 0; i < FLOW_LINES_MAX; i++)
        if (w->lines[i] != FLOW_NONE) {
            struct flow_line *l = &f->lines[w->lines[i]];
            l->moved_nb += nb % NB;
            l->moved_bytes += nb / NB + l->moved_nb / NB;
            l->moved_nb %= NB;
        }
}

static void pass(struct flows *f, u64 now_ns)
{
    assert(now_ns >= f->now_ns);
    f->now_ns = now_ns;
}

/* Each flow is moved on only when its rate changes or somebody asks: between fillings it goes on at
 * one rate. */
static void move(struct flows *f, struct flow *w)
{
    unsigned __int128 moved = (unsigned __int128)w->rate_bps * (f->now_ns - w->moved_ns);
    u64 nb = moved < w->left_nb ? (u64)moved : w->left_nb;
    w->moved_ns = f->now_ns;
    w->left_nb -= nb;
    if (nb > 0)
        count_moved(f, w, nb);
}

/* Moves all, lists those that are complete, and says when the next one will be. */
static void move_all(struct flows *f)
{
    f->next_end_ns = UINT64_MAX;
    for (size_t i = 0; i < f->n_active; i++) {
        struct flow *w = &f->flows[f->active[i]];
        move(f, w);
        if (w->left_nb == 0 && !w->done) {
            w->done = true;
            f->done = mem_grow(f->done, &f->done_cap, f->n_done + 1, sizeof(*f->done));
            f->done[f->n_done++] = f->active[i];
        }
        if (w->left_nb == 0 || w->rate_bps == 0)
            continue;
        u64 end = f->now_ns + (w->left_nb + w->rate_bps - 1) / w->rate_bps;
        f->next_end_ns = end < f->next_end_ns ? end : f->next_end_ns;
    }
}

/* --- filling --------------------------------------------------------------------------------- */

static bool key_before(const struct flow_key *a, const struct flow_key *b)
{
    return a->share != b->share ? a->share < b->share : a->line < b->line;
}

static void heap_put(struct flows *f, struct flow_key k)
{
    f->heap = mem_grow(f->heap, &f->heap_cap, f->n_heap + 1, sizeof(*f->heap));
    size_t i = f->n_heap++;
    while (i > 0 && key_before(&k, &f->heap[(i - 1) / 2])) {
        f->heap[i] = f->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    f->heap[i] = k;
}

static struct flow_key heap_take(struct flows *f)
{
    struct flow_key top = f->heap[0], last = f->heap[--f->n_heap];
    size_t i = 0;
    for (;;) {
        size_t c = 2 * i + 1;
        if (c >= f->n_heap)
            break;
        if (c + 1 < f->n_heap && key_before(&f->heap[c + 1], &f->heap[c]))
            c++;
        if (!key_before(&f->heap[c], &last))
            break;
        f->heap[i] = f->heap[c];
        i = c;
    }
    f->heap[i] = last;
    return top;
}

static u64 share_of(const struct flow_line *l)
{
    return l->left_bps / l->unfixed;
}

static void fix(struct flows *f, struct flow *w, u64 rate_bps)
{
    w->fixed = true;
    w->rate_bps = rate_bps;
    for (int i = 0; i < FLOW_LINES_MAX; i++)
        if (w->lines[i] != FLOW_NONE) {
            struct flow_line *l = &f->lines[w->lines[i]];
            assert(l->left_bps >= rate_bps && l->unfixed > 0);
            l->left_bps -= rate_bps;
            l->unfixed--;
        }
}

/* Lists each line's flows, and puts the lines on the heap. */
static void list_lines(struct flows *f)
{
    u32 at = 0;
    for (size_t i = 0; i < f->n_lines; i++) {
        struct flow_line *l = &f->lines[i];
        l->left_bps = l->rate_bps;
        l->first = at;
        at += l->flows;
        l->unfixed = 0; /* counted up below, to where the list ends */
    }
    f->links = mem_grow(f->links, &f->links_cap, at, sizeof(*f->links));
    for (size_t i = 0; i < f->n_active; i++) {
        struct flow *w = &f->flows[f->active[i]];
        w->fixed = false;
        for (int k = 0; k < FLOW_LINES_MAX; k++)
            if (w->lines[k] != FLOW_NONE) {
                struct flow_line *l = &f->lines[w->lines[k]];
                f->links[l->first + l->unfixed++] = f->active[i];
            }
    }
    f->n_heap = 0;
    for (size_t i = 0; i < f->n_lines; i++)
        if (f->lines[i].unfixed > 0)
            heap_put(f, (struct flow_key){share_of(&f->lines[i]), (u32)i});
}

struct capped {
    u64 cap_bps;
    u32 flow;
};

static int by_cap(const void *left, const void *right)
{
    const struct capped *a = left, *b = right;
    if (a->cap_bps != b->cap_bps)
        return a->cap_bps < b->cap_bps ? -1 : 1;
    return a->flow < b->flow ? -1 : a->flow > b->flow;
}

/* Flows with a cap of their own, least first: a cap is a line that only one flow crosses. */
static struct capped *list_capped(const struct flows *f, size_t *n)
{
    struct capped *c = NULL;
    size_t cap = 0;
    *n = 0;
    for (size_t i = 0; i < f->n_active; i++)
        if (f->flows[f->active[i]].cap_bps != UINT64_MAX) {
            c = mem_grow(c, &cap, *n + 1, sizeof(*c));
            c[(*n)++] = (struct capped){f->flows[f->active[i]].cap_bps, f->active[i]};
        }
    if (*n > 1)
        qsort(c, *n, sizeof(*c), by_cap);
    return c;
}

static void fill(struct flows *f)
{
    move_all(f); /* at the old rates */
    list_lines(f);
    size_t n_capped, at = 0;
    struct capped *capped = list_capped(f, &n_capped);
    while (f->n_heap > 0) {
        struct flow_key top = f->heap[0];
        struct flow_line *l = &f->lines[top.line];
        while (at < n_capped && capped[at].cap_bps <= top.share) {
            struct flow *w = &f->flows[capped[at++].flow];
            if (!w->fixed)
                fix(f, w, w->cap_bps);
        }
        heap_take(f);
        if (l->unfixed == 0)
            continue;
        u64 share = share_of(l);
        if (share > top.share) { /* others took less than their part since */
            heap_put(f, (struct flow_key){share, top.line});
            continue;
        }
        for (u32 i = 0; i < l->flows; i++) {
            struct flow *w = &f->flows[f->links[l->first + i]];
            if (!w->fixed)
                fix(f, w, share);
        }
    }
    free(capped);
    f->dirty = false;
    f->filled_ns = f->now_ns;
    f->fillings++;
    move_all(f); /* when the next one ends, at the new ones */
}

/* --- the interface --------------------------------------------------------------------------- */

u32 flow_line_new(struct flows *f, u64 rate_bps)
{
    f->lines = mem_grow(f->lines, &f->lines_cap, f->n_lines + 1, sizeof(*f->lines));
    f->lines[f->n_lines].rate_bps = rate_bps;
    return (u32)f->n_lines++;
}

void flow_line_set(struct flows *f, u32 line, u64 rate_bps, u64 now_ns)
{
    assert(line < f->n_lines);
    pass(f, now_ns);
    f->lines[line].rate_bps = rate_bps;
    f->dirty = true;
}

u32 flow_begin(struct flows *f, const struct flow_spec *spec, u64 now_ns)
{
    assert(spec->bytes > 0 && spec->bytes <= BYTES_MAX);
    pass(f, now_ns);
    u32 id;
    if (f->n_free > 0) {
        id = f->free[--f->n_free];
    } else {
        f->flows = mem_grow(f->flows, &f->cap, f->n + 1, sizeof(*f->flows));
        id = (u32)f->n++;
    }
    struct flow *w = &f->flows[id];
    *w = (struct flow){.cap_bps = spec->cap_bps ? spec->cap_bps : UINT64_MAX,
                       .left_nb = spec->bytes * NB,
                       .moved_ns = now_ns,
                       .bytes = spec->bytes,
                       .tag = spec->tag,
                       .used = true};
    memcpy(w->lines, spec->lines, sizeof(w->lines));
    bool crosses = false;
    for (int i = 0; i < FLOW_LINES_MAX; i++)
        if (w->lines[i] != FLOW_NONE) {
            assert(w->lines[i] < f->n_lines);
            f->lines[w->lines[i]].flows++;
            crosses = true;
        }
    assert(crosses);
    f->active = mem_grow(f->active, &f->active_cap, f->n_active + 1, sizeof(*f->active));
    w->at = (u32)f->n_active;
    f->active[f->n_active++] = id;
    f->dirty = true;
    return id;
}

static struct flow *get(struct flows *f, u32 flow)
{
    assert(flow < f->n && f->flows[flow].used);
    return &f->flows[flow];
}

static u64 came(const struct flow *w)
{
    return w->bytes - (w->left_nb + NB - 1) / NB;
}

u64 flow_bytes(struct flows *f, u32 flow, u64 now_ns)
{
    pass(f, now_ns);
    move(f, get(f, flow));
    return came(get(f, flow));
}

void flow_cap(struct flows *f, u32 flow, u64 cap_bps, u64 now_ns)
{
    pass(f, now_ns);
    get(f, flow)->cap_bps = cap_bps;
    f->dirty = true;
}

u64 flow_end(struct flows *f, u32 flow, u64 now_ns)
{
    pass(f, now_ns);
    struct flow *w = get(f, flow);
    move(f, w);
    for (int i = 0; i < FLOW_LINES_MAX; i++)
        if (w->lines[i] != FLOW_NONE)
            f->lines[w->lines[i]].flows--;
    u32 last = f->active[--f->n_active];
    f->active[w->at] = last;
    f->flows[last].at = w->at;
    w->used = false;
    f->free = mem_grow(f->free, &f->free_cap, f->n_free + 1, sizeof(*f->free));
    f->free[f->n_free++] = flow;
    f->dirty = true;
    return came(w);
}

u64 flow_due(const struct flows *f)
{
    u64 due = f->n_done > 0 ? f->now_ns : f->next_end_ns;
    if (!f->dirty)
        return due;
    u64 next = f->filled_ns + FLOW_TICK_NS;
    if (f->fillings == 0 || next < f->now_ns)
        next = f->now_ns;
    return next < due ? next : due;
}

u32 flow_tick(struct flows *f, u64 now_ns)
{
    pass(f, now_ns);
    if (f->n_done == 0 && now_ns >= f->next_end_ns)
        move_all(f);
    if (f->n_done == 0 && f->dirty && (f->fillings == 0 || now_ns >= f->filled_ns + FLOW_TICK_NS))
        fill(f);
    while (f->n_done > 0) {
        u32 flow = f->done[--f->n_done];
        const struct flow *w = &f->flows[flow]; /* its owner may have ended it meanwhile */
        if (w->used && w->done && w->left_nb == 0)
            return flow;
    }
    return FLOW_NONE;
}
