/* redirect.h - a layer's GET: the registry decides, and the best node delivers.
 *
 * The two-part rule of runtime/authz.h and question.h: *this Authorization may pull this
 * repository* and *this digest is in it*; else the registry is asked, and its refusal relayed as it
 * is. Whoever is allowed gets 307 to the node that pick.h finds, with a ticket for it; an image's
 * layers go to one node. After two strikes of a layer, or without a healthy node, the layer is
 * streamed from the registry itself. */
#pragma once

#include "proto/pick.h"
#include "tracker/tracker_internal.h"

/* Somebody at an address of trusted_redirects, sent here by the registry itself (distribution's
 * `redirect` storage middleware): whoever knows the digest may read it. GET and HEAD. False: not
 * such a path. */
bool redirect_trusted(struct tracker *t, struct http_exchange *x);
/* GET of a blob. */
void redirect_begin(struct tracker *t, struct http_exchange *x, const struct oci_route *oci);
/* What a relayed manifest teaches; for front_wish.learn. */
void redirect_learn(struct tracker *t, const struct oci_route *oci, const char *authorization,
                    const struct sockaddr_storage *from, const struct answer *a);
/* Who would be chosen, and why, for /api/v1/why. `d` NULL: no layer. A new reference. */
json_t *redirect_why(struct tracker *t, const char *user, const struct addr *from,
                     const struct digest *d);
/* All nodes of all regions, for /api/v1/caches. A new reference. */
json_t *redirect_caches(struct tracker *t);
