/* probes.h - does this node still answer?
 *
 * Why: the mesh needs a second or two to notice a death, and some clients (containerd) try an
 * address once. So a node is asked (/healthz, at its mesh address) before users are sent to it.
 * What was heard holds for PROBES_FRESH_MS for everybody: a busy node is asked four times a second,
 * and a user waits for one round trip at most. Who asks for the rest of a layer may have been cut a
 * moment ago by a node that died: for them only what was heard since counts. Who did not answer is
 * not chosen for PROBES_DOWN_MS, by when the mesh knows. Loop thread only. */
#pragma once

#include "proto/identity.h"
#include "runtime/http_client.h"

#define PROBES_FRESH_MS 250
#define PROBES_DOWN_MS  5000

struct probes;
struct probe;

must_use int probes_new(struct probes **out, uv_loop_t *loop, struct http_client *client);
void probes_del(struct probes *p); /* none may run */

/* It answered lately, and not before `since_ms` (of the loop's clock; 0: no matter). */
bool probes_is_fresh(const struct probes *p, const struct node_key *node, u64 since_ms);
bool probes_is_down(const struct probes *p, const struct node_key *node);

struct probe_wish {
    const struct node_key *node;
    const char *url;                  /* ".../healthz" */
    const char *ca;                   /* as region_ca() */
    void (*done)(void *arg, bool up); /* from the loop */
    void *arg;
};
must_use int probes_ask(struct probes *p, const struct probe_wish *w, struct probe **out);
void probe_cancel(struct probe *k);
