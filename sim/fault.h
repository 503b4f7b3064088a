/* fault.h - what goes wrong in a run: a list, drawn before it begins.
 *
 * Why a list: it can be printed, made smaller while the run still fails (shrink.h), and run again
 * as it was. Each fault has a time, an end, whom it strikes, and how much. Those that are drawn
 * come from the seed and the knobs (crashes, pauses, leaves, chaos); a scenario adds its own.
 * At the end of the faults' phase everything is mended, whatever its own end: fault_heal(). */
#pragma once

#include "proto/types.h"

struct world;

/*  name, weight, text for people; those before POWER_LOSS are drawn by `chaos`, those before
    TRACKER_CRASH by `upsets`, those before WAN_CUT by `tracker_faults`, the rest by `wan_cuts` */
#define FAULTS(X)                                                                                  \
    X(CRASH, 8, "crash")                                                                           \
    X(CRASH_DARK, 6, "power cut")                                                                  \
    X(LOSE_STORE, 2, "crash, store lost")                                                          \
    X(MOVE, 3, "restart elsewhere")                                                                \
    X(LEAVE, 4, "orderly restart")                                                                 \
    X(PAUSE, 10, "pause")                                                                          \
    X(SLOW, 5, "slow line")                                                                        \
    X(LOSSY, 5, "lossy line")                                                                      \
    X(CLOG, 5, "clogged line")                                                                     \
    X(DEAF, 4, "hears nothing")                                                                    \
    X(MUTE, 4, "is not heard")                                                                     \
    X(SPLIT, 3, "partition")                                                                       \
    X(SPLIT_ONE_WAY, 2, "one-way partition")                                                       \
    X(OFFICE_CUT, 2, "office cut off")                                                             \
    X(WEATHER, 4, "bad weather")                                                                   \
    X(CLOCK_JUMP, 3, "wall clock set")                                                             \
    X(CLOCK_DRIFT, 3, "clock drifts")                                                              \
    X(REPLAY, 3, "old datagrams sent again")                                                       \
    X(DISK_FULL, 3, "disk full")                                                                   \
    X(DISK_ROT, 2, "rot in the store")                                                             \
    X(ORIGIN, 6, "registry")                                                                       \
    X(LIE, 2, "lies")                                                                              \
    X(POWER_LOSS, 6, "power cut, last writes lost")                                                \
    X(OLD_KEY, 4, "seals with a removed key")                                                      \
    X(UPGRADE, 2, "rolling upgrade")                                                               \
    X(FORGE, 4, "forged inventory")                                                                \
    X(COLLUDE, 2, "collusion")                                                                     \
    X(TRACKER_CRASH, 4, "tracker crash")                                                           \
    X(TRACKER_DARK, 3, "tracker power cut")                                                        \
    X(TRACKER_PAUSE, 3, "tracker pause")                                                           \
    X(WAN_CUT, 3, "cut from the registry")                                                         \
    X(OFFICE_WAN_CUT, 1, "office cut from the registry")

enum fault_kind {
#define X(name, weight, text) FAULT_##name,
    FAULTS(X)
#undef X
        FAULT_KIND_COUNT
};
const char *fault_name(enum fault_kind k);

struct fault {
    u64 at_ns, for_ns;
    enum fault_kind kind;
    u32 node;   /* whom; of SPLIT and COLLUDE a salt; of OFFICE_* the office; of TRACKER_* which */
    u64 amount; /* SLOW: ns; LOSSY, SPLIT, WEATHER: parts per thousand; CLOCK_JUMP: ms, as i64;
                   CLOCK_DRIFT: ppm; REPLAY: datagrams; ORIGIN: enum registry_mood; OLD_KEY: 1: and
                   opens nothing else; UPGRADE: 0: to the next wire version, 1: back; COLLUDE:
                   parts per thousand */
};

struct fault_plan {
    struct fault *v;
    size_t n, cap;
    u32 moods; /* registry moods begun so far: the last one begun counts */
};

void fault_add(struct fault_plan *p, struct fault f);
void fault_fini(struct fault_plan *p);
/* Those that the knobs ask for, between the warm-up and the end of the faults' phase. */
void fault_draw(struct world *w);
/* Puts the whole plan into the engine. */
void fault_schedule(struct world *w);
void fault_begins(struct world *w, u32 index);
void fault_ends(struct world *w, u32 index);
void fault_heal(struct world *w);
/* EV_UPGRADE: a node's turn; arg: the fault's amount, or that it said goodbye a second ago. */
#define FAULT_UPGRADE_STOPS 2
struct event;
void fault_upgrade(struct world *w, const struct event *ev);
/* "12.500 s: pause of node 7 for 5.000 s" */
void fault_print(const struct fault *f, char out[120]);
