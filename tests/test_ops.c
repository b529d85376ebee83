/* Every operation, with every kernel set that this processor can run, against plain double arithmetic
 * written here, on odd sizes. Bounds are stated at each comparison. Then what must hold to the bit:
 * thread counts, rows given together or alone, chunks of a sequence, stored types. */
#include "ops_frame.h"

#include "base/half.h"
#include "ops/quant.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static const int64_t sizes[] = {1, 3, 17, 33};

/* ---- products ---- */

/* Bound: 8 roundings of half a unit of the sum of magnitudes. */
static void check_linear(bench *b, int64_t T, int64_t O, int64_t I, bool with_bias) {
    vr_tensor *x = random2(b, T, I, 1), *w = random2(b, O, I, 1), *bias = with_bias ? random1(b, O, 1) : NULL;
    vr_tensor *y = vr_linear(&b->run, x, w, bias);
    CHECK(y && y->shape[0] == T && y->shape[1] == O, "%s", b->err.message);
    for (int64_t t = 0; y && t < T; t++)
        for (int64_t o = 0; o < O; o++) {
            double sum = bias ? at(bias)[o] : 0, size = fabs(sum);
            for (int64_t i = 0; i < I; i++) {
                double product = (double)at(x)[t * I + i] * at(w)[o * I + i];
                sum += product;
                size += fabs(product);
            }
            near(b, "linear", at(y)[t * O + o], sum, 8 * EPS * size);
        }
}

static void test_linear(bench *b, const vr_kernels *kernels) {
    static const int64_t inputs[] = {1, 3, 16, 17, 33, 64, 577};
    for (size_t t = 0; t < VR_COUNT(sizes); t++)
        for (size_t o = 0; o < VR_COUNT(sizes); o++)
            for (size_t i = 0; i < VR_COUNT(inputs); i++) {
                use(b, kernels, 2);
                check_linear(b, sizes[t], sizes[o], inputs[i], (t + o + i) % 2);
            }
    use(b, kernels, 3);
    check_linear(b, 5, 577, 33, true);
    check_linear(b, 577, 9, 100, true);
    check_linear(b, 2, 40, 4099, false);
}

/* One row alone, many rows, 1, 2, 3 threads: the same bits. */
static void test_linear_bits(bench *b, const vr_kernels *kernels) {
    static const int64_t rows[] = {1, 2, 4, 6, 7, 13, 33, 250}, outputs[] = {1, 5, 8, 31, 133}, inputs[] = {7, 64, 577, 1056};
    for (size_t t = 0; t < VR_COUNT(rows); t++)
        for (size_t o = 0; o < VR_COUNT(outputs); o++)
            for (size_t i = 0; i < VR_COUNT(inputs); i++) {
                int64_t T = rows[t], O = outputs[o], I = inputs[i];
                use(b, kernels, 1);
                vr_tensor *x = random2(b, T, I, 1), *w = random2(b, O, I, 1), *bias = random1(b, O, 1);
                vr_tensor *alone = vr_new2(&b->run, T, O);
                for (int64_t k = 0; k < T; k++) {
                    size_t mark = vr_arena_mark(&b->arena);
                    vr_tensor *y = vr_linear(&b->run, vr_rows(&b->run, x, k, 1), w, bias);
                    memcpy((float *)alone->data + k * O, y->data, (size_t)O * sizeof(float));
                    vr_arena_release(&b->arena, mark);
                }
                for (int threads = 1; threads <= 3; threads++) {
                    b->run.pool = b->pools[threads - 1];
                    CHECK(same(vr_linear(&b->run, x, w, bias), alone), "%s: T %lld O %lld I %lld, %d threads", kernels->name,
                          (long long)T, (long long)O, (long long)I, threads);
                }
            }
}

