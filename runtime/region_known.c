/* region_known.c - members lately known, kept with the store: who restarts while all its configured
 * seeds are down finds the region by them.
 *
 *   STORE/members   a wire array of addresses, REGION_KNOWN_MAX at most
 *
 * They are no more than hints where to knock: who answers there must hold the mesh key, like any
 * seed. So the file is not signed, and a wrong one costs some talks in vain. They are seeds until
 * the region is joined; those of the config are for good.
 *
 * While there is room, whoever comes up is added and the file is written at once; after that the
 * dead make room for the living once per round of look-ups. The last ones known stay, whatever
 * became of them. */
#include <stdlib.h>

#include "runtime/log.h"
#include "runtime/region_impl.h"

/* --- as bytes -------------------------------------------------------------------------------- */

size_t region_known_pack(const struct addr *known, size_t n, u8 *out, size_t cap)
{
    struct wire_out w;
    wire_out_init(&w, out, cap);
    wire_put_array(&w, (u32)n);
    for (size_t i = 0; i < n; i++)
        wire_put_addr(&w, &known[i]);
    return wire_full(&w) ? 0 : w.len;
}

static bool is_among(const struct addr *a, const struct addr *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (addr_equal(a, &list[i]))
            return true;
    return false;
}

size_t region_known_unpack(const u8 *data, size_t len, struct addr out[REGION_KNOWN_MAX])
{
    struct wire_in in;
    wire_in_init(&in, data, len);
    u32 said = wire_get_array(&in, REGION_KNOWN_MAX);
    size_t n = 0;
    for (u32 i = 0; i < said; i++) {
        struct addr a;
        wire_get_addr(&in, &a);
        if (!wire_ok(&in))
            break;
        if (addr_is_set(&a) && a.port != 0 && !is_among(&a, out, n))
            out[n++] = a;
    }
    return n;
}

/* --- read at the start ----------------------------------------------------------------------- */

void region_known_load(struct region *r)
{
    u8 data[REGION_KNOWN_BYTES];
    const char *dir = r->opt.config.dir;
    ssize_t len = region_file_read(dir, REGION_KNOWN_FILE, data, sizeof(data));
    r->n_known = len > 0 ? region_known_unpack(data, (size_t)len, r->known) : 0;
    if (len < 0 || (len > 0 && r->n_known == 0))
        log_warn("mesh: %s/" REGION_KNOWN_FILE " cannot be read: the seeds alone are tried", dir);
}

/* --- kept ------------------------------------------------------------------------------------ */

void region_known_add(struct region *r, const struct addr *a)
{
    if (r->n_known == REGION_KNOWN_MAX || is_among(a, r->known, r->n_known))
        return;
    r->known[r->n_known++] = *a;
    r->changed_known = true;
    region_save(r);
}

static bool next_living(const struct region *r, size_t *at, struct addr *a)
{
    struct member_view v;
    while (member_each(mesh_member(r->mesh), at, &v))
        if (v.state == MEMBER_ALIVE) {
            *a = v.record->addr;
            return true;
        }
    return false;
}

void region_known_refresh(struct region *r)
{
    bool lives[REGION_KNOWN_MAX] = {false};
    struct addr a;
    if (!r->mesh)
        return;
    for (size_t at = 0; next_living(r, &at, &a);)
        for (size_t i = 0; i < r->n_known; i++)
            lives[i] = lives[i] || addr_equal(&a, &r->known[i]);
    size_t free_at = 0;
    for (size_t at = 0; next_living(r, &at, &a);) {
        if (is_among(&a, r->known, r->n_known))
            continue;
        while (free_at < r->n_known && lives[free_at])
            free_at++;
        if (free_at == REGION_KNOWN_MAX)
            break;
        r->n_known += free_at == r->n_known;
        lives[free_at] = true;
        r->known[free_at] = a;
        r->changed_known = true;
    }
    region_save(r);
}
