/* Any text read as a request target. What is accepted holds nothing that another reader of the same
 * path could take differently; written out again it reads the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/err.h"
#include "proto/oci.h"

static void must(bool holds)
{
    if (!holds)
        abort();
}

static bool same(const struct oci_route *a, const struct oci_route *b)
{
    return a->kind == b->kind && digest_equal(&a->digest, &b->digest) &&
           strcmp(a->name, b->name) == 0 && strcmp(a->tag, b->tag) == 0 &&
           strcmp(a->ns, b->ns) == 0 && strcmp(a->query, b->query) == 0;
}

/* The canonical target of a route, without its query; 0 for an upload, whose tail is not kept. */
static int write_target(const struct oci_route *r, char *out, size_t cap)
{
    char digest[DIGEST_TEXT_SIZE] = "";
    if (r->digest.alg != DIGEST_NONE)
        digest_format(&r->digest, digest);
    switch (r->kind) {
    case OCI_ROUTE_NONE: abort();
    case OCI_ROUTE_PING: return snprintf(out, cap, "/v2/");
    case OCI_ROUTE_CATALOG: return snprintf(out, cap, "/v2/_catalog");
    case OCI_ROUTE_BLOB: return snprintf(out, cap, "/v2/%s/blobs/%s", r->name, digest);
    case OCI_ROUTE_REFERRERS: return snprintf(out, cap, "/v2/%s/referrers/%s", r->name, digest);
    case OCI_ROUTE_TAGS: return snprintf(out, cap, "/v2/%s/tags/list", r->name);
    case OCI_ROUTE_MANIFEST:
        must((r->tag[0] != '\0') != (digest[0] != '\0'));
        return snprintf(out, cap, "/v2/%s/manifests/%s%s", r->name, r->tag, digest);
    case OCI_ROUTE_UPLOAD: return 0;
    }
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct oci_route r, again, nothing = {0};
    enum oci_code code;
    char target[4096], body[256];
    int err = oci_route_parse(&r, (const char *)data, size, &code);
    if (err) {
        must(err == ERR_INVAL || err == ERR_NOTFOUND);
        must(same(&r, &nothing));
        /* The detail is whatever was asked: the answer is closed all the same. */
        char asked[512];
        size_t n = size < sizeof asked - 1 ? size : sizeof asked - 1;
        memcpy(asked, data, n);
        asked[n] = '\0';
        size_t len = oci_error_body(body, sizeof body, code, NULL, asked);
        must(len < sizeof body && strlen(body) == len && strcmp(body + len - 4, "\"}]}") == 0);
        return 0;
    }
    must(r.kind == OCI_ROUTE_PING || r.kind == OCI_ROUTE_CATALOG ||
         oci_name_valid(r.name, strlen(r.name)));
    must(r.tag[0] == '\0' || oci_tag_valid(r.tag, strlen(r.tag)));
    for (const char *c = r.query; *c; c++)
        must(*c > ' ' && *c < 127);
    for (const char *c = r.ns; *c; c++)
        must(*c > ' ' && *c < 127 && !strchr("/%@?#\\&\"", *c));
    int len = write_target(&r, target, sizeof target);
    if (len == 0)
        return 0;
    /* An empty ns would be refused, so it is only written when there is one. */
    len += snprintf(target + len, sizeof target - (size_t)len, "?%s%s&%s", r.ns[0] ? "ns=" : "",
                    r.ns, r.query);
    must(oci_route_parse(&again, target, (size_t)len, &code) == 0);
    must(same(&r, &again));
    return 0;
}
