/* keyfile.h - the key files of a region: made by `keygen`, read by daemons.
 *
 * A file holds lines "id:base64"; the first line's key is the one in use, all of them are accepted,
 * so that keys can be exchanged one step at a time. An id is 1 to 16 of [0-9a-z]; blank lines and
 * lines with # are skipped. mesh key       32 random bytes, the same on every node of a region;
 * secret ticket key     Ed25519 secret key (64 bytes, libsodium's form), the tracker's; secret
 *   tracker key    its public half (32 bytes), for the nodes */
#pragma once

#include "proto/err.h"

#define KEYFILE_MAX       4096 /* bytes of a key file */
#define KEYFILE_KEYS      16   /* lines of one */
#define KEYFILE_ID_MAX    16
#define KEYFILE_MESH      32
#define KEYFILE_TICKET    64
#define KEYFILE_TRACKER   32
#define KEYFILE_BYTES_MAX 64

struct keyfile_key {
    char id[KEYFILE_ID_MAX + 1];
    u8 bytes[KEYFILE_BYTES_MAX]; /* the first `key_bytes` count */
};

/* Reads the text of a key file. `*line` is where it went wrong (1-based). ERR_INVAL: a line that is
 * no key of that length, or no key at all; ERR_EXISTS: an id twice; ERR_FULL: too many. Wipe `keys`
 * with sodium_memzero when done. */
must_use int keyfile_parse(const char *text, size_t key_bytes,
                           struct keyfile_key keys[KEYFILE_KEYS], size_t *n, unsigned *line);
