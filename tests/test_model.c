/* The assembled model on the small reference checkpoints: one way of reading equals another, snapshots
 * continue, many contexts run at once, conversions keep what they should, bad files are refused. */
#include "vl/convert.h"
#include "vl/internal.h"

#include <math.h>
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

static const int32_t before[] = {160, 26, 384, 5, 362, 50, 374}, after[] = {21, 38, 304, 184, 285, 254, 21, 137};

static vrwkv_model *open_model(const char *path, const char *settings_path, int threads) {
    vr_settings *settings = NULL;
    vrwkv_model_options options = {.threads = threads};
    vrwkv_model *model = NULL;
    vr_error err = {0};
    if (settings_path) assert_int_equal(vr_settings_file(&settings, settings_path, &err), VRWKV_OK);
    if (vr_model_open(path, &options, settings, &model, &err) != VRWKV_OK) fail_msg("%s", err.message);
    vr_settings_free(settings);
    return model;
}

static vrwkv_context *new_context(vrwkv_model *model) {
    vrwkv_context *context = NULL;
    vrwkv_context_options options = {.manner = VRWKV_ORIGINAL, .sampling = {.top_p = 1, .typical = 1, .repeat_penalty = 1, .penalty_decay = 1}};
    vr_error err = {0};
    if (vrwkv_context_new(model, &options, &context, &err) != VRWKV_OK) fail_msg("%s", err.message);
    return context;
}

static vr_error err; /* of the call under test */

#define OK(expression)                                                                                                 \
    do {                                                                                                               \
        if ((expression) != VRWKV_OK) fail_msg("%s", err.message);                                                     \
    } while (0)

/* before, picture, after in one list */
static size_t prompt(int32_t *ids) {
    memcpy(ids, before, sizeof before);
    ids[VR_COUNT(before)] = VRWKV_IMAGE;
    memcpy(ids + VR_COUNT(before) + 1, after, sizeof after);
    return VR_COUNT(before) + 1 + VR_COUNT(after);
}

static void same_bits(const vrwkv_context *a, const vrwkv_context *b) {
    size_t n = (size_t)vrwkv_model_info(vrwkv_context_model(a))->n_vocab;
    assert_non_null(vrwkv_logits(a));
    assert_memory_equal(vrwkv_logits(a), vrwkv_logits(b), n * sizeof(float));
}

static void every_way_of_reading_is_the_same(void **unused) {
    (void)unused;
    int32_t ids[32];
    size_t n = prompt(ids);
    vrwkv_model *model = open_model(MODEL, CONFIG, 2);
    vrwkv_features *picture = NULL;
    OK(vrwkv_encode_file(model, PICTURE, VRWKV_ORIGINAL, &picture, &err));
    vrwkv_context *whole = new_context(model), *parts = new_context(model);
    OK(vrwkv_feed(whole, ids, n, &picture, 1, &err));
    for (size_t i = 0; i < VR_COUNT(before); i++) OK(vrwkv_decode(&parts, 1, &before[i], &err));
    OK(vrwkv_feed_features(parts, picture, &err));
    for (size_t i = 0; i < VR_COUNT(after); i++) OK(vrwkv_feed(parts, &after[i], 1, NULL, 0, &err));
    same_bits(whole, parts);
    assert_int_equal(vrwkv_context_length(whole), n - 1 + 17);

    char path[] = "/tmp/vrwkv_state_XXXXXX";
    close(mkstemp(path));
    vrwkv_context *loaded = new_context(model);
    OK(vrwkv_state_save(whole, path, 0, &err));
    OK(vrwkv_state_load(loaded, path, &err));
    same_bits(whole, loaded);
    for (int step = 0; step < 5; step++) {
        int32_t id = 30 + step;
        OK(vrwkv_decode(&whole, 1, &id, &err));
        OK(vrwkv_decode(&loaded, 1, &id, &err));
    }
    same_bits(whole, loaded);

    /* half width: close, not equal, and about half the size */
    OK(vrwkv_state_save(whole, path, 1, &err));
    OK(vrwkv_state_load(loaded, path, &err));
    for (int64_t i = 0; i < model->state_floats; i++)
        assert_true(fabsf(whole->state[i] - loaded->state[i]) <= 1e-3f * fabsf(whole->state[i]) + 1e-7f);
    unlink(path);

    OK(vrwkv_features_save(picture, path, &err));
    vrwkv_features *again = NULL;
    OK(vrwkv_features_load(model, path, &again, &err));
    int rows, width;
    const float *data = vrwkv_features_rows(again, &rows, &width);
    assert_memory_equal(data, vrwkv_features_rows(picture, NULL, NULL), (size_t)rows * (size_t)width * sizeof(float));
    unlink(path);
    vrwkv_features_free(again);
    vrwkv_features_free(picture);
    vrwkv_context_free(whole);
    vrwkv_context_free(parts);
    vrwkv_context_free(loaded);
    vrwkv_model_close(model);
}

