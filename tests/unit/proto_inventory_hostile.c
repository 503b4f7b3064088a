/* The inventory among liars: a member that writes in another's name, forges heads and snapshots, or
 * sends rubbish. It may cost time; what is believed in the end is what each origin says. */
#include "inventory_liar.h"

static void a_lie_in_anothers_name_does_not_last(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++)
        for (int busy = 0; busy < 2; busy++) {
            struct rig r;
            u8 item[16];
            region(&r, 10, shared, 30);
            size_t len = forge_add(&r, 2, VICTIM, 1, 666, item);
            assert_int_equal(say(&r, LIAR, 2, item, len), 0);
            assert_true(rig_holds(&r, 2, VICTIM, 666)); /* who would know? */
            for (u32 k = 0; busy && k < 20; k++) {
                rig_add(&r, VICTIM, 9000 + k);
                rig_run(&r, 300 * MS);
            }
            rig_run(&r, 15 * SECOND);
            u64 took = rig_settle(&r, 0, 30 * SECOND);
            printf("a lie is over after %.1f s\n", 15 + (double)took / 1e9);
            for (u32 i = 0; i < r.n; i++)
                assert_false(rig_holds(&r, i, VICTIM, 666));
            for (u32 i = 0; i < r.n; i++)
                assert_true(rig_holds(&r, i, VICTIM, busy ? 9019 : 4003));
            assert_int_equal(inventory_epoch(r.node[VICTIM].v), 1000);
            rig_fini(&r);
        }
}

/* The liar keeps at it: three different forged versions to three nodes, again and again. */
static void a_stubborn_liar_is_outlived(void **state)
{
    (void)state;
    struct rig r;
    u8 item[16];
    region(&r, 10, true, 30);
    for (u32 k = 0; k < 30; k++) {
        for (u32 to = 5; to < 8; to++) {
            if (r.node[to].v->seats[seat_of(&r, to, VICTIM)].table == INVENTORY_NO_TABLE)
                continue;
            size_t len = forge_add(&r, to, VICTIM, 1 + k % 3, 7000 + 10 * k + to, item);
            assert_int_equal(say(&r, LIAR, to, item, len), 0);
        }
        rig_add(&r, VICTIM, 9000 + k);
        rig_run(&r, 400 * MS);
    }
    u64 conflicts = 0;
    for (u32 i = 0; i < r.n; i++)
        conflicts += rig_stats(&r, i).conflicts;
    assert_true(conflicts > 0);
    rig_run(&r, 40 * SECOND);
    rig_settle(&r, 0, 60 * SECOND);
    for (u32 i = 0; i < r.n; i++) {
        assert_true(rig_holds(&r, i, VICTIM, 9029));
        for (u32 k = 0; k < 30; k++)
            for (u32 to = 5; to < 8; to++)
                assert_false(rig_holds(&r, i, VICTIM, 7000 + 10 * k + to));
    }
    rig_fini(&r);
}

static size_t forge_head(const struct rig *r, u32 viewer, u64 epoch, const struct inventory_head *h,
                         u8 *at)
{
    const struct inventory *v = r->node[viewer].v;
    struct inventory_table named = *table_of(r, viewer, VICTIM);
    named.epoch = epoch;
    return inventory_item_head(v, &named, h, at);
}

static void a_forged_head_changes_nothing(void **state)
{
    (void)state;
    struct rig r;
    u8 item[INVENTORY_HEAD_BYTES];
    region(&r, 6, false, 30);
    u64 before = inventory_hash(r.node[2].v);
    struct inventory_head h = {.n = 0};
    for (u32 k = 0; k < 4; k++) {
        u64 epoch = k < 2 ? 1001 : 1000;
        h.n = k == 2 ? table_of(&r, 2, VICTIM)->n : 4000000;
        inventory_head_sign(&r.node[LIAR].secret, epoch, &h); /* rightly, by the wrong key */
        size_t len = forge_head(&r, 2, epoch, &h, item);
        assert_int_equal(say(&r, LIAR, 2, item, len), 0);
    }
    rig_run(&r, 5 * SECOND);
    assert_int_equal(inventory_hash(r.node[2].v), before);
    assert_true(rig_stats(&r, 2).bad_heads >= 3);
    /* Neither does one to its owner; nor an old epoch, rightly signed. */
    h.n = 50;
    inventory_head_sign(&r.node[LIAR].secret, 5000, &h);
    size_t len = forge_head(&r, 2, 5000, &h, item);
    assert_int_equal(say(&r, LIAR, VICTIM, item, len), 0);
    assert_int_equal(inventory_epoch(r.node[VICTIM].v), 1000);
    inventory_head_sign(&r.node[VICTIM].secret, 999, &h);
    len = forge_head(&r, 2, 999, &h, item);
    assert_int_equal(say(&r, LIAR, 2, item, len), 0);
    assert_int_equal(say(&r, LIAR, VICTIM, item, len), 0);
    assert_int_equal(inventory_hash(r.node[2].v), before);
    assert_int_equal(inventory_epoch(r.node[VICTIM].v), 1000);
    rig_fini(&r);
}

