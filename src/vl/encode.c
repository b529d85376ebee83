/* Pictures: pixels -> towers -> pooling -> projector (-> compressor) -> features that can be kept. */
#include "vl/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void vr_emit(vrwkv_trace_fn trace, void *user, const char *name, const vr_tensor *value) {
    if (trace && value) trace(user, name, value->ndim, value->shape, value->data);
}

int64_t vr_scanned_rows(const vrwkv_model *model, int64_t image_rows) {
    if (model->config.n_towers == 0 || image_rows == 0) return 0;
    return image_rows - (vr_config_has_class_row(&model->config) ? 1 : 0);
}

vr_status vr_place_image(const vrwkv_model *model, const vr_scan *scan, float *to, const float *rows, int64_t n, vr_error *err) {
    size_t width = (size_t)model->config.lm.n_embd;
    int64_t scanned = vr_scanned_rows(model, n);
    memcpy(to, rows, (size_t)n * width * sizeof(float));
    if (scan->when != VR_SCAN_INPUT) return VRWKV_OK;
    int32_t *order = vr_alloc((size_t)scanned, sizeof *order);
    if (!order) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    if (scan->order(order, (int)scanned, vr_scan_side(scanned), 0))
        for (int64_t k = 0; k < scanned; k++)
            memcpy(to + (size_t)k * width, rows + (size_t)order[k] * width, width * sizeof(float));
    free(order);
    return VRWKV_OK;
}

/* ---- towers ---- */

/* Names and shapes of what is emitted about one picture. */
typedef struct emitter {
    vrwkv_trace_fn trace;
    void *user;
    int index;    /* of the picture; -1: the only one */
    bool regions; /* a leading axis of regions, even of one */
} emitter;

/* "vision", "vision.dino", "vision.1.dino": `part` NULL where there is one tower. */
static void emit(const emitter *e, const char *name, const char *part, int regions, int ndim, const int64_t *shape, const void *data) {
    char full[64], number[16] = "";
    int64_t all[VR_MAX_DIMS] = {regions};
    if (!e->trace || !data) return;
    if (e->index >= 0) snprintf(number, sizeof number, ".%d", e->index);
    snprintf(full, sizeof full, "%s%s%s%s", name, number, part ? "." : "", part ? part : "");
    int lead = e->regions && regions > 0;
    memcpy(all + lead, shape, (size_t)ndim * sizeof *shape);
    e->trace(e->user, full, ndim + lead, all, data);
}

static void emit_rows(const emitter *e, const char *name, int regions, const vr_tensor *x) {
    if (x) emit(e, name, NULL, regions, 2, (int64_t[]){regions ? x->shape[0] / regions : x->shape[0], x->shape[1]}, x->data);
}

/* All regions' features of tower t, one after another. What the tower needed on the way is given back. */
static vr_tensor *run_tower(vr_run *run, vrwkv_model *model, int t, const vr_picture *picture, int64_t rows, const emitter *e) {
    vr_tower *tower = &model->towers[t];
    const char *name = model->config.n_towers > 1 ? tower->arch->name : NULL;
    int64_t size = tower->dims.image_size, width = vr_tower_width(&tower->dims);
    emit(e, "pixels", name, picture->regions, 3, (int64_t[]){3, size, size}, picture->pixels[t]);
    vr_tensor *all = vr_new2(run, picture->regions * rows, width);
    for (int i = 0; all && i < picture->regions; i++) {
        size_t mark = vr_arena_mark(run->arena);
        vr_tensor input = {VR_F32, 3, {3, size, size}, picture->pixels[t] + (int64_t)i * 3 * size * size};
        vr_tensor *y = tower->arch->forward(run, tower, &input);
        if (!y) return NULL;
        memcpy((float *)all->data + i * rows * width, y->data, (size_t)(rows * width) * sizeof(float));
        vr_arena_release(run->arena, mark);
    }
    if (all) emit(e, "vision", name, picture->regions, 2, (int64_t[]){rows, width}, all->data);
    return all;
}

static vr_grid square(int64_t rows) {
    int side = vr_scan_side(rows);
    return (vr_grid){side, side};
}

/* Features [regions * rows, channels] -> pooled, region by region, likewise. */
static vr_tensor *pool(vr_run *run, const vrwkv_model *model, vr_tensor *x, int regions) {
    const vr_config *config = &model->config;
    int64_t rows = x->shape[0] / regions, width = x->shape[1], n = vr_config_image_rows(config);
    if (vr_config_has_class_row(config)) return vr_grid_pool(run, x, config->grid_size);
    if (config->rules->rows != VR_ROWS_POOLED || n == rows) return x;
    vr_tensor *all = vr_new2(run, regions * n, width);
    for (int i = 0; all && i < regions; i++) {
        vr_tensor *y = vr_adaptive_pool(run, vr_rows(run, x, i * rows, rows), square(rows), square(n));
        if (!y) return NULL;
        memcpy((float *)all->data + i * n * width, y->data, (size_t)(n * width) * sizeof(float));
    }
    return all;
}