/* Stored weights give the bits of their decoded numbers. */
static void test_stored(bench *b, const vr_kernels *kernels) {
    static const vr_dtype types[] = {VR_F16, VR_BF16, VR_Q8_0, VR_Q4_0};
    static const int64_t rows[] = {1, 2, 3, 5, 6, 7, 40};
    for (size_t k = 0; k < VR_COUNT(types); k++)
        for (int64_t I = 32; I <= 577 * 2; I = I == 32 ? 96 : I == 96 ? 544 : I == 544 ? 1037 : 9999)
            for (size_t t = 0; t < VR_COUNT(rows); t++) {
                const vr_dtype_info *info = vr_dtype_of(types[k]);
                const vr_quant *quant = vr_quant_of(types[k]);
                int64_t O = 29;
                if (I % info->block) continue;
                use(b, kernels, 2);
                vr_tensor *x = random2(b, rows[t], I, 1), *source = random2(b, O, I, 2);
                vr_tensor stored = {types[k], 2, {O, I}, vr_arena_get(&b->arena, (size_t)(O * I), 4)};
                quant->encode(stored.data, at(source), O * I);
                vr_tensor *plain = vr_new2(&b->run, O, I);
                quant->decode(plain->data, stored.data, O * I);
                vr_tensor *y = vr_linear(&b->run, x, &stored, NULL);
                CHECK(same(y, vr_linear(&b->run, x, plain, NULL)), "%s %s T %lld I %lld: %s", kernels->name, info->name,
                      (long long)rows[t], (long long)I, b->err.message);
                int32_t ids[] = {28, 0, 7};
                vr_tensor *e = vr_embed(&b->run, &stored, ids, 3);
                CHECK(e && memcmp(at(e), at(plain) + 28 * I, (size_t)I * 4) == 0 &&
                          memcmp(at(e) + 2 * I, at(plain) + 7 * I, (size_t)I * 4) == 0,
                      "%s %s: embed", kernels->name, info->name);
            }
}

static double act_double(double x, vr_act act) {
    switch (act) {
    case VR_ACT_NONE: return x;
    case VR_ACT_TANH: return tanh(x);
    case VR_ACT_SIGMOID: return 1 / (1 + exp(-x));
    case VR_ACT_SILU: return x / (1 + exp(-x));
    case VR_ACT_RELU2: return x > 0 ? x * x : 0;
    case VR_ACT_QUICK_GELU: return x / (1 + exp(-(double)1.702f * x));
    case VR_ACT_GELU: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case VR_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case VR_ACT_DECAY: return exp(-exp(-(x < -700 ? -x : log1p(exp(-x))) - 0.5)); /* by softplus, as RWKV-7 writes it */
    }
    return NAN;
}

static void test_lora(bench *b, const vr_kernels *kernels) {
    for (int groups = 0; groups <= 5; groups += 5)
        for (int64_t T = 1; T <= 9; T += 4) {
            int64_t C = 70, R = 13, O = 37, G = groups ? groups : 1;
            use(b, kernels, 2);
            vr_tensor *x = random2(b, T, C, 1), *w1 = random2(b, G * R, C, 0.2f);
            vr_tensor *w2 = groups ? fill(b, vr_new(&b->run, 3, (int64_t[]){G, O, R}), 1) : random2(b, O, R, 1);
            vr_tensor *y = vr_lora(&b->run, x, w1, VR_ACT_TANH, w2);
            CHECK(y && y->ndim == (groups ? 3 : 2), "%s", b->err.message);
            for (int64_t g = 0; y && g < G; g++)
                for (int64_t t = 0; t < T; t++)
                    for (int64_t o = 0; o < O; o++) {
                        double sum = 0;
                        for (int64_t r = 0; r < R; r++) {
                            double middle = 0;
                            for (int64_t c = 0; c < C; c++) middle += (double)at(x)[t * C + c] * at(w1)[(g * R + r) * C + c];
                            sum += tanh(middle) * at(w2)[(g * O + o) * R + r];
                        }
                        near(b, "lora", at(y)[(g * T + t) * O + o], sum, 5e-6);
                    }
        }
}

/* ---- elements ---- */

/* Bounds: 6 units in the last place for the smooth ones (plus what a result below the smallest normal
 * number loses); the GELUs, which cancel on the negative side, 4e-7 of max(1, |x|). */
