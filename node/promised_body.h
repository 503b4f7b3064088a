/* promised_body.h - an answer that is begun before its bytes are there.
 *
 * Why: who comes with a ticket was sent here, and tries an address once (containerd). If this node
 * dies, or cannot have the layer, before the answer has begun, the pull is over; once it has begun,
 * a body that ends short makes every client go back to where it came from, which then sends it
 * elsewhere. The ticket says how long the layer is, so the head can go at once. Loop thread only.
 */
#pragma once

#include "runtime/body.h"

struct promised_body;

/* `*self` points to it while the connection has it, then is NULL. NULL: out of memory. */
struct body *promised_body(struct promised_body **self);
/* The bytes begin: takes `inner`. The caller wakes the connection, here and below. */
void promised_keep(struct promised_body *p, struct body *inner);
/* They will not come: the answer ends short. */
void promised_break(struct promised_body *p);
