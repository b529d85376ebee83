/* Softmax attention over all rows, no mask. First each head's keys are gathered and its values
 * transposed (both then lie densely, as the product's kernel wants its right side); then blocks of
 * query rows of one head are claimed: scores [block, T] exist for one block per thread only.
 *
 *     y = softmax((q*scale) k^T) v, per head        src: transformers CLIPAttention */
#include "ops/internal.h"

enum { BLOCK = 48, ALIGN = 16 };

typedef struct attention_job {
    const vr_kernels *kernels;
    float *y;
    const float *q, *k, *v;
    float *keys;    /* [H, T, N] */
    float *values;  /* [H, N, stride] */
    float *scratch; /* per thread: queries [BLOCK, N], scores [BLOCK, stride] */
    int64_t T, H, N, stride, blocks;
    float scale;
} attention_job;

static void gather_head(void *data, int64_t h, int thread) {
    const attention_job *job = data;
    int64_t N = job->N, C = job->H * N;
    float *keys = job->keys + h * job->T * N, *values = job->values + h * N * job->stride;
    (void)thread;
    for (int64_t t = 0; t < job->T; t++) {
        const float *k = job->k + t * C + h * N, *v = job->v + t * C + h * N;
        for (int64_t i = 0; i < N; i++) keys[t * N + i] = k[i];
        for (int64_t i = 0; i < N; i++) values[i * job->stride + t] = v[i];
    }
}

static void attend_block(void *data, int64_t chunk, int thread) {
    const attention_job *job = data;
    int64_t h = chunk / job->blocks, first = chunk % job->blocks * BLOCK, T = job->T, N = job->N, C = job->H * N;
    int64_t n = first + BLOCK <= T ? BLOCK : T - first;
    float *queries = job->scratch + thread * BLOCK * (N + job->stride), *scores = queries + BLOCK * N;
    for (int64_t t = 0; t < n; t++) {
        const float *q = job->q + (first + t) * C + h * N;
        for (int64_t i = 0; i < N; i++) queries[t * N + i] = q[i] * job->scale;
    }
    job->kernels->gemm(scores, job->stride, queries, N, job->keys + h * T * N, N, NULL, n, T, N);
    for (int64_t t = 0; t < n; t++) job->kernels->softmax(scores + t * job->stride, T);
    job->kernels->gemm(job->y + first * C + h * N, C, scores, job->stride, job->values + h * N * job->stride, job->stride,
                       NULL, n, N, T);
}

static bool compute(vr_run *run, attention_job *job) {
    size_t threads = (size_t)vr_pool_threads(run->pool), C = (size_t)(job->H * job->N);
    job->stride = (job->T + ALIGN - 1) / ALIGN * ALIGN;
    job->blocks = (job->T + BLOCK - 1) / BLOCK;
    job->keys = vr_op_memory(run, C * (size_t)job->T, sizeof(float));
    job->values = vr_op_memory(run, C * (size_t)job->stride, sizeof(float));
    job->scratch = vr_op_memory(run, threads * BLOCK * (size_t)(job->N + job->stride), sizeof(float));
    if (!job->keys || !job->values || !job->scratch) return false;
    vr_pool_run(run->pool, gather_head, job, job->H);
    vr_pool_run(run->pool, attend_block, job, job->H * job->blocks);
    return true;
}

vr_tensor *vr_attention(vr_run *run, const vr_tensor *q, const vr_tensor *k, const vr_tensor *v, int heads, float scale) {
    if (!q || !k || !v || !vr_op_start(run)) return NULL;
    if (!vr_op_is_rows(run, "attention", "q", q) || !vr_op_is_like(run, "attention", "k", k, q) ||
        !vr_op_is_like(run, "attention", "v", v, q))
        return NULL;
    int64_t T = q->shape[0], C = q->shape[1];
    if (heads < 1 || C % heads != 0)
        return vr_op_fail(run, VRWKV_ERR_SHAPE, "attention: %d heads of %lld channels, expected a divisor", heads, (long long)C);
    vr_tensor *y = vr_new2(run, T, C);
    if (!y) return NULL;
    attention_job job = {.kernels = run->kernels, .y = y->data, .q = q->data, .k = k->data, .v = v->data,
                         .T = T, .H = heads, .N = C / heads, .scale = scale};
    size_t mark = vr_arena_mark(run->arena);
    bool done = compute(run, &job);
    vr_arena_release(run->arena, mark);
    return done ? y : NULL;
}
