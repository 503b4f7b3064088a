/* Any bytes as another tracker's logins: what is read could be a header's value and a repository,
 * and reads the same again; and as a sealed message, which none of them is. */
#include <stdlib.h>
#include <string.h>

#include "tracker/envelope.h"
#include "tracker/logins.h"

static void never_opens(const u8 *data, size_t size)
{
    static const struct envelope_keys keys = {.keys = {{1}}, .n = 1};
    static u8 out[ENVELOPE_MAX];
    struct envelope_sender from;
    u8 nonce[ENVELOPE_NONCE];
    size_t n;
    if (envelope_open(&keys, NULL, data, size, &from, out, &n, nonce) == 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static u8 again[LEDGER_BYTES_MAX];
    struct logins_in in;
    struct logins_out out;
    struct kept_login l, back;
    if (size < sizeof(again))
        never_opens(data, size);
    if (logins_read(&in, data, size))
        return 0;
    while (logins_next(&in, &l)) {
        struct logins_in twice;
        if (!oci_name_valid(l.repository, strlen(l.repository)) ||
            (l.authorization_len && memchr(l.authorization, '\n', l.authorization_len)))
            abort();
        logins_begin(&out, again);
        if (!logins_add(&out, &l) || logins_read(&twice, again, logins_end(&out)) ||
            !logins_next(&twice, &back) || strcmp(l.repository, back.repository) != 0 ||
            l.authorization_len != back.authorization_len || l.until_ms != back.until_ms)
            abort();
    }
    return 0;
}
