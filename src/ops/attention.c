/* Softmax attention without mask, over all rows or within windows of a grid. First each head's keys
 * are gathered and its values transposed (both then lie densely, as the product's kernel wants its
 * right side); then blocks of query rows of one head are claimed: scores [block, S] exist for one
 * block per thread only.
 *
 *     y = softmax((q*scale) k^T + relative) v, per head    src: transformers CLIPAttention, SAM Attention
 *
 * Backward, a head is one chunk, since all its queries add to its keys and values. Its scores are computed
 * again, a block of queries at a time; with P the softmax's rows and S the logits:
 *
 *     dv += P^T dy,  dP = dy v^T,  dS = P*(dP - sum(P*dP)),  dq += scale dS k,  dk += dS^T (scale q)
 *     d rel_h[r] += q * (the dS of all keys whose row of the table is r), and dq likewise of the table */
#include "ops/internal.h"

#include <string.h>

enum { BLOCK = 48, ALIGN = 16 };

typedef struct attention_job {
    const vr_kernels *kernels;
    float *y;
    const float *q, *k, *v;
    const float *rel_h, *rel_w; /* [2*height-1, N], [2*width-1, N]; NULL: no relative terms */
    vr_grid window;
    float *keys;    /* [windows, H, S, N] */
    float *values;  /* [windows, H, N, stride] */
    float *scratch; /* per thread: queries [BLOCK, N], scores [BLOCK, stride], relative [height + width] */
    int64_t windows, S, H, N, stride, blocks, scratch_size; /* S: rows of a window */
    float scale;
} attention_job;

/* head: of all windows' heads. */
static void gather_head(void *data, int64_t head, int thread) {
    const attention_job *job = data;
    int64_t N = job->N, C = job->H * N, from = head / job->H * job->S * C + head % job->H * N;
    float *keys = job->keys + head * job->S * N, *values = job->values + head * N * job->stride;
    (void)thread;
    for (int64_t t = 0; t < job->S; t++) {
        const float *k = job->k + from + t * C, *v = job->v + from + t * C;
        for (int64_t i = 0; i < N; i++) keys[t * N + i] = k[i];
        for (int64_t i = 0; i < N; i++) values[i * job->stride + t] = v[i];
    }
}

/* The keys of a window's row ky are those of table row qy - ky + height-1: in falling order of ky they
 * are the `height` rows from qy on; columns likewise. */
static void add_relative(const attention_job *job, float *scores, const float *q, int64_t t, float *terms) {
    int64_t height = job->window.height, width = job->window.width, N = job->N;
    float *down = terms, *across = terms + height;
    job->kernels->gemm(down, height, q, N, job->rel_h + t / width * N, N, NULL, 1, height, N);
    job->kernels->gemm(across, width, q, N, job->rel_w + t % width * N, N, NULL, 1, width, N);
    for (int64_t y = 0; y < height; y++, scores += width)
        for (int64_t x = 0; x < width; x++) scores[x] += down[height - 1 - y] + across[width - 1 - x];
}

static void attend_block(void *data, int64_t chunk, int thread) {
    const attention_job *job = data;
    int64_t S = job->S, N = job->N, C = job->H * N, head = chunk / job->blocks, first = chunk % job->blocks * BLOCK;
    int64_t n = first + BLOCK <= S ? BLOCK : S - first;
    int64_t at = (head / job->H * S + first) * C + head % job->H * N; /* of the block's first query in q and y */
    float *queries = job->scratch + thread * job->scratch_size, *scores = queries + BLOCK * N;
    float *terms = scores + BLOCK * job->stride;
    for (int64_t t = 0; t < n; t++)
        for (int64_t i = 0; i < N; i++) queries[t * N + i] = job->q[at + t * C + i] * job->scale;
    job->kernels->gemm(scores, job->stride, queries, N, job->keys + head * S * N, N, NULL, n, S, N);
    for (int64_t t = 0; job->rel_h && t < n; t++)
        add_relative(job, scores + t * job->stride, job->q + at + t * C, first + t, terms);
    for (int64_t t = 0; t < n; t++) job->kernels->softmax(scores + t * job->stride, S);
    job->kernels->gemm(job->y + at, C, scores, job->stride, job->values + head * N * job->stride, job->stride, NULL, n, N,
                       S);
}

typedef struct attention_back {
    const attention_job *of;
    const float *dy;
    float *dq, *dk, *dv;
    float *tables;  /* gradients of rel_h, rel_w from each head: [windows*H, table_size]; NULL: none */
    float *scratch; /* per thread: scaled q, k, v, dy, dq, dk, dv [S,N] each; P, dS [BLOCK, stride]; relative */
    int64_t scratch_size, table_size;
} attention_back;

static void take_head(float *to, const float *from, int64_t S, int64_t N, int64_t C, float scale) {
    for (int64_t t = 0; t < S; t++)
        for (int64_t i = 0; i < N; i++) to[t * N + i] = from[t * C + i] * scale;
}

static void add_head(const vr_kernels *kernels, float *to, const float *from, int64_t S, int64_t N, int64_t C, float scale) {
    for (int64_t t = 0; to && t < S; t++) kernels->axpy(to + t * C, scale, from + t * N, N);
}

