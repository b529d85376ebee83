/* What the tests of operations share: a run on each kernel set that this processor can run, with 1, 2 or
 * 3 threads; random tensors; comparisons. */
#ifndef OPS_FRAME_H
#define OPS_FRAME_H
#include "check.h"

#include "base/rng.h"
#include "ops/ops.h"

#include <math.h>
#include <string.h>

#define EPS 6e-8 /* half a unit in the last place of f32 */

typedef struct bench {
    vr_arena arena;
    vr_pool *pools[3]; /* 1, 2, 3 threads */
    vr_error err;
    vr_run run;
    vr_rng rng;
} bench;

/* Before memory that was used is used again or freed: a late thread may still read what lies there. */
static inline void settle(bench *b) {
    for (int i = 0; i < 3; i++) vr_pool_drain(b->pools[i]);
}

static inline void use(bench *b, const vr_kernels *kernels, int threads) {
    b->err = (vr_error){0};
    b->run = (vr_run){.arena = &b->arena, .pool = b->pools[threads - 1], .kernels = kernels, .err = &b->err};
    settle(b);
    vr_arena_release(&b->arena, 0);
}

static inline float uniform(bench *b) { return (float)(2 * vr_rng_uniform(&b->rng) - 1); }

static inline vr_tensor *fill(bench *b, vr_tensor *x, float scale) {
    int64_t n;
    vr_shape_count(x->ndim, x->shape, &n);
    for (int64_t i = 0; i < n; i++) ((float *)x->data)[i] = scale * uniform(b);
    return x;
}

static inline vr_tensor *random2(bench *b, int64_t rows, int64_t columns, float scale) {
    return fill(b, vr_new2(&b->run, rows, columns), scale);
}

static inline vr_tensor *random1(bench *b, int64_t n, float scale) { return fill(b, vr_new(&b->run, 1, &n), scale); }

static inline const float *at(const vr_tensor *x) { return x->data; }

static inline void near(const bench *b, const char *what, double got, double expected, double bound) {
    CHECK(fabs(got - expected) <= bound, "%s %s: got %.9g, expected %.9g, bound %.3g", b->run.kernels->name, what, got, expected,
          bound);
}

static inline bool same(const vr_tensor *x, const vr_tensor *y) {
    int64_t n;
    return x && y && x->ndim == y->ndim && memcmp(x->shape, y->shape, (size_t)x->ndim * sizeof *x->shape) == 0 &&
           vr_shape_count(x->ndim, x->shape, &n) && memcmp(x->data, y->data, (size_t)n * sizeof(float)) == 0;
}

static inline void expect_failure(bench *b, const vr_tensor *result, vr_status status, const char *part) {
    CHECK(!result && vr_run_status(&b->run) == status && b->err.status == status && strstr(b->err.message, part),
          "status %d, message '%s', expected '%s'", vr_run_status(&b->run), b->err.message, part);
    use(b, b->run.kernels, 2);
}

static inline void bench_open(bench *b) {
    CHECK(vr_arena_open(&b->arena, (size_t)1 << 30, &b->err) == VRWKV_OK, "%s", b->err.message);
    for (int i = 0; i < 3; i++) CHECK(vr_pool_open(&b->pools[i], i + 1, &b->err) == VRWKV_OK, "%s", b->err.message);
}

/* Every test on every kernel set. */
static inline void bench_run(bench *b, void (*const *tests)(bench *, const vr_kernels *), size_t n) {
    for (int i = 0; vr_kernels_at(i); i++) {
        const vr_kernels *set = vr_kernels_at(i);
        if (!set->supported()) {
            printf("%s: not supported here\n", set->name);
            continue;
        }
        for (size_t k = 0; k < n; k++) tests[k](b, set);
        printf("%s: done\n", set->name);
    }
}

static inline void bench_close(bench *b) {
    for (int i = 0; i < 3; i++) vr_pool_close(b->pools[i]);
    vr_arena_close(&b->arena);
}
#endif
