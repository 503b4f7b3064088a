/* ask.h - small questions to an upstream, and what was heard. */
#pragma once

#include "support/rig.h"

struct heard {
    bool done;
    int err;
    char why[200];
    int status;
    bool redirected;
    u64 content_length;
    size_t len;
    char body[256];
    char field[128]; /* X-Field */
};

/* A GET of a blob, by a user, redirects followed. */
extern const struct upstream_request ask_blob;

/* Asks; the answer comes into `h`, which must live until then. */
void ask_start(struct upstream *u, const struct upstream_request *q, size_t max_body,
               bool head_suffices, struct heard *h, struct upstream_ask **k);
/* Asks, and waits for the answer: the last one for a relay's usual bound. */
void ask_as(struct rig *r, struct upstream *u, const struct upstream_request *q, size_t max_body,
            bool head_suffices, struct heard *h);
void ask(struct rig *r, struct upstream *u, const struct upstream_request *q, struct heard *h);
