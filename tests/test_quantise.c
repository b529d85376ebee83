/* Measured types: a model with an outlier channel, which 4-bit rounding destroys and a measured plan does not; the
 * bits are kept; threads change nothing; what is stored; errors. */
#include "quantise/quantise.h"
#include "base/half.h"
#include "base/rng.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define CASE VRWKV_SOURCE_DIR "/tests/data/cases/v6/p7-grid2-floor"
#define PICTURE CASE "/image.png"

enum { N_IDS = 96, CHANNEL = 5 };

static vr_error err; /* of the call under test */
static char folder[64], plain[96], outlier[96];

#define OK(expression)                                                                                                 \
    do {                                                                                                               \
        if ((expression) != VRWKV_OK) fail_msg("%s", err.message);                                                     \
    } while (0)

static const char *in_folder(char *path, const char *name) {
    snprintf(path, 96, "%s/%s", folder, name);
    return path;
}

/* ---- models ---- */

static void convert(const char *from, const char *to, vr_dtype type, const vr_type_table *types) {
    vr_settings *settings = NULL;
    if (strcmp(from, CASE "/model.pth") == 0) OK(vr_settings_file(&settings, CASE "/case.json", &err));
    const vr_convert_options options = {.sources = &from, .n_sources = 1, .out = to, .type = type, .types = types, .threads = 1,
                                        .settings = settings};
    OK(vr_convert(&options, &err));
    vr_settings_free(settings);
}

/* One channel of what the head reads becomes 256 times as large, and the head's weights for it small, so that the
 * channel means 20 times as much as before: weights beside which others in their block are large. */
static void make_outlier(const char *from, const char *to) {
    vr_weights *in;
    vr_save *out;
    OK(vr_weights_open(&in, from, NULL, &err));
    OK(vr_save_open(&out, to, &err));
    OK(vr_save_meta_string(out, "vrwkv.config", vr_weights_meta(in, "vrwkv.config")->string, &err));
    for (size_t i = 0; i < vr_weights_count(in); i++) {
        const vr_entry *entry = vr_weights_at(in, i);
        OK(vr_save_declare(out, entry->name, entry->dtype, entry->ndim, entry->shape, &err));
    }
    for (size_t i = 0; i < vr_weights_count(in); i++) {
        const vr_entry *entry = vr_weights_at(in, i);
        float *data = malloc(entry->bytes);
        OK(vr_weights_read(in, entry, data, &err));
        int64_t width = entry->shape[entry->ndim - 1], n = (int64_t)(entry->bytes / sizeof(float));
        bool norm = strstr(entry->name, "ln_out."), head = strstr(entry->name, "head.weight");
        for (int64_t j = CHANNEL; (norm || head) && j < n; j += width) data[j] *= norm ? 256.0f : 20.0f / 256.0f;
        OK(vr_save_put(out, data, entry->bytes, &err));
        free(data);
    }
    OK(vr_save_commit(out, &err));
    vr_weights_close(in);
}

static int make_models(void **state) {
    char wide[96];
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/vrwkv_quantise_%d", (int)getpid());
    mkdir(folder, 0700);
    convert(CASE "/model.pth", in_folder(wide, "wide.safetensors"), VR_F32, NULL);
    convert(wide, in_folder(plain, "plain.gguf"), VR_F32, NULL);
    make_outlier(wide, in_folder(outlier, "outlier.safetensors"));
    return 0;
}

static int remove_models(void **state) {
    static const char *const names[] = {"wide.safetensors", "plain.gguf", "outlier.safetensors", "256.safetensors", "a.gguf", "b.gguf", "empty/note.md", "empty"};
    char path[96];
    (void)state;
    for (size_t i = 0; i < VR_COUNT(names); i++) remove(in_folder(path, names[i]));
    return rmdir(folder);
}

/* A language model 256 wide, which the types of 256 elements fit; random bf16 numbers, one in
 * a hundred of the matrices' six times as large. */
static const char wide_json[] = "{\"rwkv\":\"x070\",\"n_layer\":1,\"n_embd\":256,\"dim_att\":256,\"dim_ffn\":512,\"head_size\":64,"
                                "\"vocab_size\":80,\"rank_decay\":8,\"rank_iclr\":8,\"rank_gate\":8,\"rank_value\":8}";

