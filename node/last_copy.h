/* last_copy.h - is ours the copy of a blob that the region counts on?
 *
 * It is when no living node of the region says that it holds the blob, too, or when ours stands
 * first of all holders in rendezvous order: so that of several, all of them short of room, one
 * stays. A node that is alone, or that sees nobody, counts on none of its copies more than on
 * others. */
#pragma once

#include "proto/mesh.h"

/* `m` NULL: no region. Some microseconds. */
bool last_copy(const struct mesh *m, const struct digest *d);
