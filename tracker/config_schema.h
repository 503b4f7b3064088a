/* config_schema.h - the tracker's config as YAML spells it: every scalar still a text. */
#pragma once

#include <cyaml/cyaml.h>

#include "runtime/settings.h"

#define CONFIG_REGIONS_MAX 64 /* of one registry's users */

struct raw_region {
    char *name;
    struct settings_list seeds;
};

struct raw_regions {
    struct raw_region *v;
    unsigned n;
};

struct raw_config {
    char *name, *listen, *advertise, *public_url;
    struct raw_registry {
        char *name, *url, *direct_url, *ca;
        struct settings_list allow_hosts;
    } registry;
    struct raw_regions regions;
    struct settings_list trackers;
    char *mesh_key, *ticket_key, *users;
    struct settings_list trusted_redirects, trusted_proxies;
    struct raw_authz {
        char *ttl, *grace;
    } authz;
    struct raw_tls {
        char *cert, *key, *ca;
    } tls;
    char *plain_http, *peer_plain;
    struct raw_limits {
        char *connections;
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
