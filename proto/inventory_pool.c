/* inventory_pool.c - origins and their names in the pool, and the signed heads; see
 * inventory_pool.h. */
#include "proto/inventory_pool.h"

#include <assert.h>
#include <sodium/crypto_shorthash.h>
#include <stdlib.h>
#include <string.h>

static_assert(crypto_shorthash_KEYBYTES == 16, "the salt's size");

u64 inventory_salt(const char *region)
{
    static const u8 key[crypto_shorthash_KEYBYTES] = "dray inventory";
    u8 out[crypto_shorthash_BYTES];
    u64 v = 0;
    crypto_shorthash(out, (const u8 *)region, strlen(region), key);
    for (int i = 7; i >= 0; i--)
        v = v << 8 | out[i];
    return v;
}

u64 inventory_hash64(const struct inventory_pool *p, const void *data, size_t len)
{
    u8 out[crypto_shorthash_BYTES];
    u64 v = 0;
    crypto_shorthash(out, data, len, p->salt);
    for (int i = 7; i >= 0; i--)
        v = v << 8 | out[i];
    return v;
}

u64 inventory_digest_hash(const struct inventory_pool *p, const struct digest *d)
{
    u8 bytes[1 + DIGEST_BYTES_MAX];
    size_t n = digest_size(d->alg);
    bytes[0] = d->alg;
    memcpy(bytes + 1, d->bytes, n);
    return inventory_hash64(p, bytes, 1 + n);
}

u32 inventory_fingerprint(u64 digest_hash)
{
    u32 fp = (u32)(digest_hash >> 32);
    return fp ? fp : 1;
}

u64 inventory_place(const struct inventory_pool *p, const struct node_key *k)
{
    return inventory_hash64(p, k->bytes, sizeof(k->bytes));
}

/* --- the pool -------------------------------------------------------------------------------- */

int inventory_pool_new(struct inventory_pool **out, u64 salt)
{
    struct inventory_pool *p = calloc(1, sizeof(*p));
    if (!p)
        return ERR_NOMEM;
    for (unsigned i = 0; i < 8; i++)
        p->salt[i] = p->salt[8 + i] = (u8)(salt >> (8 * i));
    p->salt[8] ^= 0x5a; /* the halves differ */
    p->bytes = sizeof(*p);
    memset(p->ref_heads, 0xff, sizeof(p->ref_heads));
    memset(p->recent, 0xff, sizeof(p->recent));
    int err = inventory_index_init(&p->now, &p->bytes);
    if (err) {
        free(p);
        return err;
    }
    *out = p;
    return 0;
}

void inventory_pool_del(struct inventory_pool *p)
{
    if (!p)
        return;
    assert(p->views == 0);
    for (u32 i = 0; i < p->n_tables; i++)
        assert(!p->tables[i]);
    inventory_index_fini(&p->now, &p->bytes);
    inventory_index_fini(&p->was, &p->bytes);
    free(p->tables);
    free(p->names);
    free(p->name_map);
    free(p);
}

u64 inventory_pool_bytes(const struct inventory_pool *p)
{
    return p->bytes;
}

int inventory_pool_join(struct inventory_pool *p)
{
    if (p->views == 1 && !p->was.at) { /* from now on somebody may be behind */
        int err = inventory_index_init(&p->was, &p->bytes);
        if (err)
            return err;
        for (u32 i = 0; !err && i < p->n_tables; i++) {
            const struct inventory_table *t = p->tables[i];
            for (u32 n = t ? t->reach : 0; t && !err && n < t->n; n++) {
                u32 old = inventory_table_op(t, n + 1)->old_fp;
                if (old)
                    err = inventory_index_add(&p->was, &p->bytes, old, (u16)i);
            }
        }
        if (err) {
            inventory_index_fini(&p->was, &p->bytes);
            return err;
        }
    }
    p->views++;
    return 0;
}

void inventory_pool_leave(struct inventory_pool *p)
{
    assert(p->views > 0);
    p->views--;
}

/* --- origins --------------------------------------------------------------------------------- */

static u32 *map_cell(const struct inventory_pool *p, u64 place)
{
    u32 mask = p->name_map_cap - 1, i = (u32)(place >> 20) & mask;
    while (p->name_map[i] && p->names[p->name_map[i] - 1].place != place)
        i = (i + 1) & mask;
    return &p->name_map[i];
}

u16 inventory_name_find(const struct inventory_pool *p, u64 place)
{
    u32 cell = p->name_map_cap ? *map_cell(p, place) : 0;
    return cell ? (u16)(cell - 1) : (u16)INVENTORY_NONE;
}

u16 inventory_name_of(struct inventory_pool *p, const struct node_key *k)
{
    u16 *recent = &p->recent[(k->bytes[0] << 8 | k->bytes[1]) % INVENTORY_RECENT];
    u16 o = *recent;
    if (o < p->n_names && p->names[o].users > 0 && node_key_equal(&p->names[o].key, k))
        return o;
    o = inventory_name_find(p, inventory_place(p, k));
    if (o == INVENTORY_NONE || !node_key_equal(&p->names[o].key, k))
        return INVENTORY_NONE;
    *recent = o;
    return o;
}

