/* authz.c - see authz.h.
 *
 * Each kind of fact has a table of its own: buckets of four, chosen by the key's own bits (the key
 * is a keyed hash, so nobody outside can aim at a bucket), replaced by earliest end. No deletion,
 * no resizing: a fact simply ends. */
#include "runtime/authz.h"

#include <assert.h>
#include <jansson.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proto/limits.h"

#define BUCKET  4
#define BUCKETS (LIMIT_AUTHZ_ENTRIES / BUCKET)
static_assert((BUCKETS & (BUCKETS - 1)) == 0, "buckets are chosen by masking");

struct fact {
    u8 key[AUTHZ_ID_SIZE];
    u64 fresh_until_ms; /* 0: empty */
    u64 size;           /* of a member; UINT64_MAX: not known */
};

struct authz {
    u64 ttl_ms, grace_ms, generation;
    u8 key[crypto_generichash_KEYBYTES];
    struct fact rights[LIMIT_AUTHZ_ENTRIES];
    struct fact members[LIMIT_AUTHZ_ENTRIES];
};

int authz_new(struct authz **out, u64 ttl_ms, u64 grace_ms)
{
    struct authz *a = calloc(1, sizeof(*a));
    if (!a)
        return ERR_NOMEM;
    a->ttl_ms = ttl_ms;
    a->grace_ms = grace_ms;
    randombytes_buf(a->key, sizeof(a->key));
    *out = a;
    return 0;
}

void authz_del(struct authz *a)
{
    if (!a)
        return;
    sodium_memzero(a->key, sizeof(a->key));
    free(a);
}

void authz_forget(struct authz *a)
{
    memset(a->rights, 0, sizeof(a->rights));
    memset(a->members, 0, sizeof(a->members));
    a->generation++;
}

u64 authz_generation(const struct authz *a)
{
    return a->generation;
}

/* --- tables --------------------------------------------------------------------------------------
 */

static struct fact *bucket_of(struct fact *table, const u8 key[AUTHZ_ID_SIZE])
{
    u32 bits;
    memcpy(&bits, key, sizeof(bits));
    return &table[(bits & (BUCKETS - 1)) * BUCKET];
}

static void fact_put(struct fact *table, const u8 key[AUTHZ_ID_SIZE], u64 fresh_until_ms)
{
    struct fact *bucket = bucket_of(table, key);
    struct fact *victim = &bucket[0];
    for (int i = 0; i < BUCKET; i++) {
        if (memcmp(bucket[i].key, key, AUTHZ_ID_SIZE) == 0) {
            victim = &bucket[i];
            break;
        }
        if (bucket[i].fresh_until_ms < victim->fresh_until_ms)
            victim = &bucket[i];
    }
    if (memcmp(victim->key, key, AUTHZ_ID_SIZE) != 0 || victim->fresh_until_ms == 0)
        victim->size = UINT64_MAX;
    memcpy(victim->key, key, AUTHZ_ID_SIZE);
    victim->fresh_until_ms = fresh_until_ms;
}

static enum authz_answer fact_check(const struct authz *a, const struct fact *table,
                                    const u8 key[AUTHZ_ID_SIZE], u64 now_ms)
{
    const struct fact *bucket = bucket_of((struct fact *)table, key);
    for (int i = 0; i < BUCKET; i++) {
        if (bucket[i].fresh_until_ms == 0 || memcmp(bucket[i].key, key, AUTHZ_ID_SIZE) != 0)
            continue;
        if (now_ms < bucket[i].fresh_until_ms) /* longer than any fact: the clock was set back */
            return bucket[i].fresh_until_ms - now_ms <= a->ttl_ms ? AUTHZ_GRANTED : AUTHZ_UNKNOWN;
        return now_ms - bucket[i].fresh_until_ms < a->grace_ms ? AUTHZ_GRACE : AUTHZ_UNKNOWN;
    }
    return AUTHZ_UNKNOWN;
}

/* --- keys ----------------------------------------------------------------------------------------
 */

