/* rig.h - a node without its front: loop, pools, store, upstreams and fills, in a folder under
 * /tmp, and clients that read what fills answer.
 *
 * Why: a test then reads like what happens in a rack: clients join, a scripted registry (server.h)
 * answers, clients get bytes or an error. Every wait pumps the loop until a condition holds, and
 * fails the test after RIG_PATIENCE_MS: no sleep, no race. rig_close() proves that nothing is left:
 * no fill, no job, no handle. */
#pragma once

#include "node/fill.h"
#include "runtime/upstream.h"
#include "support/server.h"

#define RIG_PATIENCE_MS 20000
#define RIG_UPSTREAMS   3

struct rig {
    char dir[64];
    uv_loop_t loop;
    uv_timer_t beat; /* ends every sleep of the loop, so that conditions are looked at */
    struct pool *disk, *hash;
    struct pace pace; /* of fetching: without limit unless a test sets one */
    struct metrics *metrics;
    struct history *history;
    struct http_client *http;
    struct peers *peers; /* without a region, unless a test attaches one */
    struct store *store;
    struct fills *fills;
    u64 capacity_bytes;
    struct upstream_config configs[RIG_UPSTREAMS];
    struct upstream *upstreams[RIG_UPSTREAMS];
    size_t n_upstreams;
    struct client *clients;
};

/* Opens everything but upstreams. `*r` need not be initialised. */
void rig_open(struct rig *r, u64 capacity_bytes);
void rig_close(struct rig *r);
/* Ends the fills and closes the store, keeping the folder, as at shutdown; then opens both anew. */
void rig_restart(struct rig *r);

/* An upstream at `url`; `allow` is a list that ends in NULL, or NULL; `credentials` is the text of
 * a credentials file, or NULL; `ca_file` or NULL. All borrowed until rig_close(). */
struct upstream *rig_upstream(struct rig *r, const char *url, const char *const *allow,
                              const char *credentials, const char *ca_file);
/* A path in the rig's folder, in a buffer of the caller's. */
void rig_path(const struct rig *r, const char *name, char out[128]);

/* Pumps the loop and the clients until `met(arg)`. Asserts that it comes to be. */
void rig_wait(struct rig *r, bool (*met)(void *arg), void *arg);
/* One turn that does not sleep. */
void rig_turn(struct rig *r);
/* Turns until nothing happens for some of them: what could happen now has happened. */
void rig_settle(struct rig *r);

/* The value of a counter. */
u64 rig_counter(struct rig *r, const char *name, const char *labels);

/* Somebody who wants a blob, or bytes [first, end) of it. */
struct client {
    struct fill_waiter waiter;
    struct rig *rig;
    struct client *next;
    u64 first, end;
    u64 budget; /* bytes it reads at most, before it stands still; UINT64_MAX: all */
    int joined; /* what fill_join said */
    bool ready, failed;
    int err;
    char why[200];
    int refusal;            /* status of the registry's answer, 0: none */
    char refusal_body[200]; /* and its body */
    char refusal_challenge[200];
    u64 size; /* as said at the head */
    bool kept;
    struct body *body;
    bool woken;
    unsigned looks;
    u8 *got;
    size_t len, cap;
    bool ended; /* the body said how it ends: */
    int end_err;
    void (*on_ready)(struct client *c); /* called last, from within `ready` */
};

/* Anew, also when it was one before. Its memory stays the caller's, what it got is freed by
 * rig_close(). */
void client_init(struct client *c, struct rig *r);
/* Joins with `authorization` (NULL: anonymous) at the first upstream, repository "team/app". */
int client_join(struct client *c, const struct digest *d, const char *authorization);
int client_join_as(struct client *c, const struct digest *d, const struct fill_source *src);
/* Closes its body or leaves its fill. */
void client_leave(struct client *c);
/* Waits until it got all it will get, then: it got these bytes, to a proper end. */
void client_expect(struct client *c, const u8 *data, size_t len);
/* Waits until the body ended short; what it got before is a proper prefix of `data`. */
void client_expect_cut(struct client *c, const struct layer *l);
/* Waits until it was told that the answer cannot begin. */
void client_expect_failed(struct client *c, int err);

/* Waits until `n` bytes have come to it. */
void client_wait_bytes(struct client *c, u64 n);

/* Is the blob in the store, with these very bytes? */
bool rig_holds(struct rig *r, const struct layer *l);
/* Waits until no fill is left. */
void rig_wait_idle(struct rig *r);

/* Shrinks long timer waits of the code under test to this much; 0: none. libuv is a shared library:
 * the rig's uv_timer_start() comes before it. */
extern u64 rig_timer_max_ms;
