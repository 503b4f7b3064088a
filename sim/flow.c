/* flow.c - see flow.h.
 *
 * Filling with a lazy heap: a line's share only grows while others are filled, so a key that is too
 * old is merely put back; each flow is fixed once and touches its four lines: O(F log L).
 *
 * A crowd of thousands has some hundred streams that end and as many that begin in each
 * millisecond, so a filling must touch each flow once, and an end must touch none but its own:
 * - lines keep the lists of their flows from filling to filling;
 * - lines count what they carry by the sum of the rates, not flow by flow;
 * - a flow whose rate stays is left alone: its end was computed and still holds;
 * - ends within the coming millisecond stand in a small heap of their own (`soon`), made while
 * rates are given; the others need not be looked at before, as the next filling gives them new
 * ones. Only what is near is filled? In a swarm every line is near every other: no. */
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
    f->later_ns = f->least_cap = UINT64_MAX;
}

void flow_fini(struct flows *f)
{
    for (size_t i = 0; i < f->n_lines; i++)
        free(f->lines[i].flows);
    free(f->lines);
    free(f->busy);
    free(f->flows);
    free(f->free);
    free(f->fixed);
    free(f->active);
    free(f->shares.v);
    free(f->capped.v);
    free(f->soon.v);
    free(f->done);
    memset(f, 0, sizeof(*f));
}

/* --- heaps ----------------------------------------------------------------------------------- */

static bool key_before(const struct flow_key *a, const struct flow_key *b)
{
    return a->key != b->key ? a->key < b->key : a->id < b->id;
}

static void heap_add(struct flow_heap *h, u64 key, u32 id) /* in no order yet */
{
    h->v = mem_grow(h->v, &h->cap, h->n + 1, sizeof(*h->v));
    h->v[h->n++] = (struct flow_key){key, id};
}

/* Puts `k` where it belongs at or under `i`. */
static void heap_sink(struct flow_heap *h, size_t i, struct flow_key k)
{
    for (;;) {
        size_t c = 2 * i + 1;
        if (c >= h->n)
            break;
        if (c + 1 < h->n && key_before(&h->v[c + 1], &h->v[c]))
            c++;
        if (!key_before(&h->v[c], &k))
            break;
        h->v[i] = h->v[c];
        i = c;
    }
    h->v[i] = k;
}

static void heap_order(struct flow_heap *h)
{
    for (size_t i = h->n / 2; i-- > 0;)
        heap_sink(h, i, h->v[i]);
}

static void heap_drop(struct flow_heap *h)
{
    assert(h->n > 0);
    struct flow_key last = h->v[--h->n];
    if (h->n > 0)
        heap_sink(h, 0, last);
}

/* --- time passes ----------------------------------------------------------------------------- */

static void pass(struct flows *f, u64 now_ns)
{
    assert(now_ns >= f->now_ns);
    f->now_ns = now_ns;
}

/* A line is counted up to now before the sum of its rates changes. */
static void line_move(const struct flows *f, struct flow_line *l)
{
    l->moved_nb += (unsigned __int128)l->sum_bps * (f->now_ns - l->moved_ns);
    l->moved_ns = f->now_ns;
}

static bool carries(const struct flow *w)
{
    return w->rate_bps > 0 && !w->done;
}

/* Each flow is moved on only when its rate changes or somebody asks: between fillings it goes on at
 * one rate. */
static void move(struct flows *f, struct flow *w)
{
    unsigned __int128 moved = (unsigned __int128)w->rate_bps * (f->now_ns - w->moved_ns);
    u64 had = w->left_nb;
    w->moved_ns = f->now_ns;
    w->left_nb = moved < had ? had - (u64)moved : 0;
    if (moved <= had || !carries(w))
        return;
    for (int i = 0; i < FLOW_LINES_MAX; i++) /* ends come a part of a nanosecond late */
        if (w->lines[i] != FLOW_NONE)
            f->lines[w->lines[i]].moved_nb -= moved - had;
}

/* It is no longer on its way: its lines carry less, although nobody else is given more yet. */
static void stop(struct flows *f, struct flow *w)
{
    move(f, w);
    for (int i = 0; i < FLOW_LINES_MAX && carries(w); i++)
        if (w->lines[i] != FLOW_NONE) {
            line_move(f, &f->lines[w->lines[i]]);
            f->lines[w->lines[i]].sum_bps -= w->rate_bps;
        }
}

static void expect(struct flows *f, u32 id)
{
    const struct flow *w = &f->flows[id];
    if (w->done)
        return;
    if (w->end_ns <= f->horizon_ns)
        heap_add(&f->soon, w->end_ns, id);
    else if (w->end_ns < f->later_ns)
        f->later_ns = w->end_ns;
}

static void expect_none(struct flows *f)
{
    f->soon.n = 0;
    f->horizon_ns = f->now_ns + FLOW_TICK_NS;
    f->later_ns = UINT64_MAX;
}

