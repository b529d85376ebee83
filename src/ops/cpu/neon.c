/* The kernel set for arm64's Advanced SIMD: simd.h over vec_neon.h. */
#include "ops/cpu/vec_neon.h"

#include "ops/cpu/simd.h"

const vr_kernels vr_kernels_neon = {.name = "neon", .supported = vr_has_neon, SIMD_KERNELS, SIMD_BACK_KERNELS,
                                   VR_INT8_ENTRIES(generic)};
