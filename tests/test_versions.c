/* Every RWKV version on small random language models with the keys of released checkpoints: what the
 * keys tell, conversions, one way of reading equals another, snapshots, initial states, and versions
 * that are refused by name. The numbers themselves are the reference cases' matter. */
#include "vl/convert.h"
#include "vl/internal.h"
#include "vl/shapes.h"
#include "base/half.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZES(rwkv, n_layer, dim_ffn)                                                                                  \
    "{\"rwkv\":\"" rwkv "\",\"n_layer\":" #n_layer ",\"n_embd\":48,\"dim_att\":48,\"dim_ffn\":" #dim_ffn                   \
    ",\"head_size\":16,\"vocab_size\":65"
#define RANKS7 ",\"rank_decay\":5,\"rank_iclr\":7,\"rank_gate\":11"
static const char *const versions[] = {
    SIZES("x052", 3, 160) "}",
    SIZES("x060", 3, 160) ",\"rank_mix\":5,\"rank_decay\":7}",
    SIZES("x070", 3, 192) RANKS7 ",\"rank_value\":9}",
    SIZES("x070", 1, 192) RANKS7 "}", /* layer 0 alone, which has no value mixing */
};

enum { N_VOCAB = 65, N_IDS = 23 };

static vr_error err; /* of the call under test */
static int32_t ids[N_IDS];

#define OK(expression)                                                                                                 \
    do {                                                                                                               \
        if ((expression) != VRWKV_OK) fail_msg("%s", err.message);                                                     \
    } while (0)

static char *temporary(char *path, const char *ending) {
    static int serial;
    snprintf(path, 64, "/tmp/vrwkv_versions_%d_%d%s", (int)getpid(), serial++, ending);
    return path;
}

/* ---- checkpoints ---- */

typedef void (*row_fn)(void *user, const char *name, const vr_row *row, int ndim, const int64_t *shape);

static void each_row(const char *json, row_fn fn, void *user) {
    vr_config config;
    vr_part parts[VR_MAX_PARTS];
    OK(vr_config_parse(&config, json, strlen(json), &err));
    int n = vr_config_parts(&config, parts);
    for (int p = 0; p < n; p++)
        for (int layer = 0; layer < parts[p].repeat; layer++)
            for (int r = 0; r < parts[p].n_rows; r++) {
                char name[VR_NAME_SIZE];
                int64_t shape[VR_MAX_DIMS];
                const vr_row *row = &parts[p].rows[r];
                if (!vr_row_exists(row, layer)) continue;
                int ndim = vr_part_shape(&parts[p], row, layer, shape);
                fn(user, vr_row_name(row->key, layer, name), row, ndim, shape);
            }
}

typedef struct writer { vr_save *save; vr_dtype type; vr_rng rng; } writer;

static void declare(void *user, const char *name, const vr_row *row, int ndim, const int64_t *shape) {
    writer *w = user;
    int64_t wide[VR_MAX_DIMS];
    memcpy(wide, shape, sizeof wide);
    if (strcmp(row->shape, "H,N") == 0) wide[ndim++] = 1; /* as some releases have it */
    OK(vr_save_declare(w->save, name, w->type, ndim, wide, &err));
}

static void put(void *user, const char *name, const vr_row *row, int ndim, const int64_t *shape) {
    writer *w = user;
    int64_t n;
    (void)name;
    vr_shape_count(ndim, shape, &n);
    float *values = malloc((size_t)n * sizeof *values), scale = 1.7f / sqrtf((float)shape[ndim - 1]);
    uint16_t *half = malloc((size_t)n * sizeof *half);
    for (int64_t i = 0; i < n; i++) {
        float u = (float)vr_rng_uniform(&w->rng);
        values[i] = row->kind == VR_VEC ? 0.05f + 0.9f * u : scale * (2 * u - 1);
        half[i] = vr_f32_bf16(values[i]);
    }
    bool wide = w->type == VR_F32;
    OK(vr_save_put(w->save, wide ? (const void *)values : half, (size_t)n * (wide ? 4 : 2), &err));
    free(values);
    free(half);
}