static void batches_and_threads_change_no_bit(void **unused) {
    (void)unused;
    enum { N = 5 };
    for (int threads = 1; threads <= 3; threads++) {
        vrwkv_model *model = open_model(MODEL, CONFIG, threads);
        vrwkv_context *together[N], *alone[N];
        int32_t tokens[N];
        for (int i = 0; i < N; i++) {
            together[i] = new_context(model);
            alone[i] = new_context(model);
            for (int k = 0; k <= i; k++) { /* different histories */
                OK(vrwkv_decode(&together[i], 1, &before[k], &err));
                OK(vrwkv_decode(&alone[i], 1, &before[k], &err));
            }
            tokens[i] = after[i];
        }
        OK(vrwkv_decode(together, N, tokens, &err));
        for (int i = 0; i < N; i++) {
            OK(vrwkv_decode(&alone[i], 1, &tokens[i], &err));
            same_bits(together[i], alone[i]);
            vrwkv_context_free(together[i]);
            vrwkv_context_free(alone[i]);
        }
        vrwkv_model_close(model);
    }
}

static void scores_are_the_decoded_probabilities(void **unused) {
    (void)unused;
    vrwkv_model *model = open_model(MODEL, CONFIG, 2);
    vrwkv_context *context = new_context(model);
    float scores[VR_COUNT(after)];
    OK(vrwkv_feed(context, before, VR_COUNT(before), NULL, 0, &err));
    vrwkv_context *fork = NULL;
    OK(vrwkv_fork(context, &fork, &err));
    OK(vrwkv_score(context, after, VR_COUNT(after), scores, &err));
    same_bits(context, fork); /* left as it was */
    for (size_t i = 0; i < VR_COUNT(after); i++) {
        const float *logits = vrwkv_logits(fork);
        double sum = 0;
        for (int v = 0; v < 400; v++) sum += exp((double)logits[v] - (double)logits[after[i]]);
        assert_true(fabs(-log(sum) - (double)scores[i]) < 1e-5);
        OK(vrwkv_decode(&fork, 1, &after[i], &err));
    }
    vrwkv_context_free(fork);
    vrwkv_context_free(context);
    vrwkv_model_close(model);
}

/* ---- many threads on one model ---- */

typedef struct worker {
    vrwkv_model *model;
    float *expected;
    bool equal;
} worker;

static void *work(void *argument) {
    worker *w = argument;
    vr_error mine = {0};
    int32_t ids[32];
    size_t n = prompt(ids);
    vrwkv_features *picture = NULL;
    vrwkv_context *context = NULL;
    vrwkv_context_options options = {.manner = VRWKV_ORIGINAL};
    w->equal = vrwkv_encode_file(w->model, PICTURE, VRWKV_ORIGINAL, &picture, &mine) == VRWKV_OK &&
               vrwkv_context_new(w->model, &options, &context, &mine) == VRWKV_OK &&
               vrwkv_feed(context, ids, n, &picture, 1, &mine) == VRWKV_OK &&
               memcmp(vrwkv_logits(context), w->expected, 400 * sizeof(float)) == 0;
    vrwkv_context_free(context);
    vrwkv_features_free(picture);
    return NULL;
}

