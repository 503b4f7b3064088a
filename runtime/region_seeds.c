/* region_seeds.c - whom to knock at, and which address is ours.
 *
 * Names are looked up by libuv's resolver threads, at the start, every minute or so (then the mesh
 * is told the wall clock, too), and every few seconds while one could not be resolved or nobody was
 * met: a seed may come up, or move, at any time. What a name was found to be stays until a later
 * look-up says otherwise. Addresses that are our own are left out, so that all nodes of a region
 * may have the same list. Members remembered from an earlier life (region_known.c) are knocked at
 * beside the seeds until somebody is met.
 *
 * Which address peers are told (advertise): the config's; else the one that is listened on; else,
 * listening on all of them, the one that the kernel would send from to the first seed, or, without
 * seeds, to anywhere. No packet is sent for this. */
#include <arpa/inet.h>
#include <netdb.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/region_impl.h"
#include "runtime/sockaddr.h"

#define AGAIN_MS      60000
#define AGAIN_SOON_MS 5000

static void round_over(struct region *r);

/* --- names ----------------------------------------------------------------------------------- */

static void name_init(struct region *r, struct region_name *n, const char *text)
{
    struct addr a;
    memset(n, 0, sizeof(*n));
    n->region = r;
    n->text = text;
    if (addr_parse(&a, text, strlen(text)) == 0) {
        n->numeric = true;
        n->found[0] = a;
        n->n_found = 1;
        return;
    }
    const char *colon = strrchr(text, ':'); /* the config was checked */
    snprintf(n->host, sizeof(n->host), "%.*s", (int)(colon - text), text);
    n->port = (u16)strtoul(colon + 1, NULL, 10);
}

static void name_take(struct region_name *n, const struct addrinfo *list)
{
    n->n_found = 0;
    for (const struct addrinfo *i = list; i && n->n_found < REGION_SEED_ADDRESSES; i = i->ai_next) {
        struct addr a;
        if (sockaddr_read(i->ai_addr, &a))
            continue;
        a.port = n->port;
        n->found[n->n_found++] = a;
    }
    n->failed = n->n_found == 0;
}

static void on_looked_up(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct region_name *n = container_of(request, struct region_name, request);
    struct region *r = n->region;
    n->running = false;
    r->looking--;
    if (status == 0)
        name_take(n, list);
    else
        n->failed = true;
    uv_freeaddrinfo(list);
    if (r->stopping)
        return;
    if (n->failed)
        log_warn("mesh: %s cannot be resolved: %s", n->text,
                 status ? uv_strerror(status) : "it has no address that can be used");
    if (r->looking == 0)
        round_over(r);
}

static void look_up(struct region *r, struct region_name *n)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM};
    if (!n->text || n->numeric || n->running)
        return;
    if (uv_getaddrinfo(r->opt.loop, &n->request, on_looked_up, n->host, NULL, &hints) != 0) {
        n->failed = true;
        return;
    }
    n->running = true;
    r->looking++;
}

/* --- our own address ------------------------------------------------------------------------- */

