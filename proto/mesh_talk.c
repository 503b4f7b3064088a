/* mesh_talk.c - streams: one sealed request, one sealed answer.
 *
 *   request   one message
 *   answer    the epoch and counter of the request's seal (unsigned integers), then one message
 *
 * These two tie an answer to its request: an answer to somebody else's, or to an earlier one, is
 * none. So answers need no replay window, in which a long one could be overtaken by many short. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/mesh_impl.h"

/* --- asking ---------------------------------------------------------------------------------- */

static struct mesh_talk *free_talk(struct mesh *m)
{
    for (size_t i = 0; i < MESH_TALKS_MAX; i++)
        if (!m->talks[i].used)
            return &m->talks[i];
    return NULL;
}

static void know(struct mesh_talk *t, const struct mesh_peer *p, struct addr *to)
{
    *to = p->addr;
    t->known = true;
    memcpy(t->whom, p->key.bytes, sizeof(t->whom));
}

/* The next talk that inventory wants, with somebody who can be reached. */
static bool dial_inventory(struct mesh *m, struct mesh_talk *t, struct addr *to, struct wire_out *w,
                           u64 now_ns)
{
    struct node_key key;
    while (inventory_dial(m->inventory, &t->module_id, &key, w, now_ns)) {
        const struct mesh_peer *p = mesh_peers_find(&m->peers, &key);
        if (p && p->live != MESH_NONE) {
            t->module = MESH_INVENTORY;
            know(t, p, to);
            return true;
        }
        inventory_dialed(m->inventory, t->module_id, ERR_UNREACHABLE, NULL, now_ns);
        wire_rewind(w, 0);
    }
    return false;
}

static bool dial_purge(struct mesh *m, struct mesh_talk *t, struct addr *to, struct wire_out *w)
{
    struct node_key key;
    if (m->peers.n_live == 0)
        return false;
    u64 turn = rng_below(&m->rng, m->peers.n_live);
    if (!purge_dial(m->purge, &key, w)) /* nearly always: do not look anybody up for it */
        return false;
    const struct mesh_peer *p = &m->peers.peers[m->peers.live[turn]];
    if (node_key_is_set(&key)) {
        const struct mesh_peer *wanted = mesh_peers_find(&m->peers, &key);
        p = wanted && wanted->live != MESH_NONE ? wanted : p;
    }
    t->module = MESH_PURGE;
    know(t, p, to);
    return true;
}

bool mesh_dial(struct mesh *m, u32 *id, struct addr *to, void *buf, size_t cap, size_t *len,
               u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    assert(cap >= LIMIT_TALK_BYTES);
    u8 *out = buf;
    struct mesh_talk *t = free_talk(m);
    if (!t)
        return false;
    *t = (struct mesh_talk){.module = MESH_MEMBER};
    struct wire_out w;
    wire_out_init(&w, out + SEAL_HEAD, LIMIT_TALK_BYTES - SEAL_OVERHEAD);
    if (!member_dial(m->member, &t->module_id, to, &w, now_ns)) {
        wire_rewind(&w, 0);
        if (!dial_inventory(m, t, to, &w, now_ns) && !dial_purge(m, t, to, &w))
            return false;
    }
    assert(!wire_full(&w));
    *len = seal_close(m->seal, SEAL_TALK, mesh_version_for(m, to), w.buf, w.len, out);
    t->used = true;
    t->id = *id = ++m->next_talk;
    t->counter = seal_counter(m->seal, SEAL_TALK);
    m->stats.talks_out++;
    m->stats.talk_bytes_out += *len;
    return true;
}

/* Opens an answer to `t` into `text`; `r` then stands at its message. */
static int open_answer(struct mesh *m, const struct mesh_talk *t, const void *buf, size_t len,
                       u8 *text, struct wire_in *r, u64 now_ns)
{
    struct seal_from from;
    const struct addr nowhere = {{0}, 0};
    enum seal_drop d = seal_open(m->seal, SEAL_ANSWER, buf, len, text, &from);
    if (d != SEAL_OK) {
        /* Our own voice as an answer says nothing of where a clone is. */
        if (d == SEAL_OWN)
            m->stats.dropped[d]++;
        else
            mesh_dropped(m, d, &from, &nowhere, now_ns);
        return ERR_DENIED;
    }
    m->stats.dropped[SEAL_OK]++;
    wire_in_init(r, text, from.text_len);
    if (t->known && memcmp(t->whom, from.sender, sizeof(t->whom)) != 0)
        return ERR_DENIED;
    bool ours = wire_get_u64(r) == seal_epoch(m->seal);
    ours &= wire_get_u64(r) == t->counter;
    return ours && wire_ok(r) ? 0 : ERR_PROTO;
}

