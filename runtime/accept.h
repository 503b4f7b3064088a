/* accept.h - what a client accepts, as one value to compare by.
 *
 * Why: a tag leads to another manifest for who understands other types, so what a registry answered
 * is said again only to who asks for the same. Some clients (docker) send the same types in another
 * order each time: the sum is of the set of them, in whatever order and however many lines. Text of
 * a type counts as it stands, parameters included. */
#pragma once

#include "runtime/http_server.h"

#define ACCEPT_SUM_SIZE 16

/* Of all Accept fields; all zero when there is none. */
void accept_sum(const struct http_request *r, u8 sum[ACCEPT_SUM_SIZE]);
