/* oci.c - names, tags, error codes and error bodies of the registry protocol.
 *
 * A repository name becomes part of upstream URLs, log lines and table keys, so the grammar is held
 * exactly: what passes here can hold no dot segment, no escape, no quote, no control character.
 *
 *     name      ::= component ("/" component)*                   at most 255 characters
 *     component ::= [a-z0-9]+ (("." / "_" / "__" / "-"+) [a-z0-9]+)*
 *     tag       ::= [a-zA-Z0-9_] [a-zA-Z0-9._-]*                 at most 128 characters
 *
 * Routes are read in oci_route.c. */
#include "proto/oci.h"

#include <assert.h>
#include <string.h>

const char *oci_code_name(enum oci_code code)
{
    switch (code) {
#define X(name, status, text)                                                                      \
    case OCI_##name: return #name;
        OCI_CODE_TABLE(X)
#undef X
    }
    return "UNKNOWN";
}

const char *oci_code_text(enum oci_code code)
{
    switch (code) {
#define X(name, status, text)                                                                      \
    case OCI_##name: return text;
        OCI_CODE_TABLE(X)
#undef X
    }
    return "unknown error";
}

int oci_code_status(enum oci_code code)
{
    switch (code) {
#define X(name, status, text)                                                                      \
    case OCI_##name: return status;
        OCI_CODE_TABLE(X)
#undef X
    }
    return 500;
}

static bool is_lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Length of the separator at the start of `s` ("." "_" "__" or dashes), 0 when there is none. */
static size_t separator_len(const char *s, size_t len)
{
    if (s[0] == '.')
        return 1;
    if (s[0] == '_')
        return len > 1 && s[1] == '_' ? 2 : 1;
    size_t n = 0;
    while (n < len && s[n] == '-')
        n++;
    return n;
}

static bool component_valid(const char *s, size_t len)
{
    size_t i = 0;
    while (i < len) {
        size_t start = i;
        while (i < len && is_lower_or_digit(s[i]))
            i++;
        if (i == start)
            return false;
        if (i == len)
            return true;
        size_t separator = separator_len(s + i, len - i);
        if (separator == 0)
            return false;
        i += separator;
    }
    return false; /* empty, or it ends in a separator */
}

bool oci_name_valid(const char *name, size_t len)
{
    if (len == 0 || len > OCI_NAME_MAX)
        return false;
    for (size_t start = 0;;) {
        const char *slash = memchr(name + start, '/', len - start);
        size_t end = slash ? (size_t)(slash - name) : len;
        if (!component_valid(name + start, end - start))
            return false;
        if (!slash)
            return true;
        start = end + 1;
    }
}

bool oci_tag_valid(const char *tag, size_t len)
{
    if (len == 0 || len > OCI_TAG_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = tag[i];
        bool word = is_lower_or_digit(c) || (c >= 'A' && c <= 'Z') || c == '_';
        if (!word && (i == 0 || (c != '.' && c != '-')))
            return false;
    }
    return true;
}

/* Text being written within a budget. Once something does not fit nothing more is taken, so a text
 * is cut at one place and never in the middle of an escape or a character. */
struct writer {
    char *buf;
    size_t used;
    size_t limit;
    bool full;
};

static void put(struct writer *w, const char *bytes, size_t len)
{
    if (w->full || len > w->limit - w->used) {
        w->full = true;
        return;
    }
    memcpy(w->buf + w->used, bytes, len);
    w->used += len;
}

/* Length of the UTF-8 character at `s`, 0 when it is not one (RFC 3629: no overlong forms, no
 * surrogates, nothing over U+10FFFF). Stops at the text's NUL by itself. */
static size_t utf8_len(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    unsigned char low = 0x80, high = 0xbf; /* what the second byte may be */
    if (s[0] == 0xe0)
        low = 0xa0;
    else if (s[0] == 0xed)
        high = 0x9f;
    else if (s[0] == 0xf0)
        low = 0x90;
    else if (s[0] == 0xf4)
        high = 0x8f;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++) {
        if (s[i] < 0x80 || s[i] > 0xbf)
            return 0;
    }
    return len;
}

static void put_escaped(struct writer *w, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *s = (const unsigned char *)text;
    while (*s && !w->full) {
        size_t len = utf8_len(s);
        if (len == 0) {
            put(w, "\xef\xbf\xbd", 3); /* U+FFFD */
            s++;
            continue;
        }
        if (*s == '"' || *s == '\\') {
            char escaped[2] = {'\\', (char)*s};
            put(w, escaped, sizeof escaped);
        } else if (*s < ' ' || *s == 127) {
            char escaped[6] = {'\\', 'u', '0', '0', hex[*s >> 4], hex[*s & 15]};
            put(w, escaped, sizeof escaped);
        } else {
            put(w, (const char *)s, len);
        }
        s += len;
    }
}

size_t oci_error_body(char *buf, size_t cap, enum oci_code code, const char *message,
                      const char *detail)
{
    static const char head[] = "{\"errors\":[{\"code\":\"", between[] = "\",\"message\":\"",
                      and_detail[] = "\",\"detail\":\"", tail[] = "\"}]}";
    assert(buf && cap >= 256);
    /* What must follow is kept free until its turn, so that the body is always closed. */
    size_t reserve = sizeof tail; /* its NUL is ours too */
    if (detail)
        reserve += sizeof and_detail - 1;
    struct writer w = {.buf = buf, .limit = cap - reserve};
    put(&w, head, sizeof head - 1);
    const char *name = oci_code_name(code);
    put(&w, name, strlen(name));
    put(&w, between, sizeof between - 1);
    assert(!w.full);
    put_escaped(&w, message ? message : oci_code_text(code));
    if (detail) {
        w.full = false;
        w.limit += sizeof and_detail - 1;
        put(&w, and_detail, sizeof and_detail - 1);
        put_escaped(&w, detail);
    }
    w.full = false;
    w.limit = cap;
    put(&w, tail, sizeof tail);
    assert(!w.full);
    return w.used - 1;
}
