/* Shared by the families of stored formats: their tables, and access to bytes that are aligned to
 * nothing. */
#ifndef VR_OPS_QUANT_TABLE_H
#define VR_OPS_QUANT_TABLE_H
#include "base/half.h"
#include "ops/quant.h"

extern const vr_quant vr_quants_plain[], vr_quants_32[], vr_quants_k[];
extern const int vr_quants_n_plain, vr_quants_n_32, vr_quants_n_k;

static inline float vr_load_f16(const void *at) {
    uint16_t half;
    memcpy(&half, at, sizeof half);
    return vr_f16_f32(half);
}

static inline void vr_store_f16(void *at, float value) {
    uint16_t half = vr_f32_f16(value);
    memcpy(at, &half, sizeof half);
}
#endif
