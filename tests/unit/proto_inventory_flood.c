/* The inventory under a member that says far more than it should: tables that are crowded on
 * purpose, heads and doubts without end. What it costs others is bounded. */
#include "inventory_liar.h"

/* The liar's own table is `len` fingerprints of one upper half now, in a new epoch. */
static void crowd(struct rig *r, u64 epoch, u32 len)
{
    struct inventory *v = r->node[LIAR].v;
    u32 *fp = malloc(len * sizeof(*fp));
    u16 t;
    assert_non_null(fp);
    for (u32 i = 0; i < len; i++)
        fp[i] = 0x12340000u + i;
    assert_int_equal(inventory_table_new(v->pool, v->me, epoch, 0, fp, len, &t), 0);
    free(fp);
    inventory_attach(v, v->me, t, 0);
    v->own.head_n = 0;
    v->own.head_due = true;
    rig_drive(r, LIAR);
    rig_run(r, 10 * SECOND);
}

static void a_crowded_table_is_refused(void **state)
{
    (void)state;
    struct rig r;
    u8 item[32];
    region(&r, 5, false, 3);
    crowd(&r, 2000, INVENTORY_HALF_MAX);
    assert_int_equal(table_of(&r, 0, LIAR)->epoch, 2000);
    assert_int_equal(table_of(&r, 0, LIAR)->len, INVENTORY_HALF_MAX);
    /* One more, as an op. */
    u8 *end = item;
    put(&end, table_of(&r, 0, LIAR)->ref << 10 | 1, 4);
    put(&end, 0xc0, 1);
    put(&end, 0x12345678, 4);
    assert_int_equal(say(&r, LIAR, 0, item, (size_t)(end - item)), 0);
    assert_int_equal(table_of(&r, 0, LIAR)->len, INVENTORY_HALF_MAX);
    rig_run(&r, 10 * SECOND);
    /* And as a table. */
    u64 malformed = rig_stats(&r, 0).malformed;
    crowd(&r, 3000, INVENTORY_HALF_MAX + 1);
    assert_true(rig_stats(&r, 0).malformed > malformed);
    for (u32 i = 0; i < r.n; i++)
        assert_int_equal(table_of(&r, i, LIAR)->epoch, i == LIAR ? 3000 : 2000);
    rig_fini(&r);
}

/* Layers can be made so that their fingerprints crowd: who has them is not refused for it. */
static void our_own_table_is_not_crowded(void **state)
{
    (void)state;
    for (int at_once = 0; at_once < 2; at_once++) {
        struct rig r;
        struct digest d = {.alg = DIGEST_SHA256};
        u32 told = 0, refused_ones = 0;
        region(&r, 3, false, 3);
        for (u64 k = 0; told + refused_ones < 300; k++) {
            memcpy(d.bytes, &k, sizeof(k));
            if (inventory_digest_hash(r.node[0].pool, &d) >> 48 != 0x1234)
                continue;
            int err = inventory_add(r.node[0].v, &d, r.now_ns);
            told += err == 0;
            refused_ones += err == ERR_FULL;
            if (!at_once)
                rig_run(&r, 300 * MS);
        }
        assert_int_equal(told, INVENTORY_HALF_MAX);
        assert_int_equal(refused_ones, 300 - INVENTORY_HALF_MAX);
        rig_drive(&r, 0);
        rig_run(&r, 10 * SECOND);
        rig_settle(&r, 0, 10 * SECOND);
        assert_int_equal(table_of(&r, 1, 0)->len, INVENTORY_HALF_MAX + 3);
        rig_fini(&r);
    }
}

static void an_entry_of_too_many_ops_is_malformed(void **state)
{
    (void)state;
    static u8 entries[16384];
    struct rig r;
    region(&r, 5, false, 3);
    for (u32 more = 0; more < 2; more++) {
        u32 ops = INVENTORY_RING_MAX + more, n = table_of(&r, 0, LIAR)->n;
        u8 *end = entries;
        u32 id = lure(&r, LIAR);
        entry_begin(&r, LIAR, 5ull * ops, &end);
        for (u32 k = 1; k <= ops; k++) {
            put(&end, table_of(&r, 0, LIAR)->ref << 10 | ((n + k) & 1023), 4);
            put(&end, 0xc2, 1);
        }
        answer(&r, id, false, entries, (size_t)(end - entries));
        assert_int_equal(rig_stats(&r, 0).malformed, more);
        assert_int_equal(table_of(&r, 0, LIAR)->n, n + INVENTORY_RING_MAX);
    }
    rig_fini(&r);
}

/* A head of `origin` that it did not sign. */
static size_t bad_head(const struct rig *r, u32 origin, u32 n, u8 *at)
{
    struct inventory_head h = {.n = n, .sig.bytes = {1, 2, 3}};
    return inventory_item_head(r->node[0].v, table_of(r, 0, origin), &h, at);
}

/* What one answer made node 0 verify in vain, where it is of entries of `origin`, which was asked
 * for, with `heads` heads each of another. */
