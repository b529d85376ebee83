/* Int8 products in plain C: the truth that every kernel set gives to the bit (packed.h). */
#include "base/half.h"
#include "ops/cpu/sets.h"

#include <math.h>

enum {
    BLOCK = VR_TILE_BLOCK, SUPER = 256,
    Q4_0_Q = 2 * VR_PACKED_ROWS, Q4_0_BYTES = 18 * VR_PACKED_ROWS, /* offsets and sizes in a packed block */
    Q8_0_Q = 2 * VR_PACKED_ROWS, Q8_0_BYTES = 34 * VR_PACKED_ROWS,
    K_DMIN = 2 * VR_PACKED_ROWS, K_SCALES = 4 * VR_PACKED_ROWS, K_AFTER_SCALES = 16 * VR_PACKED_ROWS,
    Q4_K_BYTES = 144 * VR_PACKED_ROWS, Q5_K_BYTES = 176 * VR_PACKED_ROWS, Q5_K_Q = 48 * VR_PACKED_ROWS,
    Q6_K_HIGH = 128 * VR_PACKED_ROWS, Q6_K_SCALE = 192 * VR_PACKED_ROWS, Q6_K_D = 208 * VR_PACKED_ROWS, Q6_K_BYTES = 210 * VR_PACKED_ROWS,
};

/* ---- the tile ---- */

