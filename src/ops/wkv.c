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
/* Backward, a sequence is walked from its end. The state before each row is needed again: with a tape, the
 * forward pass keeps it every STEPS rows, and the rows between are run again from there; so memory grows
 * with the rows by N*N/STEPS numbers per head. */
#include "ops/internal.h"

#include <string.h>

enum { STEPS = 16 };

typedef struct wkv_job wkv_job;

/* What is summed over the rows of a sequence; scratch of backward passes. */
typedef struct wkv_sums { float *du, *dw, *dstate, *scratch; } wkv_sums;

struct wkv_job {
    const vr_kernels *kernels;
    /* one head of one row: its channels begin at `at` */
    void (*step)(const wkv_job *job, int64_t at, int64_t h, float *state);
    float *y;
    const float *r, *w, *k, *v, *u, *kk, *a;
    const vr_span *spans;
    float *const *states;
    int n_spans;
    int64_t H, N, per, groups; /* heads of a chunk; chunks of a sequence */
    bool static_decay;
    float *kept;    /* with a tape: states [kept rows, H, N, N] */
    float *scratch; /* with a tape, per thread: a state */
};

/* The first kept state of sequence s. */
static int64_t first_kept(const wkv_job *job, int64_t s) {
    int64_t n = 0;
    for (int64_t i = 0; i < s; i++) n += (job->spans[i].length + STEPS - 1) / STEPS;
    return n;
}

/* Row t of sequence s begins with this state, t a multiple of STEPS. */
static float *kept_state(const wkv_job *job, int64_t first, int64_t t, int64_t h) {
    return job->kept + ((first + t / STEPS) * job->H + h) * job->N * job->N;
}

static void wkv_chunk(void *data, int64_t chunk, int thread) {
    const wkv_job *job = data;
    int64_t s = chunk / job->groups, h = chunk % job->groups * job->per, N = job->N, first = job->spans[s].start;
    int64_t end = h + job->per < job->H ? h + job->per : job->H, kept = job->kept ? first_kept(job, s) : 0;
    size_t bytes = (size_t)(N * N) * sizeof(float);
    for (; h < end; h++) {
        float *state = job->states[s] + h * N * N;
        if (job->scratch) state = memcpy(job->scratch + thread * N * N, state, bytes);
        for (int64_t t = 0; t < job->spans[s].length; t++) {
            if (job->kept && t % STEPS == 0) memcpy(kept_state(job, kept, t, h), state, bytes);
            job->step(job, ((first + t) * job->H + h) * N, h, state);
        }
    }
}

/* Runs the recurrence and records it. */
static vr_tensor *walk(vr_run *run, wkv_job *job, vr_tensor *y, int64_t T, int n_spans, vr_backward_fn backward) {
    size_t state = (size_t)(job->N * job->N);
    job->kernels = run->kernels;
    job->n_spans = n_spans;
    job->per = T < 4 * (int64_t)n_spans ? 4 : 1; /* one row of one head is too little to hand around */
    job->groups = (job->H + job->per - 1) / job->per;
    if (!vr_op_keep_sequences(run, &job->spans, &job->states, n_spans)) return NULL;
    if (vr_op_records(run)) {
        job->kept = vr_op_memory(run, (size_t)(first_kept(job, n_spans) * job->H) * state, sizeof(float));
        if (!job->kept) return NULL;
    }
    size_t mark = vr_arena_mark(run->arena);
    if (run->tape) {
        job->scratch = vr_op_memory(run, (size_t)vr_pool_threads(run->pool) * state, sizeof(float));
        if (!job->scratch) return NULL;
    }
    vr_pool_run(run->pool, wkv_chunk, job, job->groups * n_spans);
    vr_arena_release(run->arena, mark);
    return vr_op_record(run, y, backward, job, sizeof *job);
}

/* ---- backward ---- */

typedef struct wkv_back wkv_back;
struct wkv_back {
    const wkv_job *of;
    void (*step)(const wkv_back *back, int64_t at, int64_t h, const float *states, float *dstate, const wkv_sums *sums);
    const float *dy;
    float *dr, *dw, *dk, *dv, *dkk, *da;
    float *du, *dw_static; /* per sequence: [H,N] */
    float *dstates;        /* per sequence: [H,N,N] */
    float *scratch;        /* per thread: the states of STEPS rows and the one after them, [2,N] */
    int64_t scratch_size;
};

