/* Kind `infer-batch`: samples of one picture each that are read together, one pass from empty states. */
#include "verify/infer.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HALF_ROUNDING 2e-3f /* of normalised pixels */

typedef struct batch {
    const vr_verify *verify;
    const vr_case *item;
    vrwkv_model *model;
    vr_original_input *inputs; /* ids of each are its own */
    vr_picture *pictures;      /* one of each */
    size_t n;
    vr_trace trace;
} batch;

static vr_status load_ids(batch *in, vr_error *err) {
    const json_t *samples = json_object_get(in->item->json, "input_ids");
    size_t n = json_array_size(samples);
    if (!n) return vr_fail(err, VRWKV_ERR_FORMAT, "input_ids is no list of samples");
    in->inputs = vr_alloc(n, sizeof *in->inputs);
    if (!in->inputs) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %zu samples", n);
    for (; in->n < n; in->n++) {
        vr_original_input *input = &in->inputs[in->n];
        int32_t *ids;
        VR_TRY(vr_case_ids(json_array_get(samples, in->n), "input_ids of a sample", &ids, &input->n, err));
        input->ids = ids;
    }
    return VRWKV_OK;
}

/* tokens [B, len], where all samples have the same length */
static vr_status add_tokens(batch *in, vr_error *err) {
    size_t length = in->inputs[0].n;
    for (size_t s = 1; s < in->n; s++)
        if (in->inputs[s].n != length) return VRWKV_OK;
    float *tokens = vr_alloc(in->n * length + 1, sizeof *tokens);
    if (!tokens) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %zu ids", in->n * length);
    for (size_t s = 0; s < in->n; s++)
        for (size_t i = 0; i < length; i++) tokens[s * length + i] = (float)in->inputs[s].ids[i];
    vr_status status = vr_trace_add(&in->trace, "tokens", 2, (int64_t[]){(int64_t)in->n, (int64_t)length}, tokens);
    free(tokens);
    return status;
}

/* ---- one picture of each sample ---- */

/* `pixels` [B,3,S,S] of the only tower: sample s. */
static vr_status slice_pixels(batch *in, const vr_entry *entry, size_t s, vr_error *err) {
    vr_array all;
    VR_TRY(vr_array_load(&all, in->item->expect, entry, err));
    const vr_config *config = vr_model_config(in->model);
    int64_t size = config->n_towers ? config->towers[0].image_size : 0, one = 3 * size * size;
    bool fits = config->n_towers == 1 && all.ndim == 4 && all.shape[0] == (int64_t)in->n && all.shape[1] == 3 && all.shape[2] == size &&
                all.shape[3] == size;
    vr_status status = fits ? vr_model_zero_picture(in->model, &in->pictures[s], err)
                            : vr_fail(err, VRWKV_ERR_SHAPE, "pixels: expected [%zu, 3, %lld, %lld], one picture per sample", in->n,
                                      (long long)size, (long long)size);
    if (status == VRWKV_OK) memcpy(in->pictures[s].pixels[0], all.data + (int64_t)s * one, (size_t)one * sizeof(float));
    vr_array_free(&all);
    return status;
}

/* Pixels stored as float16 are rounded; the run that made the case had the picture's own. One region of a
 * picture of the case, as it is or mirrored, that rounds to `stored` replaces it. */
static bool exact_region(float *stored, const vr_picture *picture, int64_t size) {
    int64_t plane = size * size, one = 3 * plane;
    for (int r = 0; r < picture->regions; r++)
        for (int mirrored = 0; mirrored < 2; mirrored++) {
            const float *from = picture->pixels[0] + r * one;
            int64_t i = 0;
            for (; i < one; i++) {
                int64_t column = i % size, other = mirrored ? i - column + size - 1 - column : i;
                if (!(fabsf(stored[i] - from[other]) <= HALF_ROUNDING)) break;
            }
            if (i < one) continue;
            for (i = 0; i < one; i++) stored[i] = from[mirrored ? i - i % size + size - 1 - i % size : i];
            return true;
        }
    return false;
}

