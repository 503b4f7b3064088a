/* pull_document.c - see pull_document.h. */
#include "node/pull_document.h"

#include "node/clock.h"

void document_reply(struct node *n, struct http_exchange *x, struct document *d, bool head)
{
    char digest[DIGEST_TEXT_SIZE];
    digest_format(&d->digest, digest);
    http_add(x, "Content-Type", "%s", d->media_type);
    http_add(x, "Docker-Content-Digest", "%s", digest);
    http_add(x, "Docker-Distribution-Api-Version", "registry/2.0");
    http_add(x, "ETag", "\"%s\"", digest);
    http_add(x, "X-Dray-Source", "store");
    http_add(x, "X-Dray-Node", "%s", n->config->name);
    node_count(n, ROUTE_MANIFEST, 200);
    u64 len = d->len;
    struct body *body = head ? NULL : body_borrow(d->data, d->len, document_release, d);
    if (!body)
        document_release(d);
    if (!body && !head) {
        http_reply_oci(x, OCI_UNAVAILABLE, "out of memory", NULL);
        return;
    }
    n->served[SOURCE_STORE] += head ? 0 : len;
    http_reply(x, 200, body, len);
}

bool document_serve_hot(struct node *n, struct http_exchange *x, const struct oci_route *route,
                        struct upstream *up)
{
    if (route->kind != OCI_ROUTE_MANIFEST || route->tag[0])
        return false;
    const struct http_request *r = http_request(x);
    const struct http_slice *auth = http_field(r, "Authorization");
    struct authz_user user;
    authz_user(n->authz, auth ? auth->p : NULL, auth ? auth->n : 0, &user);
    if (authz_check(n->authz, &user, upstream_name(up), route->name, &route->digest, wall_ms()) !=
        AUTHZ_GRANTED)
        return false;
    struct document *d = memo_get(n->memo, &route->digest);
    if (!d)
        return false;
    *n->authz_count[AUTHZ_COUNT_REMEMBERED] += 1;
    document_reply(n, x, d, r->method == HTTP_HEAD);
    return true;
}
