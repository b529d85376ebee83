/* Int8 products for AVX2 + FMA + F16C; what they compute, and the layouts, stand in packed.h.
 *
 * A register holds 4 columns of 8 rows. Products of pairs (maddubs: unsigned times signed) add up in 16
 * bits over a block of 32 columns, which is why the numbers are kept unsigned and small: 16 pairs of at
 * most 15*127*2 fit. What was added to make them unsigned is taken off as a multiple of the tile's sums;
 * where it is taken off before the 16 bits are widened, only the result has to fit. One madd per block
 * then adds neighbours, times the block's whole-number scale if it has one. */
#include "ops/cpu/sets.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define UNROLL_ALL UNROLL
#define KEEP_LOOP _Pragma("clang loop unroll(disable)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#define UNROLL_ALL _Pragma("GCC unroll 16")
#define KEEP_LOOP _Pragma("GCC unroll 1") /* unrolled, its sums no longer fit the registers */
#endif

enum { AHEAD = 1024, LINE = 64 }; /* bytes that a stream of weights is fetched ahead; of a cache line */

typedef unsigned char byte;

INLINE __m256i load(const void *from) { return _mm256_loadu_si256((const __m256i *)from); }
INLINE __m256i load_8(const void *from) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from)); }
INLINE __m256 load_halves(const void *from) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from)); }
INLINE __m256 spread_f32(const void *from) { return _mm256_broadcast_ss((const float *)from); }
INLINE __m256i spread_4(const void *from) {
    int bytes;
    memcpy(&bytes, from, sizeof bytes);
    return _mm256_set1_epi32(bytes);
}

/* ---- the tile ---- */

INLINE int most_of(__m256i v) {
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
}

/* 16 sums of neighbours' pairs to two: those of even and of odd pairs. */
INLINE int pair_sums(__m128i sums) {
    sums = _mm_add_epi16(sums, _mm_srli_si128(sums, 8));
    return _mm_cvtsi128_si32(_mm_add_epi16(sums, _mm_srli_si128(sums, 4)));
}

INLINE void tile_row(byte *block, const float *x, int64_t n, int64_t t) {
    const __m256i size = _mm256_set1_epi32(0x7fffffff), order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256 v[4];
    __m256i most = _mm256_setzero_si256();
    UNROLL for (int k = 0; k < 4; k++) {
        v[k] = _mm256_loadu_ps(x + 8 * k);
        most = _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(v[k]), size));
    }
    int bits = most_of(most);
    float largest, d, inverse;
    memcpy(&largest, &bits, sizeof largest);
    d = largest / 127.0f;
    inverse = 127.0f / largest;
    bool finite = bits < 0x7f800000;
    if (largest < 0x1p-100f) d = 0.0f;
    if (!finite) d = __builtin_nanf("");
    if (!(d > 0.0f)) {
        inverse = 0.0f;
        if (!finite) UNROLL for (int k = 0; k < 4; k++) v[k] = _mm256_setzero_ps();
    }
    __m256i whole[4];
    UNROLL for (int k = 0; k < 4; k++) whole[k] = _mm256_cvtps_epi32(_mm256_mul_ps(v[k], _mm256_set1_ps(inverse)));
    __m256i q = _mm256_packs_epi16(_mm256_packs_epi32(whole[0], whole[1]), _mm256_packs_epi32(whole[2], whole[3]));
    q = _mm256_permutevar8x32_epi32(q, order);
    __m256i sums = _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
    __m128i low = _mm256_castsi256_si128(sums), high = _mm256_extracti128_si256(sums, 1);
    int half = pair_sums(low), all = pair_sums(_mm_add_epi16(low, high));
    float s = d * (float)((int16_t)all + (int16_t)(all >> 16));
    memcpy(block + 4 * t, &d, 4);
    memcpy(block + vr_tile_s(n) + 4 * t, &s, 4);
    memcpy(block + vr_tile_half(n) + 4 * t, &half, 4);
    memcpy(block + vr_tile_whole(n) + 4 * t, &all, 4);
    byte columns[VR_TILE_BLOCK];
    _mm256_storeu_si256((__m256i *)columns, q);
    byte *to = block + vr_tile_q(n) + 4 * t;
    for (int k = 0; k < 8; k++) memcpy(to + 4 * n * k, columns + 4 * k, 4);
}

void vr_avx2_tile(void *tile, const float *x, int64_t x_stride, int64_t n, int64_t I) {
    byte *block = tile;
    for (int64_t i = 0; i < I; i += VR_TILE_BLOCK, block += n * VR_TILE_BYTES)
        for (int64_t t = 0; t < n; t++) tile_row(block, x + t * x_stride + i, n, t);
}

