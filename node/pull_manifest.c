/* pull_manifest.c - manifests: a tag always asks the registry; a digest, once permitted, does not.
 *
 * What is relayed teaches: the user may pull the repository, and the manifest itself, its config
 * and its layers are in it. Manifests are kept like any blob, and hot ones in memory. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "node/blob_body.h"
#include "node/pull.h"
#include "node/pull_document.h"
#include "proto/limits.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/manifest.h"
#include "store/hash.h"

/* --- what is held ---------------------------------------------------------------------------- */

/* Into memory, if the page cache gives all of it at once. */
static struct document *load(struct pull *p, struct store_blob *pin)
{
    u64 size = store_blob_size(pin);
    if (size > LIMIT_MANIFEST_BYTES || size == 0)
        return NULL;
    u8 *data = malloc(size);
    struct iovec io = {data, size};
    struct document *d = NULL;
    if (data && preadv2(store_blob_fd(pin), &io, 1, 0, RWF_NOWAIT) == (ssize_t)size)
        d = memo_put(p->node->memo, &p->route.digest, store_blob_media_type(pin), data, size);
    free(data);
    return d;
}

/* The manifest of this digest, permitted: from memory, else from the store. False: not held as one.
 */
static bool serve_held(struct pull *p)
{
    struct node *n = p->node;
    struct store_blob *pin;
    struct document *d = memo_get(n->memo, &p->route.digest);
    if (d) {
        document_reply(n, p->x, d, p->head);
        return true;
    }
    if (store_pin(n->store, &p->route.digest, wall_ms(), &pin))
        return false;
    if (!store_blob_media_type(pin)[0]) { /* a rebuilt index forgets it: the registry will tell */
        store_unpin(n->store, pin);
        return false;
    }
    d = load(p, pin);
    if (d) {
        store_unpin(n->store, pin);
        document_reply(n, p->x, d, p->head);
        return true;
    }
    char digest[DIGEST_TEXT_SIZE], type[STORE_MEDIA_MAX + 1];
    u64 size = store_blob_size(pin);
    snprintf(type, sizeof(type), "%s", store_blob_media_type(pin));
    struct body *body = blob_body(n->store, pin, n->disk, 0, size, pull_wake, p->x);
    if (!body) {
        store_unpin(n->store, pin);
        return false;
    }
    digest_format(&p->route.digest, digest);
    http_add(p->x, "Content-Type", "%s", type);
    http_add(p->x, "Docker-Content-Digest", "%s", digest);
    pull_add_source(p, SOURCE_STORE);
    pull_reply(p, 200, body, size); /* for HEAD the connection closes it unread */
    return true;
}

/* --- tags, while the registry is away -------------------------------------------------------- */

static void tag_key(const struct pull *p, u8 key[16])
{
    crypto_generichash_state st;
    const char *up = upstream_name(p->up);
    crypto_generichash_init(&st, p->node->memo_key, sizeof(p->node->memo_key), 16);
    crypto_generichash_update(&st, (const u8 *)"tag", 4);
    crypto_generichash_update(&st, (const u8 *)up, strlen(up) + 1);
    crypto_generichash_update(&st, (const u8 *)p->route.name, strlen(p->route.name) + 1);
    crypto_generichash_update(&st, (const u8 *)p->route.tag, strlen(p->route.tag) + 1);
    crypto_generichash_update(&st, p->accept_hash, sizeof(p->accept_hash));
    crypto_generichash_final(&st, key, 16);
}

static void note_tag(struct pull *p, const struct digest *d)
{
    u8 key[16];
    if (!p->route.tag[0] || !p->node->config->authz.grace_ms)
        return;
    tag_key(p, key);
    struct saying *s = memo_note(p->node->memo, key, wall_ms());
    if (s)
        s->digest = *d;
}

/* What a tag led to, or the digest asked for, if this user was granted it lately. */
static bool is_in_grace(struct pull *p, struct digest *found)
{
    const struct node_config *c = p->node->config;
    struct digest asked = p->route.digest;
    if (p->route.tag[0]) {
        u8 key[16];
        tag_key(p, key);
        const struct saying *s = memo_recall(p->node->memo, key);
        if (!s || wall_ms() >= s->at_ms + c->authz.ttl_ms + c->authz.grace_ms)
            return false;
        p->route.digest = s->digest;
    }
    *found = p->route.digest;
    bool good = c->authz.grace_ms && pull_check(p) != AUTHZ_UNKNOWN;
    p->route.digest = asked;
    return good;
}

