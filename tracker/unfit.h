/* unfit.h - nodes to which no user may be sent, whatever they hold.
 *
 * Why: clients send the registry's password to the tracker's host and to what lies under it. A node
 * whose public host is one of these would be sent passwords. */
#pragma once

#include "proto/types.h"

/* Does the host of `url` equal that of `own`, or lie under it? Also true for what is no URL (NULL),
 * and for one that clients could read as another: not plain ASCII, or with encoded characters.
 */
bool unfit_url(const char *url, const char *own);
