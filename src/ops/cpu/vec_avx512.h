/* Primitives of simd.h for AVX-512 F, BW, DQ, VL: 16 lanes, 32 registers. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define VF_LANES 16
#define TILE_X 6 /* 4 x 6 accumulators, 6 rows of x, 1 of w: 31 registers */
#define OUTER_ROWS 8
#define OUTER_VECTORS 3
#define EACH_X(M, format, rows)                                                                                        \
    M(format, rows, 1) M(format, rows, 2) M(format, rows, 3) M(format, rows, 4) M(format, rows, 5) M(format, rows, 6)

#define VF_KEEP(value) __asm__ volatile("" : "+v"(value))

typedef __m512 vf;
typedef __mmask16 vm;
typedef float v4 __attribute__((vector_size(16)));

static inline vf vf_load(const float *x) { return _mm512_loadu_ps(x); }
static inline void vf_store(float *y, vf x) { _mm512_storeu_ps(y, x); }
static inline vf vf_set(float x) { return _mm512_set1_ps(x); }
static inline vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static inline vf vf_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
static inline vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
static inline vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
static inline vf vf_round(vf x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline vm vf_less(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline vf vf_select(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }
static inline vf vf_scale(vf a, vf n) { return _mm512_scalef_ps(a, n); }

static inline v4 vf_sum4(vf a, vf b, vf c, vf d) {
    vf ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    vf cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    vf all = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd)); /* a | b | c | d */
    all = _mm512_add_ps(all, _mm512_permute_ps(all, 0x4e));
    all = _mm512_add_ps(all, _mm512_permute_ps(all, 0xb1));
    __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    return (v4)_mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, all));
}

static inline vf vf_load_f16(const void *in) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)in)); }
static inline vf vf_load_bf16(const void *in) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)in));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
static inline vf vf_load_i8(const void *in) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)in)));
}
/* The permutation looks at the index's low four bits only: it takes the nibble, subtracts 8
 * and multiplies at once. */
static inline vf vf_load_u4(const void *in, int high, vf d) {
    const vf values = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
    __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)in));
    return _mm512_permutexvar_ps(high ? _mm512_srli_epi32(bytes, 4) : bytes, _mm512_mul_ps(values, d));
}
static inline vf vf_set_f16(const void *in) {
    short half;
    memcpy(&half, in, sizeof half);
    return _mm512_cvtph_ps(_mm256_set1_epi16(half));
}
