/* keygen.c - see keygen.h. New files are made with O_EXCL and their final mode: a key is never
 * overwritten, and never readable by others, not even for a moment. */
#include "node/keygen.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/keyfile.h"

#define ID_RANDOM   2 /* bytes: 4 hex characters tell the few keys of a region apart */
#define LINE_SIZE   (KEYFILE_ID_MAX + 1 + 96)
#define BASE64_KIND sodium_base64_VARIANT_ORIGINAL

static void format_line(char line[LINE_SIZE], const u8 id[ID_RANDOM], const u8 *key, size_t len)
{
    char hex[2 * ID_RANDOM + 1], text[96];
    static_assert(sizeof(text) >= sodium_base64_ENCODED_LEN(KEYFILE_BYTES_MAX, BASE64_KIND), "");
    sodium_bin2hex(hex, sizeof(hex), id, ID_RANDOM);
    sodium_bin2base64(text, sizeof(text), key, len, BASE64_KIND);
    snprintf(line, LINE_SIZE, "%s:%s\n", hex, text);
    sodium_memzero(text, sizeof(text));
}

/* Says on stderr what went wrong. */
static int write_new(const char *path, mode_t mode, const char *line)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0) {
        if (errno == EEXIST)
            fprintf(stderr,
                    "dray-node: %s is there already and is not overwritten; give another "
                    "name, or remove it\n",
                    path);
        else
            fprintf(stderr, "dray-node: %s cannot be made: %s\n", path, strerror(errno));
        return ERR_IO;
    }
    size_t len = strlen(line);
    bool good = fchmod(fd, mode) == 0 && write(fd, line, len) == (ssize_t)len && fsync(fd) == 0;
    int saved = errno;
    if (close(fd) != 0 && good) {
        saved = errno;
        good = false;
    }
    if (good)
        return 0;
    fprintf(stderr, "dray-node: %s cannot be written: %s\n", path, strerror(saved));
    unlink(path);
    return ERR_IO;
}

static int keygen_mesh(void)
{
    u8 id[ID_RANDOM], key[KEYFILE_MESH];
    char line[LINE_SIZE];
    randombytes_buf(id, sizeof(id));
    randombytes_buf(key, sizeof(key));
    format_line(line, id, key, sizeof(key));
    bool good = fputs(line, stdout) >= 0 && fflush(stdout) == 0;
    sodium_memzero(key, sizeof(key));
    sodium_memzero(line, sizeof(line));
    if (!good)
        fprintf(stderr, "dray-node: the key cannot be written: %s\n", strerror(errno));
    return good ? 0 : 1;
}

static int keygen_ticket(const char *key_path, const char *pub_path)
{
    static_assert(KEYFILE_TICKET == crypto_sign_SECRETKEYBYTES, "Ed25519 secret key");
    static_assert(KEYFILE_TRACKER == crypto_sign_PUBLICKEYBYTES, "Ed25519 public key");
    u8 id[ID_RANDOM], secret[KEYFILE_TICKET], public[KEYFILE_TRACKER];
    char line[LINE_SIZE];
    randombytes_buf(id, sizeof(id));
    crypto_sign_keypair(public, secret);

    format_line(line, id, secret, sizeof(secret));
    int rc = write_new(key_path, 0600, line);
    if (!rc) {
        format_line(line, id, public, sizeof(public));
        rc = write_new(pub_path, 0644, line);
        if (rc)
            unlink(key_path); /* half a pair is none */
    }
    sodium_memzero(secret, sizeof(secret));
    sodium_memzero(line, sizeof(line));
    if (rc)
        return 1;
    printf("%s  for the tracker alone (ticket_key)\n%s  for every node (tracker_key)\n", key_path,
           pub_path);
    return 0;
}

static int keygen_usage(FILE *to)
{
    fputs(
        "usage: dray-node keygen mesh                     prints a mesh key; keep it in a file of "
        "mode 0600\n"
        "       dray-node keygen ticket KEYFILE PUBFILE   makes a pair of files for tickets\n",
        to);
    return to == stdout ? 0 : 2;
}

int keygen_main(int argc, char **argv)
{
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return keygen_usage(stdout);
    if (sodium_init() < 0) {
        fputs("dray-node: no source of randomness\n", stderr);
        return 1;
    }
    if (argc == 2 && strcmp(argv[1], "mesh") == 0)
        return keygen_mesh();
    if (argc == 4 && strcmp(argv[1], "ticket") == 0 && argv[2][0] != '-' && argv[3][0] != '-')
        return keygen_ticket(argv[2], argv[3]);
    return keygen_usage(stderr);
}
