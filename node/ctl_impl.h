/* ctl_impl.h - what the files of the commands share; nobody else includes it. */
#pragma once

#include <jansson.h>

#include "proto/digest.h"
#include "proto/err.h"
#include "runtime/conf.h"
#include "runtime/settings.h"

#define EXIT_FAILED 1
#define EXIT_USAGE  2

struct command {
    const char *name, *config, *socket, *what; /* what: a digest or an image, as typed */
    struct settings_flag flags[2];
    size_t n_flags;
    bool json, help;
    const char *keep_out; /* --for, as typed; NULL: the node's default */
    u64 keep_out_ms;
    const char *platform; /* NULL: the node's own */
    bool region;
    char digest[DIGEST_TEXT_SIZE];
    char path[CONF_WHY_MAX]; /* of the socket */
};

struct ctl_answer {
    char *text; /* to be freed; NULL: empty */
    size_t len;
    long status;
};

/* One request. `body` NULL: GET, else POST. Says on stderr what went wrong, and returns EXIT_FAILED
 * then. */
int ctl_ask(const struct command *c, const char *target, const char *body, struct ctl_answer *a);
/* The daemon refused: says it, and returns EXIT_FAILED. */
int ctl_say_refused(const struct command *c, const struct ctl_answer *a, const json_t *json);

/* ctl_prefetch.c: orders it, and shows how it goes until it is over. */
int ctl_prefetch(const struct command *c);
