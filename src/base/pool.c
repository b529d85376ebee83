/* Thread pool. A caller that wins `busy` writes the job into a free slot, publishes it by storing a new
 * number into `open` (which also names the slot), and works like any other thread until the chunk
 * counter runs out. Then it waits: for a plain job until no worker is inside its slot, for a helped one
 * until every chunk is published. The job ends with a 0 in `open`.
 *
 * A worker raises the slot's `inside` BEFORE it looks at `open` again; a caller stores 0 into `open` BEFORE
 * it looks at `inside` to take a slot. All are sequentially consistent, so either the caller finds the slot
 * in use or the worker finds the job closed and touches nothing. A worker that sleeps or was descheduled
 * between two jobs therefore delays nobody. A worker is inside one slot at most, so of one slot more than
 * there are workers one is always free, however many of them are late. The pairs sleepers/open and
 * waiting/inside, waiting/done work alike; who finds a sleeper signals under the mutex, under which the
 * sleeper tests its condition. */
#include "base/pool.h"
#include "base/cpu.h"
#include "base/memory.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    SPINS = 2000,    /* pauses before a thread sleeps: about 40 us */
    PATIENCE = 500,  /* before a caller computes a late chunk itself: about what a chunk takes */
    MAX_THREADS = 4096
};

typedef struct worker {
    vr_pool *pool;
    pthread_t thread;
    int index;
} worker;

typedef struct slot {
    vr_pool_fn fn; /* the job: written only while no worker is inside */
    vr_pool_helped helped; /* where fn is NULL */
    void *job;
    int64_t n_chunks;
    _Alignas(64) atomic_int_least64_t next; /* first chunk that nobody claimed */
    _Alignas(64) atomic_int_least64_t done; /* helped: chunks that are published */
    _Alignas(64) atomic_int inside;         /* workers that may be reading the job */
    atomic_bool taken[VR_POOL_CHUNKS];      /* helped: somebody publishes or has published this one */
} slot;

struct vr_pool {
    _Alignas(64) atomic_uint_least64_t open; /* number of the open job; 0: none. Its slot is number % n_slots */
    _Alignas(64) atomic_int sleepers;
    atomic_bool busy, waiting, quit;
    uint64_t jobs; /* given so far; of the caller that holds busy, like `claimed` */
    slot *claimed;
    slot *slots;
    int n_slots;
    char *memory; /* VR_POOL_JOB_BYTES for each slot, then VR_POOL_RESULT_BYTES for each thread */
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

static void *result_of(const vr_pool *pool, int thread) {
    return pool->memory + (size_t)pool->n_slots * VR_POOL_JOB_BYTES + (size_t)thread * VR_POOL_RESULT_BYTES;
}

/* Wakes the caller where it sleeps for what has just changed. */
static void tell_caller(vr_pool *pool) {
    if (!atomic_load(&pool->waiting)) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_signal(&pool->done);
    pthread_mutex_unlock(&pool->mutex);
}

static void do_helped(vr_pool *pool, slot *s, int64_t chunk, int thread) {
    if (atomic_load(&s->taken[chunk])) return;
    void *result = result_of(pool, thread);
    s->helped.compute(s->job, chunk, result);
    if (atomic_exchange(&s->taken[chunk], true)) return;
    s->helped.publish(s->job, chunk, result);
    if (atomic_fetch_add(&s->done, 1) + 1 == s->n_chunks) tell_caller(pool);
}

static void claim_chunks(vr_pool *pool, slot *s, int thread) {
    for (;;) {
        int64_t chunk = atomic_fetch_add(&s->next, 1);
        if (chunk >= s->n_chunks) return;
        if (s->fn)
            s->fn(s->job, chunk, thread);
        else
            do_helped(pool, s, chunk, thread);
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
        uint64_t open = atomic_load(&pool->open);
        if (open == 0 || open == seen) continue;
        slot *s = &pool->slots[open % (uint64_t)pool->n_slots];
        atomic_fetch_add(&s->inside, 1);
        if (atomic_load(&pool->open) == open) {
            claim_chunks(pool, s, self->index);
            seen = open;
        }
        if (atomic_fetch_sub(&s->inside, 1) == 1) tell_caller(pool);
    }
}

static bool is_finished(slot *s) {
    return s->fn ? atomic_load(&s->inside) == 0 : atomic_load(&s->done) == s->n_chunks;
}

static bool finishes_within(slot *s, int pauses) {
    for (int i = 0; i < pauses; i++) {
        if (is_finished(s)) return true;
        pause_briefly();
    }
    return false;
}

static void wait_until_finished(vr_pool *pool, slot *s) {
    if (!s->fn && !finishes_within(s, PATIENCE))
        for (int64_t chunk = 0; chunk < s->n_chunks; chunk++) do_helped(pool, s, chunk, 0);
    if (finishes_within(s, SPINS)) return;
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->waiting, true);
    while (!is_finished(s)) pthread_cond_wait(&pool->done, &pool->mutex);
    atomic_store(&pool->waiting, false);
    pthread_mutex_unlock(&pool->mutex);
}

