#include "quantise/samples.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/memory.h"
#include "base/rng.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum {
    ANSWER_IDS = 24, /* of the model's own answer about a picture */
    RANDOM_IDS = 96, /* of a model without vocabulary */
    RANDOM_AFTER_PICTURE = 24,
    SIDE = 224 /* of the built-in picture */
};

static const char question[] = "What is in the picture? Describe the shapes and their colours.";

/* Prose, a dialogue, a list, code and numbers, in the two languages of the released models. */
static const char *const texts[] = {
    "The ferry left the harbour a little before seven. Two fishermen stood at the rail, drinking tea from a steel "
    "flask, and said nothing until the lighthouse was behind them.",
    "User: How do I keep bread fresh for longer?\n\nAssistant: Let it cool completely, then keep it in a paper bag or a "
    "linen cloth at room temperature. Slices that you will not eat within two days are best frozen.\n\n",
    "清晨的市场已经很热闹了。卖豆腐的老人一边切豆腐，一边和邻居聊天；孩子们背着书包，从水果摊前跑过去。",
    "User: 为什么天空是蓝色的？\n\nAssistant: 阳光穿过大气时，波长较短的蓝光比红光更容易被空气分子散射，所以我们从各个方向看到的都是蓝光。\n\n",
    "def mean(values):\n    total = 0.0\n    for value in values:\n        total += value\n    return total / len(values)\n\n"
    "print(mean([3, 5, 10]))  # 6.0\n",
};

static bool is_text(const char *name) {
    const char *ending = strrchr(name, '.');
    return ending && strcasecmp(ending, ".txt") == 0;
}

static void mix(vr_samples *samples, const void *data, size_t n) { samples->fingerprint = vr_hash(samples->fingerprint, data, n); }

/* Takes what the sample holds, in any case. */
static vr_status add(vr_samples *samples, vr_sample_item *sample, vr_error *err) {
    vr_status status = vr_grow(&samples->items, &samples->capacity, samples->n + 1, sizeof *samples->items, err);
    if (status != VRWKV_OK) {
        free(sample->ids);
        vr_picture_free(&sample->picture);
        vrwkv_features_free(sample->features);
        return status;
    }
    sample->head = 1;
    for (size_t i = 0; i < sample->n; i++)
        if (sample->ids[i] == VRWKV_IMAGE) sample->head = i + 1;
    mix(samples, sample->ids, sample->n * sizeof *sample->ids);
    samples->positions += sample->n - sample->head;
    samples->pictures += sample->has_picture;
    samples->items[samples->n++] = *sample;
    return VRWKV_OK;
}

/* ---- texts ---- */

static vr_status add_text(vr_samples *samples, const vr_vocab *vocab, const char *text, size_t n, vr_error *err) {
    vr_sample_item sample = {0};
    size_t capacity = 0;
    VR_TRY(vr_encode(vocab, text, n, &sample.ids, &sample.n, &capacity, err));
    if (sample.n > VR_SAMPLE_IDS) sample.n = VR_SAMPLE_IDS;
    if (sample.n > 1) return add(samples, &sample, err);
    free(sample.ids);
    return VRWKV_OK;
}

static vr_status add_text_file(vr_samples *samples, const vrwkv_model *model, const char *path, vr_error *err) {
    vr_map map;
    vr_error inner = {0};
    const vr_vocab *vocab = vr_model_vocab(model);
    if (!vocab)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s': a text cannot be a sample of this model, which has no vocabulary", path);
    VR_TRY(vr_map_open(&map, path, false, err));
    vr_status status = add_text(samples, vocab, (const char *)map.data, map.size, &inner);
    vr_map_close(&map);
    return status == VRWKV_OK ? VRWKV_OK : vr_fail(err, status, "'%s': %s", path, inner.message);
}

