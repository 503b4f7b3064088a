/* ui.h - /ui/: the mesh at a glance, a page of the tracker's own files (tracker/ui/), built in.
 *
 * The files hold nothing about anybody; what the page shows comes from /api/v1/overview, which
 * needs the admin token or an address in admin.allow. Who has neither gets the page with 401: it
 * asks for the token, keeps it for the browser's tab, and sends it in Authorization, never in a
 * URL. Nothing is fetched from elsewhere and no script stands in the page: the policy that goes
 * with each file says so. */
#pragma once

#include "tracker/tracker_internal.h"

bool ui_takes(struct http_slice target); /* /ui, /ui/ and what is below */
void ui_begin(struct tracker *t, struct http_exchange *x);
