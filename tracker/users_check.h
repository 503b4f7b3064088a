/* users_check.h - is the file of profiles, teams and revocations what we once wrote?
 *
 * Why: LMDB trusts its file, and a damaged page of it ends in a signal. So a child process, which
 * may die of it, walks all of it before the tracker opens it; the tracker then says what is wrong
 * instead of dying again and again. Nothing is thrown away: these are data of people. */
#pragma once

#include "proto/err.h"
#include "runtime/conf.h"

/* `path`: the folder; none, or an empty one, is well. ERR_CORRUPT, ERR_NOMEM, ERR_IO: `why` says
 * what to do. */
must_use int users_check(const char *path, u64 map_bytes, char why[CONF_WHY_MAX]);
