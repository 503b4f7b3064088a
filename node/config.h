/* config.h - what an operator says: the YAML file and the flags over it, checked and in real units.
 *
 * Every key has a default but `upstreams`. A flag has the name of its key ("--store.path DIR",
 * "--listen ADDR"); a list is given by repeating the flag. What is wrong is said with file, line,
 * key and what to write instead. Upstreams stand in the file, or are given by "--upstream URL",
 * which replaces those of the file. */
#pragma once

#include <stdio.h>

#include "proto/err.h"
#include "proto/limits.h"
#include "runtime/conf.h"
#include "runtime/log.h"
#include "runtime/settings.h"
#include "runtime/upstream_config.h"

#define CONFIG_DEFAULT_FILE "/etc/dray/node.yaml"

struct node_config {
    char *file;                 /* where it was read from; NULL when by flags alone */
    char *name, *region, *rack; /* rack may be "" */
    char *listen;
    bool listen_assumed; /* nothing said where to listen nor that plain HTTP is fine: loopback */
    char *advertise;     /* default: listen, unless that is a wildcard: then NULL */
    char *public_url; /* default: advertise as a URL; NULL when that is NULL. No trailing slash */
    char **seeds;
    size_t n_seeds;
    char *mesh_key, *tracker_key;
    struct {
        char *cert, *key, *ca; /* all NULL: plain HTTP. ca: who signs peers, not users */
    } tls;
    bool plain_http, peer_plain;
    struct {
        char *path;
        u64 capacity_bytes;
        u64 scrub_ms; /* one full round of re-reading; 0: never */
    } store;
    struct cidr *serves;
    size_t n_serves;
    struct upstream_config *upstreams; /* the first is the default one */
    size_t n_upstreams;
    struct {
        u64 ttl_ms, grace_ms;
    } authz;
    struct {
        u64 upload, download, wan; /* bytes per second, 0: no limit */
        u32 connections;
    } limits;
    struct {
        char *socket; /* default: <store.path>/dray.sock */
        char *token;  /* file; NULL: no token */
        struct cidr *allow;
        size_t n_allow;
    } admin;
    struct {
        enum log_level level;
        enum log_format format;
    } log;
};

/* Reads `file` (NULL: defaults only), lays the flags over it, fills defaults, checks everything
 * that can be checked without opening sockets: addresses, URLs, that files named exist and are
 * readable, that keys and credentials are private, that a listener off loopback has TLS or
 * plain_http. On failure `*out` is empty and `why` says what to do. */
must_use int config_load(struct node_config *out, const char *file,
                         const struct settings_flag *flags, size_t n_flags, char why[CONF_WHY_MAX]);
void config_fini(struct node_config *c);

/* What is permitted but probably not meant. The `i`-th warning, counted from 0; false: no more. */
bool config_warning(const struct node_config *c, size_t i, char text[CONF_WHY_MAX]);
/* The values in force, a page for people. */
void config_print(const struct node_config *c, FILE *to);

/* Only where the daemon's Unix socket is, for commands that run as somebody who may not read keys:
 * checks nothing else. Flags "admin.socket" and "store.path" count; `file` may be NULL. */
must_use int config_socket(const char *file, const struct settings_flag *flags, size_t n_flags,
                           char path[CONF_WHY_MAX], char why[CONF_WHY_MAX]);

/* For --help, the README's table, and config.c itself. */
extern const struct settings_key config_keys[];
extern const size_t config_keys_n;
