/* The recurrences. Heads, and sequences, are independent: a chunk is some heads of one sequence, whose
 * rows it walks in order.
 *
 * wkv6, state [H, N key j, N value i]; with one decay for all rows this is RWKV-5:
 *     y[i]   = sum_j r[j](S[j,i] + u[j]k[j]v[i])
 *     S[j,i] = exp(-exp(w[j]))S[j,i] + k[j]v[i]        src: Peng et al. 2024 (arXiv 2404.05892), eq. 19
 *
 * wkv7, state [H, N value i, N key j]:
 *     S[i,j] = S[i,j]w[j] - (sum_l S[i,l]kk[l])kk[j]a[j] + v[i]k[j]
 *     y[i]   = sum_j S[i,j]r[j]                        src: Peng et al. 2025 (arXiv 2503.14456), section 4
 *
 * bonus, what a row of RWKV-7 adds to its own output past the state:
 *     y + (sum_j r[j]k[j]u[j])v                        src: the same */
#include "ops/internal.h"

#include <string.h>

typedef struct wkv_job {
    const vr_kernels *kernels;
    /* one head of one row: its channels begin at `at` */
    void (*step)(const struct wkv_job *job, int64_t at, int64_t h, float *state);
    float *y;
    const float *r, *w, *k, *v, *u, *kk, *a;
    const vr_span *spans;
    float *const *states;
    int64_t H, N, per, groups; /* heads of a chunk; chunks of a sequence */
    bool static_decay;
} wkv_job;

static void wkv_chunk(void *data, int64_t chunk, int thread) {
    const wkv_job *job = data;
    int64_t s = chunk / job->groups, h = chunk % job->groups * job->per, N = job->N, first = job->spans[s].start;
    int64_t end = h + job->per < job->H ? h + job->per : job->H;
    (void)thread;
    for (; h < end; h++)
        for (int64_t t = first; t < first + job->spans[s].length; t++)
            job->step(job, (t * job->H + h) * N, h, job->states[s] + h * N * N);
}

static void walk(vr_run *run, wkv_job *job, int64_t T, int n_spans) {
    job->kernels = run->kernels;
    job->per = T < 4 * (int64_t)n_spans ? 4 : 1; /* one row of one head is too little to hand around */
    job->groups = (job->H + job->per - 1) / job->per;
    vr_pool_run(run->pool, wkv_chunk, job, job->groups * n_spans);
}

static void step6(const wkv_job *job, int64_t at, int64_t h, float *state) {
    const float *w = job->w + (job->static_decay ? h * job->N : at);
    job->kernels->wkv6(job->y + at, state, job->r + at, job->k + at, job->v + at, w, job->u + h * job->N, job->N);
}

vr_tensor *vr_wkv6(vr_run *run, const vr_tensor *r, const vr_tensor *k, const vr_tensor *v, const vr_tensor *w,
                   const vr_tensor *u, const vr_span *spans, float *const *states, int n_spans) {
    int64_t count;
    if (!r || !k || !v || !w || !u || !states || !vr_op_start(run)) return NULL;
    if (!vr_op_is_rows(run, "wkv6", "r", r) || !vr_op_is_like(run, "wkv6", "k", k, r) ||
        !vr_op_is_like(run, "wkv6", "v", v, r))
        return NULL;
    int64_t T = r->shape[0], C = r->shape[1];
    bool static_decay = vr_shape_count(w->ndim, w->shape, &count) && count == C;
    if (!(static_decay ? vr_op_is_vector(run, "wkv6", "w", w, C) : vr_op_is_like(run, "wkv6", "w", w, r)) ||
        !vr_op_is_rows(run, "wkv6", "u", u) || !vr_op_is_vector(run, "wkv6", "u", u, C) ||
        !vr_op_spans_cover(run, "wkv6", spans, n_spans, T))
        return NULL;
    vr_tensor *y = vr_new2(run, T, C);
    if (!y) return NULL;
    wkv_job job = {.step = step6, .y = y->data, .r = r->data, .w = w->data, .k = k->data, .v = v->data, .u = u->data,
                   .spans = spans, .states = states, .H = u->shape[0], .N = u->shape[1], .static_decay = static_decay};
    walk(run, &job, T, n_spans);
    return y;
}

