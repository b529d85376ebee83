/* The body of a vector kernel set, written once over the primitives of a vec_*.h, which the including
 * file includes first. Everything here is static: a set's file is compiled for its own processor, and
 * nothing of it may be linked into another.
 *
 * Primitives: vf (a vector of VF_LANES floats), vf_load/store/set/add/sub/mul/div, vf_fma (a*b + c),
 * vf_fnma (c - a*b), vf_max/vf_min (the second operand where one is NaN), vf_round (to nearest even),
 * vf_scale (a*2^n, n whole, -160..130, rounded once), vf_less + vf_select, vf_sum4 (the sums of four
 * vectors, each in one fixed order); loads that convert VF_LANES stored numbers: vf_load_f16,
 * vf_load_bf16, vf_load_i8, vf_load_u4 (low or high nibbles, minus 8, times d); vf_set_f16. TILE_X: rows of x
 * in a product's tile; OUTER_ROWS, OUTER_VECTORS: the tile of an outer product; VF_KEEP(x), a promise to the
 * compiler that x may have changed; EACH_X(M, format, rows) calls M(format, rows, 1..TILE_X). */
#include "base/half.h"
#include "ops/cpu/sets.h"
#include "ops/ops.h"

#include <math.h>

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define UNROLL_ALL UNROLL
#else
#define UNROLL _Pragma("GCC unroll 8")
#define UNROLL_ALL _Pragma("GCC unroll 16")
#endif

/* ---- elementary functions ---- */

/* e^x within 2 ulp: x = n ln 2 + r, |r| <= ln 2 / 2, Taylor's series of e^r to r^7 (the next term is
 * below 2^-27), ln 2 in two parts (Cody and Waite). Below -104 the result is 0, above 89 infinite; NaN
 * passes through the clamp as the second operand. */
INLINE vf exp_vf(vf x) {
    x = vf_min(vf_set(89.0f), vf_max(vf_set(-104.0f), x));
    vf n = vf_round(vf_mul(x, vf_set(1.44269504f)));
    vf r = vf_fnma(n, vf_set(0x1.62e4p-1f), x);
    r = vf_fnma(n, vf_set(0x1.7f7d1cp-20f), r);
    vf p = vf_set(1.0f / 5040.0f);
    p = vf_fma(p, r, vf_set(1.0f / 720.0f));
    p = vf_fma(p, r, vf_set(1.0f / 120.0f));
    p = vf_fma(p, r, vf_set(1.0f / 24.0f));
    p = vf_fma(p, r, vf_set(1.0f / 6.0f));
    p = vf_fma(p, r, vf_set(0.5f));
    p = vf_fma(vf_mul(p, r), r, r);
    return vf_scale(vf_add(p, vf_set(1.0f)), n);
}

INLINE vf neg(vf x) { return vf_sub(vf_set(0.0f), x); }

/* Near 0 the odd polynomial of Cephes' tanhf, which keeps the relative error; elsewhere
 * 1 - 2/(e^2|x| + 1) with the sign of x. */
INLINE vf tanh_vf(vf x) {
    vf size = vf_max(neg(x), x), square = vf_mul(x, x);
    vf p = vf_set(-5.70498872745e-3f);
    p = vf_fma(p, square, vf_set(2.06390887954e-2f));
    p = vf_fma(p, square, vf_set(-5.37397155531e-2f));
    p = vf_fma(p, square, vf_set(1.33314422036e-1f));
    p = vf_fma(p, square, vf_set(-3.33332819422e-1f));
    vf near = vf_fma(vf_mul(p, square), x, x);
    vf far = vf_sub(vf_set(1.0f), vf_div(vf_set(2.0f), vf_add(exp_vf(vf_add(size, size)), vf_set(1.0f))));
    far = vf_select(vf_less(x, vf_set(0.0f)), neg(far), far);
    return vf_select(vf_less(size, vf_set(0.625f)), near, far);
}

/* ---- activations: the rest of a row goes through a padded copy, so an element's bits do not depend on
 * where it stands ---- */