/* The relative terms of query t: ds [S] are the gradients of its logits, dq [N] that of the unscaled query. */
static void relative_back(const attention_job *job, const float *ds, const float *q, float *dq, int64_t t, float *terms,
                          float *tables) {
    int64_t height = job->window.height, width = job->window.width, N = job->N;
    int64_t first_h = t / width, first_w = t % width;
    float *down = terms, *across = terms + height, *table_w = tables + (2 * height - 1) * N;
    memset(terms, 0, (size_t)(height + width) * sizeof *terms);
    for (int64_t y = 0; y < height; y++, ds += width)
        for (int64_t x = 0; x < width; x++) {
            down[height - 1 - y] += ds[x];
            across[width - 1 - x] += ds[x];
        }
    for (int64_t i = 0; i < height; i++) {
        job->kernels->axpy(tables + (first_h + i) * N, down[i], q, N);
        job->kernels->axpy(dq, down[i], job->rel_h + (first_h + i) * N, N);
    }
    for (int64_t i = 0; i < width; i++) {
        job->kernels->axpy(table_w + (first_w + i) * N, across[i], q, N);
        job->kernels->axpy(dq, across[i], job->rel_w + (first_w + i) * N, N);
    }
}

static void attend_back(void *data, int64_t head, int thread) {
    const attention_back *b = data;
    const attention_job *job = b->of;
    const vr_kernels *kernels = job->kernels;
    int64_t S = job->S, N = job->N, C = job->H * N, at = head / job->H * S * C + head % job->H * N, stride = job->stride;
    float *q = b->scratch + thread * b->scratch_size, *k = q + S * N, *v = k + S * N, *dy = v + S * N, *dq = dy + S * N;
    float *dk = dq + S * N, *dv = dk + S * N, *p = dv + S * N, *ds = p + BLOCK * stride, *terms = ds + BLOCK * stride;
    float *tables = b->tables ? b->tables + head * b->table_size : NULL;
    take_head(q, job->q + at, S, N, C, job->scale);
    take_head(k, job->k + at, S, N, C, 1.0f);
    take_head(v, job->v + at, S, N, C, 1.0f);
    take_head(dy, b->dy + at, S, N, C, 1.0f);
    memset(dq, 0, (size_t)(3 * S * N) * sizeof *dq);
    if (tables) memset(tables, 0, (size_t)b->table_size * sizeof *tables);
    for (int64_t first = 0; first < S; first += BLOCK) {
        int64_t n = first + BLOCK <= S ? BLOCK : S - first;
        kernels->gemm(p, stride, q + first * N, N, k, N, NULL, n, S, N);
        for (int64_t t = 0; tables && t < n; t++)
            add_relative(job, p + t * stride, job->q + at + (first + t) * C, first + t, terms);
        kernels->gemm(ds, stride, dy + first * N, N, v, N, NULL, n, S, N);
        for (int64_t t = 0; t < n; t++) {
            float *weights = p + t * stride, *gradient = ds + t * stride, along;
            kernels->softmax(weights, S);
            kernels->gemm(&along, 1, weights, S, gradient, S, NULL, 1, 1, S);
            for (int64_t i = 0; i < S; i++) gradient[i] = weights[i] * (gradient[i] - along);
            if (tables && b->dq)
                relative_back(job, gradient, job->q + at + (first + t) * C, b->dq + at + (first + t) * C, first + t,
                              terms, tables);
        }
        kernels->outer(dv, N, p, 1, stride, dy + first * N, N, S, N, n);
        kernels->outer(dq + first * N, N, ds, stride, 1, k, N, n, N, S);
        kernels->outer(dk, N, ds, 1, stride, q + first * N, N, S, N, n);
    }
    add_head(kernels, b->dq ? b->dq + at : NULL, dq, S, N, C, job->scale);
    add_head(kernels, b->dk ? b->dk + at : NULL, dk, S, N, C, 1.0f);
    add_head(kernels, b->dv ? b->dv + at : NULL, dv, S, N, C, 1.0f);
}

static void attention_backward(vr_run *run, const void *saved) {
    const attention_job *job = saved;
    attention_back b = {.of = job, .dy = vr_grad(run, job->y), .dq = vr_grad(run, job->q), .dk = vr_grad(run, job->k),
                        .dv = vr_grad(run, job->v)};
    int64_t heads = job->windows * job->H, rows_h = 2 * job->window.height - 1, rows_w = 2 * job->window.width - 1;
    size_t mark = vr_arena_mark(run->arena);
    b.scratch_size = 7 * job->S * job->N + 2 * BLOCK * job->stride + job->window.height + job->window.width;
    b.scratch = vr_op_memory(run, (size_t)vr_pool_threads(run->pool) * (size_t)b.scratch_size, sizeof(float));
    if (job->rel_h) {
        b.table_size = (rows_h + rows_w) * job->N;
        b.tables = vr_op_memory(run, (size_t)(heads * b.table_size), sizeof(float));
    }
    if (b.scratch && (b.tables || !job->rel_h)) {
        float *drel_h = vr_grad(run, job->rel_h), *drel_w = vr_grad(run, job->rel_w);
        vr_pool_run(run->pool, attend_back, &b, heads);
        for (int64_t head = 0; b.tables && head < heads; head++) {
            const float *from = b.tables + head * b.table_size;
            if (drel_h) run->kernels->add(drel_h, drel_h, from, rows_h * job->N);
            if (drel_w) run->kernels->add(drel_w, drel_w, from + rows_h * job->N, rows_w * job->N);
        }
    }
    vr_arena_release(run->arena, mark);
}

