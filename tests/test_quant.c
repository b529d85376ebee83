/* Stored blocks against other programs: tests/data/quant/reference.safetensors holds blocks and what the
 * package gguf decodes them to, and what GGML's own encoders achieve (make.py there). Then what any
 * numbers must not do to an encoder, and what follows from a row of the table. */
#include "check.h"

#include "base/half.h"
#include "base/rng.h"
#include "file/weights.h"
#include "ops/cpu/kernels.h"
#include "ops/pack.h"
#include "ops/quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REFERENCE VRWKV_SOURCE_DIR "/tests/data/quant/reference.safetensors"
enum { PART = 2048 };

static const vr_dtype quantised[] = {VR_Q8_0, VR_Q4_0, VR_Q4_1, VR_Q5_0, VR_Q5_1, VR_Q4_K, VR_Q5_K, VR_Q6_K};

/* "TYPE.what" of the reference, copied out; NULL where it has none. */
static void *get(const vr_weights *file, vr_dtype type, const char *what, int64_t *count) {
    char name[64];
    snprintf(name, sizeof name, "%s%s%s", type < VR_DTYPE_COUNT ? vr_dtype_of(type)->name : "",
             type < VR_DTYPE_COUNT ? "." : "", what);
    const vr_entry *entry = vr_weights_find(file, name);
    void *data = entry ? malloc((size_t)entry->bytes) : NULL;
    if (data && vr_weights_read(file, entry, data, NULL) != VRWKV_OK) CHECK(false, "'%s' cannot be read", name);
    if (data) vr_shape_count(entry->ndim, entry->shape, count);
    return data;
}

static int64_t different(const float *x, const float *y, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (vr_f32_bits(x[i]) != vr_f32_bits(y[i])) return i;
    return -1;
}

/* Every decoder, of every kernel set too, gives the bits that gguf gives. */
static void test_decoders(const vr_weights *file) {
    for (size_t t = 0; t < VR_COUNT(quantised); t++) {
        const char *name = vr_dtype_of(quantised[t])->name;
        int64_t n = 0, bytes = 0;
        unsigned char *blocks = get(file, quantised[t], "blocks", &bytes);
        float *numbers = get(file, quantised[t], "numbers", &n), *out = malloc((size_t)n * sizeof *out + 1);
        CHECK(blocks && numbers && bytes == n / vr_dtype_of(quantised[t])->block * vr_dtype_of(quantised[t])->bytes, "%s",
              name);
        vr_quant_of(quantised[t])->decode(out, blocks, n);
        int64_t at = different(out, numbers, n);
        CHECK(at < 0, "%s: element %lld is %g, expected %g", name, (long long)at, out[at], numbers[at]);
        for (int k = 0; vr_kernels_at(k); k++) {
            const vr_kernels *set = vr_kernels_at(k);
            if (!set->supported() || !set->decode[quantised[t]]) continue;
            set->decode[quantised[t]](out, blocks, n);
            at = different(out, numbers, n);
            CHECK(at < 0, "%s %s: element %lld is %g, expected %g", set->name, name, (long long)at, out[at], numbers[at]);
        }
        free(blocks);
        free(numbers);
        free(out);
    }
}

static double error_of(const float *x, const float *y) {
    double sum = 0;
    for (int i = 0; i < PART; i++) sum += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    return sqrt(sum / PART);
}

/* Bounds of a round trip: no part may have more error than half a percent above what GGML's encoder
 * leaves, and no element may be off by more than `worst` of its part's largest magnitude. */
static void test_encoders(const vr_weights *file) {
    static const struct {
        vr_dtype type;
        double worst;
    } bounds[] = {{VR_Q8_0, 0.0042}, {VR_Q4_0, 0.13}, {VR_Q4_K, 0.12}, {VR_Q5_K, 0.06}, {VR_Q6_K, 0.04}};
    int64_t n, parts, ignored;
    float *x = get(file, VR_DTYPE_COUNT, "x", &n), *y = malloc((size_t)n * sizeof *y);
    char *blocks = malloc((size_t)n * 2), *again = malloc((size_t)n * 2);
    for (size_t t = 0; t < VR_COUNT(bounds); t++) {
        const vr_dtype_info *info = vr_dtype_of(bounds[t].type);
        const vr_quant *quant = vr_quant_of(bounds[t].type);
        size_t bytes = (size_t)(n / info->block * info->bytes);
        float *errors = get(file, bounds[t].type, "error", &parts);
        char *coded = get(file, bounds[t].type, "coded", &ignored);
        quant->encode(blocks, x, n);
        quant->encode(again, x, n);
        CHECK(memcmp(blocks, again, bytes) == 0, "%s: the same numbers gave other bytes", info->name);
        CHECK(!coded || memcmp(blocks, coded, bytes) == 0, "%s: other blocks than those of gguf", info->name);
        quant->decode(y, blocks, n);
        for (int64_t p = 0; p < parts; p++) {
            double error = error_of(x + p * PART, y + p * PART), largest = 0, worst = 0;
            for (int64_t i = p * PART; i < (p + 1) * PART; i++) {
                largest = fmax(largest, fabs((double)x[i]));
                worst = fmax(worst, fabs((double)x[i] - (double)y[i]));
            }
            CHECK(error <= 1.005 * (double)errors[p], "%s part %lld: error %g, GGML's is %g", info->name, (long long)p,
                  error, (double)errors[p]);
            CHECK(worst <= bounds[t].worst * largest, "%s part %lld: off by %g of %g", info->name, (long long)p, worst,
                  largest);
        }
        free(errors);
        free(coded);
    }
    free(x);
    free(y);
    free(blocks);
    free(again);
}

