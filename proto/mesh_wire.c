/* mesh_wire.c - datagrams: a row of messages, opened and handed to who speaks them; and what the
 * modules want to say, put together and sealed. */
#include <assert.h>
#include <string.h>

#include "proto/mesh_impl.h"

/* --- in -------------------------------------------------------------------------------------- */

void mesh_dropped(struct mesh *m, enum seal_drop d, const struct seal_from *from,
                  const struct addr *addr, u64 now_ns)
{
    assert(d != SEAL_OK);
    m->stats.dropped[d]++;
    if (d == SEAL_OWN && from->epoch != seal_epoch(m->seal))
        member_own(m->member, addr, now_ns);
}

bool mesh_split(struct wire_in *r, unsigned *number, struct wire_in *body)
{
    struct wire_in end = *r;
    *body = *r;
    wire_skip(&end);
    u32 n = wire_get_array(body, MESH_FIELDS_MAX);
    *number = (unsigned)wire_get_max(body, UINT16_MAX);
    if (n == 0 || !wire_ok(body) || !wire_ok(&end))
        return false;
    body->end = end.p;
    r->p = end.p;
    return true;
}

bool mesh_sender_key(const struct mesh *m, const u8 sender[8], struct node_key *out)
{
    const struct node_key *k = member_key_of(m->member, sender);
    if (!k)
        return false;
    *out = *k;
    return true;
}

/* One message of a datagram. False: what follows it is not read. */
static bool take_message(struct mesh *m, const struct addr *from, const struct seal_from *seal,
                         unsigned number, struct wire_in *body, u64 now_ns)
{
    struct node_key key;
    int err = ERR_UNSUPPORTED;
    bool member = number >= MSG_MEMBER_FIRST && number <= MSG_MEMBER_LAST;
    if (member) {
        err = member_read(m->member, from, seal->sender, number, body, now_ns);
        mesh_pump(m, now_ns);
    } else if (!mesh_sender_key(m, seal->sender, &key)) {
        m->stats.strangers++;
        return true;
    } else if (number >= MSG_INVENTORY_FIRST && number <= MSG_INVENTORY_LAST) {
        err = inventory_read(m->inventory, &key, number, body, now_ns);
    } else if (number >= MSG_PURGE_FIRST && number <= MSG_PURGE_LAST) {
        err = purge_read(m->purge, &key, number, body, now_ns);
    } else if (number >= MSG_SWARM_FIRST && number <= MSG_SWARM_LAST) {
        err = swarm_read(m->swarm, &key, number, body, now_ns);
    }
    m->stats.unknown += err == ERR_UNSUPPORTED;
    bool bad = err == ERR_PROTO || err == ERR_DENIED;
    m->stats.malformed += bad;
    return !bad;
}

int mesh_read(struct mesh *m, const struct addr *from, const void *buf, size_t len, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    u8 opened[LIMIT_DATAGRAM_BYTES];
    const u8 *text = m->clear ? (const u8 *)buf + SEAL_HEAD : opened;
    struct seal_from seal;
    m->stats.datagrams_in++;
    m->stats.bytes_in += len;
    enum seal_drop d = seal_open(m->seal, SEAL_DATAGRAM, buf, len, m->clear ? NULL : opened, &seal);
    if (d != SEAL_OK) {
        mesh_dropped(m, d, &seal, from, now_ns);
        mesh_pump(m, now_ns);
        return ERR_INVAL;
    }
    m->stats.dropped[SEAL_OK]++;
    struct wire_in r, body;
    wire_in_init(&r, text, seal.text_len);
    while (wire_left(&r) > 0) {
        unsigned number;
        if (!mesh_split(&r, &number, &body)) {
            m->stats.malformed++;
            return ERR_INVAL;
        }
        if (!take_message(m, from, &seal, number, &body, now_ns))
            return ERR_INVAL;
    }
    return 0;
}

/* --- out ------------------------------------------------------------------------------------- */

u8 mesh_version_for(struct mesh *m, const struct addr *to)
{
    if (m->version_min == m->version_max)
        return m->version_max;
    const struct mesh_peer *p = mesh_peers_at(&m->peers, to);
    if (p)
        return p->version;
    return m->version_turn++ % 2 ? m->version_min : m->version_max;
}

static bool inventory_wants(struct mesh *m, struct addr *to, struct wire_out *w, u64 now_ns)
{
    struct node_key key;
    while (inventory_write(m->inventory, &key, w, now_ns)) {
        const struct mesh_peer *p = mesh_peers_find(&m->peers, &key);
        if (p && p->live != MESH_NONE) {
            *to = p->addr;
            return true;
        }
        wire_rewind(w, 0); /* gone meanwhile */
    }
    return false;
}

static bool swarm_wants(struct mesh *m, struct addr *to, struct wire_out *w, u64 now_ns)
{
    struct node_key key;
    wire_rewind(w, 0);
    while (swarm_write(m->swarm, &key, w, now_ns)) {
        const struct mesh_peer *p = mesh_peers_find(&m->peers, &key);
        if (p && p->live != MESH_NONE) {
            *to = p->addr;
            return true;
        }
        wire_rewind(w, 0); /* gone meanwhile */
    }
    return false;
}

/* The next thing that some module wants to say. */
static bool produce(struct mesh *m, struct addr *to, struct wire_out *w, u64 now_ns)
{
    if (member_write(m->member, to, w, now_ns) || inventory_wants(m, to, w, now_ns) ||
        swarm_wants(m, to, w, now_ns))
        return true;
    wire_rewind(w, 0);
    if (!purge_wants(m->purge))
        return false;
    const struct mesh_peer *p = mesh_peers_random(&m->peers, &m->rng);
    if (!p)
        return false;
    *to = p->addr;
    purge_write(m->purge, w);
    return w->len > 0;
}

static bool take_staged(struct mesh *m, struct addr *to, struct wire_out *w)
{
    if (!m->staged_set)
        return false;
    m->staged_set = false;
    *to = m->staged.to;
    memcpy(w->buf, m->staged.text, m->staged.len);
    w->len = m->staged.len;
    return true;
}

/* Appends what goes to the same address; the first that does not is kept for the next datagram. */
static void gather(struct mesh *m, const struct addr *to, struct wire_out *w, u64 now_ns)
{
    struct wire_out next;
    for (;;) {
        wire_out_init(&next, m->staged.text, sizeof(m->staged.text));
        if (!produce(m, &m->staged.to, &next, now_ns))
            return;
        assert(!wire_full(&next) && next.len > 0);
        m->staged.len = next.len;
        if (!addr_equal(&m->staged.to, to) || next.len > wire_room(w)) {
            m->staged_set = true;
            return;
        }
        memcpy(w->buf + w->len, next.buf, next.len);
        w->len += next.len;
    }
}

size_t mesh_write(struct mesh *m, struct addr *to, void *buf, size_t cap, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    assert(cap >= LIMIT_DATAGRAM_BYTES);
    u8 *out = buf;
    struct wire_out w;
    wire_out_init(&w, out + SEAL_HEAD, MESH_TEXT_BYTES);
    if (!take_staged(m, to, &w) && !produce(m, to, &w, now_ns))
        return 0;
    gather(m, to, &w, now_ns);
    assert(!wire_full(&w) && w.len > 0);
    if (purge_has_news(m->purge) && mesh_peers_at(&m->peers, to))
        purge_write(m->purge, &w);
    size_t len = seal_close(m->seal, SEAL_DATAGRAM, mesh_version_for(m, to), w.buf, w.len, out);
    m->stats.datagrams_out++;
    m->stats.bytes_out += len;
    return len;
}
