/* record_page.c - what is told of a run, as rows of its page; see record_impl.h. */
#include <string.h>

#include "sim/mem.h"
#include "sim/record_impl.h"

static double seconds(u64 ns)
{
    return (double)ns / 1e9;
}

struct page *record_take_page(struct record *r)
{
    struct page *page = r->page;
    r->page = NULL;
    return page;
}

void paged_run(struct record *r, const struct world *w)
{
    if (!r)
        return;
    r->world = w;
    r->got_bytes = mem_new(w->n, sizeof(*r->got_bytes));
    for (size_t i = 0; i < w->topology.n_offices; i++)
        page_office(r->page, w->topology.offices[i].name, w->topology.offices[i].nodes);
    page_trackers(r->page, (u32)w->k.trackers, (u32)w->topology.n_regions);
}

void paged_node(struct record *r, u64 now_ns, const char *what, u32 node)
{
    static const struct {
        const char *what;
        enum page_state state;
    } states[] = {{"up", PAGE_UP},
                  {"down", PAGE_DOWN},
                  {"leave", PAGE_DOWN},
                  {"pause", PAGE_PAUSED},
                  {"resume", PAGE_UP}};
    for (size_t i = 0; r && i < countof(states); i++)
        if (strcmp(what, states[i].what) == 0)
            page_row(r->page, PAGE_STATES,
                     (double[]){seconds(now_ns), node, (double)states[i].state});
}

/* An office behind a cut line is drawn so; other partitions have no place on the picture. */
static void paged_cut(struct record *r, u64 now_ns, const struct fault *f)
{
    const struct topology_office *o = &r->world->topology.offices[f->node];
    for (u32 i = o->first; i < o->first + o->nodes; i++) {
        page_row(r->page, PAGE_STATES, (double[]){seconds(now_ns), i, PAGE_CUT});
        page_row(r->page, PAGE_STATES, (double[]){seconds(now_ns + f->for_ns), i, PAGE_UP});
    }
}

void paged_fault(struct record *r, u64 now_ns, const struct fault *f)
{
    char text[120];
    if (!r)
        return;
    page_fault(r->page, seconds(now_ns), seconds(now_ns + f->for_ns), fault_name(f->kind));
    fault_print(f, text);
    const char *colon = strstr(text, ": "); /* the page has the time already */
    page_log(r->page, seconds(now_ns), colon ? colon + 2 : text);
    if (f->kind == FAULT_OFFICE_CUT)
        paged_cut(r, now_ns, f);
}

void paged_fetch_ends(struct record *r, u64 now_ns, const struct fetch *f, int err)
{
    if (!r || err)
        return;
    double source = f->peer_bytes >= f->registry_bytes ? 1 : 2;
    page_row(r->page, PAGE_LAYERS,
             (double[]){seconds(now_ns), seconds(now_ns - f->begun_ns), source});
    r->got_bytes[f->node] += f->peer_bytes + f->registry_bytes;
    page_row(r->page, PAGE_GAINED,
             (double[]){seconds(now_ns), f->node, (double)r->got_bytes[f->node]});
}

void paged_request(struct record *r, u64 now_ns, const struct fetch *f,
                   const struct fetch_request *q, const char *outcome)
{
    if (!r)
        return;
    double source = q->server == FETCH_REGISTRY ? -1 : (double)q->server;
    page_row(r->page, PAGE_FETCHES,
             (double[]){seconds(q->asked_ns), seconds(now_ns), f->node, source, (double)q->taken,
                        strcmp(outcome, "worked") == 0});
}

void paged_pull_ends(struct record *r, u64 now_ns, u64 took_ns)
{
    if (r)
        page_row(r->page, PAGE_PULLS, (double[]){seconds(now_ns), seconds(took_ns)});
}

void paged_phase(struct record *r, u64 now_ns, const char *phase)
{
    if (!r)
        return;
    if (strcmp(phase, "faults") == 0)
        page_log(r->page, seconds(now_ns), "the region stands; the run begins");
    else if (strcmp(phase, "healed") == 0)
        page_log(r->page, seconds(now_ns), "everything is mended; now all must agree");
    else if (strcmp(phase, "agreed") == 0)
        page_log(r->page, seconds(now_ns), "all agree");
}

void paged_broken(struct record *r, u64 now_ns, const char *invariant, const char *why)
{
    char text[PAGE_TEXT_MAX];
    if (!r)
        return;
    snprintf(text, sizeof(text), "BROKEN: %s: %s", invariant, why);
    page_log(r->page, seconds(now_ns), text);
}

void paged_second(struct record *r, u64 now_ns, const struct record_second *s)
{
    if (!r)
        return;
    double now_s = seconds(now_ns), dt = now_s - r->last_s;
    r->last_s = now_s;
    r->peer_bytes += s->peer_bytes;
    r->registry_bytes += s->registry_bytes;
    if (dt <= 0)
        return;
    u64 fetched = r->peer_bytes + r->registry_bytes;
    page_row(r->page, PAGE_SECONDS,
             (double[]){
                 now_s,
                 (double)s->peer_bytes / dt,
                 (double)s->registry_bytes / dt,
                 s->up ? (double)s->mesh_bytes / dt / s->up : 0,
                 s->requests ? (double)s->hits / (double)s->requests : 0,
                 fetched ? (double)r->peer_bytes / (double)fetched : 0,
                 s->up,
                 s->mean_alive,
                 s->least_alive,
                 s->most_alive,
                 s->served ? (double)s->served_own / (double)s->served : 0,
             });
}
