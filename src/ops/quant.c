/* The stored formats' common part: the walk over the families' tables, and what follows from a row. */
#include "ops/quant_table.h"

#include <math.h>

const vr_quant *vr_quant_of(vr_dtype type) {
    const struct { const vr_quant *rows; int n; } families[] = {
        {vr_quants_plain, vr_quants_n_plain}, {vr_quants_32, vr_quants_n_32}, {vr_quants_k, vr_quants_n_k}};
    for (size_t f = 0; f < VR_COUNT(families); f++)
        for (int i = 0; i < families[f].n; i++)
            if (families[f].rows[i].type == type) return &families[f].rows[i];
    return NULL;
}

vr_dtype vr_quant_fit(vr_dtype wanted, int64_t row_length) {
    while (row_length % vr_dtype_of(wanted)->block) wanted = vr_quant_of(wanted)->fallback;
    return wanted;
}

const char *vr_quant_writable(void) { return "f32, f16, bf16, q8_0, q6_k, q5_k, q4_k, q4_0"; }

bool vr_quant_scale(vr_dtype type, void *data, int64_t n, int exponent) {
    enum { STEP = 256 };
    const vr_dtype_info *info = vr_dtype_of(type);
    const vr_quant *quant = vr_quant_of(type);
    float numbers[STEP];
    char *at = data;
    if (!quant || (!quant->n_factors && !quant->encode)) return false;
    for (int64_t i = 0; quant->n_factors && i < n; i += info->block, at += info->bytes)
        for (int f = 0; f < quant->n_factors; f++)
            vr_store_f16(at + quant->factors[f], ldexpf(vr_load_f16(at + quant->factors[f]), exponent));
    for (int64_t i = 0; !quant->n_factors && i < n; i += STEP, at += STEP * info->bytes) {
        int64_t part = n - i < STEP ? n - i : STEP;
        quant->decode(numbers, at, part);
        for (int64_t j = 0; j < part; j++) numbers[j] = ldexpf(numbers[j], exponent);
        quant->encode(at, numbers, part);
    }
    return true;
}
