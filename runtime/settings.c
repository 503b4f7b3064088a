/* settings.c - see settings.h. */
#include "runtime/settings.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/check.h"
#include "runtime/suggest.h"

/* --- what to say ----------------------------------------------------------------------------- */

const char *settings_flag(const struct settings *l, const char *key)
{
    for (size_t i = l->n_flags; i-- > 0;)
        if (strcmp(l->flags[i].key, key) == 0)
            return l->flags[i].value;
    return NULL;
}

/* Writes where the key stands; returns the length. */
static size_t place(const struct settings *l, const char *key)
{
    unsigned line = 0;
    int n;
    if (settings_flag(l, key))
        n = snprintf(l->why, CONF_WHY_MAX, "--%s: ", key);
    else if (l->file && (line = conf_line_of(l->file, key)) != 0)
        n = snprintf(l->why, CONF_WHY_MAX, "%s:%u: %s: ", l->file, line, key);
    else if (l->file)
        n = snprintf(l->why, CONF_WHY_MAX, "%s: %s: ", l->file, key);
    else
        n = snprintf(l->why, CONF_WHY_MAX, "%s: ", key);
    return n < 0 ? 0 : n < CONF_WHY_MAX ? (size_t)n : CONF_WHY_MAX - 1;
}

int settings_refuse(const struct settings *l, const char *key, const char *format, ...)
{
    size_t n = place(l, key);
    va_list ap;
    va_start(ap, format);
    vsnprintf(l->why + n, CONF_WHY_MAX - n, format, ap);
    va_end(ap);
    return ERR_INVAL;
}

