/* grants.c - see grants.h. Both caches are rows of places chosen by a keyed hash: what falls on a
 * taken place takes it, which costs a signature, or a read through that is refused. */
#include "tracker/grants.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    char *value;
};

struct grants {
    char file[4096];
    u64 ttl_ms;
    u8 user_key[32], hash_key[32];
    struct ticket_signer signers[KEYFILE_KEYS];
    struct ticket_key keys[KEYFILE_KEYS];
    size_t n;
    struct cached *tickets;
    struct kept *kept;
};

/* --- keys ------------------------------------------------------------------------------------ */

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
    sodium_memzero(keys, sizeof(keys));
    return rc;
}

static int read_user_key(struct grants *g, const char *dir, char why[CONF_WHY_MAX])
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/user.key", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool good = fd >= 0;
    if (good && read(fd, g->user_key, sizeof(g->user_key)) != (ssize_t)sizeof(g->user_key)) {
        randombytes_buf(g->user_key, sizeof(g->user_key));
        good = ftruncate(fd, 0) == 0 &&
               pwrite(fd, g->user_key, sizeof(g->user_key), 0) == (ssize_t)sizeof(g->user_key) &&
               fsync(fd) == 0;
    }
    if (!good)
        snprintf(why, CONF_WHY_MAX, "%.300s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return good ? 0 : ERR_IO;
}

int grants_new(struct grants **out, const char *ticket_key, const char *dir, u64 ttl_ms,
               char why[CONF_WHY_MAX])
{
    struct grants *g = calloc(1, sizeof(*g));
    *out = g;
    if (!g)
        return ERR_NOMEM;
    g->ttl_ms = ttl_ms;
    g->tickets = calloc(TICKETS, sizeof(*g->tickets));
    g->kept = calloc(KEPT, sizeof(*g->kept));
    randombytes_buf(g->hash_key, sizeof(g->hash_key));
    snprintf(g->file, sizeof(g->file), "%s", ticket_key ? ticket_key : "");
    int rc = g->tickets && g->kept ? read_user_key(g, dir, why) : ERR_NOMEM;
    return rc || !ticket_key ? rc : read_signers(g, why);
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

void grants_user_of_name(const struct grants *g, const char *name, u8 user[TICKET_USER_BYTES])
{
    crypto_generichash(user, TICKET_USER_BYTES, (const u8 *)name, strlen(name), g->user_key,
                       sizeof(g->user_key));
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
    crypto_generichash(user, TICKET_USER_BYTES, (const u8 *)(authorization ? authorization : ""),
                       authorization ? len : 0, g->user_key, sizeof(g->user_key));
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

void grants_keep(struct grants *g, const u8 user[TICKET_USER_BYTES], const char *repository,
                 const char *authorization, u64 now_ms)
{
    u8 key[16];
    key_of(g, user, repository, NULL, NULL, key);
    struct kept *k = &g->kept[place(key, KEPT)];
    const char *value = authorization ? authorization : "";
    if (strlen(value) > AUTH_MAX)
        return;
    bool same = k->value && memcmp(k->key, key, sizeof(key)) == 0 && strcmp(k->value, value) == 0;
    if (!same) {
        drop(k);
        k->value = strdup(value);
        memcpy(k->key, key, sizeof(key));
        memcpy(k->user, user, sizeof(k->user));
    }
    k->until_ms = now_ms + g->ttl_ms;
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
