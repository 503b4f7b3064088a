/* user.c - who pulls what; see user.h. A single layer's way stands in user_want.c. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/mem.h"
#include "sim/pull.h"
#include "sim/user_impl.h"

#define NETWORKS      8 /* of /24, of an office's users */
#define PROFILE_NODES 4 /* one profile in so many names a node, the others name the region */

static u32 users_of(const struct world *w, const struct topology_office *o)
{
    u64 n = o->users ? o->users : w->k.users * o->nodes;
    return n > TOPOLOGY_USERS_MAX ? TOPOLOGY_USERS_MAX : (u32)n;
}

void user_init(struct world *w)
{
    struct users *s = w->users = mem_new(1, sizeof(*s));
    s->first = mem_new(w->topology.n_offices + 1, sizeof(*s->first));
    for (size_t i = 0; i < w->topology.n_offices; i++)
        s->first[i + 1] = s->first[i] + users_of(w, &w->topology.offices[i]);
}

void user_fini(struct world *w)
{
    struct users *s = w->users;
    if (!s)
        return;
    for (size_t i = 0; i < s->n_wants; i++)
        free(s->wants[i]);
    free(s->wants);
    free(s->free_wants);
    free(s->pulls);
    free(s->free_pulls);
    free(s->first);
    free(s);
}

/* --- who somebody is: follows from the number ------------------------------------------------ */

/* In one of the office's networks for users, where there are no nodes. */
static struct addr addr_of(u32 office, u32 index)
{
    return addr_v4(10, (u8)(office + 1), (u8)(200 + index % NETWORKS),
                   (u8)(1 + index / NETWORKS % 254), 1);
}

static void profile_of(const struct world *w, u32 office, u32 user, char out[TOPOLOGY_NAME_MAX + 1])
{
    struct rng r = engine_rng_n(&w->engine, "profile", user);
    const struct topology_office *o = &w->topology.offices[office];
    out[0] = 0;
    if (o->cache[0])
        snprintf(out, TOPOLOGY_NAME_MAX + 1, "%s", o->cache);
    else if (!rng_chance(&r, w->k.profiles))
        return;
    else if (rng_below(&r, PROFILE_NODES) == 0)
        snprintf(out, TOPOLOGY_NAME_MAX + 1, "node-%u", o->first + (u32)rng_below(&r, o->nodes));
    else
        snprintf(out, TOPOLOGY_NAME_MAX + 1, "%s", w->topology.regions[o->region]);
}

/* --- a pull ---------------------------------------------------------------------------------- */

static u32 pull_new(struct users *s)
{
    if (s->n_free_pulls > 0)
        return s->free_pulls[--s->n_free_pulls];
    s->pulls = mem_grow(s->pulls, &s->pulls_cap, s->n_pulls + 1, sizeof(*s->pulls));
    return (u32)s->n_pulls++;
}

static u32 want_new(struct users *s)
{
    if (s->n_free_wants > 0)
        return s->free_wants[--s->n_free_wants];
    s->wants = mem_grow(s->wants, &s->wants_cap, s->n_wants + 1, sizeof(*s->wants));
    s->wants[s->n_wants] = mem_new(1, sizeof(**s->wants));
    return (u32)s->n_wants++;
}

void user_begin(struct world *w, u32 office, u32 image)
{
    struct users *s = w->users;
    u32 n = s->first[office + 1] - s->first[office];
    if (image == PULL_ANY)
        image = catalog_draw(&w->catalog, &w->rng_work);
    u32 index = (u32)rng_below(&w->rng_work, n), id = pull_new(s);
    struct user_pull *p = &s->pulls[id];
    struct catalog_image i = w->catalog.images[image];
    *p = (struct user_pull){.used = true,
                            .warm = world_now(w) >= w->k.warm + w->k.duration / 2,
                            .user = s->first[office] + index,
                            .office = office,
                            .image = image,
                            .left = i.n,
                            .begun_ns = world_now(w),
                            .addr = addr_of(office, index)};
    struct rng r = engine_rng_n(&w->engine, "user", p->user);
    rng_bytes(&r, p->id, sizeof(p->id));
    profile_of(w, office, p->user, p->profile);
    s->active++;
    pull_counts_begin(w, i.n);
    for (u32 k = 0; k < i.n; k++) {
        u32 want = want_new(s), gen = s->wants[want]->gen;
        u32 layer = w->catalog.layers[i.first + k];
        *s->wants[want] = (struct user_want){.used = true,
                                             .gen = gen,
                                             .pull = id,
                                             .layer = layer,
                                             .begun_ns = world_now(w),
                                             .bytes = catalog_bytes(&w->catalog, layer),
                                             .flow = FLOW_NONE};
        user_want_begins(w, want);
    }
}

static void pull_ends(struct world *w, u32 id)
{
    struct users *s = w->users;
    struct user_pull *p = &s->pulls[id];
    record_user_pull(w->record, world_now(w), p, world_now(w) - p->begun_ns);
    pull_counts_end(w, world_now(w) - p->begun_ns, p->failed);
    p->used = false;
    s->active--;
    s->free_pulls =
        mem_grow(s->free_pulls, &s->free_pulls_cap, s->n_free_pulls + 1, sizeof(*s->free_pulls));
    s->free_pulls[s->n_free_pulls++] = id;
}

static enum user_source source_of(const struct world *w, const struct user_pull *p, u32 member)
{
    const struct topology_place *place = &w->hosts[member].place;
    if (member >= w->n)
        return USER_CENTRE;
    if (place->office == p->office)
        return USER_OWN_OFFICE;
    return place->region == w->topology.offices[p->office].region ? USER_OWN_REGION
                                                                  : USER_ELSEWHERE;
}

void user_want_ends(struct world *w, u32 id, bool worked)
{
    struct users *s = w->users;
    struct user_want *v = s->wants[id];
    struct user_pull *p = &s->pulls[v->pull];
    u32 pull = v->pull;
    if (worked) {
        enum user_source by = source_of(w, p, v->member);
        s->by[by]++;
        s->bytes_by[by] += v->bytes;
        if (p->warm)
            s->warm_by[by]++;
        w->pulls->hits += by != USER_CENTRE && !v->cold && v->tries == 0;
    } else {
        s->failed++;
    }
    record_served(w->record, world_now(w), p, v, worked);
    p->failed += !worked;
    v->used = false;
    v->gen++;
    s->free_wants =
        mem_grow(s->free_wants, &s->free_wants_cap, s->n_free_wants + 1, sizeof(*s->free_wants));
    s->free_wants[s->n_free_wants++] = id;
    if (--p->left == 0)
        pull_ends(w, pull);
}
