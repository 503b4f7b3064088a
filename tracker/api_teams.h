/* api_teams.h - /api/v1/teams: a team's cache is that of its members who have none of their own.
 *
 *   GET    /api/v1/teams                      {"web": {"cache": "asia-office", "members":
 * ["alice"]}} GET    /api/v1/teams/<team>               that one PUT    /api/v1/teams/<team>
 * {"cache": "...", "members": [...]}; either may be absent and then stays as it is; `members`
 * replaces them all DELETE /api/v1/teams/<team>               its members are in no team then PUT,
 * DELETE /api/v1/teams/<team>/members/<user>
 *
 * For administrators (api_may). A user is in one team at a time: who is put in another leaves the
 * first. The tracker knows no teams but those it is told of here. */
#pragma once

#include "tracker/tracker_internal.h"

/* Is it one of ours, and may the asker? Then it was answered, or will be. */
bool api_teams(struct tracker *t, struct http_exchange *x, struct http_slice path);
