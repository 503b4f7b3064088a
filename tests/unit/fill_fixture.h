/* fill_fixture.h - one layer, one scripted registry that has it, and a rig that fetches it: what
 * tests of node/fill.h begin with. Set before a request can come. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/limits.h"
#include "support/rig.h"

#define CAPACITY (256 * MIB)

static struct layer layer;
static struct rig rig;
static struct server *registry;

static inline void begin(server_script script, size_t layer_bytes)
{
    rig_open(&rig, CAPACITY);
    layer_make(&layer, layer_bytes, 1);
    registry = server_new(script, NULL, NULL);
    rig_upstream(&rig, server_url(registry), NULL, NULL, NULL);
}

static inline void finish(void)
{
    rig_close(&rig);
    server_del(registry);
    layer_free(&layer);
}

static inline bool asked(void *arg)
{
    return server_count(registry) >= *(const unsigned *)arg;
}

static inline void wait_asked(unsigned n)
{
    rig_wait(&rig, asked, &n);
}

static inline void script_layer(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    say_layer(p, r, &layer, SIZE_MAX);
}

/* The head, half of the body; then it waits for gate 0. */
static inline void script_half(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    size_t half = layer.len / 2;
    say(p, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", layer.len);
    say_bytes(p, layer.data, half);
    wait_gate(p, 0);
    say_bytes(p, layer.data + half, layer.len - half);
}