static void test_activate(bench *b, const vr_kernels *kernels) {
    for (int act = VR_ACT_NONE; act <= VR_ACT_DECAY; act++) {
        use(b, kernels, 3);
        vr_tensor *x = vr_new2(&b->run, 37, 1237);
        int64_t n = 37 * 1237;
        for (int64_t i = 0; i < n; i++) {
            uint32_t bits = (uint32_t)i * 93841u; /* steps through all floats, both signs */
            float value = i % 2 ? 100 * uniform(b) : vr_bits_f32(bits);
            ((float *)x->data)[i] = i % 3 == 0 ? 5 * uniform(b) : value;
        }
        vr_tensor *y = vr_activate(&b->run, x, (vr_act)act);
        for (int64_t i = 0; y && i < n; i++) {
            float input = at(x)[i];
            double expected = act_double(input, (vr_act)act), size = fabs((double)input);
            if (isnan(input)) {
                CHECK(isnan(at(y)[i]), "%s act %d: NaN became %g", kernels->name, act, at(y)[i]);
                continue;
            }
            if (isinf(input) || fabs(expected) > 3e38 || size > 1e12) continue;
            double bound = 12 * EPS * fabs(expected) + 2e-36;
            if (act == VR_ACT_GELU || act == VR_ACT_GELU_TANH) bound = 4e-7 * (size > 1 ? size : 1);
            if (act == VR_ACT_QUICK_GELU || act == VR_ACT_SILU) bound += 4 * EPS * size * fabs(expected);
            near(b, "activate", at(y)[i], expected, bound);
            float alone;
            kernels->activate(&alone, &at(x)[i], 1, act);
            CHECK(vr_f32_bits(alone) == vr_f32_bits(at(y)[i]), "%s act %d: %g alone has other bits", kernels->name, act, input);
        }
    }
    float ends[] = {INFINITY, -INFINITY, 1e30f, -1e30f, 0}, y[5];
    kernels->activate(y, ends, 5, VR_ACT_TANH);
    CHECK(y[0] == 1 && y[1] == -1 && y[2] == 1 && y[3] == -1 && y[4] == 0, "%s tanh at the ends", kernels->name);
    kernels->activate(y, ends, 5, VR_ACT_SIGMOID);
    CHECK(y[0] == 1 && y[1] == 0 && y[2] == 1 && y[3] == 0 && y[4] == 0.5f, "%s sigmoid at the ends", kernels->name);
    kernels->activate(y, ends, 5, VR_ACT_RELU2);
    CHECK(isinf(y[0]) && y[1] == 0 && y[3] == 0, "%s relu2 at the ends", kernels->name);
}

static void test_elements(bench *b, const vr_kernels *kernels) {
    for (size_t s = 0; s < VR_COUNT(sizes); s++)
        for (int64_t C = 1; C <= 577; C = C * 3 + 1) {
            int64_t T = sizes[s];
            use(b, kernels, 2);
            vr_tensor *x = random2(b, T, C, 1), *y = random2(b, T, C, 1), *v = random1(b, C, 1), *m = random2(b, T, C, 1);
            vr_tensor *sum = vr_add(&b->run, x, y), *sum1 = vr_add(&b->run, x, v);
            vr_tensor *product = vr_mul(&b->run, x, y), *product1 = vr_mul(&b->run, x, v);
            vr_tensor *l = vr_lerp(&b->run, x, y, v, m), *l1 = vr_lerp(&b->run, x, y, v, NULL);
            vr_tensor *l2 = vr_lerp(&b->run, x, y, NULL, m);
            CHECK(vr_run_status(&b->run) == VRWKV_OK, "%s", b->err.message);
            for (int64_t i = 0; l1 && i < T * C; i++) { /* plain f32 operations: exactly these */
                float p = at(x)[i], q = at(y)[i], r = at(v)[i % C];
                float way = q - p, amount = r + at(m)[i], step = way * amount, step1 = way * r, step2 = way * at(m)[i];
                CHECK(at(sum)[i] == p + q && at(sum1)[i] == p + r, "%s add", kernels->name);
                CHECK(at(product)[i] == p * q && at(product1)[i] == p * r, "%s mul", kernels->name);
                CHECK(at(l)[i] == p + step && at(l1)[i] == p + step1 && at(l2)[i] == p + step2, "%s lerp", kernels->name);
            }
            float *copy = vr_arena_get(&b->arena, (size_t)C, sizeof(float));
            memcpy(copy, at(y), (size_t)C * sizeof(float));
            kernels->axpy(copy, 0.75f, at(x), C);
            for (int64_t i = 0; i < C; i++) near(b, "axpy", copy[i], at(y)[i] + 0.75 * at(x)[i], 3 * EPS);
        }
}

