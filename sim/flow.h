/* flow.h - how fast streams go: max-min fair shares of every line they cross.
 *
 * Why: a thousand transfers cannot be simulated segment by segment, and need not be: TCP flows that
 * share lines come near to max-min fairness (Bertsekas and Gallager, "Data Networks", 6.5), the
 * allocation in which nobody can be given more without taking from somebody who has less. It is
 * found by progressive filling: the line with the least share per flow is filled first, its flows
 * are fixed at that, and so on.
 *
 * Rates are computed anew at most once per virtual millisecond, for all that was changed meanwhile:
 * a flow that begins runs at rate 0 until then, one that ended keeps its line for as long.
 * Guarantees: no line carries more than its rate; every flow is held back by at least one line that
 * is full, or by its own cap, within one byte a second for each flow (the numbers are whole, so
 * that they are the same everywhere). Equal calls have equal results: ties go by line number.
 * Not modelled: slow start, queues, unfairness by round-trip time.
 * Owns its lines and flows; a flow's number is used again after flow_end(). */
#pragma once

#include "proto/types.h"

#define FLOW_LINES_MAX 4 /* that one flow crosses */
#define FLOW_NONE      UINT32_MAX
#define FLOW_TICK_NS   1000000ull

struct flow {
    u32 lines[FLOW_LINES_MAX]; /* FLOW_NONE: unused */
    u64 rate_bps;
    u64 left_nb;  /* what is still to come, in billionths of a byte */
    u64 moved_ns; /* when left_nb was so */
    u64 end_ns;   /* at this rate; UINT64_MAX: never */
    u64 cap_bps;  /* of its own; UINT64_MAX: none */
    u32 at;       /* in `active` */
    bool used, done;
    u32 place[FLOW_LINES_MAX]; /* in each line's list */
    u64 bytes;                 /* of the whole */
    u32 tag;                   /* the owner's */
};

struct flow_line {
    u64 rate_bps;
    u64 left_bps;               /* while filling */
    u32 unfixed;                /* flows that are not fixed yet, while filling */
    u32 n, cap;                 /* flows that cross it */
    u32 at;                     /* in `busy`, while n > 0 */
    u32 *flows;                 /* their numbers */
    u64 sum_bps;                /* of what they carry just now */
    u64 moved_ns;               /* until when it was counted */
    unsigned __int128 moved_nb; /* in all, in billionths of a byte */
};

struct flow_key { /* of a heap: the least `key` first, of two alike the lower number */
    u64 key;
    u32 id;
};

struct flow_heap {
    struct flow_key *v;
    size_t n, cap;
};

struct flows {
    struct flow_line *lines;
    size_t n_lines, lines_cap;
    u32 *busy; /* lines that a flow crosses */
    size_t n_busy, busy_cap;
    struct flow *flows;
    size_t n, cap; /* numbers given out so far */
    u32 *free;     /* numbers to be used again: a stack */
    size_t n_free, free_cap;
    u8 *fixed; /* by flow: the mark of the filling that fixed it */
    size_t fixed_cap;
    u32 *active; /* flows in use */
    size_t n_active, active_cap;
    struct flow_heap
        shares; /* while filling: lines, by the share they had when they were put there */
    struct flow_heap capped; /* while filling: flows with a cap, once the shares come near it */
    u64 least_cap;           /* no cap is under it */
    u64 now_ns;
    struct flow_heap
        soon; /* flows that end by `horizon_ns`, by when; who ended early is there too */
    u64 horizon_ns;
    u64 later_ns; /* no other flow ends before it */
    u32 *done;    /* complete, and not returned yet */
    size_t n_done, done_cap;
    u64 filled_ns; /* last filling */
    bool dirty;
    u64 fillings;
};

void flow_init(struct flows *f);
void flow_fini(struct flows *f);

u32 flow_line_new(struct flows *f, u64 rate_bps);
void flow_line_set(struct flows *f, u32 line, u64 rate_bps, u64 now_ns);
/* Bytes that crossed it so far. */
u64 flow_line_bytes(const struct flows *f, u32 line, u64 now_ns);

struct flow_spec {
    u32 lines[FLOW_LINES_MAX];
    u64 cap_bps; /* 0: none */
    u64 bytes;   /* > 0; at most 16 GiB */
    u32 tag;
};
u32 flow_begin(struct flows *f, const struct flow_spec *spec, u64 now_ns);
/* Bytes that have come so far. */
u64 flow_bytes(struct flows *f, u32 flow, u64 now_ns);
void flow_cap(struct flows *f, u32 flow, u64 cap_bps, u64 now_ns); /* 0: stalled */
/* Ends it, done or not; returns what came. */
u64 flow_end(struct flows *f, u32 flow, u64 now_ns);

/* When flow_tick() is due: the next end, or the next filling. UINT64_MAX: never. */
u64 flow_due(const struct flows *f);
/* Returns one flow that is complete and was not returned before. FLOW_NONE: there is none left, and
 * what was changed is filled in if it is time. Call until then. */
u32 flow_tick(struct flows *f, u64 now_ns);
