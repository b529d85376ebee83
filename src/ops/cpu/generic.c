/* The plain C kernel set: the truth in tests, and what runs where no other set does. Elementary
 * functions are the C library's. */
#include "ops/cpu/sets.h"
#include "ops/ops.h"

#include <math.h>
#include <string.h>

enum { LANES = 16 };

/* Lane l sums the products i = l, l+16, ...; then the lanes are added pairwise, then the rest in order:
 * closer to the exact sum than one running sum, and a form that compilers turn into vectors. */
static float dot(const float *x, const float *w, int64_t n) {
    float lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += x[i + l] * w[i + l];
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    for (; i < n; i++) lane[0] += x[i] * w[i];
    return lane[0];
}

static void multiply(float *y, int64_t y_stride, const float *x, int64_t x_stride, const float *w, int64_t w_stride,
                     const float *bias, int64_t T, int64_t O, int64_t I, bool add) {
    for (int64_t t = 0; t < T; t++)
        for (int64_t o = 0; o < O; o++) {
            float sum = add ? y[t * y_stride + o] : 0.0f;
            for (int64_t i = 0; i < I; i += VR_STRIP)
                sum += dot(x + t * x_stride + i, w + o * w_stride + i, I - i < VR_STRIP ? I - i : VR_STRIP);
            y[t * y_stride + o] = bias ? sum + bias[o] : sum;
        }
}

static void gemm(float *y, int64_t y_stride, const float *x, int64_t x_stride, const float *w, int64_t w_stride,
                 const float *bias, int64_t T, int64_t O, int64_t I) {
    multiply(y, y_stride, x, x_stride, w, w_stride, bias, T, O, I, false);
}

static void gemm_add(float *y, int64_t y_stride, const float *x, int64_t x_stride, const float *w, int64_t w_stride,
                     const float *bias, int64_t T, int64_t O, int64_t I) {
    multiply(y, y_stride, x, x_stride, w, w_stride, bias, T, O, I, true);
}

static float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

static float act_none(float x) { return x; }
static float act_tanh(float x) { return tanhf(x); }
static float act_silu(float x) { return x / (1.0f + expf(-x)); }
static float act_relu(float x) { return x < 0.0f ? 0.0f : x; }
static float act_relu2(float x) { return x < 0.0f ? 0.0f : x * x; } /* NaN stays NaN */
static float act_quick_gelu(float x) { return x / (1.0f + expf(-1.702f * x)); }
static float act_gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)); }
static float act_gelu_tanh(float x) {
    return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
}
static float act_decay(float x) { return expf(-0.60653065971263342f * sigmoid(x)); } /* exp(-0.5) */

static float (*const acts[VR_ACT_COUNT])(float) = {
    [VR_ACT_NONE] = act_none,   [VR_ACT_TANH] = act_tanh,   [VR_ACT_SIGMOID] = sigmoid,
    [VR_ACT_SILU] = act_silu,   [VR_ACT_RELU2] = act_relu2, [VR_ACT_QUICK_GELU] = act_quick_gelu,
    [VR_ACT_GELU] = act_gelu,   [VR_ACT_GELU_TANH] = act_gelu_tanh, [VR_ACT_DECAY] = act_decay,
    [VR_ACT_RELU] = act_relu,
};

void vr_generic_activate(float *y, const float *x, int64_t n, int act) {
    for (int64_t i = 0; i < n; i++) y[i] = acts[act](x[i]);
}

static void add(float *y, const float *x, const float *z, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = x[i] + z[i];
}

static void mul(float *y, const float *x, const float *z, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * z[i];
}

static void lerp(float *y, const float *x, const float *z, const float *mu, const float *m, int64_t n) {
    const float *only = mu ? mu : m;
    if (mu && m)
        for (int64_t i = 0; i < n; i++) y[i] = x[i] + (z[i] - x[i]) * (mu[i] + m[i]);
    else
        for (int64_t i = 0; i < n; i++) y[i] = x[i] + (z[i] - x[i]) * only[i];
}

static void norm(float *y, const float *x, const float *w, const float *b, int64_t n, float eps) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i];
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    double inverse = 1.0 / sqrt(squares / (double)n + (double)eps);
    for (int64_t i = 0; i < n; i++) y[i] = (float)(((double)x[i] - mean) * inverse) * w[i] + b[i];
}

static void softmax(float *x, int64_t n) {
    float largest = -INFINITY;
    double sum = 0; /* of as many numbers as a vocabulary has */
    for (int64_t i = 0; i < n; i++) largest = x[i] > largest ? x[i] : largest;
    for (int64_t i = 0; i < n; i++) sum += (double)(x[i] = expf(x[i] - largest));
    for (int64_t i = 0; i < n; i++) x[i] /= (float)sum;
}

static void axpy(float *y, float a, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}

static void wkv6(float *y, float *state, const float *r, const float *k, const float *v, const float *w, const float *u,
                 int64_t N) {
    for (int64_t i = 0; i < N; i++) y[i] = 0.0f;
    for (int64_t j = 0; j < N; j++) {
        float *s = state + j * N, decay = expf(-expf(w[j]));
        for (int64_t i = 0; i < N; i++) {
            float kv = k[j] * v[i];
            y[i] += r[j] * (s[i] + u[j] * kv);
            s[i] = decay * s[i] + kv;
        }
    }
}

static void wkv7(float *y, float *state, const float *r, const float *w, const float *k, const float *v, const float *kk,
                 const float *a, int64_t N) {
    for (int64_t i = 0; i < N; i++) {
        float *s = state + i * N, removed = dot(s, kk, N);
        for (int64_t j = 0; j < N; j++) s[j] = s[j] * w[j] - removed * (kk[j] * a[j]) + v[i] * k[j];
        y[i] = dot(s, r, N);
    }
}

static double peak_f32(int64_t rounds) {
    float x[LANES], sum[LANES] = {0};
    volatile float kept;
    for (int l = 0; l < LANES; l++) x[l] = (float)l;
    for (int64_t r = 0; r < rounds; r++)
        for (int l = 0; l < LANES; l++) sum[l] += x[l] * 0.5f;
    for (int l = 0; l < LANES; l++) kept = sum[l];
    (void)kept;
    return (double)rounds * LANES;
}

static bool supported(void) { return true; }

const vr_kernels vr_kernels_generic = {
    .name = "generic",
    .supported = supported,
    .gemm = gemm,
    .gemm_add = gemm_add,
    .activate = vr_generic_activate,
    .add = add,
    .mul = mul,
    .lerp = lerp,
    .norm = norm,
    .softmax = softmax,
    .axpy = axpy,
    .wkv6 = wkv6,
    .wkv7 = wkv7,
    .outer = vr_generic_outer,
    .activate_back = vr_generic_activate_back,
    .mul_add = vr_generic_mul_add,
    .lerp_back = vr_generic_lerp_back,
    .norm_back = vr_generic_norm_back,
    .wkv6_back = vr_generic_wkv6_back,
    .wkv7_back = vr_generic_wkv7_back,
    .peak_f32 = peak_f32,
    VR_INT8_ENTRIES(generic),
};
