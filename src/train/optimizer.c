#include "train/optimizer.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 15 };

typedef struct norm_job {
    const float *grad;
    int64_t count;
    double *squares; /* per chunk */
} norm_job;

static void square_chunk(void *data, int64_t chunk, int thread) {
    const norm_job *job = data;
    int64_t end = (chunk + 1) * CHUNK < job->count ? (chunk + 1) * CHUNK : job->count;
    double sum[4] = {0};
    (void)thread;
    int64_t i = chunk * CHUNK;
    for (; i + 4 <= end; i += 4)
        for (int l = 0; l < 4; l++) sum[l] += (double)job->grad[i + l] * (double)job->grad[i + l];
    for (; i < end; i++) sum[0] += (double)job->grad[i] * (double)job->grad[i];
    job->squares[chunk] = sum[0] + sum[1] + (sum[2] + sum[3]);
}

/* Chunks' sums are added in their order: the same bits for any number of threads. */
static vr_status norm_of(const vr_weight_set *set, vr_pool *pool, double *norm, vr_error *err) {
    int64_t chunks = (set->count + CHUNK - 1) / CHUNK;
    norm_job job = {set->items[0].grad, set->count, vr_alloc((size_t)chunks, sizeof(double))};
    double sum = 0;
    if (!job.squares) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    vr_pool_run(pool, square_chunk, &job, chunks);
    for (int64_t i = 0; i < chunks; i++) sum += job.squares[i];
    free(job.squares);
    *norm = sqrt(sum);
    return VRWKV_OK;
}

typedef struct step_job {
    const vr_trained_weight *weight;
    float scale, beta1, beta2, correct1, correct2, eps, lr, decay;
} step_job;

static void step_chunk(void *data, int64_t chunk, int thread) {
    const step_job *job = data;
    const vr_trained_weight *w = job->weight;
    int64_t end = (chunk + 1) * CHUNK < w->count ? (chunk + 1) * CHUNK : w->count;
    (void)thread;
    for (int64_t i = chunk * CHUNK; i < end; i++) {
        float g = w->grad[i] * job->scale;
        w->m[i] = job->beta1 * w->m[i] + (1.0f - job->beta1) * g;
        w->v[i] = job->beta2 * w->v[i] + (1.0f - job->beta2) * g * g;
        float update = w->m[i] / job->correct1 / (sqrtf(w->v[i] / job->correct2) + job->eps);
        w->value[i] -= job->lr * (update + job->decay * w->value[i]);
        w->grad[i] = 0.0f;
    }
}

vr_status vr_adam_step(vr_adam *adam, const vr_weight_set *set, const vr_rates *rates, vr_pool *pool, double *norm,
                       vr_error *err) {
    VR_TRY(norm_of(set, pool, norm, err));
    if (!isfinite(*norm))
        return vr_fail(err, VRWKV_ERR_FORMAT, "the gradients' norm is %g after %lld steps: the training has diverged",
                       *norm, (long long)adam->steps);
    adam->steps++;
    double scale = adam->clip > 0 ? adam->clip / (*norm + 1e-6) : 1;
    step_job job = {.scale = scale < 1 ? (float)scale : 1.0f, .beta1 = (float)adam->beta1, .beta2 = (float)adam->beta2,
                    .correct1 = (float)(1 - pow(adam->beta1, (double)adam->steps)),
                    .correct2 = (float)(1 - pow(adam->beta2, (double)adam->steps)), .eps = (float)adam->eps};
    for (size_t i = 0; i < set->n; i++) {
        int group = vr_group_of(&set->items[i], adam->all_decay);
        job.weight = &set->items[i];
        job.lr = (float)rates->lr[group];
        job.decay = (float)rates->decay[group];
        vr_pool_run(pool, step_chunk, &job, (set->items[i].count + CHUNK - 1) / CHUNK);
    }
    return VRWKV_OK;
}
