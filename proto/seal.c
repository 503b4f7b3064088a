/* seal.c - see seal.h. The windows of senders are in seal_windows.c. */
#include "proto/seal.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "proto/seal_windows.h"

#define TAG_BYTES  16
#define LANE_SHIFT 62

static_assert(SEAL_KEY_BYTES == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "libsodium's size");
static_assert(TAG_BYTES == crypto_aead_xchacha20poly1305_ietf_ABYTES, "libsodium's size");
static_assert(SEAL_HEAD - 5 == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "head and nonce");
static_assert(SEAL_LANE_COUNT <= 1 << (64 - LANE_SHIFT), "a lane fits above the counter");

static const size_t LANE_BYTES[SEAL_LANE_COUNT] = {
    [SEAL_DATAGRAM] = LIMIT_DATAGRAM_BYTES,
    [SEAL_TALK] = LIMIT_TALK_BYTES,
    [SEAL_PEER] = LIMIT_DATAGRAM_BYTES,
    [SEAL_ANSWER] = LIMIT_TALK_BYTES,
};

struct seal {
    u8 sender[8];
    u64 epoch;
    u64 counter[SEAL_LANE_COUNT]; /* last used */
    bool clear;
    u8 version_min, version_max;
    struct seal_windows *windows;
    size_t n_keys;
    struct {
        u32 id;
        struct seal_key key;
    } ring[LIMIT_MESH_KEYS];
};

const char *seal_drop_name(enum seal_drop d)
{
    static const char *const names[SEAL_DROP_COUNT] = {
        [SEAL_OK] = "ok",           [SEAL_SHORT] = "short",       [SEAL_LONG] = "long",
        [SEAL_VERSION] = "version", [SEAL_KEY] = "key",           [SEAL_LANE] = "lane",
        [SEAL_FORGED] = "forged",   [SEAL_REPLAYED] = "replayed", [SEAL_OWN] = "own",
    };
    assert(d < SEAL_DROP_COUNT);
    return names[d];
}

int seal_new(struct seal **out, const struct seal_options *opt)
{
    assert(opt->epoch > 0 && node_key_is_set(&opt->self));
    *out = NULL;
    struct seal *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    memcpy(s->sender, opt->self.bytes, sizeof(s->sender));
    s->epoch = opt->epoch;
    s->clear = opt->clear;
    s->version_min = opt->version_min ? opt->version_min : WIRE_VERSION_MIN;
    s->version_max = opt->version_max ? opt->version_max : WIRE_VERSION;
    assert(s->version_min <= s->version_max);
    if (seal_windows_new(&s->windows, opt->seed)) {
        free(s);
        return ERR_NOMEM;
    }
    *out = s;
    return 0;
}

void seal_del(struct seal *s)
{
    if (!s)
        return;
    seal_windows_del(s->windows);
    sodium_memzero(s->ring, sizeof(s->ring));
    free(s);
}

/* --- the ring -------------------------------------------------------------------------------- */

static void put_be(u8 *out, u64 v, unsigned bytes)
{
    for (unsigned i = bytes; i-- > 0; v >>= 8)
        out[i] = (u8)v;
}

static u64 get_be(const u8 *in, unsigned bytes)
{
    u64 v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | in[i];
    return v;
}

u32 seal_key_id(const struct seal_key *k)
{
    u8 hash[crypto_generichash_BYTES];
    crypto_generichash(hash, sizeof(hash), k->bytes, sizeof(k->bytes), NULL, 0);
    return (u32)get_be(hash, 4);
}

int seal_set_keys(struct seal *s, const struct seal_key *keys, size_t n)
{
    u32 ids[LIMIT_MESH_KEYS];
    if (n == 0 || n > LIMIT_MESH_KEYS)
        return ERR_INVAL;
    for (size_t i = 0; i < n; i++) {
        ids[i] = seal_key_id(&keys[i]);
        for (size_t j = 0; j < i; j++)
            if (ids[j] == ids[i])
                return ERR_INVAL;
    }
    sodium_memzero(s->ring, sizeof(s->ring));
    for (size_t i = 0; i < n; i++) {
        s->ring[i].key = keys[i];
        s->ring[i].id = ids[i];
    }
    s->n_keys = n;
    return 0;
}

size_t seal_keys(const struct seal *s, u32 ids[LIMIT_MESH_KEYS])
{
    for (size_t i = 0; i < s->n_keys; i++)
        ids[i] = s->ring[i].id;
    return s->n_keys;
}

static const struct seal_key *ring_find(const struct seal *s, u32 id)
{
    for (size_t i = 0; i < s->n_keys; i++)
        if (s->ring[i].id == id)
            return &s->ring[i].key;
    return NULL;
}

/* --- the cipher ------------------------------------------------------------------------------ */