/* The registry is away: what this user was granted lately, and is held. */
static bool serve_grace(struct pull *p)
{
    struct digest found;
    if (!is_in_grace(p, &found))
        return false;
    p->route.digest = found;
    *p->node->authz_count[AUTHZ_COUNT_GRACE] += 1;
    return serve_held(p);
}

/* --- from the registry ----------------------------------------------------------------------- */

static void note_blob(void *arg, const struct manifest_blob *b)
{
    struct pull *p = arg;
    const char *up = upstream_name(p->up);
    authz_note_member(p->node->authz, up, p->route.name, &b->digest, wall_ms());
    authz_note_size(p->node->authz, up, p->route.name, &b->digest, b->size);
}

/* Keeps what a 200 brought. ERR_CORRUPT: the bytes are not what the digest says. */
static int learn(struct pull *p, const struct answer *a, const char *type)
{
    struct digest named = p->route.digest, found;
    const char *said = answer_field(a, "Docker-Content-Digest");
    if (p->route.tag[0] && (!said || digest_parse(&named, said, strlen(said))))
        named.alg = DIGEST_NONE;
    hash_bytes(named.alg ? named.alg : DIGEST_SHA256, a->body ? a->body : (const u8 *)"", a->len,
               &found);
    if (named.alg && !digest_equal(&named, &found))
        return ERR_CORRUPT;
    char source[STORE_SOURCE_MAX + 1];
    int n = snprintf(source, sizeof(source), "%s %s", upstream_name(p->up), p->route.name);
    pull_grant(p, &found);
    note_tag(p, &found);
    /* An index, or anything else, is no error: it just has no blobs of its own. */
    (void)!manifest_blobs(type, a->body ? a->body : (const u8 *)"", a->len, note_blob, p);
    if (!manifest_is_of_type(type, a->body ? a->body : (const u8 *)"", a->len))
        return 0;
    struct document *d = memo_put(p->node->memo, &found, type, a->body, a->len);
    if (d) {
        keeper_keep(p->node->keeper, d, n < (int)sizeof(source) ? source : NULL);
        document_release(d);
    }
    return 0;
}

/* What a 200 to a HEAD teaches: the tag's digest is in the repository, by the registry's own word.
 */
static void learn_head(struct pull *p, const struct answer *a)
{
    struct digest d = p->route.digest;
    const char *said = answer_field(a, "Docker-Content-Digest");
    if (p->route.tag[0] && (!said || digest_parse(&d, said, strlen(said)))) {
        pull_grant(p, NULL);
        return;
    }
    pull_grant(p, &d);
    note_tag(p, &d);
}

static void on_answer(void *arg, const struct answer *a)
{
    struct pull *p = arg;
    p->ask = NULL;
    if (answer_is_away(a)) {
        if (!serve_grace(p))
            pull_unavailable(p, answer_away_text(a));
        return;
    }
    if (a->err) {
        pull_bad_gateway(p, a->why);
        return;
    }
    if (a->status == 401 || a->status == 403 || a->status == 404)
        *p->node->authz_count[AUTHZ_COUNT_REFUSED] += 1;
    const char *type = answer_field(a, "Content-Type");
    bool teaches = a->status == 200 && !(a->redirected && !upstream_redirect_proves(p->up)) &&
                   type && strlen(type) <= STORE_MEDIA_MAX && !manifest_is_schema1(type);
    if (teaches && p->head)
        learn_head(p, a);
    else if (teaches && learn(p, a, type) == ERR_CORRUPT) {
        pull_bad_gateway(p, "the manifest's bytes do not match its digest");
        return;
    }
    pull_relay(p, a);
}

void pull_manifest(struct pull *p)
{
    if (!p->route.tag[0]) {
        enum authz_answer known = pull_check(p);
        if (known == AUTHZ_GRANTED && serve_held(p)) {
            *p->node->authz_count[AUTHZ_COUNT_REMEMBERED] += 1;
            return;
        }
    }
    if (upstream_is_away(p->up) && serve_grace(p))
        return;
    struct digest found;
    p->remembered = is_in_grace(p, &found);
    *p->node->authz_count[AUTHZ_COUNT_ASKED] += 1;
    (void)pull_forward(p, p->head ? "HEAD" : "GET", on_answer);
}
