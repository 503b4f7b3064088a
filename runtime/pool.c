/* pool.c - see pool.h.
 *
 * Two lists behind one lock: `queue` (to do, first in first out) and `finished`. A thread that ends
 * a job puts it on `finished` and wakes the loop through a uv_async. The loop takes the whole
 * finished list at once and then needs no lock while it runs the callbacks; what they submit, or
 * what finishes meanwhile, is left to the next wake-up, so a chain of quick jobs cannot hold the
 * loop.
 *
 * The async handle keeps the loop alive only while jobs are pending. */
#include "runtime/pool.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define POOL_THREADS_MAX 256

struct job_list {
    struct job *first, *last;
};

struct pool {
    uv_async_t async;
    struct job_list batch; /* finished, taken by the loop, `done` not yet run. The loop's own */
    size_t pending;        /* the loop's own */

    pthread_mutex_t lock;      /* guards what follows */
    pthread_cond_t work_comes; /* threads wait here */
    pthread_cond_t work_ends;  /* pool_del() waits here */
    struct job_list queue, finished;
    bool stopping;

    char name[16]; /* the kernel's limit on thread names */
    unsigned n_threads;
    pthread_t threads[];
};

static void list_push(struct job_list *l, struct job *j)
{
    j->next = NULL;
    if (l->last != NULL)
        l->last->next = j;
    else
        l->first = j;
    l->last = j;
}

static struct job *list_pop(struct job_list *l)
{
    struct job *j = l->first;

    if (j == NULL)
        return NULL;
    l->first = j->next;
    if (l->first == NULL)
        l->last = NULL;
    j->next = NULL;
    return j;
}

static void *pool_thread(void *arg)
{
    struct pool *p = arg;
    struct job *j;

    pthread_setname_np(pthread_self(), p->name);
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while ((j = list_pop(&p->queue)) == NULL && !p->stopping)
            pthread_cond_wait(&p->work_comes, &p->lock);
        if (j == NULL)
            break;
        pthread_mutex_unlock(&p->lock);
        j->work(j);
        pthread_mutex_lock(&p->lock);
        list_push(&p->finished, j);
        pthread_cond_signal(&p->work_ends);
        uv_async_send(&p->async);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Runs `done` of what is in the batch. A `done` may call pool_del(), which empties the batch
 * itself: so one job is taken at a time, from the pool and not from a local list. */
static void run_batch(struct pool *p)
{
    struct job *j;

    while ((j = list_pop(&p->batch)) != NULL) {
        assert(p->pending > 0);
        p->pending--;
        if (p->pending == 0)
            uv_unref((uv_handle_t *)&p->async);
        j->done(j);
    }
}

static void take_finished(struct pool *p)
{
    assert(p->batch.first == NULL);
    p->batch = p->finished;
    p->finished = (struct job_list){NULL, NULL};
}

static void on_async(uv_async_t *async)
{
    struct pool *p = container_of(async, struct pool, async);

    pthread_mutex_lock(&p->lock);
    take_finished(p);
    pthread_mutex_unlock(&p->lock);
    run_batch(p);
}

static void on_closed(uv_handle_t *handle)
{
    struct pool *p = container_of((uv_async_t *)handle, struct pool, async);

    pthread_cond_destroy(&p->work_ends);
    pthread_cond_destroy(&p->work_comes);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static void stop_threads(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->work_comes);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->n_threads; i++)
        pthread_join(p->threads[i], NULL);
    p->n_threads = 0;
    uv_close((uv_handle_t *)&p->async, on_closed);
}

/* The threads take no signals: those are the loop's. */
static int start_threads(struct pool *p, unsigned threads)
{
    sigset_t all, before;
    int err = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (p->n_threads < threads && err == 0) {
        if (pthread_create(&p->threads[p->n_threads], NULL, pool_thread, p) != 0)
            err = ERR_NOMEM;
        else
            p->n_threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

int pool_new(struct pool **out, uv_loop_t *loop, unsigned threads, const char *name)
{
    struct pool *p;
    int err;

    assert(out != NULL && loop != NULL && name != NULL);
    assert(threads > 0 && threads <= POOL_THREADS_MAX);
    p = calloc(1, sizeof(*p) + threads * sizeof(p->threads[0]));
    if (p == NULL)
        return ERR_NOMEM;
    strncpy(p->name, name, sizeof(p->name) - 1);
    if (uv_async_init(loop, &p->async, on_async) != 0) {
        free(p);
        return ERR_NOMEM;
    }
    uv_unref((uv_handle_t *)&p->async);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work_comes, NULL);
    pthread_cond_init(&p->work_ends, NULL);
    err = start_threads(p, threads);
    if (err != 0) {
        stop_threads(p);
        return err;
    }
    *out = p;
    return 0;
}

void pool_submit(struct pool *p, struct job *j)
{
    assert(j->work != NULL && j->done != NULL);
    pthread_mutex_lock(&p->lock);
    assert(!p->stopping);
    list_push(&p->queue, j);
    pthread_cond_signal(&p->work_comes);
    pthread_mutex_unlock(&p->lock);
    if (p->pending++ == 0)
        uv_ref((uv_handle_t *)&p->async);
}

size_t pool_pending(const struct pool *p)
{
    return p->pending;
}

void pool_del(struct pool *p)
{
    if (p == NULL)
        return;
    /* A `done` may submit again: over only when nothing at all is pending. */
    run_batch(p);
    while (p->pending > 0) {
        pthread_mutex_lock(&p->lock);
        while (p->finished.first == NULL)
            pthread_cond_wait(&p->work_ends, &p->lock);
        take_finished(p);
        pthread_mutex_unlock(&p->lock);
        run_batch(p);
    }
    stop_threads(p);
}
