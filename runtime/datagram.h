/* datagram.h - UDP on the loop: one socket, bounded work, nothing queued.
 *
 * Why: the mesh speaks in datagrams that may be lost, so that what cannot be sent now is dropped
 * and counted, never queued: late news is worse than none. Receiving is in batches (recvmmsg), at
 * most some 50 in one turn of the loop; what comes faster waits in the kernel's buffer, and what
 * does not fit there is counted by the kernel. Larger ones than LIMIT_DATAGRAM_BYTES are dropped.
 *
 * Loop thread only. Memory is freed in the handle's close callback. */
#pragma once

#include <uv.h>

#include "proto/addr.h"
#include "proto/limits.h"

struct datagram;

struct datagram_options {
    uv_loop_t *loop;
    const char *listen; /* "0.0.0.0:5000", "[::]:5000" ([::] takes IPv4 too): numeric */
    u16 port;           /* in place of the one in `listen`; 0: that one */
    /* One came; borrowed for the call. */
    void (*came)(void *arg, const struct addr *from, const void *data, size_t len);
    /* The end of a batch: time to answer. */
    void (*batch)(void *arg);
    void *arg;
};

struct datagram_stats {
    u64 received, sent, bytes_received, bytes_sent;
    u64 too_long;    /* received, dropped */
    u64 foreign;     /* from an address that no peer can have (link-local, port 0) */
    u64 full;        /* not sent: the socket's buffer was full */
    u64 unreachable; /* not sent: no route, another family, forbidden */
    u64 overrun;     /* dropped by the kernel: we did not read fast enough */
};

/* Binds, and receives from the next turn of the loop on. `why` (256 bytes) says what to do.
 * ERR_BUSY (in use), ERR_INVAL, ERR_IO, ERR_NOMEM. */
must_use int datagram_new(struct datagram **out, const struct datagram_options *opt, char why[256]);
/* No callback any more; `gone` (may be NULL) when it is freed. */
void datagram_del(struct datagram *d, void (*gone)(void *arg), void *arg);

/* At once, or not at all: ERR_AGAIN (full), ERR_UNREACHABLE. Counted; the caller may forget it. */
int datagram_send(struct datagram *d, const struct addr *to, const void *data, size_t len);

void datagram_stats(struct datagram *d, struct datagram_stats *out);
/* Where it is bound. */
struct addr datagram_bound(const struct datagram *d);
