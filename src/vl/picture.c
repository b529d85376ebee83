/* A picture as the towers want it: cut into regions where the version does, resized, normalised; or read
 * as it is from a file of tensors. */
#include "vl/internal.h"

#include "base/half.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void vr_picture_free(vr_picture *picture) {
    for (int t = 0; t < VR_MAX_TOWERS; t++) free(picture->pixels[t]);
    *picture = (vr_picture){0};
}

static vr_status picture_new(const vrwkv_model *model, int regions, vr_picture *out, vr_error *err) {
    *out = (vr_picture){.regions = regions};
    if (model->config.n_towers == 0)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "this model is a language model alone: it cannot look at pictures");
    for (int t = 0; t < model->config.n_towers; t++) {
        size_t size = (size_t)model->towers[t].dims.image_size;
        out->pixels[t] = vr_alloc((size_t)regions * 3 * size * size, sizeof(float));
        if (out->pixels[t]) continue;
        vr_picture_free(out);
        return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for pixels of %d x 3 x %zu x %zu", regions, size, size);
    }
    return VRWKV_OK;
}

bool vr_regions_fit(vr_cut cut, int64_t regions) {
    if (cut == VR_CUT_NONE) return regions == 1;
    return cut == VR_CUT_QUARTERS ? regions == VR_QUARTERS : regions >= 1 && regions <= VR_MOST_REGIONS;
}

vr_status vr_model_zero_picture(const vrwkv_model *model, vr_picture *out, vr_error *err) {
    return picture_new(model, model->config.rules->cut == VR_CUT_QUARTERS ? VR_QUARTERS : 1, out, err);
}

/* One region's pixels for every tower. */
static vr_status put_region(const vrwkv_model *model, const vr_image *image, int region, vr_picture *out, vr_error *err) {
    for (int t = 0; t < model->config.n_towers; t++) {
        const vr_tower_arch *arch = model->towers[t].arch;
        size_t size = (size_t)model->towers[t].dims.image_size;
        vr_filter filter = model->towers[t].dims.resample == 2 ? VR_BILINEAR : VR_BICUBIC;
        vr_preprocess how = {.size = (int)size, .filter = filter, .keep_aspect = arch->keep_aspect,
                             .rescale_in_double = arch->rescale_in_double};
        memcpy(how.mean, model->towers[t].dims.image_mean, sizeof how.mean);
        memcpy(how.std, model->towers[t].dims.image_std, sizeof how.std);
        VR_TRY(vr_image_preprocess(out->pixels[t] + (size_t)region * 3 * size * size, image, &how, err));
    }
    return VRWKV_OK;
}

/* Regions have the first tower's size. */
static vr_status cut_picture(const vrwkv_model *model, const vr_image *image, vr_picture *out, vr_error *err) {
    int side = model->towers[0].dims.image_size, columns, rows;
    vr_image_region_grid(image->width, image->height, side, side, model->config.rules->cut == VR_CUT_FIT_AREA, &columns, &rows);
    if ((int64_t)columns * rows > VR_MOST_REGIONS)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "a picture of %d x %d makes %d x %d regions of %d pixels, at most %d are possible", image->width,
                       image->height, columns, rows, side, VR_MOST_REGIONS);
    VR_TRY(picture_new(model, columns * rows, out, err));
    vr_status status = VRWKV_OK;
    for (int i = 0; i < columns * rows && status == VRWKV_OK; i++) {
        vr_image region = {0};
        status = vr_image_resize_crop(&region, image, columns * side, rows * side, VR_LANCZOS, i % columns * side, i / columns * side, side,
                                      side, err);
        if (status == VRWKV_OK) status = put_region(model, &region, i, out, err);
        vr_image_free(&region);
    }
    return status;
}

/* The whole, then left and right above, left and right below; the last odd row and column are left out. */
static vr_status cut_quarters(const vrwkv_model *model, const vr_image *image, vr_picture *out, vr_error *err) {
    int w = image->width > 1 ? image->width / 2 : 1, h = image->height > 1 ? image->height / 2 : 1;
    VR_TRY(picture_new(model, VR_QUARTERS, out, err));
    vr_status status = put_region(model, image, 0, out, err);
    for (int i = 0; i < VR_QUARTERS - 1 && status == VRWKV_OK; i++) {
        int left = image->width > 1 ? i % 2 * w : 0, top = image->height > 1 ? i / 2 * h : 0;
        vr_image quarter = {0};
        status = vr_image_resize_crop(&quarter, image, image->width, image->height, VR_BICUBIC, left, top, w, h, err);
        if (status == VRWKV_OK) status = put_region(model, &quarter, i + 1, out, err);
        vr_image_free(&quarter);
    }
    return status;
}

