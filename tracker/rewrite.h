/* rewrite.h - host names in what passes: the registry's own URL becomes the one that the client
 * sees, and who asks is told to the registry truly.
 *
 * Why: a registry that is told its public name answers with it (distribution reads Forwarded, then
 * X-Forwarded-Proto and -Host); one with a fixed `http.host` answers with its own. Clients must
 * come back to us in both cases, so a Location, Link or token realm that names the registry's own
 * URL is changed, and nothing else. What a client claims of Forwarded and X-Forwarded-* is dropped,
 * except from trusted proxies. Pure: text to text. */
#pragma once

#include "runtime/conf.h"
#include "runtime/http_server.h"

#define REWRITE_MAX 4096

/* As whom the client knows us, and from where it comes. */
struct rewrite_seen {
    char base[600]; /* "https://dray.example.org" */
    char host[300]; /* of it, with port */
    bool https;
    char client[64];                 /* its address, without port; "" on a Unix socket */
    char forwarded[512];             /* the X-Forwarded-For to send */
    struct sockaddr_storage address; /* of the client; AF_UNSPEC: not known */
};

/* `proxies` may speak for others. `public_url` is used where the request has no usable Host. */
void rewrite_see(struct rewrite_seen *s, const struct http_request *r, const char *public_url,
                 const struct cidr *proxies, size_t n_proxies);

/* Is it a field that is not passed on to the registry: hop-by-hop (RFC 9110, 7.6.1), named by
 * Connection, or ours to say? Authorization never is. */
bool rewrite_drops_request(const struct http_request *r, const struct http_field *f);
/* The same of an answer. `connection` is its Connection field, NULL: none. */
bool rewrite_drops_answer(const char *name, const char *connection);

/* `value` with the registry's URL (no trailing slash) exchanged for `base`. False: `value` is not
 * of the registry, or too long, and is passed on as it is. */
bool rewrite_url(const char *value, const char *registry, const char *base, char out[REWRITE_MAX]);
/* The same within <...> of a Link. */
bool rewrite_link(const char *value, const char *registry, const char *base, char out[REWRITE_MAX]);
/* The same for the realm of a challenge; `path` (REWRITE_MAX) gets the realm's path. */
bool rewrite_realm(const char *value, const char *registry, const char *base, char out[REWRITE_MAX],
                   char path[REWRITE_MAX]);
/* No segment of the path is "." or "..", encoded or not: a registry could clean the path and answer
 * for something else. */
bool rewrite_path_is_plain(const char *target, size_t len);