/* Somebody who has our key wrote in a later epoch: ours becomes greater, and all is told again. */
static void our_key_in_a_later_epoch_renews_ours(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        struct rig r;
        u8 item[INVENTORY_HEAD_BYTES];
        region(&r, 6, shared, 30);
        struct inventory_head h = {.n = 12, .hash = {{3, 4}}};
        inventory_head_sign(&r.node[VICTIM].secret, 5000, &h);
        size_t len = forge_head(&r, 2, 5000, &h, item);
        assert_int_equal(say(&r, LIAR, VICTIM, item, len), 0);
        assert_int_equal(inventory_epoch(r.node[VICTIM].v), 5001);
        rig_run(&r, 3 * SECOND);
        rig_settle(&r, 0, 10 * SECOND);
        for (u32 i = 0; i < r.n; i++)
            assert_true(rig_holds(&r, i, VICTIM, 4029));
        rig_fini(&r);
    }
}

/* The answer of node 0 to what a joiner (node 5) asks, before the joiner reads it. */
static size_t fetch(struct rig *r, u32 *id, u8 *answer, size_t cap)
{
    struct wire_out w;
    struct wire_in in;
    struct node_key to;
    static u8 request[65536];
    rig_start(r, 5, 1000);
    for (u32 k = 0; k < 5; k++)
        assert_int_equal(inventory_peer_up(r->node[5].v, &r->node[k].key, k * MS, r->now_ns), 0);
    r->now_ns += 2 * SECOND;
    inventory_expire(r->node[5].v, r->now_ns);
    wire_out_init(&w, request, sizeof(request));
    assert_true(inventory_dial(r->node[5].v, id, &to, &w, r->now_ns));
    wire_in_init(&in, request, w.len);
    assert_int_equal(wire_get_array(&in, 16), 2);
    assert_int_equal(wire_get_u64(&in), MSG_INVENTORY_FETCH);
    wire_out_init(&w, answer, cap);
    assert_int_equal(
        inventory_answer(r->node[0].v, &r->node[5].key, MSG_INVENTORY_FETCH, &in, &w, r->now_ns),
        0);
    return w.len;
}

/* How many tables of nodes 1 to 4 are here; each must be as its origin wrote it. */
static size_t believed(const struct rig *r)
{
    struct inventory_origin o;
    size_t at = 0, n = 0;
    while (inventory_each(r->node[5].v, &at, &o)) {
        u32 origin = rig_index(r, &o.key);
        if (!o.complete || origin == 0 || origin == 5)
            continue;
        n++;
        assert_int_equal(o.epoch, 1000);
        assert_int_equal(o.n, 30);
        assert_int_equal(o.layers, 30);
        for (u32 k = 0; k < 30; k++)
            assert_true(rig_holds(r, 5, origin, 1000 * origin + k));
    }
    return n;
}

