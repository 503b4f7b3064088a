/* config.h - what an operator says of a tracker: the YAML file and the flags over it, checked and
 * in real units.
 *
 * Read as the node's is (runtime/settings.h): every key has a default but registry.url and, since
 * users are sent there and come back, public_url. */
#pragma once

#include <stdio.h>

#include "proto/err.h"
#include "proto/limits.h"
#include "runtime/conf.h"
#include "runtime/log.h"
#include "runtime/settings.h"
#include "runtime/upstream_config.h"

#define CONFIG_DEFAULT_FILE "/etc/dray/tracker.yaml"

struct region_entry {
    char *name;
    char **seeds;
    size_t n_seeds;
};

struct tracker_config {
    char *file; /* NULL when by flags alone */
    char *name; /* in the mesh; default: the host's */
    char *listen;
    char *advertise;  /* to the mesh; NULL: to be found out */
    char *public_url; /* what users call us; no trailing slash */
    struct upstream_config registry;
    char *direct_url; /* the registry without a redirecting middleware; NULL: the same */
    struct region_entry *regions;
    size_t n_regions;
    char **trackers;
    size_t n_trackers;
    char *mesh_key, *ticket_key;
    char *users; /* folder: profiles, keys */
    struct cidr *trusted_redirects, *trusted_proxies;
    size_t n_trusted_redirects, n_trusted_proxies;
    struct {
        u64 ttl_ms, grace_ms;
    } authz;
    struct {
        char *cert, *key, *ca;
    } tls;
    bool plain_http, peer_plain;
    u32 connections;
    struct {
        char *socket, *token;
        struct cidr *allow;
        size_t n_allow;
    } admin;
    struct {
        enum log_level level;
        enum log_format format;
    } log;
};

must_use int config_load(struct tracker_config *out, const char *file,
                         const struct settings_flag *flags, size_t n_flags, char why[CONF_WHY_MAX]);
void config_fini(struct tracker_config *c);
/* The values in force, a page for people. */
void config_print(const struct tracker_config *c, FILE *to);
/* What is permitted but probably not meant; false: no more. */
bool config_warning(const struct tracker_config *c, size_t i, char text[CONF_WHY_MAX]);
/* Only where the Unix socket is, for commands; `file` may be NULL. */
must_use int config_socket(const char *file, const struct settings_flag *flags, size_t n_flags,
                           char path[CONF_WHY_MAX], char why[CONF_WHY_MAX]);

extern const struct settings_key config_keys[];
extern const size_t config_keys_n;