static void walk_rows(vr_save *save, bool declare) {
    vr_config config;
    vr_part parts[VR_MAX_PARTS];
    vr_rng rng = {7};
    OK(vr_config_parse(&config, wide_json, strlen(wide_json), &err));
    int n_parts = vr_config_parts(&config, parts);
    for (int p = 0; p < n_parts; p++)
        for (int layer = 0; layer < parts[p].repeat; layer++)
            for (int r = 0; r < parts[p].n_rows; r++) {
                const vr_row *row = &parts[p].rows[r];
                char name[VR_NAME_SIZE];
                int64_t shape[VR_MAX_DIMS], n;
                int ndim = vr_part_shape(&parts[p], row, layer, shape);
                if (!vr_row_exists(row, layer)) continue;
                vr_row_name(row->key, layer, name);
                vr_shape_count(ndim, shape, &n);
                if (declare) OK(vr_save_declare(save, name, VR_BF16, ndim, shape, &err));
                if (declare) continue;
                uint16_t *half = malloc((size_t)n * sizeof *half);
                double scale = 1.2 / sqrt((double)shape[ndim - 1]);
                for (int64_t i = 0; i < n; i++) {
                    double u = vr_rng_uniform(&rng), large = vr_rng_uniform(&rng) < 0.01 ? 6 : 1;
                    half[i] = vr_f32_bf16((float)(row->kind == VR_VEC ? 0.05 + 0.9 * u : large * scale * (2 * u - 1)));
                }
                OK(vr_save_put(save, half, (size_t)n * sizeof *half, &err));
                free(half);
            }
}

static void make_wide(const char *path) {
    vr_save *save;
    OK(vr_save_open(&save, path, &err));
    walk_rows(save, true);
    walk_rows(save, false);
    OK(vr_save_commit(save, &err));
}

/* ---- logits ---- */

typedef struct logits { float *data; size_t n; } logits;

static void keep(void *user, const char *name, int ndim, const int64_t *shape, const float *data) {
    logits *all = user;
    size_t n = (size_t)(shape[0] * shape[ndim - 1]);
    if (strcmp(name, "logits") != 0) return;
    all->data = realloc(all->data, (all->n + n) * sizeof *data);
    memcpy(all->data + all->n, data, n * sizeof *data);
    all->n += n;
}

/* After a picture and ids that are not those of the samples. */
static logits read_model(const char *path, int *vocab) {
    const vrwkv_model_options options = {.threads = 1, .exact = 1};
    vrwkv_model *model;
    vrwkv_context *context;
    vrwkv_features *features;
    logits all = {0};
    int32_t ids[N_IDS];
    OK(vrwkv_model_open(path, &options, &model, &err));
    *vocab = vrwkv_model_info(model)->n_vocab;
    for (int i = 0; i < N_IDS; i++) ids[i] = 1 + (i * 37 + i * i) % (*vocab - 1);
    OK(vrwkv_context_new(model, NULL, &context, &err));
    if (vrwkv_model_info(model)->image_tokens) {
        OK(vrwkv_encode_file(model, PICTURE, VRWKV_FRIENDLY, &features, &err));
        OK(vrwkv_feed_features(context, features, &err));
        vrwkv_features_free(features);
    }
    vrwkv_set_trace(context, keep, &all);
    OK(vrwkv_feed(context, ids, N_IDS, NULL, 0, &err));
    vrwkv_context_free(context);
    vrwkv_model_close(model);
    return all;
}

static double log_sum(const float *row, int n) {
    double sum = 0, largest = row[0];
    for (int i = 1; i < n; i++) largest = fmax(largest, row[i]);
    for (int i = 0; i < n; i++) sum += exp(row[i] - largest);
    return largest + log(sum);
}

typedef struct distance { double kl, same; } distance;

static int likeliest(const float *row, int n) {
    int best = 0;
    for (int i = 1; i < n; i++)
        if (row[i] > row[best]) best = i;
    return best;
}

static distance measure(const char *from, const char *to) {
    int vocab;
    distance out = {0, 0};
    logits p = read_model(from, &vocab), q = read_model(to, &vocab);
    assert_int_equal(p.n, q.n);
    for (size_t row = 0; row < p.n; row += (size_t)vocab) {
        const float *before = p.data + row, *now = q.data + row;
        double ps = log_sum(before, vocab), qs = log_sum(now, vocab);
        for (int i = 0; i < vocab; i++) out.kl += exp(before[i] - ps) * (before[i] - ps - (now[i] - qs)) / N_IDS;
        out.same += (likeliest(before, vocab) == likeliest(now, vocab)) / (double)N_IDS;
    }
    free(p.data);
    free(q.data);
    return out;
}