static void write_checkpoint(const char *path, const char *json, vr_dtype type) {
    writer w = {.type = type, .rng = {7}};
    OK(vr_save_open(&w.save, path, &err));
    each_row(json, declare, &w);
    each_row(json, put, &w);
    OK(vr_save_commit(w.save, &err));
}

static vrwkv_model *open_model(const char *path, int threads) {
    vrwkv_model_options options = {.threads = threads};
    vrwkv_model *model = NULL;
    OK(vrwkv_model_open(path, &options, &model, &err));
    return model;
}

static vrwkv_model *random_model(const char *json, int threads) {
    char path[64];
    write_checkpoint(temporary(path, ".pth"), json, VR_BF16);
    vrwkv_model *model = open_model(path, threads);
    unlink(path);
    return model;
}

static vrwkv_context *new_context(vrwkv_model *model) {
    vrwkv_context *context = NULL;
    OK(vrwkv_context_new(model, NULL, &context, &err));
    return context;
}

static void same_bits(const vrwkv_context *a, const vrwkv_context *b) {
    assert_non_null(vrwkv_logits(a));
    assert_memory_equal(vrwkv_logits(a), vrwkv_logits(b), N_VOCAB * sizeof(float));
    assert_memory_equal(a->state, b->state, (size_t)a->model->state_floats * sizeof(float));
}

/* ---- tests ---- */

static void keys_and_shapes_tell_the_version(void **unused) {
    (void)unused;
    for (size_t v = 0; v < VR_COUNT(versions); v++) {
        vr_config expected, again;
        OK(vr_config_parse(&expected, versions[v], strlen(versions[v]), &err));
        vrwkv_model *model = random_model(versions[v], 1);
        const vrwkv_info *info = vrwkv_model_info(model);
        assert_string_equal(info->rwkv, expected.rwkv);
        assert_string_equal(info->version, "");
        assert_memory_equal(&model->config.lm, &expected.lm, sizeof expected.lm);
        OK(vr_config_parse(&again, info->config_json, strlen(info->config_json), &err)); /* what a model file stores */
        assert_memory_equal(&again.lm, &expected.lm, sizeof expected.lm);
        assert_int_equal(info->state_bytes, expected.lm.n_layer * (2 * 48 + 48 * 16) * 4);
        vrwkv_model_close(model);
    }
}

static void a_missing_rank_is_named(void **unused) {
    (void)unused;
    vr_config config;
    const char *without = SIZES("x070", 2, 192) RANKS7 "}";
    assert_int_equal(vr_config_parse(&config, without, strlen(without), &err), VRWKV_ERR_FORMAT);
    assert_non_null(strstr(err.message, "blocks.1.att.v1"));
}

static void released_shapes_are_complete(void **unused) {
    (void)unused;
    static const struct { const char *name; double parameters; } sizes[] = {
        {"v6-1b6", 1.6e9}, {"v6-3b", 3.1e9}, {"v6-7b", 7.6e9}, {"v7-0b1", 0.19e9}, {"v7-0b4", 0.45e9}, {"v7-1b5", 1.53e9}};
    for (size_t s = 0; s < VR_COUNT(sizes); s++) {
        const vr_shape *shape = vr_shape_find(sizes[s].name);
        vr_config config;
        vr_part parts[VR_MAX_PARTS];
        double parameters = 0;
        assert_non_null(shape);
        OK(vr_config_parse(&config, shape->config, strlen(shape->config), &err));
        int n = vr_config_parts(&config, parts);
        for (int p = 0; p < n; p++)
            for (int layer = 0; strcmp(parts[p].name, "rwkv") == 0 && layer < parts[p].repeat; layer++)
                for (int r = 0; r < parts[p].n_rows; r++) {
                    int64_t count = 0, dims[VR_MAX_DIMS];
                    vr_shape_count(vr_part_shape(&parts[p], &parts[p].rows[r], layer, dims), dims, &count);
                    parameters += vr_row_exists(&parts[p].rows[r], layer) ? (double)count : 0;
                }
        if (fabs(parameters / sizes[s].parameters - 1) > 0.02) fail_msg("%s has %.4g parameters", sizes[s].name, parameters);
    }
    assert_null(vr_shape_find("v8"));
}

