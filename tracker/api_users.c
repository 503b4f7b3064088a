/* api_users.c - see api_users.h.
 *
 * A change, or a question to the registry, is one exchange that waits; what it needs of the request
 * is copied, and what comes back after the client has left is dropped. */
#include "tracker/api_users.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tracker/api_teams.h"
#include "tracker/api_words.h"
#include "tracker/redirect.h"
#include "tracker/vouch.h"

static const char users_path[] = "/api/v1/users/";

enum act { ACT_GET, ACT_PUT, ACT_DELETE, ACT_REVOKE };

struct asked {
    struct tracker *t;
    struct http_exchange *x; /* NULL: the client left */
    struct vouch *vouch;
    enum act act;
    bool changing; /* the disk has the last word; then this is freed there */
    char name[USERS_NAME_MAX + 1], cache[USERS_CACHE_MAX + 1];
};

/* --- one profile ----------------------------------------------------------------------------- */

/* What is known of a user; NULL: nothing. */
static json_t *profile(const struct tracker *t, const char *name)
{
    const char *cache = users_cache(t->users, name), *team = users_team(t->users, name);
    if (!cache && !team)
        return NULL;
    json_t *all = json_pack("{s:o}", "user", words_string(name));
    if (cache)
        json_object_set_new(all, "cache", json_string(cache));
    if (team)
        json_object_set_new(all, "team", json_string(team));
    if (cache)
        json_object_set_new(all, "from",
                            json_string(users_own_cache(t->users, name) ? "profile" : "team"));
    return all;
}

static void reply_changed(struct asked *a)
{
    struct tracker *t = a->t;
    json_t *all = a->act == ACT_PUT ? profile(t, a->name) : NULL;
    if (a->act == ACT_REVOKE)
        all = json_pack("{s:o, s:b, s:I}", "user", words_string(a->name), "revoked", 1, "nodes",
                        (json_int_t)t->revocation_told);
    api_json(t, a->x, 200, all ? all : json_pack("{s:o}", "user", words_string(a->name)));
}

static void on_changed(void *arg, int rc)
{
    struct asked *a = arg;
    a->changing = false;
    if (!a->x)
        free(a);
    else if (rc)
        api_refuse(a->t, a->x, OCI_UNAVAILABLE, "it cannot be written: see the log");
    else
        reply_changed(a);
}

static void change(struct asked *a)
{
    struct ledger_entry e = {.kind = a->act == ACT_REVOKE ? LEDGER_REVOKED : LEDGER_PROFILE,
                             .dead = a->act == ACT_DELETE};
    snprintf(e.name, sizeof(e.name), "%s", a->name);
    snprintf(e.value, sizeof(e.value), "%s", a->act == ACT_PUT ? a->cache : "");
    a->changing = true;
    int rc = users_change(a->t->users, &e, 1, on_changed, a);
    if (rc == 0)
        return;
    a->changing = false;
    if (rc == ERR_INVAL)
        api_refuse(a->t, a->x, OCI_NAME_INVALID, "no name of a user, or of a region or node");
    else
        api_refuse(a->t, a->x, OCI_UNAVAILABLE,
                   rc == ERR_FULL    ? "there are too many profiles"
                   : rc == ERR_AGAIN ? USERS_AHEAD
                                     : "out of memory");
}

/* The asker may. */
static void act(struct asked *a)
{
    json_t *known = a->act == ACT_GET ? profile(a->t, a->name) : NULL;
    if (a->act != ACT_GET)
        change(a);
    else if (known)
        api_json(a->t, a->x, 200, known);
    else
        api_refuse(a->t, a->x, OCI_NAME_UNKNOWN, "this user has no profile, and is in no team");
}

static void on_ended(void *arg, const struct http_ended *e)
{
    struct asked *a = arg;
    (void)e;
    if (a->vouch)
        vouch_cancel(a->vouch);
    a->x = NULL;
    if (!a->changing)
        free(a);
}

static void unauthorized(struct asked *a, const char *why)
{
    http_add(a->x, "WWW-Authenticate", "Basic realm=\"dray profiles\"");
    api_refuse(a->t, a->x, OCI_UNAUTHORIZED, why);
}

static void on_vouched(void *arg, enum vouch_verdict v, const char *why)
{
    struct asked *a = arg;
    a->vouch = NULL;
    switch (v) {
    case VOUCH_YES: act(a); break;
    case VOUCH_NO: unauthorized(a, why); break;
    case VOUCH_AWAY: api_refuse(a->t, a->x, OCI_UNAVAILABLE, why); break;
    }
}

/* Is the asker this user? The name that the login claims is right if the registry takes the login.
 */
