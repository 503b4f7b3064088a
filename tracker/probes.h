/* probes.h - asks nodes whether they still answer, before users are sent to them (proto/pulse.h
 * says why, and for how long an answer holds): /healthz, at the node's mesh address. The answer's
 * Date tells its clock. Loop thread only. */
#pragma once

#include "proto/pulse.h"
#include "runtime/http_client.h"

struct probes;
struct probe;

must_use int probes_new(struct probes **out, uv_loop_t *loop, struct http_client *client);
void probes_del(struct probes *p); /* none may run */
/* What was heard so far: borrowed while `p` lives. By uv_now(). */
struct pulse *probes_pulse(struct probes *p);

struct probe_wish {
    const struct node_key *node;
    const char *url;                  /* ".../healthz" */
    const char *ca;                   /* as region_ca() */
    u64 since_ms;                     /* an answer to what was asked before that will not do */
    void (*done)(void *arg, bool up); /* from the loop */
    void *arg;
};
/* All who ask while a question runs have its answer. `done` NULL: nobody waits, and there is
 * nothing to cancel. */
must_use int probes_ask(struct probes *p, const struct probe_wish *w, struct probe **out);
void probe_cancel(struct probe *k);
