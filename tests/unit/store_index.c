/* store_index.c - tests of the index, of its audit, and of changes that wait to be written. */
#include "store_fixture.h"

#define ENTRIES 500

static struct index *open_index(struct fixture *f, u64 map_bytes, bool create)
{
    struct index *ix;
    (void)mkdir(f->path, 0700);
    assert_int_equal(index_open(&ix, f->path, map_bytes, create), 0);
    return ix;
}

static struct blob_info entry(unsigned n)
{
    struct blob_info info = {.digest = {.alg = n % 5 ? DIGEST_SHA256 : DIGEST_SHA512},
                             .size = 1000 + n,
                             .stored_ms = n,
                             .used_ms = (n * 7919u) % 1009,
                             .scrubbed_ms = (n * 104729u) % 1013};
    snprintf(info.media_type, sizeof(info.media_type), "type/%u", n);
    snprintf(info.source, sizeof(info.source), "%.*s%u", (int)(n % 300),
             "upstream.example.org/some/repository/of/a/length/that/differs/from/entry/to/entry",
             n);
    memcpy(info.digest.bytes, &n, sizeof(n));
    return info;
}

static void put(struct index *ix, const struct blob_info *info)
{
    assert_int_equal(index_begin(ix), 0);
    assert_int_equal(index_put(ix, info), 0);
    assert_int_equal(index_commit(ix), 0);
}

static void fill(struct index *ix, unsigned from, unsigned to)
{
    assert_int_equal(index_begin(ix), 0);
    for (unsigned n = from; n < to; n++) {
        struct blob_info info = entry(n);
        assert_int_equal(index_put(ix, &info), 0);
    }
    assert_int_equal(index_mark_built(ix), 0);
    assert_int_equal(index_commit(ix), 0);
}

static void expect(struct index *ix, const struct blob_info *want)
{
    struct blob_info got;
    assert_int_equal(index_get(ix, &want->digest, &got), 0);
    assert_true(digest_equal(&got.digest, &want->digest));
    assert_int_equal(got.size, want->size);
    assert_int_equal(got.stored_ms, want->stored_ms);
    assert_int_equal(got.used_ms, want->used_ms);
    assert_int_equal(got.scrubbed_ms, want->scrubbed_ms);
    assert_string_equal(got.media_type, want->media_type);
    assert_string_equal(got.source, want->source);
}

static void put_get_del(void **state)
{
    struct fixture *f = *state;
    struct index *ix = open_index(f, INDEX_MAP_BYTES, true);
    struct blob_info got;
    fill(ix, 0, ENTRIES);
    for (unsigned n = 0; n < ENTRIES; n++) {
        struct blob_info info = entry(n);
        expect(ix, &info);
    }
    index_close(ix);
    ix = open_index(f, INDEX_MAP_BYTES, false); /* and they are there the next time */

    struct blob_info info = entry(3);
    info.used_ms = 99999;
    info.media_type[0] = '\0';
    put(ix, &info);
    expect(ix, &info);

    assert_int_equal(index_begin(ix), 0);
    assert_int_equal(index_del(ix, &info.digest), 0);
    assert_int_equal(index_get(ix, &info.digest, &got), ERR_NOTFOUND); /* sees its own batch */
    assert_int_equal(index_del(ix, &info.digest), 0);
    index_abort(ix);
    expect(ix, &info); /* given up: as if never begun */

    assert_int_equal(index_begin(ix), 0);
    assert_int_equal(index_del(ix, &info.digest), 0);
    assert_int_equal(index_commit(ix), 0);
    assert_int_equal(index_get(ix, &info.digest, &got), ERR_NOTFOUND);
    assert_int_equal(ix->errors, 0);
    index_close(ix);
}

struct walk {
    u64 last, count;
    u64 stop_after;
    struct index *index;
    enum index_db order;
};

static bool walk_ordered(void *arg, const struct digest *d, u64 ms, u64 size)
{
    struct walk *w = arg;
    assert_true(ms >= w->last);
    w->last = ms;
    unsigned n;
    memcpy(&n, d->bytes, sizeof(n));
    struct blob_info want = entry(n);
    assert_int_equal(ms, w->order == INDEX_USED ? want.used_ms : want.scrubbed_ms);
    assert_int_equal(size, w->order == INDEX_USED ? want.size : 0);
    return ++w->count != w->stop_after;
}