/* Any byte of an answer changed: a table of another's is not believed, or it is what it was. */
static void a_forged_snapshot_is_not_believed(void **state)
{
    (void)state;
    static u8 answer[65536], forged[65536];
    struct rig r;
    rig_init(&r, 6, false, 78);
    for (u32 i = 0; i < 5; i++) {
        rig_start(&r, i, 1000);
        for (u32 k = 0; k < 30; k++)
            rig_add(&r, i, 1000 * i + k);
    }
    for (u32 i = 0; i < 5; i++)
        rig_up(&r, i);
    rig_run(&r, 5 * SECOND);
    rig_settle(&r, 0, 10 * SECOND);
    u32 id;
    size_t len = fetch(&r, &id, answer, sizeof(answer)), refused_ones = 0;
    struct wire_in in;
    wire_in_init(&in, answer, len);
    inventory_dialed(r.node[5].v, id, 0, &in, r.now_ns);
    assert_int_equal(believed(&r), 4);
    rig_stop(&r, 5);
    for (size_t at = 0; at < len; at += 1 + at / 40) {
        len = fetch(&r, &id, forged, sizeof(forged));
        forged[at] ^= (u8)(1 + at % 255);
        wire_in_init(&in, forged, len);
        inventory_dialed(r.node[5].v, id, 0, &in, r.now_ns);
        refused_ones += believed(&r) < 4;
        rig_stop(&r, 5);
    }
    assert_true(refused_ones > 20);
    rig_fini(&r);
}

/* --- what costs ------------------------------------------------------------------------------ */

/* An op that names its table, cut off at every byte, within another, of nobody, and of another
 * epoch. */
static void a_named_op_that_is_none(void **state)
{
    (void)state;
    struct rig r;
    region(&r, 5, false, 3);
    const struct inventory *v = r.node[0].v;
    u64 place = v->pool->names[seat_of(&r, 0, VICTIM)].place, before = inventory_hash(v);
    u32 tag =
        table_of(&r, 0, VICTIM)->ref << 10 | ((v->seats[seat_of(&r, 0, VICTIM)].n + 1) & 1023);
    for (u32 how = 0; how < 3; how++) {
        u8 item[32], *end = item;
        put(&end, tag, 4);
        put(&end, 0xc5, 1);
        put(&end, how == 1 ? place + 1 : place, 8);
        put(&end, how == 2 ? 1001 : 1000, 8);
        for (size_t len = 5; how == 0 && len <= (size_t)(end - item); len++)
            assert_int_equal(say(&r, LIAR, 0, item, len), ERR_PROTO);
        put(&end, how == 0 ? 0xc5 : 0xc2, 1);
        assert_int_equal(say(&r, LIAR, 0, item, (size_t)(end - item)), how == 0 ? ERR_PROTO : 0);
        assert_int_equal(inventory_hash(v), before);
    }
    rig_fini(&r);
}

/* Epoch 0 says "nothing" in a want: a table of it would be asked for beyond its end. */
static void epoch_0_is_no_table(void **state)
{
    (void)state;
    struct rig r;
    u8 item[INVENTORY_HEAD_BYTES], entry[256], *end = entry, *bits;
    size_t size;
    region(&r, 5, false, 3);
    u32 id = lure(&r, LIAR);
    struct inventory *v = r.node[0].v;
    u16 o = seat_of(&r, 0, LIAR);
    struct inventory_table of_0 = *table_of(&r, 0, LIAR);
    of_0.epoch = 0;
    inventory_detach(v, o);
    struct inventory_head h = {.n = 0};
    inventory_head_sign(&r.node[LIAR].secret, 0, &h);
    size_t len = inventory_item_head(v, &of_0, &h, item);
    assert_int_equal(say(&r, LIAR, 0, item, len), 0);
    assert_int_equal(v->seats[o].table, INVENTORY_NO_TABLE);
    assert_int_equal(inventory_rice_encode(NULL, 0, &bits, &size), 0);
    put(&end, v->pool->names[o].place, 8);
    put(&end, 0, 8);
    put(&end, 2, 1);
    put(&end, 0, 8); /* version, fingerprints */
    put(&end, size, 4);
    memcpy(end, bits, size);
    end += size;
    free(bits);
    inventory_head_put(&h, end);
    end += INVENTORY_HEAD_BODY;
    put(&end, 0, 4);
    answer(&r, id, false, entry, (size_t)(end - entry));
    assert_int_equal(v->seats[o].table, INVENTORY_NO_TABLE);
    assert_int_equal(rig_stats(&r, 0).malformed, 1);
    rig_run(&r, 20 * SECOND);
    rig_settle(&r, 0, 10 * SECOND);
    rig_fini(&r);
}

/* --- malformed ------------------------------------------------------------------------------- */

static struct rng noise;
static u64 refused;

