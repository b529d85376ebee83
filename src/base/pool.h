/* Thread pool: one job at a time, cut into chunks that the threads claim from a counter. A chunk's
 * result depends on the chunk alone, never on who computes it: thread count and timing cannot change
 * a bit. The calling thread works too. Where the pool is busy with another caller's job, the job runs
 * on the calling thread alone. Idle threads spin shortly, then sleep. */
#ifndef VR_BASE_POOL_H
#define VR_BASE_POOL_H
#include "base/status.h"

typedef struct vr_pool vr_pool;
/* chunk of n_chunks; `thread` in 0..vr_pool_threads-1 names the scratch memory this thread may use. */
typedef void (*vr_pool_fn)(void *job, int64_t chunk, int thread);

vr_status vr_pool_open(vr_pool **out, int threads, vr_error *err); /* 0: one per available core */
void vr_pool_close(vr_pool *pool);
int vr_pool_threads(const vr_pool *pool); /* NULL: 1 */
void vr_pool_run(vr_pool *pool, vr_pool_fn fn, void *job, int64_t n_chunks); /* NULL pool: plain loop */
#endif
