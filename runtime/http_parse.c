/* http_parse.c - see http_parse.h.
 *
 * The order of judgement: bytes and lines (scan), the request line, llhttp over the whole head,
 * then the fields that decide where the message ends. llhttp's lenient flags are all off; where it
 * is still lenient (bare CR and LF in places, several Content-Length or Host lines, codings before
 * `chunked`, methods we do not have, targets that are not paths), the rules below are ours.
 *
 * This file alone includes llhttp.h: its HTTP_GET is not http_server.h's. */
#include "runtime/http_parse.h"

#include <assert.h>
#include <llhttp.h>
#include <string.h>
#include <strings.h>

static_assert(LIMIT_HTTP_HEAD_BYTES <= UINT16_MAX, "spans are 16 bits");

/* "OPTIONS " and " HTTP/1.1" around a target. */
#define REQUEST_LINE_OVERHEAD 24

static const struct {
    const char *name, *text;
    int status;
} refusals[HTTP_REFUSALS] = {{"none", "", 200},
#define X(name, status, text) {#name, text, status},
                             HTTP_REFUSAL_TABLE(X)
#undef X
};

const char *http_refusal_name(enum http_refusal r)
{
    return refusals[r].name;
}
const char *http_refusal_text(enum http_refusal r)
{
    return refusals[r].text;
}
int http_refusal_status(enum http_refusal r)
{
    return refusals[r].status;
}

static int refuse(enum http_refusal *why, enum http_refusal r)
{
    *why = r;
    return ERR_PROTO;
}

/* --- lines ----------------------------------------------------------------------------------- */

/* A CR LF ends at byte `at`. Returns whether it was the blank line. */
static bool scan_line_end(struct http_scan *s, u32 at, bool *too_many)
{
    bool blank = at - s->line == 1;
    s->line = at + 1;
    *too_many = false;
    if (!blank) {
        s->lines++;
        *too_many = s->lines > LIMIT_HTTP_HEADERS + 1;
        return false;
    }
    if (s->lines == 0 && !s->skipped) { /* RFC 9112 section 2.2: one is to be forgiven */
        s->skipped = true;
        return false;
    }
    return true;
}

static enum http_refusal scan_too_long(const struct http_scan *s)
{
    if (s->at - s->line > LIMIT_HTTP_TARGET_BYTES + REQUEST_LINE_OVERHEAD && s->lines == 0)
        return HTTP_REFUSE_TARGET_LONG;
    return s->at >= LIMIT_HTTP_HEAD_BYTES ? HTTP_REFUSE_HEAD_LONG : HTTP_REFUSE_NONE;
}

int http_head_scan(struct http_scan *s, const char *buf, size_t len, size_t *head_len,
                   enum http_refusal *why)
{
    if (len > LIMIT_HTTP_HEAD_BYTES)
        len = LIMIT_HTTP_HEAD_BYTES;
    for (; s->at < len; s->at++) {
        u8 b = (u8)buf[s->at];
        bool starts = s->at == s->line;
        if (b > 0x20 && b != 0x7f) {
            /* A request begins with a method; a TLS hello or other binary ends here. */
            if (starts && s->lines == 0 && !(b >= 'A' && b <= 'Z') && !(b >= 'a' && b <= 'z'))
                return refuse(why, HTTP_REFUSE_SYNTAX);
            if (s->at > 0 && buf[s->at - 1] == '\r')
                return refuse(why, HTTP_REFUSE_LINE_END);
            continue;
        }
        bool after_cr = s->at > s->line && buf[s->at - 1] == '\r';
        if (b == '\n') {
            bool too_many;
            if (!after_cr)
                return refuse(why, HTTP_REFUSE_LINE_END);
            if (scan_line_end(s, s->at, &too_many)) {
                *head_len = ++s->at;
                return s->lines == 0 ? refuse(why, HTTP_REFUSE_SYNTAX) : 0;
            }
            if (too_many)
                return refuse(why, HTTP_REFUSE_FIELDS);
            continue;
        }
        if (after_cr)
            return refuse(why, HTTP_REFUSE_LINE_END);
        if (b == '\r')
            continue;
        if (b != ' ' && b != '\t')
            return refuse(why, HTTP_REFUSE_CONTROL);
        if (starts)
            return refuse(why, s->lines ? HTTP_REFUSE_FOLDED : HTTP_REFUSE_SYNTAX);
    }
    *why = scan_too_long(s);
    return *why ? ERR_PROTO : ERR_AGAIN;
}

/* --- the request line ------------------------------------------------------------------------ */

static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};

