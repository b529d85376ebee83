#include "train/example.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows that a picture becomes in the sequence. */
static int rows_of(const vrwkv_model *model, const vr_picture *picture) {
    const vr_config *config = &model->config;
    int rows = vr_config_image_rows(config);
    return config->rules->rows == VR_ROWS_POOLED || config->rules->rows == VR_ROWS_REGIONS ? rows * picture->regions : rows;
}

static vr_status load_picture(const vrwkv_model *model, const char *name, const vr_example_options *options,
                              vr_picture *out, vr_error *err) {
    vr_image image = {0};
    char path[4096];
    int n = name[0] == '/' || !options->image_folder ? snprintf(path, sizeof path, "%s", name)
                                                     : snprintf(path, sizeof path, "%s/%s", options->image_folder, name);
    if (n < 0 || (size_t)n >= sizeof path) return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%.80s..' is too long a path", name);
    VR_TRY(vr_image_decode_file(&image, path, options->manner, options->max_pixels, err));
    vr_status status = vr_model_picture(model, &image, out, err);
    vr_image_free(&image);
    return status;
}

static vr_status load_pictures(vr_example *e, const vr_record *record, const vrwkv_model *model,
                               const vr_example_options *options, vr_error *err) {
    const vr_version *rules = model->config.rules;
    size_t n = model->config.n_towers ? record->n_images : 0;
    if (n && rules->most_pictures && n > (size_t)rules->most_pictures)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "%zu pictures: version %s takes at most %d", n, rules->name,
                       rules->most_pictures);
    e->pictures = vr_alloc(n + 1, sizeof *e->pictures);
    e->rows = vr_alloc(n + 1, sizeof *e->rows);
    if (!e->pictures || !e->rows) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    bool known = n == 1 && options->known && __atomic_load_n(&options->known[e->index], __ATOMIC_ACQUIRE);
    if (known) {
        e->pictures[0].regions = 1;
        e->sample.n_pictures = 1;
    }
    for (; (size_t)e->sample.n_pictures < n; e->sample.n_pictures++)
        VR_TRY(load_picture(model, record->images[e->sample.n_pictures], options, &e->pictures[e->sample.n_pictures], err));
    if (n == 0 && model->config.n_towers && rules->blank == VR_BLANK_PICTURE) {
        VR_TRY(vr_model_zero_picture(model, &e->pictures[0], err));
        e->sample.n_pictures = 1;
    }
    for (int i = 0; i < e->sample.n_pictures; i++) e->rows[i] = rows_of(model, &e->pictures[i]);
    e->sample.picture_rows = e->rows;
    return VRWKV_OK;
}

static vr_status build_prompt(vr_example *e, const vr_record *record, const vrwkv_model *model,
                              const vr_example_options *options, vr_error *err) {
    const vr_version *rules = model->config.rules;
    vr_prompt_options how = {.has_image = record->n_images > 0, .position = options->position,
                             .ctx_len = options->fill_up ? options->ctx_len : 0,
                             .dummy = true};
    if (!model->vocab)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "the model has no vocabulary, so it cannot be trained on text");
    if (rules->row_id) {
        bool cut = rules->cut != VR_CUT_NONE && rules->rows == VR_ROWS_POOLED;
        how.image_id = rules->row_id;
        how.regions = (cut || rules->rows == VR_ROWS_REGIONS) && e->sample.n_pictures ? e->pictures[0].regions : 1;
        how.rows = vr_config_image_rows(&model->config);
    }
    VR_TRY(vr_prompt_build(&e->prompt, vr_template_find(rules->prompt), model->vocab, record->turns, record->n_turns,
                           &how, err));
    e->sample.ids = e->prompt.ids;
    e->sample.labels = e->prompt.labels;
    e->sample.n = options->ctx_len && e->prompt.n > options->ctx_len ? options->ctx_len : e->prompt.n;
    return VRWKV_OK;
}

/* A picture without a place in the text, or whose place was cut off, is not looked at. */
static void drop_pictures(vr_example *e, const vrwkv_model *model) {
    int places = 0;
    if (model->config.rules->row_id) return;
    for (size_t i = 0; i < e->sample.n; i++) places += e->sample.ids[i] == VRWKV_IMAGE;
    for (; e->sample.n_pictures > places; e->sample.n_pictures--) vr_picture_free(&e->pictures[e->sample.n_pictures - 1]);
}

static vr_status load(vr_example *e, const vr_record *record, const vrwkv_model *model,
                      const vr_example_options *options, vr_error *err) {
    VR_TRY(load_pictures(e, record, model, options, err));
    VR_TRY(build_prompt(e, record, model, options, err));
    drop_pictures(e, model);
    return VRWKV_OK;
}

vr_status vr_example_of(vr_example *out, const vr_record *record, const vrwkv_model *model,
                        const vr_example_options *options, vr_error *err) {
    *out = (vr_example){.index = -1};
    vr_status status = load(out, record, model, options, err);
    if (status != VRWKV_OK) vr_example_free(out);
    return status;
}

vr_status vr_example_load(vr_example *out, const vr_dataset *dataset, int64_t index, const vrwkv_model *model,
                          const vr_example_options *options, vr_error *err) {
    vr_record record;
    vr_error inner = {0};
    *out = (vr_example){.index = index};
    VR_TRY(vr_dataset_read(dataset, index, &record, err));
    vr_status status = load(out, &record, model, options, &inner);
    int64_t line = record.line;
    vr_record_free(&record);
    if (status == VRWKV_OK) return status;
    vr_example_free(out);
    return vr_fail(err, status, "'%s', line %lld: sample %lld: %s", vr_dataset_path(dataset), (long long)line,
                   (long long)index, inner.message);
}

void vr_example_free(vr_example *e) {
    for (int i = 0; e->pictures && i < e->sample.n_pictures; i++) vr_picture_free(&e->pictures[i]);
    free(e->pictures);
    free(e->rows);
    vr_prompt_free(&e->prompt);
    *e = (vr_example){0};
}