/* Who ended early, or was given another rate, is passed over. */
static void prune(struct flows *f)
{
    while (f->soon.n > 0) {
        const struct flow_key *top = &f->soon.v[0];
        const struct flow *w = &f->flows[top->id];
        if (w->used && !w->done && w->end_ns == top->key)
            return;
        heap_drop(&f->soon);
    }
}

static u64 next_end(const struct flows *f)
{
    return f->soon.n > 0 ? f->soon.v[0].key : f->later_ns;
}

static int by_number(const void *left, const void *right)
{
    u32 a = *(const u32 *)left, b = *(const u32 *)right;
    return a < b ? -1 : a > b;
}

/* Lists those that are complete by now, in the order of `active`. */
static void list_done(struct flows *f)
{
    if (f->now_ns >= f->later_ns) { /* nothing was filled for long: look at all again */
        expect_none(f);
        for (size_t i = 0; i < f->n_active; i++)
            expect(f, f->active[i]);
        heap_order(&f->soon);
    }
    for (prune(f); f->soon.n > 0 && f->soon.v[0].key <= f->now_ns; prune(f)) {
        struct flow *w = &f->flows[f->soon.v[0].id];
        stop(f, w);
        assert(w->left_nb == 0);
        w->done = true;
        f->done = mem_grow(f->done, &f->done_cap, f->n_done + 1, sizeof(*f->done));
        f->done[f->n_done++] = w->at;
    }
    if (f->n_done > 1)
        qsort(f->done, f->n_done, sizeof(*f->done), by_number);
    for (size_t i = 0; i < f->n_done; i++)
        f->done[i] = f->active[f->done[i]];
}

/* --- filling --------------------------------------------------------------------------------- */

/* A flow is fixed when it bears the mark of this filling; so no mark need be wiped off. */
static u8 parity(const struct flows *f)
{
    return f->fillings & 1;
}

static u64 share_of(const struct flow_line *l)
{
    return l->left_bps / l->unfixed;
}

static void set_rate(struct flows *f, struct flow *w, u64 rate_bps)
{
    if (w->rate_bps == rate_bps)
        return;
    move(f, w);
    for (int i = 0; i < FLOW_LINES_MAX && !w->done; i++)
        if (w->lines[i] != FLOW_NONE)
            f->lines[w->lines[i]].sum_bps += rate_bps - w->rate_bps;
    w->rate_bps = rate_bps;
    w->end_ns = rate_bps ? f->now_ns + (w->left_nb + rate_bps - 1) / rate_bps : UINT64_MAX;
}

static void fix(struct flows *f, u32 id, u64 rate_bps)
{
    struct flow *w = &f->flows[id];
    f->fixed[id] = parity(f);
    for (int i = 0; i < FLOW_LINES_MAX; i++)
        if (w->lines[i] != FLOW_NONE) {
            struct flow_line *l = &f->lines[w->lines[i]];
            assert(l->left_bps >= rate_bps && l->unfixed > 0);
            l->left_bps -= rate_bps;
            l->unfixed--;
        }
    set_rate(f, w, rate_bps);
    expect(f, id);
}

static void open_lines(struct flows *f)
{
    f->shares.n = 0;
    for (size_t i = 0; i < f->n_busy; i++) {
        struct flow_line *l = &f->lines[f->busy[i]];
        line_move(f, l);
        l->left_bps = l->rate_bps;
        l->unfixed = l->n;
        heap_add(&f->shares, share_of(l), f->busy[i]);
    }
    heap_order(&f->shares);
}

/* Flows with a cap of their own, least first: a cap is a line that only one flow crosses. Most
 * streams' is their disk, far above their share: they are looked at when the shares come near. */
static void open_caps(struct flows *f)
{
    f->least_cap = UINT64_MAX;
    for (size_t i = 0; i < f->n_active; i++) {
        const struct flow *w = &f->flows[f->active[i]];
        f->least_cap = w->cap_bps < f->least_cap ? w->cap_bps : f->least_cap;
        if (w->cap_bps != UINT64_MAX && f->fixed[f->active[i]] != parity(f))
            heap_add(&f->capped, w->cap_bps, f->active[i]);
    }
    heap_order(&f->capped);
}

static void fix_capped(struct flows *f, u64 share)
{
    while (f->capped.n > 0 && f->capped.v[0].key <= share) {
        struct flow_key top = f->capped.v[0];
        heap_drop(&f->capped);
        if (f->fixed[top.id] != parity(f))
            fix(f, top.id, top.key);
    }
}

static void fill(struct flows *f)
{
    f->fillings++;
    expect_none(f);
    open_lines(f);
    f->capped.n = 0;
    bool caps = false;
    while (f->shares.n > 0) {
        struct flow_key top = f->shares.v[0];
        struct flow_line *l = &f->lines[top.id];
        if (top.key >= f->least_cap && !caps) {
            open_caps(f);
            caps = true;
        }
        fix_capped(f, top.key);
        if (l->unfixed > 0 && share_of(l) > top.key) { /* others took less than their part since */
            heap_sink(&f->shares, 0, (struct flow_key){share_of(l), top.id});
            continue;
        }
        heap_drop(&f->shares);
        for (u32 i = 0; i < l->n; i++)
            if (f->fixed[l->flows[i]] != parity(f))
                __builtin_prefetch(&f->flows[l->flows[i]]);
        for (u32 i = 0; l->unfixed > 0 && i < l->n; i++)
            if (f->fixed[l->flows[i]] != parity(f))
                fix(f, l->flows[i], top.key);
    }
    heap_order(&f->soon);
    f->dirty = false;
    f->filled_ns = f->now_ns;
}

