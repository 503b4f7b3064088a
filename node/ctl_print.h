/* ctl_print.h - the daemon's JSON answers as pages for people.
 *
 * The daemon may be of another version: what is missing or of another type is left out or shown as
 * "-", never an error. Text is cleaned before it reaches a terminal. `now_s` is Unix time. */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "proto/types.h"

/* `members`: the answer of /api/v1/members; NULL: not asked. */
void ctl_print_status(const json_t *status, const json_t *members, FILE *to, bool colour);
void ctl_print_why(const json_t *blob, u64 now_s, FILE *to, bool colour);
/* The region and its members, for the status page. ctl_members.c. */
void ctl_print_members(const json_t *mesh, const json_t *members, FILE *to, bool colour);
void ctl_print_purge(const json_t *answer, FILE *to);
