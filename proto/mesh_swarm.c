/* mesh_swarm.c - the façade's door to swarm.h. Members that come and go, and what requests teach
 * about a peer, are told from here. */
#include "proto/mesh_impl.h"

int mesh_swarm_join(struct mesh *m, const struct swarm_want *want, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    return swarm_join(m->swarm, want, now_ns);
}

void mesh_swarm_leave(struct mesh *m, const struct digest *d, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    swarm_leave(m->swarm, d, now_ns);
}

int mesh_swarm_seed(struct mesh *m, const struct digest *d, u64 size, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    return swarm_seed(m->swarm, d, size, now_ns);
}

void mesh_swarm_have(struct mesh *m, const struct digest *d, u32 piece, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    swarm_have(m->swarm, d, piece, now_ns);
}

void mesh_swarm_lost(struct mesh *m, const struct digest *d, u32 piece, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    swarm_lost(m->swarm, d, piece, now_ns);
}

void mesh_swarm_forged(struct mesh *m, const struct digest *d, const struct node_key *k, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    swarm_forged(m->swarm, d, k, now_ns);
}

void mesh_swarm_complete(struct mesh *m, const struct digest *d, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    swarm_complete(m->swarm, d, now_ns);
}

void mesh_swarm_position(struct mesh *m, const struct digest *d, u32 piece)
{
    swarm_position(m->swarm, d, piece);
}

void mesh_swarm_started(struct mesh *m, u32 request, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    swarm_started(m->swarm, request, now_ns);
}

void mesh_swarm_came(struct mesh *m, u32 request, u32 piece, bool right, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    swarm_came(m->swarm, request, piece, right, now_ns);
}

void mesh_swarm_ended(struct mesh *m, u32 request, enum swarm_outcome outcome, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    swarm_ended(m->swarm, request, outcome, now_ns);
}

void mesh_swarm_registry(struct mesh *m, const struct digest *d, enum swarm_registry what,
                         u64 for_ns, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    swarm_registry(m->swarm, d, what, for_ns, now_ns);
}

enum swarm_answer mesh_swarm_serve(struct mesh *m, const struct node_key *peer,
                                   const struct digest *d, u32 first, u32 count, u32 *id,
                                   u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    return swarm_serve(m->swarm, peer, d, first, count, id, now_ns);
}

void mesh_swarm_served(struct mesh *m, u32 id, bool whole, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    swarm_served(m->swarm, id, whole, now_ns);
}

bool mesh_swarm_next(struct mesh *m, struct swarm_step *out, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    return swarm_next(m->swarm, out, now_ns);
}

const struct swarm *mesh_swarm(const struct mesh *m)
{
    return m->swarm;
}

u32 mesh_chain_write(const struct mesh *m, struct chains *c, const struct node_key *signer,
                     u32 from, u32 max, struct wire_out *w)
{
    return chains_write(c, signer, from, max, &m->secret, w);
}
