/* away.c - see away.h. */
#include "tracker/away.h"

#include <jansson.h>
#include <sodium.h>
#include <string.h>

#include "runtime/accept.h"
#include "runtime/clock.h"

#define TOKEN_LIFE_S   60 /* the specification's, where expires_in is absent */
#define TOKEN_LIFE_MAX 86400

bool away_is(const struct tracker *t)
{
    const char *error;
    u64 since;
    return t->config->authz.grace_ms &&
           upstream_state(t->registry, &error, &since) == UPSTREAM_DOWN;
}

/* --- keys ------------------------------------------------------------------------------------ */

static void begin(const struct tracker *t, crypto_generichash_state *st, const char *kind)
{
    crypto_generichash_init(st, t->echo_key, sizeof(t->echo_key), 16);
    crypto_generichash_update(st, (const u8 *)kind, strlen(kind) + 1);
}

static void part(crypto_generichash_state *st, const void *data, size_t n)
{
    u64 len = n;
    crypto_generichash_update(st, (const u8 *)&len, sizeof(len));
    crypto_generichash_update(st, data ? data : "", n);
}

static void key_of_challenge(const struct tracker *t, const char *repository, u8 key[16])
{
    crypto_generichash_state st;
    begin(t, &st, "challenge");
    part(&st, repository, strlen(repository));
    crypto_generichash_final(&st, key, 16);
}

static void key_of_digest(const struct tracker *t, const char *repository, const char *digest,
                          u8 key[16])
{
    crypto_generichash_state st;
    begin(t, &st, "manifest");
    part(&st, repository, strlen(repository));
    part(&st, digest, strlen(digest));
    crypto_generichash_final(&st, key, 16);
}

/* A tag's answer depends on what the client understands. */
static void key_of_tag(const struct tracker *t, const struct http_request *r,
                       const struct oci_route *oci, u8 key[16])
{
    crypto_generichash_state st;
    u8 sum[ACCEPT_SUM_SIZE];
    begin(t, &st, "tag");
    part(&st, oci->name, strlen(oci->name));
    part(&st, oci->tag, strlen(oci->tag));
    accept_sum(r, sum);
    part(&st, sum, sizeof(sum));
    crypto_generichash_final(&st, key, 16);
}

static void key_of_request(const struct tracker *t, const struct http_request *r, const char *kind,
                           const struct http_slice *auth, u8 key[16])
{
    crypto_generichash_state st;
    begin(t, &st, kind);
    part(&st, auth ? auth->p : NULL, auth ? auth->n : 0);
    part(&st, &r->method, sizeof(r->method));
    part(&st, r->target.p, r->target.n);
    part(&st, r->body.p, r->body.n);
    crypto_generichash_final(&st, key, 16);
}

void away_see(struct tracker *t, const struct http_request *r, enum route route,
              const struct oci_route *oci, struct away_asked *out)
{
    const struct http_slice *auth = http_field(r, "Authorization");
    memset(out, 0, sizeof(*out));
    if (!t->config->authz.grace_ms)
        return;
    bool read = r->method == HTTP_GET || r->method == HTTP_HEAD;
    out->head = r->method == HTTP_HEAD;
    out->anonymous = !auth || auth->n == 0;
    authz_user(t->authz, auth ? auth->p : NULL, auth ? auth->n : 0, &out->user);
    if (oci)
        memcpy(out->repository, oci->name, sizeof(out->repository));
    key_of_challenge(t, out->repository, out->challenge);
    if (route == ROUTE_PING && read) {
        out->kind = AWAY_PING;
        key_of_request(t, r, "ping", auth, out->key);
    } else if (route == ROUTE_TOKEN && (r->method == HTTP_GET || r->method == HTTP_POST)) {
        out->kind = AWAY_TOKEN;
        key_of_request(t, r, "token", auth, out->key);
    } else if (route == ROUTE_MANIFEST && read && oci) {
        char digest[DIGEST_TEXT_SIZE];
        out->kind = AWAY_MANIFEST;
        if (oci->tag[0]) {
            key_of_tag(t, r, oci, out->key);
        } else {
            digest_format(&oci->digest, digest);
            key_of_digest(t, oci->name, digest, out->key);
        }
    } else if (oci) {
        out->kind = AWAY_OTHER; /* for its challenge alone */
    }
}

/* --- keeping --------------------------------------------------------------------------------- */

bool away_wants(const struct away_asked *q, int status)
{
    if (q->kind == AWAY_NOTHING)
        return false;
    return status == 401 ? q->anonymous : status == 200 && q->kind != AWAY_OTHER;
}

