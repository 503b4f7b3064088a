/* check.h - is this text what a key wants? Words, addresses, URLs, files.
 *
 * Each check_*() returns NULL when it is fine, else a sentence that follows the value: what is
 * wrong and what to write. The sentence is static, but for those of files, which go to `why`.
 * Nothing is resolved and nothing connected; files are opened and closed again. */
#pragma once

#include "proto/err.h"
#include "proto/oci.h"
#include "runtime/conf.h"

#define CHECK_URL_MAX 2048

/* A name of a node, region or rack. */
const char *check_label(const char *text);

struct listen_kind {
    bool loopback, wildcard;
};
/* "0.0.0.0:5000", "[::]:5000": an address of this machine, numeric. Port 0: any free one. */
const char *check_listen(const char *text, struct listen_kind *kind);
/* "10.20.1.5:5000", "rack-1.example.net:5000": somewhere to connect to. */
const char *check_endpoint(const char *text);
/* "host" or "host:port". */
const char *check_host(const char *text);
/* What ?ns= may say: "host" or "host:port". */
const char *check_ns(const char *text);
/* http or https, a host, perhaps a port; a trailing slash is fine; no path unless `path_allowed`.
 */
const char *check_url(const char *text, bool path_allowed);
/* check_url() and what else a registry's URL must not be. */
const char *check_upstream_url(const char *text);
/* The name by which clients know the registry at a checked URL: host[:port], in lower case. */
void check_name_of_url(const char *url, char name[OCI_NS_MAX + 1]);
/* Is the host of a checked URL this machine, by its spelling? */
bool check_is_loopback(const char *url);
bool check_is_https(const char *url);

/* Can be read, and is a file. */
const char *check_file(const char *path, char why[CONF_WHY_MAX]);
/* Also: nobody else may read or write it. */
const char *check_private_file(const char *path, char why[CONF_WHY_MAX]);
/* A private file with one line "user:password". */
const char *check_credentials(const char *path, char why[CONF_WHY_MAX]);
/* A private file with one word of at least 16 characters. */
const char *check_token(const char *path, char why[CONF_WHY_MAX]);
/* A private file of lines "id:base64", each a mesh key. */
const char *check_mesh_key(const char *path, char why[CONF_WHY_MAX]);
/* A private file of lines "id:base64", each a secret ticket key. */
const char *check_ticket_key(const char *path, char why[CONF_WHY_MAX]);
/* A file of lines "id:base64", each a public ticket key. */
const char *check_tracker_key(const char *path, char why[CONF_WHY_MAX]);
