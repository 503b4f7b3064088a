/* daemon.h - the life of a daemon on one loop, the same for node and tracker.
 *
 *   start -> running -> draining -> stopping -> gone
 *               |  TERM, INT   drained or    every handle
 *               |              again TERM    is closed
 *               +- HUP: reload; the config itself is read at start only
 *
 * systemd hears of each step (notify.h). The watchdog is fed from a timer of the loop itself: a
 * loop that hangs feeds nobody. Not here: command lines, configs, what is served. */
#pragma once

#include <uv.h>

#include "runtime/conf.h"

/* Whom it runs. `self` is what `start` made. */
struct daemon_ops {
    const char *name; /* "dray-node": before sentences on stderr */
    /* Makes it, serving, on `loop`. An error, and `why`: what was begun closes by itself. */
    int (*start)(void **self, uv_loop_t *loop, void *config, char why[CONF_WHY_MAX]);
    void (*reload)(void *self);
    /* No new work; `drained(arg)` once what runs has ended, or its time is up. */
    void (*drain)(void *self, void (*drained)(void *arg), void *arg);
    void (*stop)(void *self);   /* at once; handles close */
    void (*del)(void *self);    /* every handle is closed */
    void (*warn)(void *config); /* logs what is odd in it */
};

/* From the start to the end; libraries before the first thread, and in reverse at the end. The log
 * is set up. Returns the exit code: 0 after an orderly end, else 1. */
int daemon_run(const struct daemon_ops *ops, void *config);
