/* roster.c - see roster.h. */
#include "proto/roster.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define PLACES     16384      /* of the index by key: at most half full */
#define SENT_BYTES (16 * MIB) /* of a layer whose size nobody knows */

static_assert(PICK_MAX < ROSTER_NONE && 2 * PICK_MAX <= PLACES, "numbers, and room for them");

struct roster {
    size_t n_regions;
    const struct mesh **meshes; /* of the regions; borrowed */
    u8 hash_key[ROSTER_KEY_BYTES];
    struct roster_node *nodes[PICK_MAX];
    u8 seen[PICK_MAX];
    u16 index[PLACES]; /* number + 1; 0: empty. Open addressing, linear */
    u16 end, unjudged; /* unjudged: every one below it is judged */
    u32 serial;
    u64 version, taken_of, taken_ms; /* taken_of: versions of the regions, summed */
    bool taken;
    u8 bits;
};

int roster_new(struct roster **out, size_t n_regions, const u8 hash_key[ROSTER_KEY_BYTES])
{
    struct roster *r = *out = calloc(1, sizeof(*r));
    if (!r)
        return ERR_NOMEM;
    r->n_regions = n_regions;
    memcpy(r->hash_key, hash_key, sizeof(r->hash_key));
    r->meshes = calloc(n_regions + 1, sizeof(const struct mesh *));
    return r->meshes ? 0 : ERR_NOMEM;
}

void roster_del(struct roster *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->end; i++)
        free(r->nodes[i]);
    free(r->meshes);
    free(r);
}

/* --- by key ---------------------------------------------------------------------------------- */

static size_t place_of(const struct roster *r, const struct node_key *k)
{
    u64 h;
    crypto_shorthash((u8 *)&h, k->bytes, sizeof(k->bytes), r->hash_key);
    return h % PLACES;
}

u16 roster_find(const struct roster *r, const struct node_key *k)
{
    for (size_t at = place_of(r, k); r->index[at]; at = (at + 1) % PLACES) {
        u16 number = (u16)(r->index[at] - 1);
        if (node_key_equal(&r->nodes[number]->of.key, k))
            return number;
    }
    return ROSTER_NONE;
}

static void index_anew(struct roster *r)
{
    memset(r->index, 0, sizeof(r->index));
    for (u16 i = 0; i < r->end; i++) {
        if (!r->nodes[i]->present)
            continue;
        size_t at = place_of(r, &r->nodes[i]->of.key);
        while (r->index[at])
            at = (at + 1) % PLACES;
        r->index[at] = (u16)(i + 1);
    }
}

/* --- taking over ----------------------------------------------------------------------------- */

/* A free number for a node that is new here; ROSTER_NONE: there is no room. */
static u16 make_room(struct roster *r, const struct node_key *k)
{
    u16 number = 0;
    while (number < r->end && r->nodes[number]->present)
        number++;
    if (number == r->end) {
        if (r->end == PICK_MAX || !(r->nodes[number] = calloc(1, sizeof(struct roster_node))))
            return ROSTER_NONE;
        r->end++;
    }
    struct roster_node *n = r->nodes[number];
    memset(n, 0, sizeof(*n));
    n->of.key = *k;
    n->present = true;
    n->serial = ++r->serial;
    n->of.unfit = true; /* until a URL was looked at */
    n->of.name = n->name;
    n->of.region = n->region;
    n->of.url = n->url;
    n->of.serves = n->serves;
    size_t at = place_of(r, k);
    while (r->index[at])
        at = (at + 1) % PLACES;
    r->index[at] = (u16)(number + 1);
    r->version++;
    return number;
}

/* True: it changed. */
static bool take_text(char *to, size_t cap, const char *from)
{
    size_t n = strlen(from);
    if (strcmp(to, from) == 0)
        return false;
    assert(n < cap);
    memcpy(to, from, n + 1);
    return true;
}

static void take_serves(struct roster *r, const struct roster_node *n)
{
    for (size_t i = 0; i < n->of.n_serves; i++) {
        if (n->serves[i].bits > r->bits)
            r->bits = n->serves[i].bits;
    }
}