/* One head of one sequence, from its end. */
static void back_chunk(void *data, int64_t chunk, int thread) {
    const wkv_back *b = data;
    const wkv_job *job = b->of;
    int64_t s = chunk / job->H, h = chunk % job->H, N = job->N, first = job->spans[s].start, kept = first_kept(job, s);
    size_t state = (size_t)(N * N);
    float *states = b->scratch + thread * b->scratch_size;
    wkv_sums sums = {b->du + chunk * N, b->dw_static + chunk * N, b->dstates + chunk * N * N,
                     states + (STEPS + 1) * N * N};
    memset(sums.du, 0, (size_t)N * sizeof(float));
    memset(sums.dw, 0, (size_t)N * sizeof(float));
    memset(sums.dstate, 0, state * sizeof(float));
    for (int64_t t = (job->spans[s].length + STEPS - 1) / STEPS * STEPS - STEPS; t >= 0; t -= STEPS) {
        int64_t n = job->spans[s].length - t < STEPS ? job->spans[s].length - t : STEPS;
        memcpy(states, kept_state(job, kept, t, h), state * sizeof(float));
        for (int64_t i = 0; i < n; i++) {
            float *after = memcpy(states + (size_t)(i + 1) * state, states + (size_t)i * state, state * sizeof(float));
            job->step(job, ((first + t + i) * job->H + h) * N, h, after);
        }
        for (int64_t i = n - 1; i >= 0; i--)
            b->step(b, ((first + t + i) * job->H + h) * N, h, states + (size_t)i * state, sums.dstate, &sums);
    }
}

/* Sums over sequences, in their order, head by head: several sequences may begin with the same state. */
typedef struct gather_job {
    const wkv_back *back;
    float *const *to_states; /* per sequence, or NULL */
    float *du, *dw;          /* or NULL */
} gather_job;

static void gather_head(void *data, int64_t h, int thread) {
    const gather_job *g = data;
    const wkv_job *job = g->back->of;
    int64_t N = job->N;
    void (*add)(float *, const float *, const float *, int64_t) = job->kernels->add;
    (void)thread;
    for (int64_t s = 0; s < job->n_spans; s++) {
        int64_t chunk = s * job->H + h;
        if (g->du) add(g->du + h * N, g->du + h * N, g->back->du + chunk * N, N);
        if (g->dw) add(g->dw + h * N, g->dw + h * N, g->back->dw_static + chunk * N, N);
        if (!g->to_states[s]) continue;
        float *to = g->to_states[s] + h * N * N;
        add(to, to, g->back->dstates + chunk * N * N, N * N);
    }
}

static void walk_back(vr_run *run, wkv_back *b) {
    const wkv_job *job = b->of;
    size_t mark = vr_arena_mark(run->arena), chunks = (size_t)(job->n_spans * job->H), N = (size_t)job->N;
    b->scratch_size = (STEPS + 1) * job->N * job->N + 2 * job->N;
    b->scratch = vr_op_memory(run, (size_t)vr_pool_threads(run->pool) * (size_t)b->scratch_size, sizeof(float));
    b->du = vr_op_memory(run, chunks * N, sizeof(float));
    b->dw_static = vr_op_memory(run, chunks * N, sizeof(float));
    b->dstates = vr_op_memory(run, chunks * N * N, sizeof(float));
    float **to_states = vr_op_memory(run, (size_t)job->n_spans, sizeof *to_states);
    if (vr_run_status(run) == VRWKV_OK) {
        for (int s = 0; s < job->n_spans; s++) to_states[s] = vr_grad(run, job->states[s]);
        vr_pool_run(run->pool, back_chunk, b, (int64_t)chunks);
        gather_job gather = {b, to_states, vr_grad(run, job->u), job->static_decay ? vr_grad(run, job->w) : NULL};
        vr_pool_run(run->pool, gather_head, &gather, job->H);
    }
    vr_arena_release(run->arena, mark);
}

static void step6(const wkv_job *job, int64_t at, int64_t h, float *state) {
    const float *w = job->w + (job->static_decay ? h * job->N : at);
    job->kernels->wkv6(job->y + at, state, job->r + at, job->k + at, job->v + at, w, job->u + h * job->N, job->N);
}

static void step6_back(const wkv_back *b, int64_t at, int64_t h, const float *states, float *dstate, const wkv_sums *sums) {
    const wkv_job *job = b->of;
    const float *w = job->w + (job->static_decay ? h * job->N : at);
    vr_wkv6_back step = {.r = job->r + at, .k = job->k + at, .v = job->v + at, .w = w, .u = job->u + h * job->N,
                         .dy = b->dy + at, .state = states, .dr = b->dr + at, .dk = b->dk + at, .dv = b->dv + at,
                         .dw = job->static_decay ? sums->dw : b->dw + at, .du = sums->du, .dstate = dstate};
    job->kernels->wkv6_back(&step, job->N);
}

