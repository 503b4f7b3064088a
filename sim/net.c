/* net.c - see net.h. */
#include "sim/net.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim/engine.h"
#include "sim/mem.h"

/* A datagram that is overtaken waits this many jitters more, or 1 ms where there is no jitter. */
#define REORDER_JITTERS 8
/* TCP's least retransmission time on Linux; doubled at each further loss. */
#define STREAM_RESEND_NS  (200 * SIM_MS)
#define STREAM_RESEND_MAX 6

void net_init(struct net *n, const struct topology *t, const struct rng *rng)
{
    memset(n, 0, sizeof(*n));
    n->topology = t;
    n->n = topology_members(t);
    n->rng = *rng;
    n->nodes = mem_new(n->n, sizeof(*n->nodes));
    for (u32 i = 0; i < n->n; i++)
        n->nodes[i].place = topology_place(t, i);
    n->apart_ns = mem_new(t->n_offices * t->n_offices, sizeof(*n->apart_ns));
    for (u32 i = 0; i < t->n_offices; i++)
        for (u32 k = 0; k < t->n_offices; k++)
            n->apart_ns[i * t->n_offices + k] = topology_apart_ns(t, i, k);
}

void net_fini(struct net *n)
{
    free(n->nodes);
    free(n->apart_ns);
    memset(n, 0, sizeof(*n));
}

static bool happens(struct net *n, double probability)
{
    return probability > 0 && rng_chance(&n->rng, probability);
}

/* Between two places, either of which may be the centre. */
static struct topology_path path_of(const struct net *n, const struct topology_place *a,
                                    const struct topology_place *b)
{
    const struct topology *t = n->topology;
    bool centre = a->office == TOPOLOGY_CENTRE || b->office == TOPOLOGY_CENTRE;
    enum topology_reach reach = topology_reach(a, b);
    struct topology_path p = t->path[reach];
    if (centre && a->office != b->office) {
        p = t->path[REACH_WORLD];
        p.delay_ns =
            t->offices[a->office == TOPOLOGY_CENTRE ? b->office : a->office].registry_rtt_ns / 2;
    } else if (reach == REACH_REGION && !centre) {
        p.delay_ns += n->apart_ns[a->office * t->n_offices + b->office];
    }
    return p;
}

static struct topology_path path(const struct net *n, u32 from, u32 to)
{
    return path_of(n, &n->nodes[from].place, &n->nodes[to].place);
}

static u64 with_jitter(struct net *n, const struct topology_path *p)
{
    return p->jitter_ns ? p->delay_ns + rng_below(&n->rng, p->jitter_ns) : p->delay_ns;
}

static u64 one_way(struct net *n, u32 from, u32 to)
{
    struct topology_path p = path(n, from, to);
    return with_jitter(n, &p) + n->nodes[from].slow_ns + n->nodes[to].slow_ns;
}

u64 net_rtt(const struct net *n, u32 a, u32 b)
{
    struct topology_path p = path(n, a, b);
    return 2 * p.delay_ns + p.jitter_ns + 2 * (n->nodes[a].slow_ns + n->nodes[b].slow_ns);
}

/* When what is sent at `now_ns` leaves: after the clog, one behind the other by chance. */
static u64 leaves(struct net *n, u32 from, u64 now_ns)
{
    u64 until = n->nodes[from].clogged_ns;
    return until > now_ns ? until + rng_below(&n->rng, SIM_MS) : now_ns;
}

bool net_passes(const struct net *n, u32 from, u32 to)
{
    assert(from < n->n && to < n->n);
    const struct net_node *a = &n->nodes[from], *b = &n->nodes[to];
    return !a->mute && !b->deaf && !(n->blocked[a->group] >> b->group & 1);
}

void net_send(struct net *n, u32 from, u32 to, size_t len, u64 now_ns, struct net_fate *fate)
{
    const struct net_weather *w = &n->weather;
    fate->copies = 0;
    n->sent++;
    if (len > NET_MTU) {
        n->oversize++;
        return;
    }
    if (!net_passes(n, from, to)) {
        n->cut++;
        return;
    }
    if (happens(n, w->loss) || happens(n, n->nodes[from].loss) || happens(n, n->nodes[to].loss)) {
        n->lost++;
        return;
    }
    fate->copies = happens(n, w->duplicate) ? 2 : 1;
    n->duplicated += (u64)(fate->copies - 1);
    for (int i = 0; i < fate->copies; i++) {
        fate->at_ns[i] = leaves(n, from, now_ns) + one_way(n, from, to);
        if (happens(n, w->reorder)) {
            u64 jitter = path(n, from, to).jitter_ns;
            fate->at_ns[i] += rng_below(&n->rng, jitter ? REORDER_JITTERS * jitter : SIM_MS);
        }
        fate->corrupt[i] = happens(n, w->corrupt);
        n->corrupted += fate->corrupt[i];
    }
}

void net_flip(struct net *n, u8 *data, size_t len)
{
    assert(len > 0);
    u64 bit = rng_below(&n->rng, 8 * (u64)len);
    data[bit / 8] ^= (u8)(1u << (bit % 8));
}

u64 net_stream_delay(struct net *n, u32 from, u32 to, u64 now_ns)
{
    u64 at = leaves(n, from, now_ns) + one_way(n, from, to), resend = STREAM_RESEND_NS;
    double loss = n->weather.loss + n->nodes[from].loss + n->nodes[to].loss;
    for (int i = 0; i < STREAM_RESEND_MAX && happens(n, loss); i++, resend *= 2)
        at += resend;
    return at - now_ns;
}

/* --- users ----------------------------------------------------------------------------------- */

/* Who stands for an office's own network: its first node, whatever ails that one alone. */
static const struct net_node *network_of(const struct net *n, u32 office)
{
    return &n->nodes[n->topology->offices[office].first];
}

bool net_user_reaches(const struct net *n, u32 office, u32 node)
{
    const struct net_node *a = network_of(n, office), *b = &n->nodes[node];
    if (b->mute || b->deaf)
        return false;
    return b->place.office == office ||
           (!(n->blocked[a->group] >> b->group & 1) && !(n->blocked[b->group] >> a->group & 1));
}

u64 net_user_delay(struct net *n, u32 office, u32 node)
{
    const struct topology_place *place = &n->nodes[node].place;
    struct topology_place user = {n->topology->offices[office].region, office, UINT32_MAX, 0};
    struct topology_path p = path_of(n, &user, place);
    return with_jitter(n, &p) + n->nodes[node].slow_ns;
}

void net_unpartition(struct net *n)
{
    memset(n->blocked, 0, sizeof(n->blocked));
    for (u32 i = 0; i < n->n; i++)
        n->nodes[i].group = 0;
}

void net_heal(struct net *n)
{
    net_unpartition(n);
    memset(&n->weather, 0, sizeof(n->weather));
    for (u32 i = 0; i < n->n; i++) {
        struct topology_place place = n->nodes[i].place;
        n->nodes[i] = (struct net_node){.place = place};
    }
}
