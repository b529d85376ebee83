/* Int8 products: packed order against plain blocks, the generic set against double arithmetic on the
 * plain blocks, every other set against the generic one to the bit, and products as an operation: any
 * number of rows, threads and jobs gives the same bits. Memory has the exact size, so that a sanitizer sees
 * each step too far. */
#include "ops_frame.h"

#include "base/half.h"
#include "ops/internal.h"

#include <stdlib.h>

static const vr_dtype types[] = {VR_Q8_0, VR_Q4_0, VR_Q4_K, VR_Q5_K, VR_Q6_K};

/* ---- weights ---- */

/* Where in a block the f16 numbers are that must be finite. */
static const int halves_at[VR_DTYPE_COUNT][2] = {[VR_Q4_K] = {0, 2}, [VR_Q5_K] = {0, 2}, [VR_Q6_K] = {208, 208}};

/* Any bytes are blocks, so every scale, min and number occurs; f16 numbers are below 1 in size. */
static unsigned char *random_blocks(bench *b, vr_dtype type, int64_t rows, int64_t I) {
    const vr_dtype_info *info = vr_dtype_of(type);
    int64_t blocks = rows * I / info->block, bytes = blocks * info->bytes;
    unsigned char *w = malloc((size_t)bytes);
    for (int64_t i = 0; i < bytes; i++) w[i] = (unsigned char)(vr_rng_next(&b->rng) >> 30);
    for (int64_t i = 0; i < blocks; i++)
        for (int k = 0; k < 2; k++) {
            uint16_t half = vr_f32_f16(uniform(b));
            memcpy(w + i * info->bytes + halves_at[type][k], &half, 2);
        }
    return w;
}

static unsigned char *packed_copy(vr_dtype type, const unsigned char *plain, int64_t rows, int64_t I) {
    const vr_dtype_info *info = vr_dtype_of(type);
    unsigned char *packed = malloc((size_t)(rows * I / info->block * info->bytes));
    vr_pack(type, packed, plain, rows, I);
    return packed;
}

static void test_order(bench *b) {
    for (size_t k = 0; k < VR_COUNT(types); k++) {
        vr_dtype type = types[k];
        const vr_dtype_info *info = vr_dtype_of(type);
        int64_t rows = 24, I = 3 * info->block, row_bytes = 3 * info->bytes;
        unsigned char *plain = random_blocks(b, type, rows, I), *packed = packed_copy(type, plain, rows, I);
        unsigned char *back = malloc((size_t)(rows * row_bytes));
        vr_unpack(type, back, packed, rows, I);
        CHECK(memcmp(back, plain, (size_t)(rows * row_bytes)) == 0, "%s: packed and unpacked", info->name);
        for (int64_t r = 0; r < rows; r++) {
            vr_unpack_row(type, back, packed + r / 8 * 8 * row_bytes, (int)(r % 8), I);
            CHECK(memcmp(back, plain + r * row_bytes, (size_t)row_bytes) == 0, "%s: row %d", info->name, (int)r);
        }
        int64_t fits[] = {8, info->block}, odd_rows[] = {12, info->block}, odd_columns[] = {8, info->block + 1};
        CHECK(vr_can_pack(type, 2, fits) && !vr_can_pack(type, 2, odd_rows) && !vr_can_pack(type, 2, odd_columns) &&
                  !vr_can_pack(vr_packed_type(type), 2, fits),
              "%s: what packs", info->name);
        CHECK(vr_plain_type(vr_packed_type(type)) == type && vr_is_packed(vr_packed_type(type)) && !vr_is_packed(type),
              "%s: its packed type", info->name);
        free(plain), free(packed), free(back);
    }
    CHECK(vr_packed_type(VR_F16) == VR_F16 && vr_plain_type(VR_F16) == VR_F16 && !vr_can_pack(VR_F16, 2, (int64_t[]){8, 32}), "f16");
    /* the place of single bytes: row 3's scale and number 5 of the second block of q8_0; its nibble of q4_0 */
    unsigned char plain[8 * 68] = {0}, packed[8 * 68];
    plain[3 * 68 + 34] = 1, plain[3 * 68 + 34 + 2 + 5] = 2;
    vr_pack(VR_Q8_0, packed, plain, 8, 64);
    CHECK(packed[272 + 3 * 2] == 1 && packed[272 + 16 + 32 + 3 * 4 + 1] == 2, "places of q8_0");
    memset(plain, 0, sizeof plain);
    plain[3 * 36 + 18 + 2 + 5] = 3;
    vr_pack(VR_Q4_0, packed, plain, 8, 64);
    CHECK(packed[144 + 16 + 32 + 3 * 4 + 1] == 3, "place of q4_0");
}

