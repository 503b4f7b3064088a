/* swarm_wire.h - what the files of swarm's messages share; nobody else includes it. Reading gives
 * 0, or ERR_PROTO for what no honest node sends. */
#pragma once

#include "proto/swarm_impl.h"

/* --- swarm_wire.c --- */
void swarm_put_digest(struct wire_out *w, const struct digest *d);
void swarm_put_names(struct wire_out *w, const u64 *names, u32 n);
void swarm_get_digest(struct wire_in *r, struct digest *d);
const u8 *swarm_get_names(struct wire_in *r, size_t *len);

/* --- swarm_wire_home.c --- */
void swarm_put_join(const struct swarm *s, const struct swarm_layer *l, struct wire_out *w,
                    u64 now_ns);
void swarm_put_welcome(struct swarm *s, struct swarm_layer *l, const struct node_key *to,
                       struct wire_out *w, u64 now_ns);
void swarm_put_lease(const struct swarm *s, const struct swarm_layer *l,
                     enum swarm_lease_state state, u32 whose, struct wire_out *w, u64 now_ns);
void swarm_put_appoint(const struct swarm *s, const struct swarm_layer *l,
                       const struct node_key *to, struct wire_out *w, u64 now_ns);
int swarm_read_join(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns);
int swarm_read_welcome(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns);
int swarm_read_query(struct swarm *s, const struct node_key *from, struct wire_in *r);
int swarm_read_lease(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns);
int swarm_read_appoint(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns);
int swarm_read_stop(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns);

/* --- swarm_wire_peers.c --- */
void swarm_put_hello(const struct swarm *s, struct swarm_layer *l, struct swarm_peer *p,
                     struct wire_out *w);
void swarm_put_news(const struct swarm *s, struct swarm_layer *l, struct swarm_peer *p,
                    struct wire_out *w, u64 now_ns);
void swarm_put_offer(const struct swarm_layer *l, u32 piece, struct wire_out *w);
void swarm_put_bye(struct swarm *s, const struct swarm_layer *l, u64 word, int reason,
                   struct wire_out *w);
int swarm_read_hello(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns);
int swarm_read_news(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns);
int swarm_read_offer(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns);
int swarm_read_bye(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns);
