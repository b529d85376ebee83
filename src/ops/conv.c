/* The 3 x 3 convolution that keeps the size of its grid: a product of every position's surroundings,
 * laid out as one row [channel, dy, dx], with the kernel's rows. Surroundings are laid out for a block
 * of positions at a time, so that scratch memory does not grow with the grid.
 *
 *     y[p,o] = sum over c,dy,dx of w[o,c,dy,dx] x[p + (dy-1,dx-1), c]      src: nn.Conv2d in SAM's neck */
#include "ops/internal.h"

#include <string.h>

enum { BLOCK = 1024 };

/* x at rows [first, first + n) of the grid with their neighbours: [n, C*9]. */
static void gather(float *rows, const float *x, vr_grid grid, int64_t C, int64_t first, int64_t n) {
    for (int64_t t = first; t < first + n; t++, rows += 9 * C)
        for (int64_t d = 0; d < 9; d++) {
            int64_t y = t / grid.width + d / 3 - 1, x_at = t % grid.width + d % 3 - 1;
            bool inside = y >= 0 && y < grid.height && x_at >= 0 && x_at < grid.width;
            const float *from = inside ? x + (y * grid.width + x_at) * C : x;
            for (int64_t c = 0; c < C; c++) rows[9 * c + d] = inside ? from[c] : 0.0f;
        }
}

/* The other way: adds surroundings to where they came from. */
static void scatter(float *x, const float *rows, vr_grid grid, int64_t C, int64_t first, int64_t n) {
    for (int64_t t = first; t < first + n; t++, rows += 9 * C)
        for (int64_t d = 0; d < 9; d++) {
            int64_t y = t / grid.width + d / 3 - 1, x_at = t % grid.width + d % 3 - 1;
            if (y < 0 || y >= grid.height || x_at < 0 || x_at >= grid.width) continue;
            float *to = x + (y * grid.width + x_at) * C;
            for (int64_t c = 0; c < C; c++) to[c] += rows[9 * c + d];
        }
}

typedef struct conv_node {
    vr_matmul m; /* of all positions, but for x: the grid, not its surroundings */
    vr_grid grid;
} conv_node;

static void conv_back(vr_run *run, const void *saved) {
    const conv_node *node = saved;
    const vr_matmul *all = &node->m;
    int64_t T = all->T, I = all->I, block = T < BLOCK ? T : BLOCK;
    float *dx = vr_grad(run, all->x), *dw = vr_grad(run, all->w);
    const float *dy = vr_grad(run, all->y);
    size_t mark = vr_arena_mark(run->arena);
    float *rows = vr_op_memory(run, (size_t)(block * I), sizeof(float)),
          *drows = vr_op_memory(run, (size_t)(block * I), sizeof(float));
    for (int64_t t = 0; rows && drows && t < T; t += block) {
        vr_matmul m = *all;
        m.x = rows, m.T = T - t < block ? T - t : block;
        gather(rows, all->x, node->grid, I / 9, t, m.T);
        memset(drows, 0, (size_t)(m.T * I) * sizeof *drows);
        vr_op_matmul_back(run, &m, dy + t * all->O, dx ? drows : NULL, dw, NULL);
        if (dx) scatter(dx, drows, node->grid, I / 9, t, m.T);
    }
    vr_arena_release(run->arena, mark);
}

static bool shapes_fit(vr_run *run, const vr_tensor *x, const vr_tensor *w) {
    char text[96];
    if (!vr_op_is_readable(run, "conv3x3", "w", w)) return false;
    if (w->ndim == 4 && w->shape[1] == x->shape[1] && w->shape[2] == 3 && w->shape[3] == 3) return true;
    vr_op_fail(run, VRWKV_ERR_SHAPE, "conv3x3: w is %s %s, expected [outputs, %lld, 3, 3]",
               vr_dtype_of(w->dtype)->name, vr_shape_text(w->ndim, w->shape, text, sizeof text), (long long)x->shape[1]);
    return false;
}

vr_tensor *vr_conv3x3(vr_run *run, const vr_tensor *x, vr_grid grid, const vr_tensor *w) {
    if (!x || !w || !vr_op_start(run) || !vr_op_is_grid(run, "conv3x3", x, grid) || !shapes_fit(run, x, w)) return NULL;
    int64_t T = x->shape[0], C = x->shape[1], O = w->shape[0], I = 9 * C, block = T < BLOCK ? T : BLOCK;
    vr_tensor *y = vr_new2(run, T, O);
    size_t mark = vr_arena_mark(run->arena);
    float *rows = y ? vr_op_memory(run, (size_t)(block * I), sizeof(float)) : NULL;
    bool done = rows != NULL;
    for (int64_t t = 0; done && t < T; t += block) {
        int64_t n = T - t < block ? T - t : block;
        gather(rows, x->data, grid, C, t, n);
        vr_matmul m = {.y = (float *)y->data + t * O, .x = rows, .w = w->data, .type = w->dtype, .y_stride = O,
                       .x_stride = I, .groups = 1, .T = n, .O = O, .I = I};
        done = vr_op_matmul(run, &m);
    }
    vr_arena_release(run->arena, mark);
    if (!done) return NULL;
    conv_node node = {{.y = y->data, .x = x->data, .w = w->data, .type = w->dtype, .y_stride = O, .x_stride = I,
                       .groups = 1, .T = T, .O = O, .I = I},
                      grid};
    return vr_op_record(run, y, conv_back, &node, sizeof node);
}
