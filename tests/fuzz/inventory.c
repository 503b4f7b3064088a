/* Any messages between members: read, answered, and taken as the answer of a talk.
 *
 * The input is a row of records: who and how (one byte), length (two, big endian), the message
 * after its number. Three members share a pool; the first has the second's table and not the
 * third's. What comes may change what is believed, never the accounts: each view's hash is the sum
 * of its seats, each table's index entries are its content, and the look-up finds what the table
 * says. */
#include <stdlib.h>
#include <string.h>

#include "proto/inventory_impl.h"

#define NOW (1000000 * INVENTORY_MS)

static void must(bool holds)
{
    if (!holds)
        abort();
}

struct trio {
    struct inventory_pool *pool;
    struct inventory *v[3];
};
static struct node_key keys[3];
static struct node_secret secrets[3];

static struct digest layer(u32 node, u32 k)
{
    struct digest d = {.alg = DIGEST_SHA256};
    d.bytes[0] = (u8)node;
    d.bytes[1] = (u8)k;
    return d;
}

static void set_up(struct trio *t)
{
    must(inventory_pool_new(&t->pool, inventory_salt("fuzz")) == 0);
    for (u32 i = 0; i < 3; i++) {
        if (!node_key_is_set(&keys[i])) {
            u8 seed[32] = {(u8)i, 9};
            identity_from_seed(seed, &keys[i], &secrets[i]);
        }
        struct inventory_options opt = {.pool = t->pool,
                                        .self = keys[i],
                                        .secret = secrets[i],
                                        .epoch = 7,
                                        .datagram_max = 1155,
                                        .now_ns = NOW};
        rng_seed(&opt.rng, i);
        must(inventory_new(&t->v[i], &opt) == 0);
        for (u32 k = 0; k < 10; k++) {
            struct digest d = layer(i, k);
            must(inventory_add(t->v[i], &d, NOW) == 0);
        }
        inventory_expire(t->v[i], NOW + 50 * INVENTORY_MS);
    }
    for (u32 i = 0; i < 3; i++)
        for (u32 k = 0; k < 3; k++)
            must(inventory_peer_up(t->v[i], &keys[k], k * 1000, NOW) == 0);
    inventory_prime(t->v[0], t->v[1]);
}

/* Everything that is due is done, as a driver would. */
static void drive(struct inventory *v, u64 now_ns)
{
    static u8 buf[LIMIT_TALK_BYTES];
    struct wire_out w;
    struct node_key to;
    u32 id, turns = 0;
    inventory_expire(v, now_ns);
    for (wire_out_init(&w, buf, 1155); inventory_write(v, &to, &w, now_ns);
         wire_out_init(&w, buf, 1155))
        must(w.len > 0 && !wire_full(&w) && ++turns < 1000);
    for (wire_out_init(&w, buf, sizeof(buf)); inventory_dial(v, &id, &to, &w, now_ns);
         wire_out_init(&w, buf, sizeof(buf)))
        inventory_dialed(v, id, ERR_TIMEOUT, NULL, now_ns);
}

static void take(struct trio *t, u8 how, const u8 *bytes, size_t len, u64 now_ns)
{
    static u8 answer[LIMIT_TALK_BYTES], request[LIMIT_TALK_BYTES];
    struct inventory *v = t->v[0];
    const struct node_key *from = &keys[1 + (how & 1)];
    unsigned number = MSG_INVENTORY_FIRST + (how >> 1 & 7);
    struct wire_in in;
    struct wire_out w;
    struct node_key to;
    u32 id;
    wire_in_init(&in, bytes, len);
    int err = 0;
    if (number < MSG_INVENTORY_FETCH) {
        err = inventory_read(v, from, number, &in, now_ns);
    } else if (number == MSG_INVENTORY_FETCH) {
        wire_out_init(&w, answer, sizeof(answer));
        err = inventory_answer(v, from, number, &in, &w, now_ns);
    } else {
        wire_out_init(&w, request, sizeof(request));
        if (inventory_dial(v, &id, &to, &w, now_ns))
            inventory_dialed(v, id, 0, &in, now_ns);
    }
    must(err == 0 || err == ERR_PROTO || err == ERR_UNSUPPORTED);
}

static void check(const struct trio *t)
{
    u64 layers = 0;
    for (u32 i = 0; i < t->pool->n_tables; i++)
        layers += t->pool->tables[i] ? t->pool->tables[i]->len : 0;
    must(t->pool->now.entries == layers);
    for (u32 i = 0; i < 3; i++) {
        const struct inventory *v = t->v[i];
        u64 hash = 0;
        for (u32 k = 0; k < v->n_order; k++) {
            const struct inventory_seat *s = &v->seats[v->order[k]];
            if (s->table == INVENTORY_NO_TABLE)
                continue;
            const struct inventory_table *table = t->pool->tables[s->table];
            if (!table)
                abort();
            must(table->users > 0 && s->n <= table->n);
            hash += table->base + s->n * table->step;
        }
        must(hash == v->hash);
        for (u32 node = 0; node < 3; node++) {
            struct digest d = layer(node, 3);
            struct node_key out[3];
            size_t n = inventory_holders(v, &d, out, 3);
            must(n <= 2);
            for (size_t k = 0; k < n; k++)
                must(inventory_is_held_by(v, &d, &out[k]));
        }
    }
    struct digest mine = layer(1, 3);
    must(inventory_is_held_by(t->v[1], &mine, &keys[1])); /* nobody writes for it */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct trio t;
    u64 now_ns = NOW + 1000 * INVENTORY_MS;
    set_up(&t);
    while (size >= 3) {
        size_t len = (size_t)data[1] << 8 | data[2];
        u8 how = data[0];
        data += 3;
        size -= 3;
        if (len > size)
            len = size;
        take(&t, how, data, len, now_ns);
        data += len;
        size -= len;
        now_ns += 300 * INVENTORY_MS;
        if (how & 0x80)
            drive(t.v[0], now_ns);
    }
    drive(t.v[0], now_ns + 5000 * INVENTORY_MS);
    check(&t);
    for (u32 i = 0; i < 3; i++)
        inventory_del(t.v[i]);
    inventory_pool_del(t.pool);
    return 0;
}
