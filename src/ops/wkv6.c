/* The RWKV-6 recurrence. Heads, and sequences, are independent: a chunk is some heads of one sequence,
 * whose tokens it walks in order. State of a sequence: [H, N key j, N value i].
 *
 *     y[i]   = sum_j r[j](S[j,i] + u[j]k[j]v[i])
 *     S[j,i] = exp(-exp(w[j]))S[j,i] + k[j]v[i]        src: Peng et al. 2024 (arXiv 2404.05892), eq. 19 */
#include "ops/internal.h"

typedef struct wkv6_job {
    const vr_kernels *kernels;
    float *y;
    const float *r, *k, *v, *w, *u;
    const vr_span *spans;
    float *const *states;
    int64_t H, N, per, groups; /* heads of a chunk; chunks of a sequence */
} wkv6_job;

static void wkv6_chunk(void *data, int64_t chunk, int thread) {
    const wkv6_job *job = data;
    int64_t s = chunk / job->groups, h = chunk % job->groups * job->per, N = job->N, C = job->H * N;
    int64_t end = h + job->per < job->H ? h + job->per : job->H, first = job->spans[s].start;
    (void)thread;
    for (; h < end; h++)
        for (int64_t t = first; t < first + job->spans[s].length; t++) {
            int64_t at = t * C + h * N;
            job->kernels->wkv6(job->y + at, job->states[s] + h * N * N, job->r + at, job->k + at, job->v + at, job->w + at,
                               job->u + h * N, N);
        }
}

vr_tensor *vr_wkv6(vr_run *run, const vr_tensor *r, const vr_tensor *k, const vr_tensor *v, const vr_tensor *w,
                   const vr_tensor *u, const vr_span *spans, float *const *states, int n_spans) {
    if (!r || !k || !v || !w || !u || !states || !vr_op_start(run)) return NULL;
    if (!vr_op_is_rows(run, "wkv6", "r", r) || !vr_op_is_like(run, "wkv6", "k", k, r) ||
        !vr_op_is_like(run, "wkv6", "v", v, r) || !vr_op_is_like(run, "wkv6", "w", w, r) ||
        !vr_op_is_rows(run, "wkv6", "u", u) || !vr_op_is_vector(run, "wkv6", "u", u, r->shape[1]) ||
        !vr_op_spans_cover(run, "wkv6", spans, n_spans, r->shape[0]))
        return NULL;
    int64_t T = r->shape[0], H = u->shape[0];
    vr_tensor *y = vr_new2(run, T, r->shape[1]);
    if (!y) return NULL;
    wkv6_job job = {run->kernels, y->data, r->data, k->data, v->data, w->data, u->data, spans, states, H, u->shape[1], 1, H};
    if (T < 4 * (int64_t)n_spans) job.per = 4; /* one token of one head is too little to hand around */
    job.groups = (H + job.per - 1) / job.per;
    vr_pool_run(run->pool, wkv6_chunk, &job, job.groups * n_spans);
    return y;
}