static void conversions_keep_the_answers(void **unused) {
    (void)unused;
    static const struct { const char *ending; vr_dtype type; bool keep; double bound; } targets[] = {
        {".gguf", VR_F32, true, 0},        {".gguf", VR_F32, false, 1e-6}, {".pth", VR_F32, true, 0},
        {".safetensors", VR_F32, true, 0}, {".gguf", VR_F16, false, 1e-2},
    };
    for (size_t v = 0; v < VR_COUNT(versions); v++) {
        char source[64], target[64];
        const char *from = temporary(source, ".pth");
        write_checkpoint(source, versions[v], VR_BF16);
        vrwkv_model *model = open_model(source, 2);
        vrwkv_context *context = new_context(model);
        OK(vrwkv_feed(context, ids, N_IDS, NULL, 0, &err));
        for (size_t t = 0; t < VR_COUNT(targets); t++) {
            vr_convert_options options = {.sources = &from, .n_sources = 1, .out = temporary(target, targets[t].ending),
                                          .type = targets[t].type, .keep_type = targets[t].keep};
            OK(vr_convert(&options, &err));
            vrwkv_model *other = open_model(target, 2);
            vrwkv_context *again = new_context(other);
            OK(vrwkv_feed(again, ids, N_IDS, NULL, 0, &err));
            double worst = 0;
            for (int i = 0; i < N_VOCAB; i++)
                worst = fmax(worst, fabs((double)again->logits[i] - (double)context->logits[i]));
            if (!(worst <= targets[t].bound)) fail_msg("%s to %s: logits differ by %g", model->info.rwkv, target, worst);
            vrwkv_context_free(again);
            vrwkv_model_close(other);
            unlink(target);
        }
        unlink(source);
        vrwkv_context_free(context);
        vrwkv_model_close(model);
    }
}

/* At once, in chunks, row by row beside another conversation, through a file; 1 to 3 threads. */
static void every_way_of_reading_is_the_same(void **unused) {
    (void)unused;
    static const size_t cuts[] = {1, 6, 7, 18, N_IDS};
    for (size_t v = 0; v < VR_COUNT(versions); v++)
        for (int threads = 1; threads <= 3; threads += 2) {
            char path[64];
            vrwkv_model *model = random_model(versions[v], threads);
            vrwkv_context *whole = new_context(model), *chunks = new_context(model);
            vrwkv_context *two[] = {new_context(model), new_context(model)};
            OK(vrwkv_feed(whole, ids, N_IDS, NULL, 0, &err));
            for (size_t i = 0, at = 0; i < VR_COUNT(cuts); at = cuts[i++]) {
                OK(vrwkv_feed(chunks, ids + at, cuts[i] - at, NULL, 0, &err));
                if (i != 2) continue;
                OK(vrwkv_state_save(chunks, temporary(path, ".safetensors"), 0, &err));
                OK(vrwkv_feed(chunks, ids, 5, NULL, 0, &err)); /* forgotten by loading */
                OK(vrwkv_state_load(chunks, path, &err));
                unlink(path);
            }
            for (int i = 0; i < N_IDS; i++) OK(vrwkv_decode(two, 2, (int32_t[]){ids[i], ids[N_IDS - 1 - i]}, &err));
            same_bits(whole, chunks);
            same_bits(whole, two[0]);
            assert_memory_not_equal(whole->logits, two[1]->logits, N_VOCAB * sizeof(float));
            for (int i = 0; i < N_VOCAB; i++) assert_true(isfinite(whole->logits[i]));
            vrwkv_context_free(whole);
            vrwkv_context_free(chunks);
            vrwkv_context_free(two[0]);
            vrwkv_context_free(two[1]);
            vrwkv_model_close(model);
        }
}

