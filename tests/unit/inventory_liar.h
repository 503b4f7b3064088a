/* inventory_liar.h - a region with a liar in it, and what it says: what the tests of hostile
 * inventories share. Header only, as the rig is. */
#pragma once

#include "inventory_rig.h"

#include "proto/inventory_impl.h"

#define LIAR   1u
#define VICTIM 4u

unused_fn void region(struct rig *r, u32 n, bool shared, u32 layers)
{
    rig_region(r, n, shared, 77, layers);
}

/* What the reader of node `to` says of the items, as if `from` had answered a want. */
unused_fn int say(struct rig *r, u32 from, u32 to, const u8 *items, size_t len)
{
    u8 buf[RIG_DATAGRAM];
    struct wire_out w;
    wire_out_init(&w, buf, sizeof(buf));
    wire_put_array(&w, 2);
    wire_put_u64(&w, MSG_INVENTORY_OPS);
    wire_put_bin(&w, items, len);
    assert_false(wire_full(&w));
    int err = rig_deliver(r, to, from, buf, w.len);
    rig_drive(r, to);
    return err;
}

unused_fn u16 seat_of(const struct rig *r, u32 viewer, u32 origin)
{
    return inventory_find_key(r->node[viewer].v, &r->node[origin].key);
}

unused_fn const struct inventory_table *table_of(const struct rig *r, u32 viewer, u32 origin)
{
    const struct inventory *v = r->node[viewer].v;
    return v->pool->tables[v->seats[seat_of(r, viewer, origin)].table];
}

unused_fn void put(u8 **at, u64 v, unsigned bytes)
{
    for (unsigned i = bytes; i > 0; i--)
        *(*at)++ = (u8)(v >> (8 * (i - 1)));
}

/* An ADD of `layer`, `ahead` versions after what `viewer` has of `origin`. */
unused_fn size_t forge_add(const struct rig *r, u32 viewer, u32 origin, u32 ahead, u64 layer,
                           u8 *at)
{
    const struct inventory *v = r->node[viewer].v;
    struct digest d = rig_layer(layer);
    u32 fp = inventory_fingerprint(inventory_digest_hash(v->pool, &d));
    u32 n = v->seats[seat_of(r, viewer, origin)].n + ahead;
    u8 *end = at;
    put(&end, table_of(r, viewer, origin)->ref << 10 | (n & 1023), 4);
    put(&end, 0xc0, 1);
    put(&end, fp, 4);
    return (size_t)(end - at);
}

/* The liar says that there is more of `origin`, and node 0 asks it: the number of that talk. */
unused_fn u32 lure(struct rig *r, u32 origin)
{
    u8 item[32], *end = item;
    const struct inventory_table *t = table_of(r, 0, origin);
    put(&end, 0, 4);
    put(&end, 0xc4, 1);
    put(&end, inventory_place(r->node[0].pool, &r->node[origin].key), 8);
    put(&end, t->epoch, 8);
    put(&end, t->n + 1000, 4);
    u8 buf[256];
    struct wire_out w;
    struct node_key to;
    u32 id;
    wire_out_init(&w, buf, sizeof(buf));
    wire_put_array(&w, 2);
    wire_put_u64(&w, MSG_INVENTORY_OPS);
    wire_put_bin(&w, item, (size_t)(end - item));
    assert_int_equal(rig_deliver(r, 0, LIAR, buf, w.len), 0);
    wire_out_init(&w, rig_talk_buf, sizeof(rig_talk_buf));
    assert_true(inventory_dial(r->node[0].v, &id, &to, &w, r->now_ns));
    assert_int_equal(rig_index(r, &to), LIAR);
    return id;
}

/* How an entry of `origin` with ops or heads alone begins. */
unused_fn void entry_begin(const struct rig *r, u32 origin, u64 items_len, u8 **at)
{
    put(at, inventory_place(r->node[0].pool, &r->node[origin].key), 8);
    put(at, table_of(r, 0, origin)->epoch, 8);
    put(at, 1, 1);
    put(at, items_len, 4);
}

/* The liar's answer. */
unused_fn void answer(struct rig *r, u32 id, bool more, const u8 *entries, size_t len)
{
    struct wire_out w;
    struct wire_in in;
    wire_out_init(&w, rig_talk_buf, sizeof(rig_talk_buf));
    wire_put_array(&w, 3);
    wire_put_u64(&w, MSG_INVENTORY_FETCHED);
    wire_put_bool(&w, more);
    wire_put_bin(&w, entries, len);
    assert_false(wire_full(&w));
    wire_in_init(&in, rig_talk_buf, w.len);
    inventory_dialed(r->node[0].v, id, 0, &in, r->now_ns);
}
