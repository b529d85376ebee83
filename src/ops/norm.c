/* Normalisation of rows and of parts of rows.
 *
 *     y = (x - mean)/sqrt(var + eps)*w + b, biased variance     src: nn.LayerNorm, nn.GroupNorm on [T,C] */
#include "ops/internal.h"

enum { CHUNK_FLOATS = 1 << 14 };

typedef struct norm_job {
    const vr_kernels *kernels;
    float *y;
    const float *x, *w, *b;
    int64_t T, C, group, per;
    float eps;
} norm_job;

static void norm_chunk(void *data, int64_t chunk, int thread) {
    const norm_job *job = data;
    int64_t end = (chunk + 1) * job->per < job->T ? (chunk + 1) * job->per : job->T;
    (void)thread;
    for (int64_t t = chunk * job->per; t < end; t++)
        for (int64_t c = 0; c < job->C; c += job->group)
            job->kernels->norm(job->y + t * job->C + c, job->x + t * job->C + c, job->w + c, job->b + c, job->group, job->eps);
}

static vr_tensor *norm(vr_run *run, const char *op, const vr_tensor *x, int groups, const vr_tensor *w, const vr_tensor *b,
                       float eps) {
    if (!vr_op_is_rows(run, op, "x", x)) return NULL;
    int64_t T = x->shape[0], C = x->shape[1];
    if (groups < 1 || C % groups != 0)
        return vr_op_fail(run, VRWKV_ERR_SHAPE, "%s: %d groups of %lld channels, expected a divisor", op, groups, (long long)C);
    if (!vr_op_is_vector(run, op, "w", w, C) || !vr_op_is_vector(run, op, "b", b, C)) return NULL;
    vr_tensor *y = vr_new2(run, T, C);
    if (!y || C == 0) return y;
    norm_job job = {run->kernels, y->data, x->data, w->data, b->data, T, C, C / groups, 1, eps};
    if (C < CHUNK_FLOATS) job.per = CHUNK_FLOATS / C;
    vr_pool_run(run->pool, norm_chunk, &job, (T + job.per - 1) / job.per);
    return y;
}

vr_tensor *vr_layer_norm(vr_run *run, const vr_tensor *x, const vr_tensor *w, const vr_tensor *b, float eps) {
    if (!x || !w || !b || !vr_op_start(run)) return NULL;
    return norm(run, "layer_norm", x, 1, w, b, eps);
}

vr_tensor *vr_group_norm(vr_run *run, const vr_tensor *x, int groups, const vr_tensor *w, const vr_tensor *b, float eps) {
    if (!x || !w || !b || !vr_op_start(run)) return NULL;
    return norm(run, "group_norm", x, groups, w, b, eps);
}
