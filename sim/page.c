/* page.c - collecting a run and writing its page; see page.h. */
#include "sim/page.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/mem.h"
#include "sim/page_parts.h"

/* Rows that thin themselves out evenly: one in `every` is kept. */
struct rows {
    double *v;
    size_t n, cap;
    u64 seen, every;
};

struct text_row {
    double from_s, to_s;
    char text[PAGE_TEXT_MAX];
};
struct texts {
    struct text_row *v;
    size_t n, cap;
    u64 seen;
};

struct page {
    struct rows rows[PAGE_LIST_COUNT];
    unsigned trackers, regions;
    struct texts offices, faults, log, notes; /* an office's `from_s` is its number of nodes */
};

#define COUNT(name) +1
static const struct {
    const char *name, *what; /* what: for the sentence that says how many are left out */
    size_t columns;
} LISTS[PAGE_LIST_COUNT] = {
    [PAGE_STATES] = {"states", "changes of a node's state", 3},
    [PAGE_FETCHES] = {"fetches", "transfers", 6},
    [PAGE_GAINED] = {"gained", "layers that nodes took in", 3},
    [PAGE_LAYERS] = {"layers", "layers' times", 3},
    [PAGE_PULLS] = {"pulls", "pulls", 2},
    [PAGE_SECONDS] = {"seconds", "seconds", 1 PAGE_SERIES(COUNT)},
};
static_assert(1 PAGE_SERIES(COUNT) <= PAGE_COLUMNS_MAX, "a row holds every series");

struct page *page_new(void)
{
    struct page *p = mem_new(1, sizeof(*p));
    for (size_t i = 0; i < PAGE_LIST_COUNT; i++)
        p->rows[i].every = 1;
    return p;
}

void page_del(struct page *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < PAGE_LIST_COUNT; i++)
        free(p->rows[i].v);
    free(p->offices.v);
    free(p->faults.v);
    free(p->log.v);
    free(p->notes.v);
    free(p);
}

/* --- collecting ------------------------------------------------------------------------------ */

static void thin(struct rows *r, size_t columns)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->n; i += 2, kept++)
        memmove(r->v + kept * columns, r->v + i * columns, columns * sizeof(*r->v));
    r->n = kept;
    r->every *= 2;
}

void page_row(struct page *p, enum page_list list, const double *values)
{
    struct rows *r = &p->rows[list];
    size_t columns = LISTS[list].columns;
    if (r->seen++ % r->every != 0)
        return;
    r->v = mem_grow(r->v, &r->cap, (r->n + 1) * columns, sizeof(*r->v));
    memcpy(r->v + r->n * columns, values, columns * sizeof(*r->v));
    if (++r->n == PAGE_ROWS_MAX)
        thin(r, columns);
}

static void add_text(struct texts *t, double from_s, double to_s, const char *text)
{
    t->seen++;
    if (t->n == PAGE_ROWS_MAX)
        return;
    t->v = mem_grow(t->v, &t->cap, t->n + 1, sizeof(*t->v));
    struct text_row *row = &t->v[t->n++];
    row->from_s = from_s;
    row->to_s = to_s;
    snprintf(row->text, sizeof(row->text), "%s", text);
}

void page_office(struct page *p, const char *name, unsigned nodes)
{
    add_text(&p->offices, nodes, 0, name);
}

void page_trackers(struct page *p, unsigned trackers, unsigned regions)
{
    p->trackers = trackers;
    p->regions = regions;
}

void page_fault(struct page *p, double from_s, double to_s, const char *kind)
{
    add_text(&p->faults, from_s, to_s, kind);
}

void page_log(struct page *p, double at_s, const char *text)
{
    add_text(&p->log, at_s, at_s, text);
}

void page_note(struct page *p, const char *text)
{
    add_text(&p->notes, 0, 0, text);
}

/* --- writing --------------------------------------------------------------------------------- */

/* A JSON string that may stand in a script element: it must not end it. */
static void put_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (const u8 *c = (const u8 *)text; *c; c++) {
        if (*c < 0x20 || *c == '"' || *c == '\\' || *c == '<' || *c >= 0x7f)
            fprintf(out, "\\u%04x", *c < 0x80 ? *c : '?');
        else
            fputc(*c, out);
    }
    fputc('"', out);
}

static void put_rows(FILE *out, const struct rows *r, enum page_list list)
{
    size_t columns = LISTS[list].columns;
    fprintf(out, ",\n\"%s\":[", LISTS[list].name);
    for (size_t i = 0; i < r->n; i++) {
        fprintf(out, "%s[", i ? "," : "");
        for (size_t c = 0; c < columns; c++)
            fprintf(out, "%s%.10g", c ? "," : "", r->v[i * columns + c]);
        fputc(']', out);
    }
    fputc(']', out);
}

static void put_texts(FILE *out, const char *name, const struct texts *t)
{
    fprintf(out, ",\n\"%s\":[", name);
    for (size_t i = 0; i < t->n; i++) {
        fprintf(out, "%s[%.10g,%.10g,", i ? "," : "", t->v[i].from_s, t->v[i].to_s);
        put_text(out, t->v[i].text);
        fputc(']', out);
    }
    fputc(']', out);
}

static void say_what_is_left_out(struct page *p)
{
    char text[PAGE_TEXT_MAX];
    for (size_t i = 0; i < PAGE_LIST_COUNT; i++) {
        const struct rows *r = &p->rows[i];
        if (r->seen <= r->n)
            continue;
        snprintf(text, sizeof(text), "Of %" PRIu64 " %s, an even sample of %zu is on this page.",
                 r->seen, LISTS[i].what, r->n);
        page_note(p, text);
    }
    if (p->log.seen > p->log.n || p->faults.seen > p->faults.n)
        page_note(p, "More happened than this page lists; events.jsonl has all of it.");
}

int page_write(struct page *p, const struct page_end *end, FILE *out)
{
    say_what_is_left_out(p);
    fwrite(PAGE_HEAD, 1, PAGE_HEAD_BYTES, out);
    fputs("{\"version\":", out);
    put_text(out, DRAY_VERSION);
    fputs(",\"again\":", out);
    put_text(out, end->again);
    fprintf(out, ",\"end_s\":%.10g,\"bound_s\":%.10g,\n\"summary\":%s", end->end_s, end->bound_s,
            end->summary);
    fprintf(out, ",\n\"trackers\":%u,\"regions\":%u", p->trackers, p->regions);
    fputs(",\n\"series\":[", out);
#define NAME(name) "\"" #name "\","
    static const char names[] = PAGE_SERIES(NAME);
    fprintf(out, "%.*s]", (int)sizeof(names) - 2, names);
    for (size_t i = 0; i < PAGE_LIST_COUNT; i++)
        put_rows(out, &p->rows[i], i);
    put_texts(out, "offices", &p->offices);
    put_texts(out, "faults", &p->faults);
    put_texts(out, "log", &p->log);
    put_texts(out, "notes", &p->notes);
    fputs("}", out);
    fwrite(PAGE_TAIL, 1, PAGE_TAIL_BYTES, out);
    return ferror(out) ? ERR_IO : 0;
}