/* Against accidents only: what the simulated network spoiled is told from what was sent. */
static void checksum(const u8 *head, const u8 *text, size_t len, u8 tag[TAG_BYTES])
{
    u64 h = 0x9e3779b97f4a7c15u ^ len;
    for (size_t i = 0; i < SEAL_HEAD; i++)
        h = (h ^ head[i]) * 0x100000001b3u;
    for (; len >= 8; text += 8, len -= 8) {
        u64 word;
        memcpy(&word, text, 8);
        h = (h ^ word) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    for (size_t i = 0; i < len; i++)
        h = (h ^ text[i]) * 0x100000001b3u;
    h ^= h >> 29;
    memset(tag, 0, TAG_BYTES);
    put_be(tag, h, 8);
}

size_t seal_close(struct seal *s, enum seal_lane lane, u8 version, const void *text, size_t len,
                  u8 *out)
{
    const u8 *in = text;
    assert(s->n_keys > 0 && lane < SEAL_LANE_COUNT);
    assert(len + SEAL_OVERHEAD <= LANE_BYTES[lane]);
    assert(version >= s->version_min && version <= s->version_max);
    u64 counter = ++s->counter[lane];
    assert(counter >> LANE_SHIFT == 0);
    out[0] = version;
    put_be(out + 1, s->ring[0].id, 4);
    memcpy(out + 5, s->sender, 8);
    put_be(out + 13, s->epoch, 8);
    put_be(out + 21, (u64)lane << LANE_SHIFT | counter, 8);
    u8 *body = out + SEAL_HEAD, *tag = body + len;
    assert(len == 0 || in == body || in + len <= out || in >= tag + TAG_BYTES);
    if (s->clear) {
        if (len > 0)
            memmove(body, in, len);
        checksum(out, body, len, tag);
    } else {
        crypto_aead_xchacha20poly1305_ietf_encrypt_detached(
            body, tag, NULL, in, len, out, SEAL_HEAD, NULL, out + 5, s->ring[0].key.bytes);
    }
    return len + SEAL_OVERHEAD;
}

u64 seal_counter(const struct seal *s, enum seal_lane lane)
{
    assert(lane < SEAL_LANE_COUNT);
    return s->counter[lane];
}

/* Is the tag right? Then `text` holds the plain text. */
static bool unlock(const struct seal *s, const struct seal_key *key, const u8 *in, size_t text_len,
                   u8 *text)
{
    const u8 *body = in + SEAL_HEAD, *tag = body + text_len;
    if (!s->clear)
        return crypto_aead_xchacha20poly1305_ietf_decrypt_detached(
                   text, NULL, body, text_len, tag, in, SEAL_HEAD, in + 5, key->bytes) == 0;
    u8 want[TAG_BYTES];
    checksum(in, body, text_len, want);
    if (memcmp(want, tag, TAG_BYTES) != 0)
        return false;
    if (text_len > 0 && text)
        memmove(text, body, text_len);
    return true;
}

enum seal_drop seal_open(struct seal *s, enum seal_lane lane, const u8 *in, size_t len, u8 *text,
                         struct seal_from *from)
{
    assert(lane < SEAL_LANE_COUNT);
    memset(from, 0, sizeof(*from));
    if (len < SEAL_OVERHEAD)
        return SEAL_SHORT;
    if (len > LANE_BYTES[lane])
        return SEAL_LONG;
    if (in[0] < s->version_min || in[0] > s->version_max)
        return SEAL_VERSION;
    u32 id = (u32)get_be(in + 1, 4);
    const struct seal_key *key = ring_find(s, id);
    if (!key)
        return SEAL_KEY;
    u64 counter = get_be(in + 21, 8);
    if (counter >> LANE_SHIFT != lane)
        return SEAL_LANE;
    size_t text_len = len - SEAL_OVERHEAD;
    assert(text ? text == in + SEAL_HEAD || text + text_len <= in || text >= in + len : s->clear);
    if (!unlock(s, key, in, text_len, text))
        return SEAL_FORGED;
    from->version = in[0];
    from->key_id = id;
    memcpy(from->sender, in + 5, 8);
    from->epoch = get_be(in + 13, 8);
    from->counter = counter & ((1ull << LANE_SHIFT) - 1);
    from->text_len = text_len;
    if (memcmp(from->sender, s->sender, 8) == 0)
        return SEAL_OWN;
    bool windowed = lane == SEAL_DATAGRAM || lane == SEAL_TALK;
    if (windowed &&
        !seal_windows_take(s->windows, from->sender, from->epoch, lane == SEAL_TALK, from->counter))
        return SEAL_REPLAYED;
    return SEAL_OK;
}

void seal_epoch_known(struct seal *s, const u8 sender[8], u64 epoch)
{
    seal_windows_proven(s->windows, sender, epoch);
}

void seal_warm(const struct seal *s, unsigned step, const u8 *in, size_t len)
{
    if (len >= SEAL_OVERHEAD)
        seal_windows_warm(s->windows, step, in + 5);
}

u64 seal_epoch(const struct seal *s)
{
    return s->epoch;
}

u64 seal_bytes(const struct seal *s)
{
    return sizeof(*s) + seal_windows_bytes(s->windows);
}
