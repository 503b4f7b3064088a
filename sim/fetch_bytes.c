/* fetch_bytes.c - what the bytes are that somebody sends, and what a node takes for right; see
 * fetch.h. */
#include "sim/fetch_impl.h"
#include "sim/host.h"

bool fetch_lies_in_bytes(const struct host *h)
{
    return h->lies == HOST_COLLUDES || h->lies == HOST_SPOILS ||
           (h->lies == HOST_LIES && h->index % 4 == 0);
}

static int lie_content(const struct host *h)
{
    return h->lies == HOST_COLLUDES ? CONTENT_COLLUSION : (int)h->index + 1;
}

int fetch_content(struct world *w, u32 server, u32 layer)
{
    struct host *s = &w->hosts[server];
    const struct shelf_entry *e = shelf_find(&s->shelf, layer);
    u32 id = fetch_find(w, server, layer);
    if (fetch_lies_in_bytes(s)) {
        s->served_wrong = true;
        return lie_content(s);
    }
    if (e && e->rotten) {
        s->served_wrong = true;
        return CONTENT_ROT;
    }
    return id != FETCH_NONE ? w->fetches->v[id].content : CONTENT_RIGHT;
}

static bool is_convicted(const struct world *w, u32 node, u32 peer, u32 layer)
{
    const struct fetches *s = w->fetches;
    for (size_t i = 0; i < s->n_convicted; i++)
        if (s->convicted[i].node == node && s->convicted[i].peer == peer &&
            s->convicted[i].layer == layer)
            return true;
    return false;
}

/* What was disproved here is not believed again, whoever hands it on. */
static bool is_disproved(const struct world *w, const struct fetch *f, int content)
{
    if (content > 0)
        return is_convicted(w, f->node, (u32)content - 1, f->layer);
    return content < 0 && f->disproved >> -content & 1;
}

/* The one of the fetcher that it knows of. Of whole holders it is proved from its end, and right.
 */
int fetch_chain(const struct world *w, const struct fetch *f)
{
    const struct host *h = &w->hosts[f->node];
    struct digest d;
    struct swarm_view v;
    if (f->map.have > 0)
        return f->content;
    catalog_digest(&w->catalog, f->layer, &d);
    if (!swarm_look(mesh_swarm(h->mesh), &d, &v, 0) || !v.fetcher_known)
        return CONTENT_RIGHT;
    u32 fetcher = world_by_key(w, &v.fetcher);
    if (fetcher == UINT32_MAX || is_convicted(w, f->node, fetcher, f->layer))
        return CONTENT_RIGHT;
    const struct host *x = &w->hosts[fetcher];
    u32 its = fetch_find(w, fetcher, f->layer);
    int claim = fetch_lies_in_bytes(x) ? lie_content(x)
                : its != FETCH_NONE    ? w->fetches->v[its].content
                                       : CONTENT_RIGHT;
    return is_disproved(w, f, claim) ? CONTENT_RIGHT : claim;
}
