/* upstream.c - streaming requests to one registry; see upstream.h.
 *
 * A call is a chain of transfers: the request itself, perhaps the same again with a token bought in
 * between, perhaps up to three redirects. Answers on the way (401, 3xx) are swallowed, so that
 * their connections can be used again; only the last answer reaches the caller. */
#include "runtime/upstream.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proto/digest.h"
#include "proto/limits.h"
#include "proto/oci.h"
#include "runtime/log.h"
#include "runtime/login.h"

#define AWAY_MS     2000 /* how long a failure is taken for granted by who can do without */
#define AWAY_MAX_MS 8000 /* when it fails again and again */
/* Of an answer on the way; beyond it the connection is given up. */
#define SWALLOW_MAX (64 * KIB)
#define SWALLOW_MS  2000
/* Clients wait with us: docker gives a ping 15 s, and CRI a pull 5 minutes without a byte. */
#define HEAD_TIMEOUT_MS  20000
#define STALL_TIMEOUT_MS 20000
#define FIELDS_MAX       32
#define PATH_PART_MAX    4096

enum trial { TRIAL_NONE, TRIAL_RUNNING, TRIAL_BLIND, TRIAL_PROVES };

struct upstream {
    const struct upstream_config *config;
    struct http_client *client;
    uv_loop_t *loop;
    struct url_origin own;
    struct login *login;
    enum upstream_state state;
    u64 since_ms; /* loop time of the last change */
    u64 failed_ms;
    u64 away_ms; /* how long the last failure is taken for granted */
    char error[200];
    enum trial redirect_trial;
    struct upstream_ask *trial_ask;
};

struct upstream_call {
    struct upstream *up;
    struct upstream_events on;
    void *arg;
    char *method, *path, *repository, *range;
    char **fields; /* copied lines, without Authorization */
    size_t n_fields;
    char *authorization; /* the user's value; NULL */
    char *sent;          /* of our own, what the running transfer carries; NULL */
    bool own, follow;
    char url[URL_MAX]; /* where the running transfer goes */
    enum target_kind target;
    unsigned redirects;
    u32 head_timeout_ms, connect_timeout_ms, whole_timeout_ms;
    bool fresh;
    bool logged_in;  /* our login was renewed once for this call */
    bool answered;   /* this transfer's head came */
    bool again;      /* it was sent a second time, on another connection */
    bool swallowing; /* this transfer's answer is not the last */
    u64 swallowed, swallow_until_ms;
    enum { NEXT_NONE, NEXT_LOGIN, NEXT_REDIRECT } next;
    char *challenge;
    struct http_transfer *transfer;
    struct login_ask *login_ask;
};

static int call_send(struct upstream_call *c);

/* --- an upstream ----------------------------------------------------------------------------- */

int upstream_new(struct upstream **out, const struct upstream_config *config,
                 struct http_client *client, uv_loop_t *loop, char why[CONF_WHY_MAX])
{
    struct upstream *u = calloc(1, sizeof(*u));
    if (!u)
        return ERR_NOMEM;
    u->config = config;
    u->client = client;
    u->loop = loop;
    u->since_ms = uv_now(loop);
    int rc = url_origin_parse(&u->own, config->url);
    if (rc)
        snprintf(why, CONF_WHY_MAX, "upstream %s: \"%s\" is not an http or https URL", config->name,
                 config->url);
    else
        rc = login_new(&u->login, config, &u->own, client, loop, why);
    if (rc) {
        free(u);
        return rc;
    }
    *out = u;
    return 0;
}

void upstream_del(struct upstream *u)
{
    if (!u)
        return;
    if (u->trial_ask)
        upstream_ask_cancel(u->trial_ask);
    login_del(u->login);
    free(u);
}

int upstream_reload(struct upstream *u, char why[CONF_WHY_MAX])
{
    return login_reload(u->login, why);
}

const char *upstream_name(const struct upstream *u)
{
    return u->config->name;
}
const char *upstream_url(const struct upstream *u)
{
    return u->config->url;
}
bool upstream_has_credentials(const struct upstream *u)
{
    return login_present(u->login);
}

enum upstream_state upstream_state(const struct upstream *u, const char **error, u64 *since_ms)
{
    *error = u->error;
    *since_ms = uv_now(u->loop) - u->since_ms;
    return u->state;
}

bool upstream_is_away(const struct upstream *u)
{
    return u->state == UPSTREAM_DOWN && uv_now(u->loop) - u->failed_ms < u->away_ms;
}

