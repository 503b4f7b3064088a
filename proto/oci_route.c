/* oci_route.c - what a request target asks for.
 *
 * Two readers that disagree about a path are a hole: one decides who may, the other what is sent.
 * So there is one reading, and it is strict:
 *
 *   - escapes are decoded once. What decodes (or stands there raw) to a slash, a NUL, a control
 *     character, a percent sign, a space or anything not ASCII is replaced by one byte that no
 *     grammar admits; the part it stands in is then refused, with that part's own error code.
 *   - a route is found from the right, since names contain slashes and may themselves contain the
 *     words of a route: /v2/blobs/manifests/manifests/latest is the tag `latest` of
 *     `blobs/manifests`.
 *   - of the query only `ns` is understood, and once: two would let two readers choose. The rest
 *     stays encoded, for the upstream, in its order.
 *
 * The method is not looked at: the caller knows which it serves. */
#include <assert.h>
#include <string.h>

#include "proto/err.h"
#include "proto/limits.h"
#include "proto/oci.h"

#define REFUSED '\x01' /* stands for a character that may not be there */

struct text {
    const char *at; /* borrowed from the decoded path */
    size_t len;
};

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Decodes the escape at `s` into `*c`; false when it is not a whole escape. */
static bool unescape(const char *s, size_t len, char *c)
{
    if (len < 3 || s[0] != '%')
        return false;
    int high = hex_value(s[1]), low = hex_value(s[2]);
    if (high < 0 || low < 0)
        return false;
    *c = (char)(high << 4 | low);
    return true;
}

/* Writes the decoded form of `raw` to `out` (at least as large); returns its length. */
static size_t decode(const char *raw, size_t len, char *out)
{
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        char c = raw[i];
        if (c == '%') {
            if (!unescape(raw + i, len - i, &c) || c == '/' || c == '%')
                c = REFUSED;
            else
                i += 2;
        }
        out[used++] = c > ' ' && c < 127 && c != '%' ? c : REFUSED;
    }
    return used;
}

static bool text_is(struct text t, const char *word)
{
    return t.len == strlen(word) && memcmp(t.at, word, t.len) == 0;
}

/* Cuts the last component and its slash off `path` and returns it; all of it if there is no slash,
 * and then `path` is empty. */
static struct text cut_last(struct text *path)
{
    size_t start = path->len;
    while (start > 0 && path->at[start - 1] != '/')
        start--;
    struct text last = {path->at + start, path->len - start};
    path->len = start > 0 ? start - 1 : 0;
    return last;
}

static int refuse(enum oci_code *code, enum oci_code why)
{
    *code = why;
    return ERR_INVAL;
}

static int read_name(struct oci_route *r, struct text name, enum oci_code *code)
{
    if (!oci_name_valid(name.at, name.len))
        return refuse(code, OCI_NAME_INVALID);
    assert(name.len < sizeof r->name);
    memcpy(r->name, name.at, name.len);
    return 0;
}

static int read_digest(struct oci_route *r, struct text t, enum oci_code *code)
{
    int err = digest_parse(&r->digest, t.at, t.len);
    if (err)
        return refuse(code, err == ERR_UNSUPPORTED ? OCI_UNSUPPORTED : OCI_DIGEST_INVALID);
    return 0;
}

static int read_reference(struct oci_route *r, struct text t, enum oci_code *code)
{
    if (t.len > 0 && memchr(t.at, ':', t.len))
        return read_digest(r, t, code);
    if (!oci_tag_valid(t.at, t.len))
        return refuse(code, OCI_MANIFEST_INVALID);
    assert(t.len < sizeof r->tag);
    memcpy(r->tag, t.at, t.len);
    return 0;
}

/* Finds the last "/blobs/uploads/" of the path; what follows it is the registry's own business,
 * but must be plain characters and no dot segments, since it may be passed on. */
static int read_upload(struct oci_route *r, struct text path, enum oci_code *code)
{
    static const char marker[] = "/blobs/uploads/";
    const size_t marker_len = sizeof marker - 1;
    for (size_t i = path.len; i-- > 0;) {
        if (path.len - i < marker_len || memcmp(path.at + i, marker, marker_len) != 0)
            continue;
        r->kind = OCI_ROUTE_UPLOAD;
        struct text rest = {path.at + i + marker_len, path.len - i - marker_len};
        while (rest.len > 0) {
            struct text part = cut_last(&rest);
            if (text_is(part, ".") || text_is(part, "..") ||
                (part.len > 0 && memchr(part.at, REFUSED, part.len)))
                return refuse(code, OCI_NAME_INVALID);
        }
        return read_name(r, (struct text){path.at, i}, code);
    }
    return ERR_NOTFOUND;
}

