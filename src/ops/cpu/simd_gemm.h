/* Second half of simd.h: stored numbers and products.
 *
 * An output element is summed in strips of columns (VR_STRIP): in each ONE vector accumulator over i in order, its
 * lanes added up in vf_sum4's order; strip after strip, then what is left of the row, then the bias. A strip
 * of a tile's rows stays in the innermost cache. Tiles (R rows of w times X rows of x) only hold many
 * such accumulators at once, and a tile that decodes its weights on the fly multiplies the same
 * numbers that decode() gives: so every tile, and every stored form of equal numbers, gives the same
 * bits. */

/* A loop takes a step at a time: a vector of plain numbers, or a block, so that its scale is converted
 * once. Elements and bytes of a step: */
INLINE int step_of(const int format) { return format == VR_Q8_0 || format == VR_Q4_0 ? 32 : VF_LANES; }
INLINE int step_bytes(const int format) {
    return format == VR_Q8_0 ? 34 : format == VR_Q4_0 ? 18 : format == VR_F32 ? 4 * VF_LANES : 2 * VF_LANES;
}

/* VF_LANES numbers from the s-th element of the step that starts at `from`; s is a constant after unrolling. */
INLINE vf load_stored(const unsigned char *from, const int s, const int format) {
    if (format == VR_F16) return vf_load_f16(from);
    if (format == VR_BF16) return vf_load_bf16(from);
    if (format == VR_Q8_0) return vf_mul(vf_load_i8(from + 2 + s), vf_set_f16(from));
    if (format == VR_Q4_0) return vf_load_u4(from + 2 + s % 16, s / 16, vf_set_f16(from));
    return vf_load((const float *)(const void *)from);
}

/* What is left of a row after whole vectors; rows of blocks have nothing left. */
INLINE float load_scalar(const unsigned char *row, int64_t i, const int format) {
    uint16_t half;
    if (format == VR_F32) return ((const float *)(const void *)row)[i];
    memcpy(&half, row + 2 * i, sizeof half);
    return format == VR_F16 ? vr_f16_f32(half) : vr_bf16_f32(half);
}

INLINE void decode_row(float *out, const void *in, int64_t n, const int format) {
    const int step = step_of(format);
    const unsigned char *from = in;
    int64_t i = 0;
    for (; i + step <= n; i += step, from += step_bytes(format))
        UNROLL for (int s = 0; s < step; s += VF_LANES) vf_store(out + i + s, load_stored(from, s, format));
    for (; i < n; i++) out[i] = load_scalar(in, i, format);
}

static void decode_f16(float *out, const void *in, int64_t n) { decode_row(out, in, n, VR_F16); }
static void decode_bf16(float *out, const void *in, int64_t n) { decode_row(out, in, n, VR_BF16); }
static void decode_q8_0(float *out, const void *in, int64_t n) { decode_row(out, in, n, VR_Q8_0); }
static void decode_q4_0(float *out, const void *in, int64_t n) { decode_row(out, in, n, VR_Q4_0); }

/* One output of a tile after its accumulator was summed: the rest of the row, the bias. */
INLINE float finish(float sum, const float *x, const unsigned char *w, const float *bias, int64_t from, int64_t I,
                    const int format) {
    for (int64_t i = from; i < I; i++) sum = __builtin_fmaf(x[i], load_scalar(w, i, format), sum);
    return bias ? sum + *bias : sum;
}

typedef struct tile_args {
    float *y;
    const float *x, *bias;
    const unsigned char *w;
    int64_t y_stride, x_stride, row_bytes, I;
    int64_t from, to; /* the columns of this strip */
    bool add;         /* to what y holds */
} tile_args;

INLINE void tile(const tile_args *a, const int R, const int X, const int format) {
    const int step = step_of(format);
    const int64_t whole = a->from + (a->to - a->from) / step * step, x_stride = a->x_stride, row_bytes = a->row_bytes;
    const float *x = a->x;
    const unsigned char *w = a->w, *at = w + a->from / step * step_bytes(format);
    vf sum[TILE_X][8];
    UNROLL for (int c = 0; c < X; c++) UNROLL for (int r = 0; r < R; r++) sum[c][r] = vf_set(0.0f);
    for (int64_t i = a->from; i < whole; i += step, at += step_bytes(format))
        UNROLL for (int s = 0; s < step; s += VF_LANES) {
            vf row[TILE_X];
            UNROLL for (int c = 0; c < X; c++) row[c] = vf_load(x + c * x_stride + i + s);
            UNROLL for (int r = 0; r < R; r++) {
                vf weight = load_stored(at + r * row_bytes, s, format);
                UNROLL for (int c = 0; c < X; c++) sum[c][r] = vf_fma(row[c], weight, sum[c][r]);
            }
        }
    UNROLL for (int c = 0; c < X; c++) {
        float *y = a->y + c * a->y_stride;
        if (R == 1) y[0] = sum_vf(sum[c][0]) + (a->add ? y[0] : 0.0f);
        UNROLL for (int r = 0; r + 4 <= R; r += 4) {
            v4 four = vf_sum4(sum[c][r], sum[c][r + 1], sum[c][r + 2], sum[c][r + 3]), before = {0};
            if (a->add) memcpy(&before, y + r, sizeof before);
            four += before;
            memcpy(y + r, &four, sizeof four);
        }
        if (a->to == a->I && (whole < a->I || a->bias))
            for (int r = 0; r < R; r++)
                y[r] = finish(y[r], x + c * x_stride, w + r * row_bytes, a->bias ? a->bias + r : NULL, whole, a->I, format);
    }
}

typedef void (*tile_fn)(const tile_args *a);