static bool spoil(struct rig *r, u32 from, u32 to, u8 *bytes, size_t len)
{
    u8 copy[RIG_DATAGRAM];
    if (rng_chance(&noise, 0.3)) { /* cut short */
        size_t n = 3 + (size_t)rng_below(&noise, len - 2);
        struct wire_in in;
        memcpy(copy, bytes, len);
        wire_in_init(&in, copy, n < len ? n : len);
        (void)wire_get_array(&in, 16);
        unsigned number = (unsigned)wire_get_u64(&in);
        if (wire_ok(&in))
            refused +=
                inventory_read(r->node[to].v, &r->node[from].key, number, &in, r->now_ns) != 0;
    }
    if (rng_chance(&noise, 0.3)) { /* with wrong bytes */
        struct wire_in in;
        memcpy(copy, bytes, len);
        for (u32 k = 0; k < 3; k++)
            copy[2 + rng_below(&noise, len - 2)] = (u8)rng_u64(&noise);
        wire_in_init(&in, copy, len);
        (void)wire_get_array(&in, 16);
        unsigned number = (unsigned)wire_get_u64(&in);
        if (wire_ok(&in))
            refused +=
                inventory_read(r->node[to].v, &r->node[from].key, number, &in, r->now_ns) != 0;
    }
    return true;
}

static void rubbish_is_counted_and_outlived(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        struct rig r;
        u64 counted = 0;
        region(&r, 8, shared, 20);
        rng_seed(&noise, 5);
        refused = 0;
        r.filter = spoil;
        for (u32 k = 0; k < 100; k++) {
            for (u32 i = 0; i < r.n; i++)
                rig_add(&r, i, 100000 + 100 * k + i);
            rig_run(&r, 100 * MS);
        }
        for (u32 i = 0; i < r.n; i++)
            counted += rig_stats(&r, i).malformed;
        assert_true(refused > 50);
        assert_true(counted >= refused);
        r.filter = NULL;
        rig_run(&r, 60 * SECOND); /* the heads find what was taken for true */
        for (u32 i = 0; i < r.n; i++)
            rig_add(&r, i, 900000 + i);
        rig_run(&r, 60 * SECOND);
        rig_settle(&r, 0, 120 * SECOND);
        for (u32 i = 1; i < r.n; i++)
            assert_true(rig_holds(&r, 0, i, 900000 + i));
        rig_fini(&r);
    }
}

static void strangers_and_unknown_numbers(void **state)
{
    (void)state;
    struct rig r;
    struct node_key stranger;
    u8 buf[64];
    struct wire_out w;
    struct wire_in in;
    region(&r, 3, false, 2);
    rng_bytes(&r.rng, &stranger, sizeof(stranger));
    wire_out_init(&w, buf, sizeof(buf));
    wire_put_bool(&w, true);
    wire_put_u64(&w, 12345);
    wire_in_init(&in, buf, w.len);
    assert_int_equal(inventory_read(r.node[0].v, &stranger, MSG_INVENTORY_ASK, &in, r.now_ns), 0);
    struct node_key to;
    u8 out[RIG_DATAGRAM];
    wire_out_init(&w, out, sizeof(out));
    assert_false(inventory_write(r.node[0].v, &to, &w, r.now_ns)); /* no answer for it */
    wire_in_init(&in, buf, 2);
    assert_int_equal(inventory_read(r.node[0].v, &r.node[1].key, 63, &in, r.now_ns),
                     ERR_UNSUPPORTED);
    wire_in_init(&in, buf, 2);
    assert_int_equal(inventory_answer(r.node[0].v, &r.node[1].key, 63, &in, &w, r.now_ns),
                     ERR_UNSUPPORTED);
    wire_in_init(&in, buf, 2);
    assert_int_equal(
        inventory_answer(r.node[0].v, &r.node[1].key, MSG_INVENTORY_FETCH, &in, &w, r.now_ns),
        ERR_PROTO);
    inventory_dialed(r.node[0].v, 99, 0, NULL, r.now_ns); /* a talk that we do not hold */
    rig_fini(&r);
}

static u32 wants_seen;
static bool count_wants(struct rig *r, u32 from, u32 to, u8 *bytes, size_t len)
{
    struct wire_in in;
    (void)r;
    wire_in_init(&in, bytes, len);
    (void)wire_get_array(&in, 16);
    wants_seen += from == 0 && to == 1 && wire_get_u64(&in) == MSG_INVENTORY_WANT;
    return true;
}

