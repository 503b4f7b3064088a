/* api_users.c - see api_users.h.
 *
 * A change, or a question to the registry, is one exchange that waits; what it needs of the request
 * is copied, and what comes back after the client has left is dropped. */
#include "tracker/api_users.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/limits.h"
#include "runtime/log.h"
#include "tracker/redirect.h"

static const char users_path[] = "/api/v1/users/";

enum act { ACT_GET, ACT_PUT, ACT_DELETE, ACT_REVOKE };

struct asked {
    struct tracker *t;
    struct http_exchange *x; /* NULL: the client left */
    struct upstream_ask *ask;
    enum act act;
    bool changing; /* the disk has the last word; then this is freed there */
    char name[USERS_NAME_MAX + 1], cache[USERS_CACHE_MAX + 1];
};

static bool begins(struct http_slice s, const char *with)
{
    size_t n = strlen(with);
    return s.n >= n && memcmp(s.p, with, n) == 0;
}

static bool is(struct http_slice s, const char *text)
{
    return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

/* --- words of the URL ------------------------------------------------------------------------ */

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Decodes %xx. False: malformed, a NUL, or too long. */
static bool decode(const char *p, size_t n, char *out, size_t cap)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        int c = (u8)p[i];
        if (c == '%') {
            int high = i + 2 < n ? hex(p[i + 1]) : -1, low = i + 2 < n ? hex(p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = high * 16 + low;
            i += 2;
        }
        if (c == 0 || len + 1 >= cap)
            return false;
        out[len++] = (char)c;
    }
    out[len] = 0;
    return true;
}

/* The value of `key` in the query of a target, decoded; false: absent or malformed. */
static bool query_value(struct http_slice target, const char *key, char *out, size_t cap)
{
    const char *end = target.p + target.n, *at = memchr(target.p, '?', target.n);
    size_t n = strlen(key);
    for (at = at ? at + 1 : end; at < end;) {
        const char *stop = memchr(at, '&', (size_t)(end - at));
        size_t len = stop ? (size_t)(stop - at) : (size_t)(end - at);
        if (len > n && memcmp(at, key, n) == 0 && at[n] == '=')
            return decode(at + n + 1, len - n - 1, out, cap);
        at += len + 1;
    }
    return false;
}

/* --- one profile ----------------------------------------------------------------------------- */

static void on_changed(void *arg, int rc)
{
    struct asked *a = arg;
    a->changing = false;
    if (!a->x) {
        free(a);
        return;
    }
    if (rc)
        api_refuse(a->t, a->x, OCI_UNAVAILABLE, "the profile cannot be written: see the log");
    else if (a->act == ACT_DELETE)
        api_json(a->t, a->x, 200, json_pack("{s:s}", "user", a->name));
    else
        api_json(a->t, a->x, 200, json_pack("{s:s, s:s}", "user", a->name, "cache", a->cache));
}

static void change(struct asked *a)
{
    a->changing = true;
    int rc = users_set(a->t->users, a->name, a->act == ACT_PUT ? a->cache : NULL, on_changed, a);
    if (rc == 0)
        return;
    a->changing = false;
    if (rc == ERR_INVAL)
        api_refuse(a->t, a->x, OCI_NAME_INVALID, "no name of a user, or of a region or node");
    else
        api_refuse(a->t, a->x, OCI_UNAVAILABLE,
                   rc == ERR_FULL ? "there are too many profiles" : "out of memory");
}

static void act_revoke(struct asked *a)
{
    u8 user[TICKET_USER_BYTES];
    grants_user_of_name(a->t->grants, a->name, user);
    grants_revoke(a->t->grants, user);
    authz_forget(a->t->authz);
    size_t told = revocations_send(a->t->revocations, user);
    log_with(LOG_INFO, "revoked", LOG_STR("user", a->name), LOG_NUM("nodes", told));
    api_json(
        a->t, a->x, 200,
        json_pack("{s:s, s:b, s:I}", "user", a->name, "revoked", 1, "nodes", (json_int_t)told));
}

/* The asker may. */
static void act(struct asked *a)
{
    const char *cache = users_cache(a->t->users, a->name);
    switch (a->act) {
    case ACT_GET:
        if (cache)
            api_json(a->t, a->x, 200, json_pack("{s:s, s:s}", "user", a->name, "cache", cache));
        else
            api_refuse(a->t, a->x, OCI_NAME_UNKNOWN, "this user has no profile");
        break;
    case ACT_PUT:
    case ACT_DELETE: change(a); break;
    case ACT_REVOKE: act_revoke(a); break;
    }
}

