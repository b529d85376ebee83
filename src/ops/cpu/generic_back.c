/* Backward passes of the plain C kernel set; the truth in tests. Each adds to the gradients it is given. */
#include "ops/cpu/sets.h"
#include "ops/ops.h"

#include <math.h>

void vr_generic_outer(float *y, int64_t y_stride, const float *a, int64_t a_row, int64_t a_step, const float *b,
                      int64_t b_stride, int64_t M, int64_t N, int64_t K) {
    enum { COLUMNS = 64 };
    float sum[COLUMNS];
    for (int64_t n = 0; n < N; n += COLUMNS) {
        int64_t width = N - n < COLUMNS ? N - n : COLUMNS;
        for (int64_t m = 0; m < M; m++) {
            for (int64_t i = 0; i < width; i++) sum[i] = 0.0f;
            for (int64_t k = 0; k < K; k++) {
                float factor = a[m * a_row + k * a_step];
                const float *row = b + k * b_stride + n;
                for (int64_t i = 0; i < width; i++) sum[i] += factor * row[i];
            }
            for (int64_t i = 0; i < width; i++) y[m * y_stride + n + i] += sum[i];
        }
    }
}

/* ---- activations: dy/dx at x ---- */

static float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

static float slope_none(float x) {
    (void)x;
    return 1.0f;
}
static float slope_tanh(float x) {
    float t = tanhf(x);
    return 1.0f - t * t;
}
static float slope_sigmoid(float x) {
    float s = sigmoid(x);
    return s * (1.0f - s);
}
static float slope_silu(float x) {
    float s = sigmoid(x);
    return s + x * s * (1.0f - s);
}
static float slope_relu(float x) { return x < 0.0f ? 0.0f : 1.0f; }
static float slope_relu2(float x) { return x < 0.0f ? 0.0f : 2.0f * x; } /* NaN stays NaN */
static float slope_quick_gelu(float x) {
    float s = sigmoid(1.702f * x);
    return s + 1.702f * x * s * (1.0f - s);
}
static float slope_gelu(float x) {
    return 0.5f * (1.0f + erff(x * 0.70710678118654752f)) + x * 0.39894228040143268f * expf(-0.5f * x * x);
}
static float slope_gelu_tanh(float x) {
    float t = tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x));
    return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.79788456080286536f * (1.0f + 0.134145f * x * x);
}
static float slope_decay(float x) {
    float s = sigmoid(x);
    return -0.60653065971263342f * s * (1.0f - s) * expf(-0.60653065971263342f * s);
}

static float (*const slopes[])(float) = {
    [VR_ACT_NONE] = slope_none,   [VR_ACT_TANH] = slope_tanh,   [VR_ACT_SIGMOID] = slope_sigmoid,
    [VR_ACT_SILU] = slope_silu,   [VR_ACT_RELU2] = slope_relu2, [VR_ACT_QUICK_GELU] = slope_quick_gelu,
    [VR_ACT_GELU] = slope_gelu,   [VR_ACT_GELU_TANH] = slope_gelu_tanh, [VR_ACT_DECAY] = slope_decay,
    [VR_ACT_RELU] = slope_relu,
};

void vr_generic_activate_back(float *dx, const float *x, const float *dy, int64_t n, int act) {
    for (int64_t i = 0; i < n; i++) dx[i] += dy[i] * slopes[act](x[i]);
}

/* ---- rows ---- */

void vr_generic_mul_add(float *y, const float *x, const float *z, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] += x[i] * z[i];
}

void vr_generic_lerp_back(float *dx, float *dz, float *dm, float *dmu, const float *x, const float *z, const float *mu,
                          const float *m, const float *dy, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float amount = (mu ? mu[i] : 0.0f) + (m ? m[i] : 0.0f), towards = dy[i] * amount, damount = dy[i] * (z[i] - x[i]);
        if (dx) dx[i] += dy[i] - towards;
        if (dz) dz[i] += towards;
        if (dm) dm[i] += damount;
        if (dmu) dmu[i] += damount;
    }
}

void vr_generic_norm_back(float *dx, float *dw, float *db, const float *x, const float *w, const float *dy, int64_t n,
                          float eps) {
    double sum = 0, squares = 0, along = 0, level = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i];
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    double inverse = 1.0 / sqrt(squares / (double)n + (double)eps);
    for (int64_t i = 0; i < n; i++) {
        double unit = ((double)x[i] - mean) * inverse, g = (double)dy[i] * (double)w[i];
        level += g;
        along += g * unit;
        if (dw) dw[i] += (float)((double)dy[i] * unit);
        if (db) db[i] += dy[i];
    }
    for (int64_t i = 0; dx && i < n; i++) {
        double unit = ((double)x[i] - mean) * inverse;
        dx[i] += (float)(inverse * ((double)dy[i] * (double)w[i] - (level + unit * along) / (double)n));
    }
}

/* ---- recurrences ---- */

void vr_generic_wkv6_back(const vr_wkv6_back *at, int64_t N) {
    float bonus = 0.0f, own = 0.0f; /* sum_j r u k, sum_i dy v */
    for (int64_t j = 0; j < N; j++) bonus += at->r[j] * at->u[j] * at->k[j];
    for (int64_t i = 0; i < N; i++) {
        own += at->dy[i] * at->v[i];
        at->dv[i] += at->dy[i] * bonus;
    }
    for (int64_t j = 0; j < N; j++) {
        const float *s = at->state + j * N;
        float *g = at->dstate + j * N, decay = expf(-expf(at->w[j])), read = 0.0f, kept = 0.0f, written = 0.0f;
        for (int64_t i = 0; i < N; i++) {
            read += at->dy[i] * s[i];
            kept += g[i] * s[i];
            written += g[i] * at->v[i];
            at->dv[i] += g[i] * at->k[j];
            g[i] = decay * g[i] + at->r[j] * at->dy[i];
        }
        at->dr[j] += read + at->u[j] * at->k[j] * own;
        at->dk[j] += written + at->r[j] * at->u[j] * own;
        at->du[j] += at->r[j] * at->k[j] * own;
        at->dw[j] -= kept * expf(at->w[j] - expf(at->w[j])); /* of exp(-exp(w)), also where it vanishes */
    }
}

void vr_generic_wkv7_back(const vr_wkv7_back *at, int64_t N) {
    float *dback = at->scratch; /* of kk*a */
    for (int64_t j = 0; j < N; j++) dback[j] = 0.0f;
    for (int64_t i = 0; i < N; i++) {
        const float *s = at->state + i * N, *after = at->after + i * N;
        float *g = at->dstate + i * N, value = 0.0f, dremoved = 0.0f, removed = 0.0f;
        for (int64_t j = 0; j < N; j++) {
            g[j] += at->dy[i] * at->r[j];
            value += g[j] * at->k[j];
            dremoved -= g[j] * at->kk[j] * at->a[j];
            removed += s[j] * at->kk[j];
        }
        at->dv[i] += value;
        for (int64_t j = 0; j < N; j++) {
            at->dr[j] += at->dy[i] * after[j];
            at->dk[j] += g[j] * at->v[i];
            at->dw[j] += g[j] * s[j];
            dback[j] -= g[j] * removed;
            at->dkk[j] += dremoved * s[j];
            g[j] = g[j] * at->w[j] + dremoved * at->kk[j];
        }
    }
    for (int64_t j = 0; j < N; j++) {
        at->dkk[j] += dback[j] * at->a[j];
        at->da[j] += dback[j] * at->kk[j];
    }
}
