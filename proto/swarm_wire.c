/* swarm_wire.c - messages, out of the queue of orders and in: those with a home are in
 * swarm_wire_home.c, those between neighbours in swarm_wire_peers.c. *word*: the first 8 bytes of
 * the digest as a number; it names a layer that both know. *name*: the first 8 bytes of a node key.
 *
 *   JOIN     [80, digest, size, flags, have, rank, origin, forger's name or 0, coordinate]
 *            flags: 1 can fetch, 2 leaves, 4 complete, 8 stuck, 16 has convicted a fetcher
 *   WELCOME  [81, word, flags, fetcher's name or 0, back-off in ms, names, n, at]
 *            flags: 1 nobody can fetch; of n near you, you are at
 *   QUERY    [82, digest]
 *   LEASE    [83, digest, state, home, fetcher, number, have, age in ms, wait in ms]
 *   APPOINT  [84, digest, size, number, origin]
 *   STOP     [85, word]
 *   HELLO    [86, digest, size, session, flags, your session, of your log, of mine, map,
 *             coordinate]
 *            flags: 1 complete, 2 offers singly
 *   NEWS     [87, word, session, from, pieces, your session, of your log, load,
 *             hungry]
 *   OFFER    [88, word, session, pieces]
 *   BYE      [89, word, reason, names] */
#include "proto/swarm_wire.h"

#include <assert.h>
#include <string.h>

#include "proto/message.h"

static_assert((int)MSG_JOIN == (int)MSG_SWARM_FIRST && (int)MSG_BYE <= (int)MSG_SWARM_LAST,
              "within their range");

void swarm_put_digest(struct wire_out *w, const struct digest *d)
{
    u8 name[1 + DIGEST_BYTES_MAX];
    size_t hash = digest_size((enum digest_alg)d->alg);
    name[0] = d->alg;
    memcpy(name + 1, d->bytes, hash);
    wire_put_bin(w, name, 1 + hash);
}

void swarm_put_names(struct wire_out *w, const u64 *names, u32 n)
{
    u8 bin[8 * SWARM_NAMES] = {0};
    assert(n <= SWARM_NAMES);
    for (u32 i = 0; i < n; i++)
        for (u32 b = 0; b < 8; b++)
            bin[8 * i + b] = (u8)(names[i] >> (56 - 8 * b));
    wire_put_bin(w, bin, 8 * n);
}

void swarm_get_digest(struct wire_in *r, struct digest *d)
{
    size_t len;
    memset(d, 0, sizeof(*d));
    const u8 *name = wire_get_bin(r, 1 + DIGEST_BYTES_MAX, &len);
    size_t hash = name && len > 0 ? digest_size((enum digest_alg)name[0]) : 0;
    if (hash == 0 || len != 1 + hash) {
        r->bad = true;
        return;
    }
    d->alg = name[0];
    memcpy(d->bytes, name + 1, hash);
}

const u8 *swarm_get_names(struct wire_in *r, size_t *len)
{
    const u8 *bin = wire_get_bin(r, 8 * SWARM_NAMES, len);
    if (!bin || *len % 8 != 0)
        r->bad = true;
    return bin;
}

/* --- out ------------------------------------------------------------------------------------- */

static bool put(struct swarm *s, const struct swarm_out *o, struct wire_out *w, u64 now_ns)
{
    struct swarm_layer *l = s->layers[o->layer];
    if (l && l->word != o->word)
        l = NULL;
    if (o->kind == MSG_BYE) {
        swarm_put_bye(s, l, o->word, o->reason, w);
        return true;
    }
    if (!l)
        return false;
    struct swarm_peer *p = &l->peers[o->arg % LIMIT_SWARM_NEIGHBOURS];
    bool neighbour = p->used && node_key_equal(&p->key, &o->to);
    switch (o->kind) {
    case MSG_JOIN: swarm_put_join(s, l, w, now_ns); return true;
    case MSG_WELCOME: swarm_put_welcome(s, l, &o->to, w, now_ns); return true;
    case MSG_QUERY:
        wire_put_array(w, 2);
        wire_put_u64(w, MSG_QUERY);
        swarm_put_digest(w, &l->digest);
        return true;
    case MSG_LEASE:
        swarm_put_lease(s, l, (enum swarm_lease_state)(o->reason & 15), o->arg, w, now_ns);
        return true;
    case MSG_APPOINT: swarm_put_appoint(s, l, &o->to, w, now_ns); return true;
    case MSG_STOP:
        wire_put_array(w, 2);
        wire_put_u64(w, MSG_STOP);
        wire_put_u64(w, l->word);
        return true;
    case MSG_HELLO:
        if (neighbour && l->n > 0)
            swarm_put_hello(s, l, p, w);
        return neighbour && l->n > 0;
    case MSG_NEWS:
        if (neighbour) {
            p->queued = false;
            swarm_put_news(s, l, p, w, now_ns);
        }
        return neighbour;
    case MSG_OFFER:
        if (neighbour && l->offers)
            swarm_put_offer(l, o->piece, w);
        return neighbour && l->offers;
    }
    return false;
}

bool swarm_write(struct swarm *s, struct node_key *to, struct wire_out *w, u64 now_ns)
{
    while (s->out_n > 0) {
        const struct swarm_out o = s->out[s->out_first];
        s->out_first = (s->out_first + 1) % s->out_cap;
        s->out_n--;
        *to = o.to;
        if (put(s, &o, w, now_ns))
            return true;
    }
    return false;
}

/* --- in -------------------------------------------------------------------------------------- */

int swarm_read(struct swarm *s, const struct node_key *from, unsigned number, struct wire_in *msg,
               u64 now_ns)
{
    int err = ERR_UNSUPPORTED;
    switch (number) {
    case MSG_JOIN: err = swarm_read_join(s, from, msg, now_ns); break;
    case MSG_WELCOME: err = swarm_read_welcome(s, from, msg, now_ns); break;
    case MSG_QUERY: err = swarm_read_query(s, from, msg); break;
    case MSG_LEASE: err = swarm_read_lease(s, from, msg, now_ns); break;
    case MSG_APPOINT: err = swarm_read_appoint(s, from, msg, now_ns); break;
    case MSG_STOP: err = swarm_read_stop(s, from, msg, now_ns); break;
    case MSG_HELLO: err = swarm_read_hello(s, from, msg, now_ns); break;
    case MSG_NEWS: err = swarm_read_news(s, from, msg, now_ns); break;
    case MSG_OFFER: err = swarm_read_offer(s, from, msg, now_ns); break;
    case MSG_BYE: err = swarm_read_bye(s, from, msg, now_ns); break;
    }
    s->stats.malformed += err == ERR_PROTO;
    return err;
}
