/* Super-blocks of 256 elements whose sub-blocks have small whole scales:
 *
 *   q4_k 144 bytes {d, dmin f16; scales[12]; q[128]}            x = d*scale*q - dmin*min, q 0..15
 *   q5_k 176 bytes {d, dmin f16; scales[12]; high[32]; q[128]}  the same, q 0..31
 *   q6_k 210 bytes {q[128]; high[64]; int8 scale[16]; d f16}    x = d*scale*(q - 32), q 0..63
 *
 * q4_k, q5_k: 8 sub-blocks of 32; scale and min have 6 bits. scales[j] of the first four holds them whole
 * (scale in byte j, min in byte j + 4), of the last four their low nibbles (byte j + 4), the rest in
 * the two free bits of bytes j - 4 and j. Element 64*p + i has the low nibble of q[32*p + i], element
 * 64*p + 32 + i its high nibble; the fifth bit of sub-block j is bit j of high[i].
 * q6_k: 16 sub-blocks of 16. Element 128*h + 32*g + i has a nibble of q[64*h + 32*(g % 2) + i], low for
 * g < 2, and bits 2*g of high[32*h + i].
 *
 * Encoding: a sub-block's scale (and min) are searched around the one that just covers its range: each
 * candidate assigns whole numbers, for which the best scale (and min) follow from weighted least
 * squares; the candidate of the least error wins. The sub-blocks' scales are then rounded to multiples of
 * the super-block's, and every element takes the nearest number that is really there. */
#include "ops/quant_table.h"

#include <math.h>

enum {
    SUPER = 256,
    Q4_BYTES = 144, Q4_Q = 16,
    Q5_BYTES = 176, Q5_HIGH = 16, Q5_Q = 48,
    Q6_BYTES = 210, Q6_HIGH = 128, Q6_SCALES = 192, Q6_D = 208,
};

/* ---- q4_k, q5_k ---- */

static void unpack_scales(const unsigned char *packed, int *scale, int *min) {
    for (int j = 0; j < 4; j++) {
        scale[j] = packed[j] & 63;
        min[j] = packed[j + 4] & 63;
        scale[j + 4] = (packed[j + 8] & 15) | packed[j] >> 6 << 4;
        min[j + 4] = packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4;
    }
}

static void pack_scales(unsigned char *packed, const int *scale, const int *min) {
    for (int j = 0; j < 4; j++) {
        packed[j] = (unsigned char)(scale[j] | scale[j + 4] >> 4 << 6);
        packed[j + 4] = (unsigned char)(min[j] | min[j + 4] >> 4 << 6);
        packed[j + 8] = (unsigned char)((scale[j + 4] & 15) | (min[j + 4] & 15) << 4);
    }
}

/* high NULL: q4_k */
static void decode_offset(float *out, const unsigned char *block, const unsigned char *q, const unsigned char *high) {
    float d = vr_load_f16(block), dmin = vr_load_f16(block + 2);
    int scale[8], min[8];
    unpack_scales(block + 4, scale, min);
    for (int j = 0; j < 8; j++) {
        float step = d * (float)scale[j], low = dmin * (float)min[j];
        for (int i = 0; i < 32; i++) {
            int value = q[32 * (j / 2) + i] >> 4 * (j % 2) & 15;
            if (high) value |= (high[i] >> j & 1) << 4;
            out[32 * j + i] = step * (float)value - low;
        }
    }
}

static void decode_q4_k(float *out, const void *in, int64_t n) {
    const unsigned char *block = in;
    for (int64_t i = 0; i < n; i += SUPER, block += Q4_BYTES) decode_offset(out + i, block, block + Q4_Q, NULL);
}

static void decode_q5_k(float *out, const void *in, int64_t n) {
    const unsigned char *block = in;
    for (int64_t i = 0; i < n; i += SUPER, block += Q5_BYTES) decode_offset(out + i, block, block + Q5_Q, block + Q5_HIGH);
}

