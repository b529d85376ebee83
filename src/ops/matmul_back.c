/* Backward passes of products with stored weights. Both gradients are sums of outer products, so one
 * kernel serves them and nothing is transposed:
 *
 *     y = x w^T:   dx[T,I] += dy[T,O] w[O,I]     a step of the sum is a row of w
 *                  dw[O,I] += dy[T,O]^T x[T,I]   a step of the sum is a row of x
 *                  db[O]   += sum of dy's rows
 *
 * A chunk is a tile of the gradient. It walks the sum STEPS at a time, the rows of that stretch laid out in
 * scratch (decoded, where w is of another type than f32; rows apart by no power of two, which would put
 * them all into a few lines of the cache). The stretches depend on the sum's length alone. */
#include "ops/internal.h"

#include <string.h>

enum { ROWS = 96, COLUMNS = 256, STEPS = 128, PAD = 16, STRIDE = COLUMNS + PAD, ROW_STRIDE = ROWS + PAD };

typedef struct back_product {
    const vr_matmul *m;
    const vr_kernels *kernels;
    const float *dy;
    float *to;            /* dx or dw */
    vr_decode_fn decode;
    float *scratch;       /* per thread: [STEPS, STRIDE], [STEPS, ROW_STRIDE] */
    int64_t M;            /* rows of a group's gradient */
    int64_t columns, down, across; /* columns of a tile; tiles of a group's gradient */
} back_product;

enum { SCRATCH = STEPS * (STRIDE + ROW_STRIDE) };

typedef struct tile { int64_t group, row, rows, column, columns; } tile;

static tile find_tile(const back_product *p, int64_t chunk) {
    int64_t in_group = chunk % (p->down * p->across);
    tile t = {.group = chunk / (p->down * p->across), .row = in_group / p->across * ROWS,
              .column = in_group % p->across * p->columns};
    t.rows = t.row + ROWS <= p->M ? ROWS : p->M - t.row;
    t.columns = t.column + p->columns <= p->m->I ? p->columns : p->m->I - t.column;
    return t;
}

static void lay_out(float *to, int64_t to_stride, const float *from, int64_t stride, int64_t rows, int64_t columns) {
    for (int64_t k = 0; k < rows; k++) memcpy(to + k * to_stride, from + k * stride, (size_t)columns * sizeof *to);
}

static void dx_chunk(void *job, int64_t chunk, int thread) {
    const back_product *p = job;
    const vr_matmul *m = p->m;
    tile at = find_tile(p, chunk);
    float *rows = p->scratch + thread * SCRATCH, *packed = rows + STEPS * STRIDE;
    for (int64_t o = 0; o < m->O; o += STEPS) {
        int64_t n = m->O - o < STEPS ? m->O - o : STEPS;
        for (int64_t k = 0; k < n; k++)
            vr_op_read_row(p->decode, m->type, m->w, at.group * m->O + o + k, m->I, at.column, at.column + at.columns,
                           rows + k * STRIDE, packed);
        p->kernels->outer(p->to + at.group * m->x_step + at.row * m->x_stride + at.column, m->x_stride,
                          p->dy + at.group * m->y_step + at.row * m->y_stride + o, m->y_stride, 1, rows, STRIDE,
                          at.rows, at.columns, n);
    }
}

static void dw_chunk(void *job, int64_t chunk, int thread) {
    const back_product *p = job;
    const vr_matmul *m = p->m;
    tile at = find_tile(p, chunk);
    float *x = p->scratch + thread * SCRATCH, *dy = x + STEPS * STRIDE;
    for (int64_t t = 0; t < m->T; t += STEPS) {
        int64_t n = m->T - t < STEPS ? m->T - t : STEPS;
        lay_out(x, STRIDE, m->x + at.group * m->x_step + t * m->x_stride + at.column, m->x_stride, n, at.columns);
        lay_out(dy, ROW_STRIDE, p->dy + at.group * m->y_step + t * m->y_stride + at.row, m->y_stride, n, at.rows);
        p->kernels->outer(p->to + (at.group * m->O + at.row) * m->I + at.column, m->I, dy, 1, ROW_STRIDE, x, STRIDE, at.rows,
                          at.columns, n);
    }
}

/* Narrower tiles where a thread would otherwise stand idle; whole blocks of the stored type. */
static void cut(back_product *p, vr_pool_fn fn, vr_run *run) {
    int64_t least = 2 * vr_pool_threads(run->pool), block = fn == dx_chunk ? vr_dtype_of(p->m->type)->block : 1;
    p->down = (p->M + ROWS - 1) / ROWS;
    for (p->columns = COLUMNS;; p->columns /= 2) {
        p->across = (p->m->I + p->columns - 1) / p->columns;
        if (p->m->groups * p->down * p->across >= least || p->columns <= 64 || p->columns / 2 % block) break;
    }
    size_t mark = vr_arena_mark(run->arena);
    p->scratch = vr_op_memory(run, (size_t)vr_pool_threads(run->pool) * SCRATCH, sizeof(float));
    if (p->scratch) vr_pool_run(run->pool, fn, p, p->m->groups * p->down * p->across);
    vr_arena_release(run->arena, mark);
}

typedef struct bias_job {
    const vr_kernels *kernels;
    const float *dy;
    int64_t stride, O;
} bias_job;

static void bias_rows(const void *data, int64_t first, int64_t end, float *sums) {
    const bias_job *job = data;
    for (int64_t t = first; t < end; t++) job->kernels->add(sums, sums, job->dy + t * job->stride, job->O);
}

void vr_op_matmul_back(vr_run *run, const vr_matmul *m, const float *dy, float *dx, float *dw, float *db) {
    back_product p = {.m = m, .kernels = run->kernels, .dy = dy};
    if (m->T == 0 || m->O == 0 || m->I == 0) return;
    if (dx) {
        p.to = dx, p.M = m->T;
        p.decode = vr_op_decoder(run, m->type);
        cut(&p, dx_chunk, run);
    }
    if (dw) {
        p.to = dw, p.M = m->O;
        cut(&p, dw_chunk, run);
    }
    if (db) vr_op_back_rows(run, bias_rows, &(bias_job){run->kernels, dy, m->y_stride, m->O}, m->T, m->O, &db, 1);
}

void vr_op_matmul_backward(vr_run *run, const void *saved) {
    const vr_matmul *m = saved;
    vr_op_matmul_back(run, m, vr_grad(run, m->y), vr_grad(run, m->x), vr_grad(run, m->w), vr_grad(run, m->bias));
}
