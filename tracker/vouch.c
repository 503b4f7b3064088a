/* vouch.c - see vouch.h. */
#include "tracker/vouch.h"

#include <curl/curl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proto/challenge.h"
#include "proto/limits.h"
#include "tracker/api_words.h"
#include "tracker/tracker_internal.h"

#define LOGIN_MAX 16384
#define WHOLE_MS  60000 /* of a token service: somebody waits for it */

struct vouch {
    struct tracker *t;
    struct upstream_ask *ask;
    struct http_transfer *transfer; /* to the token service */
    bool tried_token;
    int status;
    char *login; /* "Basic ..." or whatever came */
    char *token; /* "Bearer ..." */
    char user[USERS_NAME_MAX + 1];
    u8 *body;
    size_t len;
    void (*cb)(void *arg, enum vouch_verdict v, const char *why);
    void *arg;
};

static void wipe(char *text)
{
    if (text)
        sodium_memzero(text, strlen(text));
    free(text);
}

void vouch_cancel(struct vouch *v)
{
    if (v->ask)
        upstream_ask_cancel(v->ask);
    if (v->transfer)
        http_transfer_cancel(v->transfer);
    if (v->body)
        sodium_memzero(v->body, v->len);
    free(v->body);
    wipe(v->login);
    wipe(v->token);
    free(v);
}

static void end(struct vouch *v, enum vouch_verdict verdict, const char *why)
{
    void (*cb)(void *arg, enum vouch_verdict v, const char *why) = v->cb;
    void *arg = v->arg;
    vouch_cancel(v);
    cb(arg, verdict, why);
}

static int ask_registry(struct vouch *v);

/* --- the token service ----------------------------------------------------------------------- */

static void on_head(void *arg, const struct http_response *r)
{
    struct vouch *v = arg;
    v->status = r->status;
}

static enum http_data_verdict on_data(void *arg, const void *data, size_t len)
{
    struct vouch *v = arg;
    u8 *grown = len > LIMIT_TOKEN_BYTES - v->len ? NULL : realloc(v->body, v->len + len);
    if (!grown) {
        v->status = 0; /* no answer of use */
        return HTTP_DATA_TAKEN;
    }
    v->body = grown;
    memcpy(v->body + v->len, data, len);
    v->len += len;
    return HTTP_DATA_TAKEN;
}

/* "Bearer TOKEN", if the token is this user's. */
static bool read_token(struct vouch *v)
{
    char token[LOGIN_MAX];
    u8 name[USERS_NAME_MAX + 1];
    struct http_slice body = {(const char *)v->body, v->len};
    json_t *reply = words_json(body);
    bool good = words_text(reply, "token", token, sizeof(token)) ||
                words_text(reply, "access_token", token, sizeof(token));
    json_decref(reply);
    size_t cap = good ? strlen(token) + sizeof("Bearer ") : 0;
    if (!good || !(v->token = malloc(cap)))
        return false;
    snprintf(v->token, cap, "Bearer %s", token);
    sodium_memzero(token, sizeof(token));
    for (const char *c = v->token; *c; c++)
        if ((u8)*c < ' ' || (u8)*c >= 0x7f)
            return false;
    size_t n = authz_user_name(v->token, strlen(v->token), name, sizeof(name));
    return n == strlen(v->user) && memcmp(name, v->user, n) == 0;
}

static void on_end(void *arg, int err, const char *why)
{
    struct vouch *v = arg;
    (void)why;
    v->transfer = NULL;
    if (err || v->status >= 500 || v->status == 0)
        end(v, VOUCH_AWAY, "the token service does not answer");
    else if (v->status != 200)
        end(v, VOUCH_NO, "the token service refuses this login");
    else if (!read_token(v))
        end(v, VOUCH_NO, "the token service's token does not say that it is this user's");
    else if (ask_registry(v))
        end(v, VOUCH_AWAY, "out of memory");
}

