/* The same bits, whatever the number of threads and wherever a long prompt is cut: the whole model, with the
 * stored types that have kernels of their own. The suite runs it with each kernel set. */
#include "vl/convert.h"
#include "vl/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CASES VRWKV_SOURCE_DIR "/tests/data/cases/v6/"
#define MODEL CASES "grid-none-first/model.pth"
#define CONFIG CASES "grid-none-first/case.json"
#define PICTURE CASES "grid-none-first/image.png"
#define LONG 530 /* ids: more than two chunks of the prompt */
#define VOCAB 400

static vr_error err;

#define OK(expression)                                                                                                 \
    do {                                                                                                               \
        if ((expression) != VRWKV_OK) fail_msg("%s", err.message);                                                     \
    } while (0)

static char model_path[64];
static int32_t ids[LONG + 1]; /* one of them is a picture */

static vrwkv_model *open_model(int threads) {
    vrwkv_model *model = NULL;
    OK(vrwkv_model_open(model_path, &(vrwkv_model_options){.threads = threads}, &model, &err));
    return model;
}

static vrwkv_context *new_context(vrwkv_model *model) {
    vrwkv_context *context = NULL;
    OK(vrwkv_context_new(model, &(vrwkv_context_options){.no_blank_image = 1}, &context, &err));
    return context;
}

/* Reads the ids in pieces of at most `step`, and gives the logits after the last. */
static void read_in_pieces(vrwkv_model *model, vrwkv_features *picture, size_t step, float logits[VOCAB]) {
    vrwkv_context *context = new_context(model);
    for (size_t at = 0; at <= LONG; at += step) {
        size_t n = LONG + 1 - at < step ? LONG + 1 - at : step;
        bool has_picture = false;
        for (size_t i = at; i < at + n; i++) has_picture |= ids[i] == VRWKV_IMAGE;
        OK(vrwkv_feed(context, ids + at, n, has_picture ? &picture : NULL, has_picture ? 1 : 0, &err));
    }
    memcpy(logits, vrwkv_logits(context), VOCAB * sizeof *logits);
    vrwkv_context_free(context);
}

static void threads_change_no_bit(void **state) {
    float expected[VOCAB], found[VOCAB];
    float *rows = NULL;
    size_t n = 0;
    (void)state;
    for (int threads = 1; threads <= 5; threads += threads) { /* 1, 2, 4 */
        vrwkv_model *model = open_model(threads);
        vrwkv_features *picture = NULL;
        int count, width;
        OK(vrwkv_encode_file(model, PICTURE, VRWKV_ORIGINAL, &picture, &err));
        const float *data = vrwkv_features_rows(picture, &count, &width);
        n = (size_t)count * (size_t)width * sizeof *rows;
        read_in_pieces(model, picture, LONG + 1, threads == 1 ? expected : found);
        if (threads == 1) {
            rows = malloc(n);
            assert_non_null(rows);
            memcpy(rows, data, n);
        } else {
            if (memcmp(rows, data, n) != 0) fail_msg("the picture has other bits with %d threads", threads);
            if (memcmp(expected, found, sizeof found) != 0) fail_msg("the logits have other bits with %d threads", threads);
        }
        vrwkv_features_free(picture);
        vrwkv_model_close(model);
    }
    free(rows);
}

static void cuts_change_no_bit(void **state) {
    static const size_t steps[] = {1, 7, 255, 256, 257};
    float expected[VOCAB], found[VOCAB];
    vrwkv_model *model = open_model(2);
    vrwkv_features *picture = NULL;
    (void)state;
    OK(vrwkv_encode_file(model, PICTURE, VRWKV_ORIGINAL, &picture, &err));
    read_in_pieces(model, picture, LONG + 1, expected);
    for (size_t i = 0; i < VR_COUNT(steps); i++) {
        read_in_pieces(model, picture, steps[i], found);
        if (memcmp(expected, found, sizeof found) != 0) fail_msg("other bits in pieces of %zu", steps[i]);
    }
    vrwkv_features_free(picture);
    vrwkv_model_close(model);
}

static void convert_to(vr_dtype type) {
    const char *source = MODEL;
    vr_settings *settings = NULL;
    OK(vr_settings_file(&settings, CONFIG, &err));
    vr_convert_options options = {.sources = &source, .n_sources = 1, .out = model_path, .type = type, .settings = settings};
    OK(vr_convert(&options, &err));
    vr_settings_free(settings);
}

int main(void) {
    static const vr_dtype types[] = {VR_F32, VR_F16, VR_BF16, VR_Q8_0, VR_Q4_0};
    const struct CMUnitTest tests[] = {cmocka_unit_test(threads_change_no_bit), cmocka_unit_test(cuts_change_no_bit)};
    uint32_t random = 1;
    int failed = 0;
    for (size_t i = 0; i <= LONG; i++) {
        random = random * 1664525u + 1013904223u;
        ids[i] = 1 + (int32_t)(random >> 8) % (VOCAB - 1);
    }
    ids[300] = VRWKV_IMAGE;
    snprintf(model_path, sizeof model_path, "/tmp/vrwkv_same_%d.gguf", (int)getpid());
    for (size_t i = 0; i < VR_COUNT(types); i++) {
        printf("stored as %s\n", vr_dtype_of(types[i])->name);
        convert_to(types[i]);
        failed += cmocka_run_group_tests(tests, NULL, NULL);
    }
    unlink(model_path);
    return failed;
}
