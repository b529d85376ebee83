/* The kernel set for AVX2, FMA and F16C (x86-64 since 2013): simd.h over vec_avx2.h. */
#include "ops/cpu/vec_avx2.h"

#include "ops/cpu/simd.h"

const vr_kernels vr_kernels_avx2 = {.name = "avx2", .supported = vr_has_avx2, SIMD_KERNELS, SIMD_BACK_KERNELS,
                                   VR_INT8_ENTRIES(avx2)};
