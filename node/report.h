/* report.h - the node told as JSON: what status and why show. Values are the caller's to release;
 * NULL when out of memory. */
#pragma once

#include <jansson.h>

#include "proto/digest.h"

struct node;

/* RFC 3339, UTC; null for 0. */
json_t *report_moment(u64 ms);
json_t *report_status(struct node *n);
json_t *report_members(struct node *n);
json_t *report_blob(struct node *n, const struct digest *d);
