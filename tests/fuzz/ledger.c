/* Any bytes as a message of another tracker, and as an entry of the disk: what is answered can be
 * read, and what was read is well-formed and reads the same again. The first byte chooses. */
#include <stdlib.h>
#include <string.h>

#include "proto/ledger.h"

#define NOW 1700000000000ull

static struct ledger *filled(void)
{
    static const u8 self[LEDGER_ID_BYTES] = {1};
    struct ledger *l;
    if (ledger_new(&l, self))
        abort();
    for (int c = 'a'; c <= 'z'; c++) {
        struct ledger_entry e = {.kind = LEDGER_PROFILE, .name = {(char)c}, .value = "asia"};
        if (ledger_stamp(l, &e, NOW) || ledger_merge(l, &e, NOW))
            abort();
    }
    return l;
}

static void one_entry(const u8 *data, size_t size)
{
    struct ledger_entry e, again;
    u8 bytes[LEDGER_ENTRY_BYTES], twice[LEDGER_ENTRY_BYTES];
    if (ledger_unpack(&e, data, size))
        return;
    size_t n = ledger_pack(&e, bytes);
    if (ledger_unpack(&again, bytes, n) || ledger_pack(&again, twice) != n ||
        memcmp(bytes, twice, n) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static u8 out[LEDGER_BYTES_MAX];
    struct ledger_reader r;
    struct ledger_entry e;
    size_t n;
    if (size == 0)
        return 0;
    if (data[0] == 0) {
        one_entry(data + 1, size - 1);
        return 0;
    }
    data++;
    size--;
    struct ledger *l = filled();
    if (ledger_have(l, data, size, out, &n) == 0 && ledger_talk_type(out, n) != LEDGER_HAVE)
        abort();
    if (ledger_swap(l, data, size, out, &n) == 0 && n && ledger_talk_type(out, n) != LEDGER_SWAP)
        abort();
    if (ledger_take(l, data, size, out, &n) == 0 && ledger_talk_type(out, n) != LEDGER_TAKE)
        abort();
    if (ledger_read(&r, data, size) == 0)
        while (ledger_next(&r, &e))
            (void)!ledger_merge(l, &e, NOW);
    ledger_del(l);
    return 0;
}
