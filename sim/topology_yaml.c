/* topology_yaml.c - a topology from a YAML file.
 *
 *     node: {up: 10Gbit, down: 10Gbit}          # each node's line
 *     paths:                                    # one-way delay, and jitter on top
 *       rack: {delay: 40us, jitter: 40us}
 *       office: {delay: 150us, jitter: 200us}
 *       region: {delay: 4ms, jitter: 2ms}
 *       world: {delay: 70ms, jitter: 10ms}
 *     offices:
 *       - {name: tokyo, region: asia, nodes: 300, racks: 30, up: 1Gbit, down: 1Gbit,
 *          registry_rtt: 150ms, east: 3ms, north: 1ms, utc_offset: 540, users: 2000, cache: asia}
 *     trackers: 2
 *
 * libyaml's document is walked by hand: it has the line of each node, and every key that is not
 * known is an error. Aliases are harmless, since only these three levels are ever looked at. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "sim/topology_impl.h"

struct reading {
    yaml_document_t *doc;
    struct topology *t;
    char *why;
    struct topology_office *office; /* that keys go to */
    struct topology_path *path;
};

__attribute__((format(printf, 3, 4))) static int complain(struct reading *r, const yaml_node_t *at,
                                                          const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = snprintf(r->why, TOPOLOGY_WHY_MAX, "line %zu: ", at ? at->start_mark.line + 1 : 1);
    vsnprintf(r->why + n, TOPOLOGY_WHY_MAX - (size_t)n, format, args);
    va_end(args);
    return ERR_INVAL;
}

static const char *scalar(const yaml_node_t *n)
{
    if (!n || n->type != YAML_SCALAR_NODE ||
        strlen((const char *)n->data.scalar.value) != n->data.scalar.length)
        return NULL;
    return (const char *)n->data.scalar.value;
}

typedef int (*take_fn)(struct reading *r, const char *key, const yaml_node_t *value);

static int each_key(struct reading *r, const yaml_node_t *map, take_fn take)
{
    if (map->type != YAML_MAPPING_NODE)
        return complain(r, map, "expected keys and values");
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top;
         p++) {
        const char *key = scalar(yaml_document_get_node(r->doc, p->key));
        const yaml_node_t *value = yaml_document_get_node(r->doc, p->value);
        if (!key || !value)
            return complain(r, map, "expected a key");
        int rc = take(r, key, value);
        if (rc)
            return rc;
    }
    return 0;
}

static int take_time(struct reading *r, const yaml_node_t *value, u64 *out)
{
    const char *text = scalar(value);
    if (!text || topology_parse_time(text, out) || *out > 60000000000u)
        return complain(r, value, "expected a time up to 60s, like 150ms");
    return 0;
}

static int take_rate(struct reading *r, const yaml_node_t *value, u64 *out)
{
    const char *text = scalar(value);
    if (!text || topology_parse_bytes(text, out) || *out == 0)
        return complain(r, value, "expected a rate, like 1Gbit or 300MB");
    return 0;
}

static int take_number(struct reading *r, const yaml_node_t *value, i64 least, i64 most, i64 *out)
{
    const char *text = scalar(value);
    char *end = NULL;
    long long v = text ? strtoll(text, &end, 10) : 0;
    if (!text || end == text || *end || v < least || v > most)
        return complain(r, value, "expected a number from %lld to %lld", (long long)least,
                        (long long)most);
    *out = v;
    return 0;
}

static int take_name(struct reading *r, const yaml_node_t *value, char out[TOPOLOGY_NAME_MAX + 1])
{
    const char *text = scalar(value);
    size_t len = text ? strlen(text) : 0;
    if (len == 0 || len > TOPOLOGY_NAME_MAX ||
        strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != len)
        return complain(r, value, "expected a name: letters, digits, - _ . (at most %d)",
                        TOPOLOGY_NAME_MAX);
    memcpy(out, text, len + 1);
    return 0;
}

static int office_key(struct reading *r, const char *key, const yaml_node_t *value)
{
    struct topology_office *o = r->office;
    char region[TOPOLOGY_NAME_MAX + 1];
    i64 n = 0;
    int rc;
    if (strcmp(key, "name") == 0)
        return take_name(r, value, o->name);
    if (strcmp(key, "region") == 0) {
        rc = take_name(r, value, region);
        if (rc == 0)
            o->region = topology_region(r->t, region);
        return rc;
    }
    if (strcmp(key, "nodes") == 0 || strcmp(key, "racks") == 0) {
        rc = take_number(r, value, 1, TOPOLOGY_NODES_MAX, &n);
        *(*key == 'n' ? &o->nodes : &o->racks) = (u32)n;
        return rc;
    }
    if (strcmp(key, "users") == 0) {
        rc = take_number(r, value, 1, TOPOLOGY_USERS_MAX, &n);
        o->users = (u32)n;
        return rc;
    }
    if (strcmp(key, "cache") == 0)
        return take_name(r, value, o->cache);
    if (strcmp(key, "utc_offset") == 0)
        return take_number(r, value, -14 * 60, 14 * 60, &o->utc_offset_min);
    if (strcmp(key, "up") == 0)
        return take_rate(r, value, &o->wan_up_bps);
    if (strcmp(key, "down") == 0)
        return take_rate(r, value, &o->wan_down_bps);
    if (strcmp(key, "east") == 0)
        return take_time(r, value, &o->east_ns);
    if (strcmp(key, "north") == 0)
        return take_time(r, value, &o->north_ns);
    if (strcmp(key, "registry_rtt") == 0)
        return take_time(r, value, &o->registry_rtt_ns);
    return complain(r, value,
                    "%.40s: unknown; an office has name, region, nodes, racks, up, down, "
                    "registry_rtt, east, north, utc_offset (minutes), users, cache",
                    key);
}

