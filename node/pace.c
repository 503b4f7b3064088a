/* pace.c - see pace.h. */
#include "node/pace.h"

#include <assert.h>

#define TURN_MS  10
#define BURST_MS 50 /* what may be saved up */

static void on_timer(uv_timer_t *t);

void pace_init(struct pace *p, uv_loop_t *loop, u64 rate)
{
    *p = (struct pace){.rate = rate, .last_ns = uv_hrtime()};
    uv_timer_init(loop, &p->timer);
    p->timer.data = p;
}

void pace_close(struct pace *p)
{
    assert(!p->first);
    uv_close((uv_handle_t *)&p->timer, NULL);
}

bool pace_is_open(struct pace *p)
{
    if (p->rate == 0)
        return true;
    u64 now = uv_hrtime();
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

void pace_take(struct pace *p, size_t bytes)
{
    if (p->rate)
        p->tokens -= (i64)bytes;
}

void pace_wait(struct pace *p, struct pace_waiter *w)
{
    if (w->in)
        return;
    w->in = p;
    w->prev = p->last;
    w->next = NULL;
    if (p->last)
        p->last->next = w;
    else
        p->first = w;
    p->last = w;
    if (!uv_is_active((uv_handle_t *)&p->timer))
        uv_timer_start(&p->timer, on_timer, TURN_MS, TURN_MS);
}

void pace_leave(struct pace_waiter *w)
{
    struct pace *p = w->in;
    if (!p)
        return;
    if (w->prev)
        w->prev->next = w->next;
    else
        p->first = w->next;
    if (w->next)
        w->next->prev = w->prev;
    else
        p->last = w->prev;
    w->prev = w->next = NULL;
    w->in = NULL;
}

static void on_timer(uv_timer_t *t)
{
    struct pace *p = t->data;
    struct pace_waiter *end = p->last; /* who lines up again waits for the next turn */
    while (p->first && pace_is_open(p)) {
        struct pace_waiter *w = p->first;
        pace_leave(w);
        w->open(w->arg);
        if (w == end)
            break;
    }
    if (!p->first)
        uv_timer_stop(&p->timer);
}