static bool walk_each(void *arg, const struct blob_info *b)
{
    struct walk *w = arg;
    assert_true(b->size >= 1000 && b->size < 1000 + ENTRIES);
    return ++w->count != w->stop_after;
}

static void walks(void **state)
{
    struct index *ix = open_index(*state, INDEX_MAP_BYTES, true);
    fill(ix, 0, ENTRIES);
    fill(ix, 0, ENTRIES); /* once more: replaced, not doubled */
    index_close(ix);
    ix = open_index(*state, INDEX_MAP_BYTES, false);
    for (enum index_db order = INDEX_USED; order <= INDEX_SCRUB; order++) {
        struct walk w = {.order = order};
        assert_int_equal(index_ordered(ix, order, walk_ordered, &w), 0);
        assert_int_equal(w.count, ENTRIES);
        w = (struct walk){.order = order, .stop_after = 3};
        assert_int_equal(index_ordered(ix, order, walk_ordered, &w), 0);
        assert_int_equal(w.count, 3);
    }
    struct walk w = {0};
    assert_int_equal(index_each(ix, walk_each, &w), 0);
    assert_int_equal(w.count, ENTRIES);
    index_trim(ix); /* what was given back is read again */
    struct blob_info info = entry(1);
    expect(ix, &info);
    assert_non_null(ix->map);
    index_close(ix);
}

/* A full index refuses the batch, keeps what it had, and takes deletions again. */
static void full(void **state)
{
    struct index *ix = open_index(*state, 32 * 4096, true);
    unsigned n = 0;
    int rc = 0;
    struct blob_info info;
    while (rc == 0 && n < 100000) {
        info = entry(n++);
        assert_int_equal(index_begin(ix), 0);
        rc = index_put(ix, &info);
        if (rc == 0)
            rc = index_commit(ix);
    }
    assert_int_equal(rc, ERR_NOSPACE);
    assert_true(n > 10);
    assert_true(ix->errors > 0);
    assert_null(ix->batch);
    struct blob_info got;
    assert_int_equal(index_get(ix, &info.digest, &got), ERR_NOTFOUND);
    info = entry(n - 2);
    expect(ix, &info);
    index_close(ix);
}

static void open_refused(void **state)
{
    struct fixture *f = *state;
    struct index *ix;
    char data[128];
    assert_int_equal(index_open(&ix, f->path, INDEX_MAP_BYTES, true), ERR_NOTFOUND); /* no folder */
    ix = open_index(f, INDEX_MAP_BYTES, true);
    index_close(ix);
    /* Never marked as built: a rebuild that was cut short. */
    assert_int_equal(index_open(&ix, f->path, INDEX_MAP_BYTES, false), ERR_CORRUPT);
    snprintf(data, sizeof(data), "%s/data.mdb", f->path);
    fixture_write_file(data, "this is no index", 16);
    assert_true(index_open(&ix, f->path, INDEX_MAP_BYTES, false) < 0);
}

static void audit_passes(void **state)
{
    struct index *ix = open_index(*state, INDEX_MAP_BYTES, true);
    struct index_totals totals = {0};
    fill(ix, 0, 0);
    assert_int_equal(index_audit(ix, &totals), 0);
    assert_int_equal(totals.blobs, 0);
    /* Through many commits, so that there are free pages to audit too. */
    for (unsigned n = 0; n < ENTRIES; n++) {
        struct blob_info info = entry(n);
        put(ix, &info);
    }
    for (unsigned n = 0; n < ENTRIES; n += 3) {
        assert_int_equal(index_begin(ix), 0);
        struct blob_info info = entry(n);
        assert_int_equal(index_del(ix, &info.digest), 0);
        assert_int_equal(index_commit(ix), 0);
    }
    u64 blobs = 0, bytes = 0, used = 0;
    for (unsigned n = 0; n < ENTRIES; n++) {
        if (n % 3 == 0)
            continue;
        blobs++;
        bytes += entry(n).size;
        used += space_rounded(entry(n).size);
    }
    assert_int_equal(index_audit(ix, &totals), 0);
    assert_int_equal(totals.blobs, blobs);
    assert_int_equal(totals.bytes, bytes);
    assert_int_equal(totals.used_bytes, used);
    index_close(ix);
}

