/* pull_document.c - see pull_document.h. */
#include "node/pull_document.h"

#include <string.h>

#include "runtime/clock.h"

void document_reply(struct node *n, struct http_exchange *x, struct document *d, bool head)
{
    http_add_lines(x, d->lines, d->lines_len);
    http_add_n(x, (struct http_slice){"X-Dray-Node", 11},
               (struct http_slice){n->config->name, strlen(n->config->name)});
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
