/* answer.c - see answer.h. */
#include "runtime/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *answer_field(const struct answer *a, const char *name)
{
    for (size_t i = 0; i < a->n_fields; i++)
        if (strcasecmp(a->fields[i].name, name) == 0)
            return a->fields[i].value;
    return NULL;
}

bool answer_is_away(const struct answer *a)
{
    if (a->err)
        return a->err != ERR_DENIED && a->err != ERR_PROTO && a->err != ERR_TOOBIG;
    return a->status >= 500;
}

const char *answer_away_text(const struct answer *a)
{
    return a->err ? a->why : "it answers with a server error";
}

void answer_init(struct answer *a)
{
    memset(a, 0, sizeof(*a));
    a->content_length = UINT64_MAX;
}

/* Copies a string to `*at`, moves on behind its NUL, and returns the copy. */
static const char *put(char **at, const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = memcpy(*at, s, n);
    *at += n;
    return copy;
}

int answer_head(struct answer *a, const struct http_response *r, bool redirected)
{
    a->status = r->status;
    a->redirected = redirected;
    a->content_length = r->content_length;
    size_t bytes = 0;
    for (size_t i = 0; i < r->n_fields; i++)
        bytes += strlen(r->fields[i].name) + strlen(r->fields[i].value) + 2;
    a->fields = calloc(r->n_fields + 1, sizeof(*a->fields));
    a->text = malloc(bytes + 1);
    if (!a->fields || !a->text)
        return ERR_NOMEM;
    char *p = a->text;
    for (size_t i = 0; i < r->n_fields; i++) {
        a->fields[i].name = put(&p, r->fields[i].name);
        a->fields[i].value = put(&p, r->fields[i].value);
    }
    a->n_fields = r->n_fields;
    return 0;
}

int answer_data(struct answer *a, const void *data, size_t len, size_t max)
{
    if (len > max - a->len)
        return ERR_TOOBIG;
    if (len == 0)
        return 0;
    if (a->len + len > a->cap) {
        size_t cap = a->cap ? a->cap * 2 : 4096;
        while (cap < a->len + len)
            cap *= 2;
        u8 *grown = realloc(a->body, cap);
        if (!grown)
            return ERR_NOMEM;
        a->body = grown;
        a->cap = cap;
    }
    memcpy(a->body + a->len, data, len);
    a->len += len;
    return 0;
}

void answer_end(struct answer *a, int err, const char *why)
{
    a->err = err;
    snprintf(a->why, sizeof(a->why), "%s", why);
}

void answer_fini(struct answer *a)
{
    free(a->fields);
    free(a->text);
    free(a->body);
    answer_init(a);
}
