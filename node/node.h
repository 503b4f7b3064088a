/* node.h - the daemon of a rack, put together: one loop, a store, its upstreams, its listeners.
 *
 * Everything here belongs to the loop's thread. Rooms next door do the work: pull*.c answer
 * registry clients, fill.c fetches, authz.c remembers what the centre decided, api.c answers
 * operators. */
#pragma once

#include <uv.h>

#include "node/config.h"
#include "proto/err.h"

struct node;

/* Opens the store, makes the loop's objects, listens. `why` (CONF_WHY_MAX) says what to do on
 * failure. `config` is borrowed until node_del(). Blocking; before any thread exists. */
must_use int node_new(struct node **out, uv_loop_t *loop, struct node_config *config,
                      char why[CONF_WHY_MAX]);

/* Re-reads certificates, credentials, tokens. What fails stays as it was, and is logged. */
void node_reload(struct node *n);
/* Stops accepting, lets running answers end (at most 30 s), keeps partial layers, then calls
 * `done`. */
void node_drain(struct node *n, void (*done)(void *arg), void *arg);
/* Ends everything now; the loop then runs until its handles are closed, after which node_del(). */
void node_stop(struct node *n);
/* After the loop ended: closes the store, frees. */
void node_del(struct node *n);