static void on_ended(void *arg, const struct http_ended *e)
{
    struct asked *a = arg;
    (void)e;
    if (a->ask)
        upstream_ask_cancel(a->ask);
    a->x = NULL;
    if (!a->changing)
        free(a);
}

static void unauthorized(struct asked *a)
{
    http_add(a->x, "WWW-Authenticate", "Basic realm=\"dray profiles\"");
    api_refuse(a->t, a->x, OCI_UNAUTHORIZED, "send your own registry login, or the admin token");
}

static void on_vouched(void *arg, const struct answer *answer)
{
    struct asked *a = arg;
    a->ask = NULL;
    if (answer_is_away(answer))
        api_refuse(a->t, a->x, OCI_UNAVAILABLE, "the central registry does not answer");
    else if (answer->err == 0 && answer->status == 200)
        act(a);
    else
        unauthorized(a);
}

/* Is the asker this user? The name that the login claims is right if the registry takes the login.
 */
static void vouch(struct asked *a)
{
    const struct http_slice *auth = http_field(http_request(a->x), "Authorization");
    char name[USERS_NAME_MAX + 1], value[16384];
    u8 user[TICKET_USER_BYTES];
    if (!auth || auth->n >= sizeof(value) || a->t->open || a->act == ACT_REVOKE) {
        unauthorized(a);
        return;
    }
    grants_user(a->t->grants, auth->p, auth->n, user, name, sizeof(name));
    if (strcmp(name, a->name) != 0) {
        unauthorized(a);
        return;
    }
    snprintf(value, sizeof(value), "%.*s", (int)auth->n, auth->p);
    struct upstream_request r = {.method = "GET", .path = "/v2/", .authorization = value};
    if (upstream_ask(a->t->registry, &r, LIMIT_RELAY_BYTES, true, on_vouched, a, &a->ask))
        api_refuse(a->t, a->x, OCI_UNAVAILABLE, "out of memory");
    sodium_memzero(value, sizeof(value));
}

/* {"cache": "asia-office"} */
static bool read_cache(struct http_slice body, char cache[USERS_CACHE_MAX + 1])
{
    json_t *value = json_loadb(body.n ? body.p : "", body.n, JSON_REJECT_DUPLICATES, NULL);
    const char *text = json_string_value(json_object_get(value, "cache"));
    bool good = text && *text && strlen(text) <= USERS_CACHE_MAX;
    if (good)
        snprintf(cache, USERS_CACHE_MAX + 1, "%s", text);
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
    if (!decode(rest.p, rest.n, a->name, sizeof(a->name)) || !users_name_valid(a->name))
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
    json_object_set_new(arg, name, json_string(cache));
}

static void why(struct tracker *t, struct http_exchange *x)
{
    struct http_slice target = http_request(x)->target;
    char user[USERS_NAME_MAX + 1] = "", address[80] = "", text[DIGEST_TEXT_SIZE] = "";
    struct digest d;
    struct addr from = {.port = 0};
    bool has_user = query_value(target, "user", user, sizeof(user));
    bool has_digest = query_value(target, "digest", text, sizeof(text));
    if (has_digest && digest_parse(&d, text, strlen(text))) {
        api_refuse(t, x, OCI_DIGEST_INVALID, "give a digest such as sha256:<64 hex digits>");
        return;
    }
    if (query_value(target, "address", address, sizeof(address))) {
        char with_port[96];
        snprintf(with_port, sizeof(with_port), strchr(address, ':') ? "[%s]:1" : "%s:1", address);
        if (addr_parse(&from, with_port, strlen(with_port))) {
            api_refuse(t, x, OCI_NAME_INVALID, "address: give one such as 10.20.1.9");
            return;
        }
    }
    api_json(t, x, 200, redirect_why(t, has_user ? user : NULL, &from, has_digest ? &d : NULL));
}

bool api_users(struct tracker *t, struct http_exchange *x, struct http_slice path)
{
    const struct http_request *r = http_request(x);
    size_t skip = sizeof(users_path) - 1;
    if (begins(path, users_path) && path.n > skip) {
        one_user(t, x, (struct http_slice){path.p + skip, path.n - skip});
        return true;
    }
    if (!api_may(t, r))
        return false;
    if (is(path, "/api/v1/users")) {
        json_t *all = json_object();
        users_each(t->users, add_user, all);
        api_json(t, x, 200, all);
    } else if (is(path, "/api/v1/caches")) {
        api_json(t, x, 200, redirect_caches(t));
    } else if (is(path, "/api/v1/why")) {
        why(t, x);
    } else if (is(path, "/api/v1/members")) {
        api_json(t, x, 200, regions_report(t->regions));
    } else {
        return false;
    }
    return true;
}
