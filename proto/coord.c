/* coord.c - see coord.h. The constants are serf's (coordinate/config.go): ce = cc = 0.25. */
#include "proto/coord.h"

#include <math.h>
#include <string.h>

#define WEIGHT_ERROR 0.25f /* c_e: how much one sample changes our trust in ourselves */
#define WEIGHT_MOVE  0.25f /* c_c: how far along the spring one sample takes us */
#define SECOND_NS    1000000000.0
#define RTT_MAX_NS   10000000000u
#define TINY         1e-6f
#define COORD_FLOATS (COORD_DIMENSIONS + 2)
#define COORD_PACKED (4 * COORD_FLOATS)

void coord_init(struct coord *c)
{
    *c = (struct coord){.height = COORD_HEIGHT_MIN, .error = COORD_ERROR_MAX};
}

static float clamp(float v, float low, float high)
{
    if (v < low)
        return low;
    return v > high ? high : v;
}

/* `away`: the vector from b to a. */
static float vector_between(const struct coord *a, const struct coord *b,
                            float away[COORD_DIMENSIONS])
{
    float sum = 0;
    for (int i = 0; i < COORD_DIMENSIONS; i++) {
        away[i] = a->at[i] - b->at[i];
        sum += away[i] * away[i];
    }
    return (float)sqrt((double)sum);
}

/* Two that stand on one point are pushed apart in some direction. */
static void any_direction(float away[COORD_DIMENSIONS], struct rng *r)
{
    float sum = 0;
    for (int i = 0; i < COORD_DIMENSIONS; i++) {
        away[i] = (float)(rng_unit(r) - 0.5);
        sum += away[i] * away[i];
    }
    if (sum < TINY) {
        away[0] = 1;
        sum = 1;
        for (int i = 1; i < COORD_DIMENSIONS; i++)
            away[i] = 0;
    }
    float length = (float)sqrt((double)sum);
    for (int i = 0; i < COORD_DIMENSIONS; i++)
        away[i] /= length;
}

void coord_update(struct coord *self, const struct coord *peer, u64 rtt_ns, struct rng *r)
{
    if (rtt_ns == 0 || rtt_ns > RTT_MAX_NS)
        return;
    float rtt = (float)((double)rtt_ns / SECOND_NS), away[COORD_DIMENSIONS];
    if (rtt < TINY)
        rtt = TINY;
    float apart = vector_between(self, peer, away), distance = apart + self->height + peer->height;
    float wrong = (distance > rtt ? distance - rtt : rtt - distance) / rtt;
    float both = self->error + peer->error, weight = self->error / (both < TINY ? TINY : both);
    weight = clamp(weight, 0, 1);
    float error = WEIGHT_ERROR * weight * clamp(wrong, 0, COORD_ERROR_MAX / WEIGHT_ERROR) +
                  self->error * (1 - WEIGHT_ERROR * weight);
    self->error = clamp(error, 0, COORD_ERROR_MAX);

    float force = clamp(WEIGHT_MOVE * weight * (rtt - distance), -COORD_STEP_MAX, COORD_STEP_MAX);
    if (apart > TINY) {
        for (int i = 0; i < COORD_DIMENSIONS; i++)
            away[i] /= apart;
        float lift = (self->height + peer->height) * force / apart;
        lift = clamp(lift, -COORD_STEP_MAX, COORD_STEP_MAX);
        self->height = clamp(self->height + lift, COORD_HEIGHT_MIN, COORD_FAR_MAX);
    } else {
        any_direction(away, r);
    }
    for (int i = 0; i < COORD_DIMENSIONS; i++)
        self->at[i] = clamp(self->at[i] + away[i] * force, -COORD_FAR_MAX, COORD_FAR_MAX);
}

u64 coord_distance_ns(const struct coord *a, const struct coord *b)
{
    float away[COORD_DIMENSIONS], apart = vector_between(a, b, away);
    return (u64)((double)(apart + a->height + b->height) * SECOND_NS);
}

void coord_put(struct wire_out *w, const struct coord *c)
{
    float v[COORD_FLOATS];
    u8 packed[COORD_PACKED];
    memcpy(v, c->at, sizeof(c->at));
    v[COORD_DIMENSIONS] = c->height;
    v[COORD_DIMENSIONS + 1] = c->error;
    for (int i = 0; i < COORD_FLOATS; i++) {
        u32 bits;
        memcpy(&bits, &v[i], sizeof(bits));
        for (int byte = 0; byte < 4; byte++)
            packed[4 * i + byte] = (u8)(bits >> (24 - 8 * byte));
    }
    wire_put_bin(w, packed, sizeof(packed));
}

void coord_get(struct wire_in *r, struct coord *c)
{
    u8 packed[COORD_PACKED];
    float v[COORD_FLOATS];
    bool good = true;
    coord_init(c);
    wire_get_exact(r, packed, sizeof(packed));
    if (!wire_ok(r))
        return;
    for (int i = 0; i < COORD_FLOATS; i++) {
        u32 bits = 0;
        for (int byte = 0; byte < 4; byte++)
            bits = bits << 8 | packed[4 * i + byte];
        memcpy(&v[i], &bits, sizeof(bits));
        float low = i < COORD_DIMENSIONS ? -COORD_FAR_MAX : 0;
        if (i == COORD_DIMENSIONS)
            low = COORD_HEIGHT_MIN;
        float high = i == COORD_DIMENSIONS + 1 ? COORD_ERROR_MAX : COORD_FAR_MAX;
        /* Written so that what is not a number is not good. */
        if (!(v[i] >= low && v[i] <= high))
            good = false;
    }
    if (!good) {
        r->bad = true;
        return;
    }
    memcpy(c->at, v, sizeof(c->at));
    c->height = v[COORD_DIMENSIONS];
    c->error = v[COORD_DIMENSIONS + 1];
}
