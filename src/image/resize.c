/* Pillow's 8-bit resize (through release 12.2), exact to the last bit.
 *
 * One axis, n_in -> n_out: scale = n_in/n_out, fs = max(scale, 1), sup = support*fs; output i looks at
 * c = (i + 0.5)*scale with the samples lo = max(0, trunc(c - sup + 0.5)) to
 * hi = min(n_in, trunc(c + sup + 0.5)), weights f((x - c + 0.5)/fs) divided by their sum, in double,
 * then rounded to 22 fractional bits. Horizontal pass first, rounded and clipped to 8 bits, then the
 * vertical pass; a pass whose size does not change copies. Shrinking is always antialiased.
 *
 * Only samples that the crop needs are computed: weights for its columns and rows, and the horizontal
 * pass for the rows that its vertical weights touch. Sums are of integers, so order does not matter. */
#include "image/resize.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FRACTION_BITS 22

static double bilinear(double x) {
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

static double bicubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static double sinc(double x) {
    if (x == 0) return 1;
    x *= M_PI;
    return sin(x) / x;
}

static double lanczos(double x) {
    return -3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0;
}

typedef struct filter_row {
    double support;
    double (*weight)(double x);
} filter_row;

static const filter_row filters[] = {
    [VR_BILINEAR] = {1, bilinear}, [VR_BICUBIC] = {2, bicubic}, [VR_LANCZOS] = {3, lanczos}};

/* The weights of `n` outputs in a row: output i is the sum over k < span[i].n of
 * weights[span[i].at + k] * in[span[i].first + k]. */
typedef struct span {
    int first, n;
    size_t at;
} span;
typedef struct axis {
    span *spans;
    int32_t *weights;
    int first, end; /* inputs that are touched at all */
} axis;

static void free_axis(axis *a) {
    free(a->spans);
    free(a->weights);
}

typedef struct geometry {
    double scale, stretch, support;
} geometry;

static span span_of(const geometry *g, int64_t output, int n_in) {
    double centre = ((double)output + 0.5) * g->scale;
    double lo = trunc(centre - g->support + 0.5), hi = trunc(centre + g->support + 0.5);
    int first = lo < 0 ? 0 : (int)lo, end = hi > n_in ? n_in : (int)hi;
    return (span){first, end > first ? end - first : 0, 0};
}

static void fill_weights(const geometry *g, int64_t output, const span *s, double (*weight)(double), double *scratch,
                         int32_t *to) {
    double centre = ((double)output + 0.5) * g->scale, inverse = 1.0 / g->stretch, sum = 0;
    for (int k = 0; k < s->n; k++) {
        scratch[k] = weight((k + s->first - centre + 0.5) * inverse);
        sum += scratch[k];
    }
    for (int k = 0; k < s->n; k++) {
        double w = sum != 0 ? scratch[k] / sum : scratch[k];
        to[k] = (int32_t)(w * (1 << FRACTION_BITS) + (w < 0 ? -0.5 : 0.5));
    }
}

/* Outputs [from, from + n) of an axis n_in -> n_out. */
static vr_status make_axis(axis *a, int n_in, int64_t n_out, int64_t from, int n, const filter_row *filter,
                           vr_error *err) {
    geometry g = {.scale = (double)n_in / (double)n_out};
    g.stretch = g.scale < 1 ? 1 : g.scale;
    g.support = filter->support * g.stretch;
    size_t total = 0;
    int longest = 0;
    *a = (axis){.spans = vr_alloc((size_t)n, sizeof(span)), .first = n_in};
    if (!a->spans) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %d filters", n);
    for (int i = 0; i < n; i++) {
        span s = span_of(&g, from + i, n_in);
        s.at = total;
        total += (size_t)s.n;
        if (s.n > longest) longest = s.n;
        if (s.first < a->first) a->first = s.first;
        if (s.first + s.n > a->end) a->end = s.first + s.n;
        a->spans[i] = s;
    }
    a->weights = vr_alloc(total + 1, sizeof(int32_t));
    double *scratch = vr_alloc((size_t)longest + 1, sizeof(double));
    for (int i = 0; a->weights && scratch && i < n; i++)
        fill_weights(&g, from + i, &a->spans[i], filter->weight, scratch, a->weights + a->spans[i].at);
    free(scratch);
    if (a->weights && scratch) return VRWKV_OK;
    return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu filter weights", total);
}

static inline uint8_t to_level(int32_t sum) {
    sum >>= FRACTION_BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* One row [in, 3] -> [n, 3]. */
static void horizontal(uint8_t *to, const uint8_t *row, const axis *a, int n) {
    for (int x = 0; x < n; x++) {
        const span *s = &a->spans[x];
        const int32_t *w = a->weights + s->at;
        const uint8_t *p = row + (size_t)s->first * 3;
        int32_t sum[3] = {1 << (FRACTION_BITS - 1), 1 << (FRACTION_BITS - 1), 1 << (FRACTION_BITS - 1)};
        for (int k = 0; k < s->n; k++, p += 3)
            for (int c = 0; c < 3; c++) sum[c] += w[k] * p[c];
        for (int c = 0; c < 3; c++) *to++ = to_level(sum[c]);
    }
}

/* One row of n samples from the rows `stride` apart that the span names; sums [n] is scratch. */
static void vertical(uint8_t *to, const uint8_t *rows, size_t stride, const span *s, const int32_t *weights, size_t n,
                     int32_t *sums) {
    for (size_t i = 0; i < n; i++) sums[i] = 1 << (FRACTION_BITS - 1);
    for (int k = 0; k < s->n; k++) {
        const uint8_t *row = rows + (size_t)k * stride;
        int32_t w = weights[k];
        for (size_t i = 0; i < n; i++) sums[i] += w * row[i];
    }
    for (size_t i = 0; i < n; i++) to[i] = to_level(sums[i]);
}

/* Rows [first, first + n) of the picture, resized (x not NULL) or cut to the crop's columns. */
static uint8_t *make_rows(const vr_image *in, const vr_resize_plan *plan, const axis *x, int first, int n) {
    size_t width = (size_t)plan->crop_width * 3, stride = (size_t)in->width * 3;
    uint8_t *rows = vr_alloc((size_t)n + (n == 0), width);
    for (int i = 0; rows && i < n; i++) {
        const uint8_t *row = in->rgb + (size_t)(first + i) * stride;
        if (x)
            horizontal(rows + (size_t)i * width, row, x, plan->crop_width);
        else
            memcpy(rows + (size_t)i * width, row + (size_t)plan->left * 3, width);
    }
    return rows;
}

static vr_status no_memory(const vr_resize_plan *plan, vr_error *err) {
    return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for resizing to %d x %d pixels", plan->crop_width,
                   plan->crop_height);
}

static vr_status run_passes(vr_image *out, const vr_image *in, const vr_resize_plan *plan, const axis *x, const axis *y,
                            vr_error *err) {
    int first = y ? y->first : (int)plan->top, n = y ? y->end - y->first : plan->crop_height;
    size_t width = (size_t)plan->crop_width * 3;
    uint8_t *rows = make_rows(in, plan, x, first, n);
    if (!rows) return no_memory(plan, err);
    *out = (vr_image){plan->crop_width, plan->crop_height, rows};
    if (!y) return VRWKV_OK;
    out->rgb = vr_alloc((size_t)plan->crop_height, width);
    int32_t *sums = vr_alloc(width, sizeof(int32_t));
    for (int i = 0; out->rgb && sums && i < plan->crop_height; i++) {
        const span *s = &y->spans[i];
        vertical(out->rgb + (size_t)i * width, rows + (size_t)(s->first - first) * width, width, s, y->weights + s->at,
                 width, sums);
    }
    vr_status status = out->rgb && sums ? VRWKV_OK : no_memory(plan, err);
    free(sums);
    free(rows);
    if (status != VRWKV_OK) vr_image_free(out);
    return status;
}

vr_status vr_resize(vr_image *out, const vr_image *in, const vr_resize_plan *plan, vr_error *err) {
    *out = (vr_image){0};
    if (!in->rgb || in->width < 1 || in->height < 1 || plan->crop_width < 1 || plan->crop_height < 1 ||
        plan->left < 0 || plan->top < 0 || plan->left > plan->width - plan->crop_width ||
        plan->top > plan->height - plan->crop_height || (size_t)plan->filter >= VR_COUNT(filters))
        return vr_fail(err, VRWKV_ERR_ARGUMENT,
                       "resize of %d x %d to %lld x %lld, crop of %d x %d at %lld, %lld: does not fit", in->width,
                       in->height, (long long)plan->width, (long long)plan->height, plan->crop_width, plan->crop_height,
                       (long long)plan->left, (long long)plan->top);
    const filter_row *filter = &filters[plan->filter];
    bool need_x = plan->width != in->width, need_y = plan->height != in->height;
    axis x = {0}, y = {0};
    vr_status status = VRWKV_OK;
    if (need_x) status = make_axis(&x, in->width, plan->width, plan->left, plan->crop_width, filter, err);
    if (status == VRWKV_OK && need_y)
        status = make_axis(&y, in->height, plan->height, plan->top, plan->crop_height, filter, err);
    if (status == VRWKV_OK) status = run_passes(out, in, plan, need_x ? &x : NULL, need_y ? &y : NULL, err);
    free_axis(&x);
    free_axis(&y);
    return status;
}

vr_status vr_image_resize_crop(vr_image *out, const vr_image *in, int width, int height, vr_filter filter, int left,
                               int top, int crop_width, int crop_height, vr_error *err) {
    vr_resize_plan plan = {width, height, filter, left, top, crop_width, crop_height};
    return vr_resize(out, in, &plan, err);
}

vr_status vr_image_resize(vr_image *out, const vr_image *in, int width, int height, vr_filter filter, vr_error *err) {
    return vr_image_resize_crop(out, in, width, height, filter, 0, 0, width, height, err);
}