static void show(const char *what, distance found) { print_message("%-10s KL %.2g, same %.1f%%\n", what, found.kl, 100 * found.same); }

static vr_type_table plan(const char *model, double bits, int threads) {
    const vr_quantise_options options = {.model = model, .bits = bits, .threads = threads};
    vr_type_table table;
    OK(vr_quantise_plan(&options, &table, &err));
    return table;
}

static vr_dtype type_of(const vr_type_table *table, const char *name) {
    for (size_t i = 0; i < table->n; i++)
        if (strcmp(table->items[i].name, name) == 0) return table->items[i].type;
    fail_msg("%s is not in the table", name);
    return VR_F32;
}

/* ---- tests ---- */

static void an_outlier_channel_is_kept(void **state) {
    char a[96], b[96];
    (void)state;
    vr_type_table table = plan(outlier, 5, 1);
    convert(outlier, in_folder(a, "a.gguf"), VR_F16, &table);
    convert(outlier, in_folder(b, "b.gguf"), VR_Q4_0, NULL);
    distance measured = measure(outlier, a), everywhere = measure(outlier, b);
    show("auto:5", measured);
    show("q4_0", everywhere);
    assert_true(vr_dtype_of(type_of(&table, "output.weight"))->bytes > vr_dtype_of(VR_Q4_0)->bytes);
    assert_true(everywhere.kl > 5 * measured.kl);
    vr_quantise_free(&table);
}

/* At the least bits, where no matrix can be wider than another: the better of the two narrowest types. More bits
 * than one type for all takes must lose less than that type. */
static void a_plan_beats_one_type_for_all(void **state) {
    static const struct { vr_dtype type; double bits[2]; } rivals[] = { /* of a type, and of plans that must be as good */
        {VR_Q4_0, {4.5, 0}}, {VR_Q4_K, {4.5, 5}}, {VR_Q5_K, {5.5, 6}}, {VR_Q6_K, {6.5625, 0}}, {VR_Q8_0, {8.5, 0}}};
    char model[96], a[96], b[96], name[24];
    double planned = 0;
    distance measured = {0, 0};
    (void)state;
    make_wide(in_folder(model, "256.safetensors"));
    for (size_t i = 0; i < VR_COUNT(rivals); i++) {
        convert(model, in_folder(b, "b.gguf"), rivals[i].type, NULL);
        distance everywhere = measure(model, b);
        show(vr_dtype_of(rivals[i].type)->name, everywhere);
        for (int k = 0; k < 2 && rivals[i].bits[k] > 0; k++) {
            if (rivals[i].bits[k] != planned) {
                vr_type_table table = plan(model, planned = rivals[i].bits[k], 1);
                convert(model, in_folder(a, "a.gguf"), VR_F16, &table);
                measured = measure(model, a);
                snprintf(name, sizeof name, "auto:%g", planned);
                show(name, measured);
                vr_quantise_free(&table);
            }
            assert_true(measured.kl <= 1.1 * everywhere.kl);
        }
    }
}

static void the_bits_are_kept(void **state) {
    static const double budgets[] = {4.5, 4.75, 5, 6, 8.5, 12, 16};
    double before = 1e9;
    (void)state;
    for (size_t i = 0; i < VR_COUNT(budgets); i++) {
        char path[96];
        vr_weights *file;
        vr_type_table table = plan(plain, budgets[i], 1);
        json_t *report = json_loads(table.report, 0, NULL), *matrices = json_object_get(report, "matrices"), *matrix;
        size_t m;
        double bits = 0, weights = 0;
        convert(plain, in_folder(path, "a.gguf"), VR_F16, &table);
        OK(vr_weights_open(&file, path, NULL, &err));
        assert_string_equal(vr_weights_meta(file, VR_QUANTISATION_KEY)->string, table.report);
        json_array_foreach(matrices, m, matrix) {
            const vr_entry *entry = vr_weights_find(file, json_string_value(json_object_get(matrix, "name")));
            assert_non_null(entry);
            assert_string_equal(vr_dtype_of(entry->dtype)->name, json_string_value(json_object_get(matrix, "type")));
            assert_true(json_is_number(json_object_get(json_object_get(matrix, "cost"), vr_dtype_of(entry->dtype)->name)));
            bits += 8 * (double)entry->bytes;
            weights += json_number_value(json_object_get(matrix, "weights"));
        }
        assert_true(bits / weights <= budgets[i]);
        assert_true(fabs(bits / weights - json_number_value(json_object_get(report, "reached"))) < 1e-4);
        double kl = json_number_value(json_object_get(json_object_get(report, "chosen"), "kl"));
        assert_true(kl <= before * 1.2); /* rounding errors may add up or not */
        before = kl;
        json_decref(report);
        vr_weights_close(file);
        vr_quantise_free(&table);
    }
    assert_true(before < 1e-4);
}

