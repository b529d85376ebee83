/* Operations that move the rows of a grid: windows cut out and put back, 2 x 2 rows laid side by side.
 *
 *     partition:       y[window, (y,x)] = x[window's corner + (y,x)], zeros beyond the edge   src: SAM window_partition
 *     merge:           its inverse, rows beyond the edge left out                             src: SAM window_unpartition
 *     pixel_unshuffle: y[(i,j), c*4 + dy*2 + dx] = x[(2i+dy, 2j+dx), c]                        src: F.pixel_unshuffle */
#include "ops/internal.h"

#include <string.h>

typedef struct cut { /* of a grid into windows */
    int64_t down, across, rows; /* rows: of all windows */
} cut;

static bool cut_grid(vr_run *run, const char *op, vr_grid grid, int window, cut *out) {
    if (window < 1 || window > 4096) {
        vr_op_fail(run, VRWKV_ERR_ARGUMENT, "%s: windows of %d, expected 1 to 4096", op, window);
        return false;
    }
    out->down = (grid.height + window - 1) / window;
    out->across = (grid.width + window - 1) / window;
    out->rows = out->down * out->across * window * window;
    return true;
}

/* Walks the rows of the windows, a line of `window` rows at a time: `inside` of them lie within the grid. */
static void each_line(const cut *windows, vr_grid grid, int window, int64_t C, float *cut_rows, float *grid_rows,
                      void (*fn)(float *cut_line, float *grid_line, int64_t inside, int64_t window, int64_t C)) {
    for (int64_t w = 0; w < windows->down * windows->across; w++)
        for (int64_t line = 0; line < window; line++, cut_rows += window * C) {
            int64_t y = w / windows->across * window + line, x = w % windows->across * window;
            int64_t inside = y >= grid.height ? 0 : grid.width - x < window ? grid.width - x : window;
            fn(cut_rows, grid_rows + (inside ? (y * grid.width + x) * C : 0), inside, window, C);
        }
}

static void cut_line_out(float *cut_line, float *grid_line, int64_t inside, int64_t window, int64_t C) {
    memcpy(cut_line, grid_line, (size_t)(inside * C) * sizeof(float));
    memset(cut_line + inside * C, 0, (size_t)((window - inside) * C) * sizeof(float));
}

static void put_line_back(float *cut_line, float *grid_line, int64_t inside, int64_t window, int64_t C) {
    (void)window;
    memcpy(grid_line, cut_line, (size_t)(inside * C) * sizeof(float));
}

static void add_to_grid(float *cut_line, float *grid_line, int64_t inside, int64_t window, int64_t C) {
    (void)window;
    for (int64_t i = 0; i < inside * C; i++) grid_line[i] += cut_line[i];
}

static void add_to_cut(float *cut_line, float *grid_line, int64_t inside, int64_t window, int64_t C) {
    (void)window;
    for (int64_t i = 0; i < inside * C; i++) cut_line[i] += grid_line[i];
}

typedef struct window_node {
    const float *cut_rows, *grid_rows;
    cut windows;
    vr_grid grid;
    int window;
    int64_t C;
    bool merges;
} window_node;

static void window_back(vr_run *run, const void *saved) {
    const window_node *node = saved;
    float *cut_rows = vr_grad(run, node->cut_rows), *grid_rows = vr_grad(run, node->grid_rows);
    if (cut_rows && grid_rows)
        each_line(&node->windows, node->grid, node->window, node->C, cut_rows, grid_rows,
                  node->merges ? add_to_cut : add_to_grid);
}

vr_tensor *vr_window_partition(vr_run *run, const vr_tensor *x, vr_grid grid, int window) {
    cut windows;
    if (!x || !vr_op_start(run) || !vr_op_is_grid(run, "window_partition", x, grid) ||
        !cut_grid(run, "window_partition", grid, window, &windows))
        return NULL;
    vr_tensor *y = vr_new2(run, windows.rows, x->shape[1]);
    if (!y) return NULL;
    each_line(&windows, grid, window, x->shape[1], y->data, x->data, cut_line_out);
    window_node node = {y->data, x->data, windows, grid, window, x->shape[1], false};
    return vr_op_record(run, y, window_back, &node, sizeof node);
}

vr_tensor *vr_window_merge(vr_run *run, const vr_tensor *x, vr_grid grid, int window) {
    cut windows = {0};
    if (!x || !vr_op_start(run) || !vr_op_is_rows(run, "window_merge", "x", x)) return NULL;
    bool small = grid.height > 0 && grid.width > 0 && grid.height <= x->shape[0] && grid.width <= x->shape[0];
    if (small && !cut_grid(run, "window_merge", grid, window, &windows)) return NULL;
    if (x->shape[0] != windows.rows)
        return vr_op_fail(run, VRWKV_ERR_SHAPE,
                          "window_merge: x has %lld rows, expected those of a grid of %lld x %lld in windows of %d",
                          (long long)x->shape[0], (long long)grid.height, (long long)grid.width, window);
    vr_tensor *y = vr_new2(run, grid.height * grid.width, x->shape[1]);
    if (!y) return NULL;
    each_line(&windows, grid, window, x->shape[1], x->data, y->data, put_line_back);
    window_node node = {x->data, y->data, windows, grid, window, x->shape[1], true};
    return vr_op_record(run, y, window_back, &node, sizeof node);
}

typedef struct unshuffle_node {
    const float *y, *x;
    int64_t T, C, width; /* T rows of y; width of x's grid */
} unshuffle_node;

/* The row of x that stands in every fourth column of y's row t, from column d on. */
static int64_t unshuffled(int64_t t, int64_t d, int64_t width) {
    return (t / (width / 2) * 2 + d / 2) * width + t % (width / 2) * 2 + d % 2;
}

static void unshuffle_back(vr_run *run, const void *saved) {
    const unshuffle_node *node = saved;
    const float *dy = vr_grad(run, node->y);
    float *dx = vr_grad(run, node->x);
    for (int64_t t = 0; dx && t < node->T; t++)
        for (int64_t d = 0; d < 4; d++) {
            float *to = dx + unshuffled(t, d, node->width) * node->C;
            for (int64_t c = 0; c < node->C; c++) to[c] += dy[(t * node->C + c) * 4 + d];
        }
}

vr_tensor *vr_pixel_unshuffle(vr_run *run, const vr_tensor *x, vr_grid grid) {
    if (!x || !vr_op_start(run) || !vr_op_is_grid(run, "pixel_unshuffle", x, grid)) return NULL;
    if (grid.height % 2 || grid.width % 2)
        return vr_op_fail(run, VRWKV_ERR_SHAPE, "pixel_unshuffle: a grid of %lld x %lld, expected even sides",
                          (long long)grid.height, (long long)grid.width);
    int64_t C = x->shape[1];
    vr_tensor *y = vr_new2(run, grid.height / 2 * (grid.width / 2), 4 * C);
    for (int64_t t = 0; y && t < y->shape[0]; t++)
        for (int64_t d = 0; d < 4; d++) {
            const float *from = (const float *)x->data + unshuffled(t, d, grid.width) * C;
            float *to = (float *)y->data + t * 4 * C + d;
            for (int64_t c = 0; c < C; c++) to[4 * c] = from[c];
        }
    if (!y) return NULL;
    unshuffle_node node = {y->data, x->data, y->shape[0], C, grid.width};
    return vr_op_record(run, y, unshuffle_back, &node, sizeof node);
}
