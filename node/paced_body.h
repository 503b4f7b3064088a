/* paced_body.h - an answer under a rate limit. */
#pragma once

#include "node/pace.h"
#include "runtime/body.h"

struct paced_share {
    struct pace *pace;
    enum pace_class class;
    u32 flow;
};

/* Takes `inner`, for one of this class and flow; `wake(arg)`: peek again. Without a limit `inner`
 * itself is returned. NULL: out of memory, and `inner` was closed. */
struct body *paced_body(struct body *inner, const struct paced_share *share,
                        void (*wake)(void *arg), void *arg);
