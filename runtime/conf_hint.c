/* conf_hint.c - what an unknown key was probably meant to be.
 *
 * Nearness is the optimal string alignment distance (Damerau-Levenshtein with each transposition
 * counted once), case ignored: one slip in a short word, two in a longer one. A key that is right
 * but stands at the wrong depth is told where it belongs. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/conf_impl.h"

#define WORD_MAX 40 /* longer than any key we have */
#define LIST_MAX 16 /* keys listed when nothing is near */

void conf_append(char *out, size_t cap, const char *format, ...)
{
    size_t len = strnlen(out, cap);
    va_list ap;

    if (len >= cap)
        return;
    va_start(ap, format);
    vsnprintf(out + len, cap - len, format, ap);
    va_end(ap);
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static unsigned distance(const char *a, const char *b)
{
    unsigned rows[3][WORD_MAX + 1]; /* two back, one back, this one */
    size_t n = strlen(a), m = strlen(b);

    if (n > WORD_MAX || m > WORD_MAX)
        return WORD_MAX;
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned *now = rows[i % 3], *one = rows[(i + 2) % 3], *two = rows[(i + 1) % 3];

        now[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            int x = tolower((u8)a[i - 1]), y = tolower((u8)b[j - 1]);

            now[j] = least(least(one[j], now[j - 1]) + 1, one[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == tolower((u8)b[j - 2]) && tolower((u8)a[i - 2]) == y)
                now[j] = least(now[j], two[j - 2] + 1);
        }
    }
    return rows[n % 3][m];
}

static const cyaml_schema_field_t *nearest(const cyaml_schema_field_t *fields, const char *key)
{
    const cyaml_schema_field_t *best = NULL;
    unsigned limit = strlen(key) < 3 ? 0 : strlen(key) < 6 ? 1 : 2;
    unsigned near = limit + 1;

    for (const cyaml_schema_field_t *f = fields; f->key != NULL; f++) {
        unsigned d = distance(key, f->key);

        if (d < near) {
            near = d;
            best = f;
        }
    }
    return best;
}

static const cyaml_schema_field_t *field_named(const cyaml_schema_field_t *fields, const char *key)
{
    for (const cyaml_schema_field_t *f = fields; f->key != NULL; f++)
        if (strcmp(f->key, key) == 0)
            return f;
    return NULL;
}

/* The mapping that a field holds, or holds a list of; NULL when neither. */
static const cyaml_schema_field_t *fields_below(const cyaml_schema_value_t *v, bool *is_list)
{
    *is_list = v->type == CYAML_SEQUENCE || v->type == CYAML_SEQUENCE_FIXED;
    if (*is_list)
        v = v->sequence.entry;
    return v->type == CYAML_MAPPING ? v->mapping.fields : NULL;
}

/* Configs of ours are two mappings deep: the top, and what each of its keys holds. */
static bool hint_elsewhere(const cyaml_schema_field_t *fields, const cyaml_schema_value_t *root,
                           const char *key, char *out, size_t cap)
{
    const cyaml_schema_field_t *top, *below;
    bool is_list;

    if (root->type != CYAML_MAPPING)
        return false;
    top = root->mapping.fields;
    if (fields != top && field_named(top, key) != NULL) {
        conf_append(out, cap, "; `%s` belongs at the top, not indented", key);
        return true;
    }
    for (const cyaml_schema_field_t *f = top; f->key != NULL; f++) {
        below = fields_below(&f->value, &is_list);
        if (below == NULL || below == fields || field_named(below, key) == NULL)
            continue;
        conf_append(out, cap, "; `%s` belongs %s `%s:`", key,
                    is_list ? "in an entry of" : "indented under", f->key);
        return true;
    }
    return false;
}

void conf_hint(const cyaml_schema_field_t *fields, const cyaml_schema_value_t *root,
               const char *key, char *out, size_t cap)
{
    const cyaml_schema_field_t *near = nearest(fields, key);
    size_t n = 0;

    if (near != NULL) {
        conf_append(out, cap, "; did you mean `%s`?", near->key);
        return;
    }
    if (hint_elsewhere(fields, root, key, out, cap))
        return;
    while (fields[n].key != NULL)
        n++;
    if (n == 0 || n > LIST_MAX)
        return;
    conf_append(out, cap, "; the keys here are");
    for (size_t i = 0; i < n; i++)
        conf_append(out, cap, "%s `%s`", i == 0 ? "" : i + 1 == n ? " and" : ",", fields[i].key);
}