/* Whoever is said to be ahead is asked in time, however often the loop turns meanwhile. */
static void a_busy_loop_puts_nothing_off(void **state)
{
    struct rig r;
    (void)state;
    region(&r, 3, false, 10);
    rig_run(&r, 20 * SECOND);
    r.filter = count_wants;
    wants_seen = 0;
    struct inventory *v = r.node[0].v;
    u16 origin = seat_of(&r, 0, 2);
    inventory_want(v, &(struct inventory_want){.origin = origin,
                                               .source = seat_of(&r, 0, 1),
                                               .epoch = table_of(&r, 0, 2)->epoch,
                                               .n = v->seats[origin].n + 5,
                                               .due_ns = r.now_ns + SECOND});
    for (u32 i = 0; i < 200; i++) {
        rig_run(&r, 10 * MS);
        rig_drive(&r, 0);
    }
    assert_true(wants_seen > 0);
    rig_fini(&r);
}

/* What node 1 would answer to a question: the groups from `from` to before `to`, all as node 0 has
 * them, or each version `ahead` of that. */
static void say_vector(struct rig *r, unsigned from, unsigned to, u8 ahead)
{
    const struct inventory *v = r->node[0].v;
    u8 groups[256], *end = groups, buf[RIG_DATAGRAM];
    struct wire_out w;
    for (unsigned g = from; g < to; g++) {
        u8 *bytes = end + 4; /* behind how many, and their hash */
        u32 n = 0, h = 0;
        for (u32 i = 0; i < v->n_order; i++) {
            const struct inventory_seat *s = &v->seats[v->order[i]];
            u64 place = v->pool->names[v->order[i]].place;
            if (place >> 60 != g)
                continue;
            h = (h ^ (u32)place) * 0x9e3779b1u;
            bytes[n++] = (u8)(1 + (s->n + s->tag + ahead) % INVENTORY_BYTES_MOD);
        }
        put(&end, n, 2);
        put(&end, h >> 16, 2);
        end += n;
    }
    wire_out_init(&w, buf, sizeof(buf));
    wire_put_array(&w, 3);
    wire_put_u64(&w, MSG_INVENTORY_VECTOR);
    wire_put_u64(&w, from);
    wire_put_bin(&w, groups, (size_t)(end - groups));
    assert_int_equal(rig_deliver(r, 0, 1, buf, w.len), 0);
    rig_drive(r, 0);
}

/* Where hashes differ and all bytes are alike, one byte hides it: a group is asked for by name. In
 * a large region that is known after the last datagram. */
static void a_vector_in_parts_is_alike_as_a_whole(void **state)
{
    struct rig r;
    (void)state;
    region(&r, 3, false, 10);
    r.filter = count_wants;
    wants_seen = 0;
    say_vector(&r, 0, 16, 0);
    assert_int_equal(wants_seen, 1);
    for (u32 i = 0; i < 15; i++) {
        say_vector(&r, i, i + 1, 0);
        assert_int_equal(wants_seen, 1);
    }
    say_vector(&r, 15, 16, 0);
    assert_int_equal(wants_seen, 2);
    /* Not all of it, or not as it was sent. */
    say_vector(&r, 0, 8, 0);
    say_vector(&r, 9, 16, 0);
    say_vector(&r, 8, 16, 0);
    say_vector(&r, 0, 8, 0);
    assert_int_equal(wants_seen, 2);
    /* What differs is asked for at once, and nothing is hidden then. */
    say_vector(&r, 0, 15, 1);
    assert_int_equal(wants_seen, 3);
    say_vector(&r, 15, 16, 0);
    assert_int_equal(wants_seen, 3);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lie_in_anothers_name_does_not_last),
        cmocka_unit_test(a_stubborn_liar_is_outlived),
        cmocka_unit_test(a_forged_head_changes_nothing),
        cmocka_unit_test(our_key_in_a_later_epoch_renews_ours),
        cmocka_unit_test(a_forged_snapshot_is_not_believed),
        cmocka_unit_test(a_named_op_that_is_none),
        cmocka_unit_test(epoch_0_is_no_table),
        cmocka_unit_test(rubbish_is_counted_and_outlived),
        cmocka_unit_test(strangers_and_unknown_numbers),
        cmocka_unit_test(a_busy_loop_puts_nothing_off),
        cmocka_unit_test(a_vector_in_parts_is_alike_as_a_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