/* `pixels.N` [regions,3,S,S] of sample N alone. */
static vr_status own_pixels(batch *in, const vr_entry *entry, size_t s, vr_error *err) {
    vr_array own;
    VR_TRY(vr_array_load(&own, in->item->expect, entry, err));
    int64_t size = vr_model_config(in->model)->towers[0].image_size;
    bool fits = own.ndim == 4 && own.shape[0] >= 1 && own.shape[1] == 3 && own.shape[2] == size && own.shape[3] == size;
    in->pictures[s] = (vr_picture){.regions = (int)own.shape[0], .pixels = {own.data}};
    for (int64_t r = 0; fits && entry->dtype == VR_F16 && r < own.shape[0]; r++)
        for (size_t other = 0; other < s; other++)
            if (exact_region(own.data + r * 3 * size * size, &in->pictures[other], size)) break;
    return fits ? VRWKV_OK : vr_fail(err, VRWKV_ERR_SHAPE, "%s: expected [regions, 3, %lld, %lld]", entry->name, (long long)size, (long long)size);
}

static vr_status read_picture(batch *in, const char *file, size_t s, vr_error *err) {
    vr_image image = {0};
    char *path = vr_path_join(in->item->folder, file);
    if (!path) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for a path");
    vr_status status = vr_image_decode_file(&image, path, in->verify->manner, 0, err);
    if (status == VRWKV_OK) status = vr_model_picture(in->model, &image, &in->pictures[s], err);
    vr_image_free(&image);
    free(path);
    return status;
}

/* A sample's picture is its own pixels, its part of all pixels, or the file of its number. */
static vr_status load_picture(batch *in, size_t s, vr_error *err) {
    char name[32];
    const vr_weights *expect = in->item->expect;
    const json_t *files = json_object_get(in->item->json, "images");
    snprintf(name, sizeof name, "pixels.%zu", s);
    const vr_entry *own = expect ? vr_weights_find(expect, name) : NULL, *all = expect ? vr_weights_find(expect, "pixels") : NULL;
    const char *file = json_string_value(json_array_get(files, s));
    if (!vr_model_config(in->model)->n_towers) return VRWKV_OK;
    if (own) return own_pixels(in, own, s, err);
    if (all) return slice_pixels(in, all, s, err);
    if (file) return read_picture(in, file, s, err);
    return vr_fail(err, VRWKV_ERR_FORMAT, "sample %zu has neither '%s', nor a part of 'pixels', nor a file in `images`", s, name);
}

/* What was given is no result: it is not compared. */
static vr_status add_given(batch *in, size_t s, vr_error *err) {
    char name[32];
    vr_array own;
    snprintf(name, sizeof name, "pixels.%zu", s);
    const vr_entry *entry = in->item->expect ? vr_weights_find(in->item->expect, name) : NULL;
    if (!entry) return VRWKV_OK;
    VR_TRY(vr_array_load(&own, in->item->expect, entry, err));
    vr_status status = vr_trace_add(&in->trace, name, own.ndim, own.shape, own.data);
    vr_array_free(&own);
    return status;
}

static vr_status run_all(batch *in, vr_verify *verify, vr_error *err) {
    static const char *const label = "";
    VR_TRY(load_ids(in, err));
    VR_TRY(vr_case_model(verify, in->item, false, &in->model, err));
    VR_TRY(add_tokens(in, err));
    in->pictures = vr_alloc(in->n, sizeof *in->pictures);
    if (!in->pictures) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %zu pictures", in->n);
    for (size_t s = 0; s < in->n; s++) {
        VR_TRY(load_picture(in, s, err));
        VR_TRY(add_given(in, s, err));
        in->inputs[s].pictures = &in->pictures[s];
        in->inputs[s].n_pictures = in->pictures[s].regions > 0;
    }
    VR_TRY(vr_original_batch(in->model, in->inputs, in->n, vr_trace_collect, &in->trace, err));
    VR_TRY(in->trace.status);
    return vr_trace_check(verify, in->item, &in->trace, &label, 1, err);
}

vr_status vr_verify_infer_batch(vr_verify *verify, const vr_case *item, vr_error *err) {
    batch in = {.verify = verify, .item = item, .trace = {.err = err}};
    vr_status status = run_all(&in, verify, err);
    vr_trace_free(&in.trace);
    for (size_t s = 0; in.pictures && s < in.n; s++) vr_picture_free(&in.pictures[s]);
    free(in.pictures);
    vrwkv_model_close(in.model);
    for (size_t s = 0; in.inputs && s < in.n; s++) free((int32_t *)(uintptr_t)in.inputs[s].ids);
    free(in.inputs);
    return status;
}
