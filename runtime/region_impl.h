/* region_impl.h - what the files of the region share; nobody else includes it.
 *
 *   region.c         its life: making, the drive, events, the end
 *   region_keys.c    the key ring
 *   region_seeds.c   whom to knock at, and which address is ours
 *   region_talk.c    talks, both sides
 *   region_orders.c  purge orders and epochs: to and from the disk
 *   region_known.c   members lately known, for a start without a living seed
 *
 * Everything that goes into the mesh passes region_in(), which notices that the loop was late, and
 * is followed by region_drive() or, from elsewhere, by region_kick(). */
#pragma once

#include "runtime/datagram.h"
#include "runtime/http_client.h"
#include "runtime/pool.h"
#include "runtime/region.h"
#include "runtime/self.h"

#define REGION_TALKS_MAX      16    /* of ours at once */
#define REGION_SEED_ADDRESSES 16    /* of one name */
#define REGION_ALONE_MS       3000  /* without an answer for so long, the seeds count as tried */
#define REGION_NAMES_MS       10000 /* a name server that is away keeps nobody from being ready */
#define REGION_TROUBLE_MS     60000 /* the mesh repeats what is wrong more often than this */
#define REGION_WHY            512
#define REGION_KNOWN_MAX      64 /* addresses of members that are remembered */
#define REGION_KNOWN_BYTES    (REGION_KNOWN_MAX * 20 + 8) /* packed */
#define REGION_KNOWN_FILE     "members"

/* One name of the config: a seed's, or the one to advertise. */
struct region_name {
    const char *text; /* borrowed from the config */
    char host[256];
    u16 port;
    struct addr found[REGION_SEED_ADDRESSES]; /* of the last look-up that worked */
    size_t n_found;
    bool numeric, running, failed;
    struct region *region;
    uv_getaddrinfo_t request;
};

struct region_ring {
    struct seal_key keys[LIMIT_MESH_KEYS];
    char names[LIMIT_MESH_KEYS][20]; /* as the file calls them */
    size_t n;
};

struct region_talk_out {
    struct region *region;
    struct http_transfer *transfer; /* NULL: free */
    u32 id;
    int status;
    char *answer;
    size_t len, cap; /* kept */
    size_t seen;
    int err;
};

struct region {
    struct region_options opt;
    struct self self;
    struct region_ring ring;
    struct inventory_pool *pool;
    struct mesh *mesh; /* NULL: not yet, or not any more */
    struct datagram *udp;

    uv_timer_t timer;       /* the mesh's next expiry, or a kick */
    uv_timer_t seeds_timer; /* names are looked up again */
    u64 due_ns;             /* when the timer should fire; 0: not set */
    bool kicked, stopping, leaving;

    struct addr address; /* ours, to peers; unset: not known yet */
    char address_text[ADDR_TEXT_SIZE], public_url[MEMBER_URL_MAX + 1];
    struct member_network serves[MEMBER_SERVES_MAX];
    size_t n_serves;
    struct region_name advertise; /* text NULL: derived */
    struct region_name names[LIMIT_SEEDS];
    size_t n_names;
    unsigned looking; /* look-ups that run */
    struct addr seeds[LIMIT_SEEDS];
    size_t n_seeds;
    struct addr known[REGION_KNOWN_MAX]; /* members, now or in an earlier life */
    size_t n_known;
    u64 started_ms;
    u64 tried_ms; /* since when a seed is known to the mesh; 0: none is */

    struct region_talk_out talks[REGION_TALKS_MAX];
    char *talk_buffer; /* LIMIT_TALK_BYTES, for requests and answers as they are made */

    u64 version; /* of what is known of members */
    bool joined;
    char trouble[REGION_WHY]; /* a clone, a taken name, another region */
    u64 trouble_ms;
    bool trouble_if_alone;    /* it does not matter once somebody is known */
    char waiting[REGION_WHY]; /* why there is no mesh yet */
    u64 talks_refused, talks_failed;

    bool changed_orders, changed_epochs, changed_known; /* to be written */
    bool saving;                                        /* being written */
};

/* --- region.c --------------------------------------------------------------------------------- */

/* The mesh's clock, before anything is told to it. */
u64 region_in(struct region *r);
/* Sends, dials, takes events, sets the timer. */
void region_drive(struct region *r);
/* Our address is known: makes the mesh. */
void region_open(struct region *r);
void region_trouble(struct region *r, bool if_alone, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
u64 region_ms(const struct region *r); /* the loop's clock */

/* --- region_keys.c ---------------------------------------------------------------------------- */

must_use int region_ring_read(struct region_ring *ring, const char *file, char why[CONF_WHY_MAX]);

/* --- region_seeds.c --------------------------------------------------------------------------- */

void region_seeds_start(struct region *r);
void region_seeds_stop(struct region *r);

/* --- region_talk.c ---------------------------------------------------------------------------- */

void region_dial(struct region *r);
void region_talks_stop(struct region *r);

/* --- region_orders.c ---------------------------------------------------------------------------
 */

/* The mesh is new: tells it what was purged. */
void region_orders_feed(struct region *r);
/* Purge orders as bytes: the file, and its fuzz target. Unpacking stops where it goes wrong. */
size_t region_orders_pack(const struct purge_order *orders, size_t n, u8 *out, size_t cap);
size_t region_orders_unpack(const u8 *data, size_t len, struct purge_order *out, size_t max);
/* Writes epochs, orders and known members soon, in the disk pool, if they changed. */
void region_save(struct region *r);
/* A file of the store's directory: how many bytes; 0: there is none; < 0: it cannot be read. */
ssize_t region_file_read(const char *dir, const char *name, u8 *out, size_t cap);

/* --- region_known.c --------------------------------------------------------------------------- */

void region_known_load(struct region *r);
void region_known_add(struct region *r, const struct addr *a); /* came up */
void region_known_refresh(struct region *r);                   /* the living instead of the dead */
/* As bytes: the file, and its fuzz target. Unpacking stops where it goes wrong; what cannot be
 * knocked at, or came before, is left out. */
size_t region_known_pack(const struct addr *known, size_t n, u8 *out, size_t cap);
size_t region_known_unpack(const u8 *data, size_t len, struct addr out[REGION_KNOWN_MAX]);