/* The value, as it may be shown: short, and without control characters. */
int settings_refuse_value(const struct settings *l, const char *key, const char *value,
                          const char *sentence)
{
    char shown[100];
    snprintf(shown, sizeof(shown), "%s", value);
    for (char *p = shown; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    if (strlen(value) >= sizeof(shown))
        memcpy(shown + sizeof(shown) - 4, "...", 4);
    return settings_refuse(l, key, "\"%s\" %s", shown, sentence);
}

int settings_no_memory(const struct settings *l)
{
    snprintf(l->why, CONF_WHY_MAX, "out of memory");
    return ERR_NOMEM;
}

int settings_set_text(const struct settings *l, char **to, const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        return settings_no_memory(l);
    free(*to);
    *to = copy;
    return 0;
}

/* --- the table's keys ------------------------------------------------------------------------ */

static const char *raw_value(const struct settings *l, const struct settings_key *k)
{
    const char *text = settings_flag(l, k->key);
    if (!text && l->raw)
        text = *(char **)((char *)l->raw + k->from);
    return text ? text : k->preset ? k->default_text : NULL;
}

static int apply_choice(const struct settings *l, const struct settings_key *k, const char *text,
                        unsigned *to)
{
    size_t n = strlen(text);
    unsigned i = 0;
    for (const char *word = k->value; *word; i++) {
        size_t len = strcspn(word, "|");
        if (len == n && memcmp(word, text, n) == 0) {
            *to = i;
            return 0;
        }
        word += len + (word[len] == '|');
    }
    char sentence[100];
    snprintf(sentence, sizeof(sentence), "is not one of %s", k->value);
    return settings_refuse_value(l, k->key, text, sentence);
}

static int apply_number(const struct settings *l, const struct settings_key *k, const char *text,
                        void *to)
{
    const char *sentence = NULL;
    u64 value = 0;
    u32 count = 0;
    if (k->kind == SETTING_SIZE && conf_size(text, &value) != 0)
        sentence = "is not a size; write for example 500GiB";
    else if (k->kind == SETTING_RATE && conf_rate(text, &value) != 0)
        sentence = "is not a rate; write for example 200MiB/s, or 0 for no limit";
    else if (k->kind == SETTING_DURATION && conf_duration_ms(text, &value) != 0)
        sentence = "is not a duration; write for example 60s, 5m, 12h or 7d";
    else if (k->kind == SETTING_COUNT && conf_u32(text, (u32)k->min, (u32)k->max, &count) != 0)
        sentence = NULL; /* bounds, below */
    if (sentence)
        return settings_refuse_value(l, k->key, text, sentence);
    if (k->kind == SETTING_COUNT)
        value = count;
    if (value < k->min || value > k->max) {
        char bounds[120];
        if (k->kind == SETTING_COUNT)
            snprintf(bounds, sizeof(bounds), "is not a number from %llu to %llu",
                     (unsigned long long)k->min, (unsigned long long)k->max);
        else if (k->kind == SETTING_DURATION)
            snprintf(bounds, sizeof(bounds), "is too long; write at most %llud",
                     (unsigned long long)(k->max / (24ull * 3600 * 1000)));
        else if (value < k->min)
            snprintf(bounds, sizeof(bounds), "is too small; write at least %lluMiB",
                     (unsigned long long)(k->min / MIB));
        else
            snprintf(bounds, sizeof(bounds), "is too large; write at most %lluTiB",
                     (unsigned long long)(k->max / (1024 * GIB)));
        return settings_refuse_value(l, k->key, text, bounds);
    }
    if (k->kind == SETTING_COUNT)
        *(u32 *)to = count;
    else
        *(u64 *)to = value;
    return 0;
}

/* Where a list stands: the flags of that name, in their order, else the file's entries. */
struct list_source {
    const struct settings *l;
    const char *key;
    const struct settings_list *raw;
    bool flags;
    size_t n;
};

static struct list_source list_open(const struct settings *l, const char *key, size_t from)
{
    struct list_source s = {.l = l, .key = key};
    if (l->raw)
        s.raw = (const struct settings_list *)((char *)l->raw + from);
    s.flags = settings_flag(l, key) != NULL;
    for (size_t i = 0; s.flags && i < l->n_flags; i++)
        s.n += strcmp(l->flags[i].key, key) == 0;
    if (!s.flags && s.raw)
        s.n = s.raw->n;
    return s;
}

static const char *list_at(const struct list_source *s, size_t i)
{
    if (!s->flags)
        return s->raw->v[i];
    for (size_t f = 0;; f++) {
        assert(f < s->l->n_flags);
        if (strcmp(s->l->flags[f].key, s->key) == 0 && i-- == 0)
            return s->l->flags[f].value;
    }
}

static int list_refuse(const struct list_source *s, size_t i, const char *sentence)
{
    char key[80];
    snprintf(key, sizeof(key), s->flags ? "%s" : "%s[%zu]", s->key, i);
    return settings_refuse_value(s->l, key, list_at(s, i), sentence);
}

static int apply_texts(const struct settings *l, const struct settings_key *k, char ***to,
                       size_t *n)
{
    struct list_source s = list_open(l, k->key, k->from);
    if (s.n > SETTINGS_LIST_MAX)
        return settings_refuse(l, k->key, "has too many entries; write at most %d",
                               SETTINGS_LIST_MAX);
    *to = calloc(s.n + 1, sizeof(**to));
    if (!*to)
        return settings_no_memory(l);
    for (; *n < s.n; ++*n) {
        const char *bad = check_endpoint(list_at(&s, *n));
        if (bad)
            return list_refuse(&s, *n, bad);
        int rc = settings_set_text(l, &(*to)[*n], list_at(&s, *n));
        if (rc)
            return rc;
    }
    return 0;
}

static int apply_cidrs(const struct settings *l, const struct settings_key *k, struct cidr **to,
                       size_t *n)
{
    struct list_source s = list_open(l, k->key, k->from);
    if (s.n > SETTINGS_LIST_MAX)
        return settings_refuse(l, k->key, "has too many entries; write at most %d",
                               SETTINGS_LIST_MAX);
    *to = calloc(s.n + 1, sizeof(**to));
    if (!*to)
        return settings_no_memory(l);
    for (; *n < s.n; ++*n)
        if (cidr_parse(list_at(&s, *n), &(*to)[*n]) != 0)
            return list_refuse(&s, *n,
                               "is not a network; write for example 10.20.0.0/16 or \"::1\"");
    return 0;
}

int settings_apply_key(const struct settings *l, const struct settings_key *k)
{
    void *to = (char *)l->out + k->to, *count = (char *)l->out + k->count;
    if (k->kind == SETTING_TEXTS)
        return apply_texts(l, k, to, count);
    if (k->kind == SETTING_CIDRS)
        return apply_cidrs(l, k, to, count);
    if (k->kind == SETTING_INSIDE)
        return 0;
    const char *text = raw_value(l, k);
    if (!text)
        return 0; /* its default depends on others: see below */
    if (!*text && !(k->preset && !*k->default_text))
        return settings_refuse(l, k->key, "is empty; give it a value or leave the key out");
    if (k->kind == SETTING_TEXT)
        return settings_set_text(l, to, text);
    if (k->kind == SETTING_CHOICE)
        return apply_choice(l, k, text, to);
    if (k->kind != SETTING_BOOL)
        return apply_number(l, k, text, to);
    if (conf_bool(text, to) != 0)
        return settings_refuse_value(l, k->key, text, "is not true or false");
    return 0;
}

int settings_check_flags(const struct settings *l)
{
    for (size_t i = 0; i < l->n_flags; i++) {
        const char *key = l->flags[i].key;
        bool known = l->extra && strcmp(key, l->extra) == 0;
        struct suggest s;
        suggest_init(&s, key);
        if (l->extra)
            suggest_offer(&s, l->extra);
        for (size_t k = 0; k < l->n_keys; k++) {
            if (l->keys[k].kind == SETTING_INSIDE)
                continue;
            known |= strcmp(key, l->keys[k].key) == 0;
            suggest_offer(&s, l->keys[k].key);
        }
        if (known)
            continue;
        if (l->extra && strncmp(key, l->extra, strlen(l->extra)) == 0) {
            snprintf(l->why, CONF_WHY_MAX,
                     "--%.60s: give --%s URL, or the list with all its keys in the file", key,
                     l->extra);
            return ERR_INVAL;
        }
        snprintf(l->why, CONF_WHY_MAX, "--%.60s: unknown flag; %s%s%s", key,
                 s.best ? "did you mean --" : "see ", s.best ? s.best : l->program,
                 s.best ? "" : " --help");
        return ERR_INVAL;
    }
    return 0;
}
