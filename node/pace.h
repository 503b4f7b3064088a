/* pace.h - a limit in bytes per second, shared by all who send or fetch under it.
 *
 * A token bucket that may go into debt by one chunk: who finds it open moves a chunk, and pays
 * after. Who finds it shut waits in line and is woken, in turn, when it opens again.
 * Work-conserving: nothing is reserved for anyone. A rate of 0 is no limit and costs nothing. Loop
 * thread only. */
#pragma once

#include <uv.h>

#include "proto/err.h"

struct pace_waiter { /* embedded; zero it first */
    void (*open)(void *arg);
    void *arg;
    struct pace_waiter *prev, *next;
    struct pace *in; /* NULL: not in line */
};

struct pace {
    u64 rate;   /* bytes per second; 0: no limit */
    i64 tokens; /* bytes; negative: in debt */
    u64 last_ns;
    uv_timer_t timer;
    struct pace_waiter *first, *last;
};

void pace_init(struct pace *p, uv_loop_t *loop, u64 rate);
/* Nobody may be in line; the loop closes the timer. */
void pace_close(struct pace *p);

bool pace_is_open(struct pace *p);
void pace_take(struct pace *p, size_t bytes);
/* In line until called, once. Harmless if already in line. */
void pace_wait(struct pace *p, struct pace_waiter *w);
void pace_leave(struct pace_waiter *w);
