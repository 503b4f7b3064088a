/* http_chunk.c - see http_chunk.h. */
#include "runtime/http_chunk.h"

#include <assert.h>

/* 2^32 - 1 in eight digits is far beyond any body that is read here; leading zeros count, so that a
 * size cannot drip for ever. */
#define CHUNK_DIGITS_MAX 8

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static int chunk_size(struct http_chunk *c, char b)
{
    int digit = hex_digit(b);
    if (digit >= 0) {
        if (c->digits == CHUNK_DIGITS_MAX)
            return ERR_PROTO;
        c->digits++;
        c->left = c->left * 16 + (u64)digit;
        return 0;
    }
    if (b != '\r' || c->digits == 0)
        return ERR_PROTO;
    c->state = HTTP_CHUNK_SIZE_LF;
    return 0;
}

/* One byte of framing. */
static int chunk_byte(struct http_chunk *c, char b)
{
    switch (c->state) {
    case HTTP_CHUNK_SIZE: return chunk_size(c, b);
    case HTTP_CHUNK_SIZE_LF:
        if (b != '\n')
            return ERR_PROTO;
        c->state = c->left > 0 ? HTTP_CHUNK_DATA : HTTP_CHUNK_END_CR;
        return 0;
    case HTTP_CHUNK_DATA_CR:
        if (b != '\r')
            return ERR_PROTO;
        c->state = HTTP_CHUNK_DATA_LF;
        return 0;
    case HTTP_CHUNK_DATA_LF:
        if (b != '\n')
            return ERR_PROTO;
        c->state = HTTP_CHUNK_SIZE;
        c->digits = 0;
        return 0;
    case HTTP_CHUNK_END_CR:
        if (b != '\r')
            return ERR_PROTO;
        c->state = HTTP_CHUNK_END_LF;
        return 0;
    case HTTP_CHUNK_END_LF:
        if (b != '\n')
            return ERR_PROTO;
        c->state = HTTP_CHUNK_DONE;
        return 0;
    case HTTP_CHUNK_DATA:
    case HTTP_CHUNK_DONE: break;
    }
    assert(!"not a byte of framing");
    return ERR_PROTO;
}

int http_chunk_read(struct http_chunk *c, const char *in, size_t len, size_t *used,
                    const char **data, size_t *n)
{
    assert(c->state != HTTP_CHUNK_DONE);
    size_t i = 0;
    *data = NULL;
    *n = 0;
    while (i < len && c->state != HTTP_CHUNK_DONE) {
        if (c->state == HTTP_CHUNK_DATA) {
            *data = in + i;
            *n = len - i < c->left ? len - i : (size_t)c->left;
            c->left -= *n;
            i += *n;
            if (c->left == 0)
                c->state = HTTP_CHUNK_DATA_CR;
            break;
        }
        int rc = chunk_byte(c, in[i]);
        if (rc)
            return rc;
        i++;
    }
    *used = i;
    return 0;
}
