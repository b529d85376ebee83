/* The kernel sets that this build has; each table is in its set's own file. */
#ifndef VR_OPS_CPU_SETS_H
#define VR_OPS_CPU_SETS_H
#include "ops/cpu/kernels.h"

extern const vr_kernels vr_kernels_generic;
extern const vr_kernels vr_kernels_avx2;
extern const vr_kernels vr_kernels_avx512;
extern const vr_kernels vr_kernels_neon;

/* Asked before a set is entered, so not compiled with its instructions. */
bool vr_has_avx2(void);
bool vr_has_avx512(void);
bool vr_has_neon(void);

/* For sets without a fast form of one function (erf). */
void vr_generic_activate(float *y, const float *x, int64_t n, int act);
#endif
