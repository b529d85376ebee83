/* The public interface beyond the straight path: pictures from memory, tracing, cancelling, limits, wrong
 * arguments; and model files whose description and tensors do not agree, each refused by name. */
#include "vl/convert.h"
#include "vl/internal.h"
#include "vl/shapes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define CASES VRWKV_SOURCE_DIR "/tests/data/cases/v6/"
#define MODEL CASES "grid-none-first/model.pth"
#define CONFIG CASES "grid-none-first/case.json"
#define PICTURE CASES "grid-none-first/image.png"

static char folder[] = "/tmp/vrwkv_api_XXXXXX";
static char model_path[64], edited_path[64], file_path[64];
static vrwkv_model *model;
static vrwkv_error err;

#define OK(expression)                                                                                                 \
    do {                                                                                                               \
        if ((expression) != VRWKV_OK) fail_msg("%s", err.message);                                                     \
    } while (0)

/* The call fails with this status, and its message has these words. */
#define REFUSED(expression, expected, words)                                                                           \
    do {                                                                                                               \
        err = (vrwkv_error){0};                                                                                        \
        vrwkv_status found_ = (expression);                                                                            \
        if (found_ != (expected) || err.status != (expected) || !strstr(err.message, (words)))                         \
            fail_msg("status %d, message \"%s\"; expected %d and \"%s\"", (int)found_, err.message, (int)(expected), (words)); \
    } while (0)

static vrwkv_context *new_context(void) {
    vrwkv_context *context = NULL;
    OK(vrwkv_context_new(model, NULL, &context, &err));
    return context;
}

/* ---- what is in the header ---- */

static void versions_and_names(void **state) {
    char version[32];
    (void)state;
    snprintf(version, sizeof version, "%d.%d.%d", VRWKV_VERSION_MAJOR, VRWKV_VERSION_MINOR, VRWKV_VERSION_PATCH);
    assert_string_equal(vrwkv_version(), version);
    for (int i = VRWKV_OK; i <= VRWKV_ERR_CANCELLED; i++) assert_string_not_equal(vrwkv_status_name((vrwkv_status)i), "unknown status");
    assert_string_equal(vrwkv_status_name((vrwkv_status)99), "unknown status");
    assert_non_null(vrwkv_cpu(&err));
    const vrwkv_info *info = vrwkv_model_info(model);
    assert_string_equal(info->version, "v6.0");
    assert_string_equal(info->rwkv, "x060");
    assert_int_equal(info->image_tokens, 17);
    assert_int_equal(info->n_vocab, 400);
    assert_int_equal(strlen(info->fingerprint), 64);
    assert_non_null(strstr(info->config_json, "\"n_layer\":4"));
}