/* The largest magnitude by its bits, in which infinities and NaNs come last. */
static float largest_of(const float *x) {
    uint32_t most = 0;
    for (int i = 0; i < BLOCK; i++) {
        uint32_t bits = vr_f32_bits(x[i]) & 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    return vr_bits_f32(most);
}

void vr_generic_tile(void *tile, const float *x, int64_t x_stride, int64_t n, int64_t I) {
    char *at = tile;
    for (int64_t i = 0; i < I; i += BLOCK, at += n * VR_TILE_BYTES)
        for (int64_t t = 0; t < n; t++) {
            const float *row = x + t * x_stride + i;
            float most = largest_of(row), d = most / 127.0f, inverse = 127.0f / most;
            int16_t half[2] = {0}, whole[2] = {0};
            if (!isfinite(most)) d = NAN;
            if (most < 0x1p-100f) d = 0.0f;
            bool empty = !(d > 0.0f); /* NaN too */
            for (int k = 0; k < BLOCK; k++) {
                int8_t q = (int8_t)(empty ? 0 : lrintf(row[k] * inverse));
                if (k < BLOCK / 2) half[k / 2 % 2] = (int16_t)(half[k / 2 % 2] + q);
                whole[k / 2 % 2] = (int16_t)(whole[k / 2 % 2] + q);
                memcpy(at + vr_tile_q(n) + (k / 4 * n + t) * 4 + k % 4, &q, 1);
            }
            float s = d * (float)(whole[0] + whole[1]);
            memcpy(at + 4 * t, &d, 4);
            memcpy(at + vr_tile_s(n) + 4 * t, &s, 4);
            memcpy(at + vr_tile_half(n) + 4 * t, half, 4);
            memcpy(at + vr_tile_whole(n) + 4 * t, whole, 4);
        }
}

/* Row t's part of a tile's block. */
typedef struct columns {
    float d, s;
    const int8_t *q; /* column k is q[k/4*4*n + k%4] */
    int64_t step;
} columns;

static columns columns_of(const char *block, int64_t n, int64_t t) {
    columns x = {.q = (const int8_t *)block + vr_tile_q(n) + 4 * t, .step = 4 * n};
    memcpy(&x.d, block + 4 * t, 4);
    memcpy(&x.s, block + vr_tile_s(n) + 4 * t, 4);
    return x;
}

static int x_at(const columns *x, int k) { return x->q[k / 4 * x->step + k % 4]; }

/* ---- one row's numbers in a packed block ---- */

static float half_at(const unsigned char *part, int row) {
    uint16_t half;
    memcpy(&half, part + 2 * row, sizeof half);
    return vr_f16_f32(half);
}

/* Byte i of row `row` where units of 4 bytes are interleaved. */
static unsigned byte_at(const unsigned char *part, int row, int i) { return part[(i / 4 * VR_PACKED_ROWS + row) * 4 + i % 4]; }

static int q8_0_at(const unsigned char *w, int row, int k) { return (int8_t)byte_at(w + Q8_0_Q, row, k); }

static int q4_0_at(const unsigned char *w, int row, int k) {
    return (int)(byte_at(w + Q4_0_Q, row, k % 16) >> 4 * (k / 16) & 15) - 8;
}

static int q4_k_at(const unsigned char *w, int row, int k) {
    return (int)(byte_at(w + K_AFTER_SCALES, row, k / 64 * 32 + k % 32) >> 4 * (k / 32 % 2) & 15);
}

static int q5_k_at(const unsigned char *w, int row, int k) {
    unsigned low = byte_at(w + Q5_K_Q, row, k / 64 * 32 + k % 32) >> 4 * (k / 32 % 2) & 15;
    return (int)(low | (byte_at(w + K_AFTER_SCALES, row, k % 32) >> k / 32 & 1) << 4) - 16;
}

static int q6_k_at(const unsigned char *w, int row, int k) {
    int h = k / 128, g = k / 32 % 4, i = k % 32;
    unsigned low = byte_at(w, row, 64 * h + 32 * (g % 2) + i) >> 4 * (g / 2) & 15;
    return (int)(low | (byte_at(w + Q6_K_HIGH, row, 32 * h + i) >> 2 * g & 3) << 4) - 32;
}

static int dot(int (*w_at)(const unsigned char *, int, int), const unsigned char *w, int row, int k, int n, const columns *x, int from) {
    int sum = 0;
    for (int i = 0; i < n; i++) sum += w_at(w, row, k + i) * x_at(x, from + i);
    return sum;
}

/* Scale and min of sub-block j; quant_k.c has the form of the 12 bytes. */
static void scale_at(const unsigned char *w, int row, int j, int *scale, int *min) {
    const unsigned char *at = w + K_SCALES + row;
    if (j < 4) {
        *scale = at[j * VR_PACKED_ROWS] & 63;
        *min = at[(j + 4) * VR_PACKED_ROWS] & 63;
    } else {
        *scale = (at[(j + 4) * VR_PACKED_ROWS] & 15) | at[(j - 4) * VR_PACKED_ROWS] >> 6 << 4;
        *min = at[(j + 4) * VR_PACKED_ROWS] >> 4 | at[j * VR_PACKED_ROWS] >> 6 << 4;
    }
}

/* ---- products: acc over the 32 columns that begin at column k of the weights' block ---- */

typedef float (*step_fn)(float acc, const unsigned char *w, int row, int k, const columns *x);

static float step_q8_0(float acc, const unsigned char *w, int row, int k, const columns *x) {
    return fmaf((float)dot(q8_0_at, w, row, k, BLOCK, x, 0), half_at(w, row) * x->d, acc);
}

static float step_q4_0(float acc, const unsigned char *w, int row, int k, const columns *x) {
    return fmaf((float)dot(q4_0_at, w, row, k, BLOCK, x, 0), half_at(w, row) * x->d, acc);
}

static float step_q4_k(float acc, const unsigned char *w, int row, int k, const columns *x) {
    int scale, min;
    scale_at(w, row, k / BLOCK, &scale, &min);
    acc = fmaf((float)(scale * dot(q4_k_at, w, row, k, BLOCK, x, 0)), half_at(w, row) * x->d, acc);
    return fmaf(-(half_at(w + K_DMIN, row) * (float)min), x->s, acc);
}

static float step_q5_k(float acc, const unsigned char *w, int row, int k, const columns *x) {
    int scale, min;
    scale_at(w, row, k / BLOCK, &scale, &min);
    float d = half_at(w, row), low = 16.0f * (d * (float)scale) - half_at(w + K_DMIN, row) * (float)min;
    acc = fmaf((float)(scale * dot(q5_k_at, w, row, k, BLOCK, x, 0)), d * x->d, acc);
    return fmaf(low, x->s, acc);
}

static float step_q6_k(float acc, const unsigned char *w, int row, int k, const columns *x) {
    const int8_t *scale = (const int8_t *)w + Q6_K_SCALE + k / 16 * VR_PACKED_ROWS + row;
    int sum = scale[0] * dot(q6_k_at, w, row, k, 16, x, 0) + scale[VR_PACKED_ROWS] * dot(q6_k_at, w, row, k + 16, 16, x, 16);
    return fmaf((float)sum, half_at(w + Q6_K_D, row) * x->d, acc);
}

static void multiply(step_fn step, int block, int block_bytes, float *y, int64_t y_stride, const void *tile, int64_t n,
                     const void *packed, int64_t groups, const float *bias, int64_t I) {
    for (int64_t o = 0; o < groups * VR_PACKED_ROWS; o++) {
        const unsigned char *group = (const unsigned char *)packed + o / VR_PACKED_ROWS * (I / block * block_bytes);
        for (int64_t t = 0; t < n; t++) {
            float acc = 0.0f;
            for (int64_t i = 0; i < I; i += BLOCK) {
                columns x = columns_of((const char *)tile + i / BLOCK * n * VR_TILE_BYTES, n, t);
                acc = step(acc, group + i / block * block_bytes, (int)(o % VR_PACKED_ROWS), (int)(i % block), &x);
            }
            y[t * y_stride + o] = bias ? acc + bias[o] : acc;
        }
    }
}

#define PRODUCT(name, block, block_bytes)                                                                              \
    void vr_generic_##name(float *y, int64_t y_stride, const void *tile, int64_t n, const void *w, int64_t groups,     \
                           const float *bias, int64_t I) {                                                             \
        multiply(step_##name, block, block_bytes, y, y_stride, tile, n, w, groups, bias, I);                           \
    }
PRODUCT(q8_0, BLOCK, Q8_0_BYTES)
PRODUCT(q4_0, BLOCK, Q4_0_BYTES)
PRODUCT(q4_k, SUPER, Q4_K_BYTES)
PRODUCT(q5_k, SUPER, Q5_K_BYTES)
PRODUCT(q6_k, SUPER, Q6_K_BYTES)

double vr_generic_peak_int8(int64_t rounds) {
    enum { N = 64 };
    int8_t w[N], x[N];
    for (int i = 0; i < N; i++) w[i] = (int8_t)(i - 30), x[i] = (int8_t)(77 - i);
    volatile int kept = 0;
    for (int64_t r = 0; r < rounds; r++) {
        int sum = 0;
        x[r % N] ^= 1;
        for (int i = 0; i < N; i++) sum += w[i] * x[i];
        kept += sum;
    }
    return (double)rounds * N;
}