/* Damage that LMDB itself would never notice. */
static void audit_finds(void **state)
{
    struct index *ix = open_index(*state, INDEX_MAP_BYTES, true);
    struct index_totals totals;
    u8 bytes[INDEX_ORDER_MAX];
    fill(ix, 0, ENTRIES);
    struct blob_info info = entry(17), changed;
    MDB_val key = {.mv_data = bytes, .mv_size = index_key(bytes, &info.digest)}, value;

    for (size_t at = 0;; at++) { /* any byte of a value */
        u8 copy[1024];
        assert_int_equal(index_begin(ix), 0);
        assert_int_equal(mdb_get(ix->batch, ix->db[INDEX_BLOBS], &key, &value), 0);
        size_t len = value.mv_size;
        assert_true(len <= sizeof(copy));
        memcpy(copy, value.mv_data, len);
        if (at == len) {
            index_abort(ix);
            break;
        }
        copy[at] ^= 0x10;
        value.mv_data = copy;
        assert_int_equal(mdb_put(ix->batch, ix->db[INDEX_BLOBS], &key, &value, 0), 0);
        assert_int_equal(index_commit(ix), 0);
        assert_int_equal(index_audit(ix, &totals), ERR_CORRUPT);
        (void)!index_get(ix, &info.digest, &changed); /* bounded, whatever it says */
        copy[at] ^= 0x10;
        value.mv_size = len;
        assert_int_equal(index_begin(ix), 0);
        assert_int_equal(mdb_put(ix->batch, ix->db[INDEX_BLOBS], &key, &value, 0), 0);
        assert_int_equal(index_commit(ix), 0);
    }
    assert_int_equal(index_audit(ix, &totals), 0);

    /* An order that lost an entry, or has it at another time. */
    key.mv_size = index_order_key(bytes, info.used_ms, &info.digest);
    assert_int_equal(index_begin(ix), 0);
    assert_int_equal(mdb_del(ix->batch, ix->db[INDEX_USED], &key, NULL), 0);
    assert_int_equal(index_commit(ix), 0);
    assert_int_equal(index_audit(ix, &totals), ERR_CORRUPT);
    u8 size[8] = {0, 0, 0, 0, 0, 0, (u8)(info.size >> 8), (u8)info.size};
    value = (MDB_val){.mv_data = size, .mv_size = sizeof(size)};
    key.mv_size = index_order_key(bytes, info.used_ms + 1, &info.digest);
    assert_int_equal(index_begin(ix), 0);
    assert_int_equal(mdb_put(ix->batch, ix->db[INDEX_USED], &key, &value, 0), 0);
    assert_int_equal(index_commit(ix), 0);
    assert_int_equal(index_audit(ix, &totals), ERR_CORRUPT);
    index_close(ix);
}

/* --- changes that wait --------------------------------------------------------------------- */

static void pending_over_index(void **state)
{
    struct index *ix = open_index(*state, INDEX_MAP_BYTES, true);
    struct pending p;
    struct blob_info a = entry(1), b = entry(2), got;
    put(ix, &a);
    assert_int_equal(pending_init(&p, ix, 1), 0);

    pending_touch(&p, &a.digest, 5000, 0);
    assert_int_equal(pending_get(&p, &a.digest, &got), 0);
    assert_int_equal(got.used_ms, 5000);
    assert_int_equal(got.scrubbed_ms, a.scrubbed_ms);
    pending_touch(&p, &a.digest, 0, 6000);
    assert_int_equal(pending_get(&p, &a.digest, &got), 0);
    assert_int_equal(got.used_ms, 5000);
    assert_int_equal(got.scrubbed_ms, 6000);
    expect(ix, &a); /* nothing of this is written yet */

    assert_int_equal(pending_put(&p, &b), 0);
    assert_int_equal(pending_get(&p, &b.digest, &got), 0);
    pending_touch(&p, &b.digest, 7000, 0);
    assert_int_equal(pending_flush_all(&p), 0);
    a.used_ms = 5000;
    a.scrubbed_ms = 6000;
    b.used_ms = 7000;
    expect(ix, &a);
    expect(ix, &b);
    assert_int_equal(p.notes.count, 0);

    assert_int_equal(pending_del(&p, &a.digest), 0);
    pending_touch(&p, &a.digest, 8000, 0); /* says nothing about what is gone */
    assert_int_equal(pending_get(&p, &a.digest, &got), ERR_NOTFOUND);
    assert_int_equal(pending_put(&p, &a), 0); /* and back again */
    assert_int_equal(pending_get(&p, &a.digest, &got), 0);
    assert_int_equal(pending_del(&p, &b.digest), 0);
    assert_int_equal(pending_flush(&p, 100), 0);
    expect(ix, &a);
    assert_int_equal(index_get(ix, &b.digest, &got), ERR_NOTFOUND);
    pending_touch(&p, &b.digest, 1, 1); /* an entry that is not there */
    assert_int_equal(pending_flush_all(&p), 0);
    assert_int_equal(index_get(ix, &b.digest, &got), ERR_NOTFOUND);
    assert_int_equal(p.touches + p.changes, 0);
    pending_fini(&p);
    index_close(ix);
}

