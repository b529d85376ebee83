/* Int8 products: quantised weights in packed order times rows of x quantised to 8 bit.
 *
 * Packed order. A group is 8 rows of a quantised matrix, over their whole length: for each block along
 * them, the 8 rows' blocks with their parts interleaved row by row: 8 scales, then 8 times 4 bytes of
 * numbers, then the next 4 bytes of each row, and so on. A vector register so holds the same columns of
 * 8 rows, one vector of scales serves them, and no sum runs across a register. The bytes are those of
 * the plain blocks. Units that are interleaved, in the order of a row's block:
 *
 *     q8_0_r8    d 2          | q 8 x 4
 *     q4_0_r8    d 2          | q 4 x 4
 *     q4_k_r8    d 2, dmin 2  | scales 12 x 1 | q 32 x 4
 *     q5_k_r8    d 2, dmin 2  | scales 12 x 1 | high 8 x 4   | q 32 x 4
 *     q6_k_r8    q 32 x 4     | high 16 x 4   | scale 16 x 1 | d 2
 *
 * Tile: up to 4 rows (tokens) of x, quantised in blocks of 32 columns and laid side by side. A block of n
 * rows is
 *
 *     float d[n]           max|x|/127 over the row's 32 columns; 0 where max|x| < 2^-100, NaN where one
 *                          is not finite (then q = 0)
 *     float s[n]           d * sum of q
 *     int16 half[n][2]     sums of q over columns 4v and 4v+1, and over 4v+2 and 4v+3, v < 4
 *     int16 whole[n][2]    the same, v < 8
 *     int8  q[8][n][4]     x*(127/max|x|) rounded to the nearest even; columns 4v.. of all rows together
 *
 * One output: acc = 0; then for each 32 columns in order, with dx and s from the tile, dot the exact sum
 * of products of whole numbers (of w as stored: -8..7 in q4_0, -32..31 in q6_k),
 *
 *     q8_0, q4_0    acc = fma(dot, d*dx, acc)
 *     q4_k          acc = fma(scale*dot, d*dx, acc);       acc = fma(-(dmin*min), s, acc)
 *     q5_k          acc = fma(scale*dot, d*dx, acc);       acc = fma(16*(d*scale) - dmin*min, s, acc)
 *                   with 16 taken off the numbers, so that a dot's half fits 16 bits
 *     q6_k          acc = fma(scale*dot + scale'*dot', d*dx, acc)    of the two 16 columns
 *
 * and acc + bias. Each step is one f32 rounding (the whole-number factors stay below 2^24), and all kernel
 * sets take these steps: they give the same bits, for any number of rows. */
#ifndef VR_OPS_CPU_PACKED_H
#define VR_OPS_CPU_PACKED_H
#include "base/dtype.h"

enum {
    VR_PACKED_ROWS = 8, /* rows of a packed group */
    VR_TILE_ROWS = 4,   /* rows of x in a tile, at most */
    VR_TILE_BLOCK = 32, /* columns of a tile's block */
    VR_TILE_BYTES = 48, /* of one row's block in a tile */
};

/* Where the parts of a tile's block of n rows begin, in bytes. */
static inline int64_t vr_tile_s(int64_t n) { return 4 * n; }
static inline int64_t vr_tile_half(int64_t n) { return 8 * n; }
static inline int64_t vr_tile_whole(int64_t n) { return 12 * n; }
static inline int64_t vr_tile_q(int64_t n) { return 16 * n; }
static inline int64_t vr_tile_size(int64_t n, int64_t I) { return I / VR_TILE_BLOCK * n * VR_TILE_BYTES; }

/* n rows of x, x_stride floats apart, as a tile; I is a multiple of 32. */
typedef void (*vr_tile_fn)(void *tile, const float *x, int64_t x_stride, int64_t n, int64_t I);
/* y[t*y_stride + o] = row t of the tile times row o of w (+ bias[o] if bias), t < n, o < 8*groups. */
typedef void (*vr_packed_fn)(float *y, int64_t y_stride, const void *tile, int64_t n, const void *w, int64_t groups,
                             const float *bias, int64_t I);
#endif
