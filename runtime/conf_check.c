/* conf_check.c - the schema check, with the exact line of what is wrong and a word on what to do.
 *
 * libcyaml checks too, but names the line of the event before, and says what it found rather than
 * what to write. So the text is walked here first, on libyaml's events; libcyaml then loads what is
 * known to fit. The walk descends only as deep as the schema does, holds one event at a time, and
 * refuses anchors, aliases and tags, so its cost is that of reading the text once. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/conf_impl.h"

#define PATH_MAX_SHOWN 160
#define FIELDS_MAX     64 /* keys of one mapping of ours: a bit each */

struct check {
    const char *name;
    const char *data;
    size_t len;
    yaml_parser_t parser;
    const cyaml_schema_value_t *root;
    char path[PATH_MAX_SHOWN]; /* "upstreams[0].url" */
    char *why;
};

static int check_value(struct check *c, const cyaml_schema_value_t *schema, yaml_event_t *ev);

/* Saying what is wrong ------------------------------------------------------------------------ */

/* "file:line: path: words". */
static int __attribute__((format(printf, 3, 4)))
wrong(struct check *c, size_t line, const char *format, ...)
{
    char words[CONF_WHY_MAX];
    size_t name_len = strlen(c->name);
    const char *name = name_len > PATH_MAX_SHOWN ? c->name + name_len - PATH_MAX_SHOWN : c->name;
    va_list ap;

    va_start(ap, format);
    vsnprintf(words, sizeof(words), format, ap);
    va_end(ap);
    c->why[0] = '\0';
    conf_append(c->why, CONF_WHY_MAX, "%s%s:%zu: %s%s%s", name == c->name ? "" : "…", name,
                line + 1, c->path, c->path[0] != '\0' ? ": " : "", words);
    for (char *p = c->why; *p != '\0'; p++)
        if ((u8)*p < 0x20 || *p == 0x7f)
            *p = '?';
    return ERR_INVAL;
}

/* libyaml's sentences that people stumble over, and what helps. */
static const struct {
    const char *problem, *hint;
} syntax_hints[] = {
    {"mapping values are not allowed",
     "check the indentation; a value with `: ` in it needs quotes"},
    {"cannot start any token", "put the value in quotes"},
    {"could not find expected ':'", "write `key: value`, with a colon and a blank"},
    {"did not find expected key", "check the indentation of this line and the ones before"},
    {"did not find expected '-' indicator", "every entry of this list must begin with `- `"},
    {"block sequence entries are not allowed", "begin a list on the line after its key"},
    {"did not find expected ',' or ']'", "close the list with `]`"},
    {"did not find expected ',' or '}'", "close the braces with `}`"},
    {"unexpected end of stream", "a quote is opened and never closed"},
    {"control characters are not allowed", "remove it; is this a text file?"},
    {"UTF-8", "save the file as UTF-8"},
};

/* Whether the white space that begins the line holds a tab. */
static bool line_has_tab(const struct check *c, size_t line)
{
    const char *at = c->data, *end = c->data + c->len;

    while (line > 0 && (at = memchr(at, '\n', (size_t)(end - at))) != NULL)
        line--, at++;
    if (at == NULL)
        return false;
    while (at < end && *at == ' ')
        at++;
    return at < end && *at == '\t';
}

static int syntax(struct check *c)
{
    const yaml_parser_t *p = &c->parser;
    const char *problem = p->problem != NULL ? p->problem : "it cannot be read";
    size_t line = p->problem_mark.line;

    c->path[0] = '\0';
    if (p->error == YAML_MEMORY_ERROR)
        return ERR_NOMEM;
    if (p->error == YAML_READER_ERROR) {
        line = 0; /* only the offset is known */
        for (size_t i = 0; i < p->problem_offset && i < c->len; i++)
            line += c->data[i] == '\n';
    } else if (strstr(problem, "expected ':'") != NULL)
        line = p->context_mark.line; /* where the key began, not where the search for `:` ended */
    if (line_has_tab(c, line))
        return wrong(c, line, "a tab indents this line; YAML wants blanks");
    for (size_t i = 0; i < countof(syntax_hints); i++)
        if (strstr(problem, syntax_hints[i].problem) != NULL)
            return wrong(c, line, "not valid YAML: %s; %s", problem, syntax_hints[i].hint);
    return wrong(c, line, "not valid YAML: %s", problem);
}

/* "port, host": what can be written there, short. */
static void expected(const cyaml_schema_value_t *schema, char *out, size_t cap)
{
    *out = '\0';
    if (schema->type == CYAML_MAPPING) {
        conf_append(out, cap, "keys of its own (");
        for (const cyaml_schema_field_t *f = schema->mapping.fields; f->key != NULL; f++)
            conf_append(out, cap, "%s%s", f == schema->mapping.fields ? "" : ", ", f->key);
        conf_append(out, cap, "), as in `{%s: …}`",
                    schema->mapping.fields->key != NULL ? schema->mapping.fields->key : "");
    } else if (schema->type == CYAML_SEQUENCE || schema->type == CYAML_SEQUENCE_FIXED) {
        conf_append(out, cap,
                    schema->sequence.entry->type == CYAML_MAPPING ? "a list, as in `[{…}, {…}]`"
                                                                  : "a list, as in `[one, two]`");
    } else
        conf_append(out, cap, "one value");
}