/* What is alike in all elements comes back nearly alike; zeros come back as zeros. */
static void test_constants(void) {
    static const float values[] = {0, 1, -1, 3e-5f, -3e-5f, 1000, -1000};
    float x[256], y[256];
    unsigned char block[1024];
    for (size_t t = 0; t < VR_COUNT(quantised); t++)
        for (size_t v = 0; v < VR_COUNT(values); v++) {
            const vr_quant *quant = vr_quant_of(quantised[t]);
            if (!quant->encode) continue;
            for (int i = 0; i < 256; i++) x[i] = values[v];
            quant->encode(block, x, 256);
            quant->decode(y, block, 256);
            for (int i = 0; i < 256; i++)
                CHECK(fabsf(y[i] - x[i]) <= 0.02f * fabsf(x[i]) + 3e-7f, "%s: %g became %g", vr_dtype_of(quantised[t])->name,
                      (double)x[i], (double)y[i]);
        }
}

/* NaN, infinities, the largest and the smallest numbers: defined bytes and no trap; finite numbers within
 * the types' range stay finite. */
static void test_hostile_numbers(void) {
    static const float bad[] = {NAN, INFINITY, -INFINITY, 3.4e38f, -3.4e38f, 1e-45f, -1e-39f, 60000, 0};
    vr_rng rng = {11};
    float x[512], y[512];
    unsigned char block[2048];
    for (size_t t = 0; t < VR_COUNT(quantised); t++)
        for (size_t b = 0; b <= VR_COUNT(bad); b++)
            for (int every = 1; every <= 128; every *= 4) {
                const vr_quant *quant = vr_quant_of(quantised[t]);
                if (!quant->encode) continue;
                for (int i = 0; i < 512; i++) x[i] = (float)vr_rng_uniform(&rng) - 0.5f;
                for (int i = 0; i < 512; i += every)
                    x[i] = b < VR_COUNT(bad) ? bad[b] : bad[vr_rng_next(&rng) % VR_COUNT(bad)];
                quant->encode(block, x, 512);
                quant->decode(y, block, 512);
                for (int i = 0; b >= 5 && b < VR_COUNT(bad) && i < 512; i++)
                    CHECK(isfinite(y[i]), "%s: %g became %g", vr_dtype_of(quantised[t])->name, (double)x[i], (double)y[i]);
            }
}

/* 2^k times what is stored, to the bit, for every type that holds weights. */
static void test_scale(const vr_weights *file) {
    static const int exponents[] = {1, 3, -2};
    for (size_t t = 0; t < VR_COUNT(quantised); t++)
        for (size_t e = 0; e < VR_COUNT(exponents); e++) {
            int64_t n = 0, bytes = 0, wrong = 0;
            unsigned char *blocks = get(file, quantised[t], "blocks", &bytes);
            float *numbers = get(file, quantised[t], "numbers", &n), *out = malloc((size_t)n * sizeof *out + 1);
            CHECK(vr_quant_scale(quantised[t], blocks, n, exponents[e]), "%s", vr_dtype_of(quantised[t])->name);
            vr_quant_of(quantised[t])->decode(out, blocks, n);
            for (int64_t i = 0; i < n; i++) wrong += out[i] != ldexpf(numbers[i], exponents[e]);
            CHECK(wrong == 0, "%s: %lld of %lld numbers are not 2^%d of what they were", vr_dtype_of(quantised[t])->name,
                  (long long)wrong, (long long)n, exponents[e]);
            free(blocks);
            free(numbers);
            free(out);
        }
    float plain[300];
    for (int i = 0; i < 300; i++) plain[i] = (float)i - 150;
    CHECK(vr_quant_scale(VR_F32, plain, 300, 4) && plain[299] == 16 * 149 && plain[0] == 16 * -150, "f32: %g",
          (double)plain[299]);
    CHECK(!vr_quant_scale(VR_I32, plain, 1, 1), "whole numbers cannot be scaled");
}

/* The list for people is the table's. */
static void test_writable(void) {
    char list[256];
    snprintf(list, sizeof list, ", %s,", vr_quant_writable());
    for (int i = 0; i < VR_DTYPE_COUNT; i++) {
        if (vr_is_packed((vr_dtype)i)) continue; /* no file has it */
        const vr_quant *quant = vr_quant_of((vr_dtype)i);
        char name[32];
        snprintf(name, sizeof name, " %s,", vr_dtype_of((vr_dtype)i)->name);
        CHECK(quant && (quant->encode != NULL) == (strstr(list, name) != NULL), "%s", vr_dtype_of((vr_dtype)i)->name);
        CHECK(vr_quant_of(vr_quant_fit((vr_dtype)i, 7))->type ==
                  (vr_dtype_of((vr_dtype)i)->block == 1 ? (vr_dtype)i : VR_F16),
              "%s", name);
    }
}

int main(void) {
    vr_weights *file = NULL;
    vr_error err = {0};
    if (vr_weights_open(&file, REFERENCE, NULL, &err) != VRWKV_OK) {
        printf("%s\n", err.message);
        return 1;
    }
    test_decoders(file);
    test_encoders(file);
    test_constants();
    test_hostile_numbers();
    test_scale(file);
    test_writable();
    vr_weights_close(file);
    return check_result();
}