static int realm_url(const struct challenge *c, const char *user, char out[URL_MAX])
{
    char *service = curl_easy_escape(NULL, c->service, 0);
    char *account = curl_easy_escape(NULL, user, 0);
    int n = -1;
    if (service && account)
        n = snprintf(out, URL_MAX, "%s%cservice=%s&account=%s", c->realm,
                     strchr(c->realm, '?') ? '&' : '?', service, account);
    curl_free(service);
    curl_free(account);
    return n < 0 ? ERR_NOMEM : n >= URL_MAX ? ERR_TOOBIG : 0;
}

/* May a user's login be shown there? */
static bool realm_is_fit(const struct tracker *t, const char *realm)
{
    const struct upstream_config *r = &t->config->registry;
    struct url_origin own, there;
    return url_origin_parse(&own, r->url) == 0 && url_origin_parse(&there, realm) == 0 &&
           !(own.https && !there.https) &&
           target_classify(&own, &there, r->allow_hosts, r->n_allow_hosts) != TARGET_FOREIGN;
}

static int ask_realm(struct vouch *v, const struct challenge *c)
{
    char url[URL_MAX], *field;
    int rc = realm_url(c, v->user, url);
    size_t cap = strlen(v->login) + sizeof("Authorization: ");
    if (rc || !(field = malloc(cap)))
        return rc ? rc : ERR_NOMEM;
    snprintf(field, cap, "Authorization: %s", v->login);
    const char *fields[] = {field};
    struct http_transfer_options opt = {
        .url = url,
        .fields = fields,
        .n_fields = 1,
        .ca_file = v->t->config->registry.ca,
        .whole_timeout_ms = WHOLE_MS,
        .on = {on_head, on_data, on_end},
        .arg = v,
    };
    rc = http_transfer_start(v->t->client, &opt, &v->transfer);
    wipe(field);
    return rc;
}

/* Refused: perhaps because it must be turned into a token first. */
static void try_token(struct vouch *v, const struct answer *a)
{
    const char *value = answer_field(a, "WWW-Authenticate");
    struct challenge *c = malloc(sizeof(*c));
    bool bearer = c && value && !v->tried_token && strncasecmp(v->login, "Basic ", 6) == 0 &&
                  challenge_parse(c, value, strlen(value)) == 0 && c->scheme == CHALLENGE_BEARER;
    v->tried_token = true;
    if (!bearer)
        end(v, VOUCH_NO, "the registry refuses this login");
    else if (!realm_is_fit(v->t, c->realm))
        end(v, VOUCH_NO,
            "the token service is another host, which registry.allow_hosts does not name");
    else if (ask_realm(v, c))
        end(v, VOUCH_AWAY, "the token service cannot be asked");
    free(c);
}

/* --- the registry ---------------------------------------------------------------------------- */

static void on_answer(void *arg, const struct answer *a)
{
    struct vouch *v = arg;
    v->ask = NULL;
    if (answer_is_away(a))
        end(v, VOUCH_AWAY, "the central registry does not answer");
    else if (a->err == 0 && a->status == 200)
        end(v, VOUCH_YES, "");
    else if (a->err == 0 && a->status == 401)
        try_token(v, a);
    else
        end(v, VOUCH_NO, "the registry refuses this login");
}

static int ask_registry(struct vouch *v)
{
    struct upstream_request r = {
        .method = "GET", .path = "/v2/", .authorization = v->token ? v->token : v->login};
    return upstream_ask(v->t->registry, &r, LIMIT_RELAY_BYTES, true, on_answer, v, &v->ask);
}

int vouch_ask(struct tracker *t, struct http_slice authorization, const char *user,
              void (*cb)(void *arg, enum vouch_verdict v, const char *why), void *arg,
              struct vouch **out)
{
    if (authorization.n == 0 || authorization.n >= LOGIN_MAX)
        return ERR_INVAL;
    struct vouch *v = calloc(1, sizeof(*v));
    if (!v)
        return ERR_NOMEM;
    v->t = t;
    v->cb = cb;
    v->arg = arg;
    v->login = strndup(authorization.p, authorization.n);
    snprintf(v->user, sizeof(v->user), "%s", user);
    int rc = v->login ? ask_registry(v) : ERR_NOMEM;
    if (rc) {
        vouch_cancel(v);
        return rc;
    }
    *out = v;
    return 0;
}
