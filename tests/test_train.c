/* The training room: order of samples, rates, settings, data files, small vocabularies, batches, the
 * optimizer; then gradients of whole small models of every RWKV version against differences of the loss,
 * with towers, states and adapters trained too; and checkpoints. */
#include "check.h"

#include "base/rng.h"
#include "train/checkpoint.h"
#include "train/data.h"
#include "train/init.h"
#include "train/log.h"
#include "train/plan.h"
#include "train/sampler.h"
#include "train/schedule.h"
#include "train/settings.h"
#include "train/step.h"
#include "train/vocabulary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static vr_error err;
static char folder[] = "/tmp/vrwkv-test-train-XXXXXX";

#define OK(call) CHECK((call) == VRWKV_OK, "%s", err.message)

/* ---- order, rates, settings ---- */

static void test_sampler(void) {
    for (int64_t size = 1; size < 60; size = size * 2 + 1) {
        vr_sampler s;
        int64_t sample, seen[64], first[64];
        OK(vr_sampler_open(&s, VR_ORDER_FAIR, size, 5, &err));
        for (int64_t pass = 0; pass < 3; pass++) {
            int64_t same = 0;
            memset(seen, 0, sizeof seen);
            for (int64_t i = 0; i < size; i++) {
                OK(vr_sampler_at(&s, pass * size + i, &sample, &err));
                CHECK(sample >= 0 && sample < size && !seen[sample], "size %d pass %d: sample %d", (int)size, (int)pass,
                      (int)sample);
                seen[sample % 64]++;
                if (pass == 0) first[i] = sample;
                same += first[i] == sample;
            }
            CHECK(pass == 0 || size < 7 || same < size, "size %d: pass %d repeats the first", (int)size, (int)pass);
        }
        OK(vr_sampler_at(&s, 0, &sample, &err)); /* back to an earlier pass */
        CHECK(sample == first[0], "an earlier step gives another sample");
        vr_sampler_close(&s);
    }
    vr_sampler s;
    CHECK(vr_sampler_open(&s, VR_ORDER_FAIR, 0, 0, &err) == VRWKV_ERR_ARGUMENT, "no samples");
}

/* Every sample once a pass, batches of like length that are not in the order of their lengths. */
static void test_groups(void) {
    enum { SIZE = 61, BATCH = 4, PASSES = 3 };
    vr_sampler s;
    uint8_t *lengths = malloc(SIZE * sizeof *lengths);
    int64_t order[SIZE * PASSES];
    for (uint32_t i = 0; i < SIZE; i++) lengths[i] = (uint8_t)(i * 37 % SIZE);
    OK(vr_sampler_open(&s, VR_ORDER_FAIR, SIZE, 5, &err));
    OK(vr_sampler_group(&s, lengths, BATCH, 8, &err));
    for (int pass = 0, rising = 0; pass < PASSES; pass++) {
        int seen[SIZE] = {0};
        for (int i = 0; i < SIZE; i++) {
            OK(vr_sampler_at(&s, pass * SIZE + i, &order[pass * SIZE + i], &err));
            CHECK(!seen[order[pass * SIZE + i]]++, "pass %d sees sample %d again", pass, (int)order[pass * SIZE + i]);
        }
        for (int b = pass * SIZE / BATCH + 1; (b + 1) * BATCH < (pass + 1) * SIZE; b++) { /* whole batches, but for the first */
            int least = SIZE, most = 0;
            for (int i = 0; i < BATCH; i++) {
                int length = lengths[order[b * BATCH + i]];
                if (length < least) least = length;
                if (length > most) most = length;
            }
            CHECK(most - least < SIZE / 3, "pass %d, batch %d: buckets of %d to %d", pass, b, least, most);
            rising += least > lengths[order[(b - 1) * BATCH]];
        }
        CHECK(pass + 1 < PASSES || (rising > 6 && rising < 36), "batches come by their lengths: %d rise", rising);
    }
    vr_sampler_close(&s);
    OK(vr_sampler_open(&s, VR_ORDER_ORIGINAL, SIZE, 0, &err));
    lengths = calloc(SIZE, sizeof *lengths);
    CHECK(vr_sampler_group(&s, lengths, BATCH, 8, &err) == VRWKV_ERR_ARGUMENT, "the original's order in groups");
    CHECK(vr_length_bucket(0) == 0 && vr_length_bucket(97) == vr_length_bucket(103) &&
              vr_length_bucket(200) == vr_length_bucket(100) + 8 && vr_length_bucket(UINT32_MAX) >= 255,
          "eight buckets to a doubling");
    vr_sampler_close(&s);
}

