/* pick.h - which node serves a user best, and why.
 *
 * First what is said: a profile names a node or a region ("the Asia office"). Then what stands to
 * reason: a node in the user's own subnet. Then what was learned: round-trip times that nodes
 * measured to the user's network. These make classes; within the best class that has a healthy node
 * the expected completion decides (proto/choose.h: distance, load), where a node that must first
 * get the layer itself counts as slower.
 *
 * Guarantee: a node that is dead, left, suspected, barred or struck is never picked while the mesh
 * or a strike says so, nor one whose public host is the tracker's own or lies under it (clients
 * would send it their passwords). Each choice is explained. Pure: candidates are told. */
#pragma once

#include "proto/addr.h"
#include "proto/choose.h"
#include "proto/member.h"

#define PICK_MAX 1024 /* candidates of one choice */

enum pick_class { PICK_NAMED, PICK_REGION, PICK_SUBNET, PICK_NEAR, PICK_ANY, PICK_CLASSES };
const char *pick_class_name(enum pick_class c); /* "profile: this node": static */

struct pick_candidate {
    struct node_key key;
    struct addr addr;
    const char *name, *region, *url; /* borrowed for the call */
    size_t region_index;
    u64 rtt_ns; /* learned, to the user's network; 0: not known */
    u8 load;
    bool healthy; /* alive and not doubted */
    bool barred, struck, holds;
    bool unfit; /* its public host is ours, or it has none */
};

struct pick_user {
    struct addr addr;    /* with any port; unset: not known */
    const char *profile; /* a region's or a node's name; NULL: none */
};

struct pick_line { /* for `why`, best first */
    size_t index;  /* into the candidates */
    enum pick_class class;
    u64 expected_ns;
    const char *reason; /* static */
    bool usable;
};

/* Orders them for a layer of `bytes` (0: unknown): `out` has room for n (at most PICK_MAX). Returns
 * how many are usable; these come first. Equal inputs and randomness give equal answers. */
size_t pick_order(const struct pick_candidate *c, size_t n, const struct pick_user *u, u64 bytes,
                  struct rng *r, struct pick_line *out);
/* Which line to take when `with` served the image's other layers (NULL: nobody did): that node's,
 * as long as it is usable and of the best one's class; else the first. At least one is usable. */
size_t pick_stay(const struct pick_candidate *c, const struct pick_line *lines, size_t usable,
                 const struct node_key *with);
