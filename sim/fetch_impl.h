/* fetch_impl.h - what fetch.c and fetch_request.c share. */
#pragma once

#include "sim/fetch.h"

void fetch_steps(struct world *w, u32 id);
bool fetch_is_convicted(const struct world *w, u32 node, u32 peer);
void fetch_peer_ended(struct world *w, u32 id, unsigned slot, enum sourcing_outcome outcome);
void fetch_registry_failed(struct world *w, u32 id, bool progress);
bool fetch_took(struct world *w, u32 request, u64 n);

/* From where the bytes end, of `server` or the registry. */
u32 fetch_request_new(struct world *w, u32 fetch, u32 server, unsigned slot);
/* Ends it from the client's side; the mesh is told `outcome`. */
void fetch_request_end(struct world *w, u32 request, enum sourcing_outcome outcome);
void fetch_request_server_died(struct world *w, u32 request);