static bool compute(vr_run *run, attention_job *job) {
    size_t threads = (size_t)vr_pool_threads(run->pool), heads = (size_t)(job->windows * job->H);
    job->stride = (job->S + ALIGN - 1) / ALIGN * ALIGN;
    job->blocks = (job->S + BLOCK - 1) / BLOCK;
    job->scratch_size = BLOCK * (job->N + job->stride) + job->window.height + job->window.width;
    job->keys = vr_op_memory(run, heads * (size_t)(job->S * job->N), sizeof(float));
    job->values = vr_op_memory(run, heads * (size_t)(job->stride * job->N), sizeof(float));
    job->scratch = vr_op_memory(run, threads * (size_t)job->scratch_size, sizeof(float));
    if (!job->keys || !job->values || !job->scratch) return false;
    vr_pool_run(run->pool, gather_head, job, job->windows * job->H);
    vr_pool_run(run->pool, attend_block, job, job->windows * job->H * job->blocks);
    return true;
}

static bool inputs_fit(vr_run *run, const char *op, const vr_tensor *q, const vr_tensor *k, const vr_tensor *v, int heads) {
    if (!vr_op_is_rows(run, op, "q", q) || !vr_op_is_like(run, op, "k", k, q) || !vr_op_is_like(run, op, "v", v, q))
        return false;
    if (heads >= 1 && q->shape[1] % heads == 0) return true;
    vr_op_fail(run, VRWKV_ERR_SHAPE, "%s: %d heads of %lld channels, expected a divisor", op, heads, (long long)q->shape[1]);
    return false;
}

/* Rows of all windows; the job's relative terms and window are set. */
static vr_tensor *attend(vr_run *run, attention_job *job, const vr_tensor *q, const vr_tensor *k, const vr_tensor *v) {
    vr_tensor *y = vr_new2(run, q->shape[0], q->shape[1]);
    if (!y) return NULL;
    job->kernels = run->kernels;
    job->y = y->data, job->q = q->data, job->k = k->data, job->v = v->data;
    size_t mark = vr_arena_mark(run->arena);
    bool done = compute(run, job);
    vr_arena_release(run->arena, mark);
    return done ? vr_op_record(run, y, attention_backward, job, sizeof *job) : NULL;
}

vr_tensor *vr_attention(vr_run *run, const vr_tensor *q, const vr_tensor *k, const vr_tensor *v, int heads, float scale) {
    if (!q || !k || !v || !vr_op_start(run) || !inputs_fit(run, "attention", q, k, v, heads)) return NULL;
    attention_job job = {.windows = 1, .S = q->shape[0], .H = heads, .N = q->shape[1] / heads, .scale = scale};
    return attend(run, &job, q, k, v);
}

static bool table_fits(vr_run *run, const char *name, const vr_tensor *table, int64_t size, int64_t N) {
    if (!vr_op_is_rows(run, "attention_2d", name, table)) return false;
    if (table->shape[0] == 2 * size - 1 && table->shape[1] == N) return true;
    vr_op_fail(run, VRWKV_ERR_SHAPE, "attention_2d: %s is [%lld, %lld], expected [%lld, %lld] for a side of %lld", name,
               (long long)table->shape[0], (long long)table->shape[1], (long long)(2 * size - 1), (long long)N,
               (long long)size);
    return false;
}

vr_tensor *vr_attention_2d(vr_run *run, const vr_tensor *q, const vr_tensor *k, const vr_tensor *v, int heads, float scale,
                           vr_grid window, const vr_tensor *rel_h, const vr_tensor *rel_w) {
    if (!q || !k || !v || !rel_h || !rel_w || !vr_op_start(run) || !inputs_fit(run, "attention_2d", q, k, v, heads))
        return NULL;
    int64_t T = q->shape[0], N = q->shape[1] / heads;
    if (window.height < 1 || window.width < 1 || window.height > T || window.width > T || T % (window.height * window.width))
        return vr_op_fail(run, VRWKV_ERR_SHAPE, "attention_2d: %lld rows, expected a multiple of windows of %lld x %lld",
                          (long long)T, (long long)window.height, (long long)window.width);
    if (!table_fits(run, "rel_h", rel_h, window.height, N) || !table_fits(run, "rel_w", rel_w, window.width, N)) return NULL;
    int64_t S = window.height * window.width;
    attention_job job = {.rel_h = rel_h->data, .rel_w = rel_w->data, .window = window, .windows = T / S, .S = S,
                         .H = heads, .N = N, .scale = scale};
    return attend(run, &job, q, k, v);
}
