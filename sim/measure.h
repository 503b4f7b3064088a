/* measure.h - what is looked at while a run goes on: figures, and invariants that must hold.
 *
 * Figures: how fast a crash is known, how fast a new layer is known, who was declared dead and was
 * not, what the mesh costs, how often a look-up names somebody who does not hold it, how long a
 * dead peer is still asked. Invariants are judged all the time; the first that breaks ends the run.
 *
 *   bytes        no answer completes with wrong bytes                       (pull.c)
 *   requests     every request ends                                        (pull.c)
 *   growth       incarnations, boot epochs and inventory versions only grow, as anybody sees them
 *   queues       no drive puts out without end, no fetch steps without end  (host.c, fetch.c)
 *   timer        a timer that has fired does not ask for the same instant for ever  (host.c)
 *   memory       a node's mesh keeps within its budget
 *   rates        nobody puts off what others say, as it does with those who say too much
 *   detection    where nothing is cut, a node that died is known to be dead within a bound
 *   convicted    no honest node is convicted of wrong bytes
 *   copies       the registry sends a region of each layer what it lacks, and again no more than
 *                the causes of that can cost  (copies.h)
 *   agreement    after healing, within a bound: everybody sees everybody alive, all inventories are
 *                equal, and they are true
 *   calm         after healing, nobody alive is declared dead once all agreed
 *
 * Not here: what follows from figures (summary.h). */
#pragma once

#include "proto/member.h"
#include "proto/types.h"

struct world;

struct samples {
    u64 *v;
    size_t n, cap;
    bool sorted;
};
void samples_add(struct samples *s, u64 v);
u64 samples_at(struct samples *s, double part); /* .5: the median; 0 when there is none */

struct measure_death {
    u32 node;
    u64 at_ns;
    u32 needed, knowing; /* who lived then and does still; who knows */
    u8 *knows;           /* by node: 1 yes, 2 not asked (was not there, or is gone) */
    bool open, dark;
};

struct measure_change { /* a new layer somewhere, and who knows of it */
    u32 node, layer;
    u64 at_ns;
    u32 knowing, needed;
    u8 *knows;
    u64 most_ns; /* how long until 99 % knew; 0: not yet */
};

struct measure_use { /* of a dead peer, by a node that goes on asking it */
    u32 node, peer;
    u64 from_ns, to_ns;
};

struct measure_seen { /* what one observer saw of one node */
    u64 epoch, incarnation, inventory_epoch, inventory_n;
};

#define MEASURE_OBSERVERS 16
#define MEASURE_CHANGES   32

struct measure {
    struct samples rtt_error, rtt_error_offices; /* parts per million: all pairs; other offices */
    struct samples detect, detect_all, know_most, know_all, dead_use, agree;
    struct measure_death *deaths;
    size_t n_deaths, deaths_cap, first_open;
    u64 censored; /* deaths that ended before all knew */
    struct measure_change changes[MEASURE_CHANGES];
    size_t n_changes;
    u64 next_change_ns;
    struct measure_use *uses;
    size_t n_uses, uses_cap;

    u64 false_dead, cut_dead, suspicions, refutations;
    u64 *false_ns; /* by node: when it was last counted */
    u64 cut_ns;    /* the network was last known to be cut */
    u64 lookups, wrong_holders, missed_holders;
    u64 strays; /* sent to an address where nobody is */
    u64 bytes_from, bytes_from_ns, bytes_to, bytes_to_ns, talk_bytes; /* of the mesh, measured */
    u64 datagrams;
    u64 seconds; /* rows written */
    u64 last_bytes, last_wan, last_peer;

    u32 observers[MEASURE_OBSERVERS];
    u32 observers_life[MEASURE_OBSERVERS];
    struct measure_seen *seen; /* MEASURE_OBSERVERS times nodes */
    size_t n_observers;

    char apart[200]; /* in what the nodes did not agree when it was last looked at */
    bool broken;
    const char *invariant;
    char why[200];
    u64 broken_ns;
};

void measure_init(struct world *w);
void measure_fini(struct world *w);

/* An invariant does not hold: the first one is kept, the run ends. */
__attribute__((format(printf, 3, 4))) void measure_break(struct world *w, const char *invariant,
                                                         const char *format, ...);

/* What happened. */
void measure_up(struct world *w, u32 node);
void measure_down(struct world *w, u32 node); /* before its mesh is gone */
void measure_member(struct world *w, u32 observer, const struct member_event *ev);
void measure_changed(struct world *w, u32 node, u32 layer);
void measure_asks(struct world *w, u32 node, u32 peer);
void measure_asked(struct world *w, u32 node, u32 peer, u64 since_ns);
void measure_fetchers(struct world *w, u32 layer, u32 n); /* at the registry, just now */
void measure_convicted(struct world *w, u32 node, u32 peer);
void measure_cut(struct world *w);          /* the network changed */
bool measure_is_cut(const struct world *w); /* now, or within a minute */
void measure_stray(struct world *w);

/* Alive or doubted, to this observer, which is on. */
bool measure_sees_alive(const struct world *w, u32 observer, u32 node);

/* Looks. */
void measure_sample(struct world *w); /* EV_SAMPLE */
void measure_second(struct world *w); /* EV_SECOND */
void measure_start(struct world *w);  /* the warm-up is over: count from here */
void measure_stop(struct world *w);   /* faults and work are over */
/* After healing: do all agree? */
bool measure_agreed(struct world *w);
void measure_truth(struct world *w);  /* and is it true? */
void measure_finish(struct world *w); /* folds what is open into the figures */
