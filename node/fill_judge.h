/* fill_judge.h - what fill_judge.c, which judges pieces, and fill_chain.c, which makes a chain of
 * what the registry sends, share beside fill_swarm.h. */
#pragma once

#include "node/fill_swarm.h"

const struct node_key *judge_self(const struct fill *f);
/* Nothing is to be made of what the pools still bring. */
bool judge_is_over(const struct fill *f);
/* Who signed what was refuted is convicted, here and for the swarm. */
void judge_evidence(struct fill *f);
/* Trusted bytes of a piece, begun at `in`, gave `out`: who sent others is proved to have. */
void judge_convict(struct fill *f, u32 number, const u8 *in, const u8 *out);
/* All that is here is not the layer. Our way to the registry is at fault: others read it for us. */
void judge_wrong_layer(struct fill *f);
/* Chains were refuted: what nobody vouches for any more is in doubt. */
void judge_recheck(struct fill *f);
void judge_forget(struct fill *f, u32 number);
/* The piece is verified and in the file. */
void judge_held(struct piece *p);

/* A job in a pool. `done` begins with judge_job_ended(), which holds the fill, and ends with
 * judge_let_go(), or with another job and fill_release(). */
void judge_submit(struct piece *p, struct pool *pool, void (*work)(struct job *j),
                  void (*done)(struct job *j));
struct fill *judge_job_ended(struct piece *p);
void judge_let_go(struct piece *p, struct fill *f);
void judge_write(struct piece *p);
void judge_hash_work(struct job *j);
void judge_hash_step(const struct piece *p, const struct chain_step *step, u8 *out);