static void key_right(const struct authz *a, const struct authz_user *user, const char *upstream,
                      const char *repository, u8 out[AUTHZ_ID_SIZE])
{
    crypto_generichash_state st;
    crypto_generichash_init(&st, a->key, sizeof(a->key), AUTHZ_ID_SIZE);
    crypto_generichash_update(&st, user->id, sizeof(user->id));
    crypto_generichash_update(&st, (const u8 *)upstream, strlen(upstream) + 1);
    crypto_generichash_update(&st, (const u8 *)repository, strlen(repository) + 1);
    crypto_generichash_final(&st, out, AUTHZ_ID_SIZE);
}

static void key_member(const struct authz *a, const char *upstream, const char *repository,
                       const struct digest *d, u8 out[AUTHZ_ID_SIZE])
{
    crypto_generichash_state st;
    crypto_generichash_init(&st, a->key, sizeof(a->key), AUTHZ_ID_SIZE);
    crypto_generichash_update(&st, &d->alg, 1);
    crypto_generichash_update(&st, d->bytes, digest_size(d->alg));
    crypto_generichash_update(&st, (const u8 *)upstream, strlen(upstream) + 1);
    crypto_generichash_update(&st, (const u8 *)repository, strlen(repository) + 1);
    crypto_generichash_final(&st, out, AUTHZ_ID_SIZE);
}

/* --- who ------------------------------------------------------------------------------------- */