static void pictures_from_anywhere_are_the_same(void **state) {
    enum { WIDTH = 5, HEIGHT = 4 };
    static const char header[] = "P6 5 4 255\n";
    char ppm[sizeof header - 1 + WIDTH * HEIGHT * 3];
    uint8_t rgb[WIDTH * HEIGHT * 3];
    vrwkv_features *a = NULL, *b = NULL, *c = NULL;
    int rows, width;
    (void)state;
    for (size_t i = 0; i < sizeof rgb; i++) rgb[i] = (uint8_t)(7 * i);
    memcpy(ppm, header, sizeof header - 1);
    memcpy(ppm + sizeof header - 1, rgb, sizeof rgb);
    FILE *file = fopen(file_path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(ppm, 1, sizeof ppm, file), sizeof ppm);
    fclose(file);
    OK(vrwkv_encode_file(model, file_path, VRWKV_FRIENDLY, &a, &err));
    OK(vrwkv_encode_memory(model, ppm, sizeof ppm, VRWKV_FRIENDLY, &b, &err));
    OK(vrwkv_encode_rgb(model, rgb, WIDTH, HEIGHT, &c, &err));
    const float *data = vrwkv_features_rows(a, &rows, &width);
    assert_int_equal(rows, 17);
    assert_int_equal(width, 128);
    size_t n = (size_t)rows * (size_t)width * sizeof *data;
    assert_memory_equal(data, vrwkv_features_rows(b, NULL, NULL), n);
    assert_memory_equal(data, vrwkv_features_rows(c, NULL, NULL), n);
    vrwkv_features_free(a);
    vrwkv_features_free(b);
    vrwkv_features_free(vrwkv_features_share(c)); /* one of two owners */
    assert_memory_equal(vrwkv_features_rows(c, NULL, NULL), vrwkv_features_rows(c, NULL, NULL), n);
    vrwkv_features_free(c);
    REFUSED(vrwkv_encode_rgb(model, rgb, 0, 4, &a, &err), VRWKV_ERR_ARGUMENT, "0 x 4");
    REFUSED(vrwkv_encode_memory(model, "nonsense", 8, VRWKV_FRIENDLY, &a, &err), VRWKV_ERR_UNSUPPORTED, "not a picture");
    REFUSED(vrwkv_encode_memory(model, NULL, 8, VRWKV_FRIENDLY, &a, &err), VRWKV_ERR_ARGUMENT, "vrwkv_encode_memory");
    REFUSED(vrwkv_encode_file(model, "/nonexistent.png", VRWKV_FRIENDLY, &a, &err), VRWKV_ERR_IO, "/nonexistent.png");
    assert_null(a);
}

static void limits_are_the_callers(void **state) {
    vrwkv_model *small = NULL;
    vrwkv_features *features = NULL;
    vrwkv_context *context = NULL;
    int32_t id = 5;
    (void)state;
    OK(vrwkv_model_open(model_path, &(vrwkv_model_options){.threads = 1, .max_pixels = 100}, &small, &err));
    REFUSED(vrwkv_encode_file(small, PICTURE, VRWKV_FRIENDLY, &features, &err), VRWKV_ERR_MEMORY, "over the limit of 100 pixels");
    vrwkv_model_close(small);
    OK(vrwkv_model_open(model_path, &(vrwkv_model_options){.threads = 1, .max_workspace_bytes = 4096}, &small, &err));
    OK(vrwkv_context_new(small, NULL, &context, &err));
    REFUSED(vrwkv_feed(context, &id, 1, NULL, 0, &err), VRWKV_ERR_MEMORY, "");
    assert_int_equal(vrwkv_context_length(context), 0);
    vrwkv_context_free(context);
    vrwkv_model_close(small);
}

/* ---- callbacks ---- */

typedef struct watcher {
    vrwkv_context *cancels; /* on the first activation */
    char names[512];
    size_t rows_of_logits;
    int calls;
} watcher;

static void watch(void *user, const char *name, int ndim, const int64_t *shape, const float *data) {
    watcher *w = user;
    size_t n = strlen(w->names);
    assert_non_null(data);
    assert_true(ndim >= 1 && shape[0] > 0);
    snprintf(w->names + n, sizeof w->names - n, "%s ", name);
    if (strcmp(name, "logits") == 0) w->rows_of_logits += (size_t)shape[0];
    if (w->cancels) vrwkv_cancel(w->cancels);
    w->calls++;
}

static void traces_come_with_each_chunk(void **state) {
    static const int32_t ids[] = {5, 6, 7};
    watcher w = {0};
    vrwkv_context *context = new_context(), *silent = new_context();
    (void)state;
    vrwkv_set_trace(context, watch, &w);
    OK(vrwkv_feed(context, ids, 3, NULL, 0, &err));
    assert_non_null(strstr(w.names, "x.in x.0 x.1 x.2 x.3 logits"));
    assert_int_equal(w.rows_of_logits, 17 + 3); /* the blank picture and the ids */
    vrwkv_set_trace(context, NULL, NULL);
    OK(vrwkv_feed(silent, ids, 3, NULL, 0, &err));
    assert_memory_equal(vrwkv_logits(context), vrwkv_logits(silent), 400 * sizeof(float));
    vrwkv_context_free(context);
    vrwkv_context_free(silent);
}