static void wkv6_back(vr_run *run, const void *saved) {
    const wkv_job *job = saved;
    wkv_back b = {.of = job, .step = step6_back, .dy = vr_grad(run, job->y), .dr = vr_grad(run, job->r),
                  .dk = vr_grad(run, job->k), .dv = vr_grad(run, job->v),
                  .dw = job->static_decay ? NULL : vr_grad(run, job->w)};
    walk_back(run, &b);
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
    return walk(run, &job, y, T, n_spans, wkv6_back);
}

static void step7(const wkv_job *job, int64_t at, int64_t h, float *state) {
    (void)h;
    job->kernels->wkv7(job->y + at, state, job->r + at, job->w + at, job->k + at, job->v + at, job->kk + at, job->a + at,
                       job->N);
}

static void step7_back(const wkv_back *b, int64_t at, int64_t h, const float *states, float *dstate, const wkv_sums *sums) {
    const wkv_job *job = b->of;
    (void)h;
    vr_wkv7_back step = {.r = job->r + at, .w = job->w + at, .k = job->k + at, .v = job->v + at, .kk = job->kk + at,
                         .a = job->a + at, .dy = b->dy + at, .state = states, .after = states + job->N * job->N,
                         .dr = b->dr + at, .dw = b->dw + at, .dk = b->dk + at, .dv = b->dv + at, .dkk = b->dkk + at,
                         .da = b->da + at, .dstate = dstate, .scratch = sums->scratch};
    job->kernels->wkv7_back(&step, job->N);
}

static void wkv7_back(vr_run *run, const void *saved) {
    const wkv_job *job = saved;
    wkv_back b = {.of = job, .step = step7_back, .dy = vr_grad(run, job->y), .dr = vr_grad(run, job->r),
                  .dw = vr_grad(run, job->w), .dk = vr_grad(run, job->k), .dv = vr_grad(run, job->v),
                  .dkk = vr_grad(run, job->kk), .da = vr_grad(run, job->a)};
    walk_back(run, &b);
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
    return walk(run, &job, y, T, n_spans, wkv7_back);
}

typedef struct bonus_job {
    const vr_kernels *kernels;
    float *z;
    const float *y, *r, *k, *v, *u;
    int64_t T, H, N;
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

typedef struct bonus_back_job {
    bonus_job of;
    const float *dz;
    float *dy, *dr, *dk, *dv;
} bonus_back_job;

/* With the amount a = sum_j r k u and da = dz.v: dv = a dz, dr = da k u, dk = da r u, du = da r k. */
static void bonus_back_rows(const void *data, int64_t first, int64_t end, float *sums) {
    const bonus_back_job *job = data;
    int64_t N = job->of.N;
    for (int64_t head = first * job->of.H; head < end * job->of.H; head++) {
        int64_t at = head * N, h = head % job->of.H * N;
        const float *r = job->of.r + at, *k = job->of.k + at, *u = job->of.u + h, *dz = job->dz + at;
        float amount = 0.0f, damount;
        for (int64_t i = 0; i < N; i++) amount += r[i] * k[i] * u[i];
        job->of.kernels->gemm(&damount, 1, dz, N, job->of.v + at, N, NULL, 1, 1, N);
        job->of.kernels->axpy(job->dv + at, amount, dz, N);
        job->of.kernels->add(job->dy + at, job->dy + at, dz, N);
        for (int64_t i = 0; i < N; i++) {
            job->dr[at + i] += damount * k[i] * u[i];
            job->dk[at + i] += damount * r[i] * u[i];
            if (sums) sums[h + i] += damount * r[i] * k[i];
        }
    }
}

static void bonus_back(vr_run *run, const void *saved) {
    const bonus_job *of = saved;
    float *du = vr_grad(run, of->u);
    bonus_back_job job = {
        *of, vr_grad(run, of->z), vr_grad(run, of->y), vr_grad(run, of->r), vr_grad(run, of->k), vr_grad(run, of->v)};
    vr_op_back_rows(run, bonus_back_rows, &job, of->T, of->H * of->N, &du, 1);
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
    bonus_job job = {run->kernels, z->data, y->data, r->data, k->data, v->data, u->data,
                     y->shape[0], u->shape[0], u->shape[1]};
    vr_pool_run(run->pool, bonus_row, &job, y->shape[0]);
    return vr_op_record(run, z, bonus_back, &job, sizeof job);
}
