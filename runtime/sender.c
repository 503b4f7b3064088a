/* sender.c - see sender.h.
 *
 * The kernel is the queue: to submit a job is to put its socket into the epoll set of a thread,
 * that with the fewest jobs. The thread gives each socket that can take bytes one turn, the kernel
 * going round among them; a full socket simply is not reported. Only what has ended crosses back,
 * under a lock.
 *
 * One set for all threads, with EPOLLONESHOT, was measured too: no faster, more system calls, and a
 * job that wanders between threads. */
#include "runtime/sender.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#define PROBE_STEP (64 * KIB) /* no read-ahead of the kernel is shorter */
#define EVENTS     16         /* told of at once */

struct sender {
    pthread_t thread;
    struct senders *set;
    int epoll;
    unsigned jobs; /* that it has. The loop's own */
};

struct senders {
    uv_async_t async;
    int stop;               /* an eventfd that becomes readable for all threads, for good */
    struct send_job *batch; /* ended, taken by the loop, `done` not yet run. The loop's own */
    unsigned out;           /* jobs whose `done` has not run. The loop's own */

    pthread_mutex_t lock;   /* guards `ended`: many threads put there what one loop takes */
    struct send_job *ended; /* newest first */

    void (*gone)(void *arg);
    void *gone_arg;
    unsigned n; /* threads that run */
    struct sender threads[SENDERS_MAX];
};

/* Corked, a socket sends full segments only: a third fewer packets over loopback. */
static void cork(int sock, int on)
{
    (void)setsockopt(sock, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
}

/* --- on a thread ----------------------------------------------------------------------------- */

/* False: reading that byte would wait for a disk. */
static bool in_memory(int file, u64 offset)
{
    char byte;
    struct iovec io = {&byte, 1};
    return preadv2(file, &io, 1, (off_t)offset, RWF_NOWAIT) >= 0 || errno != EAGAIN;
}

/* How much of the next `len` bytes to send at once; 0: the disk would be waited for. A file falls
 * out of memory, and is read into it, in long stretches: where the end of a turn is there, all of
 * it is taken to be; else the stretch that is there is measured. */
static size_t warm(const struct send_job *j, size_t len)
{
    if (in_memory(j->file, j->offset + len - 1))
        return len;
    size_t n = 0;
    while (n + PROBE_STEP < len && in_memory(j->file, j->offset + n + PROBE_STEP - 1))
        n += PROBE_STEP;
    return n;
}

/* Sends what the socket takes of one turn. True: the job has ended. */
static bool turn(struct send_job *j)
{
    size_t len = warm(j, j->left < SENDER_TURN_BYTES ? (size_t)j->left : SENDER_TURN_BYTES);
    off_t at = (off_t)j->offset;
    j->rc = ERR_AGAIN;
    if (len == 0)
        return true;
    ssize_t n = sendfile(j->sock, j->file, &at, len);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return false;
    if (n <= 0) {
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET || errno == ETIMEDOUT))
            j->rc = ERR_IO;
        return true;
    }
    j->offset += (u64)n;
    j->left -= (u64)n;
    atomic_fetch_add_explicit(&j->sent, (u64)n, memory_order_relaxed);
    j->rc = 0;
    return j->left == 0;
}

static void give_back(struct sender *t, struct send_job *j)
{
    struct senders *s = t->set;
    int rc = epoll_ctl(t->epoll, EPOLL_CTL_DEL, j->sock, NULL);
    assert(rc == 0);
    cork(j->sock, 0);
    pthread_mutex_lock(&s->lock);
    j->next = s->ended;
    s->ended = j;
    pthread_mutex_unlock(&s->lock);
    uv_async_send(&s->async);
}

static void *sender_thread(void *arg)
{
    struct sender *t = arg;
    struct epoll_event ev[EVENTS];
    pthread_setname_np(pthread_self(), "dray-send");
    for (;;) {
        int n = epoll_wait(t->epoll, ev, EVENTS, -1);
        assert(n > 0 || errno == EINTR);
        for (int i = 0; i < n; i++) {
            struct send_job *j = ev[i].data.ptr;
            if (!j)
                return NULL;
            if (turn(j))
                give_back(t, j);
        }
    }
}

