/* Products with stored weights, and rows of a stored table.
 *
 * A product is cut into chunks of weight rows, which threads claim. A thread decodes its rows into its
 * own scratch (f32 weights are used where they lie) and multiplies them with all T rows of x, a block
 * of rows at a time so that the block stays in the cache. Cuts never go through a sum, and the kernel
 * sums each output element in one order, so no cut can change a bit.
 *
 *     y[T,O] = x[T,I] w[O,I]^T + b[O]        src: nn.Linear */
#include "ops/internal.h"

enum {
    CACHE_FLOATS = 1 << 17, /* floats of x, and of decoded rows, that stay in a core's cache together */
    ROWS_MIN = 8,           /* weight rows of a chunk */
    ROWS_MAX = 64,
    CHUNKS_PER_THREAD = 4,
};

typedef struct product {
    const vr_matmul *m;
    const vr_kernels *kernels;
    vr_decode_fn decode; /* NULL: f32 */
    float *scratch;      /* [threads, rows, I] */
    int64_t row_bytes, rows, chunks, t_block;
    bool on_the_fly;
} product;

static void multiply_chunk(void *job, int64_t chunk, int thread) {
    const product *p = job;
    const vr_matmul *m = p->m;
    int64_t g = chunk / p->chunks, first = chunk % p->chunks * p->rows;
    int64_t n = first + p->rows <= m->O ? p->rows : m->O - first;
    const char *stored = (const char *)m->w + (g * m->O + first) * p->row_bytes;
    const float *w = (const float *)(const void *)stored, *bias = m->bias ? m->bias + first : NULL;
    if (p->on_the_fly) {
        p->kernels->gemm_stored[m->type](m->y + g * m->y_step + first, m->y_stride, m->x + g * m->x_step, m->x_stride, stored,
                                         p->row_bytes, bias, m->T, n, m->I);
        return;
    }
    if (p->decode) {
        float *rows = p->scratch + thread * p->rows * m->I;
        for (int64_t o = 0; o < n; o++) p->decode(rows + o * m->I, stored + o * p->row_bytes, m->I);
        w = rows;
    }
    for (int64_t t = 0; t < m->T; t += p->t_block) {
        int64_t count = t + p->t_block <= m->T ? p->t_block : m->T - t;
        p->kernels->gemm(m->y + g * m->y_step + t * m->y_stride + first, m->y_stride,
                         m->x + g * m->x_step + t * m->x_stride, m->x_stride, w, m->I, bias, count, n, m->I);
    }
}

/* Few rows where a thread would otherwise stand idle; a multiple of 8, as the kernels' tiles are. */
static int64_t choose_rows(const vr_matmul *m, int threads) {
    int64_t fair = m->groups * m->O / ((int64_t)threads * CHUNKS_PER_THREAD);
    int64_t fit = m->I > 0 ? 2 * CACHE_FLOATS / m->I : ROWS_MAX;
    int64_t rows = fair < fit ? fair : fit;
    rows = rows / 8 * 8;
    return rows < ROWS_MIN ? ROWS_MIN : rows > ROWS_MAX ? ROWS_MAX : rows;
}

bool vr_op_matmul(vr_run *run, const vr_matmul *m) {
    const vr_dtype_info *info = vr_dtype_of(m->type);
    int threads = vr_pool_threads(run->pool);
    size_t mark = vr_arena_mark(run->arena);
    product p = {.m = m, .kernels = run->kernels, .row_bytes = m->I / info->block * info->bytes};
    if (m->T == 0 || m->O == 0) return true;
    p.rows = choose_rows(m, threads);
    p.chunks = (m->O + p.rows - 1) / p.rows;
    p.t_block = m->I > 0 ? CACHE_FLOATS / m->I / 24 * 24 : 24; /* whole tiles of 2, 3, 4, 6 or 8 rows */
    if (p.t_block < 24) p.t_block = 24;
    p.on_the_fly = m->T <= run->kernels->few && run->kernels->gemm_stored[m->type];
    if (m->type != VR_F32 && !p.on_the_fly) {
        p.decode = vr_op_decoder(run, m->type);
        p.scratch = vr_op_memory(run, (size_t)threads * (size_t)p.rows * (size_t)m->I, sizeof(float));
        if (!p.scratch) return false;
    }
    vr_pool_run(run->pool, multiply_chunk, &p, m->groups * p.chunks);
    vr_arena_release(run->arena, mark);
    return true;
}