static void a_cancelled_prompt_leaves_the_conversation(void **state) {
    static const int32_t first[] = {5, 6}, second[] = {7, 8, 9};
    vrwkv_context *context = new_context(), *other = new_context();
    watcher w = {.cancels = context};
    (void)state;
    OK(vrwkv_feed(context, first, 2, NULL, 0, &err));
    OK(vrwkv_feed(other, first, 2, NULL, 0, &err));
    vrwkv_set_trace(context, watch, &w);
    REFUSED(vrwkv_feed(context, second, 3, NULL, 0, &err), VRWKV_ERR_CANCELLED, "cancelled");
    assert_true(w.calls >= 1);
    assert_int_equal(vrwkv_context_length(context), vrwkv_context_length(other));
    vrwkv_set_trace(context, NULL, NULL);
    OK(vrwkv_feed(context, second, 3, NULL, 0, &err)); /* it goes on as if nothing had been */
    OK(vrwkv_feed(other, second, 3, NULL, 0, &err));
    assert_memory_equal(vrwkv_logits(context), vrwkv_logits(other), 400 * sizeof(float));
    vrwkv_context_free(context);
    vrwkv_context_free(other);
}

static int after_three(void *user, int32_t token, const char *text, size_t n) {
    (void)token, (void)text, (void)n;
    return ++*(int *)user == 3;
}

static void generation_ends_where_it_is_told(void **state) {
    static const int32_t ids[] = {5, 6, 7}, none[] = {-1};
    vrwkv_generate_options options = {.max_tokens = 9, .stop_tokens = none, .n_stop_tokens = 1};
    const char *empty[] = {""}, *many[40];
    vrwkv_result result = {0};
    int calls = 0;
    vrwkv_context *context = new_context();
    (void)state;
    OK(vrwkv_feed(context, ids, 3, NULL, 0, &err));
    OK(vrwkv_generate(context, &options, after_three, &calls, &result, &err));
    assert_int_equal(result.stop, VRWKV_STOP_CALLBACK);
    assert_int_equal(result.tokens, 3);
    assert_int_equal(vrwkv_context_length(context), 17 + 3 + 3);
    OK(vrwkv_generate(context, &options, NULL, NULL, &result, &err));
    assert_int_equal(result.stop, VRWKV_STOP_LENGTH);
    assert_int_equal(result.tokens, 9);
    options.stops = empty;
    options.n_stops = 1;
    REFUSED(vrwkv_generate(context, &options, NULL, NULL, NULL, &err), VRWKV_ERR_ARGUMENT, "stop text 1 is empty");
    for (size_t i = 0; i < VR_COUNT(many); i++) many[i] = "x";
    options.stops = many;
    options.n_stops = VR_COUNT(many);
    REFUSED(vrwkv_generate(context, &options, NULL, NULL, NULL, &err), VRWKV_ERR_ARGUMENT, "40 stop texts");
    vrwkv_context_free(context);
}

/* ---- wrong arguments ---- */

