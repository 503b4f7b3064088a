/* authz.h - what the centre decided, remembered for a while.
 *
 * Why: the central registry decides who may pull what; asking it for every layer would cross the
 * long link each time. Two facts together are a permission (see "How a pull goes" in
 * docs/decisions.md):
 *
 *   right    this Authorization may pull this repository
 *   member   this digest is in this repository
 *
 * Each is kept for `ttl`, which a clock that is set back does not prolong. While the centre is away
 * (and only then) a fact also counts for `grace` more. Only what was granted is remembered, never a
 * refusal.
 *
 * Nothing secret is kept: keys are BLAKE2b-128 under a key of this process's own. Tables are
 * bounded (LIMIT_AUTHZ_ENTRIES each); of a full bucket the fact that ends first makes room, which
 * costs one question to the registry and nothing else. A right ends no later than the token that
 * proved it: a JWT's `exp` is read (unverified, since it can only shorten). */
#pragma once

#include "proto/digest.h"
#include "proto/err.h"

struct authz;

#define AUTHZ_ID_SIZE 16

/* Whoever sent this Authorization. */
struct authz_user {
    u8 id[AUTHZ_ID_SIZE]; /* of the whole header value; all zero: none was sent */
    u64 expires_ms;       /* the token's own end, Unix time; UINT64_MAX when it has none */
};

enum authz_answer {
    AUTHZ_UNKNOWN, /* ask the registry */
    AUTHZ_GRACE,   /* was granted lately: counts while the registry is away */
    AUTHZ_GRANTED,
};

must_use int authz_new(struct authz **out, u64 ttl_ms, u64 grace_ms);
void authz_del(struct authz *a);

/* `value` is the Authorization field's value; NULL or empty: anonymous. */
void authz_user(const struct authz *a, const char *value, size_t len, struct authz_user *out);

void authz_grant_right(struct authz *a, const struct authz_user *user, const char *upstream,
                       const char *repository, u64 now_ms);
void authz_note_member(struct authz *a, const char *upstream, const char *repository,
                       const struct digest *d, u64 now_ms);

/* What the registry, or a manifest it gave, says of the size of a blob that is noted as a member;
 * it is kept as long as that. Never grants anything. */
void authz_note_size(struct authz *a, const char *upstream, const char *repository,
                     const struct digest *d, u64 size);
u64 authz_size(const struct authz *a, const char *upstream, const char *repository,
               const struct digest *d); /* UINT64_MAX: not known */

/* Both facts; the weaker one counts. */
enum authz_answer authz_check(const struct authz *a, const struct authz_user *user,
                              const char *upstream, const char *repository, const struct digest *d,
                              u64 now_ms);
/* The first fact alone. */
enum authz_answer authz_check_right(const struct authz *a, const struct authz_user *user,
                                    const char *upstream, const char *repository, u64 now_ms);

/* The name that an Authorization carries, unverified: Basic's, or a JWT's `sub`. Copied to `out`
 * (at most `cap` bytes); returns its length, 0 when there is none, or none that short. A password
 * may be of any length. */
size_t authz_user_name(const char *value, size_t len, u8 *out, size_t cap);

/* All is forgotten: who asks next is asked about. What the registry was asked before that is no
 * permission afterwards; so its answer is noted only if the generation is still that of the
 * question. */
void authz_forget(struct authz *a);
u64 authz_generation(const struct authz *a);

/* "user" in audit lines: 16 hex digits of a keyed hash of the Basic name, the JWT's `sub`, or the
 * whole value; "anonymous" for none. `key` (32 bytes) is kept with the store so that lines can be
 * matched across restarts. */
void authz_user_label(const u8 key[32], const char *value, size_t len, char out[17]);