static const vr_adapter *find_adapter(const vr_run *run, const void *w) {
    int low = 0, high = run->n_adapters;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if ((const char *)run->adapters[middle].w < (const char *)w)
            low = middle + 1;
        else
            high = middle;
    }
    return low < run->n_adapters && run->adapters[low].w == w ? &run->adapters[low] : NULL;
}

/* y, and what the matrix's adapter adds to it where there is one. */
static vr_tensor *adapt(vr_run *run, vr_tensor *y, const vr_tensor *x, const vr_tensor *w) {
    const vr_adapter *adapter = y ? find_adapter(run, w->data) : NULL;
    if (!adapter) return y;
    return vr_add(run, y, vr_linear(run, vr_linear(run, x, &adapter->a, NULL), &adapter->b, NULL));
}

vr_tensor *vr_linear(vr_run *run, const vr_tensor *x, const vr_tensor *w, const vr_tensor *b) {
    if (!x || !w || !vr_op_start(run)) return NULL;
    if (!vr_op_is_rows(run, "linear", "x", x) || !vr_op_is_readable(run, "linear", "w", w)) return NULL;
    int64_t T = x->shape[0], I = x->shape[1], O = w->shape[0];
    if (w->ndim != 2 || w->shape[1] != I) {
        char text[96];
        return vr_op_fail(run, VRWKV_ERR_SHAPE, "linear: w is %s, expected [outputs, %lld] for x [%lld, %lld]",
                          vr_shape_text(w->ndim, w->shape, text, sizeof text), (long long)I, (long long)T, (long long)I);
    }
    if (b && !vr_op_is_vector(run, "linear", "b", b, O)) return NULL;
    vr_tensor *y = vr_new2(run, T, O);
    if (!y) return NULL;
    vr_matmul m = {.y = y->data, .x = x->data, .w = w->data, .bias = b ? b->data : NULL, .type = w->dtype,
                   .y_stride = O, .x_stride = I, .groups = 1, .T = T, .O = O, .I = I};
    return vr_op_matmul(run, &m) ? adapt(run, vr_op_record(run, y, vr_op_matmul_backward, &m, sizeof m), x, w) : NULL;
}

vr_tensor *vr_embed(vr_run *run, const vr_tensor *table, const int32_t *ids, int64_t n) {
    if (!table || !vr_op_start(run) || !vr_op_is_readable(run, "embed", "table", table)) return NULL;
    int64_t V = table->shape[0], C = vr_op_columns(table);
    const vr_dtype_info *info = vr_dtype_of(table->dtype);
    vr_decode_fn decode = vr_op_decoder(run, table->dtype);
    if (table->ndim != 2)
        return vr_op_fail(run, VRWKV_ERR_SHAPE, "embed: table has %d axes, expected [tokens, channels]", table->ndim);
    for (int64_t t = 0; t < n; t++)
        if (ids[t] < 0 || ids[t] >= V)
            return vr_op_fail(run, VRWKV_ERR_ARGUMENT, "embed: token id %d, expected 0 to %lld", (int)ids[t], (long long)V - 1);
    vr_tensor *y = vr_new2(run, n, C);
    for (int64_t t = 0; y && t < n; t++)
        decode((float *)y->data + t * C, (const char *)table->data + ids[t] * (C / info->block * info->bytes), C);
    return vr_op_record_rows(run, y, table->data, ids);
}