static vr_status keep_whole(const vrwkv_model *model, const vr_image *image, vr_picture *out, vr_error *err) {
    VR_TRY(picture_new(model, 1, out, err));
    return put_region(model, image, 0, out, err);
}

vr_status vr_model_picture(const vrwkv_model *model, const vr_image *image, vr_picture *out, vr_error *err) {
    static vr_status (*const cuts[])(const vrwkv_model *model, const vr_image *image, vr_picture *out, vr_error *err) = {
        [VR_CUT_NONE] = keep_whole, [VR_CUT_FIT] = cut_picture, [VR_CUT_FIT_AREA] = cut_picture, [VR_CUT_QUARTERS] = cut_quarters};
    *out = (vr_picture){0};
    vr_status status = cuts[model->config.rules->cut](model, image, out, err);
    if (status != VRWKV_OK) vr_picture_free(out);
    return status;
}

/* ---- given pixels ---- */

static const vr_entry *find_pixels(const vrwkv_model *model, const vr_weights *file, int tower, char *name, size_t size) {
    const vr_entry *entry;
    snprintf(name, size, "pixels.%s", model->towers[tower].arch->name);
    entry = vr_weights_find(file, name);
    if (entry || model->config.n_towers > 1) return entry;
    snprintf(name, size, "pixels");
    return vr_weights_find(file, name);
}

static vr_status read_pixels(const vr_weights *file, const vr_entry *entry, float *to, vr_error *err) {
    if (entry->dtype == VR_F32) return vr_weights_read(file, entry, to, err);
    uint16_t *half = vr_alloc((size_t)entry->bytes, 1);
    if (!half) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for '%s'", entry->name);
    vr_status status = vr_weights_read(file, entry, half, err);
    for (uint64_t i = 0; status == VRWKV_OK && i < entry->bytes / 2; i++) to[i] = vr_f16_f32(half[i]);
    free(half);
    return status;
}

vr_status vr_model_given_picture(const vrwkv_model *model, const vr_weights *file, vr_picture *out, vr_error *err) {
    vr_status status = VRWKV_OK;
    *out = (vr_picture){0};
    for (int t = 0; t < model->config.n_towers && status == VRWKV_OK; t++) {
        char name[40], text[96];
        int64_t size = model->towers[t].dims.image_size;
        const vr_entry *entry = find_pixels(model, file, t, name, sizeof name);
        if (!entry) {
            status = vr_fail(err, VRWKV_ERR_SHAPE, "'%s' has no tensor '%s'", vr_weights_path(file), name);
            break;
        }
        const int64_t *shape = entry->shape;
        int lead = entry->ndim - 3;
        int64_t regions = lead == 1 ? shape[0] : 1;
        bool fits = (lead == 0 || lead == 1) && shape[lead] == 3 && shape[lead + 1] == size && shape[lead + 2] == size;
        fits = fits && vr_regions_fit(model->config.rules->cut, regions);
        fits = fits && (entry->dtype == VR_F32 || entry->dtype == VR_F16) && (t == 0 || regions == out->regions);
        if (!fits)
            status = vr_fail(err, VRWKV_ERR_SHAPE, "'%s': '%s' is %s %s, expected f32 or f16 %s[3, %d, %d]", vr_weights_path(file), name,
                             vr_dtype_of(entry->dtype)->name, vr_shape_text(entry->ndim, shape, text, sizeof text),
                             model->config.rules->cut == VR_CUT_NONE ? "" : "[regions,] ", (int)size, (int)size);
        if (status == VRWKV_OK && t == 0) status = picture_new(model, (int)regions, out, err);
        if (status == VRWKV_OK) status = read_pixels(file, entry, out->pixels[t], err);
    }
    if (status != VRWKV_OK) vr_picture_free(out);
    return status;
}
