/* swarm_pace.c - how many at once.
 *
 * Where a request is answered at once, as many are asked for as are given: whoever finds no room
 * hears so and is elsewhere before the line is idle. Where requests and answers stand in queues, as
 * on cables whose buffers are full, each refusal costs as much as a piece; there more are asked
 * for, and they wait in a line at whoever gives. What a refusal takes tells the two apart. */
#include "proto/swarm_impl.h"

#define QUEUED 4 /* slow: more than this part of a piece's time */
#define IN_ROW 8 /* so many slow ones: one alone may come by any chance */

const struct swarm_pace swarm_prompt = {
    .uploads = SWARM_UPLOADS,
    .uploads_most = SWARM_LAYERS * SWARM_UPLOADS,
    .depth = SWARM_UPLOADS,
    .offer_ns = 400 * SWARM_MS,
};

const struct swarm_pace swarm_queued = {
    .uploads = SWARM_UPLOADS_QUEUED,
    .uploads_most = SWARM_LAYERS * SWARM_UPLOADS,
    .depth = 3 * SWARM_UPLOADS_QUEUED,
    .wider = SWARM_UPLOADS_QUEUED,
    .waiting = 4 * SWARM_UPLOADS_QUEUED,
    .offer_ns = 3000 * SWARM_MS,
    .patience_ns = 250 * SWARM_MS,
};

/* There is no way back while there are layers: in queues few are refused, and these soon. */
void swarm_turned(struct swarm *s, u64 took_ns, u64 piece_ns)
{
    s->slow_turns = took_ns > piece_ns / QUEUED ? s->slow_turns + 1 : 0;
    if (s->pace == &swarm_queued || s->slow_turns < IN_ROW)
        return;
    s->pace = &swarm_queued;
    for (u32 i = 0; i < s->n_slots; i++)
        if (s->layers[i])
            swarm_news_change_all(s->layers[i]);
}