static void wrong_arguments_are_told(void **state) {
    static const int32_t picture[] = {VRWKV_IMAGE}, ids[] = {5, 6}, outside[] = {400, -1};
    vrwkv_context *context = new_context(), *foreign = NULL;
    vrwkv_model *other = NULL;
    vrwkv_features *features = NULL;
    float logprobs[2];
    char text[8];
    size_t n;
    (void)state;
    assert_null(vrwkv_logits(context));
    REFUSED(vrwkv_model_open(NULL, NULL, &other, &err), VRWKV_ERR_ARGUMENT, "path");
    REFUSED(vrwkv_feed(context, NULL, 2, NULL, 0, &err), VRWKV_ERR_ARGUMENT, "null pointer");
    REFUSED(vrwkv_feed(context, picture, 1, NULL, 0, &err), VRWKV_ERR_ARGUMENT, "0 pictures given, the prompt has places for 1");
    REFUSED(vrwkv_score(context, ids, 2, logprobs, &err), VRWKV_ERR_ARGUMENT, "conversation is empty");
    OK(vrwkv_feed(context, ids, 2, NULL, 0, &err));
    REFUSED(vrwkv_score(context, picture, 1, logprobs, &err), VRWKV_ERR_ARGUMENT, "no probability");
    vrwkv_context *twice[] = {context, context};
    REFUSED(vrwkv_decode(twice, 2, ids, &err), VRWKV_ERR_ARGUMENT, "given twice");
    REFUSED(vrwkv_decode(&context, 1, outside, &err), VRWKV_ERR_ARGUMENT, "id 400");
    REFUSED(vrwkv_decode(&context, 1, outside + 1, &err), VRWKV_ERR_ARGUMENT, "id -1");
    REFUSED(vrwkv_feed_text(context, "hi", 2, &err), VRWKV_ERR_UNSUPPORTED, "no vocabulary");
    REFUSED(vrwkv_ask(context, "hi", NULL, 0, &err), VRWKV_ERR_UNSUPPORTED, "no vocabulary");
    REFUSED(vrwkv_tokenize(model, "hi", 2, NULL, 0, &n, &err), VRWKV_ERR_UNSUPPORTED, "no vocabulary");
    REFUSED(vrwkv_detokenize(model, ids, 2, text, sizeof text, &n, &err), VRWKV_ERR_UNSUPPORTED, "no vocabulary");
    assert_int_equal(vrwkv_decode(NULL, 0, NULL, NULL), VRWKV_OK); /* nothing to do; no err to fill */
    assert_int_equal(vrwkv_feed(NULL, ids, 2, NULL, 0, NULL), VRWKV_ERR_ARGUMENT);

    OK(vr_convert(&(vr_convert_options){.sources = (const char *const[]){model_path}, .n_sources = 1, .out = edited_path, .type = VR_F16}, &err));
    OK(vrwkv_model_open(edited_path, &(vrwkv_model_options){.threads = 1}, &other, &err));
    OK(vrwkv_context_new(other, NULL, &foreign, &err));
    REFUSED(vrwkv_copy(context, foreign, &err), VRWKV_ERR_ARGUMENT, "different models");
    vrwkv_context *both[] = {context, foreign};
    REFUSED(vrwkv_decode(both, 2, ids, &err), VRWKV_ERR_ARGUMENT, "another model");
    OK(vrwkv_state_save(context, file_path, 0, &err));
    REFUSED(vrwkv_state_load(foreign, file_path, &err), VRWKV_ERR_ARGUMENT, "another model");
    OK(vrwkv_encode_pixels(model, NULL, 1, &features, &err));
    OK(vrwkv_features_save(features, file_path, &err));
    vrwkv_features_free(features);
    REFUSED(vrwkv_features_load(other, file_path, &features, &err), VRWKV_ERR_ARGUMENT, "another model");
    REFUSED(vrwkv_features_load(model, model_path, &features, &err), VRWKV_ERR_FORMAT, "no encoded picture");
    REFUSED(vrwkv_state_load(context, file_path, &err), VRWKV_ERR_FORMAT, "neither a saved conversation");
    vrwkv_context_free(foreign);
    vrwkv_context_free(context);
    vrwkv_model_close(other);
}

/* ---- model files that do not agree with themselves ---- */

typedef struct edit {
    const char *drops;            /* a tensor that is left out */
    const char *reshapes;         /* one that gets one row more */
    const char *retypes;          /* one that is stored as... */
    vr_dtype type;
    const char *config;           /* instead of the stored description; "" leaves it out */
    vr_status status;
    const char *says;
} edit;

