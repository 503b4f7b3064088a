/* flows.c - how fast the simulator's flow model goes: dray-flows [NODES FLOWS PIECE RATE SECONDS
 * OFFICES]
 *
 * A swarm as it weighs on sim/flow.h: every node fetches FLOWS pieces of PIECE bytes at a time from
 * others drawn at random, by lines of RATE bytes/s both ways; whoever has a piece begins the next
 * at once. With more than one office every second source is in another one, over lines of 20 ×
 * RATE. Prints one line of JSON: what SECONDS of virtual time took. The default is Kraken's case.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "proto/rng.h"
#include "sim/flow.h"

struct crowd {
    struct flows flows;
    struct rng rng;
    u32 nodes, offices;
    u64 piece, rate;
    u32 *up, *down, *wan_up, *wan_down;
};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static u32 office(const struct crowd *c, u32 node)
{
    return (u32)((u64)node * c->offices / c->nodes);
}

static void begin(struct crowd *c, u32 node, u64 now_ns)
{
    u32 peer = (u32)rng_below(&c->rng, c->nodes);
    bool near = c->offices == 1 || rng_below(&c->rng, 2);
    while (peer == node || (near && office(c, peer) != office(c, node)))
        peer = (u32)rng_below(&c->rng, c->nodes);
    struct flow_spec s = {.lines = {c->down[node], c->up[peer], FLOW_NONE, FLOW_NONE},
                          .cap_bps = 1000000000, /* a disk */
                          .bytes = c->piece,
                          .tag = node};
    if (office(c, peer) != office(c, node)) {
        s.lines[2] = c->wan_up[office(c, peer)];
        s.lines[3] = c->wan_down[office(c, node)];
    }
    flow_begin(&c->flows, &s, now_ns);
}

static u32 *lines(struct crowd *c, u32 n, u64 rate)
{
    u32 *v = calloc(n, sizeof(*v));
    if (!v)
        exit(2);
    for (u32 i = 0; i < n; i++)
        v[i] = flow_line_new(&c->flows, rate);
    return v;
}

static u64 argument(int argc, char **argv, int i, u64 otherwise)
{
    return argc > i ? strtoull(argv[i], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    struct crowd c = {.nodes = (u32)argument(argc, argv, 1, 2600),
                      .piece = argument(argc, argv, 3, 4 << 20),
                      .rate = argument(argc, argv, 4, 300000000),
                      .offices = (u32)argument(argc, argv, 6, 1)};
    u64 each = argument(argc, argv, 2, 30), until = argument(argc, argv, 5, 1) * 1000000000u;
    if (c.nodes < 2 * c.offices || c.offices == 0 || c.piece == 0 || c.rate == 0) {
        fprintf(stderr, "dray-flows [NODES FLOWS PIECE RATE SECONDS OFFICES]\n");
        return 2;
    }
    rng_seed(&c.rng, 1);
    flow_init(&c.flows);
    c.up = lines(&c, c.nodes, c.rate);
    c.down = lines(&c, c.nodes, c.rate);
    c.wan_up = lines(&c, c.offices, 20 * c.rate);
    c.wan_down = lines(&c, c.offices, 20 * c.rate);
    double from = seconds();
    for (u32 i = 0; i < c.nodes; i++)
        for (u64 k = 0; k < each; k++)
            begin(&c, i, 0);
    u64 ended = 0, ticks = 0, now = 0;
    while (now < until) {
        for (u32 id; (id = flow_tick(&c.flows, now)) != FLOW_NONE; ended++) {
            u32 node = c.flows.flows[id].tag;
            flow_end(&c.flows, id, now);
            begin(&c, node, now);
        }
        ticks++;
        now = flow_due(&c.flows);
    }
    double took = seconds() - from;
    printf("{\"nodes\": %u, \"flows\": %" PRIu64 ", \"virtual_s\": %" PRIu64 ", \"wall_s\": %.3f, "
           "\"ended\": %" PRIu64 ", \"ticks\": %" PRIu64 ", \"fillings\": %" PRIu64
           ", \"ms_per_filling\": %.3f}\n",
           c.nodes, each * c.nodes, until / 1000000000u, took, ended, ticks, c.flows.fillings,
           1000 * took / (double)c.flows.fillings);
    flow_fini(&c.flows);
    free(c.up);
    free(c.down);
    free(c.wan_up);
    free(c.wan_down);
    return 0;
}
