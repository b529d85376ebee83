/* The operations on pictures' grids, with every kernel set that this processor can run, against plain
 * double arithmetic written here, on odd sizes. Bounds are stated at each comparison. */
#include "ops_frame.h"

#include "base/half.h"

#include <stdlib.h>

static vr_tensor *random_tensor(bench *b, int ndim, const int64_t *shape, float scale) {
    return fill(b, vr_new(&b->run, ndim, shape), scale);
}

static bool has_shape(const vr_tensor *x, int64_t rows, int64_t columns) {
    return x && x->ndim == 2 && x->shape[0] == rows && x->shape[1] == columns;
}

/* ---- attention within windows ---- */

typedef struct inputs { vr_tensor *q, *k, *v, *rel_h, *rel_w; } inputs;

/* One query of one head in double: p receives the probabilities of its window's keys. */
static void attend_truth(const inputs *in, int64_t t, int64_t h, int heads, float scale, vr_grid window, double *p) {
    int64_t C = in->q->shape[1], N = C / heads, S = window.height * window.width, first = t / S * S;
    int64_t qy = (t - first) / window.width, qx = (t - first) % window.width;
    const float *q = at(in->q) + t * C + h * N;
    double highest = -1e300, sum = 0;
    for (int64_t s = 0; s < S; s++) {
        const float *k = at(in->k) + (first + s) * C + h * N;
        const float *down = at(in->rel_h) + (qy - s / window.width + window.height - 1) * N;
        const float *across = at(in->rel_w) + (qx - s % window.width + window.width - 1) * N;
        p[s] = 0;
        for (int64_t i = 0; i < N; i++)
            p[s] += (double)q[i] * scale * k[i] + (double)q[i] * down[i] + (double)q[i] * across[i];
        highest = p[s] > highest ? p[s] : highest;
    }
    for (int64_t s = 0; s < S; s++) sum += p[s] = exp(p[s] - highest);
    for (int64_t s = 0; s < S; s++) p[s] /= sum;
}

/* Bound: 5e-6 on averages of values below 1. */
static void check_attention_2d(bench *b, int64_t windows, vr_grid window, int heads, int64_t N) {
    int64_t S = window.height * window.width, T = windows * S, C = heads * N;
    inputs in = {random2(b, T, C, 2), random2(b, T, C, 2), random2(b, T, C, 1), random2(b, 2 * window.height - 1, N, 1),
                 random2(b, 2 * window.width - 1, N, 1)};
    vr_tensor *y = vr_attention_2d(&b->run, in.q, in.k, in.v, heads, 0.37f, window, in.rel_h, in.rel_w);
    double *p = malloc((size_t)S * sizeof *p);
    CHECK(has_shape(y, T, C), "%s", b->err.message);
    for (int64_t t = 0; y && t < T; t += S > 100 ? 37 : 1)
        for (int64_t h = 0; h < heads; h++) {
            attend_truth(&in, t, h, heads, 0.37f, window, p);
            for (int64_t i = 0; i < N; i++) {
                double mean = 0;
                for (int64_t s = 0; s < S; s++) mean += p[s] * at(in.v)[(t / S * S + s) * C + h * N + i];
                near(b, "attention_2d", at(y)[t * C + h * N + i], mean, 5e-6);
            }
        }
    free(p);
    b->run.pool = b->pools[0];
    CHECK(same(y, vr_attention_2d(&b->run, in.q, in.k, in.v, heads, 0.37f, window, in.rel_h, in.rel_w)),
          "attention_2d: other bits with one thread");
    vr_tensor *alone = vr_attention_2d(&b->run, vr_rows(&b->run, in.q, T - S, S), vr_rows(&b->run, in.k, T - S, S),
                                       vr_rows(&b->run, in.v, T - S, S), heads, 0.37f, window, in.rel_h, in.rel_w);
    CHECK(same(alone, vr_rows(&b->run, y, T - S, S)), "attention_2d: other bits for a window alone");
    vr_tensor *no_h = vr_zeros2(&b->run, 2 * window.height - 1, N), *no_w = vr_zeros2(&b->run, 2 * window.width - 1, N);
    if (windows == 1)
        CHECK(same(vr_attention_2d(&b->run, in.q, in.k, in.v, heads, 0.37f, window, no_h, no_w),
                   vr_attention(&b->run, in.q, in.k, in.v, heads, 0.37f)),
              "attention_2d with tables of zeros is attention");
}

