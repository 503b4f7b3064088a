/* metrics.c - see metrics.h.
 *
 * A family is a name, a type and a help text; it holds series, told apart by their label text.
 * Series are allocated one by one and never move, so that their owners count through plain
 * pointers. They are found through one hash table of fixed size (name and labels together), twice
 * as large as the number of series can become, so a probe always ends.
 *
 * Names come from the code: a bad one is a programmer's mistake. Label values may come from outside
 * (a peer's name): their owner escapes them, and their number is bounded here. */
#include "runtime/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define METRICS_FAMILIES_MAX 256
#define METRICS_SERIES_MAX   4096
#define METRICS_SLOTS        (4 * METRICS_SERIES_MAX) /* also holds each family's `other` */
#define METRICS_LABELS_MAX   1024

static_assert(METRICS_SLOTS >= 2 * (METRICS_SERIES_MAX + METRICS_FAMILIES_MAX), "probes end");

/* Upper bounds in seconds; +Inf is the one after the last. */
static const double bucket_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                       1,     2.5,    5,     10,   30,    60,   120, 300};
#define N_BOUNDS countof(bucket_bounds)

struct histogram {
    u64 buckets[N_BOUNDS + 1]; /* not cumulative here: summed when rendered */
    double sum;
};

enum metric_type { TYPE_COUNTER, TYPE_GAUGE, TYPE_HISTOGRAM };
static const char *const type_names[] = {"counter", "gauge", "histogram"};

enum series_kind { KIND_COUNTER, KIND_GAUGE, KIND_FN, KIND_HISTOGRAM };

struct series {
    struct series *next; /* in its family, in order of registration */
    struct family *family;
    enum series_kind kind;
    union {
        u64 counter;
        double gauge;
        struct {
            double (*read)(void *arg);
            void *arg;
        } fn;
        struct histogram histogram;
    };
    char labels[];
};

struct family {
    char *name, *help; /* help may be NULL */
    enum metric_type type;
    struct series *first, *last;
};

struct metrics {
    struct family families[METRICS_FAMILIES_MAX];
    size_t n_families, n_series;
    struct series *slots[METRICS_SLOTS];
    /* What callers get when memory or the table ends: counted into, never shown. */
    u64 sink_counter;
    double sink_gauge;
    struct histogram sink_histogram;
};

int metrics_new(struct metrics **out)
{
    assert(out != NULL);
    *out = calloc(1, sizeof(**out));
    return *out == NULL ? ERR_NOMEM : 0;
}

void metrics_del(struct metrics *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->n_families; i++) {
        struct family *f = &m->families[i];

        while (f->first != NULL) {
            struct series *next = f->first->next;

            free(f->first);
            f->first = next;
        }
        free(f->name);
        free(f->help);
    }
    free(m);
}

/* Finding and making -----------------------------------------------------------------------------
 */

static bool name_is_valid(const char *name)
{
    if (*name == '\0' || (*name >= '0' && *name <= '9'))
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:") ==
           strlen(name);
}

/* NULL when the families or memory ended. */
static struct family *family_get(struct metrics *m, const char *name, enum metric_type type,
                                 const char *help)
{
    struct family *f;

    for (size_t i = 0; i < m->n_families; i++) {
        f = &m->families[i];
        if (strcmp(f->name, name) != 0)
            continue;
        assert(f->type == type);
        if (f->help == NULL && help != NULL)
            f->help = strdup(help);
        return f;
    }
    assert(name_is_valid(name));
    if (m->n_families == METRICS_FAMILIES_MAX)
        return NULL;
    f = &m->families[m->n_families];
    *f = (struct family){.name = strdup(name), .type = type};
    if (f->name == NULL)
        return NULL;
    if (help != NULL)
        f->help = strdup(help);
    m->n_families++;
    return f;
}

/* FNV-1a over the family's place and the labels. */
static size_t slot_of(const struct metrics *m, const struct family *f, const char *labels)
{
    u64 h = 0xcbf29ce484222325ull ^ (u64)(f - m->families);

    for (; *labels != '\0'; labels++)
        h = (h ^ (u8)*labels) * 0x100000001b3ull;
    return (h ^ h >> 29) % METRICS_SLOTS;
}

/* The slot where the series is, or where it would go. */
static struct series **slot_find(struct metrics *m, const struct family *f, const char *labels)
{
    size_t at = slot_of(m, f, labels);

    for (;;) {
        struct series **slot = &m->slots[at];

        if (*slot == NULL || ((*slot)->family == f && strcmp((*slot)->labels, labels) == 0))
            return slot;
        at = (at + 1) % METRICS_SLOTS;
    }
}