static void test_schedule(void) {
    vr_schedule s = {.lr_init = 1e-3, .lr_final = 1e-5, .decay_init = 0.1, .decay_final = 0.01, .epoch_count = 1,
                     .epoch_steps = 100, .accumulate = 1};
    vr_rates first = vr_schedule_at(&s, 0, NULL, NULL), last = vr_schedule_at(&s, 99, NULL, NULL);
    CHECK(first.lr[0] == first.lr[1] && last.lr[0] == last.lr[1], "the group that decays follows the schedule");
    CHECK(fabs(last.lr[1] - 1e-5) < 1e-12 && fabs(last.decay[1] - 0.01) < 1e-12 && last.decay[0] == 0, "the end: %g %g",
          last.lr[1], last.decay[1]);
    s.original = true;
    CHECK(vr_schedule_at(&s, 99, NULL, NULL).lr[1] == 1e-3, "in the original's manner it does not");
    s.lr_final = s.lr_init; /* where the original fails */
    CHECK(fabs(vr_schedule_at(&s, 99, NULL, NULL).decay[1] - 0.01) < 1e-12, "decay with a constant rate");
    s = (vr_schedule){.lr_init = 1, .lr_final = 1, .warmup = 10, .epoch_count = 1, .epoch_steps = 10, .accumulate = 1};
    CHECK(fabs(vr_schedule_at(&s, 5, NULL, NULL).lr[0] - 0.55) < 1e-12, "warmup, as long as the training");
}

static void test_settings(void) {
    vr_train_settings a, b;
    vr_train_settings_default(&a);
    vr_train_settings_default(&b);
    CHECK(a.batch == 4 && a.steps == VR_UNSAID_INT && !vr_is_said(a.lr) && !a.model, "defaults");
    OK(vr_train_settings_put(&a, "lr-init", "0.1", &err));
    OK(vr_train_settings_put(&a, "micro-bsz", "7", &err));
    OK(vr_train_settings_put(&a, "model", "a \"quoted\" name", &err));
    OK(vr_train_settings_put(&a, "seed", "9000000000000000", &err));
    CHECK(a.lr == 0.1 && a.batch == 7, "the original's names");
    const char *bad[][2] = {{"batch", "0"}, {"batch", "1.5"}, {"batch", "x"},  {"batch", ""},
                            {"lr", "nan"},  {"lr", "1e999"},  {"no-such", "1"}, {"manner", "friend"},
                            {"output", ""}, {"data", "a\xff"}};
    for (size_t i = 0; i < VR_COUNT(bad); i++)
        CHECK(vr_train_settings_put(&a, bad[i][0], bad[i][1], &err) == VRWKV_ERR_ARGUMENT &&
                  strstr(err.message, bad[i][0]),
              "%s %s: %s", bad[i][0], bad[i][1], err.message);
    char *json = vr_train_settings_json(&a);
    OK(vr_train_settings_parse(&b, json, strlen(json), &err));
    CHECK(b.lr == a.lr && b.batch == 7 && b.seed == a.seed && b.steps == VR_UNSAID_INT && strcmp(a.model, b.model) == 0,
          "%s", json);
    CHECK(vr_train_settings_parse(&b, "[1]", 3, &err) == VRWKV_ERR_FORMAT &&
              vr_train_settings_parse(&b, "{", 1, &err) == VRWKV_ERR_FORMAT,
          "no object");
    static const char truth[] = "{\"lr\": true}";
    CHECK(vr_train_settings_parse(&b, truth, strlen(truth), &err) == VRWKV_ERR_FORMAT && strstr(err.message, "'lr'") && b.lr == 0.1,
          "neither a text nor a number");
    free(json);
    vr_train_settings_free(&a);
    vr_train_settings_free(&b);
}

/* A log that is taken up again keeps the lines of earlier steps whole, however long they are. */
static void test_log(void) {
    enum { LONG = 9000 };
    vr_train_log log;
    char path[200], *line = NULL, *text = malloc(LONG + 1);
    size_t room = 0, lines = 0;
    memset(text, 'x', LONG);
    text[LONG] = 0;
    OK(vr_train_log_open(&log, folder, 0, &err));
    for (int step = 0; step < 3; step++) OK(vr_train_log_answer(&log, step, text, "\"step\": 9", "c", &err));
    vr_train_log_close(&log);
    OK(vr_train_log_open(&log, folder, 2, &err));
    OK(vr_train_log_answer(&log, 2, "a", "b", "c", &err));
    vr_train_log_close(&log);
    snprintf(path, sizeof path, "%s/answers.jsonl", folder);
    FILE *file = fopen(path, "r");
    for (; file && getline(&line, &room, file) > 0; lines++)
        CHECK(strncmp(line, "{\"step\": ", 9) == 0 && line[9] == (char)('0' + lines) && (strlen(line) > LONG) == (lines < 2),
              "line %zu: %.40s", lines, line);
    CHECK(lines == 3, "%zu lines", lines);
    if (file) fclose(file);
    free(line);
    free(text);
}