/* Until when a token answer may be said again: a token that ended opens nothing. */
static u64 token_until(const struct answer *a, u64 now_ms)
{
    json_t *reply = json_loadb((const char *)a->body, a->len, 0, NULL);
    json_t *expires = json_object_get(reply, "expires_in");
    json_int_t s = json_is_integer(expires) ? json_integer_value(expires) : TOKEN_LIFE_S;
    json_decref(reply);
    s = s < 0 ? 0 : s > TOKEN_LIFE_MAX ? TOKEN_LIFE_MAX : s;
    return now_ms + (u64)s * 1000;
}

static bool copy(struct answer *to, const struct answer *from)
{
    const struct http_response head = {.status = from->status,
                                       .content_length = from->content_length,
                                       .fields = from->fields,
                                       .n_fields = from->n_fields};
    answer_init(to);
    if (answer_head(to, &head, false) == 0 &&
        (from->len == 0 || answer_data(to, from->body, from->len, from->len) == 0))
        return true;
    answer_fini(to);
    return false;
}

/* Under its digest, and what the tag led to without its body. */
static void take_manifest(struct tracker *t, const struct away_asked *q,
                          const struct oci_route *oci, struct answer *a, u64 until)
{
    const char *said = answer_field(a, "Docker-Content-Digest");
    struct answer short_one;
    u8 key[16];
    if (!oci->tag[0]) {
        /* A HEAD's answer does not take the place of a whole one. */
        if (!q->head || !echoes_recall(t->echoes, q->key, wall_ms()))
            echoes_take(t->echoes, q->key, a, until);
        return;
    }
    if (!said)
        return;
    key_of_digest(t, q->repository, said, key);
    struct answer whole = *a;
    a->body = NULL;
    a->len = a->cap = 0;
    bool good = copy(&short_one, a);
    *a = whole;
    if (!good)
        return;
    echoes_take(t->echoes, q->key, &short_one, until);
    if (!q->head)
        echoes_take(t->echoes, key, a, until);
}

void away_take(struct tracker *t, const struct away_asked *q, const struct oci_route *oci,
               struct answer *a)
{
    u64 now = wall_ms(), until = now + t->config->authz.ttl_ms + t->config->authz.grace_ms;
    if (a->status == 401 && answer_field(a, "WWW-Authenticate")) {
        struct answer twin;
        if (q->kind == AWAY_PING && copy(&twin, a))
            echoes_take(t->echoes, q->key, &twin, until);
        echoes_take(t->echoes, q->challenge, a, until);
    } else if (a->status == 200 && q->kind == AWAY_MANIFEST) {
        take_manifest(t, q, oci, a, until);
    } else if (a->status == 200 && q->kind == AWAY_TOKEN) {
        u64 end = token_until(a, now);
        echoes_take(t->echoes, q->key, a, end < until ? end : until);
    } else if (a->status == 200 && q->kind == AWAY_PING) {
        echoes_take(t->echoes, q->key, a, until < q->user.expires_ms ? until : q->user.expires_ms);
    }
}

/* --- saying it again ------------------------------------------------------------------------- */

static const struct answer *manifest(struct tracker *t, const struct away_asked *q, u64 now)
{
    if (authz_check_right(t->authz, &q->user, upstream_name(t->registry), q->repository, now) ==
        AUTHZ_UNKNOWN)
        return NULL;
    const struct answer *a = echoes_recall(t->echoes, q->key, now);
    if (!a || q->head || a->len > 0)
        return a;
    const char *said = answer_field(a, "Docker-Content-Digest");
    char digest[DIGEST_TEXT_SIZE];
    u8 key[16];
    if (!said || strlen(said) >= sizeof(digest))
        return NULL;
    memcpy(digest, said, strlen(said) + 1);
    key_of_digest(t, q->repository, digest, key);
    a = echoes_recall(t->echoes, key, now);
    return a && a->len > 0 ? a : NULL;
}

const struct answer *away_challenge(struct tracker *t, const char *repository)
{
    u8 key[16];
    key_of_challenge(t, repository, key);
    return t->config->authz.grace_ms ? echoes_recall(t->echoes, key, wall_ms()) : NULL;
}

const struct answer *away_answer(struct tracker *t, const struct away_asked *q)
{
    const struct answer *a = NULL;
    u64 now = wall_ms();
    switch (q->kind) {
    case AWAY_NOTHING: return NULL;
    case AWAY_MANIFEST: a = manifest(t, q, now); break;
    case AWAY_PING:
    case AWAY_TOKEN: a = echoes_recall(t->echoes, q->key, now); break;
    case AWAY_OTHER: break;
    }
    return a || !q->anonymous ? a : echoes_recall(t->echoes, q->challenge, now);
}
