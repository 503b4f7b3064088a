/* report.c - collecting a run and writing its page; see report.h. */
#include "sim/report.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/report_page.h"

/* A list of rows that thins itself out evenly: `every` of them is kept. */
struct rows {
    json_t *list;
    u64 seen, every;
};

struct report {
    struct rows states, fetches, full, done;
    json_t *offices, *nodes, *faults, *log, *notes;
    u64 dt_ns, next_ns;
    size_t samples;
    double series[REPORT_SERIES_COUNT][REPORT_SAMPLES_MAX];
    bool incomplete;
};

static const char *const SERIES[REPORT_SERIES_COUNT] = {
    "store_bps",    "peer_bps",  "wan_bps",  "hit_ratio",     "peer_hit_ratio", "mesh_bps",
    "mesh_max_bps", "view_mean", "view_min", "dead_believed", "inventory_mean", "inventory_min",
};

int report_new(struct report **out, u64 dt_ns)
{
    assert(dt_ns > 0);
    struct report *r = calloc(1, sizeof(*r));
    if (!r)
        return ERR_NOMEM;
    struct rows *rows[] = {&r->states, &r->fetches, &r->full, &r->done};
    json_t **lists[] = {&r->offices, &r->nodes, &r->faults, &r->log, &r->notes};
    for (size_t i = 0; i < countof(rows); i++)
        *rows[i] = (struct rows){.list = json_array(), .every = 1};
    for (size_t i = 0; i < countof(lists); i++)
        *lists[i] = json_array();
    r->dt_ns = dt_ns;
    *out = r;
    return 0;
}

void report_del(struct report *r)
{
    if (!r)
        return;
    json_t *lists[] = {r->states.list, r->fetches.list, r->full.list, r->done.list, r->offices,
                       r->nodes,       r->faults,       r->log,       r->notes};
    for (size_t i = 0; i < countof(lists); i++)
        json_decref(lists[i]);
    free(r);
}

static double seconds(u64 ns)
{
    return (double)(ns / 1000000) / 1000.0;
}

/* Takes `row`. */
static void append(struct report *r, json_t *list, json_t *row)
{
    if (json_array_append_new(list, row))
        r->incomplete = true;
}

static bool is_wanted(struct rows *rows)
{
    return rows->seen++ % rows->every == 0;
}

static void append_row(struct report *r, struct rows *rows, json_t *row)
{
    append(r, rows->list, row);
    if (json_array_size(rows->list) < REPORT_ROWS_MAX)
        return;
    json_t *thinner = json_array();
    for (size_t i = 0; i < json_array_size(rows->list); i += 2)
        if (json_array_append(thinner, json_array_get(rows->list, i)))
            r->incomplete = true;
    json_decref(rows->list);
    rows->list = thinner;
    rows->every *= 2;
}

void report_office(struct report *r, const char *name)
{
    append(r, r->offices, json_pack("{s:s}", "name", name));
}

void report_node(struct report *r, unsigned office, const char *rack, const char *name)
{
    assert(office < json_array_size(r->offices));
    append(r, r->nodes, json_pack("[iss]", (int)office, rack, name));
}

/* States and shares are never thinned: a node would be drawn wrongly to the end. The newest rows
 * are left out instead, which the page says. */
static void append_always(struct report *r, struct rows *rows, json_t *row)
{
    rows->seen++;
    if (json_array_size(rows->list) < 4 * REPORT_ROWS_MAX)
        append(r, rows->list, row);
    else
        json_decref(row);
}

void report_state(struct report *r, u64 now_ns, unsigned node, enum report_state state)
{
    append_always(r, &r->states, json_pack("[fii]", seconds(now_ns), (int)node, (int)state));
}

void report_full(struct report *r, u64 now_ns, unsigned node, double share)
{
    append_always(r, &r->full, json_pack("[fif]", seconds(now_ns), (int)node, share));
}

void report_fetch(struct report *r, u64 from_ns, u64 to_ns, unsigned node, int source, u64 bytes,
                  bool ok)
{
    if (is_wanted(&r->fetches))
        append_row(r, &r->fetches,
                   json_pack("[ffiiIi]", seconds(from_ns), seconds(to_ns), (int)node, source,
                             (json_int_t)bytes, ok ? 1 : 0));
}

void report_done(struct report *r, u64 now_ns, u64 took_ns, enum report_source source)
{
    if (is_wanted(&r->done))
        append_row(r, &r->done, json_pack("[ffi]", seconds(now_ns), seconds(took_ns), (int)source));
}

void report_fault(struct report *r, u64 from_ns, u64 to_ns, const char *kind, const char *text)
{
    if (json_array_size(r->faults) < REPORT_ROWS_MAX)
        append(r, r->faults, json_pack("[ffss]", seconds(from_ns), seconds(to_ns), kind, text));
}