static void take_one(struct roster *r, size_t region, const struct member_view *v)
{
    const struct member_record *rec = v->record;
    u16 number = roster_find(r, &rec->key);
    if (number == ROSTER_NONE && (number = make_room(r, &rec->key)) == ROSTER_NONE)
        return;
    struct roster_node *n = r->nodes[number];
    bool healthy = v->state == MEMBER_ALIVE;
    bool changed = take_text(n->name, sizeof(n->name), rec->name);
    changed |= take_text(n->region, sizeof(n->region), rec->region);
    if (take_text(n->url, sizeof(n->url), rec->public_url)) {
        n->of.unfit = true;
        n->judged = false;
        changed = true;
    }
    changed |= !addr_equal(&n->of.addr, &rec->addr) || (healthy && !n->of.healthy) ||
               (!v->barred && n->of.barred);
    size_t n_serves = member_serves(v, n->serves);
    changed |= n_serves != n->of.n_serves;
    n->of.n_serves = n_serves;
    n->of.addr = rec->addr;
    n->of.region_index = region;
    n->of.load = v->load;
    n->coord = v->coord;
    n->of.healthy = healthy;
    n->of.barred = v->barred;
    r->version += changed;
    r->seen[number] = true;
    if (!n->judged && number < r->unjudged)
        r->unjudged = number;
    take_serves(r, n);
}

static void take_region(struct roster *r, size_t i)
{
    const struct mesh *m = r->meshes[i];
    struct member_view v;
    size_t at = 0;
    while (m && member_each(mesh_member(m), &at, &v))
        if (v.record->role == MEMBER_NODE && v.state != MEMBER_DEAD && v.state != MEMBER_LEFT)
            take_one(r, i, &v);
}

void roster_refresh(struct roster *r, const struct roster_region *regions, u64 now_ms)
{
    u64 of = 0;
    bool gone = false;
    for (size_t i = 0; i < r->n_regions; i++) {
        of += regions[i].version + (regions[i].mesh != NULL);
        r->meshes[i] = regions[i].mesh;
    }
    if (r->taken && of == r->taken_of && now_ms - r->taken_ms < ROSTER_FRESH_MS)
        return;
    r->taken = true;
    r->taken_of = of;
    r->taken_ms = now_ms;
    r->bits = 0;
    memset(r->seen, 0, sizeof(r->seen));
    for (size_t i = 0; i < r->n_regions; i++)
        take_region(r, i);
    for (u16 i = 0; i < r->end; i++)
        if (r->nodes[i]->present && !r->seen[i]) {
            r->nodes[i]->present = false;
            gone = true;
        }
    if (gone)
        index_anew(r);
}

u16 roster_unjudged(struct roster *r)
{
    while (r->unjudged < r->end &&
           (!r->nodes[r->unjudged]->present || r->nodes[r->unjudged]->judged))
        r->unjudged++;
    return r->unjudged < r->end ? r->unjudged : ROSTER_NONE;
}

void roster_judge(struct roster *r, u16 number, bool unfit)
{
    struct roster_node *n = r->nodes[number];
    n->judged = true;
    n->of.unfit = unfit;
    r->version++;
}

/* --- looking on ------------------------------------------------------------------------------ */

size_t roster_regions(const struct roster *r)
{
    return r->n_regions;
}

const struct inventory *roster_inventory(const struct roster *r, size_t region)
{
    const struct mesh *m = r->meshes[region];
    return m ? mesh_inventory(m) : NULL;
}

u16 roster_end(const struct roster *r)
{
    return r->end;
}

struct roster_node *roster_at(const struct roster *r, u16 number)
{
    return number < r->end && r->nodes[number]->present ? r->nodes[number] : NULL;
}

u64 roster_version(const struct roster *r)
{
    return r->version;
}

u8 roster_bits(const struct roster *r)
{
    return r->bits;
}

/* --- what was sent --------------------------------------------------------------------------- */

static u64 faded(const struct roster_node *n, u64 now_ms)
{
    u64 seconds = now_ms > n->sent_ms ? (now_ms - n->sent_ms) / 1000 : 0;
    return seconds > 40 ? 0 : n->sent_bytes >> seconds;
}

void roster_sent(struct roster_node *n, u64 bytes, u64 now_ms)
{
    u64 left = faded(n, now_ms);
    if (left != n->sent_bytes || left == 0)
        n->sent_ms = now_ms;
    n->sent_bytes = left + (bytes == UINT64_MAX ? SENT_BYTES : bytes);
}

u64 roster_inflight(const struct roster_node *n, u64 now_ms)
{
    return faded(n, now_ms);
}
