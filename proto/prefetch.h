/* prefetch.h - what a tracker tells the node to which it will send a user: this is what the
 * manifest that the user just read needs.
 *
 * Why: between a manifest and the first request for a layer lies a round trip or two, in which the
 * node may begin. Sent as POST /mesh/v1/prefetch, with a Dray-Peer, by a tracker alone. A body is
 * one msgpack array, at most PREFETCH_BYTES_MAX bytes:
 *
 *     [version, repository, [[digest, ticket, config], ...]]
 *
 * version is 1; digest as text; ticket is the one (ticket.h) that the user will be given for that
 * blob at this node, so that an order opens nothing that the user could not open; config: it is the
 * manifest's, which is read by who pulls nothing, too.
 * Guarantee: what is unpacked is within these bounds, or nothing of it is believed. Not here:
 * whether and when anything is fetched (node/prefetch.h). */
#pragma once

#include "proto/limits.h"
#include "proto/ticket.h"
#include "proto/wire.h"

#define PREFETCH_PATH      "/mesh/v1/prefetch"
#define PREFETCH_MAX       32 /* blobs of one order: of more the first */
#define PREFETCH_BYTES_MAX (48 * KIB)

struct prefetch_order {
    char repository[OCI_NAME_MAX + 1];
    size_t n;
    struct prefetch_blob {
        struct digest digest;
        bool config;
        const char *ticket; /* borrowed: from the caller, or from the bytes that were unpacked */
        size_t ticket_n;
    } blobs[PREFETCH_MAX];
};

/* The other kind: a node of the region that an operator told to warm it says to each other node
 * which image, as POST /mesh/v1/prefetch-image: [version, image, platform], as they were typed. */
#define PREFETCH_IMAGE_PATH      "/mesh/v1/prefetch-image"
#define PREFETCH_IMAGE_MAX       767 /* a registry, a repository, a tag or digest */
#define PREFETCH_PLATFORM_MAX    63
#define PREFETCH_IMAGE_BYTES_MAX 1024

struct prefetch_image {
    char image[PREFETCH_IMAGE_MAX + 1], platform[PREFETCH_PLATFORM_MAX + 1];
};
/* `out` has PREFETCH_IMAGE_BYTES_MAX; returns the length. */
size_t prefetch_image_pack(const struct prefetch_image *i, u8 *out);
/* ERR_PROTO: malformed, too long, or with characters that no reference has. */
must_use int prefetch_image_unpack(struct prefetch_image *i, const void *data, size_t len);

/* Writes an order to `out` (PREFETCH_BYTES_MAX); returns its length. */
size_t prefetch_pack(const struct prefetch_order *o, u8 *out);
/* ERR_PROTO: malformed, or beyond a bound; `o->n` is then 0. */
must_use int prefetch_unpack(struct prefetch_order *o, const void *data, size_t len);
