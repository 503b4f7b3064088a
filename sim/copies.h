/* copies.h - an invariant: of each layer, a region gets one copy from the registry, and what is
 * read again keeps within what its causes can cost.
 *
 * Why by pieces and by who holds them, not by counting takeovers: a simulator knows what every node
 * has. A piece that comes from the registry while nobody else of the region has it is needed,
 * however often it came before: its holders are gone, or its chain was forged, or its writing
 * undone. A piece that somebody has comes *again*. Where nothing happens nothing does. Else:
 *
 * A takeover. Who is appointed reads from the first piece on that nobody in its sight has, and
 * leaves out what is here already; what others hold behind that place comes again. The place is the
 * first that nobody holds, or that came to the region within COPIES_NEWS_NS, of which not all can
 * know yet. Worked out and allowed when it is appointed.
 *
 * A fresh one. Who is appointed without having been in the swarm (begun within COPIES_FRESH_NS)
 * knows nobody, and begins at the first piece. Allowed then: what others hold.
 *
 * Neither is allowed where somebody has held the whole of it for COPIES_NEWS_NS: nobody ought to be
 * appointed then.
 *
 * Starving. Somebody who wants the layer has gained nothing for COPIES_STARVES_NS, as its home may
 * still believe COPIES_HEARD_NS later: those who hold it and do not give it are passed over.
 * Allowed then: all that who is appointed lacks. Being busy for less than that is no reason.
 *
 * Forgery. A chain was disproved: all that came by it is thrown away, and may be read by whoever
 * found out. Allowed: a copy each time.
 *
 * An overlap. Two leases at once, until the lower one ends; one is void after a second, and told
 * four times a second. Allowed: what comes in the first COPIES_OVERLAP_NS, of all overlaps of the
 * layer in the region together.
 *
 * Unsettled times. Somebody of the region has started or been stopped within COPIES_SETTLED_NS and
 * does not know all yet; or somebody lies, or has lied in this run, which leads others astray for
 * longer than it lasts. Allowed as it comes, and all of it to who was appointed then, as long as
 * nobody else fetches: a holder that comes back does not end a stream. With liars this judges
 * nothing.
 *
 * Away. What only those have who stand still or do not run when another is appointed: nobody can
 * get it from them then, and they may be back, and known, long before its stream is through.
 * Allowed as it comes, likewise as long as nobody else fetches; a second one's appointment does not
 * end it.
 *
 * A cut network, or one that was cut within a minute (measure.h). Two sides may each have a
 * fetcher, and each goes on in its order when they meet. Allowed as it comes, to who read then also
 * after it, until it is appointed anew.
 *
 * What came so. A fetcher who was appointed before reads on in its order: what another read in such
 * times, or who lies, may come again by it, once.
 *
 * At hand. A piece that came from a peer while it was being read; and two pieces always.
 *
 * Whoever lies may read what it likes: neither what it reads nor what it holds counts. What a
 * stream that broke off had of the piece at hand is not counted: nobody had it.
 * Breaks `copies` when more came again than all this allows. */
#pragma once

#include "proto/types.h"

struct world;

#define COPIES_FRESH_NS   (1ull * 1000000000)
#define COPIES_NEWS_NS    (5ull * 1000000000)
#define COPIES_STARVES_NS (30ull * 1000000000) /* SWARM_IN_LINE_NS */
#define COPIES_OVERLAP_NS (2ull * 1000000000)
#define COPIES_HEARD_NS   (8ull * 1000000000) /* SWARM_GUEST_NS, and a way */
#define COPIES_SETTLED_NS (15ull * 1000000000)

struct copy { /* of one layer, in one region */
    u32 region, layer;
    u64 needed, again, allowed;    /* bytes */
    u64 overlap_ns, overlap_at_ns; /* with two fetchers: how long in all; seen the last time */
    u32 *came_ms;                  /* by piece: when it last came from the registry; 0: never */
    bool *loose;                   /* by piece: it came in unsettled times, or by who lies */
    bool *away;                    /* by piece: only such had it when somebody was last appointed */
};

struct copies {
    struct copy *v;
    size_t n, cap;
    u32 *index; /* open addressing by region and layer: place in `v` + 1 */
    size_t index_size;
    u64 again; /* bytes, of all */
};

void copies_init(struct world *w);
void copies_fini(struct world *w);
/* The node of a fetch is told to read from piece `first` on. */
void copies_appointed(struct world *w, u32 fetch, u32 first);
/* All that it has was forged, and is thrown away. */
void copies_disproved(struct world *w, u32 fetch);
/* A piece came from the registry, whole; its fetch has not taken it yet. */
void copies_came(struct world *w, u32 fetch, u32 piece);
