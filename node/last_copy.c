/* last_copy.c - see last_copy.h. */
#include "node/last_copy.h"

#include "proto/rendezvous.h"

#define MANY 32 /* of so many, ours is not the last in any case */

bool last_copy(const struct mesh *m, const struct digest *d)
{
    struct node_key holders[MANY];
    if (!m || member_count(mesh_member(m), MEMBER_ALIVE) < 2)
        return false;
    size_t n = inventory_holders(mesh_inventory(m), d, holders, MANY);
    if (n > MANY)
        return false;
    for (size_t i = 0; i < n; i++)
        if (rendezvous_before(&holders[i], mesh_key(m), d))
            return false;
    return true;
}