vr_tensor *vr_encode_towers(vr_run *run, vrwkv_model *model, const vr_picture *picture, int index, vrwkv_trace_fn trace, void *user) {
    const vr_config *config = &model->config;
    int side = vr_tower_side(&config->towers[0]);
    int64_t rows = (int64_t)side * side + (vr_config_has_class_row(config) ? 1 : 0);
    emitter e = {trace, user, index, config->rules->cut != VR_CUT_NONE};
    const vr_tensor *parts[VR_MAX_TOWERS];
    for (int t = 0; t < config->n_towers; t++)
        if (!(parts[t] = run_tower(run, model, t, picture, rows, &e))) return NULL;
    return vr_concat_columns(run, parts, config->n_towers);
}

vr_tensor *vr_project(vr_run *run, vrwkv_model *model, vr_tensor *x, int regions, int index, vrwkv_trace_fn trace, void *user) {
    const vr_version *rules = model->config.rules;
    int tokens = model->config.num_token_per_image;
    emitter e = {trace, user, index, rules->cut != VR_CUT_NONE};
    x = x ? pool(run, model, x, regions) : NULL;
    x = model->projector.arch->forward(run, &model->projector, x);
    if (rules->rows == VR_ROWS_POOLED) {
        emit_rows(&e, "image", regions, x);
        return x;
    }
    vr_tensor *blocks = NULL;
    emit_rows(&e, "projected", rules->rows == VR_ROWS_REGIONS ? regions : 0, x);
    x = vr_compress(run, model, x, rules->rows == VR_ROWS_REGIONS ? tokens * regions : tokens, &blocks);
    emit_rows(&e, "compressed", 0, blocks);
    emit_rows(&e, "image", 0, x);
    return x;
}

vr_tensor *vr_encode_picture(vr_run *run, vrwkv_model *model, const vr_picture *picture, int index, vrwkv_trace_fn trace, void *user) {
    vr_tensor *features = vr_encode_towers(run, model, picture, index, trace, user);
    return vr_project(run, model, features, picture->regions, index, trace, user);
}

/* ---- features ---- */

vr_status vr_features_make(const vrwkv_model *model, int rows, int width, const float *data, vrwkv_features **out, vr_error *err) {
    size_t bytes = (size_t)rows * (size_t)width * sizeof(float);
    vrwkv_features *features = vr_alloc(1, sizeof *features + bytes);
    if (!features) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %d rows of features", rows);
    atomic_init(&features->owners, 1);
    features->rows = rows;
    features->width = width;
    snprintf(features->fingerprint, sizeof features->fingerprint, "%s", model->info.fingerprint);
    memcpy(features->data, data, bytes);
    *out = features;
    return VRWKV_OK;
}

vr_status vr_model_encode(vrwkv_model *model, const vr_picture *picture, vrwkv_features **out, vr_error *err) {
    vr_workspace *workspace;
    *out = NULL;
    VR_TRY(vr_workspace_get(model, &workspace, err));
    vr_run run = vr_run_make(model, workspace, NULL, err);
    vr_tensor *image = vr_encode_picture(&run, model, picture, -1, NULL, NULL);
    vr_status status = vr_run_status(&run);
    if (status == VRWKV_OK)
        status = vr_features_make(model, (int)image->shape[0], (int)image->shape[1], image->data, out, err);
    vr_workspace_put(model, workspace);
    return status;
}

vr_status vr_zero_picture(vrwkv_model *model, vrwkv_features **out, vr_error *err) {
    pthread_mutex_lock(&model->lock);
    *out = model->zero_picture;
    pthread_mutex_unlock(&model->lock);
    if (*out) return VRWKV_OK;
    vr_picture zero;
    vrwkv_features *made;
    VR_TRY(vr_model_zero_picture(model, &zero, err));
    vr_status status = vr_model_encode(model, &zero, &made, err);
    vr_picture_free(&zero);
    VR_TRY(status);
    pthread_mutex_lock(&model->lock);
    if (!model->zero_picture) {
        model->zero_picture = made;
        made = NULL;
    }
    *out = model->zero_picture;
    pthread_mutex_unlock(&model->lock);
    vrwkv_features_free(made); /* another thread was faster */
    return VRWKV_OK;
}

vrwkv_status vrwkv_encode_pixels(vrwkv_model *model, const float *const *pixels, int regions, vrwkv_features **out, vrwkv_error *err) {
    if (!model || !out) return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_encode_pixels: model and out must be given");
    *out = NULL;
    if (!pixels) {
        VR_TRY(vr_zero_picture(model, out, err));
        vrwkv_features_share(*out);
        return VRWKV_OK;
    }
    if (regions < 1 || regions > VR_MOST_REGIONS || (regions > 1 && model->config.rules->cut == VR_CUT_NONE))
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_encode_pixels: %d regions, expected 1%s", regions,
                       model->config.rules->cut == VR_CUT_NONE ? "" : " to 4096");
    vr_picture picture = {.regions = regions};
    if (model->config.n_towers == 0)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "this model is a language model alone: it cannot look at pictures");
    for (int t = 0; t < model->config.n_towers; t++) picture.pixels[t] = (float *)pixels[t]; /* only read */
    return vr_model_encode(model, &picture, out, err);
}

