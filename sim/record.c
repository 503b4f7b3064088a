/* record.c - see record.h. */
#include "sim/record_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sim/mem.h"
#include "sim/user.h"

int record_new(struct record **out, const char *dir, char why[256])
{
    char path[4096];
    if (mkdir(dir, 0777) && errno != EEXIST) {
        snprintf(why, 256, "%.180s: %s", dir, strerror(errno));
        return ERR_IO;
    }
    snprintf(path, sizeof(path), "%s/events.jsonl", dir);
    FILE *f = fopen(path, "we");
    if (!f) {
        snprintf(why, 256, "%.180s: %s", path, strerror(errno));
        return ERR_IO;
    }
    *out = mem_new(1, sizeof(**out));
    (*out)->file = f;
    (*out)->page = page_new();
    return 0;
}

int record_del(struct record *r)
{
    int rc = ferror(r->file);
    rc |= fclose(r->file);
    page_del(r->page);
    free(r->got_bytes);
    free(r);
    return rc ? ERR_IO : 0;
}

/* One line: its time, its name, and what `format` adds. */
__attribute__((format(printf, 4, 5))) static void line(struct record *r, u64 now_ns,
                                                       const char *what, const char *format, ...)
{
    if (!r)
        return;
    fprintf(r->file, "{\"t\":%.6f,\"e\":\"%s\"", (double)now_ns / 1e9, what);
    va_list args;
    va_start(args, format);
    vfprintf(r->file, format, args);
    va_end(args);
    fputs("}\n", r->file);
}

void record_run(struct record *r, const struct world *w)
{
    line(r, 0, "run", ",\"scenario\":\"%s\",\"seed\":%" PRIu64 ",\"nodes\":%" PRIu32,
         w->scenario->name, w->engine.seed, w->n);
    for (size_t i = 0; r && i < w->topology.n_offices; i++) {
        const struct topology_office *o = &w->topology.offices[i];
        line(r, 0, "office",
             ",\"office\":%zu,\"name\":\"%s\",\"region\":\"%s\",\"first\":%u,\"nodes\":%u"
             ",\"racks\":%u,\"wan_up\":%" PRIu64 ",\"wan_down\":%" PRIu64,
             i, o->name, w->topology.regions[o->region], o->first, o->nodes, o->racks,
             o->wan_up_bps, o->wan_down_bps);
    }
    paged_run(r, w);
}

void record_node(struct record *r, u64 now_ns, const char *what, u32 node)
{
    line(r, now_ns, what, ",\"node\":%u", node);
    paged_node(r, now_ns, what, node);
}

void record_view(struct record *r, u64 now_ns, const char *what, u32 by, u32 node)
{
    line(r, now_ns, what, ",\"by\":%u,\"node\":%u", by, node);
}

void record_fault(struct record *r, u64 now_ns, const struct fault *f)
{
    line(r, now_ns, "fault", ",\"kind\":\"%s\",\"node\":%u,\"for\":%.6f,\"amount\":%" PRId64,
         fault_name(f->kind), f->node, (double)f->for_ns / 1e9, (i64)f->amount);
    paged_fault(r, now_ns, f);
}

void record_fetch_begins(struct record *r, u64 now_ns, u32 node, u32 layer, u64 bytes)
{
    line(r, now_ns, "fetch", ",\"node\":%u,\"layer\":%u,\"bytes\":%" PRIu64, node, layer, bytes);
}

void record_fetch_ends(struct record *r, u64 now_ns, const struct fetch *f, int err)
{
    line(r, now_ns, "fetched",
         ",\"node\":%u,\"layer\":%u,\"took\":%.6f,\"peer\":%" PRIu64 ",\"registry\":%" PRIu64
         ",\"outcome\":\"%s\"",
         f->node, f->layer, (double)(now_ns - f->begun_ns) / 1e9, f->peer_bytes, f->registry_bytes,
         err ? err_name(err) : "worked");
    paged_fetch_ends(r, now_ns, f, err);
}

