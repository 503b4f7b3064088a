/* peers.c - see peers.h. */
#include "node/peers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/ticket.h"
#include "runtime/log.h"
#include "runtime/region_ask.h"

#define CONNECT_TIMEOUT_MS 1000
#define HEAD_TIMEOUT_MS    3000   /* sourcing.h leaves sooner; this is for who is asked beside it */
#define STALL_TIMEOUT_MS   600000 /* stalls are sourcing's affair: pauses of ours may be long */
/* A request for pieces may be held until its turn has come; the swarm itself asks elsewhere sooner.
 */
#define PIECE_HEAD_TIMEOUT_MS  12000
#define PIECE_STALL_TIMEOUT_MS 10000
/* A tracker asks the registry first, which may ask its storage. */
#define ORIGIN_HEAD_TIMEOUT_MS 30000
/* It may be far, but where it is gone another is asked while the client waits. */
#define ORIGIN_CONNECT_TIMEOUT_MS 3000
#define ORIGIN_PATH               (OCI_NAME_MAX + DIGEST_TEXT_SIZE + TICKET_TEXT_SIZE + 64)
#define CONVICTED                 64
#define CONVICTED_NS              (600 * 1000000000ull)
#define DISTRUSTED                64
#define DISTRUSTED_NS             (300 * 1000000000ull)

struct peers {
    struct peers_options opt;
    struct {
        struct node_key key;
        u64 until_ns;
    } convicted[CONVICTED];
    struct {
        struct digest digest;
        u64 until_ns;
    } distrusted[DISTRUSTED];
    size_t next_convicted, next_distrusted;
    u64 *fetched, *outcomes[SOURCING_LEFT + 1];
};

int peers_new(struct peers **out, const struct peers_options *opt)
{
    struct peers *p = calloc(1, sizeof(*p));
    if (!p)
        return ERR_NOMEM;
    p->opt = *opt;
    p->fetched = metrics_counter(opt->metrics, "dray_fetched_bytes_total", "from=\"peer\"",
                                 "Bytes of layers fetched, by where from.");
    for (int o = SOURCING_WORKED; o <= SOURCING_LEFT; o++) {
        char labels[64];
        snprintf(labels, sizeof(labels), "outcome=\"%s\"",
                 sourcing_outcome_name((enum sourcing_outcome)o));
        p->outcomes[o] = metrics_counter(opt->metrics, "dray_peer_requests_total", labels,
                                         "Requests for layers to peers, by how they ended.");
    }
    *out = p;
    return 0;
}

void peers_del(struct peers *p)
{
    free(p);
}

void peers_attach(struct peers *p, struct region *region)
{
    p->opt.region = region;
}

static struct mesh *mesh(const struct peers *p)
{
    return p->opt.region ? region_mesh(p->opt.region) : NULL;
}

u64 peers_now_ns(const struct peers *p)
{
    return p->opt.region ? region_now_ns(p->opt.region) : uv_hrtime();
}

u64 *peers_fetched_bytes(struct peers *p)
{
    return p->fetched;
}

/* --- whom ------------------------------------------------------------------------------------ */

bool peers_hold(const struct peers *p, const struct digest *d)
{
    const struct mesh *m = mesh(p);
    return m && mesh_copies(m, d) > 0;
}

static bool is_convicted(const struct peers *p, const struct node_key *k, u64 now_ns)
{
    for (size_t i = 0; i < CONVICTED; i++)
        if (p->convicted[i].until_ns > now_ns && node_key_equal(&p->convicted[i].key, k))
            return true;
    return false;
}

/* Names are chosen by their owners, and go into JSON and logs, cut anywhere. */
static void make_ascii(char *text)
{
    for (; *text; text++)
        if ((u8)*text < 0x20 || (u8)*text >= 0x7f)
            *text = '?';
}

size_t peers_look(struct peers *p, const struct digest *d, u64 bytes,
                  struct mesh_source out[MESH_SOURCES_MAX])
{
    struct mesh *m = mesh(p);
    if (!m)
        return 0;
    u64 now = peers_now_ns(p);
    size_t n = mesh_sources(m, d, bytes, out, now);
    for (size_t i = 0; i < n; i++) {
        make_ascii(out[i].name);
        if (is_convicted(p, &out[i].key, now)) {
            out[i].usable = false;
            out[i].reason = "sent wrong bytes lately";
        }
    }
    region_kick(p->opt.region);
    return n;
}