static vr_status write_tensors(vr_save *save, const vr_weights *from, const edit *e, bool data) {
    for (size_t i = 0; i < vr_weights_count(from); i++) {
        vr_entry entry = *vr_weights_at(from, i);
        bool reshaped = e->reshapes && strcmp(entry.name, e->reshapes) == 0;
        if (e->drops && strcmp(entry.name, e->drops) == 0) continue;
        if (e->retypes && strcmp(entry.name, e->retypes) == 0) entry.dtype = e->type;
        if (reshaped) entry.shape[0]++;
        uint64_t bytes;
        assert_true(vr_shape_bytes(entry.dtype, entry.ndim, entry.shape, &bytes));
        if (!data) {
            VR_TRY(vr_save_declare(save, entry.name, entry.dtype, entry.ndim, entry.shape, &err));
            continue;
        }
        void *zeros = calloc(1, bytes);
        assert_non_null(zeros);
        vr_status status = vr_save_put(save, zeros, bytes, &err);
        free(zeros);
        VR_TRY(status);
    }
    return VRWKV_OK;
}

static void write_edited(const edit *e) {
    vr_weights *from = NULL;
    vr_save *save = NULL;
    OK(vr_weights_open(&from, model_path, NULL, &err));
    OK(vr_save_open(&save, edited_path, &err));
    const char *config = e->config ? e->config : vr_weights_meta(from, "vrwkv.config")->string;
    if (*config) OK(vr_save_meta_string(save, "vrwkv.config", config, &err));
    OK(write_tensors(save, from, e, false));
    OK(write_tensors(save, from, e, true));
    OK(vr_save_commit(save, &err));
    vr_weights_close(from);
}

#define SIZES "\"rwkv\":\"x060\",\"n_layer\":4,\"n_embd\":128,\"dim_att\":128,\"dim_ffn\":448,\"vocab_size\":400,\"rank_mix\":32,\"rank_decay\":64"

static const edit edits[] = {
    {.drops = "blk.2.time_mix_key.weight", .status = VRWKV_ERR_SHAPE, .says = "has no tensor 'rwkv.blocks.2.att.key.weight', shape [128, 128]"},
    {.drops = "output.weight", .status = VRWKV_ERR_SHAPE, .says = "head.weight"},
    {.drops = "mm.0.weight", .status = VRWKV_ERR_SHAPE, .says = "proj.weight"},
    {.reshapes = "blk.0.time_mix_value.weight", .status = VRWKV_ERR_SHAPE, .says = "has shape [129, 128], expected [128, 128]"},
    {.reshapes = "v.blk.1.attn_q.bias", .status = VRWKV_ERR_SHAPE, .says = "[65], expected [64]"},
    {.reshapes = "token_embd.weight", .status = VRWKV_ERR_SHAPE, .says = "[401, 128], expected [400, 128]"},
    {.config = "", .status = VRWKV_ERR_UNSUPPORTED, .says = "vrwkv.config"},
    {.config = "{", .status = VRWKV_ERR_FORMAT, .says = "line 1"},
    {.config = "[1]", .status = VRWKV_ERR_FORMAT, .says = "expected an object"},
    {.config = "{}", .status = VRWKV_ERR_UNSUPPORTED, .says = "RWKV version ''"},
    {.config = "{\"rwkv\":\"x990\"}", .status = VRWKV_ERR_UNSUPPORTED, .says = "'x990'"},
    {.config = "{\"rwkv\":\"x060\"}", .status = VRWKV_ERR_FORMAT, .says = "lacks a size"},
    {.config = "{" SIZES ",\"head_size\":48}", .status = VRWKV_ERR_SHAPE, .says = "dim_att 128 is no multiple of head_size 48"},
    {.config = "{" SIZES ",\"head_size\":64,\"n_layer\":200000000}", .status = VRWKV_ERR_FORMAT, .says = "duplicate"},
    {.config = "{\"rwkv\":\"x060\",\"n_layer\":200000000,\"n_embd\":128,\"dim_att\":128,\"dim_ffn\":448,\"vocab_size\":400,\"rank_mix\":32,"
               "\"rank_decay\":64,\"head_size\":64}", .status = VRWKV_ERR_SHAPE, .says = "200000000 layers of part 'rwkv'"},
    {.config = "{" SIZES ",\"head_size\":64,\"norm_eps\":2}", .status = VRWKV_ERR_ARGUMENT, .says = "norm_eps"},
    {.config = "{" SIZES ",\"head_size\":64,\"scan\":\"circle\"}", .status = VRWKV_ERR_ARGUMENT, .says = "scan 'circle'"},
    {.config = "{" SIZES ",\"head_size\":64,\"image_position\":\"left\"}", .status = VRWKV_ERR_ARGUMENT, .says = "'left'"},
    {.config = "{" SIZES ",\"head_size\":64,\"scan\":\"a name that is far too long for a scan\"}", .status = VRWKV_ERR_ARGUMENT, .says = "too long"},
    {.config = "{" SIZES ",\"head_size\":64,\"towers\":[{\"type\":\"eye\"}]}", .status = VRWKV_ERR_UNSUPPORTED, .says = "'eye'"},
    {.config = "{" SIZES ",\"head_size\":64,\"towers\":[{\"type\":\"clip\",\"hidden_act\":\"step\"}]}", .status = VRWKV_ERR_UNSUPPORTED, .says = "'step'"},
    {.config = "{" SIZES ",\"head_size\":64,\"towers\":[{\"type\":\"clip\"}]}", .status = VRWKV_ERR_FORMAT, .says = "description of clip lacks the size"},
    {.config = "{" SIZES ",\"head_size\":64,\"towers\":[1,2,3,4,5]}", .status = VRWKV_ERR_UNSUPPORTED, .says = "5 towers"},
};