/* ---- data ---- */

static const char *write_file(const char *name, const char *text) {
    static char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    CHECK(file && fwrite(text, 1, strlen(text), file) == strlen(text), "cannot write %s", path);
    if (file) fclose(file);
    return path;
}

#define TURN(from, value) "{\"from\": \"" from "\", \"value\": \"" value "\"}"

static void test_data(void) {
    static const char list[] = "\xef\xbb\xbf[\n {\"id\": 0, \"image\": \"a.png\", \"conversations\": ["
                               TURN("human", "brackets ]}[ \\\" and \\\\") ", " TURN("gpt", "yes") "]},\n\n"
                               " {\"image\": [\"b.png\", \"c.png\"], \"conversations\":\n["
                               TURN("human", "<image> x") "]} , {\"image\": null, \"conversations\": ["
                               TURN("gpt", "z") "]}]\n";
    vr_dataset *d;
    vr_record r;
    OK(vr_dataset_open(&d, write_file("list.json", list), NULL, NULL, &err));
    CHECK(d && vr_dataset_size(d) == 3, "%d samples", d ? (int)vr_dataset_size(d) : 0);
    vr_dataset_facts facts = vr_dataset_tell(d);
    CHECK(facts.with_image == 2 && facts.without_answer == 1, "facts: %d %d", (int)facts.with_image,
          (int)facts.without_answer);
    OK(vr_dataset_read(d, 1, &r, &err));
    CHECK(r.n_images == 2 && strcmp(r.images[1], "c.png") == 0 && r.n_turns == 1 && r.line == 4, "sample 1: line %d",
          (int)r.line);
    vr_record_free(&r);
    OK(vr_dataset_read(d, 0, &r, &err));
    CHECK(strcmp(r.turns[0].value, "brackets ]}[ \" and \\") == 0, "%s", r.turns[0].value);
    vr_record_free(&r);
    vr_dataset_close(d);
    static const struct { const char *text, *message; } bad[] = {
        {"", "is empty"},
        {"[]", "no samples"},
        {"7", "found '7'"},
        {"[\n{\"conversations\": [}]", "line 2: sample 0"},
        {"[{\"conversations\": [" TURN("gpt", "a") "]}\n{}]", "line 2: expected ','"},
        {"[{\"conversations\": [" TURN("gpt", "a") "]}", "expected ',' or ']'"},
        {"[{\"conversations\": [" TURN("gpt", "a") "]}] x", "behind the list"},
        {"[{\"image\": 5, \"conversations\": [" TURN("gpt", "a") "]}]", "\"image\""},
        {"[3]", "sample 0"},
        {"[{}]", "conversations"},
        {"[{\"conversations\": [{\"from\": \"gpt\"}]}]", "a turn without"},
        {"{\"conversations\": [" TURN("gpt", "a") "]}\n\n{\"conversations\"\n", "line 3: sample 1"},
        {"[{\"conversations\": [" TURN("gpt", "a"), "line 1"},
    };
    for (size_t i = 0; i < VR_COUNT(bad); i++) {
        vr_status status = vr_dataset_open(&d, write_file("bad.json", bad[i].text), NULL, NULL, &err);
        CHECK(status == VRWKV_ERR_FORMAT && strstr(err.message, bad[i].message), "%s: %s", bad[i].text, err.message);
    }
    CHECK(vr_dataset_open(&d, "/no/such/file", NULL, NULL, &err) == VRWKV_ERR_IO, "a missing file");
}