bool upstream_redirect_proves(const struct upstream *u)
{
    return u->redirect_trial == TRIAL_PROVES;
}

static void set_state(struct upstream *u, enum upstream_state state, const char *error)
{
    snprintf(u->error, sizeof(u->error), "%s", error);
    if (state == UPSTREAM_DOWN) {
        u64 now = uv_now(u->loop);
        if (u->state != UPSTREAM_DOWN)
            u->away_ms = AWAY_MS;
        else if (now - u->failed_ms >= u->away_ms && u->away_ms < AWAY_MAX_MS)
            u->away_ms *= 2;
        u->failed_ms = now;
    }
    if (u->state == state)
        return;
    if (state == UPSTREAM_DOWN)
        log_with(LOG_WARN, "upstream does not answer", LOG_STR("upstream", u->config->name),
                 LOG_STR("why", u->error));
    else if (u->state == UPSTREAM_DOWN)
        log_with(LOG_INFO, "upstream answers again", LOG_STR("upstream", u->config->name));
    u->state = state;
    u->since_ms = uv_now(u->loop);
}

void upstream_told(struct upstream *u, bool up, const char *why)
{
    set_state(u, up ? UPSTREAM_OK : UPSTREAM_DOWN, why);
}

/* --- are its redirects a permission? --------------------------------------------------------- */

static bool is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static void trial_done(void *arg, const struct answer *a)
{
    struct upstream *u = arg;
    u->trial_ask = NULL;
    /* Only "nobody holds it" shows that it looks before it redirects. Anything else (an error, a
     * token that ended meanwhile) tells nothing: the next redirect tries again. */
    if (a->err)
        u->redirect_trial = TRIAL_NONE;
    else if (is_redirect(a->status))
        u->redirect_trial = TRIAL_BLIND;
    else
        u->redirect_trial = a->status == 404 ? TRIAL_PROVES : TRIAL_NONE;
    if (u->redirect_trial == TRIAL_BLIND)
        log_with(
            LOG_WARN,
            "upstream redirects requests for blobs nobody holds: its redirects are not taken as "
            "permission",
            LOG_STR("upstream", u->config->name));
}

/* Asks for a digest that nobody can hold, in the repository of the call that was just redirected
 * and with its rights; asks as a permission is asked (question.h), since a registry may well treat
 * a HEAD in another way. */
static void trial_start(struct upstream *u, const struct upstream_call *c)
{
    if (u->redirect_trial != TRIAL_NONE || !c->repository || !strstr(c->path, "/blobs/"))
        return;
    struct digest d = {.alg = DIGEST_SHA256};
    randombytes_buf(d.bytes, 32);
    char text[DIGEST_TEXT_SIZE], path[OCI_NAME_MAX + DIGEST_TEXT_SIZE + 32];
    digest_format(&d, text);
    snprintf(path, sizeof(path), "/v2/%s/blobs/%s", c->repository, text);
    struct upstream_request r = {
        .method = "GET",
        .path = path,
        .repository = c->repository,
        .authorization = c->authorization,
        .own = c->own,
        .range = "bytes=0-0",
    };
    if (upstream_ask(u, &r, LIMIT_RELAY_BYTES, true, trial_done, u, &u->trial_ask) == 0)
        u->redirect_trial = TRIAL_RUNNING;
}

/* --- one call -------------------------------------------------------------------------------- */

static void secret_free(char *secret)
{
    if (secret)
        sodium_memzero(secret, strlen(secret));
    free(secret);
}

static void call_free(struct upstream_call *c)
{
    secret_free(c->authorization);
    secret_free(c->sent);
    for (size_t i = 0; i < c->n_fields; i++)
        free(c->fields[i]);
    free(c->fields);
    free(c->method);
    free(c->path);
    free(c->repository);
    free(c->range);
    free(c->challenge);
    free(c);
}

static void call_end(struct upstream_call *c, int err, const char *why)
{
    struct upstream_events on = c->on;
    void *arg = c->arg;
    char text[200];
    snprintf(text, sizeof(text), "%s", why);
    call_free(c);
    on.end(arg, err, text);
}

