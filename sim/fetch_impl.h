/* fetch_impl.h - what fetch.c, fetch_request.c and fetch_registry.c share. */
#pragma once

#include "sim/fetch.h"

/* --- fetch.c --- */
/* UINT32_MAX: nobody has wanted it yet. */
u32 fetch_layer_of(const struct world *w, const struct digest *d);
u32 fetch_for_others(struct world *w, u32 node, u32 layer);
u32 fetch_find(const struct world *w, u32 node, u32 layer); /* FETCH_NONE */
void fetch_piece(struct world *w, u32 fetch, u32 piece);    /* it is here, and fits; may end it */
u64 fetch_handle(const struct fetch *f, u32 id);
void fetch_finish(struct world *w, u32 fetch, int err);

/* --- fetch_bytes.c --- */
/* The chain that its node goes by. */
int fetch_chain(const struct world *w, const struct fetch *f);
/* What a node that has all or some of it sends. */
int fetch_content(struct world *w, u32 server, u32 layer);
bool fetch_lies_in_bytes(const struct host *h);

/* --- fetch_registry.c --- */
void fetch_appointed(struct world *w, u32 node, const struct swarm_step *step);
void fetch_yield(struct world *w, u32 node, u32 layer);
void fetch_registry_end(struct world *w, struct fetch *f); /* no more of it */
void fetch_registry_answered(struct world *w, u32 request);
void fetch_registry_done(struct world *w, u32 request); /* its stream ended */
void fetch_registry_poll(struct world *w, struct fetch *f);
void fetch_registry_begin(struct world *w, u32 fetch); /* or goes on, where the map has holes */

/* --- fetch_request.c --- */
struct fetch_request *fetch_request_new(struct world *w, u32 fetch, u32 server, u32 *number);
void fetch_request_del(struct world *w, u32 request);
void fetch_ask(struct world *w, u32 node, const struct swarm_step *step);
void fetch_cancel(struct world *w, u32 node, const struct swarm_step *step);
void fetch_held(struct world *w, u32 server, const struct swarm_step *step, bool serve);
void fetch_begin_flow(struct world *w, u32 request, u64 bytes);
void fetch_later(struct world *w, u32 request, u64 delay_ns, enum event_kind kind);