static void test_attention_2d(bench *b, const vr_kernels *kernels) {
    static const struct { int64_t windows; vr_grid window; int heads; int64_t N; } cases[] = {
        {1, {1, 1}, 1, 5}, {1, {3, 5}, 2, 8}, {4, {5, 3}, 3, 5}, {3, {7, 7}, 2, 12}, {2, {14, 14}, 2, 64}, {1, {19, 31}, 1, 17}};
    for (size_t i = 0; i < VR_COUNT(cases); i++) {
        use(b, kernels, 3);
        check_attention_2d(b, cases[i].windows, cases[i].window, cases[i].heads, cases[i].N);
    }
}

/* Scores of one block of queries per thread exist at once, never those of all queries of a head. */
static void test_attention_memory(bench *b, const vr_kernels *kernels) {
    int64_t T = 4096, C = 32;
    use(b, kernels, 2);
    vr_tensor *x = vr_zeros2(&b->run, T, C), *rel = vr_zeros2(&b->run, 127, C);
    size_t before = b->arena.peak = b->arena.used;
    CHECK(vr_attention_2d(&b->run, x, x, x, 1, 1, (vr_grid){64, 64}, rel, rel), "%s", b->err.message);
    size_t used = b->arena.peak - before;
    CHECK(used < (size_t)(T * T) * sizeof(float) / 8, "%zu bytes of scratch memory", used);
}

/* ---- grids ---- */

static void check_windows(bench *b, vr_grid grid, int window, int64_t C) {
    vr_tensor *x = random2(b, grid.height * grid.width, C, 1), *y = vr_window_partition(&b->run, x, grid, window);
    int64_t down = (grid.height + window - 1) / window, across = (grid.width + window - 1) / window;
    CHECK(has_shape(y, down * across * window * window, C), "%s", b->err.message);
    for (int64_t t = 0; y && t < y->shape[0]; t++) {
        int64_t w = t / (window * window), line = t / window % window, column = t % window;
        int64_t gy = w / across * window + line, gx = w % across * window + column;
        for (int64_t c = 0; c < C; c++) {
            float expected = gy < grid.height && gx < grid.width ? at(x)[(gy * grid.width + gx) * C + c] : 0;
            CHECK(at(y)[t * C + c] == expected, "window_partition of %lld x %lld by %d: row %lld", (long long)grid.height,
                  (long long)grid.width, window, (long long)t);
        }
    }
    CHECK(same(vr_window_merge(&b->run, y, grid, window), x), "window_merge of %lld x %lld by %d: %s", (long long)grid.height,
          (long long)grid.width, window, b->err.message);
}

static void test_windows(bench *b, const vr_kernels *kernels) {
    static const vr_grid grids[] = {{1, 1}, {4, 6}, {7, 7}, {14, 8}, {3, 11}, {20, 20}};
    use(b, kernels, 2);
    for (size_t g = 0; g < VR_COUNT(grids); g++)
        for (int window = 1; window <= 8; window++) check_windows(b, grids[g], window, 3);
}

static void test_pixel_unshuffle(bench *b, const vr_kernels *kernels) {
    vr_grid grid = {6, 10};
    int64_t C = 7;
    use(b, kernels, 2);
    vr_tensor *x = random2(b, 60, C, 1), *y = vr_pixel_unshuffle(&b->run, x, grid);
    CHECK(has_shape(y, 15, 4 * C), "%s", b->err.message);
    for (int64_t i = 0; y && i < 3; i++)
        for (int64_t j = 0; j < 5; j++)
            for (int64_t k = 0; k < 4 * C; k++)
                CHECK(at(y)[(i * 5 + j) * 4 * C + k] == at(x)[((2 * i + k % 4 / 2) * 10 + 2 * j + k % 2) * C + k / 4],
                      "pixel_unshuffle (%lld,%lld) channel %lld", (long long)i, (long long)j, (long long)k);
}

