/* inventory_tree.c - the tree that ops travel along: everybody computes the same one.
 *
 * A priority search tree (McCreight, "Priority Search Trees", SIAM J. Comput. 14(2), 1985) over a
 * radix tree of degree four: of all keys, the one with the least priority is the root; the others
 * are parted by the first two bits of their place, and so on within each part. Place and priority
 * are bits of a keyed hash, so the tree is balanced, of degree five at most, and a function of the
 * set of members alone. Who comes or goes disturbs only the path below it: mostly one edge. A heap
 * in sorted order would be as shallow, and moved as a whole. */
#include "proto/inventory_impl.h"

#include <assert.h>

#define DEPTH_MAX 32 /* two bits of the place each */

static u64 place_of(const struct inventory *v, u16 o)
{
    return v->pool->names[o].place;
}

static bool before(const struct inventory *v, u16 a, u16 b)
{
    u64 x = place_of(v, a), y = place_of(v, b);
    return (u32)x != (u32)y ? (u32)x < (u32)y : x < y;
}

static void clear(struct inventory_limb *l)
{
    l->up = INVENTORY_NONE;
    for (unsigned i = 0; i < INVENTORY_KIDS; i++)
        l->kid[i] = INVENTORY_NONE;
}

static void adopt(struct inventory *v, u16 parent)
{
    for (unsigned i = 0; i < INVENTORY_KIDS; i++)
        if (v->limbs[parent].kid[i] != INVENTORY_NONE)
            v->limbs[v->limbs[parent].kid[i]].up = parent;
}

void inventory_tree_insert(struct inventory *v, u16 o)
{
    u16 *slot = &v->root, parent = INVENTORY_NONE, carry = o;
    clear(&v->limbs[o]);
    /* Places differ, so their digits part at the last one at the latest. */
    for (unsigned depth = 0; *slot != INVENTORY_NONE; depth++) {
        assert(depth < DEPTH_MAX);
        if (before(v, carry, *slot)) {
            u16 out = *slot;
            v->limbs[carry] = v->limbs[out];
            v->limbs[carry].up = parent;
            adopt(v, carry);
            *slot = carry;
            carry = out;
            clear(&v->limbs[carry]);
        }
        parent = *slot;
        slot = &v->limbs[parent].kid[(place_of(v, carry) >> (62 - 2 * depth)) & 3];
    }
    *slot = carry;
    v->limbs[carry].up = parent;
}

void inventory_tree_remove(struct inventory *v, u16 o)
{
    struct inventory_limb hole = v->limbs[o];
    u16 parent = hole.up, *slot = &v->root;
    if (parent != INVENTORY_NONE)
        for (unsigned i = 0; i < INVENTORY_KIDS; i++)
            if (v->limbs[parent].kid[i] == o)
                slot = &v->limbs[parent].kid[i];
    assert(*slot == o);
    for (;;) { /* the best of the kids moves up, and leaves a hole of its own */
        u16 best = INVENTORY_NONE;
        unsigned digit = 0;
        for (unsigned i = 0; i < INVENTORY_KIDS; i++)
            if (hole.kid[i] != INVENTORY_NONE &&
                (best == INVENTORY_NONE || before(v, hole.kid[i], best))) {
                best = hole.kid[i];
                digit = i;
            }
        *slot = best;
        if (best == INVENTORY_NONE)
            break;
        struct inventory_limb below = v->limbs[best];
        v->limbs[best] = hole;
        v->limbs[best].up = parent;
        v->limbs[best].kid[digit] = INVENTORY_NONE;
        adopt(v, best);
        parent = best;
        slot = &v->limbs[best].kid[digit];
        hole = below;
    }
    clear(&v->limbs[o]);
}
