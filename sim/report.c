/* report.c - see report.h. */
#include "sim/report.h"

#include <errno.h>
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

int report_write(const char *dir, struct world *w, const struct summary *s, char why[256])
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
    return close_file(f, dir, why);
}