static bool method_known(const char *p, size_t n)
{
    for (size_t i = 0; i < countof(methods); i++)
        if (strlen(methods[i]) == n && memcmp(methods[i], p, n) == 0)
            return true;
    return false;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* RFC 9110 section 5.6.2. */
static bool is_token(const char *p, size_t n)
{
    static const bool tchar[256] = {
        ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['!'] = true,
        ['#'] = true,         ['$'] = true,         ['%'] = true,         ['&'] = true,
        ['\''] = true,        ['*'] = true,         ['+'] = true,         ['-'] = true,
        ['.'] = true,         ['^'] = true,         ['_'] = true,         ['`'] = true,
        ['|'] = true,         ['~'] = true,
    };
    for (size_t i = 0; i < n; i++)
        if (!tchar[(u8)p[i]])
            return false;
    return n > 0;
}

static enum http_refusal judge_version(const char *p, size_t n, u8 *minor)
{
    if (n != 8 || memcmp(p, "HTTP/", 5) != 0 || !is_digit(p[5]) || p[6] != '.' || !is_digit(p[7]))
        return HTTP_REFUSE_SYNTAX;
    if (p[5] != '1' || p[7] > '1')
        return HTTP_REFUSE_VERSION;
    *minor = (u8)(p[7] - '0');
    return HTTP_REFUSE_NONE;
}

static enum http_refusal judge_target(const char *p, size_t n)
{
    if (n > LIMIT_HTTP_TARGET_BYTES)
        return HTTP_REFUSE_TARGET_LONG;
    if (n == 0 || p[0] != '/')
        return HTTP_REFUSE_TARGET;
    for (size_t i = 0; i < n; i++)
        if ((u8)p[i] <= 0x20 || (u8)p[i] >= 0x7f || p[i] == '#')
            return HTTP_REFUSE_TARGET;
    return HTTP_REFUSE_NONE;
}

/* METHOD SP target SP version, exactly one blank each. */
static enum http_refusal judge_request_line(struct http_head *h, const char *buf, size_t from,
                                            size_t end)
{
    const char *line = buf + from;
    size_t n = end - from;
    const char *blank1 = memchr(line, ' ', n);
    if (!blank1)
        return HTTP_REFUSE_SYNTAX;
    const char *target = blank1 + 1;
    const char *blank2 = memchr(target, ' ', (size_t)(line + n - target));
    if (!blank2)
        return HTTP_REFUSE_SYNTAX;
    h->method = (struct http_span){(u16)from, (u16)(blank1 - line)};
    h->target = (struct http_span){(u16)(target - buf), (u16)(blank2 - target)};
    if (!is_token(line, h->method.n))
        return HTTP_REFUSE_SYNTAX;
    enum http_refusal r = judge_version(blank2 + 1, (size_t)(line + n - blank2 - 1), &h->minor);
    if (r)
        return r;
    if (!method_known(line, h->method.n))
        return HTTP_REFUSE_METHOD;
    return judge_target(target, h->target.n);
}

/* --- llhttp ---------------------------------------------------------------------------------- */

struct split { /* what llhttp's callbacks work on */
    struct http_head *head;
    const char *buf;
    bool in_value; /* the last span was a value */
    bool complete;
};

static int on_name(llhttp_t *p, const char *at, size_t n)
{
    struct split *s = p->data;
    if (s->head->n_fields == LIMIT_HTTP_HEADERS)
        return -1;
    struct http_head_field *f = &s->head->fields[s->head->n_fields++];
    f->name = (struct http_span){(u16)(at - s->buf), (u16)n};
    f->value = (struct http_span){(u16)(at - s->buf + (ptrdiff_t)n), 0};
    s->in_value = false;
    return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t n)
{
    struct split *s = p->data;
    /* The head is whole, so a value comes in one span; two would be a folded line. */
    if (s->head->n_fields == 0 || s->in_value)
        return -1;
    s->in_value = true;
    const char *end = at + n;
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    while (end > at && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    s->head->fields[s->head->n_fields - 1].value =
        (struct http_span){(u16)(at - s->buf), (u16)(end - at)};
    return 0;
}

static int on_head_complete(llhttp_t *p)
{
    struct split *s = p->data;
    s->complete = true;
    s->head->keep_alive = llhttp_should_keep_alive(p) != 0;
    p->upgrade = 0; /* an offer to change the protocol is not taken up: plain HTTP/1.1 goes on */
    return 1;       /* the body is read by our own rules */
}

static bool split_fields(struct http_head *h, const char *buf, size_t head_len)
{
    static const llhttp_settings_t settings = {
        .on_header_field = on_name,
        .on_header_value = on_value,
        .on_headers_complete = on_head_complete,
    };
    struct split s = {.head = h, .buf = buf};
    llhttp_t parser;
    llhttp_init(&parser, HTTP_REQUEST, &settings);
    parser.data = &s;
    return llhttp_execute(&parser, buf, head_len) == HPE_OK && s.complete;
}

/* --- the fields that matter here ------------------------------------------------------------- */

static bool span_is(const char *buf, struct http_span s, const char *text)
{
    return s.n == strlen(text) && strncasecmp(buf + s.at, text, s.n) == 0;
}

/* Finds a field; `*n` says how often it stands there. */
static const struct http_head_field *find(const struct http_head *h, const char *buf,
                                          const char *name, unsigned *n)
{
    const struct http_head_field *first = NULL;
    *n = 0;
    for (u16 i = 0; i < h->n_fields; i++) {
        if (!span_is(buf, h->fields[i].name, name))
            continue;
        if (!first)
            first = &h->fields[i];
        (*n)++;
    }
    return first;
}

static bool host_valid(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        if (is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
            continue;
        if (c == '\0' || !strchr("-._~%!$&'()*+;=:[]", c))
            return false;
    }
    return true;
}

static bool decimal(const char *p, size_t n, u64 *out)
{
    if (n == 0 || n > 19)
        return false; /* 19 digits cannot overflow */
    u64 v = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_digit(p[i]))
            return false;
        v = v * 10 + (u64)(p[i] - '0');
    }
    *out = v;
    return true;
}

