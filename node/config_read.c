/* config_read.c - a value's way in: the last flag of that name, else the file, else the preset;
 * then read strictly. The table in config_schema.c drives all but upstreams, which are spelled out
 * here. */
#include "node/config_read.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "node/config_check.h"
#include "node/suggest.h"

/* --- what to say ----------------------------------------------------------------------------- */

static const char *flag_value(const struct loader *l, const char *key)
{
    for (size_t i = l->n_flags; i-- > 0;)
        if (strcmp(l->flags[i].key, key) == 0)
            return l->flags[i].value;
    return NULL;
}

/* Writes where the key stands; returns the length. */
static size_t place(const struct loader *l, const char *key)
{
    unsigned line = 0;
    int n;
    if (flag_value(l, key))
        n = snprintf(l->why, CONF_WHY_MAX, "--%s: ", key);
    else if (l->file && (line = conf_line_of(l->file, key)) != 0)
        n = snprintf(l->why, CONF_WHY_MAX, "%s:%u: %s: ", l->file, line, key);
    else if (l->file)
        n = snprintf(l->why, CONF_WHY_MAX, "%s: %s: ", l->file, key);
    else
        n = snprintf(l->why, CONF_WHY_MAX, "%s: ", key);
    return n < 0 ? 0 : n < CONF_WHY_MAX ? (size_t)n : CONF_WHY_MAX - 1;
}

int config_refuse(const struct loader *l, const char *key, const char *format, ...)
{
    size_t n = place(l, key);
    va_list ap;
    va_start(ap, format);
    vsnprintf(l->why + n, CONF_WHY_MAX - n, format, ap);
    va_end(ap);
    return ERR_INVAL;
}

