/* envelope.c - see envelope.h. */
#include "tracker/envelope.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#define VERSION 1
#define HEAD    (1 + ENVELOPE_NONCE)
#define SENDER  (LEDGER_ID_BYTES + ENVELOPE_BOOT)
#define AD_MAX  (16 + ENVELOPE_NONCE)

static_assert(sizeof(struct envelope_sender) == SENDER, "no padding");
static_assert(ENVELOPE_NONCE == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "the cipher's");
static_assert(ENVELOPE_OVERHEAD == HEAD + SENDER + crypto_aead_xchacha20poly1305_ietf_ABYTES,
              "the picture in the header");
static_assert(ENVELOPE_MAX <= LIMIT_HTTP_BODY_BYTES, "it is a request's body");

static size_t context(const u8 *answers, u8 ad[AD_MAX])
{
    static const char ask[] = "dray ask 1", answer[] = "dray answer 1";
    size_t n = answers ? sizeof(answer) : sizeof(ask);
    memcpy(ad, answers ? answer : ask, n);
    if (!answers)
        return n;
    memcpy(ad + n, answers, ENVELOPE_NONCE);
    return n + ENVELOPE_NONCE;
}

size_t envelope_seal(const struct envelope_keys *k, const struct envelope_sender *from,
                     const u8 *answers, const void *message, size_t len, u8 *out,
                     u8 nonce[ENVELOPE_NONCE])
{
    u8 ad[AD_MAX], *text = out + HEAD;
    unsigned long long n;
    assert(k->n > 0 && len <= LEDGER_BYTES_MAX);
    out[0] = VERSION;
    randombytes_buf(out + 1, ENVELOPE_NONCE);
    if (nonce)
        memcpy(nonce, out + 1, ENVELOPE_NONCE);
    memmove(text + SENDER, message, len);
    memcpy(text, from, SENDER);
    crypto_aead_xchacha20poly1305_ietf_encrypt(text, &n, text, SENDER + len, ad,
                                               context(answers, ad), NULL, out + 1, k->keys[0]);
    return HEAD + (size_t)n;
}

int envelope_open(const struct envelope_keys *k, const u8 *answers, const void *data, size_t len,
                  struct envelope_sender *from, u8 *out, size_t *out_len, u8 nonce[ENVELOPE_NONCE])
{
    const u8 *in = data;
    u8 ad[AD_MAX];
    unsigned long long n;
    *out_len = 0;
    if (len < ENVELOPE_OVERHEAD || len > ENVELOPE_MAX)
        return ERR_DENIED;
    if (in[0] != VERSION)
        return ERR_UNSUPPORTED;
    for (size_t i = 0; i < k->n; i++) {
        if (crypto_aead_xchacha20poly1305_ietf_decrypt(out, &n, NULL, in + HEAD, len - HEAD, ad,
                                                       context(answers, ad), in + 1,
                                                       k->keys[i]) != 0)
            continue;
        memcpy(from, out, SENDER);
        memmove(out, out + SENDER, (size_t)n - SENDER);
        *out_len = (size_t)n - SENDER;
        if (nonce)
            memcpy(nonce, in + 1, ENVELOPE_NONCE);
        return 0;
    }
    return ERR_DENIED;
}