void report_log(struct report *r, u64 now_ns, const char *text)
{
    if (json_array_size(r->log) < REPORT_ROWS_MAX)
        append(r, r->log, json_pack("[fs]", seconds(now_ns), text));
}

void report_note(struct report *r, const char *text)
{
    append(r, r->notes, json_string(text));
}

bool report_wants_sample(const struct report *r, u64 now_ns)
{
    return now_ns >= r->next_ns;
}

void report_sample(struct report *r, u64 now_ns, const double values[REPORT_SERIES_COUNT])
{
    if (r->samples == REPORT_SAMPLES_MAX) {
        for (size_t s = 0; s < REPORT_SERIES_COUNT; s++)
            for (size_t i = 0; i < REPORT_SAMPLES_MAX / 2; i++)
                r->series[s][i] = r->series[s][2 * i];
        r->samples /= 2;
        r->dt_ns *= 2;
    }
    for (size_t s = 0; s < REPORT_SERIES_COUNT; s++)
        r->series[s][r->samples] = values[s];
    r->samples++;
    r->next_ns = r->samples * r->dt_ns;
    if (r->next_ns <= now_ns) /* samples stand where their index says, also after a gap */
        r->next_ns = now_ns + 1;
}

/* --- writing --------------------------------------------------------------------------------- */

static json_t *series_json(const struct report *r)
{
    json_t *out = json_object();
    for (size_t s = 0; s < REPORT_SERIES_COUNT; s++) {
        json_t *list = json_array();
        bool any = false;
        for (size_t i = 0; i < r->samples; i++) {
            double v = r->series[s][i];
            any = any || isfinite(v);
            json_array_append_new(list, isfinite(v) ? json_real(v) : json_null());
        }
        if (any)
            json_object_set_new(out, SERIES[s], list);
        else
            json_decref(list);
    }
    return out;
}

static void say_what_is_left_out(struct report *r, const char *what, const struct rows *rows)
{
    char text[128];
    size_t kept = json_array_size(rows->list);
    if (rows->seen <= kept)
        return;
    snprintf(text, sizeof(text), "Of %llu %s, %zu are on this page.",
             (unsigned long long)rows->seen, what, kept);
    report_note(r, text);
}

static json_t *page_data(struct report *r, json_t *summary, double bound_s, u64 end_ns)
{
    say_what_is_left_out(r, "transfers", &r->fetches);
    say_what_is_left_out(r, "finished requests", &r->done);
    say_what_is_left_out(r, "changes of a node's state", &r->states);
    say_what_is_left_out(r, "changes of what a node holds", &r->full);
    if (r->incomplete)
        report_note(r, "Memory ran short: this page is incomplete.");
    return json_pack("{s:s s:O s:f s:f s:f s:O s:O s:O s:O s:O s:O s:O s:O s:O s:o}", "version",
                     DRAY_VERSION, "summary", summary, "dt_s", seconds(r->dt_ns), "end_s",
                     seconds(end_ns), "bound_s", bound_s, "offices", r->offices, "nodes", r->nodes,
                     "states", r->states.list, "fetches", r->fetches.list, "full", r->full.list,
                     "done", r->done.list, "faults", r->faults, "log", r->log, "notes", r->notes,
                     "series", series_json(r));
}

/* JSON inside a script element: "<" stands in strings only, and must not end the element. */
static int write_data(FILE *f, const char *json)
{
    for (const char *p = json; *p; p++)
        if (*p == '<' ? fputs("\\u003c", f) < 0 : fputc(*p, f) == EOF)
            return ERR_IO;
    return 0;
}

static int write_page(const char *path, const char *json)
{
    FILE *f = fopen(path, "we");
    if (!f)
        return ERR_IO;
    int rc = fwrite(REPORT_PAGE_HEAD, 1, REPORT_PAGE_HEAD_BYTES, f) == REPORT_PAGE_HEAD_BYTES
                 ? write_data(f, json)
                 : ERR_IO;
    if (!rc && fwrite(REPORT_PAGE_TAIL, 1, REPORT_PAGE_TAIL_BYTES, f) != REPORT_PAGE_TAIL_BYTES)
        rc = ERR_IO;
    return fclose(f) ? ERR_IO : rc;
}

int report_write(struct report *r, const char *path, const char *summary, double bound_s,
                 u64 end_ns)
{
    json_t *s = json_loads(summary, JSON_REJECT_DUPLICATES, NULL);
    assert(json_is_object(s));
    json_t *data = page_data(r, s, bound_s, end_ns);
    char *json = data ? json_dumps(data, JSON_COMPACT | JSON_REAL_PRECISION(7)) : NULL;
    int rc = json ? write_page(path, json) : ERR_NOMEM;
    free(json);
    json_decref(data);
    json_decref(s);
    return rc;
}
