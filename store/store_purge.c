/* store_purge.c - what the store keeps out, and whom it tells of changes.
 *
 * A purge is remembered before the blob is removed, and opening removes what is held in spite of
 * it: whatever happens between, a purge that was said to be done is. */
#include "store/store_state.h"

#include <string.h>

void store_observe(struct store *s,
                   void (*changed)(void *arg, const struct blob_info *b, bool held), void *arg)
{
    s->changed = changed;
    s->changed_arg = arg;
}

void store_tell(struct store *s, const struct blob_info *b, bool held)
{
    if (s->changed)
        s->changed(s->changed_arg, b, held);
}

int store_purge(struct store *s, const struct digest *d, u64 now_ms, u64 until_ms, bool *removed)
{
    int rc = purged_set(&s->purged, d, now_ms, until_ms);
    if (removed)
        *removed = false;
    if (rc)
        return rc;
    struct store_partial *p = store_partial_find(s, d);
    if (p)
        store_partial_drop(s, p);
    rc = store_remove(s, d);
    if (removed)
        *removed = rc == 0;
    return rc == ERR_NOTFOUND ? 0 : rc;
}

u64 store_purged_until(const struct store *s, const struct digest *d, u64 now_ms)
{
    return purged_until(&s->purged, d, now_ms);
}

void store_each_purged(const struct store *s, u64 now_ms,
                       void (*each)(void *arg, const struct digest *d, u64 until_ms), void *arg)
{
    purged_each(&s->purged, now_ms, each, arg);
}

static void remove_held(void *arg, const struct digest *d, u64 until_ms)
{
    struct store *s = arg;
    (void)until_ms;
    (void)!store_remove(s,
                        d); /* usually not there; what fails is tried again by the next opening */
}

void store_purge_again(struct store *s)
{
    purged_each(&s->purged, s->now_ms, remove_held, s);
}