/* ---- tiles ---- */

/* Rows with everything that a block may hold: large, tiny, zero, infinite, NaN, halves that round to even. */
static float *awkward_rows(bench *b, int64_t n, int64_t I) {
    float *x = malloc((size_t)(n * I) * sizeof *x);
    for (int64_t i = 0; i < n * I; i++) x[i] = uniform(b);
    for (int64_t i = 0; i + 32 <= n * I; i += 32) {
        int kind = (int)((vr_rng_next(&b->rng) >> 20) % 12), at = (int)((vr_rng_next(&b->rng) >> 20) % 32);
        for (int k = 0; k < 32 && kind < 5; k++) {
            if (kind == 0) x[i + k] = 0;
            if (kind == 1) x[i + k] *= 1e-38f;
            if (kind == 2) x[i + k] *= 1e38f;
            if (kind == 3) x[i + k] = k ? (float)(k - 16) + 0.5f : -127;
        }
        if (kind == 5) x[i + at] = NAN;
        if (kind == 6) x[i + at] = -INFINITY;
        if (kind == 7) x[i + at] = 1e4f;
    }
    return x;
}

static void test_tile(bench *b, const vr_kernels *kernels) {
    const vr_kernels *truth = vr_kernels_find("generic");
    for (int64_t n = 1; n <= VR_TILE_ROWS; n++)
        for (int64_t I = 32; I <= 32 * 32; I += 32 * 31) {
            size_t size = (size_t)vr_tile_size(n, I);
            float *x = awkward_rows(b, n, I);
            unsigned char *tile = malloc(size), *expected = malloc(size);
            memset(tile, 1, size);
            truth->tile(expected, x, I, n, I);
            kernels->tile(tile, x, I, n, I);
            for (size_t i = 0; i < size; i++)
                CHECK(tile[i] == expected[i] || isnan(x[0]), "%s: tile of %d rows, byte %zu: %d, expected %d", kernels->name, (int)n,
                      i, tile[i], expected[i]);
            for (int64_t i = 0; i < I; i += 32)
                for (int64_t t = 0; t < n; t++) {
                    const unsigned char *block = tile + i / 32 * n * VR_TILE_BYTES;
                    float d, s, most = 0;
                    int sum = 0, broken = 0;
                    memcpy(&d, block + 4 * t, 4);
                    memcpy(&s, block + vr_tile_s(n) + 4 * t, 4);
                    for (int k = 0; k < 32; k++) broken += !isfinite(x[t * I + i + k]);
                    for (int k = 0; k < 32; k++) most = fmaxf(most, fabsf(x[t * I + i + k]));
                    for (int k = 0; k < 32; k++) {
                        int q = ((const int8_t *)block)[vr_tile_q(n) + (k / 4 * n + t) * 4 + k % 4];
                        sum += q;
                        CHECK(broken ? q == 0 : fabsf((float)q * d - x[t * I + i + k]) <= most * 0.501f / 127 + 1e-30f,
                              "%s: %g became %d of %g", kernels->name, x[t * I + i + k], q, d);
                    }
                    CHECK(broken ? isnan(d) && isnan(s) : s == d * (float)sum, "%s: d %g, s %g of %d", kernels->name, d, s, sum);
                }
            free(x), free(tile), free(expected);
        }
}

/* ---- products ---- */

/* Plain numbers times what the tile holds, in double; bound: 12 roundings of half a unit of the magnitudes. */
static void check_truth(vr_dtype type, const unsigned char *plain, const float *x, const float *y, int64_t n, int64_t O, int64_t I,
                        const float *bias) {
    const vr_kernels *truth = vr_kernels_find("generic");
    const vr_dtype_info *info = vr_dtype_of(type);
    float *row = malloc((size_t)I * sizeof *row);
    unsigned char *tile = malloc((size_t)vr_tile_size(1, I));
    for (int64_t o = 0; o < O; o++) {
        vr_quant_of(type)->decode(row, plain + o * (I / info->block * info->bytes), I);
        for (int64_t t = 0; t < n; t++) {
            double sum = bias ? bias[o] : 0, size = fabs(sum);
            truth->tile(tile, x + t * I, I, 1, I);
            for (int64_t i = 0; i < I; i++) {
                const unsigned char *block = tile + i / 32 * VR_TILE_BYTES;
                float d;
                memcpy(&d, block, 4);
                double product = (double)row[i] * d * ((const int8_t *)block)[vr_tile_q(1) + i % 32];
                sum += product;
                size += fabs(product);
            }
            if (type == VR_Q4_K || type == VR_Q5_K) size *= 4; /* a min is taken off after the numbers were added */
            CHECK(fabs(y[t * O + o] - sum) <= 12 * EPS * size, "%s: row %d: %.9g, expected %.9g", info->name, (int)o, y[t * O + o], sum);
        }
    }
    free(row), free(tile);
}