/* ---- weights: 4 columns of 8 rows as unsigned bytes ---- */

/* Sizes and offsets in a packed block of 8 rows. */
enum {
    Q8_0_Q = 16, Q8_0_BYTES = 272,
    Q4_0_Q = 16, Q4_0_BYTES = 144,
    K_DMIN = 16, K_SCALES = 32, Q4_K_Q = 128, Q4_K_BYTES = 1152, Q5_K_HIGH = 128, Q5_K_Q = 384, Q5_K_BYTES = 1408,
    Q6_K_HIGH = 1024, Q6_K_SCALE = 1536, Q6_K_D = 1664, Q6_K_BYTES = 1680,
};

INLINE int64_t block_bytes(const int format) {
    return format == VR_Q8_0_R8 ? Q8_0_BYTES : format == VR_Q4_0_R8 ? Q4_0_BYTES : format == VR_Q4_K_R8 ? Q4_K_BYTES
         : format == VR_Q5_K_R8 ? Q5_K_BYTES : Q6_K_BYTES;
}

INLINE __m256i nibbles(__m256i bytes, const int high) {
    return _mm256_and_si256(high ? _mm256_srli_epi16(bytes, 4) : bytes, _mm256_set1_epi8(15));
}

/* Bits `at` and up of each byte, as many as `mask` has, at bit 4. */
INLINE __m256i bits_at_4(__m256i bytes, const int at, const int mask) {
    __m256i moved = at < 4 ? _mm256_slli_epi16(bytes, 4 - at) : at > 4 ? _mm256_srli_epi16(bytes, at - 4) : bytes;
    return _mm256_and_si256(moved, _mm256_set1_epi8((char)(mask << 4)));
}

/* Columns 4v.. of the 32 of sub-block j of a super-block. */
INLINE __m256i k_numbers(const byte *w, const int j, int64_t v, const int format) {
    if (format == VR_Q4_K_R8) return nibbles(load(w + Q4_K_Q + 256 * (j / 2) + 32 * v), j % 2);
    if (format == VR_Q5_K_R8)
        return _mm256_or_si256(nibbles(load(w + Q5_K_Q + 256 * (j / 2) + 32 * v), j % 2),
                               bits_at_4(load(w + Q5_K_HIGH + 32 * v), j, 1));
    const int h = j / 4, g = j % 4;
    return _mm256_or_si256(nibbles(load(w + 512 * h + 256 * (g % 2) + 32 * v), g / 2),
                           bits_at_4(load(w + Q6_K_HIGH + 256 * h + 32 * v), 2 * g, 3));
}

/* ---- sums of one block: [group][row of the tile], 16 bits wide ---- */

INLINE void clear(__m256i sum[2][VR_TILE_ROWS], const int G, const int n) {
    UNROLL for (int g = 0; g < G; g++) UNROLL for (int t = 0; t < n; t++) sum[g][t] = _mm256_setzero_si256();
}

/* q: the tile's columns that belong to w. */
INLINE void add_products(__m256i sum[2][VR_TILE_ROWS], const __m256i w[2], const byte *q, const int G, const int n) {
    UNROLL for (int t = 0; t < n; t++) {
        __m256i x = spread_4(q + 4 * t);
        UNROLL for (int g = 0; g < G; g++) sum[g][t] = _mm256_add_epi16(sum[g][t], _mm256_maddubs_epi16(w[g], x));
    }
}

/* w as it is stored, signed: |w| times x with w's sign. A pair fits 16 bits, two pairs do not. */
INLINE void add_signed(__m256i sum[2][VR_TILE_ROWS], const __m256i w[2], const byte *q, const int G, const int n) {
    const __m256i one = _mm256_set1_epi16(1);
    __m256i size[2];
    UNROLL for (int g = 0; g < G; g++) size[g] = _mm256_abs_epi8(w[g]);
    UNROLL for (int t = 0; t < n; t++) {
        __m256i x = spread_4(q + 4 * t);
        UNROLL for (int g = 0; g < G; g++) {
            __m256i pairs = _mm256_maddubs_epi16(size[g], _mm256_sign_epi8(x, w[g]));
            sum[g][t] = _mm256_add_epi32(sum[g][t], _mm256_madd_epi16(pairs, one));
        }
    }
}

/* 2^shift taken off every number: that many times the sums of the tile's columns, at `sums`. */
INLINE void take_off(__m256i sum[2][VR_TILE_ROWS], const byte *sums, const int shift, const int G, const int n) {
    UNROLL for (int t = 0; t < n; t++) {
        __m256i off = _mm256_slli_epi16(spread_4(sums + 4 * t), shift);
        UNROLL for (int g = 0; g < G; g++) sum[g][t] = _mm256_sub_epi16(sum[g][t], off);
    }
}

