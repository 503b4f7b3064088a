/* upstream_config.h - what an operator says of one central registry; the config owns the texts.
 */
#pragma once

#include <stddef.h>

struct upstream_config {
    char *name;         /* what ?ns= names, and what logs say; unique in any case of letters */
    char *url;          /* "https://registry.example.org[/base]"; no trailing slash, no /v2 */
    char *ca;           /* PEM bundle; NULL: the system's */
    char *credentials;  /* file with "user:password"; NULL: anonymous */
    char **allow_hosts; /* "host" or "host:port" that redirects and token realms may lead to */
    size_t n_allow_hosts;
};