static void many_threads_share_one_model(void **unused) {
    (void)unused;
    enum { N = 6 };
    vrwkv_model *model = open_model(MODEL, CONFIG, 2);
    vrwkv_context *context = new_context(model);
    vrwkv_features *picture = NULL;
    int32_t ids[32];
    size_t n = prompt(ids);
    OK(vrwkv_encode_file(model, PICTURE, VRWKV_ORIGINAL, &picture, &err));
    OK(vrwkv_feed(context, ids, n, &picture, 1, &err));
    pthread_t threads[N];
    worker workers[N];
    for (int i = 0; i < N; i++) {
        workers[i] = (worker){model, context->logits, false};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        assert_true(workers[i].equal);
    }
    vrwkv_features_free(picture);
    vrwkv_context_free(context);
    vrwkv_model_close(model);
}

/* ---- sampling and generation ---- */

static void sampling_is_reproducible_and_obeys_its_limits(void **unused) {
    (void)unused;
    vrwkv_model *model = open_model(MODEL, CONFIG, 1);
    vrwkv_context *context = new_context(model);
    OK(vrwkv_feed(context, before, VR_COUNT(before), NULL, 0, &err));
    int best = 0;
    for (int i = 1; i < 400; i++)
        if (context->logits[i] > context->logits[best]) best = i;
    int32_t first[20], id;
    vrwkv_sampling free_choice = {.temperature = 1.5f, .top_p = 1, .typical = 1, .repeat_penalty = 1, .penalty_decay = 1, .seed = 7};
    int differ = 0;
    for (int round = 0; round < 2; round++) {
        OK(vrwkv_set_sampling(context, &free_choice, &err));
        for (int i = 0; i < 20; i++) {
            OK(vrwkv_sample(context, &id, &err));
            if (round) assert_int_equal(id, first[i]);
            first[i] = id;
            differ += id != best;
        }
    }
    assert_true(differ > 4); /* it does not just take the best */
    const vrwkv_sampling narrow[] = {
        {.temperature = 0, .top_p = 1, .typical = 1, .repeat_penalty = 1, .penalty_decay = 1},
        {.temperature = 2, .top_k = 1, .top_p = 1, .typical = 1, .repeat_penalty = 1, .penalty_decay = 1},
        {.temperature = 2, .top_p = 0, .typical = 1, .repeat_penalty = 1, .penalty_decay = 1},
        {.temperature = 2, .top_p = 1, .min_p = 1, .typical = 1, .repeat_penalty = 1, .penalty_decay = 1},
    };
    for (size_t i = 0; i < VR_COUNT(narrow); i++) {
        vrwkv_context_reset(context);
        OK(vrwkv_feed(context, before, VR_COUNT(before), NULL, 0, &err));
        OK(vrwkv_set_sampling(context, &narrow[i], &err));
        OK(vrwkv_sample(context, &id, &err));
        assert_int_equal(id, best);
    }
    vrwkv_sampling penalty = narrow[0];
    penalty.presence_penalty = 100;
    OK(vrwkv_set_sampling(context, &penalty, &err));
    OK(vrwkv_sample(context, &id, &err)); /* best was drawn above and is now out */
    assert_int_not_equal(id, best);
    penalty.temperature = NAN;
    assert_int_equal(vrwkv_set_sampling(context, &penalty, &err), VRWKV_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "temperature"));
    vrwkv_context_free(context);
    vrwkv_model_close(model);
}

