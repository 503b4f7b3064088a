/* carry.h - what goes between the meshes: datagrams by net.h, talks by streams.
 *
 * A talk takes a handshake, its request, and its answer, at the line's pace; it meets a refusal
 * where no process listens, silence where no machine is or nothing passes, and ends by
 * CARRY_TALK_TIMEOUT at the latest, as the daemon's do. Delivered bytes go into the state hash.
 * Owns packets and talks; their numbers travel in events. */
#pragma once

#include "sim/world.h"

#define CARRY_TALK_TIMEOUT (5 * SIM_S)

/* One output of the mesh; false: it has none. */
bool carry_write(struct world *w, u32 node, u64 host_now_ns);
bool carry_dial(struct world *w, u32 node, u64 host_now_ns);

/* EV_PACKET, EV_TALK_ASKS, EV_TALK_ENDS. */
void carry_deliver(struct world *w, const struct event *ev);
/* The datagram of an EV_PACKET; borrowed until it is delivered. A hint that this is asked for soon.
 */
const void *carry_peek(const struct world *w, const struct event *ev, size_t *len);
void carry_warm(const struct world *w, const struct event *ev);
/* An event of these that will not be delivered. */
void carry_forget(struct world *w, const struct event *ev);

/* An old datagram again, sent by somebody else: what an eavesdropper can do. */
void carry_replay(struct world *w, u32 count);

void carry_init(struct world *w);
void carry_fini(struct world *w);