/* Bound: 8 roundings of half a unit of the sum of magnitudes. */
static void check_conv3x3(bench *b, vr_grid grid, int64_t C, int64_t O, vr_dtype type) {
    vr_tensor *x = random2(b, grid.height * grid.width, C, 1), *w = random_tensor(b, 4, (int64_t[]){O, C, 3, 3}, 1);
    uint16_t *half = vr_arena_get(&b->arena, (size_t)(O * C * 9), sizeof *half);
    for (int64_t i = 0; i < O * C * 9; i++) {
        half[i] = vr_f32_bf16(at(w)[i]);
        if (type == VR_BF16) ((float *)w->data)[i] = vr_bf16_f32(half[i]);
    }
    vr_tensor stored = {type, 4, {O, C, 3, 3}, type == VR_BF16 ? (void *)half : w->data};
    vr_tensor *y = vr_conv3x3(&b->run, x, grid, &stored);
    CHECK(has_shape(y, x->shape[0], O), "%s", b->err.message);
    for (int64_t t = 0; y && t < y->shape[0]; t += y->shape[0] > 100 ? 17 : 1)
        for (int64_t o = 0; o < O; o++) {
            double sum = 0, size = 0;
            for (int64_t k = 0; k < 9 * C; k++) {
                int64_t py = t / grid.width + k % 9 / 3 - 1, px = t % grid.width + k % 3 - 1;
                if (py < 0 || py >= grid.height || px < 0 || px >= grid.width) continue;
                double product = (double)at(w)[o * 9 * C + k] * at(x)[(py * grid.width + px) * C + k / 9];
                sum += product;
                size += fabs(product);
            }
            near(b, "conv3x3", at(y)[t * O + o], sum, 8 * 6e-8 * size);
        }
}

static void test_conv3x3(bench *b, const vr_kernels *kernels) {
    static const vr_grid grids[] = {{1, 1}, {1, 5}, {6, 1}, {5, 7}, {33, 65}}; /* the last is more than one block */
    for (size_t g = 0; g < VR_COUNT(grids); g++)
        for (int64_t C = 1; C <= 19; C += 9) {
            use(b, kernels, 2);
            check_conv3x3(b, grids[g], C, 13, g % 2 ? VR_BF16 : VR_F32);
        }
}

static void test_adaptive_pool(bench *b, const vr_kernels *kernels) {
    static const struct { vr_grid grid, out; } cases[] = {
        {{1, 1}, {1, 1}}, {{32, 32}, {4, 4}}, {{32, 32}, {32, 32}}, {{7, 5}, {3, 2}}, {{5, 9}, {4, 7}}, {{3, 3}, {5, 4}}, {{37, 1}, {20, 1}}};
    int64_t C = 9;
    for (size_t k = 0; k < VR_COUNT(cases); k++) {
        vr_grid grid = cases[k].grid, out = cases[k].out;
        use(b, kernels, 3);
        vr_tensor *x = random2(b, grid.height * grid.width, C, 1), *y = vr_adaptive_pool(&b->run, x, grid, out);
        CHECK(has_shape(y, out.height * out.width, C), "%s", b->err.message);
        for (int64_t t = 0; y && t < y->shape[0]; t++)
            for (int64_t c = 0; c < C; c++) {
                double sum = 0, n = 0;
                for (int64_t p = 0; p < grid.height * grid.width; p++) {
                    int64_t i = t / out.width, j = t % out.width, gy = p / grid.width, gx = p % grid.width;
                    if ((double)gy < floor((double)i * grid.height / out.height) ||
                        (double)gy >= ceil((double)(i + 1) * grid.height / out.height) ||
                        (double)gx < floor((double)j * grid.width / out.width) ||
                        (double)gx >= ceil((double)(j + 1) * grid.width / out.width))
                        continue;
                    sum += at(x)[p * C + c];
                    n++;
                }
                near(b, "adaptive_pool", at(y)[t * C + c], sum / n, 1e-6);
            }
        if (grid.height == out.height && grid.width == out.width) CHECK(same(x, y), "as many cells as rows: the rows themselves");
    }
}

/* Keys' cubic with a = -0.5, as powers. */
static double keys(double x) {
    x = fabs(x);
    return x < 1 ? 1.5 * x * x * x - 2.5 * x * x + 1 : x < 2 ? -0.5 * x * x * x + 2.5 * x * x - 4 * x + 2 : 0;
}

/* The weight of input x for output i, over all inputs of the axis. */
static double cubic_weight(int64_t x, int64_t i, int64_t in, int64_t out) {
    double scale = (double)in / (double)out, widen = fmax(scale, 1), sum = 0;
    for (int64_t k = 0; k < in; k++) sum += keys(((double)k + 0.5 - ((double)i + 0.5) * scale) / widen);
    return keys(((double)x + 0.5 - ((double)i + 0.5) * scale) / widen) / sum;
}