/* --- on the loop ----------------------------------------------------------------------------- */

static void on_async(uv_async_t *async)
{
    struct senders *s = container_of(async, struct senders, async);
    struct send_job *j, *taken;
    pthread_mutex_lock(&s->lock);
    taken = s->ended;
    s->ended = NULL;
    pthread_mutex_unlock(&s->lock);
    for (; (j = taken); s->batch = j) { /* turned round: oldest first */
        taken = j->next;
        j->next = s->batch;
    }
    while ((j = s->batch)) { /* a `done` may call senders_del() */
        s->batch = j->next;
        s->threads[j->thread].jobs--;
        if (--s->out == 0)
            uv_unref((uv_handle_t *)&s->async);
        j->done(j);
    }
}

int senders_submit(struct senders *s, struct send_job *j)
{
    struct epoll_event ev = {.events = EPOLLOUT, .data.ptr = j};
    assert(j->left > 0 && j->done);
    j->thread = 0;
    for (unsigned i = 1; i < s->n; i++)
        if (s->threads[i].jobs < s->threads[j->thread].jobs)
            j->thread = i;
    j->next = NULL;
    j->rc = ERR_CANCELED;
    atomic_store_explicit(&j->sent, 0, memory_order_relaxed);
    cork(j->sock, 1);
    if (epoll_ctl(s->threads[j->thread].epoll, EPOLL_CTL_ADD, j->sock, &ev) != 0) {
        cork(j->sock, 0);
        return ERR_NOMEM;
    }
    s->threads[j->thread].jobs++;
    if (s->out++ == 0)
        uv_ref((uv_handle_t *)&s->async);
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct senders *s = container_of((uv_async_t *)handle, struct senders, async);
    void (*gone)(void *arg) = s->gone;
    void *arg = s->gone_arg;
    free(s);
    if (gone)
        gone(arg);
}

void senders_del(struct senders *s, void (*gone)(void *arg), void *arg)
{
    s->gone = gone;
    s->gone_arg = arg;
    s->batch = NULL;
    if (s->stop >= 0)
        (void)eventfd_write(s->stop, 1);
    for (; s->n > 0; s->n--) {
        pthread_join(s->threads[s->n - 1].thread, NULL);
        close(s->threads[s->n - 1].epoll);
    }
    if (s->stop >= 0)
        close(s->stop);
    pthread_mutex_destroy(&s->lock);
    uv_close((uv_handle_t *)&s->async, on_closed);
}

static int start_thread(struct senders *s)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    struct sender *t = &s->threads[s->n];
    t->set = s;
    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (t->epoll < 0)
        return ERR_FULL;
    if (epoll_ctl(t->epoll, EPOLL_CTL_ADD, s->stop, &ev) != 0 ||
        pthread_create(&t->thread, NULL, sender_thread, t) != 0) {
        close(t->epoll);
        return ERR_NOMEM;
    }
    s->n++;
    return 0;
}

/* The threads take no signals: those are the loop's. */
static int start_threads(struct senders *s, unsigned threads)
{
    sigset_t all, before;
    int rc = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (s->n < threads && rc == 0)
        rc = start_thread(s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

int senders_new(struct senders **out, uv_loop_t *loop, unsigned threads)
{
    struct senders *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    if (uv_async_init(loop, &s->async, on_async) != 0) {
        free(s);
        return ERR_NOMEM;
    }
    /* It keeps the loop alive only while jobs are out. */
    uv_unref((uv_handle_t *)&s->async);
    pthread_mutex_init(&s->lock, NULL);
    if (threads == 0)
        threads = uv_available_parallelism();
    if (threads > SENDERS_MAX)
        threads = SENDERS_MAX;
    s->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = s->stop < 0 ? ERR_FULL : start_threads(s, threads);
    if (rc) {
        senders_del(s, NULL, NULL);
        return rc;
    }
    *out = s;
    return 0;
}
