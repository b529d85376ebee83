/* Models in other programs' files. tests/data/llama holds small models that llama.cpp quantised (Q4_K_M)
 * and the logits that it computes from them in f32 (bench/peers/llama_cpp.py --fixtures makes them). Files
 * of rwkv.cpp are written here, by the rules of that project's converter. Then split files, their
 * vocabulary, and what is refused. */
#include "base/io.h"
#include "ops/quant.h"
#include "vl/convert.h"
#include "vl/internal.h"
#include "vl/layout.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define DATA VRWKV_SOURCE_DIR "/tests/data/"
#define LLAMA DATA "llama/"
#define CASE6 DATA "cases/v6/grid-none-first/"

static vr_error err; /* of the call under test */
static char folder[64];

#define OK(expression)                                                                                                      \
    do {                                                                                                                    \
        if ((expression) != VRWKV_OK) fail_msg("%s", err.message);                                                          \
    } while (0)

static const char *in_folder(const char *name) {
    static char paths[8][128];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static vrwkv_model *open_model(const char *path, const char *mmproj, const vr_settings *settings) {
    vrwkv_model_options options = {.threads = 2, .mmproj = mmproj, .exact = 1};
    vrwkv_model *model = NULL;
    OK(vr_model_open(path, &options, settings, &model, &err));
    return model;
}

static vrwkv_context *new_context(vrwkv_model *model) {
    vrwkv_context_options options = {.manner = VRWKV_ORIGINAL,
                                     .no_blank_image = 1,
                                     .sampling = {.top_p = 1, .typical = 1, .repeat_penalty = 1, .penalty_decay = 1}};
    vrwkv_context *context = NULL;
    OK(vrwkv_context_new(model, &options, &context, &err));
    return context;
}

static const int32_t some_ids[] = {3, 17, 60, 1, 33, 42, 8};

/* Logits after some_ids; heap. */
static float *answer(vrwkv_model *model) {
    size_t bytes = (size_t)vrwkv_model_info(model)->n_vocab * sizeof(float);
    vrwkv_context *context = new_context(model);
    OK(vrwkv_feed(context, some_ids, VR_COUNT(some_ids), NULL, 0, &err));
    float *logits = memcpy(malloc(bytes), vrwkv_logits(context), bytes);
    vrwkv_context_free(context);
    return logits;
}

/* Both give the same bits. */
static void same_answers(vrwkv_model *a, vrwkv_model *b) {
    float *first = answer(a), *second = answer(b);
    assert_int_equal(vrwkv_model_info(a)->n_vocab, vrwkv_model_info(b)->n_vocab);
    assert_memory_equal(first, second, (size_t)vrwkv_model_info(a)->n_vocab * sizeof(float));
    free(first);
    free(second);
}

static void convert(const char *source, const char *out, vr_convert_options more) {
    more.sources = &source;
    more.n_sources = 1;
    more.out = out;
    more.threads = 2;
    OK(vr_convert(&more, &err));
}

static vr_settings *case6(void) {
    vr_settings *settings = NULL;
    OK(vr_settings_file(&settings, CASE6 "case.json", &err));
    return settings;
}

/* ---- llama.cpp ---- */

static void llama_files_run_as_there(void **unused) {
    static const struct {
        const char *name, *rwkv;
        int layers;
    } files[] = {{"rwkv6", "x060", 1}, {"rwkv7", "x070", 2}};
    static const char *const tokens[] = {"\t",   "\n",           "\r",   "\\",   "'", "\"",  "'\"",
                                         "it's", "\xe5\x9b\xbe", "\xff", "\x7f", " ", "\\n", "[PAD3]"};
    vr_weights *expected;
    (void)unused;
    OK(vr_weights_open(&expected, LLAMA "expected.safetensors", NULL, &err));
    for (size_t f = 0; f < VR_COUNT(files); f++) {
        char path[256];
        size_t bytes;
        snprintf(path, sizeof path, LLAMA "%s-q4_k_m.gguf", files[f].name);
        vrwkv_model *model = open_model(path, NULL, NULL);
        const vrwkv_info *info = vrwkv_model_info(model);
        assert_string_equal(info->rwkv, files[f].rwkv);
        assert_int_equal(info->n_layer, files[f].layers);
        assert_int_equal(info->n_embd, 256);
        assert_int_equal(info->head_size, 64);
        assert_int_equal(info->image_tokens, 0);
        vrwkv_context *context = new_context(model);
        const float *rows = vr_weights_data(expected, vr_weights_find(expected, files[f].name));
        for (size_t t = 0; t < VR_COUNT(some_ids); t++) {
            OK(vrwkv_feed(context, &some_ids[t], 1, NULL, 0, &err));
            const float *logits = vrwkv_logits(context);
            float low = INFINITY, high = -INFINITY, worst = 0;
            for (int i = 0; i < 64; i++) {
                low = fminf(low, logits[i]);
                high = fmaxf(high, logits[i]);
                worst = fmaxf(worst, fabsf(logits[i] - rows[64 * t + (size_t)i]));
            }
            if (!(worst <= 2e-5f * (high - low)))
                fail_msg("%s step %zu: off by %g of %g", path, t, (double)worst, (double)(high - low));
        }
        vrwkv_context_free(context);
        const vr_vocab *vocab = vr_model_vocab(model);
        const char *zero = vr_vocab_token(vocab, 1, &bytes);
        assert_true(zero && bytes == 1 && zero[0] == 0);
        for (size_t i = 0; i < VR_COUNT(tokens); i++) {
            const char *token = vr_vocab_token(vocab, (int64_t)i + 2, &bytes);
            if (!token || bytes != strlen(tokens[i]) || memcmp(token, tokens[i], bytes) != 0)
                fail_msg("token %zu is not '%s'", i + 2, tokens[i]);
        }
        assert_null(vr_vocab_token(vocab, 0, &bytes)); /* <s> and [PAD60] are no text */
        assert_null(vr_vocab_token(vocab, 60, &bytes));
        vrwkv_model_close(model);
    }
    vr_weights_close(expected);
}

/* llama.cpp's file -> ours, same bits and types -> split again -> the same bits; and to a checkpoint. */
static void llama_files_convert_both_ways(void **unused) {
    static const char *const names[] = {LLAMA "rwkv6-q4_k_m.gguf", LLAMA "rwkv7-q4_k_m.gguf"};
    (void)unused;
    for (size_t f = 0; f < VR_COUNT(names); f++) {
        const char *ours = in_folder("ours.gguf"), *split = in_folder("ours-rwkv.gguf"),
                   *plain = in_folder("plain.safetensors");
        const char *wide = in_folder("wide.gguf");
        convert(names[f], ours, (vr_convert_options){.keep_type = true, .split = true});
        vrwkv_model *there = open_model(names[f], NULL, NULL), *here = open_model(ours, NULL, NULL),
                    *again = open_model(split, NULL, NULL);
        same_answers(there, here);
        same_answers(there, again);
        vr_weights *file;
        OK(vr_weights_open(&file, ours, NULL, &err));
        assert_int_equal(vr_weights_find(file, "blk.0.time_mix_key.weight")->dtype, VR_Q4_K);
        assert_int_equal(vr_weights_find(file, "output.weight")->dtype, VR_Q6_K);
        assert_null(vr_weights_find(file, "blk.0.time_mix_lerp_fused.weight"));
        assert_null(vr_weights_find(file, "blk.0.time_mix_v1.weight"));
        vr_weights_close(file);
        /* f32 all the way: through a checkpoint in the released key layout */
        convert(names[f], wide, (vr_convert_options){.type = VR_F32});
        convert(wide, plain, (vr_convert_options){.type = VR_F32});
        vrwkv_model *first = open_model(wide, NULL, NULL), *second = open_model(plain, NULL, NULL);
        same_answers(there, first);
        same_answers(there, second);
        vrwkv_model_close(there);
        vrwkv_model_close(here);
        vrwkv_model_close(again);
        vrwkv_model_close(first);
        vrwkv_model_close(second);
    }
}

static void look_and_ask(vrwkv_model *model, float *logits) {
    static const int32_t ids[] = {160, 26, VRWKV_IMAGE, 21, 38, 304};
    vrwkv_features *picture = NULL;
    vrwkv_context *context = new_context(model);
    OK(vrwkv_encode_file(model, CASE6 "image.png", VRWKV_ORIGINAL, &picture, &err));
    OK(vrwkv_feed(context, ids, VR_COUNT(ids), &picture, 1, &err));
    memcpy(logits, vrwkv_logits(context), 400 * sizeof *logits);
    vrwkv_features_free(picture);
    vrwkv_context_free(context);
}

/* The two halves together give the bits of the whole, about pictures too. */
static void split_files_answer_as_the_whole(void **unused) {
    static const struct {
        vr_dtype type;
        int rescale;
    } kinds[] = {{VR_F32, 0}, {VR_F32, 1}, {VR_F32, 3}, {VR_Q8_0, 0}, {VR_Q4_0, 0}};
    vr_settings *settings = case6();
    (void)unused;
    for (size_t k = 0; k < VR_COUNT(kinds); k++) {
        const char *whole = in_folder("m.gguf"), *language = in_folder("m-rwkv.gguf"), *vision = in_folder("m-mmproj.gguf");
        float first[400], second[400];
        convert(
            CASE6 "model.pth", whole,
            (vr_convert_options){.type = kinds[k].type, .split = true, .rescale = kinds[k].rescale, .settings = settings});
        vrwkv_model *a = open_model(whole, NULL, NULL), *b = open_model(language, vision, NULL),
                    *alone = open_model(language, NULL, NULL);
        look_and_ask(a, first);
        look_and_ask(b, second);
        assert_memory_equal(first, second, sizeof first);
        same_answers(b, alone);
        assert_string_equal(vrwkv_model_info(b)->version, "v6.0");
        assert_string_equal(vrwkv_model_info(alone)->version, "");
        assert_int_equal(vrwkv_model_info(alone)->image_tokens, 0);
        vrwkv_model_close(a);
        vrwkv_model_close(b);
        vrwkv_model_close(alone);
        vrwkv_model *none = NULL; /* the vision half alone is no model */
        assert_int_not_equal(vr_model_open(vision, NULL, NULL, &none, &err), VRWKV_OK);
        assert_non_null(strstr(err.message, "emb.weight"));
    }
    vr_settings_free(settings);
}

static const float *floats(const vr_weights *file, const char *name) {
    return vr_weights_data(file, vr_weights_find(file, name));
}

/* What llama.cpp asks for, number by number: names, shapes, what is divided, metadata. */
static void the_language_half_is_in_llamas_layout(void **unused) {
    static const char *const keys[] = {
        "block_count",          "embedding_length",       "feed_forward_length",  "wkv.head_size", "time_mix_extra_dim",
        "time_decay_extra_dim", "rescale_every_n_layers", "attention.head_count", "vocab_size"};
    static const int values[] = {4, 128, 448, 64, 32, 64, 2, 0, 400};
    vr_settings *settings = case6();
    vr_weights *whole, *half;
    char key[64];
    (void)unused;
    convert(CASE6 "model.pth", in_folder("m.gguf"), (vr_convert_options){.split = true, .rescale = 2, .settings = settings});
    OK(vr_weights_open(&whole, in_folder("m.gguf"), NULL, &err));
    OK(vr_weights_open(&half, in_folder("m-rwkv.gguf"), NULL, &err));
    assert_string_equal(vr_weights_meta(half, "general.architecture")->string, "rwkv6");
    for (size_t i = 0; i < VR_COUNT(keys); i++) {
        snprintf(key, sizeof key, "rwkv6.%s", keys[i]);
        const vr_meta *meta = vr_weights_meta(half, key);
        if (!meta || meta->integer != values[i])
            fail_msg("%s is %lld, expected %d", key, meta ? (long long)meta->integer : -1, values[i]);
    }
    assert_true(fabs(vr_weights_meta(half, "rwkv6.attention.layer_norm_epsilon")->number - 1e-5) < 1e-10);
    const vr_entry *fused = vr_weights_find(half, "blk.1.time_mix_lerp_fused.weight");
    assert_true(fused && fused->ndim == 4 && fused->shape[0] == 5 && fused->shape[1] == 1 && fused->shape[3] == 128);
    const char *const order[] = {"w", "k", "v", "r", "g"};
    for (size_t i = 0; i < 5; i++) {
        snprintf(key, sizeof key, "blk.1.time_mix_lerp_%s.weight", order[i]);
        assert_memory_equal(floats(half, fused->name) + 128 * i, floats(whole, key), 128 * sizeof(float));
        assert_null(vr_weights_find(half, key));
    }
    const float *divided = floats(half, "blk.3.channel_mix_value.weight"),
                *value = floats(whole, "blk.3.channel_mix_value.weight");
    for (int i = 0; i < 128 * 448; i++) assert_true(divided[i] == value[i] / 2);
    assert_memory_equal(floats(half, "blk.1.time_mix_output.weight"), floats(whole, "blk.1.time_mix_output.weight"),
                        128 * 128 * 4);
    const vr_entry *w1 = vr_weights_find(half, "blk.0.time_mix_w1.weight"),
                   *w2 = vr_weights_find(half, "blk.0.time_mix_w2.weight");
    assert_true(w1->shape[0] == 160 && w1->shape[1] == 128 && w2->ndim == 3 && w2->shape[1] == 128 && w2->shape[2] == 32);
    assert_string_equal(vr_weights_meta(half, "tokenizer.ggml.model")->string, "no_vocab");
    assert_null(vr_weights_find(half, "mm.0.weight"));
    vr_weights_close(whole);
    vr_weights_close(half);
    /* version 7: the first layer has stand-ins for the value mixing, r_k is flat */
    convert(LLAMA "rwkv7-q4_k_m.gguf", in_folder("m.gguf"), (vr_convert_options){.type = VR_F32, .split = true});
    OK(vr_weights_open(&half, in_folder("m-rwkv.gguf"), NULL, &err));
    const vr_entry *v1 = vr_weights_find(half, "blk.0.time_mix_v1.weight"),
                   *later = vr_weights_find(half, "blk.1.time_mix_v1.weight");
    assert_true(v1 && v1->shape[0] == 6 && v1->shape[1] == 256 && later->shape[0] == 4);
    assert_memory_equal(floats(half, v1->name), floats(half, "blk.0.time_mix_a1.weight"), 6 * 256 * sizeof(float));
    assert_int_equal(vr_weights_find(half, "blk.1.time_mix_r_k.weight")->ndim, 1);
    assert_int_equal(vr_weights_find(half, "blk.1.time_mix_lerp_fused.weight")->shape[0], 6);
    assert_null(vr_weights_meta(half, "rwkv7.rescale_every_n_layers"));
    vr_weights_close(half);
    vr_settings_free(settings);
}

/* Any bytes survive: every single one, and what must be escaped in pairs. */
static void a_vocabulary_survives_the_escapes(void **unused) {
    static const char *const more[] = {"it's", "say \"no\"", "'\"", "\\'", "\\x41", "\t\n\r", "\xe5\x9b\xbe\xe7\x89\x87"};
    static const char *const written[] = {
        "it's", "say \"no\"", "\\'\"", "\\\\'", "\\\\x41", "\\t\\n\\r", "\\xe5\\x9b\\xbe\\xe7\\x89\\x87"};
    vr_settings *settings = case6();
    FILE *file = fopen(in_folder("vocab.txt"), "wb");
    (void)unused;
    for (int i = 0; i < 256; i++) fprintf(file, "%d b'\\x%02x' 1\n", i + 1, i);
    for (size_t i = 0; i < VR_COUNT(more); i++) {
        fprintf(file, "%zu b'", 300 + i);
        for (const char *c = more[i]; *c; c++) fprintf(file, "\\x%02x", (unsigned char)*c);
        fprintf(file, "' %zu\n", strlen(more[i]));
    }
    fclose(file);
    convert(CASE6 "model.pth", in_folder("m.gguf"),
            (vr_convert_options){.split = true, .settings = settings, .vocab_file = in_folder("vocab.txt")});
    vrwkv_model *whole = open_model(in_folder("m.gguf"), NULL, NULL),
                *half = open_model(in_folder("m-rwkv.gguf"), NULL, NULL);
    for (int64_t id = 0; id < 400; id++) {
        size_t n, m;
        const char *a = vr_vocab_token(vr_model_vocab(whole), id, &n), *b = vr_vocab_token(vr_model_vocab(half), id, &m);
        if (n != m || (n && memcmp(a, b, n) != 0)) fail_msg("token %lld: %zu and %zu bytes", (long long)id, n, m);
        assert_int_equal(n > 0, (id >= 1 && id <= 256) || (id >= 300 && id < 300 + (int64_t)VR_COUNT(more)));
    }
    vrwkv_model_close(whole);
    vrwkv_model_close(half);
    vr_weights *raw; /* as Python's repr() has them, without its quotes */
    OK(vr_weights_open(&raw, in_folder("m-rwkv.gguf"), NULL, &err));
    const vr_meta *tokens = vr_weights_meta(raw, "tokenizer.ggml.tokens"),
                  *types = vr_weights_meta(raw, "tokenizer.ggml.token_type");
    assert_int_equal(tokens->n_items, 400);
    for (size_t i = 0; i < VR_COUNT(written); i++) assert_string_equal(tokens->strings[300 + i], written[i]);
    assert_string_equal(tokens->strings[0], "<s>");
    assert_string_equal(tokens->strings[1], "\\x00");
    assert_string_equal(tokens->strings[128], "\\x7f");
    assert_string_equal(tokens->strings[270], "[PAD270]");
    assert_true(types->integers[0] == 3 && types->integers[1] == 1 && types->integers[270] == 5);
    vr_weights_close(raw);
    vr_settings_free(settings);
}

/* ---- rwkv.cpp ---- */

static void put32(FILE *file, int64_t value) {
    uint32_t word = (uint32_t)value;
    fwrite(&word, sizeof word, 1, file);
}

static void bin_tensor(FILE *file, const char *name, int ndim, const int64_t *shape, const float *values) {
    int64_t n;
    put32(file, ndim);
    put32(file, (int64_t)strlen(name));
    put32(file, 0);
    for (int i = ndim; i-- > 0;) put32(file, shape[i]);
    fputs(name, file);
    vr_shape_count(ndim, shape, &n);
    fwrite(values, sizeof *values, (size_t)n, file);
}

static bool ends(const char *name, const char *end) {
    return strlen(name) >= strlen(end) && strcmp(name + strlen(name) - strlen(end), end) == 0;
}

static const char *transposed[] = {
    ".w1", ".w2", ".a1", ".a2", ".v1", ".v2", ".g1", ".g2", ".time_maa_w1", ".time_decay_w1", ".time_decay_w2"};

/* One f32 tensor of a checkpoint as rwkv.cpp's converter writes it. */
static void bin_row(FILE *file, const char *rwkv, const char *name, int ndim, const int64_t *from, const float *values,
                    int64_t heads) {
    int64_t shape[VR_MAX_DIMS] = {0}, n;
    float *changed = NULL;
    vr_shape_count(ndim, from, &n);
    memcpy(shape, from, sizeof shape);
    changed = memcpy(malloc((size_t)n * 4), values, (size_t)n * 4);
    bool turn = ends(name, ".time_maa_w2");
    for (size_t i = 0; i < VR_COUNT(transposed); i++) turn |= ends(name, transposed[i]);
    if (turn) {
        int64_t R = from[ndim - 2], C = from[ndim - 1];
        for (int64_t i = 0; i < n; i++) changed[i / (R * C) * R * C + i % C * R + i / C % R] = values[i];
        shape[ndim - 2] = C;
        shape[ndim - 1] = R;
    } else if (strstr(name, ".time_maa") || strstr(name, "time_mix_")) { /* squeezed */
        shape[0] = n;
        ndim = 1;
    }
    if (ends(name, "time_faaaa") || ends(name, "time_decay")) {
        shape[0] = heads;
        shape[1] = n / heads;
        shape[2] = 1;
        ndim = 3;
    }
    if (ends(name, "time_decay") && strcmp(rwkv, "x052") == 0)
        for (int64_t i = 0; i < n; i++) changed[i] = expf(-expf(values[i]));
    bin_tensor(file, name, ndim, shape, changed);
    free(changed);
}

/* A tensor as f32, whatever it is stored as; heap. */
static float *numbers(const vr_weights *file, const char *name) {
    const vr_entry *entry = vr_weights_find(file, name);
    int64_t n;
    vr_shape_count(entry->ndim, entry->shape, &n);
    void *stored = malloc((size_t)entry->bytes);
    float *values = malloc((size_t)n * sizeof *values);
    OK(vr_weights_read(file, entry, stored, &err));
    vr_quant_of(entry->dtype)->decode(values, stored, n);
    free(stored);
    return values;
}

static void write_bin(const char *path, const char *source, const vr_config *config) {
    vr_weights *from;
    FILE *file = fopen(path, "wb");
    OK(vr_weights_open(&from, source, NULL, &err));
    put32(file, 0x67676d66);
    put32(file, 101);
    put32(file, config->lm.n_vocab);
    put32(file, config->lm.n_embd);
    put32(file, config->lm.n_layer);
    put32(file, 0);
    for (size_t i = 0; i < vr_weights_count(from); i++) {
        const vr_entry *entry = vr_weights_at(from, i);
        const char *name = strncmp(entry->name, "rwkv.", 5) == 0 ? entry->name + 5 : entry->name;
        if (strncmp(name, "vit.", 4) == 0 || strncmp(name, "proj", 4) == 0) continue;
        float *values = numbers(from, entry->name);
        if (strstr(name, ".att.x_")) { /* the six are one tensor, written with the first */
            char fused[64];
            int64_t shape[] = {6, 1, config->lm.n_embd};
            float *all = malloc((size_t)(6 * shape[2]) * sizeof *all);
            for (int k = 0; k < 6; k++) {
                snprintf(fused, sizeof fused, "%.*s%c", (int)strlen(entry->name) - 1, entry->name, "rwkvag"[k]);
                float *one = numbers(from, fused);
                memcpy(all + k * shape[2], one, (size_t)shape[2] * sizeof *all);
                free(one);
            }
            snprintf(fused, sizeof fused, "%.*srwkvag", (int)strlen(name) - 1, name);
            if (name[strlen(name) - 1] == 'r') bin_tensor(file, fused, 3, shape, all);
            free(all);
        } else {
            bin_row(file, config->rwkv, name, entry->ndim, entry->shape, values, config->lm.dim_att / config->lm.head_size);
        }
        free(values);
    }
    fclose(file);
    vr_weights_close(from);
}

/* As rwkv.cpp's converter leaves a checkpoint, so it answers; for version 5 through exp(-exp(decay)). */
static void bin_files_answer_as_their_checkpoints(void **unused) {
    static const char *const sources[] = {DATA "cases/v5/g4-unidirection/model.pth", CASE6 "model.pth",
                                          LLAMA "rwkv7-q4_k_m.gguf"};
    static const char *const configs[] = {DATA "cases/v5/g4-text-only/case.json", CASE6 "case.json", NULL};
    (void)unused;
    for (size_t s = 0; s < VR_COUNT(sources); s++) {
        const char *plain = in_folder("plain.safetensors"), *bin = in_folder("m.bin"), *ours = in_folder("ours.gguf");
        vr_settings *settings = NULL, *epsilon = NULL;
        if (configs[s]) OK(vr_settings_file(&settings, configs[s], &err));
        convert(sources[s], plain, (vr_convert_options){.type = VR_F32, .settings = settings});
        OK(vr_settings_put(&epsilon, "group_norm_eps", s == 0 ? "1e-5" : "64e-5", &err));
        vrwkv_model *checkpoint = open_model(plain, NULL, epsilon);
        write_bin(bin, plain, vr_model_config(checkpoint));
        vrwkv_model *there = open_model(bin, NULL, NULL);
        assert_string_equal(vrwkv_model_info(there)->rwkv, vrwkv_model_info(checkpoint)->rwkv);
        if (s == 0) {
            float *a = answer(checkpoint), *b = answer(there);
            for (int i = 0; i < vrwkv_model_info(there)->n_vocab; i++)
                if (!(fabsf(a[i] - b[i]) <= 1e-4f)) fail_msg("logit %d: %g, expected %g", i, (double)b[i], (double)a[i]);
            free(a);
            free(b);
        } else {
            same_answers(checkpoint, there);
        }
        convert(bin, ours, (vr_convert_options){.keep_type = true});
        vrwkv_model *here = open_model(ours, NULL, NULL);
        same_answers(there, here);
        vrwkv_model_close(checkpoint);
        vrwkv_model_close(there);
        vrwkv_model_close(here);
        vr_settings_free(settings);
        vr_settings_free(epsilon);
    }
}

/* ---- refusals ---- */

static void other_bin_files_are_refused_by_name(void **unused) {
    static const struct {
        const char *keys[4], *says;
    } files[] = {
        {{"emb.weight", "blocks.0.att.time_first", "blocks.0.att.time_mix_k"},
         "m.bin' holds RWKV 4v0, expected RWKV 5v2, 6v0 or 7v0"},
        {{"emb.weight", "blocks.0.att.time_first", "blocks.0.att.ln_x.weight"},
         "m.bin' holds RWKV 5v1, expected RWKV 5v2, 6v0 or 7v0"},
        {{"emb.weight"}, "m.bin' holds no RWKV that is known"},
        {{"emb.weight", "blocks.0.att.time_mix_g"}, "the checkpoint has no 'rwkv.blocks.0.att.receptance.weight'"},
    };
    static const float value[1] = {0};
    (void)unused;
    for (size_t f = 0; f < VR_COUNT(files); f++) {
        const char *path = in_folder("m.bin");
        FILE *file = fopen(path, "wb");
        for (int i = 0; i < 6; i++) put32(file, i == 0 ? 0x67676d66 : i == 1 ? 101 : i == 5 ? 0 : 1);
        for (size_t k = 0; k < 4 && files[f].keys[k]; k++) bin_tensor(file, files[f].keys[k], 2, (int64_t[]){1, 1}, value);
        fclose(file);
        vrwkv_model *model = NULL;
        assert_int_not_equal(vr_model_open(path, NULL, NULL, &model, &err), VRWKV_OK);
        if (!strstr(err.message, files[f].says)) fail_msg("'%s' should say '%s'", err.message, files[f].says);
    }
}

/* The metadata of one file with the tensors of another, and one metadata key left out (value -1) or set. */
static const char *spoilt(const char *source, const char *tensors, const char *key, int64_t value) {
    const char *path = in_folder("spoilt.gguf");
    vr_weights *metas, *from;
    vr_save *save;
    OK(vr_weights_open(&metas, source, NULL, &err));
    OK(vr_weights_open(&from, tensors, NULL, &err));
    OK(vr_save_open(&save, path, &err));
    for (size_t i = 0; i < vr_weights_meta_count(metas); i++) {
        const vr_meta *meta = vr_weights_meta_at(metas, i);
        if (strcmp(meta->key, key) == 0) continue;
        if (meta->type == VR_META_STRING) OK(vr_save_meta_string(save, meta->key, meta->string, &err));
        if (meta->type == VR_META_INT) OK(vr_save_meta_int(save, meta->key, meta->integer, &err));
        if (meta->type == VR_META_FLOAT) OK(vr_save_meta_float(save, meta->key, meta->number, &err));
    }
    if (value >= 0 && strcmp(key, "general.architecture") == 0)
        OK(vr_save_meta_string(save, key, value ? "rwkv6qwen2" : "evil\n\x1b[2J", &err));
    else if (value >= 0)
        OK(vr_save_meta_int(save, key, value, &err));
    for (size_t i = 0; i < vr_weights_count(from); i++) {
        const vr_entry *entry = vr_weights_at(from, i);
        OK(vr_save_declare(save, entry->name, entry->dtype, entry->ndim, entry->shape, &err));
    }
    for (size_t i = 0; i < vr_weights_count(from); i++) {
        const vr_entry *entry = vr_weights_at(from, i);
        OK(vr_save_put(save, vr_weights_data(from, entry), (size_t)entry->bytes, &err));
    }
    OK(vr_save_commit(save, &err));
    vr_weights_close(metas);
    vr_weights_close(from);
    return path;
}

static void spoilt_llama_files_are_refused_by_name(void **unused) {
    static const struct {
        const char *key;
        int64_t value;
        const char *says;
    } cases[] = {
        {"rwkv6.block_count", -1, "metadata 'rwkv6.block_count' is missing, expected a size"},
        {"rwkv6.block_count", 0, "metadata 'rwkv6.block_count' is no size"},
        {"rwkv6.block_count", 2, "has no tensor 'rwkv.blocks.1.ln1.weight', shape [256]"},
        {"rwkv6.block_count", (int64_t)1 << 40, "metadata 'rwkv6.block_count' is no size"},
        {"rwkv6.embedding_length", 128, "'token_embd.weight' has shape [64, 256], expected [64, 128]"},
        {"rwkv6.wkv.head_size", 48, "dim_att 256 is no multiple of head_size 48"},
        {"rwkv6.wkv.head_size", 32, "'blk.0.time_mix_first.weight' has shape [4, 64], expected [8, 32]"},
        {"rwkv6.time_mix_extra_dim", 5, "'blk.0.time_mix_w1.weight' has shape [20, 256], expected [25, 256]"},
        {"general.architecture", 1,
         "of architecture 'rwkv6qwen2' without 'vrwkv.config', expected one of vrwkv convert, or rwkv6 or rwkv7"},
        {"general.architecture", 0, "of architecture '?' without 'vrwkv.config'"},
        {"general.architecture", -1, "of architecture '?' without 'vrwkv.config'"},
    };
    (void)unused;
    for (size_t i = 0; i < VR_COUNT(cases); i++) {
        const char *path = spoilt(LLAMA "rwkv6-q4_k_m.gguf", LLAMA "rwkv6-q4_k_m.gguf", cases[i].key, cases[i].value);
        vrwkv_model *model = NULL;
        assert_int_not_equal(vr_model_open(path, NULL, NULL, &model, &err), VRWKV_OK);
        if (!strstr(err.message, cases[i].says)) fail_msg("'%s' should say '%s'", err.message, cases[i].says);
    }
}

/* Without the key of halving nothing is halved; and files from before the lerps were fused have them apart,
 * under the names that ours has. */
static void older_llama_files_run(void **unused) {
    const char *now = LLAMA "rwkv6-q4_k_m.gguf";
    (void)unused;
    convert(now, in_folder("ours.gguf"), (vr_convert_options){.keep_type = true});
    vrwkv_model *model = open_model(now, NULL, NULL);
    vrwkv_model *other = open_model(spoilt(now, now, "rwkv6.rescale_every_n_layers", -1), NULL, NULL);
    same_answers(model, other);
    vrwkv_model_close(other);
    other = open_model(spoilt(now, in_folder("ours.gguf"), "none", -1), NULL, NULL);
    same_answers(model, other);
    vrwkv_model_close(other);
    vrwkv_model_close(model);
}

/* Encoding is shared out among threads; the file does not show it. */
static void a_file_does_not_depend_on_threads(void **unused) {
    const char *source = LLAMA "rwkv7-q4_k_m.gguf";
    (void)unused;
    vr_map maps[2];
    for (int k = 0; k < 2; k++) {
        const char *out = in_folder(k ? "ours.gguf" : "wide.gguf");
        vr_convert_options options = {.sources = &source, .n_sources = 1, .out = out, .type = VR_Q5_K, .threads = 1 + 2 * k};
        OK(vr_convert(&options, &err));
        OK(vr_map_open(&maps[k], out, false, &err));
    }
    assert_int_equal(maps[0].size, maps[1].size);
    assert_memory_equal(maps[0].data, maps[1].data, maps[0].size);
    vr_map_close(&maps[0]);
    vr_map_close(&maps[1]);
}

/* llama.cpp would run these otherwise, or not at all. */
static void what_llama_cannot_run_is_not_split(void **unused) {
    vr_settings *settings = case6(), *five = NULL;
    vr_convert_options options = {
        .sources = &(const char *){CASE6 "model.pth"}, .n_sources = 1, .out = in_folder("m.gguf"), .split = true};
    (void)unused;
    OK(vr_settings_put(&settings, "group_norm_eps", "1e-5", &err));
    options.settings = settings;
    assert_int_equal(vr_convert(&options, &err), VRWKV_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "GroupNorm epsilon of 0.00064, found 1e-05"));
    OK(vr_settings_file(&five, DATA "cases/v5/g4-text-only/case.json", &err));
    options.settings = five;
    options.sources = &(const char *){DATA "cases/v5/g4-unidirection/model.pth"};
    assert_int_equal(vr_convert(&options, &err), VRWKV_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "llama.cpp has no RWKV x052"));
    options.out = in_folder("plain.safetensors");
    assert_int_equal(vr_convert(&options, &err), VRWKV_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "only a .gguf can be split"));
    vr_settings_free(settings);
    vr_settings_free(five);
}

