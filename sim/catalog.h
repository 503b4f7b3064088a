/* catalog.h - the layers there are, and the images made of them.
 *
 * Why: a run names layers by the thousand million without keeping one: a layer is a number, and its
 * digest and size follow from it. Images share base layers, as real ones do.
 * Sizes and counts after Zhao et al., "Large-Scale Analysis of the Docker Hub Dataset", CLUSTER
 * 2019: half of all compressed layers are under 4 MB and nine of ten under 63 MB; half of all
 * images have 8 layers or fewer, nine of ten 18 or fewer. Drawn from straight lines between such
 * points, so that no logarithm is needed. Popularity is Zipf's with exponent 1.
 * Not here: who holds what. */
#pragma once

#include "proto/digest.h"
#include "proto/rng.h"
#include "sim/knobs.h"

#define CATALOG_LAYERS_MAX 64

struct catalog_image {
    u32 first; /* into `layers` */
    u32 n;
};

struct trace;

struct catalog {
    u64 seed;
    struct catalog_image *images;
    u32 n_images;
    u32 *layers;
    size_t n_layers, layers_cap;
    double *zipf;              /* cumulated */
    u64 fixed_bytes, fixed_n;  /* of an image, when set */
    u32 published;             /* layers that images made since were given */
    const struct trace *trace; /* borrowed; NULL: none */
};

void catalog_init(struct catalog *c, const struct knobs *k, const struct rng *rng);
/* From now on the images are the pulls of a trace, in its order, and the layers those that it
 * names. `t` is borrowed until catalog_fini(). */
void catalog_take_trace(struct catalog *c, const struct trace *t);
void catalog_fini(struct catalog *c);

void catalog_digest(const struct catalog *c, u32 layer, struct digest *d);
u64 catalog_bytes(const struct catalog *c, u32 layer);
/* An image by popularity. */
u32 catalog_draw(const struct catalog *c, struct rng *r);
/* A new image, as after a build: the base layers of `like`, the rest never seen before. */
u32 catalog_publish(struct catalog *c, u32 like, struct rng *r);
