/* Half-width floats, exact: IEEE binary16 and bfloat16, round to nearest even. */
#ifndef VR_BASE_HALF_H
#define VR_BASE_HALF_H
#include <stdint.h>
#include <string.h>

static inline float vr_bits_f32(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t vr_f32_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float vr_bf16_f32(uint16_t half) { return vr_bits_f32((uint32_t)half << 16); }

static inline uint16_t vr_f32_bf16(float value) {
    uint32_t bits = vr_f32_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40u); /* NaN stays NaN */
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

static inline float vr_f16_f32(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = (half >> 10) & 31u, mantissa = half & 0x3ffu;
    if (exponent == 31) return vr_bits_f32(sign | 0x7f800000u | mantissa << 13);
    if (exponent == 0) { /* zero and subnormals: mantissa * 2^-24, exact in f32 */
        float magnitude = (float)mantissa * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return vr_bits_f32(sign | (exponent + 112u) << 23 | mantissa << 13);
}

static inline uint16_t vr_f32_f16(float value) {
    uint32_t bits = vr_f32_bits(value), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* rounds to infinity */
    if (magnitude < 0x38800000u) {                                   /* subnormal: the unit in the last place is 2^-24 */
        float scaled = vr_bits_f32(magnitude) + 0.5f;                /* 0.5 has exactly that unit */
        return (uint16_t)(sign | (vr_f32_bits(scaled) - 0x3f000000u));
    }
    magnitude += 0xfffu + ((magnitude >> 13) & 1u);
    return (uint16_t)(sign | ((magnitude - 0x38000000u) >> 13));
}
#endif
