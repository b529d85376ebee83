/* Stored number formats to f32 and back, in plain C. Byte layouts of the blocks as in GGML:
 *   q8_0 {f16 d; int8 q[32]}        x[j] = q[j]*d
 *   q4_0 {f16 d; uint8 q[16]}       x[j] = (low nibble of q[j] - 8)*d, x[j+16] = (high nibble of q[j] - 8)*d
 * Data in files is aligned to nothing: all reads and writes go through memcpy. */
#include "ops/quant.h"
#include "base/half.h"

#include <math.h>

enum { BLOCK = 32, Q8_BYTES = 34, Q4_BYTES = 18 };

static uint16_t load16(const void *at) {
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static void decode_f32(float *out, const void *in, int64_t n) {
    memcpy(out, in, (size_t)n * sizeof *out);
}

static void encode_f32(void *out, const float *in, int64_t n) { memcpy(out, in, (size_t)n * sizeof *in); }

static void decode_f16(float *out, const void *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = vr_f16_f32(load16((const char *)in + 2 * i));
}

static void encode_f16(void *out, const float *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint16_t half = vr_f32_f16(in[i]);
        memcpy((char *)out + 2 * i, &half, sizeof half);
    }
}

static void decode_bf16(float *out, const void *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = vr_bf16_f32(load16((const char *)in + 2 * i));
}

static void encode_bf16(void *out, const float *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint16_t half = vr_f32_bf16(in[i]);
        memcpy((char *)out + 2 * i, &half, sizeof half);
    }
}

/* Plain types of other widths: one function each, alike but for the type. */
#define DECODE(name, type)                                                                                             \
    static void decode_##name(float *out, const void *in, int64_t n) {                                                 \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            type value;                                                                                                \
            memcpy(&value, (const char *)in + (size_t)i * sizeof value, sizeof value);                                 \
            out[i] = (float)value;                                                                                     \
        }                                                                                                              \
    }
DECODE(f64, double)
DECODE(i8, int8_t)
DECODE(u8, uint8_t)
DECODE(i16, int16_t)
DECODE(i32, int32_t)
DECODE(i64, int64_t)
#undef DECODE

static void decode_bool(float *out, const void *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = ((const unsigned char *)in)[i] ? 1.0f : 0.0f;
}

static void decode_q8_0(float *out, const void *in, int64_t n) {
    const unsigned char *block = in;
    for (int64_t i = 0; i < n; i += BLOCK, block += Q8_BYTES) {
        float d = vr_f16_f32(load16(block));
        for (int j = 0; j < BLOCK; j++) out[i + j] = (float)(int8_t)block[2 + j] * d;
    }
}

/* NaN and what lies outside (infinite scales) must not reach the conversion to int. */
static int whole(float value, int low, int high) {
    if (!(value > (float)low)) return value <= (float)low ? low : 0;
    return value >= (float)high ? high : (int)value;
}

static void encode_q8_0(void *out, const float *in, int64_t n) {
    unsigned char *block = out;
    for (int64_t i = 0; i < n; i += BLOCK, block += Q8_BYTES) {
        float largest = 0.0f;
        for (int j = 0; j < BLOCK; j++) largest = fmaxf(largest, fabsf(in[i + j]));
        float d = largest / 127.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;
        uint16_t half = vr_f32_f16(d);
        memcpy(block, &half, sizeof half);
        for (int j = 0; j < BLOCK; j++) block[2 + j] = (unsigned char)whole(roundf(in[i + j] * inverse), -127, 127);
    }
}

static void decode_q4_0(float *out, const void *in, int64_t n) {
    const unsigned char *block = in;
    for (int64_t i = 0; i < n; i += BLOCK, block += Q4_BYTES) {
        float d = vr_f16_f32(load16(block));
        for (int j = 0; j < BLOCK / 2; j++) {
            out[i + j] = (float)((block[2 + j] & 15) - 8) * d;
            out[i + j + BLOCK / 2] = (float)((block[2 + j] >> 4) - 8) * d;
        }
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
        uint16_t half = vr_f32_f16(d);
        memcpy(block, &half, sizeof half);
        for (int j = 0; j < BLOCK / 2; j++) {
            int low = whole(in[i + j] * inverse + 8.5f, 0, 15), high = whole(in[i + j + BLOCK / 2] * inverse + 8.5f, 0, 15);
            block[2 + j] = (unsigned char)(low | high << 4);
        }
    }
}

static const vr_quant table[] = {
    {VR_F32, decode_f32, encode_f32},    {VR_F16, decode_f16, encode_f16}, {VR_BF16, decode_bf16, encode_bf16},
    {VR_Q8_0, decode_q8_0, encode_q8_0}, {VR_Q4_0, decode_q4_0, encode_q4_0},
    {VR_F64, decode_f64, NULL},          {VR_I8, decode_i8, NULL},         {VR_U8, decode_u8, NULL},
    {VR_I16, decode_i16, NULL},          {VR_I32, decode_i32, NULL},       {VR_I64, decode_i64, NULL},
    {VR_BOOL, decode_bool, NULL},
};

const vr_quant *vr_quant_of(vr_dtype type) {
    for (size_t i = 0; i < VR_COUNT(table); i++)
        if (table[i].type == type) return &table[i];
    return NULL;
}

/* Ascending by bits: what does not fit takes the next one that fits and can be written. */
static const vr_dtype ladder[] = {VR_Q4_0, VR_Q4_K, VR_Q4_1, VR_Q5_0, VR_Q5_K, VR_Q5_1, VR_Q6_K, VR_Q8_0, VR_F16};

vr_dtype vr_quant_fit(vr_dtype wanted, int64_t row_length) {
    bool passed = false;
    if (row_length % vr_dtype_of(wanted)->block == 0) return wanted;
    for (size_t i = 0; i < VR_COUNT(ladder); i++) {
        const vr_quant *quant = vr_quant_of(ladder[i]);
        if (passed && quant && quant->encode && row_length % vr_dtype_of(ladder[i])->block == 0) return ladder[i];
        passed |= ladder[i] == wanted;
    }
    return VR_F16;
}