/* Sums run in LANES parts, each in order, added at the end: a form that compilers turn into vectors, and
 * that gives the same bits whether they do or not. */
enum { LANES = 8 };
typedef struct lanes { float at[LANES]; } lanes;

static inline float total(const lanes *sum) {
    const float *s = sum->at;
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* The whole number nearest to x, limited; NaN gives low. Comparisons first: no other value may reach the
 * conversion. */
static inline int nearest(float x, int low, int high) {
    x = x > (float)low ? x : (float)low;
    x = x < (float)high ? x : (float)high;
    return (int)(x - (float)low + 0.5f) + low;
}

/* The super-block's factor as a half float; not 0 where the value is not: whole scales make up for what
 * is lost by the smallest half float. */
static float store_factor(unsigned char *at, float value) {
    const float smallest = 0x1p-24f;
    if (fabsf(value) < smallest && value != 0.0f) value = copysignf(smallest, value);
    vr_store_f16(at, value);
    return vr_load_f16(at);
}

typedef struct fit {
    float scale, low; /* x = scale*q + low */
} fit;

/* The weighted least squares for the q that this inverse scale assigns; low <= 0, for a min is subtracted.
 * Returns the error that is left, infinite where nothing can be fitted. */
static float try_offset(const float *x, const float *w, int levels, float lowest, float inverse, fit *out) {
    lanes w0 = {{0}}, wx = {{0}}, wq = {{0}}, wqq = {{0}}, wqx = {{0}}, error = {{0}};
    float q[32];
    for (int i = 0; i < 32; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float a = x[i + l], b = w[i + l], c = (float)nearest((a - lowest) * inverse, 0, levels);
            q[i + l] = c;
            w0.at[l] += b;
            wx.at[l] += b * a;
            wq.at[l] += b * c;
            wqq.at[l] += b * c * c;
            wqx.at[l] += b * c * a;
        }
    float sw = total(&w0), sx = total(&wx), sq = total(&wq), sqq = total(&wqq), sqx = total(&wqx);
    float determinant = sw * sqq - sq * sq;
    if (!(determinant > 0.0f)) return INFINITY;
    out->scale = (sw * sqx - sq * sx) / determinant;
    out->low = (sqq * sx - sq * sqx) / determinant;
    if (out->low > 0.0f) *out = (fit){sqx / sqq, 0.0f};
    for (int i = 0; i < 32; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float off = x[i + l] - out->scale * q[i + l] - out->low;
            error.at[l] += w[i + l] * off * off;
        }
    return total(&error);
}

/* 32 x to scale*q + low with q in 0..levels. Constant sub-blocks: all q are 0, or all are levels. */
static fit fit_offset(const float *x, const float *w, int levels) {
    enum { STEPS = 20 };
    float lowest = 0.0f, highest = x[0], best = INFINITY;
    for (int i = 0; i < 32; i++) {
        lowest = x[i] < lowest ? x[i] : lowest;
        highest = x[i] > highest ? x[i] : highest;
    }
    fit found = {highest > lowest ? (highest - lowest) / (float)levels : 0.0f, lowest}, trial = {0.0f, 0.0f};
    for (int step = 0; highest > lowest && step <= STEPS; step++) {
        float inverse = ((float)levels - 1.0f + 0.1f * (float)step) / (highest - lowest);
        float error = try_offset(x, w, levels, lowest, inverse, &trial);
        if (error < best) best = error, found = trial;
    }
    return found;
}

/* The sub-blocks' weights: elements of large magnitude count more, none counts nothing. */
static void weigh(const float *x, float *w) {
    lanes squares = {{0}};
    for (int i = 0; i < 32; i += LANES)
        for (int l = 0; l < LANES; l++) squares.at[l] += x[i + l] * x[i + l];
    float typical = sqrtf(total(&squares) / 32.0f);
    for (int i = 0; i < 32; i++) w[i] = typical + fabsf(x[i]);
}

/* q of one sub-block for a step and an offset that are really there; the weighted error. */
static float assign(const float *x, const float *w, int levels, float step, float offset, int *q) {
    float inverse = step > 0.0f ? 1.0f / step : 0.0f;
    lanes error = {{0}};
    for (int i = 0; i < 32; i += LANES)
        for (int l = 0; l < LANES; l++) {
            int value = nearest((x[i + l] + offset) * inverse, 0, levels);
            float off = x[i + l] - (step * (float)value - offset);
            q[i + l] = value;
            error.at[l] += w[i + l] * off * off;
        }
    return total(&error);
}

/* Scale and min of one sub-block: of the whole numbers around the fitted ones, the pair of the least error. */
static void choose(const float *x, const float *w, int levels, float d, float dmin, const fit *fitted, int *scale, int *min,
                   int *q) {
    int s0 = d > 0.0f ? nearest(fitted->scale / d, 0, 63) : 0, m0 = dmin > 0.0f ? nearest(-fitted->low / dmin, 0, 63) : 0;
    float best = INFINITY;
    *scale = s0;
    *min = m0;
    for (int s = s0 > 0 ? s0 - 1 : 0; s <= s0 + 1 && s < 64; s++)
        for (int m = m0 > 0 ? m0 - 1 : 0; m <= m0 + 1 && m < 64; m++) {
            float error = assign(x, w, levels, d * (float)s, dmin * (float)m, q);
            if (error < best) best = error, *scale = s, *min = m;
        }
    assign(x, w, levels, d * (float)*scale, dmin * (float)*min, q);
}

/* d, dmin and scales of a super-block to its head; q[256] in 0..levels. */
static void encode_offset(unsigned char *head, const float *x, int levels, int *q) {
    float most = 0.0f, deepest = 0.0f, w[SUPER];
    int scales[8], mins[8];
    fit fits[8];
    for (int j = 0; j < 8; j++) {
        weigh(x + 32 * j, w + 32 * j);
        fits[j] = fit_offset(x + 32 * j, w + 32 * j, levels);
        most = fits[j].scale > most ? fits[j].scale : most;
        deepest = -fits[j].low > deepest ? -fits[j].low : deepest;
    }
    float d = store_factor(head, most / 63.0f), dmin = store_factor(head + 2, deepest / 63.0f);
    for (int j = 0; j < 8; j++) choose(x + 32 * j, w + 32 * j, levels, d, dmin, &fits[j], &scales[j], &mins[j], q + 32 * j);
    pack_scales(head + 4, scales, mins);
}

static void pack_nibbles(unsigned char *out, const int *q) {
    for (int i = 0; i < SUPER / 2; i++) {
        const int *low = q + 64 * (i / 32) + i % 32;
        out[i] = (unsigned char)((low[0] & 15) | (low[32] & 15) << 4);
    }
}

static void encode_q4_k(void *out, const float *in, int64_t n) {
    unsigned char *block = out;
    int q[SUPER];
    for (int64_t i = 0; i < n; i += SUPER, block += Q4_BYTES) {
        encode_offset(block, in + i, 15, q);
        pack_nibbles(block + Q4_Q, q);
    }
}

static void encode_q5_k(void *out, const float *in, int64_t n) {
    unsigned char *block = out;
    int q[SUPER];
    for (int64_t i = 0; i < n; i += SUPER, block += Q5_BYTES) {
        encode_offset(block, in + i, 31, q);
        pack_nibbles(block + Q5_Q, q);
        for (int b = 0; b < 32; b++) {
            int bits = 0;
            for (int j = 0; j < 8; j++) bits |= q[32 * j + b] >> 4 << j;
            block[Q5_HIGH + b] = (unsigned char)bits;
        }
    }
}

/* ---- q6_k ---- */

static void decode_q6_k(float *out, const void *in, int64_t n) {
    const unsigned char *block = in;
    for (int64_t i = 0; i < n; i += SUPER, block += Q6_BYTES) {
        float d = vr_load_f16(block + Q6_D);
        for (int j = 0; j < SUPER / 16; j++) {
            int h = j / 8, g = j / 2 % 4, first = 16 * (j % 2);
            float step = d * (float)(int8_t)block[Q6_SCALES + j];
            const unsigned char *q = block + 64 * h + 32 * (g % 2) + first, *high = block + Q6_HIGH + 32 * h + first;
            for (int k = 0; k < 16; k++) {
                int value = (q[k] >> 4 * (g / 2) & 15) | (high[k] >> 2 * g & 3) << 4;
                out[i + 16 * j + k] = step * (float)(value - 32);
            }
        }
    }
}

/* For q of 16 x: x^2-weighted sums of q*q and q*x. */
static void sums_of(const float *x, float inverse, float *qq, float *qx) {
    lanes sum_qq = {{0}}, sum_qx = {{0}};
    for (int i = 0; i < 16; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float a = x[i + l], q = (float)nearest(a * inverse, -32, 31), wq = a * a * q;
            sum_qq.at[l] += wq * q;
            sum_qx.at[l] += wq * a;
        }
    *qq = total(&sum_qq);
    *qx = total(&sum_qx);
}

/* 16 x to scale*q with q in -32..31, so that sum x^2*(x - scale*q)^2 is small. For given q the best scale
 * is sum(wxq)/sum(wqq), which takes sum(wxq)^2/sum(wqq) off the error. */
static float fit_scale(const float *x) {
    enum { STEPS = 18 };
    float largest = 0.0f, best = 0.0f, qq, qx;
    for (int i = 0; i < 16; i++)
        if (fabsf(x[i]) > fabsf(largest)) largest = x[i];
    float scale = largest / -32.0f; /* -32 is the longer end */
    for (int step = 0; largest != 0.0f && step <= STEPS; step++) {
        sums_of(x, -(31.1f + 0.1f * (float)step) / largest, &qq, &qx);
        if (qx * qx > best * qq) {
            best = qx * qx / qq;
            scale = qx / qq;
        }
    }
    return scale;
}

static void encode_q6_k(void *out, const float *in, int64_t n) {
    unsigned char *block = out;
    for (int64_t i = 0; i < n; i += SUPER, block += Q6_BYTES) {
        float scale[16], largest = 0.0f;
        for (int j = 0; j < 16; j++) {
            scale[j] = fit_scale(in + i + 16 * j);
            if (fabsf(scale[j]) > fabsf(largest)) largest = scale[j];
        }
        float d = store_factor(block + Q6_D, largest / -128.0f); /* -128 is the longer end of the scales' range */
        memset(block, 0, Q6_SCALES);
        for (int j = 0; j < 16; j++) {
            int h = j / 8, g = j / 2 % 4, first = 16 * (j % 2), whole = d != 0.0f ? nearest(scale[j] / d, -128, 127) : 0;
            float step = d * (float)whole, inverse = step != 0.0f ? 1.0f / step : 0.0f;
            unsigned char *q = block + 64 * h + 32 * (g % 2) + first, *high = block + Q6_HIGH + 32 * h + first;
            block[Q6_SCALES + j] = (unsigned char)whole;
            for (int k = 0; k < 16; k++) {
                int value = nearest(in[i + 16 * j + k] * inverse, -32, 31) + 32;
                q[k] |= (unsigned char)((value & 15) << 4 * (g / 2));
                high[k] |= (unsigned char)(value >> 4 << 2 * g);
            }
        }
    }
}

const vr_quant vr_quants_k[] = {
    {VR_Q4_K, decode_q4_k, encode_q4_k, VR_Q4_0, 2, {0, 2}},
    {VR_Q5_K, decode_q5_k, encode_q5_k, VR_Q8_0, 2, {0, 2}},
    {VR_Q6_K, decode_q6_k, encode_q6_k, VR_Q8_0, 1, {Q6_D}},
};
const int vr_quants_n_k = VR_COUNT(vr_quants_k);