void peers_note_order(struct peers *p, const struct digest *d, const struct mesh_source *list,
                      size_t n)
{
    char text[140];
    size_t len = 0;
    for (size_t i = 0; i < n && len < sizeof(text) - 1; i++) {
        int more = snprintf(text + len, sizeof(text) - len, "%s%.24s%s (%s, %s)", i ? ", " : "",
                            list[i].name, list[i].usable ? "" : " not",
                            choose_tier_name(list[i].tier), list[i].reason);
        len += more > 0 ? (size_t)more : 0;
    }
    if (n > 0)
        history_note(p->opt.history, d, "holders", "%zu: %s", n, text);
}

/* --- asking ---------------------------------------------------------------------------------- */

/* A GET of a layer with these lines beside Dray-Peer. */
static int get(struct peers *p, const struct sourcing_peer *peer, const struct digest *d,
               const char *const lines[2], u64 bytes, struct http_transfer_options *opt,
               struct http_transfer **out)
{
    char path[DIGEST_TEXT_SIZE + 32], digest[DIGEST_TEXT_SIZE];
    const struct region_to to = {.key = &peer->key, .addr = &peer->addr, .path = path};
    digest_format(d, digest);
    snprintf(path, sizeof(path), "/mesh/v1/blobs/%s", digest);
    opt->fields = lines;
    opt->n_fields = (size_t)(lines[0] != NULL) + (lines[1] != NULL);
    opt->connect_timeout_ms = CONNECT_TIMEOUT_MS;
    int rc = region_ask(p->opt.region, p->opt.client, &to, opt, out);
    if (rc == 0)
        mesh_fetch_started(mesh(p), &peer->key, bytes);
    return rc;
}

int peers_get(struct peers *p, const struct sourcing_peer *peer, const struct digest *d, u64 first,
              u64 bytes, const struct http_transfer_events *on, void *arg,
              struct http_transfer **out)
{
    char range[48];
    const char *lines[2] = {first > 0 ? range : NULL, NULL};
    struct http_transfer_options opt = {.head_timeout_ms = HEAD_TIMEOUT_MS,
                                        .stall_timeout_ms = STALL_TIMEOUT_MS,
                                        .on = *on,
                                        .arg = arg};
    snprintf(range, sizeof(range), "Range: bytes=%" PRIu64 "-", first);
    return get(p, peer, d, lines, bytes, &opt, out);
}

int peers_get_pieces(struct peers *p, const struct sourcing_peer *peer, const struct digest *d,
                     const struct byte_range *bytes, const char *chain,
                     const struct http_transfer_events *on, void *arg, struct http_transfer **out)
{
    char range[64];
    const char *lines[2] = {range, chain};
    struct http_transfer_options opt = {.head_timeout_ms = PIECE_HEAD_TIMEOUT_MS,
                                        .stall_timeout_ms = PIECE_STALL_TIMEOUT_MS,
                                        .on = *on,
                                        .arg = arg};
    snprintf(range, sizeof(range), "Range: bytes=%" PRIu64 "-%" PRIu64, bytes->first, bytes->last);
    return get(p, peer, d, lines, bytes->last - bytes->first + 1, &opt, out);
}

static bool is_among(const struct node_key *list, size_t n, const struct node_key *k)
{
    for (size_t i = 0; i < n; i++)
        if (node_key_equal(&list[i], k))
            return true;
    return false;
}

bool peers_other_tracker(struct peers *p, const struct node_key *tried, size_t n,
                         struct node_key *found)
{
    struct mesh *m = mesh(p);
    struct member_view v;
    size_t at = 0;
    while (m && member_each(mesh_member(m), &at, &v))
        if (v.record->role == MEMBER_TRACKER && v.state <= MEMBER_SUSPECT &&
            !is_among(tried, n, &v.record->key)) {
            *found = v.record->key;
            return true;
        }
    return false;
}

