/* cmdline.h - what was typed: commands, flags, and the help that teaches both.
 *
 * Reads argv, judges no value: that is config.h's. Texts are borrowed from argv. */
#pragma once

#include <stdio.h>

#include "tracker/config.h"

#define CMDLINE_FLAGS_MAX 512 /* repeated flags make lists */

enum cmdline_action {
    CMDLINE_RUN,
    CMDLINE_CHECK, /* --check-config */
    CMDLINE_HELP,
    CMDLINE_VERSION,
    CMDLINE_CTL, /* ctl_main() with argv + 1 */
};

struct cmdline {
    enum cmdline_action action;
    const char *config; /* --config FILE; NULL: not given */
    struct settings_flag flags[CMDLINE_FLAGS_MAX];
    size_t n_flags;
};

/* ERR_INVAL with `why`: an unknown word, a flag without its value. */
must_use int cmdline_parse(struct cmdline *c, int argc, char **argv, char why[CONF_WHY_MAX]);
/* The config to read: the one given, else the usual one if it is there. NULL: flags alone. */
const char *cmdline_config(const struct cmdline *c);
void cmdline_help(FILE *to);