static int make_folder(void **state) {
    const char *place = getenv("TMPDIR");
    (void)state;
    snprintf(folder, sizeof folder, "%s/vrwkv-formats-XXXXXX", place ? place : P_tmpdir);
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    static const char *const names[] = {"ours.gguf",   "ours-rwkv.gguf", "plain.safetensors", "wide.gguf", "m.gguf",
                                        "m-rwkv.gguf", "m-mmproj.gguf",  "vocab.txt",         "m.bin",     "spoilt.gguf"};
    (void)state;
    for (size_t i = 0; i < VR_COUNT(names); i++) unlink(in_folder(names[i]));
    return rmdir(folder); /* fails where anything else was left behind */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_files_run_as_there),
        cmocka_unit_test(llama_files_convert_both_ways),
        cmocka_unit_test(split_files_answer_as_the_whole),
        cmocka_unit_test(the_language_half_is_in_llamas_layout),
        cmocka_unit_test(a_vocabulary_survives_the_escapes),
        cmocka_unit_test(bin_files_answer_as_their_checkpoints),
        cmocka_unit_test(other_bin_files_are_refused_by_name),
        cmocka_unit_test(spoilt_llama_files_are_refused_by_name),
        cmocka_unit_test(older_llama_files_run),
        cmocka_unit_test(a_file_does_not_depend_on_threads),
        cmocka_unit_test(what_llama_cannot_run_is_not_split),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