static void check_resample_grid(bench *b, vr_grid from, vr_grid to, int64_t prefix) {
    int64_t C = 5;
    vr_tensor *x = random2(b, prefix + from.height * from.width, C, 1), *y = vr_resample_grid(&b->run, x, prefix, from, to);
    CHECK(has_shape(y, prefix + to.height * to.width, C), "%s", b->err.message);
    if (prefix && y) CHECK(same(vr_rows(&b->run, y, 0, prefix), vr_rows(&b->run, x, 0, prefix)), "the first rows are left alone");
    for (int64_t t = 0; y && t < to.height * to.width; t++)
        for (int64_t c = 0; c < C; c++) {
            double sum = 0;
            for (int64_t p = 0; p < from.height * from.width; p++)
                sum += cubic_weight(p / from.width, t / to.width, from.height, to.height) *
                       cubic_weight(p % from.width, t % to.width, from.width, to.width) * at(x)[(prefix + p) * C + c];
            near(b, "resample_grid", at(y)[(prefix + t) * C + c], sum, 1e-6);
        }
}

static void test_resample(bench *b, const vr_kernels *kernels) {
    static const vr_grid grids[] = {{1, 1}, {3, 5}, {7, 4}, {9, 9}};
    for (size_t i = 0; i < VR_COUNT(grids); i++)
        for (size_t k = 0; k < VR_COUNT(grids); k++) {
            use(b, kernels, 2);
            check_resample_grid(b, grids[i], grids[k], (int64_t)(i + k) % 3);
        }
    for (int64_t in = 1; in <= 11; in += 2)
        for (int64_t out = 1; out <= 13; out += 3) {
            use(b, kernels, 2);
            vr_tensor *x = random2(b, in, 3, 1), *y = vr_resample_rows(&b->run, x, out);
            CHECK(has_shape(y, out, 3), "%s", b->err.message);
            for (int64_t i = 0; y && i < 3 * out; i++) {
                double place = ((double)(i / 3) + 0.5) * (double)in / (double)out - 0.5, sum = 0;
                place = fmin(fmax(place, 0), (double)in - 1);
                for (int64_t p = 0; p < in; p++) sum += fmax(0, 1 - fabs(place - (double)p)) * at(x)[p * 3 + i % 3];
                near(b, "resample_rows", at(y)[i], sum, 1e-6);
            }
        }
}

static void test_concat_columns(bench *b, const vr_kernels *kernels) {
    use(b, kernels, 2);
    const vr_tensor *parts[] = {random2(b, 7, 3, 1), random2(b, 7, 11, 1), random2(b, 7, 1, 1)};
    vr_tensor *y = vr_concat_columns(&b->run, parts, 3);
    CHECK(has_shape(y, 7, 15), "%s", b->err.message);
    for (int64_t t = 0; y && t < 7; t++)
        for (int64_t c = 0; c < 15; c++) {
            int part = c < 3 ? 0 : c < 14 ? 1 : 2;
            int64_t column = c - (part == 0 ? 0 : part == 1 ? 3 : 14);
            CHECK(at(y)[t * 15 + c] == at(parts[part])[t * parts[part]->shape[1] + column], "concat_columns row %lld column %lld",
                  (long long)t, (long long)c);
        }
    CHECK(same(vr_concat_columns(&b->run, parts, 1), parts[0]), "one part is itself");
}

/* A picture that is no square, with pixels left over on both sides: the patches of its square part. */
static void test_patch_embed(bench *b, const vr_kernels *kernels) {
    use(b, kernels, 2);
    vr_tensor *pixels = random_tensor(b, 3, (int64_t[]){3, 11, 23}, 1), *square = vr_new(&b->run, 3, (int64_t[]){3, 11, 11});
    vr_tensor *w = random_tensor(b, 4, (int64_t[]){6, 3, 5, 5}, 1);
    for (int64_t i = 0; i < 33; i++) memcpy((float *)square->data + i * 11, at(pixels) + i * 23, 11 * sizeof(float));
    vr_tensor *y = vr_patch_embed(&b->run, pixels, w, NULL), *part = vr_patch_embed(&b->run, square, w, NULL);
    CHECK(has_shape(y, 8, 6) && has_shape(part, 4, 6), "%s", b->err.message);
    for (int64_t t = 0; y && part && t < 4; t++)
        CHECK(same(vr_rows(&b->run, y, t / 2 * 4 + t % 2, 1), vr_rows(&b->run, part, t, 1)), "patch %lld", (long long)t);
}

/* ---- failures ---- */

