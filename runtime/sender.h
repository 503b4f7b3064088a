/* sender.h - threads that send runs of a file over plain TCP sockets.
 *
 * Why: sendfile() is where a busy cache spends its time (on loopback it even does the receiver's
 * work), and one loop thread keeps but one core busy with it. The loop goes on owning all state; a
 * thread owns nothing but the job it holds: a socket, a stretch of a file, a count.
 *
 * Guarantees
 *   - from senders_submit() until `done` nobody else writes to the socket or polls it; `done` runs
 *     on the loop, once, never from inside senders_submit()
 *   - jobs get turns of SENDER_TURN_BYTES and are spread over the threads by number; a reader that
 *     takes nothing costs nothing
 *   - a page that is not in memory is not waited for but told (ERR_AGAIN), as far as the kernel
 *     says: of each turn the last one is asked for. A page that is missing before it, or a
 *     filesystem that cannot tell, makes one thread wait for the disk, never the loop
 *
 * A job cannot be taken back. shutdown(sock, SHUT_WR) from the loop makes it come soon: the thread
 * then finds the socket broken (ERR_IO).
 *
 * Not here: TLS, deadlines, what is sent (http_send.c). */
#pragma once

#include <stdatomic.h>
#include <uv.h>

#include "proto/err.h"
#include "proto/limits.h"

struct senders;

#define SENDER_TURN_BYTES (2 * MIB)
#define SENDERS_MAX       8

struct send_job {
    /* Set before senders_submit(); both descriptors stay open until `done`. */
    int sock; /* TCP, non-blocking */
    int file;
    u64 offset; /* of the file; moves on as bytes are sent */
    u64 left;   /* > 0 */
    void (*done)(struct send_job *j);
    /* For `done`. 0: all is sent. ERR_AGAIN: the file has no more without waiting for a disk, or at
     * all: read it to know. ERR_IO: the socket is broken. */
    int rc;
    /* Bytes sent so far: may be read at any time. */
    _Atomic u64 sent;
    struct send_job *next; /* this and `thread` are the senders' own */
    unsigned thread;
};

/* `threads` 0: one for each core, at most SENDERS_MAX. ERR_NOMEM, ERR_FULL (no descriptors); the
 * loop must run once more even then. */
must_use int senders_new(struct senders **out, uv_loop_t *loop, unsigned threads);
/* ERR_NOMEM (or too many watched sockets): nothing was begun. */
must_use int senders_submit(struct senders *s, struct send_job *j);
/* Ends the threads, waiting for the turn that each is in. From its return on no thread touches a
 * job and no `done` is called: jobs that are out are the caller's again. The memory goes when the
 * loop has closed the handle; then `gone` (may be NULL) is called. */
void senders_del(struct senders *s, void (*gone)(void *arg), void *arg);
