/* http_reply.c - the answer's head, and the small answers.
 *
 * The handler's fields are written first, behind a lead left free; when the status and length are
 * known the status line and the connection's own fields go into that lead, so that nothing is
 * moved. An answer is only marked ready here: it is sent when the handler has returned, or at the
 * end of this turn of the loop. So no callback ever runs from inside http_reply(). */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/http_conn.h"

static_assert(HTTP_REPLY_SMALL > HTTP_REPLY_LEAD + HTTP_REPLY_TAIL + 2, "room for fields");

#define OCI_BODY_MAX 2048

/* RFC 9110 section 15, those that a registry's answers use. */
static const char *status_text(int status)
{
    switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Status";
    }
}

/* --- fields ---------------------------------------------------------------------------------- */

static bool name_valid(struct http_slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        u8 c = (u8)s.p[i];
        if (c <= 0x20 || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c))
            return false;
    }
    return s.n > 0;
}

static bool value_valid(struct http_slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        u8 c = (u8)s.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* The connection writes these itself. */
static bool reserved(struct http_slice name)
{
    static const char *const names[] = {"content-length", "transfer-encoding", "connection", "date",
                                        "server",         "keep-alive"};
    for (size_t i = 0; i < countof(names); i++)
        if (strlen(names[i]) == name.n && strncasecmp(names[i], name.p, name.n) == 0)
            return true;
    return false;
}

/* Makes room for `n` more bytes of fields, and what comes after them. */
static int reserve(struct http_exchange *x, size_t n)
{
    size_t need = x->out_len + n + 2 + HTTP_REPLY_TAIL;
    if (x->out_len + n + 2 > LIMIT_HTTP_REPLY_HEAD)
        return ERR_TOOBIG;
    if (need <= x->out_cap)
        return 0;
    size_t cap = x->out_cap;
    while (cap < need)
        cap *= 2;
    char *grown = realloc(x->out == x->small ? NULL : x->out, cap);
    if (!grown)
        return ERR_NOMEM;
    if (x->out == x->small)
        memcpy(grown, x->small, x->out_len);
    x->out = grown;
    x->out_cap = (u32)cap;
    return 0;
}

int http_add_n(struct http_exchange *x, struct http_slice name, struct http_slice value)
{
    assert(x->status == 0);
    if (reserved(name) || !name_valid(name) || !value_valid(value))
        return ERR_INVAL;
    if (name.n > LIMIT_HTTP_REPLY_HEAD || value.n > LIMIT_HTTP_REPLY_HEAD)
        return ERR_TOOBIG;
    int rc = reserve(x, name.n + value.n + 4);
    if (rc)
        return rc;
    char *p = x->out + x->out_len;
    memcpy(p, name.p, name.n);
    p += name.n;
    memcpy(p, ": ", 2);
    p += 2;
    if (value.n > 0)
        memcpy(p, value.p, value.n);
    p += value.n;
    memcpy(p, "\r\n", 2);
    x->out_len += (u32)(name.n + value.n + 4);
    return 0;
}

size_t http_line(char *out, size_t cap, const char *name, const char *value)
{
    struct http_slice n = {name, strlen(name)}, v = {value, strlen(value)};
    size_t len = n.n + v.n + 4;
    if (reserved(n) || !name_valid(n) || !value_valid(v) || len > cap)
        return 0;
    memcpy(out, name, n.n);
    memcpy(out + n.n, ": ", 2);
    memcpy(out + n.n + 2, value, v.n);
    memcpy(out + len - 2, "\r\n", 2);
    return len;
}

int http_add_lines(struct http_exchange *x, const char *lines, size_t len)
{
    assert(x->status == 0);
    if (len > LIMIT_HTTP_REPLY_HEAD)
        return ERR_TOOBIG;
    int rc = reserve(x, len);
    if (rc)
        return rc;
    memcpy(x->out + x->out_len, lines, len);
    x->out_len += (u32)len;
    return 0;
}

int http_add(struct http_exchange *x, const char *name, const char *format, ...)
{
    char small[512];
    char *text = small, *owned = NULL;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(small, sizeof(small), format, args);
    va_end(args);
    if (n < 0)
        return ERR_INVAL;
    if ((size_t)n >= sizeof(small)) {
        if ((size_t)n > LIMIT_HTTP_REPLY_HEAD)
            return ERR_TOOBIG;
        text = owned = malloc((size_t)n + 1);
        if (!owned)
            return ERR_NOMEM;
        va_start(args, format);
        (void)vsnprintf(owned, (size_t)n + 1, format, args);
        va_end(args);
    }
    int rc = http_add_n(x, (struct http_slice){name, strlen(name)},
                        (struct http_slice){text, (size_t)n});
    free(owned);
    return rc;
}

/* --- the answer ------------------------------------------------------------------------------ */

/* Status line and the connection's own fields, into the lead. */
static void put_lead(struct http_exchange *x, bool has_length, u64 length)
{
    char lead[HTTP_REPLY_LEAD], framing[48] = "";
    const char *ends = "";
    if (has_length)
        snprintf(framing, sizeof(framing), "Content-Length: %llu\r\n", (unsigned long long)length);
    else if (x->chunked)
        snprintf(framing, sizeof(framing), "Transfer-Encoding: chunked\r\n");
    if (x->close)
        ends = "Connection: close\r\n";
    else if (x->minor == 0)
        ends = "Connection: keep-alive\r\n";
    int n = snprintf(lead, sizeof(lead), "HTTP/1.1 %d %s\r\nServer: dray\r\nDate: %s\r\n%s%s",
                     x->status, status_text(x->status), http_server_date(x->conn->server), framing,
                     ends);
    assert(n > 0 && (size_t)n < sizeof(lead));
    x->out_at = HTTP_REPLY_LEAD - (u32)n;
    memcpy(x->out + x->out_at, lead, (size_t)n);
    memcpy(x->out + x->out_len, "\r\n", 2);
    x->out_len += 2;
}

void http_reply(struct http_exchange *x, int status, struct body *body, u64 length)
{
    assert(x->status == 0);
    if (status < 200 || status > 599)
        status = 502;
    struct http_conn *c = x->conn;
    bool bare = status == 204 || status == 304;
    bool bodiless = bare || x->request.method == HTTP_HEAD;
    x->status = status;
    x->body = body;
    if (!body && !bodiless)
        length = 0;
    if (!x->keep_alive || c->server->draining || (x->upload && !x->upload_ended))
        x->close = true;
    x->upload_wanted = false;
    if (length == HTTP_LENGTH_UNKNOWN && !bodiless) {
        x->chunked = x->minor == 1;
        if (!x->chunked)
            x->close = true; /* HTTP/1.0: the end is the end of the connection */
    }
    x->left = bodiless ? 0 : length;
    put_lead(x, !bare && length != HTTP_LENGTH_UNKNOWN, length);
    http_conn_queue(c);
}

void http_reply_text(struct http_exchange *x, int status, const char *content_type,
                     const char *text, size_t len)
{
    struct body *body = body_copy(text, len);
    if (!body) {
        http_reply(x, 500, NULL, 0);
        return;
    }
    if (content_type)
        (void)http_add(x, "Content-Type", "%s", content_type);
    http_reply(x, status, body, len);
}

void http_reply_oci_status(struct http_exchange *x, int status, enum oci_code code,
                           const char *message, const char *detail)
{
    char text[OCI_BODY_MAX];
    size_t n = oci_error_body(text, sizeof(text), code, message, detail);
    http_reply_text(x, status, "application/json", text, n);
}

void http_reply_oci(struct http_exchange *x, enum oci_code code, const char *message,
                    const char *detail)
{
    http_reply_oci_status(x, oci_code_status(code), code, message, detail);
}