/* ---- norms: bound 4 units of the largest term, with a mean far from zero ---- */

static void check_norm(bench *b, int64_t T, int64_t C, int groups, float offset, const char *name) {
    vr_tensor *x = random2(b, T, C, 1), *w = random1(b, C, 2), *bias = random1(b, C, 1);
    float eps = groups > 1 ? 6.4e-4f : 1e-5f;
    for (int64_t i = 0; i < T * C; i++) ((float *)x->data)[i] += offset;
    vr_tensor *y = groups > 1 ? vr_group_norm(&b->run, x, groups, w, bias, eps) : vr_layer_norm(&b->run, x, w, bias, eps);
    int64_t N = C / groups;
    CHECK(y, "%s", b->err.message);
    for (int64_t r = 0; y && r < T * groups; r++) {
        const float *row = at(x) + r * N;
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < N; i++) mean += row[i] / (double)N;
        for (int64_t i = 0; i < N; i++) variance += (row[i] - mean) * (row[i] - mean) / (double)N;
        for (int64_t i = 0; i < N; i++) {
            int64_t c = (r * N + i) % C;
            double z = (row[i] - mean) / sqrt(variance + (double)eps) * at(w)[c];
            near(b, name, at(y)[r * N + i], z + at(bias)[c], 8 * EPS * (fabs(z) + 2) + 4 * EPS / sqrt(variance + (double)eps));
        }
    }
}

static void test_norm(bench *b, const vr_kernels *kernels) {
    for (size_t t = 0; t < VR_COUNT(sizes); t++)
        for (int64_t N = 1; N <= 1024; N = N * 2 + (N % 3)) {
            use(b, kernels, 2);
            check_norm(b, sizes[t], N, 1, 0, "layer_norm");
            check_norm(b, sizes[t], N, 1, 30, "layer_norm off centre");
            check_norm(b, sizes[t], N * 4, 4, 0, "group_norm");
        }
    use(b, kernels, 1);
    vr_tensor *x = random2(b, 1, 50, 1), *w = random1(b, 50, 1);
    ((float *)x->data)[49] = NAN;
    vr_tensor *y = vr_layer_norm(&b->run, x, w, w, 1e-5f);
    for (int i = 0; i < 50; i++) CHECK(isnan(at(y)[i]), "%s: a NaN in a row vanished from column %d", kernels->name, i);
}

/* ---- attention, pictures, rows ---- */

/* Bound: 5e-6 on averages of values below 1. */
static void check_attention(bench *b, int64_t T, int heads, int64_t N) {
    int64_t C = heads * N;
    vr_tensor *q = random2(b, T, C, 2), *k = random2(b, T, C, 2), *v = random2(b, T, C, 1);
    vr_tensor *y = vr_attention(&b->run, q, k, v, heads, 0.37f);
    double *p = malloc((size_t)T * sizeof *p);
    CHECK(y, "%s", b->err.message);
    for (int64_t t = 0; y && t < T; t += T > 100 ? 37 : 1)
        for (int h = 0; h < heads; h++) {
            double highest = -1e300, sum = 0;
            for (int64_t s = 0; s < T; s++) {
                p[s] = 0;
                for (int64_t i = 0; i < N; i++) p[s] += 0.37f * (double)at(q)[t * C + h * N + i] * at(k)[s * C + h * N + i];
                highest = p[s] > highest ? p[s] : highest;
            }
            for (int64_t s = 0; s < T; s++) sum += p[s] = exp(p[s] - highest);
            for (int64_t i = 0; i < N; i++) {
                double mean = 0;
                for (int64_t s = 0; s < T; s++) mean += p[s] / sum * at(v)[s * C + h * N + i];
                near(b, "attention", at(y)[t * C + h * N + i], mean, 5e-6);
            }
        }
    free(p);
    b->run.pool = b->pools[0];
    CHECK(same(y, vr_attention(&b->run, q, k, v, heads, 0.37f)), "attention: other bits with one thread");
    b->run.pool = b->pools[2];
}

