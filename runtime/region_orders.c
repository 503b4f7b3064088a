/* region_orders.c - between the mesh and the disk: what was purged, epochs.
 *
 *   DIR/orders   purge orders as they were signed, so that a region that was down as a whole, or
 *                  a node that was away, hears of them again: a wire array of
 *                  [digest, issuer, given at, until, signature]
 *
 * Files are written in the disk pool, from copies, one write at a time;
 * what changes meanwhile is written by the next. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/region_impl.h"

#define ORDER_BYTES_MAX                                                                            \
    (DIGEST_BYTES_MAX + NODE_KEY_BYTES + NODE_SIGNATURE_BYTES + 2 * 9 + 16) /* packed */
#define ORDERS_BYTES_MAX (LIMIT_PURGES * ORDER_BYTES_MAX + 8)
#define ORDERS_FILE      "orders"

/* --- orders, as bytes ------------------------------------------------------------------------ */

size_t region_orders_pack(const struct purge_order *orders, size_t n, u8 *out, size_t cap)
{
    struct wire_out w;
    wire_out_init(&w, out, cap);
    wire_put_array(&w, (u32)n);
    for (size_t i = 0; i < n; i++) {
        wire_put_array(&w, 6);
        wire_put_u64(&w, orders[i].digest.alg);
        wire_put_bin(&w, orders[i].digest.bytes, digest_size(orders[i].digest.alg));
        wire_put_key(&w, &orders[i].issuer);
        wire_put_u64(&w, orders[i].unix_ms);
        wire_put_u64(&w, orders[i].until_ms);
        wire_put_bin(&w, orders[i].signature.bytes, sizeof(orders[i].signature.bytes));
    }
    assert(!wire_full(&w));
    return w.len;
}

static bool unpack_one(struct wire_in *in, struct purge_order *o)
{
    memset(o, 0, sizeof(*o));
    if (wire_get_array(in, 6) != 6)
        return false;
    o->digest.alg = (u8)wire_get_max(in, DIGEST_SHA512);
    if (!wire_ok(in) || digest_size(o->digest.alg) == 0)
        return false;
    wire_get_exact(in, o->digest.bytes, digest_size(o->digest.alg));
    wire_get_key(in, &o->issuer);
    o->unix_ms = wire_get_u64(in);
    o->until_ms = wire_get_u64(in);
    wire_get_exact(in, o->signature.bytes, sizeof(o->signature.bytes));
    return wire_ok(in);
}

size_t region_orders_unpack(const u8 *data, size_t len, struct purge_order *out, size_t max)
{
    struct wire_in in;
    wire_in_init(&in, data, len);
    u32 said = wire_get_array(&in, LIMIT_PURGES);
    size_t n = 0;
    while (wire_ok(&in) && n < said && n < max && unpack_one(&in, &out[n]))
        n++;
    return n;
}

/* --- orders, read at the start --------------------------------------------------------------- */

ssize_t region_file_read(const char *dir, const char *name, u8 *out, size_t cap)
{
    char path[4096];
    if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? 0 : -1;
    ssize_t n = read(fd, out, cap);
    close(fd);
    return n;
}

void region_orders_feed(struct region *r)
{
    u8 *data = malloc(ORDERS_BYTES_MAX);
    struct purge_order *orders = calloc(LIMIT_PURGES, sizeof(*orders));
    ssize_t len = data && orders
                      ? region_file_read(r->opt.config.dir, ORDERS_FILE, data, ORDERS_BYTES_MAX)
                      : -1;
    size_t n = len > 0 ? region_orders_unpack(data, (size_t)len, orders, LIMIT_PURGES) : 0;
    size_t refused = 0;
    mesh_clock(r->mesh, wall_ms()); /* orders are judged by it */
    for (size_t i = 0; i < n; i++) {
        int rc = mesh_import_purge(r->mesh, &orders[i]);
        refused += rc != 0 && rc != ERR_EXISTS;
    }
    if (len < 0 || (len > 0 && n == 0) || refused)
        log_warn("mesh: %s/" ORDERS_FILE " cannot be read in full: %zu purge orders of %zu count; "
                 "the others come from the members",
                 r->opt.config.dir, n - refused, n);
    free(orders);
    free(data);
}

/* --- what is written ------------------------------------------------------------------------- */

struct region_save {
    struct job job;
    struct region *region;
    char dir[4096];
    bool epochs;
    u64 boot_epoch, inventory_epoch;
    u8 *orders; /* NULL: not these */
    size_t len;
    u8 known[REGION_KNOWN_BYTES];
    size_t known_len; /* 0: not these */
    int rc;
};

static bool write_file(const char *dir, const char *name, const u8 *data, size_t len)
{
    char path[4096 + 32], aside[4096 + 32];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    snprintf(aside, sizeof(aside), "%s/%s.tmp", dir, name);
    int fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return false;
    bool good = write(fd, data, len) == (ssize_t)len && fsync(fd) == 0;
    good = close(fd) == 0 && good;
    return good && rename(aside, path) == 0;
}

static void save_work(struct job *j)
{
    struct region_save *s = container_of(j, struct region_save, job);
    if (s->epochs)
        s->rc = self_save_epochs(s->dir, s->boot_epoch, s->inventory_epoch);
    if (s->orders && !write_file(s->dir, ORDERS_FILE, s->orders, s->len))
        s->rc = ERR_IO;
    if (s->known_len && !write_file(s->dir, REGION_KNOWN_FILE, s->known, s->known_len))
        s->rc = ERR_IO;
}

static void save_done(struct job *j)
{
    struct region_save *s = container_of(j, struct region_save, job);
    struct region *r = s->region;
    r->saving = false;
    if (s->rc) {
        log_error(
            "mesh: %s: epochs, purge orders or known members cannot be written: check the disk",
            s->dir);
        r->changed_epochs |= s->epochs; /* the next change tries again, or the next look-up */
        r->changed_orders |= s->orders != NULL;
        r->changed_known |= s->known_len > 0;
    } else {
        region_save(r);
    }
    free(s->orders);
    free(s);
}

static bool copy_orders(const struct region *r, struct region_save *s)
{
    struct purge_order *orders = calloc(LIMIT_PURGES, sizeof(*orders));
    size_t n = 0, at = 0;
    s->orders = malloc(ORDERS_BYTES_MAX);
    if (orders && s->orders) {
        while (n < LIMIT_PURGES && mesh_each_purge(r->mesh, &at, &orders[n]))
            n++;
        s->len = region_orders_pack(orders, n, s->orders, ORDERS_BYTES_MAX);
    }
    bool good = orders && s->orders;
    free(orders);
    return good;
}

void region_save(struct region *r)
{
    bool changed = r->changed_orders || r->changed_epochs || r->changed_known;
    if (r->saving || r->stopping || !changed || !r->mesh)
        return;
    struct region_save *s = calloc(1, sizeof(*s));
    if (!s || (r->changed_orders && !copy_orders(r, s))) {
        if (s)
            free(s->orders);
        free(s);
        return; /* the next change tries again */
    }
    s->region = r;
    snprintf(s->dir, sizeof(s->dir), "%s", r->opt.config.dir);
    s->epochs = r->changed_epochs;
    s->boot_epoch = r->self.boot_epoch;
    s->inventory_epoch = r->self.inventory_epoch;
    if (r->changed_known)
        s->known_len = region_known_pack(r->known, r->n_known, s->known, sizeof(s->known));
    r->changed_orders = r->changed_epochs = r->changed_known = false;
    r->saving = true;
    s->job.work = save_work;
    s->job.done = save_done;
    pool_submit(r->opt.disk, &s->job);
}
