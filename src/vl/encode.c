/* Pictures: file or pixels -> tower -> pooling -> projector -> features that can be kept. */
#include "vl/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void vr_emit(vrwkv_trace_fn trace, void *user, const char *name, const vr_tensor *value) {
    if (trace && value) trace(user, name, value->ndim, value->shape, value->data);
}

int64_t vr_scanned_rows(const vrwkv_model *model, int64_t image_rows) {
    if (model->config.n_towers == 0 || image_rows == 0) return 0;
    return image_rows - (vr_tower_arch_find(model->config.tower_type[0])->has_class_row ? 1 : 0);
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

vr_tensor *vr_encode_pixels(vr_run *run, vrwkv_model *model, const float *pixels, vrwkv_trace_fn trace, void *user) {
    vr_tower *tower = &model->towers[0];
    int64_t size = tower->dims.image_size;
    vr_tensor input = {VR_F32, 3, {3, size, size}, (void *)pixels};
    vr_emit(trace, user, "pixels", &input);
    vr_tensor *features = tower->arch->forward(run, tower, &input);
    vr_emit(trace, user, "vision", features);
    vr_tensor *image = vr_linear(run, vr_grid_pool(run, features, model->config.grid_size), &model->projector.w, NULL);
    vr_emit(trace, user, "image", image);
    return image;
}

static vr_status features_make(const vrwkv_model *model, int rows, int width, const float *data, vrwkv_features **out, vr_error *err) {
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

vrwkv_status vrwkv_encode_pixels(vrwkv_model *model, const float *pixels, vrwkv_trace_fn trace, void *user, vrwkv_features **out,
                                 vrwkv_error *err) {
    if (!model || !out) return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_encode_pixels: model and out must be given");
    *out = NULL;
    if (model->config.n_towers == 0)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "this model is a language model alone: it cannot look at pictures");
    vr_workspace *workspace;
    VR_TRY(vr_workspace_get(model, &workspace, err));
    vr_run run = vr_run_make(model, workspace, NULL, err);
    if (!pixels) {
        int64_t size = model->towers[0].dims.image_size;
        vr_tensor *zero = vr_zeros2(&run, 3 * size, size);
        pixels = zero ? zero->data : NULL;
    }
    vr_tensor *image = pixels ? vr_encode_pixels(&run, model, pixels, trace, user) : NULL;
    vr_status status = vr_run_status(&run);
    if (status == VRWKV_OK)
        status = features_make(model, (int)image->shape[0], (int)image->shape[1], image->data, out, err);
    vr_workspace_put(model, workspace);
    return status;
}

vr_status vr_model_pixels(vrwkv_model *model, int tower, const vr_image *image, float **pixels, vr_error *err) {
    if (tower < 0 || tower >= model->config.n_towers)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "this model is a language model alone: it cannot look at pictures");
    const vr_tower_arch *arch = model->towers[tower].arch;
    size_t size = (size_t)model->towers[tower].dims.image_size;
    vr_preprocess how = {.size = (int)size, .filter = VR_BICUBIC, .keep_aspect = arch->keep_aspect, .rescale_in_double = arch->keep_aspect};
    memcpy(how.mean, arch->mean, sizeof how.mean);
    memcpy(how.std, arch->std, sizeof how.std);
    *pixels = vr_alloc(3 * size * size, sizeof **pixels);
    if (!*pixels) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for pixels of 3 x %zu x %zu", size, size);
    vr_status status = vr_image_preprocess(*pixels, image, &how, err);
    if (status != VRWKV_OK) {
        free(*pixels);
        *pixels = NULL;
    }
    return status;
}

static vr_status encode_image(vrwkv_model *model, const vr_image *image, vrwkv_features **out, vr_error *err) {
    float *pixels;
    VR_TRY(vr_model_pixels(model, 0, image, &pixels, err));
    vr_status status = vrwkv_encode_pixels(model, pixels, NULL, NULL, out, err);
    free(pixels);
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
    if (entry->shape[1] != model->config.lm.n_embd || entry->shape[0] != model->info.image_tokens)
        return vr_fail(err, VRWKV_ERR_SHAPE, "'%s' has %lld rows of %lld, expected %d of %d", path, (long long)entry->shape[0],
                       (long long)entry->shape[1], model->info.image_tokens, model->config.lm.n_embd);
    float *data = vr_alloc(entry->bytes, 1);
    if (!data) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    vr_status status = vr_weights_read(file, entry, data, err);
    if (status == VRWKV_OK) status = features_make(model, (int)entry->shape[0], (int)entry->shape[1], data, out, err);
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