static void test_products(bench *b, const vr_kernels *kernels) {
    const vr_kernels *truth = vr_kernels_find("generic");
    for (size_t k = 0; k < VR_COUNT(types); k++)
        for (int64_t blocks = 1; blocks <= 9; blocks += blocks < 3 ? 1 : 6)
            for (int64_t groups = 1; groups <= 5; groups++)
                for (int64_t n = 1; n <= VR_TILE_ROWS; n++) {
                    int64_t I = blocks * vr_dtype_of(types[k])->block, O = groups * VR_PACKED_ROWS;
                    unsigned char *plain = random_blocks(b, types[k], O, I), *packed = packed_copy(types[k], plain, O, I);
                    vr_dtype type = vr_packed_type(types[k]);
                    unsigned char *tile = malloc((size_t)vr_tile_size(n, I));
                    float *x = malloc((size_t)(n * I) * sizeof *x), *y = malloc((size_t)(n * O) * sizeof *y);
                    float *expected = malloc((size_t)(n * O) * sizeof *y), *bias = malloc((size_t)O * sizeof *bias);
                    for (int64_t i = 0; i < n * I; i++) x[i] = uniform(b);
                    for (int64_t i = 0; i < O; i++) bias[i] = uniform(b);
                    const float *some = (groups + n) % 2 ? bias : NULL;
                    truth->tile(tile, x, I, n, I);
                    truth->packed[type](expected, O, tile, n, packed, groups, some, I);
                    kernels->packed[type](y, O, tile, n, packed, groups, some, I);
                    CHECK(memcmp(y, expected, (size_t)(n * O) * sizeof *y) == 0, "%s: %s, %d rows, %d groups of %d", kernels->name,
                          vr_dtype_of(type)->name, (int)n, (int)groups, (int)I);
                    if (kernels == truth) check_truth(types[k], plain, x, y, n, O, I, some);
                    free(plain), free(packed), free(tile), free(x), free(y), free(expected), free(bias);
                }
}

/* The largest numbers of either sign everywhere: nothing overflows on the way. */
static void test_extremes(bench *b, const vr_kernels *kernels) {
    enum { I = 512, O = 8 };
    static float x[4 * I], y[4 * O], row[I];
    static unsigned char tile[I / 32 * 4 * VR_TILE_BYTES];
    for (size_t k = 0; k < VR_COUNT(types); k++)
        for (int fill_byte = 0; fill_byte < 3; fill_byte++) {
            const vr_dtype_info *info = vr_dtype_of(types[k]);
            unsigned char *plain = random_blocks(b, types[k], O, I);
            memset(plain, fill_byte == 0 ? 0 : fill_byte == 1 ? 0xff : 0x80, (size_t)(O * I / info->block * info->bytes));
            for (int64_t i = 0; i < O * I / info->block; i++)
                for (int h = 0; h < 2; h++) memcpy(plain + i * info->bytes + halves_at[types[k]][h], &(uint16_t){0x3c00}, 2);
            unsigned char *packed = packed_copy(types[k], plain, O, I);
            for (int i = 0; i < 4 * I; i++) x[i] = i / I == 0 ? 127 : i / I == 1 ? -127 : i % 2 ? 127 : -127;
            kernels->tile(tile, x, I, 4, I);
            kernels->packed[vr_packed_type(types[k])](y, O, tile, 4, packed, 1, NULL, I);
            for (int o = 0; o < O; o++) {
                vr_quant_of(types[k])->decode(row, plain + o * (I / info->block * info->bytes), I);
                for (int t = 0; t < 4; t++) {
                    double sum = 0, size = 0;
                    for (int i = 0; i < I; i++) sum += (double)row[i] * x[t * I + i], size += fabs((double)row[i] * x[t * I + i]);
                    CHECK(fabs(y[t * O + o] - sum) <= 48 * EPS * size + 1e-3, "%s: %s of %d: %.9g, expected %.9g", kernels->name,
                          info->name, fill_byte, y[t * O + o], sum);
                }
            }
            settle(b);
            free(plain), free(packed);
        }
}