static void hand_back(struct mesh *m, const struct mesh_talk *t, int err, struct wire_in *answer,
                      u64 now_ns)
{
    switch (t->module) {
    case MESH_MEMBER: member_dialed(m->member, t->module_id, err, answer, now_ns); break;
    case MESH_INVENTORY: inventory_dialed(m->inventory, t->module_id, err, answer, now_ns); break;
    case MESH_PURGE: purge_dialed(m->purge, err, answer, now_ns); break;
    }
    mesh_pump(m, now_ns);
}

void mesh_dialed(struct mesh *m, u32 id, int err, const void *buf, size_t len, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    struct mesh_talk *t = NULL;
    for (size_t i = 0; i < MESH_TALKS_MAX; i++)
        if (m->talks[i].used && m->talks[i].id == id)
            t = &m->talks[i];
    if (!t)
        return;
    t->used = false;
    const struct mesh_talk talk = *t;
    struct wire_in r;
    wire_in_init(&r, NULL, 0);
    u8 *text = NULL;
    if (!err) {
        m->stats.talk_bytes_in += len;
        text = malloc(len > SEAL_OVERHEAD && len <= LIMIT_TALK_BYTES ? len : 1);
        err = text ? open_answer(m, &talk, buf, len, text, &r, now_ns) : ERR_NOMEM;
        m->stats.malformed += err == ERR_PROTO;
    }
    hand_back(m, &talk, err, &r, now_ns);
    free(text);
}

/* --- answering ------------------------------------------------------------------------------- */

static int answer_to(struct mesh *m, const struct addr *from, const struct seal_from *seal,
                     unsigned number, struct wire_in *request, struct wire_out *answer, u64 now_ns)
{
    struct node_key key;
    if (number >= MSG_MEMBER_FIRST && number <= MSG_MEMBER_LAST)
        return member_answer(m->member, from, seal->sender, number, request, answer, now_ns);
    if (!mesh_sender_key(m, seal->sender, &key)) {
        m->stats.strangers++;
        return ERR_DENIED;
    }
    if (number >= MSG_INVENTORY_FIRST && number <= MSG_INVENTORY_LAST)
        return inventory_answer(m->inventory, &key, number, request, answer, now_ns);
    if (number >= MSG_PURGE_FIRST && number <= MSG_PURGE_LAST)
        return purge_answer(m->purge, &key, number, request, answer, now_ns);
    return ERR_UNSUPPORTED;
}

static int answer_opened(struct mesh *m, const struct addr *from, const struct seal_from *seal,
                         const u8 *text, u8 *answer, size_t *answer_len, u64 now_ns)
{
    struct wire_in r, body;
    struct wire_out w;
    unsigned number;
    wire_in_init(&r, text, seal->text_len);
    if (!mesh_split(&r, &number, &body) || wire_left(&r) > 0) {
        m->stats.malformed++;
        return ERR_PROTO;
    }
    wire_out_init(&w, answer + SEAL_HEAD, LIMIT_TALK_BYTES - SEAL_OVERHEAD);
    wire_put_u64(&w, seal->epoch);
    wire_put_u64(&w, seal->counter);
    size_t start = w.len;
    int err = answer_to(m, from, seal, number, &body, &w, now_ns);
    mesh_pump(m, now_ns);
    m->stats.unknown += err == ERR_UNSUPPORTED;
    m->stats.malformed += err == ERR_PROTO;
    if (err)
        return err == ERR_DENIED || err == ERR_NOMEM ? err : ERR_PROTO;
    assert(!wire_full(&w) && w.len > start);
    *answer_len = seal_close(m->seal, SEAL_ANSWER, seal->version, w.buf, w.len, answer);
    m->stats.talk_bytes_out += *answer_len;
    return 0;
}

int mesh_answer(struct mesh *m, const struct addr *from, const void *request, size_t len,
                void *answer, size_t cap, size_t *answer_len, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    assert(cap >= LIMIT_TALK_BYTES);
    struct seal_from seal;
    *answer_len = 0;
    m->stats.talks_in++;
    m->stats.talk_bytes_in += len;
    /* What cannot be opened needs no room. */
    u8 *text = malloc(len > SEAL_OVERHEAD && len <= LIMIT_TALK_BYTES ? len : 1);
    if (!text)
        return ERR_NOMEM;
    int err = ERR_DENIED;
    enum seal_drop d = seal_open(m->seal, SEAL_TALK, request, len, text, &seal);
    if (d == SEAL_OK) {
        m->stats.dropped[SEAL_OK]++;
        err = answer_opened(m, from, &seal, text, answer, answer_len, now_ns);
    } else {
        mesh_dropped(m, d, &seal, from, now_ns);
        mesh_pump(m, now_ns);
    }
    free(text);
    return err;
}