static int map_grow(struct inventory_pool *p, u32 cap)
{
    u32 *map = calloc(cap, sizeof(*map));
    if (!map)
        return ERR_NOMEM;
    p->bytes += (cap - p->name_map_cap) * sizeof(*map);
    free(p->name_map);
    p->name_map = map;
    p->name_map_cap = cap;
    for (u32 i = 0; i < p->n_names; i++)
        if (p->names[i].users > 0)
            *map_cell(p, p->names[i].place) = i + 1;
    return 0;
}

/* A number that nobody uses. */
static int name_slot(struct inventory_pool *p, u32 *out)
{
    for (u32 i = 0; i < p->n_names; i++)
        if (p->names[i].users == 0) {
            *out = i;
            return 0;
        }
    if (p->n_names >= INVENTORY_NONE)
        return ERR_FULL;
    if (p->n_names == p->cap_names) {
        u32 cap = p->cap_names ? 2 * p->cap_names : 16;
        void *names = inventory_resize(&p->bytes, p->names, p->cap_names * sizeof(*p->names),
                                       cap * sizeof(*p->names));
        if (!names)
            return ERR_NOMEM;
        p->names = names;
        p->cap_names = cap;
    }
    if (2 * (p->n_names + 1) > p->name_map_cap) {
        int err = map_grow(p, p->name_map_cap ? 2 * p->name_map_cap : 64);
        if (err)
            return err;
    }
    p->names[p->n_names].users = 0;
    *out = p->n_names++;
    return 0;
}

int inventory_name_get(struct inventory_pool *p, const struct node_key *k, u16 *out)
{
    u64 place = inventory_place(p, k);
    u16 o = inventory_name_find(p, place);
    if (o != INVENTORY_NONE) {
        if (!node_key_equal(&p->names[o].key, k))
            return ERR_EXISTS;
        p->names[o].users++;
        *out = o;
        return 0;
    }
    u32 i;
    int err = name_slot(p, &i);
    if (err)
        return err;
    p->names[i] = (struct inventory_name){
        .key = *k, .place = place, .users = 1, .tables = INVENTORY_NO_TABLE};
    *map_cell(p, place) = i + 1;
    *out = (u16)i;
    return 0;
}

void inventory_name_put(struct inventory_pool *p, u16 origin)
{
    struct inventory_name *name = &p->names[origin];
    assert(name->users > 0);
    if (--name->users > 0)
        return;
    assert(name->tables == INVENTORY_NO_TABLE);
    /* Close the gap in the probe sequence. */
    u32 mask = p->name_map_cap - 1, hole = (u32)(map_cell(p, name->place) - p->name_map);
    for (u32 i = (hole + 1) & mask; p->name_map[i]; i = (i + 1) & mask) {
        u32 home = (u32)(p->names[p->name_map[i] - 1].place >> 20) & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            p->name_map[hole] = p->name_map[i];
            hole = i;
        }
    }
    p->name_map[hole] = 0;
}

/* --- heads ----------------------------------------------------------------------------------- */

const struct inventory_head *inventory_head_at(const struct inventory_table *t, u32 n)
{
    for (u32 i = t->n_heads; i > 0; i--)
        if (t->heads[i - 1].n <= n)
            return &t->heads[i - 1];
    return NULL;
}

void inventory_head_keep(struct inventory_table *t, const struct inventory_head *h)
{
    u32 i = t->n_heads;
    while (i > 0 && t->heads[i - 1].n > h->n)
        i--;
    if (i > 0 && t->heads[i - 1].n == h->n) {
        t->heads[i - 1] = *h;
        return;
    }
    if (t->n_heads < INVENTORY_HEADS) {
        memmove(&t->heads[i + 1], &t->heads[i], (t->n_heads - i) * sizeof(*h));
        t->n_heads++;
    } else {
        if (i == 0)
            return; /* older than all that are kept */
        memmove(&t->heads[0], &t->heads[1], (i - 1) * sizeof(*h));
        i--;
    }
    t->heads[i] = *h;
}

static void put_be(u8 *at, u64 v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (u8)(v >> (8 * (bytes - 1 - i)));
}

#define STATEMENT_BYTES (12 + sizeof(struct inventory_hash256))

/* Signed: epoch, n, hash. The key is the verifier's, so that it need not be within. */
static void head_statement(u64 epoch, const struct inventory_head *h, u8 out[STATEMENT_BYTES])
{
    put_be(out, epoch, 8);
    put_be(out + 8, h->n, 4);
    memcpy(out + 12, h->hash.bytes, sizeof(h->hash.bytes));
}

void inventory_head_sign(const struct node_secret *secret, u64 epoch, struct inventory_head *h)
{
    u8 statement[STATEMENT_BYTES];
    head_statement(epoch, h, statement);
    identity_sign(secret, IDENTITY_HEAD, statement, sizeof(statement), &h->sig);
}

int inventory_head_verify(const struct node_key *key, u64 epoch, const struct inventory_head *h)
{
    u8 statement[STATEMENT_BYTES];
    head_statement(epoch, h, statement);
    return identity_verify(key, IDENTITY_HEAD, statement, sizeof(statement), &h->sig);
}
