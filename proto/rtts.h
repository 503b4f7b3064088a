/* rtts.h - how far networks of users are from nodes, as nodes measured it on real clients.
 *
 * A bounded table of (network, node); of a full bucket the oldest makes room. What was not told
 * again for RTTS_KEEP_MS counts no more. Each measurement counts for the network and for the wider
 * one around it, which stands in for its neighbours that nobody has seen yet. Pure but for the
 * caller's clock. */
#pragma once

#include "proto/addr.h"
#include "proto/identity.h"

#define RTTS_KEY_BYTES 32
#define RTTS_KEEP_MS   (24ull * 3600 * 1000)

struct rtts;

/* `hash_key`: random and nobody else's, so that nobody can aim at a bucket. ERR_NOMEM. */
must_use int rtts_new(struct rtts **out, const u8 hash_key[RTTS_KEY_BYTES]);
void rtts_del(struct rtts *t);
/* `prefix` as outcome_prefix() makes it. */
void rtts_told(struct rtts *t, const struct addr *prefix, const struct node_key *node, u32 rtt_us,
               u64 now_ms);
/* Was anything told of this network, perhaps? False: every rtts_ns() of it is 0. */
bool rtts_knows(const struct rtts *t, const struct addr *prefix);
/* 0: not known. */
u64 rtts_ns(const struct rtts *t, const struct addr *prefix, const struct node_key *node,
            u64 now_ms);
/* The wider network around one: 16 bits of IPv4, 32 of IPv6; never equal to a network itself. */
struct addr rtts_wider(const struct addr *prefix);
