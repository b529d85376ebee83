/* Blocks of 32 elements with an f16 step d, and an f16 offset m in the types whose name ends in 1:
 *
 *   q8_0 34 bytes {d, int8 q[32]}                   x[j] = q[j]*d
 *   q4_0 18 bytes {d, uint8 q[16]}                  x[j] = (nibble - 8)*d
 *   q4_1 20 bytes {d, m, uint8 q[16]}               x[j] = nibble*d + m
 *   q5_0 22 bytes {d, uint32 high, uint8 q[16]}     x[j] = (nibble + 16*bit j of high - 16)*d
 *   q5_1 24 bytes {d, m, uint32 high, uint8 q[16]}  x[j] = (nibble + 16*bit j of high)*d + m
 *
 * The nibble of j < 16 is the low one of q[j], of j >= 16 the high one of q[j - 16]. */
#include "ops/quant_table.h"

#include <math.h>

enum { BLOCK = 32, HALF = BLOCK / 2, Q8_BYTES = 34, Q4_BYTES = 18, Q4_1_BYTES = 20, Q5_BYTES = 22, Q5_1_BYTES = 24 };

/* The whole numbers of a block; two plain loops, so that compilers make vectors of them. high NULL: 4 bits. */
static inline void unpack(int *value, const unsigned char *q, const unsigned char *high) {
    for (int j = 0; j < HALF; j++) value[j] = q[j] & 15;
    for (int j = 0; j < HALF; j++) value[HALF + j] = q[j] >> 4;
    for (int j = 0; high && j < BLOCK; j += 8)
        for (int bit = 0; bit < 8; bit++) value[j + bit] |= (high[j / 8] & 1 << bit) ? 16 : 0;
}

static void decode_q8_0(float *out, const void *in, int64_t n) {
    const unsigned char *block = in;
    for (int64_t i = 0; i < n; i += BLOCK, block += Q8_BYTES) {
        float d = vr_load_f16(block);
        for (int j = 0; j < BLOCK; j++) out[i + j] = (float)(int8_t)block[2 + j] * d;
    }
}

static void decode_q4_0(float *out, const void *in, int64_t n) {
    const unsigned char *block = in;
    for (int64_t i = 0; i < n; i += BLOCK, block += Q4_BYTES) {
        float d = vr_load_f16(block);
        int value[BLOCK];
        unpack(value, block + 2, NULL);
        for (int j = 0; j < BLOCK; j++) out[i + j] = (float)(value[j] - 8) * d;
    }
}

static void decode_q4_1(float *out, const void *in, int64_t n) {
    const unsigned char *block = in;
    for (int64_t i = 0; i < n; i += BLOCK, block += Q4_1_BYTES) {
        float d = vr_load_f16(block), m = vr_load_f16(block + 2);
        int value[BLOCK];
        unpack(value, block + 4, NULL);
        for (int j = 0; j < BLOCK; j++) out[i + j] = (float)value[j] * d + m;
    }
}

static void decode_q5_0(float *out, const void *in, int64_t n) {
    const unsigned char *block = in;
    for (int64_t i = 0; i < n; i += BLOCK, block += Q5_BYTES) {
        float d = vr_load_f16(block);
        int value[BLOCK];
        unpack(value, block + 6, block + 2);
        for (int j = 0; j < BLOCK; j++) out[i + j] = (float)(value[j] - 16) * d;
    }
}

static void decode_q5_1(float *out, const void *in, int64_t n) {
    const unsigned char *block = in;
    for (int64_t i = 0; i < n; i += BLOCK, block += Q5_1_BYTES) {
        float d = vr_load_f16(block), m = vr_load_f16(block + 2);
        int value[BLOCK];
        unpack(value, block + 8, block + 4);
        for (int j = 0; j < BLOCK; j++) out[i + j] = (float)value[j] * d + m;
    }
}

/* NaN and what lies outside (infinite steps) must not reach the conversion to int. */
static int whole(float value, int low, int high) {
    if (!(value > (float)low)) return value <= (float)low ? low : 0;
    return value >= (float)high ? high : (int)value;
}

/* d = max|x|/127, q = round(x/d) */
static void encode_q8_0(void *out, const float *in, int64_t n) {
    unsigned char *block = out;
    for (int64_t i = 0; i < n; i += BLOCK, block += Q8_BYTES) {
        float largest = 0.0f;
        for (int j = 0; j < BLOCK; j++) largest = fmaxf(largest, fabsf(in[i + j]));
        float d = largest / 127.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;
        vr_store_f16(block, d);
        for (int j = 0; j < BLOCK; j++) block[2 + j] = (unsigned char)whole(roundf(in[i + j] * inverse), -127, 127);
    }
}

/* The element of largest magnitude, with its sign, becomes exactly -8: one more step on its side. */
static void encode_q4_0(void *out, const float *in, int64_t n) {
    unsigned char *block = out;
    for (int64_t i = 0; i < n; i += BLOCK, block += Q4_BYTES) {
        float largest = 0.0f;
        for (int j = 0; j < BLOCK; j++)
            if (fabsf(in[i + j]) > fabsf(largest)) largest = in[i + j];
        float d = largest / -8.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;
        vr_store_f16(block, d);
        for (int j = 0; j < HALF; j++) {
            int low = whole(in[i + j] * inverse + 8.5f, 0, 15), high = whole(in[i + j + HALF] * inverse + 8.5f, 0, 15);
            block[2 + j] = (unsigned char)(low | high << 4);
        }
    }
}

const vr_quant vr_quants_32[] = {
    {VR_Q8_0, decode_q8_0, encode_q8_0, VR_F16, 1, {0}},
    {VR_Q4_0, decode_q4_0, encode_q4_0, VR_F16, 1, {0}},
    {VR_Q4_1, decode_q4_1, NULL, VR_F16, 2, {0, 2}},
    {VR_Q5_0, decode_q5_0, NULL, VR_F16, 1, {0}},
    {VR_Q5_1, decode_q5_1, NULL, VR_F16, 2, {0, 2}},
};
const int vr_quants_n_32 = VR_COUNT(vr_quants_32);
