/* history.h - what happened to which digest lately: the memory behind `dray-node why`.
 *
 * A ring of the last 4,096 events in all: a layer from a peer makes five. Loop thread only. */
#pragma once

#include "proto/digest.h"
#include "proto/err.h"

struct history;

struct history_event {
    struct digest digest;
    u64 at_ms;         /* Unix time */
    const char *event; /* static: "fetched", "served", "evicted", ... */
    char detail[160];
};

must_use int history_new(struct history **out);
void history_del(struct history *h);
void history_note(struct history *h, const struct digest *d, const char *event, const char *format,
                  ...) __attribute__((format(printf, 4, 5)));
/* Oldest first. */
void history_each(const struct history *h, const struct digest *d,
                  void (*each)(void *arg, const struct history_event *e), void *arg);