/* Where a redirect leads, if it may: ERR_DENIED, ERR_PROTO with `why`. */
static int redirect_to(struct upstream_call *c, const char *location, char why[200])
{
    char url[URL_MAX];
    struct url_origin from, to;
    if (++c->redirects > LIMIT_UPSTREAM_REDIRECTS) {
        snprintf(why, 200, "the registry redirects more than %d times", LIMIT_UPSTREAM_REDIRECTS);
        return ERR_PROTO;
    }
    if (!location || !*location || url_resolve(c->url, location, url) ||
        url_origin_parse(&to, url) || url_origin_parse(&from, c->url)) {
        snprintf(why, 200, "the registry redirects to what is not an http or https URL");
        return ERR_PROTO;
    }
    if (from.https && !to.https) {
        snprintf(why, 200, "the registry redirects from https to http (%.80s)", to.host);
        return ERR_DENIED;
    }
    c->target =
        target_classify(&c->up->own, &to, c->up->config->allow_hosts, c->up->config->n_allow_hosts);
    memcpy(c->url, url, sizeof(url));
    return 0;
}

/* All lines of WWW-Authenticate as the one list that they are. NULL: none, or out of memory. */
static char *challenges(const struct http_response *r)
{
    char *list = NULL;
    for (size_t i = 0; i < r->n_fields; i++) {
        char *longer = NULL;
        if (strcasecmp(r->fields[i].name, "WWW-Authenticate") != 0)
            continue;
        if (asprintf(&longer, "%s%s%s", list ? list : "", list ? ", " : "", r->fields[i].value) < 0)
            longer = NULL;
        free(list);
        if (!(list = longer))
            break;
    }
    return list;
}

static void on_head(void *arg, const struct http_response *r)
{
    struct upstream_call *c = arg;
    c->answered = true;
    if (c->target == TARGET_OWN)
        set_state(c->up, r->status >= 500 ? UPSTREAM_DOWN : UPSTREAM_OK,
                  r->status >= 500 ? "it answers with a server error" : "");
    if (c->own && r->status == 401 && !c->logged_in && c->target == TARGET_OWN) {
        c->challenge = challenges(r);
        c->next = c->challenge ? NEXT_LOGIN : NEXT_NONE;
    } else if (is_redirect(r->status) && c->target == TARGET_OWN && !c->redirects) {
        trial_start(c->up, c);
    }
    if (c->next == NEXT_NONE && c->follow && is_redirect(r->status)) {
        char why[200];
        int rc = redirect_to(c, http_response_field(r, "Location"), why);
        if (rc) {
            struct http_transfer *t = c->transfer;
            c->transfer = NULL;
            http_transfer_cancel(t);
            call_end(c, rc, why);
            return;
        }
        c->next = NEXT_REDIRECT;
    }
    c->swallowing = c->next != NEXT_NONE;
    c->swallowed = 0;
    c->swallow_until_ms = uv_now(c->up->loop) + SWALLOW_MS;
    if (!c->swallowing)
        c->on.head(c->arg, r, c->redirects > 0);
}

static void login_done(void *arg, int err, const char *why)
{
    struct upstream_call *c = arg;
    c->login_ask = NULL;
    if (err == 0)
        err = call_send(c);
    if (err)
        call_end(c, err, why);
}

/* The transfer is over; go on with what its answer asked for. */
static void call_next(struct upstream_call *c)
{
    int next = c->next, rc = 0;
    c->next = NEXT_NONE;
    c->swallowing = false;
    if (next == NEXT_LOGIN) {
        struct login_refusal r = {c->sent, c->challenge, c->repository};
        c->logged_in = true;
        rc = login_answer(c->up->login, &r, login_done, c, &c->login_ask);
    } else {
        rc = call_send(c);
    }
    if (rc)
        call_end(c, rc, err_text(rc));
}

static enum http_data_verdict on_data(void *arg, const void *data, size_t len)
{
    struct upstream_call *c = arg;
    if (!c->swallowing)
        return c->on.data(c->arg, data, len);
    c->swallowed += len;
    if (c->swallowed > SWALLOW_MAX || uv_now(c->up->loop) >= c->swallow_until_ms) {
        struct http_transfer *t = c->transfer;
        c->transfer = NULL;
        http_transfer_cancel(t);
        call_next(c);
    }
    return HTTP_DATA_TAKEN;
}

static void on_end(void *arg, int err, const char *why)
{
    struct upstream_call *c = arg;
    c->transfer = NULL;
    if (c->swallowing) {
        call_next(c);
        return;
    }
    /* A kept connection may have died unnoticed: that says nothing of the registry. All that is
     * ever asked here may be asked twice. */
    if ((err == ERR_IO || err == ERR_EOF) && !c->answered && !c->again) {
        c->again = true;
        if (call_send(c) == 0)
            return;
    }
    if (err && err != ERR_DENIED && c->target == TARGET_OWN)
        set_state(c->up, UPSTREAM_DOWN, why);
    call_end(c, err, why);
}

