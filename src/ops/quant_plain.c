/* Plain stored numbers, one per element: the float types in both directions, others read only. */
#include "ops/quant_table.h"

static void decode_f32(float *out, const void *in, int64_t n) { memcpy(out, in, (size_t)n * sizeof *out); }

static void encode_f32(void *out, const float *in, int64_t n) { memcpy(out, in, (size_t)n * sizeof *in); }

static void decode_f16(float *out, const void *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = vr_load_f16((const char *)in + 2 * i);
}

static void encode_f16(void *out, const float *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) vr_store_f16((char *)out + 2 * i, in[i]);
}

static void encode_bf16(void *out, const float *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint16_t half = vr_f32_bf16(in[i]);
        memcpy((char *)out + 2 * i, &half, sizeof half);
    }
}

/* One function per type, alike but for the type and how a value of it becomes a float. */
#define DECODE(name, type, as_float)                                                                                   \
    static void decode_##name(float *out, const void *in, int64_t n) {                                                 \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            type value;                                                                                                \
            memcpy(&value, (const char *)in + (size_t)i * sizeof value, sizeof value);                                 \
            out[i] = as_float(value);                                                                                  \
        }                                                                                                              \
    }
#define AS_IS (float)
#define NOT_ZERO (float)!!
DECODE(bf16, uint16_t, vr_bf16_f32)
DECODE(f64, double, AS_IS)
DECODE(i8, int8_t, AS_IS)
DECODE(u8, uint8_t, AS_IS)
DECODE(i16, int16_t, AS_IS)
DECODE(i32, int32_t, AS_IS)
DECODE(i64, int64_t, AS_IS)
DECODE(bool, uint8_t, NOT_ZERO)
#undef NOT_ZERO
#undef AS_IS
#undef DECODE

const vr_quant vr_quants_plain[] = {
    {VR_F32, decode_f32, encode_f32, VR_F32, 0, {0}}, {VR_F16, decode_f16, encode_f16, VR_F16, 0, {0}},
    {VR_BF16, decode_bf16, encode_bf16, VR_BF16, 0, {0}},
    {VR_F64, decode_f64, NULL, VR_F64, 0, {0}},       {VR_I8, decode_i8, NULL, VR_I8, 0, {0}},
    {VR_U8, decode_u8, NULL, VR_U8, 0, {0}},          {VR_I16, decode_i16, NULL, VR_I16, 0, {0}},
    {VR_I32, decode_i32, NULL, VR_I32, 0, {0}},       {VR_I64, decode_i64, NULL, VR_I64, 0, {0}},
    {VR_BOOL, decode_bool, NULL, VR_BOOL, 0, {0}},
};
const int vr_quants_n_plain = VR_COUNT(vr_quants_plain);