static u64 verified(u32 origin, u32 entries, u32 heads, u32 of, bool *malformed)
{
    static u8 bytes[65536];
    u8 *end = bytes;
    struct rig r;
    region(&r, 5, false, 3);
    u32 id = lure(&r, VICTIM);
    for (u32 i = 0; i < entries; i++) {
        entry_begin(&r, origin, heads * (u64)INVENTORY_HEAD_BYTES, &end);
        for (u32 k = 0; k < heads; k++)
            end += bad_head(&r, of, 100 + i * heads + k, end);
    }
    answer(&r, id, false, bytes, (size_t)(end - bytes));
    u64 n = rig_stats(&r, 0).bad_heads;
    *malformed = rig_stats(&r, 0).malformed > 0;
    rig_fini(&r);
    return n;
}

static void an_answer_has_one_head_of_each_that_was_asked_for(void **state)
{
    (void)state;
    bool malformed;
    assert_int_equal(verified(VICTIM, 1, 1, VICTIM, &malformed), 1);
    assert_true(malformed);
    assert_int_equal(verified(VICTIM, 1, 100, VICTIM, &malformed), 1);
    assert_true(malformed);
    assert_int_equal(verified(VICTIM, 100, 1, VICTIM, &malformed), 1); /* the first ends it */
    assert_int_equal(verified(VICTIM, 1, 1, 3, &malformed), 0); /* of one in the other's entry */
    assert_true(malformed);
    assert_int_equal(verified(3, 100, 1, 3, &malformed), 0); /* nobody asked */
    assert_false(malformed);
}

/* The first entry says nothing; what follows of the same is not read, and "more" is not believed.
 */
static void an_answer_says_something_and_once(void **state)
{
    (void)state;
    struct rig r;
    struct wire_out w;
    struct node_key to;
    u8 bytes[512], *end = bytes;
    region(&r, 5, false, 3);
    u32 id = lure(&r, VICTIM);
    entry_begin(&r, VICTIM, 0, &end);
    entry_begin(&r, VICTIM, INVENTORY_HEAD_BYTES, &end);
    end += bad_head(&r, VICTIM, 100, end);
    answer(&r, id, true, bytes, (size_t)(end - bytes));
    assert_int_equal(rig_stats(&r, 0).bad_heads, 0);
    wire_out_init(&w, rig_talk_buf, sizeof(rig_talk_buf));
    assert_false(inventory_dial(r.node[0].v, &id, &to, &w, r.now_ns));
    rig_fini(&r);
}

static void heads_in_datagrams_have_a_rate(void **state)
{
    (void)state;
    struct rig r;
    u8 items[9 * INVENTORY_HEAD_BYTES];
    u32 sent = 0;
    region(&r, 5, false, 3);
    while (sent < LIMIT_RATE_SENDER + 100) {
        size_t len = 0;
        for (u32 k = 0; k < 9; k++)
            len += bad_head(&r, VICTIM, 1000 + sent++, items + len);
        assert_int_equal(say(&r, LIAR, 0, items, len), 0);
    }
    assert_int_equal(rig_stats(&r, 0).bad_heads, LIMIT_RATE_SENDER);
    assert_int_equal(rig_stats(&r, 0).put_off, sent - LIMIT_RATE_SENDER);
    /* Of others they are heard; and of this one, later. */
    size_t len = bad_head(&r, VICTIM, 90000, items);
    assert_int_equal(say(&r, 2, 0, items, len), 0);
    rig_run(&r, SECOND);
    assert_int_equal(say(&r, LIAR, 0, items, len), 0);
    assert_int_equal(rig_stats(&r, 0).bad_heads, LIMIT_RATE_SENDER + 2);
    rig_fini(&r);
}

/* "The last write of each of you was a NOP", said once more every few seconds. */
static void doubts_have_a_rate(void **state)
{
    (void)state;
    struct rig r;
    region(&r, 42, true, 3);
    u64 before = rig_stats(&r, 0).snapshots_received, conflicts = rig_stats(&r, 0).conflicts;
    for (u32 round = 0; round < 4; round++) {
        u8 items[40 * 5], *end = items;
        for (u32 i = 2; i < r.n; i++) {
            const struct inventory_table *t = table_of(&r, 0, i);
            put(&end, t->ref << 10 | (t->n & 1023), 4);
            put(&end, 0xc2, 1);
        }
        assert_int_equal(say(&r, LIAR, 0, items, (size_t)(end - items)), 0);
        rig_run(&r, 5 * SECOND);
    }
    assert_int_equal(rig_stats(&r, 0).conflicts - conflicts, 4 * 40);
    u64 fetched = rig_stats(&r, 0).snapshots_received - before;
    assert_true(fetched > 0 && fetched <= LIMIT_RATE_CONFLICTS + 20 * LIMIT_RATE_CONFLICTS_S);
    for (u32 i = 1; i < r.n; i++)
        assert_true(rig_holds(&r, 0, i, 1000 * i));
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crowded_table_is_refused),
        cmocka_unit_test(our_own_table_is_not_crowded),
        cmocka_unit_test(an_entry_of_too_many_ops_is_malformed),
        cmocka_unit_test(an_answer_has_one_head_of_each_that_was_asked_for),
        cmocka_unit_test(an_answer_says_something_and_once),
        cmocka_unit_test(heads_in_datagrams_have_a_rate),
        cmocka_unit_test(doubts_have_a_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