static bool allow_public(void *arg, const struct sockaddr *address)
{
    (void)arg;
    return address_is_public(address);
}

static char *line(const char *name, const char *value)
{
    size_t cap = strlen(name) + strlen(value) + 3;
    char *s = malloc(cap);
    if (s)
        snprintf(s, cap, "%s: %s", name, value);
    return s;
}

static int call_send(struct upstream_call *c)
{
    const char *lines[FIELDS_MAX];
    char *secret = NULL, *range = NULL;
    size_t n = 0;
    for (; n < c->n_fields; n++)
        lines[n] = c->fields[n];
    const char *value = c->own ? login_value(c->up->login, c->repository) : c->authorization;
    int rc = ERR_NOMEM;
    secret_free(c->sent);
    c->sent = NULL;
    if (value && c->target == TARGET_OWN) {
        secret = line("Authorization", value);
        c->sent = c->own ? strdup(value) : NULL;
        if (!secret || (c->own && !c->sent))
            goto out;
        lines[n++] = secret;
    }
    if (c->range) {
        range = line("Range", c->range);
        if (!range)
            goto out;
        lines[n++] = range;
    }
    assert(n <= FIELDS_MAX);
    c->answered = false;
    struct http_transfer_options opt = {
        .method = c->method,
        .url = c->url,
        .fields = lines,
        .n_fields = n,
        .ca_file = c->up->config->ca,
        .head_timeout_ms = c->head_timeout_ms ? c->head_timeout_ms : HEAD_TIMEOUT_MS,
        .stall_timeout_ms = STALL_TIMEOUT_MS,
        .connect_timeout_ms = c->connect_timeout_ms,
        .fresh = c->fresh,
        .whole_timeout_ms = c->whole_timeout_ms,
        .allow = c->target == TARGET_FOREIGN ? allow_public : NULL,
        .on = {on_head, on_data, on_end},
        .arg = c,
    };
    rc = http_transfer_start(c->up->client, &opt, &c->transfer);
out:
    secret_free(secret);
    free(range);
    return rc;
}

static char *dup_or_null(const char *s, bool *failed)
{
    char *copy = s ? strdup(s) : NULL;
    if (s && !copy)
        *failed = true;
    return copy;
}

int upstream_call(struct upstream *u, const struct upstream_request *r,
                  const struct upstream_events *on, void *arg, struct upstream_call **out)
{
    if (r->n_fields + 2 > FIELDS_MAX || strlen(r->path) > PATH_PART_MAX)
        return ERR_INVAL;
    struct upstream_call *c = calloc(1, sizeof(*c));
    if (!c)
        return ERR_NOMEM;
    bool failed = false;
    c->up = u;
    c->on = *on;
    c->head_timeout_ms = r->head_timeout_ms;
    c->connect_timeout_ms = r->connect_timeout_ms;
    c->fresh = r->fresh;
    c->whole_timeout_ms = r->whole_timeout_ms;
    c->arg = arg;
    c->own = r->own && login_present(u->login);
    c->follow = r->follow;
    c->method = dup_or_null(r->method, &failed);
    c->path = dup_or_null(r->path, &failed);
    c->repository = dup_or_null(r->repository, &failed);
    c->range = dup_or_null(r->range, &failed);
    c->authorization = dup_or_null(c->own ? NULL : r->authorization, &failed);
    c->fields = calloc(r->n_fields + 1, sizeof(*c->fields));
    for (; c->fields && c->n_fields < r->n_fields; c->n_fields++)
        c->fields[c->n_fields] = dup_or_null(r->fields[c->n_fields], &failed);
    int n = snprintf(c->url, sizeof(c->url), "%s%s", u->config->url, r->path);
    int rc = failed || !c->fields ? ERR_NOMEM : n >= (int)sizeof(c->url) ? ERR_INVAL : call_send(c);
    if (rc) {
        call_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

void upstream_call_resume(struct upstream_call *c)
{
    if (c->transfer)
        http_transfer_resume(c->transfer);
}

void upstream_call_cancel(struct upstream_call *c)
{
    if (c->transfer)
        http_transfer_cancel(c->transfer);
    if (c->login_ask)
        login_ask_cancel(c->login_ask);
    call_free(c);
}
