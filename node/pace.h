/* pace.h - a limit in bytes per second, shared by all who send or fetch under it.
 *
 * A token bucket that may go into debt by one chunk: who finds it open moves a chunk, and pays
 * after. Who finds it shut waits in line and is woken, in turn, when it opens again. A rate of 0 is
 * no limit and costs nothing.
 *
 * Two classes share it 3 : 1, clients and peers, each in a line of its own (start-time fair
 * queueing, Goyal 1996: what each has spent, divided by its weight, is kept level while both want
 * something). Work-conserving: nothing is reserved for anyone, and who wanted nothing for a while
 * has saved nothing up.
 *
 * Within a class the *flows* share alike, by the same rule, whatever the number of those who wait
 * for each: a flow is a layer, so that a large one, in many requests, does not starve small ones.
 * There are PACE_FLOWS places for them; two layers on one place share what one gets. Loop thread
 * only. */
#pragma once

#include <uv.h>

#include "proto/digest.h"
#include "proto/err.h"

#define PACE_FLOWS 64

enum pace_class { PACE_CLIENTS, PACE_PEERS, PACE_CLASS_COUNT };

struct pace_waiter { /* embedded; zero it first */
    void (*open)(void *arg);
    void *arg;
    enum pace_class class;
    u32 flow; /* pace_flow() */
    struct pace_waiter *prev, *next;
    struct pace *in; /* NULL: not in line */
};

struct pace_flow {
    struct pace_waiter *first, *last;
    u64 spent; /* bytes, while others of its class wanted some too */
};

struct pace_line {
    struct pace_flow flows[PACE_FLOWS];
    u64 length;   /* of all of them */
    u64 spent;    /* bytes, divided by the class's weight */
    u64 level;    /* what the flow that was woken last had spent: whoever comes starts there */
    u64 woke_ns;  /* when one of it was woken last: it will take something now */
    u32 woken;    /* which flow */
    u64 crowd_ns; /* when more than one flow wanted something, last */
};

struct pace {
    u64 rate;   /* bytes per second; 0: no limit */
    i64 tokens; /* bytes; negative: in debt */
    u64 last_ns;
    uv_timer_t timer;
    struct pace_line lines[PACE_CLASS_COUNT];
};

void pace_init(struct pace *p, uv_loop_t *loop, u64 rate);
/* Nobody may be in line; the loop closes the timer. */
void pace_close(struct pace *p);

/* From now on. */
void pace_set_rate(struct pace *p, u64 rate);

u32 pace_flow(const struct digest *d);
/* For clients: the only class where there is no other. */
bool pace_is_open(struct pace *p, u32 flow);
void pace_take(struct pace *p, u32 flow, size_t bytes);
/* The same for either class. */
bool pace_is_open_to(struct pace *p, enum pace_class c, u32 flow);
void pace_take_as(struct pace *p, enum pace_class c, u32 flow, size_t bytes);
/* In line until called, once. Harmless if already in line. */
void pace_wait(struct pace *p, struct pace_waiter *w);
void pace_leave(struct pace_waiter *w);
/* Does anybody of this class wait? */
bool pace_has_line(const struct pace *p, enum pace_class c);