/* --- the interface --------------------------------------------------------------------------- */

u32 flow_line_new(struct flows *f, u64 rate_bps)
{
    f->lines = mem_grow(f->lines, &f->lines_cap, f->n_lines + 1, sizeof(*f->lines));
    f->lines[f->n_lines].rate_bps = rate_bps;
    f->lines[f->n_lines].moved_ns = f->now_ns;
    return (u32)f->n_lines++;
}

void flow_line_set(struct flows *f, u32 line, u64 rate_bps, u64 now_ns)
{
    assert(line < f->n_lines);
    pass(f, now_ns);
    f->lines[line].rate_bps = rate_bps;
    f->dirty = true;
}

u64 flow_line_bytes(const struct flows *f, u32 line, u64 now_ns)
{
    assert(line < f->n_lines && now_ns >= f->now_ns);
    const struct flow_line *l = &f->lines[line];
    return (u64)((l->moved_nb + (unsigned __int128)l->sum_bps * (now_ns - l->moved_ns)) / NB);
}

static void cross(struct flows *f, u32 id, int k)
{
    struct flow *w = &f->flows[id];
    assert(w->lines[k] < f->n_lines);
    struct flow_line *l = &f->lines[w->lines[k]];
    if (l->n == 0) {
        f->busy = mem_grow(f->busy, &f->busy_cap, f->n_busy + 1, sizeof(*f->busy));
        l->at = (u32)f->n_busy;
        f->busy[f->n_busy++] = w->lines[k];
    }
    size_t cap = l->cap;
    l->flows = mem_grow(l->flows, &cap, l->n + 1, sizeof(*l->flows));
    l->cap = (u32)cap;
    w->place[k] = l->n;
    l->flows[l->n++] = id;
}

static void uncross(struct flows *f, const struct flow *w, int k)
{
    struct flow_line *l = &f->lines[w->lines[k]];
    u32 last = l->flows[--l->n];
    struct flow *other = &f->flows[last];
    l->flows[w->place[k]] = last;
    for (int i = 0; i < FLOW_LINES_MAX; i++)
        if (other->lines[i] == w->lines[k])
            other->place[i] = w->place[k];
    if (l->n > 0)
        return;
    u32 busy = f->busy[--f->n_busy];
    f->busy[l->at] = busy;
    f->lines[busy].at = l->at;
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
        f->fixed = mem_grow(f->fixed, &f->fixed_cap, f->n + 1, sizeof(*f->fixed));
        id = (u32)f->n++;
    }
    f->fixed[id] = parity(f);
    struct flow *w = &f->flows[id];
    *w = (struct flow){.cap_bps = spec->cap_bps ? spec->cap_bps : UINT64_MAX,
                       .left_nb = spec->bytes * NB,
                       .moved_ns = now_ns,
                       .end_ns = UINT64_MAX,
                       .bytes = spec->bytes,
                       .tag = spec->tag,
                       .used = true};
    memcpy(w->lines, spec->lines, sizeof(w->lines));
    bool crosses = false;
    for (int i = 0; i < FLOW_LINES_MAX; i++)
        if (w->lines[i] != FLOW_NONE) {
            cross(f, id, i);
            crosses = true;
        }
    assert(crosses);
    f->active = mem_grow(f->active, &f->active_cap, f->n_active + 1, sizeof(*f->active));
    w->at = (u32)f->n_active;
    f->active[f->n_active++] = id;
    f->least_cap = w->cap_bps < f->least_cap ? w->cap_bps : f->least_cap;
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
    f->least_cap = cap_bps < f->least_cap ? cap_bps : f->least_cap;
    f->dirty = true;
}

u64 flow_end(struct flows *f, u32 flow, u64 now_ns)
{
    pass(f, now_ns);
    struct flow *w = get(f, flow);
    stop(f, w);
    for (int i = 0; i < FLOW_LINES_MAX; i++)
        if (w->lines[i] != FLOW_NONE)
            uncross(f, w, i);
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
    u64 due = f->n_done > 0 ? f->now_ns : next_end(f);
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
    if (f->n_done == 0 && now_ns >= next_end(f))
        list_done(f);
    if (f->n_done == 0 && f->dirty && (f->fillings == 0 || now_ns >= f->filled_ns + FLOW_TICK_NS))
        fill(f);
    while (f->n_done > 0) {
        u32 flow = f->done[--f->n_done];
        const struct flow *w = &f->flows[flow]; /* its owner may have ended it meanwhile */
        if (w->used && w->done)
            return flow;
    }
    return FLOW_NONE;
}
