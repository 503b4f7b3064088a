/* ctl_impl.h - what the files of the commands share; nobody else includes it.
 *
 *   ctl.c         the command line, one request, what is printed
 *   ctl_users.c   users and teams, export and import */
#pragma once

#include <stdio.h>

#include "runtime/conf.h"

#define CTL_WORDS       256
#define CTL_EXIT_FAILED 1
#define CTL_EXIT_USAGE  2

struct command {
    const char *name, *config, *socket;
    const char *words[CTL_WORDS];
    size_t n_words;
    bool help;
    char path[CONF_WHY_MAX];
};

/* What the tracker answered. */
struct reply {
    char *text;
    size_t len;
    long status;
};

/* To stdout: asked for; to stderr: the command line is wrong. Returns the exit code. */
int ctl_usage(FILE *to);
/* Asks; says what went wrong on stderr. 0, or the exit code; `r->text` is the caller's to free. */
int ctl_ask(const struct command *c, const char *method, const char *target, const char *body,
            struct reply *r);
/* Prints what was answered, and frees it; the exit code. */
int ctl_show(const struct command *c, struct reply *r);
int ctl_simple(const struct command *c, const char *method, const char *target, const char *body);
/* `under`, NAME with what a URL cannot hold encoded, `tail`. */
void ctl_path(char *out, size_t cap, const char *under, const char *name, const char *tail);

int ctl_users(const struct command *c);
int ctl_teams(const struct command *c);