INLINE vf act_tanh(vf x) { return tanh_vf(x); }
INLINE vf act_sigmoid(vf x) { return vf_div(vf_set(1.0f), vf_add(vf_set(1.0f), exp_vf(neg(x)))); }
INLINE vf act_silu(vf x) { return vf_div(x, vf_add(vf_set(1.0f), exp_vf(neg(x)))); }
INLINE vf act_relu2(vf x) {
    vf positive = vf_max(vf_set(0.0f), x);
    return vf_mul(positive, positive);
}
INLINE vf act_quick_gelu(vf x) { return vf_div(x, vf_add(vf_set(1.0f), exp_vf(vf_mul(x, vf_set(-1.702f))))); }
INLINE vf act_gelu_tanh(vf x) {
    vf cube = vf_mul(vf_mul(vf_mul(vf_set(0.044715f), x), x), x);
    vf t = tanh_vf(vf_mul(vf_set(0.79788456080286536f), vf_add(x, cube)));
    return vf_mul(vf_mul(vf_set(0.5f), x), vf_add(vf_set(1.0f), t));
}

INLINE vf act_decay(vf x) { return exp_vf(vf_mul(vf_set(-0.60653065971263342f), act_sigmoid(x))); }

INLINE void map(float *y, const float *x, int64_t n, vf (*fn)(vf)) {
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES) vf_store(y + i, fn(vf_load(x + i)));
    if (i == n) return;
    float rest[VF_LANES] = {0};
    for (int64_t l = 0; i + l < n; l++) rest[l] = x[i + l];
    vf_store(rest, fn(vf_load(rest)));
    for (int64_t l = 0; i + l < n; l++) y[i + l] = rest[l];
}

static void map_tanh(float *y, const float *x, int64_t n) { map(y, x, n, act_tanh); }
static void map_sigmoid(float *y, const float *x, int64_t n) { map(y, x, n, act_sigmoid); }
static void map_silu(float *y, const float *x, int64_t n) { map(y, x, n, act_silu); }
static void map_relu2(float *y, const float *x, int64_t n) { map(y, x, n, act_relu2); }
static void map_quick_gelu(float *y, const float *x, int64_t n) { map(y, x, n, act_quick_gelu); }
static void map_gelu_tanh(float *y, const float *x, int64_t n) { map(y, x, n, act_gelu_tanh); }
static void map_decay(float *y, const float *x, int64_t n) { map(y, x, n, act_decay); }

static void activate(float *y, const float *x, int64_t n, int act) {
    static void (*const maps[VR_ACT_COUNT])(float *, const float *, int64_t) = {
        [VR_ACT_TANH] = map_tanh,   [VR_ACT_SIGMOID] = map_sigmoid,       [VR_ACT_SILU] = map_silu,
        [VR_ACT_RELU2] = map_relu2, [VR_ACT_QUICK_GELU] = map_quick_gelu, [VR_ACT_GELU_TANH] = map_gelu_tanh,
        [VR_ACT_DECAY] = map_decay,
    };
    if (maps[act])
        maps[act](y, x, n);
    else
        vr_generic_activate(y, x, n, act); /* none; erf is the C library's */
}

/* ---- rows: no fused operations, so these have the generic set's bits ---- */

static void add(float *y, const float *x, const float *z, int64_t n) {
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES) vf_store(y + i, vf_add(vf_load(x + i), vf_load(z + i)));
    for (; i < n; i++) y[i] = x[i] + z[i];
}

static void mul(float *y, const float *x, const float *z, int64_t n) {
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES) vf_store(y + i, vf_mul(vf_load(x + i), vf_load(z + i)));
    for (; i < n; i++) y[i] = x[i] * z[i];
}

