/* self.c - see self.h. Files are replaced whole: written aside, synced, renamed, and the folder
 * synced. */
#include "runtime/self.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/check.h"
#include "runtime/keyfile.h"
#include "runtime/log.h"

#define PATH_SIZE   4096
#define KEY_FILE    "node.key"
#define EPOCHS_FILE "epochs"
/* A clock cannot say more: 10889 AD. What is beyond stands in a damaged file. */
#define EPOCH_MAX (1ull << 48)

static bool path_of(char path[PATH_SIZE], const char *dir, const char *name)
{
    return snprintf(path, PATH_SIZE, "%s/%s", dir, name) < PATH_SIZE;
}

static bool write_synced(int fd, const char *text)
{
    size_t len = strlen(text);
    errno = ENOSPC; /* what a short write means */
    return write(fd, text, len) == (ssize_t)len && fsync(fd) == 0;
}

static int replace(const char *dir, const char *name, const char *text)
{
    char aside[64];
    int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return ERR_IO;
    snprintf(aside, sizeof(aside), "%s.tmp", name);
    unlinkat(root, aside, 0); /* of a start that was cut short, perhaps of another mode */
    int fd = openat(root, aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool good = fd >= 0 && write_synced(fd, text) && renameat(root, aside, root, name) == 0 &&
                fsync(root) == 0;
    int saved = errno;
    if (fd >= 0)
        close(fd);
    close(root);
    errno = saved;
    return good ? 0 : ERR_IO;
}

/* --- the key --------------------------------------------------------------------------------- */

static int make_key(struct self *s, const char *dir, char why[CONF_WHY_MAX])
{
    char base64[sodium_base64_ENCODED_LEN(sizeof(s->seed), sodium_base64_VARIANT_ORIGINAL)];
    char line[sizeof(base64) + 8];
    randombytes_buf(s->seed, sizeof(s->seed));
    sodium_bin2base64(base64, sizeof(base64), s->seed, sizeof(s->seed),
                      sodium_base64_VARIANT_ORIGINAL);
    snprintf(line, sizeof(line), "node:%s\n", base64);
    int rc = replace(dir, KEY_FILE, line);
    if (rc)
        snprintf(why, CONF_WHY_MAX, "%.300s/" KEY_FILE " cannot be made: %s", dir, strerror(errno));
    sodium_memzero(base64, sizeof(base64));
    sodium_memzero(line, sizeof(line));
    s->made = rc == 0;
    return rc;
}

static int read_key(struct self *s, const char *path, char why[CONF_WHY_MAX])
{
    struct keyfile_key keys[KEYFILE_KEYS];
    char text[KEYFILE_MAX], reason[CONF_WHY_MAX];
    size_t n = 0;
    unsigned line;
    const char *bad = check_private_file(path, reason);
    if (!bad && (conf_secret(path, text, sizeof(text), reason) ||
                 keyfile_parse(text, sizeof(s->seed), keys, &n, &line) || n != 1))
        bad = "is damaged; restore it from a backup, or remove it: the node then is a new one to "
              "its region";
    if (bad)
        snprintf(why, CONF_WHY_MAX, "%.300s %.200s", path, bad);
    else
        memcpy(s->seed, keys[0].bytes, sizeof(s->seed));
    sodium_memzero(keys, sizeof(keys));
    sodium_memzero(text, sizeof(text));
    return bad ? ERR_INVAL : 0;
}

/* --- epochs ---------------------------------------------------------------------------------- */

static u64 epoch_of(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    char *end;
    if (!at || (at != text && at[-1] != '\n'))
        return 0;
    at += strlen(name);
    if (*at < '0' || *at > '9')
        return 0;
    u64 v = strtoull(at, &end, 10);
    return *end == '\n' && v <= EPOCH_MAX ? v : 0;
}

static void read_epochs(const char *dir, u64 *boot, u64 *inventory)
{
    char path[PATH_SIZE], text[128] = "";
    *boot = *inventory = 0;
    int fd = path_of(path, dir, EPOCHS_FILE)
                 ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
                 : -1;
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    bool there = fd >= 0 || errno != ENOENT;
    if (fd >= 0)
        close(fd);
    if (n > 0) {
        text[n] = 0;
        *boot = epoch_of(text, "boot ");
        *inventory = epoch_of(text, "inventory ");
    }
    if (there && (*boot == 0 || *inventory == 0))
        log_warn("%s cannot be read: the clock alone says what is new; if it went back, peers "
                 "will not hear this node until it has caught up",
                 path);
}

static u64 next(u64 persisted, u64 wall_ms)
{
    return 1 + (persisted > wall_ms ? persisted : wall_ms);
}

int self_save_epochs(const char *dir, u64 boot, u64 inventory)
{
    char text[128];
    snprintf(text, sizeof(text), "boot %" PRIu64 "\ninventory %" PRIu64 "\n", boot, inventory);
    return replace(dir, EPOCHS_FILE, text);
}

int self_load(struct self *s, const char *dir, u64 wall_ms, char why[CONF_WHY_MAX])
{
    char path[PATH_SIZE];
    struct node_secret secret;
    u64 boot, inventory;
    memset(s, 0, sizeof(*s));
    if (!path_of(path, dir, KEY_FILE)) {
        snprintf(why, CONF_WHY_MAX, "store.path is too long");
        return ERR_INVAL;
    }
    int rc = access(path, F_OK) == 0 ? read_key(s, path, why) : make_key(s, dir, why);
    if (rc)
        return rc;
    identity_from_seed(s->seed, &s->key, &secret);
    sodium_memzero(&secret, sizeof(secret));
    read_epochs(dir, &boot, &inventory);
    s->boot_epoch = next(boot, wall_ms);
    s->inventory_epoch = next(inventory, wall_ms);
    rc = self_save_epochs(dir, s->boot_epoch, s->inventory_epoch);
    if (rc)
        snprintf(why, CONF_WHY_MAX, "%.300s/" EPOCHS_FILE " cannot be written: %s", dir,
                 strerror(errno));
    return rc;
}
