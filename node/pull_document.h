/* pull_document.h - manifests that are held, served without a question. */
#pragma once

#include "node/node_internal.h"

/* A manifest by digest, in memory, for a user whose permission is fresh: answered at once, with
 * nothing allocated. False: not such a request, or not so lucky. */
bool document_serve_hot(struct node *n, struct http_exchange *x, const struct oci_route *route,
                        struct upstream *up);
/* Answers with a document; takes the caller's reference. */
void document_reply(struct node *n, struct http_exchange *x, struct document *d, bool head);