static void test_vocabulary(void) {
    static const char data[] = "[{\"conversations\": [" TURN("human", "Which colour has the bus?\\nSay it shortly.") ", "
                               TURN("gpt", "Bright yellow, I believe.") "]}]";
    const vr_vocab *world;
    vr_vocab *again = NULL;
    char *text = NULL;
    OK(vr_vocab_world(&world, &err));
    OK(vr_vocab_write(world, &text, &err));
    OK(vr_vocab_parse(&again, text, strlen(text), &err));
    CHECK(vr_vocab_size(again) == vr_vocab_size(world), "sizes");
    for (size_t id = 0; id < vr_vocab_size(world); id++) {
        size_t n, m;
        const char *a = vr_vocab_token(world, (int64_t)id, &n), *b = vr_vocab_token(again, (int64_t)id, &m);
        CHECK(!a == !b && (!a || (n == m && memcmp(a, b, n) == 0)), "token %zu", id);
    }
    free(text);
    vr_vocab_free(again);
    vr_dataset *d;
    vr_small_vocab small;
    vr_record r;
    OK(vr_dataset_open(&d, write_file("vocab.json", data), NULL, NULL, &err));
    OK(vr_small_vocab_make(&small, world, &d, 1, 261, 261, &err));
    CHECK(small.n > 257 && small.n < 300 && small.old[small.stop] == 261 && small.old[0] == 0 && small.old[256] == 256,
          "%d tokens", small.n);
    OK(vr_dataset_read(d, 0, &r, &err));
    vr_prompt large = {0}, little = {0};
    OK(vr_prompt_build(&large, vr_template_find("v6.0"), world, r.turns, r.n_turns, &(vr_prompt_options){0}, &err));
    OK(vr_prompt_build(&little, vr_template_find("v6.0"), small.vocab, r.turns, r.n_turns, &(vr_prompt_options){0}, &err));
    CHECK(large.n == little.n, "%zu ids, expected %zu", little.n, large.n);
    for (size_t i = 0; i < large.n && i < little.n; i++) CHECK(small.old[little.ids[i]] == large.ids[i], "id %zu", i);
    vr_prompt_free(&large);
    vr_prompt_free(&little);
    vr_record_free(&r);
    vr_small_vocab_free(&small);
    vr_dataset_close(d);
}

/* ---- models ---- */

#define TOWER(type, image, patch, layers)                                                                     \
    "{\"type\":\"" type "\",\"image_size\":" image ",\"patch_size\":" patch ",\"num_hidden_layers\":" layers   \
    ",\"hidden_size\":8,\"num_attention_heads\":2,\"intermediate_size\":16"
#define CLIP "\"towers\":[" TOWER("clip", "16", "8", "2") "}]"
#define THREE                                                                                                \
    "\"towers\":[" TOWER("dinov2", "16", "4", "3") "}," TOWER("siglip", "16", "4", "3") "},"                   \
    TOWER("sam", "32", "4", "2") ",\"window_size\":3,\"global_attn_indexes\":[1],\"out_chans\":8,\"down_sampler\":true}]"
#define SIZES "\"n_layer\":3,\"n_embd\":32,\"dim_att\":32,\"head_size\":16,\"vocab_size\":20"

static const struct { const char *name, *json; } models[] = {
    {"v6.0", "{\"version\":\"v6.0\",\"rwkv\":\"x060\"," SIZES
             ",\"dim_ffn\":64,\"rank_mix\":8,\"rank_decay\":8,\"grid_size\":-1,\"scan\":\"bidirection\"," CLIP "}"},
    {"v5.1", "{\"version\":\"v5.1\",\"rwkv\":\"x052\"," SIZES
             ",\"dim_ffn\":64,\"grid_size\":-1,\"scan\":\"multidirection\"," CLIP "}"},
    {"v7.00", "{\"version\":\"v7.00\",\"rwkv\":\"x070\"," SIZES
              ",\"dim_ffn\":64,\"rank_decay\":8,\"rank_iclr\":8,\"rank_value\":8,\"rank_gate\":8,"
              "\"num_token_per_image\":4,\"proj_type\":\"mlp\"," THREE "}"},
};

static vrwkv_model *open_model(size_t i) {
    vrwkv_model *model = NULL;
    vr_part parts[VR_MAX_PARTS];
    vr_rng rng = {3};
    OK(vr_init_model(models[i].json, 11, 1, &(vrwkv_model_options){.threads = 2}, &model, &err));
    if (!model) exit(1);
    int n = vr_config_parts(&model->config, parts); /* no zeros: gradients would not get through */
    vr_model_parts(model, parts);
    for (int p = 0; p < n; p++)
        for (int layer = 0; layer < parts[p].repeat; layer++)
            for (int r = 0; r < parts[p].n_rows; r++) {
                vr_tensor *t = vr_row_tensor(&parts[p], &parts[p].rows[r], layer);
                int64_t count;
                vr_shape_count(t->ndim, t->shape, &count);
                for (int64_t k = 0; t->data && k < count; k++)
                    ((float *)t->data)[k] += 0.1f * (float)(2 * vr_rng_uniform(&rng) - 1);
            }
    return model;
}