static void test_attention(bench *b, const vr_kernels *kernels) {
    static const int64_t rows[] = {1, 3, 17, 48, 49, 97, 577};
    for (size_t t = 0; t < VR_COUNT(rows); t++) {
        use(b, kernels, 3);
        check_attention(b, rows[t], 1, 5);
        check_attention(b, rows[t], 3, 64);
        check_attention(b, rows[t], 4, 8);
    }
    float ends[] = {-INFINITY, 3, -INFINITY}, broken[] = {1, NAN, 2};
    kernels->softmax(ends, 3);
    CHECK(ends[0] == 0 && ends[1] == 1 && ends[2] == 0, "%s: softmax of infinities", kernels->name);
    kernels->softmax(broken, 3);
    CHECK(isnan(broken[0]) && isnan(broken[1]) && isnan(broken[2]), "%s: softmax lost a NaN", kernels->name);
}

static void test_patch_embed(bench *b, const vr_kernels *kernels) {
    int64_t S = 23, P = 5, C = 19, side = S / P;
    use(b, kernels, 2);
    vr_tensor *pixels = fill(b, vr_new(&b->run, 3, (int64_t[]){3, S, S}), 1);
    vr_tensor *w = fill(b, vr_new(&b->run, 4, (int64_t[]){C, 3, P, P}), 1), *bias = random1(b, C, 1);
    vr_tensor *y = vr_patch_embed(&b->run, pixels, w, bias);
    CHECK(y && y->shape[0] == side * side && y->shape[1] == C, "%s", b->err.message);
    for (int64_t t = 0; y && t < side * side; t++)
        for (int64_t o = 0; o < C; o++) {
            double sum = at(bias)[o];
            for (int64_t c = 0; c < 3; c++)
                for (int64_t i = 0; i < P; i++)
                    for (int64_t j = 0; j < P; j++)
                        sum += (double)at(w)[((o * 3 + c) * P + i) * P + j] *
                               at(pixels)[(c * S + t / side * P + i) * S + t % side * P + j];
            near(b, "patch_embed", at(y)[t * C + o], sum, 5e-6);
        }
}

static void test_rows(bench *b, const vr_kernels *kernels) {
    int64_t C = 21;
    int32_t order[49];
    use(b, kernels, 2);
    vr_tensor *x = random2(b, 49, C, 1), *y = random2(b, 3, C, 1);
    vr_tensor *z = vr_concat_rows(&b->run, x, y);
    CHECK(z && z->shape[0] == 52 && same(vr_rows(&b->run, z, 0, 49), x) && same(vr_rows(&b->run, z, 49, 3), y), "concat_rows");
    for (int i = 0; i < 49; i++) order[i] = i * 10 % 49;
    vr_tensor *p = vr_permute_rows(&b->run, x, order);
    for (int i = 0; p && i < 49; i++)
        CHECK(same(vr_rows(&b->run, p, i, 1), vr_rows(&b->run, x, order[i], 1)), "permute_rows %d", i);
    for (int kernel = 1; kernel <= 7; kernel++)
        for (int stride = 1; stride <= 4; stride++) {
            int out = (7 - kernel) / stride + 1;
            vr_tensor *a = vr_avg_pool(&b->run, x, 7, kernel, stride);
            CHECK(a && a->shape[0] == out * out, "avg_pool %d %d: %s", kernel, stride, b->err.message);
            for (int64_t i = 0; a && i < out * out * C; i++) {
                int64_t cy = i / C / out * stride, cx = i / C % out * stride;
                double sum = 0;
                for (int64_t j = 0; j < kernel * kernel; j++)
                    sum += at(x)[((cy + j / kernel) * 7 + cx + j % kernel) * C + i % C];
                near(b, "avg_pool", at(a)[i], sum / (kernel * kernel), 1e-6);
            }
        }
}

/* ---- stored numbers ---- */

