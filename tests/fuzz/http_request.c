/* Any bytes read as a request: head in one piece or in many gives the same verdict; what is
 * accepted has one meaning, inside its bytes; the payload of a chunked body is the same however it
 * arrives.
 *
 * The first byte says in what pieces the rest comes. */
#include <stdlib.h>
#include <string.h>

#include "runtime/http_chunk.h"
#include "runtime/http_parse.h"

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void check_span(struct http_span s, size_t len)
{
    must((size_t)s.at + s.n <= len);
}

static void check_value(const char *p, size_t n)
{
    must(n == 0 || (p[0] != ' ' && p[0] != '\t' && p[n - 1] != ' ' && p[n - 1] != '\t'));
    for (size_t i = 0; i < n; i++)
        must((u8)p[i] >= 0x20 || p[i] == '\t');
}

static void check_head(const struct http_head *h, const struct http_scan *s, const char *buf,
                       size_t len)
{
    check_span(h->method, len);
    check_span(h->target, len);
    must(h->method.n > 0 && h->target.n > 0 && buf[h->target.at] == '/');
    must(h->minor <= 1);
    must(!h->chunked || (h->content_length == 0 && h->minor == 1));
    must(h->n_fields <= LIMIT_HTTP_HEADERS && h->n_fields + 1 == s->lines);
    for (u16 i = 0; i < h->n_fields; i++) {
        struct http_span name = h->fields[i].name, value = h->fields[i].value;
        check_span(name, len);
        check_span(value, len);
        must(name.n > 0 && buf[name.at + name.n] == ':');
        must(value.at > name.at + name.n);
        check_value(buf + value.at, value.n);
    }
}

/* Decodes `in`, `step` bytes at a time; returns the verdict, `*used` and the payload. */
static int decode(const char *in, size_t len, size_t step, size_t *used, char *payload, size_t *n)
{
    struct http_chunk c = {.state = HTTP_CHUNK_SIZE};
    *used = *n = 0;
    while (*used < len && c.state != HTTP_CHUNK_DONE) {
        const char *data;
        size_t took, got, piece = len - *used < step ? len - *used : step;
        int rc = http_chunk_read(&c, in + *used, piece, &took, &data, &got);
        if (rc)
            return rc;
        must(took > 0 && took <= piece && got <= took);
        must(got == 0 || (data >= in + *used && data + got <= in + *used + took));
        if (got > 0)
            memcpy(payload + *n, data, got);
        *n += got;
        *used += took;
    }
    return c.state == HTTP_CHUNK_DONE ? 0 : ERR_AGAIN;
}

static void check_chunks(const char *in, size_t len, size_t step)
{
    size_t used[2], n[2];
    char *payload[2] = {malloc(len + 1), malloc(len + 1)};
    must(payload[0] && payload[1]);
    int whole = decode(in, len, len + 1, &used[0], payload[0], &n[0]);
    int pieces = decode(in, len, step, &used[1], payload[1], &n[1]);
    must(whole == pieces);
    if (whole != ERR_PROTO)
        must(used[0] == used[1] && n[0] == n[1] && memcmp(payload[0], payload[1], n[0]) == 0);
    free(payload[0]);
    free(payload[1]);
}

/* Scans `len` bytes, of which `step` more are shown each time. */
static int scan(struct http_scan *s, const char *buf, size_t len, size_t step, size_t *head_len,
                enum http_refusal *why)
{
    memset(s, 0, sizeof(*s));
    int rc = ERR_AGAIN;
    for (size_t shown = 0; rc == ERR_AGAIN && shown < len;) {
        shown = len - shown < step ? len : shown + step;
        rc = http_head_scan(s, buf, shown, head_len, why);
    }
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_head head;
    struct http_scan s, t;
    size_t len = 0, len2 = 0;
    enum http_refusal why = HTTP_REFUSE_NONE, why2 = HTTP_REFUSE_NONE;
    if (size < 2)
        return 0;
    size_t step = data[0] ? data[0] : 1;
    size--;
    char *buf = malloc(size); /* of its own, so that a byte read beyond is seen */
    if (!buf)
        abort();
    memcpy(buf, data + 1, size);

    int rc = scan(&s, buf, size, size, &len, &why);
    int rc2 = scan(&t, buf, size, step, &len2, &why2);
    must(rc == rc2);
    if (size < LIMIT_HTTP_TARGET_BYTES) /* a line that is too long is refused before it ends */
        must(rc != ERR_PROTO || why == why2);
    if (rc == 0) {
        must(len == len2 && len <= size && memcmp(buf + len - 4, "\r\n\r\n", 4) == 0);
        must(s.at == t.at && s.line == t.line && s.lines == t.lines && s.skipped == t.skipped);
        rc = http_head_parse(&head, &s, buf, len, &why);
        must(rc == 0 || (rc == ERR_PROTO && why != HTTP_REFUSE_NONE));
        must(http_refusal_status(why) >= 200 && http_refusal_text(why));
        if (rc == 0)
            check_head(&head, &s, buf, len);
        if (rc == 0 && head.chunked)
            check_chunks(buf + len, size - len, step);
    }
    free(buf);
    return 0;
}