static void threads_change_nothing(void **state) {
    (void)state;
    vr_type_table one = plan(plain, 5.5, 1), three = plan(plain, 5.5, 3);
    assert_string_equal(one.report, three.report);
    assert_int_equal(one.n, three.n);
    for (size_t i = 0; i < one.n; i++) {
        assert_string_equal(one.items[i].name, three.items[i].name);
        assert_int_equal(one.items[i].type, three.items[i].type);
    }
    vr_quantise_free(&one);
    vr_quantise_free(&three);
}

static void towers_of_a_given_type_are_not_measured(void **state) {
    static const vr_dtype type = VR_BF16;
    const vr_quantise_options options = {.model = plain, .bits = 5, .threads = 1, .vision_type = &type};
    vr_type_table table;
    (void)state;
    OK(vr_quantise_plan(&options, &table, &err));
    assert_int_equal(type_of(&table, "mm.0.weight"), VR_BF16);
    assert_int_equal(type_of(&table, "v.blk.0.attn_q.weight"), VR_BF16);
    assert_null(strstr(table.report, "mm.0.weight"));
    assert_non_null(strstr(table.report, "output.weight"));
    vr_quantise_free(&table);
}

static void given_pictures_are_read(void **state) {
    const vr_quantise_options options = {.model = plain, .bits = 5, .threads = 1, .samples = PICTURE};
    vr_type_table table;
    (void)state;
    OK(vr_quantise_plan(&options, &table, &err));
    assert_non_null(strstr(table.report, "\"samples\":{\"from\":\"given\",\"texts\":0,\"pictures\":1,"));
    vr_quantise_free(&table);
}

static void refuses(vr_quantise_options options, vr_status status, const char *part) {
    vr_type_table table;
    options.threads = 1;
    assert_int_equal(vr_quantise_plan(&options, &table, &err), status);
    if (!strstr(err.message, part)) fail_msg("\"%s\" lacks \"%s\"", err.message, part);
    assert_null(table.items);
    assert_null(table.report);
}

static void what_is_refused(void **state) {
    char quantised[96], empty[96], note[96];
    (void)state;
    convert(plain, in_folder(quantised, "b.gguf"), VR_Q8_0, NULL);
    mkdir(in_folder(empty, "empty"), 0700);
    FILE *file = fopen(in_folder(note, "empty/note.md"), "w");
    fclose(file);
    refuses((vr_quantise_options){.model = plain, .bits = 3}, VRWKV_ERR_ARGUMENT, "3 bits per weight, expected 4.5 to 16");
    refuses((vr_quantise_options){.model = plain, .bits = 16.5}, VRWKV_ERR_ARGUMENT, "16.5 bits");
    refuses((vr_quantise_options){.model = plain, .bits = (double)NAN}, VRWKV_ERR_ARGUMENT, "expected 4.5 to 16");
    refuses((vr_quantise_options){.model = quantised, .bits = 5}, VRWKV_ERR_UNSUPPORTED, "token_embd.weight is q8_0 already");
    refuses((vr_quantise_options){.model = plain, .bits = 5, .samples = "/nowhere"}, VRWKV_ERR_IO, "/nowhere");
    refuses((vr_quantise_options){.model = plain, .bits = 5, .samples = empty}, VRWKV_ERR_ARGUMENT, "holds no samples");
    refuses((vr_quantise_options){.model = plain, .bits = 5, .samples = CASE "/../../../text/x.txt"}, VRWKV_ERR_IO, "x.txt");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_outlier_channel_is_kept),
        cmocka_unit_test(a_plan_beats_one_type_for_all),
        cmocka_unit_test(the_bits_are_kept),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(towers_of_a_given_type_are_not_measured),
        cmocka_unit_test(given_pictures_are_read),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests(tests, make_models, remove_models);
}
