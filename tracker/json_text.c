/* json_text.c - see json_text.h. */
#include "tracker/json_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BYTES (64 * 1024)

static char *room(struct json_text *t, size_t n)
{
    if (t->failed)
        return NULL;
    if (t->n + n > t->cap) {
        size_t cap = t->cap ? t->cap : FIRST_BYTES;
        while (cap < t->n + n)
            cap *= 2;
        char *grown = realloc(t->p, cap);
        if (!grown) {
            t->failed = true;
            return NULL;
        }
        t->p = grown;
        t->cap = cap;
    }
    return t->p + t->n;
}

static void put(struct json_text *t, const char *s, size_t n)
{
    char *at = room(t, n);
    if (at) {
        memcpy(at, s, n);
        t->n += n;
    }
}

void json_text_add(struct json_text *t, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof(text))
        t->failed = true;
    else
        put(t, text, (size_t)n);
}

/* Length of the UTF-8 sequence at `s` (RFC 3629, section 4); 0: it is none. */
static size_t utf8(const unsigned char *s)
{
    size_t n = s[0] < 0x80                    ? 1
               : s[0] >= 0xc2 && s[0] <= 0xdf ? 2
               : s[0] >= 0xe0 && s[0] <= 0xef ? 3
               : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
                                              : 0;
    for (size_t i = 1; i < n; i++)
        if (s[i] < 0x80 || s[i] > 0xbf) /* also the NUL at the end */
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

void json_text_string(struct json_text *t, const char *s)
{
    put(t, "\"", 1);
    for (const unsigned char *p = (const unsigned char *)(s ? s : ""); *p;) {
        size_t n = utf8(p);
        if (n == 0) {
            put(t, "\xef\xbf\xbd", 3);
            p++;
        } else if (*p < 0x20 || *p == 0x7f) {
            json_text_add(t, "\\u%04x", *p++);
        } else {
            if (*p == '"' || *p == '\\')
                put(t, "\\", 1);
            put(t, (const char *)p, n);
            p += n;
        }
    }
    put(t, "\"", 1);
}

void json_text_fini(struct json_text *t)
{
    free(t->p);
    memset(t, 0, sizeof(*t));
}
