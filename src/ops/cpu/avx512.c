/* The kernel set for AVX-512 F, BW, DQ, VL: simd.h over vec_avx512.h. */
#include "ops/cpu/vec_avx512.h"

#include "ops/cpu/simd.h"

const vr_kernels vr_kernels_avx512 = {.name = "avx512", .supported = vr_has_avx512, SIMD_KERNELS, SIMD_BACK_KERNELS,
                                     VR_INT8_ENTRIES(avx2)};