INLINE void fetch(const byte *w, int64_t step, int64_t ahead, int64_t bytes, const int G) {
    UNROLL for (int g = 0; g < G; g++)
        for (int64_t at = 0; at < bytes; at += LINE) _mm_prefetch((const char *)w + g * step + ahead + at, _MM_HINT_T0);
}

/* ---- one block of 32 columns: acc over it ---- */

/* acc += sum*(d*dx); sum 32 bits wide, its rows' d in d. */
INLINE void scale_sum(__m256 *acc, __m256i sum, __m256 d, const byte *block, const int t) {
    *acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(d, spread_f32(block + 4 * t)), *acc);
}

INLINE void block_q4_0(__m256 acc[2][VR_TILE_ROWS], const byte *w, int64_t step, const byte *x, const int G, const int n) {
    const byte *q = x + vr_tile_q(n);
    __m256i sum[2][VR_TILE_ROWS];
    clear(sum, G, n);
    KEEP_LOOP for (int64_t v = 0; v < 4; v++) {
        __m256i low[2], high[2];
        UNROLL for (int g = 0; g < G; g++) {
            __m256i bytes = load(w + g * step + Q4_0_Q + 32 * v);
            low[g] = nibbles(bytes, 0), high[g] = nibbles(bytes, 1);
        }
        add_products(sum, low, q + 4 * n * v, G, n);
        add_products(sum, high, q + 4 * n * (v + 4), G, n);
    }
    take_off(sum, x + vr_tile_whole(n), 3, G, n);
    UNROLL for (int g = 0; g < G; g++) {
        __m256 d = load_halves(w + g * step);
        UNROLL for (int t = 0; t < n; t++) scale_sum(&acc[g][t], _mm256_madd_epi16(sum[g][t], _mm256_set1_epi16(1)), d, x, t);
    }
}

INLINE void block_q8_0(__m256 acc[2][VR_TILE_ROWS], const byte *w, int64_t step, const byte *x, const int G, const int n) {
    const byte *q = x + vr_tile_q(n);
    __m256i sum[2][VR_TILE_ROWS];
    clear(sum, G, n);
    KEEP_LOOP for (int64_t v = 0; v < 8; v++) {
        __m256i numbers[2];
        UNROLL for (int g = 0; g < G; g++) numbers[g] = load(w + g * step + Q8_0_Q + 32 * v);
        add_signed(sum, numbers, q + 4 * n * v, G, n);
    }
    UNROLL for (int g = 0; g < G; g++) {
        __m256 d = load_halves(w + g * step);
        UNROLL for (int t = 0; t < n; t++) scale_sum(&acc[g][t], sum[g][t], d, x, t);
    }
}

/* Whole numbers below 2^15 in both halves of each 32 bits, for madd. */
INLINE __m256i twice(__m256i x) { return _mm256_blend_epi16(x, _mm256_slli_epi32(x, 16), 0xaa); }

/* Scale and min of sub-block j, 6 bits each; quant_k.c has the form of the 12 bytes. */
INLINE void k_scales(const byte *w, const int j, __m256i *scale, __m256i *min) {
    const __m256i six = _mm256_set1_epi32(63), four = _mm256_set1_epi32(15);
    const byte *at = w + K_SCALES;
    if (j < 4) {
        *scale = _mm256_and_si256(load_8(at + 8 * j), six);
        *min = _mm256_and_si256(load_8(at + 8 * (j + 4)), six);
        return;
    }
    __m256i low = load_8(at + 8 * (j + 4));
    __m256i scale_top = _mm256_slli_epi32(_mm256_srli_epi32(load_8(at + 8 * (j - 4)), 6), 4);
    __m256i min_top = _mm256_slli_epi32(_mm256_srli_epi32(load_8(at + 8 * j), 6), 4);
    *scale = _mm256_or_si256(_mm256_and_si256(low, four), scale_top);
    *min = _mm256_or_si256(_mm256_srli_epi32(low, 4), min_top);
}