static void a_snapshot_fits_its_model_alone(void **unused) {
    (void)unused;
    char path[64];
    vrwkv_model *first = random_model(versions[0], 1), *second = random_model(versions[1], 1);
    vrwkv_context *from = new_context(first), *to = new_context(second);
    OK(vrwkv_feed(from, ids, 3, NULL, 0, &err));
    OK(vrwkv_state_save(from, temporary(path, ".safetensors"), 0, &err));
    assert_int_equal(vrwkv_state_load(to, path, &err), VRWKV_ERR_ARGUMENT); /* states of one size, other versions */
    assert_non_null(strstr(err.message, "another model"));
    unlink(path);
    vrwkv_context_free(from);
    vrwkv_context_free(to);
    vrwkv_model_close(first);
    vrwkv_model_close(second);
}

/* ---- scans ---- */

enum { ROWS = 12, START = 3, SCANNED = 7 };

/* Block by block by hand: layers with an odd index read the range backwards, and with it what layer 0 left. */
static vr_tensor *scan_by_hand(vr_run *run, const vr_rwkv *lm, vr_tensor *x, float *state, bool turn_first) {
    int32_t order[ROWS];
    vr_span span = {0, ROWS};
    float *states[1];
    vr_pass pass = {.spans = &span, .states = states, .n = 1};
    vr_tensor *first = NULL;
    int64_t per_layer = vr_rwkv_state_floats(lm->arch, &lm->dims);
    for (int i = 0; i < ROWS; i++) order[i] = i; /* its own inverse */
    for (int i = 0; i < SCANNED; i++) order[START + i] = START + SCANNED - 1 - i;
    x = vr_layer_norm(run, x, &lm->ln0_w, &lm->ln0_b, lm->dims.norm_eps);
    for (int layer = 0; layer < lm->dims.n_layer; layer++) {
        states[0] = state + layer * per_layer;
        pass.value_first = layer % 2 && first && turn_first ? vr_permute_rows(run, first, order) : first;
        if (layer % 2) x = vr_permute_rows(run, x, order);
        x = lm->arch->block(run, lm, layer, x, &pass);
        if (layer % 2) x = vr_permute_rows(run, x, order);
        if (layer == 0) first = pass.value_first;
    }
    return x;
}

static void a_scan_takes_along_what_layer_0_left(void **unused) {
    (void)unused;
    for (size_t v = 0; v + 1 < VR_COUNT(versions); v++) {
        vr_workspace *workspace;
        vrwkv_model *model = random_model(versions[v], 2);
        OK(vr_workspace_get(model, &workspace, &err));
        vr_run run = vr_run_make(model, workspace, NULL, &err);
        vr_tensor *states = vr_zeros2(&run, 3, model->state_floats), *x = vr_embed(&run, &model->lm.emb, ids, ROWS);
        float *state = states->data;
        vr_segment segment = {{0, ROWS}, state, START, SCANNED};
        vr_tensor *scanned = vr_rwkv_forward(&run, &model->lm, x, &segment, 1, vr_scan_find("bidirection"), NULL, NULL);
        vr_tensor *by_hand = scan_by_hand(&run, &model->lm, x, state + model->state_floats, true);
        vr_tensor *left = scan_by_hand(&run, &model->lm, x, state + 2 * model->state_floats, false);
        assert_int_equal(vr_run_status(&run), VRWKV_OK);
        assert_memory_equal(scanned->data, by_hand->data, ROWS * 48 * sizeof(float));
        assert_memory_equal(state, state + model->state_floats, (size_t)model->state_floats * sizeof(float));
        assert_true((memcmp(by_hand->data, left->data, ROWS * 48 * sizeof(float)) != 0) == model->lm.arch->value_residual);
        vr_workspace_put(model, workspace);
        vrwkv_model_close(model);
    }
}

/* ---- initial states ---- */

/* layers of [heads, N, N], values that tell their place: f16 and bf16 hold them exactly. */
static float place_value(int layer, int64_t h, int64_t i, int64_t j) {
    return (float)(layer * 3 + h) + (float)(i * 16 + j) / 64.0f;
}