int peers_get_origin(struct peers *p, const struct peers_origin *o,
                     const struct http_transfer_events *on, void *arg, struct http_transfer **out)
{
    char path[ORIGIN_PATH], digest[DIGEST_TEXT_SIZE], range[48];
    const char *fields[] = {range};
    struct mesh *m = mesh(p);
    struct member_view v;
    if (!m)
        return ERR_UNREACHABLE;
    if (!member_find(mesh_member(m), o->tracker, &v) || v.state > MEMBER_SUSPECT ||
        v.record->role != MEMBER_TRACKER)
        return ERR_NOTFOUND;
    digest_format(o->digest, digest);
    int len = snprintf(path, sizeof(path), "/mesh/v1/origin/%s/blobs/%s?ticket=%s", o->repository,
                       digest, o->ticket);
    if (len < 0 || (size_t)len >= sizeof(path))
        return ERR_INVAL;
    snprintf(range, sizeof(range), "Range: bytes=%" PRIu64 "-", o->first);
    const struct region_to to = {.key = o->tracker, .addr = &v.record->addr, .path = path};
    const struct http_transfer_options opt = {
        .fields = fields,
        .n_fields = o->first > 0,
        .connect_timeout_ms = ORIGIN_CONNECT_TIMEOUT_MS,
        .head_timeout_ms = ORIGIN_HEAD_TIMEOUT_MS,
        .on = *on,
        .arg = arg,
    };
    return region_ask(p->opt.region, p->opt.client, &to, &opt, out);
}

/* Who was left while it sent has shown how fast it is: that is worth remembering, and no failure.
 */
static enum mesh_outcome outcome_for_mesh(const struct peers_result *r)
{
    switch (r->outcome) {
    case SOURCING_WORKED: return MESH_FETCH_WORKED;
    case SOURCING_MISSING: return MESH_FETCH_MISSING;
    case SOURCING_BUSY: return MESH_FETCH_BUSY;
    case SOURCING_LEFT: return r->bytes > 0 ? MESH_FETCH_WORKED : MESH_FETCH_LEFT;
    case SOURCING_FAILED:
    case SOURCING_LIED:
    case SOURCING_DENIED: return MESH_FETCH_FAILED;
    }
    return MESH_FETCH_FAILED;
}

static void ended(struct peers *p, const struct peers_result *r, bool note)
{
    struct mesh *m = mesh(p);
    *p->outcomes[r->outcome] += 1;
    if (note)
        history_note(p->opt.history, r->digest, "peer",
                     "%.40s %s: %" PRIu64 " bytes in %" PRIu64 " ms%s%s", r->name,
                     sourcing_outcome_name(r->outcome), r->bytes, r->took_ns / 1000000,
                     r->why[0] ? ", " : "", r->why);
    if (!m)
        return;
    mesh_fetch_ended(m, &r->peer->key, r->digest, outcome_for_mesh(r), r->bytes, r->expected,
                     r->took_ns, peers_now_ns(p));
    region_kick(p->opt.region);
}

void peers_ended(struct peers *p, const struct peers_result *r)
{
    ended(p, r, true);
}

void peers_ended_piece(struct peers *p, const struct peers_result *r)
{
    bool usual = r->outcome == SOURCING_WORKED || r->outcome == SOURCING_LEFT;
    ended(p, r, !usual);
}

/* --- swarms ---------------------------------------------------------------------------------- */

struct mesh *peers_mesh(const struct peers *p)
{
    return p ? mesh(p) : NULL;
}

bool peers_swarm(const struct peers *p)
{
    const struct mesh *m = peers_mesh(p);
    struct member_view v;
    size_t at = 0;
    while (m && member_each(mesh_member(m), &at, &v))
        if (v.state <= MEMBER_SUSPECT && v.record->role != MEMBER_TRACKER &&
            !node_key_equal(&v.record->key, mesh_key(m)))
            return true;
    return false;
}

void peers_kick(struct peers *p)
{
    region_kick(p->opt.region);
}