static void lerp(float *y, const float *x, const float *z, const float *mu, const float *m, int64_t n) {
    const float *only = mu ? mu : m;
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES) {
        vf amount = mu && m ? vf_add(vf_load(mu + i), vf_load(m + i)) : vf_load(only + i), from = vf_load(x + i);
        vf_store(y + i, vf_add(from, vf_mul(vf_sub(vf_load(z + i), from), amount)));
    }
    for (; i < n; i++) y[i] = x[i] + (z[i] - x[i]) * (mu && m ? mu[i] + m[i] : only[i]);
}

static void axpy(float *y, float a, const float *x, int64_t n) {
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES) vf_store(y + i, vf_fma(vf_set(a), vf_load(x + i), vf_load(y + i)));
    for (; i < n; i++) y[i] = __builtin_fmaf(a, x[i], y[i]);
}

INLINE float sum_vf(vf x) { return vf_sum4(x, x, x, x)[0]; }

/* Two passes; the second also sums the deviations from the rounded mean, which corrects both the mean
 * and the variance (Chan, Golub, LeVeque 1983). */
static void norm(float *y, const float *x, const float *w, const float *b, int64_t n, float eps) {
    vf sums = vf_set(0.0f), deviations = sums, squares = sums;
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES) sums = vf_add(sums, vf_load(x + i));
    float sum = sum_vf(sums);
    for (; i < n; i++) sum += x[i];
    float mean = sum / (float)n;
    for (i = 0; i + VF_LANES <= n; i += VF_LANES) {
        vf deviation = vf_sub(vf_load(x + i), vf_set(mean));
        deviations = vf_add(deviations, deviation);
        squares = vf_fma(deviation, deviation, squares);
    }
    float first = sum_vf(deviations), second = sum_vf(squares);
    for (; i < n; i++) {
        first += x[i] - mean;
        second += (x[i] - mean) * (x[i] - mean);
    }
    float shift = first / (float)n, variance = second / (float)n - shift * shift;
    float inverse = 1.0f / sqrtf((variance > 0.0f ? variance : variance * 0.0f) + eps); /* NaN stays NaN */
    for (i = 0; i + VF_LANES <= n; i += VF_LANES) {
        vf deviation = vf_sub(vf_sub(vf_load(x + i), vf_set(mean)), vf_set(shift));
        vf_store(y + i, vf_fma(vf_mul(deviation, vf_set(inverse)), vf_load(w + i), vf_load(b + i)));
    }
    for (; i < n; i++) y[i] = __builtin_fmaf((x[i] - mean - shift) * inverse, w[i], b[i]);
}

static void softmax(float *x, int64_t n) {
    float lanes[VF_LANES], rest[VF_LANES], largest = -INFINITY;
    int64_t i = 0;
    vf highest = vf_set(-INFINITY), sums = vf_set(0.0f);
    for (; i + VF_LANES <= n; i += VF_LANES) highest = vf_max(highest, vf_load(x + i));
    for (int l = 0; l < VF_LANES; l++) rest[l] = i + l < n ? x[i + l] : -INFINITY;
    highest = vf_max(highest, vf_load(rest));
    vf_store(lanes, highest);
    for (int l = 0; l < VF_LANES; l++) largest = lanes[l] > largest ? lanes[l] : largest;
    for (i = 0; i + VF_LANES <= n; i += VF_LANES) {
        vf e = exp_vf(vf_sub(vf_load(x + i), vf_set(largest)));
        sums = vf_add(sums, e);
        vf_store(x + i, e);
    }
    vf e = exp_vf(vf_sub(vf_load(rest), vf_set(largest))); /* 0 in the lanes past the end */
    if (i < n) sums = vf_add(sums, e);
    vf sum = vf_set(sum_vf(sums));
    vf_store(rest, vf_div(e, sum));
    for (int64_t l = 0; i + l < n; l++) x[i + l] = rest[l];
    for (i = 0; i + VF_LANES <= n; i += VF_LANES) vf_store(x + i, vf_div(vf_load(x + i), sum));
}

#include "ops/cpu/simd_wkv.h"

#include "ops/cpu/simd_gemm.h"

#include "ops/cpu/simd_back.h"
