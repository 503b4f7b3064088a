/* pace.c - see pace.h. */
#include "node/pace.h"

#include <assert.h>

#define TURN_MS  10
#define BURST_MS 50           /* what may be saved up */
#define KEEN_NS  20000000ull  /* who was woken takes something within this, or wants nothing */
#define CROWD_NS 100000000ull /* flows were level so long ago: what each takes is counted */

/* A byte costs its class this much, so that clients get three for each of a peer. */
static const u64 costs[PACE_CLASS_COUNT] = {[PACE_CLIENTS] = 1, [PACE_PEERS] = 3};

static void on_timer(uv_timer_t *t);

void pace_init(struct pace *p, uv_loop_t *loop, u64 rate)
{
    *p = (struct pace){.rate = rate, .last_ns = uv_hrtime()};
    uv_timer_init(loop, &p->timer);
    p->timer.data = p;
}

void pace_set_rate(struct pace *p, u64 rate)
{
    p->rate = rate;
}

void pace_close(struct pace *p)
{
    assert(!pace_has_line(p, PACE_CLIENTS) && !pace_has_line(p, PACE_PEERS));
    uv_close((uv_handle_t *)&p->timer, NULL);
}

static bool has_tokens(struct pace *p, u64 now)
{
    i64 burst = (i64)(p->rate / 1000 * BURST_MS) + 1;
    u64 elapsed_ns = now - p->last_ns;
    if (elapsed_ns > 1000000000)
        elapsed_ns =
            1000000000; /* rate times a second fits; more would be cut to the burst anyway */
    i64 earned = (i64)((double)p->rate * (double)elapsed_ns / 1e9);
    if (earned > 0) {
        p->tokens = p->tokens + earned < burst ? p->tokens + earned : burst;
        p->last_ns = now;
    }
    return p->tokens > 0;
}

static bool wants(const struct pace_line *l, u64 now)
{
    return l->length > 0 || (l->woke_ns && now - l->woke_ns < KEEN_NS);
}

u32 pace_flow(const struct digest *d)
{
    return d->bytes[0] % PACE_FLOWS;
}

/* Of those for which somebody waits, the flow that spent least. NULL: nobody waits. */
static struct pace_flow *next_flow(struct pace_line *l)
{
    struct pace_flow *found = NULL;
    for (u32 i = 0; l->length > 0 && i < PACE_FLOWS; i++)
        if (l->flows[i].first && (!found || l->flows[i].spent < found->spent))
            found = &l->flows[i];
    return found;
}

bool pace_is_open_to(struct pace *p, enum pace_class c, u32 flow)
{
    if (p->rate == 0)
        return true;
    u64 now = uv_hrtime();
    struct pace_line *mine = &p->lines[c];
    const struct pace_line *other = &p->lines[!c];
    const struct pace_flow *next = next_flow(mine);
    return has_tokens(p, now) && !(wants(other, now) && mine->spent > other->spent) &&
           !(next && next->spent < mine->flows[flow].spent);
}

bool pace_is_open(struct pace *p, u32 flow)
{
    return pace_is_open_to(p, PACE_CLIENTS, flow);
}

void pace_take_as(struct pace *p, enum pace_class c, u32 flow, size_t bytes)
{
    struct pace_line *l = &p->lines[c];
    if (p->rate == 0)
        return;
    p->tokens -= (i64)bytes;
    l->spent += bytes * costs[c];
    if (l->crowd_ns && uv_hrtime() - l->crowd_ns < CROWD_NS)
        l->flows[flow].spent += bytes;
}

void pace_take(struct pace *p, u32 flow, size_t bytes)
{
    pace_take_as(p, PACE_CLIENTS, flow, bytes);
}

static void join_flow(struct pace_line *l, struct pace_waiter *w, u64 now)
{
    struct pace_flow *f = &l->flows[w->flow];
    bool keen = l->woke_ns && now - l->woke_ns < KEEN_NS && l->woken != w->flow;
    if (!f->first) {
        if (f->spent < l->level)
            f->spent = l->level; /* nothing was saved up */
        if (l->length > 0 || keen)
            l->crowd_ns = now;
    }
    w->prev = f->last;
    w->next = NULL;
    if (f->last)
        f->last->next = w;
    else
        f->first = w;
    f->last = w;
    l->length++;
}

void pace_wait(struct pace *p, struct pace_waiter *w)
{
    if (w->in)
        return;
    struct pace_line *l = &p->lines[w->class], *other = &p->lines[!w->class];
    u64 now = uv_hrtime();
    assert(w->flow < PACE_FLOWS);
    if (!wants(l, now) && l->spent < other->spent)
        l->spent = other->spent; /* nothing was saved up */
    w->in = p;
    join_flow(l, w, now);
    if (!uv_is_active((uv_handle_t *)&p->timer))
        uv_timer_start(&p->timer, on_timer, TURN_MS, TURN_MS);
}

void pace_leave(struct pace_waiter *w)
{
    struct pace *p = w->in;
    if (!p)
        return;
    struct pace_line *l = &p->lines[w->class];
    struct pace_flow *f = &l->flows[w->flow];
    if (w->prev)
        w->prev->next = w->next;
    else
        f->first = w->next;
    if (w->next)
        w->next->prev = w->prev;
    else
        f->last = w->prev;
    l->length--;
    w->prev = w->next = NULL;
    w->in = NULL;
}

bool pace_has_line(const struct pace *p, enum pace_class c)
{
    return p->lines[c].length > 0;
}

/* Whose turn it is: of those who wait, the class that spent less. NULL: nobody's any more in this
 * turn, for who lines up again waits for the next one, and the other class with it. */
static struct pace_line *next_line(struct pace *p, const u64 left[PACE_CLASS_COUNT])
{
    struct pace_line *found = NULL;
    for (int c = 0; c < PACE_CLASS_COUNT; c++) {
        struct pace_line *l = &p->lines[c];
        if (l->length > 0 && (!found || l->spent < found->spent))
            found = l;
    }
    return found && left[found - p->lines] > 0 ? found : NULL;
}

static void on_timer(uv_timer_t *t)
{
    struct pace *p = t->data;
    u64 left[PACE_CLASS_COUNT] = {p->lines[PACE_CLIENTS].length, p->lines[PACE_PEERS].length};
    struct pace_line *l;
    u64 now = uv_hrtime();
    while ((l = next_line(p, left)) && (p->rate == 0 || has_tokens(p, uv_hrtime()))) {
        const struct pace_flow *f = next_flow(l);
        struct pace_waiter *w = f->first;
        left[l - p->lines]--;
        l->woke_ns = now;
        l->level = f->spent;
        l->woken = w->flow;
        pace_leave(w);
        w->open(w->arg);
    }
    if (!pace_has_line(p, PACE_CLIENTS) && !pace_has_line(p, PACE_PEERS))
        uv_timer_stop(&p->timer);
}
