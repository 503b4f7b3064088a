/* trace.c - see trace.h. */
#include "sim/trace.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/catalog.h"
#include "sim/mem.h"

enum column { TIME, USER, REPOSITORY, DIGEST, BYTES, OFFICE, COLUMN_COUNT };
static const char *const names[COLUMN_COUNT] = {"time",   "user",  "repository",
                                                "digest", "bytes", "office"};

struct field {
    const char *at;
    size_t len;
};

struct row {
    struct digest digest;
    u64 bytes;
    u32 index, line;
};

struct reader {
    struct trace *t;
    const char *at, *end;
    u32 line;
    int place[COLUMN_COUNT]; /* in a line; -1: not there */
    struct row *rows;
    size_t n, cap;
    u64 first_ns, last_ns;         /* as the file says it */
    struct field last[OFFICE + 1]; /* of the line before */
    char *why;
};

static int refuse(const struct reader *r, u32 line, int err, const char *what)
{
    snprintf(r->why, TRACE_WHY_MAX, "line %u: %s", line, what);
    return err;
}

static bool is(struct field f, const char *text)
{
    return f.len == strlen(text) && memcmp(f.at, text, f.len) == 0;
}

static bool same(struct field a, struct field b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* The next line without its end, that is not empty. False: there is none. */
static bool next_line(struct reader *r, struct field *out)
{
    while (r->at < r->end) {
        const char *nl = memchr(r->at, '\n', (size_t)(r->end - r->at));
        const char *stop = nl ? nl : r->end;
        *out = (struct field){r->at, (size_t)(stop - r->at)};
        r->at = nl ? nl + 1 : r->end;
        r->line++;
        if (out->len > 0 && out->at[out->len - 1] == '\r')
            out->len--;
        if (out->len > 0)
            return true;
    }
    return false;
}

static int split(const struct reader *r, struct field line, struct field out[TRACE_COLUMNS_MAX],
                 size_t *n)
{
    if (line.len > TRACE_LINE_MAX)
        return refuse(r, r->line, ERR_TOOBIG, "longer than 4096 bytes");
    *n = 0;
    size_t from = 0;
    for (size_t i = 0; i <= line.len; i++) {
        unsigned char c = i < line.len ? (unsigned char)line.at[i] : ',';
        if (c < 0x20 || c == 0x7f || c == '"')
            return refuse(r, r->line, ERR_INVAL, "control characters and quotes are not taken");
        if (c != ',')
            continue;
        if (*n == TRACE_COLUMNS_MAX)
            return refuse(r, r->line, ERR_TOOBIG, "more than 64 columns");
        out[(*n)++] = (struct field){line.at + from, i - from};
        from = i + 1;
    }
    return 0;
}

static int read_header(struct reader *r)
{
    struct field line, f[TRACE_COLUMNS_MAX];
    size_t n;
    if (!next_line(r, &line))
        return refuse(r, 1, ERR_INVAL, "nothing in it; expected a header: time,user,...");
    int rc = split(r, line, f, &n);
    if (rc)
        return rc;
    for (int c = 0; c < COLUMN_COUNT; c++) {
        r->place[c] = -1;
        for (size_t i = 0; i < n; i++) {
            if (!is(f[i], names[c]))
                continue;
            if (r->place[c] >= 0)
                return refuse(r, r->line, ERR_INVAL, "the header names a column twice");
            r->place[c] = (int)i;
        }
        if (r->place[c] < 0 && c != OFFICE)
            return refuse(r, r->line, ERR_INVAL,
                          "the header needs time, user, repository, digest and bytes");
    }
    return 0;
}

/* Digits alone. False: not so, or more than `most`. */
static bool number(struct field f, u64 most, u64 *out)
{
    *out = 0;
    for (size_t i = 0; i < f.len; i++) {
        if (f.at[i] < '0' || f.at[i] > '9')
            return false;
        u64 digit = (u64)(f.at[i] - '0');
        if (*out > (most - digit) / 10)
            return false;
        *out = *out * 10 + digit;
    }
    return f.len > 0;
}

/* Seconds with up to nine decimals; the whole ones as far as nanoseconds of them fit. */
static bool time_of(struct field f, u64 *ns)
{
    const char *dot = f.len ? memchr(f.at, '.', f.len) : NULL;
    struct field whole = {f.at, dot ? (size_t)(dot - f.at) : f.len};
    u64 s, part = 0;
    if (!number(whole, UINT64_MAX / 1000000000 - 1, &s))
        return false;
    if (dot) {
        struct field rest = {dot + 1, f.len - whole.len - 1};
        if (rest.len > 9 || !number(rest, 999999999, &part))
            return false;
        for (size_t i = rest.len; i < 9; i++)
            part *= 10;
    }
    *ns = s * 1000000000 + part;
    return true;
}

/* FNV-1a: it has to be the same everywhere, and spread; nothing else depends on it. */
static u64 hash_of(struct field f)
{
    u64 h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < f.len; i++)
        h = (h ^ (unsigned char)f.at[i]) * 0x100000001b3u;
    return h;
}

