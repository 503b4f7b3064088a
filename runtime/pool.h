/* pool.h - threads for what would block the loop, and the way back.
 *
 * Why not libuv's own pool: hashing and disk need a pool each, so that a slow disk never starves
 * hashing. A job is embedded in the object it works for; that object must live until `done`.
 * Guarantee: `work` runs on one pool thread, then `done` on the loop, always, once, never from
 * inside pool_submit(). Jobs start in the order submitted. The only locks of a daemon are here (a
 * queue shared with threads needs one) and in what the jobs themselves say. */
#pragma once

#include <uv.h>

#include "proto/err.h"

struct job {
    void (*work)(struct job *j); /* on a pool thread */
    void (*done)(struct job *j); /* on the loop; may free the object around `j` */
    struct job *next;            /* the pool's own */
};

struct pool;

/* `name` shows as the threads' name. ERR_NOMEM. */
must_use int pool_new(struct pool **out, uv_loop_t *loop, unsigned threads, const char *name);
void pool_submit(struct pool *p, struct job *j);
/* Jobs submitted whose `done` has not run. */
size_t pool_pending(const struct pool *p);
/* Waits for running and queued jobs, runs every `done`, joins the threads. The loop must still run
 * (or be run once more) for the pool's async handle to close; the pool frees itself then. */
void pool_del(struct pool *p);
