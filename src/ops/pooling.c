/* Means over cells of a grid.
 *
 *     avg_pool:      cells of kernel x kernel, `stride` apart                          src: F.avg_pool2d
 *     adaptive_pool: cell i of n covers floor(i*size/n) .. ceil((i+1)*size/n)-1        src: F.adaptive_avg_pool2d */
#include "ops/internal.h"

typedef struct span2 { int64_t top, bottom, left, right; } span2; /* bottom and right are the first ones beyond */

static void average_cell(float *y, const float *x, int64_t width, int64_t C, span2 cell) {
    float area = (float)(cell.bottom - cell.top) * (float)(cell.right - cell.left);
    for (int64_t i = 0; i < C; i++) y[i] = 0.0f;
    for (int64_t row = cell.top; row < cell.bottom; row++)
        for (int64_t column = cell.left; column < cell.right; column++) {
            const float *from = x + (row * width + column) * C;
            for (int64_t i = 0; i < C; i++) y[i] += from[i];
        }
    for (int64_t i = 0; i < C; i++) y[i] /= area;
}

/* Backward: the cell's gradient, in equal parts. */
static void spread_cell(float *dx, const float *dy, int64_t width, int64_t C, span2 cell) {
    float area = (float)(cell.bottom - cell.top) * (float)(cell.right - cell.left);
    for (int64_t row = cell.top; row < cell.bottom; row++)
        for (int64_t column = cell.left; column < cell.right; column++) {
            float *to = dx + (row * width + column) * C;
            for (int64_t i = 0; i < C; i++) to[i] += dy[i] / area;
        }
}

typedef struct pool_job {
    float *y;
    const float *x;
    vr_grid grid, out;
    int64_t C;
    int kernel, stride; /* kernel 0: adaptive */
} pool_job;

static span2 cell_of(const pool_job *job, int64_t t) {
    int64_t height = job->grid.height, width = job->grid.width, h = job->out.height, w = job->out.width;
    int64_t i = t / w, j = t % w, top = i * job->stride, left = j * job->stride;
    if (job->kernel) return (span2){top, top + job->kernel, left, left + job->kernel};
    return (span2){i * height / h, ((i + 1) * height + h - 1) / h, j * width / w, ((j + 1) * width + w - 1) / w};
}

static void pool_cell(void *data, int64_t t, int thread) {
    const pool_job *job = data;
    (void)thread;
    average_cell(job->y + t * job->C, job->x, job->grid.width, job->C, cell_of(job, t));
}

/* Cells may overlap: they are spread one after another. */
static void pool_back(vr_run *run, const void *saved) {
    const pool_job *job = saved;
    const float *dy = vr_grad(run, job->y);
    float *dx = vr_grad(run, job->x);
    for (int64_t t = 0; dx && t < job->out.height * job->out.width; t++)
        spread_cell(dx, dy + t * job->C, job->grid.width, job->C, cell_of(job, t));
}

static vr_tensor *pool(vr_run *run, pool_job *job, const vr_tensor *x) {
    job->x = x->data;
    job->C = x->shape[1];
    vr_tensor *y = vr_new2(run, job->out.height * job->out.width, job->C);
    if (!y) return NULL;
    job->y = y->data;
    vr_pool_run(run->pool, pool_cell, job, y->shape[0]);
    return vr_op_record(run, y, pool_back, job, sizeof *job);
}

vr_tensor *vr_avg_pool(vr_run *run, const vr_tensor *x, int side, int kernel, int stride) {
    if (!x || !vr_op_start(run) || !vr_op_is_rows(run, "avg_pool", "x", x)) return NULL;
    int64_t C = x->shape[1];
    if (side < 1 || x->shape[0] != (int64_t)side * side || kernel < 1 || kernel > side || stride < 1)
        return vr_op_fail(run, VRWKV_ERR_SHAPE,
                          "avg_pool: x is [%lld, %lld], side %d, kernel %d, stride %d; expected [side*side, channels], "
                          "kernel 1 to side, stride at least 1",
                          (long long)x->shape[0], (long long)C, side, kernel, stride);
    int out = (side - kernel) / stride + 1;
    pool_job job = {.grid = {side, side}, .out = {out, out}, .kernel = kernel, .stride = stride};
    return pool(run, &job, x);
}

vr_tensor *vr_adaptive_pool(vr_run *run, const vr_tensor *x, vr_grid grid, vr_grid out) {
    if (!x || !vr_op_start(run) || !vr_op_is_grid(run, "adaptive_pool", x, grid)) return NULL;
    if (out.height < 1 || out.width < 1 || out.height > 1 << 20 || out.width > 1 << 20)
        return vr_op_fail(run, VRWKV_ERR_ARGUMENT, "adaptive_pool: to %lld x %lld cells, expected at least 1 x 1",
                          (long long)out.height, (long long)out.width);
    pool_job job = {.grid = grid, .out = out};
    return pool(run, &job, x);
}