/* `a="x",b="y"` to `a="other",b="other"`. */
static void labels_other(const char *labels, char out[METRICS_LABELS_MAX])
{
    size_t len = 0;
    bool in_value = false;

    for (const char *c = labels; *c != '\0' && len + 16 < METRICS_LABELS_MAX; c++) {
        if (in_value && *c == '\\' && c[1] != '\0')
            c++;
        else if (*c == '"') {
            if (!in_value)
                len += (size_t)snprintf(out + len, METRICS_LABELS_MAX - len, "\"other\"");
            in_value = !in_value;
        } else if (!in_value)
            out[len++] = *c;
    }
    out[len] = '\0';
}

static struct series *series_new(struct metrics *m, struct family *f, const char *labels,
                                 enum series_kind kind, struct series **slot)
{
    size_t len = strlen(labels);
    struct series *s = calloc(1, sizeof(*s) + len + 1);

    if (s == NULL)
        return NULL;
    memcpy(s->labels, labels, len + 1);
    s->family = f;
    s->kind = kind;
    if (f->last != NULL)
        f->last->next = s;
    else
        f->first = s;
    f->last = s;
    *slot = s;
    m->n_series++;
    return s;
}

/* NULL when a sink must do. */
static struct series *series_get(struct metrics *m, const char *name, const char *labels,
                                 const char *help, enum metric_type type, enum series_kind kind)
{
    struct family *f = family_get(m, name, type, help);
    char other[METRICS_LABELS_MAX];
    struct series **slot;

    assert(labels != NULL);
    if (f == NULL)
        return NULL;
    slot = slot_find(m, f, labels);
    if (*slot == NULL && m->n_series >= METRICS_SERIES_MAX) {
        labels_other(labels, other);
        labels = other;
        slot = slot_find(m, f, labels);
        /* One more for each family: names differ between callers of one family only by mistake. */
        if (*slot == NULL && m->n_series >= METRICS_SERIES_MAX + METRICS_FAMILIES_MAX)
            return NULL;
    }
    if (*slot == NULL)
        return series_new(m, f, labels, kind, slot);
    assert((*slot)->kind == kind);
    return *slot;
}

u64 *metrics_counter(struct metrics *m, const char *name, const char *labels, const char *help)
{
    struct series *s = series_get(m, name, labels, help, TYPE_COUNTER, KIND_COUNTER);

    return s == NULL ? &m->sink_counter : &s->counter;
}

double *metrics_gauge(struct metrics *m, const char *name, const char *labels, const char *help)
{
    struct series *s = series_get(m, name, labels, help, TYPE_GAUGE, KIND_GAUGE);

    return s == NULL ? &m->sink_gauge : &s->gauge;
}

static void series_read_by(struct series *s, double (*read)(void *arg), void *arg)
{
    assert(read != NULL);
    if (s == NULL)
        return;
    s->fn.read = read;
    s->fn.arg = arg;
}

void metrics_gauge_fn(struct metrics *m, const char *name, const char *labels, const char *help,
                      double (*read)(void *arg), void *arg)
{
    series_read_by(series_get(m, name, labels, help, TYPE_GAUGE, KIND_FN), read, arg);
}

void metrics_counter_fn(struct metrics *m, const char *name, const char *labels, const char *help,
                        double (*read)(void *arg), void *arg)
{
    series_read_by(series_get(m, name, labels, help, TYPE_COUNTER, KIND_FN), read, arg);
}

struct histogram *metrics_histogram(struct metrics *m, const char *name, const char *labels,
                                    const char *help)
{
    struct series *s = series_get(m, name, labels, help, TYPE_HISTOGRAM, KIND_HISTOGRAM);

    return s == NULL ? &m->sink_histogram : &s->histogram;
}

void histogram_observe(struct histogram *h, double seconds)
{
    size_t i = 0;

    if (isnan(seconds))
        return;
    if (seconds < 0)
        seconds = 0; /* a clock stepped back */
    while (i < N_BOUNDS && seconds > bucket_bounds[i])
        i++;
    h->buckets[i]++;
    h->sum += seconds;
}

void metrics_label_escape(char *out, size_t cap, const char *value)
{
    size_t len = 0;

    assert(cap > 0);
    for (; *value != '\0'; value++) {
        u8 c = (u8)*value;
        bool two = c == '"' || c == '\\' || c == '\n';

        if (len + (two ? 2 : 1) >= cap)
            break;
        if (two)
            out[len++] = '\\';
        /* The page is UTF-8; a value from outside need not be. Only ASCII passes. */
        out[len++] = c == '\n' ? 'n' : c < 0x20 || c >= 0x7f ? '?' : (char)c;
    }
    out[len] = '\0';
}

