/* grants.c - see grants.h. Both caches are rows of places chosen by a keyed hash: what falls on a
 * taken place takes it, which costs a signature, or a read through that is refused. */
#include "tracker/grants.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/authz.h"
#include "runtime/keyfile.h"

#define TICKETS    4096
#define KEPT       4096
#define REUSE_MS   (TICKET_LIFE_S * 1000 / 2)
#define AUTH_MAX   16384
#define NAME_BYTES 256

struct cached {
    u8 key[16], user[TICKET_USER_BYTES];
    u64 at_ms, iat_s, exp_s; /* at_ms 0: empty */
    char text[TICKET_TEXT_SIZE];
};

struct kept {
    u8 key[16], user[TICKET_USER_BYTES];
    u64 until_ms;
    u64 told_ms; /* to the other trackers; 0: not by us */
    char *value;
};

struct grants {
    char file[4096];
    u64 ttl_ms;
    u8 hash_key[32];
    u8 user_keys[KEYFILE_KEYS][32]; /* one for each ticket key; the last is in use */
    struct ticket_signer signers[KEYFILE_KEYS];
    struct ticket_key keys[KEYFILE_KEYS];
    size_t n;
    struct cached *tickets;
    struct kept *kept;
};

/* --- keys ------------------------------------------------------------------------------------ */

/* What only trackers know, for each purpose another. */
static void derive(const struct ticket_signer *s, const char *purpose, u8 out[32])
{
    crypto_generichash(out, 32, (const u8 *)purpose, strlen(purpose), s->secret,
                       crypto_sign_SEEDBYTES);
}

static int read_signers(struct grants *g, char why[CONF_WHY_MAX])
{
    struct keyfile_key keys[KEYFILE_KEYS];
    char text[KEYFILE_MAX];
    size_t n = 0;
    unsigned line = 0;
    static_assert(KEYFILE_TICKET == NODE_SECRET_BYTES && KEYFILE_TRACKER == NODE_KEY_BYTES,
                  "Ed25519");
    static_assert(KEYFILE_ID_MAX <= TICKET_KID_MAX, "ids fit");
    int rc = conf_secret(g->file, text, sizeof(text), why);
    if (rc == 0 && (rc = keyfile_parse(text, KEYFILE_TICKET, keys, &n, &line)) != 0)
        snprintf(why, CONF_WHY_MAX, "%.300s, line %u: is no ticket key", g->file, line);
    sodium_memzero(text, sizeof(text));
    for (size_t i = 0; rc == 0 && i < n; i++) {
        memcpy(g->signers[i].secret, keys[i].bytes, NODE_SECRET_BYTES);
        snprintf(g->signers[i].kid, sizeof(g->signers[i].kid), "%s", keys[i].id);
        snprintf(g->keys[i].kid, sizeof(g->keys[i].kid), "%s", keys[i].id);
        crypto_sign_ed25519_sk_to_pk(g->keys[i].bytes, keys[i].bytes);
    }
    if (rc == 0)
        g->n = n;
    for (size_t i = 0; rc == 0 && i < n; i++)
        derive(&g->signers[i], "dray user", g->user_keys[i]);
    sodium_memzero(keys, sizeof(keys));
    return rc;
}

size_t grants_circle_keys(const struct grants *g, u8 keys[KEYFILE_KEYS][32])
{
    for (size_t i = 0; i < g->n; i++)
        derive(&g->signers[i], "dray trackers", keys[i]);
    return g->n;
}

int grants_new(struct grants **out, const char *ticket_key, u64 ttl_ms, char why[CONF_WHY_MAX])
{
    struct grants *g = calloc(1, sizeof(*g));
    *out = g;
    if (!g)
        return ERR_NOMEM;
    g->ttl_ms = ttl_ms;
    g->tickets = calloc(TICKETS, sizeof(*g->tickets));
    g->kept = calloc(KEPT, sizeof(*g->kept));
    randombytes_buf(g->hash_key, sizeof(g->hash_key));
    randombytes_buf(g->user_keys[0], sizeof(g->user_keys[0])); /* without ticket keys */
    snprintf(g->file, sizeof(g->file), "%s", ticket_key ? ticket_key : "");
    if (!g->tickets || !g->kept)
        return ERR_NOMEM;
    return ticket_key ? read_signers(g, why) : 0;
}

static void drop(struct kept *k)
{
    if (k->value) {
        sodium_memzero(k->value, strlen(k->value));
        free(k->value);
    }
    memset(k, 0, sizeof(*k));
}

void grants_del(struct grants *g)
{
    if (!g)
        return;
    for (size_t i = 0; g->kept && i < KEPT; i++)
        drop(&g->kept[i]);
    free(g->kept);
    free(g->tickets);
    sodium_memzero(g, sizeof(*g));
    free(g);
}

int grants_reload(struct grants *g, char why[CONF_WHY_MAX])
{
    int rc = g->file[0] ? read_signers(g, why) : 0;
    if (rc == 0)
        memset(g->tickets, 0, TICKETS * sizeof(*g->tickets)); /* of the old key, perhaps */
    return rc;
}

/* --- users ----------------------------------------------------------------------------------- */

static const u8 *user_key(const struct grants *g)
{
    return g->user_keys[g->n ? g->n - 1 : 0];
}

static void hash_user(const u8 key[32], const void *text, size_t n, u8 user[TICKET_USER_BYTES])
{
    crypto_generichash(user, TICKET_USER_BYTES, text, n, key, 32);
}

void grants_user_of_name(const struct grants *g, const char *name, u8 user[TICKET_USER_BYTES])
{
    hash_user(user_key(g), name, strlen(name), user);
}