static void conversions_keep_the_answers(void **unused) {
    (void)unused;
    static const struct { const char *name, *ending; vr_dtype type; bool keep; double exact, bound; } targets[] = {
        {"same", ".gguf", VR_F32, true, 0, 0},        {"f32", ".gguf", VR_F32, false, 1e-6, 1e-6},
        {"f16", ".gguf", VR_F16, false, 5e-3, 5e-3},  {"q8_0", ".gguf", VR_Q8_0, false, 0.3, 0.6},
        {"same", ".pth", VR_F32, true, 0, 0},         {"same", ".safetensors", VR_F32, true, 0, 0},
    };
    vr_settings *settings = NULL;
    const char *source = MODEL;
    OK(vr_settings_file(&settings, CONFIG, &err));
    vrwkv_model *model = open_model(MODEL, CONFIG, 2);
    vrwkv_context *context = new_context(model);
    OK(vrwkv_feed(context, before, VR_COUNT(before), NULL, 0, &err));
    for (size_t t = 0; t < VR_COUNT(targets); t++) {
        char path[128];
        snprintf(path, sizeof path, "/tmp/vrwkv_convert_%d_%s%s", (int)getpid(), targets[t].name, targets[t].ending);
        vr_convert_options options = {.sources = &source, .n_sources = 1, .out = path, .type = targets[t].type,
                                      .keep_type = targets[t].keep, .settings = settings};
        if (vr_convert(&options, &err) != VRWKV_OK) fail_msg("%s: %s", path, err.message);
        for (int exact = 0; exact < 2; exact++) {
            setenv("VRWKV_EXACT", exact ? "1" : "0", 1);
            vrwkv_model *other = open_model(path, strstr(path, ".pth") ? CONFIG : NULL, 2);
            vrwkv_context *again = new_context(other);
            OK(vrwkv_feed(again, before, VR_COUNT(before), NULL, 0, &err));
            double worst = 0, bound = exact ? targets[t].exact : targets[t].bound;
            for (int i = 0; i < 400; i++) worst = fmax(worst, fabs((double)again->logits[i] - (double)context->logits[i]));
            if (!(worst <= bound)) fail_msg("%s: logits differ by %g, at most %g expected", path, worst, bound);
            vrwkv_context_free(again);
            vrwkv_model_close(other);
        }
        unlink(path);
    }
    vr_settings_free(settings);
    vrwkv_context_free(context);
    vrwkv_model_close(model);
}

static void pixels_have_the_descriptions_mean_and_deviation(void **unused) {
    (void)unused;
    static const char json[] = "{\"vit_heads\":\"4\",\"towers\":[{\"type\":\"clip\",\"image_mean\":[0,0.5,0.25],\"image_std\":[1,0.5,2]}]}";
    uint8_t rgb[8 * 8 * 3];
    vr_settings *settings = NULL;
    vrwkv_model *model = NULL;
    vr_picture picture;
    for (size_t i = 0; i < sizeof rgb; i++) rgb[i] = (uint8_t[]){51, 102, 153}[i % 3]; /* 0.2, 0.4, 0.6 */
    OK(vr_settings_parse(&settings, json, sizeof json - 1, &err));
    OK(vr_model_open(MODEL, NULL, settings, &model, &err));
    OK(vr_model_picture(model, &(vr_image){8, 8, rgb}, &picture, &err));
    int side = vr_model_config(model)->towers[0].image_size;
    const float *last = picture.pixels[0] + side * side - 1;
    assert_float_equal(last[0], 0.2, 1e-6);
    assert_float_equal(last[side * side], (0.4 - 0.5) / 0.5, 1e-6);
    assert_float_equal(last[2 * side * side], (0.6 - 0.25) / 2, 1e-6);
    vr_picture_free(&picture);
    vr_settings_free(settings);
    vrwkv_model_close(model);
}

