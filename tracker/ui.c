/* ui.c - see ui.h. */
#include "tracker/ui.h"

#include <string.h>

#include "tracker/ui_files.h"

static const char at[] = "/ui";

static struct http_slice without_query(struct http_slice target)
{
    const char *query = memchr(target.p, '?', target.n);
    return (struct http_slice){target.p, query ? (size_t)(query - target.p) : target.n};
}

bool ui_takes(struct http_slice target)
{
    struct http_slice path = without_query(target);
    size_t n = sizeof(at) - 1;
    return path.n >= n && memcmp(path.p, at, n) == 0 && (path.n == n || path.p[n] == '/');
}

static const struct ui_file *find(struct http_slice path)
{
    size_t skip = sizeof(at); /* and the slash */
    for (size_t i = 0; i < UI_FILES_COUNT; i++)
        if (strlen(UI_FILES[i].path) == path.n - skip &&
            memcmp(UI_FILES[i].path, path.p + skip, path.n - skip) == 0)
            return &UI_FILES[i];
    return NULL;
}

static void add_policy(struct http_exchange *x)
{
    http_add(x, "Content-Security-Policy",
             "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
             "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    http_add(x, "X-Content-Type-Options", "nosniff");
    http_add(x, "Referrer-Policy", "no-referrer");
    http_add(x, "Cache-Control", "no-cache");
}

static void serve(struct tracker *t, struct http_exchange *x, const struct ui_file *f)
{
    const struct http_request *r = http_request(x);
    const struct http_slice *has = http_field(r, "If-None-Match");
    bool page = f->path[0] == '\0';
    int status = page && !api_may(t, r) ? 401 : 200;
    if (status == 200 && has && has->n == strlen(f->etag) && memcmp(has->p, f->etag, has->n) == 0)
        status = 304;
    add_policy(x);
    if (status == 401)
        http_add(x, "WWW-Authenticate", "Bearer realm=\"dray admin\"");
    else
        http_add(x, "ETag", "%s", f->etag);
    tracker_count(t, ROUTE_API, status);
    if (status == 304)
        http_reply(x, 304, NULL, 0);
    else
        http_reply_text(x, status, f->type, (const char *)f->bytes, f->len);
}

void ui_begin(struct tracker *t, struct http_exchange *x)
{
    const struct http_request *r = http_request(x);
    struct http_slice path = without_query(r->target);
    if (r->method != HTTP_GET && r->method != HTTP_HEAD) {
        api_refuse(t, x, OCI_UNSUPPORTED, "use GET");
        return;
    }
    if (path.n == sizeof(at) - 1) { /* relative links need the slash */
        http_add(x, "Location", "/ui/");
        tracker_count(t, ROUTE_API, 308);
        http_reply(x, 308, NULL, 0);
        return;
    }
    const struct ui_file *f = find(path);
    if (f)
        serve(t, x, f);
    else
        api_refuse(t, x, OCI_NAME_UNKNOWN, "no such file: the page is /ui/");
}
