/* conf_line.c - on which line a key stands, for errors that are found after loading.
 *
 * Walks libyaml's events with a stack of fixed depth and the path to where it is; knows no schema.
 * What lies deeper than the stack is not found. */
#include <stdio.h>
#include <string.h>

#include "runtime/conf_impl.h"

#define DEPTH_MAX 8
#define TEXT_MAX  256

struct level {
    bool is_list;
    bool key_next;   /* mapping: a key comes, not a value */
    unsigned n;      /* list: entries begun */
    size_t path_len; /* of the path to this mapping or list */
};

struct walk {
    struct level levels[DEPTH_MAX];
    unsigned depth;
    char path[TEXT_MAX];
};

/* A node begins that is an entry or a key: extends the path. True when it is what is looked for. */
static bool arrive(struct walk *w, const yaml_event_t *ev, const char *key)
{
    struct level *at = &w->levels[w->depth - 1];

    if (at->is_list) {
        w->path[at->path_len] = '\0';
        conf_append(w->path, sizeof(w->path), "[%u]", at->n++);
        return strcmp(w->path, key) == 0;
    }
    at->key_next = !at->key_next;
    if (at->key_next || ev->type != YAML_SCALAR_EVENT)
        return false; /* that was the value */
    w->path[at->path_len] = '\0';
    conf_append(w->path, sizeof(w->path), "%s%s", at->path_len > 0 ? "." : "",
                (const char *)ev->data.scalar.value);
    return strcmp(w->path, key) == 0;
}

/* 0: go on, 1: here, -1: give up. */
static int step(struct walk *w, const yaml_event_t *ev, const char *key)
{
    bool found = false;

    switch (ev->type) {
    case YAML_SCALAR_EVENT:
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        if (w->depth > 0)
            found = arrive(w, ev, key);
        if (found)
            return 1;
        if (ev->type == YAML_SCALAR_EVENT)
            return w->depth == 0 ? -1 : 0;
        if (w->depth == DEPTH_MAX)
            return -1;
        w->levels[w->depth++] = (struct level){
            .is_list = ev->type == YAML_SEQUENCE_START_EVENT,
            .key_next = true,
            .path_len = strlen(w->path),
        };
        return 0;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: w->path[w->levels[--w->depth].path_len] = '\0'; return 0;
    case YAML_ALIAS_EVENT:
    case YAML_DOCUMENT_END_EVENT:
    case YAML_STREAM_END_EVENT: return -1;
    default: return 0;
    }
}

unsigned conf_line_of_bytes(const void *data, size_t len, const char *key)
{
    struct walk w = {.depth = 0};
    yaml_parser_t parser;
    yaml_event_t ev;
    unsigned line = 0;
    int rc = 0;

    if (!yaml_parser_initialize(&parser))
        return 0;
    yaml_parser_set_input_string(&parser, data, len);
    while (rc == 0 && yaml_parser_parse(&parser, &ev)) {
        rc = step(&w, &ev, key);
        if (rc == 1)
            line = (unsigned)ev.start_mark.line + 1;
        yaml_event_delete(&ev);
        if (ev.type == YAML_NO_EVENT && parser.stream_end_produced)
            break;
    }
    yaml_parser_delete(&parser);
    return line;
}
