/* Operations on elements: y = act(x), x + y, x * y, lerp, and the token shift. All are cut into chunks
 * of whole rows.
 *
 *     lerp:        y = x + (z - x)*(mu + m)        src: RWKV lerp, RWKV-6 ddlerp
 *     token_shift: p[t] = x[t-1]                   src: RWKV time_shift */
#include "ops/internal.h"

#include <string.h>

enum { CHUNK_FLOATS = 1 << 14 };

typedef struct rows_job {
    const vr_kernels *kernels;
    float *y;
    const float *x, *z, *m, *mu; /* z: second operand */
    int64_t T, C, z_stride, per; /* per: rows of a chunk */
    int act;
    void (*binary)(float *y, const float *x, const float *z, int64_t n);
    const vr_span *spans;
    float *const *carries;
    int n_spans;
} rows_job;

/* The backward pass of such a job: where gradients are added, NULL where none is wanted. */
typedef struct back_job {
    rows_job of;
    float *dx, *dz, *dm;
    const float *dy;
} back_job;

static back_job gradients(const vr_run *run, const rows_job *of) {
    return (back_job){*of, vr_grad(run, of->x), of->z ? vr_grad(run, of->z) : NULL, of->m ? vr_grad(run, of->m) : NULL,
                      vr_grad(run, of->y)};
}

static void run_rows(vr_run *run, vr_pool_fn fn, rows_job *job) {
    job->kernels = run->kernels;
    job->per = job->C > 0 && job->C < CHUNK_FLOATS ? CHUNK_FLOATS / job->C : 1;
    vr_pool_run(run->pool, fn, job, (job->T + job->per - 1) / job->per);
}

static int64_t chunk_end(const rows_job *job, int64_t chunk) {
    int64_t end = (chunk + 1) * job->per;
    return end < job->T ? end : job->T;
}

static void activate_chunk(void *data, int64_t chunk, int thread) {
    const rows_job *job = data;
    int64_t first = chunk * job->per * job->C, n = chunk_end(job, chunk) * job->C - first;
    (void)thread;
    job->kernels->activate(job->y + first, job->x + first, n, job->act);
}

/* A result of x's shape, for an f32 x of any number of axes. */
static vr_tensor *new_like(vr_run *run, const char *op, const vr_tensor *x) {
    char text[96];
    if (x->dtype == VR_F32 && x->ndim >= 1 && x->data) return vr_new(run, x->ndim, x->shape);
    return vr_op_fail(run, VRWKV_ERR_SHAPE, "%s: x is %s %s, expected f32 with at least one axis", op,
                      vr_dtype_of(x->dtype)->name, vr_shape_text(x->ndim, x->shape, text, sizeof text));
}

static void activate_back_rows(const void *data, int64_t first, int64_t end, float *sums) {
    const back_job *job = data;
    int64_t at = first * job->of.C;
    (void)sums;
    job->of.kernels->activate_back(job->dx + at, job->of.x + at, job->dy + at, end * job->of.C - at, job->of.act);
}

static void activate_back(vr_run *run, const void *saved) {
    back_job job = gradients(run, saved);
    if (job.dx) vr_op_back_rows(run, activate_back_rows, &job, job.of.T, job.of.C, NULL, 0);
}

vr_tensor *vr_activate(vr_run *run, const vr_tensor *x, vr_act act) {
    if (!x || !vr_op_start(run)) return NULL;
    if ((unsigned)act >= VR_ACT_COUNT)
        return vr_op_fail(run, VRWKV_ERR_ARGUMENT, "activate: function %d, expected 0 to %d", (int)act, VR_ACT_COUNT - 1);
    vr_tensor *y = new_like(run, "activate", x);
    if (!y) return NULL;
    rows_job job = {.y = y->data, .x = x->data, .T = vr_op_rows(x), .C = vr_op_columns(x), .act = act};
    run_rows(run, activate_chunk, &job);
    return vr_op_record(run, y, activate_back, &job, sizeof job);
}

static void binary_chunk(void *data, int64_t chunk, int thread) {
    const rows_job *job = data;
    (void)thread;
    for (int64_t t = chunk * job->per; t < chunk_end(job, chunk); t++)
        job->binary(job->y + t * job->C, job->x + t * job->C, job->z + t * job->z_stride, job->C);
}