void record_request(struct record *r, u64 now_ns, const struct fetch *f,
                    const struct fetch_request *q, const char *outcome)
{
    line(r, now_ns, "request",
         ",\"node\":%u,\"layer\":%u,\"from\":%" PRId64 ",\"since\":%.6f,\"bytes\":%" PRIu64
         ",\"outcome\":\"%s\"",
         f->node, f->layer, q->server == FETCH_REGISTRY ? (i64)-1 : (i64)q->server,
         (double)q->asked_ns / 1e9, q->taken, outcome);
    paged_request(r, now_ns, f, q, outcome);
}

void record_pull_ends(struct record *r, u64 now_ns, u32 node, u32 image, u64 took_ns, u32 failed)
{
    line(r, now_ns, "pull", ",\"node\":%u,\"image\":%u,\"took\":%.6f,\"failed\":%u", node, image,
         (double)took_ns / 1e9, failed);
    paged_pull_ends(r, now_ns, took_ns);
}

void record_user_pull(struct record *r, u64 now_ns, const struct user_pull *p, u64 took_ns)
{
    line(r, now_ns, "pull", ",\"user\":%u,\"office\":%u,\"image\":%u,\"took\":%.6f,\"failed\":%u",
         p->user, p->office, p->image, (double)took_ns / 1e9, p->failed);
    paged_pull_ends(r, now_ns, took_ns);
}

void record_served(struct record *r, u64 now_ns, const struct user_pull *p,
                   const struct user_want *v, bool worked)
{
    if (!r)
        return;
    bool centre = v->member >= r->world->n;
    line(r, now_ns, "served",
         ",\"user\":%u,\"office\":%u,\"layer\":%u,\"by\":%" PRId64
         ",\"tracker\":%u,\"why\":\"%s\",\"since\":%.6f,\"bytes\":%" PRIu64
         ",\"tries\":%u,\"outcome\":\"%s\"",
         p->user, p->office, v->layer, centre ? (i64)-1 : (i64)v->member, v->tracker,
         v->answer.by ? v->answer.by : "", (double)v->begun_ns / 1e9, v->bytes, v->tries,
         worked ? "worked" : "failed");
}

void record_known(struct record *r, u64 now_ns, u32 node, u64 most_ns, u64 all_ns)
{
    line(r, now_ns, "known", ",\"node\":%u,\"most\":%.6f,\"all\":%.6f", node, (double)most_ns / 1e9,
         (double)all_ns / 1e9);
}

void record_death_known(struct record *r, u64 now_ns, u32 node, u64 took_ns)
{
    line(r, now_ns, "death_known", ",\"node\":%u,\"took\":%.6f", node, (double)took_ns / 1e9);
}

void record_phase(struct record *r, u64 now_ns, const char *phase)
{
    line(r, now_ns, "phase", ",\"phase\":\"%s\"", phase);
    paged_phase(r, now_ns, phase);
}

void record_broken(struct record *r, u64 now_ns, const char *invariant, const char *why)
{
    line(r, now_ns, "broken", ",\"invariant\":\"%s\",\"why\":\"%s\"", invariant, why);
    paged_broken(r, now_ns, invariant, why);
}

void record_second(struct record *r, u64 now_ns, const struct record_second *s)
{
    line(r, now_ns, "second",
         ",\"mesh_bytes\":%" PRIu64 ",\"peer_bytes\":%" PRIu64 ",\"registry_bytes\":%" PRIu64
         ",\"up\":%u,\"paused\":%u,\"alive_least\":%u,\"alive_most\":%u,\"alive_mean\":%.2f"
         ",\"requests\":%" PRIu64 ",\"hits\":%" PRIu64 ",\"fetches\":%" PRIu64 ",\"pulls\":%" PRIu64
         ",\"false_dead\":%" PRIu64 ",\"served\":%" PRIu64 ",\"served_own\":%" PRIu64,
         s->mesh_bytes, s->peer_bytes, s->registry_bytes, s->up, s->paused, s->least_alive,
         s->most_alive, s->mean_alive, s->requests, s->hits, s->fetches, s->pulls, s->false_dead,
         s->served, s->served_own);
    paged_second(r, now_ns, s);
}

void record_wan(struct record *r, u64 now_ns, u32 office, u64 up_bytes, u64 down_bytes)
{
    line(r, now_ns, "wan", ",\"office\":%u,\"up\":%" PRIu64 ",\"down\":%" PRIu64, office, up_bytes,
         down_bytes);
}
