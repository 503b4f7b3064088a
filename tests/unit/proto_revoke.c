/* Revocations: what was packed is read back, and nothing beyond its bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "proto/revoke.h"

static struct revoke all[REVOKE_MAX], back[REVOKE_MAX];
static u8 bytes[REVOKE_BYTES_MAX + 1];

static void what_was_packed_is_read_back(void **state)
{
    (void)state;
    for (size_t n = 0; n <= REVOKE_MAX; n += n < 2 ? 1 : REVOKE_MAX - 2) {
        size_t got = 99;
        for (size_t i = 0; i < n; i++) {
            memset(all[i].user, (int)i, sizeof(all[i].user));
            all[i].until_s = UINT64_MAX - i;
        }
        size_t len = revoke_pack(all, n, bytes);
        assert_int_equal(revoke_unpack(back, &got, bytes, len), 0);
        assert_int_equal(got, n);
        assert_memory_equal(back, all, n * sizeof(all[0]));
        for (size_t cut = 0; cut < len; cut++) {
            assert_int_equal(revoke_unpack(back, &got, bytes, cut), ERR_PROTO);
            assert_int_equal(got, 0);
        }
        bytes[len] = 0;
        assert_int_equal(revoke_unpack(back, &got, bytes, len + 1), ERR_PROTO);
    }
}

static void what_is_malformed_is_refused(void **state)
{
    (void)state;
    const struct {
        unsigned version, count, fields, user;
    } bad[] = {{2, 1, 2, 16}, {1, REVOKE_MAX + 1, 2, 16}, {1, 1, 3, 16}, {1, 1, 2, 15}};
    for (size_t i = 0; i < countof(bad); i++) {
        struct wire_out w;
        u8 user[16] = {0};
        size_t n;
        wire_out_init(&w, bytes, sizeof(bytes));
        wire_put_array(&w, 2);
        wire_put_u64(&w, bad[i].version);
        wire_put_array(&w, bad[i].count);
        for (size_t k = 0; k < bad[i].count && !wire_full(&w); k++) {
            wire_put_array(&w, bad[i].fields);
            wire_put_bin(&w, user, bad[i].user);
            for (size_t f = 1; f < bad[i].fields; f++)
                wire_put_u64(&w, 1);
        }
        assert_int_equal(revoke_unpack(back, &n, bytes, w.len), ERR_PROTO);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_packed_is_read_back),
        cmocka_unit_test(what_is_malformed_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
