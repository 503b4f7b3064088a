/* image_ref.h - an image as people type it: "dtr.example.org/website/ui:3-stable".
 *
 * The first part is a registry if it has a dot or a colon in it, or is "localhost" (as docker reads
 * it); what follows is a repository, with a tag, a digest, or both (then the digest counts);
 * without either the tag is "latest". Pure. */
#pragma once

#include "proto/err.h"
#include "proto/oci.h"

struct image_ref {
    char registry[OCI_NS_MAX + 1]; /* "": none was named */
    char repository[OCI_NAME_MAX + 1];
    char reference[DIGEST_TEXT_SIZE + OCI_TAG_MAX]; /* a tag or a digest */
};

/* ERR_INVAL: no such thing. */
must_use int image_ref_parse(struct image_ref *out, const char *text);

/* Is an image of this os, architecture and variant what `wanted` ("linux/arm64", "linux/arm/v7",
 * "all") asks for? */
bool image_ref_is_platform(const char *wanted, const char *os, const char *architecture,
                           const char *variant);
/* The node's own: "linux/amd64". Static. */
const char *image_ref_own_platform(void);
