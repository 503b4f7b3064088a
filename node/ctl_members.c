/* ctl_members.c - the region on the status page: what is wrong, who is there, who holds which key.
 */
#include <string.h>

#include "node/ctl_print.h"
#include "node/ctl_table.h"

static const char *text_of(const json_t *o, const char *key)
{
    const char *v = json_string_value(json_object_get(o, key));
    return v ? v : "";
}

static u64 number_of(const json_t *o, const char *key)
{
    double v = json_number_value(json_object_get(o, key));
    return v > 0 ? (u64)v : 0;
}

/* "k2 then k1": key ids as our own key file calls them, the sealing one first. */
static void keys_of(char out[TABLE_CELL], const json_t *member, const json_t *ring)
{
    const json_t *ids = json_object_get(member, "keys"), *id, *known;
    size_t i, k, len = 0;
    out[0] = 0;
    json_array_foreach(ids, i, id)
    {
        const char *name = json_string_value(id) ? json_string_value(id) : "?";
        json_array_foreach(ring, k, known)
        {
            if (strcmp(text_of(known, "id"), name) == 0)
                name = text_of(known, "name");
        }
        len += (size_t)snprintf(out + len, TABLE_CELL - len, "%s%.20s", i ? " " : "", name);
        if (len >= TABLE_CELL - 24)
            return;
    }
    if (len == 0)
        snprintf(out, TABLE_CELL, "-");
}

static void add_member(struct ctl_table *t, const json_t *m, const json_t *ring)
{
    char since[TABLE_TEXT] = "-", rtt[TABLE_TEXT] = "-", load[TABLE_TEXT] = "-",
         layers[TABLE_TEXT] = "-", keys[TABLE_CELL], state[TABLE_TEXT], rack[TABLE_CELL];
    bool self = json_is_true(json_object_get(m, "self"));
    if (json_is_number(json_object_get(m, "since_s")))
        ctl_table_age(since, number_of(m, "since_s"));
    const json_t *ms = json_object_get(m, "rtt_ms");
    if (json_is_number(ms))
        snprintf(rtt, sizeof(rtt), "%.1f ms", json_number_value(ms));
    if (json_is_number(json_object_get(m, "load")))
        snprintf(load, sizeof(load), "%.0f%%", 100 * json_number_value(json_object_get(m, "load")));
    if (json_is_number(json_object_get(m, "layers")))
        ctl_table_count(layers, number_of(m, "layers"));
    snprintf(state, sizeof(state), "%.16s%s", text_of(m, "state"),
             json_is_true(json_object_get(m, "barred")) ? ", barred" : "");
    snprintf(rack, sizeof(rack), "%.64s", *text_of(m, "rack") ? text_of(m, "rack") : "-");
    keys_of(keys, m, ring);
    ctl_table_add(t, (const char *const[]){text_of(m, "name"), self ? "this node" : "",
                                           text_of(m, "address"), state, since, rack, rtt, load,
                                           layers, keys, text_of(m, "key")});
}

static void print_table(const json_t *members, const json_t *ring, FILE *to, const char *bold,
                        const char *off)
{
    const json_t *all = json_object_get(members, "members"), *m;
    struct ctl_table t;
    size_t i;
    if (json_array_size(all) == 0 || !ctl_table_init(&t, "llllrlrrrll"))
        return;
    ctl_table_add(&t, (const char *const[]){"MEMBER", "", "ADDRESS", "STATE", "SINCE", "RACK",
                                            "RTT", "LOAD", "LAYERS", "MESH KEYS", "NODE KEY"});
    json_array_foreach(all, i, m)
    {
        add_member(&t, m, ring);
    }
    ctl_table_print(&t, to, "", bold, off);
    ctl_table_fini(&t);
}

void ctl_print_members(const json_t *mesh, const json_t *members, FILE *to, bool colour)
{
    const char *bold = colour ? "\033[1m" : "", *bad = colour ? "\033[31m" : "",
               *off = colour ? "\033[0m" : "";
    char state[TABLE_CELL], why[600], address[TABLE_CELL];
    if (!json_is_object(mesh) || strcmp(text_of(mesh, "state"), "off") == 0)
        return;
    const json_t *counts = json_object_get(mesh, "members");
    ctl_table_clean(state, sizeof(state), text_of(mesh, "state"));
    ctl_table_clean(address, sizeof(address), text_of(mesh, "address"));
    ctl_table_clean(why, sizeof(why), text_of(mesh, "why"));
    fprintf(to, "\n%sRegion%s  %s, as %s; %llu alive, %llu suspect, %llu dead, %llu left\n", bold,
            off, state, *address ? address : "-", (unsigned long long)number_of(counts, "alive"),
            (unsigned long long)number_of(counts, "suspect"),
            (unsigned long long)number_of(counts, "dead"),
            (unsigned long long)number_of(counts, "left"));
    if (*why)
        fprintf(to, "  %s%s%s\n", bad, why, off);
    print_table(members, json_object_get(mesh, "keys"), to, bold, off);
}
