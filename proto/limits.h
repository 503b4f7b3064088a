/* limits.h - every maximum in one place. Anything from outside is held against one of these.
 *
 * Each says why it is what it is; `static_assert`s tie together those that depend on each other. */
#pragma once

#include <assert.h>

#define KIB 1024ull
#define MIB (1024ull * KIB)
#define GIB (1024ull * MIB)

/* HTTP in. A registry client's request is under 4 KiB; tokens of some identity providers reach 16.
 */
#define LIMIT_HTTP_HEAD_BYTES   (32 * KIB) /* request line and headers together */
#define LIMIT_HTTP_HEADERS      100        /* header lines of one request */
#define LIMIT_HTTP_TARGET_BYTES (8 * KIB)
#define LIMIT_HTTP_BODY_BYTES   (64 * KIB) /* request bodies that are read: small JSON commands */
#define LIMIT_HTTP_DRAIN_BYTES  MIB        /* request bytes read and thrown away before closing */
#define LIMIT_HTTP_TURN_BYTES   (2 * MIB)  /* sent for one connection in one wake-up: fairness */
#define LIMIT_HTTP_REPLY_HEAD   (16 * KIB) /* status line and headers that we send */

/* HTTP out. */
#define LIMIT_UPSTREAM_HEAD_BYTES (64 * KIB)
#define LIMIT_UPSTREAM_REDIRECTS  3
#define LIMIT_TOKEN_BYTES         (64 * KIB) /* a token server's answer */
#define LIMIT_MANIFEST_BYTES      (4 * MIB) /* distribution-spec: registries accept at least this */
#define LIMIT_RELAY_BYTES         (4 * MIB) /* tag lists, referrers, error bodies */

/* A layer in flight. */
#define LIMIT_FILL_BLOCK_BYTES (256 * KIB) /* one buffer of received bytes */
#define LIMIT_FILL_LAG_BYTES   (8 * MIB)   /* received, not yet written and hashed */
#define LIMIT_FILLS            256         /* layers being fetched at once */
#define LIMIT_PIECES           16384u /* of one layer: 64 GiB; larger ones come in one stream */

/* Configuration. */
#define LIMIT_CONFIG_BYTES  (256 * KIB)
#define LIMIT_UPSTREAMS     64
#define LIMIT_ALLOW_HOSTS   64
#define LIMIT_SECRET_BYTES  (8 * KIB) /* of a login: clouds give tokens for passwords */
#define LIMIT_AUTHZ_ENTRIES 65536     /* remembered decisions, each table */

/* To one registry. Each fetch may hold one for as long as its slowest reader takes; what is small
 * (a permission, a manifest) must never stand in line behind them. */
#define LIMIT_UPSTREAM_CONNECTIONS 384
static_assert(LIMIT_UPSTREAM_CONNECTIONS >= LIMIT_FILLS + 64, "room beside all fetches");
/* Bodies passed on to it at once, each at its sender's own speed. */
#define LIMIT_UPLOADS 256
static_assert(LIMIT_UPSTREAM_CONNECTIONS >= LIMIT_UPLOADS + 64, "room beside all pushes");

/* The mesh. */
#define LIMIT_DATAGRAM_BYTES  1200      /* fits any path's MTU with IPv6 and UDP headers (1,280) */
#define LIMIT_TALK_BYTES      (4 * MIB) /* one request or answer of a stream talk */
#define LIMIT_MEMBERS         4096      /* of a region, the dead that are remembered included */
#define LIMIT_SEEDS           64
#define LIMIT_MESH_KEYS       16
#define LIMIT_SEAL_SENDERS    (2 * LIMIT_MEMBERS) /* replay windows */
#define LIMIT_INVENTORY_SLOTS 131072              /* layers that one node tells of */
#define LIMIT_PURGES          1024                /* remembered at once */
#define LIMIT_PURGE_MS        (400ull * 86400000) /* how long one may keep a blob out */
#define LIMIT_PURGE_AHEAD_MS  86400000ull         /* how far ahead an issuer's clock may be */
#define LIMIT_PURGE_VERIFY    64 /* signatures looked at per message: 5 ms at the worst */

/* Signatures that one makes us verify (60 us each): at once, and in each second from then on. An
 * author renews its record when it starts, is accused, or changes what it does; it accuses at most
 * one member with each of its probes, two in a second. A sender passes on what others say, and a
 * whole list to who joins; of inventories' heads as many. Authors of orders are operators, who may
 * have a list of them. */
#define LIMIT_RATE_RECORDS   128
#define LIMIT_RATE_RECORDS_S 32
#define LIMIT_RATE_DOUBTS    128
#define LIMIT_RATE_DOUBTS_S  8
#define LIMIT_RATE_SENDER    (2 * LIMIT_MEMBERS)
#define LIMIT_RATE_SENDER_S  512
/* By member: tables that are fetched anew since an op of its does not fit. */
#define LIMIT_RATE_CONFLICTS   16
#define LIMIT_RATE_CONFLICTS_S 1
/* By member: fetches from where it said that a layer is, and a registry refused. */
#define LIMIT_RATE_MISLED   32
#define LIMIT_RATE_MISLED_S 1
#define LIMIT_RATE_ORDERS   512
#define LIMIT_RATE_ORDERS_S 16
/* By tracker: users whose tickets end, and messages of them. What still counts is then always fewer
 * than a node remembers. */
#define LIMIT_RATE_REVOKES      512
#define LIMIT_RATE_REVOKES_S    8
#define LIMIT_RATE_ORDER_SENDER (2 * LIMIT_PURGES)
#define LIMIT_RATE_ORDER_SEND_S 64

/* Swarms. */
#define LIMIT_SWARMS           512   /* layers at once: wanted, seeded, or that we are home of */
#define LIMIT_SWARM_NEIGHBOURS 40    /* of one layer; SWARM_NEIGHBOURS are sought */
#define LIMIT_SWARM_REQUESTS   32    /* of one layer, under way at once */
#define LIMIT_SWARM_SERVES     96    /* given or held at once, of all layers together */
#define LIMIT_SWARM_GUESTS     65536 /* askers that a home remembers, of all layers together */

static_assert(LIMIT_FILL_LAG_BYTES >= 4 * LIMIT_FILL_BLOCK_BYTES, "a lag window of several blocks");
static_assert(LIMIT_HTTP_TARGET_BYTES < LIMIT_HTTP_HEAD_BYTES, "a target fits in a head");