/* ---- the operation ---- */

static vr_tensor stored(vr_dtype type, int64_t O, int64_t I, void *data) { return (vr_tensor){type, 2, {O, I}, data}; }

static void check_rows(bench *b, vr_dtype plain_type, int64_t T, int64_t O, int64_t I) {
    unsigned char *plain = random_blocks(b, plain_type, O, I), *packed = packed_copy(plain_type, plain, O, I);
    vr_tensor w = stored(vr_packed_type(plain_type), O, I, packed), as_it_came = stored(plain_type, O, I, plain);
    use(b, b->run.kernels, 1);
    vr_tensor *x = random2(b, T, I, 1), *bias = random1(b, O, 1), *alone = vr_new2(&b->run, T, O);
    for (int64_t t = 0; t < T; t++) {
        size_t mark = vr_arena_mark(&b->arena);
        vr_tensor *y = vr_linear(&b->run, vr_rows(&b->run, x, t, 1), &w, bias);
        CHECK(y, "%s", b->err.message);
        if (y) memcpy((float *)alone->data + t * O, y->data, (size_t)O * sizeof(float));
        vr_arena_release(&b->arena, mark);
    }
    check_truth(plain_type, plain, at(x), at(alone), T < 3 ? T : 3, O, I, at(bias));
    for (int threads = 1; threads <= 3; threads++) {
        b->run.pool = b->pools[threads - 1];
        CHECK(same(vr_linear(&b->run, x, &w, bias), alone), "%s: %s T %d O %d I %d, %d threads", b->run.kernels->name,
              vr_dtype_of(plain_type)->name, (int)T, (int)O, (int)I, threads);
    }
    b->run.exact = true;
    CHECK(same(vr_linear(&b->run, x, &w, bias), vr_linear(&b->run, x, &as_it_came, bias)), "%s: %s T %d, exact: %s",
          b->run.kernels->name, vr_dtype_of(plain_type)->name, (int)T, b->err.message);
    vr_matmul m = {.x = at(x), .w = packed, .type = w.dtype, .y_stride = O, .x_stride = I, .groups = 1, .T = T, .O = O, .I = I};
    vr_tensor *dx = vr_zeros2(&b->run, T, I), *expected = vr_zeros2(&b->run, T, I);
    vr_op_matmul_back(&b->run, &m, at(alone), dx->data, NULL, NULL);
    m.w = plain, m.type = plain_type;
    vr_op_matmul_back(&b->run, &m, at(alone), expected->data, NULL, NULL);
    CHECK(same(dx, expected), "%s: %s T %d, gradient of x", b->run.kernels->name, vr_dtype_of(plain_type)->name, (int)T);
    int32_t ids[] = {(int32_t)O - 1, 0, 5};
    CHECK(same(vr_embed(&b->run, &w, ids, 3), vr_embed(&b->run, &as_it_came, ids, 3)), "embed: %s", b->err.message);
    settle(b);
    free(plain), free(packed);
}

static void test_linear(bench *b, const vr_kernels *kernels) {
    static const int64_t rows[] = {1, 2, 4, 5, 9, 33, 250}, outputs[] = {8, 40, 136};
    for (size_t k = 0; k < VR_COUNT(types); k++)
        for (size_t t = 0; t < VR_COUNT(rows); t++)
            for (size_t o = 0; o < VR_COUNT(outputs); o++) {
                if (strcmp(kernels->name, "generic") == 0 && rows[t] > 33) continue; /* slow */
                use(b, kernels, 1);
                check_rows(b, types[k], rows[t], outputs[o], o == 1 ? 768 : 256);
            }
}

/* Long enough for several chunks, helped or not. */
static void test_chunks(bench *b, const vr_kernels *kernels) {
    use(b, kernels, 1);
    if (strcmp(kernels->name, "generic") == 0) return;
    check_rows(b, VR_Q4_0, 1, 1024, 4096);
    check_rows(b, VR_Q8_0, 3, 2000, 1024);
    check_rows(b, VR_Q6_K, 5, 1024, 2048);
}

