/* api_users.h - /api/v1/users, /api/v1/caches and /api/v1/why.
 *
 * Administrators (api_may) see and change everyone; a user sees and changes the own profile with
 * the own registry login: the registry is asked about it, and only one that refuses the anonymous
 * can vouch for anybody. */
#pragma once

#include "tracker/tracker_internal.h"

/* Is it one of ours? Then it was answered, or will be. */
bool api_users(struct tracker *t, struct http_exchange *x, struct http_slice path);