/* Tiles of one stored form: 1, 4 and, for a single row of x, 8 rows of w. */
typedef struct tiles { tile_fn one[TILE_X], four[TILE_X], eight; } tiles;

#define TILE(format, R, X) \
    static void tile_##format##_##R##_##X(const tile_args *a) { tile(a, R, X, VR_##format); }
#define NAME(format, R, X) tile_##format##_##R##_##X,
#define TILES(format)                                                                                                  \
    EACH_X(TILE, format, 1)                                                                                            \
    EACH_X(TILE, format, 4)                                                                                            \
    TILE(format, 8, 1)                                                                                                 \
    static const tiles tiles_##format = {{EACH_X(NAME, format, 1)}, {EACH_X(NAME, format, 4)}, tile_##format##_8_1};
TILES(F32)
TILES(F16)
TILES(BF16)
TILES(Q8_0)
TILES(Q4_0)

/* One strip of rows of w, all rows of x. */
static void multiply_strip(const tiles *set, tile_args a, int64_t T, int64_t O) {
    const float *x = a.x, *bias = a.bias;
    const unsigned char *w = a.w;
    float *y = a.y;
    for (int64_t o = 0, rows; o < O; o += rows) {
        rows = T == 1 && O - o >= 8 ? 8 : O - o >= 4 ? 4 : 1;
        a.w = w + o * a.row_bytes;
        a.bias = bias ? bias + o : NULL;
        for (int64_t t = 0, left = (T + TILE_X - 1) / TILE_X, n; t < T; t += n, left--) {
            n = (T - t + left - 1) / left; /* 7 rows are 4 + 3, not 6 + 1 */
            a.x = x + t * a.x_stride;
            a.y = y + t * a.y_stride + o;
            (rows == 8 ? set->eight : rows == 4 ? set->four[n - 1] : set->one[n - 1])(&a);
        }
    }
}

/* Few rows of x: the weights come from memory, eight rows' streams without gaps. Many: strip by strip. */
static void multiply(const tiles *set, float *y, int64_t y_stride, const float *x, int64_t x_stride, const void *w,
                     int64_t row_bytes, const float *bias, int64_t T, int64_t O, int64_t I, bool add) {
    const int64_t group = T <= TILE_X ? 8 : O;
    tile_args a = {.y_stride = y_stride, .x_stride = x_stride, .row_bytes = row_bytes, .I = I, .x = x};
    for (int64_t o = 0; o < O; o += group)
        for (a.from = 0; a.from == 0 || a.from < I; a.from += VR_STRIP) {
            a.to = I - a.from < VR_STRIP ? I : a.from + VR_STRIP;
            a.add = add || a.from > 0;
            a.y = y + o;
            a.w = (const unsigned char *)w + o * row_bytes;
            a.bias = bias ? bias + o : NULL;
            multiply_strip(set, a, T, O - o < group ? O - o : group);
        }
}

static void gemm(float *y, int64_t y_stride, const float *x, int64_t x_stride, const float *w, int64_t w_stride,
                 const float *bias, int64_t T, int64_t O, int64_t I) {
    multiply(&tiles_F32, y, y_stride, x, x_stride, w, w_stride * (int64_t)sizeof(float), bias, T, O, I, false);
}

static void gemm_add(float *y, int64_t y_stride, const float *x, int64_t x_stride, const float *w, int64_t w_stride,
                     const float *bias, int64_t T, int64_t O, int64_t I) {
    multiply(&tiles_F32, y, y_stride, x, x_stride, w, w_stride * (int64_t)sizeof(float), bias, T, O, I, true);
}

#define STORED(format)                                                                                                 \
    static void gemm_##format(float *y, int64_t y_stride, const float *x, int64_t x_stride, const void *w,            \
                              int64_t row_bytes, const float *bias, int64_t T, int64_t O, int64_t I) {                \
        multiply(&tiles_##format, y, y_stride, x, x_stride, w, row_bytes, bias, T, O, I, false);                       \
    }
STORED(F16)
STORED(BF16)
STORED(Q8_0)
STORED(Q4_0)

static double peak_f32(int64_t rounds) {
    enum { CHAINS = 12 }; /* two a cycle, four or five cycles each, and some over */
    vf sum[CHAINS], x = vf_set(0.5f), w = vf_set(0.25f);
    volatile float kept;
    UNROLL_ALL for (int c = 0; c < CHAINS; c++) sum[c] = vf_set(0.0f);
    for (int64_t r = 0; r < rounds; r++)
        UNROLL_ALL for (int c = 0; c < CHAINS; c++) {
            sum[c] = vf_fma(x, w, sum[c]);
            VF_KEEP(sum[c]);
        }
    UNROLL_ALL for (int c = 0; c < CHAINS; c++) kept = sum_vf(sum[c]);
    (void)kept;
    return (double)rounds * CHAINS * VF_LANES;
}

/* The table's entries but name and supported. */
#define SIMD_KERNELS                                                                                                   \
    .gemm = gemm, .gemm_add = gemm_add, .activate = activate, .add = add, .mul = mul, .lerp = lerp, .norm = norm,                   \
    .softmax = softmax,                                                                                                \
    .axpy = axpy, .peak_f32 = peak_f32, .wkv6 = wkv6, .wkv7 = wkv7, .few = TILE_X,                                      \
    .decode = {[VR_F16] = decode_f16, [VR_BF16] = decode_bf16, [VR_Q8_0] = decode_q8_0, [VR_Q4_0] = decode_q4_0},      \
    .gemm_stored = {[VR_F16] = gemm_F16, [VR_BF16] = gemm_BF16, [VR_Q8_0] = gemm_Q8_0, [VR_Q4_0] = gemm_Q4_0}