static void test_failures(bench *b, const vr_kernels *kernels) {
    static float data[4096];
    vr_tensor x = {VR_F32, 2, {12, 8}, data}, w = {VR_F32, 4, {5, 8, 3, 2}, data}, rel = {VR_F32, 2, {5, 4}, data};
    vr_tensor short_rel = {VR_F32, 2, {4, 4}, data}, other = {VR_F32, 2, {11, 8}, data};
    const vr_tensor *uneven[] = {&x, &other}, *missing[] = {&x, NULL};
    vr_run *run = &b->run;
    use(b, kernels, 2);
    expect_failure(b, vr_window_partition(run, &x, (vr_grid){3, 5}, 2), VRWKV_ERR_SHAPE, "window_partition: x has 12 rows, expected those of a grid of 3 x 5");
    expect_failure(b, vr_window_partition(run, &x, (vr_grid){3, 4}, 0), VRWKV_ERR_ARGUMENT, "window_partition: windows of 0");
    expect_failure(b, vr_window_merge(run, &x, (vr_grid){3, 4}, 3), VRWKV_ERR_SHAPE, "window_merge: x has 12 rows, expected those of a grid of 3 x 4 in windows of 3");
    expect_failure(b, vr_window_merge(run, &x, (vr_grid){INT64_MAX, 4}, 3), VRWKV_ERR_SHAPE, "window_merge: x has 12 rows");
    expect_failure(b, vr_pixel_unshuffle(run, &x, (vr_grid){3, 4}), VRWKV_ERR_SHAPE, "pixel_unshuffle: a grid of 3 x 4");
    expect_failure(b, vr_conv3x3(run, &x, (vr_grid){3, 4}, &w), VRWKV_ERR_SHAPE, "conv3x3: w is f32 [5, 8, 3, 2], expected [outputs, 8, 3, 3]");
    expect_failure(b, vr_adaptive_pool(run, &x, (vr_grid){3, 4}, (vr_grid){0, 1}), VRWKV_ERR_ARGUMENT, "adaptive_pool: to 0 x 1 cells");
    expect_failure(b, vr_adaptive_pool(run, &x, (vr_grid){-3, -4}, (vr_grid){1, 1}), VRWKV_ERR_SHAPE, "a grid of -3 x -4");
    expect_failure(b, vr_resample_grid(run, &x, 1, (vr_grid){3, 4}, (vr_grid){2, 2}), VRWKV_ERR_SHAPE, "resample_grid: x has 11 rows, expected those of a grid of 3 x 4");
    expect_failure(b, vr_resample_grid(run, &x, 0, (vr_grid){3, 4}, (vr_grid){2, 0}), VRWKV_ERR_ARGUMENT, "resample_grid: to 2 x 0 cells");
    expect_failure(b, vr_resample_rows(run, &x, 0), VRWKV_ERR_ARGUMENT, "resample_rows: 12 rows to 0");
    expect_failure(b, vr_concat_columns(run, uneven, 2), VRWKV_ERR_SHAPE, "concat_columns: part 1 has 11 rows, expected 12");
    expect_failure(b, vr_attention_2d(run, &x, &x, &x, 2, 1, (vr_grid){5, 3}, &rel, &rel), VRWKV_ERR_SHAPE, "attention_2d: 12 rows, expected a multiple of windows of 5 x 3");
    expect_failure(b, vr_attention_2d(run, &x, &x, &x, 2, 1, (vr_grid){3, 2}, &rel, &short_rel), VRWKV_ERR_SHAPE, "attention_2d: rel_w is [4, 4], expected [3, 4] for a side of 2");
    expect_failure(b, vr_attention_2d(run, &x, &x, &x, 3, 1, (vr_grid){3, 2}, &rel, &rel), VRWKV_ERR_SHAPE, "attention_2d: 3 heads of 8");
    CHECK(!vr_concat_columns(run, missing, 2) && vr_run_status(run) == VRWKV_OK, "NULL gives NULL without a failure");
}

int main(void) {
    static void (*const tests[])(bench *, const vr_kernels *) = {
        test_attention_2d, test_attention_memory, test_windows, test_pixel_unshuffle, test_conv3x3, test_adaptive_pool,
        test_resample, test_concat_columns, test_patch_embed, test_failures};
    bench b = {.rng = {20240611}};
    bench_open(&b);
    bench_run(&b, tests, VR_COUNT(tests));
    bench_close(&b);
    return check_result();
}
