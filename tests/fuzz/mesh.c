/* Any bytes inside the seal, so that they reach the parsers: a mesh that knows one member is told
 * things by it, and by a stranger, in datagrams, in talks, and in answers to its own talks.
 *
 * The input is a row of steps: what is done (one byte), a length (two), and as many bytes. Whatever
 * comes, the mesh goes on, what it sends is within bounds, and the member keeps its name and place.
 */
#include "tests/fuzz/mesh_met.h"

enum step { SAY, SAY_STRANGE, ASK, ASK_STRANGE, ANSWER, WAIT, STEPS };

struct rig {
    struct met met;
    struct seal *as_member, *as_stranger;
    struct { /* talks that the mesh holds */
        u32 id;
        u64 counter;
    } talks[64];
    size_t n_talks;
};

/* What the mesh wants to say and hear. */
static void drain(struct rig *r)
{
    struct addr to;
    struct mesh_event ev;
    struct seal_from from;
    u32 id;
    size_t len;
    for (int i = 0; i < 10000; i++) {
        len = mesh_write(r->met.m, &to, buf, LIMIT_TALK_BYTES, r->met.now_ns);
        must(len <= LIMIT_DATAGRAM_BYTES && (len == 0 || addr_is_set(&to)));
        if (len > 0)
            continue;
        if (mesh_dial(r->met.m, &id, &to, buf, LIMIT_TALK_BYTES, &len, r->met.now_ns)) {
            must(len <= LIMIT_TALK_BYTES && r->n_talks < 64);
            must(seal_open(r->as_member, SEAL_TALK, buf, len, buf + SEAL_HEAD, &from) == SEAL_OK);
            r->talks[r->n_talks].id = id;
            r->talks[r->n_talks++].counter = from.counter;
            continue;
        }
        if (!mesh_next_event(r->met.m, &ev))
            return;
    }
    abort(); /* it never ends */
}

static void start(struct rig *r)
{
    r->met = meet();
    r->as_member = voice(&r->met.member);
    r->as_stranger = voice(&(struct node_key){{0x77}});
}

static void say(struct rig *r, struct seal *s, const uint8_t *data, size_t len)
{
    u8 sealed[LIMIT_DATAGRAM_BYTES];
    len = len < sizeof sealed - SEAL_OVERHEAD ? len : sizeof sealed - SEAL_OVERHEAD;
    size_t n = seal_close(s, SEAL_DATAGRAM, WIRE_VERSION, data, len, sealed);
    (void)mesh_read(r->met.m, &r->met.addr, sealed, n, r->met.now_ns);
}

static void ask(struct rig *r, struct seal *s, const uint8_t *data, size_t len)
{
    size_t n = seal_close(s, SEAL_TALK, WIRE_VERSION, data, len, buf), answer_len;
    if (mesh_answer(r->met.m, &r->met.addr, buf, n, answer, LIMIT_TALK_BYTES, &answer_len,
                    r->met.now_ns) == 0)
        must(answer_len > SEAL_OVERHEAD && answer_len <= LIMIT_TALK_BYTES);
}

static void answer_talk(struct rig *r, const uint8_t *data, size_t len)
{
    struct wire_out w;
    if (r->n_talks == 0)
        return;
    r->n_talks--;
    wire_out_init(&w, buf + SEAL_HEAD, 32);
    wire_put_u64(&w, 1000); /* its epoch */
    wire_put_u64(&w, r->talks[r->n_talks].counter);
    if (len > 0)
        memcpy(w.buf + w.len, data, len);
    size_t n = seal_close(r->as_member, SEAL_ANSWER, WIRE_VERSION, w.buf, w.len + len, buf);
    mesh_dialed(r->met.m, r->talks[r->n_talks].id, 0, buf, n, r->met.now_ns);
}

static void wait_ms(struct rig *r, u64 ms)
{
    u64 end = r->met.now_ns + ms * MS;
    for (int i = 0; i < 200 && mesh_next_expiry(r->met.m) <= end; i++) {
        u64 next = mesh_next_expiry(r->met.m);
        r->met.now_ns = next > r->met.now_ns ? next : r->met.now_ns;
        mesh_expire(r->met.m, r->met.now_ns);
        drain(r);
        while (r->n_talks > 0) /* nobody is there */
            mesh_dialed(r->met.m, r->talks[--r->n_talks].id, ERR_UNREACHABLE, NULL, 0,
                        r->met.now_ns);
    }
    r->met.now_ns = end;
}

static void look(const struct rig *r)
{
    struct member_view v;
    if (!member_find(mesh_member(r->met.m), &r->met.member, &v))
        return; /* dead so long that it was forgotten */
    must(addr_equal(&v.record->addr, &r->met.addr));
    must(strcmp(v.record->name, "node-1") == 0 && v.record->role == MEMBER_NODE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!buf) {
        must(sodium_init() >= 0);
        buf = malloc(LIMIT_TALK_BYTES);
        answer = malloc(LIMIT_TALK_BYTES);
    }
    struct rig r = {0};
    struct digest d = {.alg = DIGEST_SHA256, .bytes = {9}};
    start(&r);
    mesh_hold(r.met.m, &d, r.met.now_ns);
    drain(&r);
    for (unsigned steps = 0; size >= 3 && steps < 32; steps++) {
        enum step step = (enum step)(data[0] % STEPS);
        size_t len = (size_t)data[1] << 8 | data[2];
        data += 3;
        size -= 3;
        if (step == WAIT) {
            wait_ms(&r, len);
            look(&r);
            continue;
        }
        len = len < size ? len : size;
        switch (step) {
        case SAY: say(&r, r.as_member, data, len); break;
        case SAY_STRANGE: say(&r, r.as_stranger, data, len); break;
        case ASK: ask(&r, r.as_member, data, len); break;
        case ASK_STRANGE: ask(&r, r.as_stranger, data, len); break;
        case ANSWER: answer_talk(&r, data, len); break;
        case WAIT:
        case STEPS: break;
        }
        drain(&r);
        look(&r);
        data += len;
        size -= len;
    }
    seal_del(r.as_member);
    seal_del(r.as_stranger);
    mesh_del(r.met.m);
    inventory_pool_del(r.met.pool);
    return 0;
}
