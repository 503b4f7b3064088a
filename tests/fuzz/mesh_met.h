/* mesh_met.h - a mesh that has met one member by its first talk, and the member's voice: what fuzz
 * targets of the mesh begin with. Nothing is encrypted, so that any bytes reach the parsers. */
#pragma once

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "proto/mesh.h"

#define MS 1000000ull

static u8 *buf, *answer; /* LIMIT_TALK_BYTES each */
static const struct seal_key KEY = {{1, 2, 3}};

static void must(bool holds)
{
    if (!holds)
        abort();
}

static struct mesh_options options(u8 number, struct inventory_pool *pool)
{
    return (struct mesh_options){
        .self = {.addr = addr_v4(10, 0, 0, number, 5000),
                 .role = MEMBER_NODE,
                 .can_fetch = true,
                 .name = number == 1 ? "node-0" : "node-1",
                 .region = "office",
                 .rack = "rack-0",
                 .public_url = "https://caches.example.net"},
        .seed = {number},
        .boot_epoch = 1000,
        .inventory_epoch = 1000,
        .keys = &KEY,
        .n_keys = 1,
        .pool = pool,
        .rng_seed = number,
        .clear = true,
        .now_ns = 1000 * MS,
    };
}

/* What a member, or anybody, would say: ahead of what it itself said. */
static struct seal *voice(const struct node_key *key)
{
    const struct seal_options opt = {.self = *key, .epoch = 1000, .clear = true, .seed = 5};
    struct seal *s = NULL;
    must(seal_new(&s, &opt) == 0 && seal_set_keys(s, &KEY, 1) == 0);
    for (int i = 0; i < 20; i++)
        for (enum seal_lane lane = 0; lane < SEAL_LANE_COUNT; lane++)
            seal_close(s, lane, WIRE_VERSION, NULL, 0, buf);
    return s;
}

struct met {
    struct inventory_pool *pool; /* the mesh's */
    struct mesh *m;
    struct node_key member;
    struct addr addr; /* the member's */
    u64 now_ns;
};

static struct met meet(void)
{
    struct met r = {.now_ns = 1000 * MS};
    struct inventory_pool *pool = NULL;
    struct mesh *member = NULL;
    struct addr to, seed = addr_v4(10, 0, 0, 1, 5000);
    u32 id;
    size_t len, answer_len;
    must(inventory_pool_new(&r.pool, 1) == 0 && inventory_pool_new(&pool, 1) == 0);
    struct mesh_options opt = options(1, r.pool), other = options(2, pool);
    must(mesh_new(&r.m, &opt) == 0 && mesh_new(&member, &other) == 0);
    must(mesh_seed(member, &seed) == 0);
    r.member = *mesh_key(member);
    r.addr = other.self.addr;
    bool met = false;
    for (u64 t = 0; t < 100 && !met; t++) {
        mesh_expire(member, r.now_ns);
        while (mesh_dial(member, &id, &to, buf, LIMIT_TALK_BYTES, &len, r.now_ns)) {
            must(mesh_answer(r.m, &r.addr, buf, len, answer, LIMIT_TALK_BYTES, &answer_len,
                             r.now_ns) == 0);
            met = true;
        }
        r.now_ns += 100 * MS;
    }
    must(met && member_count(mesh_member(r.m), MEMBER_ALIVE) == 2);
    mesh_del(member);
    inventory_pool_del(pool);
    return r;
}