/* Three samples: a picture in the middle, none, a picture at the end of a longer one. */
enum { SAMPLES = 3, IDS = 16 };
typedef struct input {
    int32_t ids[SAMPLES][IDS], labels[SAMPLES][IDS];
    vr_sample samples[SAMPLES];
    vr_picture pictures[2];
    vr_train_image images[2];
    int rows[2];
} input;

static void make_input(input *in, vrwkv_model *model) {
    static const size_t lengths[SAMPLES] = {9, 6, 12};
    int32_t row_id = model->config.rules->row_id;
    int rows = vr_config_image_rows(&model->config), picture = 0;
    vr_rng rng = {8};
    memset(in, 0, sizeof *in);
    for (int s = 0; s < SAMPLES; s++) {
        size_t n = 0;
        for (size_t i = 0; i < lengths[s]; i++) {
            bool here = s != 1 && i == (s == 0 ? 3u : 5u);
            for (int k = 0; here && k < (row_id ? rows : 1); k++) {
                in->labels[s][n] = -100;
                in->ids[s][n++] = row_id ? row_id : VRWKV_IMAGE;
            }
            if (here) continue;
            in->ids[s][n] = (int32_t)(vr_rng_next(&rng) % 20);
            in->labels[s][n] = i > lengths[s] / 2 ? in->ids[s][n] : -100;
            n++;
        }
        in->samples[s] = (vr_sample){in->ids[s], in->labels[s], n, &in->rows[s == 2], s != 1};
        if (s == 1) continue;
        OK(vr_model_zero_picture(model, &in->pictures[picture], &err));
        for (int t = 0; t < model->config.n_towers; t++) {
            int side = model->config.towers[t].image_size;
            for (int i = 0; i < 3 * side * side; i++)
                in->pictures[picture].pixels[t][i] = (float)(2 * vr_rng_uniform(&rng) - 1);
        }
        in->images[picture].picture = &in->pictures[picture];
        in->rows[picture++] = rows;
    }
}

static bool wants_all(const void *user, const vr_part *part, const vr_row *row, int layer, const char *name) {
    (void)user, (void)part, (void)row, (void)layer;
    return !strstr(name, "unused");
}

static bool wants_none(const void *user, const vr_part *part, const vr_row *row, int layer, const char *name) {
    (void)user, (void)part, (void)row, (void)layer, (void)name;
    return false;
}

/* The largest difference of a gradient from the loss's differences, over the largest gradient of its weight. */
static void check_differences(vr_trainer *t, const input *in, const vr_batch *batch, const char *what) {
    vr_rng rng = {4};
    double loss, up, down;
    memset(t->weights.items[0].grad, 0, (size_t)t->weights.count * sizeof(float));
    OK(vr_trainer_pass(t, batch, in->images, 2, 1, NULL, NULL, &loss, &err));
    for (size_t i = 0; i < t->weights.n; i++) {
        vr_trained_weight *w = &t->weights.items[i];
        double largest = 1e-3;
        int64_t k = (int64_t)(vr_rng_next(&rng) % (uint64_t)w->count);
        for (int64_t c = 0; c < w->count; c++)
            if (fabs((double)w->grad[c]) > largest) largest = fabs((double)w->grad[c]), k = vr_rng_next(&rng) % 2 ? c : k;
        float before = w->value[k], step = strstr(w->name, "vit") ? 2e-3f : 5e-3f;
        w->value[k] = before + step;
        OK(vr_trainer_loss(t, batch, in->images, 2, &up, &err));
        w->value[k] = before - step;
        OK(vr_trainer_loss(t, batch, in->images, 2, &down, &err));
        w->value[k] = before;
        double expected = (up - down) / (2 * (double)step), found = (double)w->grad[k];
        CHECK(fabs(found - expected) <= 2e-2 * largest + 3e-4, "%s: %s[%lld]: gradient %g, expected %g; largest %g",
              what, w->name, (long long)k, found, expected, largest);
    }
}

static void copy_gradients(const vr_trainer *t, float *to) {
    memcpy(to, t->weights.items[0].grad, (size_t)t->weights.count * sizeof(float));
}

/* One pass; its gradients alone. */
static void pass_once(vr_trainer *t, const input *in, const vr_batch *batch, float *to) {
    double loss;
    memset(t->weights.items[0].grad, 0, (size_t)t->weights.count * sizeof(float));
    OK(vr_trainer_pass(t, batch, in->images, 2, 1, NULL, NULL, &loss, &err));
    copy_gradients(t, to);
}

static double distance(const float *a, const float *b, int64_t n) {
    double off = 0, all = 0;
    for (int64_t i = 0; i < n; i++) {
        off += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        all += (double)b[i] * (double)b[i];
    }
    return sqrt(off / (all > 0 ? all : 1));
}

