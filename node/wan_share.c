/* wan_share.c - see wan_share.h. */
#include "node/wan_share.h"

#include "node/node_internal.h"

#define FEWER_S 3 /* layers follow each other: not each end is worth an announcement */

static void tell(struct wan_share *w, struct mesh *m, size_t reads, u64 now_ns)
{
    u8 now = (u8)(reads < MEMBER_FETCHES_MAX ? reads : MEMBER_FETCHES_MAX);
    w->fewer_s = now < w->told ? w->fewer_s + 1 : 0;
    if (now == w->told || (now < w->told && w->fewer_s < FEWER_S))
        return;
    w->told = now;
    w->fewer_s = 0;
    mesh_set_fetches(m, now, now_ns);
}

void wan_share_tick(struct node *n)
{
    u64 limit = n->config->limits.wan;
    struct mesh *m = n->region ? region_mesh(n->region) : NULL;
    if (limit == 0)
        return;
    u64 reads = fills_at_registry(n->fills), others = 0;
    if (m) {
        tell(&n->wan_share, m, (size_t)reads, region_now_ns(n->region));
        region_kick(n->region);
        others = mesh_fetches(m);
    }
    u64 mine = reads > n->wan_share.told ? reads : n->wan_share.told;
    mine = mine < 1 ? 1 : mine < MEMBER_FETCHES_MAX ? mine : MEMBER_FETCHES_MAX;
    u64 rate = limit / (mine + others) * mine;
    pace_set_rate(&n->wan, rate > 0 ? rate : 1);
}
