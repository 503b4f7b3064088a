/* mesh_peer.c - Dray-Peer: who asks a peer over HTTP, proved for one request; see mesh.h. */
#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "proto/mesh_impl.h"

#define STATEMENT_MAX                                                                              \
    (2 * NODE_KEY_BYTES + 8 + 8 + 1 + MESH_PEER_METHOD_MAX + LIMIT_HTTP_TARGET_BYTES)
#define FIELDS   5
#define TEXT_MAX 192 /* [72, from, to, number, signature] */
#define BASE64   sodium_base64_VARIANT_URLSAFE_NO_PADDING

static_assert(3 + 2 * (2 + NODE_KEY_BYTES) + 9 + 2 + NODE_SIGNATURE_BYTES <= TEXT_MAX, "it fits");
static_assert(sodium_base64_ENCODED_LEN(TEXT_MAX + SEAL_OVERHEAD, BASE64) <= MESH_PEER_HEADER_MAX,
              "a header holds it");

struct statement {
    const struct node_key *from, *to;
    u64 epoch, number;
    const char *method, *path;
};

static u8 *put_be(u8 *out, u64 v)
{
    for (int i = 8; i-- > 0; v >>= 8)
        out[i] = (u8)v;
    return out + 8;
}

/* What is signed. 0: too long. */
static size_t statement_text(const struct statement *s, u8 out[STATEMENT_MAX])
{
    size_t method = strlen(s->method), path = strlen(s->path);
    if (method > MESH_PEER_METHOD_MAX || path > LIMIT_HTTP_TARGET_BYTES)
        return 0;
    u8 *p = out;
    memcpy(p, s->from->bytes, NODE_KEY_BYTES);
    memcpy(p + NODE_KEY_BYTES, s->to->bytes, NODE_KEY_BYTES);
    p = put_be(p + 2 * (size_t)NODE_KEY_BYTES, s->epoch);
    p = put_be(p, s->number);
    *p++ = (u8)method;
    memcpy(p, s->method, method);
    memcpy(p + method, s->path, path);
    return (size_t)(p - out) + method + path;
}

int mesh_peer_sign(struct mesh *m, const struct node_key *to, const char *method, const char *path,
                   char out[MESH_PEER_HEADER_MAX])
{
    u8 text[STATEMENT_MAX], sealed[TEXT_MAX + SEAL_OVERHEAD];
    struct mesh_peer *p = mesh_peers_find(&m->peers, to);
    if (!p || p->live == MESH_NONE)
        return ERR_NOTFOUND;
    struct mesh_fetching *f = mesh_peers_fetching(&m->peers, p);
    if (!f)
        return ERR_NOMEM;
    const struct statement s = {&m->key, to, seal_epoch(m->seal), f->sent + 1, method, path};
    size_t len = statement_text(&s, text);
    if (len == 0)
        return ERR_TOOBIG;
    f->sent++;
    struct node_signature sig;
    identity_sign(&m->secret, IDENTITY_PEER, text, len, &sig);
    struct wire_out w;
    wire_out_init(&w, sealed + SEAL_HEAD, TEXT_MAX);
    wire_put_array(&w, FIELDS);
    wire_put_u64(&w, MSG_PEER);
    wire_put_key(&w, &m->key);
    wire_put_key(&w, to);
    wire_put_u64(&w, s.number);
    wire_put_bin(&w, sig.bytes, sizeof(sig.bytes));
    assert(!wire_full(&w));
    size_t n = seal_close(m->seal, SEAL_PEER, p->version, w.buf, w.len, sealed);
    sodium_bin2base64(out, MESH_PEER_HEADER_MAX, sealed, n, BASE64);
    return 0;
}

/* --- checking -------------------------------------------------------------------------------- */

struct shown {
    struct node_key from, to;
    u64 epoch, number;
    struct node_signature sig;
};

/* Opens a header's seal and reads what is in it. */
static bool read_header(struct mesh *m, const char *header, struct shown *out)
{
    u8 sealed[MESH_PEER_HEADER_MAX], text[MESH_PEER_HEADER_MAX];
    size_t header_len = header ? strnlen(header, MESH_PEER_HEADER_MAX) : 0, len;
    if (header_len == 0 || header_len >= MESH_PEER_HEADER_MAX ||
        sodium_base642bin(sealed, sizeof(sealed), header, header_len, NULL, &len, NULL, BASE64))
        return false;
    struct seal_from seal;
    enum seal_drop d = seal_open(m->seal, SEAL_PEER, sealed, len, text, &seal);
    m->stats.dropped[d]++;
    if (d != SEAL_OK)
        return false;
    struct wire_in r;
    wire_in_init(&r, text, seal.text_len);
    if (wire_get_array(&r, MESH_FIELDS_MAX) < FIELDS || wire_get_u64(&r) != MSG_PEER)
        return false;
    wire_get_key(&r, &out->from);
    wire_get_key(&r, &out->to);
    out->number = wire_get_u64(&r);
    wire_get_exact(&r, out->sig.bytes, sizeof(out->sig.bytes));
    out->epoch = seal.epoch;
    return wire_ok(&r) && memcmp(out->from.bytes, seal.sender, sizeof(seal.sender)) == 0;
}

/* Takes the number in; an epoch that the signature proves to be newer begins anew. */
static bool take_number(struct mesh_fetching *f, const struct shown *s)
{
    if (s->epoch < f->epoch)
        return false;
    if (s->epoch > f->epoch) {
        f->epoch = s->epoch;
        f->top = 0;
        memset(f->seen, 0, sizeof(f->seen));
    }
    return window_take(&f->top, f->seen, WINDOW_WORDS(MESH_PEER_WINDOW), s->number);
}

static int check(struct mesh *m, const char *header, const char *method, const char *path,
                 struct shown *s)
{
    u8 text[STATEMENT_MAX];
    struct member_view v;
    if (!read_header(m, header, s) || !node_key_equal(&s->to, &m->key))
        return ERR_DENIED;
    struct mesh_peer *p = mesh_peers_find(&m->peers, &s->from);
    if (!p || p->live == MESH_NONE || !member_find(m->member, &s->from, &v))
        return ERR_DENIED;
    if (s->epoch < v.record->epoch)
        return ERR_DENIED;
    const struct statement claimed = {&s->from, &s->to, s->epoch, s->number, method, path};
    size_t len = statement_text(&claimed, text);
    if (len == 0 || identity_verify(&s->from, IDENTITY_PEER, text, len, &s->sig))
        return ERR_DENIED;
    struct mesh_fetching *f = mesh_peers_fetching(&m->peers, p);
    if (!f)
        return ERR_NOMEM;
    return take_number(f, s) ? 0 : ERR_DENIED;
}

int mesh_peer_check(struct mesh *m, const char *header, const char *method, const char *path,
                    struct node_key *from)
{
    struct shown s = {0};
    int err = check(m, header, method, path, &s);
    memset(from, 0, sizeof(*from));
    m->stats.peer_refused += err != 0;
    if (!err)
        *from = s.from;
    return err;
}
