/* ctl_table.c - see ctl_table.h. Widths are counted in characters (UTF-8 lead bytes), which is
 * right for what names, digests and registries' errors hold. */
#include "node/ctl_table.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- numbers --------------------------------------------------------------------------------- */

void ctl_table_size(char out[TABLE_TEXT], u64 bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) {
        snprintf(out, TABLE_TEXT, "%" PRIu64 " B", bytes);
        return;
    }
    size_t unit = 0;
    double n = (double)bytes / 1024;
    /* What would be printed as 1024.0 is one of the next unit. */
    for (; unit + 1 < countof(units) && n >= 1023.95; unit++)
        n /= 1024;
    snprintf(out, TABLE_TEXT, "%.1f %s", n, units[unit]);
}

void ctl_table_rate(char out[TABLE_TEXT], u64 bytes_per_s)
{
    char size[TABLE_TEXT - sizeof("/s") + 1];
    static_assert(sizeof(size) >= sizeof("1023.9 KiB"), "what a size needs");
    ctl_table_size(out, bytes_per_s);
    memcpy(size, out, sizeof(size) - 1);
    size[sizeof(size) - 1] = 0;
    snprintf(out, TABLE_TEXT, "%s/s", size);
}

void ctl_table_age(char out[TABLE_TEXT], u64 s)
{
    if (s < 60)
        snprintf(out, TABLE_TEXT, "%" PRIu64 "s", s);
    else if (s < 3600)
        snprintf(out, TABLE_TEXT, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, TABLE_TEXT, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s / 60 % 60);
    else
        snprintf(out, TABLE_TEXT, "%" PRIu64 "d%02" PRIu64 "h", s / 86400, s / 3600 % 24);
}

void ctl_table_percent(char out[TABLE_TEXT], u64 part, u64 whole)
{
    if (whole == 0)
        snprintf(out, TABLE_TEXT, "-");
    else
        snprintf(out, TABLE_TEXT, "%.1f%%", 100.0 * (double)part / (double)whole);
}

void ctl_table_count(char out[TABLE_TEXT], u64 n)
{
    char plain[TABLE_TEXT];
    int len = snprintf(plain, sizeof(plain), "%" PRIu64, n);
    char *to = out;
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            *to++ = ',';
        *to++ = plain[i];
    }
    *to = 0;
}

void ctl_table_bar(char out[TABLE_TEXT], unsigned width, u64 part, u64 whole)
{
    assert(width >= 1 && width + 3 <= TABLE_TEXT);
    double share = whole == 0 ? 0 : part >= whole ? 1 : (double)part / (double)whole;
    unsigned full = (unsigned)(share * width);
    out[0] = '[';
    for (unsigned i = 0; i < width; i++)
        out[1 + i] = i < full ? '=' : i == full ? '>' : ' ';
    out[1 + width] = ']';
    out[2 + width] = 0;
}

bool ctl_table_time(const char *text, u64 *unix_s)
{
    struct tm tm;
    memset(&tm, 0, sizeof(tm));
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!rest)
        return false;
    if (*rest == '.')
        rest += 1 + strspn(rest + 1, "0123456789");
    time_t t = timegm(&tm);
    if (strcmp(rest, "Z") != 0 || t < 0)
        return false;
    *unix_s = (u64)t;
    return true;
}

/* --- text ------------------------------------------------------------------------------------ */

/* Bytes of the UTF-8 character at `p`, 0 when it is none or steers (C0, C1, DEL). */
static size_t character(const u8 *p)
{
    if (p[0] < 0x20 || p[0] == 0x7f)
        return 0;
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] >= 0xc2 && p[0] < 0xe0   ? 2
               : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
               : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                             : 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return p[0] == 0xc2 && p[1] < 0xa0 ? 0 : n;
}

void ctl_table_clean(char *out, size_t cap, const char *text)
{
    assert(cap >= 4);
    size_t n = 0, whole = 0; /* whole: where "..." would still fit */
    for (const u8 *p = (const u8 *)text; *p;) {
        size_t len = character(p), step = len ? len : 1;
        if (n + step >= cap) {
            memcpy(out + whole, "...", 4);
            return;
        }
        if (len)
            memcpy(out + n, p, len);
        else
            out[n] = '?';
        n += step;
        p += step;
        if (n + 4 <= cap)
            whole = n;
    }
    out[n] = 0;
}

static size_t width_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((u8)*text & 0xc0) != 0x80;
    return n;
}

/* --- tables ---------------------------------------------------------------------------------- */

bool ctl_table_init(struct ctl_table *t, const char *right)
{
    memset(t, 0, sizeof(*t));
    t->columns = strlen(right);
    assert(t->columns >= 1 && t->columns <= TABLE_COLUMNS);
    for (size_t i = 0; i < t->columns; i++)
        t->right[i] = right[i] == 'r';
    t->cells = calloc(TABLE_ROWS * t->columns, sizeof(*t->cells));
    return t->cells != NULL;
}

void ctl_table_fini(struct ctl_table *t)
{
    free(t->cells);
    t->cells = NULL;
}

void ctl_table_add(struct ctl_table *t, const char *const *texts)
{
    if (t->rows == TABLE_ROWS) {
        t->left_out++;
        return;
    }
    for (size_t c = 0; c < t->columns; c++)
        ctl_table_clean(t->cells[t->rows * t->columns + c], TABLE_CELL, texts[c]);
    t->rows++;
}

static void print_row(const struct ctl_table *t, size_t row, const size_t *widths, FILE *to)
{
    for (size_t c = 0; c < t->columns; c++) {
        const char *cell = t->cells[row * t->columns + c];
        int pad = (int)(widths[c] - width_of(cell));
        bool last = c + 1 == t->columns;
        if (t->right[c])
            fprintf(to, "%*s%s", pad, "", cell);
        else
            fprintf(to, "%s%*s", cell, last ? 0 : pad, "");
        if (!last)
            fputs("  ", to);
    }
}

void ctl_table_print(const struct ctl_table *t, FILE *to, const char *indent, const char *before,
                     const char *after)
{
    size_t widths[TABLE_COLUMNS] = {0};
    for (size_t i = 0; i < t->rows * t->columns; i++) {
        size_t w = width_of(t->cells[i]);
        if (w > widths[i % t->columns])
            widths[i % t->columns] = w;
    }
    for (size_t r = 0; r < t->rows; r++) {
        fprintf(to, "%s%s", indent, r == 0 ? before : "");
        print_row(t, r, widths, to);
        fprintf(to, "%s\n", r == 0 ? after : "");
    }
    if (t->left_out)
        fprintf(to, "%s... and %zu more\n", indent, t->left_out);
}
