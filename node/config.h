/* config.h - what an operator says: the YAML file and the flags over it, checked and in real units.
 *
 * Every key has a default but `upstreams`. A flag has the name of its key ("--store.path DIR",
 * "--listen ADDR"); a list is given by repeating the flag. What is wrong is said with file, line, key
 * and what to write instead. */
#pragma once

#include "proto/err.h"
#include "proto/limits.h"
#include "runtime/conf.h"
#include "runtime/log.h"

struct upstream_config {
    char *name;        /* what ?ns= names, and what logs say */
    char *url;         /* "https://registry.example.org[/base]"; no trailing slash, no /v2 */
    char *ca;          /* PEM bundle; NULL: the system's */
    char *credentials; /* file with "user:password"; NULL: anonymous */
    char **allow_hosts; /* "host" or "host:port" that redirects and token realms may lead to */
    size_t n_allow_hosts;
};

struct node_config {
    char *file; /* where it was read from; NULL when by flags alone */
    char *name, *region, *rack;
    char *listen, *advertise, *public_url;
    char **seeds;
    size_t n_seeds;
    char *mesh_key, *tracker_key;
    struct {
        char *cert, *key, *ca; /* all NULL: plain HTTP */
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

struct config_flag {
    const char *key;   /* "store.path" */
    const char *value;
};

/* Reads `file` (NULL: defaults only), lays the flags over it, fills defaults, checks everything that can
 * be checked without opening sockets: addresses, URLs, that files named exist and are readable, that
 * keys and credentials are private, that a listener off loopback has TLS or plain_http. */
must_use int config_load(struct node_config *out, const char *file, const struct config_flag *flags,
                         size_t n_flags, char why[CONF_WHY_MAX]);
void config_fini(struct node_config *c);

/* Every key with its default and one line of explanation, for --help and the README's table. */
struct config_key {
    const char *key, *default_text, *help;
};
extern const struct config_key config_keys[];
extern const size_t config_keys_n;
