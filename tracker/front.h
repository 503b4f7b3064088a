/* front.h - what passes through to the central registry: streaming both ways, any size, changed in
 * nothing but host names.
 *
 * Memory per request is bounded: FRONT_BUFFER of an answer, and what libcurl holds of an upload.
 * What is kept whole beside that (manifests, to learn from them) has one bound for all,
 * FRONT_COLLECTED; beyond it nothing is learnt. When the client reads slowly the registry is read
 * slowly, and the other way round for a push. Redirects of the registry are relayed, not followed.
 */
#pragma once

#include "proto/oci.h"
#include "tracker/tracker_internal.h"

#define FRONT_BUFFER    (256 * KIB)
#define FRONT_COLLECTED (64 * MIB)

struct front_wish {
    enum route route;
    const struct oci_route *oci; /* copied; NULL: not parsed */
    const char *path;            /* "/v2/...", in place of the request's own; NULL */
    bool direct; /* from registry.direct_url, where there is one: past a redirecting middleware */
    /* A 200 to a manifest's GET or HEAD, whole: `a` is borrowed for the call. NULL: nobody learns.
     * Not of what was asked before all was forgotten (authz_forget). */
    void (*learn)(struct tracker *t, const struct oci_route *oci, const char *authorization,
                  const struct sockaddr_storage *from, const struct answer *a);
};

/* Passes the request on, and answers it. */
void front_begin(struct tracker *t, struct http_exchange *x, const struct front_wish *wish);
/* Relays a small answer that was collected elsewhere, as if it had passed here. */
void front_relay(struct tracker *t, struct http_exchange *x, enum route route,
                 const struct answer *a);
/* Ends what goes on without a client. Before the HTTP client is deleted. */
void front_stop(struct tracker *t);
/* The registry did not answer. */
void front_unavailable(struct tracker *t, struct http_exchange *x, enum route route,
                       const char *why);
/* Should the body of this request be read by us? For http_server_options.streams. */
bool front_streams(void *ctx, const struct http_request *r);
