/* Any bytes through the wire cursor. The first half is read by a script, the bytes of the second
 * half: whatever is asked of it, the cursor stays within its buffer, errors stick, and stepping
 * over a value agrees with reading it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/wire.h"

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* Reads one value as the step says. */
static void read_one(struct wire_in *r, u8 step)
{
    struct node_key key;
    struct addr a;
    char text[20];
    u8 exact[5];
    size_t len;
    const u8 *bin;
    switch (step % 11) {
    case 0: wire_get_u64(r); break;
    case 1: must(wire_get_max(r, step) <= step); break;
    case 2: wire_get_i64(r); break;
    case 3: wire_get_bool(r); break;
    case 4: must(isfinite(wire_get_f32(r))); break;
    case 5:
        bin = wire_get_bin(r, step, &len);
        must(len <= step && (!bin || bin + len == r->p));
        break;
    case 6: wire_get_exact(r, exact, sizeof exact); break;
    case 7:
        wire_get_text(r, text, sizeof text);
        must(memchr(text, 0, sizeof text) != NULL);
        break;
    case 8: must(wire_get_array(r, step) <= step); break;
    case 9: wire_get_key(r, &key); break;
    case 10: wire_get_addr(r, &a); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t half = size / 2;
    u8 *copy = malloc(half ? half : 1); /* an end of its own, for the sanitizer */
    if (half)
        memcpy(copy, data, half);
    struct wire_in r, skip;
    wire_in_init(&r, copy, half);
    for (size_t i = half; i < size; i++) {
        bool nil = data[i] == 255 && wire_is_nil(&r);
        skip = r;
        if (nil)
            continue;
        read_one(&r, data[i]);
        must(r.p <= r.end && r.p >= copy);
        must(wire_left(&r) <= half);
        if (skip.bad)
            must(r.bad && r.p == skip.p);
        wire_skip(&skip);
        /* What was read as a value that holds no others ends where stepping over it ends. */
        if (wire_ok(&r) && data[i] % 11 != 8)
            must(wire_ok(&skip) && skip.p == r.p);
    }
    free(copy);
    return 0;
}