static vr_status add_random(vr_samples *samples, const vrwkv_model *model, size_t n, vr_sample_item *sample, vr_error *err) {
    vr_rng rng = {samples->n + 1};
    size_t first = sample->has_picture;
    sample->n = n + first;
    sample->ids = vr_alloc(sample->n, sizeof *sample->ids);
    if (!sample->ids) {
        sample->n = 0;
        return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    }
    sample->ids[0] = VRWKV_IMAGE;
    for (size_t i = first; i < sample->n; i++)
        sample->ids[i] = 1 + (int32_t)(vr_rng_uniform(&rng) * (vr_model_config(model)->lm.n_vocab - 1));
    return VRWKV_OK;
}

/* A small vocabulary may lack the letters of a text: the others are read. */
static vr_status add_built_in_texts(vr_samples *samples, const vrwkv_model *model, vr_error *err) {
    const vr_vocab *vocab = vr_model_vocab(model);
    for (size_t i = 0; vocab && i < VR_COUNT(texts); i++) {
        vr_status status = add_text(samples, vocab, texts[i], strlen(texts[i]), err);
        if (status != VRWKV_OK && status != VRWKV_ERR_UNSUPPORTED) return status;
    }
    vr_sample_item sample = {0};
    if (samples->n) return VRWKV_OK;
    VR_TRY(add_random(samples, model, RANDOM_IDS, &sample, err));
    return add(samples, &sample, err);
}

/* ---- pictures ---- */

typedef struct answer { int32_t ids[ANSWER_IDS]; size_t n; } answer;

static int keep_id(void *user, int32_t id, const char *text, size_t n) {
    answer *a = user;
    (void)text;
    (void)n;
    if (a->n < ANSWER_IDS) a->ids[a->n++] = id;
    return 0;
}

/* The question about the picture, and what the model, unrounded, answers: positions that matter in use. */
static vr_status ask(vrwkv_model *model, vr_sample_item *sample, vr_error *err) {
    answer a = {.n = 0};
    vrwkv_context *context;
    size_t n;
    VR_TRY(vrwkv_prompt(model, question, 1, NULL, 0, &n, err));
    sample->ids = vr_alloc(n + ANSWER_IDS, sizeof *sample->ids);
    if (!sample->ids) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    VR_TRY(vrwkv_prompt(model, question, 1, sample->ids, n, &n, err));
    const vrwkv_context_options greedy = {.sampling = {.top_p = 1, .typical = 1, .repeat_penalty = 1, .penalty_decay = 1}};
    VR_TRY(vrwkv_context_new(model, &greedy, &context, err));
    vr_status status = vrwkv_feed(context, sample->ids, n, &sample->features, 1, err);
    if (status == VRWKV_OK)
        status = vrwkv_generate(context, &(vrwkv_generate_options){.max_tokens = ANSWER_IDS}, keep_id, &a, NULL, err);
    vrwkv_context_free(context);
    memcpy(sample->ids + n, a.ids, a.n * sizeof *a.ids);
    sample->n = n + a.n;
    return status;
}

/* The letters of the question may be missing in a small vocabulary. */
static vr_status make_ids(vr_samples *samples, vrwkv_model *model, vr_sample_item *sample, vr_error *err) {
    vr_status status = vr_model_vocab(model) ? ask(model, sample, err) : VRWKV_ERR_UNSUPPORTED;
    if (status != VRWKV_ERR_UNSUPPORTED) return status;
    free(sample->ids);
    return add_random(samples, model, RANDOM_AFTER_PICTURE, sample, err);
}

static vr_status add_picture(vr_samples *samples, vrwkv_model *model, const vr_image *image, vr_error *err) {
    vr_sample_item sample = {.has_picture = true};
    VR_TRY(vr_model_picture(model, image, &sample.picture, err));
    vr_status status = vr_model_encode(model, &sample.picture, &sample.features, err);
    if (status == VRWKV_OK) status = make_ids(samples, model, &sample, err);
    if (status == VRWKV_OK) {
        mix(samples, image->rgb, (size_t)image->width * (size_t)image->height * 3);
        return add(samples, &sample, err);
    }
    free(sample.ids);
    vr_picture_free(&sample.picture);
    vrwkv_features_free(sample.features);
    return status;
}