static vr_status encode_image(vrwkv_model *model, const vr_image *image, vrwkv_features **out, vr_error *err) {
    vr_picture picture;
    VR_TRY(vr_model_picture(model, image, &picture, err));
    vr_status status = vr_model_encode(model, &picture, out, err);
    vr_picture_free(&picture);
    return status;
}

vrwkv_status vrwkv_encode_file(vrwkv_model *model, const char *path, vrwkv_manner manner, vrwkv_features **out, vrwkv_error *err) {
    if (!model || !path || !out) return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_encode_file: model, path and out must be given");
    vr_image image = {0};
    *out = NULL;
    VR_TRY(vr_image_decode_file(&image, path, manner, model->options.max_pixels, err));
    vr_status status = encode_image(model, &image, out, err);
    vr_image_free(&image);
    return status;
}

vrwkv_status vrwkv_encode_memory(vrwkv_model *model, const void *data, size_t size, vrwkv_manner manner, vrwkv_features **out,
                                 vrwkv_error *err) {
    if (!model || !data || !out) return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_encode_memory: model, data and out must be given");
    vr_image image = {0};
    *out = NULL;
    VR_TRY(vr_image_decode(&image, data, size, manner, model->options.max_pixels, err));
    vr_status status = encode_image(model, &image, out, err);
    vr_image_free(&image);
    return status;
}

vrwkv_status vrwkv_encode_rgb(vrwkv_model *model, const uint8_t *rgb, int width, int height, vrwkv_features **out, vrwkv_error *err) {
    if (!model || !rgb || !out || width < 1 || height < 1)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_encode_rgb: found %d x %d pixels, expected at least 1 x 1", width, height);
    *out = NULL;
    vr_image image = {width, height, (uint8_t *)rgb}; /* only read */
    return encode_image(model, &image, out, err);
}

const float *vrwkv_features_rows(const vrwkv_features *features, int *rows, int *width) {
    if (rows) *rows = features->rows;
    if (width) *width = features->width;
    return features->data;
}

vrwkv_features *vrwkv_features_share(vrwkv_features *features) {
    if (features) atomic_fetch_add(&features->owners, 1);
    return features;
}

void vrwkv_features_free(vrwkv_features *features) {
    if (features && atomic_fetch_sub(&features->owners, 1) == 1) free(features);
}

vrwkv_status vrwkv_features_save(const vrwkv_features *features, const char *path, vrwkv_error *err) {
    if (!features || !path) return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_features_save: features and path must be given");
    int64_t shape[2] = {features->rows, features->width};
    vr_save *save;
    VR_TRY(vr_save_open_as(&save, path, VR_FILE_SAFETENSORS, err));
    vr_status status = vr_save_meta_string(save, "vrwkv.fingerprint", features->fingerprint, err);
    if (status == VRWKV_OK) status = vr_save_declare(save, "features", VR_F32, 2, shape, err);
    if (status == VRWKV_OK) status = vr_save_put(save, features->data, (size_t)(shape[0] * shape[1]) * sizeof(float), err);
    if (status == VRWKV_OK) return vr_save_commit(save, err);
    vr_save_abandon(save);
    return status;
}

static vr_status features_read(vrwkv_model *model, const vr_weights *file, const char *path, vrwkv_features **out, vr_error *err) {
    const vr_entry *entry = vr_weights_find(file, "features");
    const vr_meta *print = vr_weights_meta(file, "vrwkv.fingerprint");
    if (!entry || !print || print->type != VR_META_STRING || entry->dtype != VR_F32 || entry->ndim != 2)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s' holds no encoded picture", path);
    if (strcmp(print->string, model->info.fingerprint) != 0)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s' was encoded by another model: fingerprint %.16s, this one's is %.16s", path,
                       print->string, model->info.fingerprint);
    bool cut = model->config.rules->cut != VR_CUT_NONE;
    if (entry->shape[1] != model->config.lm.n_embd || (!cut && entry->shape[0] != model->info.image_tokens) || entry->shape[0] < 1)
        return vr_fail(err, VRWKV_ERR_SHAPE, "'%s' has %lld rows of %lld, expected %d of %d", path, (long long)entry->shape[0],
                       (long long)entry->shape[1], model->info.image_tokens, model->config.lm.n_embd);
    float *data = vr_alloc(entry->bytes, 1);
    if (!data) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    vr_status status = vr_weights_read(file, entry, data, err);
    if (status == VRWKV_OK) status = vr_features_make(model, (int)entry->shape[0], (int)entry->shape[1], data, out, err);
    free(data);
    return status;
}

vrwkv_status vrwkv_features_load(vrwkv_model *model, const char *path, vrwkv_features **out, vrwkv_error *err) {
    if (!model || !path || !out) return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_features_load: model, path and out must be given");
    vr_weights *file;
    *out = NULL;
    VR_TRY(vr_weights_open(&file, path, NULL, err));
    vr_status status = features_read(model, file, path, out, err);
    vr_weights_close(file);
    return status;
}
