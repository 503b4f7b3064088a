/* api_words.c - see api_words.h. */
#include "tracker/api_words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool words_begin(struct http_slice s, const char *with)
{
    size_t n = strlen(with);
    return s.n >= n && memcmp(s.p, with, n) == 0;
}

bool words_are(struct http_slice s, const char *text)
{
    return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool words_decode(const char *p, size_t n, char *out, size_t cap)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        int c = (u8)p[i];
        if (c == '%') {
            int high = i + 2 < n ? hex(p[i + 1]) : -1, low = i + 2 < n ? hex(p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = high * 16 + low;
            i += 2;
        }
        if (c == 0 || len + 1 >= cap)
            return false;
        out[len++] = (char)c;
    }
    out[len] = 0;
    return true;
}

int words_query(struct http_slice target, const char *key, char *out, size_t cap)
{
    const char *end = target.p + target.n, *at = memchr(target.p, '?', target.n);
    size_t n = strlen(key);
    out[0] = 0;
    for (at = at ? at + 1 : end; at < end;) {
        const char *stop = memchr(at, '&', (size_t)(end - at));
        size_t len = stop ? (size_t)(stop - at) : (size_t)(end - at);
        if (len > n && memcmp(at, key, n) == 0 && at[n] == '=')
            return words_decode(at + n + 1, len - n - 1, out, cap) ? 0 : ERR_INVAL;
        at += len + 1;
    }
    return ERR_NOTFOUND;
}

bool words_text(const json_t *object, const char *key, char *out, size_t cap)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (!text || !*text || strlen(text) >= cap)
        return false;
    snprintf(out, cap, "%s", text);
    return true;
}

json_t *words_string(const char *text)
{
    json_t *good = json_string(text);
    char *shown = good ? NULL : strdup(text);
    for (char *c = shown; c && *c; c++)
        if ((u8)*c >= 0x80)
            *c = '?';
    if (shown)
        good = json_string(shown);
    free(shown);
    return good;
}

json_t *words_json(struct http_slice body)
{
    return json_loadb(body.n ? body.p : "", body.n, JSON_REJECT_DUPLICATES, NULL);
}
