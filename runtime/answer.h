/* answer.h - a registry's whole small answer, kept: status, fields, body.
 *
 * Collected piece by piece as it arrives, bounded, and read by whoever relays it or learns from it.
 */
#pragma once

#include "runtime/http_client.h"

struct answer {
    int err; /* 0: an HTTP answer, whatever its status; else why it never came */
    char why[200];
    int status;
    bool redirected;    /* it came from where the registry led us */
    u64 content_length; /* as declared; UINT64_MAX when not */
    struct http_response_field *fields;
    size_t n_fields;
    u8 *body;
    size_t len;
    /* the collector's own */
    char *text;
    size_t cap;
};

/* First field of that name (any case), NULL when absent. Borrowed as the answer is. */
const char *answer_field(const struct answer *a, const char *name);

/* Does it mean that the registry is away? Transport errors and 5xx do; all else it said itself. */
bool answer_is_away(const struct answer *a);
/* Why, for people. Borrowed as the answer is. */
const char *answer_away_text(const struct answer *a);

void answer_init(struct answer *a);
must_use int answer_head(struct answer *a, const struct http_response *r, bool redirected);
/* ERR_TOOBIG when the body would pass `max`, ERR_NOMEM. */
must_use int answer_data(struct answer *a, const void *data, size_t len, size_t max);
void answer_end(struct answer *a, int err, const char *why);
void answer_fini(struct answer *a);
