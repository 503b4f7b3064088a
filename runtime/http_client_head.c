/* http_client_head.c - a response head, line by line, read strictly.
 *
 * libcurl has parsed the head by itself when these lines arrive; what is decided here is what we
 * show to our callers and what we refuse although libcurl would bear it: folded lines, two
 * different lengths, a length beside or beyond what we can count, transfer codings other than
 * chunked (libcurl would decode them), a switch of protocols nobody asked for. Registries send none
 * of these; an attacker between two parsers does (RFC 9112 sections 5.2, 6.3, 11.1).
 *
 * The bytes of all heads of a transfer are counted, so neither one long head nor endless 1xx heads
 * grow memory. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/http_client_impl.h"

void client_head_fini(struct client_head *h)
{
    free(h->text);
    free(h->response.fields);
    *h = (struct client_head){0};
}

static int refuse(struct client_head *h, int err, const char *why)
{
    h->why = why;
    return err;
}

/* Room for `more` bytes. Doubles, and cannot pass the cap on all heads by more than that. */
static int reserve(struct client_head *h, size_t more)
{
    size_t cap = h->cap == 0 ? 1024 : h->cap;
    char *text;

    if (h->cap - h->len >= more)
        return 0;
    while (cap - h->len < more)
        cap *= 2;
    text = realloc(h->text, cap);
    if (text == NULL)
        return refuse(h, ERR_NOMEM, "out of memory");
    h->text = text;
    h->cap = cap;
    return 0;
}

static bool is_token(const char *s, size_t len)
{
    if (len == 0)
        return false;
    for (size_t i = 0; i < len; i++) {
        u8 c = (u8)s[i];

        if (c <= 0x20 || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c) != NULL)
            return false;
    }
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200 OK": a new head begins. */
static int status_line(struct client_head *h, const char *line, size_t len)
{
    int status;

    if (len < 12 || memcmp(line, "HTTP/", 5) != 0)
        return refuse(h, ERR_PROTO, "the answer does not begin with a status line");
    /* One version digit, or two with a dot, then a blank and three digits. */
    line += 5;
    len -= 5;
    while (len > 0 && (is_digit(*line) || *line == '.'))
        line++, len--;
    if (len < 4 || *line != ' ' || !is_digit(line[1]) || !is_digit(line[2]) || !is_digit(line[3]) ||
        (len > 4 && line[4] != ' '))
        return refuse(h, ERR_PROTO, "the status line is malformed");
    status = (line[1] - '0') * 100 + (line[2] - '0') * 10 + (line[3] - '0');
    if (status < 100 || status > 599)
        return refuse(h, ERR_PROTO, "the status code is none of HTTP's");
    h->len = 0;
    h->response.n_fields = 0;
    h->response.status = status;
    h->started = true;
    return 0;
}

static int field_line(struct client_head *h, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    const char *value, *end = line + len;
    size_t name_len;
    int err;

    if (*line == ' ' || *line == '\t')
        return refuse(h, ERR_PROTO, "a header line is folded");
    if (colon == NULL)
        return refuse(h, ERR_PROTO, "a header line has no colon");
    name_len = (size_t)(colon - line);
    if (!is_token(line, name_len))
        return refuse(h, ERR_PROTO, "a header name is malformed");
    value = colon + 1;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    for (const char *c = value; c < end; c++)
        if (((u8)*c < 0x20 && *c != '\t') || *c == 0x7f)
            return refuse(h, ERR_PROTO, "a header value holds a control character");
    err = reserve(h, name_len + (size_t)(end - value) + 2);
    if (err != 0)
        return err;
    memcpy(h->text + h->len, line, name_len);
    h->len += name_len;
    h->text[h->len++] = '\0';
    memcpy(h->text + h->len, value, (size_t)(end - value));
    h->len += (size_t)(end - value);
    h->text[h->len++] = '\0';
    h->response.n_fields++;
    return 0;
}

/* Decimal digits only; UINT64_MAX is our "not said" and so too large. */
static bool parse_length(const char *text, u64 *out)
{
    u64 v = 0;

    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (!is_digit(*text) || v > (INT64_MAX - 9) / 10)
            return false;
        v = v * 10 + (u64)(*text - '0');
    }
    *out = v;
    return true;
}

/* What RFC 9112 section 6.3 says about the body's length, without its tolerance. */
static int framing(struct client_head *h)
{
    struct http_response *r = &h->response;
    bool chunked = false;
    u64 length;

    r->content_length = UINT64_MAX;
    for (size_t i = 0; i < r->n_fields; i++) {
        const char *value = r->fields[i].value;

        if (strcasecmp(r->fields[i].name, "Transfer-Encoding") == 0) {
            if (chunked || strcasecmp(value, "chunked") != 0)
                return refuse(h, ERR_PROTO, "the transfer coding is not plain chunked");
            chunked = true;
        } else if (strcasecmp(r->fields[i].name, "Content-Length") == 0) {
            if (!parse_length(value, &length))
                return refuse(h, ERR_PROTO, "the Content-Length is malformed");
            if (r->content_length != UINT64_MAX && r->content_length != length)
                return refuse(h, ERR_PROTO, "two Content-Lengths differ");
            r->content_length = length;
        }
    }
    if (chunked && r->content_length != UINT64_MAX)
        return refuse(h, ERR_PROTO, "both Content-Length and Transfer-Encoding are given");
    return 0;
}

static int head_end(struct client_head *h)
{
    struct http_response *r = &h->response;
    const char *at = h->text;
    int err;

    if (r->status == 101)
        return refuse(h, ERR_PROTO, "it switches protocols unasked");
    if (r->status < 200) {
        h->started = false;
        return 0;
    }
    free(r->fields);
    r->fields = calloc(r->n_fields + 1, sizeof(r->fields[0]));
    if (r->fields == NULL)
        return refuse(h, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < r->n_fields; i++) {
        r->fields[i].name = at;
        at += strlen(at) + 1;
        r->fields[i].value = at;
        at += strlen(at) + 1;
    }
    assert(at == NULL || at == h->text + h->len);
    err = framing(h);
    if (err != 0)
        return err;
    h->complete = true;
    return 1;
}

int client_head_line(struct client_head *h, const char *line, size_t len)
{
    h->seen += len;
    if (h->seen > LIMIT_UPSTREAM_HEAD_BYTES)
        return refuse(h, ERR_TOOBIG, "the head of its answer is larger than 64 KiB");
    if (h->complete)
        return 0;
    if (len > 0 && line[len - 1] == '\n')
        len--;
    if (len > 0 && line[len - 1] == '\r')
        len--;
    if (memchr(line, '\0', len) != NULL)
        return refuse(h, ERR_PROTO, "a header line holds NUL");
    if (!h->started)
        return status_line(h, line, len);
    if (len == 0)
        return head_end(h);
    return field_line(h, line, len);
}

const char *http_response_field(const struct http_response *r, const char *name)
{
    for (size_t i = 0; i < r->n_fields; i++)
        if (strcasecmp(r->fields[i].name, name) == 0)
            return r->fields[i].value;
    return NULL;
}
