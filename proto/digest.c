/* digest.c - reading, writing and comparing the names of blobs.
 *
 * The text form comes from request paths, manifests, peers and file names, all of them hostile, so
 * the reader accepts exactly one spelling per digest: lower-case hex of the exact length. A second
 * spelling of the same blob would be a second cache entry, and a way around a decision made on the
 * first. Grammar: OCI image-spec descriptor.md, "Digests":
 *
 *     digest    ::= algorithm ":" encoded
 *     algorithm ::= component ([+._-] component)*      component ::= [a-z0-9]+
 *     encoded   ::= [a-zA-Z0-9=_-]+
 *
 * Nothing is allocated; nothing is kept. */
#include "proto/digest.h"

#include <assert.h>
#include <string.h>

#include <sodium/crypto_shorthash.h>

#include "proto/err.h"

static_assert(sizeof(struct digest) == 1 + DIGEST_BYTES_MAX, "no padding: hashed as plain bytes");

size_t digest_size(enum digest_alg alg)
{
    switch (alg) {
    case DIGEST_NONE: return 0;
    case DIGEST_SHA256: return 32;
    case DIGEST_SHA512: return 64;
    }
    return 0;
}

const char *digest_alg_name(enum digest_alg alg)
{
    switch (alg) {
    case DIGEST_NONE: break;
    case DIGEST_SHA256: return "sha256";
    case DIGEST_SHA512: return "sha512";
    }
    return "none";
}

static bool is_lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool algorithm_valid(const char *text, size_t len)
{
    bool component = false; /* the current component has a character */
    for (size_t i = 0; i < len; i++) {
        if (is_lower_or_digit(text[i])) {
            component = true;
            continue;
        }
        bool separator = text[i] == '+' || text[i] == '.' || text[i] == '_' || text[i] == '-';
        if (!separator || !component)
            return false;
        component = false;
    }
    return component;
}

static bool encoded_valid(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        bool upper = c >= 'A' && c <= 'Z';
        if (!is_lower_or_digit(c) && !upper && c != '=' && c != '_' && c != '-')
            return false;
    }
    return len > 0;
}

static enum digest_alg algorithm_find(const char *text, size_t len)
{
    static const enum digest_alg known[] = {DIGEST_SHA256, DIGEST_SHA512};
    for (size_t i = 0; i < countof(known); i++) {
        const char *name = digest_alg_name(known[i]);
        if (len == strlen(name) && memcmp(text, name, len) == 0)
            return known[i];
    }
    return DIGEST_NONE;
}

/* Lower case only: the spec says encoders MUST write it and decoders may hold them to it. */
static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

int digest_parse(struct digest *d, const char *text, size_t len)
{
    assert(d && (text || len == 0));
    *d = (struct digest){0};
    const char *colon = len ? memchr(text, ':', len) : NULL;
    if (!colon)
        return ERR_INVAL;
    size_t name_len = (size_t)(colon - text);
    const char *hex = colon + 1;
    size_t hex_len = len - name_len - 1;
    if (!algorithm_valid(text, name_len) || !encoded_valid(hex, hex_len))
        return ERR_INVAL;

    enum digest_alg alg = algorithm_find(text, name_len);
    if (alg == DIGEST_NONE)
        return ERR_UNSUPPORTED;
    if (hex_len != 2 * digest_size(alg))
        return ERR_INVAL;
    struct digest read = {.alg = (u8)alg};
    for (size_t i = 0; i < hex_len; i += 2) {
        int high = hex_value(hex[i]), low = hex_value(hex[i + 1]);
        if (high < 0 || low < 0)
            return ERR_INVAL;
        read.bytes[i / 2] = (u8)(high << 4 | low);
    }
    *d = read;
    return 0;
}

size_t digest_format_hex(const struct digest *d, char text[DIGEST_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    size_t size = digest_size((enum digest_alg)d->alg);
    assert(size > 0);
    for (size_t i = 0; i < size; i++) {
        text[2 * i] = digits[d->bytes[i] >> 4];
        text[2 * i + 1] = digits[d->bytes[i] & 15];
    }
    text[2 * size] = '\0';
    return 2 * size;
}

size_t digest_format(const struct digest *d, char text[DIGEST_TEXT_SIZE])
{
    const char *name = digest_alg_name((enum digest_alg)d->alg);
    size_t name_len = strlen(name);
    char hex[DIGEST_TEXT_SIZE];
    size_t hex_len = digest_format_hex(d, hex);
    assert(name_len + 1 + hex_len < DIGEST_TEXT_SIZE);
    memcpy(text, name, name_len);
    text[name_len] = ':';
    memcpy(text + name_len + 1, hex, hex_len + 1);
    return name_len + 1 + hex_len;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
    return a->alg == b->alg && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* SipHash-2-4 over the algorithm and the whole hash. Taking the leading bytes alone would be enough
 * for honest digests, but a peer may announce any bytes it likes, equal at the front. */
u64 digest_hash(const struct digest *d, u64 seed)
{
    unsigned char key[crypto_shorthash_KEYBYTES], out[crypto_shorthash_BYTES];
    static_assert(sizeof key == 16 && sizeof out == 8, "SipHash-2-4");
    u64 other = seed * 0x9e3779b97f4a7c15ull + 1; /* the key's second half, from the one seed */
    for (unsigned i = 0; i < 8; i++) {
        key[i] = (unsigned char)(seed >> (8 * i));
        key[8 + i] = (unsigned char)(other >> (8 * i));
    }
    crypto_shorthash(out, (const unsigned char *)d, sizeof *d, key);
    u64 hash = 0;
    for (unsigned i = 0; i < 8; i++)
        hash |= (u64)out[i] << (8 * i);
    return hash;
}
