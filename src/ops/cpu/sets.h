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
/* Int8 products of packed weights, by set; generic's serve the sets that have none. */
#define VR_INT8_KERNELS(set)                                                                                           \
    void vr_##set##_tile(void *tile, const float *x, int64_t x_stride, int64_t n, int64_t I);                          \
    double vr_##set##_peak_int8(int64_t rounds);                                                                       \
    VR_PACKED_KERNEL(set, q8_0)                                                                                        \
    VR_PACKED_KERNEL(set, q4_0)                                                                                        \
    VR_PACKED_KERNEL(set, q4_k)                                                                                        \
    VR_PACKED_KERNEL(set, q5_k)                                                                                        \
    VR_PACKED_KERNEL(set, q6_k)
#define VR_PACKED_KERNEL(set, type)                                                                                    \
    void vr_##set##_##type(float *y, int64_t y_stride, const void *tile, int64_t n, const void *w, int64_t groups,     \
                           const float *bias, int64_t I);
VR_INT8_KERNELS(generic)
VR_INT8_KERNELS(avx2)
/* The table's entries. */
#define VR_INT8_ENTRIES(set)                                                                                           \
    .tile = vr_##set##_tile, .peak_int8 = vr_##set##_peak_int8,                                                        \
    .packed = {[VR_Q8_0_R8] = vr_##set##_q8_0, [VR_Q4_0_R8] = vr_##set##_q4_0, [VR_Q4_K_R8] = vr_##set##_q4_k,         \
               [VR_Q5_K_R8] = vr_##set##_q5_k, [VR_Q6_K_R8] = vr_##set##_q6_k}

/* For sets without a fast form of one function (erf). */
void vr_generic_activate(float *y, const float *x, int64_t n, int act);
#endif