static int wrong_kind(struct check *c, const cyaml_schema_value_t *schema, const yaml_event_t *ev)
{
    char wanted[200];
    const char *found = ev->type == YAML_MAPPING_START_EVENT    ? "keys"
                        : ev->type == YAML_SEQUENCE_START_EVENT ? "a list"
                                                                : "one value";

    expected(schema, wanted, sizeof(wanted));
    if (ev->type == YAML_SCALAR_EVENT && ev->data.scalar.length == 0)
        found = "nothing";
    return wrong(c, ev->start_mark.line, "%sneeds %s, but has %s",
                 c->path[0] == '\0' ? "the file " : "", wanted, found);
}

/* Walking ------------------------------------------------------------------------------------- */

/* The next event; the caller deletes it when 0 is returned. */
static int next(struct check *c, yaml_event_t *ev)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    int err = 0;

    if (!yaml_parser_parse(&c->parser, ev))
        return syntax(c);
    switch (ev->type) {
    case YAML_SCALAR_EVENT:
        anchor = ev->data.scalar.anchor;
        tag = ev->data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = ev->data.sequence_start.anchor;
        tag = ev->data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = ev->data.mapping_start.anchor;
        tag = ev->data.mapping_start.tag;
        break;
    case YAML_ALIAS_EVENT: anchor = ev->data.alias.anchor; break;
    default: break;
    }
    if (anchor != NULL)
        err = wrong(c, ev->start_mark.line,
                    "anchors and aliases (`&` and `*`) are not taken here; write the value out, in "
                    "quotes if it begins so");
    else if (tag != NULL)
        err = wrong(c, ev->start_mark.line,
                    "tags (`!`) are not taken here; remove it, or put the value in quotes");
    if (err != 0)
        yaml_event_delete(ev);
    return err;
}

static bool is_null_word(const yaml_event_t *ev)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};

    if (ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    for (size_t i = 0; i < countof(words); i++)
        if (strcmp((const char *)ev->data.scalar.value, words[i]) == 0)
            return true;
    return false;
}

static int check_scalar(struct check *c, const cyaml_schema_value_t *schema, const yaml_event_t *ev)
{
    const char *text = (const char *)ev->data.scalar.value;
    size_t len = ev->data.scalar.length, line = ev->start_mark.line;

    if (is_null_word(ev)) {
        if ((schema->flags & CYAML_FLAG_POINTER_NULL_STR) == CYAML_FLAG_POINTER_NULL_STR)
            return 0;
        if (*text == '\0' && (schema->flags & CYAML_FLAG_POINTER_NULL) == CYAML_FLAG_POINTER_NULL)
            return 0;
        return wrong(c, line, "has no value; write one, or remove the line");
    }
    for (size_t i = 0; i < len; i++)
        if ((u8)text[i] < 0x20 || text[i] == 0x7f)
            return wrong(c, line,
                         "its value holds a line break or control character; write it in "
                         "one line");
    if (schema->type != CYAML_STRING)
        return 0;
    if (len > schema->string.max)
        return wrong(c, line, "its value is longer than %u characters", schema->string.max);
    if (len < schema->string.min)
        return wrong(c, line, "its value is empty");
    return 0;
}

static int check_sequence(struct check *c, const cyaml_schema_value_t *schema, size_t line)
{
    size_t path_len = strlen(c->path);
    yaml_event_t ev;
    unsigned n = 0;
    int err;

    for (;;) {
        err = next(c, &ev);
        if (err != 0)
            return err;
        if (ev.type == YAML_SEQUENCE_END_EVENT)
            break;
        if (n == schema->sequence.max)
            err = wrong(c, ev.start_mark.line, "has more than %u entries", schema->sequence.max);
        conf_append(c->path, sizeof(c->path), "[%u]", n++);
        if (err == 0)
            err = check_value(c, schema->sequence.entry, &ev);
        yaml_event_delete(&ev);
        if (err != 0)
            return err;
        c->path[path_len] = '\0';
    }
    yaml_event_delete(&ev);
    if (n < schema->sequence.min)
        return wrong(c, line, "needs at least %u %s", schema->sequence.min,
                     schema->sequence.min == 1 ? "entry" : "entries");
    return 0;
}