/* Products of several kinds as one job are what each is alone. */
static void test_together(bench *b, const vr_kernels *kernels) {
    static const vr_dtype kinds[] = {VR_Q4_0, VR_F32, VR_BF16, VR_Q5_K, VR_Q8_0, VR_Q4_K, VR_Q4_1};
    for (int64_t T = 1; T <= 6; T++)
        for (int threads = 1; threads <= 3; threads += 2) {
            int64_t I = 512;
            vr_matmul list[VR_COUNT(kinds)];
            vr_tensor *alone[VR_COUNT(kinds)], *together[VR_COUNT(kinds)];
            unsigned char *plain[VR_COUNT(kinds)], *packed[VR_COUNT(kinds)] = {NULL};
            use(b, kernels, threads);
            for (size_t k = 0; k < VR_COUNT(kinds); k++) {
                int64_t O = k == 3 ? 8 : 72;
                vr_tensor *x = random2(b, T, I, 1), w = stored(kinds[k], O, I, plain[k] = random_blocks(b, kinds[k], O, I));
                if (kinds[k] == VR_BF16 || kinds[k] == VR_F32) {
                    vr_tensor *numbers = random2(b, O, I, 1);
                    vr_quant_of(kinds[k])->encode(plain[k], at(numbers), O * I);
                }
                if (kinds[k] == VR_Q4_1)
                    for (int64_t i = 0; i < O * I / 32; i++) memset(plain[k] + 20 * i, 0x2c, 4);
                if (vr_can_pack(kinds[k], 2, w.shape))
                    w = stored(vr_packed_type(kinds[k]), O, I, packed[k] = packed_copy(kinds[k], plain[k], O, I));
                alone[k] = vr_linear(&b->run, x, &w, NULL);
                together[k] = vr_new2(&b->run, T, O);
                list[k] = (vr_matmul){.y = together[k]->data, .x = x->data, .w = w.data, .type = w.dtype, .y_stride = O, .x_stride = I,
                                      .groups = 1, .T = T, .O = O, .I = I};
            }
            for (size_t from = 0; from < 2; from++) { /* with and without kinds that are not helped */
                size_t n = VR_COUNT(kinds) - from;
                for (size_t k = 0; k < n; k++) memset(together[k]->data, 0, (size_t)(T * list[k].O) * sizeof(float));
                CHECK(vr_op_matmuls(&b->run, list, (int)n), "%s", b->err.message);
                for (size_t k = 0; k < n; k++)
                    CHECK(same(alone[k], together[k]), "%s: product %zu of %zu, T %d, %d threads", kernels->name, k, n, (int)T, threads);
            }
            settle(b);
            for (size_t k = 0; k < VR_COUNT(kinds); k++) free(plain[k]), free(packed[k]);
        }
}

static void test_failures(bench *b, const vr_kernels *kernels) {
    static float data[4096];
    vr_tensor x = {VR_F32, 2, {4, 256}, data}, odd = stored(VR_Q4_0_R8, 12, 256, data), narrow = stored(VR_Q4_K_R8, 8, 128, data);
    use(b, kernels, 2);
    expect_failure(b, vr_linear(&b->run, &x, &odd, NULL), VRWKV_ERR_SHAPE, "linear: w is q4_0_r8 [12, 256], expected a matrix");
    expect_failure(b, vr_linear(&b->run, &x, &narrow, NULL), VRWKV_ERR_SHAPE, "linear: w is q4_k_r8 [8, 128], expected a matrix");
    vr_tensor w = stored(VR_Q4_0_R8, 8, 256, data);
    ((float *)x.data)[300] = NAN; /* one number: its row alone is lost, and all of it */
    vr_tensor *y = vr_linear(&b->run, &x, &w, NULL);
    for (int i = 0; y && i < 32; i++) CHECK(isnan(at(y)[i]) == (i / 8 == 1), "%s: NaN in row %d", kernels->name, i / 8);
    ((float *)x.data)[300] = 0;
}

int main(void) {
    static void (*const tests[])(bench *, const vr_kernels *) = {test_tile,   test_products, test_extremes, test_linear,
                                                                 test_chunks, test_together, test_failures};
    bench b = {.rng = {20250117}};
    bench_open(&b);
    test_order(&b);
    bench_run(&b, tests, VR_COUNT(tests));
    bench_close(&b);
    return check_result();
}
