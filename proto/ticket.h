/* ticket.h - signed permission: this user may read this layer, at this node, for a minute.
 *
 * Issued by a tracker after the central registry allowed the pull, carried by the client in the
 * redirect's URL, checked by the node alone: no call home. Text form: base64url without padding
 * (RFC 4648, section 5) of
 *
 *     msgpack [v, kid, tracker, user, upstream, repository, digest, size, node, iat, exp]
 *     followed by the 64 bytes of an Ed25519 signature (RFC 8032) over "dray ticket" and that array
 *
 * v is 1. kid names the tracker's key, so that keys can be exchanged one step at a time. A ticket
 * opens one digest at one node, for any Range and any number of requests until it expires; it is
 * checked when a request starts. TICKET_SLACK_S forgives clocks that differ.
 * Guarantee: what was altered by one bit, is of another node or of another layer is refused, each
 * with its own verdict. Not here: who may have one (the tracker), what a revocation drops. */
#pragma once

#include "proto/digest.h"
#include "proto/identity.h"
#include "proto/oci.h"

#define TICKET_KID_MAX    16
#define TICKET_USER_BYTES 16 /* of a keyed hash: nobody's name travels */
#define TICKET_LIFE_S     60
#define TICKET_SLACK_S    30
#define TICKET_TEXT_SIZE  1280 /* the longest text and its NUL */

struct ticket {
    char kid[TICKET_KID_MAX + 1];
    struct node_key tracker; /* who issued it, and may be read through */
    u8 user[TICKET_USER_BYTES];
    char upstream[OCI_NS_MAX + 1];
    char repository[OCI_NAME_MAX + 1];
    struct digest digest;
    u64 size;             /* bytes; UINT64_MAX: not known */
    struct node_key node; /* where it may be used */
    u64 iat_s, exp_s;     /* Unix time */
};

/* A tracker's key pair under its id. */
struct ticket_signer {
    char kid[TICKET_KID_MAX + 1];
    u8 secret[NODE_SECRET_BYTES]; /* libsodium's form */
};
/* Its public half, at a node. */
struct ticket_key {
    char kid[TICKET_KID_MAX + 1];
    u8 bytes[NODE_KEY_BYTES];
};

/* Writes the text of `t` under `s`'s kid (t->kid is not looked at); returns its length. `t` must be
 * whole: a digest, a node, exp after iat. */
size_t ticket_issue(const struct ticket *t, const struct ticket_signer *s,
                    char text[TICKET_TEXT_SIZE]);

#define TICKET_VERDICTS(X)                                                                         \
    X(VALID, "valid")                                                                              \
    X(MALFORMED, "this is no ticket")                                                              \
    X(UNKNOWN_KEY, "signed with a key that this node does not know")                               \
    X(FORGED, "the signature does not fit")                                                        \
    X(OTHER_NODE, "issued for another node")                                                       \
    X(OTHER_LAYER, "issued for another layer")                                                     \
    X(OTHER_REPOSITORY, "issued for another repository")                                           \
    X(EARLY, "not valid yet: the clocks differ")                                                   \
    X(EXPIRED, "expired: pull again")                                                              \
    X(REVOKED, "revoked: log in and pull again")

enum ticket_verdict {
#define X(name, text) TICKET_##name,
    TICKET_VERDICTS(X)
#undef X
};
const char *ticket_verdict_name(enum ticket_verdict v); /* "OTHER_NODE": for metrics */
const char *ticket_verdict_text(enum ticket_verdict v); /* for the client's error body */

#define TICKET_VERDICT_COUNT                                                                       \
    (TICKET_REVOKED + 1) /* that one is the node's own to give: revoke.h                           \
                          */

/* What a request at this node asks for. */
struct ticket_wanted {
    const struct node_key *node; /* this one */
    const char *repository;
    const struct digest *digest;
    u64 now_s; /* Unix time */
};
/* `*out` is filled only when VALID; else zeroed. */
must_use enum ticket_verdict ticket_check(const char *text, size_t len,
                                          const struct ticket_key *keys, size_t n_keys,
                                          const struct ticket_wanted *wanted, struct ticket *out);
