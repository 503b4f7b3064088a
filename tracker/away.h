/* away.h - what is said for the registry while it is away, with authz.grace.
 *
 * Kept are, for ttl and grace after they were last heard: answers to `/v2/`, to the same
 * Authorization; token answers, to the same request and no longer than the token lives; manifests,
 * by repository and digest, and what a tag led to, to whoever holds a right to pull that repository
 * (authz.h, in grace); and the challenge of each repository, for who comes without credentials.
 * Nothing else is ever said for it, and nothing to whom the registry did not say the same.
 *
 * Away means: it cannot be reached, breaks off, says nothing for AWAY_PATIENCE_MS where something
 * is kept that can be said instead, or answers 5xx; until it is heard again (tracker.c asks every
 * second). In memory alone: after a restart nothing is known. Loop thread only. */
#pragma once

#include "proto/oci.h"
#include "tracker/tracker_internal.h"

#define AWAY_PATIENCE_MS 3000

/* What a request asks for, as far as it can be answered from memory. Zeroed: it cannot. */
struct away_asked {
    enum away_kind { AWAY_NOTHING, AWAY_PING, AWAY_TOKEN, AWAY_MANIFEST, AWAY_OTHER } kind;
    bool head, anonymous;
    u8 key[16];
    u8 challenge[16]; /* key of its repository's challenge */
    char repository[OCI_NAME_MAX + 1];
    struct authz_user user;
};

/* `oci` NULL: no route of the registry's own. Without grace nothing is asked. */
void away_see(struct tracker *t, const struct http_request *r, enum route route,
              const struct oci_route *oci, struct away_asked *out);
/* Is its answer worth keeping whole? */
bool away_wants(const struct away_asked *q, int status);
/* Takes the answer's memory. */
void away_take(struct tracker *t, const struct away_asked *q, const struct oci_route *oci,
               struct answer *a);
/* What can be said for the registry; NULL: nothing. Borrowed until the next call. */
const struct answer *away_answer(struct tracker *t, const struct away_asked *q);
/* The challenge of this repository, for the anonymous: as above. */
const struct answer *away_challenge(struct tracker *t, const char *repository);
/* Has the registry been found away, and not been heard since? False without grace. */
bool away_is(const struct tracker *t);