static void wrong_input_is_refused_by_name(void **unused) {
    (void)unused;
    vrwkv_model *model = NULL;
    vr_settings *settings = NULL;
    assert_int_equal(vrwkv_model_open("/nonexistent.gguf", NULL, &model, &err), VRWKV_ERR_IO);
    assert_non_null(strstr(err.message, "nonexistent"));
    assert_int_not_equal(vrwkv_model_open(PICTURE, NULL, &model, &err), VRWKV_OK);
    assert_null(model);
    assert_int_not_equal(vrwkv_model_open(MODEL, NULL, &model, &err), VRWKV_OK); /* heads are not known */
    assert_non_null(strstr(err.message, "vit-heads"));
    OK(vr_settings_file(&settings, CONFIG, &err));
    OK(vr_settings_put(&settings, "n_layer", "5", &err));
    assert_int_equal(vr_model_open(MODEL, NULL, settings, &model, &err), VRWKV_ERR_SHAPE);
    assert_non_null(strstr(err.message, "n_layer"));
    vr_settings_free(settings);

    model = open_model(MODEL, CONFIG, 1);
    vrwkv_context *context = new_context(model);
    int32_t wrong[] = {5, 400}, two[] = {VRWKV_IMAGE, VRWKV_IMAGE};
    assert_int_equal(vrwkv_feed(context, wrong, 2, NULL, 0, &err), VRWKV_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "400"));
    assert_int_not_equal(vrwkv_feed(context, two, 2, NULL, 0, &err), VRWKV_OK);
    assert_int_equal(vrwkv_context_length(context), 0);
    assert_int_not_equal(vrwkv_sample(context, wrong, &err), VRWKV_OK); /* nothing read yet */
    assert_int_not_equal(vrwkv_state_load(context, PICTURE, &err), VRWKV_OK);
    assert_int_not_equal(vrwkv_state_load(context, CASES "grid-none-first/expect.safetensors", &err), VRWKV_OK);
    assert_int_not_equal(vrwkv_state_save(context, "/nonexistent/state", 0, &err), VRWKV_OK);
    vrwkv_context_free(context);
    vrwkv_model_close(model);
}

static void the_blank_image_is_computed_once_and_exact(void **unused) {
    (void)unused;
    vrwkv_model *model = open_model(MODEL, CONFIG, 2);
    vrwkv_context *first = new_context(model), *second = new_context(model);
    OK(vrwkv_feed(first, before, VR_COUNT(before), NULL, 0, &err));
    OK(vrwkv_feed(second, before, VR_COUNT(before), NULL, 0, &err)); /* from the model's copy */
    same_bits(first, second);
    assert_int_equal(vrwkv_context_length(second), VR_COUNT(before) + 17);
    /* a loaded state continues: no blank image, even where nothing was read yet; a reset forgets that */
    char path[] = "/tmp/vrwkv_state_XXXXXX";
    close(mkstemp(path));
    vrwkv_context_reset(second);
    OK(vrwkv_state_save(second, path, 0, &err));
    OK(vrwkv_state_load(second, path, &err));
    unlink(path);
    OK(vrwkv_feed(second, before, VR_COUNT(before), NULL, 0, &err));
    assert_int_equal(vrwkv_context_length(second), VR_COUNT(before));
    vrwkv_context_reset(second);
    OK(vrwkv_feed(second, before, VR_COUNT(before), NULL, 0, &err));
    same_bits(first, second);
    vrwkv_context_free(first);
    vrwkv_context_free(second);
    vrwkv_model_close(model);
}

/* ---- no allocation per token ---- */

static _Atomic long allocations;
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n) { allocations++; return __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t size) { allocations++; return __real_calloc(n, size); }
void *__wrap_realloc(void *p, size_t n) { allocations++; return __real_realloc(p, n); }

static void a_token_allocates_nothing(void **unused) {
    (void)unused;
    vrwkv_model *model = open_model(MODEL, CONFIG, 2);
    vrwkv_context *context = new_context(model);
    OK(vrwkv_decode(&context, 1, &before[0], &err)); /* the first call makes the workspace */
    long start = allocations;
    for (int i = 0; i < 50; i++) {
        int32_t id;
        OK(vrwkv_sample(context, &id, &err));
        OK(vrwkv_decode(&context, 1, &id, &err));
    }
    assert_int_equal(allocations - start, 0);
    vrwkv_context_free(context);
    vrwkv_model_close(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_of_reading_is_the_same),
        cmocka_unit_test(batches_and_threads_change_no_bit),
        cmocka_unit_test(pixels_have_the_descriptions_mean_and_deviation),
        cmocka_unit_test(scores_are_the_decoded_probabilities),
        cmocka_unit_test(many_threads_share_one_model),
        cmocka_unit_test(sampling_is_reproducible_and_obeys_its_limits),
        cmocka_unit_test(conversions_keep_the_answers),
        cmocka_unit_test(wrong_input_is_refused_by_name),
        cmocka_unit_test(the_blank_image_is_computed_once_and_exact),
        cmocka_unit_test(a_token_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