/* Sub-block j of q4_k or q5_k. */
INLINE void block_offset(__m256 acc[2][VR_TILE_ROWS], const byte *w, int64_t step, const byte *x, const int j, const int G, const int n,
                         const int format) {
    const byte *q = x + vr_tile_q(n);
    __m256i sum[2][VR_TILE_ROWS];
    clear(sum, G, n);
    KEEP_LOOP for (int64_t v = 0; v < 8; v++) {
        __m256i part[2];
        UNROLL for (int g = 0; g < G; g++) part[g] = k_numbers(w + g * step, j, v, format);
        add_products(sum, part, q + 4 * n * v, G, n);
    }
    if (format == VR_Q5_K_R8) take_off(sum, x + vr_tile_whole(n), 4, G, n);
    UNROLL for (int g = 0; g < G; g++) {
        __m256 d = load_halves(w + g * step), dmin = load_halves(w + g * step + K_DMIN);
        __m256i scale, min;
        k_scales(w + g * step, j, &scale, &min);
        __m256 low = _mm256_mul_ps(dmin, _mm256_cvtepi32_ps(min));
        if (format == VR_Q5_K_R8)
            low = _mm256_sub_ps(low, _mm256_mul_ps(_mm256_set1_ps(16.0f), _mm256_mul_ps(d, _mm256_cvtepi32_ps(scale))));
        scale = twice(scale);
        UNROLL for (int t = 0; t < n; t++) {
            scale_sum(&acc[g][t], _mm256_madd_epi16(sum[g][t], scale), d, x, t);
            acc[g][t] = _mm256_fnmadd_ps(low, spread_f32(x + vr_tile_s(n) + 4 * t), acc[g][t]);
        }
    }
}

/* Sub-blocks 2j and 2j+1 of q6_k. */
INLINE void block_q6_k(__m256 acc[2][VR_TILE_ROWS], const byte *w, int64_t step, const byte *x, const int j, const int G, const int n) {
    const byte *q = x + vr_tile_q(n);
    __m256i dot[2][VR_TILE_ROWS];
    UNROLL for (int half = 0; half < 2; half++) {
        __m256i sum[2][VR_TILE_ROWS];
        clear(sum, G, n);
        KEEP_LOOP for (int64_t v = 4 * half; v < 4 * half + 4; v++) {
            __m256i part[2];
            UNROLL for (int g = 0; g < G; g++) part[g] = k_numbers(w + g * step, j, v, VR_Q6_K_R8);
            add_products(sum, part, q + 4 * n * v, G, n);
        }
        if (half) take_off(sum, x + vr_tile_whole(n), 5, G, n);
        UNROLL for (int t = 0; t < n; t++) { /* of the second half: what the whole has beyond the first */
            __m256i off = _mm256_slli_epi16(spread_4(x + vr_tile_half(n) + 4 * t), 5);
            UNROLL for (int g = 0; g < G; g++)
                sum[g][t] = half ? _mm256_add_epi16(sum[g][t], off) : _mm256_sub_epi16(sum[g][t], off);
        }
        UNROLL for (int g = 0; g < G; g++) {
            __m128i bytes = _mm_loadl_epi64((const __m128i *)(w + g * step + Q6_K_SCALE + 8 * (2 * j + half)));
            __m256i scale = twice(_mm256_cvtepi8_epi32(bytes));
            UNROLL for (int t = 0; t < n; t++) {
                __m256i scaled = _mm256_madd_epi16(sum[g][t], scale);
                dot[g][t] = half ? _mm256_add_epi32(dot[g][t], scaled) : scaled;
            }
        }
    }
    UNROLL for (int g = 0; g < G; g++) {
        __m256 d = load_halves(w + g * step + Q6_K_D);
        UNROLL for (int t = 0; t < n; t++) scale_sum(&acc[g][t], dot[g][t], d, x, t);
    }
}

/* ---- G groups `step` bytes apart, n rows of x ---- */

typedef struct packed_args {
    float *y;
    const float *bias;
    const byte *w, *tile;
    int64_t y_stride, step, o_step, I; /* o_step: of y and bias between the groups */
} packed_args;

INLINE void store(const packed_args *a, __m256 acc[2][VR_TILE_ROWS], const int G, const int n) {
    UNROLL for (int g = 0; g < G; g++) UNROLL for (int t = 0; t < n; t++) {
        __m256 y = acc[g][t];
        if (a->bias) y = _mm256_add_ps(y, _mm256_loadu_ps(a->bias + g * a->o_step));
        _mm256_storeu_ps(a->y + t * a->y_stride + g * a->o_step, y);
    }
}