static enum http_refusal judge_framing(struct http_head *h, const char *buf)
{
    unsigned n_length, n_coding;
    const struct http_head_field *length = find(h, buf, "content-length", &n_length);
    const struct http_head_field *coding = find(h, buf, "transfer-encoding", &n_coding);
    if (length && coding)
        return HTTP_REFUSE_FRAMING;
    if (length &&
        (n_length > 1 || !decimal(buf + length->value.at, length->value.n, &h->content_length)))
        return HTTP_REFUSE_LENGTH;
    if (!coding)
        return HTTP_REFUSE_NONE;
    /* RFC 9112 section 6.1: HTTP/1.0 has no Transfer-Encoding, whatever it says has faulty framing.
     */
    if (h->minor == 0 || n_coding > 1)
        return HTTP_REFUSE_FRAMING;
    if (!span_is(buf, coding->value, "chunked"))
        return HTTP_REFUSE_CODING;
    h->chunked = true;
    return HTTP_REFUSE_NONE;
}

static enum http_refusal judge_fields(struct http_head *h, const char *buf)
{
    unsigned n;
    for (u16 i = 0; i < h->n_fields; i++) /* llhttp takes an empty name */
        if (!is_token(buf + h->fields[i].name.at, h->fields[i].name.n))
            return HTTP_REFUSE_SYNTAX;
    const struct http_head_field *host = find(h, buf, "host", &n);
    if (n > 1 || (n == 0 && h->minor == 1))
        return HTTP_REFUSE_HOST;
    if (host && !host_valid(buf + host->value.at, host->value.n))
        return HTTP_REFUSE_HOST;
    (void)find(h, buf, "authorization", &n); /* or we and the registry may go by different ones */
    if (n > 1)
        return HTTP_REFUSE_LOGIN;
    enum http_refusal r = judge_framing(h, buf);
    if (r)
        return r;
    const struct http_head_field *expect = find(h, buf, "expect", &n);
    if (expect && h->minor == 1) {
        if (n > 1 || !span_is(buf, expect->value, "100-continue"))
            return HTTP_REFUSE_EXPECT;
        h->expect_continue = true;
    }
    return HTTP_REFUSE_NONE;
}

/* What llhttp refuses gets a better word where the framing fields are at fault. */
static enum http_refusal explain(const struct http_head *h, const char *buf)
{
    struct http_head copy = *h;
    enum http_refusal r = judge_framing(&copy, buf);
    return r == HTTP_REFUSE_FRAMING || r == HTTP_REFUSE_LENGTH ? r : HTTP_REFUSE_SYNTAX;
}

int http_head_parse(struct http_head *h, const struct http_scan *s, const char *buf,
                    size_t head_len, enum http_refusal *why)
{
    assert(head_len >= 4 && head_len <= LIMIT_HTTP_HEAD_BYTES && s->lines > 0);
    size_t from = s->skipped ? 2 : 0;
    const char *line_end = memchr(buf + from, '\r', head_len - from);
    assert(line_end);
    h->n_fields = 0;
    h->content_length = 0;
    h->chunked = h->expect_continue = h->keep_alive = false;
    enum http_refusal r = judge_request_line(h, buf, from, (size_t)(line_end - buf));
    if (r)
        return refuse(why, r);
    if (!split_fields(h, buf, head_len))
        return refuse(why, explain(h, buf));
    if (h->n_fields != s->lines - 1)
        return refuse(why, HTTP_REFUSE_SYNTAX);
    r = judge_fields(h, buf);
    return r ? refuse(why, r) : 0;
}
