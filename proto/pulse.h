/* pulse.h - does this node still answer, and is its clock right? What was heard, and for how long
 * that holds.
 *
 * Why: the mesh needs a second or two to notice a death, and some clients (containerd) try an
 * address once. So a node is asked before users are sent to it (tracker/probes.h). What was heard
 * holds for PULSE_FRESH_MS for everybody, and is asked for again ahead of time while users are sent
 * there: a busy node is asked some eight times a second at most, and a user waits for one round
 * trip, if at all. Who asks for the rest of a layer may have been cut a moment ago by a node that
 * died: for them only what was heard since counts. Where more than PULSE_FRESH_MS nodes are busy an
 * answer holds for as many ms as there are such nodes, at most PULSE_STALE_MS: a thousand questions
 * a second are enough. What a node reports of its own accord counts as an answer. Who did not
 * answer is not chosen for PULSE_DOWN_MS, by when the mesh knows. A clock that is further off than
 * PULSE_ASTRAY_MS would refuse tickets.
 *
 * A bounded table, one place for each key: what falls on a taken place takes it. Pure but for the
 * caller's clock, in ms since any moment but 0. */
#pragma once

#include "proto/identity.h"

#define PULSE_FRESH_MS  250
#define PULSE_STALE_MS  1000
#define PULSE_DOWN_MS   5000
#define PULSE_ASTRAY_MS 20000
#define PULSE_WAIT_MS   3000

struct pulse;

must_use int pulse_new(struct pulse **out); /* ERR_NOMEM */
void pulse_del(struct pulse *p);

/* It is about to be asked; `ahead`: nobody waits for the answer. */
void pulse_asks(struct pulse *p, const struct node_key *node, bool ahead, u64 now_ms);
/* It answered, with its clock off by so much (INT64_MAX: it did not say); or did not. */
void pulse_answered(struct pulse *p, const struct node_key *node, i64 off_ms, u64 now_ms);
void pulse_silent(struct pulse *p, const struct node_key *node, u64 now_ms);
/* It spoke to us of its own accord. */
void pulse_heard(struct pulse *p, const struct node_key *node, u64 now_ms);

/* It answered lately, and not before `since_ms` (0: no matter). */
bool pulse_is_fresh(const struct pulse *p, const struct node_key *node, u64 since_ms, u64 now_ms);
/* Should it be asked ahead of time, if users are sent there? */
bool pulse_is_due(const struct pulse *p, const struct node_key *node, u64 now_ms);
/* May one who waits for nodes' answers since `since_ms` (0: not yet) ask one more? Where nodes live
 * for the mesh, and cannot be reached from here, there would always be one more: the first is
 * chosen again before the last has not answered. */
bool pulse_may_wait(u64 since_ms, u64 now_ms);
bool pulse_is_down(const struct pulse *p, const struct node_key *node, u64 now_ms);
/* Its clock, when it last answered: false while nobody knows. Asked again after a minute. */
bool pulse_is_astray(const struct pulse *p, const struct node_key *node, u64 now_ms);