INLINE void product(const packed_args *a, const int G, const int n, const int format) {
    const int64_t bytes = block_bytes(format), x_bytes = VR_TILE_BYTES * n, step = a->step;
    const bool super = format != VR_Q8_0_R8 && format != VR_Q4_0_R8;
    const byte *w = a->w, *x = a->tile, *end = x + vr_tile_size(n, a->I);
    __m256 acc[2][VR_TILE_ROWS];
    UNROLL for (int g = 0; g < G; g++) UNROLL for (int t = 0; t < n; t++) acc[g][t] = _mm256_setzero_ps();
    for (; x < end; w += bytes) {
        if (!super) {
            fetch(w, step, AHEAD, bytes, G);
            if (format == VR_Q4_0_R8) block_q4_0(acc, w, step, x, G, n);
            if (format == VR_Q8_0_R8) block_q8_0(acc, w, step, x, G, n);
            x += x_bytes;
        } else
            UNROLL for (int j = 0; j < 8; j++, x += x_bytes) {
                fetch(w + j * (bytes / 8), step, bytes + AHEAD / 2, bytes / 8, G);
                if (format == VR_Q6_K_R8)
                    block_q6_k(acc, w, step, x, j, G, n);
                else
                    block_offset(acc, w, step, x, j, G, n, format);
            }
    }
    store(a, acc, G, n);
}

#define TILE(format, G, n) \
    static void tile_##format##_##G##_##n(const packed_args *a) { product(a, G, n, VR_##format##_R8); }
#define TILES(format)                                                                                                  \
    TILE(format, 1, 1) TILE(format, 1, 2) TILE(format, 1, 3) TILE(format, 1, 4)                                        \
    TILE(format, 2, 1) TILE(format, 2, 2) TILE(format, 2, 3) TILE(format, 2, 4)                                        \
    static void (*const tiles_##format[2][VR_TILE_ROWS])(const packed_args *) = {                                           \
        {tile_##format##_1_1, tile_##format##_1_2, tile_##format##_1_3, tile_##format##_1_4},                          \
        {tile_##format##_2_1, tile_##format##_2_2, tile_##format##_2_3, tile_##format##_2_4}};
TILES(Q8_0)
TILES(Q4_0)
TILES(Q4_K)
TILES(Q5_K)
TILES(Q6_K)

/* Groups in pairs, one of the first and one of the second half: two streams of weights, each without gaps. */
INLINE void multiply(void (*const tiles[2][VR_TILE_ROWS])(const packed_args *), const int format, float *y, int64_t y_stride,
                     const void *tile, int64_t n, const void *w, int64_t groups, const float *bias, int64_t I) {
    const int block = format == VR_Q8_0_R8 || format == VR_Q4_0_R8 ? 32 : 256;
    const int64_t group_bytes = I / block * block_bytes(format), half = groups / 2;
    packed_args a = {.tile = tile, .y_stride = y_stride, .step = half * group_bytes, .o_step = half * VR_PACKED_ROWS, .I = I};
    for (int64_t k = 0; k < half + groups % 2; k++) {
        int64_t group = k < half ? k : groups - 1;
        a.y = y + group * VR_PACKED_ROWS;
        a.bias = bias ? bias + group * VR_PACKED_ROWS : NULL;
        a.w = (const byte *)w + group * group_bytes;
        tiles[k < half][n - 1](&a);
    }
}

#define PRODUCT(name, format)                                                                                          \
    void vr_avx2_##name(float *y, int64_t y_stride, const void *tile, int64_t n, const void *w, int64_t groups,        \
                        const float *bias, int64_t I) {                                                                \
        multiply(tiles_##format, VR_##format##_R8, y, y_stride, tile, n, w, groups, bias, I);                          \
    }
PRODUCT(q8_0, Q8_0)
PRODUCT(q4_0, Q4_0)
PRODUCT(q4_k, Q4_K)
PRODUCT(q5_k, Q5_K)
PRODUCT(q6_k, Q6_K)

/* The products of any signed 8-bit numbers below 128: three instructions for 32. */
double vr_avx2_peak_int8(int64_t rounds) {
    enum { CHAINS = 10 };
    __m256i sum[CHAINS], w = _mm256_set1_epi8(3), x = _mm256_set1_epi8(5), one = _mm256_set1_epi16(1);
    volatile int kept;
    UNROLL_ALL for (int c = 0; c < CHAINS; c++) sum[c] = _mm256_setzero_si256();
    for (int64_t r = 0; r < rounds; r++)
        UNROLL_ALL for (int c = 0; c < CHAINS; c++) {
            __asm__ volatile("" : "+x"(w)); /* may have changed: the products are not all the same */
            sum[c] = _mm256_add_epi32(sum[c], _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), one));
        }
    UNROLL_ALL for (int c = 0; c < CHAINS; c++) kept = _mm256_extract_epi32(sum[c], 0);
    (void)kept;
    return (double)rounds * CHAINS * 32;
}
