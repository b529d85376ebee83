/* Primitives of simd.h for arm64's Advanced SIMD: 4 lanes, 32 registers. */
#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#define VF_LANES 4
#define TILE_X 5 /* 4 x 5 accumulators, 5 rows of x, 1 of w: 26 of 32 registers */
#define OUTER_ROWS 6
#define OUTER_VECTORS 4
#define EACH_X(M, format, rows) \
    M(format, rows, 1) M(format, rows, 2) M(format, rows, 3) M(format, rows, 4) M(format, rows, 5)

#define VF_KEEP(value) __asm__ volatile("" : "+w"(value))

typedef float32x4_t vf;
typedef uint32x4_t vm;
typedef float v4 __attribute__((vector_size(16)));

static inline vf vf_load(const float *x) { return vld1q_f32(x); }
static inline void vf_store(float *y, vf x) { vst1q_f32(y, x); }
static inline vf vf_set(float x) { return vdupq_n_f32(x); }
static inline vf vf_add(vf a, vf b) { return vaddq_f32(a, b); }
static inline vf vf_sub(vf a, vf b) { return vsubq_f32(a, b); }
static inline vf vf_mul(vf a, vf b) { return vmulq_f32(a, b); }
static inline vf vf_div(vf a, vf b) { return vdivq_f32(a, b); }
static inline vf vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
static inline vf vf_fnma(vf a, vf b, vf c) { return vfmsq_f32(c, a, b); }
static inline vf vf_max(vf a, vf b) { return vmaxq_f32(a, b); } /* NaN where either is */
static inline vf vf_min(vf a, vf b) { return vminq_f32(a, b); }
static inline vf vf_round(vf x) { return vrndnq_f32(x); }
static inline vm vf_less(vf a, vf b) { return vcltq_f32(a, b); }
static inline vf vf_select(vm m, vf a, vf b) { return vbslq_f32(m, a, b); }

/* In two halves, so that each power is a normal number; only the second product can round. */
static inline vf vf_scale(vf a, vf n) {
    int32x4_t whole = vcvtq_s32_f32(n), half = vshrq_n_s32(whole, 1), rest = vsubq_s32(whole, half);
    int32x4_t bias = vdupq_n_s32(127);
    a = vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23)));
    return vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(rest, bias), 23)));
}

static inline v4 vf_sum4(vf a, vf b, vf c, vf d) { return (v4)vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)); }

static inline vf vf_load_f16(const void *in) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8((const uint8_t *)in)));
}
static inline vf vf_load_bf16(const void *in) {
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8((const uint8_t *)in)), 16));
}
static inline uint8x8_t load_4_bytes(const void *in) {
    uint32_t bytes;
    memcpy(&bytes, in, sizeof bytes);
    return vreinterpret_u8_u32(vdup_n_u32(bytes));
}
static inline vf vf_load_i8(const void *in) {
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(load_4_bytes(in))))));
}
static inline vf vf_load_u4(const void *in, int high, vf d) {
    uint8x8_t bytes = load_4_bytes(in);
    uint8x8_t nibbles = high ? vshr_n_u8(bytes, 4) : vand_u8(bytes, vdup_n_u8(15));
    int8x8_t values = vsub_s8(vreinterpret_s8_u8(nibbles), vdup_n_s8(8));
    return vmulq_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(values)))), d);
}
static inline vf vf_set_f16(const void *in) {
    uint16_t half;
    memcpy(&half, in, sizeof half);
    return vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half)));
}