static void add_back_rows(const void *data, int64_t first, int64_t end, float *sums) {
    const back_job *job = data;
    void (*add)(float *, const float *, const float *, int64_t) = job->of.kernels->add;
    int64_t C = job->of.C, at = first * C, n = end * C - at;
    if (job->dx) add(job->dx + at, job->dx + at, job->dy + at, n);
    if (job->dz && job->of.z_stride) add(job->dz + at, job->dz + at, job->dy + at, n);
    for (int64_t t = first; sums && t < end; t++) add(sums, sums, job->dy + t * C, C);
}

static void mul_back_rows(const void *data, int64_t first, int64_t end, float *sums) {
    const back_job *job = data;
    int64_t C = job->of.C;
    for (int64_t t = first; t < end; t++) {
        const float *x = job->of.x + t * C, *z = job->of.z + t * job->of.z_stride, *dy = job->dy + t * C;
        if (job->dx) job->of.kernels->mul_add(job->dx + t * C, dy, z, C);
        if (job->dz && job->of.z_stride) job->of.kernels->mul_add(job->dz + t * C, dy, x, C);
        if (sums) job->of.kernels->mul_add(sums, dy, x, C);
    }
}

/* A vector z has the sum over all rows as its gradient. */
static void binary_back(vr_run *run, const void *saved, vr_back_fn fn) {
    back_job job = gradients(run, saved);
    float *sums = job.of.z_stride ? NULL : job.dz;
    vr_op_back_rows(run, fn, &job, job.of.T, job.of.C, &sums, 1);
}

static void add_back(vr_run *run, const void *saved) { binary_back(run, saved, add_back_rows); }
static void mul_back(vr_run *run, const void *saved) { binary_back(run, saved, mul_back_rows); }

static vr_tensor *binary(vr_run *run, const char *op, const vr_tensor *x, const vr_tensor *z,
                         void (*fn)(float *, const float *, const float *, int64_t), vr_backward_fn backward) {
    int64_t T = vr_op_rows(x), C = vr_op_columns(x), count = -1;
    vr_tensor *y = new_like(run, op, x);
    if (!y) return NULL;
    bool vector = vr_shape_count(z->ndim, z->shape, &count) && count == C;
    if (!(vector ? vr_op_is_vector(run, op, "y", z, C) : vr_op_is_like(run, op, "y", z, x))) return NULL;
    rows_job job = {.y = y->data, .x = x->data, .z = z->data, .T = T, .C = C, .z_stride = vector ? 0 : C, .binary = fn};
    run_rows(run, binary_chunk, &job);
    return vr_op_record(run, y, backward, &job, sizeof job);
}

vr_tensor *vr_add(vr_run *run, const vr_tensor *x, const vr_tensor *y) {
    if (!x || !y || !vr_op_start(run)) return NULL;
    return binary(run, "add", x, y, run->kernels->add, add_back);
}

vr_tensor *vr_mul(vr_run *run, const vr_tensor *x, const vr_tensor *y) {
    if (!x || !y || !vr_op_start(run)) return NULL;
    return binary(run, "mul", x, y, run->kernels->mul, mul_back);
}

static void lerp_chunk(void *data, int64_t chunk, int thread) {
    const rows_job *job = data;
    (void)thread;
    for (int64_t t = chunk * job->per; t < chunk_end(job, chunk); t++) {
        int64_t at = t * job->C;
        job->kernels->lerp(job->y + at, job->x + at, job->z + at, job->mu, job->m ? job->m + at : NULL, job->C);
    }
}

static void lerp_back_rows(const void *data, int64_t first, int64_t end, float *sums) {
    const back_job *job = data;
    const rows_job *of = &job->of;
    for (int64_t t = first; t < end; t++) {
        int64_t at = t * of->C;
        of->kernels->lerp_back(job->dx ? job->dx + at : NULL, job->dz ? job->dz + at : NULL,
                               job->dm ? job->dm + at : NULL, sums, of->x + at, of->z + at, of->mu,
                               of->m ? of->m + at : NULL, job->dy + at, of->C);
    }
}

