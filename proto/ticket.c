/* ticket.c - see ticket.h. */
#include "proto/ticket.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "proto/wire.h"

#define VERSION     1
#define FIELDS      11
#define PAYLOAD_MAX 832
#define BASE64      sodium_base64_VARIANT_URLSAFE_NO_PADDING

static const char CONTEXT[] = "dray ticket";

static_assert(sodium_base64_ENCODED_LEN(PAYLOAD_MAX + crypto_sign_BYTES, BASE64) <=
                  TICKET_TEXT_SIZE,
              "the longest ticket fits");
static_assert(3 * 2 + OCI_NS_MAX + OCI_NAME_MAX + 2 * 34 + 2 * 2 + TICKET_KID_MAX +
                      TICKET_USER_BYTES + DIGEST_BYTES_MAX + 3 * 9 + 16 <=
                  PAYLOAD_MAX,
              "the longest payload fits");

const char *ticket_verdict_name(enum ticket_verdict v)
{
    static const char *const names[] = {
#define X(name, text) #name,
        TICKET_VERDICTS(X)
#undef X
    };
    assert(v < countof(names));
    return names[v];
}

const char *ticket_verdict_text(enum ticket_verdict v)
{
    static const char *const texts[] = {
#define X(name, text) text,
        TICKET_VERDICTS(X)
#undef X
    };
    assert(v < countof(texts));
    return texts[v];
}

/* The digest as one byte of algorithm and its hash. */
static void put_digest(struct wire_out *w, const struct digest *d)
{
    u8 bytes[1 + DIGEST_BYTES_MAX] = {d->alg};
    size_t size = digest_size(d->alg);
    memcpy(bytes + 1, d->bytes, size);
    wire_put_bin(w, bytes, 1 + size);
}

static void get_digest(struct wire_in *r, struct digest *d)
{
    size_t len;
    const u8 *p = wire_get_bin(r, 1 + DIGEST_BYTES_MAX, &len);
    memset(d, 0, sizeof(*d));
    if (!p || len < 1 || digest_size(p[0]) == 0 || len != 1 + digest_size(p[0])) {
        r->bad = true;
        return;
    }
    d->alg = p[0];
    memcpy(d->bytes, p + 1, len - 1);
}

static size_t put_payload(const struct ticket *t, const char *kid, u8 out[PAYLOAD_MAX])
{
    struct wire_out w;
    wire_out_init(&w, out, PAYLOAD_MAX);
    wire_put_array(&w, FIELDS);
    wire_put_u64(&w, VERSION);
    wire_put_text(&w, kid);
    wire_put_key(&w, &t->tracker);
    wire_put_bin(&w, t->user, sizeof(t->user));
    wire_put_text(&w, t->upstream);
    wire_put_text(&w, t->repository);
    put_digest(&w, &t->digest);
    wire_put_u64(&w, t->size);
    wire_put_key(&w, &t->node);
    wire_put_u64(&w, t->iat_s);
    wire_put_u64(&w, t->exp_s);
    assert(!wire_full(&w));
    return w.len;
}

static bool get_payload(const u8 *payload, size_t len, struct ticket *t)
{
    struct wire_in r;
    wire_in_init(&r, payload, len);
    if (wire_get_array(&r, FIELDS) != FIELDS || wire_get_u64(&r) != VERSION)
        return false;
    wire_get_text(&r, t->kid, sizeof(t->kid));
    wire_get_key(&r, &t->tracker);
    wire_get_exact(&r, t->user, sizeof(t->user));
    wire_get_text(&r, t->upstream, sizeof(t->upstream));
    wire_get_text(&r, t->repository, sizeof(t->repository));
    get_digest(&r, &t->digest);
    t->size = wire_get_u64(&r);
    wire_get_key(&r, &t->node);
    t->iat_s = wire_get_u64(&r);
    t->exp_s = wire_get_u64(&r);
    return wire_ok(&r) && wire_left(&r) == 0;
}

/* What is signed: the context and the payload, one after the other. */
static size_t statement(const u8 *payload, size_t len, u8 out[sizeof(CONTEXT) - 1 + PAYLOAD_MAX])
{
    memcpy(out, CONTEXT, sizeof(CONTEXT) - 1);
    memcpy(out + sizeof(CONTEXT) - 1, payload, len);
    return sizeof(CONTEXT) - 1 + len;
}

size_t ticket_issue(const struct ticket *t, const struct ticket_signer *s,
                    char text[TICKET_TEXT_SIZE])
{
    u8 bytes[PAYLOAD_MAX + crypto_sign_BYTES], said[sizeof(CONTEXT) - 1 + PAYLOAD_MAX];
    assert(t->digest.alg != DIGEST_NONE && node_key_is_set(&t->node) && t->exp_s > t->iat_s);
    size_t len = put_payload(t, s->kid, bytes);
    int rc = crypto_sign_detached(bytes + len, NULL, said, statement(bytes, len, said), s->secret);
    assert(rc == 0);
    (void)rc;
    sodium_bin2base64(text, TICKET_TEXT_SIZE, bytes, len + crypto_sign_BYTES, BASE64);
    return strlen(text);
}

static enum ticket_verdict check_signature(const u8 *payload, size_t len, const struct ticket *t,
                                           const struct ticket_key *keys, size_t n_keys)
{
    u8 said[sizeof(CONTEXT) - 1 + PAYLOAD_MAX];
    for (size_t i = 0; i < n_keys; i++) {
        if (strcmp(keys[i].kid, t->kid) != 0)
            continue;
        if (crypto_sign_verify_detached(payload + len, said, statement(payload, len, said),
                                        keys[i].bytes))
            return TICKET_FORGED;
        return TICKET_VALID;
    }
    return TICKET_UNKNOWN_KEY;
}

/* Signed rightly: is it for this request? */
static enum ticket_verdict check_purpose(const struct ticket *t, const struct ticket_wanted *w)
{
    if (!node_key_equal(&t->node, w->node))
        return TICKET_OTHER_NODE;
    if (!digest_equal(&t->digest, w->digest))
        return TICKET_OTHER_LAYER;
    if (strcmp(t->repository, w->repository) != 0)
        return TICKET_OTHER_REPOSITORY;
    if (t->iat_s > w->now_s && t->iat_s - w->now_s > TICKET_SLACK_S)
        return TICKET_EARLY;
    if (w->now_s >= t->exp_s && w->now_s - t->exp_s >= TICKET_SLACK_S)
        return TICKET_EXPIRED;
    return TICKET_VALID;
}

enum ticket_verdict ticket_check(const char *text, size_t len, const struct ticket_key *keys,
                                 size_t n_keys, const struct ticket_wanted *wanted,
                                 struct ticket *out)
{
    u8 bytes[PAYLOAD_MAX + crypto_sign_BYTES];
    size_t n;
    const char *end;
    struct ticket t;
    memset(out, 0, sizeof(*out));
    if (len >= TICKET_TEXT_SIZE ||
        sodium_base642bin(bytes, sizeof(bytes), text, len, NULL, &n, &end, BASE64) ||
        end != text + len || n <= crypto_sign_BYTES)
        return TICKET_MALFORMED;
    n -= crypto_sign_BYTES;
    if (!get_payload(bytes, n, &t))
        return TICKET_MALFORMED;
    enum ticket_verdict v = check_signature(bytes, n, &t, keys, n_keys);
    if (v == TICKET_VALID)
        v = check_purpose(&t, wanted);
    if (v == TICKET_VALID)
        *out = t;
    return v;
}
