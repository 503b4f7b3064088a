/* ctl.h - the commands that talk to a running tracker through its Unix socket. */
#pragma once

#include <stdbool.h>

bool ctl_is_command(const char *word);
/* argv[0] is the command. Returns the exit code: 0, 1 when it failed, 2 for wrong words. */
int ctl_main(int argc, char **argv);
