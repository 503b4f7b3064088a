/* inventory_pool.h - the shared content behind inventory.h: tables, their last ops, the index.
 *
 * A *table* is what one origin wrote in one epoch: the sorted multiset of its fingerprints at the
 * newest version `n` that anybody here has seen, and a ring of the ops that led there, so that a
 * view at an older version (not below `reach`) can be answered by walking back. An op names what
 * it removes by its rank in the sorted order: nothing but the multiset itself is state, so a
 * snapshot is the sorted fingerprints and no more, and any two who have the same multiset can go
 * on from there.
 *
 * Two contents may be told under one (key, epoch): by a liar, or by a clone. Then there are two
 * tables of that name, and each view says which it follows; one that is told another next op than
 * its table already has goes on in a copy. So no view's liar is another's.
 *
 * The *index* leads from a fingerprint to the tables that hold it at their newest version: 65,536
 * buckets by the high half of the fingerprint, each an unsorted row of u32 (low half, table). A
 * second one holds what ops in the rings took away, for views that are behind; a pool with one view
 * has none behind, and does without. A row is searched from its beginning, so that a table may have
 * INVENTORY_HALF_MAX entries in it and no more: others would be stalled by one that was made so.
 *
 * Owns everything here; views hold tables by count (`users`), and a table without users is freed.
 * Not for use outside inventory_*.c. */
#pragma once

#include "proto/inventory.h"

#define INVENTORY_NONE      0x7fffu     /* no origin */
#define INVENTORY_NO_TABLE  0xffffu     /* no table */
#define INVENTORY_RING_MAX  512u        /* ops kept of each table */
#define INVENTORY_HEADS     4u          /* signed heads kept of each table */
#define INVENTORY_N_MAX     0xfffffff0u /* versions of one epoch */
#define INVENTORY_REF_HEADS 4096u
#define INVENTORY_RECENT    4096u
#define INVENTORY_HALF_MAX  256u /* fingerprints of one upper half in a table; 2 is usual */

static_assert(LIMIT_MEMBERS < INVENTORY_NONE, "origins are numbered in 15 bits");

enum inventory_kind { INVENTORY_REPLACE, INVENTORY_ADD, INVENTORY_REMOVE, INVENTORY_NOP };

/* One write. `rank` is where the removed fingerprint stood before it. */
struct inventory_op {
    u32 rank_kind; /* rank << 2 | enum inventory_kind; rank 0 where nothing is removed */
    u32 old_fp;    /* removed, or 0 */
    u32 new_fp;    /* added, or 0 */
};

/* Of all that a table holds: BLAKE2b-256 under the salt, of the sorted fingerprints. Who has one
 * table finds no other of the same hash. */
struct inventory_hash256 {
    u8 bytes[32];
};

/* What an origin signed. */
struct inventory_head {
    u32 n;
    struct inventory_hash256 hash;
    struct node_signature sig;
};

struct inventory_table {
    /* What each op looks at stands first. */
    u32 ref; /* 22 bits that name key and epoch on the wire */
    u16 origin, next_ref;
    u32 n, reach; /* newest version; oldest that can still be told */
    u64 step;     /* a view's hash counts base + n * step for this table */
    struct inventory_op *ring;
    u32 ring_cap;
    bool owned;     /* its origin writes it here: nobody else appends */
    bool ambiguous; /* another key or epoch has, or had, the same ref */
    u8 n_heads;
    u16 next_of_origin;
    u64 base, epoch;
    u32 *fp; /* sorted, `len` of `cap` */
    u32 len, cap;
    u32 users;
    u32 stamp;                     /* of the look-up that last saw it */
    u32 hashed_n;                  /* the version that was hashed last; UINT32_MAX: none */
    struct inventory_hash256 hash; /* of that */
    struct inventory_head heads[INVENTORY_HEADS]; /* verified, oldest first */
    struct inventory_coded *coded;                /* NULL: not kept */
};

/* A table as a snapshot tells it, at one version: where many views share a pool, each joiner is
 * told the same by somebody else. */
struct inventory_coded {
    u32 n, len; /* version; fingerprints */
    size_t size;
    u8 bits[];
};

struct inventory_name { /* an origin: a node that some view knows */
    struct node_key key;
    u64 place; /* keyed hash of the key: its place in every order */
    u32 users;
    u16 tables; /* the first of its tables */
};

struct inventory_bucket {
    u32 len, cap;
    u32 e[];
};
struct inventory_index {
    struct inventory_bucket **at; /* 65,536; NULL: not kept */
    u32 rows;                     /* that are not empty */
    u64 entries;
};

struct inventory_pool {
    u8 salt[16];
    u64 bytes;
    struct inventory_index now, was;
    struct inventory_table **tables;
    u32 n_tables, cap_tables;
    struct inventory_name *names;
    u32 n_names, cap_names;
    u32 *name_map, name_map_cap; /* open addressing by place: index + 1 */
    u16 ref_heads[INVENTORY_REF_HEADS];
    u16 recent[INVENTORY_RECENT]; /* by the key's first bits: who was looked up last */
    u32 views, stamp;
};