/* The value, as it may be shown: short, and without control characters. */
int config_refuse_value(const struct loader *l, const char *key, const char *value,
                        const char *sentence)
{
    char shown[100];
    snprintf(shown, sizeof(shown), "%s", value);
    for (char *p = shown; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    if (strlen(value) >= sizeof(shown))
        memcpy(shown + sizeof(shown) - 4, "...", 4);
    return config_refuse(l, key, "\"%s\" %s", shown, sentence);
}

int config_no_memory(const struct loader *l)
{
    snprintf(l->why, CONF_WHY_MAX, "out of memory");
    return ERR_NOMEM;
}

int config_set_text(const struct loader *l, char **to, const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        return config_no_memory(l);
    free(*to);
    *to = copy;
    return 0;
}

/* --- the table's keys ------------------------------------------------------------------------ */

static const char *raw_value(const struct loader *l, const struct config_key *k)
{
    const char *text = flag_value(l, k->key);
    if (!text && l->raw)
        text = *(char **)((char *)l->raw + k->from);
    return text ? text : k->preset ? k->default_text : NULL;
}

static int apply_choice(const struct loader *l, const struct config_key *k, const char *text,
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
    return config_refuse_value(l, k->key, text, sentence);
}

static int apply_number(const struct loader *l, const struct config_key *k, const char *text,
                        void *to)
{
    const char *sentence = NULL;
    u64 value = 0;
    u32 count = 0;
    if (k->kind == CONFIG_SIZE && conf_size(text, &value) != 0)
        sentence = "is not a size; write for example 500GiB";
    else if (k->kind == CONFIG_RATE && conf_rate(text, &value) != 0)
        sentence = "is not a rate; write for example 200MiB/s, or 0 for no limit";
    else if (k->kind == CONFIG_DURATION && conf_duration_ms(text, &value) != 0)
        sentence = "is not a duration; write for example 60s, 5m, 12h or 7d";
    else if (k->kind == CONFIG_COUNT && conf_u32(text, (u32)k->min, (u32)k->max, &count) != 0)
        sentence = NULL; /* bounds, below */
    if (sentence)
        return config_refuse_value(l, k->key, text, sentence);
    if (k->kind == CONFIG_COUNT)
        value = count;
    if (value < k->min || value > k->max) {
        char bounds[120];
        if (k->kind == CONFIG_COUNT)
            snprintf(bounds, sizeof(bounds), "is not a number from %llu to %llu",
                     (unsigned long long)k->min, (unsigned long long)k->max);
        else if (k->kind == CONFIG_DURATION)
            snprintf(bounds, sizeof(bounds), "is too long; write at most %llud",
                     (unsigned long long)(k->max / (24ull * 3600 * 1000)));
        else if (value < k->min)
            snprintf(bounds, sizeof(bounds), "is too small; write at least %lluMiB",
                     (unsigned long long)(k->min / MIB));
        else
            snprintf(bounds, sizeof(bounds), "is too large; write at most %lluTiB",
                     (unsigned long long)(k->max / (1024 * GIB)));
        return config_refuse_value(l, k->key, text, bounds);
    }
    if (k->kind == CONFIG_COUNT)
        *(u32 *)to = count;
    else
        *(u64 *)to = value;
    return 0;
}

/* Where a list stands: the flags of that name, in their order, else the file's entries. */
struct list_source {
    const struct loader *l;
    const char *key;
    const struct raw_list *raw;
    bool flags;
    size_t n;
};

static struct list_source list_open(const struct loader *l, const char *key, size_t from)
{
    struct list_source s = {.l = l, .key = key};
    if (l->raw)
        s.raw = (const struct raw_list *)((char *)l->raw + from);
    s.flags = flag_value(l, key) != NULL;
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
    return config_refuse_value(s->l, key, list_at(s, i), sentence);
}

static int apply_texts(const struct loader *l, const struct config_key *k, char ***to, size_t *n)
{
    struct list_source s = list_open(l, k->key, k->from);
    if (s.n > CONFIG_LIST_MAX)
        return config_refuse(l, k->key, "has too many entries; write at most %d", CONFIG_LIST_MAX);
    *to = calloc(s.n + 1, sizeof(**to));
    if (!*to)
        return config_no_memory(l);
    for (; *n < s.n; ++*n) {
        const char *bad = check_endpoint(list_at(&s, *n));
        if (bad)
            return list_refuse(&s, *n, bad);
        int rc = config_set_text(l, &(*to)[*n], list_at(&s, *n));
        if (rc)
            return rc;
    }
    return 0;
}

static int apply_cidrs(const struct loader *l, const struct config_key *k, struct cidr **to,
                       size_t *n)
{
    struct list_source s = list_open(l, k->key, k->from);
    if (s.n > CONFIG_LIST_MAX)
        return config_refuse(l, k->key, "has too many entries; write at most %d", CONFIG_LIST_MAX);
    *to = calloc(s.n + 1, sizeof(**to));
    if (!*to)
        return config_no_memory(l);
    for (; *n < s.n; ++*n)
        if (cidr_parse(list_at(&s, *n), &(*to)[*n]) != 0)
            return list_refuse(&s, *n,
                               "is not a network; write for example 10.20.0.0/16 or \"::1\"");
    return 0;
}

int config_apply_key(const struct loader *l, const struct config_key *k)
{
    void *to = (char *)l->out + k->to, *count = (char *)l->out + k->count;
    if (k->kind == CONFIG_TEXTS)
        return apply_texts(l, k, to, count);
    if (k->kind == CONFIG_CIDRS)
        return apply_cidrs(l, k, to, count);
    if (k->kind == CONFIG_INSIDE)
        return 0;
    const char *text = raw_value(l, k);
    if (!text)
        return 0; /* its default depends on others: see below */
    if (!*text && !(k->preset && !*k->default_text))
        return config_refuse(l, k->key, "is empty; give it a value or leave the key out");
    if (k->kind == CONFIG_TEXT)
        return config_set_text(l, to, text);
    if (k->kind == CONFIG_CHOICE)
        return apply_choice(l, k, text, to);
    if (k->kind != CONFIG_BOOL)
        return apply_number(l, k, text, to);
    if (conf_bool(text, to) != 0)
        return config_refuse_value(l, k->key, text, "is not true or false");
    return 0;
}

int config_check_flags(const struct loader *l)
{
    for (size_t i = 0; i < l->n_flags; i++) {
        const char *key = l->flags[i].key;
        bool known = strcmp(key, "upstream") == 0;
        struct suggest s;
        suggest_init(&s, key);
        suggest_offer(&s, "upstream");
        for (size_t k = 0; k < config_keys_n; k++) {
            if (config_keys[k].kind == CONFIG_INSIDE)
                continue;
            known |= strcmp(key, config_keys[k].key) == 0;
            suggest_offer(&s, config_keys[k].key);
        }
        if (known)
            continue;
        if (strncmp(key, "upstreams", 9) == 0)
            snprintf(
                l->why, CONF_WHY_MAX,
                "--%.60s: upstreams are given by --upstream URL, or with all their keys in the "
                "file",
                key);
        else
            snprintf(l->why, CONF_WHY_MAX, "--%.60s: unknown flag; %s%s", key,
                     s.best ? "did you mean --" : "see dray-node --help", s.best ? s.best : "");
        return ERR_INVAL;
    }
    return 0;
}

/* --- upstreams ------------------------------------------------------------------------------- */

/* "upstreams[2].url", or "upstream" when given by flag. */
struct upstream_key {
    char text[64];
};

static struct upstream_key upstream_key(const struct loader *l, size_t i, const char *member)
{
    struct upstream_key k;
    if (flag_value(l, "upstream"))
        snprintf(k.text, sizeof(k.text), "upstream");
    else
        snprintf(k.text, sizeof(k.text), "upstreams[%zu]%s", i, member);
    return k;
}

static int upstream_url_and_name(const struct loader *l, size_t i, const char *url,
                                 const char *name)
{
    struct upstream_config *u = &l->out->upstreams[i];
    if (!url || !*url)
        return config_refuse(l, upstream_key(l, i, "").text,
                             "has no url; write for example url: https://registry.example.org");
    const char *bad = check_upstream_url(url);
    if (bad)
        return config_refuse_value(l, upstream_key(l, i, ".url").text, url, bad);
    int rc = config_set_text(l, &u->url, url);
    if (rc)
        return rc;
    for (size_t n = strlen(u->url); n && u->url[n - 1] == '/'; n--)
        u->url[n - 1] = 0;
    char own[OCI_NS_MAX + 1];
    if (!name) {
        check_name_of_url(u->url, own);
        name = own;
    }
    if ((bad = check_ns(name)) != NULL)
        return config_refuse_value(l, upstream_key(l, i, ".name").text, name, bad);
    if ((rc = config_set_text(l, &u->name, name)) != 0)
        return rc;
    for (size_t other = 0; other < i; other++)
        if (strcasecmp(l->out->upstreams[other].name, name) == 0)
            return config_refuse_value(l, upstream_key(l, i, ".name").text, name,
                                       "names another upstream already; give each its own name");
    return 0;
}

static int upstream_from_file(const struct loader *l, size_t i, const struct raw_upstream *raw)
{
    struct upstream_config *u = &l->out->upstreams[i];
    char why[CONF_WHY_MAX];
    const char *bad;
    int rc = upstream_url_and_name(l, i, raw->url, raw->name);
    if (!rc && raw->ca) {
        if ((bad = check_file(raw->ca, why)) != NULL)
            return config_refuse_value(l, upstream_key(l, i, ".ca").text, raw->ca, bad);
        rc = config_set_text(l, &u->ca, raw->ca);
    }
    if (!rc && raw->credentials) {
        if ((bad = check_credentials(raw->credentials, why)) != NULL)
            return config_refuse_value(l, upstream_key(l, i, ".credentials").text, raw->credentials,
                                       bad);
        rc = config_set_text(l, &u->credentials, raw->credentials);
    }
    if (rc)
        return rc;
    u->allow_hosts = calloc(raw->allow_hosts.n + 1, sizeof(*u->allow_hosts));
    if (!u->allow_hosts)
        return config_no_memory(l);
    for (; u->n_allow_hosts < raw->allow_hosts.n; u->n_allow_hosts++) {
        const char *host = raw->allow_hosts.v[u->n_allow_hosts];
        char member[40];
        snprintf(member, sizeof(member), ".allow_hosts[%zu]", u->n_allow_hosts);
        if ((bad = check_host(host)) != NULL)
            return config_refuse_value(l, upstream_key(l, i, member).text, host, bad);
        if ((rc = config_set_text(l, &u->allow_hosts[u->n_allow_hosts], host)) != 0)
            return rc;
    }
    return 0;
}

int config_apply_upstreams(const struct loader *l)
{
    struct list_source flags = list_open(l, "upstream", offsetof(struct raw_config, seeds));
    size_t n = flags.flags ? flags.n : l->raw ? l->raw->upstreams.n : 0;
    if (n == 0 && !l->file)
        return config_refuse(
            l, "upstreams",
            "no registry is given; add --upstream https://registry.example.org, or "
            "--config FILE");
    if (n == 0)
        return config_refuse(l, "upstreams",
                             "needs at least one registry; write for example\n"
                             "  upstreams:\n    - url: https://registry.example.org");
    if (n > LIMIT_UPSTREAMS)
        return config_refuse(l, "upstream", "too many; give at most %d", LIMIT_UPSTREAMS);
    l->out->upstreams = calloc(n, sizeof(*l->out->upstreams));
    if (!l->out->upstreams)
        return config_no_memory(l);
    for (size_t i = 0; i < n; i++) {
        l->out->n_upstreams = i + 1;
        int rc = flags.flags ? upstream_url_and_name(l, i, list_at(&flags, i), NULL)
                             : upstream_from_file(l, i, &l->raw->upstreams.v[i]);
        if (rc)
            return rc;
    }
    return 0;
}