static void test_models(void) {
    for (size_t m = 0; m < VR_COUNT(models); m++) {
        vrwkv_model *model = open_model(m);
        vr_trainer t;
        vr_batch batch;
        input in;
        make_input(&in, model);
        OK(vr_trainer_open(&t, model, &(vr_weight_choice){.wanted = wants_all}, (uint64_t)1 << 30, &err));
        OK(vr_batch_make(&batch, model, in.samples, SAMPLES, &(vr_batch_options){0}, &err));
        CHECK(t.trains_towers, "towers");
        check_differences(&t, &in, &batch, models[m].name);
        size_t bytes = (size_t)t.weights.count * sizeof(float);
        float *whole = malloc(bytes), *other = malloc(bytes);
        pass_once(&t, &in, &batch, whole);
        t.tape.checkpoints = true;
        pass_once(&t, &in, &batch, other);
        CHECK(memcmp(whole, other, bytes) == 0, "%s: blocks that are run twice give other gradients", models[m].name);
        t.tape.checkpoints = false;
        t.labelled_only = true;
        pass_once(&t, &in, &batch, other);
        CHECK(distance(other, whole, t.weights.count) < 1e-6, "%s: the head on labelled rows: %g", models[m].name,
              distance(other, whole, t.weights.count));
        t.labelled_only = false;
        t.logits_at_once = 3 * 20;
        t.l2wrap = 1e-4f;
        pass_once(&t, &in, &batch, other);
        t.logits_at_once = 1 << 20;
        pass_once(&t, &in, &batch, whole);
        CHECK(distance(other, whole, t.weights.count) < 1e-6, "%s: the head in pieces: %g", models[m].name,
              distance(other, whole, t.weights.count));
        free(whole);
        free(other);
        vr_trainer_close(&t);
        /* state and adapters beside frozen weights; towers' features ahead */
        OK(vr_trainer_open(&t, model,
                           &(vr_weight_choice){.wanted = wants_none, .state = true, .lora_rank = 4, .seed = 1},
                           (uint64_t)1 << 30, &err));
        vr_rng rng = {6};
        for (size_t i = 0; i < t.weights.n; i++)
            for (int64_t k = 0; k < t.weights.items[i].count; k++)
                t.weights.items[i].value[k] += 0.1f * (float)(2 * vr_rng_uniform(&rng) - 1);
        float *features[2];
        for (int i = 0; i < 2; i++) {
            OK(vr_trainer_encode(&t, &in.pictures[i], &features[i], &in.images[i].rows, &err));
            in.images[i].features = features[i];
        }
        check_differences(&t, &in, &batch, models[m].name);
        vr_trainer_close(&t);
        CHECK(!model->adapters && model->n_adapters == 0, "adapters stay");
        for (int i = 0; i < 2; i++) {
            free(features[i]);
            vr_picture_free(&in.pictures[i]);
        }
        vr_batch_free(&batch);
        vrwkv_model_close(model);
    }
}

/* ---- batches by hand ---- */