static void test_decode(bench *b, const vr_kernels *kernels) {
    static uint16_t halves[65536 + 5];
    static float truth[65536 + 5], got[65536 + 5];
    for (int i = 0; i < 65536 + 5; i++) halves[i] = (uint16_t)(i * 40503);
    for (int type = 0; type < VR_DTYPE_COUNT; type++) {
        if (!kernels->decode[type]) continue;
        const vr_dtype_info *info = vr_dtype_of((vr_dtype)type);
        int64_t n = info->block > 1 ? 65536 : 65536 + 5;
        if (info->block > 1) { /* any bytes are blocks; scales that are NaN have no bits to compare */
            for (int i = 0; i < 65536; i++) halves[i] = (uint16_t)(vr_rng_next(&b->rng) >> 20);
            for (int64_t i = 0; i < n / info->block; i++)
                if ((halves[i * info->bytes / 2] & 0x7c00) == 0x7c00) halves[i * info->bytes / 2] = 0x2e66;
        }
        vr_quant_of((vr_dtype)type)->decode(truth, halves, n);
        kernels->decode[type](got, halves, n);
        for (int64_t i = 0; i < n; i++)
            CHECK(vr_f32_bits(got[i]) == vr_f32_bits(truth[i]) || (isnan(got[i]) && isnan(truth[i])), "%s %s: %g, expected %g",
                  kernels->name, info->name, got[i], truth[i]);
    }
}

static void test_quant(bench *b) {
    static const struct { vr_dtype type; double step; } round_trips[] = {
        {VR_F32, 0}, {VR_F16, 0x1p-11}, {VR_BF16, 0x1p-8}, {VR_Q8_0, 0.51 / 127 * 1.001}, {VR_Q4_0, 1.01 / 8}};
    float x[320], y[320];
    unsigned char bytes[1280];
    for (size_t k = 0; k < VR_COUNT(round_trips); k++) {
        const vr_quant *quant = vr_quant_of(round_trips[k].type);
        for (int i = 0; i < 320; i++) x[i] = uniform(b);
        quant->encode(bytes, x, 320);
        quant->decode(y, bytes, 320);
        for (int i = 0; i < 320; i++)
            CHECK(fabsf(x[i] - y[i]) <= round_trips[k].step + 0x1p-24, "%s: %g became %g",
                  vr_dtype_of(round_trips[k].type)->name, x[i], y[i]);
    }
    /* q8_0 of 127, -127, 63.5 (half away from zero), 0...: d = 1 = f16 0x3c00 */
    memset(x, 0, sizeof x);
    x[0] = 127, x[1] = -127, x[2] = 63.5f, x[3] = -63.5f, x[31] = 1;
    vr_quant_of(VR_Q8_0)->encode(bytes, x, 32);
    const unsigned char q8[34] = {0x00, 0x3c, 127, 129, 64, 192, [33] = 1};
    CHECK(memcmp(bytes, q8, sizeof q8) == 0, "q8_0 block %d %d %d %d %d", bytes[0], bytes[1], bytes[2], bytes[3], bytes[4]);
    /* q4_0 with -8 the largest: d = 1; element 0 low nibble, 16 high nibble of the first byte */
    memset(x, 0, sizeof x);
    x[0] = -8, x[16] = 7, x[1] = 0.5f, x[17] = -1.5f, x[15] = 3;
    vr_quant_of(VR_Q4_0)->encode(bytes, x, 32);
    const unsigned char q4[18] = {0x00, 0x3c, 0xf0, 0x79, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88,
                                  0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x8b};
    CHECK(memcmp(bytes, q4, sizeof q4) == 0, "q4_0 block %02x %02x %02x %02x %02x", bytes[0], bytes[1], bytes[2], bytes[3], bytes[17]);
    /* a positive largest element: d is negative and it becomes -8 */
    memset(x, 0, sizeof x);
    x[5] = 8;
    vr_quant_of(VR_Q4_0)->encode(bytes, x, 32);
    vr_quant_of(VR_Q4_0)->decode(y, bytes, 32);
    CHECK(bytes[1] == 0xbc && y[5] == 8 && y[6] == 0, "q4_0 of a positive peak: %02x %g", bytes[1], y[5]);
    /* zeros, NaN, infinity: defined bytes, no trap */
    memset(x, 0, sizeof x);
    for (int k = 3; k <= 4; k++) {
        const vr_quant *quant = vr_quant_of(round_trips[k].type);
        quant->encode(bytes, x, 32);
        quant->decode(y, bytes, 32);
        for (int i = 0; i < 32; i++) CHECK(y[i] == 0, "zeros of %s", vr_dtype_of(quant->type)->name);
        x[3] = NAN, x[4] = INFINITY, x[5] = -1e-42f;
        quant->encode(bytes, x, 32);
        memset(x, 0, sizeof x);
    }
    const double wide[] = {1.5, -2e10};
    const int64_t whole[] = {-5, (int64_t)1 << 40};
    vr_quant_of(VR_F64)->decode(y, wide, 2);
    vr_quant_of(VR_I64)->decode(y + 2, whole, 2);
    CHECK(y[0] == 1.5f && y[1] == -2e10f && y[2] == -5 && y[3] == 0x1p40f, "f64 and i64");
    CHECK(!vr_quant_of(VR_I64)->encode && !vr_quant_of(VR_Q5_1)->encode, "what cannot be written has no encoder");
    CHECK(vr_quant_fit(VR_Q4_0, 64) == VR_Q4_0 && vr_quant_fit(VR_Q4_0, 33) == VR_F16 && vr_quant_fit(VR_F32, 33) == VR_F32 &&
              vr_quant_fit(VR_Q4_K, 96) == VR_Q4_0 && vr_quant_fit(VR_Q6_K, 96) == VR_Q8_0,
          "types that fit");
}

