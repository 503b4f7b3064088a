/* hygiene.h - where an upstream may send us: redirects, token realms, addresses.
 *
 * Why: a registry, or whoever speaks in its name, could point us at services inside the company
 * (SSRF) or make us carry a password elsewhere.
 *   own      the configured URL's host and port: trusted, at any address
 *   listed   named in upstreams[].allow_hosts ("host" for any port, or "host:port"): any address
 *   foreign  anything else: public addresses only, and never a token realm
 * Never from https to http. Authorization goes to own alone (a realm gets only our own Basic
 * login). Pure: looks at text and addresses, opens nothing. */
#pragma once

#include <sys/socket.h>

#include "proto/err.h"

#define URL_MAX 4096

enum target_kind { TARGET_OWN, TARGET_LISTED, TARGET_FOREIGN };

struct url_origin {
    bool https;
    char host[256]; /* lower case, no brackets */
    u16 port;
};

/* ERR_INVAL: not an absolute http(s) URL, or one with a user part. */
must_use int url_origin_parse(struct url_origin *o, const char *url);

/* `allow` as in the config. */
enum target_kind target_classify(const struct url_origin *own, const struct url_origin *target,
                                 char *const *allow, size_t n_allow);

/* Resolves a Location against the URL that answered with it. ERR_INVAL, ERR_TOOBIG. */
must_use int url_resolve(const char *base, const char *location, char out[URL_MAX]);

/* Is this an address that a foreign host may have? Not loopback, private (RFC 1918, 4193, 6598),
 * link-local, multicast, unspecified, nor IPv4 mapped to any of these. */
bool address_is_public(const struct sockaddr *address);