static void test_batch(void) {
    vrwkv_model *model = open_model(0);
    vr_batch b;
    const int rows = 5; /* 2 x 2 patches and the class row */
    int32_t ids1[] = {1, 2, VRWKV_IMAGE, 3, 4}, labels1[] = {-100, -100, -100, 3, 4}, ids2[] = {5, 6, 7},
            labels2[] = {-100, 6, 7};
    vr_sample samples[] = {{ids1, labels1, 5, &rows, 1}, {ids2, labels2, 3, NULL, 0}};
    OK(vr_batch_make(&b, model, samples, 2, &(vr_batch_options){0}, &err));
    CHECK(b.T == 10 && b.padding == 0 && b.image_start == 2 && b.image_length == 4 && b.n_image_rows == 5,
          "T %d, picture at %d", (int)b.T, (int)b.image_start);
    int32_t first[] = {1, 2, -1, -1, -1, -1, -1, 3, 4}, second[] = {0, 0, -1, -1, -1, -1, -1, 5, 6, 7};
    for (int t = 0; t < 9; t++) {
        int32_t source = b.source[t];
        CHECK(first[t] < 0 ? source == b.n_ids + t - 2 : b.ids[source] == first[t], "sample 0 row %d", t);
    }
    CHECK(b.source[9] == -1, "filled up with zeros");
    for (int t = 0; t < 10; t++)
        CHECK(second[t] < 0 ? b.source[10 + t] == -1 : b.ids[b.source[10 + t]] == second[t], "sample 1 row %d", t);
    CHECK(b.targets[6] == 3 && b.targets[7] == 4 && b.targets[8] == -100 && b.n_targets == 4, "targets");
    CHECK(b.weights[6] == 0.25f && b.weights[10 + 7] == 0.25f && b.weights[0] == 0, "weights: half of a half");
    vr_batch_free(&b);
    OK(vr_batch_make(&b, model, samples, 1, &(vr_batch_options){.ctx_len = 8}, &err)); /* a label is among the first 8 */
    CHECK(b.T == 8 && b.labels[7] == 3 && b.ids[b.source[0]] == 1, "cut behind");
    vr_batch_free(&b);
    OK(vr_batch_make(&b, model, samples, 1, &(vr_batch_options){.ctx_len = 7}, &err)); /* none among the first 7 */
    CHECK(b.T == 7 && b.labels[6] == 4 && b.source[0] == b.n_ids && b.image_start == 2, "cut in front");
    vr_batch_free(&b);
    ids1[4] = VRWKV_IMAGE;
    CHECK(vr_batch_make(&b, model, samples, 1, &(vr_batch_options){0}, &err) == VRWKV_ERR_UNSUPPORTED, "two pictures");
    ids1[4] = 99;
    CHECK(vr_batch_make(&b, model, samples, 1, &(vr_batch_options){0}, &err) == VRWKV_ERR_ARGUMENT, "an unknown id");
    vrwkv_model_close(model);
    model = open_model(2);
    int32_t ids3[] = {1, 65535, 65535, 2}, ids4[] = {65535, 65535, 65535, 65535, 3}, none[] = {-100, -100, -100, -100, -100};
    const int four = 4;
    vr_sample cut[] = {{ids3, none, 4, &four, 1}, {ids4, none, 5, &four, 1}};
    for (int original = 0; original < 2; original++) {
        OK(vr_batch_make(&b, model, cut, 2, &(vr_batch_options){.original = original}, &err));
        int64_t at = b.padding + b.T + b.padding;
        CHECK(b.padding == (original ? 11 : 0), "padding %d", (int)b.padding);
        CHECK(b.source[at] == b.n_ids + (original ? 2 : 4), "the second sample's picture begins with row %d",
              b.source[at] - (int)b.n_ids);
        vr_batch_free(&b);
    }
    vrwkv_model_close(model);
}

/* ---- the optimizer, checkpoints ---- */

static void test_optimizer(void) {
    vrwkv_model *model = open_model(0);
    vr_trainer t;
    vr_rng rng = {9};
    vr_adam adam = {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .clip = 1};
    const vr_rates rates = {.lr = {0.01, 0.02}, .decay = {0, 0.1}};
    OK(vr_trainer_open(&t, model, &(vr_weight_choice){.wanted = wants_all}, (uint64_t)1 << 30, &err));
    vr_weight_set *set = &t.weights;
    double *p = malloc((size_t)set->count * sizeof *p), *m = calloc((size_t)set->count, sizeof *m),
           *v = calloc((size_t)set->count, sizeof *v), norm;
    for (int64_t i = 0; i < set->count; i++) p[i] = (double)set->items[0].value[i];
    for (int step = 1; step <= 3; step++) {
        double squares = 0, worst = 0;
        float *grad = set->items[0].grad;
        for (int64_t i = 0; i < set->count; i++) {
            grad[i] = (float)(2 * vr_rng_uniform(&rng) - 1);
            squares += (double)grad[i] * (double)grad[i];
        }
        for (size_t w = 0; w < set->n; w++)
            for (int64_t k = 0; k < set->items[w].count; k++) {
                int64_t i = set->items[w].grad + k - grad;
                double g = (double)grad[i] / (sqrt(squares) + 1e-6);
                int group = set->items[w].is_matrix;
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.99 * v[i] + 0.01 * g * g;
                p[i] -= rates.lr[group] * (m[i] / (1 - pow(0.9, step)) / (sqrt(v[i] / (1 - pow(0.99, step))) + 1e-8) +
                                           rates.decay[group] * p[i]);
            }
        OK(vr_adam_step(&adam, set, &rates, model->pool, &norm, &err));
        CHECK(fabs(norm - sqrt(squares)) < 1e-6 * norm, "norm");
        for (int64_t i = 0; i < set->count; i++) worst = fmax(worst, fabs(p[i] - (double)set->items[0].value[i]));
        CHECK(worst < 2e-6, "step %d: off by %g", step, worst);
        CHECK(grad[0] == 0 && grad[set->count - 1] == 0, "gradients are cleared");
    }
    set->items[3].grad[0] = NAN;
    CHECK(vr_adam_step(&adam, set, &rates, model->pool, &norm, &err) == VRWKV_ERR_FORMAT && adam.steps == 3,
          "a gradient that is no number");
    vr_progress_mark mark = {.step = 3, .best_loss = 1.5, .best_step = 2, .without_better = 1}, found;
    vr_adam again = {0};
    float *numbers = malloc(4 * (size_t)set->count * sizeof *numbers);
    memcpy(numbers, set->numbers, 4 * (size_t)set->count * sizeof *numbers);
    OK(vr_checkpoint_save(&(vr_checkpoint_place){.folder = folder, .keep = 1}, set, &adam, &mark, true, &err));
    for (int64_t i = 0; i < set->count; i++) set->numbers[i] = set->items[0].m[i] = set->items[0].v[i] = 7;
    OK(vr_checkpoint_load(folder, set, &again, &found, &err));
    for (int which = 0; which < 4; which++)
        CHECK(which == 1 || memcmp(numbers + which * set->count, set->numbers + which * set->count,
                                   (size_t)set->count * sizeof *numbers) == 0,
              "numbers %d", which);
    CHECK(again.steps == 3 && found.step == 3 && found.best_loss == 1.5 && found.best_step == 2 &&
              found.without_better == 1,
          "mark");
    vrwkv_model *read = NULL;
    char path[200];
    snprintf(path, sizeof path, "%s/best.safetensors", folder);
    OK(vr_model_open(path, NULL, NULL, &read, &err));
    CHECK(read && memcmp(read->lm.emb.data, model->lm.emb.data, 20 * 32 * sizeof(float)) == 0, "the checkpoint is a model");
    vrwkv_model_close(read);
    free(numbers), free(p), free(m), free(v);
    vr_trainer_close(&t);
    vrwkv_model_close(model);
}

