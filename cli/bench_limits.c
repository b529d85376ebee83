/* The limits are those of the hardware, not of our products: reading is a plain sum over memory far
 * beyond any cache; multiply-adds work on registers alone, with the instructions that general products
 * need (in 8 bit without VNNI or dotprod three for 32 products; 4-bit weights need fewer and may pass it). */
#include "bench_limits.h"

#include "base/memory.h"
#include "common.h"
#include "ops/cpu/kernels.h"

#include <stdlib.h>
#include <string.h>

#define READ_BYTES ((size_t)1 << 30)
#define READ_CHUNK ((size_t)1 << 20)
#define READ_PASSES 3
#define PEAK_SECONDS 0.1
#define SUM_STRIDE 16 /* a cache line for each thread's sum */

struct vr_limit_bench {
    vr_pool *pool;
    const vr_kernels *kernels;
    uint64_t *memory, *sums;
    double (*peak)(int64_t rounds);
    int64_t rounds;
    double products[]; /* of each thread */
};

vr_status vr_limit_open(vr_limit_bench **out, int threads, vr_error *err) {
    vr_pool *pool;
    const vr_kernels *kernels = vr_kernels_get(err);
    *out = NULL;
    if (!kernels) return VRWKV_ERR_UNSUPPORTED;
    VR_TRY(vr_pool_open(&pool, threads, err));
    size_t n = (size_t)vr_pool_threads(pool);
    vr_limit_bench *bench = vr_alloc(1, sizeof *bench + n * sizeof(double));
    if (bench) *bench = (vr_limit_bench){.pool = pool, .kernels = kernels, .memory = malloc(READ_BYTES)};
    if (bench) bench->sums = vr_alloc(n * SUM_STRIDE, sizeof *bench->sums);
    if (!bench || !bench->memory || !bench->sums) {
        if (!bench) vr_pool_close(pool);
        vr_limit_close(bench);
        return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for 1 GiB to read");
    }
    memset(bench->memory, 1, READ_BYTES);
    *out = bench;
    return VRWKV_OK;
}

void vr_limit_close(vr_limit_bench *bench) {
    if (!bench) return;
    vr_pool_close(bench->pool);
    free(bench->memory);
    free(bench->sums);
    free(bench);
}

/* Eight streams at once, as the products read eight rows: one stream does not fill the memory's queue. */
static void read_chunk(void *job, int64_t chunk, int thread) {
    const vr_limit_bench *bench = job;
    enum { STREAMS = 8, STEP = 8 };
    const size_t words = READ_CHUNK / sizeof(uint64_t), length = words / STREAMS;
    const uint64_t *at = bench->memory + (size_t)chunk * words % (READ_BYTES / sizeof(uint64_t));
    uint64_t sum[STEP] = {0};
    for (size_t i = 0; i < length; i += STEP)
        for (size_t s = 0; s < STREAMS; s++) {
            __builtin_prefetch(at + s * length + i + 128);
            for (size_t k = 0; k < STEP; k++) sum[k] ^= at[s * length + i + k];
        }
    for (size_t k = 0; k < STEP; k++) bench->sums[(size_t)thread * SUM_STRIDE] ^= sum[k];
}

static double measure_read(vr_limit_bench *bench) {
    double start = vr_seconds();
    vr_pool_run(bench->pool, read_chunk, bench, (int64_t)(READ_PASSES * READ_BYTES / READ_CHUNK));
    return (double)(READ_PASSES * READ_BYTES) / (vr_seconds() - start) / 1e9;
}

static void peak_chunk(void *job, int64_t chunk, int thread) {
    vr_limit_bench *bench = job;
    (void)thread;
    bench->products[chunk] = bench->peak(bench->rounds);
}

static double measure_peak(vr_limit_bench *bench, double (*peak)(int64_t)) {
    int n = vr_pool_threads(bench->pool);
    double seconds, products;
    bench->peak = peak;
    bench->rounds = 1 << 16;
    for (;; bench->rounds *= 2) { /* the last, longest run counts */
        double start = vr_seconds();
        vr_pool_run(bench->pool, peak_chunk, bench, n);
        seconds = vr_seconds() - start;
        products = 0;
        for (int i = 0; i < n; i++) products += bench->products[i];
        if (seconds > PEAK_SECONDS / 2) return 2 * products / seconds / 1e9;
    }
}

double vr_limit_measure(vr_limit_bench *bench, vr_limit limit) {
    if (limit == VR_LIMIT_READ) return measure_read(bench);
    return measure_peak(bench, limit == VR_LIMIT_F32 ? bench->kernels->peak_f32 : bench->kernels->peak_int8);
}

const char *vr_limit_name(vr_limit limit) {
    static const char *const names[VR_LIMITS] = {"read_gbs", "f32_gflops", "s8_gflops"};
    return names[limit];
}
