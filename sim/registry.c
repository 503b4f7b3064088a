/* registry.c - see registry.h. */
#include "sim/registry.h"

#include <assert.h>
#include <string.h>

#include "sim/engine.h"

#define THINK_NS (20 * SIM_MS) /* of a registry in front of an object store */
#define MOSTLY   .8
#define SLOW_BPS 200000

const char *registry_mood_name(enum registry_mood m)
{
    static const char *const names[REGISTRY_MOOD_COUNT] = {"well",     "slow",        "429", "5xx",
                                                           "breaking", "wrong bytes", "gone"};
    assert(m < REGISTRY_MOOD_COUNT);
    return names[m];
}

void registry_init(struct registry *r, const struct knobs *k, const struct rng *rng)
{
    memset(r, 0, sizeof(*r));
    r->stream_bps = k->registry_stream;
    r->slots = k->registry_slots;
    r->rng = *rng;
}

void registry_ask(struct registry *r, struct registry_answer *a)
{
    *a = (struct registry_answer){
        .status = 200, .think_ns = THINK_NS + rng_below(&r->rng, THINK_NS), .breaks = 1};
    r->asked++;
    switch (r->mood) {
    case REGISTRY_WELL:
    case REGISTRY_MOOD_COUNT: break;
    case REGISTRY_SLOW: a->think_ns += rng_below(&r->rng, 5 * SIM_S); break;
    case REGISTRY_LIMITING: a->status = rng_chance(&r->rng, MOSTLY) ? 429 : 200; break;
    case REGISTRY_FAILING: a->status = rng_chance(&r->rng, MOSTLY) ? 503 : 200; break;
    case REGISTRY_BREAKING: a->breaks = rng_chance(&r->rng, MOSTLY) ? rng_unit(&r->rng) : 1; break;
    case REGISTRY_WRONG: a->wrong = rng_chance(&r->rng, 1 - MOSTLY); break;
    case REGISTRY_GONE: a->status = 0; break;
    }
    if (a->status == 200 && r->used >= r->slots)
        a->status = 429;
    r->limited += a->status == 429;
    r->failed += a->status == 503 || a->status == 0;
    if (a->status == 200) {
        r->served++;
        r->used++;
    }
}

void registry_done(struct registry *r, u64 bytes)
{
    assert(r->used > 0);
    r->used--;
    r->bytes += bytes;
}

u64 registry_slowness(const struct registry *r)
{
    u64 cap = r->stream_bps ? r->stream_bps : UINT64_MAX;
    return r->mood == REGISTRY_SLOW && SLOW_BPS < cap ? SLOW_BPS : cap;
}
