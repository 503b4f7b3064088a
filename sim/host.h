/* host.h - one node's process: it starts, runs, is stopped for a while, dies.
 *
 * Why apart from the network: what a process is and what its operating system does for it meanwhile
 * (keeping what arrives, refusing connections) decides how a mesh takes a pause or a crash. Paused
 * is SIGSTOP: datagrams wait in the socket's buffer (HOST_INBOX_MAX of them; more are lost), timers
 * fire late, and the first thing that the mesh is told is how long it was away.
 * Drives the mesh in the order that mesh.h asks for. */
#pragma once

#include "sim/world.h"

#define HOST_INBOX_MAX 160 /* datagrams in Linux's default buffer of 212,992 bytes */

void host_init(struct world *w, u32 index);
void host_fini(struct host *h);

bool host_is_seed(const struct world *w, u32 index); /* the first few of each region */
/* From now on it lies, or is honest again: see fetch_request.c. Forgers, colluders and every fourth
 * of the other liars claim layers that they do not hold; colluders all the same ones. */
#define HOST_CLAIMS 64
void host_lie(struct world *w, u32 index, enum host_lies lies);
bool host_claims(const struct host *h, u32 layer);
/* Its mesh keys from now on. */
void host_ring(struct world *w, u32 index, enum host_ring ring);
/* Would `a` open what `b` seals? */
bool host_opens(const struct host *a, const struct host *b);
void host_boot(struct world *w, u32 index);
/* All at once, in a region that has run for long: everybody knows everybody, and what each holds.
 */
void host_boot_settled(struct world *w);
/* The process dies. `dark`: its machine with it, so that nobody even refuses. */
void host_crash(struct world *w, u32 index, bool dark);
void host_leave(struct world *w, u32 index); /* says goodbye; host_crash() follows a second later */
void host_pause(struct world *w, u32 index, u64 for_ns);
void host_resume(struct world *w, u32 index);
/* Of a paused process: its operating system keeps what comes. */
void host_keep(struct world *w, const struct event *ev);
void host_timer(struct world *w, const struct event *ev);

/* After anything was told to the mesh: sends, dials, takes events, sets the timer. */
void host_drive(struct world *w, u32 index);
u64 host_now(const struct world *w, const struct host *h); /* its monotonic clock */
u64 host_unix_ms(const struct world *w, const struct host *h);

/* Its store as the mesh should know it: held or not, whatever it claims. */
bool host_holds(struct world *w, u32 index, u32 layer);
void host_hold(struct world *w, u32 index, u32 layer, bool held);
/* Replaces the oldest of the layers held from the start by the next of the catalogue; that one. */
u32 host_change(struct world *w, u32 index);
/* Everything of all lives. */
void host_stats(const struct host *h, struct mesh_stats *out);
