/* upstream.h - one central registry: how it is asked, with whose rights, and where it may lead us.
 *
 * Why: everything that is special about talking to a registry stands here: following redirects by
 * our own rules (hygiene.h), the token dance for the node's own credentials (distribution's token
 * authentication specification), noticing that the registry is away.
 * Two ways to ask: upstream_call() streams (a layer), upstream_ask() collects a small answer.
 * Never widens: a request carries either the user's own Authorization, or, where the caller says
 * `own`, the node's. Loop thread only. */
#pragma once

#include "runtime/answer.h"
#include "runtime/conf.h"
#include "runtime/http_client.h"
#include "runtime/hygiene.h"
#include "runtime/upstream_config.h"

struct upstream;
struct upstream_call;
struct upstream_ask;

enum upstream_state { UPSTREAM_UNTRIED, UPSTREAM_OK, UPSTREAM_DOWN };

/* `config` is borrowed. Reads the credentials. */
must_use int upstream_new(struct upstream **out, const struct upstream_config *config,
                          struct http_client *client, uv_loop_t *loop, char why[CONF_WHY_MAX]);
void upstream_del(struct upstream *u); /* no call may be running */
/* Reads the credentials again; on failure the old ones stay. */
must_use int upstream_reload(struct upstream *u, char why[CONF_WHY_MAX]);

const char *upstream_name(const struct upstream *u);
const char *upstream_url(const struct upstream *u);
bool upstream_has_credentials(const struct upstream *u);
/* DOWN after a transport error or 5xx; OK after any other answer. `*error` is borrowed, "" when
 * none. */
enum upstream_state upstream_state(const struct upstream *u, const char **error, u64 *since_ms);
/* It failed a moment ago (2 s, up to 8 when it fails again and again): who has something in grace
 * need not wait for it to fail again. */
bool upstream_is_away(const struct upstream *u);
/* Somebody asked it by another way, and it answered, or did not (`why` for people). */
void upstream_told(struct upstream *u, bool up, const char *why);
/* Does it redirect any blob request, even for digests that nobody holds? Then its 3xx are no
 * permission. False until it was tried; the first redirect seen starts the trial. */
bool upstream_redirect_proves(const struct upstream *u);

struct upstream_request {
    const char *method;        /* "GET", "HEAD" */
    const char *path;          /* "/v2/...", with query */
    const char *repository;    /* for the scope of our own token; NULL: none */
    const char *authorization; /* the user's own value; NULL: anonymous. Unused when `own` */
    bool own;                  /* with the node's credentials */
    bool follow;               /* redirects */
    const char *range;         /* "bytes=0-0"; NULL */
    u32 head_timeout_ms;       /* 0: 20,000 */
    u32 whole_timeout_ms;      /* 0: none; of each answer, those that redirect too */
    const char *const *fields; /* more lines, e.g. every Accept of the client */
    size_t n_fields;
};

struct upstream_events {
    /* As in http_client.h; `redirected`: the answer came from where the registry led us. */
    void (*head)(void *arg, const struct http_response *r, bool redirected);
    enum http_data_verdict (*data)(void *arg, const void *data, size_t len);
    void (*end)(void *arg, int err, const char *why);
};

/* The request is copied. Callbacks never run from inside. ERR_NOMEM, ERR_INVAL. */
must_use int upstream_call(struct upstream *u, const struct upstream_request *r,
                           const struct upstream_events *on, void *arg, struct upstream_call **out);
void upstream_call_resume(struct upstream_call *c);
void upstream_call_cancel(struct upstream_call *c); /* no callback after this */

/* Collects a whole small answer; `a` is borrowed for the callback.
 * `max_body`: beyond it the answer is ERR_TOOBIG. `head_suffices`: a 2xx is delivered at its head,
 * its body left alone (used to ask for a permission). */
must_use int upstream_ask(struct upstream *u, const struct upstream_request *r, size_t max_body,
                          bool head_suffices, void (*cb)(void *arg, const struct answer *a),
                          void *arg, struct upstream_ask **out);
void upstream_ask_cancel(struct upstream_ask *k);
