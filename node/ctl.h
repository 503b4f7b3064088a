/* ctl.h - the commands that talk to a running daemon: status, why, purge.
 *
 * They speak HTTP over the daemon's Unix socket (admin.socket) and print for people: aligned
 * tables, colours only on a terminal; --json prints what the daemon said. */
#pragma once

#include "proto/err.h"

/* `argv[0]` is the command's name. Returns the exit code: 0, 1 refused or failed (said on stderr
 * with what to do), 2 usage. */
int ctl_main(int argc, char **argv);
/* Is this word one of the commands above? */
bool ctl_is_command(const char *word);