static const char *write_states(char *path, const char *ending, int n_layer, vr_dtype type, int64_t heads, int64_t N) {
    vr_save *save;
    int64_t shape[] = {heads, N, N};
    float values[3 * 16 * 16];
    uint16_t half[3 * 16 * 16];
    OK(vr_save_open(&save, temporary(path, ending), &err));
    for (int layer = 0; layer < n_layer; layer++) {
        char name[VR_NAME_SIZE];
        OK(vr_save_declare(save, vr_row_name("blocks.%d.att.time_state", layer, name), type, 3, shape, &err));
    }
    for (int layer = 0; layer < n_layer; layer++) {
        for (int64_t k = 0; k < heads * N * N; k++) {
            values[k] = place_value(layer, k / (N * N), k / N % N, k % N);
            half[k] = type == VR_BF16 ? vr_f32_bf16(values[k]) : vr_f32_f16(values[k]);
        }
        size_t bytes = (size_t)(heads * N * N) * (type == VR_F32 ? 4 : 2);
        OK(vr_save_put(save, type == VR_F32 ? (const void *)values : half, bytes, &err));
    }
    OK(vr_save_commit(save, &err));
    return path;
}

static void tuned_states_begin_a_conversation(void **unused) {
    (void)unused;
    static const struct { const char *ending; vr_dtype type; float relative; } files[] = {
        {".pth", VR_F32, 0}, {".pth", VR_BF16, 0x1p-8f}, {".safetensors", VR_F16, 0x1p-11f}, {".gguf", VR_F32, 0}};
    for (size_t v = 0; v < VR_COUNT(versions); v++)
        for (size_t f = 0; f < VR_COUNT(files); f++) {
            char path[64];
            vrwkv_model *model = random_model(versions[v], 1);
            vrwkv_context *tuned = new_context(model), *plain = new_context(model);
            int n_layer = model->config.lm.n_layer;
            bool by_key = strcmp(model->info.rwkv, "x070") != 0; /* the state is [head, key, value] */
            OK(vrwkv_feed(tuned, ids, 4, NULL, 0, &err)); /* replaced by the load */
            OK(vrwkv_state_load(tuned, write_states(path, files[f].ending, n_layer, files[f].type, 3, 16), &err));
            unlink(path);
            for (int layer = 0; layer < n_layer; layer++) {
                const float *state = tuned->state + layer * (2 * 48 + 48 * 16);
                for (int i = 0; i < 2 * 48; i++) assert_true(state[i] == 0);
                for (int64_t h = 0; h < 3; h++)
                    for (int64_t i = 0; i < 16; i++)
                        for (int64_t j = 0; j < 16; j++) {
                            float wanted = place_value(layer, h, i, j); /* value i, key j */
                            float found = state[2 * 48 + (h * 16 + (by_key ? j : i)) * 16 + (by_key ? i : j)];
                            assert_true(fabsf(found - wanted) <= files[f].relative * wanted);
                        }
            }
            assert_int_equal(vrwkv_context_length(tuned), 0);
            assert_null(vrwkv_logits(tuned));
            OK(vrwkv_feed(tuned, ids, 2, NULL, 0, &err));
            OK(vrwkv_feed(plain, ids, 2, NULL, 0, &err));
            assert_memory_not_equal(tuned->logits, plain->logits, N_VOCAB * sizeof(float));
            vrwkv_context_free(tuned);
            vrwkv_context_free(plain);
            vrwkv_model_close(model);
        }
}

