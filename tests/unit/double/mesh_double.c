/* mesh_double.c - see mesh_double.h. */
#include "double/mesh_double.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "proto/sourcing.h"

struct mesh_double mesh_double;
static char region_object, mesh_object, member_object;

void double_reset(void)
{
    memset(&mesh_double, 0, sizeof(mesh_double));
    mesh_double.now_ns = 1000 * SOURCING_MS;
}

struct region *double_region(void)
{
    return (struct region *)(void *)&region_object;
}

size_t double_peer(const struct server *s)
{
    size_t i = mesh_double.n_peers++;
    const char *host = server_host(s);
    assert(i < DOUBLE_PEERS);
    memset(mesh_double.peers[i].key.bytes, (int)i + 1, NODE_KEY_BYTES);
    snprintf(mesh_double.peers[i].name, sizeof(mesh_double.peers[i].name), "rack-%zu", i + 1);
    mesh_double.peers[i].holds = true;
    int rc = addr_parse(&mesh_double.peers[i].addr, host, strlen(host));
    assert(rc == 0);
    return i;
}

size_t double_tracker(const struct server *s)
{
    size_t i = mesh_double.n_trackers++;
    const char *host = server_host(s);
    assert(i < DOUBLE_TRACKERS);
    struct member_record *r = &mesh_double.trackers[i].record;
    memset(r->key.bytes, 0x70 + (int)i, NODE_KEY_BYTES);
    r->role = MEMBER_TRACKER;
    int rc = addr_parse(&r->addr, host, strlen(host));
    assert(rc == 0);
    return i;
}

/* --- region.h -------------------------------------------------------------------------------- */

struct mesh *region_mesh(struct region *r)
{
    (void)r;
    return mesh_double.off ? NULL : (struct mesh *)(void *)&mesh_object;
}

u64 region_now_ns(const struct region *r)
{
    (void)r;
    return mesh_double.now_ns;
}

void region_kick(struct region *r)
{
    (void)r;
    mesh_double.kicks++;
}

const char *region_scheme(const struct region *r)
{
    (void)r;
    return "http";
}

const char *region_ca(const struct region *r)
{
    (void)r;
    return NULL;
}

/* --- member.h -------------------------------------------------------------------------------- */

const struct member *mesh_member(const struct mesh *m)
{
    (void)m;
    return (const struct member *)(const void *)&member_object;
}

static void view(size_t i, struct member_view *out)
{
    memset(out, 0, sizeof(*out));
    out->record = &mesh_double.trackers[i].record;
    out->state = mesh_double.trackers[i].dead ? MEMBER_DEAD : MEMBER_ALIVE;
}

bool member_find(const struct member *m, const struct node_key *k, struct member_view *out)
{
    (void)m;
    mesh_double.finds++;
    for (size_t i = 0; i < mesh_double.n_trackers; i++)
        if (node_key_equal(&mesh_double.trackers[i].record.key, k)) {
            view(i, out);
            return true;
        }
    return false;
}

bool member_each(const struct member *m, size_t *at, struct member_view *out)
{
    static const struct member_record somebody = {.key = {{0x33}}, .role = MEMBER_NODE};
    (void)m;
    if (*at < mesh_double.n_trackers) {
        view((*at)++, out);
        return true;
    }
    if (!mesh_double.swarm.on || *at > mesh_double.n_trackers)
        return false;
    ++*at;
    *out = (struct member_view){.record = &somebody, .state = MEMBER_ALIVE};
    return true;
}

/* --- mesh.h ---------------------------------------------------------------------------------- */

size_t mesh_copies(const struct mesh *m, const struct digest *d)
{
    size_t n = 0;
    (void)m;
    (void)d;
    for (size_t i = 0; i < mesh_double.n_peers; i++)
        n += mesh_double.peers[i].holds;
    return n;
}

size_t mesh_sources(struct mesh *m, const struct digest *d, u64 bytes,
                    struct mesh_source out[MESH_SOURCES_MAX], u64 now_ns)
{
    size_t n = 0;
    (void)m;
    (void)d;
    (void)bytes;
    (void)now_ns;
    mesh_double.looks++;
    for (size_t i = 0; i < mesh_double.n_peers; i++) {
        if (!mesh_double.peers[i].holds)
            continue;
        out[n] = (struct mesh_source){.key = mesh_double.peers[i].key,
                                      .addr = mesh_double.peers[i].addr,
                                      .tier = CHOOSE_REGION,
                                      .expected_ns = mesh_double.peers[i].expected_ns,
                                      .reason = "nearest of two",
                                      .usable = !mesh_double.peers[i].unusable};
        snprintf(out[n].name, sizeof(out[n].name), "%s", mesh_double.peers[i].name);
        n++;
    }
    return n;
}

static size_t find(const struct node_key *k)
{
    size_t i = 0;
    while (i < mesh_double.n_peers && !node_key_equal(&mesh_double.peers[i].key, k))
        i++;
    assert(i < mesh_double.n_peers);
    return i;
}

void mesh_fetch_started(struct mesh *m, const struct node_key *k, u64 bytes)
{
    (void)m;
    mesh_double.peers[find(k)].asked++;
    mesh_double.peers[find(k)].inflight += bytes;
}