static vr_status add_picture_file(vr_samples *samples, vrwkv_model *model, const char *path, vr_error *err) {
    vr_image image = {0};
    if (!vr_model_config(model)->n_towers)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s': a picture cannot be a sample of a language model alone", path);
    VR_TRY(vr_image_decode_file(&image, path, VRWKV_FRIENDLY, 0, err));
    vr_status status = add_picture(samples, model, &image, err);
    vr_image_free(&image);
    return status;
}

/* A red disc and a yellow square before a sky that grows lighter downwards, grass with a fine pattern below. */
static void draw(uint8_t *rgb) {
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++, rgb += 3) {
            int dx = x - 70, dy = y - 80;
            const uint8_t sky[3] = {(uint8_t)(90 + y / 2), (uint8_t)(140 + y / 3), 230};
            const uint8_t grass[3] = {(uint8_t)(40 + (x * 7 + y * 13) % 30), (uint8_t)(120 + (x ^ y) % 40), 50};
            const uint8_t red[3] = {200, 30, 40}, yellow[3] = {235, 205, 60};
            bool square = x >= 130 && x < 190 && y >= 110 && y < 170;
            memcpy(rgb, dx * dx + dy * dy < 45 * 45 ? red : square ? yellow : y < 150 ? sky : grass, 3);
        }
}

static vr_status add_built_in_picture(vr_samples *samples, vrwkv_model *model, vr_error *err) {
    vr_image image = {SIDE, SIDE, vr_alloc(SIDE * SIDE, 3)};
    if (!image.rgb) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    draw(image.rgb);
    vr_status status = add_picture(samples, model, &image, err);
    vr_image_free(&image);
    return status;
}

/* ---- files ---- */

static vr_status add_file(vr_samples *samples, vrwkv_model *model, const char *path, vr_error *err) {
    return is_text(path) ? add_text_file(samples, model, path, err) : add_picture_file(samples, model, path, err);
}

static vr_status add_folder(vr_samples *samples, vrwkv_model *model, const char *folder, vr_error *err) {
    struct dirent **entries;
    char path[VR_PATH_ROOM];
    vr_status status = VRWKV_OK;
    int n = scandir(folder, &entries, NULL, alphasort);
    if (n < 0) return vr_fail_io(err, "reading", folder);
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        if (status == VRWKV_OK && *name != '.' && (is_text(name) || vr_image_name(name))) {
            status = vr_path_make(path, folder, name, err);
            if (status == VRWKV_OK) status = add_file(samples, model, path, err);
        }
        free(entries[i]);
    }
    free(entries);
    return status;
}

static vr_status load(vr_samples *samples, vrwkv_model *model, const char *path, vr_error *err) {
    struct stat info;
    if (!path) {
        VR_TRY(add_built_in_texts(samples, model, err));
        return vr_model_config(model)->n_towers ? add_built_in_picture(samples, model, err) : VRWKV_OK;
    }
    if (stat(path, &info) != 0) return vr_fail_io(err, "opening", path);
    VR_TRY(S_ISDIR(info.st_mode) ? add_folder(samples, model, path, err) : add_file(samples, model, path, err));
    if (samples->positions) return VRWKV_OK;
    return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s' holds no samples: neither a text (.txt) nor a picture", path);
}

vr_status vr_samples_load(vr_samples *out, vrwkv_model *model, const char *path, vr_error *err) {
    *out = (vr_samples){.fingerprint = VR_HASH_START};
    vr_status status = load(out, model, path, err);
    if (status != VRWKV_OK) vr_samples_free(out);
    return status;
}

void vr_samples_free(vr_samples *samples) {
    for (size_t i = 0; i < samples->n; i++) {
        free(samples->items[i].ids);
        vr_picture_free(&samples->items[i].picture);
        vrwkv_features_free(samples->items[i].features);
    }
    free(samples->items);
    *samples = (vr_samples){0};
}
