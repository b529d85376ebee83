/* Kernel sets: one table of functions per instruction set, chosen once at run time, forced by
 * VRWKV_CPU=generic|avx2|avx512|neon. generic is plain C, always built, and the truth in tests. Sets
 * may sum in another order than each other (within the bounds of docs/ACCURACY.md), but within one set
 * an output element's bits depend on nothing but its inputs.
 *
 * Kernels see raw pointers and sizes, never tensors; they allocate nothing. */
#ifndef VR_OPS_CPU_KERNELS_H
#define VR_OPS_CPU_KERNELS_H
#include "ops/cpu/packed.h"

/* A product's sums over i go in strips of this many columns: a strip's sum is complete before it is added to
 * those before it. So a strip of many rows can be worked on while it is in the cache. */
enum { VR_STRIP = 1024 };

typedef void (*vr_gemm_fn)(float *y, int64_t y_stride, const float *x, int64_t x_stride, const float *w, int64_t w_stride,
                           const float *bias, int64_t T, int64_t O, int64_t I);

/* The backward pass of one head's step of wkv6: the step's inputs [N], the state before it; dstate is the
 * gradient of the state after it, and becomes that of the state before. The rest is added to. */
typedef struct vr_wkv6_back {
    const float *r, *k, *v, *w, *u, *dy, *state;
    float *dr, *dk, *dv, *dw, *du, *dstate;
} vr_wkv6_back;

/* The same of wkv7, with the state after the step too, and 2N floats of scratch. */
typedef struct vr_wkv7_back {
    const float *r, *w, *k, *v, *kk, *a, *dy, *state, *after;
    float *dr, *dw, *dk, *dv, *dkk, *da, *dstate, *scratch;
} vr_wkv7_back;

typedef struct vr_kernels {
    const char *name;
    bool (*supported)(void);
    /* y[t*y_stride + o] = sum_i x[t*x_stride + i] w[o*w_stride + i] (+ bias[o] if bias), t < T, o < O.
     * Sum order over i depends on I alone, never on T or O. */
    vr_gemm_fn gemm;
    /* y += the same: gemm over the first strips, then gemm_add over the others, the bias with the last, give
     * the bits of gemm over all. */
    vr_gemm_fn gemm_add;
    /* The same from O stored rows, row_bytes apart, decoded on the fly: bits equal to decode, then gemm.
     * For up to `few` rows of x, where writing the decoded rows would cost more than it saves. NULL entry: none. */
    void (*gemm_stored[VR_DTYPE_COUNT])(float *y, int64_t y_stride, const float *x, int64_t x_stride, const void *w,
                                        int64_t row_bytes, const float *bias, int64_t T, int64_t O, int64_t I);
    int64_t few;
    /* n elements of a stored row to f32; bits equal to vr_quant's decode (NaNs stay NaNs, perhaps
     * of other bits). NULL entry: that one. */
    void (*decode[VR_DTYPE_COUNT])(float *out, const void *in, int64_t n);
    /* Int8 products, described in packed.h: rows of x to a tile; a tile times weights in packed order. All
     * sets give the same bits. NULL entry: no such packed type. */
    vr_tile_fn tile;
    vr_packed_fn packed[VR_DTYPE_COUNT];
    void (*activate)(float *y, const float *x, int64_t n, int act);           /* vr_act */
    void (*add)(float *y, const float *x, const float *z, int64_t n);         /* y = x + z */
    void (*mul)(float *y, const float *x, const float *z, int64_t n);         /* y = x * z */
    /* y = x + (z - x)*(mu + m); one of mu, m may be NULL */
    void (*lerp)(float *y, const float *x, const float *z, const float *mu, const float *m, int64_t n);
    /* one row of n: (x - mean)/sqrt(var + eps)*w + b */
    void (*norm)(float *y, const float *x, const float *w, const float *b, int64_t n, float eps);
    /* x <- exp(x - max x) / sum, one row */
    void (*softmax)(float *x, int64_t n);
    /* y[i] += a*x[i] */
    void (*axpy)(float *y, float a, const float *x, int64_t n);
    /* one head, one step: state [N,N] as key j, value i; r,k,w,u,v,y [N]; w before exp(-exp()) */
    void (*wkv6)(float *y, float *state, const float *r, const float *k, const float *v, const float *w, const float *u,
                 int64_t N);
    /* one head, one step: state [N,N] as value i, key j; all others [N]; w the decay itself */
    void (*wkv7)(float *y, float *state, const float *r, const float *w, const float *k, const float *v, const float *kk,
                 const float *a, int64_t N);
    /* Products on registers, over and over, as fast as the set's instructions can: a processor's limits. What
     * they return is how many multiply-adds that was. */
    double (*peak_f32)(int64_t rounds);
    double (*peak_int8)(int64_t rounds);

    /* ---- backward passes: they add to gradients ---- */

    /* y[m*y_stride + n] += sum_k a[m*a_row + k*a_step] b[k*b_stride + n], k < K summed in order, then added. */
    void (*outer)(float *y, int64_t y_stride, const float *a, int64_t a_row, int64_t a_step, const float *b,
                  int64_t b_stride, int64_t M, int64_t N, int64_t K);
    void (*activate_back)(float *dx, const float *x, const float *dy, int64_t n, int act); /* dx += dy * act'(x) */
    void (*mul_add)(float *y, const float *x, const float *z, int64_t n);                  /* y += x * z */
    /* Of lerp; those of dx, dz, dm, dmu that are NULL are left out. */
    void (*lerp_back)(float *dx, float *dz, float *dm, float *dmu, const float *x, const float *z, const float *mu,
                      const float *m, const float *dy, int64_t n);
    /* Of norm; dx, dw, db may be NULL. */
    void (*norm_back)(float *dx, float *dw, float *db, const float *x, const float *w, const float *dy, int64_t n,
                      float eps);
    void (*wkv6_back)(const vr_wkv6_back *at, int64_t N);
    void (*wkv7_back)(const vr_wkv7_back *at, int64_t N);
} vr_kernels;

/* The set in use, chosen at the first call. NULL with a message where VRWKV_CPU names an unknown or
 * unsupported set. */
const vr_kernels *vr_kernels_get(vr_error *err);
/* By name, whatever VRWKV_CPU says; NULL where unknown, not built in, or not supported here. */
const vr_kernels *vr_kernels_find(const char *name);
const vr_kernels *vr_kernels_at(int index); /* every set built in, supported or not; NULL at the end */
#endif
