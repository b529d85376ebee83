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

/* generic_back.c: the generic set's backward passes. */
void vr_generic_outer(float *y, int64_t y_stride, const float *a, int64_t a_row, int64_t a_step, const float *b,
                      int64_t b_stride, int64_t M, int64_t N, int64_t K);
void vr_generic_activate_back(float *dx, const float *x, const float *dy, int64_t n, int act);
void vr_generic_mul_add(float *y, const float *x, const float *z, int64_t n);
void vr_generic_lerp_back(float *dx, float *dz, float *dm, float *dmu, const float *x, const float *z, const float *mu,
                          const float *m, const float *dy, int64_t n);
void vr_generic_norm_back(float *dx, float *dw, float *db, const float *x, const float *w, const float *dy, int64_t n,
                          float eps);
void vr_generic_wkv6_back(const vr_wkv6_back *at, int64_t N);
void vr_generic_wkv7_back(const vr_wkv7_back *at, int64_t N);

/* For sets without a fast form of one function (erf). */
void vr_generic_activate(float *y, const float *x, int64_t n, int act);
#endif