/* ---- failures ---- */

static void test_failures(bench *b, const vr_kernels *kernels) {
    int stop = 1;
    static float data[4096];
    vr_tensor x = {VR_F32, 2, {4, 32}, data}, w = {VR_F32, 2, {8, 31}, data}, v = {VR_F32, 1, {31}, data};
    vr_tensor odd = {VR_Q4_K, 2, {1, 256}, data}, square = {VR_F32, 3, {3, 8, 7}, data}, none = {VR_F32, 1, {32}, NULL};
    use(b, kernels, 2);
    expect_failure(b, vr_linear(&b->run, &x, &w, NULL), VRWKV_ERR_SHAPE, "linear: w is [8, 31], expected [outputs, 32]");
    expect_failure(b, vr_linear(&b->run, &x, &odd, NULL), VRWKV_ERR_SHAPE, "linear: w is [1, 256], expected [outputs, 32]");
    expect_failure(b, vr_linear(&b->run, &x, &x, &v), VRWKV_ERR_SHAPE, "linear: b is f32 [31], expected f32 [4]");
    expect_failure(b, vr_linear(&b->run, &v, &x, NULL), VRWKV_ERR_SHAPE, "linear: x is f32 [31]");
    expect_failure(b, vr_embed(&b->run, &x, (int32_t[]){4}, 1), VRWKV_ERR_ARGUMENT, "embed: token id 4, expected 0 to 3");
    expect_failure(b, vr_embed(&b->run, &x, (int32_t[]){-200}, 1), VRWKV_ERR_ARGUMENT, "token id -200");
    expect_failure(b, vr_lora(&b->run, &x, &x, VR_ACT_TANH, &x), VRWKV_ERR_SHAPE, "lora: w1 is [4, 32]");
    expect_failure(b, vr_activate(&b->run, &odd, VR_ACT_SILU), VRWKV_ERR_SHAPE, "activate: x is q4_k [1, 256]");
    expect_failure(b, vr_activate(&b->run, &x, (vr_act)99), VRWKV_ERR_ARGUMENT, "activate: function 99");
    expect_failure(b, vr_add(&b->run, &x, &v), VRWKV_ERR_SHAPE, "add: y is f32 [31], expected f32 [4, 32]");
    expect_failure(b, vr_mul(&b->run, &x, &w), VRWKV_ERR_SHAPE, "mul: y is f32 [8, 31]");
    expect_failure(b, vr_layer_norm(&b->run, &x, &none, &none, 0), VRWKV_ERR_SHAPE, "layer_norm: w is nothing");
    expect_failure(b, vr_group_norm(&b->run, &x, 5, &x, &x, 0), VRWKV_ERR_SHAPE, "group_norm: 5 groups of 32");
    expect_failure(b, vr_lerp(&b->run, &x, &w, &v, NULL), VRWKV_ERR_SHAPE, "lerp: z is f32 [8, 31], expected f32 [4, 32]");
    expect_failure(b, vr_attention(&b->run, &x, &x, &w, 4, 1), VRWKV_ERR_SHAPE, "attention: v is f32 [8, 31]");
    expect_failure(b, vr_attention(&b->run, &x, &x, &x, 5, 1), VRWKV_ERR_SHAPE, "attention: 5 heads of 32");
    expect_failure(b, vr_patch_embed(&b->run, &square, &x, NULL), VRWKV_ERR_SHAPE, "patch_embed: pixels are f32 [3, 8, 7]");
    expect_failure(b, vr_concat_rows(&b->run, &x, &w), VRWKV_ERR_SHAPE, "concat_rows: y is [8, 31]");
    expect_failure(b, vr_permute_rows(&b->run, &x, (int32_t[]){0, 1, 2, 4}), VRWKV_ERR_ARGUMENT, "permute_rows: order[3] is 4");
    expect_failure(b, vr_avg_pool(&b->run, &x, 2, 3, 1), VRWKV_ERR_SHAPE, "avg_pool: x is [4, 32], side 2, kernel 3");
    expect_failure(b, vr_rows(&b->run, &x, 3, 2), VRWKV_ERR_SHAPE, "rows: 2 rows from row 3");
    expect_failure(b, vr_new2(&b->run, (int64_t)1 << 40, 1 << 20), VRWKV_ERR_MEMORY, "limit of");
    b->run.cancel = &stop;
    expect_failure(b, vr_linear(&b->run, &x, &x, NULL), VRWKV_ERR_CANCELLED, "cancelled");
    CHECK(!vr_linear(&b->run, NULL, &x, NULL) && vr_run_status(&b->run) == VRWKV_OK, "NULL gives NULL without a failure");
    vr_linear(&b->run, &x, &w, NULL); /* the first failure stays */
    expect_failure(b, vr_add(&b->run, &x, &v), VRWKV_ERR_SHAPE, "linear");
}

