/* Any bytes as the store's file of what was purged: what is read is in the future, within its
 * bounds, and is the same after it was written and read again. */
#include "store/purged.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/limits.h"

#define NOW_MS 1000

static void must(bool holds)
{
    if (!holds)
        abort();
}

struct sum {
    size_t n;
    u64 until_ms;
};

static void add(void *arg, const struct digest *d, u64 until_ms)
{
    struct sum *s = arg;
    must(until_ms > NOW_MS && digest_size(d->alg) > 0);
    s->n++;
    s->until_ms += until_ms;
}

static struct sum read_file(struct purged *p, const struct layout *l)
{
    struct sum s = {0};
    must(purged_init(p, l, 7, NOW_MS) == 0);
    purged_each(p, NOW_MS, add, &s);
    must(s.n <= LIMIT_PURGES);
    return s;
}

static char dir[] = "/tmp/dray-fuzz-XXXXXX";
static struct layout l;

static void clean(void)
{
    unlinkat(l.root_fd, "purged", 0);
    rmdir(dir);
}

static void begin(void)
{
    must(mkdtemp(dir) != NULL);
    l.root_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(l.root_fd > 0 && atexit(clean) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct digest d = {.alg = DIGEST_SHA256};
    struct purged p;
    if (l.root_fd == 0)
        begin();
    int fd = openat(l.root_fd, "purged", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, data, size) == (ssize_t)size && close(fd) == 0);
    struct sum first = read_file(&p, &l);
    bool full = first.n == LIMIT_PURGES;
    int rc = purged_set(&p, &d, NOW_MS, NOW_MS + 1);
    must(rc == 0 || full);
    purged_fini(&p);
    struct sum again = read_file(&p, &l);
    must(full || again.n == first.n + 1 || again.n == first.n);
    must(purged_until(&p, &d, NOW_MS) > NOW_MS || full);
    purged_fini(&p);
    return 0;
}
