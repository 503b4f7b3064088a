/* swarm_place.c - near and far: the thin lines between the offices of one region.
 *
 * A *place* is an office: those of the swarm that are within SWARM_NEAR_NS of each other. What
 * crosses from another place goes over lines that all of this place share, so each piece should
 * cross once and go round here. The home groups its guests by place and tells each its *share*: one
 * of `n` that take part here, in the `at`-th position. The first few of a place are its *gates*:
 * the home tells them of the gates of other places, so that each of them sees what there is
 * everywhere, and what is rare. A piece's *importer* is the gate whose position the piece's number
 * falls on; it asks for the piece far away, the others wait until somebody near has it. While what
 * is left to others does not come the next in order may, then twice as many with each step, so that
 * who left, or never was, and a home that lies about shares, cost seconds and some bytes on the
 * line, and not the layer. */
#include <string.h>

#include "proto/swarm_impl.h"

#define STEP_NS     (250 * SWARM_MS)
#define CLOSE_STEPS 8
#define OPEN_MOST   16   /* everybody may */
#define FAR_MOST    8    /* on their way */
#define UNSURE      0.5f /* an estimate of either side with more error than that tells nothing */

static bool same_rack(const struct member_record *a, const struct member_record *b)
{
    return a->rack[0] != '\0' && strcmp(a->rack, b->rack) == 0;
}

static bool same_subnet(const struct member_record *a, const struct member_record *b)
{
    return addr_common_bits(&a->addr, &b->addr) >= (addr_is_v4(&a->addr) ? 24u : 64u);
}

static bool same_net(const struct member_record *a, const struct member_record *b)
{
    return same_rack(a, b) || same_subnet(a, b);
}

u64 swarm_distance(const struct swarm *s, const struct node_key *k)
{
    struct member_view v;
    const struct member_record *self = member_self(s->member);
    if (!member_find(s->member, k, &v) || v.record->role != MEMBER_NODE ||
        (v.state != MEMBER_ALIVE && v.state != MEMBER_SUSPECT) || v.barred)
        return UINT64_MAX;
    u64 rtt = v.rtt_ns ? v.rtt_ns : coord_distance_ns(member_coord(s->member), &v.coord);
    rtt = rtt < 1ull << 40 ? rtt : 1ull << 40;
    bool rack = same_rack(self, v.record), near = same_subnet(self, v.record);
    return rtt + (rack ? 0 : near ? 1ull << 41 : 1ull << 42);
}

/* Estimated; UINT64_MAX: nobody knows. */
static u64 distance_ns(const struct coord *a, const struct coord *b)
{
    return a->error < UNSURE && b->error < UNSURE ? coord_distance_ns(a, b) : UINT64_MAX;
}

bool swarm_stands_near(const struct swarm *s, const struct coord *at)
{
    return distance_ns(member_coord(s->member), at) < SWARM_NEAR_NS;
}

bool swarm_is_near(const struct swarm *s, const struct node_key *k)
{
    struct member_view v;
    if (!member_find(s->member, k, &v))
        return node_key_equal(k, &s->self);
    if (same_net(member_self(s->member), v.record))
        return true;
    return (v.rtt_ns ? v.rtt_ns : distance_ns(member_coord(s->member), &v.coord)) < SWARM_NEAR_NS;
}

/* --- of a home ------------------------------------------------------------------------------- */

/* NULL: no member. */
static const struct member_record *record_of(const struct swarm *s, const struct node_key *k)
{
    struct member_view v;
    if (node_key_equal(k, &s->self))
        return member_self(s->member);
    return member_find(s->member, k, &v) ? v.record : NULL;
}

u32 swarm_place_of(const struct swarm *s, const struct swarm_home *h, const struct node_key *k,
                   const struct coord *at)
{
    u32 next = 0, best = SWARM_NONE;
    u64 least_ns = SWARM_NEAR_NS;
    const struct member_record *own = record_of(s, k);
    for (u32 i = 0; i < h->n; i++) {
        const struct swarm_guest *g = &h->guests[i];
        next = g->place >= next ? g->place + 1 : next;
        const struct member_record *theirs = g->at == 0 && own ? record_of(s, &g->key) : NULL;
        if (!theirs)
            continue;
        if (same_net(own, theirs))
            return g->place;
        u64 ns = distance_ns(at, &g->coord);
        if (ns < least_ns) {
            least_ns = ns;
            best = g->place;
        }
    }
    return best == SWARM_NONE ? next : best;
}

struct swarm_share swarm_share_of(const struct swarm_home *h, const struct node_key *k)
{
    struct swarm_share share = {0};
    const struct swarm_guest *guest = swarm_guest_find(h, k);
    for (u32 i = 0; guest && i < h->n; i++)
        share.n += h->guests[i].place == guest->place;
    share.at = guest ? guest->at : 0;
    return share;
}

/* --- of everybody ---------------------------------------------------------------------------- */

static u32 gates_of(const struct swarm_layer *l)
{
    return l->share.n < SWARM_GATES ? l->share.n : SWARM_GATES;
}

bool swarm_is_gate(const struct swarm_layer *l)
{
    return l->share.n > 1 && l->share.at < SWARM_GATES;
}

/* May we ask for it far away? Its importer may, then the gates behind it, then the others. */
bool swarm_imports(const struct swarm_layer *l, u32 piece)
{
    u32 gates = gates_of(l), at = l->share.at;
    if (gates <= 1)
        return true;
    u32 importer = (u32)((u64)(piece * 2654435761u) * gates >> 32);
    u32 behind = at < gates ? (at + gates - importer) % gates : at;
    return l->open >= OPEN_MOST || behind < (1u << l->open);
}

/* Opens as long as what we leave to others does not come, and closes again slowly, so that a place
 * whose importers are not there, or a home that lies, costs a few steps, not some with each piece.
 */
void swarm_open_tick(struct swarm_layer *l, u64 now_ns)
{
    u64 step = STEP_NS + 2 * l->far_ns;
    bool waits = l->left_ns && now_ns - l->left_ns >= step;
    if (now_ns - l->open_ns < (waits ? step : CLOSE_STEPS * step))
        return;
    if (waits && l->open < OPEN_MOST)
        l->open++;
    else if (!waits && l->open > 0)
        l->open--;
    l->open_ns = now_ns;
}

/* Pieces asked for far away at once: what keeps the shared line full is divided among the gates,
 * and as many more as come in the time that one takes to be answered. */
u32 swarm_far_depth(const struct swarm_layer *l, u32 depth)
{
    if (l->share.n <= 1)
        return depth;
    u64 answers = l->far_wait_ns / (l->far_ns + 1);
    return 1 + depth / gates_of(l) + (u32)(answers < FAR_MOST ? answers : FAR_MOST);
}
