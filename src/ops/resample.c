/* Tables of positions for another grid than the one they were learned on: sums over a few taps, axis by
 * axis.
 *
 *     grid: cubic with a = -0.5, sample centres at half pixels, widened by the scale where the grid
 *           shrinks; taps beyond the edge are left out and the rest scaled to a sum of 1
 *                                                     src: F.interpolate(mode="bicubic", antialias=True)
 *     rows: linear, sample centres at half pixels     src: F.interpolate(mode="linear") in SAM get_rel_pos */
#include "ops/internal.h"

#include <math.h>
#include <string.h>

/* Output i = sum over k < count[i] of weights[i*most + k] * input[first[i] + k]. */
typedef struct axis {
    int64_t in, out, most;
    int64_t *first, *count;
    float *weights;
} axis;

static bool axis_make(vr_run *run, axis *a, int64_t in, int64_t out, int64_t most) {
    *a = (axis){.in = in, .out = out, .most = most};
    a->first = vr_op_memory(run, (size_t)out, sizeof *a->first);
    a->count = vr_op_memory(run, (size_t)out, sizeof *a->count);
    a->weights = vr_op_memory(run, (size_t)(out * most), sizeof *a->weights);
    return a->first && a->count && a->weights;
}

static double cubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    return x < 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static bool cubic_axis(vr_run *run, axis *a, int64_t in, int64_t out) {
    double scale = (double)in / (double)out, widen = scale > 1 ? scale : 1, support = 2 * widen;
    if (!axis_make(run, a, in, out, (int64_t)ceil(2 * support) + 1)) return false;
    for (int64_t i = 0; i < out; i++) {
        double centre = ((double)i + 0.5) * scale, sum = 0;
        int64_t low = (int64_t)(centre - support + 0.5), high = (int64_t)(centre + support + 0.5);
        low = low > 0 ? low : 0;
        high = high < in ? high : in;
        for (int64_t x = low; x < high; x++) sum += cubic(((double)x - centre + 0.5) / widen);
        for (int64_t x = low; x < high; x++)
            a->weights[i * a->most + x - low] = (float)(cubic(((double)x - centre + 0.5) / widen) / sum);
        a->first[i] = low;
        a->count[i] = high - low;
    }
    return true;
}

static bool linear_axis(vr_run *run, axis *a, int64_t in, int64_t out) {
    if (!axis_make(run, a, in, out, 2)) return false;
    for (int64_t i = 0; i < out; i++) {
        double at = fmax(((double)i + 0.5) * (double)in / (double)out - 0.5, 0), low = floor(at);
        a->first[i] = (int64_t)low;
        a->count[i] = a->first[i] + 1 < in ? 2 : 1;
        a->weights[2 * i] = a->count[i] == 2 ? (float)(1 - (at - low)) : 1.0f;
        a->weights[2 * i + 1] = (float)(at - low);
    }
    return true;
}

/* x [outer, in, inner] -> y [outer, out, inner] */
static void apply(float *y, const float *x, const axis *a, int64_t outer, int64_t inner) {
    for (int64_t o = 0; o < outer; o++, x += a->in * inner)
        for (int64_t i = 0; i < a->out; i++, y += inner) {
            for (int64_t c = 0; c < inner; c++) y[c] = 0.0f;
            for (int64_t k = 0; k < a->count[i]; k++) {
                const float *from = x + (a->first[i] + k) * inner;
                float weight = a->weights[i * a->most + k];
                for (int64_t c = 0; c < inner; c++) y[c] += weight * from[c];
            }
        }
}

/* Across, then down; an axis that keeps its size has taps of 1 and 0. */
static bool resample_cells(vr_run *run, float *y, const float *x, vr_grid from, vr_grid to, int64_t C) {
    axis across, down;
    float *between = vr_op_memory(run, (size_t)(from.height * to.width * C), sizeof *between);
    if (!between || !cubic_axis(run, &across, from.width, to.width) || !cubic_axis(run, &down, from.height, to.height))
        return false;
    apply(between, x, &across, from.height, C);
    apply(y, between, &down, 1, to.width * C);
    return true;
}

vr_tensor *vr_resample_grid(vr_run *run, const vr_tensor *x, int64_t prefix, vr_grid from, vr_grid to) {
    if (!x || !vr_op_start(run) || !vr_op_is_rows(run, "resample_grid", "x", x)) return NULL;
    vr_tensor cells = *x;
    cells.shape[0] -= prefix;
    if (prefix < 0 || !vr_op_is_grid(run, "resample_grid", &cells, from)) return NULL;
    if (to.height < 1 || to.width < 1 || to.height > 1 << 20 || to.width > 1 << 20)
        return vr_op_fail(run, VRWKV_ERR_ARGUMENT, "resample_grid: to %lld x %lld cells, expected at least 1 x 1",
                          (long long)to.height, (long long)to.width);
    int64_t C = x->shape[1];
    vr_tensor *y = vr_new2(run, prefix + to.height * to.width, C);
    if (!y) return NULL;
    size_t mark = vr_arena_mark(run->arena);
    memcpy(y->data, x->data, (size_t)(prefix * C) * sizeof(float));
    bool done = resample_cells(run, (float *)y->data + prefix * C, (const float *)x->data + prefix * C, from, to, C);
    vr_arena_release(run->arena, mark);
    return done ? y : NULL;
}

vr_tensor *vr_resample_rows(vr_run *run, const vr_tensor *x, int64_t n) {
    axis down;
    if (!x || !vr_op_start(run) || !vr_op_is_rows(run, "resample_rows", "x", x)) return NULL;
    if (n < 1 || x->shape[0] < 1)
        return vr_op_fail(run, VRWKV_ERR_ARGUMENT, "resample_rows: %lld rows to %lld, expected at least 1",
                          (long long)x->shape[0], (long long)n);
    vr_tensor *y = vr_new2(run, n, x->shape[1]);
    size_t mark = vr_arena_mark(run->arena);
    bool done = y && linear_axis(run, &down, x->shape[0], n);
    if (done) apply(y->data, x->data, &down, 1, x->shape[1]);
    vr_arena_release(run->arena, mark);
    return done ? y : NULL;
}
