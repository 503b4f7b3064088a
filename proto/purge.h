/* purge.h - orders to remove a blob everywhere, and to keep it out until a date.
 *
 * An order is {digest, issuer, given at, until}, signed by the node that was told to purge; dates
 * are Unix ms, the issuer's. Any member may order, as any operator of a rack may.
 *
 *   spreading    rumor mongering (Demers et al., "Epidemic algorithms for replicated database
 *                maintenance", PODC 1987): whoever hears an order for the first time tells it to
 *                three members every 200 ms, a number of times that grows with log N; it also rides
 *                on whatever datagram has room
 *   healing      every 10 s or so one member at random is told a hash over all orders; if that
 *                differs from its own, it asks for the list, giving its own (a talk)
 *   joining      asks somebody for the list at once
 *
 * Guarantees: applying an order twice changes nothing; of two for one digest the later given stays
 * (equal dates: the later `until`, then the greater key), so all agree whatever the order of
 * arrival; at most LIMIT_PURGES, the one that ends soonest makes room; per message a bounded number
 * of signatures is looked at, the rest comes with the next exchange.
 * An order given more than a day ahead of our wall clock (purge_clock()) is refused: nobody could
 * give a later one, and so nobody could take it back.
 * Not here: the store, the disk (purge_each() and purge_import() serve whoever saves them), and
 * reading clocks. An order whose `until` has passed is harmless and goes when room is needed. */
#pragma once

#include "proto/digest.h"
#include "proto/limits.h"
#include "proto/rng.h"
#include "proto/wire.h"

struct purge;

struct purge_order {
    struct digest digest;
    struct node_key issuer;
    u64 unix_ms, until_ms; /* given at; until_ms > unix_ms, by LIMIT_PURGE_MS at most */
    struct node_signature signature;
};

must_use int purge_new(struct purge **out, const struct rng *rng, u64 now_ns); /* ERR_NOMEM */
void purge_del(struct purge *p);

/* The wall clock, told now and then. Until it was told, any date is believed; then what is too far
 * ahead goes. What a clock let in stays, also when it is set back. */
void purge_clock(struct purge *p, u64 unix_ms);

/* A new order by ourselves. Later than any known for this digest, whatever `unix_ms` says; if
 * `until_ms` is over by the clock that gave the other, it ends at once. ERR_INVAL: dates; ERR_FULL:
 * all others last longer. */
must_use int purge_issue(struct purge *p, const struct node_key *self,
                         const struct node_secret *secret, const struct digest *d, u64 unix_ms,
                         u64 until_ms);
/* From where it was saved. Verified. ERR_EXISTS: known, or a later one is; ERR_DENIED: signature;
 * ERR_INVAL; ERR_AGAIN: its date is to come; ERR_FULL; ERR_NOMEM. */
must_use int purge_import(struct purge *p, const struct purge_order *order);

bool purge_is(const struct purge *p, const struct digest *d, u64 unix_ms);
/* All orders; `*at` starts at 0. False at the end. */
bool purge_each(const struct purge *p, size_t *at, struct purge_order *out);
size_t purge_count(const struct purge *p);
u64 purge_hash(const struct purge *p); /* equal lists, equal hashes; 0: none */
/* Those believed since the last time, each once: remove the blob, save the order. */
bool purge_next(struct purge *p, struct purge_order *out);

/* --- talking --------------------------------------------------------------------------------- */

void purge_members(struct purge *p, size_t others); /* how many live members there are to talk to */
void purge_join(struct purge *p);                   /* the first of them is met: ask for the list */

u64 purge_next_expiry(const struct purge *p);
void purge_expire(struct purge *p, u64 now_ns);
/* Is there news that may ride on a datagram, or news that wants a datagram of its own? */
bool purge_has_news(const struct purge *p);
bool purge_wants(const struct purge *p);
/* Messages for one datagram to a member at random, as many as fit. */
void purge_write(struct purge *p, struct wire_out *w);
/* `from` may be asked for its list in return. ERR_PROTO. */
must_use int purge_read(struct purge *p, const struct node_key *from, unsigned number,
                        struct wire_in *msg, u64 now_ns);

/* The next talk: its request, and whom to ask; a zeroed key: anybody. */
bool purge_dial(struct purge *p, struct node_key *to, struct wire_out *w);
void purge_dialed(struct purge *p, int err, struct wire_in *answer, u64 now_ns);
must_use int purge_answer(struct purge *p, const struct node_key *from, unsigned number,
                          struct wire_in *request, struct wire_out *answer, u64 now_ns);
/* Orders of those who give or send too many (LIMIT_RATE_ORDERS), not looked at yet: they come again
 * with somebody's list. */
u64 purge_put_off(const struct purge *p);
u64 purge_bytes(const struct purge *p); /* memory */
