/* peer.h - what nodes ask of a tracker: /mesh/v1/origin (a cold layer, read with the Authorization
 * of the user whose ticket it is) and /mesh/v1/outcomes. Each request carries Dray-Peer. */
#pragma once

#include "tracker/tracker_internal.h"

bool peer_takes(struct http_slice target);
void peer_begin(struct tracker *t, struct http_exchange *x);