size_t grants_users_of_name(const struct grants *g, const char *name,
                            u8 users[KEYFILE_KEYS][TICKET_USER_BYTES])
{
    size_t n = g->n ? g->n : 1;
    for (size_t i = 0; i < n; i++)
        hash_user(g->user_keys[i], name, strlen(name), users[i]);
    return n;
}

void grants_user(const struct grants *g, const char *authorization, size_t len,
                 u8 user[TICKET_USER_BYTES], char *name, size_t cap)
{
    u8 text[NAME_BYTES];
    size_t n = authorization ? authz_user_name(authorization, len, text, sizeof(text) - 1) : 0;
    name[0] = 0;
    if (n > 0 && !memchr(text, 0, n)) {
        text[n] = 0;
        snprintf(name, cap, "%s", (const char *)text);
        grants_user_of_name(g, (const char *)text, user);
        return;
    }
    hash_user(user_key(g), authorization ? authorization : "", authorization ? len : 0, user);
}

/* --- tickets --------------------------------------------------------------------------------- */

static void key_of(const struct grants *g, const u8 user[TICKET_USER_BYTES], const char *repository,
                   const struct digest *d, const struct node_key *node, u8 out[16])
{
    crypto_generichash_state st;
    crypto_generichash_init(&st, g->hash_key, sizeof(g->hash_key), 16);
    crypto_generichash_update(&st, user, TICKET_USER_BYTES);
    crypto_generichash_update(&st, (const u8 *)repository, strlen(repository) + 1);
    if (d)
        crypto_generichash_update(&st, d->bytes, digest_size(d->alg));
    if (node)
        crypto_generichash_update(&st, node->bytes, sizeof(node->bytes));
    crypto_generichash_final(&st, out, 16);
}

static size_t place(const u8 key[16], size_t places)
{
    u32 bits;
    memcpy(&bits, key, sizeof(bits));
    return bits % places;
}

const char *grants_ticket(struct grants *g, struct ticket *t, u64 now_ms)
{
    u8 key[16];
    assert(g->n > 0);
    key_of(g, t->user, t->repository, &t->digest, &t->node, key);
    struct cached *c = &g->tickets[place(key, TICKETS)];
    if (c->at_ms && memcmp(c->key, key, sizeof(key)) == 0 && now_ms >= c->at_ms &&
        now_ms - c->at_ms < REUSE_MS) {
        t->iat_s = c->iat_s;
        t->exp_s = c->exp_s;
        return c->text;
    }
    t->iat_s = now_ms / 1000;
    t->exp_s = t->iat_s + TICKET_LIFE_S;
    memcpy(c->key, key, sizeof(key));
    memcpy(c->user, t->user, sizeof(c->user));
    c->at_ms = now_ms;
    c->iat_s = t->iat_s;
    c->exp_s = t->exp_s;
    (void)ticket_issue(t, &g->signers[0], c->text);
    return c->text;
}

enum ticket_verdict grants_check(const struct grants *g, const char *text, size_t len,
                                 const struct ticket_wanted *wanted, struct ticket *out)
{
    return ticket_check(text, len, g->keys, g->n, wanted, out);
}

/* --- what is kept ---------------------------------------------------------------------------- */

static struct kept *keep(struct grants *g, const u8 user[TICKET_USER_BYTES], const char *repository,
                         const char *value, bool *same)
{
    u8 key[16];
    key_of(g, user, repository, NULL, NULL, key);
    struct kept *k = &g->kept[place(key, KEPT)];
    *same = k->value && memcmp(k->key, key, sizeof(key)) == 0 && strcmp(k->value, value) == 0;
    if (!*same) {
        drop(k);
        k->value = strdup(value);
        memcpy(k->key, key, sizeof(key));
        memcpy(k->user, user, sizeof(k->user));
    }
    return k;
}

bool grants_keep(struct grants *g, const u8 user[TICKET_USER_BYTES], const char *repository,
                 const char *authorization, u64 now_ms)
{
    const char *value = authorization ? authorization : "";
    bool same;
    if (strlen(value) > AUTH_MAX)
        return false;
    struct kept *k = keep(g, user, repository, value, &same);
    k->until_ms = now_ms + g->ttl_ms;
    if (same && k->told_ms && now_ms < k->told_ms + g->ttl_ms / 2)
        return false;
    k->told_ms = now_ms;
    return true;
}

void grants_keep_foreign(struct grants *g, const u8 user[TICKET_USER_BYTES], const char *repository,
                         const char *authorization, u64 until_ms, u64 now_ms)
{
    bool same;
    if (strlen(authorization) > AUTH_MAX || until_ms <= now_ms)
        return;
    u64 latest = now_ms + g->ttl_ms, until = until_ms < latest ? until_ms : latest;
    struct kept *k = keep(g, user, repository, authorization, &same);
    if (!same || k->until_ms < until)
        k->until_ms = until;
}

const char *grants_authorization(struct grants *g, const u8 user[TICKET_USER_BYTES],
                                 const char *repository, u64 now_ms)
{
    u8 key[16];
    key_of(g, user, repository, NULL, NULL, key);
    struct kept *k = &g->kept[place(key, KEPT)];
    if (k->value && now_ms >= k->until_ms)
        drop(k);
    return k->value && memcmp(k->key, key, sizeof(key)) == 0 ? k->value : NULL;
}

void grants_revoke(struct grants *g, const u8 user[TICKET_USER_BYTES])
{
    for (size_t i = 0; i < KEPT; i++)
        if (g->kept[i].value && memcmp(g->kept[i].user, user, TICKET_USER_BYTES) == 0)
            drop(&g->kept[i]);
    for (size_t i = 0; i < TICKETS; i++)
        if (g->tickets[i].at_ms && memcmp(g->tickets[i].user, user, TICKET_USER_BYTES) == 0)
            memset(&g->tickets[i], 0, sizeof(g->tickets[i]));
}
