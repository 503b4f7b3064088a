/* region_ask.c - see region_ask.h. */
#include "runtime/region_ask.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

int region_ask(struct region *r, struct http_client *client, const struct region_to *to,
               const struct http_transfer_options *opt, struct http_transfer **out)
{
    char url[LIMIT_HTTP_TARGET_BYTES + ADDR_TEXT_SIZE + 16], at[ADDR_TEXT_SIZE];
    char header[MESH_PEER_HEADER_MAX + 16] = "Dray-Peer: ";
    const char *fields[1 + REGION_ASK_FIELDS] = {header};
    struct http_transfer_options o = *opt;
    struct mesh *m = region_mesh(r);
    if (!m)
        return ERR_UNREACHABLE;
    int rc =
        mesh_peer_sign(m, to->key, o.method ? o.method : "GET", to->path, header + strlen(header));
    if (rc)
        return rc;
    addr_format(to->addr, at);
    int len = snprintf(url, sizeof(url), "%s://%s%s", region_scheme(r), at, to->path);
    if (len < 0 || (size_t)len >= sizeof(url))
        return ERR_TOOBIG;
    assert(o.n_fields <= REGION_ASK_FIELDS);
    for (size_t i = 0; i < o.n_fields; i++)
        fields[1 + i] = o.fields[i];
    o.url = url;
    o.fields = fields;
    o.n_fields++;
    o.ca_file = region_ca(r);
    o.any_name = o.ca_file != NULL;
    return http_transfer_start(client, &o, out);
}
