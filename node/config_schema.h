/* config_schema.h - the config as YAML spells it: every scalar still a text.
 *
 * Why texts: libcyaml reads numbers and booleans leniently (`10k` is 10), so config.c reads them
 * with conf_*(). Only node/config*.c include this. */
#pragma once

#include <cyaml/cyaml.h>

#include "runtime/settings.h"

struct raw_upstream {
    char *name, *url, *ca, *credentials;
    struct settings_list allow_hosts;
};

struct raw_upstreams {
    struct raw_upstream *v;
    unsigned n;
};

/* NULL: the key is absent. */
struct raw_config {
    char *name, *region, *rack, *listen, *advertise, *public_url;
    struct settings_list seeds;
    char *mesh_key, *tracker_key;
    struct raw_tls {
        char *cert, *key, *ca;
    } tls;
    char *plain_http, *peer_plain;
    struct raw_store {
        char *path, *capacity, *scrub;
    } store;
    struct settings_list serves;
    struct raw_upstreams upstreams;
    struct raw_authz {
        char *ttl, *grace;
    } authz;
    struct raw_limits {
        char *upload, *download, *wan, *connections;
    } limits;
    struct raw_admin {
        char *socket, *token;
        struct settings_list allow;
    } admin;
    struct raw_log {
        char *level, *format;
    } log;
};

/* Loads a `struct raw_config *`. */
extern const cyaml_schema_value_t config_schema;

/* The registries of the file, or of --upstream. */
must_use int config_apply_upstreams(const struct settings *l);
