/* Any bytes as a report of a node: what is read is within its bounds, and reads the same again. */
#include <stdlib.h>
#include <string.h>

#include "proto/outcome.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct outcome_report r, again;
    static u8 out[OUTCOME_BYTES_MAX];
    if (outcome_unpack(&r, data, size)) {
        if (r.n || r.n_rtts || r.has_totals)
            abort();
        return 0;
    }
    if (r.n > OUTCOME_MAX || r.n_rtts > OUTCOME_RTTS_MAX)
        abort();
    size_t len = outcome_pack(&r, out);
    if (outcome_unpack(&again, out, len) || again.n != r.n || again.n_rtts != r.n_rtts ||
        memcmp(again.outcomes, r.outcomes, r.n * sizeof(r.outcomes[0])) != 0 ||
        memcmp(again.rtts, r.rtts, r.n_rtts * sizeof(r.rtts[0])) != 0 ||
        again.has_totals != r.has_totals ||
        (r.has_totals && memcmp(&again.totals, &r.totals, sizeof(r.totals)) != 0))
        abort();
    return 0;
}