/* The address that the kernel would send from; connect() on UDP sends nothing. */
static bool route_from(const struct addr *to, struct addr *from)
{
    union sockaddr_any a;
    socklen_t len = sockaddr_write(to, false, &a);
    int fd = socket(a.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    socklen_t own_len = sizeof(a);
    bool good = connect(fd, &a.sa, len) == 0 && getsockname(fd, &a.sa, &own_len) == 0 &&
                sockaddr_read(&a.sa, from) == 0;
    close(fd);
    return good;
}

static bool derive(struct region *r)
{
    struct addr somewhere[2] = {addr_v4(192, 0, 2, 1, 9), {.port = 9}}; /* RFC 5737 */
    const u8 documentation[] = {0x20, 0x01, 0x0d, 0xb8};                /* RFC 3849 */
    memcpy(somewhere[1].ip, documentation, sizeof(documentation));
    bool v6 = r->opt.config.listen[0] == '[';
    for (size_t i = 0; i < r->n_names; i++)
        for (size_t k = 0; k < r->names[i].n_found; k++)
            if ((v6 || addr_is_v4(&r->names[i].found[k])) &&
                route_from(&r->names[i].found[k], &r->address))
                goto found;
    if (!route_from(&somewhere[0], &r->address) && !(v6 && route_from(&somewhere[1], &r->address)))
        return false;
found:
    r->address.port = datagram_bound(r->udp).port;
    char text[ADDR_TEXT_SIZE];
    addr_format(&r->address, text);
    log_info("mesh: peers are told to come to %s, from where this machine reaches the %s; "
             "set `advertise` if that is not the address they can reach",
             text, r->n_names ? "seeds" : "network");
    return true;
}

/* Do we know our address now? */
static bool find_address(struct region *r)
{
    struct addr bound = datagram_bound(r->udp);
    if (r->advertise.text && r->advertise.n_found > 0) {
        r->address = r->advertise.found[0];
        if (r->address.port == 0)
            r->address.port = bound.port;
        return true;
    }
    if (r->advertise.text) {
        snprintf(r->waiting, sizeof(r->waiting), "advertise: %.200s cannot be resolved",
                 r->advertise.text);
        return false;
    }
    if (derive(r))
        return true;
    snprintf(r->waiting, sizeof(r->waiting),
             "no address to advertise was found: this machine has no route; set `advertise`");
    return false;
}

/* --- the seeds ------------------------------------------------------------------------------- */

/* Is it this machine, where our port is ours? */
static bool is_own(const struct region *r, const struct addr *a, const uv_interface_address_t *own,
                   int n_own)
{
    struct addr bound = datagram_bound(r->udp);
    struct addr any_v4 = addr_v4(0, 0, 0, 0, bound.port), any_v6 = {.port = bound.port};
    if (addr_equal(a, &r->address) || addr_equal(a, &bound))
        return true;
    if (a->port != bound.port || !(addr_equal(&bound, &any_v4) || addr_equal(&bound, &any_v6)))
        return false;
    if (addr_is_v4(a) && a->ip[12] == 127)
        return true;
    for (int i = 0; i < n_own; i++) {
        struct addr mine;
        if (sockaddr_read((const struct sockaddr *)&own[i].address, &mine) == 0 &&
            addr_same_ip(a, &mine))
            return true;
    }
    return false;
}

/* Adds it, unless it is there, or ourselves, or there is no room. */
static size_t take(const struct region *r, const struct addr *a, const uv_interface_address_t *own,
                   int n_own, struct addr out[LIMIT_SEEDS], size_t n)
{
    if (n == LIMIT_SEEDS || !addr_is_set(a) || is_own(r, a, own, n_own))
        return n;
    for (size_t j = 0; j < n; j++)
        if (addr_equal(&out[j], a))
            return n;
    out[n] = *a;
    return n + 1;
}

/* Those of the config, and until somebody is met those remembered. */
static size_t collect(struct region *r, struct addr out[LIMIT_SEEDS])
{
    uv_interface_address_t *own = NULL;
    int n_own = 0;
    size_t n = 0;
    if (uv_interface_addresses(&own, &n_own) != 0)
        n_own = 0;
    for (size_t i = 0; i < r->n_names; i++)
        for (size_t k = 0; k < r->names[i].n_found; k++)
            n = take(r, &r->names[i].found[k], own, n_own, out, n);
    for (size_t i = 0; i < r->n_known && !r->joined; i++)
        n = take(r, &r->known[i], own, n_own, out, n);
    if (n_own)
        uv_free_interface_addresses(own, n_own);
    return n;
}

static void tell_seeds(struct region *r)
{
    struct addr now[LIMIT_SEEDS];
    size_t n = collect(r, now);
    if (n == r->n_seeds && memcmp(now, r->seeds, n * sizeof(*now)) == 0)
        return;
    mesh_clear_seeds(r->mesh);
    for (size_t i = 0; i < n; i++)
        if (mesh_seed(r->mesh, &now[i]))
            log_warn("mesh: too many seeds: the first %zu count", i);
    memcpy(r->seeds, now, n * sizeof(*now));
    r->n_seeds = n;
    if (!r->tried_ms && n > 0)
        r->tried_ms = region_ms(r);
    region_kick(r);
}

static bool any_failed(const struct region *r)
{
    bool failed = r->advertise.failed;
    for (size_t i = 0; i < r->n_names; i++)
        failed |= r->names[i].failed;
    return failed;
}

static void start_round(struct region *r)
{
    r->looking++; /* the round is not over before all have begun */
    look_up(r, &r->advertise);
    for (size_t i = 0; i < r->n_names; i++)
        look_up(r, &r->names[i]);
    if (--r->looking == 0)
        round_over(r);
}

static void on_again(uv_timer_t *t)
{
    start_round(t->data);
}

/* With what is known now. */
static void go_on(struct region *r)
{
    if (!r->mesh && find_address(r))
        region_open(r);
    if (r->mesh) {
        mesh_clock(r->mesh, wall_ms());
        region_known_refresh(r);
        tell_seeds(r);
    }
}

static void round_over(struct region *r)
{
    go_on(r);
    if (!r->mesh)
        log_warn("mesh: %s", r->waiting);
    u64 soon = !r->mesh || any_failed(r) || (!r->joined && r->n_names > 0);
    u64 in_ms = soon ? AGAIN_SOON_MS : AGAIN_MS;
    uv_timer_start(&r->seeds_timer, on_again, in_ms + randombytes_uniform((u32)in_ms / 2), 0);
}

void region_seeds_start(struct region *r)
{
    const struct region_config *c = &r->opt.config;
    snprintf(r->waiting, sizeof(r->waiting), "names are being looked up");
    if (c->advertise)
        name_init(r, &r->advertise, c->advertise);
    for (size_t i = 0; i < c->n_seeds && r->n_names < LIMIT_SEEDS; i++)
        name_init(r, &r->names[r->n_names++], c->seeds[i]);
    if (r->advertise.numeric) /* nothing needs to wait for a name server but the names */
        go_on(r);
    start_round(r);
}

void region_seeds_stop(struct region *r)
{
    if (r->advertise.running)
        uv_cancel((uv_req_t *)&r->advertise.request);
    for (size_t i = 0; i < r->n_names; i++)
        if (r->names[i].running)
            uv_cancel((uv_req_t *)&r->names[i].request);
}
