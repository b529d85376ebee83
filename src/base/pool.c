/* Thread pool. A caller that wins `busy` writes the job's fields, publishes them by storing a new
 * number into `open`, and works like any other thread until the chunk counter runs out. Then it
 * stores 0 into `open` and waits until no worker is inside.
 *
 * A worker raises `inside` BEFORE it looks at `open`; the closing caller stores `open` BEFORE it looks
 * at `inside`. Both are sequentially consistent, so either the caller waits for the worker or the
 * worker finds the job closed and touches nothing. A worker that sleeps or was descheduled between
 * two jobs therefore delays nobody. The pairs sleepers/open and waiting/inside work alike; who finds
 * a sleeper signals under the mutex, under which the sleeper tests its condition. */
#include "base/pool.h"
#include "base/cpu.h"
#include "base/memory.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { SPINS = 2000, MAX_THREADS = 4096 };

typedef struct worker {
    vr_pool *pool;
    pthread_t thread;
    int index;
} worker;

struct vr_pool {
    vr_pool_fn fn; /* the open job: written only while no worker is inside */
    void *job;
    int64_t n_chunks;
    _Alignas(64) atomic_int_least64_t next; /* first chunk that nobody claimed */
    _Alignas(64) atomic_uint_least64_t open; /* number of the open job; 0: none */
    _Alignas(64) atomic_int inside;          /* workers that may be reading the job */
    atomic_int sleepers;
    atomic_bool busy, waiting, quit;
    uint64_t jobs; /* numbers given so far; of the caller that holds busy */
    pthread_mutex_t mutex;
    pthread_cond_t wake, done;
    worker *workers;
    int n_workers; /* beside the caller */
};

static void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void claim_chunks(vr_pool *pool, int thread) {
    for (;;) {
        int64_t chunk = atomic_fetch_add(&pool->next, 1);
        if (chunk >= pool->n_chunks) return;
        pool->fn(pool->job, chunk, thread);
    }
}

static bool has_news(vr_pool *pool, uint64_t seen) {
    uint64_t open = atomic_load(&pool->open);
    return (open != 0 && open != seen) || atomic_load(&pool->quit);
}

static void wait_for_news(vr_pool *pool, uint64_t seen) {
    for (int i = 0; i < SPINS; i++) {
        if (has_news(pool, seen)) return;
        pause_briefly();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (!has_news(pool, seen)) pthread_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void *work(void *argument) {
    worker *self = argument;
    vr_pool *pool = self->pool;
    uint64_t seen = 0;
    for (;;) {
        wait_for_news(pool, seen);
        if (atomic_load(&pool->quit)) return NULL;
        atomic_fetch_add(&pool->inside, 1);
        uint64_t open = atomic_load(&pool->open);
        if (open != 0 && open != seen) {
            claim_chunks(pool, self->index);
            seen = open;
        }
        if (atomic_fetch_sub(&pool->inside, 1) == 1 && atomic_load(&pool->waiting)) {
            pthread_mutex_lock(&pool->mutex);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->mutex);
        }
    }
}

static void wait_until_left(vr_pool *pool) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&pool->inside) == 0) return;
        pause_briefly();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->waiting, true);
    while (atomic_load(&pool->inside) != 0) pthread_cond_wait(&pool->done, &pool->mutex);
    atomic_store(&pool->waiting, false);
    pthread_mutex_unlock(&pool->mutex);
}

void vr_pool_run(vr_pool *pool, vr_pool_fn fn, void *job, int64_t n_chunks) {
    if (!pool || pool->n_workers == 0 || n_chunks < 2 || atomic_exchange(&pool->busy, true)) {
        for (int64_t chunk = 0; chunk < n_chunks; chunk++) fn(job, chunk, 0);
        return;
    }
    pool->fn = fn;
    pool->job = job;
    pool->n_chunks = n_chunks;
    atomic_store(&pool->next, 0);
    atomic_store(&pool->open, ++pool->jobs);
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
    claim_chunks(pool, 0);
    atomic_store(&pool->open, 0);
    wait_until_left(pool);
    atomic_store(&pool->busy, false);
}

/* Signals are the program's business: workers inherit a mask that blocks them all. */
static vr_status start_workers(vr_pool *pool, int n, vr_error *err) {
    sigset_t all, before;
    int code = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < n && code == 0; i++) {
        pool->workers[i] = (worker){.pool = pool, .index = i + 1};
        code = pthread_create(&pool->workers[i].thread, NULL, work, &pool->workers[i]);
        if (code == 0) pool->n_workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code == 0) return VRWKV_OK;
    return vr_fail(err, VRWKV_ERR_MEMORY, "cannot start thread %d of %d (error %d)", pool->n_workers + 2, n + 1, code);
}

vr_status vr_pool_open(vr_pool **out, int threads, vr_error *err) {
    *out = NULL;
    if (threads < 0 || threads > MAX_THREADS)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "%d threads, expected 0 (one per core) to %d", threads, MAX_THREADS);
    if (threads == 0) threads = vr_cpu_get()->cores;
    vr_pool *pool = aligned_alloc(_Alignof(vr_pool), sizeof *pool);
    worker *workers = vr_alloc((size_t)threads, sizeof *workers);
    if (!pool || !workers) {
        free(pool);
        free(workers);
        return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %d threads", threads);
    }
    memset(pool, 0, sizeof *pool);
    pool->workers = workers;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    vr_status status = start_workers(pool, threads - 1, err);
    if (status != VRWKV_OK)
        vr_pool_close(pool);
    else
        *out = pool;
    return status;
}

void vr_pool_close(vr_pool *pool) {
    if (!pool) return;
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->quit, true);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (int i = 0; i < pool->n_workers; i++) pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->workers);
    free(pool);
}

int vr_pool_threads(const vr_pool *pool) { return pool ? pool->n_workers + 1 : 1; }