u64 inventory_hash64(const struct inventory_pool *p, const void *data, size_t len);
u64 inventory_digest_hash(const struct inventory_pool *p, const struct digest *d);
u32 inventory_fingerprint(u64 digest_hash); /* never 0 */
/* realloc that counts. NULL: nothing changed. `to` 0 frees. */
void *inventory_resize(u64 *bytes, void *old, size_t from, size_t to);

must_use int inventory_index_add(struct inventory_index *ix, u64 *bytes, u32 fp, u16 table);
void inventory_index_take(struct inventory_index *ix, u64 *bytes, u32 fp, u16 table);
must_use int inventory_index_init(struct inventory_index *ix, u64 *bytes);
void inventory_index_fini(struct inventory_index *ix, u64 *bytes);

/* What a table goes by: of a thousand some two share it in one region of nine. */
u32 inventory_ref(u64 place, u64 epoch);

/* Origins: found or made, with one more user. ERR_NOMEM, ERR_FULL; ERR_EXISTS: two keys in one
 * place. */
must_use int inventory_name_get(struct inventory_pool *p, const struct node_key *k, u16 *out);
u16 inventory_name_find(const struct inventory_pool *p, u64 place); /* or INVENTORY_NONE */
/* The same by key, without hashing it each time. */
u16 inventory_name_of(struct inventory_pool *p, const struct node_key *k);
void inventory_name_put(struct inventory_pool *p, u16 origin);
u64 inventory_place(const struct inventory_pool *p, const struct node_key *k);

/* A table of `origin` at version `n` with the sorted `fp` (copied), no users yet. */
must_use int inventory_table_new(struct inventory_pool *p, u16 origin, u64 epoch, u32 n,
                                 const u32 *fp, u32 len, u16 *out);
void inventory_table_get(struct inventory_pool *p, u16 t);
void inventory_table_put(struct inventory_pool *p, u16 t);
/* The next version. `op->old_fp` is filled in. ERR_INVAL: it cannot be applied, or is one too many
 * of its upper half. */
must_use int inventory_table_append(struct inventory_pool *p, u16 t, struct inventory_op *op);
/* Many writes as one: the version grows by `writes`, older versions are out of reach. Both lists
 * are sorted; what is taken must be there. */
must_use int inventory_table_rewrite(struct inventory_pool *p, u16 t, const u32 *add, u32 n_add,
                                     const u32 *take, u32 n_take, u32 writes);
/* The op that led to version `n`: reach < n <= newest. */
static inline struct inventory_op *inventory_table_op(const struct inventory_table *t, u32 n)
{
    return &t->ring[n & (t->ring_cap - 1)];
}
bool inventory_table_reaches(const struct inventory_table *t, u32 n);
/* At version `n`. Reads all of it, but for the version that was asked for last. */
struct inventory_hash256 inventory_table_hash256(const struct inventory_pool *p,
                                                 struct inventory_table *t, u32 n);
u32 inventory_table_len(const struct inventory_table *t, u32 n);
/* The sorted multiset at version `n`: *out is malloc()ed, owned by the caller. */
must_use int inventory_table_content(const struct inventory_table *t, u32 n, u32 **out, u32 *len);
u32 inventory_table_rank(const struct inventory_table *t, u32 fp); /* lower bound */
/* How many have the upper half of `fp`, up to INVENTORY_HALF_MAX; are there more of any? */
u32 inventory_table_half(const struct inventory_table *t, u32 fp);
bool inventory_halves_fit(const u32 *fp, u32 len);
u32 inventory_table_count(const struct inventory_table *t, u32 fp, u32 n);
struct inventory_hash256 inventory_hash256(const struct inventory_pool *p, const u32 *fp, u32 len);
bool inventory_hash256_equal(const struct inventory_hash256 *a, const struct inventory_hash256 *b);
/* A table of that origin and epoch that was, or is, in this state; or INVENTORY_NO_TABLE. */
u16 inventory_table_find(const struct inventory_pool *p, u16 origin, u64 epoch, u32 n,
                         const struct inventory_hash256 *hash);

/* The sorted multiset at version `n`, coded (inventory_rice.c); borrowed until the pool changes.
 * NULL: no memory. */
const struct inventory_coded *inventory_table_coded(struct inventory_pool *p, u16 t, u32 n);
void inventory_coded_done(struct inventory_pool *p, u16 t); /* read */

/* Heads. The newest that is not above `n`, or NULL. */
const struct inventory_head *inventory_head_at(const struct inventory_table *t, u32 n);
void inventory_head_keep(struct inventory_table *t, const struct inventory_head *h);
void inventory_head_sign(const struct node_secret *secret, u64 epoch, struct inventory_head *h);
must_use int inventory_head_verify(const struct node_key *key, u64 epoch,
                                   const struct inventory_head *h);

/* Views that may be behind need the second index. */
must_use int inventory_pool_join(struct inventory_pool *p);
void inventory_pool_leave(struct inventory_pool *p);

/* inventory_rice.c */
/* malloc()ed bytes, owned by the caller; ERR_NOMEM. */
must_use int inventory_rice_encode(const u32 *fp, u32 len, u8 **out, size_t *out_len);
must_use int inventory_rice_decode(const u8 *bytes, size_t size, u32 len,
                                   u32 **out); /* ERR_PROTO */
