/* catalog.c - see catalog.h. */
#include "sim/catalog.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim/mem.h"
#include "sim/trace.h"

/* Layer numbers of images begin here; below are those that nodes hold from the start. */
#define IMAGE_LAYERS_FROM 0x40000000u
#define TRACE_LAYERS_FROM 0x80000000u
#define BASES             40 /* base layers that images share, the popular ones most */

static u64 mixed(u64 x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

void catalog_digest(const struct catalog *c, u32 layer, struct digest *d)
{
    if (layer >= TRACE_LAYERS_FROM && c->trace) {
        *d = c->trace->layers[layer - TRACE_LAYERS_FROM].digest;
        return;
    }
    memset(d, 0, sizeof(*d));
    d->alg = DIGEST_SHA256;
    for (unsigned i = 0; i < 4; i++) {
        u64 w = mixed(c->seed + 0x9e3779b97f4a7c15u * (4 * (u64)layer + i + 1));
        for (unsigned b = 0; b < 8; b++)
            d->bytes[8 * i + b] = (u8)(w >> (8 * b));
    }
}

struct point {
    double part, value;
};

/* The value below which `part` of all lie. */
static u64 quantile(const struct point *p, size_t n, double part)
{
    size_t i = 1;
    while (i + 1 < n && p[i].part < part)
        i++;
    double at = (part - p[i - 1].part) / (p[i].part - p[i - 1].part);
    return (u64)(p[i - 1].value + at * (p[i].value - p[i - 1].value));
}

u64 catalog_bytes(const struct catalog *c, u32 layer)
{
    static const struct point sizes[] = {{0, 200},    {.25, 1e5},   {.5, 4e6}, {.75, 2e7},
                                         {.9, 6.3e7}, {.98, 2.5e8}, {1, 1.5e9}};
    if (layer >= TRACE_LAYERS_FROM && c->trace)
        return c->trace->layers[layer - TRACE_LAYERS_FROM].bytes;
    if (c->fixed_bytes && layer >= IMAGE_LAYERS_FROM)
        return c->fixed_bytes / (c->fixed_n ? c->fixed_n : 1);
    double part = (double)(mixed(c->seed ^ (0x5851f42d4c957f2du * ((u64)layer + 1))) >> 11);
    return quantile(sizes, countof(sizes), part * 0x1p-53);
}

static u32 draw_count(const struct catalog *c, struct rng *r)
{
    static const struct point counts[] = {{0, 1}, {.5, 8}, {.9, 18}, {.99, 40}, {1, 64}};
    return c->fixed_n ? (u32)c->fixed_n : (u32)quantile(counts, countof(counts), rng_unit(r));
}

static void add_layer(struct catalog *c, u32 layer)
{
    c->layers = mem_grow(c->layers, &c->layers_cap, c->n_layers + 1, sizeof(*c->layers));
    c->layers[c->n_layers++] = layer;
}

/* `bases` layers that are shared, of a family that few draws of `family` tell apart. */
static void make_image(struct catalog *c, struct catalog_image *image, u32 n, u32 family)
{
    u32 bases = c->fixed_bytes ? 0 : n / 3;
    image->first = (u32)c->n_layers;
    image->n = n;
    for (u32 i = 0; i < n; i++)
        add_layer(c, i < bases ? IMAGE_LAYERS_FROM + family * CATALOG_LAYERS_MAX + i
                               : IMAGE_LAYERS_FROM + BASES * CATALOG_LAYERS_MAX + c->published++);
}

void catalog_init(struct catalog *c, const struct knobs *k, const struct rng *rng)
{
    memset(c, 0, sizeof(*c));
    struct rng r = *rng;
    c->seed = rng_u64(&r);
    c->fixed_bytes = k->image_bytes;
    c->fixed_n = k->image_layers;
    c->n_images = (u32)k->images;
    c->images = mem_new(c->n_images, sizeof(*c->images));
    c->zipf = mem_new(c->n_images, sizeof(*c->zipf));
    double sum = 0;
    for (u32 i = 0; i < c->n_images; i++) {
        u32 a = (u32)rng_below(&r, BASES), b = (u32)rng_below(&r, BASES);
        make_image(c, &c->images[i], draw_count(c, &r), a < b ? a : b);
        sum += 1.0 / (i + 1);
        c->zipf[i] = sum;
    }
}

void catalog_take_trace(struct catalog *c, const struct trace *t)
{
    free(c->images);
    free(c->zipf);
    c->trace = t;
    c->n_images = (u32)t->n_pulls;
    c->images = mem_new(c->n_images, sizeof(*c->images));
    c->zipf = mem_new(c->n_images, sizeof(*c->zipf));
    c->n_layers = 0;
    for (size_t i = 0; i < t->n_rows; i++)
        add_layer(c, TRACE_LAYERS_FROM + t->rows[i]);
    double sum = 0;
    for (u32 i = 0; i < c->n_images; i++) {
        c->images[i] = (struct catalog_image){t->pulls[i].first, t->pulls[i].n};
        sum += 1; /* a popular image has many pulls already */
        c->zipf[i] = sum;
    }
}

void catalog_fini(struct catalog *c)
{
    free(c->images);
    free(c->layers);
    free(c->zipf);
    memset(c, 0, sizeof(*c));
}

u32 catalog_draw(const struct catalog *c, struct rng *r)
{
    double x = rng_unit(r) * c->zipf[c->n_images - 1];
    u32 low = 0, high = c->n_images - 1;
    while (low < high) {
        u32 mid = (low + high) / 2;
        if (c->zipf[mid] > x)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

u32 catalog_publish(struct catalog *c, u32 like, struct rng *r)
{
    assert(like < c->n_images);
    struct catalog_image old = c->images[like];
    u32 fresh = 1 + (u32)rng_below(r, 3); /* a build changes its last layers */
    if (fresh > old.n || c->fixed_bytes)
        fresh = old.n;
    struct catalog_image next = {(u32)c->n_layers, old.n};
    for (u32 i = 0; i < old.n; i++)
        add_layer(c, i + fresh < old.n
                         ? c->layers[old.first + i]
                         : IMAGE_LAYERS_FROM + BASES * CATALOG_LAYERS_MAX + c->published++);
    c->images[like] = next; /* the tag moves on; the old image is not pulled any more */
    return like;
}
