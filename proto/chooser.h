/* chooser.h - which node gets this user's layer: pick.h, made fast and given a memory.
 *
 * Why: pick.h orders all candidates that it is told of. With a thousand nodes that is a
 * millisecond, and of the answer only the first line is wanted. So for each network of users and
 * each profile the first SHORTLIST nodes are remembered (by profile, network and distance), until a
 * node comes, changes, or some seconds have passed. Of a layer's holders and fetchers those of the
 * best class join them; among these few pick_order() decides.
 *
 * Remembered, too: the node that an image's other layers went to, for STICK_MS; who fetches which
 * layer, as far as users were sent there for it. One choice in EXPLORE_ONE_IN is not the soonest
 * but another of the same class, drawn by lot, so that what was learned stays true. While nobody
 * near a network of users is known, one in SEARCH_ONE_IN is sent to a node that may be
 * (chooser_list.c says which).
 *
 * Guarantee: chooser_choose() and chooser_all() (for `why`) apply the same rules; nobody is chosen
 * whom pick.h would not. Bounded tables; what falls on a taken place takes it. Pure but for the
 * caller's clock; the roster is to be refreshed before each call. */
#pragma once

#include "proto/pick.h"
#include "proto/pulse.h"
#include "proto/roster.h"
#include "proto/rtts.h"
#include "proto/strikes.h"

#define SHORTLIST         24
#define CHOOSER_KEY_BYTES 16
#define STICK_MS          120000 /* an image's layers are asked for within that */
#define EXPLORE_ONE_IN    50
#define SEARCH_ONE_IN     2 /* while nobody near is known */

struct chooser;

struct chooser_options {
    struct roster *roster; /* all borrowed */
    const struct strikes *strikes;
    const struct rtts *rtts;
    const struct pulse *pulse;
    u8 hash_key[CHOOSER_KEY_BYTES]; /* random and nobody else's, so that nobody can aim at a place
                                     */
    u64 seed;
};
must_use int chooser_new(struct chooser **out, const struct chooser_options *opt);
void chooser_del(struct chooser *c);

/* Who asks for what. Pointers are borrowed for the call. */
struct chooser_wish {
    const u8 *user;      /* TICKET_USER_BYTES; NULL: nobody in particular */
    struct addr from;    /* port 1; unset: not known */
    const char *profile; /* NULL: none */
    const char *repository;
    const struct digest *digest; /* NULL: no layer */
    u64 size;                    /* bytes; UINT64_MAX: not known */
    bool holders_only;           /* nobody knows where else to fetch it */
    u64 now_ms;
};

struct chooser_choice {
    u16 number;     /* the node's, in the roster */
    const char *by; /* static: what decided, for people and metrics */
};
/* False: no node is fit. Nothing is remembered until chooser_sent(). */
bool chooser_choose(struct chooser *c, const struct chooser_wish *w, struct chooser_choice *out);
/* The user was sent there. */
void chooser_sent(struct chooser *c, const struct chooser_wish *w, u16 number);

/* All candidates, best first: `candidates` and `lines` have room for PICK_MAX; returns how many,
 * `*usable` of them fit. What they point to is borrowed until roster_refresh(). */
size_t chooser_all(struct chooser *c, const struct chooser_wish *w,
                   struct pick_candidate *candidates, struct pick_line *lines, size_t *usable);
