/* history.c - see history.h. */
#include "node/history.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/clock.h"

#define EVENTS 4096

struct history {
    u64 next;
    struct history_event events[EVENTS];
};

int history_new(struct history **out)
{
    *out = calloc(1, sizeof(**out));
    return *out ? 0 : ERR_NOMEM;
}

void history_del(struct history *h)
{
    free(h);
}

void history_note(struct history *h, const struct digest *d, const char *event, const char *format,
                  ...)
{
    struct history_event *e = &h->events[h->next++ % EVENTS];
    va_list args;
    e->digest = *d;
    e->at_ms = wall_ms();
    e->event = event;
    va_start(args, format);
    vsnprintf(e->detail, sizeof(e->detail), format, args);
    va_end(args);
}

void history_each(const struct history *h, const struct digest *d,
                  void (*each)(void *arg, const struct history_event *e), void *arg)
{
    u64 first = h->next > EVENTS ? h->next - EVENTS : 0;
    for (u64 i = first; i < h->next; i++)
        if (digest_equal(&h->events[i % EVENTS].digest, d))
            each(arg, &h->events[i % EVENTS]);
}