static int take_offices(struct reading *r, const yaml_node_t *list)
{
    if (list->type != YAML_SEQUENCE_NODE)
        return complain(r, list, "offices: expected a list");
    for (const yaml_node_item_t *i = list->data.sequence.items.start;
         i < list->data.sequence.items.top; i++) {
        const yaml_node_t *item = yaml_document_get_node(r->doc, *i);
        if (r->t->n_offices == TOPOLOGY_OFFICES_MAX)
            return complain(r, item, "more than %d offices", TOPOLOGY_OFFICES_MAX);
        r->office = topology_add_office(r->t);
        r->office->region = UINT32_MAX;
        int rc = each_key(r, item, office_key);
        if (rc)
            return rc;
        if (r->office->region == UINT32_MAX)
            return complain(r, item, "an office names its region");
    }
    return 0;
}

static int path_key(struct reading *r, const char *key, const yaml_node_t *value)
{
    if (strcmp(key, "delay") == 0)
        return take_time(r, value, &r->path->delay_ns);
    if (strcmp(key, "jitter") == 0)
        return take_time(r, value, &r->path->jitter_ns);
    return complain(r, value, "%.40s: unknown; a path has delay and jitter", key);
}

static int paths_key(struct reading *r, const char *key, const yaml_node_t *value)
{
    static const char *const names[REACH_COUNT] = {"rack", "office", "region", "world"};
    for (int i = 0; i < REACH_COUNT; i++)
        if (strcmp(key, names[i]) == 0) {
            r->path = &r->t->path[i];
            return each_key(r, value, path_key);
        }
    return complain(r, value, "%.40s: unknown; paths are rack, office, region and world", key);
}

static int node_key(struct reading *r, const char *key, const yaml_node_t *value)
{
    if (strcmp(key, "up") == 0)
        return take_rate(r, value, &r->t->node_up_bps);
    if (strcmp(key, "down") == 0)
        return take_rate(r, value, &r->t->node_down_bps);
    return complain(r, value, "%.40s: unknown; a node has up and down", key);
}

static int top_key(struct reading *r, const char *key, const yaml_node_t *value)
{
    if (strcmp(key, "offices") == 0)
        return take_offices(r, value);
    if (strcmp(key, "paths") == 0)
        return each_key(r, value, paths_key);
    if (strcmp(key, "node") == 0)
        return each_key(r, value, node_key);
    if (strcmp(key, "trackers") == 0)
        return take_number(r, value, 0, TOPOLOGY_TRACKERS_MAX, &r->t->trackers);
    return complain(r, value, "%.40s: unknown; there are node, paths, offices and trackers", key);
}

int topology_read(struct topology *t, const char *text, size_t len, u32 nodes,
                  char why[TOPOLOGY_WHY_MAX])
{
    topology_begin(t);
    if (len > TOPOLOGY_FILE_BYTES) {
        snprintf(why, TOPOLOGY_WHY_MAX, "line 1: larger than %d bytes", TOPOLOGY_FILE_BYTES);
        return ERR_INVAL;
    }
    yaml_parser_t parser;
    yaml_document_t doc;
    if (!yaml_parser_initialize(&parser))
        return ERR_NOMEM;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    int rc;
    if (!yaml_parser_load(&parser, &doc)) {
        snprintf(why, TOPOLOGY_WHY_MAX, "line %zu: %s", parser.problem_mark.line + 1,
                 parser.problem ? parser.problem : "not YAML");
        rc = ERR_INVAL;
        goto out;
    }
    struct reading r = {.doc = &doc, .t = t, .why = why};
    yaml_node_t *root = yaml_document_get_root_node(&doc);
    rc = root ? each_key(&r, root, top_key) : complain(&r, NULL, "empty");
    if (rc == 0 && t->n_offices == 0)
        rc = complain(&r, root, "offices: needed");
    if (rc == 0)
        rc = topology_deal(t, nodes, why);
    yaml_document_delete(&doc);
out:
    yaml_parser_delete(&parser);
    if (rc)
        topology_fini(t);
    return rc;
}
