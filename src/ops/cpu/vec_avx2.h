/* Primitives of simd.h for AVX2 + FMA + F16C: 8 lanes, 16 registers. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define VF_LANES 8
#define TILE_X 3 /* 4 x 3 accumulators, 3 rows of x, 1 of w: all 16 registers */
#define OUTER_ROWS 6
#define OUTER_VECTORS 2
#define EACH_X(M, format, rows) M(format, rows, 1) M(format, rows, 2) M(format, rows, 3)

#define VF_KEEP(value) __asm__ volatile("" : "+x"(value))

typedef __m256 vf;
typedef __m256 vm;
typedef float v4 __attribute__((vector_size(16)));

static inline vf vf_load(const float *x) { return _mm256_loadu_ps(x); }
static inline void vf_store(float *y, vf x) { _mm256_storeu_ps(y, x); }
static inline vf vf_set(float x) { return _mm256_set1_ps(x); }
static inline vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static inline vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline vf vf_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
static inline vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
static inline vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
static inline vf vf_round(vf x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline vm vf_less(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
static inline vf vf_select(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }

/* In two halves, so that each power is a normal number; only the second product can round. */
static inline vf vf_scale(vf a, vf n) {
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1), rest = _mm256_sub_epi32(whole, half);
    __m256i bias = _mm256_set1_epi32(127);
    a = _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23)));
    return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23)));
}

static inline v4 vf_sum4(vf a, vf b, vf c, vf d) {
    vf ab = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    vf cd = _mm256_add_ps(_mm256_permute2f128_ps(c, d, 0x20), _mm256_permute2f128_ps(c, d, 0x31));
    vf pairs = _mm256_hadd_ps(ab, cd); /* a a c c | b b d d */
    vf sums = _mm256_hadd_ps(pairs, pairs);
    return (v4)_mm_unpacklo_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
}

static inline vf vf_load_f16(const void *in) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)in)); }
static inline vf vf_load_bf16(const void *in) {
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)in));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
static inline vf vf_load_i8(const void *in) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)in)));
}
static inline vf vf_load_u4(const void *in, int high, vf d) {
    __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)in));
    __m256i nibbles = high ? _mm256_srli_epi32(bytes, 4) : _mm256_and_si256(bytes, _mm256_set1_epi32(15));
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(nibbles, _mm256_set1_epi32(8))), d);
}
static inline vf vf_set_f16(const void *in) {
    short half;
    memcpy(&half, in, sizeof half);
    return _mm256_cvtph_ps(_mm_set1_epi16(half));
}