static void test_init(void) {
    for (size_t i = 0; i < VR_COUNT(models); i++) {
        vrwkv_model *plain, *scaled;
        OK(vr_init_model(models[i].json, 11, 1, NULL, &plain, &err));
        OK(vr_init_model(models[i].json, 11, 0.25f, NULL, &scaled, &err));
        bool good = true;
        for (int k = 0; k < 32; k++)
            good = good && ((float *)plain->lm.ln0_w.data)[k] == 1 && ((float *)scaled->lm.ln0_w.data)[k] == 0.25f;
        CHECK(good, "%s: the first norm's weight", models[i].name);
        CHECK(memcmp(plain->lm.head.data, scaled->lm.head.data, 20 * 32 * sizeof(float)) == 0, "%s: nothing else differs",
              models[i].name);
        vrwkv_model_close(plain);
        vrwkv_model_close(scaled);
    }
}

static void test_plan(void) {
    vrwkv_model *model = open_model(0);
    vr_plan plan = vr_plan_default(vr_model_config(model), 0);
    vr_trainer t;
    CHECK(plan.proj && plan.rwkv && !plan.emb && !plan.vit, "the original's plan of v6");
    CHECK(vr_plan_parse(&plan, "proj,head", &err) == VRWKV_ERR_ARGUMENT && strstr(err.message, "head"), "%s", err.message);
    OK(vr_plan_parse(&plan, "proj", &err));
    OK(vr_trainer_open(&t, model, &(vr_weight_choice){.wanted = vr_plan_wants, .user = &plan}, 1 << 20, &err));
    CHECK(t.weights.n == 1 && strcmp(t.weights.items[0].name, "proj.weight") == 0, "the projector alone");
    vr_trainer_close(&t);
    plan = (vr_plan){.freeze_layers = 0, .n_layer = 3};
    CHECK(vr_trainer_open(&t, model, &(vr_weight_choice){.wanted = vr_plan_wants, .user = &plan}, 1 << 20, &err) ==
              VRWKV_ERR_ARGUMENT,
          "nothing is trained");
    model->options.exact = 0;
    plan.proj = true;
    CHECK(vr_trainer_open(&t, model, &(vr_weight_choice){.wanted = vr_plan_wants, .user = &plan}, 1 << 20, &err) ==
                  VRWKV_ERR_ARGUMENT && strstr(err.message, "exact"),
          "products of 8-bit numbers: %s", err.message);
    vrwkv_model_close(model);
}

int main(void) {
    if (!mkdtemp(folder)) return 1;
    test_sampler();
    test_groups();
    test_schedule();
    test_settings();
    test_log();
    test_data();
    test_vocabulary();
    test_batch();
    test_optimizer();
    test_init();
    test_plan();
    test_models();
    char command[200];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return check_result() | (system(command) != 0);
}
