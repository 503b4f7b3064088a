/* Any file read as a trace of pulls: what is taken is within its bounds and in order, what is
 * refused names its line and leaves nothing behind. */
#include <stdlib.h>
#include <string.h>

#include "sim/catalog.h"
#include "sim/trace.h"

static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct trace t, nothing = {0};
    char why[TRACE_WHY_MAX] = "";
    int err = trace_read(&t, (const char *)data, size, why);
    if (err) {
        must(err == ERR_INVAL || err == ERR_TOOBIG);
        must(strncmp(why, "line ", 5) == 0);
        must(memcmp(&t, &nothing, sizeof(t)) == 0);
        return 0;
    }
    must(t.n_pulls > 0 && t.n_layers > 0 && t.n_rows <= TRACE_ROWS_MAX);
    u32 next = 0;
    for (size_t i = 0; i < t.n_pulls; i++) {
        const struct trace_pull *p = &t.pulls[i];
        must(p->first == next && p->n >= 1 && p->n <= CATALOG_LAYERS_MAX);
        must(i == 0 || p->at_ns >= p[-1].at_ns);
        must(memchr(p->office, 0, sizeof(p->office)) != NULL);
        next += p->n;
    }
    must(next == t.n_rows);
    for (size_t i = 0; i < t.n_rows; i++)
        must(t.rows[i] < t.n_layers);
    for (size_t i = 0; i < t.n_layers; i++)
        must(t.layers[i].bytes >= 1 && t.layers[i].bytes <= TRACE_LAYER_BYTES_MAX);
    trace_fini(&t);
    return 0;
}