static void step7(const wkv_job *job, int64_t at, int64_t h, float *state) {
    (void)h;
    job->kernels->wkv7(job->y + at, state, job->r + at, job->w + at, job->k + at, job->v + at, job->kk + at, job->a + at,
                       job->N);
}

vr_tensor *vr_wkv7(vr_run *run, const vr_tensor *r, const vr_tensor *w, const vr_tensor *k, const vr_tensor *v,
                   const vr_tensor *kk, const vr_tensor *a, int heads, const vr_span *spans, float *const *states,
                   int n_spans) {
    if (!r || !w || !k || !v || !kk || !a || !states || !vr_op_start(run)) return NULL;
    if (!vr_op_is_rows(run, "wkv7", "r", r) || !vr_op_is_like(run, "wkv7", "w", w, r) ||
        !vr_op_is_like(run, "wkv7", "k", k, r) || !vr_op_is_like(run, "wkv7", "v", v, r) ||
        !vr_op_is_like(run, "wkv7", "kk", kk, r) || !vr_op_is_like(run, "wkv7", "a", a, r))
        return NULL;
    int64_t T = r->shape[0], C = r->shape[1];
    if (heads < 1 || C % heads != 0)
        return vr_op_fail(run, VRWKV_ERR_SHAPE, "wkv7: %d heads of %lld channels, expected a divisor", heads, (long long)C);
    if (!vr_op_spans_cover(run, "wkv7", spans, n_spans, T)) return NULL;
    vr_tensor *y = vr_new2(run, T, C);
    if (!y) return NULL;
    wkv_job job = {.step = step7, .y = y->data, .r = r->data, .w = w->data, .k = k->data, .v = v->data, .kk = kk->data,
                   .a = a->data, .spans = spans, .states = states, .H = heads, .N = C / heads};
    walk(run, &job, T, n_spans);
    return y;
}

typedef struct bonus_job {
    const vr_kernels *kernels;
    float *z;
    const float *y, *r, *k, *v, *u;
    int64_t H, N;
} bonus_job;

static void bonus_row(void *data, int64_t t, int thread) {
    const bonus_job *job = data;
    int64_t N = job->N;
    (void)thread;
    for (int64_t h = 0; h < job->H; h++) {
        int64_t at = (t * job->H + h) * N;
        float *z = job->z + at, amount;
        job->kernels->mul(z, job->r + at, job->k + at, N);
        job->kernels->gemm(&amount, 1, z, N, job->u + h * N, N, NULL, 1, 1, N);
        memcpy(z, job->y + at, (size_t)N * sizeof *z);
        job->kernels->axpy(z, amount, job->v + at, N);
    }
}

vr_tensor *vr_bonus(vr_run *run, const vr_tensor *y, const vr_tensor *r, const vr_tensor *k, const vr_tensor *v,
                    const vr_tensor *u) {
    if (!y || !r || !k || !v || !u || !vr_op_start(run)) return NULL;
    if (!vr_op_is_rows(run, "bonus", "y", y) || !vr_op_is_like(run, "bonus", "r", r, y) ||
        !vr_op_is_like(run, "bonus", "k", k, y) || !vr_op_is_like(run, "bonus", "v", v, y) ||
        !vr_op_is_rows(run, "bonus", "u", u) ||
        !vr_op_is_vector(run, "bonus", "u", u, y->shape[1]))
        return NULL;
    vr_tensor *z = vr_new2(run, y->shape[0], y->shape[1]);
    if (!z) return NULL;
    bonus_job job = {run->kernels, z->data, y->data, r->data, k->data, v->data, u->data, u->shape[0], u->shape[1]};
    vr_pool_run(run->pool, bonus_row, &job, y->shape[0]);
    return z;
}