/* Rendering --------------------------------------------------------------------------------------
 */

struct page {
    char *text;
    size_t len, cap;
    bool failed;
};

static void page_put(struct page *p, const char *text, size_t len)
{
    if (p->failed)
        return;
    if (p->cap - p->len < len + 1) {
        size_t cap = p->cap == 0 ? 4096 : p->cap;
        char *more;

        while (cap - p->len < len + 1)
            cap *= 2;
        more = realloc(p->text, cap);
        if (more == NULL) {
            p->failed = true;
            return;
        }
        p->text = more;
        p->cap = cap;
    }
    memcpy(p->text + p->len, text, len);
    p->len += len;
    p->text[p->len] = '\0';
}

static void page_puts(struct page *p, const char *text)
{
    page_put(p, text, strlen(text));
}

static void page_number(struct page *p, double v)
{
    char text[40];

    if (isnan(v))
        snprintf(text, sizeof(text), "NaN");
    else if (isinf(v))
        snprintf(text, sizeof(text), "%cInf", v > 0 ? '+' : '-');
    else if (fabs(v) < 9007199254740992.0 && v == (double)(i64)v)
        snprintf(text, sizeof(text), "%" PRId64, (i64)v);
    else {
        snprintf(text, sizeof(text), "%.15g", v);
        if (strtod(text, NULL) != v)
            snprintf(text, sizeof(text), "%.17g", v);
    }
    page_puts(p, text);
}

static void page_count(struct page *p, u64 v)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, v);
    page_puts(p, text);
}

/* `name_suffix{labels,le="bound"} `; `le` NULL when there is none. */
static void page_series(struct page *p, const struct series *s, const char *suffix, const char *le)
{
    page_puts(p, s->family->name);
    page_puts(p, suffix);
    if (*s->labels != '\0' || le != NULL) {
        page_puts(p, "{");
        page_puts(p, s->labels);
        if (le != NULL) {
            page_puts(p, *s->labels != '\0' ? ",le=\"" : "le=\"");
            page_puts(p, le);
            page_puts(p, "\"");
        }
        page_puts(p, "}");
    }
    page_puts(p, " ");
}

static void page_histogram(struct page *p, const struct series *s)
{
    const struct histogram *h = &s->histogram;
    char le[24];
    u64 total = 0;

    for (size_t i = 0; i <= N_BOUNDS; i++) {
        if (i < N_BOUNDS)
            snprintf(le, sizeof(le), "%g", bucket_bounds[i]);
        else
            snprintf(le, sizeof(le), "+Inf");
        total += h->buckets[i];
        page_series(p, s, "_bucket", le);
        page_count(p, total);
        page_puts(p, "\n");
    }
    page_series(p, s, "_sum", NULL);
    page_number(p, h->sum);
    page_puts(p, "\n");
    page_series(p, s, "_count", NULL);
    page_count(p, total);
    page_puts(p, "\n");
}

static void page_one(struct page *p, const struct series *s)
{
    if (s->kind == KIND_HISTOGRAM) {
        page_histogram(p, s);
        return;
    }
    page_series(p, s, "", NULL);
    switch (s->kind) {
    case KIND_COUNTER: page_count(p, s->counter); break;
    case KIND_GAUGE: page_number(p, s->gauge); break;
    case KIND_FN: page_number(p, s->fn.read(s->fn.arg)); break;
    case KIND_HISTOGRAM: break;
    }
    page_puts(p, "\n");
}

static void page_family(struct page *p, const struct family *f)
{
    if (f->help != NULL) {
        page_puts(p, "# HELP ");
        page_puts(p, f->name);
        page_puts(p, " ");
        for (const char *c = f->help; *c != '\0'; c++) {
            if (*c == '\n')
                page_puts(p, "\\n");
            else if (*c == '\\')
                page_puts(p, "\\\\");
            else
                page_put(p, c, 1);
        }
        page_puts(p, "\n");
    }
    page_puts(p, "# TYPE ");
    page_puts(p, f->name);
    page_puts(p, " ");
    page_puts(p, type_names[f->type]);
    page_puts(p, "\n");
    for (const struct series *s = f->first; s != NULL; s = s->next)
        page_one(p, s);
}

int metrics_render(struct metrics *m, char **text, size_t *len)
{
    struct page p = {0};

    page_put(&p, "", 0);
    for (size_t i = 0; i < m->n_families; i++)
        page_family(&p, &m->families[i]);
    if (p.failed) {
        free(p.text);
        return ERR_NOMEM;
    }
    *text = p.text;
    *len = p.len;
    return 0;
}