void mesh_fetch_ended(struct mesh *m, const struct node_key *k, const struct digest *d,
                      enum mesh_outcome outcome, u64 bytes, u64 expected, u64 took_ns, u64 now_ns)
{
    (void)m;
    (void)took_ns;
    (void)now_ns;
    size_t i = find(k);
    assert(bytes <= expected && mesh_double.peers[i].inflight >= expected);
    mesh_double.peers[i].inflight -= expected;
    mesh_double.peers[i].ended[outcome]++;
    if (outcome == MESH_FETCH_MISSING)
        mesh_double.peers[i].holds = d->alg == DIGEST_NONE;
}

int mesh_peer_sign(struct mesh *m, const struct node_key *to, const char *method, const char *path,
                   char out[MESH_PEER_HEADER_MAX])
{
    (void)m;
    snprintf(out, MESH_PEER_HEADER_MAX, "%u %s %s %u", to->bytes[0], method, path,
             mesh_double.signs++);
    return 0;
}

const char *choose_tier_name(enum choose_tier t)
{
    static const char *const names[] = {"rack", "subnet", "region", "far"};
    return names[t];
}

/* --- swarms: what it is told is written down, what it wants is said by the test ----------------
 */

const struct node_key double_self = {{0x55}};

const struct node_key *mesh_key(const struct mesh *m)
{
    (void)m;
    return &double_self;
}

const struct inventory *mesh_inventory(const struct mesh *m)
{
    return (const struct inventory *)(const void *)m;
}

const struct swarm *mesh_swarm(const struct mesh *m)
{
    return (const struct swarm *)(const void *)m;
}

bool inventory_is_held_by(const struct inventory *v, const struct digest *d,
                          const struct node_key *k)
{
    (void)v;
    (void)d;
    for (size_t i = 0; i < mesh_double.n_peers; i++)
        if (mesh_double.peers[i].holds && node_key_equal(&mesh_double.peers[i].key, k))
            return true;
    return false;
}

bool swarm_is_fetcher(const struct swarm *s, const struct digest *d, const struct node_key *k)
{
    (void)s;
    (void)d;
    return node_key_equal(&mesh_double.swarm.fetcher, k);
}

bool swarm_look(const struct swarm *s, const struct digest *d, struct swarm_view *out, u64 now_ns)
{
    (void)s;
    (void)d;
    (void)now_ns;
    *out = (struct swarm_view){.backoff_ns = mesh_double.swarm.backoff_ns,
                               .neighbours = mesh_double.swarm.neighbours};
    return !mesh_double.swarm.unknown;
}

int mesh_swarm_join(struct mesh *m, const struct swarm_want *want, u64 now_ns)
{
    (void)m;
    (void)now_ns;
    assert(want->size > 0);
    mesh_double.swarm.joined++;
    return 0;
}

void mesh_swarm_leave(struct mesh *m, const struct digest *d, u64 now_ns)
{
    (void)m;
    (void)d;
    (void)now_ns;
    mesh_double.swarm.left++;
}

int mesh_swarm_seed(struct mesh *m, const struct digest *d, u64 size, u64 now_ns)
{
    (void)m;
    (void)now_ns;
    assert(size > 0 && mesh_double.swarm.n_seeded < DOUBLE_CAME);
    mesh_double.swarm.seeded[mesh_double.swarm.n_seeded++] = *d;
    return 0;
}

void mesh_swarm_complete(struct mesh *m, const struct digest *d, u64 now_ns)
{
    (void)m;
    (void)d;
    (void)now_ns;
    mesh_double.swarm.completed++;
}

void mesh_swarm_have(struct mesh *m, const struct digest *d, u32 piece, u64 now_ns)
{
    (void)m;
    (void)d;
    (void)now_ns;
    mesh_double.swarm.have |= 1ull << (piece % 64);
}

void mesh_swarm_lost(struct mesh *m, const struct digest *d, u32 piece, u64 now_ns)
{
    (void)m;
    (void)d;
    (void)now_ns;
    mesh_double.swarm.lost++;
    mesh_double.swarm.have &= ~(1ull << (piece % 64));
}

void mesh_swarm_forged(struct mesh *m, const struct digest *d, const struct node_key *k, u64 now_ns)
{
    (void)m;
    (void)d;
    (void)k;
    (void)now_ns;
    mesh_double.swarm.forged++;
}

void mesh_swarm_position(struct mesh *m, const struct digest *d, u32 piece)
{
    (void)m;
    (void)d;
    (void)piece;
}

void mesh_swarm_started(struct mesh *m, u32 request, u64 now_ns)
{
    (void)m;
    (void)request;
    (void)now_ns;
}

void mesh_swarm_came(struct mesh *m, u32 request, u32 piece, bool right, u64 now_ns)
{
    size_t at = mesh_double.swarm.n_came++ % DOUBLE_CAME;
    mesh_double.swarm.came[at].request = request;
    mesh_double.swarm.came[at].piece = piece;
    mesh_double.swarm.came[at].right = right;
    if (right)
        mesh_swarm_have(m, NULL, piece, now_ns);
}

void mesh_swarm_ended(struct mesh *m, u32 request, enum swarm_outcome outcome, u64 now_ns)
{
    size_t at = mesh_double.swarm.n_ended++ % DOUBLE_CAME;
    (void)m;
    (void)now_ns;
    mesh_double.swarm.ended[at].request = request;
    mesh_double.swarm.ended[at].outcome = outcome;
}

void mesh_swarm_registry(struct mesh *m, const struct digest *d, enum swarm_registry what,
                         u64 for_ns, u64 now_ns)
{
    (void)m;
    (void)d;
    (void)for_ns;
    (void)now_ns;
    mesh_double.swarm.registry[mesh_double.swarm.n_registry++ % DOUBLE_CAME] = what;
}
