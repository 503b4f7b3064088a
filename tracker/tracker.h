/* tracker.h - the daemon at the registry's URL: made, reloaded, drained, stopped.
 *
 * In this order: new, (reload)*, drain, stop, the loop runs out, del. Loop thread only. */
#pragma once

#include <uv.h>

#include "tracker/config.h"

struct tracker;

/* `config` is borrowed. `why` says what to do on failure; the loop has run out then. */
must_use int tracker_new(struct tracker **out, uv_loop_t *loop, struct tracker_config *config,
                         char why[CONF_WHY_MAX]);
/* Certificates, keys and tokens are read anew; what cannot be stays as it was. */
void tracker_reload(struct tracker *t);
/* No new connections; `done` when running answers have ended, or after half a minute. */
void tracker_drain(struct tracker *t, void (*done)(void *arg), void *arg);
void tracker_stop(struct tracker *t);
void tracker_del(struct tracker *t);