/* `path` is what follows "/v2/", decoded. */
static int read_path(struct oci_route *r, struct text path, enum oci_code *code)
{
    if (path.len == 0) {
        r->kind = OCI_ROUTE_PING;
        return 0;
    }
    if (text_is(path, "_catalog")) {
        r->kind = OCI_ROUTE_CATALOG;
        return 0;
    }
    struct text name = path;
    struct text last = cut_last(&name);
    struct text word = cut_last(&name);
    int err;
    if (text_is(word, "blobs") && text_is(last, "uploads")) {
        r->kind = OCI_ROUTE_UPLOAD;
        return read_name(r, name, code);
    }
    if (text_is(word, "blobs")) {
        r->kind = OCI_ROUTE_BLOB;
        err = read_name(r, name, code);
        return err ? err : read_digest(r, last, code);
    }
    if (text_is(word, "referrers")) {
        r->kind = OCI_ROUTE_REFERRERS;
        err = read_name(r, name, code);
        return err ? err : read_digest(r, last, code);
    }
    if (text_is(word, "manifests")) {
        r->kind = OCI_ROUTE_MANIFEST;
        err = read_name(r, name, code);
        return err ? err : read_reference(r, last, code);
    }
    if (text_is(word, "tags") && text_is(last, "list")) {
        r->kind = OCI_ROUTE_TAGS;
        return read_name(r, name, code);
    }
    return read_upload(r, path, code);
}

/* host[:port] as it can stand in an image reference; an IPv6 address stands in brackets. */
static bool ns_valid(const char *ns, size_t len)
{
    size_t i = 0;
    bool bracketed = len > 0 && ns[0] == '[';
    for (i = bracketed; i < len; i++) {
        char c = ns[i];
        bool digit = c >= '0' && c <= '9', hex = digit || hex_value(c) >= 0;
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (bracketed ? !hex && c != ':' && c != '.' : !digit && !letter && c != '.' && c != '-')
            break;
    }
    if (i == (bracketed ? 1u : 0u))
        return false;
    if (bracketed && (i == len || ns[i++] != ']'))
        return false;
    if (i == len)
        return true;
    unsigned port = 0;
    size_t digits = len - i - 1;
    if (ns[i] != ':' || digits == 0 || digits > 5)
        return false;
    for (i++; i < len; i++) {
        if (ns[i] < '0' || ns[i] > '9')
            return false;
        port = port * 10 + (unsigned)(ns[i] - '0');
    }
    return port >= 1 && port <= 65535;
}

/* True when the parameter's key, decoded, is `ns`; `*value` is then where its value starts (the
 * end when there is none). */
static bool is_ns(const char *param, size_t len, size_t *value)
{
    char key[2];
    size_t i = 0;
    for (size_t n = 0; n < sizeof key; n++) {
        if (i == len)
            return false;
        if (unescape(param + i, len - i, &key[n]))
            i += 3;
        else
            key[n] = param[i++];
    }
    if (memcmp(key, "ns", 2) != 0 || (i < len && param[i] != '='))
        return false;
    *value = i < len ? i + 1 : len;
    return true;
}

static bool read_ns(struct oci_route *r, const char *raw, size_t len)
{
    char ns[LIMIT_HTTP_TARGET_BYTES];
    if (r->ns[0] != '\0')
        return false;
    size_t used = decode(raw, len, ns);
    if (used > OCI_NS_MAX || !ns_valid(ns, used))
        return false;
    memcpy(r->ns, ns, used);
    return true;
}

static int read_query(struct oci_route *r, const char *raw, size_t len, enum oci_code *code)
{
    size_t used = 0;
    for (size_t start = 0; start < len;) {
        const char *amp = memchr(raw + start, '&', len - start);
        size_t end = amp ? (size_t)(amp - raw) : len;
        const char *param = raw + start;
        size_t param_len = end - start, value;
        start = amp ? end + 1 : len;
        if (param_len == 0)
            continue;
        if (is_ns(param, param_len, &value)) {
            if (!read_ns(r, param + value, param_len - value))
                return refuse(code, OCI_NAME_INVALID);
            continue;
        }
        for (size_t i = 0; i < param_len; i++) {
            if (param[i] <= ' ' || param[i] >= 127 || param[i] == '#')
                return refuse(code, OCI_NAME_INVALID);
        }
        size_t separator = used > 0;
        if (used + separator + param_len > OCI_QUERY_MAX)
            return refuse(code, OCI_NAME_INVALID);
        if (separator)
            r->query[used++] = '&';
        memcpy(r->query + used, param, param_len);
        used += param_len;
    }
    return 0;
}

int oci_route_parse(struct oci_route *r, const char *target, size_t len, enum oci_code *code)
{
    assert(r && code && (target || len == 0));
    char path[LIMIT_HTTP_TARGET_BYTES];
    int err = ERR_NOTFOUND;
    *r = (struct oci_route){0};
    *code = OCI_UNKNOWN;
    if (len > sizeof path)
        return refuse(code, OCI_NAME_INVALID);
    const char *mark = len ? memchr(target, '?', len) : NULL;
    size_t path_len = mark ? (size_t)(mark - target) : len;
    size_t used = path_len ? decode(target, path_len, path) : 0;
    if (used == 3 && memcmp(path, "/v2", 3) == 0)
        err = read_path(r, (struct text){path, 0}, code);
    else if (used >= 4 && memcmp(path, "/v2/", 4) == 0)
        err = read_path(r, (struct text){path + 4, used - 4}, code);
    if (err == 0 && mark)
        err = read_query(r, mark + 1, len - path_len - 1, code);
    if (err)
        *r = (struct oci_route){0};
    return err;
}