static void models_that_do_not_agree_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < VR_COUNT(edits); i++) {
        struct timespec from, to;
        vrwkv_model *opened = NULL;
        write_edited(&edits[i]);
        clock_gettime(CLOCK_MONOTONIC, &from);
        err = (vrwkv_error){0};
        vrwkv_status status = vrwkv_model_open(edited_path, &(vrwkv_model_options){.threads = 1}, &opened, &err);
        clock_gettime(CLOCK_MONOTONIC, &to);
        if (status != edits[i].status || !strstr(err.message, edits[i].says))
            fail_msg("edit %zu: status %d, message \"%s\"; expected %d and \"%s\"", i, (int)status, err.message, (int)edits[i].status, edits[i].says);
        assert_null(opened);
        assert_true((double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec) < 1);
    }
    /* numbers are numbers: a matrix of integers is a matrix */
    vrwkv_model *opened = NULL;
    int32_t five = 5;
    write_edited(&(edit){.retypes = "blk.0.time_mix_value.weight", .type = VR_I32});
    OK(vrwkv_model_open(edited_path, &(vrwkv_model_options){.threads = 1}, &opened, &err));
    vrwkv_context *on_integers = NULL;
    OK(vrwkv_context_new(opened, NULL, &on_integers, &err));
    OK(vrwkv_feed(on_integers, &five, 1, NULL, 0, &err));
    vrwkv_context_free(on_integers);
    vrwkv_model_close(opened);
    /* a language model alone: what has no tower looks at nothing */
    vrwkv_model *blind = NULL;
    vrwkv_features *features = NULL;
    vrwkv_context *context = NULL;
    int32_t id = 5;
    write_edited(&(edit){.config = "{" SIZES ",\"head_size\":64}"});
    OK(vrwkv_model_open(edited_path, &(vrwkv_model_options){.threads = 1}, &blind, &err));
    assert_int_equal(vrwkv_model_info(blind)->image_tokens, 0);
    REFUSED(vrwkv_encode_file(blind, PICTURE, VRWKV_FRIENDLY, &features, &err), VRWKV_ERR_UNSUPPORTED, "language model alone");
    REFUSED(vrwkv_encode_pixels(blind, NULL, 1, &features, &err), VRWKV_ERR_UNSUPPORTED, "language model alone");
    OK(vrwkv_context_new(blind, NULL, &context, &err));
    OK(vrwkv_feed(context, &id, 1, NULL, 0, &err));
    assert_int_equal(vrwkv_context_length(context), 1); /* no zero rows in front */
    vrwkv_context_free(context);
    vrwkv_model_close(blind);
}