static void pending_is_bounded(void **state)
{
    struct index *ix = open_index(*state, INDEX_MAP_BYTES, true);
    struct pending p;
    struct blob_info got;
    assert_int_equal(pending_init(&p, ix, 1), 0);
    for (unsigned n = 0; n < PENDING_TOUCHES_MAX + 100; n++) {
        struct blob_info info = entry(n);
        pending_touch(&p, &info.digest, 1, 0);
    }
    assert_int_equal(p.touches, PENDING_TOUCHES_MAX);
    struct blob_info info = entry(PENDING_TOUCHES_MAX + 500);
    assert_int_equal(pending_put(&p, &info), 0); /* a change is never forgotten */
    assert_int_equal(pending_get(&p, &info.digest, &got), 0);
    pending_fini(&p);
    index_close(ix);
}

/* --- a store whose index cannot be written -------------------------------------------------- */

static bool count_each(void *arg, const struct blob_info *b)
{
    (void)b;
    ++*(u64 *)arg;
    return true;
}

static void serves_on_with_a_full_index(void **state)
{
    struct fixture *f = *state;
    enum { BLOBS = 400, LEN = 300 };
    f->capacity = BLOBS * 4096ull;
    f->map_bytes = 40 * 4096; /* some dozens of entries */
    fixture_open(f);
    for (unsigned n = 0; n < BLOBS; n++, f->now_ms++)
        fixture_put(f, n, LEN);
    assert_true(fixture_stats(f).index_errors > 0);
    assert_int_equal(fixture_stats(f).blobs, BLOBS);
    u64 walked = 0;
    store_each(f->store, count_each, &walked);
    assert_int_equal(walked, BLOBS);
    for (unsigned n = 0; n < BLOBS; n++)
        fixture_check(f, n, LEN);

    /* Eviction and removal go on, and what is gone stays gone. */
    f->now_ms++;
    struct digest d = fixture_digest(BLOBS - 1, LEN);
    assert_int_equal(store_remove(f->store, &d), 0);
    assert_false(fixture_held(f, &d));
    for (unsigned n = BLOBS; n < 2 * BLOBS; n++, f->now_ms++)
        fixture_put(f, n, LEN);
    assert_int_equal(fixture_stats(f).blobs, BLOBS);
    assert_int_equal(fixture_disk(f), fixture_stats(f).used_bytes);

    /* All of it is found again, with an index that has room. */
    fixture_close(f);
    char clean[128];
    snprintf(clean, sizeof(clean), "%s/clean", f->path);
    assert_false(fixture_exists(clean));
    f->map_bytes = 0;
    fixture_open(f);
    assert_int_equal(f->found.blobs, BLOBS);
    for (unsigned n = BLOBS; n < 2 * BLOBS; n++)
        fixture_check(f, n, LEN);
    assert_int_equal(fixture_disk(f), fixture_stats(f).used_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(put_get_del),
        FIXTURE_TEST(walks),
        FIXTURE_TEST(full),
        FIXTURE_TEST(open_refused),
        FIXTURE_TEST(audit_passes),
        FIXTURE_TEST(audit_finds),
        FIXTURE_TEST(pending_over_index),
        FIXTURE_TEST(pending_is_bounded),
        FIXTURE_TEST(serves_on_with_a_full_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
