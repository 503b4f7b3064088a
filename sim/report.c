/* report.c - see report.h. */
#include "sim/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static FILE *open_in(const char *dir, const char *name, char why[256])
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "we");
    if (!f)
        snprintf(why, 256, "%.180s: %s", path, strerror(errno));
    return f;
}

static int close_file(FILE *f, const char *dir, char why[256])
{
    int bad = ferror(f);
    if (!fclose(f) && !bad)
        return 0;
    snprintf(why, 256, "%.180s: could not be written", dir);
    return ERR_IO;
}

static int write_page(const char *dir, const struct summary *s, struct page *page,
                      const char *again, char why[256])
{
    char *text = NULL;
    size_t len;
    FILE *memory = open_memstream(&text, &len), *f = NULL;
    int rc = memory ? 0 : ERR_NOMEM;
    if (memory) {
        summary_print(s, memory);
        rc = fclose(memory) ? ERR_NOMEM : 0;
    }
    if (rc == 0)
        f = open_in(dir, "report.html", why);
    struct page_end end = {text, again, s->virtual_s, s->makespan_bound_s};
    if (f) {
        int written = page_write(page, &end, f);
        rc = close_file(f, dir, why);
        rc = rc ? rc : written;
    } else if (rc == 0) {
        rc = ERR_IO;
    }
    free(text);
    return rc;
}

int report_write(const char *dir, struct world *w, const struct summary *s, struct page *page,
                 const char *again, char why[256])
{
    FILE *f = open_in(dir, "summary.json", why);
    if (!f)
        return ERR_IO;
    summary_print(s, f);
    int rc = close_file(f, dir, why);
    if (rc)
        return rc;
    f = open_in(dir, "figures.json", why);
    if (!f)
        return ERR_IO;
    summary_figures(w, f);
    rc = close_file(f, dir, why);
    return rc ? rc : write_page(dir, s, page, again, why);
}