static void wrong_states_are_refused_by_name(void **unused) {
    (void)unused;
    static const struct { int n_layer, heads, N; const char *message; } files[] = {
        {2, 3, 16, "has no 'blocks.2.att.time_state', the model has 3 layers"},
        {4, 3, 16, "has a 'blocks.3.att.time_state', the model has 3 layers"},
        {3, 2, 16, "'blocks.0.att.time_state' is f32 [2, 16, 16], expected f32, f16 or bf16 [3, 16, 16]"},
        {3, 3, 8, "'blocks.0.att.time_state' is f32 [3, 8, 8], expected f32, f16 or bf16 [3, 16, 16]"},
    };
    char path[64];
    vrwkv_model *model = random_model(versions[2], 1);
    vrwkv_context *context = new_context(model), *before = NULL;
    OK(vrwkv_feed(context, ids, 4, NULL, 0, &err));
    OK(vrwkv_fork(context, &before, &err));
    for (size_t f = 0; f < VR_COUNT(files); f++) {
        write_states(path, ".pth", files[f].n_layer, VR_F32, files[f].heads, files[f].N);
        assert_int_equal(vrwkv_state_load(context, path, &err), VRWKV_ERR_SHAPE);
        if (!strstr(err.message, files[f].message)) fail_msg("%s", err.message);
        unlink(path);
    }
    write_checkpoint(temporary(path, ".pth"), versions[2], VR_F32);
    assert_int_equal(vrwkv_state_load(context, path, &err), VRWKV_ERR_FORMAT);
    assert_non_null(strstr(err.message, "time_state"));
    unlink(path);
    same_bits(context, before); /* a failed load changes nothing */
    vrwkv_context_free(before);
    vrwkv_context_free(context);
    vrwkv_model_close(model);
}

/* ---- versions that are not run ---- */

static void other_versions_are_refused_by_name(void **unused) {
    (void)unused;
    static const struct { const char *keys[4], *message; int64_t decay[2]; } files[] = {
        {{"blocks.0.att.time_mix_k", "blocks.0.att.time_decay", "emb.weight"}, "is RWKV-4", {48, 1}},
        {{"blocks.0.att.time_mix_k", "blocks.0.att.time_decay", "emb.weight", "blocks.0.att.ln_x.weight"}, "is RWKV-5.0", {3, 1}},
        {{"blocks.0.att.time_mix_g", "blocks.0.att.time_decay", "emb.weight", "blocks.0.att.gate.weight"}, "is RWKV-5.1", {3, 1}},
        {{"blocks.0.att.r_k", "blocks.0.ffn.s_emb.weight", "emb.weight"}, "is RWKV-7 with DeepEmbed", {3, 16}},
        {{"blocks.0.att.other", "emb.weight"}, "is no model that this program knows", {3, 16}},
    };
    static const float zeros[48 * 16];
    for (size_t f = 0; f < VR_COUNT(files); f++) {
        char path[64];
        vr_save *save;
        vrwkv_model *model = NULL;
        OK(vr_save_open(&save, temporary(path, ".pth"), &err));
        for (int k = 0; k < 4 && files[f].keys[k]; k++)
            OK(vr_save_declare(save, files[f].keys[k], VR_F32, 2, files[f].decay, &err));
        for (int k = 0; k < 4 && files[f].keys[k]; k++)
            OK(vr_save_put(save, zeros, (size_t)(files[f].decay[0] * files[f].decay[1]) * 4, &err));
        OK(vr_save_commit(save, &err));
        assert_int_equal(vrwkv_model_open(path, NULL, &model, &err), VRWKV_ERR_UNSUPPORTED);
        if (!strstr(err.message, files[f].message)) fail_msg("%s", err.message);
        unlink(path);
    }
}

int main(void) {
    vr_rng rng = {99};
    for (int i = 0; i < N_IDS; i++) ids[i] = (int32_t)(vr_rng_next(&rng) % N_VOCAB);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_and_shapes_tell_the_version),
        cmocka_unit_test(a_missing_rank_is_named),
        cmocka_unit_test(released_shapes_are_complete),
        cmocka_unit_test(conversions_keep_the_answers),
        cmocka_unit_test(every_way_of_reading_is_the_same),
        cmocka_unit_test(a_snapshot_fits_its_model_alone),
        cmocka_unit_test(a_scan_takes_along_what_layer_0_left),
        cmocka_unit_test(tuned_states_begin_a_conversation),
        cmocka_unit_test(wrong_states_are_refused_by_name),
        cmocka_unit_test(other_versions_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
