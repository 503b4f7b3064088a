/* region_ask.h - an HTTP request to a member of the region, in our own name.
 *
 * Why: whatever a node or a tracker wants of another goes to the address that the mesh knows, over
 * TLS or plainly as the region's peers do, with a `Dray-Peer` made for this one request (mesh.h).
 * Talks are not among these: they are sealed as a whole (region_talk.c). Loop thread only. */
#pragma once

#include "runtime/http_client.h"
#include "runtime/region.h"

#define REGION_ASK_FIELDS 2 /* beside Dray-Peer */

struct region_to {
    const struct node_key *key;
    const struct addr *addr;
    const char *path;
};

/* Starts it. Of `opt`, url, ca_file and any_name are filled in, and Dray-Peer goes before the
 * fields. ERR_UNREACHABLE: there is no mesh. ERR_TOOBIG: the path. Else as mesh_peer_sign() and
 * http_transfer_start(). */
must_use int region_ask(struct region *r, struct http_client *client, const struct region_to *to,
                        const struct http_transfer_options *opt, struct http_transfer **out);
