/* fill_peers_fixture.h - a registry that has a layer, peers that do as their scripts say, and one
 * client: what the tests of fills with peers share. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "double/mesh_double.h"
#include "proto/limits.h"
#include "support/rig.h"

#define CAPACITY (64 * MIB)
#define PEERS    3

static struct layer layer;
static struct rig rig;
static struct server *registry, *peers[PEERS];
static struct client client;

static inline void script_layer(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    say_layer(p, r, &layer, SIZE_MAX);
}

static inline void open_rig(u64 capacity_bytes)
{
    rig_open(&rig, capacity_bytes);
    double_reset();
    peers_attach(rig.peers, double_region());
}

/* A registry that has the layer, and peers that do as their scripts say (NULL: no such peer). */
static inline void begin(size_t layer_bytes, server_script first, server_script second,
                         server_script third)
{
    const server_script scripts[PEERS] = {first, second, third};
    open_rig(CAPACITY);
    layer_make(&layer, layer_bytes, 11);
    registry = server_new(script_layer, NULL, NULL);
    rig_upstream(&rig, server_url(registry), NULL, NULL, NULL);
    for (size_t i = 0; i < PEERS; i++) {
        peers[i] = scripts[i] ? server_new(scripts[i], NULL, NULL) : NULL;
        if (peers[i])
            double_peer(peers[i]);
    }
    client_init(&client, &rig);
}

static inline void finish(void)
{
    rig_close(&rig);
    for (size_t i = 0; i < mesh_double.n_peers; i++)
        assert_int_equal(mesh_double.peers[i].inflight, 0);
    server_del(registry);
    for (size_t i = 0; i < PEERS; i++)
        if (peers[i])
            server_del(peers[i]);
    layer_free(&layer);
}

static inline int join_as(struct client *c, bool proven, u64 size)
{
    struct fill_source src = {
        .upstream = rig.upstreams[0],
        .repository = "team/app",
        .authorization = "Basic u",
        .proven = proven,
        .size = size,
    };
    return client_join_as(c, &layer.digest, &src);
}

static inline void join(void)
{
    assert_int_equal(join_as(&client, true, layer.len), 0);
}

static inline void expect_whole(void)
{
    client_expect(&client, layer.data, layer.len);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
}

/* As far as the choice of sources is concerned: whoever was asked has had so much time. */
static inline void pass_ms(u64 ms)
{
    mesh_double.now_ns += ms * SOURCING_MS;
}

static inline bool is_asked(void *arg)
{
    return server_count(arg) > 0;
}

static inline unsigned ended(size_t peer, enum mesh_outcome outcome)
{
    return mesh_double.peers[peer].ended[outcome];
}

static inline u64 from_peers(void)
{
    return rig_counter(&rig, "dray_fetched_bytes_total", "from=\"peer\"");
}

static inline void expect_range(struct server *s, unsigned n, const char *range)
{
    struct server_request r;
    server_request_at(s, n, &r);
    const char *value = request_field(&r, "Range");
    assert_string_equal(value ? value : "(none)", range);
}
