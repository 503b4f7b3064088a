/* node_keep.c - tests of node/keep.h: small documents on their way into the store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/keep.h"
#include "proto/limits.h"
#include "store/hash.h"
#include "support/rig.h"

static struct rig rig;
static struct memo *memo;
static struct keeper *keeper;

static void begin(u64 capacity)
{
    rig_open(&rig, capacity);
    assert_int_equal(memo_new(&memo), 0);
    assert_int_equal(keeper_new(&keeper, rig.store, rig.disk), 0);
}

static void finish(void)
{
    rig_wait_idle(&rig);
    keeper_del(keeper);
    keeper_del(NULL);
    memo_del(memo);
    rig_close(&rig);
}

static struct digest digest_of(const char *text)
{
    struct digest d;
    hash_bytes(DIGEST_SHA256, text, strlen(text), &d);
    return d;
}

/* Keeps `text` under `d`; the memo forgets it at once: the keep has a reference of its own. */
static void keep(const struct digest *d, const char *text)
{
    struct document *doc = memo_put(memo, d, "application/x", text, strlen(text));
    assert_non_null(doc);
    keeper_keep(keeper, doc, "registry team/app");
    document_release(doc);
    memo_forget(memo, d);
}

static bool held(const struct digest *d, struct blob_info *info)
{
    return store_lookup(rig.store, d, info) == 0;
}

static void test_a_document_is_kept(void **state)
{
    (void)state;
    struct blob_info info;
    struct digest d = digest_of("a manifest");
    begin(MIB);
    keep(&d, "a manifest");
    keep(&d, "a manifest"); /* on its way already */
    rig_wait_idle(&rig);
    assert_true(held(&d, &info));
    assert_int_equal(info.size, 10);
    assert_string_equal(info.media_type, "application/x");
    assert_string_equal(info.source, "registry team/app");
    keep(&d, "a manifest"); /* held */
    assert_int_equal(pool_pending(rig.disk), 0);
    finish();
}

static void test_wrong_bytes_are_not_kept(void **state)
{
    (void)state;
    struct blob_info info;
    struct store_stats stats;
    struct digest d = digest_of("a manifest");
    begin(MIB);
    keep(&d, "something else");
    rig_wait_idle(&rig);
    assert_false(held(&d, &info));
    store_stats(rig.store, &stats);
    assert_int_equal(stats.used_bytes, 0);
    keep(&d, "a manifest"); /* nothing stands in the way of the right ones */
    rig_wait_idle(&rig);
    assert_true(held(&d, &info));
    finish();
}

static void test_an_old_partial_is_replaced(void **state)
{
    (void)state;
    struct blob_info info;
    struct store_ingest *i;
    struct digest d = digest_of("a manifest");
    begin(MIB);
    struct store_ingest_options opt = {.digest = d, .size = 10, .now_ms = 1};
    assert_int_equal(store_ingest_begin(rig.store, &opt, &i), 0);
    assert_int_equal(store_ingest_write(i, "xyz", 3), 0);
    store_ingest_keep(i);
    keep(&d, "a manifest");
    rig_wait_idle(&rig);
    assert_true(held(&d, &info));
    finish();
}

static void test_one_that_is_being_ingested(void **state)
{
    (void)state;
    struct blob_info info;
    struct store_ingest *i;
    struct digest d = digest_of("a manifest");
    begin(MIB);
    struct store_ingest_options opt = {.digest = d, .size = 10, .now_ms = 1};
    assert_int_equal(store_ingest_begin(rig.store, &opt, &i), 0);
    keep(&d, "a manifest");
    assert_int_equal(pool_pending(rig.disk), 0);
    store_ingest_drop(i);
    assert_false(held(&d, &info));
    finish();
}

static void test_no_room(void **state)
{
    (void)state;
    struct blob_info info;
    char text[9000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    struct digest d = digest_of(text);
    begin(8192);
    keep(&d, text);
    rig_wait_idle(&rig);
    assert_false(held(&d, &info));
    finish();
}

static void test_no_more_than_some_at_once(void **state)
{
    (void)state;
    unsigned n = 0;
    struct blob_info info;
    struct digest d[100];
    char text[32];
    begin(MIB);
    for (unsigned i = 0; i < countof(d); i++) { /* the loop does not turn meanwhile */
        snprintf(text, sizeof(text), "manifest %u", i);
        d[i] = digest_of(text);
        keep(&d[i], text);
    }
    assert_int_equal(pool_pending(rig.disk), 64);
    rig_wait_idle(&rig);
    for (unsigned i = 0; i < countof(d); i++)
        n += held(&d[i], &info);
    assert_int_equal(n, 64);
    keep(&d[99], "manifest 99"); /* the next time */
    rig_wait_idle(&rig);
    assert_true(held(&d[99], &info));
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_document_is_kept),
        cmocka_unit_test(test_wrong_bytes_are_not_kept),
        cmocka_unit_test(test_an_old_partial_is_replaced),
        cmocka_unit_test(test_one_that_is_being_ingested),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_no_more_than_some_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