static void vouch(struct asked *a)
{
    static const char how[] = "send your own registry login, or the admin token";
    const struct http_slice *auth = http_field(http_request(a->x), "Authorization");
    char name[USERS_NAME_MAX + 1];
    u8 user[TICKET_USER_BYTES];
    if (!auth || a->t->open || a->act == ACT_REVOKE) {
        unauthorized(a, how);
        return;
    }
    grants_user(a->t->grants, auth->p, auth->n, user, name, sizeof(name));
    int rc = strcmp(name, a->name) == 0 ? vouch_ask(a->t, *auth, a->name, on_vouched, a, &a->vouch)
                                        : ERR_INVAL;
    if (rc == ERR_INVAL)
        unauthorized(a, how);
    else if (rc)
        api_refuse(a->t, a->x, OCI_UNAVAILABLE, "out of memory");
}

/* {"cache": "asia-office"} */
static bool read_cache(struct http_slice body, char cache[USERS_CACHE_MAX + 1])
{
    json_t *value = words_json(body);
    bool good = words_text(value, "cache", cache, USERS_CACHE_MAX + 1);
    json_decref(value);
    return good;
}

static void one_user(struct tracker *t, struct http_exchange *x, struct http_slice rest)
{
    static const char revoking[] = "/revoke";
    const struct http_request *r = http_request(x);
    size_t tail = sizeof(revoking) - 1;
    struct asked *a = calloc(1, sizeof(*a));
    if (!a) {
        api_refuse(t, x, OCI_UNAVAILABLE, "out of memory");
        return;
    }
    a->t = t;
    a->x = x;
    http_on_end(x, on_ended, a);
    a->act = r->method == HTTP_PUT ? ACT_PUT : r->method == HTTP_DELETE ? ACT_DELETE : ACT_GET;
    if (r->method == HTTP_POST && rest.n > tail &&
        memcmp(rest.p + rest.n - tail, revoking, tail) == 0) {
        a->act = ACT_REVOKE;
        rest.n -= tail;
    }
    if (!words_decode(rest.p, rest.n, a->name, sizeof(a->name)) || !users_name_valid(a->name))
        api_refuse(t, x, OCI_NAME_INVALID, "no name of a user");
    else if (a->act == ACT_PUT && !read_cache(r->body, a->cache))
        api_refuse(t, x, OCI_NAME_INVALID, "the body must be {\"cache\": \"REGION or NODE\"}");
    else if (api_may(t, r))
        act(a);
    else
        vouch(a);
}

/* --- all ------------------------------------------------------------------------------------- */

static void add_user(void *arg, const char *name, const char *cache)
{
    json_t *shown = words_string(name);
    json_object_set_new(arg, json_string_value(shown), json_string(cache));
    json_decref(shown);
}

/* "10.20.1.9"; "": none. */
static bool read_address(const char *text, struct addr *a)
{
    char with_port[96];
    snprintf(with_port, sizeof(with_port), strchr(text, ':') ? "[%s]:1" : "%s:1", text);
    return !*text || addr_parse(a, with_port, strlen(with_port)) == 0;
}

static void why(struct tracker *t, struct http_exchange *x)
{
    struct http_slice target = http_request(x)->target;
    char user[USERS_NAME_MAX + 1], address[80], text[DIGEST_TEXT_SIZE];
    struct digest d;
    struct addr from = {.port = 0};
    int has_user = words_query(target, "user", user, sizeof(user));
    int has_digest = words_query(target, "digest", text, sizeof(text));
    int has_address = words_query(target, "address", address, sizeof(address));
    if (has_user == ERR_INVAL)
        api_refuse(t, x, OCI_NAME_INVALID, "no name of a user");
    else if (has_digest == ERR_INVAL || (has_digest == 0 && digest_parse(&d, text, strlen(text))))
        api_refuse(t, x, OCI_DIGEST_INVALID, "give a digest such as sha256:<64 hex digits>");
    else if (has_address == ERR_INVAL || !read_address(address, &from))
        api_refuse(t, x, OCI_NAME_INVALID, "address: give one such as 10.20.1.9");
    else
        api_json(t, x, 200,
                 redirect_why(t, has_user == 0 ? user : NULL, &from, has_digest == 0 ? &d : NULL));
}

bool api_users(struct tracker *t, struct http_exchange *x, struct http_slice path)
{
    const struct http_request *r = http_request(x);
    size_t skip = sizeof(users_path) - 1;
    if (api_teams(t, x, path))
        return true;
    if (words_begin(path, users_path) && path.n > skip) {
        one_user(t, x, (struct http_slice){path.p + skip, path.n - skip});
        return true;
    }
    if (!api_may(t, r))
        return false;
    if (words_are(path, "/api/v1/users")) {
        json_t *all = json_object();
        users_each(t->users, LEDGER_PROFILE, add_user, all);
        api_json(t, x, 200, all);
    } else if (words_are(path, "/api/v1/caches")) {
        api_json(t, x, 200, redirect_caches(t));
    } else if (words_are(path, "/api/v1/why")) {
        why(t, x);
    } else if (words_are(path, "/api/v1/members")) {
        api_json(t, x, 200, regions_report(t->regions));
    } else {
        return false;
    }
    return true;
}
