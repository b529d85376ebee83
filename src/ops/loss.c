/* The loss: cross entropy of rows of logits against labels, each row with a weight of its own, and the
 * pull on the largest logit that RWKV is trained with.
 *
 *     loss = sum over rows t with a label of weight[t] * (log sum exp(logits[t]) - logits[t, label[t]])
 *     dlogits[t] = dloss * weight[t] * (softmax(logits[t]) - [label[t]])
 *     and in every row, labelled or not, pull * the largest logit at its place: src: RWKV-LM L2Wrap, whose
 *     value is no part of the loss, and which no factor of the loss scales */
#include "ops/internal.h"

#include <math.h>
#include <string.h>

enum { CHUNK_FLOATS = 1 << 14 };

typedef struct loss_job {
    const vr_kernels *kernels;
    const float *logits, *loss, *weights;
    const int32_t *labels; /* negative: none */
    float pull;
    int64_t T, V, per;
    double *losses; /* per row */
    float *scratch; /* per thread [V] */
    float *dlogits, scale;
} loss_job;

static int64_t find_largest(const float *x, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static void loss_chunk(void *data, int64_t chunk, int thread) {
    const loss_job *job = data;
    int64_t end = (chunk + 1) * job->per < job->T ? (chunk + 1) * job->per : job->T, V = job->V;
    float *p = job->scratch + thread * V;
    for (int64_t t = chunk * job->per; t < end; t++) {
        const float *row = job->logits + t * V;
        job->losses[t] = 0;
        if (job->labels[t] < 0) continue;
        int64_t largest = find_largest(row, V);
        memcpy(p, row, (size_t)V * sizeof *p);
        job->kernels->softmax(p, V); /* the largest one's share is 1 / sum exp(logit - largest) */
        double log_sum = (double)row[largest] - log((double)p[largest]);
        job->losses[t] = (double)job->weights[t] * (log_sum - (double)row[job->labels[t]]);
    }
}

static void back_chunk(void *data, int64_t chunk, int thread) {
    const loss_job *job = data;
    int64_t end = (chunk + 1) * job->per < job->T ? (chunk + 1) * job->per : job->T, V = job->V;
    float *p = job->scratch + thread * V;
    for (int64_t t = chunk * job->per; t < end; t++) {
        const float *row = job->logits + t * V;
        float *to = job->dlogits + t * V;
        if (job->labels[t] >= 0) {
            float weight = job->scale * job->weights[t];
            memcpy(p, row, (size_t)V * sizeof *p);
            job->kernels->softmax(p, V);
            job->kernels->axpy(to, weight, p, V);
            to[job->labels[t]] -= weight;
        }
        if (job->pull != 0.0f) {
            int64_t largest = find_largest(row, V);
            to[largest] += job->pull * row[largest];
        }
    }
}

static bool walk(vr_run *run, loss_job *job, vr_pool_fn fn) {
    job->per = job->V < CHUNK_FLOATS ? CHUNK_FLOATS / job->V : 1;
    job->scratch = vr_op_memory(run, (size_t)vr_pool_threads(run->pool) * (size_t)job->V, sizeof(float));
    if (!job->scratch) return false;
    vr_pool_run(run->pool, fn, job, (job->T + job->per - 1) / job->per);
    return true;
}

static void loss_back(vr_run *run, const void *saved) {
    loss_job job = *(const loss_job *)saved;
    size_t mark = vr_arena_mark(run->arena);
    job.dlogits = vr_grad(run, job.logits);
    job.scale = *vr_grad(run, job.loss);
    if (job.dlogits) walk(run, &job, back_chunk);
    vr_arena_release(run->arena, mark);
}

/* What the tape needs of the caller's, in the arena. */
static bool keep_labels(vr_run *run, loss_job *job) {
    int32_t *labels = vr_op_memory(run, (size_t)job->T, sizeof *labels);
    float *weights = vr_op_memory(run, (size_t)job->T, sizeof *weights);
    if (!labels || !weights) return false;
    memcpy(labels, job->labels, (size_t)job->T * sizeof *labels);
    memcpy(weights, job->weights, (size_t)job->T * sizeof *weights);
    job->labels = labels, job->weights = weights;
    return true;
}

vr_tensor *vr_cross_entropy(vr_run *run, const vr_tensor *logits, const int32_t *labels, const float *weights, float pull) {
    if (!logits || !labels || !weights || !vr_op_start(run) || !vr_op_is_rows(run, "cross_entropy", "logits", logits))
        return NULL;
    int64_t T = logits->shape[0], V = logits->shape[1], one = 1;
    for (int64_t t = 0; t < T; t++)
        if (labels[t] >= V)
            return vr_op_fail(run, VRWKV_ERR_ARGUMENT, "cross_entropy: label %d in row %lld, expected below %lld",
                              (int)labels[t], (long long)t, (long long)V);
    vr_tensor *loss = vr_new(run, 1, &one);
    if (!loss) return NULL;
    loss_job job = {.kernels = run->kernels, .logits = logits->data, .loss = loss->data, .weights = weights,
                    .labels = labels, .pull = pull, .T = T, .V = V};
    if (vr_op_records(run) && !keep_labels(run, &job)) return NULL;
    size_t mark = vr_arena_mark(run->arena);
    double sum = 0;
    job.losses = vr_op_memory(run, (size_t)T, sizeof *job.losses);
    if (!job.losses || !walk(run, &job, loss_chunk)) return NULL;
    for (int64_t t = 0; t < T; t++) sum += job.losses[t];
    *(float *)loss->data = (float)sum;
    vr_arena_release(run->arena, mark);
    return vr_op_record(run, loss, loss_back, &job, sizeof job);
}