/* The caller holds `busy`. */
static slot *free_slot(vr_pool *pool) {
    slot *s = pool->slots;
    while (atomic_load(&s->inside)) s++;
    return s;
}

static void run_job(vr_pool *pool, slot *s, int64_t n_chunks) {
    s->n_chunks = n_chunks;
    atomic_store(&s->next, 0);
    atomic_store(&pool->open, ++pool->jobs * (uint64_t)pool->n_slots + (uint64_t)(s - pool->slots));
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
    claim_chunks(pool, s, 0);
    if (s->fn) atomic_store(&pool->open, 0); /* nobody may enter while it waits for them to leave */
    wait_until_finished(pool, s);
    atomic_store(&pool->open, 0);
    atomic_store(&pool->busy, false);
}

void vr_pool_run(vr_pool *pool, vr_pool_fn fn, void *job, int64_t n_chunks) {
    if (!pool || pool->n_workers == 0 || n_chunks < 2 || atomic_exchange(&pool->busy, true)) {
        for (int64_t chunk = 0; chunk < n_chunks; chunk++) fn(job, chunk, 0);
        return;
    }
    slot *s = free_slot(pool);
    s->fn = fn;
    s->job = job;
    run_job(pool, s, n_chunks);
}

void *vr_pool_claim(vr_pool *pool, size_t bytes) {
    if (!pool || pool->n_workers == 0 || bytes > VR_POOL_JOB_BYTES || atomic_exchange(&pool->busy, true)) return NULL;
    slot *s = pool->claimed = free_slot(pool);
    s->fn = NULL;
    s->job = pool->memory + (size_t)(s - pool->slots) * VR_POOL_JOB_BYTES;
    return s->job;
}

void vr_pool_unclaim(vr_pool *pool) { atomic_store(&pool->busy, false); }

void vr_pool_help(vr_pool *pool, const vr_pool_helped *fns, int64_t n_chunks) {
    slot *s = pool->claimed;
    s->helped = *fns;
    atomic_store(&s->done, 0);
    for (int64_t chunk = 0; chunk < n_chunks; chunk++) atomic_store_explicit(&s->taken[chunk], false, memory_order_relaxed);
    run_job(pool, s, n_chunks);
}

void vr_pool_drain(vr_pool *pool) {
    for (int i = 0; pool && i < pool->n_slots; i++)
        while (atomic_load(&pool->slots[i].inside) != 0) sched_yield();
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
    size_t slots = (size_t)threads, memory = slots * (VR_POOL_JOB_BYTES + VR_POOL_RESULT_BYTES);
    vr_pool *pool = aligned_alloc(_Alignof(vr_pool), sizeof *pool);
    if (!pool) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %d threads", threads);
    memset(pool, 0, sizeof *pool);
    pool->workers = vr_alloc((size_t)threads, sizeof *pool->workers);
    pool->n_slots = threads; /* workers and one */
    pool->slots = aligned_alloc(_Alignof(slot), slots * sizeof(slot));
    pool->memory = aligned_alloc(64, memory); /* its pages are touched as they are used */
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    if (pool->slots) memset(pool->slots, 0, slots * sizeof(slot));
    bool enough = pool->workers && pool->slots && pool->memory;
    vr_status status = enough ? start_workers(pool, threads - 1, err)
                              : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %d threads", threads);
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
    free(pool->memory);
    free(pool->slots);
    free(pool->workers);
    free(pool);
}

int vr_pool_threads(const vr_pool *pool) { return pool ? pool->n_workers + 1 : 1; }
