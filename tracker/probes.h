/* probes.h - does this node still answer?
 *
 * Why: the mesh needs a second or two to notice a death, and some clients (containerd) try an
 * address once. So a node is asked (/healthz, at its mesh address) before users are sent to it.
 * What was heard holds for PROBES_FRESH_MS for everybody, and is asked for again ahead of time
 * while users are sent there: a busy node is asked some eight times a second at most, and a user
 * waits for one round trip, if at all. Who asks for the rest of a layer may have been cut a
 * moment ago by a node that died: for them only what was heard since counts. Where more than
 * PROBES_FRESH_MS nodes are busy it holds for as many ms as there are such nodes, at most
 * PROBES_STALE_MS: a thousand questions a second are enough. What a node reports of its own accord
 * counts as an answer. Who did not answer is not chosen for PROBES_DOWN_MS, by when the mesh knows.
 *
 * The answer's Date tells the node's clock: one that is further off than PROBES_ASTRAY_MS would
 * refuse tickets, and is not chosen. Loop thread only. */
#pragma once

#include "proto/identity.h"
#include "runtime/http_client.h"

#define PROBES_FRESH_MS  250
#define PROBES_STALE_MS  1000
#define PROBES_DOWN_MS   5000
#define PROBES_ASTRAY_MS 20000

struct probes;
struct probe;

must_use int probes_new(struct probes **out, uv_loop_t *loop, struct http_client *client);
void probes_del(struct probes *p); /* none may run */

/* It answered lately, and not before `since_ms` (of the loop's clock; 0: no matter). */
bool probes_is_fresh(const struct probes *p, const struct node_key *node, u64 since_ms);
/* Fresh, but not for long any more, and nobody asks. */
bool probes_is_due(const struct probes *p, const struct node_key *node);
/* Its clock, when it was last asked: false while nobody knows. Asked again after a minute. */
bool probes_is_astray(const struct probes *p, const struct node_key *node);
/* It spoke to us of its own accord. */
void probes_heard(struct probes *p, const struct node_key *node);
bool probes_is_down(const struct probes *p, const struct node_key *node);

struct probe_wish {
    const struct node_key *node;
    const char *url;                  /* ".../healthz" */
    const char *ca;                   /* as region_ca() */
    void (*done)(void *arg, bool up); /* from the loop */
    void *arg;
};
/* `done` NULL: nobody waits, and there is nothing to cancel; one such question runs for a node. */
must_use int probes_ask(struct probes *p, const struct probe_wish *w, struct probe **out);
void probe_cancel(struct probe *k);