/* The claims of a JWT, or NULL. The signature is not checked: see the essay. */
static json_t *jwt_claims(const char *token, size_t len)
{
    const char *dot = memchr(token, '.', len);
    if (!dot)
        return NULL;
    const char *payload = dot + 1;
    const char *end = memchr(payload, '.', len - (size_t)(payload - token));
    if (!end)
        return NULL;
    size_t n = (size_t)(end - payload);
    if (n == 0 || n > LIMIT_HTTP_HEAD_BYTES)
        return NULL;
    u8 *raw = malloc(n);
    if (!raw)
        return NULL;
    size_t raw_len = 0;
    json_t *claims = NULL;
    if (sodium_base642bin(raw, n, payload, n, NULL, &raw_len, NULL,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0)
        claims = json_loadb((char *)raw, raw_len, JSON_REJECT_DUPLICATES, NULL);
    free(raw);
    return claims;
}

static bool scheme_is(const char *value, size_t len, const char *scheme, const char **rest,
                      size_t *rest_len)
{
    size_t n = strlen(scheme);
    if (len <= n || strncasecmp(value, scheme, n) != 0 || value[n] != ' ')
        return false;
    while (n < len && value[n] == ' ')
        n++;
    *rest = value + n;
    *rest_len = len - n;
    return true;
}

void authz_user(const struct authz *a, const char *value, size_t len, struct authz_user *out)
{
    memset(out, 0, sizeof(*out));
    out->expires_ms = UINT64_MAX;
    if (!value || len == 0)
        return;
    crypto_generichash(out->id, sizeof(out->id), (const u8 *)value, len, a->key, sizeof(a->key));
    const char *token;
    size_t n;
    if (!scheme_is(value, len, "Bearer", &token, &n))
        return;
    json_t *claims = jwt_claims(token, n);
    json_t *exp = json_object_get(claims, "exp");
    if (json_is_number(exp)) {
        double s = json_number_value(exp);
        out->expires_ms = s <= 0 ? 0 : s >= 1e15 ? UINT64_MAX : (u64)(s * 1000);
    }
    json_decref(claims);
}

size_t authz_user_name(const char *value, size_t len, u8 *buf, size_t cap)
{
    const char *rest;
    size_t n, out = 0;
    if (scheme_is(value, len, "Basic", &rest, &n)) {
        if (n > cap / 3 * 4) /* the name comes first, the password may be a whole token */
            n = cap / 3 * 4;
        if (sodium_base642bin(buf, cap, rest, n, NULL, &out, NULL,
                              sodium_base64_VARIANT_ORIGINAL) == 0) {
            const u8 *colon = memchr(buf, ':', out);
            if (colon)
                return (size_t)(colon - buf);
        }
        return 0;
    }
    if (!scheme_is(value, len, "Bearer", &rest, &n))
        return 0;
    json_t *claims = jwt_claims(rest, n);
    json_t *sub = json_object_get(claims, "sub");
    if (json_is_string(sub) && json_string_length(sub) <= cap) {
        out = json_string_length(sub);
        memcpy(buf, json_string_value(sub), out);
    }
    json_decref(claims);
    return out;
}

void authz_user_label(const u8 key[32], const char *value, size_t len, char out[17])
{
    if (!value || len == 0) {
        memcpy(out, "anonymous", sizeof("anonymous"));
        return;
    }
    u8 name[1024], hash[crypto_generichash_BYTES_MIN];
    size_t n = authz_user_name(value, len, name, sizeof(name));
    if (n > 0)
        crypto_generichash(hash, sizeof(hash), name, n, key, 32);
    else
        crypto_generichash(hash, sizeof(hash), (const u8 *)value, len, key, 32);
    sodium_bin2hex(out, 17, hash, 8);
    sodium_memzero(name, sizeof(name));
}

/* --- facts ----------------------------------------------------------------------------------- */

void authz_grant_right(struct authz *a, const struct authz_user *user, const char *upstream,
                       const char *repository, u64 now_ms)
{
    u64 until = now_ms + a->ttl_ms;
    if (user->expires_ms < until)
        until = user->expires_ms;
    if (until <= now_ms)
        return;
    u8 key[AUTHZ_ID_SIZE];
    key_right(a, user, upstream, repository, key);
    fact_put(a->rights, key, until);
}

void authz_note_member(struct authz *a, const char *upstream, const char *repository,
                       const struct digest *d, u64 now_ms)
{
    if (a->ttl_ms == 0)
        return;
    u8 key[AUTHZ_ID_SIZE];
    key_member(a, upstream, repository, d, key);
    fact_put(a->members, key, now_ms + a->ttl_ms);
}

static struct fact *member_of(const struct authz *a, const char *upstream, const char *repository,
                              const struct digest *d)
{
    u8 key[AUTHZ_ID_SIZE];
    key_member(a, upstream, repository, d, key);
    struct fact *bucket = bucket_of((struct fact *)a->members, key);
    for (int i = 0; i < BUCKET; i++)
        if (bucket[i].fresh_until_ms != 0 && memcmp(bucket[i].key, key, AUTHZ_ID_SIZE) == 0)
            return &bucket[i];
    return NULL;
}

void authz_note_size(struct authz *a, const char *upstream, const char *repository,
                     const struct digest *d, u64 size)
{
    struct fact *f = member_of(a, upstream, repository, d);
    if (f && size != UINT64_MAX)
        f->size = size;
}

u64 authz_size(const struct authz *a, const char *upstream, const char *repository,
               const struct digest *d)
{
    const struct fact *f = member_of(a, upstream, repository, d);
    return f ? f->size : UINT64_MAX;
}

enum authz_answer authz_check_right(const struct authz *a, const struct authz_user *user,
                                    const char *upstream, const char *repository, u64 now_ms)
{
    u8 key[AUTHZ_ID_SIZE];
    key_right(a, user, upstream, repository, key);
    enum authz_answer answer = fact_check(a, a->rights, key, now_ms);
    /* A token that has ended proves nothing, not even in grace: the registry would refuse it. */
    return now_ms >= user->expires_ms ? AUTHZ_UNKNOWN : answer;
}

enum authz_answer authz_check(const struct authz *a, const struct authz_user *user,
                              const char *upstream, const char *repository, const struct digest *d,
                              u64 now_ms)
{
    enum authz_answer right = authz_check_right(a, user, upstream, repository, now_ms);
    if (right == AUTHZ_UNKNOWN)
        return AUTHZ_UNKNOWN;
    u8 key[AUTHZ_ID_SIZE];
    key_member(a, upstream, repository, d, key);
    enum authz_answer member = fact_check(a, a->members, key, now_ms);
    return member < right ? member : right;
}
