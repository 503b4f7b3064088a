/* pick.h - which node serves a user best, and why.
 *
 * First what is said: a profile names a node or a region ("the Asia office"). Then what stands to
 * reason: a node that says it serves the user's network, or stands in the same subnet. Then what
 * was learned: round-trip times that nodes measured to the user's network. A region may have many
 * offices: within the one that a profile names, the same reasons decide again. These make classes;
 * within the best class that has a healthy node the expected completion decides: the distance, what
 * the node must first fetch (nothing if it holds the layer, the rest if it is fetching it), what we
 * lately sent it, and the load it tells, by choose_expected_ns() of proto/choose.h. Who is as soon
 * as the soonest, or nearly, takes turns with it.
 *
 * Guarantee: a node that is dead, left, suspected, barred, struck, or whose clock is far off, is
 * never picked while the mesh, a strike or a probe says so, nor one whose public host is the
 * tracker's own or lies under it (clients would send it their passwords). Each choice is explained.
 * Pure: candidates are told. */
#pragma once

#include "proto/addr.h"
#include "proto/choose.h"
#include "proto/member.h"

#define PICK_MAX     8192       /* candidates of one choice */
#define PICK_NEAR_NS 5000000ull /* "near" reaches to twice the nearest, and at least so far */

enum pick_class {
    PICK_NAMED,
    PICK_REGION_SUBNET, /* of the profile's region those that are near, as below */
    PICK_REGION_NEAR,
    PICK_REGION,
    PICK_SUBNET,
    PICK_NEAR,
    PICK_ANY,
    PICK_CLASSES
};
const char *pick_class_name(enum pick_class c); /* "profile: this node": static */

struct pick_candidate {
    struct node_key key;
    struct addr addr;
    const char *name, *region, *url;     /* borrowed for the call */
    const struct member_network *serves; /* likewise; NULL when there is none */
    size_t n_serves;
    size_t region_index;
    u64 rtt_ns;         /* learned, to the user's network, or estimated; 0: not known */
    u64 inflight_bytes; /* what we lately sent users there for */
    u64 fetching_ns;    /* since when it fetches this layer; 0: it does not, as far as is known */
    u8 load;
    bool healthy; /* alive and not doubted */
    bool barred, struck, holds;
    bool unfit;  /* its public host is ours, or it has none */
    bool astray; /* its clock is so far off that it would refuse tickets */
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
/* May it be picked? Else `*reason` (static) says why not. */
bool pick_is_usable(const struct pick_candidate *c, const char **reason);
/* Its class, when `nearest_ns` is the least round trip known of any usable node. */
enum pick_class pick_class_of(const struct pick_candidate *c, const struct pick_user *u,
                              u64 nearest_ns);
/* When it would be done. */
u64 pick_expected_ns(const struct pick_candidate *c, u64 bytes);
