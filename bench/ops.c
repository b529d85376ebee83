/* Speed of the products, beside the machine's own limits measured in the same minute: the read rate (a
 * sum over the same number of bytes by the same threads) and the rate of multiply-adds on registers
 * (taken from a product small enough for the innermost cache). Prints medians.
 *
 *     ops [threads] [kernel set] */
#include "base/rng.h"
#include "ops/ops.h"
#include "ops/quant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RUNS = 9, COPIES_BYTES = 1 << 30 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *seconds, int n) {
    qsort(seconds, (size_t)n, sizeof *seconds, compare);
    return seconds[n / 2];
}

typedef struct reading { const uint64_t *data; int64_t words; uint64_t sums[256]; } reading;

enum { WORDS = 1 << 15 };

static void read_chunk(void *job, int64_t chunk, int thread) {
    reading *r = job;
    const uint64_t *at = r->data + chunk * WORDS;
    uint64_t sum[8] = {0};
    for (int64_t i = 0; i < WORDS; i += 8)
        for (int l = 0; l < 8; l++) sum[l] ^= at[i + l];
    for (int l = 0; l < 8; l++) r->sums[thread % 256] ^= sum[l];
}

static double read_rate(vr_pool *pool, const void *data, int64_t bytes) {
    static reading r;
    double seconds[RUNS];
    r.data = data;
    for (int i = 0; i < RUNS; i++) {
        double start = now();
        vr_pool_run(pool, read_chunk, &r, bytes / 8 / WORDS);
        seconds[i] = now() - start;
    }
    return (double)(bytes / 8 / WORDS * WORDS * 8) / median(seconds, RUNS) * 1e-9;
}

static double product_seconds(vr_run *run, const vr_tensor *x, const vr_tensor *w, int copies, int64_t bytes) {
    double seconds[RUNS];
    size_t mark = vr_arena_mark(run->arena);
    for (int i = 0; i < RUNS; i++) {
        double start = now();
        for (int c = 0; c < copies; c++) {
            vr_tensor copy = *w;
            copy.data = (char *)w->data + c * bytes;
            vr_linear(run, x, &copy, NULL);
            vr_arena_release(run->arena, mark);
        }
        seconds[i] = (now() - start) / copies;
    }
    return median(seconds, RUNS);
}

static void fill(vr_tensor *x, vr_rng *rng) {
    int64_t n;
    vr_shape_count(x->ndim, x->shape, &n);
    for (int64_t i = 0; i < n; i++) ((float *)x->data)[i] = (float)(2 * vr_rng_uniform(rng) - 1);
}

static void matrix_matrix(vr_run *run, vr_rng *rng, int64_t T, int64_t I, int64_t O) {
    size_t mark = vr_arena_mark(run->arena);
    vr_tensor *x = vr_new2(run, T, I), *w = vr_new2(run, O, I);
    fill(x, rng);
    fill(w, rng);
    double seconds = product_seconds(run, x, w, 1, 0);
    printf("product f32 %lld x %lld x %lld: %.3f ms, %.1f GFLOP/s\n", (long long)T, (long long)I, (long long)O, seconds * 1e3,
           2e-9 * (double)(T * I * O) / seconds);
    vr_arena_release(run->arena, mark);
}

static void matrix_vector(vr_run *run, vr_rng *rng, vr_dtype type, char *memory, double read) {
    int64_t I = 4096, O = 14336, T[] = {1, 2, 4, 8};
    uint64_t bytes;
    size_t mark = vr_arena_mark(run->arena);
    vr_tensor *row = vr_new2(run, 1, I), w = {type, 2, {O, I}, memory};
    vr_shape_bytes(type, 2, w.shape, &bytes);
    int copies = (int)(COPIES_BYTES / bytes);
    for (int64_t o = 0; o < O; o++) {
        fill(row, rng);
        vr_quant_of(type)->encode(memory + o * (int64_t)(bytes / (uint64_t)O), row->data, I);
    }
    for (int c = 1; c < copies; c++) memcpy(memory + (size_t)c * bytes, memory, bytes);
    printf("weights %-5s 4096 x 14336:", vr_dtype_of(type)->name);
    for (size_t k = 0; k < VR_COUNT(T); k++) {
        vr_tensor *x = vr_new2(run, T[k], I);
        fill(x, rng);
        double seconds = product_seconds(run, x, &w, copies, (int64_t)bytes), rate = (double)bytes / seconds * 1e-9;
        printf("  T=%lld %.2f ms %.1f GB/s", (long long)T[k], seconds * 1e3, rate);
        if (k == 0) printf(" (%.0f%% of read)", 100 * rate / read);
    }
    printf("\n");
    vr_arena_release(run->arena, mark);
}

int main(int argc, char **argv) {
    static const vr_dtype types[] = {VR_F32, VR_F16, VR_BF16, VR_Q8_0, VR_Q4_0};
    vr_error err = {0};
    vr_arena arena;
    vr_pool *pool;
    vr_rng rng = {1};
    const vr_kernels *kernels = argc > 2 ? vr_kernels_find(argv[2]) : vr_kernels_get(&err);
    if (!kernels || vr_arena_open(&arena, (size_t)8 << 30, &err) || vr_pool_open(&pool, argc > 1 ? atoi(argv[1]) : 0, &err)) {
        fprintf(stderr, "%s\n", kernels || !argv[2] ? err.message : "no such kernel set here");
        return 1;
    }
    vr_run run = {.arena = &arena, .pool = pool, .kernels = kernels, .err = &err};
    char *memory = vr_arena_get(&arena, COPIES_BYTES, 1);
    memset(memory, 1, COPIES_BYTES);
    double read = read_rate(pool, memory, COPIES_BYTES);
    printf("%s, %d threads, read %.1f GB/s\n", kernels->name, vr_pool_threads(pool), read);
    matrix_matrix(&run, &rng, 48, 256, 64);
    matrix_matrix(&run, &rng, 577, 1024, 4096);
    matrix_matrix(&run, &rng, 577, 4096, 1024);
    matrix_matrix(&run, &rng, 577, 4096, 4096);
    for (size_t i = 0; i < VR_COUNT(types); i++) matrix_vector(&run, &rng, types[i], memory, read);
    vr_pool_close(pool);
    vr_arena_close(&arena);
    return vr_run_status(&run) != VRWKV_OK;
}