/* ---- models of random weights, for measuring ---- */

static void random_models_run(void **state) {
    static const char config[] = "{" SIZES ",\"head_size\":64,\"grid_size\":2,\"towers\":[{\"type\":\"clip\",\"image_size\":56,"
                                 "\"patch_size\":14,\"hidden_size\":64,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"intermediate_size\":160}]}";
    static const vr_dtype types[] = {VR_F32, VR_F16, VR_Q8_0, VR_Q4_0};
    vr_config parsed;
    (void)state;
    for (size_t i = 0; i < VR_COUNT(types); i++) {
        vrwkv_model *random = NULL;
        vrwkv_features *picture = NULL;
        vrwkv_context *context = NULL;
        OK(vr_model_random(config, types[i], types[i], &(vrwkv_model_options){.threads = 1}, &random, &err));
        assert_int_equal(vrwkv_model_info(random)->image_tokens, 5);
        OK(vrwkv_encode_pixels(random, NULL, 1, &picture, &err));
        OK(vrwkv_context_new(random, NULL, &context, &err));
        OK(vrwkv_feed_features(context, picture, &err));
        for (int k = 0; k < 400; k++) assert_true(vrwkv_logits(context)[k] - vrwkv_logits(context)[k] == 0); /* finite */
        vrwkv_context_free(context);
        vrwkv_features_free(picture);
        vrwkv_model_close(random);
    }
    for (int i = 0; vr_shape_at(i); i++) {
        const vr_shape *shape = vr_shape_at(i);
        assert_ptr_equal(vr_shape_find(shape->name), shape);
        OK(vr_config_parse(&parsed, shape->config, strlen(shape->config), &err));
    }
    assert_null(vr_shape_find("v9-900b"));
}

static int set_up(void **state) {
    vr_settings *settings = NULL;
    const char *source = MODEL;
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(model_path, sizeof model_path, "%s/model.gguf", folder);
    snprintf(edited_path, sizeof edited_path, "%s/edited.gguf", folder);
    snprintf(file_path, sizeof file_path, "%s/file", folder);
    vr_status status = vr_settings_file(&settings, CONFIG, &err);
    vr_convert_options options = {.sources = &source, .n_sources = 1, .out = model_path, .keep_type = true, .settings = settings};
    if (status == VRWKV_OK) status = vr_convert(&options, &err);
    if (status == VRWKV_OK) status = vrwkv_model_open(model_path, &(vrwkv_model_options){.threads = 2}, &model, &err);
    vr_settings_free(settings);
    if (status != VRWKV_OK) fprintf(stderr, "%s\n", err.message);
    return status == VRWKV_OK ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    vrwkv_model_close(model);
    unlink(model_path);
    unlink(edited_path);
    unlink(file_path);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_and_names),
        cmocka_unit_test(pictures_from_anywhere_are_the_same),
        cmocka_unit_test(limits_are_the_callers),
        cmocka_unit_test(traces_come_with_each_chunk),
        cmocka_unit_test(a_cancelled_prompt_leaves_the_conversation),
        cmocka_unit_test(generation_ends_where_it_is_told),
        cmocka_unit_test(wrong_arguments_are_told),
        cmocka_unit_test(models_that_do_not_agree_are_refused),
        cmocka_unit_test(random_models_run),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
