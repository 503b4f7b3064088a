/* Any bytes as swarm messages from a member, between calls of the daemon's in any order: what is
 * said stays within a datagram, steps come to an end, timers move on, memory stays bounded.
 *
 * The input is a row of steps: what is done (one byte), an argument (one), a length (one), and as
 * many bytes, which are the fields of a message. */
#include "proto/message.h"
#include "tests/fuzz/mesh_met.h"

#define SIZE (9 * PIECE_MIN_BYTES + 5)

enum { SAY, JOIN, LEAVE, SEED, HAVE, LOST, COMPLETE, REGISTRY, SERVE, SERVED, ANSWER, WAIT, OPS };

static const struct digest LAYER = {.alg = DIGEST_SHA256, .bytes = {9, 8, 7, 6, 5, 4, 3, 2}};

struct rig {
    struct met met;
    struct seal *as_member;
    u32 request, serve;
};

static void start(struct rig *r)
{
    r->met = meet();
    r->as_member = voice(&r->met.member);
}

static void drain(struct rig *r)
{
    struct addr to;
    struct mesh_event ev;
    struct swarm_step st;
    u32 id;
    size_t len;
    for (int i = 0;; i++) {
        must(i < 20000); /* it ends */
        if ((len = mesh_write(r->met.m, &to, buf, LIMIT_TALK_BYTES, r->met.now_ns))) {
            must(len <= LIMIT_DATAGRAM_BYTES && addr_is_set(&to));
        } else if (mesh_dial(r->met.m, &id, &to, buf, LIMIT_TALK_BYTES, &len, r->met.now_ns)) {
            mesh_dialed(r->met.m, id, ERR_UNREACHABLE, NULL, 0, r->met.now_ns);
        } else if (mesh_swarm_next(r->met.m, &st, r->met.now_ns)) {
            must(strnlen(st.origin, sizeof(st.origin)) <= SWARM_ORIGIN_MAX);
            if (st.what == SWARM_ASK) {
                must(st.count == 1 && st.first < 10 && addr_is_set(&st.addr));
                r->request = st.id;
            }
        } else if (!mesh_next_event(r->met.m, &ev)) {
            return;
        }
    }
}

static void say(struct rig *r, unsigned number, const uint8_t *data, size_t len)
{
    u8 text[512], sealed[LIMIT_DATAGRAM_BYTES];
    struct wire_out w;
    wire_out_init(&w, text, sizeof(text));
    wire_put_array(&w, number >= 200 ? 2 : 9);
    wire_put_u64(&w, MSG_SWARM_FIRST + number % 12);
    memcpy(w.buf + w.len, data, len);
    size_t n = seal_close(r->as_member, SEAL_DATAGRAM, WIRE_VERSION, text, w.len + len, sealed);
    (void)mesh_read(r->met.m, &r->met.addr, sealed, n, r->met.now_ns);
}

static void wait_ms(struct rig *r, u64 ms)
{
    u64 end = r->met.now_ns + ms * MS;
    for (int i = 0; i < 300 && mesh_next_expiry(r->met.m) <= end; i++) {
        u64 next = mesh_next_expiry(r->met.m);
        r->met.now_ns = next > r->met.now_ns ? next : r->met.now_ns;
        mesh_expire(r->met.m, r->met.now_ns);
        drain(r);
    }
    r->met.now_ns = end;
}

static void op(struct rig *r, unsigned what, u8 arg, const uint8_t *data, size_t len)
{
    struct swarm_want want = {
        .digest = LAYER, .size = SIZE, .can_fetch = arg & 1, .origin = "hub/app"};
    switch (what % OPS) {
    case SAY: say(r, arg, data, len); break;
    case JOIN: (void)!mesh_swarm_join(r->met.m, &want, r->met.now_ns); break;
    case LEAVE: mesh_swarm_leave(r->met.m, &LAYER, r->met.now_ns); break;
    case SEED: (void)!mesh_swarm_seed(r->met.m, &LAYER, SIZE, r->met.now_ns); break;
    case HAVE: mesh_swarm_have(r->met.m, &LAYER, arg, r->met.now_ns); break;
    case LOST:
        mesh_swarm_lost(r->met.m, &LAYER, arg, r->met.now_ns);
        if (arg & 64)
            mesh_swarm_forged(r->met.m, &LAYER, &r->met.member, r->met.now_ns);
        break;
    case COMPLETE:
        mesh_hold(r->met.m, &LAYER, r->met.now_ns);
        mesh_swarm_complete(r->met.m, &LAYER, r->met.now_ns);
        break;
    case REGISTRY:
        mesh_swarm_registry(r->met.m, &LAYER, (enum swarm_registry)(arg % 4), arg * MS,
                            r->met.now_ns);
        break;
    case SERVE:
        (void)mesh_swarm_serve(r->met.m, &r->met.member, &LAYER, arg, 1 + arg / 64, &r->serve,
                               r->met.now_ns);
        break;
    case SERVED: mesh_swarm_served(r->met.m, r->serve, arg & 1, r->met.now_ns); break;
    case ANSWER:
        mesh_swarm_started(r->met.m, r->request, r->met.now_ns);
        if (arg & 1)
            mesh_swarm_came(r->met.m, r->request, arg / 2 % 10, arg & 2, r->met.now_ns);
        mesh_swarm_ended(r->met.m, r->request, (enum swarm_outcome)(arg / 4 % 6), r->met.now_ns);
        break;
    case WAIT: wait_ms(r, arg * 8u); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!buf) {
        must(sodium_init() >= 0);
        buf = malloc(LIMIT_TALK_BYTES);
        answer = malloc(LIMIT_TALK_BYTES);
    }
    struct rig r = {0};
    start(&r);
    drain(&r);
    for (unsigned steps = 0; size >= 3 && steps < 64; steps++) {
        unsigned what = data[0];
        u8 arg = data[1];
        size_t len = data[2];
        data += 3;
        size -= 3;
        len = len < size ? len : size;
        op(&r, what, arg, data, len);
        drain(&r);
        data += len;
        size -= len;
    }
    must(swarm_bytes(mesh_swarm(r.met.m)) < 4 * MIB);
    seal_del(r.as_member);
    mesh_del(r.met.m);
    inventory_pool_del(r.met.pool);
    return 0;
}
