/* Thread pool: one job at a time, cut into chunks that the threads claim from a counter. A chunk's
 * result depends on the chunk alone, never on who computes it: thread count and timing cannot change
 * a bit. The calling thread works too. Where the pool is busy with another caller's job, the job runs
 * on the calling thread alone. Idle threads spin shortly, then sleep.
 *
 * Helped jobs are for short work on a shared machine: where a thread was put to sleep inside a chunk by
 * the system, whoever waits for it computes that chunk again. Each computes into memory of its own; the
 * first to finish publishes, the other's result is dropped, whenever it comes. So a late thread may still
 * read a job's inputs after the job is done: they must lie in the memory that vr_pool_claim gives, which is
 * not used again until that thread has left, or live as long as the pool. */
#ifndef VR_BASE_POOL_H
#define VR_BASE_POOL_H
#include "base/status.h"

#include <stdint.h>

typedef struct vr_pool vr_pool;
/* chunk of n_chunks; `thread` in 0..vr_pool_threads-1 names the scratch memory this thread may use. */
typedef void (*vr_pool_fn)(void *job, int64_t chunk, int thread);

vr_status vr_pool_open(vr_pool **out, int threads, vr_error *err); /* 0: one per available core */
void vr_pool_close(vr_pool *pool);
int vr_pool_threads(const vr_pool *pool); /* NULL: 1 */
void vr_pool_run(vr_pool *pool, vr_pool_fn fn, void *job, int64_t n_chunks); /* NULL pool: plain loop */

enum {
    VR_POOL_JOB_BYTES = 512 << 10,   /* of a helped job's description and inputs */
    VR_POOL_RESULT_BYTES = 64 << 10, /* of a chunk's result */
    VR_POOL_CHUNKS = 4096            /* of a helped job */
};

typedef struct vr_pool_helped {
    void (*compute)(const void *job, int64_t chunk, void *result); /* changes nothing but the result */
    void (*publish)(const void *job, int64_t chunk, const void *result);
} vr_pool_helped;

/* Memory of `bytes` for the next helped job, 64-byte aligned, and the pool for the caller until vr_pool_help or
 * vr_pool_unclaim. NULL: too large, or there is no other thread, or another caller has the pool. */
void *vr_pool_claim(vr_pool *pool, size_t bytes);
void vr_pool_unclaim(vr_pool *pool);
/* Runs the claimed job: every chunk is published once, by the time this returns. */
void vr_pool_help(vr_pool *pool, const vr_pool_helped *fns, int64_t n_chunks);
/* Waits until no other thread is inside a job, also one that is done: before memory that a helped job has read, and
 * that is not the pool's, is freed while the pool lives on. Not for callers inside a job. NULL pool: nothing. */
void vr_pool_drain(vr_pool *pool);
#endif