/* Scratch is given back: what a product keeps is its result, and nothing is left running. */
static void test_scratch(bench *b, const vr_kernels *kernels) {
    use(b, kernels, 3);
    vr_tensor *x = random2(b, 40, 64, 1), w = {VR_F16, 2, {64, 64}, vr_arena_get(&b->arena, 64 * 64, 2)};
    memset(w.data, 0, 64 * 64 * 2);
    size_t mark = vr_arena_mark(&b->arena);
    vr_linear(&b->run, x, &w, NULL);
    vr_attention(&b->run, x, x, x, 4, 1);
    CHECK(vr_arena_mark(&b->arena) - mark <= 2 * (40 * 64 * 4 + 256), "%zu bytes kept", vr_arena_mark(&b->arena) - mark);
}

/* VRWKV_CPU, each value in a process of its own, because the choice is made once. */
static int choice(const char *value, const char *expected_name, const char *expected_message) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        vr_error err = {0};
        setenv("VRWKV_CPU", value, 1);
        const vr_kernels *set = vr_kernels_get(&err);
        bool again = vr_kernels_get(NULL) == set;
        _exit(!(again && (set ? expected_name && strcmp(set->name, expected_name) == 0
                              : expected_message && strstr(err.message, expected_message) && err.status == VRWKV_ERR_UNSUPPORTED)));
    }
    int status = 1;
    waitpid(child, &status, 0);
    return status == 0;
}

static void test_choice(void) {
    CHECK(choice("generic", "generic", NULL), "VRWKV_CPU=generic");
    CHECK(choice("sse9", NULL, "'sse9'"), "an unknown set is named");
    const char *best = "generic";
    for (int i = 0; vr_kernels_at(i); i++) {
        const vr_kernels *set = vr_kernels_at(i);
        if (set->supported()) best = set->name;
        CHECK(set->supported() ? choice(set->name, set->name, NULL) : choice(set->name, NULL, "cannot run"), "VRWKV_CPU=%s",
              set->name);
    }
    CHECK(choice("", best, NULL), "without a wish: %s", best);
    CHECK(!vr_kernels_find("sse9") && vr_kernels_find("generic"), "by name");
}

int main(void) {
    static void (*const tests[])(bench *, const vr_kernels *) = {
        test_linear, test_linear_bits, test_stored, test_lora, test_activate, test_elements, test_norm,
        test_attention, test_patch_embed, test_rows, test_decode, test_failures, test_scratch};
    bench b = {.rng = {20240611}};
    test_choice(); /* before there are threads */
    bench_open(&b);
    test_quant(&b);
    bench_run(&b, tests, VR_COUNT(tests));
    bench_close(&b);
    return check_result();
}
