/* mesh_fetch.c - who should be asked for a layer, and what it taught. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/mesh_impl.h"

#define SUBNET_BITS_V4 24
#define SUBNET_BITS_V6 64
#define BUSY_NS        1000000000ull

static enum choose_tier tier_of(const struct member_record *self, const struct member_record *r)
{
    bool region = strcmp(self->region, r->region) == 0;
    if (region && r->rack[0] != '\0' && strcmp(self->rack, r->rack) == 0)
        return CHOOSE_RACK;
    unsigned common = addr_common_bits(&self->addr, &r->addr);
    if (common >= (addr_is_v4(&r->addr) ? SUBNET_BITS_V4 : SUBNET_BITS_V6))
        return CHOOSE_SUBNET;
    return region ? CHOOSE_REGION : CHOOSE_FAR;
}

/* False: it is not to be asked at all. */
static bool candidate_of(const struct mesh *m, const struct node_key *k, struct choose_candidate *c,
                         u64 now_ns)
{
    struct member_view v;
    if (!member_find(m->member, k, &v) || v.record->role == MEMBER_TRACKER)
        return false;
    if (v.state != MEMBER_ALIVE && v.state != MEMBER_SUSPECT)
        return false;
    *c = (struct choose_candidate){
        .key = *k,
        .tier = tier_of(&m->self, v.record),
        .rtt_ns = v.rtt_ns,
        .load = v.load,
        .suspect = v.state == MEMBER_SUSPECT,
        .barred = v.barred,
    };
    if (c->rtt_ns == 0)
        c->rtt_ns = coord_distance_ns(member_coord(m->member), &v.coord);
    const struct mesh_peer *p = mesh_peers_find(&m->peers, k);
    if (p && p->fetching)
        choose_recall(c, &p->fetching->history, now_ns);
    return true;
}

static void source_of(const struct mesh *m, const struct choose_candidate *c,
                      const struct choose_verdict *v, struct mesh_source *out)
{
    struct member_view view;
    bool found = member_find(m->member, &c->key, &view);
    assert(found);
    *out = (struct mesh_source){
        .key = c->key,
        .addr = view.record->addr,
        .tier = c->tier,
        .expected_ns = v->expected_ns,
        .reason = v->reason,
        .usable = !c->barred,
    };
    size_t len = strnlen(view.record->name, MEMBER_TEXT_MAX);
    memcpy(out->name, view.record->name, len);
}

/* Room for one question, given back when it is answered. */
struct question {
    struct node_key *keys;
    struct choose_candidate *candidates;
    struct choose_verdict *verdicts;
};

static bool question_init(struct question *q, size_t n)
{
    q->keys = malloc(n * sizeof(*q->keys));
    q->candidates = malloc(n * sizeof(*q->candidates));
    q->verdicts = malloc(n * sizeof(*q->verdicts));
    return q->keys && q->candidates && q->verdicts;
}

static void question_fini(struct question *q)
{
    free(q->keys);
    free(q->candidates);
    free(q->verdicts);
}

size_t mesh_sources(struct mesh *m, const struct digest *d, u64 bytes,
                    struct mesh_source out[MESH_SOURCES_MAX], u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    struct question q;
    size_t holders = inventory_holders(m->inventory, d, NULL, 0), n = 0, kept = 0;
    holders = holders < LIMIT_MEMBERS ? holders : LIMIT_MEMBERS;
    if (holders == 0)
        return 0;
    if (question_init(&q, holders)) {
        size_t all = inventory_holders(m->inventory, d, q.keys, holders);
        assert(all >= holders);
        for (size_t i = 0; i < holders; i++)
            n += candidate_of(m, &q.keys[i], &q.candidates[n], now_ns);
        choose_order(q.candidates, n, bytes, &m->rng, q.verdicts);
        for (; kept < n && kept < MESH_SOURCES_MAX; kept++)
            source_of(m, &q.candidates[q.verdicts[kept].index], &q.verdicts[kept], &out[kept]);
    }
    question_fini(&q);
    return kept;
}

size_t mesh_copies(const struct mesh *m, const struct digest *d)
{
    return inventory_copies(m->inventory, d);
}

/* --- how it went ----------------------------------------------------------------------------- */

/* NULL: not a member, or no memory; then nothing is learned. */
static struct choose_history *history_of(struct mesh *m, const struct node_key *k)
{
    struct mesh_peer *p = mesh_peers_find(&m->peers, k);
    struct mesh_fetching *f = p ? mesh_peers_fetching(&m->peers, p) : NULL;
    return f ? &f->history : NULL;
}

void mesh_fetch_started(struct mesh *m, const struct node_key *k, u64 bytes)
{
    struct choose_history *h = history_of(m, k);
    if (h)
        choose_started(h, bytes);
}

void mesh_fetch_ended(struct mesh *m, const struct node_key *k, const struct digest *d,
                      enum mesh_outcome outcome, u64 bytes, u64 expected, u64 took_ns, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    struct choose_history *h = history_of(m, k);
    if (!h)
        return;
    switch (outcome) {
    case MESH_FETCH_WORKED:
        choose_ended(h, bytes, expected, took_ns, now_ns);
        member_fetch_worked(m->member, k, now_ns);
        break;
    case MESH_FETCH_FAILED:
        choose_ended(h, 0, expected, took_ns, now_ns);
        member_fetch_failed(m->member, k, now_ns);
        break;
    case MESH_FETCH_MISSING:
        choose_left(h, expected);
        inventory_wrong(m->inventory, d, k);
        break;
    case MESH_FETCH_BUSY:
        choose_left(h, expected);
        choose_busy(h, BUSY_NS, now_ns);
        break;
    case MESH_FETCH_LEFT: choose_left(h, expected); break;
    }
    mesh_pump(m, now_ns);
}
