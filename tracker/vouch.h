/* vouch.h - is this login that user's? The central registry is asked, as a client would ask it.
 *
 *     GET /v2/ with the Authorization as it came: 200 is a yes
 *     401, the login is Basic, and the challenge names a token service:
 *         GET realm?service=&account=  with that login: a token whose `sub` is the user
 *         GET /v2/ with that token: 200 is a yes
 *
 * A registry that lets the anonymous in vouches for nobody: that is the caller's to know. A token
 * without `sub`, or with another's, proves nothing (some services give the anonymous one to a wrong
 * password). The login goes to a realm on the registry's own host, or in registry.allow_hosts
 * (hygiene.h), never from https to http. Loop thread only. */
#pragma once

#include "runtime/http_server.h"

struct tracker;
struct vouch;

enum vouch_verdict { VOUCH_YES, VOUCH_NO, VOUCH_AWAY };

/* The callback never runs from inside; `why` is static. ERR_NOMEM, ERR_INVAL. */
must_use int vouch_ask(struct tracker *t, struct http_slice authorization, const char *user,
                       void (*cb)(void *arg, enum vouch_verdict v, const char *why), void *arg,
                       struct vouch **out);
void vouch_cancel(struct vouch *v); /* no callback after this */