static void lerp_back(vr_run *run, const void *saved) {
    back_job job = gradients(run, saved);
    float *dmu = job.of.mu ? vr_grad(run, job.of.mu) : NULL;
    vr_op_back_rows(run, lerp_back_rows, &job, job.of.T, job.of.C, &dmu, 1);
}

vr_tensor *vr_lerp(vr_run *run, const vr_tensor *x, const vr_tensor *z, const vr_tensor *mu, const vr_tensor *m) {
    if (!x || !z || (!mu && !m) || !vr_op_start(run)) return NULL;
    if (!vr_op_is_rows(run, "lerp", "x", x) || !vr_op_is_like(run, "lerp", "z", z, x) ||
        (mu && !vr_op_is_vector(run, "lerp", "mu", mu, x->shape[1])) || (m && !vr_op_is_like(run, "lerp", "m", m, x)))
        return NULL;
    vr_tensor *y = vr_new2(run, x->shape[0], x->shape[1]);
    if (!y) return NULL;
    rows_job job = {.y = y->data, .x = x->data, .z = z->data, .mu = mu ? mu->data : NULL, .m = m ? m->data : NULL,
                    .T = x->shape[0], .C = x->shape[1]};
    run_rows(run, lerp_chunk, &job);
    return vr_op_record(run, y, lerp_back, &job, sizeof job);
}

/* Index of the sequence that holds row t. */
static int find_span(const vr_span *spans, int n, int64_t t) {
    int low = 0, high = n - 1;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (t < spans[middle].start + spans[middle].length)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void shift_chunk(void *data, int64_t chunk, int thread) {
    const rows_job *job = data;
    (void)thread;
    for (int64_t t = chunk * job->per; t < chunk_end(job, chunk); t++) {
        int s = find_span(job->spans, job->n_spans, t);
        const float *before = t == job->spans[s].start ? job->carries[s] : job->x + (t - 1) * job->C;
        memcpy(job->y + t * job->C, before, (size_t)job->C * sizeof(float));
    }
}

/* Row t was p[t+1], but for the last row of a sequence. */
static void shift_back_rows(const void *data, int64_t first, int64_t end, float *sums) {
    const back_job *job = data;
    const rows_job *of = &job->of;
    (void)sums;
    for (int64_t t = first; t < end; t++) {
        const vr_span *span = &of->spans[find_span(of->spans, of->n_spans, t)];
        float *to = job->dx + t * of->C;
        if (t + 1 < span->start + span->length) of->kernels->add(to, to, job->dy + (t + 1) * of->C, of->C);
    }
}

static void shift_back(vr_run *run, const void *saved) {
    back_job job = gradients(run, saved);
    const rows_job *of = &job.of;
    if (job.dx) vr_op_back_rows(run, shift_back_rows, &job, of->T, of->C, NULL, 0);
    for (int s = 0; s < of->n_spans; s++) {
        float *to = vr_grad(run, of->carries[s]);
        if (to && of->spans[s].length > 0) run->kernels->add(to, to, job.dy + of->spans[s].start * of->C, of->C);
    }
}

vr_tensor *vr_token_shift(vr_run *run, const vr_tensor *x, const vr_span *spans, float *const *carries, int n_spans) {
    if (!x || !carries || !vr_op_start(run)) return NULL;
    if (!vr_op_is_rows(run, "token_shift", "x", x) || !vr_op_spans_cover(run, "token_shift", spans, n_spans, x->shape[0]))
        return NULL;
    int64_t T = x->shape[0], C = x->shape[1];
    vr_tensor *p = vr_new2(run, T, C);
    if (!p) return NULL;
    rows_job job = {.y = p->data, .x = x->data, .T = T, .C = C, .spans = spans, .carries = carries, .n_spans = n_spans};
    run_rows(run, shift_chunk, &job);
    if (run->tape) /* then states stay as they are */
        return vr_op_keep_sequences(run, &job.spans, &job.carries, n_spans)
                   ? vr_op_record(run, p, shift_back, &job, sizeof job)
                   : NULL;
    for (int i = 0; i < n_spans; i++) /* after all rows: the first of each has read its carry */
        if (spans[i].length > 0)
            memcpy(carries[i], (const float *)x->data + (spans[i].start + spans[i].length - 1) * C,
                   (size_t)C * sizeof(float));
    return p;
}