static void add(struct reader *r, const struct field f[COLUMN_COUNT], u64 ns, const struct row *row)
{
    struct trace *t = r->t;
    struct trace_pull *p = t->n_pulls ? &t->pulls[t->n_pulls - 1] : NULL;
    bool more = p && ns == r->last_ns && p->n < CATALOG_LAYERS_MAX &&
                same(f[USER], r->last[USER]) && same(f[REPOSITORY], r->last[REPOSITORY]) &&
                same(f[OFFICE], r->last[OFFICE]);
    if (!more) {
        t->pulls = mem_grow(t->pulls, &t->pulls_cap, t->n_pulls + 1, sizeof(*t->pulls));
        p = &t->pulls[t->n_pulls++];
        *p = (struct trace_pull){.at_ns = ns - r->first_ns,
                                 .user = hash_of(f[USER]),
                                 .line = r->line,
                                 .first = row->index};
        if (f[OFFICE].len)
            memcpy(p->office, f[OFFICE].at, f[OFFICE].len);
    }
    p->n++;
    r->rows = mem_grow(r->rows, &r->cap, r->n + 1, sizeof(*r->rows));
    r->rows[r->n++] = *row;
    memcpy(r->last, f, sizeof(r->last));
    r->last_ns = ns;
}

static int read_row(struct reader *r, const struct field *all, size_t n)
{
    struct field f[COLUMN_COUNT] = {0};
    u64 ns;
    for (int c = 0; c < COLUMN_COUNT; c++) {
        if (r->place[c] >= (int)n)
            return refuse(r, r->line, ERR_INVAL, "has fewer columns than the header");
        if (r->place[c] >= 0)
            f[c] = all[r->place[c]];
    }
    struct row row = {.index = (u32)r->n, .line = r->line};
    if (r->n == TRACE_ROWS_MAX)
        return refuse(r, r->line, ERR_TOOBIG, "more than 1000000 rows");
    if (!time_of(f[TIME], &ns))
        return refuse(r, r->line, ERR_INVAL, "time: expected seconds, like 1767225600.25");
    if (r->n == 0)
        r->first_ns = r->last_ns = ns;
    if (ns < r->last_ns)
        return refuse(r, r->line, ERR_INVAL, "time goes back; sort the file by it");
    if (ns - r->first_ns > TRACE_SPAN_S * 1000000000ull)
        return refuse(r, r->line, ERR_TOOBIG, "time: more than 400000 s after the first");
    if (f[USER].len == 0 || f[USER].len > TRACE_TEXT_MAX)
        return refuse(r, r->line, ERR_INVAL, "user: expected 1 to 255 bytes");
    if (f[REPOSITORY].len == 0 || f[REPOSITORY].len > TRACE_TEXT_MAX)
        return refuse(r, r->line, ERR_INVAL, "repository: expected 1 to 255 bytes");
    if (digest_parse(&row.digest, f[DIGEST].at, f[DIGEST].len))
        return refuse(r, r->line, ERR_INVAL, "digest: expected sha256: or sha512: and hex");
    if (!number(f[BYTES], TRACE_LAYER_BYTES_MAX, &row.bytes) || row.bytes == 0)
        return refuse(r, r->line, ERR_INVAL, "bytes: expected a whole number, 1 to 17179869184");
    if (f[OFFICE].len > TRACE_OFFICE_MAX)
        return refuse(r, r->line, ERR_INVAL, "office: at most 31 bytes");
    add(r, f, ns, &row);
    return 0;
}

static int by_digest(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int d = x->digest.alg - y->digest.alg;
    if (d == 0)
        d = memcmp(x->digest.bytes, y->digest.bytes, sizeof(x->digest.bytes));
    return d ? d : (x->index > y->index) - (x->index < y->index);
}

/* Sorting needs no table that a file could be made to collide in. */
static int number_layers(struct reader *r)
{
    struct trace *t = r->t;
    qsort(r->rows, r->n, sizeof(*r->rows), by_digest);
    t->rows = mem_new(r->n, sizeof(*t->rows));
    t->layers = mem_new(r->n, sizeof(*t->layers));
    assert(t->rows && t->layers);
    t->n_rows = r->n;
    for (size_t i = 0; i < r->n; i++) {
        const struct row *row = &r->rows[i];
        struct trace_layer *l = t->n_layers ? &t->layers[t->n_layers - 1] : NULL;
        if (!l || !digest_equal(&l->digest, &row->digest))
            t->layers[t->n_layers++] = (struct trace_layer){row->digest, row->bytes};
        else if (l->bytes != row->bytes)
            return refuse(r, row->line, ERR_INVAL, "bytes: the digest had another size before");
        t->rows[row->index] = (u32)t->n_layers - 1;
    }
    return 0;
}

int trace_read(struct trace *t, const char *text, size_t len, char why[TRACE_WHY_MAX])
{
    memset(t, 0, sizeof(*t));
    struct reader r = {.t = t, .at = text, .end = text + len, .why = why};
    struct field line, f[TRACE_COLUMNS_MAX];
    size_t n;
    int rc = read_header(&r);
    while (rc == 0 && next_line(&r, &line)) {
        rc = split(&r, line, f, &n);
        if (rc == 0)
            rc = read_row(&r, f, n);
    }
    if (rc == 0 && r.n == 0)
        rc = refuse(&r, r.line, ERR_INVAL, "nothing follows the header");
    if (rc == 0)
        rc = number_layers(&r);
    free(r.rows);
    if (rc)
        trace_fini(t);
    return rc;
}

void trace_fini(struct trace *t)
{
    free(t->layers);
    free(t->rows);
    free(t->pulls);
    memset(t, 0, sizeof(*t));
}
