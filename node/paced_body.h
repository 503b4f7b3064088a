/* paced_body.h - an answer under a rate limit. */
#pragma once

#include "node/pace.h"
#include "runtime/body.h"

/* Takes `inner`, for one of this class; `wake(arg)`: peek again. Without a limit `inner` itself is
 * returned. NULL: out of memory, and `inner` was closed. */
struct body *paced_body(struct body *inner, struct pace *pace, enum pace_class c,
                        void (*wake)(void *arg), void *arg);
