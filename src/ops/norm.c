/* Normalisation of rows and of parts of rows.
 *
 *     y = (x - mean)/sqrt(var + eps)*w + b, biased variance     src: nn.LayerNorm, nn.GroupNorm on [T,C]
 *     y = x / max(|x|, eps)                                     src: F.normalize(p = 2) */
#include "ops/internal.h"

#include <math.h>

enum { CHUNK_FLOATS = 1 << 14 };

typedef struct norm_job {
    const vr_kernels *kernels;
    float *y;
    const float *x, *w, *b; /* w, b: NULL of l2_norm */
    int64_t T, C, group, per;
    float eps;
} norm_job;

static void norm_chunk(void *data, int64_t chunk, int thread) {
    const norm_job *job = data;
    int64_t end = (chunk + 1) * job->per < job->T ? (chunk + 1) * job->per : job->T;
    (void)thread;
    for (int64_t t = chunk * job->per; t < end; t++)
        for (int64_t c = 0; c < job->C; c += job->group)
            job->kernels->norm(job->y + t * job->C + c, job->x + t * job->C + c, job->w + c, job->b + c, job->group,
                               job->eps);
}

static void l2_chunk(void *data, int64_t chunk, int thread) {
    const norm_job *job = data;
    int64_t end = (chunk + 1) * job->per < job->T ? (chunk + 1) * job->per : job->T;
    (void)thread;
    for (int64_t at = chunk * job->per * job->C; at < end * job->C; at += job->group) {
        const float *x = job->x + at;
        float squares, length;
        job->kernels->gemm(&squares, 1, x, job->group, x, job->group, NULL, 1, 1, job->group);
        length = sqrtf(squares);
        if (length < job->eps) length = job->eps; /* NaN stays NaN */
        for (int64_t i = 0; i < job->group; i++) job->y[at + i] = x[i] / length;
    }
}

typedef struct back_job {
    norm_job of;
    float *dx;
    const float *dy;
    bool dw, db;
} back_job;

static void norm_back_rows(const void *data, int64_t first, int64_t end, float *sums) {
    const back_job *job = data;
    const norm_job *of = &job->of;
    for (int64_t t = first; t < end; t++)
        for (int64_t c = 0; c < of->C; c += of->group) {
            int64_t at = t * of->C + c;
            of->kernels->norm_back(job->dx ? job->dx + at : NULL, job->dw ? sums + c : NULL,
                                   job->db ? sums + of->C + c : NULL, of->x + at, of->w + c, job->dy + at, of->group,
                                   of->eps);
        }
}

static void norm_back(vr_run *run, const void *saved) {
    const norm_job *of = saved;
    float *to[2] = {vr_grad(run, of->w), vr_grad(run, of->b)};
    back_job job = {*of, vr_grad(run, of->x), vr_grad(run, of->y), to[0] != NULL, to[1] != NULL};
    vr_op_back_rows(run, norm_back_rows, &job, of->T, of->C, to, 2);
}

/* dx = (dy - y (y.dy)) / |x|; of a part shorter than eps, whose length does not count, dy / eps. */
static void l2_back_rows(const void *data, int64_t first, int64_t end, float *sums) {
    const back_job *job = data;
    const norm_job *of = &job->of;
    int64_t n = of->group;
    (void)sums;
    for (int64_t at = first * of->C; at < end * of->C; at += n) {
        const float *x = of->x + at, *y = of->y + at, *dy = job->dy + at;
        float squares, along;
        of->kernels->gemm(&squares, 1, x, n, x, n, NULL, 1, 1, n);
        of->kernels->gemm(&along, 1, y, n, dy, n, NULL, 1, 1, n);
        float length = sqrtf(squares);
        if (length < of->eps) length = of->eps, along = 0.0f;
        of->kernels->axpy(job->dx + at, 1.0f / length, dy, n);
        of->kernels->axpy(job->dx + at, -along / length, y, n);
    }
}

static void l2_back(vr_run *run, const void *saved) {
    const norm_job *of = saved;
    back_job job = {.of = *of, .dx = vr_grad(run, of->x), .dy = vr_grad(run, of->y)};
    if (job.dx) vr_op_back_rows(run, l2_back_rows, &job, of->T, of->C, NULL, 0);
}

static vr_tensor *norm(vr_run *run, const char *op, vr_pool_fn fn, const vr_tensor *x, int groups, const vr_tensor *w,
                       const vr_tensor *b, float eps) {
    if (!vr_op_is_rows(run, op, "x", x)) return NULL;
    int64_t T = x->shape[0], C = x->shape[1];
    if (groups < 1 || C % groups != 0)
        return vr_op_fail(run, VRWKV_ERR_SHAPE, "%s: %d groups of %lld channels, expected a divisor", op, groups,
                          (long long)C);
    if (w && (!vr_op_is_vector(run, op, "w", w, C) || !vr_op_is_vector(run, op, "b", b, C))) return NULL;
    vr_tensor *y = vr_new2(run, T, C);
    if (!y || C == 0) return y;
    norm_job job = {run->kernels, y->data, x->data, w ? w->data : NULL, b ? b->data : NULL, T, C, C / groups, 1, eps};
    if (C < CHUNK_FLOATS) job.per = CHUNK_FLOATS / C;
    vr_pool_run(run->pool, fn, &job, (T + job.per - 1) / job.per);
    return vr_op_record(run, y, w ? norm_back : l2_back, &job, sizeof job);
}

vr_tensor *vr_layer_norm(vr_run *run, const vr_tensor *x, const vr_tensor *w, const vr_tensor *b, float eps) {
    if (!x || !w || !b || !vr_op_start(run)) return NULL;
    return norm(run, "layer_norm", norm_chunk, x, 1, w, b, eps);
}

vr_tensor *vr_group_norm(vr_run *run, const vr_tensor *x, int groups, const vr_tensor *w, const vr_tensor *b, float eps) {
    if (!x || !w || !b || !vr_op_start(run)) return NULL;
    return norm(run, "group_norm", norm_chunk, x, groups, w, b, eps);
}

vr_tensor *vr_l2_norm(vr_run *run, const vr_tensor *x, int groups, float eps) {
    if (!x || !vr_op_start(run)) return NULL;
    return norm(run, "l2_norm", l2_chunk, x, groups, NULL, NULL, eps);
}