/* The number of the field that this key event names; appends the key to the path. */
static int find_field(struct check *c, const cyaml_schema_field_t *fields, const yaml_event_t *ev,
                      size_t *out)
{
    const char *key = (const char *)ev->data.scalar.value;
    char hint[CONF_WHY_MAX] = "";

    if (ev->type != YAML_SCALAR_EVENT)
        return wrong(c, ev->start_mark.line, "a key must be one word, as in `key: value`");
    conf_append(c->path, sizeof(c->path), "%s%.64s", c->path[0] != '\0' ? "." : "", key);
    for (size_t i = 0; fields[i].key != NULL; i++)
        if (strlen(fields[i].key) == ev->data.scalar.length && strcmp(fields[i].key, key) == 0) {
            *out = i;
            return 0;
        }
    conf_hint(fields, c->root, key, hint, sizeof(hint));
    return wrong(c, ev->start_mark.line, "unknown key%s", hint);
}

/* A key and its value. `seen` has a bit for each field. */
static int check_field(struct check *c, const cyaml_schema_field_t *fields, const yaml_event_t *key,
                       u64 *seen)
{
    yaml_event_t ev;
    size_t i = 0;
    int err = find_field(c, fields, key, &i);

    if (err != 0)
        return err;
    assert(i < FIELDS_MAX);
    if (*seen & 1ull << i)
        return wrong(c, key->start_mark.line, "is given twice; remove one of them");
    *seen |= 1ull << i;
    err = next(c, &ev);
    if (err != 0)
        return err;
    err = check_value(c, &fields[i].value, &ev);
    yaml_event_delete(&ev);
    return err;
}

static int check_mapping(struct check *c, const cyaml_schema_value_t *schema, size_t line)
{
    const cyaml_schema_field_t *fields = schema->mapping.fields;
    size_t path_len = strlen(c->path);
    yaml_event_t ev;
    u64 seen = 0;
    int err;

    for (;;) {
        err = next(c, &ev);
        if (err != 0)
            return err;
        if (ev.type == YAML_MAPPING_END_EVENT)
            break;
        err = check_field(c, fields, &ev, &seen);
        yaml_event_delete(&ev);
        if (err != 0)
            return err;
        c->path[path_len] = '\0';
    }
    yaml_event_delete(&ev);
    for (size_t i = 0; fields[i].key != NULL; i++)
        if (!(fields[i].value.flags & CYAML_FLAG_OPTIONAL) && !(seen & 1ull << i))
            return wrong(c, line, "the key `%s` is missing; add `%s: …`", fields[i].key,
                         fields[i].key);
    return 0;
}

static int check_value(struct check *c, const cyaml_schema_value_t *schema, yaml_event_t *ev)
{
    yaml_event_type_t wanted =
        schema->type == CYAML_MAPPING ? YAML_MAPPING_START_EVENT
        : schema->type == CYAML_SEQUENCE || schema->type == CYAML_SEQUENCE_FIXED
            ? YAML_SEQUENCE_START_EVENT
            : YAML_SCALAR_EVENT;

    if (ev->type != wanted)
        return wrong_kind(c, schema, ev);
    if (wanted == YAML_MAPPING_START_EVENT)
        return check_mapping(c, schema, ev->start_mark.line);
    if (wanted == YAML_SEQUENCE_START_EVENT)
        return check_sequence(c, schema, ev->start_mark.line);
    return check_scalar(c, schema, ev);
}

/* Takes one event of that type. */
static int pass(struct check *c, yaml_event_type_t type, const char *otherwise)
{
    yaml_event_t ev;
    int err = next(c, &ev);

    if (err != 0)
        return err;
    if (ev.type != type)
        err = wrong(c, ev.start_mark.line, "%s", otherwise);
    yaml_event_delete(&ev);
    return err;
}

static int check_document(struct check *c)
{
    yaml_event_t ev;
    int err;

    err = pass(c, YAML_STREAM_START_EVENT, "not valid YAML");
    if (err == 0)
        err = pass(c, YAML_DOCUMENT_START_EVENT, "the file says nothing");
    if (err == 0)
        err = next(c, &ev);
    if (err != 0)
        return err;
    err = check_value(c, c->root, &ev);
    yaml_event_delete(&ev);
    if (err == 0)
        err = pass(c, YAML_DOCUMENT_END_EVENT, "not valid YAML");
    if (err == 0)
        err = pass(c, YAML_STREAM_END_EVENT, "a second document (`---`) begins; write one only");
    return err;
}

int conf_check(const char *name, const void *data, size_t len, const cyaml_schema_value_t *schema,
               char why[CONF_WHY_MAX])
{
    struct check c = {.name = name, .data = data, .len = len, .root = schema, .why = why};
    int err;

    why[0] = '\0';
    if (!yaml_parser_initialize(&c.parser))
        return ERR_NOMEM;
    yaml_parser_set_input_string(&c.parser, data, len);
    err = check_document(&c);
    yaml_parser_delete(&c.parser);
    if (err == ERR_NOMEM)
        conf_append(why, CONF_WHY_MAX, "%s: out of memory", name);
    return err;
}
