/* purge_impl.h - what purge.c and purge_talk.c share. */
#pragma once

#include "proto/purge.h"
#include "proto/rate.h"

struct purge_slot {
    struct purge_order order;
    u64 hash;
    u8 sends;    /* how many more times it is told */
    bool untold; /* to the program */
};

struct purge {
    struct rng rng;
    struct purge_slot *slots; /* by digest */
    size_t n, room;
    size_t hot, untold; /* slots with sends left; slots the program has not seen */
    u64 hash;           /* of all, by exclusive or */
    size_t others;
    u64 unix_ms;    /* the wall clock as last told; 0: never */
    size_t soonest; /* of a full list, the slot that makes room */
    bool quiet;     /* we came with nothing: what we are given, all others have */

    unsigned due; /* datagrams of our own that should go now */
    bool hash_due;
    size_t cursor; /* where the next datagram goes on */
    u64 rumor_ns, hash_ns;

    /* The list of somebody is wanted -> at its time it is ready -> it is on its way. */
    enum { ASK_NONE, ASK_WAITING, ASK_READY, ASK_OUT } ask;
    struct rate by_issuer, by_sender; /* of what is verified */
    u64 put_off;
    bool ask_again; /* what is on its way will not be all */
    u64 ask_ns;     /* of ASK_WAITING */
    struct node_key ask_whom;
};

/* Would it be news? Looks at no signature. ERR_EXISTS, ERR_INVAL, ERR_AGAIN, ERR_FULL. */
must_use int purge_check(const struct purge *p, const struct purge_order *o);
/* As purge_import(); `spread`: and tell others. */
must_use int purge_accept(struct purge *p, const struct purge_order *o, bool spread);
void purge_schedule_hash(struct purge *p, u64 now_ns);
