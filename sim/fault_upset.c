/* fault_upset.c - faults of what nodes are, rather than of what carries them: writes that a power
 * cut undoes, keys that were taken away, versions that change, inventories that lie. And those of
 * trackers. */
#include <assert.h>

#include "sim/fault_impl.h"
#include "sim/fetch.h"
#include "sim/host.h"
#include "sim/tracker.h"

#define UNSYNCED_MS                                                                                \
    5000 /* Linux writes what is dirty after some seconds: dirty_writeback_centisecs */
#define RESTART_NS SIM_S /* of an upgrade: time for the farewell, and as long again to be back */

/* The machine goes, and with it what had not reached the disk. */
static void lose_power(struct world *w, u32 node)
{
    struct host *h = &w->hosts[node];
    u64 now_ms = world_now(w) / SIM_MS;
    bool ran = h->state != HOST_OFF;
    host_crash(w, node, true);
    if (!ran)
        return;
    u32 gone[64];
    size_t n;
    do {
        n = 0;
        shelf_crash(&h->shelf, now_ms > UNSYNCED_MS ? now_ms - UNSYNCED_MS : 0, gone, countof(gone),
                    &n);
        h->lost_writes += n;
    } while (n == countof(gone));
}

static void ring(struct world *w, u32 node, enum host_ring which)
{
    host_ring(w, node, which);
    measure_cut(w);
    fetch_reachability_changed(w);
    host_drive(w, node);
}

static void upgrade(struct world *w, const struct fault *f)
{
    for (u32 i = 0; i < w->n; i++)
        world_at(w, world_now(w) + i * (f->for_ns / w->n), EV_UPGRADE, i, f->amount);
}

void fault_upgrade(struct world *w, const struct event *ev)
{
    struct host *h = &w->hosts[ev->node];
    if (w->phase == PHASE_HEALED)
        return;
    if (ev->arg != FAULT_UPGRADE_STOPS) {
        h->newer = ev->arg == 0;
        host_leave(w, ev->node); /* who is off or stands still is new at its next start */
        if (h->leaving)
            world_at(w, world_now(w) + RESTART_NS, EV_UPGRADE, ev->node, FAULT_UPGRADE_STOPS);
    } else if (h->leaving) {
        host_crash(w, ev->node, false);
        world_at(w, world_now(w) + RESTART_NS, EV_BOOT, ev->node, 0);
    }
}

/* A part of the nodes comes to an agreement; who it is follows from a salt. */
static void collude(struct world *w, const struct fault *f, bool begins)
{
    struct rng r = engine_rng_n(&w->engine, "collude", f->node);
    u64 salt = rng_u64(&r);
    for (u32 i = 0; i < w->n; i++) {
        struct rng one;
        rng_seed(&one, salt ^ i);
        if (rng_below(&one, 1000) >= f->amount)
            continue;
        host_lie(w, i, begins ? HOST_COLLUDES : HOST_HONEST);
        host_drive(w, i);
    }
}

void fault_upset_begins(struct world *w, const struct fault *f)
{
    switch (f->kind) {
    case FAULT_POWER_LOSS: lose_power(w, f->node); break;
    case FAULT_OLD_KEY: ring(w, f->node, f->amount ? HOST_RING_OLD : HOST_RING_OLD_FIRST); break;
    case FAULT_UPGRADE: upgrade(w, f); break;
    case FAULT_FORGE:
        host_lie(w, f->node, HOST_FORGES);
        host_drive(w, f->node);
        break;
    case FAULT_COLLUDE: collude(w, f, true); break;
    default: assert(!"a fault of this file");
    }
}

void fault_upset_ends(struct world *w, const struct fault *f)
{
    switch (f->kind) {
    case FAULT_POWER_LOSS: host_boot(w, f->node); break;
    case FAULT_OLD_KEY: ring(w, f->node, HOST_RING_NOW); break;
    case FAULT_FORGE:
        host_lie(w, f->node, HOST_HONEST);
        host_drive(w, f->node);
        break;
    case FAULT_COLLUDE: collude(w, f, false); break;
    case FAULT_UPGRADE: break; /* what it restarted runs on */
    default: assert(!"a fault of this file");
    }
}

/* --- trackers -------------------------------------------------------------------------------- */

void fault_tracker_begins(struct world *w, const struct fault *f)
{
    if (f->node >= w->k.trackers)
        return; /* of a list made for another run */
    if (f->kind == FAULT_TRACKER_PAUSE)
        tracker_pause(w, f->node, f->for_ns);
    else
        tracker_crash(w, f->node, f->kind == FAULT_TRACKER_DARK);
}

void fault_tracker_ends(struct world *w, const struct fault *f)
{
    if (f->node < w->k.trackers && f->kind != FAULT_TRACKER_PAUSE)
        tracker_boot(w, f->node); /* a pause ends by its own event */
}