void peers_name(const struct peers *p, const struct node_key *k, char out[MEMBER_TEXT_MAX + 1])
{
    struct mesh *m = mesh(p);
    struct member_view v;
    if (m && member_find(mesh_member(m), k, &v))
        snprintf(out, MEMBER_TEXT_MAX + 1, "%s", v.record->name);
    else
        node_key_format(k, out);
    make_ascii(out);
}

/* --- what is remembered against somebody ------------------------------------------------------ */

/* Barred from now on, counted, said, noted. */
static void convict(struct peers *p, const struct node_key *k, const char *name,
                    const struct digest *d, const char *why)
{
    char labels[128], escaped[96], digest[DIGEST_TEXT_SIZE];
    size_t at = p->next_convicted++ % CONVICTED;
    p->convicted[at].key = *k;
    p->convicted[at].until_ns = peers_now_ns(p) + CONVICTED_NS;
    metrics_label_escape(escaped, sizeof(escaped), name);
    snprintf(labels, sizeof(labels), "peer=\"%s\"", escaped);
    *metrics_counter(p->opt.metrics, "dray_bad_pieces_total", labels,
                     "Bytes proved wrong, by the peer that sent them.") += 1;
    digest_format(d, digest);
    log_with(LOG_ERROR, "a peer sent wrong bytes: it is not asked for a while",
             LOG_STR("peer", name), LOG_STR("digest", digest), LOG_STR("proof", why),
             LOG_NUM("seconds", CONVICTED_NS / 1000000000));
    history_note(p->opt.history, d, "convicted", "%.48s %s", name, why);
}

void peers_convict(struct peers *p, const struct sourcing_peer *peer, const char *name,
                   const struct digest *d)
{
    convict(p, &peer->key, name, d, "sent all of it, and it was not the layer");
}

static void hex8(const u8 *bytes, char out[17])
{
    snprintf(out, 17, "%02x%02x%02x%02x%02x%02x%02x%02x", bytes[0], bytes[1], bytes[2], bytes[3],
             bytes[4], bytes[5], bytes[6], bytes[7]);
}

void peers_convict_chain(struct peers *p, const struct digest *d, const struct chain_evidence *e)
{
    char name[MEMBER_TEXT_MAX + 1], why[160], said[17], truth[17], signature[17];
    peers_name(p, &e->signer, name);
    hex8(e->claimed, said);
    hex8(e->truth, truth);
    hex8(e->signature.bytes, signature);
    if (e->by_end)
        snprintf(why, sizeof(why),
                 "signed (%s..) that piece %" PRIu32
                 " gives %s..; from there on the registry's bytes do not give the layer",
                 signature, e->piece, said);
    else
        snprintf(why, sizeof(why),
                 "signed (%s..) that piece %" PRIu32 " gives %s.., it gives %s..: shown by %s",
                 signature, e->piece, said, truth, e->by_close ? "the layer" : "the registry");
    convict(p, &e->signer, name, d, why);
}

void peers_convict_piece(struct peers *p, const struct node_key *k, const struct digest *d,
                         u32 piece)
{
    char name[MEMBER_TEXT_MAX + 1], why[96];
    peers_name(p, k, name);
    snprintf(why, sizeof(why), "sent a piece %" PRIu32 " that is not the layer's", piece);
    convict(p, k, name, d, why);
}

bool peers_is_convicted(const struct peers *p, const struct node_key *k)
{
    return is_convicted(p, k, peers_now_ns(p));
}

void peers_distrust(struct peers *p, const struct digest *d)
{
    size_t at = p->next_distrusted++ % DISTRUSTED;
    p->distrusted[at].digest = *d;
    p->distrusted[at].until_ns = peers_now_ns(p) + DISTRUSTED_NS;
}

void peers_trust(struct peers *p, const struct digest *d)
{
    for (size_t i = 0; i < DISTRUSTED; i++)
        if (digest_equal(&p->distrusted[i].digest, d))
            p->distrusted[i].until_ns = 0;
}

bool peers_is_distrusted(const struct peers *p, const struct digest *d)
{
    u64 now = peers_now_ns(p);
    for (size_t i = 0; i < DISTRUSTED; i++)
        if (p->distrusted[i].until_ns > now && digest_equal(&p->distrusted[i].digest, d))
            return true;
    return false;
}
