/* pulse.c - see pulse.h. */
#include "proto/pulse.h"

#include <stdlib.h>
#include <string.h>

#define PLACES    4096
#define ASTRAY_MS 60000 /* a clock is looked at again after that */

struct heard {
    struct node_key node;
    u64 at_ms; /* 0: nothing */
    bool up, astray;
    u64 astray_at_ms;
    u64 asked_ms; /* the last question that nobody waits for */
};

struct pulse {
    u64 fresh_ms, second_ms; /* how long an answer holds; when this second began */
    u64 asked;               /* in it */
    struct heard heard[PLACES];
};

int pulse_new(struct pulse **out)
{
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return ERR_NOMEM;
    (*out)->fresh_ms = PULSE_FRESH_MS;
    return 0;
}

void pulse_del(struct pulse *p)
{
    free(p);
}

static size_t place_of(const struct node_key *node)
{
    return node_key_word(node) % PLACES;
}

static bool heard_within(const struct pulse *p, const struct node_key *node, bool up, u64 ms,
                         u64 now_ms)
{
    const struct heard *h = &p->heard[place_of(node)];
    return h->at_ms && h->up == up && node_key_equal(&h->node, node) && now_ms - h->at_ms < ms;
}

bool pulse_is_fresh(const struct pulse *p, const struct node_key *node, u64 since_ms, u64 now_ms)
{
    return heard_within(p, node, true, p->fresh_ms, now_ms) &&
           p->heard[place_of(node)].at_ms >= since_ms;
}

bool pulse_is_due(const struct pulse *p, const struct node_key *node, u64 now_ms)
{
    const struct heard *h = &p->heard[place_of(node)];
    return now_ms - h->at_ms >= p->fresh_ms / 2 && now_ms - h->asked_ms >= p->fresh_ms / 2;
}

bool pulse_may_wait(u64 since_ms, u64 now_ms)
{
    return since_ms == 0 || now_ms - since_ms < PULSE_WAIT_MS;
}

bool pulse_is_down(const struct pulse *p, const struct node_key *node, u64 now_ms)
{
    return heard_within(p, node, false, PULSE_DOWN_MS, now_ms);
}

bool pulse_is_astray(const struct pulse *p, const struct node_key *node, u64 now_ms)
{
    const struct heard *h = &p->heard[place_of(node)];
    return h->astray && node_key_equal(&h->node, node) && now_ms - h->astray_at_ms < ASTRAY_MS;
}

/* One question for each ms at most: answers hold for as many ms as there are nodes asked. */
void pulse_asks(struct pulse *p, const struct node_key *node, bool ahead, u64 now_ms)
{
    struct heard *h = &p->heard[place_of(node)];
    if (ahead && node_key_equal(&h->node, node))
        h->asked_ms = now_ms;
    u64 took = now_ms - p->second_ms;
    if (took >= 1000) {
        u64 busy = took < 2000 ? p->asked * p->fresh_ms / took : 0;
        p->fresh_ms = busy < PULSE_FRESH_MS   ? PULSE_FRESH_MS
                      : busy > PULSE_STALE_MS ? PULSE_STALE_MS
                                              : busy;
        p->second_ms = now_ms;
        p->asked = 0;
    }
    p->asked++;
}

static void put(struct pulse *p, const struct heard *fresh)
{
    struct heard *h = &p->heard[place_of(&fresh->node)];
    u64 asked_ms = node_key_equal(&h->node, &fresh->node) ? h->asked_ms : 0;
    *h = *fresh;
    h->asked_ms = asked_ms;
}

void pulse_answered(struct pulse *p, const struct node_key *node, i64 off_ms, u64 now_ms)
{
    bool astray =
        off_ms != INT64_MAX && (off_ms > PULSE_ASTRAY_MS || off_ms < -(i64)PULSE_ASTRAY_MS);
    put(p,
        &(struct heard){
            .node = *node, .at_ms = now_ms, .up = true, .astray = astray, .astray_at_ms = now_ms});
}

void pulse_silent(struct pulse *p, const struct node_key *node, u64 now_ms)
{
    put(p, &(struct heard){.node = *node, .at_ms = now_ms});
}

void pulse_heard(struct pulse *p, const struct node_key *node, u64 now_ms)
{
    struct heard *h = &p->heard[place_of(node)];
    if (!node_key_equal(&h->node, node))
        *h = (struct heard){.node = *node};
    h->at_ms = now_ms;
    h->up = true;
}
