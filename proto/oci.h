/* oci.h - the registry protocol's words: names, references, routes, error codes.
 *
 * Source: opencontainers/distribution-spec v1.1.1, "Pull" and "Error Codes"; `ns` from its main
 * branch ("Registry Proxying"). Names contain slashes, so a route is matched from the right.
 * Reads hostile text; allocates nothing; keeps nothing. */
#pragma once

#include "proto/digest.h"
#include "proto/types.h"

#define OCI_NAME_MAX  255 /* distribution's own limit on a repository name */
#define OCI_TAG_MAX   128
#define OCI_NS_MAX    255
#define OCI_QUERY_MAX 2048 /* a ticket fits */

/* The spec's error codes: name, usual HTTP status, sentence. */
#define OCI_CODE_TABLE(X)                                                                          \
    X(BLOB_UNKNOWN, 404, "blob unknown to registry")                                               \
    X(DIGEST_INVALID, 400, "provided digest did not match the form algorithm:hex")                 \
    X(MANIFEST_INVALID, 400, "manifest invalid")                                                   \
    X(MANIFEST_UNKNOWN, 404, "manifest unknown to registry")                                       \
    X(NAME_INVALID, 400, "invalid repository name")                                                \
    X(NAME_UNKNOWN, 404, "repository name not known to registry")                                  \
    X(RANGE_INVALID, 416, "the requested range lies outside the blob")                             \
    X(UNAUTHORIZED, 401, "authentication required")                                                \
    X(DENIED, 403, "requested access to the resource is denied")                                   \
    X(UNSUPPORTED, 405, "the operation is unsupported")                                            \
    X(TOOMANYREQUESTS, 429, "too many requests")                                                   \
    X(UNAVAILABLE, 503, "the registry cannot be reached")                                          \
    X(UNKNOWN, 500, "unknown error")

enum oci_code {
#define X(name, status, text) OCI_##name,
    OCI_CODE_TABLE(X)
#undef X
};

const char *oci_code_name(enum oci_code code);
const char *oci_code_text(enum oci_code code);
int oci_code_status(enum oci_code code);

/* Writes {"errors":[{"code","message","detail"}]} with a NUL; message NULL means the code's own
 * sentence, detail NULL means none (both are escaped, invalid UTF-8 replaced). Returns the length;
 * what does not fit in `cap` (at least 256) is cut from detail, then message: always valid JSON. */
size_t oci_error_body(char *buf, size_t cap, enum oci_code code, const char *message,
                      const char *detail);

enum oci_route_kind {
    OCI_ROUTE_NONE,      /* not under /v2/ */
    OCI_ROUTE_PING,      /* /v2/ and /v2 */
    OCI_ROUTE_BLOB,      /* /v2/<name>/blobs/<digest> */
    OCI_ROUTE_MANIFEST,  /* /v2/<name>/manifests/<reference> */
    OCI_ROUTE_TAGS,      /* /v2/<name>/tags/list */
    OCI_ROUTE_REFERRERS, /* /v2/<name>/referrers/<digest> */
    OCI_ROUTE_UPLOAD,    /* /v2/<name>/blobs/uploads/... : pushing, not for a node */
    OCI_ROUTE_CATALOG,   /* /v2/_catalog : distribution's own, not of the spec */
};

struct oci_route {
    enum oci_route_kind kind;
    char name[OCI_NAME_MAX + 1];   /* repository; "" for ping and catalog */
    char tag[OCI_TAG_MAX + 1];     /* manifest by tag; "" when by digest */
    struct digest digest;          /* blob, referrers, manifest by digest */
    char ns[OCI_NS_MAX + 1];       /* upstream named by ?ns=, decoded; "" when absent */
    char query[OCI_QUERY_MAX + 1]; /* the query without ns, still encoded; "" when none */
};

/* Reads a request target (origin form: path and query, `len` characters). Escapes are decoded once;
 * %00, encoded slashes and anything outside the grammar are refused.
 * ERR_NOTFOUND: no such route. ERR_INVAL: `*code` says what to answer (NAME_INVALID,
 * DIGEST_INVALID, MANIFEST_INVALID for a bad tag, UNSUPPORTED for an unknown digest algorithm). */
must_use int oci_route_parse(struct oci_route *r, const char *target, size_t len,
                             enum oci_code *code);

bool oci_name_valid(const char *name, size_t len);
bool oci_tag_valid(const char *tag, size_t len);
